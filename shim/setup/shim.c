/* The constructor decides once what this process is to be (shim.h); everything after that is event-driven: a dormant
 * program that listens, a fork, a thread, an exec, the end.
 */
#include "shim.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../base/own_memory.h"
#include "../base/real.h"
#include "../base/thread.h"
#include "../base/work.h"
#include "../requests/connection.h"
#include "../requests/route.h"
#include "../sampling/modules.h"
#include "../sampling/sampling.h"
#include "../segment/kernel_clock.h"
#include "allowance.h"
#include "config.h"
#include "descriptors.h"
#include "environment.h"
#include "exporter_library.h"
#include "filter.h"
#include "inherited.h"
#include "process.h"
#include "report_signal.h"
#include "server.h"
#include "session.h"
#include "trial.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	SILENCE_MS = 1000,    /* for our thread to end */
	SERVER_DELAY_MS = 50, /* programs that end sooner pay for a thread, and for nothing that it would open */
};

/* The state alone in a page, which the kernel empties in a child that is made by clone(2): see shim_cloned. */
enum { PAGE_BYTES = 4096 };
static struct {
	_Atomic int state;
	char rest[PAGE_BYTES - sizeof(_Atomic int)];
} state_page __attribute__((aligned(PAGE_BYTES), used));
extern _Atomic int shim_state __attribute__((alias("state_page")));
static _Atomic int state_kept; /* the same, in a page that is copied */

static struct config config;
static char program_path[PATH_MAX]; /* of the executable; "" = not known */
static pthread_key_t thread_key;    /* its destructor tells of a thread's end */
static bool has_thread_key;
static _Atomic bool is_silent;      /* a filter of the program's allows us no system call */
static _Atomic bool has_main_ended; /* by pthread_exit, while other threads go on */

/* As its caller named it: redis-server, though the file behind that link be redis-check-rdb. A login shell is "-bash".
 * Copied at the first look, since programs write their titles over it. */
static const char *program_name(void)
{
	static char copy[NAME_MAX + 1];
	const char *name = program_invocation_short_name;

	if (copy[0])
		return copy;
	while (*name == '-')
		name++;
	snprintf(copy, sizeof(copy), "%s", *name ? name : "program");
	return copy;
}

static void read_program_path(void)
{
	ssize_t n = readlink("/proc/self/exe", program_path, sizeof(program_path) - 1);

	if (n > 0)
		program_path[n] = '\0';
	else
		strncpy(program_path, program_invocation_name, sizeof(program_path) - 1);
}

static void set_state(enum shim_state state)
{
	atomic_store_explicit(&state_kept, state, memory_order_relaxed);
	atomic_store_explicit(&shim_state, state, memory_order_release);
}

/* In a child: as it was in its parent. */
static void restore_state(void)
{
	atomic_store_explicit(&shim_state, atomic_load_explicit(&state_kept, memory_order_relaxed), memory_order_release);
}

bool shim_is_in_session(void)
{
	int state = atomic_load_explicit(&state_kept, memory_order_relaxed);

	return state == SHIM_ACTIVE || state == SHIM_DORMANT;
}

/* --- threads --- */

/* No thread but the calling one, main's remains (a zombie) and our own. */
static bool is_last_thread(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int count = 0;

	if (!tasks)
		return false;
	for (struct dirent *entry; (entry = readdir(tasks));)
		count += entry->d_name[0] != '.';
	closedir(tasks);
	bool is_main = gettid() == getpid();
	return count == 1 + !is_main + server_thread_count();
}

/* Destructors of other keys may still call hooks; ours asks to be called again until the last round, then lets go. */
static void on_thread_end(void *round)
{
	uintptr_t next = (uintptr_t)round + 1;

	if (next < PTHREAD_DESTRUCTOR_ITERATIONS && pthread_setspecific(thread_key, (void *)next) == 0)
		return;
	if (atomic_load_explicit(&is_silent, memory_order_relaxed))
		return;
	self.own_depth++; /* for good: the thread has no slot any more */
	self.call = 0;    /* it may have been cancelled within one */
	modules_abandon();
	sampling_thread_stop();
	pid_t tid = self.tid ? (pid_t)self.tid : gettid();
	thread_detach();
	if (tid == getpid())
		atomic_store_explicit(&has_main_ended, true, memory_order_relaxed);
	/* When the last thread of a program ends glibc calls exit(0). With ours there it would not. */
	if (atomic_load_explicit(&has_main_ended, memory_order_relaxed) && is_last_thread()) {
		self.own_depth = 0;
		exit(0);
	}
}

