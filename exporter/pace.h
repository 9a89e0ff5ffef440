#pragma once
/* pace - in the middle of long work the serving thread lets the program have its core.
 * Context: the serving thread; where any other calls it, as the command line does, nothing happens.
 *
 * A thread that works keeps its core until the kernel's next tick, 1 to 10 ms, whoever waits for it (kernel/sched/fair.c:
 * whose slice is used up is found out at ticks only). So work done for clients is interrupted by short sleeps. They are taken
 * where the caller says so: between pieces of its work, with no lock held.
 */
#include <stdbool.h>
#include <stdint.h>

/* The calling thread begins such work, and rests first if what it did before goes on in it. is_to_end: asked now and then; work
 * that is in somebody's way is not drawn out. */
void pace_begin(bool (*is_to_end)(void));

/* Here is a good moment, if it is not too early. */
void pace_point(void);
/* The same for places that are come by every few ns: the clock is looked at when the weights make up PACE_LOOK. */
enum { PACE_LOOK = 64 };
void pace_step(unsigned weight);

/* The work is done. How long it slept, in ns, without what it then waited for a core. */
uint64_t pace_end(void);
