/* The program's own disposition is kept beside that of its SIGPROF (sampling/disposition.h), and its handler is called by the
 * entry that the kernel would have called (sampling/entry.h). A handler that is to run once is called by us, too: the kernel,
 * which would put the default action in its place, knows nothing of a report.
 */
#include "report_signal.h"

#include "../base/permitted.h"
#include "../base/real.h"
#include "../base/thread.h"
#include "../sampling/disposition.h"
#include "../sampling/entry.h"
#include "../sampling/restart.h"
#include "process.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static int report_signal; /* 0 = none */
static bool report_is_explicit;
static _Atomic uint32_t lenders; /* threads of this process between report_signal_lend and report_signal_take_back */

static bool is_handler(const struct sigaction *action)
{
	return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

static bool is_once(const struct sigaction *action)
{
	return is_handler(action) && action->sa_flags & (int)SA_RESETHAND;
}

static void sig_on_report(int number, siginfo_t *info, void *context);

static struct sigaction kernel_action(const struct sigaction *theirs)
{
	struct sigaction kernel = entry_kernel_action(report_signal, theirs);

	if (!report_is_explicit && theirs->sa_handler != SIG_DFL && !is_once(theirs))
		return kernel;
	if (!is_handler(theirs)) {
		sigemptyset(&kernel.sa_mask);
		kernel.sa_flags = SA_RESTART;
	}
	kernel.sa_flags = (kernel.sa_flags & ~(int)SA_RESETHAND) | SA_SIGINFO;
	kernel.sa_sigaction = sig_on_report;
	return kernel;
}

static int install(const struct sigaction *theirs)
{
	struct sigaction kernel = kernel_action(theirs);

	return real.sigaction(report_signal, &kernel, NULL);
}

/* As the kernel does before such a handler begins. Of several threads that get the signal at once one gets the handler. */
static struct sigaction take_once(const struct sigaction *theirs)
{
	struct sigaction reset = *theirs, taken;

	reset.sa_handler = SIG_DFL;
	disposition_set(report_signal, &reset, &taken);
	if (permitted(SYS_rt_sigaction))
		install(&reset);
	return taken;
}

static void sig_on_report(int number, siginfo_t *info, void *context)
{
	struct sigaction theirs = sig_disposition(number);
	int saved_errno = errno;

	/* It may have been sent to the process: see there. */
	atomic_store_explicit(&disposition_is_shared, true, memory_order_relaxed);
	if (is_once(&theirs))
		theirs = take_once(&theirs);
	if (seg.head && (report_is_explicit || theirs.sa_handler == SIG_DFL))
		atomic_fetch_add_explicit(&seg.head->reports_requested, 1, memory_order_relaxed);
	if (!is_handler(&theirs))
		sig_restart(context);
	errno = saved_errno;
	if (is_handler(&theirs))
		entry_kernel_action(number, &theirs).sa_sigaction(number, info, context);
}

void report_signal_init(int signal_number, bool is_explicit)
{
	struct sigaction found;

	if (!signal_number || real.sigaction(signal_number, NULL, &found) < 0)
		return;
	entry_program_action(&found);
	report_is_explicit = is_explicit;
	report_signal = signal_number;
	disposition_set(signal_number, &found, NULL);
	/* Ignored, or handled by a library that came before us: not ours unless we were told so. */
	if (found.sa_handler == SIG_DFL || is_explicit)
		install(&found);
}

bool report_signal_is(int signal_number)
{
	return report_signal && signal_number == report_signal;
}

static bool is_ours(const struct sigaction *kernel)
{
	return kernel->sa_flags & SA_SIGINFO && kernel->sa_sigaction == sig_on_report;
}

/* Its dispositions are its own, its memory is not. */
static int vfork_child_action(const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction kernel, old;

	if (action)
		kernel = entry_kernel_action(report_signal, action);
	if (real.sigaction(report_signal, action ? &kernel : NULL, &old) < 0)
		return -1;
	if (is_ours(&old))
		old = sig_disposition(report_signal);
	else
		entry_program_action(&old);
	if (ret_old)
		*ret_old = old;
	return 0;
}

int report_signal_action(const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, old;

	if (!process_is_self())
		return vfork_child_action(action, ret_old);
	disposition_set(report_signal, action, &old);
	/* Throws away what is pending. */
	if (action && action->sa_handler == SIG_IGN && report_is_explicit)
		real.sigaction(report_signal, &ignore, NULL);
	if (action && install(action) < 0) {
		disposition_set(report_signal, &old, NULL);
		return -1;
	}
	if (ret_old)
		*ret_old = old;
	return 0;
}

void report_signal_lend(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, kernel;
	int saved_errno = errno;

	if (!report_is_explicit) /* the kernel has it as the program set it */
		return;
	if (process_is_self())
		atomic_fetch_add_explicit(&lenders, 1, memory_order_relaxed);
	if (sig_disposition(report_signal).sa_handler == SIG_IGN &&
	    real.sigaction(report_signal, NULL, &kernel) == 0 && is_ours(&kernel))
		real.sigaction(report_signal, &ignore, NULL);
	errno = saved_errno;
}

void report_signal_take_back(void)
{
	struct sigaction theirs = sig_disposition(report_signal);
	int saved_errno = errno;

	if (!report_is_explicit)
		return;
	bool is_last = !process_is_self() || atomic_fetch_sub_explicit(&lenders, 1, memory_order_relaxed) == 1;
	if (is_last && theirs.sa_handler == SIG_IGN)
		install(&theirs);
	errno = saved_errno;
}
