#pragma once
/* perf - the perf clock: the kernel's software clock of a thread, at rates above the kernel's tick (perf_event_open(2),
 * PERF_COUNT_SW_TASK_CLOCK). What its signals mean: pulse.h.
 * Context: call; all for the calling thread. perf_measure: setup.
 *
 * What it costs: an interrupt of its own for each expiry, whether that makes a sample or not, and a hardware timer that the
 * kernel sets whenever the thread gets a core, and takes back when it loses it. In a virtual machine each of these goes out
 * of it: there, with HZ=250, an expiry takes 26 us, 30 with its signal, and a wait of the thread 12 to 14 us more, where a
 * signal of the timer, which comes with the kernel's own tick, takes 4.2 us in all (scripts/bench ticks). At 1,000 Hz that is
 * 3 % of a core for the one and 0.1 % for the other, at four times as many samples. On a bare machine it is a tenth of
 * that, so what it is here is measured (perf_measure), and decides.
 *
 * It sees user mode only: without privileges more is not permitted, and what it misses the timer tells anyway. Hence it is not
 * for every thread: only where the rate asked for is above the tick, the budget has room for it, and the thread is neither
 * short-lived nor one that waits often. Everywhere else the timer is better in every respect but one: where no budget caps
 * the cost (config.budget_ppm is 0) all threads that last have it, for the sake of the rate.
 *
 * It leaves no descriptor in the program: its file is kept by a mapping of two pages, which no fork inherits and no exec
 * keeps. Threads of a user without privileges may have as many as perf_event_mlock_kb and RLIMIT_MEMLOCK permit.
 */
#include <stdbool.h>
#include <stdint.h>

/* Finds out what an expiry costs, into head->perf_tick_ns, once in a session and process; the thread is busy with it for half a
 * millisecond or so, of which interrupts are the most. Context: setup. */
void perf_measure(void);

/* The rate at which a thread may have it within half of the budget, beside its timer, of hz that are asked for; 0 = none that
 * would bring enough more samples than the timer does, or what it costs is not known. tick_ns: head->perf_tick_ns;
 * budget_ppm: 0 = no cap. */
uint32_t perf_rate(uint32_t hz, uint32_t tick_hz, uint32_t budget_ppm, uint32_t tick_ns);

/* Begins it, hz: 1..PULSE_HZ_MAX. False: it cannot be had, which is noted in the segment. */
bool perf_begin(uint32_t hz);
void perf_end(void);

/* In the child of fork. */
void perf_forget(void);

/* Ticks of the kernel a second. */
uint32_t perf_tick_hz(void);
