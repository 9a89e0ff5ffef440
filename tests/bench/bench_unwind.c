/* bench_unwind - what a walk over a stack costs, and the whole handler, inside the process: `name value unit` lines.
 *
 *     bench_unwind [ROUNDS [VARIANT]]      default: 20,000 of each
 *     bench_unwind ROUNDS stacks COUNT     a sample's handler among so many stacks that were sampled before
 *
 * The stacks are of functions without frame pointers, all different. Of each round one walk is timed by the processor's
 * counter; the time that the counter itself takes is subtracted. The variants take turns, each time in another order, and
 * what is measured at the beginning of a turn is left out. The counter may go in steps (of 10 ns here): a percentile
 * lies within a step as its rank does among the rounds that took so many. Variants:
 *
 *   same      the same stack as at the last walk
 *   moved     the five frames at the leaf end are others than at the last walk: what a sample of a program at work meets
 *   no_path   nothing is known of the last walk, but the rules are remembered
 *   cold      neither is: each frame's rule is looked up in its module's table
 *   cursor    libunwind's unw_init_local2 and unw_step
 *   backtrace libunwind's unw_backtrace, which remembers per thread; begins two frames nearer to the leaf
 *   handler_* the whole of sig_on_prof: the walk, the tree, and the sample's credit
 *   gperftools_* the whole of the handler that libprofiler (package libgoogle-perftools4) has for SIGPROF: its walk by
 *             libunwind, 64 frames at most, and the count of the stack. What a thread's last stack was it does not use
 *
 * moved and *_moved: as moved; *_evicted: the same stack, but the processor's nearer caches hold what another program's
 * work would leave in them. All these are called as functions are. signal_*: by a signal that the thread sends
 * itself, from before the system call until after it; signal_empty is a handler that does nothing, and what a signal itself costs.
 */
#include "../../exporter/serve/unwind_tables.h"
#include "../../shim/base/clock.h"
#include "../../shim/base/log.h"
#include "../../shim/base/real.h"
#include "../../shim/base/thread.h"
#include "../../shim/sampling/handler.h"
#include "../../shim/sampling/modules.h"
#include "../../shim/sampling/pulse.h"
#include "../../shim/sampling/sampling.h"
#include "../../shim/sampling/unwind.h"

#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { ROUNDS = 20000, ROUNDS_MIN = 2000, TURNS = 5, BOTTOM_FRAMES = 5, EVICTED_BYTES = 4 << 20, LINE_BYTES = 64 };
enum { SESSION_BYTES = 32 << 20, SESSION_BYTES_OF_MANY = 512 << 20 };
enum what { BY_RULES, BY_CURSOR, BY_BACKTRACE, HANDLER, GPERFTOOLS, SIGNAL };
enum { MOVES = 1, NO_PATH = 2, NO_RULES = 4, EVICTED = 8 };

static void do_nothing(int number, siginfo_t *info, void *context);

typedef void handler_function(int, siginfo_t *, void *);
static handler_function *gperftools;

static const struct variant {
	const char *name;
	enum what what;
	int how;
	uint32_t share; /* of the rounds: one of so many */
	handler_function *const *handler; /* SIGNAL */
} variants[] = {
	{ "same", BY_RULES, 0, 1, NULL },
	{ "moved", BY_RULES, MOVES, 1, NULL },
	{ "no_path", BY_RULES, NO_PATH, 1, NULL },
	{ "cold", BY_RULES, NO_PATH | NO_RULES, 1, NULL },
	{ "cursor", BY_CURSOR, 0, 4, NULL },
	{ "backtrace", BY_BACKTRACE, 0, 1, NULL },
	{ "backtrace_moved", BY_BACKTRACE, MOVES, 1, NULL },
	{ "backtrace_evicted", BY_BACKTRACE, EVICTED, 40, NULL },
	{ "handler_same", HANDLER, 0, 1, NULL },
	{ "handler_moved", HANDLER, MOVES, 1, NULL },
	{ "handler_cold", HANDLER, NO_PATH | NO_RULES, 1, NULL },
	{ "handler_evicted", HANDLER, EVICTED, 40, NULL },
	{ "gperftools_same", GPERFTOOLS, 0, 4, NULL },
	{ "gperftools_moved", GPERFTOOLS, MOVES, 4, NULL },
	{ "gperftools_evicted", GPERFTOOLS, EVICTED, 40, NULL },
	{ "signal_empty", SIGNAL, 0, 2, &(handler_function *const){ do_nothing } },
	{ "signal_handler", SIGNAL, 0, 2, &(handler_function *const){ sig_on_prof } },
	{ "signal_gperftools", SIGNAL, 0, 4, &gperftools },
};

