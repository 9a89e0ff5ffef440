#pragma once
/* work - whose CPU time it is that this thread spends: the one word in which requests and samples meet.
 * Context: signal. The hooks set it in calls, the handler reads it.
 *
 * An event loop learns late what it works for: it returns from its wait, accepts, receives, and only then is the head of
 * a request known. Samples of that stretch are kept back (WORK_PENDING) and credited when the request is known, or to
 * _idle when the thread goes to wait with nothing found. Once a response has ended its endpoint stays the thread's until
 * the next event: what a server does after its last byte (log, free, keep-alive) is work for that request.
 */
#include "thread.h"

#define WORK_PENDING UINT32_MAX

#define WORK_NONE ((struct work){ WORK_PENDING, 0 })

/* From now on the thread does this work; what was pending goes to it, too. */
void work_set(struct work work);

/* Its endpoint is one of the entries that stand for no request, or not known. */
static inline bool work_is_request(struct work work)
{
	return work.endpoint != WORK_PENDING && work.endpoint >= SEG_ENDPOINT_OTHER;
}

/* From now on the thread works for a request that is not known yet. What was pending stays so. */
static inline void work_set_pending(void)
{
	self.work = WORK_NONE;
}

/* The thread goes to wait for events: if it ever worked for requests, what comes is the loop's own. */
static inline void work_wait(void)
{
	if (self.work.endpoint != SEG_ENDPOINT_BACKGROUND && self.work.endpoint != SEG_ENDPOINT_IDLE)
		work_set((struct work){ SEG_ENDPOINT_IDLE, 0 });
}

/* The wait is over and brought events: what follows is for a request that is not known yet. */
static inline void work_woke(void)
{
	if (self.work.endpoint == SEG_ENDPOINT_IDLE)
		work_set_pending();
}

/* Credits a sample at node to what the thread works for; entered: how many nodes, from the leaf up, are new since the
 * thread's last sample. node 0: the stack was lost, only the endpoint is credited. In the handler. */
void work_credit(uint32_t node, uint32_t entered, uint64_t weight_ns);
