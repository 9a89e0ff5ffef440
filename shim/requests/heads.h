#pragma once
/* heads - the heads of messages that a thread has read before, byte for byte, and what came of reading them. Clients that
 * keep a connection ask the same again and again, and servers' answers differ once a second, in their date: to compare is
 * ten times cheaper than to read.
 * Context: call, but for heads_init: setup. No clock, no connection.
 * Owns copies of some heads for each thread with a slot of its own, in the process's private memory. What a copy says
 * depends on its bytes alone, so it is true for every connection and for whoever has the slot next.
 * Overlap: a thread's are its own. One that is interrupted for good while it writes (longjmp) leaves none, not half of one.
 */
#include "http1.h"

#include <stddef.h>
#include <string.h>

/* Once the segment is open. Without memory for it no head is ever known. */
void heads_init(void);

enum {
	HEAD_ENTRY_BYTES = 512,                        /* all of a thread's lie in half a page */
	HEAD_STATE_BYTES = offsetof(struct http1, target), /* of struct http1, as far as it depends on the head */
	/* What servers and services write is kept, what browsers do mostly is too long. */
	HEAD_TEXT_BYTES = HEAD_ENTRY_BYTES - 24 - HEAD_STATE_BYTES,
};

struct head {
	uint16_t bytes;
	uint8_t kind;          /* 0 = none is kept here */
	uint8_t target;        /* where the target begins */
	uint32_t target_bytes;
	uint32_t endpoint;     /* of a request that the program serves, if it is for good (endpoint.h); 0 = not known. W: who knows */
	bool is_plain;         /* a request without a body; a response of known length after which the connection goes on as it was */
	uint8_t method;        /* of a request */
	bool is_faulty;        /* it is */
	uint8_t latest;        /* of the first of a side: which of them was met last */
	uint64_t body_bytes;   /* of a response, where it is_plain */
	char state[HEAD_STATE_BYTES];
	char text[HEAD_TEXT_BYTES];
};

/* The head that bytes, n > 0, begin with, if it is known, by a side that is between two messages; else NULL. The calling
 * thread's own, until it remembers the next. */
struct head *heads_find(const struct http1 *http, const char *bytes, size_t n);

/* http is what http1_read would have made of that head; of a request http->target lies in bytes, which begin with it. */
static inline void head_apply(const struct head *head, struct http1 *http, const char *bytes)
{
	memcpy(http, head->state, sizeof(head->state));
	http->target = bytes ? bytes + head->target : NULL;
	http->target_bytes = head->target_bytes;
}

/* Both: that many bytes are used, 0: no head is known. */
static inline size_t heads_recall(struct http1 *http, const char *bytes, size_t n)
{
	const struct head *head = http->state == HTTP1_STATE_START && n ? heads_find(http, bytes, n) : NULL;

	if (!head)
		return 0;
	head_apply(head, http, http->is_response ? NULL : bytes);
	return head->bytes;
}

/* http has just read a whole head, to HTTP1_HEAD: the head_bytes at head. target: the request's, within it. Not for
 * one that brought ids (struct http1's trace). */
void heads_remember(const struct http1 *http, const char *head, size_t head_bytes, const char *target);
