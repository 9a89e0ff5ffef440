/* Shards of histograms: who owns one, who gets it next, and that sums are exact whoever comes, goes, forks, is killed or
 * resets meanwhile. */
#include "room.h"

#include "../../../exporter/serve/reset.h"
#include "../../../exporter/snapshot.h"
#include "../../../shim/requests/endpoint.h"
#include "../../../shim/requests/observe.h"
#include "../../../shim/setup/process.h"
#include "../run.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DURATION_NS = 70000, FIRST_BYTE_NS = 30000, REQUEST_BYTES = 300, RESPONSE_BYTES = 5000, OBSERVERS = 16 };

static void observe(uint32_t count)
{
	struct observation seen = { .endpoint = SEG_ENDPOINT_OTHER, .status = 200, .duration_ns = DURATION_NS };

	for (uint32_t i = 0; i < count; i++) {
		struct observe_run run = { 0 };
		observe_active(SEG_METHOD_GET, SEG_SCHEME_PLAIN, 1);
		observe_run_add(&run, &seen, 1);
		observe_first_byte(&run, SEG_ENDPOINT_OTHER, DURATION_NS, FIRST_BYTE_NS, 1);
		observe_run_flush(&run);
		observe_response_body(SEG_ENDPOINT_OTHER, RESPONSE_BYTES);
		observe_request_body(SEG_ENDPOINT_OTHER, REQUEST_BYTES);
		observe_active(SEG_METHOD_GET, SEG_SCHEME_PLAIN, -1);
	}
}

static bool owns_shard(void)
{
	return self.shard & THREAD_OWNS_SHARD;
}

static uint64_t owner_of(uint32_t shard)
{
	return atomic_load(&seg.head->shard_owners[shard]);
}

static uint32_t owned_shards(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < SEG_SHARDS_MAX; i++)
		count += owner_of(i) != 0;
	return count;
}

static uint32_t shards_to_own(void)
{
	return seg.shard_count - seg.shards_shared;
}

/* What the shards from..to-1 hold, without the baseline. */
static uint64_t held(uint32_t from, uint32_t to)
{
	uint64_t count = 0;

	for (uint32_t i = from * seg.slots[SEG_TABLE_SERIES].count; i < to * seg.slots[SEG_TABLE_SERIES].count; i++)
		for (uint32_t bucket = 0; bucket <= SEG_BOUNDS_MAX; bucket++)
			count += seg.histograms[i].buckets[bucket];
	return count;
}

static uint64_t sum_of(const uint64_t *numbers, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += numbers[i];
	return sum;
}

/* A reader finds count observations since the last reset, each with all that belongs to it. */
static void assert_read(uint64_t count)
{
	struct snapshot *snapshot = snapshot_take(&seg);
	const struct snapshot_endpoint *endpoint = &snapshot->endpoints[SEG_ENDPOINT_OTHER];

	ck_assert_uint_eq(snapshot->series_count, 1);
	ck_assert_uint_eq(snapshot->series[0].count, count);
	ck_assert_uint_eq(sum_of(snapshot->series[0].buckets, SEG_BOUNDS_MAX + 1), count);
	ck_assert_uint_eq(snapshot->series[0].sum_ns, count * DURATION_NS);
	ck_assert_uint_eq(sum_of(endpoint->first_byte_buckets, SEG_BOUNDS_MAX + 1), count);
	ck_assert_uint_eq(endpoint->first_byte_sum_ns, count * FIRST_BYTE_NS);
	ck_assert_uint_eq(sum_of(endpoint->request_buckets, SEG_SIZE_BOUNDS + 1), count);
	ck_assert_uint_eq(endpoint->request_sum_bytes, count * REQUEST_BYTES);
	ck_assert_uint_eq(sum_of(endpoint->response_buckets, SEG_SIZE_BOUNDS + 1), count);
	ck_assert_uint_eq(endpoint->response_sum_bytes, count * RESPONSE_BYTES);
	ck_assert_uint_eq(sum_of(snapshot->active_requests[SEG_METHOD_GET], 2), 0);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	snapshot_free(snapshot);
}

