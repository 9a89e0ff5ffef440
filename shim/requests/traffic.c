/* Who speaks which protocol is told by the client's first line, and believed once the server's answer fits it. A first
 * line that is no request of any protocol may still be one for an HTTP server, which then answers 400: so it is followed
 * as a broken HTTP request, and only the answer tells that it was something else.
 */
#include "traffic.h"

#include <string.h>

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

static void return_idle_carry(struct http1 *http)
{
	if (http->carry && !http->carried_bytes)
		traffic_carry_give(http);
}

static void reset_protocol(struct conn *conn)
{
	memset(&conn->http, 0, sizeof(conn->http));
	conn->http.response.is_response = true;
}

void traffic_begin(struct conn *conn)
{
	conn->follow = FOLLOW_UNDECIDED;
	conn->protocol = SEG_PROTOCOL_UNKNOWN;
	conn->is_settled = false;
	conn->no_more_answers = false;
	conn->stream = REQUEST_NO_ENDPOINT;
	conn->received_bytes = 0;
	conn->sent_bytes = 0;
	conn->first_ns = 0;
	memset(&conn->queue, 0, sizeof(conn->queue));
	reset_protocol(conn);
	atomic_store_explicit(&conn->receiving_work, WORK_PENDING, memory_order_relaxed);
	atomic_store_explicit(&conn->sending_work, WORK_PENDING, memory_order_relaxed);
	observe_open(SEG_PROTOCOL_UNKNOWN, 1);
}

void traffic_settle(struct conn *conn, enum seg_protocol protocol)
{
	if (conn->is_settled)
		return;
	conn->is_settled = true;
	conn->protocol = (uint8_t)protocol;
	observe_accepted(protocol);
	observe_received(protocol, conn->received_bytes);
	observe_sent(protocol, conn->sent_bytes);
	if (protocol == SEG_PROTOCOL_UNKNOWN)
		return;
	observe_open(SEG_PROTOCOL_UNKNOWN, -1);
	observe_open(protocol, 1);
}

void traffic_forget(struct conn *conn)
{
	if (conn->follow == FOLLOW_UNDECIDED || conn->follow == FOLLOW_HTTP) {
		traffic_carry_give(&conn->http.request);
		traffic_carry_give(&conn->http.response);
	}
	while (conn->queue.count)
		request_pop(&conn->queue);
}

static void move_active(struct request *request, int direction)
{
	if (request->is_active)
		observe_active(request->method, SEG_SCHEME_PLAIN, direction);
}

static void leave_protocol(struct conn *conn)
{
	request_each(&conn->queue, move_active, -1);
	traffic_forget(conn);
}

void traffic_follow_bytes(struct conn *conn, uint32_t endpoint)
{
	leave_protocol(conn);
	conn->follow = FOLLOW_BYTES;
	conn->stream = endpoint;
}

void traffic_unclassified(struct conn *conn)
{
	thread_count(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT);
	traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
}

/* The words that conn_receiving and conn_sending read without the lock. */
static void update_work(struct conn *conn)
{
	uint32_t receiving = WORK_PENDING, sending = WORK_PENDING;
	struct request *request;

	switch (conn->follow) {
	case FOLLOW_HTTP:
		if (conn->http.reading)
			receiving = conn->http.reading->endpoint;
		request = traffic_http_unanswered(conn);
		if (request)
			sending = request->endpoint;
		break;
	case FOLLOW_REDIS:
		receiving = conn->redis.receiving_work;
		if (conn->queue.count)
			sending = conn->redis.work;
		break;
	case FOLLOW_BYTES:
		receiving = conn->stream == REQUEST_NO_ENDPOINT ? SEG_ENDPOINT_BACKGROUND : conn->stream;
		sending = receiving | TRAFFIC_WORK_WEAK;
		break;
	}
	atomic_store_explicit(&conn->receiving_work, receiving, memory_order_relaxed);
	atomic_store_explicit(&conn->sending_work, sending, memory_order_relaxed);
}

void traffic_give_up(struct conn *conn, enum seg_counter counter)
{
	thread_count(counter);
	if (conn->follow != FOLLOW_BYTES)
		traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT);
	traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
	update_work(conn);
}

static bool is_redis_line(const char *line, size_t n)
{
	struct resp_command command = { 0 };

	if (n && line[0] == '*')
		return true;
	return resp_read_command(&command, line, n).event == RESP_MORE &&
	       resp_read_command(&command, "\n", 1).event == RESP_ITEM && command.command != REDIS_COMMAND_OTHER;
}

