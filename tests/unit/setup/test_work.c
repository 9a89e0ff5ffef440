/* Whose CPU time a sample is: the thread's word, and what is kept back until the request is known. */
#include "../../../shim/base/work.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PERIOD_NS = 1000, ALPHA = SEG_ENDPOINT_FIRST, BETA, REQUEST = 77 };

/* Where a loop waits, where a worker rests, and other places. */
enum { LOOP = 1000, QUEUE = 2000, ELSEWHERE = 3000 };

static uint64_t now_ns = 1000000000;

static void work_for(uint32_t endpoint)
{
	work_set((struct work){ endpoint, REQUEST });
}

static void set_up(void)
{
	size_t bytes = seg_bytes_for(8 << 20);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	seg_format(base, bytes, 1);
	seg_publish(base);
	ck_assert_int_eq(seg_view_init(&seg, base, bytes), SEG_OK);
	work_init(mmap(NULL, work_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	thread_attach();
}

static uint32_t node_of(uint32_t parent, uint32_t frame)
{
	return seg_table_insert(&seg.slots[SEG_TABLE_NODES], seg_node_key(parent, frame), NULL) + 1;
}

static const struct seg_cell *cell_of(uint32_t node, uint32_t endpoint)
{
	static const struct seg_cell none;
	uint32_t index = seg_table_find(&seg.slots[SEG_TABLE_CELLS], seg_cell_key(node, endpoint, SEG_KIND_CPU));

	return index == SEG_NOT_FOUND ? &none : &seg.cells[index];
}

static uint64_t cpu_ns(uint32_t endpoint)
{
	return atomic_load(&seg.endpoints[endpoint].cpu_ns);
}

START_TEST(a_thread_that_never_served_works_in_the_background)
{
	work_wait(LOOP, now_ns);
	work_woke();
	work_credit(node_of(0, 1), 1, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), PERIOD_NS);
}
END_TEST

START_TEST(samples_before_the_head_is_known_go_to_the_request)
{
	uint32_t node = node_of(node_of(0, 1), 2);

	work_set_pending();
	work_credit(node, 2, PERIOD_NS);
	work_credit(node, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), 0);
	work_set((struct work){ ALPHA, 0 });
	work_credit(node, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), 3 * PERIOD_NS);
	ck_assert_uint_eq(atomic_load(&cell_of(node, ALPHA)->samples), 3);
	ck_assert_uint_eq(atomic_load(&cell_of(node, ALPHA)->weight_ns), 3 * PERIOD_NS);
}
END_TEST

START_TEST(samples_for_nothing_are_the_loops_own)
{
	work_wait(LOOP, now_ns);
	work_set((struct work){ ALPHA, 0 });
	work_wait(LOOP, now_ns);
	work_woke();
	work_credit(node_of(0, 1), 1, PERIOD_NS);
	work_wait(LOOP, now_ns);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_IDLE), PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), 0);
}
END_TEST

START_TEST(the_endpoint_stays_until_the_next_event)
{
	work_set((struct work){ ALPHA, 0 });
	work_credit(0, 0, PERIOD_NS);
	work_set((struct work){ BETA, 0 });
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(BETA), PERIOD_NS);
}
END_TEST

START_TEST(a_wait_in_the_middle_of_a_request_is_still_that_request)
{
	work_wait(LOOP, now_ns);
	work_set_pending();
	work_for(ALPHA);
	work_wait(ELSEWHERE, now_ns); /* an upstream's answer */
	work_woke();
	work_credit(0, 0, PERIOD_NS);
	work_wait(ELSEWHERE, now_ns); /* a lock's condition */
	work_woken();
	work_credit(0, 0, PERIOD_NS);
	work_wait(LOOP, now_ns);
	work_woke();
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), 2 * PERIOD_NS);
	work_for(BETA);
	work_wait(WORK_PLACE_MANY, now_ns);
	ck_assert_uint_eq(self.work.endpoint, SEG_ENDPOINT_IDLE);
	ck_assert_uint_eq(cpu_ns(BETA), PERIOD_NS);
}
END_TEST

START_TEST(who_has_answered_rests_wherever_it_rests)
{
	work_wait(LOOP, now_ns);
	work_for(ALPHA);
	self.is_answered = 1;
	work_wait(ELSEWHERE, now_ns);
	ck_assert_uint_eq(self.work.endpoint, SEG_ENDPOINT_IDLE);
	work_for(BETA);
	ck_assert_uint_eq(self.is_answered, 0);
	work_wait(ELSEWHERE, now_ns); /* where it rested last */
	ck_assert_uint_eq(self.work.endpoint, SEG_ENDPOINT_IDLE);
}
END_TEST

