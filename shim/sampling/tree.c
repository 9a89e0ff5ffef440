#include "tree.h"

#include "../base/thread.h"

#include <string.h>

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

static bool is_known(uint64_t frame_key)
{
	return frame_key != seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN);
}

/* What is unknown today may be known when it is met the next time. Of the two in a place the first one is the newer. */
static __attribute__((noinline)) uint32_t learn_child(struct sig_child *place, uint32_t parent, uint64_t tag)
{
	if (place[1].tag == tag && place[1].parent == parent && place[1].node)
		return place[1].node;
	uint64_t frame_key = sig_stack_frame(tag);
	uint32_t node = child_of(parent, frame_key);
	if (node && is_known(frame_key)) {
		place[1] = place[0];
		place[0] = (struct sig_child){ tag, parent, node };
	}
	return node;
}

static inline uint32_t child_by_tag(struct sig_path *path, uint32_t parent, uint64_t tag)
{
	/* The highest bits of a product depend on all of its factor (Knuth, volume 3, 6.4). */
	uint64_t hash = (tag + parent * 0xc2b2ae3d27d4eb4f) * 0x9e3779b97f4a7c15;
	struct sig_child *place = &path->children[(hash >> (64 - SIG_CHILDREN_BITS)) * SIG_CHILDREN_WAYS];

	if (place->tag == tag && place->parent == parent && place->node)
		return place->node;
	return learn_child(place, parent, tag);
}

/* Looks nodes up along the path from depth `from` on. */
static uint32_t descend(struct sig_path *path, uint32_t from)
{
	uint32_t node = from ? path->places[from - 1].node : 0;

	for (uint32_t i = from; i < path->depth; i++) {
		bool is_lost = i && !node;
		node = is_lost ? 0 : child_by_tag(path, node, path->places[i].tag);
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
	if (are_nodes_stale)
		memset(path->children, 0, sizeof(path->children));
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