/* The line is eaten already and may lie in the carry, which is given back when it is read. */
static void become_redis(struct conn *conn, struct traffic_call *call)
{
	struct http1 http = conn->http.request;

	traffic_redis_begin(conn);
	traffic_redis_received(conn, http.target, http.target_bytes, call);
	traffic_redis_received(conn, "\n", 1, call);
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

static void received_undecided(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct http1 *http = &conn->http.request;
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
	if (step.event == HTTP1_LINE) {
		traffic_http_begin(conn);
		traffic_http_line(conn, call);
	} else if (http->target && is_redis_line(http->target, http->target_bytes)) {
		become_redis(conn, call);
	} else {
		traffic_http_begin_broken(conn);
	}
	traffic_received(conn, bytes + step.used_bytes, n - step.used_bytes, call);
}

void traffic_received(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	switch (conn->follow) {
	case FOLLOW_UNDECIDED:
		received_undecided(conn, bytes, n, call);
		break;
	case FOLLOW_HTTP:
		traffic_http_received(conn, bytes, n, call);
		break;
	case FOLLOW_REDIS:
		traffic_redis_received(conn, bytes, n, call);
		break;
	}
}

void traffic_sent(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	if (conn->follow == FOLLOW_UNDECIDED) {
		if (!conn->received_bytes) { /* a greeting */
			traffic_unclassified(conn);
			return;
		}
		traffic_http_begin_broken(conn);
	}
	if (conn->follow == FOLLOW_REDIS && !conn->is_settled && n && bytes[0] == 'H') {
		/* Not Redis, but perhaps an HTTP server that answers 400 to bytes like those of Redis. */
		leave_protocol(conn);
		reset_protocol(conn);
		traffic_http_begin_broken(conn);
	}
	switch (conn->follow) {
	case FOLLOW_HTTP:
		traffic_http_sent(conn, bytes, n, call);
		break;
	case FOLLOW_REDIS:
		traffic_redis_sent(conn, bytes, n, call);
		break;
	}
}

void traffic_received_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	if (conn->follow == FOLLOW_BYTES)
		return;
	if (conn->follow == FOLLOW_HTTP && conn->http.request.state == HTTP1_STATE_BROKEN)
		return;
	if (conn->follow == FOLLOW_HTTP && http1_skip(&conn->http.request, n))
		traffic_http_received(conn, NULL, 0, call);
	else
		traffic_give_up(conn, SEG_COUNTER_LOST_UNSEEN_BYTES);
}

void traffic_sent_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	if (conn->follow == FOLLOW_BYTES)
		return;
	if (conn->follow == FOLLOW_HTTP && http1_skip(&conn->http.response, n))
		traffic_http_sent(conn, NULL, 0, call);
	else if (conn->follow != FOLLOW_REDIS || !resp_skip_reply(&conn->redis.reply, n))
		traffic_give_up(conn, SEG_COUNTER_LOST_UNSEEN_BYTES);
}

/* A client that goes on for long without an answer and without a line that means something. */
static bool is_hopeless(const struct conn *conn)
{
	if (conn->is_settled || conn->received_bytes <= TRAFFIC_UNDECIDED_BYTES)
		return false;
	return conn->follow == FOLLOW_UNDECIDED ||
	       (conn->follow == FOLLOW_HTTP && conn->http.request.state == HTTP1_STATE_BROKEN);
}

void traffic_call_end(struct conn *conn, struct traffic_call *call)
{
	observe_run_flush(&call->run);
	if (is_hopeless(conn))
		traffic_unclassified(conn);
	if (conn->follow == FOLLOW_UNDECIDED || conn->follow == FOLLOW_HTTP) {
		return_idle_carry(&conn->http.request);
		return_idle_carry(&conn->http.response);
	}
	update_work(conn);
}

void traffic_sent_all(struct conn *conn, struct traffic_call *call)
{
	if (conn->follow == FOLLOW_HTTP)
		traffic_http_sent_all(conn, call);
}

void traffic_end(struct conn *conn, bool is_handed_over, struct traffic_call *call)
{
	traffic_sent_all(conn, call);
	if (!is_handed_over) {
		if (conn->follow == FOLLOW_UNDECIDED && begins_like_http(&conn->http.request))
			traffic_http_begin(conn);
		if (conn->follow == FOLLOW_HTTP)
			traffic_http_end(conn, call);
		else if (conn->follow == FOLLOW_REDIS)
			traffic_redis_end(conn, call);
		else if (conn->follow == FOLLOW_UNDECIDED && conn->received_bytes)
			traffic_unclassified(conn);
		traffic_settle(conn, SEG_PROTOCOL_UNKNOWN);
	}
	leave_protocol(conn);
	observe_run_flush(&call->run);
	observe_open(conn->protocol, -1);
}

void traffic_adopt(struct conn *conn)
{
	observe_open(conn->protocol, 1);
	request_each(&conn->queue, move_active, 1);
}
