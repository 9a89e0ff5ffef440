/* cpu_shares - functions that spend known shares of the CPU time: half, three tenths, two tenths, and a recursive one.
 *
 *     cpu_shares THREADS CPU_SECONDS
 *
 * Each of the threads calls run_round again and again until the CPU seconds, of all threads together, are spent. Work is
 * done in counted steps; what each function's own code really took, by its thread's CPU clock, is printed at the end:
 *     spend_half CALLS OWN_NS
 * Stretches are long against a sampling period, so that the chance of where a sample falls hardly matters.
 */
#include "burn.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS_MAX = 16, RECURSION_DEPTH = 8, ROUND_MS = 100 };

struct spent {
	const char *name;
	_Atomic uint64_t calls, own_ns;
};

static struct spent half = { .name = "spend_half" };
static struct spent three_tenths = { .name = "spend_three_tenths" };
static struct spent inner_tenth = { .name = "spend_inner_tenth" };
static struct spent outer_tenth = { .name = "spend_outer_tenth" };
static struct spent recursion = { .name = "spend_recursively" };

static uint64_t steps_per_ms, end_own_ns;
static _Atomic uint64_t all_own_ns;

/* Burns, and books the time. Inline, so that the time is the calling function's own. */
static inline __attribute__((always_inline)) void spend(struct spent *on, uint64_t ms)
{
	uint64_t began_ns = burn_clock_ns(), own_ns;

	burn(ms * steps_per_ms);
	own_ns = burn_clock_ns() - began_ns;
	atomic_fetch_add_explicit(&on->calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&on->own_ns, own_ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&all_own_ns, own_ns, memory_order_relaxed);
}

static __attribute__((noinline)) void spend_half(void)
{
	spend(&half, ROUND_MS / 2);
	__asm__ volatile(""); /* keeps what comes before from being the end of the caller's frame */
}

static __attribute__((noinline)) void spend_three_tenths(void)
{
	spend(&three_tenths, ROUND_MS * 3 / 10);
	__asm__ volatile("");
}

static __attribute__((noinline)) void spend_inner_tenth(void)
{
	spend(&inner_tenth, ROUND_MS / 10);
	__asm__ volatile("");
}

/* One tenth of its own, and another in what it calls: two tenths together. */
static __attribute__((noinline)) void spend_outer_tenth(void)
{
	spend(&outer_tenth, ROUND_MS / 10);
	spend_inner_tenth();
	__asm__ volatile(""); /* no tail call */
}

static __attribute__((noinline)) void spend_recursively(unsigned depth)
{
	spend(&recursion, ROUND_MS / 20);
	if (depth > 1)
		spend_recursively(depth - 1);
	__asm__ volatile("");
}

static __attribute__((noinline)) void run_round(void)
{
	spend_half();
	spend_three_tenths();
	spend_outer_tenth();
	spend_recursively(RECURSION_DEPTH);
	__asm__ volatile("");
}

static void *run_thread(void *argument)
{
	(void)argument;
	while (atomic_load_explicit(&all_own_ns, memory_order_relaxed) < end_own_ns)
		run_round();
	return NULL;
}

static void print_spent(const struct spent *spent)
{
	printf("%s %llu %llu\n", spent->name, (unsigned long long)spent->calls, (unsigned long long)spent->own_ns);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	int count = argc == 3 ? atoi(argv[1]) : 0;

	if (count < 1 || count > THREADS_MAX) {
		fprintf(stderr, "usage: cpu_shares THREADS CPU_SECONDS, of 1 to %d threads\n", THREADS_MAX);
		return 2;
	}
	steps_per_ms = burn_steps_per_us() * 1000;
	end_own_ns = strtoull(argv[2], NULL, 10) * 1000000000u;
	for (int i = 0; i < count; i++) {
		if (pthread_create(&threads[i], NULL, run_thread, NULL)) {
			fprintf(stderr, "cpu_shares: pthread_create failed\n");
			return 1;
		}
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	print_spent(&half);
	print_spent(&three_tenths);
	print_spent(&outer_tenth);
	print_spent(&inner_tenth);
	print_spent(&recursion);
	return 0;
}
