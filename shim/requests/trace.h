#pragma once
/* trace - the ids that a request brings along: trace and span (W3C Trace Context level 1; B3 in one header or several),
 * and the request id. Read, never written.
 * Context: call. Pure: keeps no pointer into the bytes it was given.
 *
 * What is malformed is as if it were not there, so that an id never carries anything but what its grammar allows. Fields
 * may come in any order: traceparent goes before b3, b3 before X-B3-*; of two equal fields the first one counts, but for
 * traceparent, of which two are none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_REQUEST_ID_BYTES 64u
#define TRACE_FLAG_SAMPLED 1u

/* All zero: nothing was read. */
struct trace_context {
	uint8_t trace_id[16]; /* all zero, here or in span_id: none; see trace_is_known */
	uint8_t span_id[8];
	uint8_t flags;            /* TRACE_FLAG_SAMPLED or 0 */
	uint8_t source;           /* enum of trace.c: which field the ids are of */
	uint8_t request_id_bytes; /* 0 = none */
	char request_id[TRACE_REQUEST_ID_BYTES]; /* of [A-Za-z0-9._:/+=@-] only; without a final NUL */
};

enum trace_field {
	TRACE_FIELD_NONE, /* another field */
	TRACE_FIELD_TRACEPARENT,
	TRACE_FIELD_B3,
	TRACE_FIELD_B3_TRACE_ID,
	TRACE_FIELD_B3_SPAN_ID,
	TRACE_FIELD_B3_SAMPLED,
	TRACE_FIELD_B3_FLAGS,
	TRACE_FIELD_REQUEST_ID,
};

/* Which field is called name, whatever its case. '_' stands for '-' too, as in CGI's HTTP_X_REQUEST_ID without HTTP_
 * (RFC 3875 clause 4.1.18). */
enum trace_field trace_field_of(const char *name, size_t n);

/* text is the value without white space around it. False: it is malformed (or says nothing, or another field went
 * before), and nothing was changed but by a second traceparent. */
bool trace_read_traceparent(const char *text, size_t n, struct trace_context *context);
bool trace_read_b3(const char *text, size_t n, struct trace_context *context);
bool trace_read_request_id(const char *text, size_t n, struct trace_context *context);

/* The same for any field; TRACE_FIELD_NONE is false. */
bool trace_read(enum trace_field field, const char *text, size_t n, struct trace_context *context);

/* Both ids were read. */
bool trace_is_known(const struct trace_context *context);
