/* A search lands on the last span that begins at or before the address and walks back from there while a span further
 * back still reaches beyond the address. In sound files that is a step or two; in a damaged one the walk is cut off.
 */
#include "spans.h"

#include "sort.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>

/* Deeper nesting of functions or units is not written by compilers. */
enum { SPANS_WALK_MAX = 4096 };

int spans_add(struct spans *spans, uint64_t start, uint64_t end, uint32_t id)
{
	if (start >= end)
		return 0;
	if (spans->count == spans->capacity) {
		uint32_t capacity = spans->capacity ? spans->capacity * 2 : 64;
		struct span *items = NULL;

		if (capacity > spans->capacity)
			items = realloc(spans->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		spans->items = items;
		spans->capacity = capacity;
	}
	spans->items[spans->count++] = (struct span){ .start = start, .end = end, .id = id };
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	step_taken(1);
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->end != b->end)
		return a->end > b->end ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

void spans_sort(struct spans *spans)
{
	uint64_t reach = 0;

	if (spans->count)
		sort_items(spans->items, spans->count, sizeof(*spans->items), compare);
	for (uint32_t i = 0; i < spans->count; i++) {
		if (spans->items[i].end > reach)
			reach = spans->items[i].end;
		spans->items[i].reach = reach;
	}
}

/* How many spans begin at or before address. */
static uint32_t count_begun(const struct spans *spans, uint64_t address)
{
	uint32_t low = 0, high = spans->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (spans->items[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct span *spans_find(const struct spans *spans, uint64_t address)
{
	uint32_t begun = count_begun(spans, address);

	for (uint32_t step = 0; begun > 0 && step < SPANS_WALK_MAX; step++) {
		const struct span *span = &spans->items[--begun];

		if (address < span->end)
			return span;
		if (address >= span->reach)
			return NULL;
	}
	return NULL;
}

size_t spans_bytes(const struct spans *spans)
{
	return spans->capacity * sizeof(*spans->items);
}

void spans_free(struct spans *spans)
{
	free(spans->items);
	*spans = (struct spans){ 0 };
}
