#pragma once
/* clock - CLOCK_MONOTONIC in nanoseconds at half of its price.
 * Context: signal.
 * Where the kernel itself keeps time by the TSC, a reading is one rdtsc and a multiplication; elsewhere, and until the
 * rate is known (the first 10 ms), it is the kernel's clock. Both agree when the rate is
 * found, so they can be subtracted; later adjustments of CLOCK_MONOTONIC (NTP, below 500 ppm) are not followed.
 */
#include <stdatomic.h>
#include <stdint.h>

enum { CLOCK_KERNEL, CLOCK_UNCALIBRATED, CLOCK_CALIBRATING, CLOCK_TSC };

/* Where the clocks agreed, and the rate from there on. W: clock.c, before state becomes CLOCK_TSC; never changed then. */
extern struct clock_line {
	_Atomic int state;
	uint64_t ticks;
	uint64_t ns;
	uint64_t ns_per_tick_q32; /* 32.32 fixed point */
} clock_line __attribute__((visibility("hidden")));

/* Setup: finds out whether the TSC may be used. Without it clock_now_ns works too, by kernel_clock_ns. */
void clock_init(void);

uint64_t clock_now_slowly(void);

static inline uint64_t clock_now_ns(void)
{
#if defined(__x86_64__)
	if (__builtin_expect(atomic_load_explicit(&clock_line.state, memory_order_acquire) == CLOCK_TSC, 1)) {
		/* Signed: another core's reading may be a few ticks older than the line's beginning. */
		int64_t ticks = (int64_t)(__builtin_ia32_rdtsc() - clock_line.ticks);
		return clock_line.ns + (uint64_t)(int64_t)(((__int128)ticks * (__int128)clock_line.ns_per_tick_q32) >> 32);
	}
#endif
	return clock_now_slowly();
}
