/* A table is an array; a key's first place is given by its hash, and it lies there or in one of the next
 * SEG_TABLE_PROBES - 1 entries. Entries are never freed, so a free entry ends a search, and the only race is two writers
 * after one free entry: the loser of the compare-and-swap looks whether the winner brought the same key, else goes on.
 */
#include "table.h"

#include <string.h>

static _Atomic uint64_t *entry_key(const struct seg_slots *slots, uint32_t index)
{
	return (_Atomic uint64_t *)((char *)slots->entries + (size_t)index * slots->stride);
}

uint32_t seg_table_find(const struct seg_slots *slots, uint64_t key)
{
	uint32_t mask = slots->count - 1;
	uint32_t index = seg_table_place(slots, key);

	for (uint32_t probe = 0; probe < SEG_TABLE_PROBES && probe <= mask; probe++) {
		uint64_t seen = atomic_load_explicit(entry_key(slots, index), memory_order_relaxed);
		if (seen == key)
			return index;
		if (seen == 0)
			return SEG_NOT_FOUND;
		index = (index + 1) & mask;
	}
	return SEG_NOT_FOUND;
}

void seg_table_mark(const struct seg_slots *slots, uint32_t index)
{
	if (!slots->marks)
		return;
	uint32_t part = index >> slots->mark_shift;
	_Atomic uint64_t *word = &slots->marks[part / 64];
	uint64_t bit = 1ULL << part % 64;
	if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

uint32_t seg_table_next(const struct seg_slots *slots, uint32_t index)
{
	while (slots->marks && index < slots->count) {
		uint32_t part = index >> slots->mark_shift;
		uint64_t rest = atomic_load_explicit(&slots->marks[part / 64], memory_order_relaxed) >> part % 64;
		if (rest & 1)
			return index;
		uint32_t skipped = rest ? (uint32_t)__builtin_ctzll(rest) : 64 - part % 64;
		index = (part + skipped) << slots->mark_shift;
	}
	return index < slots->count ? index : slots->count;
}

/* Puts key into the entry at index if that is free. True: the entry now holds key. */
static bool claim(const struct seg_slots *slots, uint32_t index, uint64_t key, bool *ret_is_new)
{
	_Atomic uint64_t *place = entry_key(slots, index);
	uint64_t seen = atomic_load_explicit(place, memory_order_relaxed);

	/* Marked first: a writer killed in between leaves a mark too many, never an entry that no reader sees. */
	if (seen == 0)
		seg_table_mark(slots, index);
	if (seen == 0 && atomic_compare_exchange_strong_explicit(place, &seen, key, memory_order_relaxed, memory_order_relaxed)) {
		if (ret_is_new)
			*ret_is_new = true;
		return true;
	}
	return seen == key;
}

uint32_t seg_table_insert(const struct seg_slots *slots, uint64_t key, bool *ret_is_new)
{
	uint32_t mask = slots->count - 1;
	uint32_t index = seg_table_place(slots, key);

	if (ret_is_new)
		*ret_is_new = false;
	for (uint32_t probe = 0; probe < SEG_TABLE_PROBES && probe <= mask; probe++) {
		if (claim(slots, index, key, ret_is_new))
			return index;
		index = (index + 1) & mask;
	}
	return SEG_NOT_FOUND;
}

uint32_t seg_table_append(const struct seg_slots *slots, uint32_t first, uint64_t key, bool *ret_is_new)
{
	if (ret_is_new)
		*ret_is_new = false;
	for (uint32_t index = first; index < slots->count; index++)
		if (claim(slots, index, key, ret_is_new))
			return index;
	return SEG_NOT_FOUND;
}

uint64_t seg_key_of_bytes(const void *bytes, uint32_t n, uint64_t seed)
{
	const unsigned char *next = bytes;
	uint64_t key = seg_mix(seed + n + 1);

	for (; n >= 8; n -= 8, next += 8) {
		uint64_t word;
		memcpy(&word, next, sizeof(word));
		key = seg_mix(key ^ word);
	}
	uint64_t tail = 0;
	memcpy(&tail, next, n);
	key = seg_mix(key ^ tail);
	return key ? key : 1;
}