static void set_up(void)
{
	room_open(256);
}

START_TEST(a_thread_owns_a_shard_from_its_first_observation_until_it_detaches)
{
	ck_assert_uint_eq(owned_shards(), 0);
	observe(3);
	ck_assert(owns_shard());
	uint32_t shard = thread_shard_index(self.shard);
	ck_assert_uint_ge(shard, seg.shards_shared);
	ck_assert_uint_lt(shard, seg.shard_count);
	ck_assert_uint_eq(owner_of(shard), self.slot->owner);
	ck_assert_uint_eq(held(shard, shard + 1), 3);
	ck_assert_uint_eq(held(0, seg.shard_count), 3);
	thread_detach();
	ck_assert_uint_eq(owned_shards(), 0);
	assert_read(3);
}
END_TEST

static void observe_as(uint32_t endpoint, uint16_t status, uint32_t count)
{
	struct observation seen = { .endpoint = endpoint, .status = status, .duration_ns = DURATION_NS };
	struct observe_run run = { 0 };

	observe_run_add(&run, &seen, count);
	observe_first_byte(&run, endpoint, DURATION_NS, FIRST_BYTE_NS, count);
	observe_run_flush(&run);
	observe_response_body(endpoint, RESPONSE_BYTES);
	observe_request_body(endpoint, REQUEST_BYTES);
}

/* One of each, and the numbers of the first come when the second was counted last. */
static void observe_both(uint32_t first, uint32_t second)
{
	struct observation seen[] = { { .endpoint = first, .status = 200, .duration_ns = DURATION_NS },
				      { .endpoint = second, .status = 200, .duration_ns = DURATION_NS } };
	struct observe_run runs[2] = { 0 };

	for (int i = 0; i < 2; i++)
		observe_run_add(&runs[i], &seen[i], 1);
	for (int i = 0; i < 2; i++) {
		observe_run_flush(&runs[i]);
		observe_first_byte(&runs[i], seen[i].endpoint, DURATION_NS, FIRST_BYTE_NS, 1);
		observe_response_body(seen[i].endpoint, RESPONSE_BYTES);
		observe_request_body(seen[i].endpoint, REQUEST_BYTES);
	}
}

static void assert_counted(uint32_t endpoint, uint16_t status, uint64_t count)
{
	struct snapshot *snapshot = snapshot_take(&seg);
	uint64_t found = 0;

	for (uint32_t i = 0; i < snapshot->series_count; i++)
		if (snapshot->series[i].endpoint == endpoint && snapshot->series[i].status == status)
			found += snapshot->series[i].count;
	ck_assert_uint_eq(found, count);
	snapshot_free(snapshot);
}

/* Of two endpoints, two label sets of the one, and a shard that was given back and is had again, or another. */
START_TEST(where_a_label_set_was_counted_last_serves_no_other_one_and_no_other_shard)
{
	const uint32_t a = SEG_ENDPOINT_OTHER, b = endpoint_of_operation(SEG_PROTOCOL_REDIS, 1, "GET");

	for (uint32_t turn = 0; turn < 3; turn++) {
		for (uint32_t i = 0; i < 5; i++) {
			observe_as(a, 200, 1);
			observe_as(a, 500, 2);
			observe_as(b, 200, 4);
			observe_as(b, 200, 4);
			observe_as(a, 500, 2);
			observe_both(a, b);
		}
		uint32_t before = self.shard;
		thread_detach();
		/* In the last turn but one its shard becomes another's. */
		if (turn == 1)
			ck_assert(atomic_compare_exchange_strong(&seg.head->shard_owners[thread_shard_index(before)], &(uint64_t){ 0 }, 1));
		thread_attach();
	}
	assert_counted(a, 200, 30);
	assert_counted(a, 500, 60);
	assert_counted(b, 200, 135);
	struct snapshot *snapshot = snapshot_take(&seg);
	ck_assert_uint_eq(sum_of(snapshot->endpoints[a].first_byte_buckets, SEG_BOUNDS_MAX + 1), 90);
	ck_assert_uint_eq(sum_of(snapshot->endpoints[b].first_byte_buckets, SEG_BOUNDS_MAX + 1), 135);
	ck_assert_uint_eq(snapshot->endpoints[a].response_sum_bytes, 60 * RESPONSE_BYTES);
	ck_assert_uint_eq(snapshot->endpoints[b].request_sum_bytes, 45 * REQUEST_BYTES);
	ck_assert_uint_eq(held(seg.shards_shared, seg.shards_shared + 1), 150);
	ck_assert_uint_eq(held(seg.shards_shared + 1, seg.shards_shared + 2), 75);
	snapshot_free(snapshot);
}
END_TEST

