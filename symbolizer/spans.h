#pragma once
/* spans - address ranges with a number each, found by binary search.
 * Context: any thread; one owner at a time.
 * Symbols, frames, compile units, functions and line sequences are all kept so. Where spans overlap, the one that
 * begins last wins, and of those that begin together the shortest: the innermost, in files that nest properly.
 */
#include <stddef.h>
#include <stdint.h>

struct span {
	uint64_t start, end; /* end: one past the last address */
	uint64_t reach;      /* the highest end of this span and all before it; set by spans_sort */
	uint32_t id;
};

/* All zero = empty. */
struct spans {
	struct span *items; /* owned */
	uint32_t count, capacity;
};

int spans_add(struct spans *spans, uint64_t start, uint64_t end, uint32_t id); /* 0 or -ENOMEM; an empty range is left out */
void spans_sort(struct spans *spans); /* once, after the last spans_add and before the first spans_find */

/* The innermost span that contains address, NULL = none. */
const struct span *spans_find(const struct spans *spans, uint64_t address);

size_t spans_bytes(const struct spans *spans);
void spans_free(struct spans *spans);
