/* Who speaks which protocol is told by the client's first bytes, and believed once the server's answer fits it. A first
 * line that is no request of any protocol may still be one for an HTTP server, which then answers 400: so it is followed
 * as a broken HTTP request, and only the answer tells that it was something else.
 */
#include "traffic.h"

#include "endpoint.h"
#include "listing.h"
#include "memcached.h"
#include "mysql.h"
#include "peer.h"
#include "slow.h"
#include "traffic_fastcgi.h"
#include "traffic_http2.h"
#include "traffic_memcached.h"
#include "traffic_sql.h"

#include <errno.h>
#include <string.h>

static const struct traffic_protocol traffic_undecided, traffic_bytes, traffic_tls;

struct carry {
	struct pool_link link;
	char text[HTTP1_CARRY_BYTES];
};

/* 16 MiB: connections whose head stands half received at the same time. */
static struct pool carries = POOL_OF(struct carry, 16384);

bool traffic_carry_take(struct http1 *http)
{
	struct carry *carry = pool_take(&carries);

	if (!carry)
		return false;
	http->carry = carry->text;
	return true;
}

void traffic_carry_give(struct http1 *http)
{
	if (!http->carry)
		return;
	pool_give(&carries, http->carry - offsetof(struct carry, text));
	http->carry = NULL;
	http->carried_bytes = 0;
}

/* life */

static void forget_nothing_asked(struct conn *conn)
{
	conn->received_bytes = 0;
	conn->sent_bytes = 0;
	conn->asked_bytes = 0;
	conn->first_ns = 0;
	conn->answered_ns = 0;
}

void traffic_begin(struct conn *conn, int fd, const struct peer_address *server, uint64_t now_ns)
{
	bool is_client = server != NULL;

	conn->protocol = SEG_PROTOCOL_UNKNOWN;
	conn->is_settled = false;
	conn->is_client = is_client;
	conn->server = is_client ? *server : (struct peer_address){ 0 };
	conn->is_tls = false;
	conn->is_received_at_end = false;
	conn->peer = SEG_PEER_NONE;
	atomic_store_explicit(&conn->fd, fd, memory_order_relaxed);
	conn->failure = 0;
	conn->listing = listing_claim(is_client ? SEG_CONNECTION_ASKED : SEG_CONNECTION_SERVED, fd, now_ns);
	conn->reader = 0;
	conn->stream = REQUEST_NO_ENDPOINT;
	conn->behalf = is_client && work_is_request(self.work) ? self.work : WORK_NONE;
	forget_nothing_asked(conn);
	memset(&conn->queue, 0, sizeof(conn->queue));
	traffic_follow(conn, &traffic_undecided);
	atomic_store_explicit(&conn->receiving_endpoint, WORK_PENDING, memory_order_relaxed);
	atomic_store_explicit(&conn->sending_endpoint, WORK_PENDING, memory_order_relaxed);
	if (!is_client)
		observe_open(SEG_PROTOCOL_UNKNOWN, 1);
}

void traffic_follow(struct conn *conn, const struct traffic_protocol *protocol)
{
	memset(conn->state, 0, sizeof(conn->state));
	conn->http.response.is_response = true; /* while undecided the state is HTTP's */
	if (protocol != &traffic_undecided)
		conn->http.response.is_response = false;
	conn->as = protocol;
}

static void show_protocol(const struct conn *conn)
{
	struct seg_connection *entry = conn->listing;

	if (!entry)
		return;
	atomic_store_explicit(&entry->protocol, conn->protocol, memory_order_relaxed);
	atomic_store_explicit(&entry->scheme, conn->is_tls ? SEG_SCHEME_TLS : SEG_SCHEME_PLAIN, memory_order_relaxed);
}

