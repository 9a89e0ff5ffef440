#pragma once
/* traffic - what the bytes of one connection mean: its protocol, its requests, and whose work they are.
 * Context: call.
 * Owns everything in struct conn but its life (connection.c). Every function but traffic_work_* needs the connection's
 * lock.
 *
 * A connection has two sides. The client asks, the server answers; the program is the one or the other (is_client), and
 * protocols need not know which. Until its first bytes tell more a connection is undecided; then a protocol follows it,
 * and the first answer settles whether that was right. Bytes that are no requests (any more) are only counted.
 */
#include "../base/work.h"
#include "http1.h"
#include "late.h"
#include "observe.h"
#include "peer.h"
#include "request.h"
#include "resp.h"

/* Bytes of a client without a sensible line and without an answer, after which it will not be understood any more. */
#define TRAFFIC_UNDECIDED_BYTES (64u * 1024)

/* What a protocol has for its state in a connection; more it takes from a pool, and gives back in forget. */
#define TRAFFIC_STATE_BYTES 448

struct conn;
struct traffic_call;

/* A protocol: what the two sides of its connections mean. Functions that may be NULL: then nothing is done. */
struct traffic_protocol {
	enum seg_protocol protocol;

	/* Bytes of the client's, n > 0; bytes of the server's. */
	void (*asked)(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);
	void (*answered)(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);

	/* n bytes passed that cannot be shown. False: what they were cannot be told, the connection is given up. NULL: so
	 * always. */
	bool (*asked_unseen)(struct conn *conn, size_t n, struct traffic_call *call);
	bool (*answered_unseen)(struct conn *conn, size_t n, struct traffic_call *call);

	/* The server will send no more; call has the time of its last byte. May be NULL. */
	void (*answered_all)(struct conn *conn, struct traffic_call *call);

	/* A call of the program is over: what is lent for its time only is given back. May be NULL. */
	void (*call_end)(struct conn *conn);

	/* The connection ends: what is unanswered failed with error. Settles the connection, or calls traffic_unclassified. */
	void (*end)(struct conn *conn, enum seg_error error, struct traffic_call *call);

	/* Gives back all memory but the queue's requests, and counts nothing. May be NULL. */
	void (*forget)(struct conn *conn);

	/* Says by traffic_show_work whose work it is to pass bytes now. oldest: the queue's, NULL = none waits for an answer. */
	void (*show_work)(struct conn *conn, const struct request *oldest);

	/* Moves what gauges count of it besides the queue's requests by direction, 1 or -1. May be NULL. */
	void (*move_gauges)(struct conn *conn, int direction);
};

struct conn {
	/* What every call touches comes first, so that it lies in few cache lines. */
	struct pool_link link;
	_Atomic uint64_t lock;  /* connection.c */
	_Atomic uint32_t refs;  /* connection.c */
	uint32_t generation;    /* of the process that counts it in its gauges */
	_Atomic(struct late *) late; /* connection.c: what was left to whoever holds the lock */
	uint32_t forks_at_use;  /* forks of this process when bytes last passed */
	struct seg_connection *listing; /* listing.h; NULL = none */
	const struct traffic_protocol *as;
	uint8_t protocol;       /* enum seg_protocol; UNKNOWN until settled */
	bool is_settled;        /* the protocol is counted: accepted, gauge and bytes */
	bool is_client;         /* the program asks */
	bool is_tls;            /* its plain bytes come from the hooks of TLS libraries */
	bool is_received_at_end; /* the other side sent its last byte */
	uint8_t peer;           /* is_client: once settled */
	_Atomic bool is_missed; /* connection.c: somebody came while the lock was held, and could not even leave a word */
	_Atomic bool never_waits; /* connection.c */
	uint32_t reader;        /* tid of the thread that last received */
	uint32_t stream;        /* the endpoint whose stream the connection is now, REQUEST_NO_ENDPOINT = none */
	/* W: who holds the lock; R: any thread, relaxed, each half for itself: see traffic_work_*. */
	_Atomic uint32_t receiving_endpoint, sending_endpoint;
	_Atomic uint64_t receiving_request, sending_request;
	uint64_t asked_bytes;   /* of the client's so far */
	uint64_t answered_ns;   /* when the server's last byte passed */
	struct work behalf;     /* is_client: the work for which the program last asked */