static struct {
	const struct variant *variant;
	uint32_t rounds, done; /* of a turn, at most and so far */
	uint64_t *ticks;       /* of a turn */
	volatile char *evicting;
	uint64_t step;         /* of the counter */
	double overhead;
	uint32_t depth; /* found by the last walk */
	pid_t tid;
} bench;

static struct {
	int (*init)(unw_cursor_t *, unw_context_t *, int);
	int (*step)(unw_cursor_t *);
	int (*get)(unw_cursor_t *, int, unw_word_t *);
	int (*backtrace)(void **, int);
} libunwind_api;

enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };

/* Of all turns of a variant at one depth, what counts. */
static struct kept {
	uint64_t *ticks;
	uint32_t count;
} kept[VARIANTS];

static volatile int sink;

void log_line(enum seg_log_level level, const char *format, ...)
{
	va_list list;

	if (level > SEG_LOG_WARN)
		return;
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

static uint64_t ticks(void)
{
	unsigned processor;
	uint64_t now = __rdtscp(&processor);

	_mm_lfence();
	return now;
}

static void walk_by_cursor(ucontext_t *context)
{
	unw_cursor_t cursor;
	unw_word_t pc;

	bench.depth = 0;
	libunwind_api.init(&cursor, (unw_context_t *)context, UNW_INIT_SIGNAL_FRAME);
	do {
		libunwind_api.get(&cursor, UNW_REG_IP, &pc);
		bench.depth++;
	} while (libunwind_api.step(&cursor) > 0);
}

static void walk_by_rules(ucontext_t *context)
{
	struct unwind_state *state = sig_unwind_begin();
	bool has_entered = sig_modules_enter();

	bench.depth = sig_unwind(context, state).depth;
	sig_modules_leave(has_entered);
	sig_unwind_end(state);
}

static siginfo_t signal_of_ours(void)
{
	siginfo_t info = { .si_signo = SIGPROF, .si_code = SI_TIMER };

	info.si_value.sival_ptr = pulse_cookie(atomic_load(&seg.head->hz_now));
	return info;
}

static void take_sample(handler_function *handle, ucontext_t *context)
{
	siginfo_t info = signal_of_ours();

	handle(SIGPROF, &info, context);
}

static void do_nothing(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
}

static void send_signal(void)
{
	siginfo_t info = signal_of_ours();

	syscall(SYS_rt_tgsigqueueinfo, getpid(), bench.tid, SIGPROF, &info);
}

static void forget(int how)
{
	struct unwind_state *state = unwind_walk.own;

	if (how & EVICTED)
		for (size_t i = 0; i < EVICTED_BYTES; i += LINE_BYTES)
			bench.evicting[i]++;
	if (!state || !(how & NO_PATH))
		return;
	state->frame_count = 0;
	if (!(how & NO_RULES))
		return;
	memset(state->known, 0, sizeof(state->known));
	memset(state->path.children, 0, sizeof(state->path.children));
	state->path.depth = 0;
	state->tagged = 0;
}

static __attribute__((noinline)) void measure(void)
{
	void *pcs[SIG_FRAMES_MAX];
	ucontext_t context;

	getcontext(&context);
	forget(bench.variant->how);
	uint64_t begin = ticks();
	switch (bench.variant->what) {
	case BY_RULES: walk_by_rules(&context); break;
	case BY_CURSOR: walk_by_cursor(&context); break;
	case BY_BACKTRACE: bench.depth = (uint32_t)libunwind_api.backtrace(pcs, SIG_FRAMES_MAX); break;
	case HANDLER: take_sample(sig_on_prof, &context); break;
	case GPERFTOOLS: take_sample(gperftools, &context); break;
	case SIGNAL: send_signal(); break;
	}
	bench.ticks[bench.done++] = ticks() - begin;
}

/* --- stacks --- */

typedef void step(int depth);
static step *const levels[];
static void (*const bottoms[4])(int);

#define BOTTOM(n)                                                                     \
	static __attribute__((noinline, noclone)) void bottom_##n(int left)            \
	{                                                                              \
		if (left)                                                              \
			bottoms[(n + left) % 4](left - 1);                             \
		else                                                                   \
			measure();                                                     \
		sink += n;                                                             \
	}
BOTTOM(0)
BOTTOM(1)
BOTTOM(2)
BOTTOM(3)
static void (*const bottoms[4])(int) = { bottom_0, bottom_1, bottom_2, bottom_3 };

/* Rounds are made from the level just above the bottom, so that the rest of the stack stays what it is. */
static __attribute__((noinline)) void run_rounds(void)
{
	bool moves = bench.variant->how & MOVES;

	while (bench.done < bench.rounds / bench.variant->share)
		bottoms[moves ? bench.done % 4 : 0](BOTTOM_FRAMES - 2);
	sink++;
}

#define LEVEL(n)                                                                      \
	static __attribute__((noinline, noclone)) void level_##n(int left)             \
	{                                                                              \
		volatile char bytes[16 + 8 * (n % 13)];                                \
		bytes[0] = (char)left;                                                 \
		if (left)                                                              \
			levels[(n + 1) % 64](left - 1);                                \
		else                                                                   \
			run_rounds();                                                  \
		sink += n + bytes[0];                                                  \
	}
#define LEVELS(X)                                                                                                          \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) \
	X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32) X(33) X(34) X(35) X(36) X(37) X(38) X(39)   \
	X(40) X(41) X(42) X(43) X(44) X(45) X(46) X(47) X(48) X(49) X(50) X(51) X(52) X(53) X(54) X(55) X(56) X(57) X(58)   \
	X(59) X(60) X(61) X(62) X(63)