/* Gauges and counters of connections are those that the program accepted. */
static void settle_served(struct conn *conn)
{
	observe_accepted(conn->protocol);
	observe_received(conn->protocol, conn->received_bytes);
	observe_sent(conn->protocol, conn->sent_bytes);
	if (conn->protocol == SEG_PROTOCOL_UNKNOWN)
		return;
	observe_open(SEG_PROTOCOL_UNKNOWN, -1);
	observe_open(conn->protocol, 1);
}

void traffic_settle_now(struct conn *conn, enum seg_protocol protocol)
{
	conn->is_settled = true;
	conn->protocol = (uint8_t)protocol;
	show_protocol(conn);
	if (!conn->is_client)
		settle_served(conn);
	else if (protocol != SEG_PROTOCOL_UNKNOWN && protocol != SEG_PROTOCOL_TLS)
		conn->peer = (uint8_t)peer_of(&conn->server, atomic_load_explicit(&conn->fd, memory_order_relaxed));
}

static void forget_each(struct conn *conn)
{
	struct request *request;

	while ((request = request_oldest(&conn->queue))) {
		traffic_drop(conn, request);
		request_pop(&conn->queue);
	}
}

void traffic_forget(struct conn *conn)
{
	if (conn->as->forget)
		conn->as->forget(conn);
	forget_each(conn);
	conn->listing = NULL; /* the entry is the other process's */
}

static enum seg_scheme scheme_of(const struct conn *conn, const struct request *request)
{
	return conn->is_tls || request->is_https ? SEG_SCHEME_TLS : SEG_SCHEME_PLAIN;
}

void traffic_move_gauges(const struct conn *conn, const struct request *request, int direction)
{
	if (request->is_active)
		observe_active(request->method, scheme_of(conn, request), direction);
	if (request->is_stream)
		observe_stream_moved(conn->protocol, direction);
}

struct gauge_move {
	const struct conn *conn;
	int direction;
};

static void move_queued(struct request *request, void *argument)
{
	const struct gauge_move *move = argument;

	traffic_move_gauges(move->conn, request, move->direction);
}

static void move_gauges(struct conn *conn, int direction)
{
	request_each(&conn->queue, move_queued, &(struct gauge_move){ conn, direction });
	if (conn->as->move_gauges)
		conn->as->move_gauges(conn, direction);
}

/* What the connection was so far is over, uncounted. */
static void leave_protocol(struct conn *conn)
{
	move_gauges(conn, -1);
	if (conn->as->forget)
		conn->as->forget(conn);
	forget_each(conn);
}

void traffic_follow_bytes(struct conn *conn, uint32_t endpoint, uint64_t now_ns)
{
	leave_protocol(conn);
	traffic_follow(conn, &traffic_bytes);
	conn->stream = endpoint;
	conn->stream_ns = now_ns;
	if (endpoint != REQUEST_NO_ENDPOINT && !conn->is_client)
		observe_stream_opened(conn->protocol, endpoint);
}

void traffic_unclassified(struct conn *conn)
{
	if (!conn->is_client)
		thread_count(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, 0);
	traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
}

static inline const struct request *oldest_unanswered(struct conn *conn)
{
	const struct request *request = request_oldest(&conn->queue);

	return request && !request->is_answered ? request : NULL;
}

void traffic_give_up(struct conn *conn, enum seg_counter counter)
{
	thread_count(counter);
	if (conn->as != &traffic_bytes)
		traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, 0);
	traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
	conn->as->show_work(conn, oldest_unanswered(conn));
}

/* requests */

void traffic_begin_request(struct conn *conn, struct request *request, uint64_t begin_ns)
{
	request->begin_ns = begin_ns;
	request->ordinal = ++conn->requests_count;
	if (!conn->is_client)
		return;
	if (work_is_request(self.work))
		conn->behalf = self.work;
	else if (work_is_job()) /* for a request, but not for that of the last time */
		conn->behalf = WORK_NONE;
	request->behalf = conn->behalf;
}

