#include "../../../shim/base/clock.h"
#include "../../../shim/sampling/handler.h"
#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/perf.h"
#include "../../../shim/sampling/pulse.h"
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/sampling/timer.h"
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUSY_NS 400000000 /* of a thread's own CPU time */

static void start_sampling(void)
{
	fixture_start_sampling(1000, "libunwind");
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void burn(uint64_t ns)
{
	volatile unsigned work = 0;

	for (uint64_t end = thread_cpu_ns() + ns; thread_cpu_ns() < end;)
		for (unsigned i = 0; i < 20000; i++)
			work = work + i;
}

/* Every POSIX timer of the process has a line "ID: ..." there (proc(5)). */
static int count_timers(void)
{
	char line[256];
	int count = 0;
	FILE *file = fopen("/proc/self/timers", "r");

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file))
		count += strncmp(line, "ID:", 3) == 0;
	fclose(file);
	return count;
}

static void expect_share(uint64_t weight_ns, uint64_t cpu_ns)
{
	ck_assert_uint_ge(weight_ns, cpu_ns * 9 / 10);
	ck_assert_uint_le(weight_ns, cpu_ns * 11 / 10);
}

START_TEST(the_weights_of_a_busy_thread_sum_to_its_cpu_time)
{
	sampling_thread_start();
	uint64_t begin_ns = thread_cpu_ns();
	burn(BUSY_NS);
	uint64_t cpu_ns = thread_cpu_ns() - begin_ns;
	sampling_thread_stop();
	expect_share(fixture_cpu_ns(), cpu_ns);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 0);
}
END_TEST

static void *busy_thread(void *ret_cpu_ns)
{
	thread_attach();
	sampling_thread_start();
	burn(BUSY_NS / 2);
	*(uint64_t *)ret_cpu_ns = thread_cpu_ns();
	sampling_thread_stop();
	thread_detach();
	return NULL;
}

START_TEST(two_threads_together_sum_to_their_cpu_time)
{
	pthread_t threads[2];
	uint64_t cpu_ns[2];

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, busy_thread, &cpu_ns[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	expect_share(fixture_cpu_ns(), cpu_ns[0] + cpu_ns[1]);
}
END_TEST

static void *attributed_thread(void *endpoint)
{
	thread_attach();
	self.work.endpoint = (uint32_t)(uintptr_t)endpoint;
	sampling_thread_start();
	burn(BUSY_NS / 2);
	sampling_thread_stop();
	thread_detach();
	return NULL;
}

START_TEST(two_equally_busy_threads_get_equal_weights)
{
	pthread_t threads[2];

	for (uintptr_t i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, attributed_thread, (void *)(SEG_ENDPOINT_FIRST + i)), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	uint64_t first = atomic_load(&seg.endpoints[SEG_ENDPOINT_FIRST].cpu_ns);
	uint64_t second = atomic_load(&seg.endpoints[SEG_ENDPOINT_FIRST + 1].cpu_ns);
	expect_share(first, BUSY_NS / 2);
	expect_share(second, BUSY_NS / 2);
}
END_TEST

static void *short_thread(void *unused)
{
	(void)unused;
	thread_attach();
	sampling_thread_start();
	sampling_thread_start(); /* has one: nothing happens */
	if (self.timer < 0)
		return NULL;
	sampling_thread_stop();
	sampling_thread_stop();
	thread_detach();
	return (void *)1;
}

START_TEST(thread_churn_leaves_no_timers)
{
	int before = count_timers();

	for (int i = 0; i < 200; i++) {
		pthread_t thread;
		void *result;
		ck_assert_int_eq(pthread_create(&thread, NULL, short_thread, NULL), 0);
		pthread_join(thread, &result);
		ck_assert_ptr_nonnull(result);
	}
	ck_assert_int_eq(count_timers(), before);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_TIMER_FAILED), 0);
}
END_TEST

static void *brief_thread(void *unused)
{
	(void)unused;
	thread_attach();
	sampling_thread_start();
	sampling_thread_stop();
	thread_detach();
	return NULL;
}

static void *brief_threads(void *unused)
{
	for (int i = 0; i < 2000; i++) {
		pthread_t thread;
		ck_assert_int_eq(pthread_create(&thread, NULL, brief_thread, NULL), 0);
		pthread_join(thread, NULL);
	}
	return unused;
}

START_TEST(threads_that_end_while_they_are_looked_for_are_counted_off_once)
{
	pthread_t makers[2];

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&makers[i], NULL, brief_threads, NULL), 0);
	while (pthread_tryjoin_np(makers[0], NULL) != 0)
		timer_adopt_all(100, false);
	pthread_join(makers[1], NULL);
	timer_adopt_all(100, false);
	/* Who has a place is met, and only who lives has one. */
	ck_assert_uint_eq(timer_count(), 0);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_TIMER_FAILED), 0);
}
END_TEST

enum { FRACTION_NS = 15000000 };

