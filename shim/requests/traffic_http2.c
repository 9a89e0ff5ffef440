/* HTTP/2: each stream is a request (RFC 9113 clause 8.1). It begins with the first byte of its HEADERS and ends with the
 * last byte of its answer, or when either side resets it. The streams of a connection are found by their number in a table
 * that grows with them, and are linked in the order in which they began.
 *
 * Whose work it is. A stream that is alone is what its thread works for. Of several, a server may take any one next, on any
 * of its threads: so what threads do then is kept back until they answer, and whose frames they send tells. If those are
 * several streams', it is one of them, drawn by lot. Where a thread other than the one that reads has answered once, a
 * stream that is alone tells nothing of who works for it, either.
 *
 * gRPC (its protocol over HTTP/2, PROTOCOL-HTTP2.md): a request of content type application/grpc, whose status is the
 * field grpc-status of the trailers, or of the head if there is nothing else. A call that ends without one gets the status
 * that gRPC's own clients make of what they see instead.
 */
#include "traffic_http2.h"

#include "heap.h"
#include "http2.h"
#include "listing.h"

#include <string.h>

enum {
	BUCKETS_FIRST = 32,      /* 128 bytes */
	BUCKETS_MAX = 32 * 1024, /* 128 KiB, in the largest piece of the heap but one */
	SPARES_MAX = 8,
	UPGRADED_STREAM = 1,
};

struct stream {
	struct pool_link link;
	uint32_t id;
	uint32_t in_bucket;      /* the next one of the same bucket, as link.number; 0 = none */
	struct stream *older;    /* NULL = this is the oldest, or newest */
	struct stream *newer;
	struct request request;
	uint64_t response_bytes;
	uint32_t reader;         /* tid of the thread that received its head */
	struct seg_connection *listing;      /* NULL = none */
	struct seg_connection *last_listing; /* of the stream that it was before */
	uint16_t status;         /* :status, 0 = not yet */
	uint8_t grpc_status;     /* HTTP2_GRPC_STATUS_NONE = not yet */
	bool has_head;
	bool is_connect;         /* its answer's body is a stream of something else */
	bool is_event_stream;
	/* The program asks, and what it asked is not told yet: the thread that sends is behind the one that receives. */
	bool is_early;
	bool is_early_reset;
	uint32_t early_code;
	uint64_t early_end_ns;   /* when the answer ended or was reset, 0 = not yet */
};

/* 64 MiB: a quarter of a million streams in flight. */
#define STREAMS_BYTES_MAX (64u * 1024 * 1024)
static struct pool streams = POOL_OF(struct stream, STREAMS_BYTES_MAX / sizeof(struct stream));

struct lent_room {
	struct pool_link link;
	struct http2_room room;
};

/* 16 MiB: header blocks that are half there at the same time. */
static struct pool lent = POOL_OF(struct lent_room, 16u * 1024 * 1024 / sizeof(struct lent_room));

/* What traffic keeps of a connection that speaks HTTP/2. */
struct http2_conn {
	struct http2 asked;
	struct http2 answered;
	uint32_t *buckets;        /* owns; of streams by their number: link.number of the first, 0 = none */
	uint32_t bucket_count;    /* a power of two */
	uint32_t stream_count;
	uint32_t unanswered_count;
	uint32_t last_asked;      /* the newest stream of the client's, whether it is followed or not */
	uint32_t last_promised;
	struct stream *oldest;
	struct stream *newest;
	struct stream *last;      /* found or added, NULL = it is gone: frames of a stream often follow each other */
	struct stream *spares;    /* linked by newer: for those to come */
	uint32_t spare_count;
	uint64_t frame_ns;        /* when the frame being asked began, if that was in a call before */
	uint32_t told_stream;     /* in this call: the one whose answer's frame passed last, 0 = none yet */
	uint32_t told_count;      /* in this call: of streams one after the other; one may count several times */
	uint32_t random;
	bool has_begun;
	bool is_handed_on;        /* other threads answer than the one that reads */
};

static struct http2_conn *state_of(struct conn *conn)
{
	return traffic_state(conn, struct http2_conn);
}

/* streams */

