#pragma once
/* heap - memory of any size up to HEAP_BYTES_MAX, for a library that insists on malloc and may not have libc's.
 * Context: call. No lock; one system call, mmap, in a quarter of a MiB of new memory. Memory is kept for reuse, never
 * returned.
 * Overlap: any, of any threads and of signal handlers that interrupt them, but realloc and free of the same piece.
 */
#include <stddef.h>

/* Two strings of HPACK (RFC 7541 clause 5.2) of 64 KiB, which libnghttp2 asks for as one, fit well. */
#define HEAP_BYTES_MAX (256u * 1024 - 16)

/* At least n bytes, aligned to 16; NULL: more than HEAP_BYTES_MAX, or the pieces of this size are used up, or there is no
 * memory. heap_alloc(0) is a piece like any other. */
void *heap_alloc(size_t n);

/* The same, all zero. */
void *heap_zalloc(size_t count, size_t n);

/* piece, with n bytes from now on; it may have moved. NULL piece: a new one. NULL: as in heap_alloc; piece is what it
 * was. */
void *heap_realloc(void *piece, size_t n);

/* NULL changes nothing. */
void heap_free(void *piece);
