/* HTTP: requests are queued as their first bytes come and answered in that order (RFC 9112 clause 9.3.2). One that cannot
 * be read ends the following of the client's side, but not of the server's: its answer, a 400, belongs to it.
 */
#include "endpoint.h"
#include "traffic.h"

/* The request being received, begun now unless it was before. NULL: the connection was given up. */
static struct request *begin_request(struct conn *conn, uint64_t now_ns)
{
	if (!conn->http.reading)
		conn->http.reading = request_push(&conn->queue, now_ns);
	if (!conn->http.reading)
		traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
	return conn->http.reading;
}

struct request *traffic_http_unanswered(struct conn *conn)
{
	struct request *request = request_oldest(&conn->queue);

	/* One that is answered and not yet read is the only one. */
	return request && !request->is_answered ? request : NULL;
}

void traffic_http_begin(struct conn *conn)
{
	conn->follow = FOLLOW_HTTP;
	begin_request(conn, conn->first_ns);
}

/* Answered and read: it leaves the queue. */
static void retire(struct conn *conn, struct request *request)
{
	observe_request_body(request->endpoint, request->body_bytes);
	request_pop(&conn->queue);
}

static void break_request(struct conn *conn, uint64_t now_ns)
{
	struct request *request = begin_request(conn, now_ns);

	if (!request)
		return;
	request->is_broken = true;
	request->is_read = true;
	conn->http.reading = NULL;
	if (request->is_answered)
		retire(conn, request);
}

void traffic_http_begin_broken(struct conn *conn)
{
	conn->follow = FOLLOW_HTTP;
	conn->http.request.state = HTTP1_STATE_BROKEN;
	conn->http.request.carried_bytes = 0;
	break_request(conn, conn->first_ns);
}

void traffic_http_line(struct conn *conn, struct traffic_call *call)
{
	struct http1 *http = &conn->http.request;
	struct request *request = begin_request(conn, call->now_ns);

	if (!request || request->is_answered)
		return;
	request->method = http->method;
	request->endpoint = endpoint_of_http(http->method, http->target, http->target_bytes);
	request->is_active = true;
	observe_active(request->method, SEG_SCHEME_PLAIN, 1);
	if (call->work == WORK_PENDING)
		call->work = request->endpoint;
}

static void end_request(struct conn *conn)
{
	struct request *request = conn->http.reading;

	conn->http.reading = NULL;
	request->is_read = true;
	request->body_bytes = conn->http.request.body_bytes;
	if (request->is_answered)
		retire(conn, request);
}

/* False: no more requests will come out of these bytes. */
static bool on_request_event(struct conn *conn, enum http1_event event, struct traffic_call *call)
{
	switch (event) {
	case HTTP1_LINE:
		traffic_http_line(conn, call);
		break;
	case HTTP1_END:
		end_request(conn);
		break;
	case HTTP1_NEEDS_CARRY:
		if (!traffic_carry_take(&conn->http.request))
			traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
		break;
	case HTTP1_BROKEN:
		break_request(conn, call->now_ns);
		return false;
	case HTTP1_MORE:
		/* Its first bytes are there though its line is not. */
		if (http1_is_within(&conn->http.request))
			begin_request(conn, call->now_ns);
		return false;
	case HTTP1_HEAD:
		break;
	}
	return conn->follow == FOLLOW_HTTP;
}