static uint32_t *bucket_of(const struct http2_conn *http, uint32_t id)
{
	/* The client's are odd, the server's even: each counts up by two. */
	return &http->buckets[(id >> 1) & (http->bucket_count - 1)];
}

static struct stream *stream_of(uint32_t number)
{
	return number ? pool_at(&streams, number) : NULL;
}

static __attribute__((noinline)) struct stream *stream_look_for(struct http2_conn *http, uint32_t id)
{
	struct stream *stream = http->bucket_count ? stream_of(*bucket_of(http, id)) : NULL;

	while (stream && stream->id != id)
		stream = stream_of(stream->in_bucket);
	if (stream)
		http->last = stream;
	return stream;
}

static inline struct stream *stream_find(struct http2_conn *http, uint32_t id)
{
	return http->last && http->last->id == id ? http->last : stream_look_for(http, id);
}

static void bucket_push(struct http2_conn *http, struct stream *stream)
{
	uint32_t *bucket = bucket_of(http, stream->id);

	stream->in_bucket = *bucket;
	*bucket = stream->link.number;
}

static void bucket_remove(struct http2_conn *http, struct stream *stream)
{
	uint32_t *place = bucket_of(http, stream->id);

	while (*place != stream->link.number)
		place = &stream_of(*place)->in_bucket;
	*place = stream->in_bucket;
}

/* Twice as many buckets, if there is memory for them: without they are still found, only later. */
static void buckets_grow(struct http2_conn *http)
{
	uint32_t count = http->bucket_count * 2;
	uint32_t *buckets = heap_zalloc(count, sizeof(*buckets));

	if (!buckets)
		return;
	heap_free(http->buckets);
	http->buckets = buckets;
	http->bucket_count = count;
	for (struct stream *stream = http->oldest; stream; stream = stream->newer)
		bucket_push(http, stream);
}

static void link_newest(struct http2_conn *http, struct stream *stream)
{
	stream->older = http->newest;
	stream->newer = NULL;
	if (http->newest)
		http->newest->newer = stream;
	else
		http->oldest = stream;
	http->newest = stream;
}

static void stream_unlink(struct http2_conn *http, struct stream *stream)
{
	if (stream->older)
		stream->older->newer = stream->newer;
	else
		http->oldest = stream->newer;
	if (stream->newer)
		stream->newer->older = stream->older;
	else
		http->newest = stream->older;
}

/* A few of them go round on each connection, without the pool. */
static struct stream *stream_take(struct http2_conn *http)
{
	struct stream *stream = http->spares;

	if (!stream)
		return pool_take(&streams);
	http->spares = stream->newer;
	http->spare_count--;
	return stream;
}

static void stream_give(struct http2_conn *http, struct stream *stream)
{
	if (http->spare_count == SPARES_MAX) {
		pool_give(&streams, stream);
		return;
	}
	stream->newer = http->spares;
	http->spares = stream;
	http->spare_count++;
}

static void spares_give_back(struct http2_conn *http)
{
	for (struct stream *stream; (stream = http->spares);) {
		http->spares = stream->newer;
		pool_give(&streams, stream);
	}
	http->spare_count = 0;
}

/* NULL: the pool is exhausted. */
static struct stream *stream_add(struct http2_conn *http, uint32_t id)
{
	struct stream *stream = stream_take(http);

	if (!stream)
		return NULL;
	struct seg_connection *last_listing = stream->last_listing;
	pool_clear(&streams, stream);
	stream->id = id;
	stream->last_listing = last_listing;
	stream->grpc_status = HTTP2_GRPC_STATUS_NONE;
	stream->request.endpoint = REQUEST_NO_ENDPOINT;
	if (http->stream_count >= http->bucket_count * 2 && http->bucket_count < BUCKETS_MAX)
		buckets_grow(http);
	bucket_push(http, stream);
	link_newest(http, stream);
	http->last = stream;
	http->stream_count++;
	http->unanswered_count++;
	return stream;
}

/* Gives it back, uncounted. */
static void stream_remove(struct conn *conn, struct stream *stream)
{
	struct http2_conn *http = state_of(conn);

	if (!stream->request.is_answered)
		http->unanswered_count--;
	traffic_drop(conn, &stream->request);
	listing_release(stream->listing);
	bucket_remove(http, stream);
	stream_unlink(http, stream);
	http->stream_count--;
	if (http->last == stream)
		http->last = NULL;
	stream_give(http, stream);
}

