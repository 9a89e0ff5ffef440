/* A thread that goes on as another one is the same to its program and to libc, but for the table of descriptors. */
#include "../../../shim/setup/successor.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t left_locked;
static __thread int own;

static struct {
	bool has_begun, has_others_mask;
	pid_t before, after;
	int own_number, programs_number, own;
	pthread_t self;
} seen;

static void *go_on(void *programs_number)
{
	sigset_t mask, now;

	own = 42;
	sigfillset(&mask);
	sigdelset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &mask); /* as the kernel has it */
	seen.before = gettid();
	seen.has_begun = successor_begins();
	seen.after = gettid();
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	seen.has_others_mask = memcmp(&mask, &now, 8) != 0;
	seen.self = pthread_self();
	seen.own = own;
	seen.own_number = open("/dev/null", O_RDONLY);
	seen.programs_number = *(int *)programs_number;
	close(seen.programs_number);
	pthread_mutex_lock(&left_locked);
	return &seen;
}

static pthread_t go_on_in_thread(int *programs_number)
{
	pthread_mutexattr_t robust;
	pthread_t thread;
	void *result;

	pthread_mutexattr_init(&robust);
	pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&left_locked, &robust);
	*programs_number = dup(STDOUT_FILENO);
	ck_assert_int_eq(pthread_create(&thread, NULL, go_on, programs_number), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_eq(result, &seen);
	ck_assert(seen.has_begun);
	return thread;
}

START_TEST(its_variables_mask_and_name_to_libc_stay_and_its_number_is_another)
{
	int number;
	pthread_t thread = go_on_in_thread(&number);

	ck_assert(pthread_equal(thread, seen.self));
	ck_assert_int_eq(seen.own, 42);
	ck_assert(!seen.has_others_mask);
	ck_assert_int_ne(seen.before, seen.after);
	ck_assert_int_lt(syscall(SYS_tgkill, getpid(), seen.before, 0), 0);
}
END_TEST

START_TEST(what_it_opens_and_closes_is_its_own)
{
	int number;

	go_on_in_thread(&number);
	ck_assert_int_ge(fcntl(number, F_GETFD), 0);
	ck_assert_int_ge(seen.own_number, 0);
	ck_assert_int_lt(fcntl(seen.own_number, F_GETFD), 0);
}
END_TEST

/* By its number in the mutex, and by the list that the kernel looks through at its end. */
START_TEST(a_robust_mutex_that_it_holds_at_its_end_is_handed_on)
{
	int number;

	go_on_in_thread(&number);
	ck_assert_int_eq(pthread_mutex_lock(&left_locked), EOWNERDEAD);
}
END_TEST

static atomic_bool has_gone_on, is_through;

static void *watch_ids(void *unused)
{
	(void)unused;
	atomic_store(&has_gone_on, successor_begins());
	while (!atomic_load(&is_through))
		;
	return (void *)syscall(SYS_getegid);
}

/* For that libc sends a signal to every thread by its number, and waits until each has done it. */
START_TEST(a_change_of_ids_reaches_it)
{
	void *group = NULL;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, watch_ids, NULL), 0);
	while (!atomic_load(&has_gone_on))
		;
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(setregid(getgid(), getgid()), 0);
	if (geteuid() == 0) /* others have no group to change to */
		ck_assert_int_eq(setegid(65534), 0);
	atomic_store(&is_through, true);
	ck_assert_int_eq(pthread_join(thread, &group), 0);
	ck_assert_int_eq((gid_t)(uintptr_t)group, getegid());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("successor");
	TCase *tests = tcase_create("successor");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, its_variables_mask_and_name_to_libc_stay_and_its_number_is_another);
	tcase_add_test(tests, what_it_opens_and_closes_is_its_own);
	tcase_add_test(tests, a_robust_mutex_that_it_holds_at_its_end_is_handed_on);
	tcase_add_test(tests, a_change_of_ids_reaches_it);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