	_Atomic uint32_t opens; /* connection.c: how many connections this memory was */
	_Atomic int32_t fd;     /* its newest number; relaxed */
	struct peer_address server; /* is_client */
	int32_t failure;        /* errno of the last call that failed for good */
	uint32_t requests_count; /* ordinal of the newest request; goes on where the object's last connection ended */
	uint64_t stream_ns;     /* since when it is a stream */
	uint64_t received_bytes; /* until settled: not counted yet */
	uint64_t sent_bytes;
	uint64_t first_ns;      /* when the client's first byte passed */
	struct request_queue queue;
	union {
		struct {
			struct http1 request; /* while undecided, too */
			struct http1 response;
			struct request *reading; /* the newest request, while it is not is_read */
			uint64_t answer_ns;      /* when the first byte of the response being read passed */
			bool no_more_answers;    /* the server said that it closes */
			struct trace_context trace; /* of the request being read */
		} http;
		struct {
			struct resp_command command;
			struct resp_reply reply;
			uint64_t begin_ns; /* of the command being received */
			struct work work;      /* that of one command, which stands for all last received */
			struct work half_work; /* of a command half received, WORK_NONE = none or not known */
			uint64_t answer_ns; /* when the first byte of the answer being sent passed */
			uint32_t random;
			uint8_t silence;   /* CLIENT REPLY: of what comes next, the protocol's own */
			bool has_pushed;   /* the server pushes, so an array is always an answer: RESP3 */
		} redis;
		_Alignas(8) char state[TRAFFIC_STATE_BYTES]; /* other protocols': traffic_state */
	};
};

/* One call of the program: what the pieces of its bytes have in common. */
struct traffic_call {
	uint64_t now_ns;
	struct work work;  /* what the thread works for from now on; WORK_NONE = no news */
	uint32_t commands; /* Redis: received in this call */
	bool is_next_unknown; /* after work the thread works for what its next answer tells, not for what is known here */
	struct work answered; /* that of the last request whose response, sent by the program, ended in this call */
	uint32_t answered_count; /* such responses */
	struct observe_run run;
};

/* The protocol's own state, all zero when it begins; type must fit TRAFFIC_STATE_BYTES. */
#define traffic_state(conn, type) ((type *)(void *)(conn)->state + 0 * sizeof(char[sizeof(type) <= TRAFFIC_STATE_BYTES ? 1 : -1]))

/* A new connection: everything but its life is set. server: whom the program asks, NULL: it was asked. */
void traffic_begin(struct conn *conn, int fd, const struct peer_address *server, uint64_t now_ns);

/* Bytes passed, of the client's or of the server's. Between them and after the last: traffic_call_end. */
static inline void traffic_asking(struct conn *conn, size_t n, const struct traffic_call *call)
{
	if (__builtin_expect(!conn->asked_bytes, 0))
		conn->first_ns = call->now_ns;
	conn->asked_bytes += n;
}

static inline void traffic_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	traffic_asking(conn, n, call);
	conn->as->asked(conn, bytes, n, call);
}

__attribute__((cold)) void traffic_answered_first(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call);

static inline void traffic_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	conn->answered_ns = call->now_ns;
	if (__builtin_expect(!conn->is_settled, 0))
		traffic_answered_first(conn, bytes, n, call);
	conn->as->answered(conn, bytes, n, call);
}

void traffic_asked_unseen(struct conn *conn, size_t n, struct traffic_call *call);
void traffic_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call);
void traffic_call_end(struct conn *conn, struct traffic_call *call);

/* The server will send no more. A response that ends by that ended with the last byte that it sent. */
void traffic_answered_all(struct conn *conn, struct traffic_call *call);

/* The bytes of the connection are encrypted from now on, and its plain bytes come as its bytes. */
void traffic_tls_opened(struct conn *conn);

