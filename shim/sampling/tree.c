#include "tree.h"

#include "../base/thread.h"

/* W: sig_tree_init; the same in every process of a session, since the key is. 0 = there was no room even for that. */
static uint32_t lost_node;

static uint32_t insert(enum seg_table table, uint64_t key, enum seg_counter drop)
{
	uint32_t index = seg_table_insert(&seg.slots[table], key, NULL);

	if (index != SEG_NOT_FOUND)
		return index + 1;
	thread_count(drop);
	return 0;
}

/* The child of parent for a frame, 0 when a table is full. */
static uint32_t child_of(uint32_t parent, uint64_t frame_key)
{
	uint32_t frame = insert(SEG_TABLE_FRAMES, frame_key, SEG_COUNTER_DROP_FRAMES_FULL);

	return frame ? insert(SEG_TABLE_NODES, seg_node_key(parent, frame), SEG_COUNTER_DROP_NODES_FULL) : 0;
}

void sig_tree_init(void)
{
	lost_node = child_of(0, seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_LOST));
}

uint32_t sig_tree_lost(uint64_t leaf_tag)
{
	if (!lost_node || !leaf_tag)
		return lost_node;
	/* Not counted again where full: the sample's own reason is. */
	uint32_t frame = seg_table_insert(&seg.slots[SEG_TABLE_FRAMES], sig_stack_frame(leaf_tag), NULL);
	if (frame == SEG_NOT_FOUND)
		return lost_node;
	uint32_t node = seg_table_insert(&seg.slots[SEG_TABLE_NODES], seg_node_key(lost_node, frame + 1), NULL);
	return node == SEG_NOT_FOUND ? lost_node : node + 1;
}

/* How many frames from the root on are as they were. */
static uint32_t count_equal(const struct seg_thread *slot, const uint64_t *tags, uint32_t depth)
{
	uint32_t equal = 0;

	while (equal < depth && equal < slot->path_depth && slot->path_pcs[equal] == tags[depth - 1 - equal])
		equal++;
	return equal;
}

static uint32_t count_entered(const struct seg_thread *slot, uint32_t equal, uint32_t depth)
{
	bool has_moved_on = equal < slot->path_depth && equal < depth;

	return depth - equal - has_moved_on;
}

/* Looks nodes up from depth `from` on, whose parent is node; notes them in the slot. */
static uint32_t descend(struct seg_thread *slot, const uint64_t *tags, uint32_t depth, uint32_t from, uint32_t node)
{
	for (uint32_t i = from; i < depth; i++) {
		uint64_t tag = tags[depth - 1 - i];
		bool is_lost = i && !node;
		node = is_lost ? 0 : child_of(node, sig_stack_frame(tag));
		if (slot) {
			slot->path_pcs[i] = tag;
			slot->path_nodes[i] = node;
		}
	}
	return node;
}

uint32_t sig_tree_enter(const uint64_t *tags, uint32_t depth, bool are_nodes_stale, uint32_t *ret_entered)
{
	bool is_comparable = self.is_exclusive && tags[depth - 1] != SIG_TAG_TRUNCATED;
	struct seg_thread *slot = is_comparable ? self.slot : NULL;
	uint32_t from = 0;

	*ret_entered = 0;
	if (slot) {
		from = count_equal(slot, tags, depth);
		*ret_entered = count_entered(slot, from, depth);
		if (are_nodes_stale)
			from = 0;
		/* Where a table was full the node is missing; there may be room now that a frame has moved on. */
		while (from && !slot->path_nodes[from - 1])
			from--;
		slot->path_depth = depth;
	}
	uint32_t node = descend(slot, tags, depth, from, from ? slot->path_nodes[from - 1] : 0);
	if (node)
		return node;
	*ret_entered = 0;
	return lost_node;
}
