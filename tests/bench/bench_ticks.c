/* bench_ticks - what a tick of each of the kernel's clocks costs a thread, with a handler that does nothing: `name value unit`
 * lines.
 *
 *     bench_ticks [ROUNDS]      default: 50
 *
 * A thread works for 20 ms at a time, without a clock and with one, A B B A; what the same work takes longer, by the
 * signals that came, is what one costs in all: the interrupt, the signal, the frame, the return. Then it passes a byte
 * to and fro with a thread on the same core, and what a round takes longer is what the clock costs where a thread
 * waits. Wall time on one core; medians of the rounds. Clocks, each asked for 1,000 a second:
 *
 *   timer       timer_create on the thread's CPU clock: the kernel looks once a tick whether it is due
 *   itimer      setitimer, ITIMER_PROF: the same of the process's
 *   perf        perf_event_open, the software clock of the thread in user mode, with a signal
 *   perf_silent the same without the signal: its expiries alone
 */
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { HZ = 1000, PERIOD_NS = 1000000000 / HZ, SLICE_NS = 20000000, ROUNDS = 50, ROUNDS_MAX = 1000, PAGE_BYTES = 4096 };
enum { RECORD_BYTES = 16 }; /* of a perf clock that tells the instruction pointer */

static struct {
	int timer, perf;
	struct perf_event_mmap_page *page;
	volatile uint64_t signals;
	uint64_t steps, trips; /* that fill a slice */
	int there[2], back[2];
} bench;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void on_tick(int number)
{
	(void)number;
	bench.signals++;
}

static void begin_none(void)
{
}

static uint64_t end_none(void)
{
	return 0;
}

static void begin_timer(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	struct itimerspec times = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };

	event.sigev_notify_thread_id = gettid();
	if (syscall(SYS_timer_create, CLOCK_THREAD_CPUTIME_ID, &event, &bench.timer) || syscall(SYS_timer_settime, bench.timer, 0, &times, NULL))
		die("timer");
}

static uint64_t end_timer(void)
{
	syscall(SYS_timer_delete, bench.timer);
	return bench.signals;
}

static void set_itimer(long us)
{
	struct itimerval times = { { 0, us }, { 0, us } };

	if (setitimer(ITIMER_PROF, &times, NULL))
		die("setitimer");
}

static void begin_itimer(void)
{
	set_itimer(PERIOD_NS / 1000);
}

static uint64_t end_itimer(void)
{
	set_itimer(0);
	return bench.signals;
}

static void open_perf(void)
{
	struct perf_event_attr attributes = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attributes), .config = PERF_COUNT_SW_TASK_CLOCK,
					      .sample_period = PERIOD_NS, .sample_type = PERF_SAMPLE_IP, .wakeup_events = 1,
					      .exclude_kernel = 1, .exclude_hv = 1 };

	bench.perf = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (bench.perf < 0)
		die("perf_event_open");
	bench.page = mmap(NULL, 2 * PAGE_BYTES, PROT_READ, MAP_SHARED, bench.perf, 0);
	if (bench.page == MAP_FAILED)
		die("mmap");
}

static void begin_perf(void)
{
	struct f_owner_ex owner = { .type = F_OWNER_TID, .pid = gettid() };

	open_perf();
	if (fcntl(bench.perf, F_SETSIG, SIGPROF) || fcntl(bench.perf, F_SETOWN_EX, &owner) || fcntl(bench.perf, F_SETFL, O_RDWR | O_ASYNC))
		die("fcntl");
}

static uint64_t end_perf(void)
{
	uint64_t records = bench.page->data_head / RECORD_BYTES;

	munmap(bench.page, 2 * PAGE_BYTES);
	close(bench.perf);
	return records;
}