static void stream_list(struct conn *conn, struct stream *stream)
{
	stream->listing = listing_claim_again(stream->last_listing, SEG_CONNECTION_STREAM, conn->fd, stream->request.begin_ns);
	stream->last_listing = stream->listing;
	struct seg_connection *entry = stream->listing;
	if (!entry)
		return;
	atomic_store_explicit(&entry->protocol, stream->request.is_rpc ? SEG_PROTOCOL_GRPC : SEG_PROTOCOL_HTTP2,
			      memory_order_relaxed);
	atomic_store_explicit(&entry->scheme, conn->is_tls ? SEG_SCHEME_TLS : SEG_SCHEME_PLAIN, memory_order_relaxed);
	atomic_store_explicit(&entry->is_stream, stream->is_connect, memory_order_relaxed);
	atomic_store_explicit(&entry->endpoint, stream->request.endpoint, memory_order_relaxed);
	atomic_store_explicit(&entry->in_flight, 1, memory_order_relaxed);
	atomic_store_explicit(&entry->begin_mono_ns, stream->request.begin_ns, memory_order_relaxed);
}

/* life */

/* False: there is no memory for it, and the connection was given up. */
static bool begin(struct conn *conn)
{
	struct http2_conn *http = state_of(conn);

	http->has_begun = true;
	http->buckets = heap_zalloc(BUCKETS_FIRST, sizeof(*http->buckets));
	http->bucket_count = http->buckets ? BUCKETS_FIRST : 0;
	bool has_decoders = http2_begin(&http->asked, true, 0) && http2_begin(&http->answered, false, 0);
	/* What the program allows the server may be told later than what the server makes of it. */
	if (conn->is_client)
		http2_allow_table(&http->answered, HPACK_TABLE_BYTES_MAX);
	if (http->buckets && has_decoders)
		return true;
	traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
	return false;
}

static bool has_begun(struct conn *conn)
{
	return state_of(conn)->has_begun || begin(conn);
}

static bool room_lend(struct conn *conn, struct http2 *side)
{
	struct lent_room *room = pool_take(&lent);

	if (!room) {
		traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
		return false;
	}
	side->room = &room->room;
	return true;
}

static void room_give(struct http2 *side)
{
	if (side->room)
		pool_give(&lent, (char *)side->room - offsetof(struct lent_room, room));
	side->room = NULL;
}

static void http2_forget(struct conn *conn)
{
	struct http2_conn *http = state_of(conn);

	while (http->oldest) {
		http->oldest->listing = NULL; /* given back with the gauges, or another process's */
		stream_remove(conn, http->oldest);
	}
	spares_give_back(http);
	heap_free(http->buckets);
	http->buckets = NULL;
	http->bucket_count = 0;
	room_give(&http->asked);
	room_give(&http->answered);
	http2_end(&http->asked);
	http2_end(&http->answered);
}

static void http2_call_end(struct conn *conn)
{
	struct http2_conn *http = state_of(conn);

	if (!http2_is_within_block(&http->asked))
		room_give(&http->asked);
	if (!http2_is_within_block(&http->answered))
		room_give(&http->answered);
	http->told_stream = 0;
	http->told_count = 0;
}

/* An entry of the listing belongs to a process as the gauges do. */
static void http2_move_gauges(struct conn *conn, int direction)
{
	for (struct stream *stream = state_of(conn)->oldest; stream; stream = stream->newer) {
		traffic_move_gauges(conn, &stream->request, direction);
		if (direction < 0)
			listing_release(stream->listing);
		stream->listing = NULL;
		if (direction > 0 && stream->has_head && !stream->request.is_answered)
			stream_list(conn, stream);
	}
}

/* the end of a request */

