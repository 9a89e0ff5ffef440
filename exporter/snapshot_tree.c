/* The segment's tables are hashed: ids say nothing about who came first, a parent may stand behind its child, and a
 * damaged file may hold rings of parents. The tree is therefore rebuilt: keys are copied, parents checked, rings and
 * bottomless chains cut, and what is left is numbered anew in preorder, without gaps. All views then walk it in one pass
 * over an array, and memory follows what is used, not what the tables could hold.
 *
 * Writers go on meanwhile. They insert frame, node, cell in this order; the copy goes the other way round, so whatever
 * is named by something copied is there to be read. Only among the nodes themselves may a child be copied although its
 * parent's place was passed before the parent came: such a place is looked at again.
 */
#include "snapshot_tree.h"

#include "pace.h"

#include <errno.h>
#include <stdlib.h>

#define VISITING UINT32_MAX

/* Ids in use are scattered over a table that is much larger as a rule. So they are numbered in their order from 1 on, by a
 * map of bits, and arrays are as large as what is used; entry 0 is the root above all. */
struct raw_tree {
	uint32_t node_count, frame_count; /* of the segment's tables */
	uint64_t *map;       /* a bit for each id of a node */
	uint32_t *before;    /* by word of it: how many bits there are before */
	uint32_t count;      /* numbers given */
	uint32_t *parent, *frame;         /* frame 0 = damaged meanwhile */
	uint32_t *depth;
	uint32_t *first_child, *next_sibling;
	uint32_t *new_node;  /* id in the snapshot */
	uint32_t *new_frame; /* by the segment's id: index in the snapshot + 1 */
	uint32_t used;
};

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void raw_free(struct raw_tree *raw)
{
	free(raw->map);
	free(raw->before);
	free(raw->parent);
	free(raw->frame);
	free(raw->depth);
	free(raw->first_child);
	free(raw->next_sibling);
	free(raw->new_node);
	free(raw->new_frame);
}

static uint32_t word_count(const struct raw_tree *raw)
{
	return raw->node_count / 64 + 1;
}

static bool map_init(struct raw_tree *raw, const struct seg_view *seg)
{
	*raw = (struct raw_tree){ .node_count = seg->slots[SEG_TABLE_NODES].count, .frame_count = seg->slots[SEG_TABLE_FRAMES].count };
	raw->map = calloc(word_count(raw), sizeof(*raw->map));
	raw->before = calloc(word_count(raw), sizeof(*raw->before));
	return raw->map && raw->before;
}

/* Once the map is drawn. */
static bool arrays_init(struct raw_tree *raw)
{
	for (uint32_t word = 0; word < word_count(raw); word++) {
		raw->before[word] = raw->count;
		raw->count += (uint32_t)__builtin_popcountll(raw->map[word]);
	}
	size_t nodes = (size_t)raw->count + 1;
	raw->parent = calloc(nodes, sizeof(*raw->parent));
	raw->frame = calloc(nodes, sizeof(*raw->frame));
	raw->depth = calloc(nodes, sizeof(*raw->depth));
	raw->first_child = calloc(nodes, sizeof(*raw->first_child));
	raw->next_sibling = calloc(nodes, sizeof(*raw->next_sibling));
	raw->new_node = calloc(nodes, sizeof(*raw->new_node));
	raw->new_frame = calloc((size_t)raw->frame_count + 1, sizeof(*raw->new_frame));
	return raw->parent && raw->frame && raw->depth && raw->first_child && raw->next_sibling && raw->new_node &&
	       raw->new_frame;
}

static bool map_has(const struct raw_tree *raw, uint32_t id)
{
	return id <= raw->node_count && raw->map[id / 64] >> id % 64 & 1;
}

/* 0: it has none. */
static uint32_t number_of(const struct raw_tree *raw, uint32_t id)
{
	if (!id || !map_has(raw, id))
		return 0;
	uint64_t below = raw->map[id / 64] & ((1ULL << id % 64) - 1);
	return raw->before[id / 64] + (uint32_t)__builtin_popcountll(below) + 1;
}

static bool frame_is_sound(uint64_t key, uint32_t module_count)
{
	uint32_t module = seg_frame_module(key);
	uint64_t offset = seg_frame_offset(key);

	if (module == SEG_MODULE_CALL)
		return offset < SEG_CALL_COUNT;
	if (module == SEG_MODULE_PSEUDO)
		return offset >= SEG_PSEUDO_UNKNOWN && offset <= SEG_PSEUDO_LOST;
	return module >= SEG_MODULE_FIRST && module < module_count;
}

enum node_state { NODE_FREE, NODE_DAMAGED, NODE_USED };

