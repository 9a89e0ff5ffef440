/* Glue: when the handler is installed, which threads have timers, what happens around fork and exec.
 *
 * The handler's mask blocks whatever can be blocked but the signals that stand for a fault. A handler of the program that
 * ran on top of ours might jump out of it for good; blocked, it comes a few microseconds later, on top of nothing of ours.
 */
#include "sampling.h"

#include "../base/clock.h"
#include "../base/real.h"
#include "../base/thread.h"
#include "../base/log.h"
#include "../segment/kernel_clock.h"
#include "deputy.h"
#include "disposition.h"
#include "entry.h"
#include "guard.h"
#include "handler.h"
#include "modules.h"
#include "perf.h"
#include "pulse.h"
#include "restart.h"
#include "timer.h"
#include "tree.h"
#include "unwind.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEW_NS 1000000 /* 1 ms of CPU time: no thread takes that long to come to its first hook, or to us */

/* What waits may cost a thread with the perf clock, of its CPU time: less, and it gets one; twice as much, and it loses it. To
 * set a timer and take it back is half as dear as to have it expire (perf.h). */
#define CALM_PPM 1000 /* 0.1 % */

enum {
	FOLLOW_TICKS = 2, /* 0.4 s, in which threads that call hooks follow by themselves */
	ADOPT_TICKS = 5,
};

static struct {
	bool is_on;
	uint32_t tick_hz;
	pid_t pid; /* tells the process from a child of vfork, which has our memory, but neither timers nor dispositions */
} sampling;

static _Atomic uint32_t lenders; /* threads of this process between sampling_vfork_pause and sampling_vfork_resume */

/* The program's handlers that ask for the alternate stack may need it: ours, which call them, then run there, too. */
static int install_handler(int number, void (*on_signal)(int, siginfo_t *, void *))
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };

	action.sa_flags |= (sig_disposition(SIGPROF).sa_flags | sig_disposition(number).sa_flags) & SA_ONSTACK;
	/* Not by sigfillset, which leaves out the signals that the C library keeps for itself: a thread that is cancelled
	 * asynchronously must not end in the middle of a walk. */
	memset(&action.sa_mask, 0xff, sizeof(action.sa_mask));
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&action.sa_mask, faults[i]);
	return real.sigaction(number, &action, NULL) == 0 ? 0 : -errno;
}

static int install(void)
{
	if (deputy_signal)
		install_handler(deputy_signal, sig_on_deputy);
	return install_handler(SIGPROF, sig_on_prof);
}

