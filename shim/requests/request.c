#include "request.h"

/* 43 MiB: half a million requests in flight. A client that pipelines more without reading answers is not followed on. */
static struct pool blocks = POOL_OF(struct request_block, 49152);

struct kept_trace {
	struct pool_link link;
	struct trace_context context;
};

/* Of requests that wait for their answer. */
static struct pool traces = POOL_OF(struct kept_trace, 65536);

void request_keep_trace(struct request *request, const struct trace_context *trace)
{
	struct kept_trace *kept = request->trace ? pool_at(&traces, request->trace) : pool_take(&traces);

	if (!kept)
		return;
	kept->context = *trace;
	request->trace = kept->link.number;
}

const struct trace_context *request_trace(const struct request *request)
{
	struct kept_trace *kept = request->trace ? pool_at(&traces, request->trace) : NULL;

	return kept ? &kept->context : NULL;
}

void request_give_trace(struct request *request)
{
	pool_give(&traces, pool_at(&traces, request->trace));
	request->trace = 0;
}

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

struct request *request_push_behind(struct request_queue *queue, uint64_t begin_ns)
{
	struct request_block *block = queue->newest;

	if (!block || block->end == REQUESTS_PER_BLOCK)
		block = block_append(queue);
	if (!block)
		return NULL;
	struct request *request = &block->items[block->end++];
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

/* The next one has what the oldest had before its answer began. */
static void shorten(struct request *oldest, uint32_t count)
{
	oldest->copies -= count;
	oldest->ordinal += count;
	oldest->first_byte_ns = 0;
	oldest->is_answered = false;
}

void request_pop_behind(struct request_queue *queue, uint32_t count)
{
	struct request *oldest = request_oldest(queue);

	queue->count -= count;
	if (count <= oldest->copies) {
		shorten(oldest, count);
		return;
	}
	if (queue->has_lone) {
		queue->has_lone = false;
		return;
	}
	struct request_block *block = queue->oldest;
	if (++block->first == block->end)
		drop_oldest_block(queue);
}

void request_each(struct request_queue *queue, void (*visit)(struct request *, void *), void *argument)
{
	if (queue->has_lone)
		visit(&queue->lone, argument);
	for (struct request_block *block = queue->oldest; block; block = block->newer)
		for (uint32_t i = block->first; i < block->end; i++)
			visit(&block->items[i], argument);
}
