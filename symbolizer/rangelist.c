#include "rangelist.h"

enum { ADDRESS_BYTES = sizeof(void *) };

/* Kinds of entries by their names in the standard (DWARF 5, 7.25). */
enum {
	RLE_END_OF_LIST,
	RLE_BASE_ADDRESSX,
	RLE_STARTX_ENDX,
	RLE_STARTX_LENGTH,
	RLE_OFFSET_PAIR,
	RLE_BASE_ADDRESS,
	RLE_START_END,
	RLE_START_LENGTH,
};

/* Functions that the linker left out are said to begin at 0, at 1 in .debug_ranges (GNU ld, as 0 would end the list), or
 * at the highest addresses (lld). */
int rangelist_add(struct spans *spans, uint64_t start, uint64_t end, uint32_t id)
{
	return start <= 1 || start >= UINT64_MAX - 1 ? 0 : spans_add(spans, start, end, id);
}

/* Pairs of addresses, relative to a base that a pair with the highest address sets. Two zeros end the list. */
static int read_4(struct cursor cursor, uint64_t base, struct spans *spans, uint32_t id)
{
	const uint64_t highest = UINTPTR_MAX;

	for (;;) {
		uint64_t start = cursor_read(&cursor, ADDRESS_BYTES), end = cursor_read(&cursor, ADDRESS_BYTES);
		int failed = 0;

		if (cursor.is_past || (start == 0 && end == 0))
			return 0;
		if (start == highest)
			base = end;
		else
			failed = rangelist_add(spans, base + start, base + end, id);
		if (failed)
			return failed;
	}
}

/* 0 where there is no such address. */
static uint64_t address_at(const struct rangelist_sections *sections, const struct rangelist_unit *unit, uint64_t index)
{
	struct cursor cursor;

	if (index > sections->addr.size / ADDRESS_BYTES || unit->addr_base > sections->addr.size)
		return 0;
	cursor = cursor_at(sections->addr, unit->addr_base + index * ADDRESS_BYTES);
	return cursor_read(&cursor, ADDRESS_BYTES);
}

/* Reads one entry. False: the list ends here. A range of no length says nothing. */
static bool read_entry_5(struct cursor *cursor, const struct rangelist_sections *sections, const struct rangelist_unit *unit,
                         uint64_t *base, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t start = 0, end = 0;

	switch (cursor_read(cursor, 1)) {
	case RLE_BASE_ADDRESSX:
		*base = address_at(sections, unit, cursor_read_uleb(cursor));
		break;
	case RLE_STARTX_ENDX:
		start = address_at(sections, unit, cursor_read_uleb(cursor));
		end = address_at(sections, unit, cursor_read_uleb(cursor));
		break;
	case RLE_STARTX_LENGTH:
		start = address_at(sections, unit, cursor_read_uleb(cursor));
		end = start + cursor_read_uleb(cursor);
		break;
	case RLE_OFFSET_PAIR:
		start = *base + cursor_read_uleb(cursor);
		end = *base + cursor_read_uleb(cursor);
		break;
	case RLE_BASE_ADDRESS:
		*base = cursor_read(cursor, ADDRESS_BYTES);
		break;
	case RLE_START_END:
		start = cursor_read(cursor, ADDRESS_BYTES);
		end = cursor_read(cursor, ADDRESS_BYTES);
		break;
	case RLE_START_LENGTH:
		start = cursor_read(cursor, ADDRESS_BYTES);
		end = start + cursor_read_uleb(cursor);
		break;
	default: /* RLE_END_OF_LIST, or nothing known */
		return false;
	}
	*ret_start = start;
	*ret_end = end;
	return !cursor->is_past;
}

static int read_5(struct cursor cursor, const struct rangelist_sections *sections, const struct rangelist_unit *unit,
                  struct spans *spans, uint32_t id)
{
	uint64_t base = unit->base, start, end;
	int failed = 0;

	while (!failed && read_entry_5(&cursor, sections, unit, &base, &start, &end))
		failed = rangelist_add(spans, start, end, id);
	return failed;
}

int rangelist_read(const struct rangelist_sections *sections, const struct rangelist_unit *unit, uint32_t version,
                   uint64_t offset, struct spans *spans, uint32_t id)
{
	if (version >= 5)
		return read_5(cursor_at(sections->rnglists, offset), sections, unit, spans, id);
	return read_4(cursor_at(sections->ranges, offset), unit->base, spans, id);
}

/* The unit's base is where its offsets stand, and what these count from. */
int rangelist_read_indexed(const struct rangelist_sections *sections, const struct rangelist_unit *unit, uint64_t index,
                           struct spans *spans, uint32_t id)
{
	struct cursor cursor;

	if (index > sections->rnglists.size / unit->offset_bytes || unit->rnglists_base > sections->rnglists.size)
		return 0;
	cursor = cursor_at(sections->rnglists, unit->rnglists_base + index * unit->offset_bytes);
	return rangelist_read(sections, unit, 5, unit->rnglists_base + cursor_read(&cursor, unit->offset_bytes), spans, id);
}
