/* Dispositions are kept in a ring: one that is read in a handler while it is replaced is still whole, unless the program
 * calls sigaction RING times meanwhile. No lock, since sigaction may be called in a handler that interrupts itself.
 */
#include "disposition.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RING = 64, KERNEL_MASK_BYTES = 8 };

static struct sigaction ring[RING]; /* [0] is SIG_DFL, as a program begins */
static _Atomic uint32_t next = 1;
static _Atomic uint32_t current;

/* The thread has SIGPROF blocked as far as the program knows. */
static __thread bool is_blocked __attribute__((tls_model("initial-exec")));

static uint64_t change_mask(int how, uint64_t mask)
{
	uint64_t old = 0;

	syscall(SYS_rt_sigprocmask, how, &mask, &old, KERNEL_MASK_BYTES);
	return old;
}

void disposition_unblock(void)
{
	const uint64_t prof = 1ULL << (SIGPROF - 1);

	if (!(change_mask(SIG_BLOCK, 0) & prof))
		return;
	/* First the word: one that is pending comes at once. */
	is_blocked = true;
	atomic_signal_fence(memory_order_seq_cst);
	change_mask(SIG_UNBLOCK, prof);
}

void disposition_block(void)
{
	if (is_blocked)
		change_mask(SIG_BLOCK, 1ULL << (SIGPROF - 1));
	is_blocked = false;
}

struct sigaction sig_disposition(void)
{
	return ring[atomic_load_explicit(&current, memory_order_acquire)];
}

void disposition_set(const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction old;

	if (!action) {
		if (ret_old)
			*ret_old = sig_disposition();
		return;
	}
	uint32_t index = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % RING;
	ring[index] = *action;
	old = ring[atomic_exchange_explicit(&current, index, memory_order_acq_rel)];
	if (ret_old)
		*ret_old = old;
}

/* The signal is blocked while we are in its handler, so the default action, which is the end, comes when we return. */
static void die_by(int number)
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} action = { .handler = SIG_DFL };

	syscall(SYS_rt_sigaction, number, &action, NULL, KERNEL_MASK_BYTES);
	syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), number);
}

/* A signal that the program's mask would have kept from this thread: the thread goes back behind that mask, and is no
 * longer sampled, and the signal goes where it came from. */
static void send_on(int number, siginfo_t *info, ucontext_t *context)
{
	long pid = syscall(SYS_getpid);
	uint64_t mask;

	is_blocked = false;
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	mask |= 1ULL << (number - 1);
	memcpy(&context->uc_sigmask, &mask, sizeof(mask));
	if (info->si_code == SI_TKILL)
		syscall(SYS_rt_tgsigqueueinfo, pid, syscall(SYS_gettid), number, info);
	else if (syscall(SYS_rt_sigqueueinfo, pid, number, info) != 0)
		syscall(SYS_kill, pid, number); /* only the main thread may say that it comes from another process */
}

/* The mask that the program's handler would run with. The kernel puts the interrupted one back when we return. */
static void mask_as_for(const struct sigaction *action, int number, const ucontext_t *context)
{
	uint64_t interrupted, added;

	memcpy(&interrupted, &context->uc_sigmask, sizeof(interrupted));
	memcpy(&added, &action->sa_mask, sizeof(added));
	change_mask(SIG_SETMASK, interrupted | added | (action->sa_flags & SA_NODEFER ? 0 : 1ULL << (number - 1)));
}

bool sig_disposition_do(int number, siginfo_t *info, ucontext_t *context)
{
	struct sigaction action = sig_disposition();

	if (is_blocked) {
		send_on(number, info, context);
		return true;
	}
	if (action.sa_handler == SIG_IGN)
		return false;
	if (action.sa_handler == SIG_DFL) {
		die_by(number);
		return true;
	}
	if (action.sa_flags & (int)SA_RESETHAND) {
		struct sigaction once = { .sa_handler = SIG_DFL };
		disposition_set(&once, NULL);
	}
	mask_as_for(&action, number, context);
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(number, info, context);
	else
		action.sa_handler(number);
	return true;
}
