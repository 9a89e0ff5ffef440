#include "server.h"

#include "../../exporter/exporter.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "../base/own_memory.h"
#include "../base/real.h"
#include "../base/thread.h"
#include "../sampling/sampling.h"
#include "../sampling/stacks.h"
#include "../segment/kernel_clock.h"
#include "allocator.h"
#include "aside.h"
#include "descriptors.h"
#include "exporter_library.h"
#include "filter.h"
#include "governor.h"
#include "process.h"
#include "rings.h"
#include "session.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE_BYTES = 4096,
	STANDBY_MAX = 8,           /* processes with a thread that serves or waits to */
	STACK_BYTES = 2 << 20,     /* of address space: DWARF is read on it; pages that are not touched cost nothing */
	THOROUGH_TICKS = 3,        /* ticks between looks into /proc: 0.6 s, as gauges of the dead are gone within a second */
	RINGS_TICKS = 5,
	PRUNE_TICKS = 5,           /* what programs that end sooner pay for at their end */
	PRUNE_PERIOD_TICKS = 3600 * 1000 / EXPORTER_TICK_MS,
	FORK_WAIT_MS = 1000,       /* where cores are short: libraries are opened in some 20 ms of CPU time */
	YIELD_MS = 50,             /* for others to win the election after a term that was none */
	REPORT_WAIT_MS = 2000,
	REPORT_PAUSE_MS = 20,
	HEARTBEAT_MAX_MS = 1000,   /* without a sign of the server, after which nobody seems to serve */
	STANDBY_DELAY_MS = 300,    /* the first process comes first: its forks may have given up rights since */
	TURN_SLICE_MS = 100,       /* of the wait for its turn, between looks whether the thread is to step aside */
	BACK_DELAY_MS = 100,       /* the calls for which it steps aside come in groups */
};

typedef int serve_function(const struct exporter_host *host);

_Static_assert(sizeof(pthread_mutex_t) <= SEG_ELECTION_BYTES, "the election is a pthread mutex");

static _Atomic bool is_started;
static _Atomic bool is_alive; /* the thread was made and has not come to its end */
static _Atomic uint64_t next_look_ns; /* 0 = this process never looked whether enough are alive */
static _Atomic bool is_stopping;
static _Atomic bool is_loading;  /* the exporter is being opened: locks are held, and a socket that a child would keep */
static _Atomic unsigned forks_in_progress;
static bool has_failed;          /* to begin a term: another try would fail the same way, and say so again */
static unsigned start_delay_ms;
static struct exporter_host host;

static pthread_mutex_t *election(void)
{
	return (pthread_mutex_t *)(void *)seg.head->election;
}