static enum node_state node_state(const struct raw_tree *raw, const struct seg_view *seg, uint64_t key)
{
	uint32_t parent = seg_node_parent(key), frame = seg_node_frame(key);

	if (!key)
		return NODE_FREE;
	if (parent > raw->node_count || !frame || frame > raw->frame_count)
		return NODE_DAMAGED;
	if (!frame_is_sound(load(&seg->frames[frame - 1].key), seg->slots[SEG_TABLE_MODULES].count))
		return NODE_DAMAGED;
	return NODE_USED;
}

/* The node's state, which is noted in the map. */
static enum node_state node_find(struct raw_tree *raw, const struct seg_view *seg, uint32_t id)
{
	enum node_state state = node_state(raw, seg, load(&seg->nodes[id - 1].key));

	if (state == NODE_USED)
		raw->map[id / 64] |= 1ULL << id % 64;
	return state;
}

/* The next node id from id on that may be in use. */
static uint32_t node_next(const struct seg_view *seg, uint32_t id)
{
	return seg_table_next(&seg->slots[SEG_TABLE_NODES], id - 1) + 1;
}

/* All nodes, then those parents that came while we were passing by. */
static void nodes_find(struct snapshot *snapshot, struct raw_tree *raw, const struct seg_view *seg)
{
	for (uint32_t id = 1; (id = node_next(seg, id)) <= raw->node_count; id++) {
		pace_step(1);
		snapshot->damaged_entries += node_find(raw, seg, id) == NODE_DAMAGED;
	}
	atomic_thread_fence(memory_order_acquire);
	for (uint32_t id = 1; (id = node_next(seg, id)) <= raw->node_count; id++) {
		uint32_t at = map_has(raw, id) ? seg_node_parent(load(&seg->nodes[id - 1].key)) : 0;
		while (at && at <= raw->node_count && !map_has(raw, at) && node_find(raw, seg, at) == NODE_USED)
			at = seg_node_parent(load(&seg->nodes[at - 1].key));
	}
}

/* Each is read once more, so checked once more: the file is others'. */
static void nodes_read(struct snapshot *snapshot, struct raw_tree *raw, const struct seg_view *seg)
{
	uint32_t number = 0;

	for (uint32_t id = 1; id <= raw->node_count; id++) {
		if (!raw->map[id / 64]) {
			id |= 63;
			continue;
		}
		if (!map_has(raw, id))
			continue;
		uint64_t key = load(&seg->nodes[id - 1].key);
		number++;
		if (node_state(raw, seg, key) != NODE_USED)
			continue;
		raw->parent[number] = number_of(raw, seg_node_parent(key));
		raw->frame[number] = seg_node_frame(key);
		raw->used++;
		snapshot->damaged_entries += seg_node_parent(key) && !raw->parent[number];
	}
	for (number = 1; number <= raw->count; number++) {
		if (!raw->frame[number] || !raw->parent[number] || raw->frame[raw->parent[number]])
			continue;
		raw->parent[number] = 0;
		snapshot->damaged_entries++;
	}
}

/* Gives every node its depth; cuts rings, and chains deeper than any sampled stack. path: room for all nodes. */
static void depths_find(struct snapshot *snapshot, struct raw_tree *raw, uint32_t *path)
{
	for (uint32_t id = 1; id <= raw->count; id++) {
		uint32_t length = 0, at = id, depth;
		if (!raw->frame[id])
			continue;
		pace_step(1);
		for (; at && !raw->depth[at]; at = raw->parent[at]) {
			raw->depth[at] = VISITING;
			path[length++] = at;
		}
		bool is_ring = at && raw->depth[at] == VISITING;
		depth = at && !is_ring ? raw->depth[at] : 0;
		if (is_ring) {
			raw->parent[path[length - 1]] = 0;
			snapshot->damaged_entries++;
		}
		while (length) {
			uint32_t node = path[--length];
			if (depth >= SNAPSHOT_DEPTH_MAX) {
				raw->parent[node] = 0;
				snapshot->damaged_entries++;
				depth = 0;
			}
			raw->depth[node] = ++depth;
		}
	}
}

/* Backwards, so that siblings stand in the order of the table. */
static void children_link(struct raw_tree *raw)
{
	for (uint32_t id = raw->count; id; id--) {
		if (!raw->frame[id])
			continue;
		raw->next_sibling[id] = raw->first_child[raw->parent[id]];
		raw->first_child[raw->parent[id]] = id;
	}
}