/* Each thread lives for a third of a period. Were the first expiry a full period away, none would ever be met. */
static void *fraction_thread(void *unused)
{
	(void)unused;
	thread_attach();
	sampling_thread_start();
	burn(FRACTION_NS);
	sampling_thread_stop();
	thread_detach();
	return NULL;
}

START_TEST(threads_shorter_than_a_period_are_met_in_proportion)
{
	enum { THREADS = 60 };

	atomic_store(&seg.head->hz_now, 1000000000 / (3 * FRACTION_NS)); /* a period is far more than a tick, in which what is due is noticed */
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;
		ck_assert_int_eq(pthread_create(&thread, NULL, fraction_thread, NULL), 0);
		pthread_join(thread, NULL);
	}
	/* A third of them in expectation, less what no tick came for; four standard deviations are 15. */
	ck_assert_uint_ge(fixture_counter(SEG_COUNTER_SAMPLES), 3);
	ck_assert_uint_le(fixture_counter(SEG_COUNTER_SAMPLES), THREADS / 3 + 15);
}
END_TEST

static _Atomic int stage;
static _Atomic uint64_t adopted_cpu_ns;

static void *old_thread(void *unused)
{
	(void)unused;
	atomic_store(&stage, 1);
	while (atomic_load(&stage) < 2)
		usleep(1000);
	uint64_t begin_ns = thread_cpu_ns();
	burn(BUSY_NS / 2);
	atomic_store(&adopted_cpu_ns, thread_cpu_ns() - begin_ns);
	atomic_store(&stage, 3);
	while (atomic_load(&stage) < 4)
		usleep(1000);
	return NULL;
}

static pthread_t start_old_thread(void)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, old_thread, NULL), 0);
	while (atomic_load(&stage) < 1)
		usleep(1000);
	return thread;
}

static void wait_for_stage(int wanted)
{
	while (atomic_load(&stage) < wanted)
		usleep(1000);
}

START_TEST(a_thread_from_before_the_start_is_sampled_too)
{
	pthread_t thread = start_old_thread();

	sampling_adopt_threads();
	ck_assert_int_eq(count_timers(), 1);
	sampling_adopt_threads();
	ck_assert_int_eq(count_timers(), 1);
	atomic_store(&stage, 2);
	wait_for_stage(3);
	expect_share(fixture_cpu_ns(), atomic_load(&adopted_cpu_ns));
	atomic_store(&stage, 4);
	pthread_join(thread, NULL);
	/* It could not delete its timer; a look does, once the kernel lists it no more, which is a moment after the join. */
	for (int looks = 0; count_timers() && looks < 1000; looks++) {
		usleep(1000);
		sampling_adopt_threads();
	}
	ck_assert_int_eq(count_timers(), 0);
}
END_TEST

START_TEST(a_pause_deletes_the_timers_of_adopted_threads)
{
	pthread_t thread = start_old_thread();

	sampling_thread_start();
	sampling_adopt_threads();
	ck_assert_int_eq(count_timers(), 2);
	sampling_pause();
	ck_assert_int_eq(count_timers(), 0);
	sampling_resume();
	ck_assert_int_eq(count_timers(), 2);
	atomic_store(&stage, 4);
	sampling_pause();
	pthread_cancel(thread);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(a_timer_that_cannot_be_made_is_counted_and_logged_once)
{
	struct rlimit none = { 0, 0 };

	ck_assert_int_eq(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	sampling_thread_start();
	ck_assert_int_eq(self.timer, -1);
	sampling_thread_start();
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_TIMER_FAILED), 2);
	ck_assert_uint_eq(fixture_log_count, 1);
	ck_assert_ptr_nonnull(strstr(fixture_log_last, "no CPU timer"));
}
END_TEST

/* The child's exit code says what failed. */
static int forked_body(void)
{
	thread_forget();
	thread_attach();
	sampling_forked();
	if (self.timer < 0)
		return 1;
	if (count_timers() != 1)
		return 2;
	uint64_t before = fixture_cpu_ns();
	uint64_t begin_ns = thread_cpu_ns();
	burn(BUSY_NS / 4);
	uint64_t cpu_ns = thread_cpu_ns() - begin_ns;
	uint64_t weight_ns = fixture_cpu_ns() - before;
	return weight_ns >= cpu_ns * 8 / 10 && weight_ns <= cpu_ns * 12 / 10 ? 0 : 3;
}