START_TEST(what_a_worker_did_between_two_rests_without_an_answer_is_background)
{
	work_set_unknown(WORK_JOB);
	work_credit(0, 0, PERIOD_NS);
	work_wait(QUEUE, now_ns);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 0); /* it may be in the middle of its first */
	self.place = QUEUE;
	work_wait(QUEUE, now_ns);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), PERIOD_NS);
	work_woken();
	ck_assert(work_is_job());
	work_credit(0, 0, PERIOD_NS);
	work_wait(ELSEWHERE, now_ns);
	work_woke();
	work_credit(0, 0, PERIOD_NS);
	ck_assert(work_is_job());
	work_for(ALPHA);
	ck_assert_uint_eq(cpu_ns(ALPHA), 2 * PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_IDLE), 0);
}
END_TEST

START_TEST(a_rest_that_nobody_ended_is_idle)
{
	work_for(ALPHA);
	self.is_answered = 1;
	work_wait(QUEUE, now_ns); /* until a timeout */
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_IDLE), PERIOD_NS);
}
END_TEST

START_TEST(what_was_for_nobody_can_be_told_without_a_rest)
{
	work_set_pending();
	work_credit(0, 0, PERIOD_NS);
	work_abandon();
	work_credit(0, 0, PERIOD_NS);
	work_for(ALPHA);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_IDLE), PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), PERIOD_NS);
}
END_TEST

START_TEST(a_worker_that_waits_as_soon_as_it_has_answered_does_it_where_it_rests)
{
	work_for(ALPHA);
	work_answered(self.work, false, now_ns);
	ck_assert(work_is_job());
	work_credit(0, 0, PERIOD_NS);
	work_wait(QUEUE, now_ns + 1000);
	ck_assert_uint_eq(self.work.endpoint, SEG_ENDPOINT_IDLE);
	ck_assert_uint_eq(self.place, QUEUE);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), PERIOD_NS);
	work_woken();
	work_credit(0, 0, PERIOD_NS);
	work_wait(ELSEWHERE, now_ns + 5000000);
	work_woken();
	work_for(BETA);
	ck_assert_uint_eq(cpu_ns(BETA), PERIOD_NS);
}
END_TEST

START_TEST(only_the_first_wait_after_an_answer_is_taken_for_the_rest)
{
	work_for(ALPHA);
	work_answered(self.work, false, now_ns);
	work_wait(QUEUE, now_ns + 1000);
	work_woken();
	work_credit(0, 0, PERIOD_NS);
	work_wait(ELSEWHERE, now_ns + 2000);
	work_woken();
	ck_assert_uint_eq(self.place, QUEUE);
	work_for(BETA);
	ck_assert_uint_eq(cpu_ns(BETA), PERIOD_NS);
}
END_TEST

START_TEST(a_thread_that_answers_what_others_read_does_so_until_it_often_answered_what_it_read)
{
	uint32_t answers = 0;

	work_for(ALPHA);
	work_answered(self.work, true, now_ns);
	ck_assert_uint_eq(self.is_answered, 1);
	work_for(ALPHA);
	work_answered(self.work, false, now_ns);
	for (; work_is_job(); answers++) {
		work_wait(WORK_PLACE_EPOLL | 5, now_ns);
		work_woke();
		ck_assert(work_is_job());
		work_for(ALPHA);
		work_answered(self.work, true, now_ns);
	}
	ck_assert_uint_gt(answers, 4);
	ck_assert_uint_lt(answers, 100);
}
END_TEST

/* what is kept back */

START_TEST(samples_alike_share_a_place)
{
	uint32_t leaf = node_of(node_of(0, 1), 2);

	work_set_pending();
	for (int i = 0; i < 10 * THREAD_PENDING_MAX; i++) {
		work_credit(leaf, 2, PERIOD_NS);
		work_credit(leaf, 0, 2 * PERIOD_NS);
	}
	ck_assert_uint_eq(self.pending_count, 2);
	work_for(ALPHA);
	ck_assert_uint_eq(cpu_ns(ALPHA), 30 * THREAD_PENDING_MAX * PERIOD_NS);
	ck_assert_uint_eq(atomic_load(&cell_of(leaf, ALPHA)->samples), 20 * THREAD_PENDING_MAX);
	ck_assert_uint_eq(atomic_load(&cell_of(leaf, ALPHA)->weight_ns), 30 * THREAD_PENDING_MAX * PERIOD_NS);
	ck_assert_uint_eq(atomic_load(&cell_of(leaf, ALPHA)->activations), 10 * THREAD_PENDING_MAX);
}
END_TEST

