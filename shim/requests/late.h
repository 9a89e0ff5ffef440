#pragma once
/* late - what a thread did to a connection while another one was at it, left for that one to go through.
 * Context: call. Lock-free; memory from heap.h.
 * Overlap: any number of late_leave with each other and with one late_take.
 */
#include "../base/thread.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

enum conn_event_kind {
	CONN_RECEIVED,
	CONN_SENT,
	CONN_RECEIVED_UNSEEN,
	CONN_SENT_UNSEEN,
	CONN_RECEIVED_END, /* the other side sends no more */
	CONN_SHUT_DOWN,    /* this side sends no more */
	CONN_FAILED,       /* with error */
	CONN_PASSED,       /* to another process */
};

/* What one call of the program did. */
struct conn_event {
	enum conn_event_kind kind;
	int error;
	const struct iovec *iov; /* of the bytes seen */
	size_t iov_count;
	size_t bytes;            /* of iov in order, or unseen */
	uint64_t now_ns;
};

struct late {
	struct late *next;
	struct conn_event event; /* its iov is own */
	struct work work;        /* of the thread that left it */
	uint32_t tid;            /* of that thread */
	uint32_t opens;          /* of the connection, when it was left */
	struct iovec own;
	char bytes[];
};

/* Leaves a copy of event, in several pieces if it is large. False: there is no memory for all of it. */
bool late_leave(_Atomic(struct late *) *list, const struct conn_event *event, uint32_t opens);

/* All that was left, the oldest first; NULL = nothing. Each is given back by late_free. */
struct late *late_take(_Atomic(struct late *) *list);
void late_free(struct late *late);