enum {
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

/* PROTOCOL-HTTP2.md, "Errors": of the codes of RFC 9113 clause 7. */
static uint8_t grpc_status_of_reset(uint32_t code)
{
	switch (code) {
	case 0x7: return GRPC_UNAVAILABLE; /* REFUSED_STREAM */
	case 0x8: return GRPC_CANCELLED;
	case 0xb: return GRPC_RESOURCE_EXHAUSTED; /* ENHANCE_YOUR_CALM */
	case 0xc: return GRPC_PERMISSION_DENIED; /* INADEQUATE_SECURITY */
	default: return GRPC_INTERNAL;
	}
}

/* http-grpc-status-mapping.md */
static uint8_t grpc_status_of_http(uint16_t status)
{
	switch (status) {
	case 400: return GRPC_INTERNAL;
	case 401: return GRPC_UNAUTHENTICATED;
	case 403: return GRPC_PERMISSION_DENIED;
	case 404: return GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504: return GRPC_UNAVAILABLE;
	default: return GRPC_UNKNOWN;
	}
}

/* As in the key of a series. */
static uint16_t status_of(const struct stream *stream)
{
	if (!stream->request.is_rpc)
		return stream->status;
	if (stream->grpc_status != HTTP2_GRPC_STATUS_NONE)
		return (uint16_t)(1 + stream->grpc_status);
	return (uint16_t)(1 + grpc_status_of_http(stream->status));
}

/* Not an answer of a length that somebody waits for: RFC 9113 clause 8.5, HTML Standard clause 9.2.3. */
static bool is_stream_of_its_own(const struct stream *stream)
{
	return (stream->is_event_stream && stream->status == 200) || (stream->is_connect && stream->status / 100 == 2);
}

static void finish(struct conn *conn, struct stream *stream, uint16_t status, enum seg_error error,
		   struct traffic_call *call)
{
	traffic_finish(conn, &stream->request, &(struct traffic_outcome){
		.status = status,
		.error = (uint8_t)error,
		.is_stream = is_stream_of_its_own(stream),
		.response_bytes = stream->response_bytes,
	}, call);
	state_of(conn)->unanswered_count--;
	listing_release(stream->listing);
	stream->listing = NULL;
}

/* Answered, and its request is over, too. */
static void retire(struct conn *conn, struct stream *stream)
{
	traffic_retire(conn, &stream->request);
	stream_remove(conn, stream);
}

/* It ends without an answer. */
static void fail(struct conn *conn, struct stream *stream, uint16_t status, enum seg_error error, struct traffic_call *call)
{
	if (!stream->request.is_answered)
		finish(conn, stream, status, error, call);
	retire(conn, stream);
}

/* Of one whose answer never began the status says nothing, unless it is what gRPC makes of it. */
static void reset(struct conn *conn, struct stream *stream, uint32_t code, struct traffic_call *call)
{
	if (stream->request.is_rpc)
		fail(conn, stream, (uint16_t)(1 + grpc_status_of_reset(code)), SEG_ERROR_NONE, call);
	else
		fail(conn, stream, stream->status, SEG_ERROR_RESET, call);
}

/* What gRPC's own clients and servers make of a connection that is gone. */
static uint8_t grpc_status_of_end(const struct conn *conn, enum seg_error error)
{
	if (error == SEG_ERROR_PARSE)
		return GRPC_INTERNAL;
	/* The error of a client that did not wait any longer is a timeout. */
	return conn->is_client && error != SEG_ERROR_TIMEOUT ? GRPC_UNAVAILABLE : GRPC_CANCELLED;
}

static void fail_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct stream *stream;

	while ((stream = state_of(conn)->oldest))
		if (stream->is_early)
			stream_remove(conn, stream);
		else if (stream->request.is_rpc)
			fail(conn, stream, (uint16_t)(1 + grpc_status_of_end(conn, error)), SEG_ERROR_NONE, call);
		else
			fail(conn, stream, stream->status, error, call);
}

/* whose work it is */

static bool is_work_known(const struct conn *conn, const struct stream *stream)
{
	return stream->has_head || (conn->is_client && work_is_request(stream->request.behalf));
}

static struct work work_of(struct conn *conn, const struct stream *stream)
{
	return stream && is_work_known(conn, stream) ? traffic_work_of(conn, &stream->request) : WORK_NONE;
}

/* Whom a thread works for that has received something, or has answered, is for its next answer to tell. */
static bool is_told_by_answers(const struct http2_conn *http)
{
	return http->is_handed_on || http->unanswered_count > 1;
}

