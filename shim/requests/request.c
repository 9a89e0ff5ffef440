#include "request.h"

/* 16 MiB: half a million requests in flight. A client that pipelines more without reading answers is not followed on. */
static struct pool blocks = POOL_OF(struct request_block, 16384);

static struct request_block *block_append(struct request_queue *queue)
{
	struct request_block *block = pool_take(&blocks);

	if (!block)
		return NULL;
	block->newer = NULL;
	block->first = 0;
	block->end = 0;
	if (queue->newest)
		queue->newest->newer = block;
	else
		queue->oldest = block;
	queue->newest = block;
	return block;
}

static struct request *place_of_next(struct request_queue *queue)
{
	if (!queue->count) {
		queue->has_lone = true;
		return &queue->lone;
	}
	struct request_block *block = queue->newest;
	if (!block || block->end == REQUESTS_PER_BLOCK)
		block = block_append(queue);
	return block ? &block->items[block->end++] : NULL;
}

struct request *request_push(struct request_queue *queue, uint64_t begin_ns)
{
	struct request *request = place_of_next(queue);

	if (!request)
		return NULL;
	queue->count++;
	*request = (struct request){ .begin_ns = begin_ns, .endpoint = REQUEST_NO_ENDPOINT };
	return request;
}

static void drop_oldest_block(struct request_queue *queue)
{
	struct request_block *block = queue->oldest;

	queue->oldest = block->newer;
	if (!queue->oldest)
		queue->newest = NULL;
	pool_give(&blocks, block);
}

void request_pop(struct request_queue *queue)
{
	queue->count--;
	if (queue->has_lone) {
		queue->has_lone = false;
		return;
	}
	struct request_block *block = queue->oldest;
	if (++block->first == block->end)
		drop_oldest_block(queue);
}

void request_each(struct request_queue *queue, void (*visit)(struct request *, int), int argument)
{
	if (queue->has_lone)
		visit(&queue->lone, argument);
	for (struct request_block *block = queue->oldest; block; block = block->newer)
		for (uint32_t i = block->first; i < block->end; i++)
			visit(&block->items[i], argument);
}
