#pragma once
/* http1 - HTTP/1.x as bytes in, events out: one side of one connection.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given.
 *
 * Bytes may come in pieces of any size; the events are the same. Lenient where framing is not touched (RFC 9112 clause
 * 2.2: a bare LF ends a line, empty lines before a request are skipped), and where it is, as far as the RFC says how to
 * read on: then is_faulty tells that a server may refuse the message. One whose end cannot be told is BROKEN.
 * Lines longer than HTTP1_LINE_BYTES are looked at up to there: enough for every label and every field that matters.
 */
#include "../segment/counters.h"
#include "trace.h"

#define HTTP1_LINE_BYTES 1024u         /* of a line's text; the rest of the line is skipped */
#define HTTP1_CARRY_BYTES (HTTP1_LINE_BYTES + 1)
#define HTTP1_HEAD_BYTES (64u * 1024u) /* of a whole head, and of the trailers; beyond: BROKEN */

enum http1_event {
	HTTP1_MORE,        /* all bytes are used, the message goes on or the next one has not begun */
	HTTP1_LINE,        /* the request or status line is known: method and target, or status. Of a request line longer than
	                    * is kept it comes before the line's end: a server may refuse it without reading so far */
	HTTP1_HEAD,        /* the head is over */
	HTTP1_END,         /* the message is over: body_bytes */
	HTTP1_BROKEN,      /* no HTTP/1.x; comes once, and whatever follows is used without an event */
	HTTP1_NEEDS_CARRY, /* a line goes on in the next piece: set carry and call again with the bytes not used */
};

enum http1_state {
	HTTP1_STATE_START, /* between messages */
	HTTP1_STATE_FIRST_LINE,
	HTTP1_STATE_LINE_REST, /* of a first line that was told already */
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

enum { HTTP1_TAIL_BYTES = 16 }; /* longer than a version with its line end */

/* All zero but is_response and trace: ready for the first byte. */
struct http1 {
	uint8_t state;
	bool is_response;
	bool is_chunked;
	bool has_length;
	bool has_bad_length;   /* a Content-Length that is none, or two that differ */
	bool lengths_missing;  /* a Content-Length without a value */
	bool has_other_coding; /* a transfer coding besides chunked stands last */
	bool is_faulty;        /* at HTTP1_HEAD: a line was folded, white space stood before a colon, a transfer coding was empty,
	                        * a length repeated or beside a coding (RFC 9112 clauses 2.2, 5.1, 5.2, 6.1, 6.3) */
	bool is_version_0;     /* HTTP/1.0 */
	bool is_last;          /* response, at HTTP1_HEAD: the connection will be closed after it */
	bool is_event_stream;  /* response: Content-Type: text/event-stream */
	bool upgrades_to_h2c;  /* response, at HTTP1_HEAD: 101 with Upgrade: h2c */
	uint8_t field;         /* of the line before, which a folded line goes on with */
	uint8_t method;        /* request: enum seg_method */
	uint8_t tail_bytes;
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
	char tail[HTTP1_TAIL_BYTES]; /* the last bytes of that line so far */
	/* Request: where the ids go that its head brings, as they come; the caller's, who empties it between messages. NULL =
	 * they are not read. */
	struct trace_context *trace;
};

struct http1_step {
	enum http1_event event;
	size_t used_bytes; /* of those given */
};

/* Goes on to the next event. Call until HTTP1_MORE; with no bytes it tells what is due without any. */
struct http1_step http1_read(struct http1 *http, const char *bytes, size_t n);

/* At HTTP1_HEAD of a response: it answers a HEAD request, so no body follows whatever the head says. */
void http1_has_no_body(struct http1 *http);

/* What was read of a request's head so far would make it faulty or broken: a server may refuse it before its end. */
bool http1_is_doubtful(const struct http1 *http);

/* n bytes of body passed that cannot be shown. False: a head was expected, or the body is not that long. */
bool http1_skip(struct http1 *http, size_t n);

/* The method of that name, which is case-sensitive (RFC 9110 clause 9.1). */
enum seg_method http1_method_of(const char *text, size_t n);

/* A message has begun and is not over. */
static inline bool http1_is_within(const struct http1 *http)
{
	return http->state != HTTP1_STATE_START && http->state != HTTP1_STATE_BROKEN;
}
