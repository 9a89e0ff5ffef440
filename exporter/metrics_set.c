#include "metrics_set.h"

#include "../symbolizer/sort.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct metrics_row *metrics_set_row(struct metrics_set *set)
{
	if (set->count == set->capacity) {
		size_t larger = set->capacity ? set->capacity * 2 : 64;
		struct metrics_row *rows = realloc(set->rows, larger * sizeof(*rows));
		if (!rows) {
			set->texts.error = -ENOMEM;
			return NULL;
		}
		set->rows = rows;
		set->capacity = larger;
	}
	set->rows[set->count] = (struct metrics_row){ .labels = set->texts.length };
	return &set->rows[set->count++];
}

void metrics_set_label(struct metrics_set *set, const char *key, const char *value)
{
	metrics_label(&set->texts, set->rows[set->count - 1].labels, key, value);
}

void metrics_set_row_end(struct metrics_set *set)
{
	strbuf_add_bytes(&set->texts, "", 1);
}

const char *metrics_set_labels(const struct metrics_set *set, const struct metrics_row *row)
{
	return set->texts.text + row->labels;
}

static int by_labels(const void *a, const void *b, void *set)
{
	return strcmp(metrics_set_labels(set, a), metrics_set_labels(set, b));
}

static bool merge(struct metrics_set *set, struct metrics_row *into, const struct metrics_row *from)
{
	for (size_t i = 0; i < sizeof(into->values) / sizeof(into->values[0]); i++)
		into->values[i] += from->values[i];
	if (from->exemplar.at_ns > into->exemplar.at_ns)
		into->exemplar = from->exemplar;
	if (!from->buckets)
		return true;
	if (!into->merged) {
		into->merged = calloc(set->bucket_count, sizeof(*into->merged));
		if (!into->merged)
			return false;
		memcpy(into->merged, into->buckets, set->bucket_count * sizeof(*into->merged));
		into->buckets = into->merged;
	}
	for (size_t i = 0; i < set->bucket_count; i++)
		into->merged[i] += from->buckets[i];
	return true;
}

bool metrics_set_finish(struct metrics_set *set)
{
	size_t kept = 0;

	if (set->texts.error)
		return false;
	if (set->count)
		sort_items_with(set->rows, set->count, sizeof(*set->rows), by_labels, set);
	for (size_t i = 0; i < set->count; i++) {
		bool is_same = kept && !by_labels(&set->rows[kept - 1], &set->rows[i], set);
		if (!is_same)
			set->rows[kept++] = set->rows[i];
		else if (!merge(set, &set->rows[kept - 1], &set->rows[i]))
			return false;
	}
	set->count = kept;
	return true;
}

void metrics_set_free(struct metrics_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		free(set->rows[i].merged);
	free(set->rows);
	strbuf_free(&set->texts);
	*set = (struct metrics_set){ 0 };
}

void metrics_set_write_histograms(struct metrics_set *set, struct metrics_text *text, const uint64_t *bounds, unsigned scale)
{
	if (!metrics_set_finish(set))
		strbuf_fail(text->out, -ENOMEM);
	for (size_t i = 0; i < set->count && !text->out->error; i++) {
		const struct metrics_row *row = &set->rows[i];
		struct metrics_buckets buckets = { .bounds = bounds,
			                           .counts = row->buckets,
			                           .count = (uint32_t)set->bucket_count - 1,
			                           .scale = scale,
			                           .sum = row->values[0],
			                           .exemplar = &row->exemplar };
		metrics_histogram(text, metrics_set_labels(set, row), &buckets);
	}
	metrics_set_free(set);
}

void metrics_set_write(struct metrics_set *set, struct metrics_text *text, unsigned scale)
{
	if (!metrics_set_finish(set))
		strbuf_fail(text->out, -ENOMEM);
	for (size_t i = 0; i < set->count && !text->out->error; i++)
		metrics_sample(text, metrics_set_labels(set, &set->rows[i]), set->rows[i].values[0], scale);
	metrics_set_free(set);
}
