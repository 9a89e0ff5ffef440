#pragma once
/* listing - the entries of the segment that show which connections are open and what waits for an answer on them.
 * Context: call.
 * Overlap: claims and releases of any threads; an entry is written by who holds its connection's lock.
 *
 * No entry free: the connection is not listed, and nothing else changes.
 */
#include "../base/thread.h"

#include <stdbool.h>

/* An entry of this process for a connection (or stream) of this kind; NULL: none is free. */
struct seg_connection *listing_claim(enum seg_connection_kind kind, int fd, uint64_t now_ns);

/* The same, best the one that was had before, if there was one: it still lies in the core's cache. */
struct seg_connection *listing_claim_again(struct seg_connection *before, enum seg_connection_kind kind, int fd, uint64_t now_ns);
void listing_release(struct seg_connection *entry);

/* What it waits for: the oldest request without an answer, begun at begin_ns, or a stream. in_flight 0 = for nothing. */
struct listing_wait {
	uint64_t begin_ns;
	uint32_t endpoint;
	uint32_t in_flight;
	bool is_stream;
};

static inline void listing_waits(struct seg_connection *entry, const struct listing_wait *wait)
{
	if (!entry)
		return;
	atomic_store_explicit(&entry->endpoint, wait->endpoint, memory_order_relaxed);
	atomic_store_explicit(&entry->in_flight, wait->in_flight, memory_order_relaxed);
	atomic_store_explicit(&entry->is_stream, wait->is_stream, memory_order_relaxed);
	atomic_store_explicit(&entry->begin_mono_ns, wait->begin_ns, memory_order_relaxed);
}

static inline void listing_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
