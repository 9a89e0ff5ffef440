/* Dispositions are kept in a ring: one that is read in a handler while it is replaced is still whole, unless the program
 * calls sigaction RING times meanwhile. No lock, since sigaction may be called in a handler that interrupts itself.
 */
#include "disposition.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { RING = 64, KERNEL_MASK_BYTES = 8 };

static struct sigaction ring[RING]; /* [0] is SIG_DFL, as a program begins */
static _Atomic uint32_t next = 1;
static _Atomic uint32_t current;

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

/* The mask that the program's handler would run with. The kernel puts the interrupted one back when we return. */
static void mask_as_for(const struct sigaction *action, int number, const ucontext_t *context)
{
	uint64_t interrupted, added;

	memcpy(&interrupted, &context->uc_sigmask, sizeof(interrupted));
	memcpy(&added, &action->sa_mask, sizeof(added));
	uint64_t mask = interrupted | added | (action->sa_flags & SA_NODEFER ? 0 : 1ULL << (number - 1));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_MASK_BYTES);
}

bool sig_disposition_do(int number, siginfo_t *info, void *context)
{
	struct sigaction action = sig_disposition();

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
