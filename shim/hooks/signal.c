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
	if (handler != SIG_ERR && (number == SIGPROF || report_signal_is(number))) {
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