static uint32_t frame_take(struct snapshot *snapshot, struct raw_tree *raw, const struct seg_view *seg, uint32_t frame)
{
	if (!raw->new_frame[frame]) {
		/* Read once more, so checked once more: the file is others'. */
		uint64_t key = load(&seg->frames[frame - 1].key);
		if (!frame_is_sound(key, seg->slots[SEG_TABLE_MODULES].count))
			key = seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN);
		snapshot->frames[snapshot->frame_count++] =
			(struct snapshot_frame){ seg_frame_module(key), seg_frame_offset(key) };
		raw->new_frame[frame] = snapshot->frame_count;
	}
	return raw->new_frame[frame] - 1;
}

static void nodes_number(struct snapshot *snapshot, struct raw_tree *raw, const struct seg_view *seg)
{
	uint32_t id = raw->first_child[0];

	while (id) {
		pace_step(1);
		snapshot->nodes[snapshot->node_count++] = (struct snapshot_node){
			.parent = raw->new_node[raw->parent[id]],
			.frame = frame_take(snapshot, raw, seg, raw->frame[id]),
			.depth = raw->depth[id],
		};
		raw->new_node[id] = snapshot->node_count;
		if (raw->first_child[id]) {
			id = raw->first_child[id];
			continue;
		}
		while (id && !raw->next_sibling[id])
			id = raw->parent[id];
		id = raw->next_sibling[id];
	}
}

static bool cell_append(struct snapshot *snapshot, uint32_t *capacity, const struct snapshot_cell *cell)
{
	if (snapshot->cell_count == *capacity) {
		uint32_t larger = *capacity ? *capacity * 2 : 256;
		struct snapshot_cell *cells = realloc(snapshot->cells, larger * sizeof(*cells));
		if (!cells)
			return false;
		snapshot->cells = cells;
		*capacity = larger;
	}
	snapshot->cells[snapshot->cell_count++] = *cell;
	return true;
}

static int cells_read(struct snapshot *snapshot, const struct seg_view *seg)
{
	uint32_t count = seg->slots[SEG_TABLE_CELLS].count, nodes = seg->slots[SEG_TABLE_NODES].count, capacity = 0;
	uint32_t endpoints = seg->slots[SEG_TABLE_ENDPOINTS].count;

	for (uint32_t i = 0; (i = seg_table_next(&seg->slots[SEG_TABLE_CELLS], i)) < count; i++) {
		pace_step(1);
		const struct seg_cell *from = &seg->cells[i];
		uint64_t key = load(&from->key);
		struct snapshot_cell cell = {
			.slot = i,
			.node = seg_cell_node(key),
			.endpoint = seg_cell_endpoint(key),
			.kind = SEG_KIND_CPU,
			.samples = load(&from->samples),
			.weight_ns = load(&from->weight_ns),
			.activations = load(&from->activations),
		};
		if (!key)
			continue;
		snapshot->tables[SEG_TABLE_CELLS].used++;
		if (!cell.node || cell.node > nodes || cell.endpoint >= endpoints || seg_cell_kind(key) != SEG_KIND_CPU)
			snapshot->damaged_entries++;
		else if (!cell_append(snapshot, &capacity, &cell))
			return -ENOMEM;
	}
	return 0;
}

/* Cells name nodes by the segment's ids until here. */
static void cells_renumber(struct snapshot *snapshot, const struct raw_tree *raw)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->cell_count; i++) {
		struct snapshot_cell cell = snapshot->cells[i];
		cell.node = raw->new_node[number_of(raw, cell.node)];
		if (cell.node)
			snapshot->cells[kept++] = cell;
		else
			snapshot->damaged_entries++;
	}
	snapshot->cell_count = kept;
}

/* So do stacks of slow requests. One whose node is none shows as lost. */
static void slow_renumber(struct snapshot *snapshot, const struct raw_tree *raw)
{
	for (uint32_t i = 0; i < snapshot->slow_count; i++) {
		struct snapshot_slow *slow = &snapshot->slow[i];
		for (uint32_t j = 0; j < slow->stack_count; j++) {
			uint32_t *node = &slow->stacks[j].node, id = *node;
			*node = raw->new_node[number_of(raw, id)];
			snapshot->damaged_entries += id && !*node;
		}
	}
}

static uint32_t frames_used(const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_FRAMES];
	uint32_t used = 0;

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++)
		used += load(&seg->frames[i].key) != 0;
	return used;
}

