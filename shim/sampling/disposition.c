/* Dispositions are kept in a ring: one that is read in a handler while it is replaced is still whole, unless the program
 * calls sigaction RING times meanwhile. No lock, since sigaction may be called in a handler that interrupts itself.
 *
 * A SIGPROF that is not ours and comes to a thread that blocks it goes on as the deputy: to the thread if it was sent to
 * the thread, else to the process, where the kernel finds a thread that lets it through, or keeps it until one does, or
 * waits for it, or reads it from a descriptor. What came with it is kept here meanwhile.
 */
#include "disposition.h"

#include "../base/hot.h"
#include "deputy.h"
#include "restart.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	RING = 64,
	LETTERS = 64, /* one for each thread that may have one pending, and for the process; beyond, the oldest is lost */
	KERNEL_MASK_BYTES = 8,
};

struct kept {
	struct sigaction ring[RING]; /* [0] is SIG_DFL, as a program begins */
	_Atomic uint32_t next;
	_Atomic uint32_t current;
};

static struct kept kept_prof = { .next = 1 }, kept_deputy = { .next = 1 }, kept_report = { .next = 1 };

HOT_DATA _Atomic bool disposition_is_shared;

static siginfo_t letters[LETTERS];
static _Atomic uint32_t next_letter;
static _Atomic uint32_t bare; /* sent without one, since the kernel had no room (RLIMIT_SIGPENDING) */

static uint64_t change_mask(int how, uint64_t mask)
{
	uint64_t old = 0;

	syscall(SYS_rt_sigprocmask, how, &mask, &old, KERNEL_MASK_BYTES);
	return old;
}

void disposition_thread_begin(void)
{
	bool is_shielded = deputy_is_shielded();
	uint64_t mask = change_mask(SIG_BLOCK, is_shielded ? deputy_bit_of(SIGPROF) : 0);

	if (deputy_signal && mask & deputy_bit_of(SIGPROF) && !is_shielded)
		change_mask(SIG_SETMASK, deputy_kernel_mask(mask));
}

bool disposition_end_shield(void)
{
	if (deputy_is_shielded())
		return false;
	if (deputy_forget_shield())
		change_mask(SIG_UNBLOCK, deputy_bit_of(SIGPROF));
	return true;
}

/* For this thread, where it blocks that. Signals of SIGPROF's kind do not queue. */
static bool is_one_waiting(void)
{
	uint64_t pending = 0;

	syscall(SYS_rt_sigpending, &pending, KERNEL_MASK_BYTES);
	return pending & deputy_bit_of(deputy_signal);
}

/* deputy: its bit where that shall stay blocked, whatever the program says. */
static void show_program_mask(uint64_t deputy)
{
	uint64_t mask = change_mask(SIG_BLOCK, 0);

	if (deputy_signal && mask & (deputy_bit_of(SIGPROF) | deputy_bit_of(deputy_signal)))
		change_mask(SIG_SETMASK, deputy_program_mask(mask) | deputy);
}

void disposition_thread_end(void)
{
	show_program_mask(deputy_bit_of(deputy_signal));
}

void disposition_mask_pause(void)
{
	show_program_mask(is_one_waiting() ? deputy_bit_of(deputy_signal) : 0);
}

static struct kept *kept_of(int number)
{
	return number == SIGPROF ? &kept_prof : number == deputy_signal ? &kept_deputy : &kept_report;
}

struct sigaction sig_disposition(int number)
{
	struct kept *kept = kept_of(number);

	return kept->ring[atomic_load_explicit(&kept->current, memory_order_acquire)];
}

void disposition_set(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct kept *kept = kept_of(number);
	struct sigaction old;

	if (!action) {
		if (ret_old)
			*ret_old = sig_disposition(number);
		return;
	}
	uint32_t index = atomic_fetch_add_explicit(&kept->next, 1, memory_order_relaxed) % RING;
	kept->ring[index] = *action;
	old = kept->ring[atomic_exchange_explicit(&kept->current, index, memory_order_acq_rel)];
	if (ret_old)
		*ret_old = old;
}

/* The signal is blocked while we are in its handler, so the default action, which is the end, comes when we return. */
static void die_by(int number)
{
	struct deputy_kernel_action action = { .handler = SIG_DFL };

	syscall(SYS_rt_sigaction, number, &action, NULL, KERNEL_MASK_BYTES);
	syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), number);
}

/* --- a signal that has to wait --- */