struct request *traffic_push(struct conn *conn, uint64_t begin_ns)
{
	struct request *request = request_push(&conn->queue, begin_ns);

	if (!request)
		traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
	else
		traffic_begin_request(conn, request, begin_ns);
	return request;
}

void traffic_head_http(struct conn *conn, struct request *request, enum seg_method method, const char *target, size_t n)
{
	if (conn->is_client) {
		request->method = (uint8_t)method;
		request->endpoint = endpoint_of_http_method(method);
		return;
	}
	uint32_t candidate, endpoint = endpoint_of_http(method, target, (uint32_t)n, &candidate);
	traffic_head_http_known(conn, request, method, endpoint);
	request->candidate = candidate;
}

void traffic_head_http_known(struct conn *conn, struct request *request, enum seg_method method, uint32_t endpoint)
{
	request->method = (uint8_t)method;
	request->endpoint = endpoint;
	request->is_active = true;
	observe_active(method, scheme_of(conn, request), 1);
}

void traffic_head_rpc(struct conn *conn, struct request *request, const char *path, size_t n)
{
	(void)conn;
	request->is_rpc = true;
	request->endpoint = endpoint_of_rpc(path, (uint32_t)n, &request->candidate);
}

void traffic_head_operation(struct request *request, enum seg_protocol protocol, uint32_t operation, const char *name)
{
	request->endpoint = endpoint_of_operation(protocol, operation, name);
}

enum { HTTP_NOT_FOUND = 404, GRPC_UNIMPLEMENTED = 1 + 12 };

static bool is_found(const struct request *request, uint16_t status)
{
	return status != (request->is_rpc ? GRPC_UNIMPLEMENTED : HTTP_NOT_FOUND);
}

static uint64_t duration_ns(const struct request *request, const struct traffic_call *call)
{
	return call->now_ns > request->begin_ns ? call->now_ns - request->begin_ns : 0;
}

/* Who asks and goes away before any answer makes no route, for anybody can ask for anything; but who waited so long that
 * the request is kept as a slow one wants to know what for. */
static bool is_named(const struct request *request, const struct traffic_outcome *outcome, const struct traffic_call *call)
{
	if (outcome->error == SEG_ERROR_RESET && duration_ns(request, call) < seg.head->config.slow_ns)
		return false;
	return is_found(request, outcome->status);
}

static void settle_endpoint(struct conn *conn, struct request *request, bool found, struct traffic_call *call)
{
	request->endpoint = endpoint_settle(request->candidate, found);
	request->candidate = 0;
	/* What the thread did for the candidate it goes on doing for what has become of it. */
	if (!conn->is_client && self.work.request == traffic_request_number(conn, request) &&
	    (call->work.endpoint == WORK_PENDING || call->work.request == self.work.request))
		call->work = traffic_work_of(conn, request);
}

void traffic_settle_endpoint(struct conn *conn, struct request *request, uint16_t status, struct traffic_call *call)
{
	settle_endpoint(conn, request, is_found(request, status), call);
}

static __attribute__((cold)) void keep_slow(struct conn *conn, const struct request *request, const struct observation *seen,
					     const struct traffic_outcome *outcome, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		slow_keep(&(struct slow_request){
			.request = request,
			.seen = seen,
			.number = traffic_request_number(conn, request) + i,
			.response_bytes = outcome->response_bytes,
		});
}

static void keep_ids(const struct request *request, const struct observation *seen)
{
	const struct trace_context *trace = request_trace(request);

	if (trace && trace_is_known(trace))
		observe_exemplar(seen, trace->trace_id, trace->span_id);
}

static inline void observe_served(struct conn *conn, const struct request *request, const struct observation *seen,
				  const struct traffic_outcome *outcome, uint32_t count, const struct traffic_call *call)
{
	if (__builtin_expect(request->first_byte_ns != 0, 1))
		observe_first_byte(&call->run, seen->endpoint, seen->duration_ns, request->first_byte_ns - request->begin_ns, count);
	if (__builtin_expect(seen->duration_ns >= seg.head->config.slow_ns, 0))
		keep_slow(conn, request, seen, outcome, count);
	if (request->trace)
		keep_ids(request, seen);
}

