#pragma once
/* tree - the call tree of the session: which node of it a thread stands at.
 * Context: signal, but for sig_tree_init. Never waits, never allocates; a full table leads to the node [lost].
 * Overlap: any number of threads, each with a path of its own; without one, at any time.
 *
 * A thread's last stack is its path, so only what differs is looked up, and what was newly entered since can be told. The
 * rule must never count an activation that was not one:
 * - A frame is newly entered if a frame nearer to the root has another return address than at the last sample, for then
 *   that one's callee has returned; or if the stack did not reach that deep.
 * - The outermost frame that differs may be the same activation that has moved on, so it does not count.
 * - A truncated stack has no known distance from the root: nothing counts, and the path stays that of the stack before.
 * - Without a path (a thread that has no state of its own) nothing counts.
 */
#include "stack.h"

enum { SIG_CHILDREN_BITS = 5, SIG_CHILDREN_WAYS = 2 }; /* how many places, and how many in each */

/* The last stack of a thread, root first, and nodes that were looked up for it. depth 0: none yet. W, R: the handler on that
 * thread. */
struct sig_path {
	uint32_t depth;
	struct sig_child {
		uint64_t tag;
		uint32_t parent;
		uint32_t node; /* 0 = free */
	} children[SIG_CHILDREN_WAYS << SIG_CHILDREN_BITS];
	struct sig_place {
		uint64_t tag;
		uint32_t node; /* 0 = a table was full */
	} places[SEG_DEPTH_MAX];
};

/* Setup: interns the node [lost]. */
void sig_tree_init(void);

/* The node of a stack, root first: its first kept tags are those of the path (at most path->depth), the others, count of
 * them, follow; one at least in all. ret_entered: how many nodes, from the leaf up, are newly entered.
 * are_nodes_stale: since the path's sample an address may have come to mean other code. A full table is counted.
 * path: NULL = none. */
uint32_t sig_tree_enter(struct sig_path *path, uint32_t kept, const uint64_t *tags, uint32_t count, bool are_nodes_stale,
			uint32_t *ret_entered);

/* For a sample without a stack: the leaf's node below [lost]; or [lost] itself for tag 0 or when a table is full. */
uint32_t sig_tree_lost(uint64_t leaf_tag);
