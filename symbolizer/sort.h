#pragma once
/* sort - in place of qsort(3), which takes memory from the program's malloc: that keeps it, and from pieces that were large
 * concludes what to keep of the program's own (mallopt(3), M_MMAP_THRESHOLD).
 * Context: whoever uses the symbolizer.
 */
#include <stddef.h>

/* Equal items stay in their order. Told of by step_taken. */
void sort_items(void *items, size_t count, size_t item_bytes, int (*compare)(const void *, const void *));
void sort_items_with(void *items, size_t count, size_t item_bytes, int (*compare)(const void *, const void *, void *), void *context);