START_TEST(a_forked_child_is_sampled_by_a_timer_of_its_own)
{
	int status;

	sampling_thread_start();
	pid_t pid = fork();
	if (pid == 0)
		_exit(forked_body());
	sampling_thread_stop();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(a_child_of_vfork_changes_nothing_in_its_parent)
{
	int status;
	struct sigaction ignore = { .sa_handler = SIG_IGN }, now;

	sampling_thread_start();
	int32_t timer = self.timer;
	pid_t pid = vfork();
	if (pid == 0) {
		sampling_program_action(SIGPROF, &ignore, NULL);
		sampling_pause();
		sampling_resume();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ck_assert_int_eq(self.timer, timer);
	ck_assert_int_eq(count_timers(), 1);
	ck_assert_uint_eq(atomic_load(&handler.is_paused), 0);
	sampling_program_action(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_handler, (void *)SIG_DFL);
	sampling_thread_stop();
}
END_TEST

START_TEST(the_perf_clock_has_the_rate_that_the_budget_has_room_for)
{
	enum { TICK_HZ = 250, ONE_PERCENT = 10000, HALF = 500000, BARE = 3000, VIRTUAL = 26000 };

	ck_assert_uint_eq(perf_rate(1000, TICK_HZ, 0, VIRTUAL), 1000);
	ck_assert_uint_eq(perf_rate(1000, TICK_HZ, 0, 0), 1000);
	ck_assert_uint_eq(perf_rate(1000, TICK_HZ, HALF, 0), 0); /* what it costs is not known */
	ck_assert_uint_eq(perf_rate(1000, TICK_HZ, ONE_PERCENT, VIRTUAL), 0); /* 127 would be within it */
	ck_assert_uint_eq(perf_rate(1000, TICK_HZ, HALF, VIRTUAL), 1000);
	ck_assert_uint_eq(perf_rate(10000, TICK_HZ, HALF, VIRTUAL), (HALF * 500 - TICK_HZ * PULSE_SAMPLE_NS) / (VIRTUAL + PULSE_SAMPLE_NS));
	ck_assert_uint_eq(perf_rate(400, TICK_HZ, ONE_PERCENT, BARE), 400);
	ck_assert_uint_eq(perf_rate(10000, TICK_HZ, ONE_PERCENT, BARE), 516);
	ck_assert_uint_eq(perf_rate(10000, TICK_HZ, 2000, BARE), 0); /* the timer takes it all */
}
END_TEST

static bool is_refused(void)
{
	return atomic_load(&seg.head->perf_error) != 0;
}

START_TEST(what_an_expiry_of_the_perf_clock_costs_is_measured_once)
{
	perf_measure();
	uint32_t tick_ns = atomic_load(&seg.head->perf_tick_ns);
	if (is_refused())
		ck_assert_uint_eq(tick_ns, 0);
	else
		ck_assert_uint_gt(tick_ns, 100); /* no interrupt is that short */
	atomic_store(&seg.head->perf_tick_ns, 1);
	perf_measure();
	ck_assert_uint_eq(atomic_load(&seg.head->perf_tick_ns), 1);
	ck_assert_ptr_null((void *)pulse.perf_head);
}
END_TEST

START_TEST(each_expiry_of_the_perf_clock_is_accounted_for)
{
	enum { DEAR_NS = 1000000, HZ = 1000 };

	sampling_thread_start();
	atomic_store(&seg.head->perf_tick_ns, DEAR_NS);
	uint64_t before_ns = fixture_overhead_ns();
	bool has_begun = perf_begin(HZ);
	burn(BUSY_NS);
	perf_end();
	uint64_t told_ns = fixture_overhead_ns() - before_ns;
	sampling_thread_stop();
	ck_assert_uint_ne(has_begun, is_refused());
	uint64_t expiries = has_begun ? BUSY_NS / (1000000000 / HZ) : 0;
	ck_assert_uint_ge(told_ns, expiries * DEAR_NS * 9 / 10);
	ck_assert_uint_le(told_ns, expiries * DEAR_NS * 11 / 10 + BUSY_NS / 10);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("timers") };

	tcase_set_timeout(cases[0], 30);
	tcase_add_checked_fixture(cases[0], start_sampling, NULL);
	tcase_add_test(cases[0], the_weights_of_a_busy_thread_sum_to_its_cpu_time);
	tcase_add_test(cases[0], two_threads_together_sum_to_their_cpu_time);
	tcase_add_test(cases[0], two_equally_busy_threads_get_equal_weights);
	tcase_add_test(cases[0], thread_churn_leaves_no_timers);
	tcase_add_test(cases[0], threads_that_end_while_they_are_looked_for_are_counted_off_once);
	tcase_add_test(cases[0], threads_shorter_than_a_period_are_met_in_proportion);
	tcase_add_test(cases[0], a_thread_from_before_the_start_is_sampled_too);
	tcase_add_test(cases[0], a_pause_deletes_the_timers_of_adopted_threads);
	tcase_add_test(cases[0], a_timer_that_cannot_be_made_is_counted_and_logged_once);
	tcase_add_test(cases[0], a_forked_child_is_sampled_by_a_timer_of_its_own);
	tcase_add_test(cases[0], a_child_of_vfork_changes_nothing_in_its_parent);
	tcase_add_test(cases[0], the_perf_clock_has_the_rate_that_the_budget_has_room_for);
	tcase_add_test(cases[0], what_an_expiry_of_the_perf_clock_costs_is_measured_once);
	tcase_add_test(cases[0], each_expiry_of_the_perf_clock_is_accounted_for);
	return fixture_run(cases, 1, "timer");
}