static uint64_t weight_of_nodes(uint32_t first, uint32_t count, uint32_t endpoint)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += atomic_load(&cell_of(node_of(0, first + i), endpoint)->weight_ns);
	return sum;
}

START_TEST(a_backlog_that_is_full_loses_no_time)
{
	enum { ROUNDS = 20 };

	work_set_pending();
	/* Half of the time in as many stacks as there is room for, and half in others. */
	for (uint32_t round = 0; round < ROUNDS; round++)
		for (uint32_t i = 1; i <= 2 * THREAD_PENDING_MAX; i++)
			work_credit(node_of(0, i), 0, PERIOD_NS);
	work_for(ALPHA);
	uint64_t all_ns = 2 * ROUNDS * THREAD_PENDING_MAX * PERIOD_NS;
	uint64_t first_ns = weight_of_nodes(1, THREAD_PENDING_MAX, ALPHA);
	ck_assert_uint_eq(cpu_ns(ALPHA), all_ns);
	ck_assert_uint_eq(first_ns + weight_of_nodes(1 + THREAD_PENDING_MAX, THREAD_PENDING_MAX, ALPHA), all_ns);
	ck_assert_uint_eq(seg.endpoints[ALPHA].cpu_samples, all_ns / PERIOD_NS);
	/* What was there first has no right to stay. */
	ck_assert_uint_gt(first_ns, all_ns / 10 * 3);
	ck_assert_uint_lt(first_ns, all_ns / 10 * 7);
}
END_TEST

START_TEST(a_thread_without_a_slot_of_its_own_keeps_back_all_time_in_a_few_stacks)
{
	thread_detach();
	for (uint32_t i = 1; i < seg.slots[SEG_TABLE_THREADS].count; i++)
		atomic_store(&seg.threads[i].owner, 1);
	thread_attach();
	work_set_pending();
	for (uint32_t i = 1; i <= 100; i++)
		work_credit(node_of(0, i), 1, PERIOD_NS);
	work_for(ALPHA);
	ck_assert_uint_eq(cpu_ns(ALPHA), 100 * PERIOD_NS);
	ck_assert_uint_eq(weight_of_nodes(1, 100, ALPHA), 100 * PERIOD_NS);
}
END_TEST

START_TEST(nobody_waits_so_long_for_an_answer)
{
	work_for(BETA);
	work_answered(self.work, false, now_ns);
	for (int i = 0; i < 100; i++)
		work_credit(0, 0, 1000000000);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 0);
	work_credit(0, 0, 1000000000);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 101000000000);
	ck_assert(work_is_job());
	work_credit(0, 0, PERIOD_NS);
	work_for(ALPHA);
	ck_assert_uint_eq(cpu_ns(ALPHA), PERIOD_NS);
}
END_TEST

/* what is inherited */

/* As if this thread had been made by one that works for ALPHA. */
static void inherit(void)
{
	work_for(ALPHA);
	uint32_t heir = work_bequeath();
	ck_assert_uint_ne(heir, 0);
	work_set((struct work){ SEG_ENDPOINT_BACKGROUND, 0 });
	work_inherit(heir, (struct work){ ALPHA, REQUEST });
	work_credit(0, 0, PERIOD_NS);
}

static void expect_cpu_ns(uint64_t alpha, uint64_t beta, uint64_t background)
{
	ck_assert_uint_eq(work_heir_count, 0);
	ck_assert_uint_eq(cpu_ns(ALPHA), alpha);
	ck_assert_uint_eq(cpu_ns(BETA), beta);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), background);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_IDLE), 0);
}

START_TEST(a_thread_made_for_a_request_that_ends_before_it_worked_for_it)
{
	inherit();
	work_wait(WORK_PLACE_FEW | 7, now_ns); /* for an upstream's answer */
	work_woke();
	work_request_ended(REQUEST + 1);
	thread_detach();
	expect_cpu_ns(PERIOD_NS, 0, 0);
}
END_TEST

START_TEST(a_thread_made_for_a_request_that_ends_after_it_worked_for_nobody)
{
	inherit();
	work_request_ended(REQUEST);
	thread_detach();
	expect_cpu_ns(0, 0, PERIOD_NS);
}
END_TEST

