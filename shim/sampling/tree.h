#pragma once
/* tree - the call tree of the session: which node of it a thread stands at.
 * Context: signal, but for sig_tree_init. Never waits, never allocates; a full table leads to the node [lost].
 * Overlap: any number of threads, each with a slot of its own; slot 0 may be used by many at once.
 *
 * The thread's last stack lies in its slot (layout.h), so only what differs is looked up, and what was newly entered since
 * can be told. The rule must never count an activation that was not one:
 * - A frame is newly entered if a frame nearer to the root has another return address than at the last sample, for then
 *   that one's callee has returned; or if the stack did not reach that deep.
 * - The outermost frame that differs may be the same activation that has moved on, so it does not count.
 * - A truncated stack has no known distance from the root: nothing counts, and the slot keeps the stack before.
 * - The threads that share slot 0 have no last stack: nothing counts.
 */
#include "stack.h"

/* Setup: interns the node [lost]. */
void sig_tree_init(void);

/* The node of a stack of depth > 0 tags, leaf first. ret_entered: how many nodes, from the leaf up, are newly entered.
 * are_nodes_stale: since the slot's last sample an address may have come to mean other code. A full table is counted. */
uint32_t sig_tree_enter(const uint64_t *tags, uint32_t depth, bool are_nodes_stale, uint32_t *ret_entered);

/* For a sample without a stack: the leaf's node below [lost]; or [lost] itself for tag 0 or when a table is full. */
uint32_t sig_tree_lost(uint64_t leaf_tag);