/* This call completed a head or a body of the stream. */
static void tell_received(struct conn *conn, struct stream *stream, struct traffic_call *call)
{
	if (conn->is_client || !stream->has_head)
		return;
	call->is_next_unknown = is_told_by_answers(state_of(conn));
	call->work = call->is_next_unknown ? WORK_NONE : work_of(conn, stream);
}

/* Marsaglia's xorshift32, whose state is never 0. */
static uint32_t next_random(struct http2_conn *http)
{
	uint32_t x = http->random ? http->random : (uint32_t)(uintptr_t)http->buckets | 1;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	http->random = x;
	return x;
}

/* This call passed bytes of the stream's answer. */
static void tell_answered(struct conn *conn, struct stream *stream, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);

	if (http->told_stream == stream->id)
		return;
	http->told_stream = stream->id;
	http->told_count++;
	if (is_work_known(conn, stream) && next_random(http) % http->told_count == 0)
		call->work = work_of(conn, stream);
}

/* An answer ended in this call. */
static void tell_ended(struct conn *conn, const struct stream *stream, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);

	if (conn->is_client)
		return;
	http->is_handed_on |= stream->reader != self.tid;
	call->is_next_unknown = http->is_handed_on || http->unanswered_count;
}

/* The stream of the frame that is half there. */
static struct stream *half_passed(struct http2_conn *http, const struct http2 *side)
{
	switch (side->state) {
	case HTTP2_STATE_DATA:
	case HTTP2_STATE_REST:
	case HTTP2_STATE_BLOCK:
		return stream_find(http, side->stream);
	default:
		return NULL;
	}
}

static void http2_show_work(struct conn *conn, const struct request *oldest)
{
	struct http2_conn *http = state_of(conn);
	struct stream *answered = half_passed(http, &http->answered);

	(void)oldest;
	if (!answered && http->unanswered_count == 1)
		for (answered = http->newest; answered->request.is_answered; answered = answered->older)
			;
	traffic_show_work(conn, work_of(conn, half_passed(http, &http->asked)), work_of(conn, answered));
}

/* what the client asks */

/* begin_ns: when the frame's first byte passed. */
static void on_request_begin(struct conn *conn, uint64_t begin_ns)
{
	struct http2_conn *http = state_of(conn);
	uint32_t id = http->asked.stream;

	/* What is not new is the trailers of one that is followed, or of one that is over. */
	if (id <= http->last_asked || id % 2 == 0)
		return;
	http->last_asked = id;
	if (!http->asked.hpack) {
		thread_count(SEG_COUNTER_LOST_HPACK);
		return;
	}
	struct stream *stream = conn->is_client ? stream_find(http, id) : NULL; /* its answer may have been told before */
	if (!stream)
		stream = stream_add(http, id);
	if (stream)
		traffic_begin_request(conn, &stream->request, begin_ns);
	else
		thread_count(SEG_COUNTER_LOST_POOL_FULL);
}

static void on_answer_end(struct conn *conn, struct stream *stream, struct traffic_call *call)
{
	if (stream->is_early) {
		stream->early_end_ns = call->now_ns;
		return;
	}
	finish(conn, stream, status_of(stream), SEG_ERROR_NONE, call);
	tell_ended(conn, stream, call);
	if (stream->request.is_read)
		retire(conn, stream);
}

/* The head of what was answered before. False: the answer was a reset, and the stream is gone. */
static bool catch_up(struct conn *conn, struct stream *stream, struct traffic_call *call)
{
	uint64_t now_ns = call->now_ns;
	bool is_reset = stream->is_early_reset;

	stream->is_early = false;
	if (!stream->early_end_ns)
		return true;
	call->now_ns = stream->early_end_ns;
	if (is_reset)
		reset(conn, stream, stream->early_code, call);
	else
		on_answer_end(conn, stream, call);
	call->now_ns = now_ns;
	return !is_reset;
}

/* With a block that comes again its endpoint is noted, once it is one: not what stands in for it, and each request beyond the
 * cap is counted. Methods of gRPC, unlike routes, are never found to be another endpoint. */
static void take_head_rpc(struct conn *conn, struct request *request, struct http2_fields *fields)
{
	if (fields->note) {
		request->is_rpc = true;
		request->endpoint = fields->note;
		return;
	}
	traffic_head_rpc(conn, request, fields->path, fields->path_bytes);
	if (!request->candidate && !seg.endpoints[request->endpoint].is_overflow)
		fields->note = request->endpoint;
}

