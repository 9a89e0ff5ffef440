#pragma once
/* request - a request in flight, and the queue of those of one connection that have no answer yet.
 * Context: call. Memory comes from a pool of blocks; a connection that is not pipelined never needs it.
 * Overlap: a queue belongs to who holds its connection's lock.
 */
#include "../base/thread.h"
#include "pool.h"
#include "trace.h"

#include <stdbool.h>
#include <stddef.h>

#define REQUEST_NO_ENDPOINT UINT32_MAX
#define REQUEST_COPIES_MAX (1u << 20) /* as many as a client may pipeline in 16 MiB, without an answer */

struct request {
	uint64_t begin_ns;      /* when its first byte passed */
	uint64_t first_byte_ns; /* when the first byte of its answer passed, 0 = not yet */
	uint64_t body_bytes;    /* of the request, once is_read */
	struct work behalf;     /* asked by the program: the work for which it was asked, and which goes on with the answer */
	uint32_t endpoint;      /* REQUEST_NO_ENDPOINT: its head is not known yet, or broken */
	uint32_t candidate;     /* endpoint.h: its route was never answered before; 0 = endpoint is final */
	uint32_t ordinal;       /* tells it from all other requests of its connection */
	uint32_t copies;        /* so many follow that are like it in all but the ordinal, which counts on: one entry for all */
	uint32_t trace;         /* number of its request_trace, 0 = it brought no ids */
	uint32_t detail;        /* the protocol's own */
	uint16_t status;        /* SQL: of an error that passed before its end, as in the key of a series; 0 = none */
	uint8_t kind;           /* the protocol's own */
	uint8_t method;         /* enum seg_method; HTTP */
	bool is_read;           /* its last byte was received */
	bool is_answered;       /* its response is over while its body is still being received; counted already */
	bool is_broken;         /* could not be parsed */
	bool is_rpc;            /* its endpoint is a method of gRPC */
	bool is_https;          /* its client came over TLS, though this connection has none; FastCGI */
	bool is_active;         /* counted in the gauge of active requests */
	bool opens_stream;      /* after its answer the connection is no more made of requests */
	bool is_stream;         /* its answer is one, counted in the gauge of open streams */
	bool has_no_answer;     /* none will ever come: it is over when its turn comes */
};

enum { REQUESTS_PER_BLOCK = 11 }; /* a block is 0.9 KiB: a connection with all that a protocol keeps stays below 4 KiB */
struct request_block {
	struct pool_link link;
	struct request_block *newer;
	uint32_t first; /* items[first .. end) are in use */
	uint32_t end;
	struct request items[REQUESTS_PER_BLOCK];
};

/* All zero: empty. In order of arrival: lone, then the blocks from the oldest on. */
struct request_queue {
	uint32_t count;
	bool has_lone; /* lone is in use: it was put there when nothing else was waiting */
	struct request lone;
	struct request_block *oldest;
	struct request_block *newest;
};

struct request *request_push_behind(struct request_queue *queue, uint64_t begin_ns);

/* A new request at the queue's end, begun at begin_ns; it keeps its place in memory until it is popped.
 * NULL: the pool is exhausted. */
static inline struct request *request_push(struct request_queue *queue, uint64_t begin_ns)
{
	if (__builtin_expect(queue->count, 0))
		return request_push_behind(queue, begin_ns);
	queue->count = 1;
	queue->has_lone = true;
	queue->lone = (struct request){ .begin_ns = begin_ns, .endpoint = REQUEST_NO_ENDPOINT };
	return &queue->lone;
}

/* The oldest request, NULL if there is none. */
static inline struct request *request_oldest(struct request_queue *queue)
{
	if (queue->has_lone)
		return &queue->lone;
	return queue->oldest ? &queue->oldest->items[queue->oldest->first] : NULL;
}

/* The newest, whose copies new ones may be; NULL if there is none. */
static inline struct request *request_newest(struct request_queue *queue)
{
	if (queue->newest)
		return &queue->newest->items[queue->newest->end - 1];
	return queue->has_lone ? &queue->lone : NULL;
}

/* count more like the newest, request. False: there are too many. */
static inline bool request_repeat(struct request_queue *queue, struct request *request, uint32_t count)
{
	if (count > REQUEST_COPIES_MAX - request->copies)
		return false;
	request->copies += count;
	queue->count += count;
	return true;
}

/* Drops the count oldest: 1, or the oldest and copies of it. They must exist. */
void request_pop_behind(struct request_queue *queue, uint32_t count);

static inline void request_pop_copies(struct request_queue *queue, uint32_t count)
{
	if (queue->count != count || !queue->has_lone) {
		request_pop_behind(queue, count);
		return;
	}
	queue->count = 0;
	queue->has_lone = false;
}

static inline void request_pop(struct request_queue *queue)
{
	request_pop_copies(queue, 1);
}

/* Calls visit with each request, the oldest first, and with argument; with one for all copies. */
void request_each(struct request_queue *queue, void (*visit)(struct request *, void *), void *argument);

/* Keeps a copy of what trace says with the request until request_drop_trace; nothing if the pool is exhausted. */
void request_keep_trace(struct request *request, const struct trace_context *trace);

/* What was kept, NULL = nothing. */
const struct trace_context *request_trace(const struct request *request);
void request_give_trace(struct request *request);

static inline void request_drop_trace(struct request *request)
{
	if (request->trace)
		request_give_trace(request);
}
