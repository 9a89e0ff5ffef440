#pragma once
/* http2_fields - what matters of a header block of HTTP/2, and of blocks that came before and come again.
 * Context: call. Memory for what is remembered comes from a pool of 4 MiB; where it is used up nothing more is.
 */
#include "../segment/counters.h"
#include "hpack.h"
#include "trace.h"

#define HTTP2_PATH_BYTES 1024u /* kept of :path; the rest is passed */
#define HTTP2_GRPC_STATUS_NONE UINT8_MAX
#define HTTP2_GRPC_STATUS_MAX 16u /* UNAUTHENTICATED; what is no number up to here is UNKNOWN, as gRPC's clients take it */

struct http2_fields {
	bool is_known;        /* false: there is no decoder, nothing below is known */
	bool has_method;      /* a request, else a response or trailers */
	bool is_https;        /* :scheme */
	bool is_grpc;         /* Content-Type: application/grpc... */
	bool is_event_stream; /* Content-Type: text/event-stream */
	bool has_protocol;    /* :protocol, so that CONNECT opens a stream of something else (RFC 8441 clause 4) */
	uint8_t method;       /* enum seg_method */
	uint8_t grpc_status;  /* HTTP2_GRPC_STATUS_NONE: there is none */
	uint16_t status;      /* 0: no response's head */
	uint16_t path_bytes;
	struct trace_context trace;
	uint32_t note;        /* the caller's own, 0 at first; stays with a block that is remembered */
	const char *path;     /* as long as the fields */
};

/* Where a block that is being read leaves its fields. */
struct http2_room {
	struct http2_fields fields;
	char path[HTTP2_PATH_BYTES];
};

/* A block begins. */
void http2_fields_begin(struct http2_room *room, bool is_known);

/* A field more of it. */
void http2_fields_keep(struct http2_room *room, const struct hpack_field *field);

/* Blocks of one direction of a connection that say the same whenever they come, since they are made of nothing but indexed
 * fields and of literals without indexing (RFC 7541 clauses 6.1 and 6.2.2): those do not change the decoder's table, and mean
 * the same until another block does. What gRPC sends is little else, call after call; what nghttp2 sends has the path and the
 * length of the content as such literals. All zero: none. */
enum { HTTP2_REMEMBERED_MAX = 6 };
struct http2_remembered {
	struct http2_block *blocks[HTTP2_REMEMBERED_MAX]; /* owns; NULL from the first one that was never needed on */
	uint8_t bytes[HTTP2_REMEMBERED_MAX]; /* of each that is valid */
	uint8_t count; /* that are valid, from the first on */
	uint8_t next;  /* whose turn it is to make room for another */
};

/* What the n bytes of a whole block say; NULL: it is to be decoded. */
struct http2_fields *http2_remembered_find(const struct http2_remembered *remembered, const char *block, size_t n);

/* The n bytes of a whole block were decoded and said what is in room: remembers it, or what may have changed the table makes
 * all others be forgotten. What it said, there or in room. */
struct http2_fields *http2_remember(struct http2_remembered *remembered, const char *block, size_t n, struct http2_room *room);

/* A block was decoded that may have changed the table. */
static inline void http2_remembered_forget(struct http2_remembered *remembered)
{
	remembered->count = 0;
}

/* Gives the memory back. */
void http2_remembered_end(struct http2_remembered *remembered);
