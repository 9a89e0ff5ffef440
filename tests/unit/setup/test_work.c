/* Whose CPU time a sample is: the thread's word, and what is kept back until the request is known. */
#include "../../../shim/base/work.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PERIOD_NS = 1000, ALPHA = SEG_ENDPOINT_FIRST, BETA };

static void set_up(void)
{
	size_t bytes = seg_bytes_for(8 << 20);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	seg_format(base, bytes, 1);
	seg_publish(base);
	ck_assert_int_eq(seg_view_init(&seg, base, bytes), SEG_OK);
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
	work_wait();
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
	work_set((struct work){ ALPHA, 0 });
	work_wait();
	work_woke();
	work_credit(node_of(0, 1), 1, PERIOD_NS);
	work_wait();
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

START_TEST(a_backlog_that_is_full_loses_no_time)
{
	work_set_pending();
	for (int i = 0; i < THREAD_PENDING_MAX + 3; i++)
		work_credit(node_of(0, 1), 0, PERIOD_NS);
	work_set((struct work){ ALPHA, 0 });
	ck_assert_uint_eq(cpu_ns(ALPHA), THREAD_PENDING_MAX * PERIOD_NS);
	ck_assert_uint_eq(cpu_ns(SEG_ENDPOINT_IDLE), 3 * PERIOD_NS);
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
	tcase_add_test(tests, a_backlog_that_is_full_loses_no_time);
	tcase_add_test(tests, activations_count_the_nodes_newly_entered_from_the_leaf_up);
	tcase_add_test(tests, a_slot_that_is_given_back_keeps_its_counts);
	tcase_add_test(tests, without_a_free_slot_threads_share_the_first);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
