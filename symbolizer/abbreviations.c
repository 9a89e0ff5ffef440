/* DWARF 5, 7.5.3. Compilers number abbreviations 1, 2, 3..., so that most are found at their place; others by halving. */
#include "abbreviations.h"

#include "sort.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>

enum { FORM_IMPLICIT_CONST = 0x21 };

bool abbreviations_next(struct cursor *list, uint64_t *ret_name, uint64_t *ret_form, int64_t *ret_constant)
{
	*ret_name = cursor_read_uleb(list);
	*ret_form = cursor_read_uleb(list);
	*ret_constant = *ret_form == FORM_IMPLICIT_CONST ? (int64_t)cursor_read_leb(list, true) : 0;
	return !list->is_past && (*ret_name || *ret_form);
}

static int add(struct abbreviations *table, const struct abbreviation *item)
{
	uint32_t capacity = table->capacity ? table->capacity * 2 : 64;
	struct abbreviation *items;

	if (table->count == table->capacity) {
		items = capacity > table->capacity ? realloc(table->items, capacity * sizeof(*items)) : NULL;
		if (!items)
			return -ENOMEM;
		table->items = items;
		table->capacity = capacity;
	}
	table->items[table->count++] = *item;
	return 0;
}

static int by_code(const void *a, const void *b)
{
	const struct abbreviation *x = a, *y = b;

	if (x->code != y->code)
		return x->code < y->code ? -1 : 1;
	return (x->attributes > y->attributes) - (x->attributes < y->attributes);
}

static void skip_list(struct cursor *list)
{
	uint64_t name, form;
	int64_t constant;

	while (abbreviations_next(list, &name, &form, &constant))
		;
}

int abbreviations_read(struct bytes section, uint64_t offset, struct abbreviations *ret_table)
{
	struct cursor cursor = cursor_at(section, offset);
	struct abbreviations table = { .offset = offset };
	const uint8_t *start = cursor.at;
	bool is_rising = true;
	int failed = 0;

	while (!failed) {
		step_taken(1);
		struct abbreviation item = { .code = cursor_read_uleb(&cursor) };
		if (cursor.is_past || !item.code)
			break;
		item.tag = cursor_read_uleb(&cursor);
		item.has_children = cursor_read(&cursor, 1);
		item.attributes = (uint64_t)(cursor.at - section.at);
		skip_list(&cursor);
		if (cursor.is_past)
			break;
		is_rising = is_rising && (!table.count || table.items[table.count - 1].code < item.code);
		failed = add(&table, &item);
	}
	table.bytes = (uint64_t)(cursor.at - start);
	if (!is_rising)
		sort_items(table.items, table.count, sizeof(*table.items), by_code);
	if (failed)
		abbreviations_free(&table);
	else
		*ret_table = table;
	return failed;
}

void abbreviations_free(struct abbreviations *table)
{
	free(table->items);
	*table = (struct abbreviations){ 0 };
}

const struct abbreviation *abbreviations_find(const struct abbreviations *table, uint64_t code)
{
	uint32_t low = 0, high = table->count;

	if (code && code <= table->count && table->items[code - 1].code == code)
		return &table->items[code - 1];
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (table->items[middle].code < code)
			low = middle + 1;
		else
			high = middle;
	}
	return low < table->count && table->items[low].code == code ? &table->items[low] : NULL;
}