static void send_on(const siginfo_t *info)
{
	long pid = syscall(SYS_getpid);
	siginfo_t *letter = &letters[atomic_fetch_add_explicit(&next_letter, 1, memory_order_relaxed) % LETTERS];
	siginfo_t cover = { .si_signo = deputy_signal, .si_code = SI_QUEUE };
	long result;

	if (is_one_waiting())
		return;
	*letter = *info;
	cover.si_pid = (pid_t)pid;
	cover.si_value.sival_ptr = letter;
	if (info->si_code == SI_TKILL)
		result = syscall(SYS_rt_tgsigqueueinfo, pid, syscall(SYS_gettid), deputy_signal, &cover);
	else
		result = syscall(SYS_rt_sigqueueinfo, pid, deputy_signal, &cover);
	if (result == 0)
		return;
	atomic_fetch_add_explicit(&bare, 1, memory_order_relaxed);
	syscall(SYS_kill, pid, deputy_signal);
}

static bool take_bare(const siginfo_t *info)
{
	uint32_t count = atomic_load_explicit(&bare, memory_order_relaxed);

	/* Without room for it the kernel does not know who it was from. */
	if (info->si_code != SI_USER || (info->si_pid && info->si_pid != (pid_t)syscall(SYS_getpid)))
		return false;
	while (count)
		if (atomic_compare_exchange_weak_explicit(&bare, &count, count - 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

bool sig_disposition_translate(siginfo_t *info)
{
	uintptr_t letter = (uintptr_t)info->si_value.sival_ptr;
	uintptr_t first = (uintptr_t)letters;

	if (info->si_code == SI_QUEUE && letter >= first && letter < first + sizeof(letters) &&
	    (letter - first) % sizeof(letters[0]) == 0)
		*info = *(const siginfo_t *)letter;
	else if (!take_bare(info))
		return false;
	info->si_signo = SIGPROF;
	return true;
}

void disposition_exec(void)
{
	uint64_t set = deputy_bit_of(deputy_signal);
	struct timespec at_once = { 0 };
	uint32_t others = 0;
	siginfo_t info;

	if (!set)
		return;
	if (change_mask(SIG_BLOCK, 0) & set)
		change_mask(SIG_BLOCK, deputy_bit_of(SIGPROF));
	else
		set = 0;
	while (set && syscall(SYS_rt_sigtimedwait, &set, &info, &at_once, KERNEL_MASK_BYTES) == deputy_signal) {
		if (sig_disposition_translate(&info))
			syscall(SYS_kill, syscall(SYS_getpid), SIGPROF);
		else
			others++;
	}
	/* Sent as what it is: put back only now, or it would be taken again for ever. */
	for (; others; others--)
		syscall(SYS_kill, syscall(SYS_getpid), deputy_signal);
	show_program_mask(0);
}

/* --- what the program wants done --- */

/* The mask that the program's handler would run with. The kernel puts the interrupted one back when we return. */
static void mask_as_for(const struct sigaction *action, int number, const ucontext_t *context)
{
	uint64_t added = deputy_mask_of(&action->sa_mask);

	added |= action->sa_flags & SA_NODEFER ? 0 : deputy_bit_of(number);
	change_mask(SIG_SETMASK, deputy_context_mask(context) | deputy_kernel_mask(added) | deputy_raise_shield(context));
}

static void call_handler(const struct sigaction *action, int number, siginfo_t *info, ucontext_t *context)
{
	if (action->sa_flags & (int)SA_RESETHAND) {
		struct sigaction once = { .sa_handler = SIG_DFL };
		disposition_set(number, &once, NULL);
	}
	sig_restart_within(context, action->sa_flags & SA_RESTART);
	mask_as_for(action, number, context);
	action->sa_sigaction(number, info, context);
}

static bool act(int number, siginfo_t *info, ucontext_t *context)
{
	struct sigaction action = sig_disposition(number);

	if (action.sa_handler == SIG_IGN)
		return false;
	if (action.sa_handler == SIG_DFL)
		die_by(number);
	else
		call_handler(&action, number, info, context);
	return true;
}

bool sig_disposition_do(siginfo_t *info, ucontext_t *context)
{
	atomic_store_explicit(&disposition_is_shared, true, memory_order_relaxed);
	if (!(deputy_context_mask(context) & deputy_bit_of(deputy_signal)))
		return act(SIGPROF, info, context);
	send_on(info);
	return false;
}

void sig_on_deputy(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	bool is_prof = sig_disposition_translate(info);

	if (!act(is_prof ? SIGPROF : number, info, context))
		sig_restart(context);
	errno = saved_errno;
}