static void choose_deputy(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	real.pthread_sigmask(SIG_BLOCK, NULL, &mask);
	int number = deputy_choose(deputy_mask_of(&mask));
	if (number < 0)
		log_line(SEG_LOG_WARN, "every signal is in use: threads that block SIGPROF are not sampled");
	else
		deputy_signal = number;
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

/* The segment of module that holds address; where that is 0, its first of code. */
static struct restart_code code_of(const struct dl_phdr_info *module, uintptr_t address)
{
	for (int i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
		struct restart_code code = { module->dlpi_addr + segment->p_vaddr, 0 };
		code.high = code.low + segment->p_memsz;
		if (segment->p_type == PT_LOAD && segment->p_flags & PF_X && (!address || (address >= code.low && address < code.high)))
			return code;
	}
	return (struct restart_code){ 0, 0 };
}

/* The program is the first that is told of. */
static int note_code(struct dl_phdr_info *module, size_t bytes, void *unused)
{
	struct restart_code libc = code_of(module, (uintptr_t)real.sigaction);

	(void)bytes;
	(void)unused;
	if (!restart_program.high)
		restart_program = code_of(module, 0);
	if (libc.high)
		restart_libc = libc;
	return 0;
}

bool sampling_start(void)
{
	struct sigaction program;

	if (!pulse_rate())
		log_line(SEG_LOG_INFO, "sampling is off: 0 samples per second are asked for");
	sampling.tick_hz = perf_tick_hz();
	sig_tree_init();
	if (!unwind_init(seg.head->config.unwind)) {
		thread_count(SEG_COUNTER_FAULT_SAMPLING);
		log_line(SEG_LOG_ERROR, "sampling is off: no memory");
		return false;
	}
	if (real.sigaction(SIGPROF, NULL, &program) == 0) { /* else there will be no handler either */
		disposition_set(SIGPROF, &program, NULL);
		choose_deputy();
	}
	real.dl_iterate_phdr(note_code, NULL);
	int error = install();
	if (error) {
		thread_count(SEG_COUNTER_FAULT_SAMPLING);
		log_line(SEG_LOG_ERROR, "sampling is off: no handler can be set for SIGPROF: %s", strerror(-error));
		return false;
	}
	pthread_atfork(before_fork, after_fork, NULL);
	sampling.pid = (pid_t)syscall(SYS_getpid);
	sampling.is_on = true;
	if (pulse_rate())
		guard_raise();
	return true;
}

/* --- the calling thread's clocks --- */

static void end_clocks(void)
{
	perf_end();
	timer_stop();
	pulse_end();
}

static void begin_timer(uint32_t hz, bool is_new)
{
	end_clocks();
	uint64_t first_ns = pulse_begin(hz, is_new, hz > sampling.tick_hz);
	if (!timer_start(hz, first_ns))
		pulse_end();
}

static void begin_clocks(bool is_new)
{
	uint32_t hz = pulse_rate();

	atomic_store_explicit(&pulse.hz, hz, memory_order_relaxed);
	if (hz)
		guard_raise();
	if (hz && hz != pulse.ledger_hz)
		begin_timer(hz, is_new);
	else if (!hz)
		end_clocks();
}

/* It came into being while we were there, and is not the first one, which did much before us. */
static bool is_new_thread(void)
{
	return syscall(SYS_gettid) != sampling.pid && kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID) < NEW_NS;
}

static bool has_no_clocks(void)
{
	return sampling.is_on && !pulse.ledger_hz;
}

void sampling_thread_start(void)
{
	if (!has_no_clocks())
		return;
	disposition_thread_begin();
	begin_clocks(is_new_thread());
}

void sampling_new_thread_start(void)
{
	if (!has_no_clocks())
		return;
	disposition_thread_begin();
	begin_clocks(true);
}

void sampling_thread_stop(void)
{
	if (!sampling.is_on)
		return;
	end_clocks();
	disposition_thread_end();
	unwind_thread_stop();
}

/* How often the thread waited for something, for a second of its CPU time since the last look. Not how often it lost its
 * core: that the scheduler keeps to some hundred times a second itself. */
static uint64_t waits_a_second(void)
{
	static __thread struct {
		int64_t waits, cpu_us;
	} last __attribute__((tls_model("initial-exec")));
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage) != 0)
		return UINT32_MAX;
	int64_t cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	int64_t new_waits = usage.ru_nvcsw - last.waits, new_us = cpu_us - last.cpu_us;
	last.waits = usage.ru_nvcsw;
	last.cpu_us = cpu_us;
	return new_us > 0 && new_waits >= 0 ? (uint64_t)new_waits * 1000000 / (uint64_t)new_us : UINT32_MAX;
}

/* Who has set no cap on what sampling costs has the rate that was asked for, on threads that wait often, too. */
static void look_at_thread(uint32_t hz)
{
	uint32_t budget_ppm = seg.head->config.budget_ppm;
	uint32_t tick_ns = atomic_load_explicit(&seg.head->perf_tick_ns, memory_order_relaxed);
	uint32_t perf_hz = perf_rate(hz, sampling.tick_hz, budget_ppm, tick_ns);
	uint64_t waits_ppm = budget_ppm ? waits_a_second() / 2 * tick_ns / 1000 : 0;

	if (hz <= sampling.tick_hz || !perf_hz || waits_ppm > 2 * CALM_PPM)
		perf_end();
	else if (!pulse.perf_head && waits_ppm < CALM_PPM)
		perf_begin(perf_hz);
}