LEVELS(LEVEL)
#define LEVEL_NAME(n) level_##n,
static step *const levels[] = { LEVELS(LEVEL_NAME) };

/* --- many stacks --- */

enum { DIGITS = 8, DIGITS_MAX = 7, STACKS_MAX = 1 << 21 }; /* 8 to the power of 7 */

typedef void digit(uint32_t rest, int left);
static digit *const digits[DIGITS];

/* What is called next tells a digit of the stack's number. */
#define DIGIT(n)                                                                      \
	static __attribute__((noinline, noclone)) void digit_##n(uint32_t rest, int left) \
	{                                                                              \
		if (left)                                                              \
			digits[rest % DIGITS](rest / DIGITS, left - 1);                \
		else                                                                   \
			measure();                                                     \
		sink += n;                                                             \
	}
DIGIT(0)
DIGIT(1)
DIGIT(2)
DIGIT(3)
DIGIT(4)
DIGIT(5)
DIGIT(6)
DIGIT(7)
static digit *const digits[DIGITS] = { digit_0, digit_1, digit_2, digit_3, digit_4, digit_5, digit_6, digit_7 };

static void go_to(uint32_t stack)
{
	digits[stack % DIGITS](stack / DIGITS, DIGITS_MAX - 1);
}

/* Marsaglia's xorshift. */
static uint32_t next_random(void)
{
	static uint32_t state = 1;

	state ^= state << 13;
	state ^= state >> 17;
	return state ^= state << 5;
}

/* Each of them once, and then some of them, as they come: all from the same place, which is part of the stack. */
static void run_stacks(uint32_t count)
{
	for (uint64_t i = 0; i < (uint64_t)count + bench.rounds; i++) {
		if (i <= count)
			bench.done = 0;
		go_to(i < count ? (uint32_t)i : next_random() % count);
	}
}

/* --- figures --- */

