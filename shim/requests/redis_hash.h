#pragma once
/* redis_hash - where in its table a Redis command is: the same when that is made, while building, and when it is searched.
 * Context: call, and the build. Pure.
 */
#include "redis_commands.h"

#include <string.h>

enum { REDIS_PLACE_BITS = 10, REDIS_PLACES = 1 << REDIS_PLACE_BITS }; /* twice REDIS_COMMANDS_MAX: short probes */

struct redis_command {
	char name[REDIS_NAME_BYTES]; /* padded with zero to whole words, so that a hash and a comparison take a word at a time */
	uint32_t traits;
};

static inline uint32_t redis_hash(const char name[REDIS_NAME_BYTES])
{
	uint64_t words[REDIS_NAME_BYTES / sizeof(uint64_t)];

	memcpy(words, name, sizeof(words));
	uint64_t hash = words[0] * 0x9e3779b97f4a7c15ULL + words[1] * 0xc2b2ae3d27d4eb4fULL;
	if (words[2])
		hash += words[2] * 0x165667b19e3779f9ULL + words[3] * 0x27d4eb2f165667c5ULL;
	hash ^= hash >> 32;
	return (uint32_t)(hash * 0x9e3779b97f4a7c15ULL >> (64 - REDIS_PLACE_BITS));
}

/* Linear probing. */
static inline uint32_t redis_place_after(uint32_t place)
{
	return (place + 1) % REDIS_PLACES;
}