static const struct clock {
	const char *name;
	void (*begin)(void);
	uint64_t (*end)(void); /* how often it expired */
} none = { "none", begin_none, end_none }, clocks[] = {
	{ "timer", begin_timer, end_timer },
	{ "itimer", begin_itimer, end_itimer },
	{ "perf", begin_perf, end_perf },
	{ "perf_silent", open_perf, end_perf },
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A chain of multiplications that also reads what the nearest cache holds. */
static void work(void)
{
	static uint32_t cells[4096];
	uint64_t x = 1;

	for (uint64_t i = 0; i < bench.steps; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u + cells[x >> 52];
		__asm__ volatile("" : "+r"(x));
	}
}

static void pass(void)
{
	char byte = 0;

	for (uint64_t i = 0; i < bench.trips; i++) {
		if (write(bench.there[1], &byte, 1) != 1)
			die("write");
		while (read(bench.back[0], &byte, 1) != 1)
			;
	}
}

static void *partner(void *unused)
{
	char byte;

	while (read(bench.there[0], &byte, 1) == 1)
		if (write(bench.back[1], &byte, 1) != 1)
			die("write");
	return unused;
}

/* The thread that answers has no clock and takes no signal: those of ITIMER_PROF are the process's. */
static void start_partner(void)
{
	sigset_t all, before;
	pthread_t thread;

	if (pipe(bench.there) || pipe(bench.back))
		die("pipe");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, partner, NULL))
		die("pthread_create");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct slice {
	double took_ns;
	uint64_t expiries;
};

static struct slice slice(const struct clock *clock, void (*load)(void))
{
	bench.signals = 0;
	clock->begin();
	uint64_t began_ns = now_ns();
	load();
	double took_ns = (double)(now_ns() - began_ns);
	return (struct slice){ took_ns, clock->end() };
}

/* So many of *count fill a slice. */
static void fit(uint64_t *count, uint64_t tried, void (*load)(void))
{
	*count = tried;
	load();
	uint64_t took_ns = (uint64_t)slice(&none, load).took_ns;
	*count = tried * SLICE_NS / (took_ns ? took_ns : 1) + 1;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

/* What a clock makes of a slice. */
struct cost {
	double plain_ns;  /* without it, in the mean */
	double longer_ns; /* the median of rounds */
	double expiries;  /* in the mean */
};

static struct cost cost_of(const struct clock *clock, void (*load)(void), int rounds)
{
	static double each_ns[ROUNDS_MAX];
	struct cost cost = { 0 };

	for (int i = 0; i < rounds; i++) {
		struct slice before = slice(&none, load), first = slice(clock, load);
		struct slice second = slice(clock, load), after = slice(&none, load);
		each_ns[i] = (first.took_ns + second.took_ns - before.took_ns - after.took_ns) / 2;
		cost.expiries += (double)(first.expiries + second.expiries) / (2 * rounds);
		cost.plain_ns += (before.took_ns + after.took_ns) / (2 * rounds);
	}
	qsort(each_ns, (size_t)rounds, sizeof(each_ns[0]), compare);
	cost.longer_ns = each_ns[rounds / 2];
	return cost;
}

static void measure(const struct clock *clock, int rounds)
{
	struct cost working = cost_of(clock, work, rounds), passing = cost_of(clock, pass, rounds);

	printf("ticks_%s_rate %.0f Hz\n", clock->name, working.expiries * 1e9 / working.plain_ns);
	if (working.expiries > 0)
		printf("ticks_%s_each %.3f us\n", clock->name, working.longer_ns / working.expiries / 1000);
	printf("ticks_%s_second %.3f %%\n", clock->name, 100 * working.longer_ns / working.plain_ns);
	printf("ticks_%s_wait %.3f us\n", clock->name, passing.longer_ns / (double)bench.trips / 1000);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
	struct sigaction action = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	cpu_set_t one;

	if (rounds < 1 || rounds > ROUNDS_MAX)
		rounds = ROUNDS;
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one) || sigaction(SIGPROF, &action, NULL))
		die("bench_ticks");
	start_partner();
	fit(&bench.steps, 1000000, work);
	fit(&bench.trips, 1000, pass);
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
		measure(&clocks[i], rounds);
	return 0;
}