static void thread_begin(void (*start_sampling)(void))
{
	self.own_depth++;
	thread_attach();
	start_sampling();
	if (has_thread_key)
		pthread_setspecific(thread_key, (void *)1);
	self.own_depth--;
}

void shim_thread_begin(void)
{
	thread_begin(sampling_thread_start);
}

void shim_new_thread_begin(void)
{
	thread_begin(sampling_new_thread_start);
}

/* No place in the table of processes: its gauges are not kept. */
static void count_place(bool has_place)
{
	if (!has_place)
		thread_count(SEG_COUNTER_OVERFLOW_PROCESSES);
}

/* --- fork ---
 *
 * A fork of a large process takes longer than a sampling period, and a signal that arrives meanwhile makes the kernel
 * begin it anew, for ever at a high rate. So signals wait until fork is done: all of them, since libc's fork takes locks
 * where there is a second thread, ours, and a handler of the program that forks would wait for them for ever. The first of
 * them it takes before it calls any handler of pthread_atfork(3), so the hook holds signals; ours does for who forks
 * without a hook, as libc itself does.
 */

static __thread struct {
	bool is_prepared; /* before_fork did what the handlers after it must undo; the state may change meanwhile */
	struct process_reservation place; /* for the child */
	uint64_t mask; /* the kernel's */
	bool is_held;  /* signals wait from before libc's fork until after it */
} forking __attribute__((tls_model("initial-exec")));

#define SIGNAL_BIT(number) (1ULL << ((number) - 1))
#define FAULTS                                                                                                         \
	(SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGTRAP) |     \
	 SIGNAL_BIT(SIGSYS) | SIGNAL_BIT(SIGABRT))
#define OF_LIBC (SIGNAL_BIT(32) | SIGNAL_BIT(33)) /* by which it cancels threads, and changes their ids */

static uint64_t change_mask(int how, uint64_t mask)
{
	uint64_t old = 0;

	syscall(SYS_rt_sigprocmask, how, &mask, &old, sizeof(mask));
	return old;
}

static void hold_signals(void)
{
	forking.mask = change_mask(SIG_BLOCK, ~(FAULTS | OF_LIBC));
}

static void before_fork(void)
{
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE)
		return;
	if (!forking.is_held)
		hold_signals();
	forking.is_prepared = true;
	server_fork_prepare();
	conn_forking();
	modules_fork_begin();
}

static void after_fork_in_parent(void)
{
	if (!forking.is_prepared)
		return;
	forking.is_prepared = false;
	modules_fork_end();
	server_fork_parent();
	if (!forking.is_held)
		change_mask(SIG_SETMASK, forking.mask);
}

static void let_signals_in(void)
{
	if (!forking.is_held)
		return;
	forking.is_held = false;
	change_mask(SIG_SETMASK, forking.mask);
}

struct process_reservation shim_fork_begins(void)
{
	bool is_active = atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE;

	if (is_active && !forking.is_held) {
		hold_signals();
		forking.is_held = true;
	}
	struct process_reservation interrupted = forking.place;
	forking.place = is_active ? process_reserve() : (struct process_reservation){ 0 };
	return interrupted;
}

void shim_fork_ended(pid_t child, struct process_reservation interrupted)
{
	process_reserve_end(&forking.place, child);
	forking.place = interrupted;
	let_signals_in();
}

void shim_fork_child(void)
{
	let_signals_in();
}

static void enter_as_child(const struct process_reservation *place)
{
	bool has_place = process_enter(place);

	thread_attach();
	count_place(has_place);
	conn_forked();
}

