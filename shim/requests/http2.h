#pragma once
/* http2 - HTTP/2 (RFC 9113) as bytes in, events out: what one side of one connection sends.
 * Context: call. Pure but for the memory of its HPACK decoder: knows no connection and no clock, keeps no pointer into the
 * bytes it was given.
 *
 * Bytes may come in pieces of any size; the events are the same. Frames are checked as far as what follows depends on it;
 * unknown ones are passed (clause 4.1). Header blocks are decoded as they come, so that their length does not matter.
 */
#include "http2_fields.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" /* clause 3.4 */
#define HTTP2_PREFACE_BYTES (sizeof(HTTP2_PREFACE) - 1)

enum http2_event {
	HTTP2_MORE,     /* all bytes are used */
	HTTP2_BEGIN,    /* a header block begins: stream */
	HTTP2_HEAD,     /* it is over: stream, fields, ends_stream */
	HTTP2_BEGIN_AND_HEAD, /* both in one */
	HTTP2_PROMISE,  /* one of a promise is over: stream is the promised one, fields its request's (clause 6.6) */
	HTTP2_DATA,     /* a DATA frame is over: stream, data_bytes, ends_stream */
	HTTP2_RESET,    /* stream, code */
	HTTP2_SETTINGS, /* the other side's encoder may use a table of table_bytes, see http2_allow_table */
	HTTP2_GOAWAY,   /* stream is the last one of the other side's that this side worked on, code */
	HTTP2_BROKEN,   /* no HTTP/2: broken says why. Comes once, and whatever follows is used without an event */
	HTTP2_NEEDS_ROOM, /* set room and call again with the bytes not used */
};

enum http2_broken {
	HTTP2_NOT_BROKEN,
	HTTP2_BROKEN_START,  /* no preface, or the first frame is no SETTINGS: probably not HTTP/2 at all */
	HTTP2_BROKEN_FRAME,  /* a frame that breaks the rules, so that what follows cannot be told */
	HTTP2_BROKEN_BLOCK,  /* a header block that cannot be decoded */
	HTTP2_BROKEN_MEMORY, /* no memory to decode it with */
};

enum http2_state {
	HTTP2_STATE_BETWEEN, /* frames, in no block, of a side that has begun: any frame may come */
	HTTP2_STATE_HEADER,  /* of a frame; before it, if have_bytes is 0 */
	HTTP2_STATE_PREFACE, /* client only */
	HTTP2_STATE_PREFIX,  /* what stands before the frame's content, of known length */
	HTTP2_STATE_SETTING,
	HTTP2_STATE_BLOCK,
	HTTP2_STATE_DATA,
	HTTP2_STATE_REST,    /* padding, and what we do not look at */
	HTTP2_STATE_BROKEN,
};

/* Set by http2_begin. */
struct http2 {
	/* At an event, until the next call. stream is the frame's in between, too; 0 = the connection's own. */
	uint32_t stream;
	uint32_t code;        /* at HTTP2_RESET and HTTP2_GOAWAY: clause 7 */
	uint32_t data_bytes;  /* at HTTP2_DATA */
	uint32_t table_bytes; /* at HTTP2_SETTINGS */
	bool ends_stream;     /* at HTTP2_HEAD and HTTP2_DATA */
	struct http2_fields *fields; /* at HTTP2_HEAD and HTTP2_PROMISE; in between, what is there of the block; NULL = nothing */
	uint8_t broken;       /* enum http2_broken */
	/* The parser's own. */
	uint8_t state;
	bool is_client;
	bool has_begun;         /* its first frame was good */
	bool is_within_block;   /* from HTTP2_BEGIN to HTTP2_HEAD or _PROMISE, nothing but CONTINUATION may follow */
	bool is_promise;        /* the block is */
	bool block_ends_stream; /* the HEADERS frame said so */
	bool has_table_bytes;   /* this frame set them */
	uint8_t type;           /* of the frame */
	uint8_t flags;
	uint8_t have_bytes;     /* of small, or of the preface */
	uint8_t need_bytes;     /* of the frame's prefix */
	uint8_t small[9];       /* a frame's header, prefix or setting that is not all there */
	uint32_t block_stream;  /* that the block came on */
	uint32_t promised_stream;
	uint32_t left_bytes;    /* of the frame's content, without padding */
	uint32_t rest_bytes;    /* of its padding, and of content that we do not look at */
	uint32_t allowed_table_bytes; /* from the next block on */
	uint32_t frames;        /* begun so far; wraps */
	struct hpack *hpack;    /* owns; NULL: there is no decoder, blocks are passed */
	struct http2_remembered remembered;
	/* The caller's, who may take it back whenever http2_is_within_block is false; NULL = none. */
	struct http2_room *room;
};

struct http2_step {
	enum http2_event event;
	size_t used_bytes; /* of those given */
};

/* Ready for the first byte. passed_bytes: of the client's preface, went elsewhere; a server has none. False: there is no
 * memory for a decoder; there may be none at all, see hpack_is_open. */
bool http2_begin(struct http2 *http, bool is_client, size_t passed_bytes);

/* Gives the decoder back. */
void http2_end(struct http2 *http);

/* Goes on to the next event. Call until HTTP2_MORE, or until http2_is_done. */
struct http2_step http2_read(struct http2 *http, const char *bytes, size_t n);

/* n bytes passed that cannot be shown. False: they are not all of one frame's data. */
bool http2_skip(struct http2 *http, size_t n);

/* What this side may use, by a SETTINGS frame of the other side's. */
void http2_allow_table(struct http2 *http, uint32_t bytes);

/* A frame has begun and is not over. */
static inline bool http2_is_within_frame(const struct http2 *http)
{
	return http->state != HTTP2_STATE_BETWEEN && (http->state != HTTP2_STATE_HEADER || http->have_bytes);
}

/* With n bytes not used yet there is no further event. */
static inline bool http2_is_done(const struct http2 *http, size_t n)
{
	return !n && http->state <= HTTP2_STATE_HEADER;
}

static inline bool http2_is_within_block(const struct http2 *http)
{
	return http->is_within_block;
}
