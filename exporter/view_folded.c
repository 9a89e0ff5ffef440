/* Collapsed stacks as flamegraph.pl and its kin take them: one line for each different stack,
 *
 *     GET /users/{id};main;serve;render 17
 *
 * root first, the endpoint as the outermost frame, then how many samples had just this stack. Nodes of the segment are
 * told apart by address, so several of them may be one stack of functions; they are merged before anything is written.
 * Lines are sorted by endpoint and by function from the root on: two files compare well.
 */
#include "view_parts.h"

#include "../symbolizer/sort.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A cell as the output needs it. Nodes are numbered by their place in the sorted, merged tree. */
struct stack {
	uint32_t endpoint; /* its rank */
	uint32_t node;
	uint64_t samples;
};

struct merged_node {
	uint32_t parent; /* merged node + 1, 0 = root */
	uint32_t name;
};

struct folding {
	const struct model *model;
	char **names;         /* owned; by name number, sorted, each text once */
	uint32_t name_count;
	uint32_t *name_of;    /* by frame */
	struct merged_node *nodes; /* in preorder of the sorted tree */
	uint32_t node_count;
	uint32_t *node_of;    /* by node id of the snapshot: merged node */
	uint32_t *rank_of;    /* by endpoint of the model: by name; equal names have equal ranks */
	uint32_t *first_of;   /* by rank: an endpoint of the model */
	uint64_t *lost_of;    /* by rank: samples without a stack */
	uint32_t rank_count;
	struct stack *stacks;
	uint32_t stack_count;
};

/* What separates frames, and what separates stacks from counts, must not occur in a name. */
static void add_frame(struct strbuf *out, const char *text)
{
	size_t begin = out->length;

	strbuf_add_clean(out, text);
	for (size_t i = begin; i < out->length; i++)
		if (out->text[i] == ';')
			out->text[i] = ':';
}

struct named_frame {
	char *name;
	uint32_t frame;
};

