/* A thread that gets out of the way for as long as anybody asks it to; here it is the test's own. */
#include "../../../shim/setup/aside.h"
#include "../run.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 20000, PATIENCE_MS = 10000 };

static _Atomic int rounds;

static void *sleep_until_asked(void *unused)
{
	(void)unused;
	aside_thread_begins();
	while (!aside_is_asked()) {
		rounds++;
		aside_sleep(LONG_MS);
	}
	aside_thread_ends();
	return NULL;
}

static pthread_t begin_thread(void)
{
	pthread_t thread;

	rounds = 0;
	aside_thread_is_made(true);
	ck_assert_int_eq(pthread_create(&thread, NULL, sleep_until_asked, NULL), 0);
	while (!rounds)
		sched_yield();
	return thread;
}

START_TEST(without_a_thread_nobody_waits)
{
	ck_assert(!aside_is_needed());
	ck_assert(!aside_has_more_rights());
	ck_assert(aside_begin(0));
	ck_assert(aside_is_asked());
	ck_assert(!aside_end());
	ck_assert(!aside_is_asked());
}
END_TEST

START_TEST(a_thread_that_sleeps_ends_at_once_and_is_to_be_made_again)
{
	pthread_t thread = begin_thread();

	ck_assert(aside_begin(PATIENCE_MS));
	pthread_join(thread, NULL);
	ck_assert(aside_end());
	/* The second time nobody made room, since there was nobody. */
	ck_assert(aside_begin(0));
	ck_assert(!aside_end());
}
END_TEST

START_TEST(the_last_of_those_who_asked_makes_it_again)
{
	pthread_t thread = begin_thread();

	ck_assert(aside_begin(PATIENCE_MS));
	ck_assert(aside_begin(PATIENCE_MS));
	pthread_join(thread, NULL);
	ck_assert(!aside_end());
	ck_assert(aside_is_asked());
	ck_assert(aside_end());
	ck_assert(!aside_is_asked());
}
END_TEST

START_TEST(a_thread_that_has_not_begun_yet_is_waited_for_so_long_and_no_longer)
{
	aside_thread_is_made(true);
	ck_assert(!aside_begin(2));
	ck_assert(!aside_end());
	aside_thread_is_made(false);
	ck_assert(aside_begin(0));
	ck_assert(!aside_end());
}
END_TEST

START_TEST(who_changed_rights_of_one_thread_alone_needs_the_other_gone)
{
	pthread_t thread = begin_thread();

	ck_assert(!aside_is_needed());
	ck_assert(!aside_has_more_rights());
	aside_rights_changed();
	ck_assert(aside_is_needed());
	ck_assert(aside_begin(PATIENCE_MS));
	pthread_join(thread, NULL);
	ck_assert(!aside_is_needed());
	ck_assert(aside_end());
	/* A new thread has the rights of who makes it. */
	thread = begin_thread();
	ck_assert(!aside_is_needed());
	ck_assert(aside_begin(PATIENCE_MS));
	pthread_join(thread, NULL);
	ck_assert(aside_end());
}
END_TEST

START_TEST(a_fork_has_no_thread_and_nobody_asks)
{
	pthread_t thread = begin_thread();
	int status = -1;

	pid_t child = fork();
	if (child == 0) {
		aside_forked();
		_exit(aside_is_asked() || aside_is_needed() || !aside_begin(0) || aside_end());
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(aside_begin(PATIENCE_MS));
	pthread_join(thread, NULL);
	ck_assert(aside_end());
}
END_TEST

START_TEST(a_sleep_ends_by_itself)
{
	aside_sleep(1);
	ck_assert(!aside_is_asked());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("aside");
	TCase *tcase = tcase_create("aside");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, without_a_thread_nobody_waits);
	tcase_add_test(tcase, a_thread_that_sleeps_ends_at_once_and_is_to_be_made_again);
	tcase_add_test(tcase, the_last_of_those_who_asked_makes_it_again);
	tcase_add_test(tcase, a_thread_that_has_not_begun_yet_is_waited_for_so_long_and_no_longer);
	tcase_add_test(tcase, who_changed_rights_of_one_thread_alone_needs_the_other_gone);
	tcase_add_test(tcase, a_fork_has_no_thread_and_nobody_asks);
	tcase_add_test(tcase, a_sleep_ends_by_itself);
	return run_tests(srunner_create(suite));
}
