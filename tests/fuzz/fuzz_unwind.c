/* Fuzzes the search for the rule of an address in an unwind table whose entry and bytes are anybody's: the handler of each
 * process of the session reads what another one wrote (segment/unwind.h).
 * Input: the entry's place, block_count, shift and row_count, a byte each for the lower part and one for the upper of those
 * that are words, and its base in eight; a count of addresses, and these, eight bytes each, as distances from the base; the
 * rest is the arena. What is found is compared with a plain walk over the rows, where they are in order.
 */
#include "../../shim/segment/unwind.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MODULE = 1, MODULES = 2, ADDRESSES_MAX = 32, WORD_BYTES = 2 };

struct input {
	const uint8_t *bytes;
	size_t n;
};

static uint64_t take(struct input *input, size_t wanted)
{
	uint64_t value = 0;

	for (size_t i = 0; i < wanted && input->n; i++, input->n--)
		value |= (uint64_t)*input->bytes++ << (8 * i);
	return value;
}

/* Small numbers, which lie within, and very large ones, which overflow. */
static uint32_t take_word(struct input *input)
{
	uint32_t value = (uint32_t)take(input, WORD_BYTES);

	return value & 0x8000 ? value << 16 | value : value;
}

/* Memory of their own, so that a sanitizer sees what reads beyond them; nothing of a struct is the segment's but these two. */
static struct seg_view make_view(struct seg_unwind entries[static MODULES], const struct input *arena)
{
	uint32_t pieces = (uint32_t)(arena->n / SEG_UNWIND_PIECE_BYTES);
	struct seg_view view = { .unwind = entries };

	view.unwind_arena = malloc(pieces ? pieces * sizeof(*view.unwind_arena) : 1);
	if (!view.unwind_arena)
		abort();
	memcpy(view.unwind_arena, arena->bytes, pieces * sizeof(*view.unwind_arena));
	view.slots[SEG_TABLE_UNWIND] = (struct seg_slots){ .entries = entries, .count = MODULES, .stride = sizeof(*entries) };
	view.slots[SEG_TABLE_UNWIND_ARENA] = (struct seg_slots){ .entries = view.unwind_arena, .count = pieces, .stride = SEG_UNWIND_PIECE_BYTES };
	return view;
}

/* Of a block whose rows are in order: the last one that begins at or below the address, or the last before the block. */
static void compare_with_plain_walk(const struct seg_unwind_view *table, uint64_t address, uint32_t found)
{
	uint64_t block = (address - table->base) >> table->shift;
	uint32_t low = table->blocks[block], high = table->blocks[block + 1], rows = low;

	for (uint32_t i = low; i + 1 < high; i++)
		if (table->lows[i] > table->lows[i + 1])
			return;
	while (rows < high && table->lows[rows] <= (uint16_t)address)
		rows++;
	if (found != (rows ? table->rules[rows - 1] : SEG_UNWIND_NONE))
		abort();
}

/* Whatever the word is, it can be taken apart. */
static void take_apart(uint32_t word)
{
	volatile int64_t sum = seg_unwind_offset(word) + seg_unwind_deref_offset(word) + seg_unwind_deref_added(word);

	sum = sum + seg_unwind_register_offset(word) + (int64_t)seg_unwind_far_offset(word) + (int64_t)seg_unwind_byte_offset(word);
	if (seg_unwind_kind_of(word) > SEG_UNWIND_SP_FAR_LAST || seg_unwind_bp(word) > SEG_UNWIND_LOST ||
	    seg_unwind_bx(word) > SEG_UNWIND_LOST || seg_unwind_register(word) > 15 || seg_unwind_plt_limit(word) > 15)
		abort();
}

static void look_up(const struct seg_unwind_view *table, uint64_t address)
{
	uint64_t block = (address - table->base) >> table->shift;
	uint32_t word = seg_unwind_find(table, address);

	take_apart(word);
	if (address < table->base || block >= table->block_count) {
		if (word != SEG_UNWIND_NONE)
			abort();
		return;
	}
	if (table->blocks[block] <= table->blocks[block + 1] && table->blocks[block + 1] <= table->row_count)
		compare_with_plain_walk(table, address, word);
	else if (word != SEG_UNWIND_NONE)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct input input = { bytes, n };
	struct seg_unwind entries[MODULES] = { 0 };
	struct seg_unwind *entry = &entries[MODULE];
	struct seg_unwind_view table;
	uint64_t distances[ADDRESSES_MAX];

	entry->state = SEG_UNWIND_READY;
	entry->place = take_word(&input);
	entry->block_count = take_word(&input);
	entry->shift = take_word(&input);
	entry->row_count = take_word(&input);
	entry->base = take(&input, sizeof(entry->base));
	uint32_t count = (uint32_t)take(&input, 1) % ADDRESSES_MAX;
	for (uint32_t i = 0; i < count; i++)
		distances[i] = take(&input, sizeof(distances[i]));

	struct seg_view view = make_view(entries, &input);
	if (seg_unwind_open(&view, 0, &table) || seg_unwind_open(&view, MODULES, &table))
		abort(); /* no table, no entry */
	bool is_open = seg_unwind_open(&view, MODULE, &table);
	if (is_open && table.shift > 16)
		abort(); /* wider blocks than half words tell apart */
	if (is_open)
		for (uint32_t i = 0; i < count; i++)
			look_up(&table, entry->base + distances[i]);
	free(view.unwind_arena);
	return 0;
}
