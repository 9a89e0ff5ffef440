#include "strings.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* 64 KiB: some thousand names; a longer text gets a chunk of its own. */
enum { STRINGS_CHUNK_BYTES = 64 * 1024, STRINGS_FIRST_SLOTS = 128 };

struct strings_chunk {
	struct strings_chunk *next;
	size_t used, size;
	char bytes[];
};

/* FNV-1a, 64 bit. */
static uint64_t hash_bytes(const char *text, size_t n)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3ULL;
	return hash ^ hash >> 32;
}

static char *take_bytes(struct strings *strings, size_t n)
{
	struct strings_chunk *chunk = strings->chunks;

	if (!chunk || chunk->size - chunk->used < n) {
		size_t size = n > STRINGS_CHUNK_BYTES ? n : STRINGS_CHUNK_BYTES;

		chunk = malloc(sizeof(*chunk) + size);
		if (!chunk)
			return NULL;
		*chunk = (struct strings_chunk){ .next = strings->chunks, .size = size };
		strings->chunks = chunk;
	}
	chunk->used += n;
	return chunk->bytes + chunk->used - n;
}

/* The slot that holds the text, or the free one where it belongs. The table is never full. */
static const char **find_slot(const struct strings *strings, const char *text, size_t n)
{
	uint32_t index = (uint32_t)hash_bytes(text, n) & (strings->slot_count - 1);

	for (;; index = (index + 1) & (strings->slot_count - 1)) {
		const char *seen = strings->slots[index];

		if (!seen || (strncmp(seen, text, n) == 0 && seen[n] == '\0'))
			return &strings->slots[index];
	}
}

static bool grow_slots(struct strings *strings)
{
	struct strings grown = { .slot_count = strings->slot_count ? strings->slot_count * 2 : STRINGS_FIRST_SLOTS };

	grown.slots = calloc(grown.slot_count, sizeof(*grown.slots));
	if (!grown.slots)
		return false;
	for (uint32_t i = 0; i < strings->slot_count; i++) {
		const char *text = strings->slots[i];

		if (text)
			*find_slot(&grown, text, strlen(text)) = text;
	}
	free(strings->slots);
	strings->slots = grown.slots;
	strings->slot_count = grown.slot_count;
	return true;
}

const char *strings_keep_n(struct strings *strings, const char *text, size_t n)
{
	const char **slot;
	char *copy;

	if (strings->count >= strings->slot_count / 2 && !grow_slots(strings))
		return NULL;
	n = strnlen(text, n);
	slot = find_slot(strings, text, n);
	if (*slot)
		return *slot;
	copy = take_bytes(strings, n + 1);
	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	strings->count++;
	*slot = copy;
	return copy;
}

const char *strings_keep(struct strings *strings, const char *text)
{
	return strings_keep_n(strings, text, strlen(text));
}

void strings_free(struct strings *strings)
{
	while (strings->chunks) {
		struct strings_chunk *chunk = strings->chunks;

		strings->chunks = chunk->next;
		free(chunk);
	}
	free(strings->slots);
	*strings = (struct strings){ 0 };
}