static __attribute__((cold)) void count_overflow_peers(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		thread_count(SEG_COUNTER_OVERFLOW_PEERS);
}

/* Its label set now counts it, so that an exemplar finds its place. */
static inline void observe_duration(struct conn *conn, const struct request *request, const struct observation *seen,
				    const struct traffic_outcome *outcome, uint32_t count, struct traffic_call *call)
{
	observe_run_add(&call->run, seen, count);
	if (__builtin_expect(seen->peer == SEG_PEER_OTHER, 0))
		count_overflow_peers(count);
	if (__builtin_expect(!conn->is_client, 1))
		observe_served(conn, request, seen, outcome, count, call);
}

void traffic_stream_begins(struct conn *conn, struct request *request)
{
	if (conn->is_client || request->is_stream || request->endpoint == REQUEST_NO_ENDPOINT)
		return;
	request->is_stream = true;
	observe_stream_opened(conn->protocol, request->endpoint);
}

static __attribute__((cold)) void observe_stream(struct conn *conn, struct request *request, const struct observation *seen)
{
	traffic_stream_begins(conn, request);
	if (request->is_stream)
		observe_stream_ended(conn->protocol, seen->endpoint, seen->duration_ns);
	request->is_stream = false;
}

void traffic_finish_copies(struct conn *conn, struct request *request, const struct traffic_outcome *outcome, uint32_t count,
			   struct traffic_call *call)
{
	if (__builtin_expect(request->endpoint == REQUEST_NO_ENDPOINT, 0))
		request->endpoint = endpoint_of_broken_http();
	if (__builtin_expect(request->candidate, 0))
		settle_endpoint(conn, request, is_named(request, outcome, call), call);
	struct observation seen = {
		.endpoint = request->endpoint,
		.status = outcome->status,
		.error = outcome->error,
		.scheme = (uint8_t)scheme_of(conn, request),
		.peer = conn->peer,
		.duration_ns = duration_ns(request, call),
	};
	if (__builtin_expect(outcome->is_stream || request->is_stream, 0))
		observe_stream(conn, request, &seen);
	else
		observe_duration(conn, request, &seen, outcome, count, call);
	if (traffic_has_bodies(conn, request))
		observe_response_body(request->endpoint, outcome->response_bytes);
	if (request->is_active)
		observe_active(request->method, scheme_of(conn, request), -1);
	request->is_active = false;
	request->is_answered = true;
	request_drop_trace(request);
	if (conn->listing)
		listing_add(&conn->listing->requests, count);
	if (conn->is_client)
		return;
	call->answered = traffic_work_of(conn, request);
	call->answered.request += count - 1;
	call->answered_count += count;
	for (uint32_t i = 0; work_has_heirs() && i < count; i++)
		work_end_inheritances(call->answered.request - i);
}

void traffic_drop(struct conn *conn, struct request *request)
{
	if (!conn->is_client)
		work_request_ended(traffic_request_number(conn, request));
	if (request->candidate)
		endpoint_forget(request->candidate);
	request->candidate = 0;
	request_drop_trace(request);
}

/* undecided */

static bool is_redis_line(const char *line, size_t n)
{
	struct resp_command command = { 0 };

	if (n && line[0] == '*')
		return true;
	return resp_read_command(&command, line, n).event == RESP_MORE &&
	       resp_read_command(&command, "\n", 1).event == RESP_ITEM && command.command != REDIS_COMMAND_OTHER;
}

/* The line is eaten already and may lie in the carry, which is given back when it is read. */
static void become(struct conn *conn, const struct traffic_protocol *protocol, const char *line_end,
		   struct traffic_call *call)
{
	struct http1 http = conn->http.request;