int snapshot_tree_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	struct raw_tree raw = { 0 };
	uint32_t *path = NULL;
	int error = cells_read(snapshot, seg);

	if (error)
		return error;
	atomic_thread_fence(memory_order_acquire);
	error = -ENOMEM;
	if (!map_init(&raw, seg))
		goto out;
	nodes_find(snapshot, &raw, seg);
	if (!arrays_init(&raw))
		goto out;
	nodes_read(snapshot, &raw, seg);
	snapshot->tables[SEG_TABLE_NODES].used = raw.used;
	atomic_thread_fence(memory_order_acquire);
	snapshot->tables[SEG_TABLE_FRAMES].used = frames_used(seg);
	path = malloc((raw.used + 1) * sizeof(*path));
	snapshot->nodes = calloc(raw.used + 1, sizeof(*snapshot->nodes));
	uint32_t frames = raw.used < raw.frame_count ? raw.used : raw.frame_count; /* at most */
	snapshot->frames = calloc(frames + 1, sizeof(*snapshot->frames));
	if (!path || !snapshot->nodes || !snapshot->frames)
		goto out;
	depths_find(snapshot, &raw, path);
	children_link(&raw);
	nodes_number(snapshot, &raw, seg);
	cells_renumber(snapshot, &raw);
	slow_renumber(snapshot, &raw);
	error = 0;
out:
	free(path);
	raw_free(&raw);
	return error;
}

/* Frames from the node up to its root, by their keys. Returns how many; 0: the node makes no sense. */
static uint32_t path_read(const struct seg_view *seg, uint32_t node, uint64_t ret_frames[static SNAPSHOT_DEPTH_MAX])
{
	uint32_t nodes = seg->slots[SEG_TABLE_NODES].count, frames = seg->slots[SEG_TABLE_FRAMES].count, depth = 0;

	while (node && depth < SNAPSHOT_DEPTH_MAX) {
		uint64_t key = node <= nodes ? load(&seg->nodes[node - 1].key) : 0;
		uint32_t frame = seg_node_frame(key);
		if (!frame || frame > frames)
			return 0;
		ret_frames[depth] = load(&seg->frames[frame - 1].key);
		if (!frame_is_sound(ret_frames[depth++], seg->slots[SEG_TABLE_MODULES].count))
			return 0;
		node = seg_node_parent(key);
	}
	return node ? 0 : depth; /* deeper than any stack: a ring */
}

/* Nodes and frames of one path, its outermost frame last; returns the leaf's id. */
static uint32_t path_append(struct snapshot *snapshot, const uint64_t *frames, uint32_t depth)
{
	for (uint32_t i = depth; i; i--) {
		bool is_root = i == depth;
		snapshot->frames[snapshot->frame_count++] =
			(struct snapshot_frame){ seg_frame_module(frames[i - 1]), seg_frame_offset(frames[i - 1]) };
		snapshot->nodes[snapshot->node_count] = (struct snapshot_node){
			.parent = is_root ? 0 : snapshot->node_count,
			.frame = snapshot->frame_count - 1,
			.depth = depth - i + 1,
		};
		snapshot->node_count++;
	}
	return snapshot->node_count;
}

static bool branches_reserve(struct snapshot *snapshot, uint32_t *capacity, uint32_t more)
{
	uint32_t larger = (snapshot->node_count + more) * 2;

	if (snapshot->node_count + more <= *capacity)
		return true;
	struct snapshot_node *nodes = realloc(snapshot->nodes, larger * sizeof(*nodes));
	if (nodes)
		snapshot->nodes = nodes;
	struct snapshot_frame *frames = nodes ? realloc(snapshot->frames, larger * sizeof(*frames)) : NULL;
	if (!frames)
		return false;
	snapshot->frames = frames;
	*capacity = larger;
	return true;
}

int snapshot_tree_copy_slow(struct snapshot *snapshot, const struct seg_view *seg)
{
	uint64_t path[SNAPSHOT_DEPTH_MAX];
	uint32_t capacity = 0;

	for (uint32_t i = 0; i < snapshot->slow_count; i++) {
		struct snapshot_slow *slow = &snapshot->slow[i];
		for (uint32_t j = 0; j < slow->stack_count; j++) {
			uint32_t *node = &slow->stacks[j].node, depth = path_read(seg, *node, path);
			if (!branches_reserve(snapshot, &capacity, depth))
				return -ENOMEM;
			snapshot->damaged_entries += *node && !depth;
			*node = depth ? path_append(snapshot, path, depth) : 0;
		}
	}
	return 0;
}

void snapshot_tree_check(struct snapshot *snapshot)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->frame_count; i++) {
		struct snapshot_frame *frame = &snapshot->frames[i];
		if (frame->module < SEG_MODULE_FIRST || snapshot->modules[frame->module].is_used)
			continue;
		*frame = (struct snapshot_frame){ SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN };
		snapshot->damaged_entries++;
	}
	for (uint32_t i = 0; i < snapshot->cell_count; i++) {
		if (snapshot->endpoints[snapshot->cells[i].endpoint].is_used)
			snapshot->cells[kept++] = snapshot->cells[i];
		else
			snapshot->damaged_entries++;
	}
	snapshot->cell_count = kept;
}
