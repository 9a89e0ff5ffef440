/* Each call is made in a child with arguments that mean nothing. Where the filter ends a process for it the child ends by
 * SIGSYS, and another one goes on behind that call. What a filter answers by an error is no matter of life and death: whoever
 * makes the call deals with its failure.
 *
 * The child is a plain copy: one that shared our memory would be the end of us, too, where it leaves a core (zap_threads, before
 * Linux 5.16). It has no exit signal, and wait(2) does not find it unless it is asked for (__WCLONE). What it tries first is the
 * call by which its parent waits for it. A process that may not even make a child is not profiled; one that a filter ends for
 * that cannot be helped. So that a filter which allows a program no more than it needs is seldom one of those, the child is
 * made as the program would make what it makes: who makes threads, and no processes, needs clone3; all others clone, which
 * filters know that were written before there was clone3.
 */
#include "trial.h"

#include "../base/clock.h"
#include "../base/real.h"
#include "filter.h"
#include "imports.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS_BYTES = 4096, MASK_BYTES = 8 };
#define WAIT_NS_MAX 1000000000 /* 1 s: for a child to get a core */

/* Waiting, and what keeps the child quiet: no handler of the program's runs in it, and it leaves no core. */
enum { WAITING = 1, QUIET = 3 };
static const uint16_t first_calls[QUIET] = { SYS_wait4, SYS_rt_sigprocmask, SYS_prctl };

/* What parent and child share. */
struct trial {
	_Atomic uint32_t next;  /* of all calls, the one that is tried */
	_Atomic uint32_t child; /* its number, by the kernel, which adds FUTEX_OWNER_DIED when it has died */
};

/* Where it cannot be told there may be one. */
static bool is_filtered(void)
{
	static const char name[] = "\nSeccomp:\t";
	char text[STATUS_BYTES];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return true;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *line = strstr(text, name);
	return !line || line[sizeof(name) - 1] != '0';
}

static void do_nothing(int number)
{
	(void)number;
}

/* By a handler that has something to return from. */
static void return_from_handler(void)
{
	struct sigaction action = { .sa_handler = do_nothing };
	uint64_t bit = 1ULL << (SIGUSR1 - 1);

	if (!permitted(SYS_rt_sigaction) || !permitted(SYS_tgkill) || real.sigaction(SIGUSR1, &action, NULL) != 0)
		return;
	real.syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &bit, NULL, MASK_BYTES);
	real.syscall(SYS_tgkill, real.syscall(SYS_getpid), real.syscall(SYS_gettid), SIGUSR1);
}

static void make_call(uint16_t number)
{
	uint64_t all = ~0ULL;

	switch (number) {
	case SYS_rt_sigprocmask: real.syscall(number, SIG_SETMASK, &all, NULL, MASK_BYTES); break;
	case SYS_prctl: real.syscall(number, PR_SET_DUMPABLE, 0, 0, 0, 0); break;
	case SYS_rt_sigreturn: return_from_handler(); break;
	case SYS_kill: real.syscall(number, real.syscall(SYS_getpid), 0); break;
	case SYS_exit: break; /* it ends by its like */
	default: real.syscall(number, -1, -1, -1, -1, -1, -1);
	}
}

/* The i-th of all calls. False: there are no more. */
static bool call_at(uint32_t i, uint16_t *ret_number)
{
	const struct filter_list first = { first_calls, QUIET }, *list = &first;

	for (enum filter_calls next = 0; i >= list->count; list = &filter_lists[next++]) {
		if (next == FILTER_CALLS_COUNT)
			return false;
		i -= (uint32_t)list->count;
	}
	*ret_number = list->numbers[i];
	return true;
}

/* By two calls that need no trial, since every program's C library made them at its start: the kernel tells of this child's
 * end as of that of a mutex's owner, and of none of its ends is there a core (one byte: none by a pipe either, core(5)). */
static void prepare_end(struct trial *trial)
{
	static struct robust_list entry;
	static struct robust_list_head list;
	const struct rlimit none = { 1, 1 };

	entry.next = &list.list;
	list = (struct robust_list_head){ .list = { &entry }, .futex_offset = (long)((uintptr_t)&trial->child - (uintptr_t)&entry) };
	real.syscall(SYS_set_robust_list, &list, sizeof(list));
	real.syscall(SYS_prlimit64, 0, RLIMIT_CORE, &none, NULL);
}

static _Noreturn void try_calls(struct trial *trial)
{
	_Atomic uint32_t *next = &trial->next;
	uint32_t i = atomic_load_explicit(next, memory_order_relaxed);
	uint16_t number;

	prepare_end(trial);
	for (uint32_t done = WAITING; done < QUIET && done < i; done++)
		if (permitted(first_calls[done]))
			make_call(first_calls[done]);
	for (; call_at(i, &number); atomic_store_explicit(next, ++i, memory_order_relaxed))
		make_call(number);
	for (;;)
		real.syscall(SYS_exit_group, 0);
}

/* The child tells that by going on. Nothing is known yet of any call that would wait for it. */
static bool may_wait(const struct trial *trial)
{
	uint64_t begin_ns = clock_now_ns();
	bool has_died = false;

	while (atomic_load_explicit(&trial->next, memory_order_relaxed) < WAITING && !has_died &&
	       clock_now_ns() - begin_ns < WAIT_NS_MAX)
		has_died = atomic_load_explicit(&trial->child, memory_order_relaxed) & FUTEX_OWNER_DIED;
	return atomic_load_explicit(&trial->next, memory_order_relaxed) >= WAITING;
}

/* As fork(2). A way that is answered by an error is not deadly, and the other one is left. */
static long make_child(struct trial *trial)
{
	const struct clone_args arguments = { .flags = CLONE_CHILD_SETTID, .child_tid = (uintptr_t)&trial->child };
	bool has_threads = imports_has("pthread_create") && !imports_has("fork") && !imports_has("daemon");
	long child = -1;

	atomic_store_explicit(&trial->child, 0, memory_order_relaxed);
	for (int way = 0; way < 2 && child < 0; way++)
		if (has_threads == (way == 0))
			child = real.syscall(SYS_clone3, &arguments, sizeof(arguments));
		else
			child = real.syscall(SYS_clone, CLONE_CHILD_SETTID, NULL, NULL, &trial->child, 0);
	return child;
}

/* In a child, until it has tried all (1) or met one that it must not make (0); -1 = it could not be told. */
static int try_in_child(struct trial *trial)
{
	int status = 0;
	long child = make_child(trial), ended;

	if (child == 0)
		try_calls(trial);
	if (child > 0 && !may_wait(trial))
		return -1;
	do
		ended = child < 0 ? -1 : real.syscall(SYS_wait4, child, &status, __WCLONE, NULL);
	while (ended < 0 && child > 0 && errno == EINTR);
	if (ended < 0)
		return -1;
	return WIFEXITED(status) ? 1 : WTERMSIG(status) == SIGSYS ? 0 : -1;
}

bool trial_is_passed(void)
{
	int saved_errno = errno, is_through = -1;
	uint16_t number;

	if (!is_filtered())
		return true;
	struct trial *trial = mmap(NULL, sizeof(*trial), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trial == MAP_FAILED)
		return false;
	while ((is_through = try_in_child(trial)) == 0 &&
	       call_at(atomic_fetch_add_explicit(&trial->next, 1, memory_order_relaxed), &number))
		permitted_forbid(number);
	munmap(trial, sizeof(*trial));
	errno = saved_errno;
	return is_through == 1 && filter_permits(FILTER_OWN) && filter_permits(FILTER_STARTING);
}