	if (protocol)
		traffic_follow(conn, protocol);
	else
		traffic_redis_begin(conn);
	conn->as->asked(conn, http.target, http.target_bytes, call);
	conn->as->asked(conn, line_end, strlen(line_end), call);
	traffic_carry_give(&http);
}

/* What has come of the first line is the beginning of an HTTP request: a known method and a space. */
static bool begins_like_http(const struct http1 *http)
{
#define METHOD_WORD(id, name) name " ",
	static const char *const words[] = { SEG_METHODS(METHOD_WORD) };

	for (size_t i = 1; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i]);
		if (http->carried_bytes >= n && memcmp(http->carry, words[i], n) == 0)
			return true;
	}
	return false;
}

/* Protocols that the first byte of the client tells: none of them begins as a line of text does. */
static const struct traffic_protocol *protocol_of_byte(unsigned char first)
{
	switch (first) {
	case 0x00: return &traffic_postgres; /* a length below 64 KiB, of which there are four bytes */
	case 0x01: return &traffic_fastcgi; /* its version */
	case 0x16: return &traffic_tls; /* a handshake record, RFC 8446 clause 5.1 */
	case 0x80: return &traffic_memcached; /* its binary protocol's magic byte */
	default: return NULL;
	}
}

/* The first line of HTTP/2's preface: RFC 9113 clause 3.4. */
static bool is_http2_line(const char *line, size_t n)
{
	static const char preface[] = "PRI * HTTP/2.0";

	return n == sizeof(preface) - 1 && memcmp(line, preface, n) == 0;
}

/* The first line of the client is there: HTTP1_LINE, or no HTTP. */
static void on_first_line(struct conn *conn, enum http1_event event, struct traffic_call *call)
{
	const struct http1 *http = &conn->http.request;

	if (event == HTTP1_LINE)
		traffic_http_begin(conn, call);
	else if (http->target && is_http2_line(http->target, http->target_bytes))
		become(conn, &traffic_http2, "\r\n", call);
	else if (http->target && memcached_may_begin(http->target, http->target_bytes))
		become(conn, &traffic_memcached, "\r\n", call);
	else if (http->target && is_redis_line(http->target, http->target_bytes))
		become(conn, NULL, "\n", call);
	else
		traffic_http_begin_broken(conn, call);
}

static void undecided_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct http1 *http = &conn->http.request;
	const struct traffic_protocol *protocol = conn->asked_bytes == n ? protocol_of_byte((unsigned char)bytes[0]) : NULL;

	if (protocol) {
		traffic_follow(conn, protocol);
		protocol->asked(conn, bytes, n, call);
		return;
	}
	struct http1_step step = http1_read(http, bytes, n);
	if (step.event == HTTP1_NEEDS_CARRY) {
		if (!traffic_carry_take(http)) {
			traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
			return;
		}
		bytes += step.used_bytes;
		n -= step.used_bytes;
		step = http1_read(http, bytes, n);
	}
	if (step.event == HTTP1_MORE)
		return;
	on_first_line(conn, step.event, call);
	if (n > step.used_bytes)
		conn->as->asked(conn, bytes + step.used_bytes, n - step.used_bytes, call);
}

/* A server of HTTP/2 need not wait for the client's preface, of which some may have come (RFC 9113 clause 3.4). */
static void become_greeted(struct conn *conn, struct traffic_call *call)
{
	struct http1 http = conn->http.request;

	traffic_follow(conn, &traffic_http2);
	if (http.carried_bytes)
		conn->as->asked(conn, http.carry, http.carried_bytes, call);
	traffic_carry_give(&http);
}

