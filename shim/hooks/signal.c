/* signal - the program's dispositions. It is told what it set, whatever the kernel has: a handler of the program's is entered
 * by us (sampling/entry.h), and some signals have handlers of ours that arbitrate: SIGPROF and its deputy, and the one that
 * asks for a report.
 *
 * All but sigaction and signal are older ways to the same end, some under names that programs of other standards are
 * linked to; not counted.
 */
#include "hook.h"

#include "../sampling/deputy.h"
#include "../sampling/entry.h"
#include "../sampling/sampling.h"
#include "../setup/report_signal.h"

/* Whose handlers signal(2) sets without SA_RESTART: what siginterrupt(3) says. */
static _Atomic uint64_t interrupting;

static bool is_arbitrated(int number)
{
	return sampling_arbitrates(number) || report_signal_is(number);
}

/* Before our constructor and after our destructor, too; not for calls of our own. */
static bool passes_through(void)
{
	real_need();
	return self.own_depth || atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_OFF;
}

static int set_action(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction kernel;

	if (passes_through())
		return real.sigaction(number, action, ret_old);
	if (action && is_arbitrated(number)) {
		/* As the kernel keeps it. */
		kernel = *action;
		sigdelset(&kernel.sa_mask, SIGKILL);
		sigdelset(&kernel.sa_mask, SIGSTOP);
		action = &kernel;
	}
	if (sampling_arbitrates(number))
		return sampling_program_action(number, action, ret_old);
	if (report_signal_is(number))
		return report_signal_action(action, ret_old);
	if (action)
		kernel = entry_kernel_action(number, action);
	int result = real.sigaction(number, action ? &kernel : NULL, ret_old);
	if (result == 0 && ret_old)
		entry_program_action(ret_old);
	return result;
}

HOOK int sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict ret_old)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SIGACTION))
		return set_action(number, action, ret_old);
	int result = set_action(number, action, ret_old);
	hook_done(&hook);
	return result;
}

HOOK int __sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict ret_old);

HOOK int __sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict ret_old)
{
	return set_action(number, action, ret_old);
}

static sighandler_t set_handler(int number, sighandler_t handler, int flags, bool blocks_itself)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags }, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&action.sa_mask);
	if (blocks_itself)
		sigaddset(&action.sa_mask, number);
	return set_action(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

/* signal(2) as glibc has it: BSD semantics, the handler stays and calls are restarted unless siginterrupt says otherwise. */
static sighandler_t set_signal(int number, sighandler_t handler)
{
	if (number < 1 || number >= NSIG || passes_through())
		return real.signal(number, handler);
	bool is_interrupting = atomic_load_explicit(&interrupting, memory_order_relaxed) & deputy_bit_of(number);
	return set_handler(number, handler, is_interrupting ? 0 : SA_RESTART, true);
}

HOOK sighandler_t signal(int number, sighandler_t handler)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SIGNAL))
		return set_signal(number, handler);
	sighandler_t old = set_signal(number, handler);
	hook_done(&hook);
	return old;
}

HOOK sighandler_t bsd_signal(int number, sighandler_t handler);
HOOK sighandler_t ssignal(int number, sighandler_t handler);
HOOK sighandler_t __sysv_signal(int number, sighandler_t handler);
HOOK sighandler_t sysv_signal(int number, sighandler_t handler);

HOOK sighandler_t bsd_signal(int number, sighandler_t handler)
{
	return set_signal(number, handler);
}

HOOK sighandler_t ssignal(int number, sighandler_t handler)
{
	return set_signal(number, handler);
}

/* System V: the handler is called once, and does not block its signal. What -D_XOPEN_SOURCE makes of signal. */
HOOK sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	if (number < 1 || number >= NSIG || passes_through())
		return real.__sysv_signal(number, handler);
	return set_handler(number, handler, (int)SA_RESETHAND | SA_NODEFER, false);
}

HOOK sighandler_t sysv_signal(int number, sighandler_t handler)
{
	return __sysv_signal(number, handler);
}

/* sigset(3): SIG_HOLD blocks the signal, any other disposition unblocks it. */
HOOK sighandler_t sigset(int number, sighandler_t disposition)
{
	sigset_t set, before;

	if (passes_through() || number < 1 || number >= NSIG)
		return real.sigset(number, disposition);
	struct sigaction old = { 0 };
	sigemptyset(&set);
	sigaddset(&set, number);
	if (disposition == SIG_HOLD)
		set_action(number, NULL, &old);
	else
		old.sa_handler = set_handler(number, disposition, 0, false);
	if (old.sa_handler == SIG_ERR || sigprocmask(disposition == SIG_HOLD ? SIG_BLOCK : SIG_UNBLOCK, &set, &before) != 0)
		return SIG_ERR;
	return sigismember(&before, number) ? SIG_HOLD : old.sa_handler;
}

HOOK int sigignore(int number)
{
	if (passes_through() || !is_arbitrated(number))
		return real.sigignore(number);
	return set_handler(number, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}

HOOK int siginterrupt(int number, int is_interrupting)
{
	struct sigaction action;

	if (passes_through() || number < 1 || number >= NSIG)
		return real.siginterrupt(number, is_interrupting);
	if (set_action(number, NULL, &action) < 0)
		return -1;
	if (is_interrupting)
		atomic_fetch_or_explicit(&interrupting, deputy_bit_of(number), memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&interrupting, ~deputy_bit_of(number), memory_order_relaxed);
	action.sa_flags = is_interrupting ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
	return set_action(number, &action, NULL);
}
