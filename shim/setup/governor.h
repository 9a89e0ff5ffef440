#pragma once
/* governor - keeps profshim's own CPU time below config.budget_ppm of the program's, by the sampling rate.
 * Context: setup; in the process that serves, every tick.
 *
 * Over the budget the rate in force halves, once a second at most, down to 1 Hz; it doubles again where twice the samples
 * would still be within three quarters of it. What hooks and reports cost counts, too, but no rate changes that: so sampling
 * keeps half of the budget whatever they take. Weights make up for every change (sampling/pulse.h).
 */
#include "../segment/segment.h"

/* Publishes head->hz_now: config.hz as it is now, 0 where sampling is disabled, less what the budget demands. */
void governor_tick(void);

/* What a second came to, and the decision: for tests. times: in nanoseconds, of the time since the last decision. */
struct governor_costs {
	uint64_t program_ns; /* CPU time of the profiled processes, ours in it */
	uint64_t sampling_ns;
	uint64_t other_ns;   /* hooks, reports */
};
uint32_t governor_shift(uint32_t hz, uint32_t shift, uint32_t budget_ppm, const struct governor_costs *costs);
