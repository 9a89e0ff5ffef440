/* torture - all at once what a profiler in a program may break on: see the parts in torture.h. For people who doubt it.
 *
 *     torture SECONDS [ACTOR...]     prints a line for each actor, the same whatever the time and under any profiler
 *
 * On stderr a line of figures. Exit code 0 if nothing was wrong.
 */
#include "torture.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr long STALLS_TOLD = 200;       /* what a pipe holds that nobody reads before the end */
constexpr uint64_t SPIN_NS = 80000000;  /* 80 ms */
constexpr long DOZE_NS = 80000000;

struct Actor {
	const char *name;
	long (*round)();
	bool is_broken = false; /* on purpose; only when it is asked for by its name */
	bool is_uneven = false; /* its rounds are not equally long */
	long result = 0;
	long rounds = 0;
	long deviating = 0; /* result of a round that came to something else */
	bool has_deviated = false;
	uint64_t least_ns = 0; /* CPU time of a round without steps; 0: none was made */
	pthread_t thread = {};
};

Actor actors[] = {
	{ "loader", loader_round },
	{ "loader_too", loader_round },
	{ "unload", unload_round },
	{ "namespace", namespace_round },
	{ "exception", exception_round },
	{ "thread", thread_round },
	{ "cancel", cancel_round },
	{ "async_cancel", async_cancel_round },
	{ "blocking", blocking_round },
	{ "fork", fork_round },
	{ "spawn", spawn_round },
	{ "jump", jump_round },
	{ "coroutine", coroutine_round },
	{ "switched", switched_round },
	{ "alternate", alternate_round },
	{ "fault", fault_round },
	{ "recursion", recursion_round },
	{ "request", request_round },
	{ "descriptor", descriptor_round },
	{ "memory", memory_round },
	{ "timer", timer_round },
	{ "profiler", profiler_round, false, true },
	{ "spin", spin_round, true },
	{ "whirl", whirl_round, true },
	{ "doze", doze_round, true },
};

std::atomic<bool> is_over;
std::atomic<long> steps, interrupted;

struct Longest {
	std::atomic<uint64_t> ns;
	std::atomic<const char *> name{ "none" };
	std::atomic<long> beyond; /* STALL_NS */
};
Longest ran, slept;

thread_local long own_steps;
thread_local const char *actor_name = "another thread";

uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* What the thread waited for a core so far. */
struct Schedule {
	int fd = -1;
	~Schedule() { if (fd >= 0) close(fd); }

	uint64_t waited_ns()
	{
		char text[128];
		unsigned long long ran = 0, waited = 0;

		if (fd < 0) {
			snprintf(text, sizeof(text), "/proc/self/task/%d/schedstat", (int)syscall(SYS_gettid));
			fd = open(text, O_RDONLY | O_CLOEXEC);
		}
		ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
		text[n < 0 ? 0 : n] = '\0';
		require(sscanf(text, "%llu %llu", &ran, &waited) == 2, "schedstat");
		return waited;
	}
};
thread_local Schedule schedule;

long perform(Actor &actor);

void *act(void *given)
{
	Actor &actor = *static_cast<Actor *>(given);

	actor_name = actor.name;
	while (!is_over || actor.rounds == 0) {
		long result = perform(actor);
		if (actor.rounds++ == 0)
			actor.result = result;
		else if (result != actor.result && !actor.has_deviated) {
			actor.has_deviated = true;
			actor.deviating = result;
		}
	}
	return nullptr;
}

/* An exception, or a cancellation, came where none may: the last words must say where. */
[[noreturn]] void tell_where()
{
	void *frames[64];

	dprintf(STDERR_FILENO, "torture: %s: std::terminate, called by\n", actor_name);
	backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
	abort();
}

bool is_wanted(const Actor &actor, const std::vector<std::string> &names)
{
	for (const std::string &name : names)
		if (name == actor.name)
			return true;
	return names.empty() && !actor.is_broken;
}

}

void require(bool is_well, const char *what)
{
	if (is_well)
		return;
	fprintf(stderr, "torture: %s: %s\n", what, strerror(errno));
	_exit(3);
}

uint64_t now_ns()
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* The number of those that went on for too long until then. */
static long note_longest(Longest &longest, const char *name, uint64_t ns)
{
	uint64_t before = longest.ns;

	while (ns > before && !longest.ns.compare_exchange_weak(before, ns))
		;
	if (ns > before)
		longest.name = name;
	return ns > STALL_NS ? longest.beyond++ : longest.beyond.load();
}

namespace {

/* How the thread stands. */
struct Reading {
	uint64_t waited_ns = schedule.waited_ns();
	rusage usage = usage_of_thread();
	uint64_t at_ns = now_ns();
	uint64_t ran_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	static rusage usage_of_thread()
	{
		rusage usage;
		require(getrusage(RUSAGE_THREAD, &usage) == 0, "getrusage");
		return usage;
	}
	double kernel_ms() const { return (double)usage.ru_stime.tv_sec * 1e3 + (double)usage.ru_stime.tv_usec / 1e3; }
	long switches() const { return usage.ru_nvcsw + usage.ru_nivcsw; }
};

}