void sampling_follow(void)
{
	int saved_errno = errno;

	if (!sampling.is_on) {
		atomic_store_explicit(&pulse.hz, pulse_rate(), memory_order_relaxed);
		return;
	}
	if (is_vfork_child())
		return;
	bool is_look = atomic_load_explicit(&pulse.hz, memory_order_relaxed) == PULSE_LOOK;
	/* A handler of the program's in the midst of this would be taken for a part of us, and its calls not be counted. */
	sigset_t all, before;
	memset(&all, 0xff, sizeof(all));
	real.pthread_sigmask(SIG_SETMASK, &all, &before);
	self.own_depth++;
	begin_clocks(false);
	if (is_look)
		look_at_thread(pulse_rate());
	unwind_tell();
	self.own_depth--;
	real.pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (is_look && !disposition_end_shield())
		atomic_store_explicit(&pulse.hz, PULSE_LOOK, memory_order_relaxed);
	errno = saved_errno;
}

/* --- the other threads' --- */

static void adopt_all(void)
{
	uint32_t hz = pulse_rate(); /* which may be another, or none, the next time it is read */

	if (hz)
		timer_adopt_all(hz, true);
}

void sampling_adopt_threads(void)
{
	if (sampling.is_on) {
		unwind_reclaim();
		adopt_all();
	}
}

bool sampling_make_room(void)
{
	if (!sampling.is_on || is_vfork_child())
		return false;
	bool has_room = atomic_load_explicit(&pulse_is_given_up, memory_order_relaxed); /* by another thread, just now or long ago */
	if (has_room || !timer_count())
		return has_room;
	if (atomic_exchange_explicit(&pulse_is_given_up, true, memory_order_relaxed))
		return true;
	sampling_follow();
	timer_abandon_all();
	thread_count(SEG_COUNTER_FAULT_SAMPLING);
	log_line(SEG_LOG_WARN, "the program needs the room that profshim's timers take (RLIMIT_SIGPENDING), it is not sampled any more");
	return true;
}

/* Of the process, but ours: the number of entries in the directory besides . and .. (proc(5)). */
static uint32_t count_threads(void)
{
	struct stat status;

	return stat("/proc/self/task", &status) == 0 && status.st_nlink > 3 ? (uint32_t)status.st_nlink - 3 : 0;
}

void sampling_tick(void)
{
	static uint32_t ticks, hz, follow_tick, adopt_tick;
	static bool has_begun;
	static bool are_strangers; /* threads that were met for the first time at the last look */

	if (!sampling.is_on)
		return;
	ticks++;
	unwind_tell();
	modules_refresh_if_missing(clock_now_ns());
	uint32_t hz_now = pulse_rate();
	if (hz_now > sampling.tick_hz)
		perf_measure();
	if (hz_now != hz) {
		hz = hz_now;
		if (hz)
			guard_raise();
		follow_tick = has_begun ? ticks + FOLLOW_TICKS : 0;
		has_begun = true;
	}
	if (ticks == follow_tick)
		timer_follow_all(hz);
	if (hz && ticks >= adopt_tick && (are_strangers || count_threads() != timer_count())) {
		are_strangers = !timer_adopt_all(hz, false);
		adopt_tick = ticks + (are_strangers ? 1 : ADOPT_TICKS);
	}
}

/* --- fork and exec --- */

void sampling_forked(void)
{
	bool is_torn = modules_forked() > 0;

	timer_forked();
	perf_forget();
	pulse_forget();
	if (!sampling.is_on)
		return;
	after_fork();
	sampling.pid = (pid_t)syscall(SYS_getpid);
	unwind_forked(is_torn);
	disposition_thread_begin();
	begin_clocks(true);
}

/* A clone may begin with no handler at all (CLONE_CLEAR_SIGHAND, clone(2)), ours among them, and a tick would be its end.
 * What the program ignored it ignores still. */