void traffic_http_received(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct http1_step step;

	do {
		step = http1_read(&conn->http.request, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
	} while (on_request_event(conn, step.event, call));
}

static void observe(struct conn *conn, const struct request *request, enum seg_error error, struct traffic_call *call)
{
	const struct http1 *response = &conn->http.response;
	uint64_t begin_ns = request->begin_ns;

	observe_run_add(&call->run, &(struct observation){
		.endpoint = request->endpoint,
		.status = response->status,
		.error = (uint8_t)error,
		.scheme = SEG_SCHEME_PLAIN,
		.duration_ns = call->now_ns > begin_ns ? call->now_ns - begin_ns : 0,
	});
	observe_response_body(request->endpoint, response->body_bytes);
}

/* request, the oldest, is over: by the response that the parser has just read, or without one. */
static void finish(struct conn *conn, struct request *request, enum seg_error error, struct traffic_call *call)
{
	if (request->endpoint == REQUEST_NO_ENDPOINT)
		request->endpoint = endpoint_of_broken_http();
	if (!conn->http.response.is_event_stream)
		observe(conn, request, error, call);
	if (request->is_active)
		observe_active(request->method, SEG_SCHEME_PLAIN, -1);
	request->is_active = false;
	request->is_answered = true;
	if (request->is_read)
		retire(conn, request);
}

static void on_response_head(struct conn *conn)
{
	struct http1 *response = &conn->http.response;
	struct request *request = traffic_http_unanswered(conn);
	bool is_tunnel = request && request->method == SEG_METHOD_CONNECT && response->status / 100 == 2;

	if (response->status == 101 || is_tunnel)
		traffic_follow_bytes(conn, request ? request->endpoint : REQUEST_NO_ENDPOINT);
	else if (request && request->method == SEG_METHOD_HEAD && response->status >= 200)
		http1_has_no_body(response);
}

static void on_response_end(struct conn *conn, struct traffic_call *call)
{
	struct http1 *response = &conn->http.response;
	struct request *request = traffic_http_unanswered(conn);

	if (response->status < 200) /* interim (RFC 9110 clause 15.2): the answer is still to come */
		return;
	conn->no_more_answers |= response->is_last;
	if (!request) /* such as a 408 that nobody asked for */
		return;
	finish(conn, request, request->is_broken ? SEG_ERROR_PARSE : SEG_ERROR_NONE, call);
	/* What a server does after a response and before its next event is the next request of the pipeline. */
	request = traffic_http_unanswered(conn);
	if (request && request->endpoint != REQUEST_NO_ENDPOINT)
		call->work = request->endpoint;
}

static void forget_response(struct conn *conn)
{
	conn->http.response.status = 0;
	conn->http.response.body_bytes = 0;
	conn->http.response.is_event_stream = false;
}

static void finish_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct request *request;

	/* The last one may be half received. */
	if (conn->http.reading) {
		conn->http.reading->is_read = true;
		conn->http.reading->body_bytes = conn->http.request.body_bytes;
		conn->http.reading = NULL;
	}
	while ((request = request_oldest(&conn->queue))) {
		if (request->is_answered)
			retire(conn, request);
		else
			finish(conn, request, request->is_broken ? SEG_ERROR_PARSE : error, call);
		forget_response(conn);
	}
}

/* The server's bytes are no HTTP: it never was, or we lost the thread. */
static void on_response_broken(struct conn *conn, struct traffic_call *call)
{
	if (!conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	forget_response(conn);
	finish_all(conn, SEG_ERROR_PARSE, call);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT);
}

static bool on_response_event(struct conn *conn, enum http1_event event, struct traffic_call *call)
{
	switch (event) {
	case HTTP1_LINE:
		traffic_settle(conn, SEG_PROTOCOL_HTTP);
		break;
	case HTTP1_HEAD:
		on_response_head(conn);
		break;
	case HTTP1_END:
		on_response_end(conn, call);
		break;
	case HTTP1_NEEDS_CARRY:
		if (!traffic_carry_take(&conn->http.response))
			traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
		break;
	case HTTP1_BROKEN:
		on_response_broken(conn, call);
		return false;
	case HTTP1_MORE:
		return false;
	}
	return conn->follow == FOLLOW_HTTP;
}

void traffic_http_sent(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct http1_step step;

	do {
		step = http1_read(&conn->http.response, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
	} while (on_response_event(conn, step.event, call));
}

void traffic_http_sent_all(struct conn *conn, struct traffic_call *call)
{
	if (conn->http.response.state != HTTP1_STATE_UNTIL_CLOSE)
		return;
	conn->http.response.state = HTTP1_STATE_DONE;
	conn->no_more_answers = true;
	traffic_http_sent(conn, NULL, 0, call);
}

void traffic_http_end(struct conn *conn, struct traffic_call *call)
{
	struct request *request = traffic_http_unanswered(conn);

	if (request && request->is_broken && !conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_HTTP);
	if (!http1_is_within(&conn->http.response) || conn->http.response.status < 200)
		forget_response(conn);
	if (conn->no_more_answers)
		return;
	finish_all(conn, SEG_ERROR_RESET, call);
}
