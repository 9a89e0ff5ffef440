/* own_profiler - a program that gperftools' profiler is linked into. Two threads compute.
 *
 *     own_profiler CPU_MS [FILE]...
 *
 * With files: for each of them ProfilerStart, CPU_MS of work by both threads, ProfilerStop, and half of that work again which
 * no profile may show. Without: the work once, and the profile is what $CPUPROFILE asks for. Prints the addresses between
 * which the work's code lies, and per profile "PROCESS_CPU_NS SAMPLES", with what gperftools itself says it has.
 */
#include "burn.h"

#include <gperftools/profiler.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 100000 }; /* between looks at the clock: a fraction of a millisecond */

extern const char __start_work_code[], __stop_work_code[]; /* made by the linker */

static __attribute__((noinline, section("work_code"))) void compute(void)
{
	burn(STEPS);
}

static uint64_t process_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void work_until(uint64_t end_ns)
{
	while (process_clock_ns() < end_ns)
		compute();
}

static void *work_beside(void *end_ns)
{
	ProfilerRegisterThread();
	work_until(*(const uint64_t *)end_ns);
	return NULL;
}

/* Both to the end: the kernel gives a process's signal to its first thread, be it idle. */
static void work_in_two(uint64_t duration_ns)
{
	uint64_t end_ns = process_clock_ns() + duration_ns;
	pthread_t other;

	if (pthread_create(&other, NULL, work_beside, &end_ns) != 0)
		exit(3);
	work_until(end_ns);
	pthread_join(other, NULL);
}

/* Work, and what it came to. */
static void work_and_tell(uint64_t duration_ns)
{
	struct ProfilerState state;
	uint64_t begin_ns = process_clock_ns();

	work_in_two(duration_ns);
	uint64_t end_ns = process_clock_ns();
	ProfilerGetCurrentState(&state);
	printf("%llu %d\n", (unsigned long long)(end_ns - begin_ns), state.samples_gathered);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	uint64_t duration_ns = strtoull(argv[1], NULL, 10) * 1000000u;

	printf("%p %p\n", (const void *)__start_work_code, (const void *)__stop_work_code);
	if (argc == 2)
		work_and_tell(duration_ns);
	for (int i = 2; i < argc; i++) {
		if (!ProfilerStart(argv[i]))
			return 4;
		work_and_tell(duration_ns);
		ProfilerStop();
		work_in_two(duration_ns / 2);
	}
	return 0;
}
