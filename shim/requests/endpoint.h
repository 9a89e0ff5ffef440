#pragma once
/* endpoint - the numbers of endpoints in the segment's table, given out as requests bring new ones.
 * Context: call, but for endpoint_init: setup.
 * Overlap: any number of calls of any threads and processes: entries are claimed, never changed, never freed.
 *
 * At most config.max_routes endpoints are made, over all processes; what comes later is counted under the overflow entry
 * of its protocol and method ("GET _OTHER"), and OVERFLOW_ENDPOINTS counts each such request. The overflow entries have
 * room of their own.
 */
#include "../base/thread.h"

/* Forgets what this process remembered of the table; once the segment is open. */
void endpoint_init(void);

/* The endpoint of an HTTP request for target. */
uint32_t endpoint_of_http(enum seg_method method, const char *target, uint32_t target_bytes);

/* The endpoint of an HTTP request that could not be read: "_OTHER _OTHER". */
uint32_t endpoint_of_broken_http(void);

/* The endpoint of a command (redis_commands.h). */
uint32_t endpoint_of_redis(uint32_t command);

/* The same for a command that is not complete, so that it is counted in no counter yet. */
uint32_t endpoint_peek_redis(uint32_t command);

/* The overflow entry of endpoint's protocol and method. */
uint32_t endpoint_overflow_of(uint32_t endpoint);
