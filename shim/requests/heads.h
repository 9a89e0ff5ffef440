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

/* Once the segment is open. Without memory for it no head is ever known. */
void heads_init(void);

size_t heads_find(struct http1 *http, const char *bytes, size_t n);

/* bytes begin with a head that is known: http is what http1_read would have made of it at HTTP1_HEAD, and that many bytes
 * are used; of a request http->target lies in bytes. 0: none is. */
static inline size_t heads_recall(struct http1 *http, const char *bytes, size_t n)
{
	return http->state == HTTP1_STATE_START && n ? heads_find(http, bytes, n) : 0;
}

/* http has just read a whole head, to HTTP1_HEAD: the head_bytes at head, which lie in a piece of piece_bytes from there
 * on. target: the request's, within it. Not for one that brought ids (struct http1's trace). */
void heads_remember(const struct http1 *http, const char *head, size_t head_bytes, size_t piece_bytes, const char *target);