static void take_head(struct conn *conn, struct stream *stream, struct http2_fields *fields)
{
	struct request *request = &stream->request;

	stream->has_head = true;
	stream->is_connect = fields->method == SEG_METHOD_CONNECT;
	if (fields->is_grpc)
		take_head_rpc(conn, request, fields);
	else
		traffic_head_http(conn, request, fields->method, fields->path, fields->path_bytes);
	if (fields->trace.source || fields->trace.request_id_bytes)
		request_keep_trace(request, &fields->trace);
	stream_list(conn, stream);
}

static void on_request_end(struct conn *conn, struct stream *stream)
{
	stream->request.is_read = true;
	if (stream->request.is_answered)
		retire(conn, stream);
}

/* The stream that a request's frame is of; NULL: none that is followed, or it said before that this frame will not come. */
static struct stream *unread_stream(struct http2_conn *http)
{
	struct stream *stream = stream_find(http, http->asked.stream);

	return stream && !stream->request.is_read ? stream : NULL;
}

static void on_request_head(struct conn *conn, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	struct stream *stream = unread_stream(http);

	if (!stream)
		return;
	if (!stream->has_head && !stream->request.is_answered && http->asked.fields->has_method) {
		take_head(conn, stream, http->asked.fields);
		stream->reader = conn->reader;
		if (stream->is_early && !catch_up(conn, stream, call))
			return;
	}
	tell_received(conn, stream, call);
	if (http->asked.ends_stream)
		on_request_end(conn, stream);
}

static void on_request_data(struct conn *conn, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	struct stream *stream = unread_stream(http);

	if (!stream)
		return;
	stream->request.body_bytes += http->asked.data_bytes;
	if (!http->asked.ends_stream)
		return;
	tell_received(conn, stream, call);
	on_request_end(conn, stream);
}

/* The stream that an answer's frame is of. */
static struct stream *answered_stream(struct conn *conn)
{
	struct http2_conn *http = state_of(conn);
	uint32_t id = http->answered.stream;
	struct stream *stream = stream_find(http, id);

	bool is_awaited = conn->is_client && id > http->last_asked && id % 2 && http->asked.state != HTTP2_STATE_BROKEN;
	if (stream || !is_awaited || !http->answered.hpack)
		return stream;
	stream = stream_add(http, id);
	if (stream)
		stream->is_early = true;
	return stream;
}

static void on_reset(struct conn *conn, const struct http2 *side, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	struct stream *stream = side == &http->answered ? answered_stream(conn) : stream_find(http, side->stream);

	if (!stream)
		return;
	if (!stream->is_early) {
		reset(conn, stream, side->code, call);
		return;
	}
	stream->is_early_reset = true;
	stream->early_code = side->code;
	stream->early_end_ns = call->now_ns;
}

static enum seg_counter lost_by(enum http2_broken broken)
{
	return broken == HTTP2_BROKEN_MEMORY ? SEG_COUNTER_LOST_POOL_FULL : SEG_COUNTER_LOST_HPACK;
}

/* What the client sends from now on cannot be told. If it broke the rules its server will say so and close; what was asked
 * before may still be answered. If we could not follow, requests may come unseen. */
static void on_asked_broken(struct conn *conn)
{
	enum http2_broken broken = state_of(conn)->asked.broken;

	if (broken == HTTP2_BROKEN_START && !conn->is_settled)
		traffic_unclassified(conn);
	else if (broken == HTTP2_BROKEN_BLOCK || broken == HTTP2_BROKEN_MEMORY)
		thread_count(lost_by(broken));
}

