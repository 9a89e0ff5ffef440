/* What a filter from before the start allows is found out by trying, and nobody notices. */
#include "../../../shim/base/real.h"
#include "../../../shim/setup/filter.h"
#include "../../../shim/setup/trial.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)
#define IF_EQUAL(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, no)
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)

static volatile sig_atomic_t signals;

static void count(int number)
{
	(void)number;
	signals++;
}

static void forbid(int number, uint32_t action)
{
	struct sock_filter lines[] = { LOAD, IF_EQUAL((uint32_t)number, 0, 1), RETURN(action), RETURN(SECCOMP_RET_ALLOW) };
	struct sock_fprog filter = { 4, lines };

	real_resolve();
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

static const int of_hooks[] = { SYS_get_robust_list, SYS_rt_sigreturn, SYS_getrusage };

START_TEST(calls_of_hooks_that_end_a_process_are_found)
{
	forbid(of_hooks[_i], SECCOMP_RET_KILL_PROCESS);
	ck_assert(!trial_is_passed());
	ck_assert(!permitted((unsigned)of_hooks[_i]));
}
END_TEST

START_TEST(others_are_found_and_the_trial_goes_on_behind_them)
{
	forbid(SYS_accept4, SECCOMP_RET_KILL_PROCESS);
	forbid(SYS_perf_event_open, SECCOMP_RET_KILL_THREAD);
	forbid(SYS_pidfd_getfd, SECCOMP_RET_TRAP);
	ck_assert(trial_is_passed());
	ck_assert(!permitted(SYS_accept4) && !permitted(SYS_perf_event_open) && !permitted(SYS_pidfd_getfd));
	ck_assert(!filter_permits(FILTER_SERVING));
	ck_assert(permitted(SYS_bind) && permitted(SYS_kcmp));
}
END_TEST

START_TEST(what_is_answered_by_an_error_is_nobodys_end)
{
	forbid(SYS_get_robust_list, SECCOMP_RET_ERRNO | EPERM);
	ck_assert(trial_is_passed());
	ck_assert(filter_permits(FILTER_OWN) && filter_permits(FILTER_SERVING) && filter_permits(FILTER_SPARED));
}
END_TEST

START_TEST(the_program_hears_nothing_of_it)
{
	sigset_t before, after, waiting;

	signal(SIGCHLD, count);
	signal(SIGUSR1, count);
	signal(SIGSYS, count);
	sigprocmask(SIG_BLOCK, NULL, &before);
	forbid(SYS_perf_event_open, SECCOMP_RET_KILL_PROCESS);
	errno = 77;
	ck_assert(trial_is_passed());
	ck_assert_int_eq(errno, 77);
	ck_assert_int_eq(signals, 0);
	sigprocmask(SIG_BLOCK, NULL, &after);
	ck_assert_mem_eq(&before, &after, 8);
	sigpending(&waiting);
	ck_assert(sigisemptyset(&waiting));
	ck_assert_int_eq(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trial");
	TCase *tests = tcase_create("trial");

	suite_add_tcase(suite, tests);
	tcase_add_loop_test(tests, calls_of_hooks_that_end_a_process_are_found, 0, (int)(sizeof(of_hooks) / sizeof(of_hooks[0])));
	tcase_add_test(tests, others_are_found_and_the_trial_goes_on_behind_them);
	tcase_add_test(tests, what_is_answered_by_an_error_is_nobodys_end);
	tcase_add_test(tests, the_program_hears_nothing_of_it);
	return run_tests(srunner_create(suite)) ? EXIT_FAILURE : EXIT_SUCCESS;
}
