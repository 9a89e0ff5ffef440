#pragma once
/* perf - the perf clock: the kernel's software clock of a thread, at rates above the kernel's tick (perf_event_open(2),
 * PERF_COUNT_SW_TASK_CLOCK). What its signals mean: pulse.h.
 * Context: call; all for the calling thread.
 *
 * What it costs, measured in a virtual machine with HZ=250: 34 us to begin and end one, and 5.7 us of CPU more for each time
 * that the thread waits, since the kernel sets a hardware timer for it whenever it gets a core (a message to and fro by
 * pipes: 2.3 us without, 8 us with it). It sees user mode only: without privileges more is not permitted, and what it
 * misses the timer tells anyway. Hence it is not for every thread: only where the rate asked for is above the tick, and the
 * thread neither short-lived nor one that waits often. Everywhere else the timer is better in every respect but one: where no
 * budget caps the cost (config.budget_ppm is 0) threads that wait often have it, too, for the sake of the rate.
 *
 * It leaves no descriptor in the program: its file is kept by a mapping of two pages, which no fork inherits and no exec
 * keeps. Threads of a user without privileges may have as many as perf_event_mlock_kb and RLIMIT_MEMLOCK permit.
 */
#include <stdbool.h>
#include <stdint.h>

/* Begins it, hz: 1..PULSE_HZ_MAX. False: it cannot be had, which is noted in the segment. */
bool perf_begin(uint32_t hz);
void perf_end(void);

/* In the child of fork. */
void perf_forget(void);

/* Ticks of the kernel a second. */
uint32_t perf_tick_hz(void);
