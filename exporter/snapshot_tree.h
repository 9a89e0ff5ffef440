#pragma once
/* snapshot_tree - the part of a snapshot that is the call tree: frames, nodes and cells.
 * Context: the exporter's threads. Used by snapshot.c only.
 */
#include "snapshot.h"

/* Copies cells, nodes and frames, in this order, since a writer makes them in the opposite one; stacks of slow requests,
 * copied before, name the snapshot's nodes from then on. 0 or -ENOMEM. */
int snapshot_tree_copy(struct snapshot *snapshot, const struct seg_view *seg);

/* The same for the stacks of slow requests only: each becomes a branch of its own, and no cells are copied. Its cost
 * follows what they hold, not what the segment does. */
int snapshot_tree_copy_slow(struct snapshot *snapshot, const struct seg_view *seg);

/* Once modules and endpoints are known: frames of a module that is none become [unknown], cells of an endpoint that is
 * none go. */
void snapshot_tree_check(struct snapshot *snapshot);
