/* A session that is reset: all counters begin anew, whatever is no counter stays, and snapshots of before and after are
 * not taken for one. */
#include "../../../exporter/serve/reset.h"
#include "../../../exporter/snapshot.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct made_session made;

static void set_up(void)
{
	made_init(&made);
	made_read(&made, getenv("MADE_SESSION"));
}

static void tear_down(void)
{
	made_deinit(&made);
}

static struct snapshot *take(void)
{
	struct snapshot *snapshot = snapshot_take(&made.seg);

	ck_assert_ptr_nonnull(snapshot);
	return snapshot;
}

#define ASSERT_SAME(a, b, array) ck_assert_mem_eq((a)->array, (b)->array, sizeof((a)->array))
#define ASSERT_SAME_LIST(a, b, list, count)                                   \
	do {                                                                  \
		ck_assert_uint_eq((a)->count, (b)->count);                    \
		ck_assert_mem_eq((a)->list, (b)->list, (a)->count * sizeof((a)->list[0])); \
	} while (0)

static void assert_same_sums(const struct snapshot *a, const struct snapshot *b)
{
#define ASSERT_SAME_SUMS(name) ASSERT_SAME(a, b, name);
	SEG_THREAD_SUMS(ASSERT_SAME_SUMS)
#undef ASSERT_SAME_SUMS
}

START_TEST(after_a_reset_it_is_as_if_nothing_had_come_since)
{
	struct snapshot *before = take(), *nothing = take();

	ck_assert_uint_gt(before->slow_count, 0);
	ck_assert_uint_gt(before->series_count, 0);
	ck_assert_uint_gt(before->cell_count, 0);
	snapshot_subtract(nothing, before);
	reset_session(&made.seg);
	struct snapshot *after = take();
	assert_same_sums(after, nothing);
	ASSERT_SAME_LIST(after, nothing, endpoints, endpoint_count);
	ASSERT_SAME_LIST(after, nothing, cells, cell_count);
	ck_assert_uint_eq(after->slow_count, 0);
	ck_assert_uint_eq(after->series_count, nothing->series_count);
	for (uint32_t i = 0; i < after->series_count; i++) {
		ASSERT_SAME(&after->series[i], &nothing->series[i], buckets);
		ck_assert_uint_eq(after->series[i].sum_ns + after->series[i].count, 0);
		ck_assert(!after->series[i].exemplar.is_used);
	}
	ck_assert_uint_eq(after->damaged_entries, 0);
	ck_assert_uint_lt(after->duration_ns, 10000000000ULL); /* not the minute that the session says it is old */
	snapshot_free(before);
	snapshot_free(nothing);
	snapshot_free(after);
}
END_TEST

START_TEST(what_is_no_counter_stays)
{
	struct snapshot *before = take();

	reset_session(&made.seg);
	struct snapshot *after = take();
	ASSERT_SAME(after, before, open_connections);
	ASSERT_SAME(after, before, active_requests);
	ASSERT_SAME(after, before, open_streams);
	ASSERT_SAME(after, before, peers);
	ASSERT_SAME_LIST(after, before, connections, connection_count);
	ASSERT_SAME_LIST(after, before, modules, module_count);
	ASSERT_SAME_LIST(after, before, nodes, node_count);
	ck_assert_mem_eq(&after->config, &before->config, sizeof(after->config));
	snapshot_free(before);
	snapshot_free(after);
}
END_TEST

START_TEST(what_comes_after_a_reset_is_counted_exactly)
{
	const struct snapshot_series *series = NULL;

	reset_session(&made.seg);
	made_command(&made, "requests list 200 - http 7 100");
	made_command(&made, "call recv 5 600");
	made_command(&made, "stack list 3 30 1 1 main serve");
	struct snapshot *after = take();
	for (uint32_t i = 0; i < after->series_count; i++)
		if (after->series[i].count) {
			ck_assert_ptr_null(series);
			series = &after->series[i];
		}
	ck_assert_uint_eq(series->count, 7);
	ck_assert_uint_eq(series->sum_ns, 700000);
	ck_assert_uint_eq(after->call_counts[SEG_CALL_RECV], 5);
	ck_assert_uint_eq(after->call_ns[SEG_CALL_RECV], 600);
	uint64_t samples = 0;
	for (uint32_t i = 0; i < after->cell_count; i++)
		samples += after->cells[i].samples;
	ck_assert_uint_eq(samples, 3);
	snapshot_free(after);
}
END_TEST

START_TEST(a_snapshot_of_before_is_not_subtracted_from_one_of_after)
{
	struct snapshot *before = take();

	reset_session(&made.seg);
	made_command(&made, "call recv 5 600");
	struct snapshot *after = take();
	snapshot_subtract(after, before);
	ck_assert(after->is_difference);
	ck_assert_uint_eq(after->call_counts[SEG_CALL_RECV], 5);
	snapshot_free(before);
	snapshot_free(after);
}
END_TEST

START_TEST(a_reset_that_its_server_did_not_live_to_finish_is_finished_by_the_next)
{
	made_command(&made, "call recv 5 600");
	reset_finish(&made.seg); /* there is none to be finished */
	struct snapshot *before = take();
	ck_assert_uint_gt(before->cell_count, 0);
	ck_assert_uint_gt(before->call_counts[SEG_CALL_RECV], 0);
	atomic_store(&made.seg.head->resets, 1);
	reset_finish(&made.seg);
	ck_assert_uint_eq(made.seg.head->resets, 2);
	struct snapshot *after = take();
	ck_assert_uint_eq(after->call_counts[SEG_CALL_RECV], 0);
	snapshot_free(before);
	snapshot_free(after);
}
END_TEST

enum { RESETS = 20 };
static _Atomic bool is_over;

static void *reset_again_and_again(void *unused)
{
	for (int i = 0; i < RESETS; i++) {
		reset_session(&made.seg);
		poll(NULL, 0, 20); /* so that there is a time between two */
	}
	is_over = true;
	return unused;
}

/* While a reset is under way cells are clear and endpoints are not yet: a snapshot that mixed them would tell of samples
 * that were lost. */
START_TEST(a_snapshot_taken_during_resets_is_of_one_side)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, reset_again_and_again, NULL), 0);
	while (!is_over) {
		struct snapshot *snapshot = take();
		ck_assert_uint_eq(snapshot->resets & 1, 0);
		snapshot_free(snapshot);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(made.seg.head->resets, 2 * RESETS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reset");
	TCase *tcase = tcase_create("reset");
	SRunner *runner = srunner_create(suite);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, after_a_reset_it_is_as_if_nothing_had_come_since);
	tcase_add_test(tcase, what_is_no_counter_stays);
	tcase_add_test(tcase, what_comes_after_a_reset_is_counted_exactly);
	tcase_add_test(tcase, a_snapshot_of_before_is_not_subtracted_from_one_of_after);
	tcase_add_test(tcase, a_reset_that_its_server_did_not_live_to_finish_is_finished_by_the_next);
	tcase_add_test(tcase, a_snapshot_taken_during_resets_is_of_one_side);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
