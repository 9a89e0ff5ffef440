#pragma once
/* fastcgi - both sides of FastCGI as bytes in, events out: the records of a connection, the parameters of a request, and
 * the CGI head that an application's output begins with.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given.
 * Bytes may come in pieces of any size; what comes of them is the same, content in other pieces.
 * Sources: FastCGI Specification 1.0 (sections 3, 5, 6, 8); RFC 3875 clause 6 for the head.
 *
 * Requests of one connection may be interleaved, told apart by their id: each has parameters and a head of its own.
 */
#include "../segment/counters.h"
#include "trace.h"

enum fastcgi_type {
	FASTCGI_BEGIN_REQUEST = 1,
	FASTCGI_ABORT_REQUEST,
	FASTCGI_END_REQUEST,
	FASTCGI_PARAMS,
	FASTCGI_STDIN,
	FASTCGI_STDOUT,
	FASTCGI_STDERR,
	FASTCGI_DATA,
	FASTCGI_GET_VALUES,
	FASTCGI_GET_VALUES_RESULT,
	FASTCGI_UNKNOWN_TYPE,
};

enum fastcgi_event {
	FASTCGI_MORE,       /* all bytes are used; a record goes on or the next one has not begun */
	FASTCGI_RECORD,     /* a header that may belong to its side; of records that are no request's, the only event */
	FASTCGI_BEGIN,      /* a request begins */
	FASTCGI_CONTENT,    /* bytes of the request's stream called type */
	FASTCGI_STREAM_END, /* that stream is over */
	FASTCGI_ABORT,      /* the client gives the request up; its end is still to come */
	FASTCGI_END,        /* the request is answered: protocol_status, 0 = it was served */
	FASTCGI_BROKEN,     /* no FastCGI; comes once, and whatever follows is used without an event */
};

enum { FASTCGI_HEADER_BYTES = 8, FASTCGI_BODY_BYTES = 8 };

/* All zero but is_response: ready for the first byte. */
struct fastcgi {
	uint8_t state;
	bool is_response;
	uint8_t type;            /* of the record being read */
	uint8_t protocol_status; /* at FASTCGI_END */
	uint16_t id;             /* of its request; 0 = a management record */
	uint32_t content_bytes;  /* of the record, still to come */
	uint32_t padding_bytes;
	uint32_t kept_bytes;
	uint8_t kept[8];         /* of the header, or of the body of BEGIN_REQUEST and END_REQUEST */
};

struct fastcgi_step {
	enum fastcgi_event event;
	size_t used_bytes;   /* of those given */
	const char *content; /* FASTCGI_CONTENT: where among them, */
	size_t content_bytes; /* and how many */
};

/* Goes on to the next event. Call until FASTCGI_MORE; with no bytes it tells what is due without any. */
struct fastcgi_step fastcgi_read(struct fastcgi *fastcgi, const char *bytes, size_t n);

/* A record has begun and is not over. */
bool fastcgi_is_within(const struct fastcgi *fastcgi);

/* n bytes of the content of a stream passed that cannot be shown. False: they are not the inside of one record's. */
bool fastcgi_skip(struct fastcgi *fastcgi, size_t n);

#define FASTCGI_TARGET_BYTES 512u  /* of a path, without its query; what is longer is cut */
#define FASTCGI_NAME_BYTES 24u     /* longer than any name that is looked for */
#define FASTCGI_VALUE_BYTES 96u    /* longer than any value but a target that is looked at */

/* All zero but trace: ready for the first byte of a request's PARAMS. */
struct fastcgi_params {
	uint8_t state;
	uint8_t lengths_bytes;
	uint8_t lengths[8];   /* the two lengths of a pair, in 1 or 4 bytes each */
	uint8_t name_kept;    /* bytes in name */
	uint8_t value_kept;   /* bytes in value */
	uint8_t wanted;       /* what the pair being read tells */
	uint8_t target_rank;  /* of the parameter that target is of */
	uint8_t method;       /* enum seg_method */
	bool is_https;
	bool has_query;       /* the rest of the target is one, and is not kept */
	uint32_t name_left;   /* bytes still to come */
	uint32_t value_left;
	uint32_t target_bytes;
	struct trace_context *trace; /* where the ids go that the request brings; NULL = they are not read */
	char name[FASTCGI_NAME_BYTES];
	char value[FASTCGI_VALUE_BYTES];
	char target[FASTCGI_TARGET_BYTES]; /* REQUEST_URI, else DOCUMENT_URI, else SCRIPT_NAME; without its query */
};

/* The next n bytes of the stream. */
void fastcgi_read_params(struct fastcgi_params *params, const char *bytes, size_t n);

enum { FASTCGI_LINE_BYTES = 48 };

/* All zero: ready for the first byte of a request's STDOUT. */
struct fastcgi_head {
	bool is_over;         /* what follows is body */
	bool is_event_stream; /* Content-Type: text/event-stream */
	bool has_location;
	uint16_t status;      /* once is_over: as the application says, else 302 with a Location, else 200 */
	uint32_t line_bytes;  /* of the line being read, more than line keeps if it is long */
	uint64_t body_bytes;
	char line[FASTCGI_LINE_BYTES];
};

/* The next n bytes of the stream. */
void fastcgi_read_head(struct fastcgi_head *head, const char *bytes, size_t n);
