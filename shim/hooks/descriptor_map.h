#pragma once
/* descriptor_map - finds the descriptor that belongs to a key: to a session of a TLS library, or to a client's greeting.
 * Context: call. Any threads at once; no lock, no allocation. A map of static storage begins empty.
 *
 * An entry is one word of key and descriptor, so none can be torn. A map holds at most DESCRIPTOR_MAP_ENTRIES; where a
 * new key finds its eight places taken, an old one goes. So what is not found may have been there, and what is found may
 * be out of date: the descriptor may lead elsewhere by now. Both are for the caller to know.
 */
#include <stdatomic.h>
#include <stdint.h>

enum {
	DESCRIPTOR_MAP_SETS = 8192,
	DESCRIPTOR_MAP_WAYS = 8, /* of one set: a cache line */
	DESCRIPTOR_MAP_ENTRIES = DESCRIPTOR_MAP_SETS * DESCRIPTOR_MAP_WAYS,
	DESCRIPTOR_MAP_FD_BITS = 20,
	DESCRIPTOR_MAP_FD_MAX = (1 << DESCRIPTOR_MAP_FD_BITS) - 2,
	DESCRIPTOR_MAP_NONE = -1,                                     /* the key is not there */
	DESCRIPTOR_MAP_CLOSED = (1 << DESCRIPTOR_MAP_FD_BITS) - 1,    /* it is there, and belongs to no descriptor */
};

struct descriptor_map {
	_Alignas(64) _Atomic uint64_t entries[DESCRIPTOR_MAP_SETS][DESCRIPTOR_MAP_WAYS]; /* key << 20 | fd, 0 = free */
};

/* Keys have 44 bits and are not 0. That of a pointer, 0 if it has none: aligned to 8, below 2^47 (user space's end without
 * five-level paging). That of 64 bits already well mixed: two in 2^44 may fall together. */
uint64_t descriptor_map_key_of_pointer(const void *pointer);
uint64_t descriptor_map_key_of_hash(uint64_t hash);

/* A descriptor, or DESCRIPTOR_MAP_NONE or _CLOSED. */
int descriptor_map_find(struct descriptor_map *map, uint64_t key);

/* fd: 0 to DESCRIPTOR_MAP_FD_MAX, or DESCRIPTOR_MAP_CLOSED. */
void descriptor_map_set(struct descriptor_map *map, uint64_t key, int fd);

void descriptor_map_remove(struct descriptor_map *map, uint64_t key);