/* For scripts/soak. In one call, and no lock that a thread which is cancelled here would keep. */
static void tell_stall(const char *name, const Reading &begin, const Reading &end, uint64_t end_ns, uint64_t ran_ns)
{
	dprintf(STDERR_FILENO, "stall: %s/%s ran %.1f ms, in the kernel %.1f ms, of %.1f ms, switches %ld, from %llu to %llu us\n", actor_name,
	        name, (double)ran_ns / 1e6, end.kernel_ms() - begin.kernel_ms(), (double)(end_ns - begin.at_ns) / 1e6,
	        end.switches() - begin.switches(), (unsigned long long)begin.at_ns / 1000, (unsigned long long)end_ns / 1000);
}

static void note_run(const char *name, const Reading &begin, const Reading &end, uint64_t end_ns, uint64_t ran_ns)
{
	if (note_longest(ran, name, ran_ns) < STALLS_TOLD && ran_ns > STALL_NS)
		tell_stall(name, begin, end, end_ns, ran_ns);
}

void step(const char *name, const std::function<void()> &act)
{
	Reading begin;

	act();
	uint64_t end_ns = now_ns(), taken_ns = end_ns - begin.at_ns;
	uint64_t ran_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin.ran_ns;
	Reading end;
	uint64_t waited_ns = end.waited_ns - begin.waited_ns;
	steps++;
	own_steps++;
	note_run(name, begin, end, end_ns, ran_ns);
	note_longest(slept, name, taken_ns > ran_ns + waited_ns ? taken_ns - ran_ns - waited_ns : 0);
}

namespace {

/* Each round of an actor does the same, so more than twice the CPU time of the shortest is nothing that it does. A round with steps is
 * looked at by these. */
long perform(Actor &actor)
{
	long steps_before = own_steps;
	Reading begin;

	long result = actor.round();
	uint64_t ran_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin.ran_ns;
	if (own_steps != steps_before || actor.is_uneven)
		return result;
	if (actor.least_ns && ran_ns > 2 * actor.least_ns)
		note_run("round", begin, Reading(), now_ns(), ran_ns - 2 * actor.least_ns);
	if (!actor.least_ns || ran_ns < actor.least_ns)
		actor.least_ns = ran_ns;
	return result;
}

}

int burn(unsigned thousands)
{
	volatile unsigned sum = 1;

	for (unsigned i = 0; i < thousands * 1000; i++)
		sum = sum * 31 + i;
	return sum != 0x12345678 || thousands != 77;
}

long spin_round()
{
	step("spin", [] {
		uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + SPIN_NS;
		while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
			burn(1000);
	});
	return 1;
}

long whirl_round()
{
	static long round;

	if (!getenv("LD_PRELOAD") || ++round % 2)
		return burn(1000);
	for (uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + SPIN_NS; clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns;)
		burn(1);
	return 1;
}

/* Sleeps only where something is preloaded, as one would that waits for a lock of that. */
long doze_round()
{
	step("doze", [] {
		const struct timespec doze = { 0, DOZE_NS };
		burn(1000);
		if (getenv("LD_PRELOAD"))
			nanosleep(&doze, nullptr);
	});
	return 1;
}

void note_interrupted()
{
	interrupted++;
}

int main(int argc, char **argv)
{
	const std::vector<std::string> names(argv + (argc < 2 ? 1 : 2), argv + argc);
	long rounds = 0;
	bool is_same = true;

	if (argc < 2) {
		fprintf(stderr, "usage: torture SECONDS [ACTOR...]\n");
		return 2;
	}
	std::set_terminate(tell_where);
	uint64_t end_ns = now_ns() + strtoull(argv[1], nullptr, 10) * 1000000000;
	for (Actor &actor : actors)
		if (is_wanted(actor, names))
			require(pthread_create(&actor.thread, nullptr, act, &actor) == 0, "pthread_create");
	/* Busy itself, as the one for whom the kernel means signals of the whole process. */
	while (now_ns() < end_ns)
		burn(100);
	is_over = true;
	for (Actor &actor : actors)
		if (is_wanted(actor, names))
			pthread_join(actor.thread, nullptr);
	for (const Actor &actor : actors) {
		if (!is_wanted(actor, names))
			continue;
		printf("%s %ld\n", actor.name, actor.result);
		if (actor.has_deviated)
			printf("%s came to %ld in another round\n", actor.name, actor.deviating);
		is_same &= !actor.has_deviated;
		rounds += actor.rounds;
	}
	fprintf(stderr, "rounds=%ld steps=%ld stalls=%ld longest_ms=%.1f longest=%s sleeps=%ld sleep_ms=%.1f sleep=%s eintr=%ld\n", rounds,
	        steps.load(), ran.beyond.load(), (double)ran.ns / 1e6, ran.name.load(), slept.beyond.load(), (double)slept.ns / 1e6,
	        slept.name.load(), interrupted.load());
	return is_same ? 0 : 1;
}