static void undecided_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	if (traffic_http2_is_greeting(bytes, n)) {
		become_greeted(conn, call);
		conn->as->answered(conn, bytes, n, call);
		return;
	}
	if (!conn->asked_bytes && mysql_greets(bytes, n) != MYSQL_NOT) {
		traffic_follow(conn, &traffic_mysql);
		conn->as->answered(conn, bytes, n, call);
		return;
	}
	if (!conn->asked_bytes) { /* a greeting of something else */
		traffic_unclassified(conn);
		return;
	}
	traffic_http_begin_broken(conn, call);
	conn->as->answered(conn, bytes, n, call);
}

static void undecided_call_end(struct conn *conn)
{
	if (conn->http.request.carry && !conn->http.request.carried_bytes)
		traffic_carry_give(&conn->http.request);
}

static void undecided_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	if (begins_like_http(&conn->http.request)) {
		traffic_http_begin(conn, call);
		conn->as->end(conn, error, call);
	} else if (conn->received_bytes || conn->sent_bytes) {
		traffic_unclassified(conn);
	} else {
		traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
	}
}

static void undecided_forget(struct conn *conn)
{
	traffic_carry_give(&conn->http.request);
}

static void undecided_show_work(struct conn *conn, const struct request *oldest)
{
	(void)oldest;
	traffic_show_work(conn, WORK_NONE, WORK_NONE);
}

static const struct traffic_protocol traffic_undecided = {
	.protocol = SEG_PROTOCOL_UNKNOWN,
	.asked = undecided_asked,
	.answered = undecided_answered,
	.call_end = undecided_call_end,
	.end = undecided_end,
	.forget = undecided_forget,
	.show_work = undecided_show_work,
};

/* bytes */

static void bytes_pass(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	(void)conn, (void)bytes, (void)n, (void)call;
}

static bool bytes_pass_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	(void)conn, (void)n, (void)call;
	return true;
}

static void bytes_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	(void)error;
	if (conn->stream != REQUEST_NO_ENDPOINT && !conn->is_client)
		observe_stream_ended(conn->protocol, conn->stream,
				     call->now_ns > conn->stream_ns ? call->now_ns - conn->stream_ns : 0);
	conn->stream = REQUEST_NO_ENDPOINT;
	traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
}

static struct work bytes_work(const struct conn *conn)
{
	if (conn->stream == REQUEST_NO_ENDPOINT)
		return (struct work){ SEG_ENDPOINT_BACKGROUND, 0 };
	return (struct work){ conn->stream, 0 };
}

/* Of a protocol that is not read: weak, so that what a request sends to the streams of others stays that request's. */
static struct work weak(struct work work)
{
	work.endpoint |= TRAFFIC_WORK_WEAK;
	return work;
}

static void bytes_show_work(struct conn *conn, const struct request *oldest)
{
	struct work work = bytes_work(conn);

	(void)oldest;
	traffic_show_work(conn, work, weak(conn->is_client ? conn->behalf : work));
}

static void bytes_move_gauges(struct conn *conn, int direction)
{
	if (conn->stream != REQUEST_NO_ENDPOINT && !conn->is_client)
		observe_stream_moved(conn->protocol, direction);
}

static const struct traffic_protocol traffic_bytes = {
	.protocol = SEG_PROTOCOL_UNKNOWN,
	.asked = bytes_pass,
	.answered = bytes_pass,
	.asked_unseen = bytes_pass_unseen,
	.answered_unseen = bytes_pass_unseen,
	.end = bytes_end,
	.show_work = bytes_show_work,
	.move_gauges = bytes_move_gauges,
};

/* TLS whose plain bytes do not come through a hook, or not yet */

enum { TLS_HEADER_BYTES = 5, TLS_APPLICATION_DATA = 23 };

struct tls_side {
	uint8_t header[TLS_HEADER_BYTES]; /* of the record being read */
	uint8_t header_bytes;
	uint32_t left_bytes;
};

struct tls_state {
	struct tls_side asked, answered;
	bool has_asked; /* records of application data came from the client, though perhaps the end of its handshake */
};

