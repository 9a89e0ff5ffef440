/* A pool for each power of two. What a pool keeps of an object stands before the piece, and beside it which pool that is,
 * so that free needs no search. Powers of two waste a quarter on the average, which matters little: an HTTP/2 connection
 * takes some ten KiB from here.
 */
#include "heap.h"

#include "pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* What stands before each piece. */
struct heap_head {
	struct pool_link link;
	uint32_t size; /* index into sizes */
	uint32_t reserved;
};

enum {
	HEAD_BYTES = sizeof(struct heap_head),
	SMALLEST_SHIFT = 5, /* 32 bytes */
	POWERS = 12,        /* 32 bytes .. 64 KiB; beyond, one size that is as large as a pool's chunk */
	SIZES = POWERS + 1,
};
_Static_assert(sizeof(struct heap_head) == 16, "pieces are aligned to 16");
_Static_assert(HEAP_BYTES_MAX + sizeof(struct heap_head) == POOL_CHUNK_BYTES, "the largest size fills a chunk");

/* 64 MiB of each size: the tables of some five thousand connections that fill them with the smallest fields there are,
 * or of fifty thousand usual ones. */
#define SIZE_MAX_BYTES (64u * 1024 * 1024)

#define HEAP_POOL(bytes) POOL_OF_BYTES((bytes) + HEAD_BYTES, SIZE_MAX_BYTES / ((bytes) + HEAD_BYTES))
static struct pool sizes[SIZES] = {
	HEAP_POOL(1u << 5), HEAP_POOL(1u << 6), HEAP_POOL(1u << 7), HEAP_POOL(1u << 8), HEAP_POOL(1u << 9),
	HEAP_POOL(1u << 10), HEAP_POOL(1u << 11), HEAP_POOL(1u << 12), HEAP_POOL(1u << 13), HEAP_POOL(1u << 14),
	HEAP_POOL(1u << 15), HEAP_POOL(1u << 16), HEAP_POOL(HEAP_BYTES_MAX),
};

static uint32_t size_for(size_t n)
{
	if (n <= 1u << SMALLEST_SHIFT)
		return 0;
	uint32_t shift = 64 - (uint32_t)__builtin_clzll(n - 1);
	return shift < SMALLEST_SHIFT + POWERS ? shift - SMALLEST_SHIFT : POWERS;
}

static struct heap_head *head_of(void *piece)
{
	return (struct heap_head *)((char *)piece - HEAD_BYTES);
}

void *heap_alloc(size_t n)
{
	if (n > HEAP_BYTES_MAX)
		return NULL;
	uint32_t size = size_for(n);
	struct heap_head *head = pool_take(&sizes[size]);
	if (!head)
		return NULL;
	head->size = size;
	return (char *)head + HEAD_BYTES;
}

void *heap_zalloc(size_t count, size_t n)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, n, &bytes))
		return NULL;
	void *piece = heap_alloc(bytes);
	return piece ? memset(piece, 0, bytes) : NULL;
}

void *heap_realloc(void *piece, size_t n)
{
	if (!piece)
		return heap_alloc(n);
	size_t room = sizes[head_of(piece)->size].object_bytes - HEAD_BYTES;
	if (n <= room)
		return piece;
	void *larger = heap_alloc(n);
	if (!larger)
		return NULL;
	memcpy(larger, piece, room);
	heap_free(piece);
	return larger;
}

void heap_free(void *piece)
{
	if (!piece)
		return;
	struct heap_head *head = head_of(piece);
	pool_give(&sizes[head->size], head);
}
