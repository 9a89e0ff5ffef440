#include "descriptor_map.h"

#include <stddef.h>

#define KEY_BITS (64 - DESCRIPTOR_MAP_FD_BITS)
#define KEY_MASK ((1ULL << KEY_BITS) - 1)
#define FD_MASK ((1ULL << DESCRIPTOR_MAP_FD_BITS) - 1)
#define POINTER_BITS 47
#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL /* 2^64 divided by the golden ratio: neighbours go far apart */

uint64_t descriptor_map_key_of_pointer(const void *pointer)
{
	uint64_t address = (uintptr_t)pointer;

	return address >> POINTER_BITS || address & 7 ? 0 : address >> 3;
}

uint64_t descriptor_map_key_of_hash(uint64_t hash)
{
	uint64_t key = hash & KEY_MASK;

	return key ? key : 1;
}

static _Atomic uint64_t *set_of(struct descriptor_map *map, uint64_t key)
{
	return map->entries[key * GOLDEN_RATIO >> 51]; /* the upper 13 bits: DESCRIPTOR_MAP_SETS */
}
_Static_assert(DESCRIPTOR_MAP_SETS == 1 << (64 - 51), "a set is chosen by the upper bits of the product");

static _Atomic uint64_t *entry_of(struct descriptor_map *map, uint64_t key)
{
	_Atomic uint64_t *set = set_of(map, key);

	for (int way = 0; way < DESCRIPTOR_MAP_WAYS; way++)
		if (atomic_load_explicit(&set[way], memory_order_relaxed) >> DESCRIPTOR_MAP_FD_BITS == key)
			return &set[way];
	return NULL;
}

int descriptor_map_find(struct descriptor_map *map, uint64_t key)
{
	_Atomic uint64_t *set = set_of(map, key);

	for (int way = 0; way < DESCRIPTOR_MAP_WAYS; way++) {
		uint64_t entry = atomic_load_explicit(&set[way], memory_order_relaxed);
		if (entry >> DESCRIPTOR_MAP_FD_BITS == key)
			return (int)(entry & FD_MASK);
	}
	return DESCRIPTOR_MAP_NONE;
}

void descriptor_map_set(struct descriptor_map *map, uint64_t key, int fd)
{
	uint64_t word = key << DESCRIPTOR_MAP_FD_BITS | (uint64_t)fd;
	_Atomic uint64_t *present = entry_of(map, key);
	_Atomic uint64_t *set = set_of(map, key);

	if (present) {
		atomic_store_explicit(present, word, memory_order_relaxed);
		return;
	}
	for (int way = 0; way < DESCRIPTOR_MAP_WAYS; way++) {
		uint64_t nobody = 0;
		if (atomic_compare_exchange_strong_explicit(&set[way], &nobody, word, memory_order_relaxed, memory_order_relaxed))
			return;
	}
	/* By its own key's bits, so that two that are used in turn do not drive each other out every time. */
	atomic_store_explicit(&set[key % DESCRIPTOR_MAP_WAYS], word, memory_order_relaxed);
}

void descriptor_map_remove(struct descriptor_map *map, uint64_t key)
{
	_Atomic uint64_t *set = set_of(map, key);

	/* All: two threads that set a key at once may both have found a free place. */
	for (int way = 0; way < DESCRIPTOR_MAP_WAYS; way++) {
		uint64_t entry = atomic_load_explicit(&set[way], memory_order_relaxed);
		if (entry >> DESCRIPTOR_MAP_FD_BITS == key)
			atomic_compare_exchange_strong_explicit(&set[way], &entry, 0, memory_order_relaxed, memory_order_relaxed);
	}
}
