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

/* How many of the tags behind the kept ones are as they were, too. */
static uint32_t count_equal(const struct sig_path *path, uint32_t kept, const uint64_t *tags, uint32_t depth)
{
	uint32_t equal = kept;

	while (equal < depth && equal < path->depth && path->places[equal].tag == tags[equal - kept])
		equal++;
	return equal;
}

static uint32_t count_entered(const struct sig_path *path, uint32_t equal, uint32_t depth)
{
	bool has_moved_on = equal < path->depth && equal < depth;

	return depth - equal - has_moved_on;
}

/* Looks nodes up along the path from depth `from` on. */
static uint32_t descend(struct sig_path *path, uint32_t from)
{
	uint32_t node = from ? path->places[from - 1].node : 0;

	for (uint32_t i = from; i < path->depth; i++) {
		bool is_lost = i && !node;
		node = is_lost ? 0 : child_of(node, sig_stack_frame(path->places[i].tag));
		path->places[i].node = node;
	}
	return node;
}

static uint32_t descend_without_path(const uint64_t *tags, uint32_t count)
{
	uint32_t node = 0;

	for (uint32_t i = 0; i < count && (i == 0 || node); i++)
		node = child_of(node, sig_stack_frame(tags[i]));
	return node;
}

static uint32_t enter_path(struct sig_path *path, uint32_t kept, const uint64_t *tags, uint32_t depth, bool are_nodes_stale,
			   uint32_t *ret_entered)
{
	uint32_t equal = count_equal(path, kept, tags, depth);
	uint32_t from = are_nodes_stale ? 0 : equal;

	*ret_entered = count_entered(path, equal, depth);
	for (uint32_t i = equal; i < depth; i++)
		path->places[i].tag = tags[i - kept];
	path->depth = depth;
	/* Where a table was full the node is missing; there may be room now that a frame has moved on. */
	while (from && !path->places[from - 1].node)
		from--;
	return descend(path, from);
}

uint32_t sig_tree_enter(struct sig_path *path, uint32_t kept, const uint64_t *tags, uint32_t count, bool are_nodes_stale,
			uint32_t *ret_entered)
{
	bool is_truncated = kept == 0 && tags[0] == SIG_TAG_TRUNCATED;
	uint32_t node;

	*ret_entered = 0;
	if (!path || is_truncated)
		node = descend_without_path(tags, count);
	else
		node = enter_path(path, kept, tags, kept + count, are_nodes_stale, ret_entered);
	if (node)
		return node;
	*ret_entered = 0;
	return lost_node;
}