static void after_fork_in_child(void)
{
	int saved_errno = errno;
	bool is_prepared = forking.is_prepared;
	struct process_reservation place = forking.place;

	forking.is_prepared = false;
	forking.place = (struct process_reservation){ 0 };
	if (!is_prepared) {
		if (atomic_load_explicit(&state_kept, memory_order_relaxed) != SHIM_ACTIVE)
			restore_state();
		return;
	}
	self.own_depth++;
	thread_forget();
	server_fork_child();
	descriptors_close_all();
	enter_as_child(&place);
	/* SIGPROF first as the program has it: what sampling finds is taken for that. It may let it through for good. */
	change_mask(SIG_SETMASK, ~(FAULTS | OF_LIBC | SIGNAL_BIT(SIGPROF)) | (forking.mask & SIGNAL_BIT(SIGPROF)));
	sampling_forked();
	restore_state();
	uint64_t mask = (forking.mask & ~SIGNAL_BIT(SIGPROF)) | (change_mask(SIG_BLOCK, 0) & SIGNAL_BIT(SIGPROF));
	self.own_depth--;
	/* A handler of the program's that interrupted the end of a hook has forked, and may never return to it. */
	if (self.own_depth == THREAD_LEAVES_HOOK)
		self.own_depth = 0;
	if (forking.is_held)
		forking.mask = mask;
	else
		change_mask(SIG_SETMASK, mask);
	errno = saved_errno;
}

bool shim_clone_begins(uint64_t *ret_mask)
{
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || self.own_depth || self.in_handler ||
	    !process_is_self())
		return false;
	*ret_mask = change_mask(SIG_BLOCK, ~(FAULTS | OF_LIBC));
	server_fork_prepare();
	conn_forking();
	modules_fork_begin();
	return true;
}

void shim_clone_ended(uint64_t mask)
{
	int saved_errno = errno;

	modules_fork_end();
	server_fork_parent();
	change_mask(SIG_SETMASK, mask);
	errno = saved_errno;
}

/* What the parent holds is forgotten at the child's first hook (shim_cloned). */
void shim_clone_child(uint64_t mask)
{
	change_mask(SIG_SETMASK, mask);
}

/* A clone that has its parent's very table of descriptors (CLONE_FILES): what it closes is closed there. */
static bool shares_descriptors(void)
{
	enum { KCMP_FILES = 2 }; /* linux/kcmp.h */

	return !permitted(SYS_kcmp) || syscall(SYS_kcmp, getppid(), getpid(), KCMP_FILES, 0, 0) == 0;
}

bool shim_cloned(void)
{
	int kept = atomic_load_explicit(&state_kept, memory_order_relaxed), saved_errno = errno;

	/* A fork's own child is still on its way through the handlers of pthread_atfork, or the constructor has not come yet. */
	if (kept == SHIM_EARLY || forking.is_prepared || self.own_depth)
		return false;
	if (kept == SHIM_ACTIVE) {
		self.own_depth++;
		thread_forget();
		server_fork_child();
		if (!shares_descriptors())
			descriptors_close_all();
		enter_as_child(NULL);
		sampling_cloned();
		self.own_depth--;
	}
	restore_state();
	errno = saved_errno;
	return true;
}

/* --- begin --- */

static void log_problems(void)
{
	for (uint32_t i = 0; i < config.problem_count && i < CONFIG_PROBLEMS_MAX; i++)
		log_line(SEG_LOG_WARN, "%s", config.problems[i]);
}

static void count_problems(void)
{
	for (uint32_t i = 0; i < config.problem_count; i++)
		thread_count(SEG_COUNTER_CONFIG_ERRORS);
}

static void set_routes(bool is_first)
{
	const char *problem = config.routes[0] ? route_templates_set(config.routes) : NULL;

	if (!problem || !is_first)
		return;
	log_line(SEG_LOG_WARN, "PROFSHIM_ROUTES=%.60s is not understood (%s), routes are inferred", config.routes, problem);
	thread_count(SEG_COUNTER_CONFIG_ERRORS);
}

