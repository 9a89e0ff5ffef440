#pragma once
/* timer - one timer on each thread's CPU clock, whose signals go to that thread and carry our cookie (pulse.h).
 * Context: call; timer_adopt_all, timer_follow_all: setup.
 * Overlap: any calls of any threads; timer_adopt_all and timer_follow_all alone with each other.
 *
 * hz: expiries a second of the thread's CPU time, 1..PULSE_HZ_MAX.
 */
#include <stdbool.h>
#include <stdint.h>

/* For the calling thread, instead of the one that it may have; first_ns: CPU time until it expires first. False: it has
 * none, which was counted, and logged the first time. */
bool timer_start(uint32_t hz, uint64_t first_ns);
/* False: there was none. */
bool timer_stop(void);

/* The rate of the calling thread's timer, 0 = it has none. */
uint32_t timer_hz(void);

/* For each other thread of the process that has none; timers of threads that ended are deleted. is_first: at once;
 * otherwise for those that were there at the last look, too, so that a thread which is just beginning is left to itself.
 * False: threads were met for the first time, and another look is due. */
bool timer_adopt_all(uint32_t hz, bool is_first);

/* How many threads have a timer, as far as is known without asking the kernel: adopted ones may have ended. */
uint32_t timer_count(void);

/* All other threads' timers, made anew with this rate; 0: deleted. */
void timer_follow_all(uint32_t hz);

/* Deletes all other threads' timers. */
void timer_abandon_all(void);

/* In the child of fork, which inherits no timers. */
void timer_forked(void);
