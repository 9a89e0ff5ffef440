/* Every table is the same computation over another grouping of frames: by function, by line, by module.
 *
 * Nodes stand in preorder, so one pass from the end sums up what lies below each node, and one pass from the beginning
 * walks the tree with the path from the root at hand. A counter per group says how often the group is on that path; a
 * node is its group's topmost when it was 0. Then the node's whole subtree belongs to the group's cumtime, and nothing
 * further down does: recursion counts once. Cost: frames * log(frames) + nodes + cells; no recursion.
 */
#include "model.h"
#include "../symbolizer/sort.h"
#include "pace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const pseudo_names[] = {
	[SEG_PSEUDO_UNKNOWN] = "[unknown]",
	[SEG_PSEUDO_TRUNCATED] = "[truncated]",
	[SEG_PSEUDO_LOST] = "[lost]",
};

#define BRACED(id, name) "{" name "}",
static const char *const call_names[SEG_CALL_COUNT] = { SEG_CALLS(BRACED) };

struct ordered_frame {
	uint32_t frame; /* index */
	const struct snapshot_frame *at;
	const struct symbol *symbol; /* NULL while tables need none */
};

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int by_address(const void *a, const void *b)
{
	const struct snapshot_frame *x = ((const struct ordered_frame *)a)->at;
	const struct snapshot_frame *y = ((const struct ordered_frame *)b)->at;

	int order = compare_numbers(x->module, y->module);

	return order ? order : compare_numbers(x->offset, y->offset);
}

/* Hands over all frames by module and address, which is also what the symbolizer's caches like best. */
static struct ordered_frame *frames_in_order(const struct snapshot *snapshot)
{
	struct ordered_frame *order = calloc((size_t)snapshot->frame_count + 1, sizeof(*order));

	for (uint32_t i = 0; order && i < snapshot->frame_count; i++)
		order[i] = (struct ordered_frame){ .frame = i, .at = &snapshot->frames[i] };
	if (order)
		sort_items(order, snapshot->frame_count, sizeof(*order), by_address);
	return order;
}

static void frame_resolve(const struct model *model, const struct snapshot_frame *frame, struct symbol *ret_symbol)
{
	*ret_symbol = (struct symbol){ .function_start = frame->offset };
	if (frame->module == SEG_MODULE_CALL)
		ret_symbol->function = call_names[frame->offset];
	else if (frame->module == SEG_MODULE_PSEUDO)
		ret_symbol->function = pseudo_names[frame->offset];
	else
		model->names->resolve(model->names->context, &model->snapshot->modules[frame->module], frame->offset,
		                      ret_symbol);
}

struct symbol *model_symbols(const struct model *model)
{
	struct ordered_frame *order = frames_in_order(model->snapshot);
	struct symbol *symbols = calloc((size_t)model->snapshot->frame_count + 1, sizeof(*symbols));

	if (!order || !symbols) {
		free(order);
		free(symbols);
		return NULL;
	}
	for (uint32_t i = 0; i < model->snapshot->frame_count; i++)
		frame_resolve(model, order[i].at, &symbols[order[i].frame]);
	free(order);
	return symbols;
}

static int compare_texts(const char *a, const char *b)
{
	if (a == b)
		return 0;
	if (!a || !b)
		return a ? 1 : -1;
	return strcmp(a, b);
}

static int by_function(const void *a, const void *b)
{
	const struct ordered_frame *x = a, *y = b;
	int order = compare_numbers(x->at->module, y->at->module);

	if (order)
		return order;
	return compare_numbers(x->symbol->function_start, y->symbol->function_start);
}

static int by_line(const void *a, const void *b)
{
	const struct ordered_frame *x = a, *y = b;
	int order = by_function(a, b);

	if (!order)
		order = compare_numbers(x->symbol->line, y->symbol->line);
	return order ? order : compare_texts(x->symbol->file, y->symbol->file);
}

/* All calls are one module, each pseudo frame is one. */
static int by_module(const void *a, const void *b)
{
	const struct ordered_frame *x = a, *y = b;
	int order = compare_numbers(x->at->module, y->at->module);

	if (order || x->at->module != SEG_MODULE_PSEUDO)
		return order;
	return compare_numbers(x->at->offset, y->at->offset);
}

/* What a table is computed with. */
struct tabulation {
	const struct model *model;
	enum model_by by;
	const char *endpoint;
	struct model_table table;
	uint32_t capacity;
	uint32_t *group_of; /* by frame: index into table.rows */
	struct symbol *symbols;
	struct node_sums {
		uint64_t samples, self_ns, below_ns /* itself included */, activations;
	} *sums; /* by node id */
	uint32_t *on_path; /* by row */
};

static struct model_row row_of(const struct tabulation *tab, const struct snapshot_frame *frame,
                               const struct symbol *symbol)
{
	bool is_real = frame->module >= SEG_MODULE_FIRST;
	struct model_row row = { .module = frame->module, .module_name = "" };

	if (is_real)
		row.module_name = model_base_name(tab->model->snapshot->modules[frame->module].path);
	if (tab->by == MODEL_BY_MODULE) {
		if (!is_real)
			row.function = frame->module == SEG_MODULE_CALL ? "{calls}" : pseudo_names[frame->offset];
		return row;
	}
	row.function = symbol->function;
	row.start = symbol->function_start;
	row.file = tab->by == MODEL_BY_LINE ? symbol->file : symbol->function_file;
	row.line = tab->by == MODEL_BY_LINE ? symbol->line : symbol->function_line;
	return row;
}

