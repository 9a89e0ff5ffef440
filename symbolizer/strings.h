#pragma once
/* strings - the texts a symbolizer gives out: each kept once, none moves or dies before strings_free.
 * Context: any thread; one owner at a time.
 */
#include <stddef.h>
#include <stdint.h>

/* All zero = empty. */
struct strings {
	struct strings_chunk *chunks; /* newest first, owned */
	const char **slots;           /* hash table, a power of two of entries, NULL = free; owned */
	uint32_t slot_count, count;
};

/* The kept copy of text, ended by 0. NULL: no memory. */
const char *strings_keep_n(struct strings *strings, const char *text, size_t n);
const char *strings_keep(struct strings *strings, const char *text);

void strings_free(struct strings *strings);
