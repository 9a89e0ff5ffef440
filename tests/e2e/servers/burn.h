#pragma once
/* burn - CPU time that is known because it is counted in steps, and measured where it is spent.
 * For the servers of the tests; no part of profshim.
 */
#include <stdint.h>
#include <time.h>

/* A chain of dependent multiplications: nothing to overlap, nothing for the optimizer to shorten, no memory. Inline, so
 * that the time belongs to the function that calls it. */
static inline __attribute__((always_inline)) void burn(uint64_t steps)
{
	uint64_t x = steps;

	for (; steps; steps--) {
		x = x * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
		__asm__ volatile("" : "+r"(x));
	}
}

/* CPU time of the calling thread. */
static inline uint64_t burn_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* How many steps fill about a microsecond on this machine; at least 1. */
static inline uint64_t burn_steps_per_us(void)
{
	const uint64_t steps = 20000000;
	uint64_t began = burn_clock_ns(), spent_ns;

	burn(steps);
	spent_ns = burn_clock_ns() - began;
	return steps * 1000 / (spent_ns ? spent_ns : 1) + 1;
}
