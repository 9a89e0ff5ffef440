#include "../../../exporter/process_usage.h"
#include "../run.h"

#include <check.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

START_TEST(this_process_runs_and_its_usage_is_read)
{
	struct snapshot_usage usage;
	struct rlimit limit;
	struct timespec now;

	ck_assert(process_is_running(getpid(), boot_ns()));
	process_usage_read(&usage, getpid());
	getrlimit(RLIMIT_NOFILE, &limit);
	clock_gettime(CLOCK_REALTIME, &now);
	ck_assert(usage.has_stat && usage.has_open_fds);
	ck_assert(!usage.has_max_fds || usage.max_fds == limit.rlim_cur);
	ck_assert_uint_gt(usage.resident_bytes, 0);
	ck_assert_uint_gt(usage.virtual_bytes, usage.resident_bytes);
	ck_assert_uint_le(usage.start_real_ns / 1000000000, (uint64_t)now.tv_sec + 1);
	ck_assert_uint_gt(usage.start_real_ns / 1000000000, (uint64_t)now.tv_sec - 3600);
}
END_TEST

START_TEST(open_descriptors_are_counted_without_our_own)
{
	struct snapshot_usage before, after;

	process_usage_read(&before, getpid());
	int fd = dup(0);
	process_usage_read(&after, getpid());
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(after.open_fds, before.open_fds + 1);
	close(fd);
}
END_TEST

START_TEST(a_process_younger_than_the_slot_is_another_one)
{
	ck_assert(!process_is_running(getpid(), 1));
	ck_assert(process_is_running(getpid(), 0)); /* not known when */
}
END_TEST

START_TEST(no_process_has_an_id_beyond_the_largest)
{
	struct snapshot_usage usage;

	ck_assert(!process_is_running(4200001, 0)); /* PID_MAX_LIMIT is 4194304 */
	ck_assert(!process_is_running(0, 0));
	process_usage_read(&usage, 4200001);
	ck_assert(!usage.has_stat && !usage.has_open_fds && !usage.has_max_fds);
}
END_TEST

START_TEST(a_killed_process_that_nobody_waited_for_does_not_run)
{
	siginfo_t info;
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	ck_assert(process_is_running(child, 0));
	kill(child, SIGKILL);
	ck_assert_int_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	ck_assert(!process_is_running(child, 0));
	waitpid(child, NULL, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("process_usage");
	TCase *tests = tcase_create("process_usage");

	tcase_add_test(tests, this_process_runs_and_its_usage_is_read);
	tcase_add_test(tests, open_descriptors_are_counted_without_our_own);
	tcase_add_test(tests, a_process_younger_than_the_slot_is_another_one);
	tcase_add_test(tests, no_process_has_an_id_beyond_the_largest);
	tcase_add_test(tests, a_killed_process_that_nobody_waited_for_does_not_run);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
