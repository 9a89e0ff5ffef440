#pragma once
/* traffic - what the bytes of one connection mean: its protocol, its requests, and whose work they are.
 * Context: call.
 * Owns everything in struct conn but its life (connection.c). Every function but traffic_work_* needs the connection's
 * lock. A connection is UNDECIDED until its first line is there; then a protocol is followed, and the server's first
 * answer settles whether that was right. FOLLOW_BYTES: no requests (any more), bytes are counted.
 */
#include "../base/work.h"
#include "http1.h"
#include "observe.h"
#include "request.h"
#include "resp.h"

/* Bytes of a client without a sensible line and without an answer, after which it will not be understood any more. */
#define TRAFFIC_UNDECIDED_BYTES (64u * 1024)

enum traffic_follow { FOLLOW_UNDECIDED, FOLLOW_HTTP, FOLLOW_REDIS, FOLLOW_BYTES };

struct conn {
	struct pool_link link;
	_Atomic uint64_t lock;  /* connection.c */
	_Atomic uint32_t refs;  /* connection.c */
	uint32_t generation;    /* of the process that counts it in its gauges */
	uint32_t forks_at_use;  /* forks of this process when bytes last passed */

	/* W: who holds the lock; R: any thread, relaxed. See traffic_work_receiving and traffic_work_sending. */
	_Atomic uint32_t receiving_work;
	_Atomic uint32_t sending_work;

	uint8_t follow;         /* enum traffic_follow */
	uint8_t protocol;       /* enum seg_protocol; UNKNOWN until settled */
	bool is_settled;        /* the protocol is counted: accepted, gauge and bytes */
	bool no_more_answers;   /* HTTP: the server said that it closes */
	uint32_t stream;        /* FOLLOW_BYTES: the endpoint that opened the stream, REQUEST_NO_ENDPOINT = none */
	uint64_t received_bytes; /* until settled: not counted yet */
	uint64_t sent_bytes;
	uint64_t first_ns;      /* when the first byte was received */
	struct request_queue queue;
	union {
		struct {
			struct http1 request; /* while UNDECIDED, too */
			struct http1 response;
			struct request *reading; /* the newest request, while it is not is_read */
		} http;
		struct {
			struct resp_command command;
			struct resp_reply reply;
			uint64_t begin_ns; /* of the command being received */
			uint32_t work;     /* the endpoint that stands for the commands last received */
			uint32_t receiving_work; /* of a command half received, WORK_PENDING = none or not known */
			uint32_t random;
		} redis;
	};
};

/* One call of the program: what the pieces of its bytes have in common. */
struct traffic_call {
	uint64_t now_ns;
	uint32_t work;     /* what the thread works for from now on; WORK_PENDING = no news */
	uint32_t commands; /* Redis: received in this call */
	struct observe_run run;
};

/* A new connection: everything but its life is set. */
void traffic_begin(struct conn *conn);

/* Bytes passed. Between them and after the last: traffic_call_end. */
void traffic_received(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
void traffic_sent(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
void traffic_received_unseen(struct conn *conn, size_t n, struct traffic_call *call);
void traffic_sent_unseen(struct conn *conn, size_t n, struct traffic_call *call);
void traffic_call_end(struct conn *conn, struct traffic_call *call);

/* No more bytes will be sent. */
void traffic_sent_all(struct conn *conn, struct traffic_call *call);

/* The connection ends. is_handed_over: another process goes on with it, so that what is unanswered is its business. */
void traffic_end(struct conn *conn, bool is_handed_over, struct traffic_call *call);

/* The same for a connection that this process never counted: nothing is. */
void traffic_forget(struct conn *conn);

/* It cannot be followed any more; counter (SEG_COUNTER_LOST_*) says why. What was unanswered is not counted. */
void traffic_give_up(struct conn *conn, enum seg_counter counter);

/* This process is another one than the gauges of the connection belong to: it counts it now. */
void traffic_adopt(struct conn *conn);

/* Whom a receiving call works for: WORK_PENDING, the endpoint whose body is being received, or a stream's. */
static inline uint32_t traffic_work_receiving(struct conn *conn)
{
	return atomic_load_explicit(&conn->receiving_work, memory_order_relaxed);
}

/* Whom a sending call works for; WORK_PENDING = as before. With TRAFFIC_WORK_WEAK: as before if that was a request. */
#define TRAFFIC_WORK_WEAK (1u << 30)
static inline uint32_t traffic_work_sending(struct conn *conn)
{
	return atomic_load_explicit(&conn->sending_work, memory_order_relaxed);
}

/* For the protocols' own files. */

/* The protocol is certain: counts the connection and its bytes under it. Again changes nothing. */
void traffic_settle(struct conn *conn, enum seg_protocol protocol);

/* The bytes fit no protocol. */
void traffic_unclassified(struct conn *conn);

/* From now on there are only bytes, of the stream that endpoint opened (REQUEST_NO_ENDPOINT: of nothing known). */
void traffic_follow_bytes(struct conn *conn, uint32_t endpoint);

/* Gives http's carry back, or one to it. False: the pool is exhausted. */
void traffic_carry_give(struct http1 *http);
bool traffic_carry_take(struct http1 *http);

/* One side of a protocol each; HTTP's and Redis's. */
void traffic_http_begin(struct conn *conn);                             /* the first line was read: HTTP1_LINE is due */
void traffic_http_begin_broken(struct conn *conn);                      /* something came that is no request */
void traffic_http_line(struct conn *conn, struct traffic_call *call);   /* HTTP1_LINE of a request */
void traffic_http_received(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
void traffic_http_sent(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
void traffic_http_sent_all(struct conn *conn, struct traffic_call *call);
void traffic_http_end(struct conn *conn, struct traffic_call *call);
struct request *traffic_http_unanswered(struct conn *conn);

void traffic_redis_begin(struct conn *conn);
void traffic_redis_received(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
void traffic_redis_sent(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
void traffic_redis_end(struct conn *conn, struct traffic_call *call);
