/* Glue: when the handler is installed, which threads have timers, what happens around fork and exec.
 *
 * The handler's mask blocks whatever can be blocked but the signals that stand for a fault. A handler of the program that
 * ran on top of ours might jump out of it for good; blocked, it comes a few microseconds later, on top of nothing of ours.
 */
#include "sampling.h"

#include "../base/real.h"
#include "../base/thread.h"
#include "../base/log.h"
#include "disposition.h"
#include "handler.h"
#include "modules.h"
#include "timer.h"
#include "tree.h"
#include "unwind.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	bool is_on;
	pid_t pid; /* tells the process from a child of vfork, which has our memory, but neither timers nor dispositions */
} sampling;

static int install(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT };
	struct sigaction program = sig_disposition();
	struct sigaction action = { .sa_sigaction = sig_on_prof, .sa_flags = SA_SIGINFO | SA_RESTART };

	/* A handler that asks for the alternate stack may need it: ours, which calls it, then runs there, too. */
	action.sa_flags |= program.sa_flags & SA_ONSTACK;
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&action.sa_mask, faults[i]);
	return real.sigaction(SIGPROF, &action, NULL) == 0 ? 0 : -errno;
}

static bool is_vfork_child(void)
{
	return (pid_t)syscall(SYS_getpid) != sampling.pid;
}

/* While the process is being copied no walk is on, so that the copy of libunwind's locks and caches is a sound one. The
 * same gate as for dlclose; a walk that is too slow for it is what modules_forked tells of in the child. */
static void before_fork(void)
{
	if (sampling.is_on)
		modules_unload_begin();
}

static void after_fork(void)
{
	if (sampling.is_on)
		modules_unload_end();
}

bool sampling_start(void)
{
	uint32_t hz = atomic_load_explicit(&seg.head->config.hz, memory_order_relaxed);
	struct sigaction program;

	if (!hz) {
		log_line(SEG_LOG_INFO, "sampling is off: 0 samples per second are asked for");
		return false;
	}
	handler.period_ns = 1000000000 / hz;
	sig_tree_init();
	if (!unwind_init(seg.head->config.unwind)) {
		thread_count(SEG_COUNTER_FAULT_SAMPLING);
		log_line(SEG_LOG_ERROR, "sampling is off: no memory");
		return false;
	}
	if (real.sigaction(SIGPROF, NULL, &program) == 0)
		disposition_set(&program, NULL);
	int error = install();
	if (error) {
		thread_count(SEG_COUNTER_FAULT_SAMPLING);
		log_line(SEG_LOG_ERROR, "sampling is off: no handler can be set for SIGPROF: %s", strerror(-error));
		return false;
	}
	pthread_atfork(before_fork, after_fork, NULL);
	sampling.pid = (pid_t)syscall(SYS_getpid);
	sampling.is_on = true;
	return true;
}

static void begin_thread(void)
{
	disposition_unblock();
	timer_start(handler.period_ns);
}

void sampling_thread_start(void)
{
	if (sampling.is_on)
		begin_thread();
}

void sampling_thread_stop(void)
{
	if (!sampling.is_on)
		return;
	timer_stop();
	disposition_block();
	unwind_thread_stop();
}

void sampling_adopt_threads(void)
{
	if (!sampling.is_on)
		return;
	unwind_reclaim();
	timer_adopt_all(handler.period_ns);
}

void sampling_forked(void)
{
	bool is_torn = modules_forked() > 0;

	timer_forked();
	if (!sampling.is_on)
		return;
	after_fork();
	sampling.pid = (pid_t)syscall(SYS_getpid);
	unwind_forked(is_torn);
	begin_thread();
}

void sampling_pause(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (!sampling.is_on || is_vfork_child())
		return;
	atomic_store_explicit(&handler.is_paused, 1, memory_order_relaxed);
	timer_stop();
	timer_abandon_all();
	disposition_block();
	/* Throws away what is pending. Exec turns a handler into the default action; what it keeps is to be ignored. */
	real.sigaction(SIGPROF, &ignore, NULL);
	if (sig_disposition().sa_handler != SIG_IGN)
		install();
}

void sampling_resume(void)
{
	if (!sampling.is_on || is_vfork_child())
		return;
	install();
	atomic_store_explicit(&handler.is_paused, 0, memory_order_relaxed);
	begin_thread();
	timer_adopt_all(handler.period_ns);
}

void sampling_program_action(const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction old;

	if (!sampling.is_on) {
		real.sigaction(SIGPROF, action, ret_old);
		return;
	}
	if (is_vfork_child()) {
		/* Its dispositions are its own, its memory is not. */
		real.sigaction(SIGPROF, action, NULL);
		if (ret_old)
			*ret_old = sig_disposition();
		return;
	}
	disposition_set(action, &old);
	if (action && (action->sa_flags ^ old.sa_flags) & SA_ONSTACK)
		install();
	if (ret_old)
		*ret_old = old;
}
