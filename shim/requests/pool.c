/* Free objects form a stack that is popped and pushed by compare-and-swap on one word; the upper half of the word counts
 * the changes, so that a pop which slept through others fails instead of installing a stale successor. When the stack is
 * empty, the next object never used before is handed out, and a chunk is mapped when that object begins one.
 */
#include "pool.h"

#include "../base/own_memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

/* A power of two of objects in each chunk, since a division takes longer than all else that is done here. */
static struct pool_link *object_at(struct pool *pool, uint32_t index)
{
	char *chunk = atomic_load_explicit(&pool->chunks[index >> pool->chunk_shift], memory_order_acquire);
	uint32_t place = index & ((1u << pool->chunk_shift) - 1);

	return (struct pool_link *)(chunk + (size_t)place * pool->object_bytes);
}

/* Makes sure that the chunk of the object at index is mapped. Two who map it at once: the second takes its own back. */
static bool chunk_is_there(struct pool *pool, uint32_t index)
{
	uint32_t number = index >> pool->chunk_shift;
	size_t bytes = (size_t)pool->object_bytes << pool->chunk_shift;
	char *nothing = NULL;

	if (number >= POOL_CHUNKS_MAX)
		return false;
	if (atomic_load_explicit(&pool->chunks[number], memory_order_acquire))
		return true;
	char *chunk = own_memory_map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (chunk == MAP_FAILED)
		return false;
	if (!atomic_compare_exchange_strong_explicit(&pool->chunks[number], &nothing, chunk, memory_order_release,
						     memory_order_relaxed))
		own_memory_unmap(chunk, bytes);
	return true;
}

static void *take_new(struct pool *pool)
{
	uint32_t index = atomic_load_explicit(&pool->made_count, memory_order_relaxed);

	do {
		if (index >= pool->object_max || !chunk_is_there(pool, index))
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(&pool->made_count, &index, index + 1, memory_order_relaxed,
							memory_order_relaxed));
	struct pool_link *object = object_at(pool, index);
	object->number = index + 1;
	return object;
}

void *pool_take(struct pool *pool)
{
	uint64_t top = atomic_load_explicit(&pool->free, memory_order_acquire);

	while ((uint32_t)top) {
		struct pool_link *object = object_at(pool, (uint32_t)top - 1);
		uint64_t below = atomic_load_explicit(&object->next, memory_order_relaxed);
		uint64_t tag = (top >> 32) + 1;
		if (atomic_compare_exchange_weak_explicit(&pool->free, &top, tag << 32 | below, memory_order_acquire,
							  memory_order_acquire))
			return object;
	}
	return take_new(pool);
}

void pool_clear(const struct pool *pool, void *object)
{
	memset((char *)object + sizeof(struct pool_link), 0, pool->object_bytes - sizeof(struct pool_link));
}

void pool_give(struct pool *pool, void *object)
{
	struct pool_link *link = object;
	uint64_t top = atomic_load_explicit(&pool->free, memory_order_relaxed);
	uint64_t next;

	do {
		atomic_store_explicit(&link->next, (uint32_t)top, memory_order_relaxed);
		next = ((top >> 32) + 1) << 32 | link->number;
	} while (!atomic_compare_exchange_weak_explicit(&pool->free, &top, next, memory_order_release,
							memory_order_relaxed));
}

void *pool_at(struct pool *pool, uint32_t number)
{
	return object_at(pool, number - 1);
}