/* The connection ends. is_handed_over: another process goes on with it, so that what is unanswered is its business. */
void traffic_end(struct conn *conn, bool is_handed_over, struct traffic_call *call);

/* The same for a connection that this process never counted: nothing is. */
void traffic_forget(struct conn *conn);

/* It cannot be followed any more; counter (SEG_COUNTER_LOST_*) says why. What was unanswered is not counted. */
__attribute__((cold)) void traffic_give_up(struct conn *conn, enum seg_counter counter);

/* This process is another one than the gauges of the connection belong to: it counts it now. */
void traffic_adopt(struct conn *conn);

#define TRAFFIC_WORK_WEAK (1u << 30)

/* Whom a receiving call works for; WORK_NONE = not known. And a sending call; WORK_NONE = as before. */
static inline struct work traffic_work_receiving(struct conn *conn)
{
	return (struct work){ atomic_load_explicit(&conn->receiving_endpoint, memory_order_relaxed),
			      atomic_load_explicit(&conn->receiving_request, memory_order_relaxed) };
}

static inline struct work traffic_work_sending(struct conn *conn)
{
	return (struct work){ atomic_load_explicit(&conn->sending_endpoint, memory_order_relaxed),
			      atomic_load_explicit(&conn->sending_request, memory_order_relaxed) };
}

/* For the protocols' own files. */

/* From now on protocol follows the connection, its state all zero. What it was before must have no requests. */
void traffic_follow(struct conn *conn, const struct traffic_protocol *protocol);

__attribute__((cold)) void traffic_settle_now(struct conn *conn, enum seg_protocol protocol);

/* The protocol is certain: counts the connection and its bytes under it. Again changes nothing. */
static inline void traffic_settle(struct conn *conn, enum seg_protocol protocol)
{
	if (__builtin_expect(!conn->is_settled, 0))
		traffic_settle_now(conn, protocol);
}

/* The bytes fit no protocol. */
__attribute__((cold)) void traffic_unclassified(struct conn *conn);

/* From now on there are only bytes, of the stream that endpoint opened (REQUEST_NO_ENDPOINT: of nothing known). */
void traffic_follow_bytes(struct conn *conn, uint32_t endpoint, uint64_t now_ns);

/* A new request at the queue's end, or one that the protocol keeps itself (HTTP/2's streams), begun at begin_ns; the first
 * is numbered and remembers for which work it is asked. NULL: no memory, and the connection was given up. */
struct request *traffic_push(struct conn *conn, uint64_t begin_ns);
void traffic_begin_request(struct conn *conn, struct request *request, uint64_t begin_ns);

/* Tells a request from all others of the process. */
static inline uint64_t traffic_request_number(const struct conn *conn, const struct request *request)
{
	return (uint64_t)conn->link.number << 32 | request->ordinal;
}

/* Whose work a request is: its own, or, asked by the program, that for which it was asked. */
static inline struct work traffic_work_of(const struct conn *conn, const struct request *request)
{
	if (__builtin_expect(conn->is_client, 0))
		return request->behalf;
	return (struct work){ request->endpoint, traffic_request_number(conn, request) };
}

/* The request's HTTP head or its operation is known: sets its endpoint (by route where the program serves) and moves the
 * gauge of active requests. known: it is served, and its endpoint was found before. */
void traffic_head_http(struct conn *conn, struct request *request, enum seg_method method, const char *target, size_t n);
void traffic_head_http_known(struct conn *conn, struct request *request, enum seg_method method, uint32_t endpoint);
void traffic_head_rpc(struct conn *conn, struct request *request, const char *path, size_t n);
void traffic_head_operation(struct request *request, enum seg_protocol protocol, uint32_t operation, const char *name);

/* The first byte of its answer passed now; again changes nothing. */
static inline void traffic_first_byte(struct request *request, const struct traffic_call *call)
{
	if (!request->first_byte_ns)
		request->first_byte_ns = call->now_ns;
}

/* Its answer, which begins now, is a stream: its duration will stand in no histogram of requests. Again changes nothing. */
void traffic_stream_begins(struct conn *conn, struct request *request);

