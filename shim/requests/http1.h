#pragma once
/* http1 - HTTP/1.x as bytes in, events out: one side of one connection.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given.
 *
 * Bytes may come in pieces of any size; the events are the same. Lenient where framing is not touched (RFC 9112 clause
 * 2.2: a bare LF ends a line, empty lines before a request are skipped); a message whose end cannot be told is BROKEN.
 * Lines longer than HTTP1_LINE_BYTES are looked at up to there: enough for every label and every field that matters.
 */
#include "../segment/counters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP1_LINE_BYTES 1024u         /* of a line's text; the rest of the line is skipped */
#define HTTP1_CARRY_BYTES (HTTP1_LINE_BYTES + 1)
#define HTTP1_HEAD_BYTES (64u * 1024u) /* of a whole head, and of the trailers; beyond: BROKEN */

enum http1_event {
	HTTP1_MORE,        /* all bytes are used, the message goes on or the next one has not begun */
	HTTP1_LINE,        /* the request or status line is known: method and target, or status */
	HTTP1_HEAD,        /* the head is over */
	HTTP1_END,         /* the message is over: body_bytes */
	HTTP1_BROKEN,      /* no HTTP/1.x; comes once, and whatever follows is used without an event */
	HTTP1_NEEDS_CARRY, /* a line goes on in the next piece: set carry and call again with the bytes not used */
};

enum http1_state {
	HTTP1_STATE_START, /* between messages */
	HTTP1_STATE_FIRST_LINE,
	HTTP1_STATE_FIELDS,
	HTTP1_STATE_COUNTED, /* body of known length */
	HTTP1_STATE_CHUNK_SIZE,
	HTTP1_STATE_CHUNK_DATA,
	HTTP1_STATE_CHUNK_END,
	HTTP1_STATE_TRAILERS,
	HTTP1_STATE_UNTIL_CLOSE,
	HTTP1_STATE_DONE, /* HTTP1_END is due */
	HTTP1_STATE_BROKEN,
};

/* All zero but is_response: ready for the first byte. */
struct http1 {
	uint8_t state;
	bool is_response;
	bool is_chunked;
	bool has_length;
	bool has_other_coding; /* a transfer coding besides chunked stands last */
	bool is_last;          /* response: Connection: close */
	bool is_event_stream;  /* response: Content-Type: text/event-stream */
	uint8_t method;        /* request: enum seg_method */
	uint16_t status;       /* response */
	uint32_t head_bytes;   /* of the head, or of a chunk's line and the trailers, so far */
	uint64_t left_bytes;   /* of the body or the chunk, still to come */
	uint64_t body_bytes;   /* of the body so far, without the framing of chunks */
	/* Request, at HTTP1_LINE: the target. At HTTP1_BROKEN by a first line: that line, of any side. Valid until the
	 * next call and as long as the bytes given. */
	const char *target;
	uint32_t target_bytes;
	/* A line begun in an earlier piece. carry: HTTP1_CARRY_BYTES of the caller's, who may take them back whenever
	 * carried_bytes is 0; NULL = none. */
	uint32_t carried_bytes; /* of the line so far, more than carry keeps if it is long */
	char *carry;
};

struct http1_step {
	enum http1_event event;
	size_t used_bytes; /* of those given */
};

/* Goes on to the next event. Call until HTTP1_MORE; with no bytes it tells what is due without any. */
struct http1_step http1_read(struct http1 *http, const char *bytes, size_t n);

/* At HTTP1_HEAD of a response: it answers a HEAD request, so no body follows whatever the head says. */
void http1_has_no_body(struct http1 *http);

/* n bytes of body passed that cannot be shown. False: a head was expected, or the body is not that long. */
bool http1_skip(struct http1 *http, size_t n);

/* The method of that name, which is case-sensitive (RFC 9110 clause 9.1). */
enum seg_method http1_method_of(const char *text, size_t n);

/* A message has begun and is not over. */
static inline bool http1_is_within(const struct http1 *http)
{
	return http->state != HTTP1_STATE_START && http->state != HTTP1_STATE_BROKEN;
}