static int by_text(const void *a, const void *b)
{
	const struct named_frame *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static char *frame_name(const struct model *model, const struct snapshot_frame *frame, const struct symbol *symbol)
{
	struct strbuf raw = STRBUF_EMPTY, name = STRBUF_EMPTY;

	view_frame_name(model, frame, symbol, &raw);
	add_frame(&name, strbuf_text(&raw));
	strbuf_add(&name, "");
	if (raw.error || name.error)
		strbuf_free(&name);
	strbuf_free(&raw);
	return name.text;
}

/* Names sorted, so that comparing numbers is comparing texts. */
static int names_make(struct folding *fold)
{
	const struct snapshot *snapshot = fold->model->snapshot;
	struct named_frame *named = calloc((size_t)snapshot->frame_count + 1, sizeof(*named));
	struct symbol *symbols = model_symbols(fold->model);
	uint32_t made = 0;
	int error = -ENOMEM;

	fold->names = calloc((size_t)snapshot->frame_count + 1, sizeof(*fold->names));
	fold->name_of = calloc((size_t)snapshot->frame_count + 1, sizeof(*fold->name_of));
	if (!named || !symbols || !fold->names || !fold->name_of)
		goto out;
	for (; made < snapshot->frame_count; made++) {
		named[made].frame = made;
		named[made].name = frame_name(fold->model, &snapshot->frames[made], &symbols[made]);
		if (!named[made].name)
			goto out;
	}
	sort_items(named, made, sizeof(*named), by_text);
	for (uint32_t i = 0; i < made; i++) {
		if (!fold->name_count || strcmp(fold->names[fold->name_count - 1], named[i].name)) {
			fold->names[fold->name_count++] = named[i].name;
			named[i].name = NULL;
		}
		fold->name_of[named[i].frame] = fold->name_count - 1;
	}
	error = 0;
out:
	for (uint32_t i = 0; named && i < made; i++)
		free(named[i].name);
	free(named);
	free(symbols);
	return error;
}

/* Merging goes level by level: nodes of one depth, sorted by their parent's merged number and their name, and equal ones
 * get one number. Children then stand sorted below sorted parents, breadth first. */
struct level_node {
	uint32_t parent, name, id;
};

static int by_parent_and_name(const void *a, const void *b)
{
	const struct level_node *x = a, *y = b;

	if (x->parent != y->parent)
		return x->parent < y->parent ? -1 : 1;
	return (x->name > y->name) - (x->name < y->name);
}

/* Node ids by depth: level[d] is where those of depth d begin. */
static uint32_t *nodes_by_depth(const struct snapshot *snapshot, uint32_t level[static SNAPSHOT_DEPTH_MAX + 2])
{
	uint32_t *ids = calloc((size_t)snapshot->node_count + 1, sizeof(*ids));
	uint32_t next[SNAPSHOT_DEPTH_MAX + 2];

	if (!ids)
		return NULL;
	memset(level, 0, (SNAPSHOT_DEPTH_MAX + 2) * sizeof(*level));
	for (uint32_t i = 0; i < snapshot->node_count; i++)
		level[snapshot->nodes[i].depth + 1]++;
	for (uint32_t depth = 1; depth < SNAPSHOT_DEPTH_MAX + 2; depth++)
		level[depth] += level[depth - 1];
	memcpy(next, level, sizeof(next));
	for (uint32_t i = 0; i < snapshot->node_count; i++)
		ids[next[snapshot->nodes[i].depth]++] = i + 1;
	return ids;
}

static void level_merge(struct folding *fold, struct level_node *nodes, uint32_t count)
{
	sort_items(nodes, count, sizeof(*nodes), by_parent_and_name);
	for (uint32_t i = 0; i < count; i++) {
		if (i == 0 || by_parent_and_name(&nodes[i - 1], &nodes[i]))
			fold->nodes[fold->node_count++] = (struct merged_node){ nodes[i].parent, nodes[i].name };
		fold->node_of[nodes[i].id] = fold->node_count - 1;
	}
}

static int nodes_merge(struct folding *fold)
{
	const struct snapshot *snapshot = fold->model->snapshot;
	uint32_t level[SNAPSHOT_DEPTH_MAX + 2];
	uint32_t *ids = nodes_by_depth(snapshot, level);
	struct level_node *nodes = calloc((size_t)snapshot->node_count + 1, sizeof(*nodes));
	int error = -ENOMEM;

	fold->nodes = calloc((size_t)snapshot->node_count + 1, sizeof(*fold->nodes));
	fold->node_of = calloc((size_t)snapshot->node_count + 1, sizeof(*fold->node_of));
	if (!ids || !nodes || !fold->nodes || !fold->node_of)
		goto out;
	for (uint32_t depth = 1; depth <= SNAPSHOT_DEPTH_MAX; depth++) {
		uint32_t begin = level[depth], count = level[depth + 1] - begin;
		for (uint32_t i = 0; i < count; i++) {
			const struct snapshot_node *node = &snapshot->nodes[ids[begin + i] - 1];
			nodes[i] = (struct level_node){ .name = fold->name_of[node->frame], .id = ids[begin + i] };
			nodes[i].parent = node->parent ? fold->node_of[node->parent] + 1 : 0;
		}
		level_merge(fold, nodes, count);
	}
	error = 0;
out:
	free(ids);
	free(nodes);
	return error;
}

/* From breadth first to preorder: sizes of subtrees from the end, then places from the beginning. */
static int nodes_renumber(struct folding *fold)
{
	uint32_t count = fold->node_count;
	uint32_t *size = calloc((size_t)count + 1, sizeof(*size)), *place = calloc((size_t)count + 1, sizeof(*place));
	uint32_t *next = calloc((size_t)count + 1, sizeof(*next)); /* by node + 1: where its next child goes */
	struct merged_node *sorted = calloc((size_t)count + 1, sizeof(*sorted));
	int error = -ENOMEM;

	if (!size || !place || !next || !sorted)
		goto out;
	for (uint32_t i = count; i; i--) {
		size[i]++;
		size[fold->nodes[i - 1].parent] += size[i];
	}
	for (uint32_t i = 1; i <= count; i++) {
		uint32_t parent = fold->nodes[i - 1].parent;
		place[i] = next[parent];
		next[parent] += size[i];
		next[i] = place[i] + 1;
	}
	for (uint32_t i = 1; i <= count; i++) {
		uint32_t parent = fold->nodes[i - 1].parent;
		sorted[place[i]] = (struct merged_node){ parent ? place[parent] + 1 : 0, fold->nodes[i - 1].name };
	}
	for (uint32_t id = 1; id <= fold->model->snapshot->node_count; id++)
		fold->node_of[id] = place[fold->node_of[id] + 1];
	free(fold->nodes);
	fold->nodes = sorted;
	sorted = NULL;
	error = 0;
out:
	free(size);
	free(place);
	free(next);
	free(sorted);
	return error;
}

static int by_endpoint_and_node(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;

	if (x->endpoint != y->endpoint)
		return x->endpoint < y->endpoint ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

static void stacks_merge(struct folding *fold)
{
	uint32_t kept = 0;

	sort_items(fold->stacks, fold->stack_count, sizeof(*fold->stacks), by_endpoint_and_node);
	for (uint32_t i = 0; i < fold->stack_count; i++) {
		if (kept && !by_endpoint_and_node(&fold->stacks[kept - 1], &fold->stacks[i]))
			fold->stacks[kept - 1].samples += fold->stacks[i].samples;
		else
			fold->stacks[kept++] = fold->stacks[i];
	}
	fold->stack_count = kept;
}

struct named_endpoint {
	const char *name;
	uint32_t index;
};

static int by_endpoint_name(const void *a, const void *b)
{
	return strcmp(((const struct named_endpoint *)a)->name, ((const struct named_endpoint *)b)->name);
}

static int endpoints_rank(struct folding *fold, const char *endpoint)
{
	uint32_t count = fold->model->endpoint_count;
	struct named_endpoint *named = calloc((size_t)count + 1, sizeof(*named));

	fold->rank_of = calloc((size_t)count + 1, sizeof(*fold->rank_of));
	fold->first_of = calloc((size_t)count + 1, sizeof(*fold->first_of));
	fold->lost_of = calloc((size_t)count + 1, sizeof(*fold->lost_of));
	if (!named || !fold->rank_of || !fold->first_of || !fold->lost_of) {
		free(named);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++)
		named[i] = (struct named_endpoint){ fold->model->endpoints[i].name, i };
	sort_items(named, count, sizeof(*named), by_endpoint_name);
	for (uint32_t i = 0; i < count; i++) {
		if (i == 0 || by_endpoint_name(&named[i - 1], &named[i]))
			fold->first_of[fold->rank_count++] = named[i].index;
		fold->rank_of[named[i].index] = fold->rank_count - 1;
		if (!endpoint || !strcmp(endpoint, named[i].name))
			fold->lost_of[fold->rank_count - 1] += fold->model->endpoints[named[i].index].lost_samples;
	}
	free(named);
	return 0;
}

static int stacks_make(struct folding *fold, const char *endpoint)
{
	const struct snapshot *snapshot = fold->model->snapshot;

	fold->stacks = calloc((size_t)snapshot->cell_count + 1, sizeof(*fold->stacks));
	if (!fold->stacks)
		return -ENOMEM;
	for (uint32_t i = 0; i < snapshot->cell_count; i++) {
		const struct snapshot_cell *cell = &snapshot->cells[i];
		if (!cell->samples || !model_endpoint_matches(fold->model, cell->endpoint, endpoint))
			continue;
		fold->stacks[fold->stack_count++] = (struct stack){
			fold->rank_of[fold->model->endpoint_of[cell->endpoint]], fold->node_of[cell->node], cell->samples
		};
	}
	stacks_merge(fold);
	return 0;
}

static void add_stack(const struct folding *fold, const struct stack *stack, struct strbuf *out)
{
	uint32_t path[SNAPSHOT_DEPTH_MAX], depth = 0;

	for (uint32_t node = stack->node + 1; node; node = fold->nodes[node - 1].parent)
		path[depth++] = fold->nodes[node - 1].name;
	add_frame(out, fold->model->endpoints[fold->first_of[stack->endpoint]].name);
	while (depth) {
		strbuf_add_char(out, ';');
		strbuf_add(out, fold->names[path[--depth]]);
	}
	strbuf_add_char(out, ' ');
	strbuf_add_number(out, stack->samples);
	strbuf_add_char(out, '\n');
}

static void write_all(const struct folding *fold, struct strbuf *out)
{
	uint32_t next = 0;

	for (uint32_t rank = 0; rank < fold->rank_count && !out->error; rank++) {
		for (; !out->error && next < fold->stack_count && fold->stacks[next].endpoint == rank; next++)
			add_stack(fold, &fold->stacks[next], out);
		if (!fold->lost_of[rank])
			continue;
		add_frame(out, fold->model->endpoints[fold->first_of[rank]].name);
		strbuf_printf(out, ";[lost] %llu\n", (unsigned long long)fold->lost_of[rank]);
	}
}

void view_folded_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	struct folding fold = { .model = model };
	int error = names_make(&fold);

	if (!error)
		error = nodes_merge(&fold);
	if (!error)
		error = nodes_renumber(&fold);
	if (!error)
		error = endpoints_rank(&fold, params->endpoint);
	if (!error)
		error = stacks_make(&fold, params->endpoint);
	if (!error)
		write_all(&fold, out);
	else
		strbuf_fail(out, error);
	for (uint32_t i = 0; i < fold.name_count; i++)
		free(fold.names[i]);
	free(fold.names);
	free(fold.name_of);
	free(fold.nodes);
	free(fold.node_of);
	free(fold.rank_of);
	free(fold.first_of);
	free(fold.lost_of);
	free(fold.stacks);
}