static void *come_and_go(void *count)
{
	thread_attach();
	observe((uint32_t)(uintptr_t)count);
	bool was_own = owns_shard();
	thread_detach();
	return (void *)(uintptr_t)was_own;
}

static bool other_thread_owned(uint32_t count)
{
	pthread_t thread;
	void *was_own;

	ck_assert_int_eq(pthread_create(&thread, NULL, come_and_go, (void *)(uintptr_t)count), 0);
	ck_assert_int_eq(pthread_join(thread, &was_own), 0);
	return was_own;
}

START_TEST(the_next_owner_of_a_shard_goes_on_where_the_one_before_ended)
{
	uint32_t first = seg.shards_shared;

	for (uint32_t i = 1; i <= 100; i++)
		ck_assert(other_thread_owned(i));
	ck_assert_uint_eq(held(first, first + 1), 5050);
	assert_read(5050);
}
END_TEST

START_TEST(two_threads_at_once_own_two_shards)
{
	observe(5);
	ck_assert(other_thread_owned(7));
	ck_assert_uint_eq(owned_shards(), 1);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_uint_eq(held(seg.shards_shared + i, seg.shards_shared + i + 1), i ? 7 : 5);
	assert_read(12);
}
END_TEST

static void take_all_shards(uint64_t owner)
{
	for (uint32_t i = seg.shards_shared; i < seg.shard_count; i++)
		atomic_store(&seg.head->shard_owners[i], owner);
}

START_TEST(who_finds_no_shard_shares_one_and_asks_again_now_and_then)
{
	take_all_shards(1);
	observe(10);
	ck_assert(!owns_shard());
	ck_assert_uint_eq(held(0, seg.shards_shared), 10);
	atomic_store(&seg.head->shard_owners[seg.shard_count - 1], 0);
	observe(THREAD_SHARD_TURNS);
	ck_assert_uint_eq(thread_shard_index(self.shard), seg.shard_count - 1);
	ck_assert(owns_shard());
	assert_read(10 + THREAD_SHARD_TURNS);
}
END_TEST

START_TEST(a_thread_without_a_slot_of_its_own_owns_no_shard)
{
	self.is_exclusive = 0;
	observe(4);
	ck_assert(!owns_shard());
	ck_assert_uint_eq(owned_shards(), 0);
	self.is_exclusive = 1;
	assert_read(4);
}
END_TEST

/* A handler that interrupted one of profshim's calls made an exec that failed: the call may be about to add. */
START_TEST(what_a_thread_owns_stays_its_own_if_it_detaches_within_a_call)
{
	observe(1);
	uint32_t shard = self.shard;
	self.own_depth = 2;
	thread_detach();
	ck_assert_uint_eq(owned_shards(), 1);
	ck_assert_uint_eq(self.shard, shard);
	thread_attach();
	self.own_depth = 0;
	observe(1);
	ck_assert_uint_eq(self.shard, shard);
	assert_read(2);
	thread_detach();
	ck_assert_uint_eq(owned_shards(), 0);
	ck_assert_uint_eq(self.owns_gauges, 0);
}
END_TEST

