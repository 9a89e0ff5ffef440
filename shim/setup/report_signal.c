#include "report_signal.h"

#include "../base/real.h"
#include "../base/thread.h"
#include "../sampling/entry.h"
#include "../sampling/restart.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static int report_signal; /* 0 = none */
static bool report_is_explicit;
/* What the program believes to be installed. W: the program's own calls, into the copy not in use; R: the handler. */
static struct sigaction program_actions[2];
static _Atomic unsigned program_current;

static const struct sigaction *program_action(void)
{
	return &program_actions[atomic_load_explicit(&program_current, memory_order_acquire)];
}

static bool is_handler(const struct sigaction *action)
{
	return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

static void sig_on_report(int number, siginfo_t *info, void *context)
{
	const struct sigaction *theirs = program_action();
	int saved_errno = errno;

	if (seg.head)
		atomic_fetch_add_explicit(&seg.head->reports_requested, 1, memory_order_relaxed);
	if (!is_handler(theirs)) {
		sig_restart(context);
		errno = saved_errno;
		return;
	}
	sig_restart_interrupted(context, theirs->sa_flags & SA_RESTART);
	errno = saved_errno;
	if (theirs->sa_flags & SA_SIGINFO)
		theirs->sa_sigaction(number, info, context);
	else
		theirs->sa_handler(number);
}

static int install_ours(void)
{
	const struct sigaction *theirs = program_action();
	struct sigaction ours = { .sa_sigaction = sig_on_report, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigemptyset(&ours.sa_mask);
	if (is_handler(theirs)) {
		ours.sa_mask = entry_kernel_action(report_signal, theirs).sa_mask;
		ours.sa_flags = (theirs->sa_flags & ~SA_RESETHAND) | SA_SIGINFO;
	}
	return real.sigaction(report_signal, &ours, NULL);
}

void report_signal_init(int signal_number, bool is_explicit)
{
	struct sigaction found;

	if (!signal_number || real.sigaction(signal_number, NULL, &found) < 0)
		return;
	/* Ignored, or handled by a library that came before us: not ours unless we were told so. */
	if (found.sa_handler != SIG_DFL && !is_explicit)
		return;
	program_actions[0] = found;
	report_is_explicit = is_explicit;
	report_signal = signal_number;
	install_ours();
}

bool report_signal_is(int signal_number)
{
	return report_signal && signal_number == report_signal;
}

int report_signal_action(const struct sigaction *action, struct sigaction *ret_old)
{
	unsigned current = atomic_load_explicit(&program_current, memory_order_relaxed);
	struct sigaction old = program_actions[current];

	if (action) {
		program_actions[!current] = *action;
		atomic_store_explicit(&program_current, !current, memory_order_release);
		bool is_theirs = action->sa_handler != SIG_DFL && !report_is_explicit;
		struct sigaction kernel = entry_kernel_action(report_signal, action);
		if ((is_theirs ? real.sigaction(report_signal, &kernel, NULL) : install_ours()) < 0) {
			atomic_store_explicit(&program_current, current, memory_order_release);
			return -1;
		}
	}
	if (ret_old)
		*ret_old = old;
	return 0;
}
