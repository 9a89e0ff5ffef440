#pragma once
/* timer - one timer on each thread's CPU clock, whose signals go to that thread and carry our cookie.
 * Context: call; timer_adopt_all: setup.
 * Overlap: any calls of any threads; timer_adopt_all alone with itself.
 */
#include <stdbool.h>
#include <stdint.h>

/* For the calling thread, unless it has one. A failure is counted, and logged the first time. */
void timer_start(uint64_t period_ns);
void timer_stop(void);

/* For each other thread of the process that has none by timer_adopt_all; timers of those that ended are deleted. */
void timer_adopt_all(uint64_t period_ns);

/* Deletes the adopted threads' timers. */
void timer_abandon_all(void);

/* In the child of fork, which inherits no timers. */
void timer_forked(void);
