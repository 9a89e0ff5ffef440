#pragma once
/* table - a fixed open-addressing table of 64-bit keys, shared by any number of processes.
 * Context: signal. Never waits, never allocates, makes no system call.
 * Overlap: any number of seg_table_find and seg_table_insert with each other and with readers.
 *
 * An entry is an array element whose first member is `_Atomic uint64_t key`; 0 = free. One compare-and-swap claims and
 * publishes it at once, hence no entry is ever half claimed and no writer waits for another.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seg_slots {
	void *entries;
	uint32_t count;  /* a power of two, or any number where the caller hashes by itself */
	uint32_t stride; /* bytes of an entry */
	/* Which parts of the table were ever used, a bit for 1 << mark_shift entries; NULL = not kept. Whoever looks at a part
	 * without a mark makes the kernel find memory for it. */
	_Atomic uint64_t *marks;
	uint32_t mark_shift;
};

/* The entry at index is about to be used. */
void seg_table_mark(const struct seg_slots *slots, uint32_t index);

/* The first index from index on that may be in use; slots->count: none. For walks over all entries. */
uint32_t seg_table_next(const struct seg_slots *slots, uint32_t index);

#define SEG_TABLE_PROBES 64     /* entries looked at before a table counts as full for a key */
#define SEG_NOT_FOUND UINT32_MAX

/* The finalizer of MurmurHash3: every bit of the key moves every bit of the place. */
static inline uint64_t seg_mix(uint64_t key)
{
	key ^= key >> 33;
	key *= 0xff51afd7ed558ccdULL;
	key ^= key >> 33;
	key *= 0xc4ceb9fe1a85ec53ULL;
	return key ^ key >> 33;
}

/* Where key lies if it is in the table and no other was in its way. */
static inline uint32_t seg_table_place(const struct seg_slots *slots, uint64_t key)
{
	return (uint32_t)seg_mix(key) & (slots->count - 1);
}

/* Index of key (not 0), or SEG_NOT_FOUND. */
uint32_t seg_table_find(const struct seg_slots *slots, uint64_t key);

/* Index of key (not 0), claimed now if need be (ret_is_new tells, may be NULL); SEG_NOT_FOUND: full for this key. */
uint32_t seg_table_insert(const struct seg_slots *slots, uint64_t key, bool *ret_is_new);

/* The same, for a key that mostly is there, and at its first place. */
static inline uint32_t seg_table_meet(const struct seg_slots *slots, uint64_t key)
{
	uint32_t index = seg_table_place(slots, key);
	const _Atomic uint64_t *place = (const _Atomic uint64_t *)((const char *)slots->entries + (size_t)index * slots->stride);

	return atomic_load_explicit(place, memory_order_relaxed) == key ? index : seg_table_insert(slots, key, NULL);
}

/* As seg_table_insert, searching from the first entry on, not from the key's hash, and never before first: for tables
 * whose indexes are given out in order. Cost grows with the number of entries; for rare insertions. */
uint32_t seg_table_append(const struct seg_slots *slots, uint32_t first, uint64_t key, bool *ret_is_new);

/* A key for bytes: never 0. Not meant to resist collisions sought on purpose. */
uint64_t seg_key_of_bytes(const void *bytes, uint32_t n, uint64_t seed);