static pid_t fork_observer(uint32_t count, int *ret_ready)
{
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	pid_t child = fork();
	if (!child) {
		thread_forget();
		room_next_process();
		thread_attach();
		observe(count);
		(void)!write(pipes[1], owns_shard() ? "o" : "s", 1);
		if (ret_ready)
			pause();
		_exit(owns_shard() ? 0 : 1);
	}
	char word = 0;
	ck_assert_int_eq(read(pipes[0], &word, 1), 1);
	close(pipes[0]);
	close(pipes[1]);
	if (ret_ready)
		*ret_ready = word;
	return child;
}

START_TEST(the_child_of_fork_owns_another_shard_than_its_parent)
{
	int status;

	observe(2);
	uint32_t shard = thread_shard_index(self.shard);
	pid_t child = fork_observer(3, NULL);
	observe(2);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(held(shard, shard + 1), 4);
	ck_assert_uint_eq(held(shard + 1, shard + 2), 3);
	assert_read(7);
}
END_TEST

START_TEST(shards_of_killed_owners_are_taken_from_them_and_those_of_the_living_are_not)
{
	pid_t children[SEG_SHARDS_MAX];
	int word = 0;

	ck_assert(process_enter(NULL));
	observe(1);
	uint32_t own = shards_to_own(), mine = self.shard;
	for (uint32_t round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < own; i++) {
			children[i] = fork_observer(10, &word);
			ck_assert_int_eq(word, i + 1 < own ? 'o' : 's');
		}
		process_bury(true);
		ck_assert_uint_eq(owned_shards(), own);
		for (uint32_t i = 0; i < own; i++) {
			kill(children[i], SIGKILL);
			ck_assert_int_eq(waitpid(children[i], NULL, 0), children[i]);
		}
		process_bury(true);
		ck_assert_uint_eq(owned_shards(), 1);
	}
	observe(1);
	ck_assert_uint_eq(self.shard, mine);
	assert_read(2 + 5 * own * 10);
}
END_TEST

enum { ROUNDS = 40, PER_ROUND = 500 };
static pthread_barrier_t all_have_observed;

/* Threads that come and go, now all at once, so that there are more of them than shards. */
static void *observe_and_leave(void *unused)
{
	for (int round = 0; round < ROUNDS; round++) {
		thread_attach();
		observe(PER_ROUND);
		if (round % 8 == 0)
			pthread_barrier_wait(&all_have_observed);
		thread_detach();
	}
	return unused;
}

static void run_observers(void *(*observer)(void *), uint32_t count, void (*meanwhile)(void))
{
	pthread_t threads[OBSERVERS];

	pthread_barrier_init(&all_have_observed, NULL, count);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, observer, NULL), 0);
	meanwhile();
	for (uint32_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&all_have_observed);
	ck_assert_uint_eq(owned_shards(), 0);
}

static uint64_t read_count(void)
{
	struct snapshot *snapshot = snapshot_take(&seg);
	uint64_t count = snapshot->series_count ? snapshot->series[0].count : 0;

	snapshot_free(snapshot);
	return count;
}

static void read_until_all_is_there(void)
{
	uint64_t before = 0, now = 0;

	while (now < (uint64_t)OBSERVERS * ROUNDS * PER_ROUND) {
		now = read_count();
		ck_assert_uint_ge(now, before);
		before = now;
	}
}

START_TEST(threads_that_come_and_go_and_outnumber_the_shards_lose_nothing_and_a_reader_sees_it_grow)
{
	ck_assert_uint_lt(seg.shard_count, OBSERVERS);
	thread_detach();
	run_observers(observe_and_leave, OBSERVERS, read_until_all_is_there);
	assert_read((uint64_t)OBSERVERS * ROUNDS * PER_ROUND);
}
END_TEST

enum { RESETS = 30 };

static void reset_again_and_again(void)
{
	for (int i = 0; i < RESETS; i++) {
		reset_session(&seg);
		read_count();
	}
}

