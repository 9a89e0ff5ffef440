#pragma once
/* endpoint - the numbers of endpoints in the segment's table, given out as requests bring new ones.
 * Context: call, but for endpoint_init: setup.
 * Overlap: any number of calls of any threads and processes: entries are claimed, never changed, never freed.
 *
 * At most config.max_routes endpoints are made, over all processes; what comes later is counted under the overflow entry
 * of its protocol and method ("GET _OTHER"), and OVERFLOW_ENDPOINTS counts each such request. The overflow entries have
 * room of their own.
 *
 * A route or RPC method that was never answered yet is a candidate: only an answer other than "not found" makes it an
 * endpoint, so that who asks for what does not exist makes none. Meanwhile its CPU time is credited to an entry that
 * stands in for it and becomes an alias of what it turns out to be (struct seg_endpoint).
 */
#include "../base/thread.h"

/* Forgets what this process remembered of the table; once the segment is open. */
void endpoint_init(void);

/* The endpoint of an HTTP request for target that the program serves. *ret_candidate = 0: it is final. Else the number of
 * a candidate, which endpoint_settle or endpoint_forget must be given once, and the endpoint is for CPU time only. */
uint32_t endpoint_of_http(enum seg_method method, const char *target, uint32_t target_bytes, uint32_t *ret_candidate);

/* The same path will be this endpoint's, which endpoint_of_http gave as final, for as long as endpoint_is_current. */
static inline bool endpoint_is_for_good(uint32_t endpoint)
{
	return !seg.endpoints[endpoint].is_overflow;
}

static inline bool endpoint_is_current(uint32_t endpoint)
{
	return !atomic_load_explicit(&seg.endpoints[endpoint].alias, memory_order_relaxed);
}

/* The endpoint of an HTTP request that the program sends: there is no route, and it takes no place of one. */
uint32_t endpoint_of_http_method(enum seg_method method);

/* The endpoint of an HTTP request that could not be read: "_OTHER _OTHER". */
uint32_t endpoint_of_broken_http(void);

/* The endpoint of a gRPC call of path, "/pkg.Service/Method"; candidates as of endpoint_of_http. A path of another form is
 * gRPC's overflow entry. */
uint32_t endpoint_of_rpc(const char *path, uint32_t path_bytes, uint32_t *ret_candidate);

/* The answer's status is known; is_found: it was not 404 or UNIMPLEMENTED, and the client did not soon go away before
 * there was one. Returns the final endpoint and ends the candidate. What is not found is counted under the overflow entry, and no
 * overflow. */
uint32_t endpoint_settle(uint32_t candidate, bool is_found);

/* The candidate will never be settled. */
void endpoint_forget(uint32_t candidate);

#define ENDPOINT_OPERATIONS_MAX 512

/* The endpoint of an operation of a protocol with a closed list of them. operation: below ENDPOINT_OPERATIONS_MAX, the same
 * for the same name in all processes, 0 = none of the list; name: static text, at most 64 bytes. */
uint32_t endpoint_of_operation(enum seg_protocol protocol, uint32_t operation, const char *name);

/* The same for one that is not complete, so that it is counted in no counter yet. */
uint32_t endpoint_peek_operation(enum seg_protocol protocol, uint32_t operation, const char *name);

/* SEG_NOT_FOUND where endpoint_of_operation would count it as overflow. */
uint32_t endpoint_find_operation(enum seg_protocol protocol, uint32_t operation, const char *name);

/* The overflow entry of endpoint's protocol and method. */
uint32_t endpoint_overflow_of(uint32_t endpoint);