START_TEST(a_thread_made_for_a_request_that_answers_another_worked_for_that)
{
	inherit();
	work_for(BETA);
	expect_cpu_ns(0, PERIOD_NS, 0);
}
END_TEST

START_TEST(a_thread_made_for_a_request_that_waits_worked_for_nobody_and_is_a_worker)
{
	inherit();
	work_wait(QUEUE, now_ns);
	work_woken();
	expect_cpu_ns(0, 0, PERIOD_NS);
	work_credit(0, 0, PERIOD_NS);
	work_for(BETA);
	expect_cpu_ns(0, PERIOD_NS, PERIOD_NS);
	inherit();
	work_wait(WORK_PLACE_EPOLL | 5, now_ns);
	work_woke();
	expect_cpu_ns(0, PERIOD_NS, 2 * PERIOD_NS);
}
END_TEST

START_TEST(a_thread_that_goes_on_long_after_the_request_it_was_made_for_works_for_nobody)
{
	inherit();
	work_credit(0, 0, 2000000000);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 0); /* it may take the request so long */
	work_request_ended(REQUEST);
	work_credit(0, 0, PERIOD_NS);
	expect_cpu_ns(0, 0, 2000000000 + 2 * PERIOD_NS);
}
END_TEST

START_TEST(nothing_is_inherited_where_there_is_nothing_or_no_room)
{
	uint32_t count = 0;

	ck_assert_uint_eq(work_bequeath(), 0);
	work_set_pending();
	ck_assert_uint_eq(work_bequeath(), 0);
	work_for(ALPHA);
	self.is_answered = 1;
	ck_assert_uint_eq(work_bequeath(), 0);
	self.is_answered = 0;
	while (work_bequeath())
		count++;
	ck_assert_uint_ge(count, 16);
	ck_assert_uint_eq(work_heir_count, count);
	work_disinherit(1);
	ck_assert_uint_eq(work_bequeath(), 1);
}
END_TEST

START_TEST(a_thread_made_by_one_that_serves_works_for_what_it_will_answer)
{
	work_inherit(0, (struct work){ SEG_ENDPOINT_BACKGROUND, 0 });
	ck_assert(!work_is_job());
	work_inherit(0, WORK_JOB);
	work_credit(0, 0, PERIOD_NS);
	work_wait(WORK_PLACE_FEW | 7, now_ns); /* for an upstream */
	work_woke();
	work_wait(QUEUE, now_ns); /* for work */
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), PERIOD_NS);
	work_woken();
	work_credit(0, 0, PERIOD_NS);
	work_wait(ELSEWHERE, now_ns); /* in the middle */
	work_credit(0, 0, PERIOD_NS);
	work_for(ALPHA);
	ck_assert_uint_eq(cpu_ns(ALPHA), 2 * PERIOD_NS);
	work_inherit(0, (struct work){ ALPHA, REQUEST }); /* answered already */
	ck_assert(work_is_job());
}
END_TEST

START_TEST(a_thread_that_never_answered_anything_keeps_little_back)
{
	work_inherit(0, WORK_NONE);
	work_credit(0, 0, 1000000000);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 0);
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 1000000000 + PERIOD_NS);
	ck_assert(work_is_job());
}
END_TEST

START_TEST(the_child_of_a_fork_goes_on_with_the_request_until_it_waits)
{
	work_for(ALPHA);
	thread_forget();
	thread_attach();
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(ALPHA), PERIOD_NS);
	work_wait(LOOP, now_ns);
	work_woke();
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), PERIOD_NS);
	work_set_pending(); /* but not with what is not known */
	thread_forget();
	thread_attach();
	work_credit(0, 0, PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_BACKGROUND), 2 * PERIOD_NS);
}
END_TEST

START_TEST(activations_count_the_nodes_newly_entered_from_the_leaf_up)
{
	uint32_t root = node_of(0, 1), middle = node_of(root, 2), leaf = node_of(middle, 3);

	work_set((struct work){ ALPHA, 0 });
	work_credit(leaf, 3, PERIOD_NS);
	work_credit(leaf, 1, PERIOD_NS);
	work_credit(leaf, 0, PERIOD_NS);
	ck_assert_uint_eq(atomic_load(&cell_of(root, ALPHA)->activations), 1);
	ck_assert_uint_eq(atomic_load(&cell_of(middle, ALPHA)->activations), 1);
	ck_assert_uint_eq(atomic_load(&cell_of(leaf, ALPHA)->activations), 2);
	ck_assert_uint_eq(atomic_load(&cell_of(leaf, ALPHA)->samples), 3);
	ck_assert_uint_eq(atomic_load(&cell_of(middle, ALPHA)->samples), 0);
}
END_TEST

