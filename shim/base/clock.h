#pragma once
/* clock - CLOCK_MONOTONIC in nanoseconds at half of its price.
 * Context: signal.
 * Where the kernel itself keeps time by the TSC, a reading is one rdtsc and a multiplication; elsewhere, and until the
 * rate is known (the first 10 ms), it is clock_gettime. Both agree when the rate is
 * found, so they can be subtracted; later adjustments of CLOCK_MONOTONIC (NTP, below 500 ppm) are not followed.
 */
#include <stdint.h>

/* Setup: finds out whether the TSC may be used. Without it clock_now_ns works too, by clock_gettime. */
void clock_init(void);

uint64_t clock_now_ns(void);

/* CLOCK_BOOTTIME, for comparison with the start times in /proc. */
uint64_t clock_boot_ns(void);