/* True: a record of application data began, which the end of a handshake may also look like: RFC 8446 clause 5.1. */
static bool tls_read(struct tls_side *side, const char *bytes, size_t n)
{
	bool has_begun = false;

	while (n) {
		size_t skipped = n < side->left_bytes ? n : side->left_bytes;
		side->left_bytes -= (uint32_t)skipped;
		bytes += skipped;
		n -= skipped;
		if (!n)
			break;
		side->header[side->header_bytes++] = (uint8_t)*bytes++;
		n--;
		if (side->header_bytes < TLS_HEADER_BYTES)
			continue;
		side->header_bytes = 0;
		side->left_bytes = (uint32_t)side->header[3] << 8 | side->header[4];
		has_begun |= side->header[0] == TLS_APPLICATION_DATA;
	}
	return has_begun;
}

static void tls_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct tls_state *tls = traffic_state(conn, struct tls_state);

	(void)call;
	if (!conn->is_settled)
		tls->has_asked |= tls_read(&tls->asked, bytes, n);
}

static void tls_is_blind(struct conn *conn)
{
	thread_count(SEG_COUNTER_BLIND_TLS);
	traffic_settle(conn, SEG_PROTOCOL_TLS);
}

/* A server that has something to say after the client's handshake, or its question, said it to a library that we do not
 * see: one that we do would have told of the handshake's end by now. */
static void tls_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct tls_state *tls = traffic_state(conn, struct tls_state);

	(void)call;
	if (!conn->is_settled && tls_read(&tls->answered, bytes, n) && tls->has_asked)
		tls_is_blind(conn);
}

static void tls_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	(void)error, (void)call;
	if (!conn->is_settled && traffic_state(conn, struct tls_state)->has_asked)
		tls_is_blind(conn);
	traffic_settle(conn, SEG_PROTOCOL_TLS);
}

static const struct traffic_protocol traffic_tls = {
	.protocol = SEG_PROTOCOL_TLS,
	.asked = tls_asked,
	.answered = tls_answered,
	.asked_unseen = bytes_pass_unseen,
	.answered_unseen = bytes_pass_unseen,
	.end = tls_end,
	.show_work = bytes_show_work,
};

void traffic_tls_opened(struct conn *conn)
{
	if (conn->is_tls)
		return;
	/* What is active already is so by another scheme from now on. */
	request_each(&conn->queue, move_queued, &(struct gauge_move){ conn, -1 });
	conn->is_tls = true;
	request_each(&conn->queue, move_queued, &(struct gauge_move){ conn, 1 });
	show_protocol(conn);
	if (conn->is_settled || (conn->as != &traffic_tls && conn->as != &traffic_undecided))
		return; /* such as PostgreSQL, which agreed on TLS in its own words and goes on */
	leave_protocol(conn);
	forget_nothing_asked(conn);
	traffic_follow(conn, &traffic_undecided);
	/* The handshake, where the program itself passed it on. */
	conn->received_bytes = conn->sent_bytes = 0;
}

/* bytes in, whatever the protocol */

/* A server answers in the words of HTTP what was taken for something else: 400 to bytes that were nothing to it. */
static bool is_http_after_all(const struct conn *conn, const char *bytes, size_t n)
{
	return n >= 2 && bytes[0] == 'H' && bytes[1] == 'T' && conn->as != &traffic_undecided &&
	       conn->as->protocol != SEG_PROTOCOL_HTTP && conn->as != &traffic_bytes;
}

void traffic_answered_first(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	if (!is_http_after_all(conn, bytes, n))
		return;
	leave_protocol(conn);
	traffic_follow(conn, &traffic_undecided); /* nothing is left of the other protocol's state */
	traffic_http_begin_broken(conn, call);
}

void traffic_asked_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	traffic_asking(conn, n, call);
	if (!conn->as->asked_unseen || !conn->as->asked_unseen(conn, n, call))
		traffic_give_up(conn, SEG_COUNTER_LOST_UNSEEN_BYTES);
}