/* False: no more requests will come out of these bytes. */
static bool on_asked_event(struct conn *conn, enum http2_event event, uint64_t frame_ns, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);

	switch (event) {
	case HTTP2_BEGIN:
		on_request_begin(conn, frame_ns);
		break;
	case HTTP2_BEGIN_AND_HEAD:
		on_request_begin(conn, frame_ns);
		on_request_head(conn, call);
		break;
	case HTTP2_HEAD:
		on_request_head(conn, call);
		break;
	case HTTP2_DATA:
		on_request_data(conn, call);
		break;
	case HTTP2_RESET:
		on_reset(conn, &http->asked, call);
		break;
	case HTTP2_SETTINGS:
		http2_allow_table(&http->answered, http->asked.table_bytes);
		break;
	case HTTP2_NEEDS_ROOM:
		return room_lend(conn, &http->asked);
	case HTTP2_BROKEN:
		on_asked_broken(conn);
		return false;
	case HTTP2_PROMISE: /* clients make none */
	case HTTP2_GOAWAY:  /* of the server's promises */
		break;
	case HTTP2_MORE:
		return false;
	}
	return true;
}

static void http2_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	struct http2 *asked = &http->asked;
	struct http2_step step;
	uint64_t frame_ns;

	if (!has_begun(conn))
		return;
	/* A frame that began in a call before keeps its time until the next one begins. */
	bool was_within = http2_is_within_frame(asked);
	uint32_t first_frame = asked->frames;
	do {
		step = http2_read(asked, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		frame_ns = was_within && asked->frames == first_frame ? http->frame_ns : call->now_ns;
	} while (on_asked_event(conn, step.event, frame_ns, call) && !http2_is_done(asked, n));
	if (conn->as == &traffic_http2)
		http->frame_ns = frame_ns;
}

static bool http2_asked_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);

	if (http->asked.state == HTTP2_STATE_BROKEN)
		return true;
	if (!http2_skip(&http->asked, n))
		return false;
	http2_asked(conn, "", 0, call);
	return true;
}

/* what the server answers */

static void take_answer(struct conn *conn, struct stream *stream, const struct http2_fields *fields,
			struct traffic_call *call)
{
	stream->status = fields->status;
	stream->is_event_stream = fields->is_event_stream;
	traffic_first_byte(&stream->request, call);
	if (!stream->request.is_rpc)
		traffic_answer_begins(conn, &stream->request, stream->status, call);
	else if (stream->grpc_status == HTTP2_GRPC_STATUS_NONE && stream->status == 200)
		traffic_answer_begins(conn, &stream->request, 0, call); /* there is such a method, however it ends */
	if (is_stream_of_its_own(stream))
		traffic_stream_begins(conn, &stream->request);
}

static void on_answer_head(struct conn *conn, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	const struct http2 *answered = &http->answered;
	struct stream *stream = answered_stream(conn);

	if (!stream || stream->request.is_answered)
		return;
	tell_answered(conn, stream, call);
	if (answered->fields->grpc_status != HTTP2_GRPC_STATUS_NONE)
		stream->grpc_status = answered->fields->grpc_status;
	if (!stream->status && answered->fields->status >= 200) /* not an interim one: RFC 9110 clause 15.2 */
		take_answer(conn, stream, answered->fields, call);
	if (answered->ends_stream)
		on_answer_end(conn, stream, call);
}

static void on_answer_data(struct conn *conn, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	struct stream *stream = answered_stream(conn);

	if (!stream || stream->request.is_answered)
		return;
	tell_answered(conn, stream, call);
	stream->response_bytes += http->answered.data_bytes;
	if (http->answered.ends_stream)
		on_answer_end(conn, stream, call);
}

/* The server pushes an answer to a request that nobody sent (RFC 9113 clause 8.4). To a program that is the client it is no
 * request of its own. */
static void on_promise(struct conn *conn, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	uint32_t id = http->answered.stream;

	if (conn->is_client || id % 2 || id <= http->last_promised || !http->answered.hpack)
		return;
	http->last_promised = id;
	struct stream *stream = stream_add(http, id);
	if (!stream) {
		thread_count(SEG_COUNTER_LOST_POOL_FULL);
		return;
	}
	traffic_begin_request(conn, &stream->request, call->now_ns);
	take_head(conn, stream, http->answered.fields);
	stream->request.is_read = true;
}

/* What the client asked after the last stream that the server took will never be answered (clause 6.8). */
static void on_goaway(struct conn *conn, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);
	uint32_t last = http->answered.stream;
	struct stream *newer;

	for (struct stream *stream = http->oldest; stream; stream = newer) {
		newer = stream->newer;
		if (stream->id % 2 && stream->id > last && !stream->is_early)
			reset(conn, stream, 0x7 /* as if it were refused */, call);
	}
}