/* What is in owned shards is never stored by the one who resets: so all that was ever added is still there. */
START_TEST(a_reset_takes_nothing_out_of_shards_to_which_owners_add)
{
	thread_detach();
	run_observers(observe_and_leave, shards_to_own(), reset_again_and_again);
	ck_assert_uint_eq(held(seg.shards_shared, seg.shard_count), (uint64_t)shards_to_own() * ROUNDS * PER_ROUND);
	ck_assert_uint_eq(held(0, seg.shards_shared), 0);
	ck_assert_uint_eq(held(seg.shard_count, seg.shard_count + 1) + read_count(), held(seg.shards_shared, seg.shard_count));
}
END_TEST

START_TEST(after_resets_among_sixteen_threads_what_is_read_is_what_came_since)
{
	for (int i = 0; i < 3; i++) {
		thread_detach();
		run_observers(observe_and_leave, OBSERVERS, reset_again_and_again);
		reset_session(&seg);
		assert_read(0);
		run_observers(observe_and_leave, OBSERVERS, read_until_all_is_there);
		assert_read((uint64_t)OBSERVERS * ROUNDS * PER_ROUND);
		thread_attach();
	}
}
END_TEST

static void *end_request(void *unused)
{
	thread_attach();
	observe(1); /* its chance to own the gauges */
	ck_assert_uint_eq(self.owns_gauges, 0);
	for (int i = 0; i < 10; i++)
		observe_active(SEG_METHOD_POST, SEG_SCHEME_TLS, -1);
	thread_detach();
	return unused;
}

START_TEST(a_gauge_is_right_whichever_thread_takes_what_another_gave)
{
	pthread_t thread;

	observe(1);
	ck_assert_uint_eq(self.owns_gauges, 1);
	for (int i = 0; i < 10; i++)
		observe_active(SEG_METHOD_POST, SEG_SCHEME_TLS, 1);
	ck_assert_int_eq(seg_process_active(thread_process, SEG_METHOD_POST, SEG_SCHEME_TLS), 10);
	ck_assert_int_eq(pthread_create(&thread, NULL, end_request, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(thread_process->active_owned[SEG_METHOD_POST][SEG_SCHEME_TLS], 10);
	ck_assert_int_eq(seg_process_active(thread_process, SEG_METHOD_POST, SEG_SCHEME_TLS), 0);
	thread_detach();
	thread_attach();
	observe(1);
	ck_assert_uint_eq(self.owns_gauges, 1); /* given back, and free to be taken */
	assert_read(3);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("observe");
	TCase *tcase = tcase_create("observe");
	SRunner *runner = srunner_create(suite);

	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_thread_owns_a_shard_from_its_first_observation_until_it_detaches);
	tcase_add_test(tcase, where_a_label_set_was_counted_last_serves_no_other_one_and_no_other_shard);
	tcase_add_test(tcase, the_next_owner_of_a_shard_goes_on_where_the_one_before_ended);
	tcase_add_test(tcase, two_threads_at_once_own_two_shards);
	tcase_add_test(tcase, who_finds_no_shard_shares_one_and_asks_again_now_and_then);
	tcase_add_test(tcase, a_thread_without_a_slot_of_its_own_owns_no_shard);
	tcase_add_test(tcase, what_a_thread_owns_stays_its_own_if_it_detaches_within_a_call);
	tcase_add_test(tcase, the_child_of_fork_owns_another_shard_than_its_parent);
	tcase_add_test(tcase, shards_of_killed_owners_are_taken_from_them_and_those_of_the_living_are_not);
	tcase_add_test(tcase, threads_that_come_and_go_and_outnumber_the_shards_lose_nothing_and_a_reader_sees_it_grow);
	tcase_add_test(tcase, a_reset_takes_nothing_out_of_shards_to_which_owners_add);
	tcase_add_test(tcase, after_resets_among_sixteen_threads_what_is_read_is_what_came_since);
	tcase_add_test(tcase, a_gauge_is_right_whichever_thread_takes_what_another_gave);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