START_TEST(a_slot_that_is_given_back_keeps_its_counts)
{
	struct seg_thread *slot = self.slot;

	thread_count(SEG_COUNTER_SAMPLES);
	thread_detach();
	thread_count(SEG_COUNTER_SAMPLES);
	ck_assert_uint_eq(atomic_load(&slot->counters[SEG_COUNTER_SAMPLES]), 1);
	ck_assert_uint_eq(atomic_load(&slot->owner), 0);
	thread_attach();
	ck_assert_ptr_eq(self.slot, slot);
	thread_count(SEG_COUNTER_SAMPLES);
	ck_assert_uint_eq(atomic_load(&slot->counters[SEG_COUNTER_SAMPLES]), 2);
}
END_TEST

START_TEST(without_a_free_slot_threads_share_the_first)
{
	thread_detach();
	for (uint32_t i = 1; i < seg.slots[SEG_TABLE_THREADS].count; i++)
		atomic_store(&seg.threads[i].owner, 1);
	thread_attach();
	ck_assert_ptr_eq(self.slot, &seg.threads[0]);
	ck_assert_uint_eq(self.is_exclusive, 0);
	thread_count(SEG_COUNTER_SAMPLES);
	ck_assert_uint_eq(atomic_load(&seg.threads[0].counters[SEG_COUNTER_SAMPLES]), 1);
	ck_assert_uint_eq(atomic_load(&seg.threads[0].counters[SEG_COUNTER_OVERFLOW_THREADS]), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("work");
	TCase *tests = tcase_create("work");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, a_thread_that_never_served_works_in_the_background);
	tcase_add_test(tests, samples_before_the_head_is_known_go_to_the_request);
	tcase_add_test(tests, samples_for_nothing_are_the_loops_own);
	tcase_add_test(tests, the_endpoint_stays_until_the_next_event);
	tcase_add_test(tests, a_wait_in_the_middle_of_a_request_is_still_that_request);
	tcase_add_test(tests, who_has_answered_rests_wherever_it_rests);
	tcase_add_test(tests, what_a_worker_did_between_two_rests_without_an_answer_is_background);
	tcase_add_test(tests, a_rest_that_nobody_ended_is_idle);
	tcase_add_test(tests, what_was_for_nobody_can_be_told_without_a_rest);
	tcase_add_test(tests, a_worker_that_waits_as_soon_as_it_has_answered_does_it_where_it_rests);
	tcase_add_test(tests, only_the_first_wait_after_an_answer_is_taken_for_the_rest);
	tcase_add_test(tests, a_thread_that_answers_what_others_read_does_so_until_it_often_answered_what_it_read);
	tcase_add_test(tests, samples_alike_share_a_place);
	tcase_add_test(tests, a_backlog_that_is_full_loses_no_time);
	tcase_add_test(tests, a_thread_without_a_slot_of_its_own_keeps_back_all_time_in_a_few_stacks);
	tcase_add_test(tests, nobody_waits_so_long_for_an_answer);
	tcase_add_test(tests, a_thread_made_for_a_request_that_ends_before_it_worked_for_it);
	tcase_add_test(tests, a_thread_made_for_a_request_that_ends_after_it_worked_for_nobody);
	tcase_add_test(tests, a_thread_made_for_a_request_that_answers_another_worked_for_that);
	tcase_add_test(tests, a_thread_made_for_a_request_that_waits_worked_for_nobody_and_is_a_worker);
	tcase_add_test(tests, a_thread_that_goes_on_long_after_the_request_it_was_made_for_works_for_nobody);
	tcase_add_test(tests, nothing_is_inherited_where_there_is_nothing_or_no_room);
	tcase_add_test(tests, a_thread_made_by_one_that_serves_works_for_what_it_will_answer);
	tcase_add_test(tests, a_thread_that_never_answered_anything_keeps_little_back);
	tcase_add_test(tests, the_child_of_a_fork_goes_on_with_the_request_until_it_waits);
	tcase_add_test(tests, activations_count_the_nodes_newly_entered_from_the_leaf_up);
	tcase_add_test(tests, a_slot_that_is_given_back_keeps_its_counts);
	tcase_add_test(tests, without_a_free_slot_threads_share_the_first);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