static int row_append(struct tabulation *tab, const struct model_row *row)
{
	if (tab->table.count == tab->capacity) {
		uint32_t larger = tab->capacity ? tab->capacity * 2 : 64;
		struct model_row *rows = realloc(tab->table.rows, larger * sizeof(*rows));
		if (!rows)
			return -ENOMEM;
		tab->table.rows = rows;
		tab->capacity = larger;
	}
	tab->table.rows[tab->table.count++] = *row;
	return 0;
}

static int groups_make(struct tabulation *tab)
{
	static int (*const compare[])(const void *, const void *) = {
		[MODEL_BY_FUNCTION] = by_function, [MODEL_BY_LINE] = by_line, [MODEL_BY_MODULE] = by_module
	};
	const struct snapshot *snapshot = tab->model->snapshot;
	struct ordered_frame *order = frames_in_order(snapshot);
	int error = -ENOMEM;

	tab->group_of = calloc((size_t)snapshot->frame_count + 1, sizeof(*tab->group_of));
	tab->symbols = tab->by == MODEL_BY_MODULE ? NULL : model_symbols(tab->model);
	if (!order || !tab->group_of || (!tab->symbols && tab->by != MODEL_BY_MODULE))
		goto out;
	for (uint32_t i = 0; i < snapshot->frame_count; i++)
		order[i].symbol = tab->symbols ? &tab->symbols[order[i].frame] : NULL;
	sort_items(order, snapshot->frame_count, sizeof(*order), compare[tab->by]);
	for (uint32_t i = 0; i < snapshot->frame_count; i++) {
		if (i == 0 || compare[tab->by](&order[i - 1], &order[i])) {
			struct model_row row = row_of(tab, order[i].at, order[i].symbol);
			if (row_append(tab, &row))
				goto out;
		}
		tab->group_of[order[i].frame] = tab->table.count - 1;
	}
	error = 0;
out:
	free(order);
	return error;
}

static int cells_sum(struct tabulation *tab)
{
	const struct snapshot *snapshot = tab->model->snapshot;
	bool *is_wanted = calloc(snapshot->endpoint_count + 1, sizeof(*is_wanted));

	tab->sums = calloc((size_t)snapshot->node_count + 1, sizeof(*tab->sums));
	if (!tab->sums || !is_wanted) {
		free(is_wanted);
		return -ENOMEM;
	}
	for (uint32_t id = 0; id < snapshot->endpoint_count; id++)
		is_wanted[id] = model_endpoint_matches(tab->model, id, tab->endpoint);
	for (uint32_t i = 0; i < snapshot->cell_count; i++) {
		const struct snapshot_cell *cell = &snapshot->cells[i];
		pace_step(1);
		if (!is_wanted[cell->endpoint])
			continue;
		tab->sums[cell->node].samples += cell->samples;
		tab->sums[cell->node].self_ns += cell->weight_ns;
		tab->sums[cell->node].below_ns += cell->weight_ns;
		tab->sums[cell->node].activations += cell->activations;
	}
	for (uint32_t id = snapshot->node_count; id; id--)
		tab->sums[snapshot->nodes[id - 1].parent].below_ns += tab->sums[id].below_ns;
	free(is_wanted);
	return 0;
}

static int tree_walk(struct tabulation *tab)
{
	const struct snapshot *snapshot = tab->model->snapshot;
	uint32_t path[SNAPSHOT_DEPTH_MAX], depth = 0; /* rows from the root to here */

	tab->on_path = calloc((size_t)tab->table.count + 1, sizeof(*tab->on_path));
	if (!tab->on_path)
		return -ENOMEM;
	for (uint32_t id = 1; id <= snapshot->node_count; id++) {
		const struct snapshot_node *node = &snapshot->nodes[id - 1];
		const struct node_sums *sums = &tab->sums[id];
		uint32_t group = tab->group_of[node->frame];
		struct model_row *row = &tab->table.rows[group];
		pace_step(1);
		while (depth >= node->depth)
			tab->on_path[path[--depth]]--;
		path[depth++] = group;
		row->samples += sums->samples;
		row->tottime_ns += sums->self_ns;
		row->calls += sums->activations;
		if (tab->on_path[group]++ == 0) {
			row->cumtime_ns += sums->below_ns;
			row->primitive_calls += sums->activations;
		}
	}
	return 0;
}

static struct model_row *row_find(struct tabulation *tab, uint32_t module, const char *function)
{
	for (uint32_t i = 0; i < tab->table.count; i++)
		if (tab->table.rows[i].module == module && !strcmp(tab->table.rows[i].function, function))
			return &tab->table.rows[i];
	return NULL;
}