/* The server's bytes are no HTTP/2: it never was, or we lost the thread. */
static void on_answered_broken(struct conn *conn, struct traffic_call *call)
{
	enum http2_broken broken = state_of(conn)->answered.broken;

	if (!conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	if (broken == HTTP2_BROKEN_BLOCK || broken == HTTP2_BROKEN_MEMORY) {
		traffic_give_up(conn, lost_by(broken));
		return;
	}
	fail_all(conn, SEG_ERROR_PARSE, call);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
}

static bool on_answered_event(struct conn *conn, enum http2_event event, struct traffic_call *call)
{
	struct http2_conn *http = state_of(conn);

	switch (event) {
	case HTTP2_HEAD:
		on_answer_head(conn, call);
		break;
	case HTTP2_DATA:
		on_answer_data(conn, call);
		break;
	case HTTP2_RESET:
		on_reset(conn, &http->answered, call);
		break;
	case HTTP2_PROMISE:
		on_promise(conn, call);
		break;
	case HTTP2_GOAWAY:
		on_goaway(conn, call);
		break;
	case HTTP2_SETTINGS:
		http2_allow_table(&http->asked, http->answered.table_bytes);
		break;
	case HTTP2_NEEDS_ROOM:
		return room_lend(conn, &http->answered);
	case HTTP2_BROKEN:
		on_answered_broken(conn, call);
		return false;
	case HTTP2_BEGIN: /* of requests alone */
	case HTTP2_BEGIN_AND_HEAD:
		break;
	case HTTP2_MORE:
		return false;
	}
	return true;
}

static void http2_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct http2 *answered = &state_of(conn)->answered;
	struct http2_step step;

	if (!has_begun(conn))
		return;
	do {
		step = http2_read(answered, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (!conn->is_settled && answered->has_begun)
			traffic_settle(conn, SEG_PROTOCOL_HTTP2);
	} while (on_answered_event(conn, step.event, call) && !http2_is_done(answered, n));
}

static bool http2_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	if (!http2_skip(&state_of(conn)->answered, n))
		return false;
	http2_answered(conn, "", 0, call);
	return true;
}

static void http2_end_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	/* A client that sent its preface and was never answered was none of HTTP/2 as far as anybody can tell. */
	if (!conn->is_settled && !state_of(conn)->asked.has_begun) {
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_HTTP2);
	fail_all(conn, error, call);
}

const struct traffic_protocol traffic_http2 = {
	.protocol = SEG_PROTOCOL_HTTP2,
	.asked = http2_asked,
	.answered = http2_answered,
	.asked_unseen = http2_asked_unseen,
	.answered_unseen = http2_answered_unseen,
	.call_end = http2_call_end,
	.end = http2_end_all,
	.forget = http2_forget,
	.show_work = http2_show_work,
	.move_gauges = http2_move_gauges,
};

bool traffic_http2_is_greeting(const char *bytes, size_t n)
{
	static const char rest[] = "\4\0\0\0\0"; /* its type, no flags, and no stream */
	enum { LENGTH_BYTES = 3, HEADER_BYTES = 9, SETTING_BYTES = 6 };

	return n >= HEADER_BYTES && !bytes[0] && !bytes[1] && (unsigned char)bytes[2] % SETTING_BYTES == 0 &&
	       memcmp(bytes + LENGTH_BYTES, rest, sizeof(rest)) == 0;
}

void traffic_http2_upgraded(struct conn *conn, struct traffic_call *call)
{
	struct request *oldest = request_oldest(&conn->queue);
	struct request request;

	(void)call;
	if (!oldest)
		return;
	request = *oldest;
	request_pop(&conn->queue);
	if (conn->as->forget)
		conn->as->forget(conn);
	traffic_follow(conn, &traffic_http2);
	if (!begin(conn))
		return;
	struct http2_conn *http = state_of(conn);
	struct stream *stream = stream_add(http, UPGRADED_STREAM);
	if (!stream) {
		traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
		return;
	}
	stream->request = request;
	stream->has_head = true;
	http->last_asked = UPGRADED_STREAM;
	/* The client's settings came with the request, in a field that was not looked at. */
	http2_allow_table(&http->answered, HPACK_TABLE_BYTES_MAX);
}