static int by_size(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

static double ns_per_tick(void)
{
	struct timespec begin, now;
	uint64_t ticks_before = ticks();
	double ns;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		ns = (double)(now.tv_sec - begin.tv_sec) * 1e9 + (double)(now.tv_nsec - begin.tv_nsec);
	} while (ns < 5e7);
	return ns / (double)(ticks() - ticks_before);
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* Of ticks that are sorted: each stands for all that a step of the counter cannot tell apart. */
static double percentile(const uint64_t *sorted, uint32_t count, double share)
{
	double rank = share * count;
	uint64_t at = sorted[(uint32_t)rank];
	uint32_t below = 0, equal = 0;

	while (sorted[below] < at)
		below++;
	while (below + equal < count && sorted[below + equal] == at)
		equal++;
	return (double)at + (double)bench.step * ((rank - below) / equal - 0.5);
}

/* What the counter itself takes, and its step. */
static void measure_counter(void)
{
	bench.step = 0;
	for (uint32_t i = 0; i < bench.rounds; i++) {
		uint64_t begin = ticks();
		bench.ticks[i] = ticks() - begin;
		bench.step = greatest_divisor(bench.step, bench.ticks[i]);
	}
	qsort(bench.ticks, bench.rounds, sizeof(*bench.ticks), by_size);
	bench.overhead = percentile(bench.ticks, bench.rounds, 0.5);
}

static void print_figure(const char *name, uint32_t frames, const char *which, double took, double tick_ns)
{
	double net = took > bench.overhead ? took - bench.overhead : 0;

	printf("unwind_%s_%u_%s %.1f ns\n", name, frames, which, net * tick_ns);
}

static void print_figures(uint32_t index, uint32_t frames, double tick_ns)
{
	struct kept *of = &kept[index];

	qsort(of->ticks, of->count, sizeof(*of->ticks), by_size);
	print_figure(variants[index].name, frames, "p50", percentile(of->ticks, of->count, 0.5), tick_ns);
	print_figure(variants[index].name, frames, "p99", percentile(of->ticks, of->count, 0.99), tick_ns);
	of->count = 0;
}

static void take_turn(uint32_t index, uint32_t frames)
{
	const struct variant *variant = &variants[index];
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_RESTART }, before;
	struct kept *of = &kept[index];

	bench.variant = variant;
	bench.done = 0;
	if (variant->handler) {
		action.sa_sigaction = *variant->handler;
		real.sigaction(SIGPROF, &action, &before);
	}
	/* main, its callers and the bottom are frames, too. */
	levels[0]((int)(frames - BOTTOM_FRAMES - 6) - 1);
	if (variant->handler)
		real.sigaction(SIGPROF, &before, NULL);
	uint32_t first = bench.done / 10;
	memcpy(of->ticks + of->count, bench.ticks + first, (bench.done - first) * sizeof(*of->ticks));
	of->count += bench.done - first;
}

static bool is_wanted(uint32_t index, const char *only)
{
	return !only || !strcmp(variants[index].name, only);
}

/* only: the name of a variant, NULL = all. */
static void run(uint32_t frames, double tick_ns, const char *only)
{
	for (uint32_t turn = 0; turn < TURNS; turn++)
		for (uint32_t i = 0; i < VARIANTS; i++)
			if (is_wanted((turn * 7 + i * 5) % VARIANTS, only))
				take_turn((turn * 7 + i * 5) % VARIANTS, frames);
	for (uint32_t i = 0; i < VARIANTS; i++)
		if (kept[i].count)
			print_figures(i, frames, tick_ns);
}

static bool is_room_left(void)
{
	uint64_t lost = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_THREADS].count; i++)
		lost += atomic_load(&seg.threads[i].counters[SEG_COUNTER_DROP_NODES_FULL]) +
			atomic_load(&seg.threads[i].counters[SEG_COUNTER_DROP_CELLS_FULL]);
	return !lost;
}

static int tell_stacks(uint32_t count, double tick_ns)
{
	static const struct variant handler_variant = { "handler", HANDLER, MOVES, 1, NULL };

	bench.variant = &handler_variant;
	run_stacks(count);
	if (!is_room_left()) {
		fprintf(stderr, "bench_unwind: the session has no room for %u stacks\n", count);
		return 1;
	}
	qsort(bench.ticks, bench.rounds, sizeof(*bench.ticks), by_size);
	print_figure("stacks", count, "p50", percentile(bench.ticks, bench.rounds, 0.5), tick_ns);
	print_figure("stacks", count, "p99", percentile(bench.ticks, bench.rounds, 0.99), tick_ns);
	return 0;
}

/* --- setup --- */

static void log_for_tables(enum seg_log_level level, const char *line)
{
	log_line(level, "%s", line);
}