void traffic_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	conn->answered_ns = call->now_ns;
	if (!conn->as->answered_unseen || !conn->as->answered_unseen(conn, n, call))
		traffic_give_up(conn, SEG_COUNTER_LOST_UNSEEN_BYTES);
}

/* A client that goes on for long without an answer and without a line that means something. */
static bool is_hopeless(struct conn *conn)
{
	if (conn->asked_bytes <= TRAFFIC_UNDECIDED_BYTES)
		return false;
	/* A head beyond all bounds that began as a request's is one, and the server will say so. */
	const struct request *request = request_oldest(&conn->queue);
	return conn->as == &traffic_undecided ||
	       (conn->as->protocol == SEG_PROTOCOL_HTTP && conn->http.request.state == HTTP1_STATE_BROKEN &&
		(!request || request->endpoint == REQUEST_NO_ENDPOINT));
}

static inline void show_waiting(struct conn *conn, const struct request *request)
{
	struct listing_wait wait = { .endpoint = SEG_ENDPOINT_BACKGROUND };

	if (__builtin_expect(conn->stream != REQUEST_NO_ENDPOINT, 0))
		wait = (struct listing_wait){ conn->stream_ns, conn->stream, 1, true };
	else if (request)
		wait = (struct listing_wait){ request->begin_ns, request->endpoint, conn->queue.count, request->is_stream };
	listing_waits(conn->listing, &wait);
}

void traffic_call_end(struct conn *conn, struct traffic_call *call)
{
	if (call->run.count)
		observe_run_flush(&call->run);
	if (__builtin_expect(!conn->is_settled, 0) && is_hopeless(conn))
		traffic_unclassified(conn);
	if (conn->as->call_end)
		conn->as->call_end(conn);
	const struct request *unanswered = oldest_unanswered(conn);
	conn->as->show_work(conn, unanswered);
	show_waiting(conn, unanswered);
}

/* A stream is as long as it is open. */
void traffic_answered_all(struct conn *conn, struct traffic_call *call)
{
	const struct request *request = request_oldest(&conn->queue);
	uint64_t now_ns = call->now_ns;

	if (!conn->as->answered_all)
		return;
	if (conn->answered_ns && request && !request->is_stream)
		call->now_ns = conn->answered_ns;
	conn->as->answered_all(conn, call);
	call->now_ns = now_ns;
}

/* Why what is unanswered will stay so. A client that closes while the server could still answer has waited enough. */
static enum seg_error error_of_end(const struct conn *conn)
{
	if (conn->failure == ETIMEDOUT || (conn->is_client && !conn->failure && !conn->is_received_at_end))
		return SEG_ERROR_TIMEOUT;
	return SEG_ERROR_RESET;
}

void traffic_end(struct conn *conn, bool is_handed_over, struct traffic_call *call)
{
	if (!is_handed_over) {
		traffic_answered_all(conn, call);
		conn->as->end(conn, error_of_end(conn), call);
	}
	leave_protocol(conn);
	observe_run_flush(&call->run);
	if (!conn->is_client)
		observe_open(conn->protocol, -1);
	listing_release(conn->listing);
	conn->listing = NULL;
}

void traffic_adopt(struct conn *conn)
{
	const struct seg_connection *before = conn->listing;
	uint64_t opened_ns = before ? atomic_load_explicit(&before->opened_mono_ns, memory_order_relaxed) : 0;

	conn->listing = listing_claim(conn->is_client ? SEG_CONNECTION_ASKED : SEG_CONNECTION_SERVED,
				      atomic_load_explicit(&conn->fd, memory_order_relaxed), opened_ns);
	show_protocol(conn);
	if (conn->is_client)
		return;
	observe_open(conn->protocol, 1);
	move_gauges(conn, 1);
}
