#pragma once
/* pool - objects of one size, taken and given back without malloc and without a lock.
 * Context: call. One system call, mmap, once in a few hundred objects; memory is kept for reuse, never returned.
 * Overlap: any number of pool_take and pool_give of any threads, and of signal handlers that interrupt them.
 *
 * Memory stays an object of its pool for ever: who still holds a pointer to an object that was given back may read it,
 * and must then find out by its own means that it is another one now.
 */
#include <stdatomic.h>
#include <stdint.h>

#define POOL_CHUNK_BYTES (256u * 1024) /* per mmap, at most: large beside a page, small beside a server */
#define POOL_CHUNKS_MAX 1024u

/* First member of every pooled object; not the object's to touch. */
struct pool_link {
	_Atomic uint32_t next; /* the free object below, as index + 1; 0 = none */
	uint32_t number;       /* this object's index + 1 */
};

struct pool {
	uint32_t object_bytes;
	uint32_t object_max;          /* never more than POOL_CHUNKS_MAX chunks hold */
	uint32_t chunk_shift;         /* a chunk holds 1 << chunk_shift objects */
	_Atomic uint64_t free;        /* tag << 32 | index + 1 of the top of the free objects; the tag defeats ABA */
	_Atomic uint32_t made_count;  /* objects ever handed out, in order of their index */
	_Atomic(char *) chunks[POOL_CHUNKS_MAX];
};

/* A pool for at most max objects of so many bytes, POOL_CHUNK_BYTES at most; of a type. */
#define POOL_OF_BYTES(bytes, max) \
	{ .object_bytes = (bytes), .object_max = (max), .chunk_shift = 31 - __builtin_clz(POOL_CHUNK_BYTES / (bytes)) }
#define POOL_OF(type, max) POOL_OF_BYTES((uint32_t)sizeof(type), max)

/* An object, its link set and the rest as its last owner left it (zero if it had none); NULL: the pool is at its
 * maximum, or there is no memory. */
void *pool_take(struct pool *pool);

/* Zeroes all of an object that was taken but its link. */
void pool_clear(const struct pool *pool, void *object);

void pool_give(struct pool *pool, void *object);

/* The object whose link has this number, which pool_take gave out before. */
void *pool_at(struct pool *pool, uint32_t number);