static void make_tables(void)
{
	struct exporter_host host = { .seg = seg, .log = log_for_tables };
	struct unwind_tables tables;
	struct timespec begin, end;
	uint64_t rows = 0, bytes = (uint64_t)SEG_UNWIND_PIECE_BYTES;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	unwind_tables_init(&tables, &host);
	while (unwind_tables_turn(&tables) == 0)
		;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_UNWIND].count; i++)
		if (atomic_load(&seg.unwind[i].state) == SEG_UNWIND_READY)
			rows += seg.unwind[i].row_count;
	double ms = (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
	printf("unwind_compile_rows %lu rows\n", (unsigned long)rows);
	printf("unwind_compile_rate %.1f million_rows/s\n", (double)rows / ms / 1e3);
	printf("unwind_table_bytes %.2f bytes/row\n", (double)(bytes * atomic_load(&seg.head->unwind_pieces)) / (double)rows);
}

static void open_session(size_t ceiling_bytes)
{
	size_t bytes = seg_bytes_for(ceiling_bytes);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	real_resolve();
	clock_init();
	seg_format(base, bytes, 1);
	struct segment *head = base;
	atomic_store(&head->config.hz, 100);
	atomic_store(&head->hz_now, 100);
	atomic_store(&head->config.is_enabled, 1);
	strcpy(head->config.unwind, "auto");
	seg_publish(head);
	if (seg_view_init(&seg, base, bytes) != SEG_OK)
		exit(1);
	thread_attach();
	modules_refresh();
	if (!sampling_start())
		exit(1);
	make_tables();
}

static void open_libunwind(void)
{
	void *library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		fprintf(stderr, "bench_unwind: %s\n", dlerror());
		exit(1);
	}
	*(void **)&libunwind_api.init = dlsym(library, "_ULx86_64_init_local2");
	*(void **)&libunwind_api.step = dlsym(library, "_ULx86_64_step");
	*(void **)&libunwind_api.get = dlsym(library, "_ULx86_64_get_reg");
	*(void **)&libunwind_api.backtrace = dlsym(library, "unw_backtrace");
}

/* Its handler, without its clock. Before ours is there, for it takes a signal only that nobody has. */
static void open_gperftools(void)
{
	struct sigaction action;
	struct itimerval never = { 0 };
	void *library = dlopen("libprofiler.so.0", RTLD_NOW | RTLD_LOCAL);
	int (*start)(const char *);

	*(void **)&start = library ? dlsym(library, "ProfilerStart") : NULL;
	if (!start || !start("/dev/null") || sigaction(SIGPROF, NULL, &action) || !(action.sa_flags & SA_SIGINFO)) {
		fprintf(stderr, "bench_unwind: no handler of gperftools: %s\n", library ? "it did not start" : dlerror());
		exit(1);
	}
	setitimer(ITIMER_PROF, &never, NULL);
	gperftools = action.sa_sigaction;
	signal(SIGPROF, SIG_DFL);
}

int main(int argc, char **argv)
{
	static const uint32_t depths[] = { 40, 128 };

	uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : ROUNDS;
	uint32_t stacks = argc > 3 && !strcmp(argv[2], "stacks") ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;

	bench.rounds = rounds / TURNS;
	bench.ticks = calloc(bench.rounds + 1, sizeof(*bench.ticks));
	bench.evicting = calloc(1, EVICTED_BYTES);
	bench.tid = gettid();
	if (rounds < ROUNDS_MIN || stacks > STACKS_MAX || !bench.ticks || !bench.evicting) {
		fprintf(stderr, "usage: bench_unwind [ROUNDS [VARIANT | stacks COUNT]], %d or more rounds\n", ROUNDS_MIN);
		return 2;
	}
	for (uint32_t i = 0; i < VARIANTS; i++)
		if (!(kept[i].ticks = calloc(rounds, sizeof(*kept[i].ticks))))
			return 1;
	open_libunwind();
	open_gperftools();
	open_session(stacks ? SESSION_BYTES_OF_MANY : SESSION_BYTES);
	double tick_ns = ns_per_tick();
	measure_counter();
	if (stacks)
		return tell_stacks(stacks, tick_ns);
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
		run(depths[i], tick_ns, argc > 2 ? argv[2] : NULL);
	return 0;
}