static void install_if_cleared(void)
{
	const struct sigaction cleared = { .sa_handler = SIG_DFL };
	struct sigaction in_kernel;

	if (real.sigaction(SIGPROF, NULL, &in_kernel) != 0 || in_kernel.sa_handler != SIG_DFL)
		return;
	if (sig_disposition(SIGPROF).sa_handler != SIG_IGN)
		disposition_set(SIGPROF, &cleared, NULL);
	if (deputy_signal && sig_disposition(deputy_signal).sa_handler != SIG_IGN)
		disposition_set(deputy_signal, &cleared, NULL);
	install();
	if (atomic_load_explicit(&entry_guarded, memory_order_relaxed)) {
		guard_lower();
		guard_raise();
	}
}

void sampling_cloned(void)
{
	modules_forked();
	before_fork();
	if (sampling.is_on)
		install_if_cleared();
	sampling_forked();
}

/* What exec makes of a handler of ours is the default action; what it keeps is to be ignored. */
static void leave_ignored(int number)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (number && sig_disposition(number).sa_handler == SIG_IGN)
		real.sigaction(number, &ignore, NULL);
}

void sampling_pause(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (!sampling.is_on || is_vfork_child())
		return;
	atomic_store_explicit(&handler.is_paused, 1, memory_order_relaxed);
	end_clocks();
	timer_abandon_all();
	/* Throws away what is pending. */
	real.sigaction(SIGPROF, &ignore, NULL);
	install();
	leave_ignored(SIGPROF);
	disposition_exec();
	leave_ignored(deputy_signal);
}

void sampling_end(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (!sampling.is_on)
		return;
	sampling_pause();
	guard_lower();
	/* Even a handler that does nothing returns by a system call. */
	if (sig_disposition(SIGPROF).sa_handler == SIG_DFL)
		real.sigaction(SIGPROF, &ignore, NULL);
}

static bool is_one_ignored(void)
{
	return sig_disposition(SIGPROF).sa_handler == SIG_IGN || (deputy_signal && sig_disposition(deputy_signal).sa_handler == SIG_IGN);
}

/* A program that is executed ignores what this one does, which is what the kernel must see for that long: in a child of vfork,
 * or here where libc makes such a child by itself. Ticks are lost meanwhile. */
void sampling_vfork_pause(void)
{
	int saved_errno = errno;

	if (sampling.is_on) {
		if (!is_vfork_child())
			atomic_fetch_add_explicit(&lenders, 1, memory_order_relaxed);
		leave_ignored(SIGPROF);
		leave_ignored(deputy_signal);
		disposition_mask_pause();
	}
	errno = saved_errno;
}

void sampling_vfork_resume(void)
{
	int saved_errno = errno;

	if (sampling.is_on) {
		bool is_last = is_vfork_child() || atomic_fetch_sub_explicit(&lenders, 1, memory_order_relaxed) == 1;
		if (is_last && is_one_ignored())
			install();
		disposition_thread_begin();
	}
	errno = saved_errno;
}

void sampling_resume(void)
{
	if (!sampling.is_on || is_vfork_child())
		return;
	install();
	atomic_store_explicit(&handler.is_paused, 0, memory_order_relaxed);
	disposition_thread_begin();
	begin_clocks(false);
	adopt_all();
}

bool sampling_arbitrates(int number)
{
	return sampling.is_on && (number == SIGPROF || (deputy_signal && number == deputy_signal));
}

int sampling_program_action(int number, const struct sigaction *action, struct sigaction *ret_old)
{
	struct sigaction old;

	if (is_vfork_child()) {
		/* Its dispositions are its own, its memory is not. */
		int result = real.sigaction(number, action, NULL);
		if (ret_old)
			*ret_old = sig_disposition(number);
		return result;
	}
	disposition_set(number, action, &old);
	if (action && (action->sa_flags ^ old.sa_flags) & SA_ONSTACK)
		install();
	if (ret_old)
		*ret_old = old;
	return 0;
}
