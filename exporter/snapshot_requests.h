#pragma once
/* snapshot_requests - the part of a snapshot that is about requests: endpoints, series, peers, slow requests, and what is
 * open now.
 * Context: the exporter's threads. Used by snapshot.c only, in the order of these functions, the copy of the call tree
 * between the second and the third.
 */
#include "snapshot.h"

/* CPU time of endpoints; before anything else, see snapshot.c. */
void snapshot_endpoint_times_copy(struct snapshot *snapshot, const struct seg_view *seg);

/* Series, slow requests and connections; stacks of slow requests still name the segment's nodes. 0 or -ENOMEM. */
int snapshot_requests_copy(struct snapshot *snapshot, const struct seg_view *seg);

/* What those name: peers and endpoints, and whatever else is counted by endpoint. */
void snapshot_names_copy(struct snapshot *snapshot, const struct seg_view *seg);

/* Once all is copied: leaves out what names something that is none. */
void snapshot_requests_check(struct snapshot *snapshot);

/* One slow request out of a copy of its entry. Stacks still name the segment's nodes. False: it makes no sense. */
bool snapshot_slow_read(struct snapshot_slow *ret_slow, const struct seg_slow *from, uint32_t endpoint_count);

/* The snapshot has the same request; it was taken by snapshot_requests_copy. */
bool snapshot_slow_is_in(const struct snapshot *snapshot, const struct snapshot_slow *slow);