void server_format_election(struct segment *head)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init((pthread_mutex_t *)(void *)head->election, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

static void sleep_ms(unsigned ms)
{
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

/* What ticks do besides burying: our own lost log lines become a counter that readers see. */
static void publish_lost_lines(void)
{
	unsigned lost = atomic_exchange_explicit(&log_lines_lost, 0, memory_order_relaxed);

	if (lost && self.slot)
		thread_add(&self.slot->counters[SEG_COUNTER_LOG_LOST], lost);
}

static bool is_to_end(void)
{
	return atomic_load_explicit(&is_stopping, memory_order_relaxed) || aside_is_asked();
}

static bool host_tick(void)
{
	static unsigned ticks;

	atomic_store(&is_loading, false);
	process_bury(++ticks % THOROUGH_TICKS == 0);
	session_keep_space();
	if (ticks % RINGS_TICKS == 0)
		rings_look();
	if (ticks % PRUNE_PERIOD_TICKS == PRUNE_TICKS)
		session_prune();
	governor_tick();
	sampling_tick();
	stacks_look_if_wanted(clock_now_ns());
	publish_lost_lines();
	log_stderr_tend();
	atomic_store_explicit(&seg.head->heartbeat_mono_ns, clock_now_ns(), memory_order_relaxed);
	return !is_to_end();
}

static void host_log(enum seg_log_level level, const char *line)
{
	log_line(level, "%s", line);
}

static serve_function *find_exporter(const char *name)
{
	void *library = filter_permits(FILTER_SERVING) ? exporter_library_open() : NULL;
	serve_function *function;

	if (!library)
		return NULL;
	*(void **)&function = dlsym(library, name);
	if (!function)
		log_line(SEG_LOG_WARN, "libprofshim-exporter.so lacks %s, there will be no reports", name);
	return function;
}

static void fill_host(void)
{
	host = (struct exporter_host){ .seg = seg,
				       .log = host_log,
				       .stderr_borrow = log_stderr_borrow,
				       .stderr_return = log_stderr_return,
				       .tick = host_tick,
				       .is_to_end = is_to_end,
				       .may_set_policy = permitted(SYS_sched_setscheduler),
				       .descriptor_opened = descriptors_add,
				       .descriptor_closed = descriptors_remove };
}

/* Until this process has the mutex, or its thread is to end: ETIMEDOUT. */
static int wait_for_turn(void)
{
	int problem;

	do {
		struct timespec until = kernel_clock_after_ms(TURN_SLICE_MS);

		problem = pthread_mutex_clocklock(election(), CLOCK_MONOTONIC, &until);
		log_stderr_tend();
	} while (problem == ETIMEDOUT && !is_to_end());
	return problem;
}

/* Blocks until this process is the server. False: its thread is to end, or the mutex is broken beyond use. */
static bool win_election(void)
{
	int problem = wait_for_turn();

	if (problem == ETIMEDOUT)
		return false;
	if (problem == EOWNERDEAD) {
		process_bury_server();
		problem = pthread_mutex_consistent(election());
	}
	if (problem)
		log_line(SEG_LOG_WARN, "cannot take part in the election of the serving process (%s)", strerror(problem));
	return problem == 0;
}

/* Comes back at a moment when no fork is under way; none begins until is_loading is false again. */
static void begin_loading(void)
{
	atomic_store(&is_loading, true);
	while (atomic_load(&forks_in_progress)) {
		atomic_store(&is_loading, false);
		sleep_ms(1);
		atomic_store(&is_loading, true);
	}
}

/* Until the first tick, when it listens and the socket is known as ours: a child that had it unknowingly would keep the port
 * from whoever serves next. */
static serve_function *load_exporter(void)
{
	begin_loading();
	return find_exporter("profshim_exporter_serve");
}

/* One term as the server. False: this process cannot serve; the dead were buried meanwhile, and another may try. */
static bool serve_session(void)
{
	serve_function *serve = has_failed ? NULL : load_exporter();

	fill_host();
	if (serve && serve(&host) == 0)
		return true;
	has_failed = true;
	for (int i = 0; i < THOROUGH_TICKS && host_tick(); i++)
		aside_sleep(EXPORTER_TICK_MS);
	return false;
}

/* A slot to count in, but none of the program's threads. */
static void attach(void)
{
	thread_attach();
	if (thread_process)
		atomic_fetch_sub_explicit(&thread_process->threads, 1, memory_order_relaxed);
}

static void detach(void)
{
	struct seg_process *process = thread_process;

	if (self.slot && process)
		atomic_fetch_add_explicit(&process->threads, 1, memory_order_relaxed);
	thread_detach();
}

static uintptr_t stack_begin; /* of the thread, 0 = there is none */

/* Its C library's part lies at the upper end, and is what a thread is known by. */
static void note_stack(void)
{
	uintptr_t end = (uintptr_t)pthread_self() & ~(uintptr_t)(PAGE_BYTES - 1);

	stack_begin = end - STACK_BYTES + PAGE_BYTES;
	own_memory_add(stack_begin, end);
	if (own_memory_is_future_locked())
		own_memory_unlock(stack_begin, end);
}

static void forget_stack(void)
{
	if (stack_begin)
		own_memory_forget(stack_begin);
	stack_begin = 0;
}

static void say_no_table(void)
{
	thread_count(SEG_COUNTER_FAULT_EXPORTER);
	log_line(SEG_LOG_WARN, "a thread of profshim's cannot have descriptors of its own (seccomp), process %d serves no reports", (int)getpid());
}

static void *server_main(void *unused)
{
	(void)unused;
	self.own_depth = 1; /* for good: this thread is ours */
	prctl(PR_SET_NAME, "profshim");
	bool is_done = !descriptors_part();
	aside_thread_begins();
	note_stack();
	if (start_delay_ms)
		aside_sleep(start_delay_ms);
	begin_loading(); /* to look a name up takes the loader's lock, too */
	allocator_thread_begin();
	atomic_store(&is_loading, false);
	attach();
	if (is_done)
		say_no_table();
	while (!is_done && !is_to_end() && win_election()) {
		is_done = serve_session() || is_to_end();
		pthread_mutex_unlock(election());
		if (!is_done)
			aside_sleep(YIELD_MS);
	}
	detach();
	forget_stack();
	atomic_store_explicit(&is_alive, false, memory_order_relaxed);
	aside_thread_ends();
	return NULL;
}

void server_start(unsigned delay_ms)
{
	struct seg_process *process = thread_process;
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;

	if (aside_is_asked() || atomic_exchange_explicit(&is_started, true, memory_order_relaxed) || !filter_permits(FILTER_SERVING))
		return;
	start_delay_ms = delay_ms;
	if (process)
		atomic_store_explicit(&process->has_server, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&seg.head->standby_count, 1, memory_order_relaxed);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	self.own_depth++;
	atomic_store_explicit(&is_alive, true, memory_order_relaxed);
	aside_thread_is_made(true);
	int problem = real.pthread_create(&thread, &attributes, server_main, NULL); /* the program may have one of its own */
	self.own_depth--;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!problem)
		return;
	aside_thread_is_made(false);
	atomic_store_explicit(&is_alive, false, memory_order_relaxed);
	if (process)
		atomic_store_explicit(&process->has_server, 0, memory_order_relaxed);
	atomic_fetch_sub_explicit(&seg.head->standby_count, 1, memory_order_relaxed);
	/* EINVAL: who has unshared the pid namespace of its children makes no threads any more (clone(2)). */
	log_line(problem == EINVAL ? SEG_LOG_INFO : SEG_LOG_WARN, "no thread for the reports could be started (%s)",
		 strerror(problem));
}

/* All that had a thread may have died at once, and then nobody counts them. */
static bool is_served(uint64_t now_ns)
{
	uint64_t heartbeat_ns = atomic_load_explicit(&seg.head->heartbeat_mono_ns, memory_order_relaxed);

	return now_ns < heartbeat_ns || now_ns - heartbeat_ns < HEARTBEAT_MAX_MS * 1000000ULL;
}

/* The count is as old as the last tick, and a worker that replaces a dead one may never wait again: it looks for itself,
 * once, and again while nobody serves. */
static bool are_enough_alive(void)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t next_ns = atomic_load_explicit(&next_look_ns, memory_order_relaxed);

	if (next_ns && (is_served(now_ns) || now_ns < next_ns))
		return true;
	if (!atomic_compare_exchange_strong_explicit(&next_look_ns, &next_ns, now_ns + HEARTBEAT_MAX_MS * 1000000ULL,
						     memory_order_relaxed, memory_order_relaxed))
		return true;
	return process_count_servers() >= STANDBY_MAX;
}