static struct model_row *row_get(struct tabulation *tab, uint32_t module, const char *function)
{
	struct model_row *row = row_find(tab, module, function);
	struct model_row fresh = { .module = module, .module_name = "", .function = function };

	if (row)
		return row;
	return row_append(tab, &fresh) ? NULL : &tab->table.rows[tab->table.count - 1];
}

/* The counted calls instead of those that samples happened to see; they know nothing of endpoints. */
static int calls_fill(struct tabulation *tab)
{
	const uint64_t *counts = tab->model->snapshot->call_counts;

	for (int call = 0; call < SEG_CALL_COUNT; call++) {
		if (!counts[call])
			continue;
		const char *name = tab->by == MODEL_BY_MODULE ? "{calls}" : call_names[call];
		struct model_row *row = row_get(tab, SEG_MODULE_CALL, name);
		if (!row)
			return -ENOMEM;
		if (!row->is_exact)
			row->calls = row->primitive_calls = 0;
		row->is_exact = true;
		row->calls += counts[call];
		row->primitive_calls += counts[call];
	}
	return 0;
}

static int lost_fill(struct tabulation *tab)
{
	uint64_t samples = 0, ns = 0;

	for (uint32_t i = 0; i < tab->model->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &tab->model->endpoints[i];
		if (tab->endpoint && strcmp(endpoint->name, tab->endpoint))
			continue;
		samples += endpoint->lost_samples;
		ns += endpoint->lost_ns;
	}
	if (!samples)
		return 0;
	struct model_row *row = row_get(tab, SEG_MODULE_PSEUDO, pseudo_names[SEG_PSEUDO_LOST]);
	if (!row)
		return -ENOMEM;
	row->samples += samples;
	row->tottime_ns += ns;
	row->cumtime_ns += ns;
	return 0;
}

/* Where time was spent, something was active, though it may have been entered earlier or for another endpoint. */
static void activations_complete(struct model_table *table)
{
	for (uint32_t i = 0; i < table->count; i++) {
		struct model_row *row = &table->rows[i];
		if (row->is_exact || !row->cumtime_ns)
			continue;
		row->primitive_calls += !row->primitive_calls;
		if (row->calls < row->primitive_calls)
			row->calls = row->primitive_calls;
	}
}

static void empty_rows_drop(struct model_table *table)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < table->count; i++)
		if (table->rows[i].cumtime_ns || table->rows[i].calls || table->rows[i].samples)
			table->rows[kept++] = table->rows[i];
	table->count = kept;
}

int model_tabulate(const struct model *model, enum model_by by, const char *endpoint, bool with_lost,
                   struct model_table *ret_table)
{
	struct tabulation tab = { .model = model, .by = by, .endpoint = endpoint, .table.by = by };
	int error = groups_make(&tab);

	if (!error)
		error = cells_sum(&tab);
	if (!error)
		error = tree_walk(&tab);
	if (!error && !endpoint)
		error = calls_fill(&tab);
	if (!error && with_lost)
		error = lost_fill(&tab);
	free(tab.group_of);
	free(tab.symbols);
	free(tab.sums);
	free(tab.on_path);
	if (error) {
		free(tab.table.rows);
		return error;
	}
	activations_complete(&tab.table);
	empty_rows_drop(&tab.table);
	*ret_table = tab.table;
	return 0;
}

static int by_row_name(const void *a, const void *b)
{
	const struct model_row *x = a, *y = b;
	int order = compare_texts(x->function ? x->function : x->module_name, y->function ? y->function : y->module_name);

	if (!order)
		order = compare_texts(x->module_name, y->module_name);
	if (!order)
		order = compare_texts(x->file, y->file);
	if (!order)
		order = compare_numbers(x->line, y->line);
	if (!order)
		order = compare_numbers(x->start, y->start);
	return order ? order : compare_numbers(x->module, y->module);
}

static int by_tottime(const void *a, const void *b)
{
	const struct model_row *x = a, *y = b;
	int order = compare_numbers(y->tottime_ns, x->tottime_ns);

	if (!order)
		order = compare_numbers(y->cumtime_ns, x->cumtime_ns);
	return order ? order : by_row_name(a, b);
}

static int by_cumtime(const void *a, const void *b)
{
	int order = compare_numbers(((const struct model_row *)b)->cumtime_ns, ((const struct model_row *)a)->cumtime_ns);

	return order ? order : by_tottime(a, b);
}

static int by_ncalls(const void *a, const void *b)
{
	int order = compare_numbers(((const struct model_row *)b)->calls, ((const struct model_row *)a)->calls);

	return order ? order : by_tottime(a, b);
}

void model_table_sort(struct model_table *table, enum seg_sort sort)
{
	static int (*const compare[])(const void *, const void *) = {
		[SEG_SORT_TOTTIME] = by_tottime, [SEG_SORT_CUMTIME] = by_cumtime, [SEG_SORT_NCALLS] = by_ncalls,
		[SEG_SORT_NAME] = by_row_name
	};

	if (table->count)
		sort_items(table->rows, table->count, sizeof(*table->rows), compare[sort]);
}

void model_table_free(struct model_table *table)
{
	free(table->rows);
	*table = (struct model_table){ 0 };
}