/* Moves what gauges count of request by direction, 1 or -1: for protocols that keep requests themselves. */
void traffic_move_gauges(const struct conn *conn, const struct request *request, int direction);

/* How a request ended. */
struct traffic_outcome {
	uint16_t status;         /* as in the key of a series; 0 = none */
	uint8_t error;           /* enum seg_error */
	bool is_stream;          /* as by traffic_stream_begins */
	uint64_t response_bytes; /* of its body, without framing */
};

/* The status of its answer is known, before its end: a route that was a candidate is one now, or is none. */
__attribute__((cold)) void traffic_settle_endpoint(struct conn *conn, struct request *request, uint16_t status, struct traffic_call *call);

static inline void traffic_answer_begins(struct conn *conn, struct request *request, uint16_t status, struct traffic_call *call)
{
	if (request->candidate)
		traffic_settle_endpoint(conn, request, status, call);
}

/* For a protocol's show_work: whose it is to pass bytes of the client (WORK_NONE: not known), and bytes of the server (WORK_NONE:
 * as before). With TRAFFIC_WORK_WEAK in endpoint: as before if that was a request. */
static inline void traffic_show_work(struct conn *conn, struct work asking, struct work answering)
{
	struct work sending = answering;

	if (__builtin_expect(conn->is_client, 0)) {
		asking = answering;
		sending = conn->behalf;
		sending.endpoint |= TRAFFIC_WORK_WEAK; /* leaves WORK_PENDING what it is */
	}
	atomic_store_explicit(&conn->receiving_endpoint, asking.endpoint, memory_order_relaxed);
	atomic_store_explicit(&conn->receiving_request, asking.request, memory_order_relaxed);
	atomic_store_explicit(&conn->sending_endpoint, sending.endpoint, memory_order_relaxed);
	atomic_store_explicit(&conn->sending_request, sending.request, memory_order_relaxed);
}

/* Whose turn it is, NULL = nobody's. */
static inline struct work traffic_work_of_turn(const struct conn *conn, const struct request *request)
{
	return request ? traffic_work_of(conn, request) : WORK_NONE;
}

/* Where a program that serves answers for one request of a batch, which stands for all; oldest as in show_work. */
static inline struct work traffic_work_of_batch(const struct conn *conn, const struct request *oldest, struct work drawn)
{
	return oldest && !conn->is_client ? drawn : traffic_work_of_turn(conn, oldest);
}

/* count requests, request and so many copies less one that follow it, are over at once, alike. */
void traffic_finish_copies(struct conn *conn, struct request *request, const struct traffic_outcome *outcome, uint32_t count,
			   struct traffic_call *call);

/* request is over: counts it. Leaves it where it is. HTTP: its body's size is counted by traffic_retire. */
static inline void traffic_finish(struct conn *conn, struct request *request, const struct traffic_outcome *outcome,
				  struct traffic_call *call)
{
	traffic_finish_copies(conn, request, outcome, 1, call);
}

static inline bool traffic_has_bodies(const struct conn *conn, const struct request *request)
{
	return !conn->is_client && seg.endpoints[request->endpoint].protocol == SEG_PROTOCOL_HTTP;
}

/* It is answered and read: counts its body, and gives back what it holds besides its place. */
static inline void traffic_retire(struct conn *conn, struct request *request)
{
	if (traffic_has_bodies(conn, request))
		observe_request_body(request->endpoint, request->body_bytes);
	request_drop_trace(request); /* which came after its answer, if there is one */
}

/* request will not be counted: gives back what it holds besides its place. Its gauges are the caller's. */
void traffic_drop(struct conn *conn, struct request *request);

/* Gives http's carry back, or one to it. False: the pool is exhausted. */
void traffic_carry_give(struct http1 *http);
bool traffic_carry_take(struct http1 *http);

/* HTTP/1 begins: with the first line, of which HTTP1_LINE is due; with something that is no request, but may be one to a
 * server that answers 400. */
void traffic_http_begin(struct conn *conn, struct traffic_call *call);
void traffic_http_begin_broken(struct conn *conn, struct traffic_call *call);

void traffic_redis_begin(struct conn *conn);