void server_offer(void)
{
	if (atomic_load_explicit(&is_started, memory_order_relaxed) || !seg.head ||
	    !atomic_load_explicit(&seg.head->has_listened, memory_order_relaxed))
		return;
	if (atomic_load_explicit(&seg.head->standby_count, memory_order_relaxed) < STANDBY_MAX || !are_enough_alive())
		server_start(STANDBY_DELAY_MS);
}

bool server_step_aside(unsigned max_ms)
{
	return aside_begin(max_ms);
}

void server_step_back(void)
{
	if (!aside_end())
		return;
	if (thread_process)
		atomic_store_explicit(&thread_process->has_server, 0, memory_order_relaxed);
	atomic_fetch_sub_explicit(&seg.head->standby_count, 1, memory_order_relaxed);
	atomic_store_explicit(&is_started, false, memory_order_relaxed);
	server_start(BACK_DELAY_MS);
}

int server_thread_count(void)
{
	return atomic_load_explicit(&is_alive, memory_order_relaxed);
}

void server_report_now(void)
{
	serve_function *report = find_exporter("profshim_exporter_report");

	if (!report)
		return;
	fill_host();
	report(&host);
}

void server_ask_for_report(void)
{
	struct segment *head = seg.head;

	if (!server_thread_count()) {
		log_line(SEG_LOG_WARN, "no report at the end of process %d: it ends by _exit and has no thread that could write one",
			 (int)getpid());
		return;
	}
	uint32_t wanted = atomic_fetch_add_explicit(&head->reports_requested, 1, memory_order_relaxed) + 1;

	for (int waited_ms = 0; waited_ms < REPORT_WAIT_MS; waited_ms += REPORT_PAUSE_MS) {
		uint32_t finished = atomic_load_explicit(&head->reports_finished, memory_order_acquire);
		if ((int32_t)(finished - wanted) >= 0)
			break;
		sleep_ms(REPORT_PAUSE_MS);
	}
}

static bool is_slow_log_due(void)
{
	const struct segment *head = seg.head;

	return head->config.slow_log[0] && atomic_load_explicit(&head->slow_events_logged, memory_order_relaxed) <
						   atomic_load_explicit(&head->slow_events_begun, memory_order_relaxed);
}

void server_finish_slow_log(void)
{
	serve_function *finish = is_slow_log_due() ? find_exporter("profshim_exporter_finish") : NULL;

	if (!finish)
		return;
	fill_host();
	finish(&host);
}

void server_wait_for_slow_log(void)
{
	int pauses = server_thread_count() ? REPORT_WAIT_MS / REPORT_PAUSE_MS : 0;

	for (; pauses && is_slow_log_due(); pauses--)
		sleep_ms(REPORT_PAUSE_MS);
	if (is_slow_log_due())
		log_line(SEG_LOG_WARN, "the last slow requests are not logged: process %d ends by _exit and no thread of it logs them",
			 (int)getpid());
}

void server_stop(void)
{
	atomic_store_explicit(&is_stopping, true, memory_order_relaxed);
}

void server_fork_prepare(void)
{
	atomic_fetch_add(&forks_in_progress, 1);
	for (int waited_ms = 0; atomic_load(&is_loading) && waited_ms < FORK_WAIT_MS; waited_ms++)
		sleep_ms(1);
}

void server_fork_parent(void)
{
	atomic_fetch_sub(&forks_in_progress, 1);
}

void server_fork_child(void)
{
	atomic_store(&forks_in_progress, 0);
	forget_stack();
	own_memory_lock_future(false); /* is not inherited, mlock(2) */
	has_failed = false;
	atomic_store(&is_loading, false);
	atomic_store(&is_started, false);
	atomic_store(&next_look_ns, 0);
	atomic_store(&is_alive, false);
	atomic_store(&is_stopping, false);
	aside_forked();
}
