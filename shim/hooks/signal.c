/* signal - the program's dispositions of the two signals that profshim uses, too. It is told what it set. */
#include "hook.h"

#include "../sampling/sampling.h"
#include "../setup/report_signal.h"

static int set_action(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	if (number == SIGPROF) {
		sampling_program_action(action, ret_old);
		return 0;
	}
	if (report_signal_is(number))
		return report_signal_action(action, ret_old);
	return real.sigaction(number, action, ret_old);
}

static bool is_arbitrated(int number)
{
	return number == SIGPROF || report_signal_is(number);
}

HOOK int sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict ret_old)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SIGACTION))
		return real.sigaction(number, action, ret_old);
	int result = set_action(number, action, ret_old);
	hook_done(&hook);
	return result;
}

/* signal(2) as glibc has it: BSD semantics, the handler stays and calls are restarted. */
HOOK sighandler_t signal(int number, sighandler_t handler)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SIGNAL))
		return real.signal(number, handler);
	sighandler_t old;
	if (handler != SIG_ERR && is_arbitrated(number)) {
		struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART }, old_action;
		sigemptyset(&action.sa_mask);
		sigaddset(&action.sa_mask, number);
		old = set_action(number, &action, &old_action) == 0 ? old_action.sa_handler : SIG_ERR;
	} else {
		old = real.signal(number, handler);
	}
	hook_done(&hook);
	return old;
}

/* The older ways to the same end, under the names that programs of other standards are linked to. They pass through but
 * for the signals that are arbitrated; not counted. */
HOOK int __sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict ret_old);
HOOK sighandler_t __sysv_signal(int number, sighandler_t handler);
HOOK sighandler_t sysv_signal(int number, sighandler_t handler);
HOOK sighandler_t bsd_signal(int number, sighandler_t handler);
HOOK sighandler_t ssignal(int number, sighandler_t handler);

static bool passes_through(int number)
{
	if (!real_is_resolved())
		real_resolve();
	return atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || self.own_depth || !is_arbitrated(number);
}

static sighandler_t set_handler(int number, sighandler_t handler, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags }, old;

	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&action.sa_mask);
	return set_action(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

HOOK int __sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict ret_old)
{
	return passes_through(number) ? real.sigaction(number, action, ret_old) : set_action(number, action, ret_old);
}

/* System V: the handler is called once, and does not block its signal. What -D_XOPEN_SOURCE makes of signal. */
HOOK sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	if (passes_through(number))
		return real.__sysv_signal(number, handler);
	return set_handler(number, handler, (int)SA_RESETHAND | SA_NODEFER);
}

HOOK sighandler_t sysv_signal(int number, sighandler_t handler)
{
	return __sysv_signal(number, handler);
}

HOOK sighandler_t bsd_signal(int number, sighandler_t handler)
{
	return passes_through(number) ? real.signal(number, handler) : set_handler(number, handler, SA_RESTART);
}

HOOK sighandler_t ssignal(int number, sighandler_t handler)
{
	return bsd_signal(number, handler);
}

/* sigset(3): SIG_HOLD blocks the signal, any other disposition unblocks it. */
HOOK sighandler_t sigset(int number, sighandler_t disposition)
{
	sigset_t set, before;

	if (passes_through(number))
		return real.sigset(number, disposition);
	struct sigaction old = { 0 };
	sigemptyset(&set);
	sigaddset(&set, number);
	if (pthread_sigmask(disposition == SIG_HOLD ? SIG_BLOCK : SIG_UNBLOCK, &set, &before) != 0)
		return SIG_ERR;
	if (disposition == SIG_HOLD)
		set_action(number, NULL, &old);
	else
		old.sa_handler = set_handler(number, disposition, 0);
	return sigismember(&before, number) ? SIG_HOLD : old.sa_handler;
}

HOOK int sigignore(int number)
{
	if (passes_through(number))
		return real.sigignore(number);
	return set_handler(number, SIG_IGN, 0) == SIG_ERR ? -1 : 0;
}

HOOK int siginterrupt(int number, int is_interrupting)
{
	struct sigaction action;

	if (passes_through(number))
		return real.siginterrupt(number, is_interrupting);
	if (set_action(number, NULL, &action) < 0)
		return -1;
	action.sa_flags = is_interrupting ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
	return set_action(number, &action, NULL);
}
