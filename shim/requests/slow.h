#pragma once
/* slow - keeps what is known of requests that took longer than PROFSHIM_SLOW.
 * Context: call. Rare by definition; costs a walk over the slots of this process's threads when a request is kept.
 * Overlap: any: an entry is written by whoever made its sequence odd; who finds it odd leaves it alone, also when its
 * writer was killed.
 */
#include "observe.h"
#include "request.h"

struct slow_request {
	const struct request *request;
	const struct observation *seen;
	uint64_t number; /* struct work's request */
	uint64_t response_bytes;
};

/* Counts it, keeps it if it is among the slowest of its endpoint, and hands it to the log if there is one. */
void slow_keep(const struct slow_request *slow);