static void keep_back_samples(void)
{
	void *memory = own_memory_map(work_bytes(), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	if (memory != MAP_FAILED)
		work_init(memory);
}

/* The segment is open: takes part in the session. What the configuration got wrong is counted once, by its first process. */
static void begin(bool is_first)
{
	bool has_place = process_enter(NULL);
	has_thread_key = pthread_key_create(&thread_key, on_thread_end) == 0;
	modules_start(atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_EARLY);
	keep_back_samples();
	thread_attach();
	count_place(has_place);
	if (is_first)
		count_problems();
	set_routes(is_first);
	if (conn_init() && is_first)
		inherited_follow();
	sampling_start();
	report_signal_init(config.report_signal, config.report_signal_is_explicit);
	sampling_thread_start();
	if (has_thread_key)
		pthread_setspecific(thread_key, (void *)1);
	sampling_adopt_threads();
	madvise(&state_page, sizeof(state_page), MADV_WIPEONFORK); /* a kernel before 4.14 does not know it */
	set_state(SHIM_ACTIVE);
}

/* What a filter that was there before us allows (seccomp(2)). */
static bool has_passed(void)
{
	bool is_passed = trial_is_passed();

	if (!is_passed)
		log_line(SEG_LOG_WARN, "this process is allowed too few system calls (seccomp), it is not profiled");
	else if (!filter_permits(FILTER_SERVING))
		log_line(SEG_LOG_WARN, "process %d is allowed too few system calls for a thread of profshim's (seccomp), it serves no reports",
			 (int)getpid());
	return is_passed;
}

/* Takes part in the session of config.session; where that is over and removed, or was never named, begins one. */
static bool join_or_begin(unsigned server_delay_ms)
{
	if (!has_passed())
		return false;
	bool is_joined = seg.head || (config.session[0] && session_join(&config, program_name()));

	if (!is_joined && config.session[0])
		log_line(SEG_LOG_WARN, "the session %s is gone, a new one is begun", config.session);
	if (!is_joined)
		log_problems();
	if (!is_joined && !session_begin(&config, program_name()))
		return false;
	environment_init(session_path());
	begin(!is_joined);
	exporter_library_prepare();
	server_start(server_delay_ms);
	return true;
}

void shim_activate(void)
{
	int expected = SHIM_DORMANT;

	/* Off while it happens: other threads' hooks pass through, and a second caller goes on without waiting. */
	if (!atomic_compare_exchange_strong_explicit(&shim_state, &expected, SHIM_OFF, memory_order_relaxed, memory_order_relaxed))
		return;
	set_state(SHIM_OFF);
	self.own_depth++;
	join_or_begin(0);
	self.own_depth--;
}

static bool is_to_be_profiled(void)
{
	bool is_matched = config_matches_exe(config.exe, program_path) || config_matches_exe(config.exe, program_name());

	return is_matched && strcmp(config.session, "none") != 0;
}

/* Executed by a profiled process for a purpose of its own, not in its place. */
static bool is_helper(void)
{
	return config.session[0] && !session_is_own(config.session);
}

/* Of a helper it is nobody's concern. */
static bool has_room(void)
{
	unsigned long left_mib = 0;
	const char *limit = allowance_in_the_way(&left_mib);

	if (limit)
		log_line(is_helper() ? SEG_LOG_INFO : SEG_LOG_WARN,
			 "%s leaves %lu MiB, which are the program's: it is not profiled", limit, left_mib);
	return !limit;
}

/* By names that the linker gives: of this library, from its first byte to its last. */
static void note_library(void)
{
	extern const char first[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
	extern const char last[] __asm__("_end") __attribute__((visibility("hidden")));
	const uintptr_t page = 4096;

	own_memory_add((uintptr_t)first & ~(page - 1), ((uintptr_t)last + page - 1) & ~(page - 1));
}

__attribute__((constructor)) static void shim_constructor(void)
{
	int saved_errno = errno;
	enum shim_state state = SHIM_OFF;

	self.own_depth++;
	real_resolve();
	note_library();
	config_read(&config, environ, program_name());
	if (config.exe[0])
		read_program_path();
	log_init((enum seg_log_level)config.shared.log_level);
	if (is_to_be_profiled() && has_room()) {
		kernel_clock_open();
		clock_init();
		pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
		if (is_helper()) {
			/* Mapped while it may: a server that gives up its rights before it accepts could not open it any more. */
			session_join(&config, program_name());
			exporter_library_prepare();
			environment_init(config.session);
			state = SHIM_DORMANT;
		} else if (join_or_begin(SERVER_DELAY_MS))
			state = SHIM_ACTIVE;
	}
	set_state(state);
	self.own_depth--;
	errno = saved_errno;
}

/* --- end --- */

/* What both ends have in common. False: there is nothing to end. */
static bool begin_end(void)
{
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || !process_is_self())
		return false;
	self.own_depth++;
	work_set((struct work){ SEG_ENDPOINT_BACKGROUND, 0 });
	sampling_pause();
	return true;
}

/* log_slow: what logs the last slow requests of the session, NULL where others go on with it. */
static void finish_end(void (*log_slow)(void))
{
	conn_process_ends(clock_now_ns());
	if (log_slow)
		log_slow();
	process_leave(SEG_COUNTER_EXIT_CLEAN);
	atomic_store_explicit(&shim_state, SHIM_OFF, memory_order_release);
	thread_detach(); /* of a thousand processes a second the dead would hold all slots until they are buried */
	self.own_depth--;
}

void shim_process_ends(void)
{
	int saved_errno = errno;

	if (!begin_end())
		return;
	bool is_last = process_is_last();
	if (is_last && seg.head->config.report_at_exit)
		server_ask_for_report();
	finish_end(is_last ? server_wait_for_slow_log : NULL);
	if (is_last)
		session_discard();
	errno = saved_errno;
}

__attribute__((destructor)) static void shim_destructor(void)
{
	if (!begin_end())
		return;
	server_stop();
	bool is_last = process_is_last();
	if (is_last && seg.head->config.report_at_exit)
		server_report_now();
	finish_end(is_last ? server_finish_slow_log : NULL);
	if (is_last && !session_discard())
		session_prune();
}

void shim_goes_silent(bool is_for_all)
{
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || !process_is_self())
		return;
	self.own_depth++;
	thread_count(SEG_COUNTER_FAULT_SAMPLING);
	log_line(SEG_LOG_WARN, "process %d allows itself too few system calls (seccomp) and is not profiled any more", (int)getpid());
	sampling_end();
	conn_process_ends(clock_now_ns());
	if (is_for_all)
		server_step_aside(SILENCE_MS); /* and never back */
	set_state(SHIM_OFF);
	atomic_store_explicit(&is_silent, true, memory_order_relaxed);
	self.own_depth--;
}

void shim_stops_serving(void)
{
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || !process_is_self() || !server_thread_count())
		return;
	self.own_depth++;
	log_line(SEG_LOG_WARN, "process %d allows a thread of profshim's too few system calls (seccomp), it serves no reports any more", (int)getpid());
	server_step_aside(SILENCE_MS); /* and never back */
	self.own_depth--;
}

void shim_lend(void)
{
	report_signal_lend();
	sampling_vfork_pause();
}

void shim_take_back(void)
{
	report_signal_take_back();
	sampling_vfork_resume();
}

bool shim_exec_begin(void)
{
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || !process_is_self())
		return false;
	self.own_depth++;
	work_set((struct work){ SEG_ENDPOINT_BACKGROUND, 0 });
	sampling_pause();
	report_signal_lend();
	process_leave(SEG_COUNTER_EXIT_EXEC);
	thread_detach();
	self.own_depth--;
	return true;
}

void shim_exec_failed(void)
{
	int saved_errno = errno;

	self.own_depth++;
	bool has_place = process_enter(NULL);
	thread_attach();
	count_place(has_place);
	conn_rejoined();
	report_signal_take_back();
	sampling_resume();
	self.own_depth--;
	errno = saved_errno;
}
