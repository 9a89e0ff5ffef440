/* HTTP: requests are queued as their first bytes come and answered in that order (RFC 9112 clause 9.3.2). One that cannot
 * be read ends the following of the client's side, but not of the server's: its answer, a 400, belongs to it.
 */
#include "endpoint.h"
#include "heads.h"
#include "traffic.h"
#include "traffic_http2.h"

static const struct traffic_protocol traffic_http;

/* struct request, kind */
enum { KIND_FAULTLESS, KIND_FAULTY /* a server may refuse it for its form, by 400 */ };

enum { STATUS_SWITCHING_PROTOCOLS = 101, STATUS_OK = 200, STATUS_BAD_REQUEST = 400 };

/* The request being received, begun now unless it was before. NULL: the connection was given up. */
static struct request *begin_request(struct conn *conn, uint64_t now_ns)
{
	if (!conn->http.reading)
		conn->http.reading = traffic_push(conn, now_ns);
	return conn->http.reading;
}

static struct request *unanswered(struct conn *conn)
{
	struct request *request = request_oldest(&conn->queue);

	/* One that is answered and not yet read is the only one. */
	return request && !request->is_answered ? request : NULL;
}

/* Answered and read: it leaves the queue. */
static void retire(struct conn *conn, struct request *request)
{
	traffic_retire(conn, request);
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

static void on_request_line(struct conn *conn, struct traffic_call *call)
{
	struct http1 *http = &conn->http.request;
	struct request *request = begin_request(conn, call->now_ns);

	if (!request || request->is_answered)
		return;
	traffic_head_http(conn, request, http->method, http->target, http->target_bytes);
	if (call->work.endpoint == WORK_PENDING && !conn->is_client)
		call->work = traffic_work_of(conn, request);
}

static void on_request_head(struct conn *conn)
{
	struct request *request = conn->http.reading;

	if (request && conn->http.request.is_faulty)
		request->kind = KIND_FAULTY;
	if (request && (conn->http.trace.source || conn->http.trace.request_id_bytes)) {
		request_keep_trace(request, &conn->http.trace);
		conn->http.trace = (struct trace_context){ 0 };
	}
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
		on_request_line(conn, call);
		break;
	case HTTP1_HEAD:
		on_request_head(conn);
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
	}
	return conn->as == &traffic_http;
}

/* Bytes of one side, as they are read. */
struct reading {
	const char *bytes;
	size_t n;
	const char *head; /* of the message being read, where it began in these bytes; NULL = it did not */
	const char *target;
};

/* The next event; a head that was read before counts as one. *ret_is_known: it is such a head, whose first line is not
 * told apart. */
static inline enum http1_event read_on(struct http1 *http, struct reading *reading, bool *ret_is_known)
{
	size_t known = heads_recall(http, reading->bytes, reading->n);

	*ret_is_known = known != 0;
	if (!known && http->state == HTTP1_STATE_START)
		reading->head = reading->bytes;
	struct http1_step step = known ? (struct http1_step){ HTTP1_HEAD, known } : http1_read(http, reading->bytes, reading->n);
	reading->bytes += step.used_bytes;
	reading->n -= step.used_bytes;
	if (step.event == HTTP1_LINE)
		reading->target = http->target;
	return step.event;
}

/* A head was read to its end: the next one like it need not be. */
static void remember_head(const struct http1 *http, const struct reading *reading)
{
	bool has_ids = http->trace && (http->trace->source || http->trace->request_id_bytes);

	if (reading->head && !has_ids)
		heads_remember(http, reading->head, (size_t)(reading->bytes - reading->head), reading->target);
}

/* A carry is lent for the time of a line that is cut. */
static void return_idle_carry(struct http1 *http)
{
	if (http->carry && !http->carried_bytes)
		traffic_carry_give(http);
}

static __attribute__((noinline)) void read_requests(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct reading reading = { .bytes = bytes, .n = n };
	bool is_known, goes_on = true;

	while (goes_on) {
		enum http1_event event = read_on(&conn->http.request, &reading, &is_known);
		if (event == HTTP1_HEAD && !is_known)
			remember_head(&conn->http.request, &reading);
		if (is_known)
			goes_on = on_request_event(conn, HTTP1_LINE, call);
		goes_on = goes_on && on_request_event(conn, event, call);
	}
	if (conn->as == &traffic_http)
		return_idle_carry(&conn->http.request);
}

static inline bool is_between(const struct http1 *http)
{
	return http->state == HTTP1_STATE_START;
}

static void take_head(struct conn *conn, struct request *request, struct head *head, const char *bytes)
{
	if (head->endpoint && endpoint_is_current(head->endpoint)) {
		traffic_head_http_known(conn, request, head->method, head->endpoint);
		return;
	}
	traffic_head_http(conn, request, head->method, bytes + head->target, head->target_bytes);
	head->endpoint = request->candidate || !endpoint_is_for_good(request->endpoint) ? 0 : request->endpoint;
}

/* A request of that head begins and ends now. */
static inline void take_request(struct conn *conn, struct head *head, const char *bytes, struct traffic_call *call)
{
	struct request *request = traffic_push(conn, call->now_ns);

	if (!request)
		return;
	take_head(conn, request, head, bytes);
	request->kind = head->is_faulty ? KIND_FAULTY : KIND_FAULTLESS;
	request->is_read = true;
	if (call->work.endpoint == WORK_PENDING && !conn->is_client)
		call->work = traffic_work_of(conn, request);
}

/* Most often a piece is one request that was read before, and no more. */
static void http_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct head *head = n && is_between(&conn->http.request) && !conn->http.reading ? heads_find(&conn->http.request, bytes, n) : NULL;

	if (head && head->is_plain && head->bytes == n)
		take_request(conn, head, bytes, call);
	else
		read_requests(conn, bytes, n, call);
}

/* request, the oldest, is over: by the response that the parser has just read, or without one. */
static void finish(struct conn *conn, struct request *request, enum seg_error error, struct traffic_call *call)
{
	const struct http1 *response = &conn->http.response;

	traffic_finish(conn, request, &(struct traffic_outcome){
		.status = response->status,
		.error = (uint8_t)error,
		.is_stream = response->is_event_stream,
		.response_bytes = response->body_bytes,
	}, call);
	if (request->is_read)
		retire(conn, request);
}

static void become_stream(struct conn *conn, struct request *request, struct traffic_call *call)
{
	uint32_t endpoint = REQUEST_NO_ENDPOINT;

	if (request) {
		traffic_answer_begins(conn, request, conn->http.response.status, call);
		endpoint = request->endpoint;
	}
	traffic_follow_bytes(conn, endpoint, call->now_ns);
}

static void on_response_head(struct conn *conn, struct traffic_call *call)
{
	struct http1 *response = &conn->http.response;
	struct request *request = unanswered(conn);
	bool is_tunnel = request && request->method == SEG_METHOD_CONNECT && response->status / 100 == 2;

	/* HTML Standard clause 9.2.3: an event stream has the status 200. */
	if (response->status != STATUS_OK || !request || request->method == SEG_METHOD_HEAD)
		response->is_event_stream = false;
	if (response->upgrades_to_h2c && request)
		traffic_http2_upgraded(conn, call);
	else if (response->status == STATUS_SWITCHING_PROTOCOLS || is_tunnel)
		become_stream(conn, request, call);
	else if (request && request->method == SEG_METHOD_HEAD && response->status >= 200)
		http1_has_no_body(response);
	else if (response->is_event_stream)
		traffic_stream_begins(conn, request);
}

static void on_response_line(struct conn *conn, struct traffic_call *call)
{
	struct request *request = unanswered(conn);
	uint16_t status = conn->http.response.status;

	traffic_settle(conn, SEG_PROTOCOL_HTTP);
	if (!request || status < 200) /* interim (RFC 9110 clause 15.2): the answer is still to come */
		return;
	request->first_byte_ns = conn->http.answer_ns;
	traffic_answer_begins(conn, request, status, call);
}

/* Why a request that was answered failed all the same, where its status does not tell. */
static enum seg_error error_of(const struct conn *conn, const struct request *request)
{
	/* A server that refuses need not have read to the end of the head. */
	bool is_faulty = request->kind == KIND_FAULTY ||
			 (request == conn->http.reading && http1_is_doubtful(&conn->http.request));
	bool is_refused = is_faulty && conn->http.response.status == STATUS_BAD_REQUEST;

	return request->is_broken || is_refused ? SEG_ERROR_PARSE : SEG_ERROR_NONE;
}

static inline void on_response_end(struct conn *conn, struct traffic_call *call)
{
	struct http1 *response = &conn->http.response;
	struct request *request = unanswered(conn);

	if (response->status < 200)
		return;
	conn->http.no_more_answers |= response->is_last;
	if (!request) /* such as a 408 that nobody asked for */
		return;
	finish(conn, request, error_of(conn, request), call);
	/* What a server does after a response and before its next event is the next request of the pipeline. */
	request = unanswered(conn);
	if (request && request->endpoint != REQUEST_NO_ENDPOINT && !conn->is_client)
		call->work = traffic_work_of(conn, request);
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
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
}

static bool on_response_event(struct conn *conn, enum http1_event event, struct traffic_call *call)
{
	switch (event) {
	case HTTP1_LINE:
		on_response_line(conn, call);
		break;
	case HTTP1_HEAD:
		on_response_head(conn, call);
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
	return conn->as == &traffic_http;
}

static __attribute__((noinline)) void read_responses(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct reading reading = { .bytes = bytes, .n = n };
	bool is_known, goes_on = true;

	while (goes_on) {
		if (!http1_is_within(&conn->http.response))
			conn->http.answer_ns = call->now_ns;
		enum http1_event event = read_on(&conn->http.response, &reading, &is_known);
		if (event == HTTP1_HEAD && !is_known)
			remember_head(&conn->http.response, &reading);
		if (is_known)
			goes_on = on_response_event(conn, HTTP1_LINE, call);
		goes_on = goes_on && on_response_event(conn, event, call);
	}
	if (conn->as == &traffic_http)
		return_idle_carry(&conn->http.response);
	else if (reading.n) /* What follows an upgrade is no more HTTP/1's. */
		conn->as->answered(conn, reading.bytes, reading.n, call);
}

/* n bytes more of its body passed. */
static void pass_body(struct conn *conn, size_t n, struct traffic_call *call)
{
	struct http1 *response = &conn->http.response;
	uint64_t left_bytes = response->left_bytes - n;

	response->left_bytes = left_bytes;
	response->body_bytes += n;
	if (left_bytes)
		return;
	response->state = HTTP1_STATE_START;
	on_response_end(conn, call);
}

/* Bytes that begin with that head, and go on with n of its body: the answer to request. */
static void take_response(struct conn *conn, struct request *request, const struct head *head, size_t n, struct traffic_call *call)
{
	struct http1 *response = &conn->http.response;

	head_apply(head, response, NULL);
	response->left_bytes = head->body_bytes; /* 304 tells a length, too */
	conn->http.answer_ns = call->now_ns;
	request->first_byte_ns = call->now_ns;
	traffic_settle(conn, SEG_PROTOCOL_HTTP);
	traffic_answer_begins(conn, request, response->status, call);
	if (n || !head->body_bytes)
		pass_body(conn, n, call);
}

/* What it answers decides whether it has a body. */
static bool has_plain_answer(const struct request *request)
{
	return request && request->method != SEG_METHOD_HEAD && request->method != SEG_METHOD_CONNECT;
}

/* Most often a piece is a response whose head was read before, or a part of its body. */
static void http_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	const struct http1 *response = &conn->http.response;
	struct request *request = unanswered(conn);
	const struct head *head = NULL;

	if (response->state == HTTP1_STATE_COUNTED && n <= response->left_bytes) {
		pass_body(conn, n, call);
		return;
	}
	if (n && is_between(response) && has_plain_answer(request))
		head = heads_find(response, bytes, n);
	if (head && head->is_plain && n - head->bytes <= head->body_bytes)
		take_response(conn, request, head, n - head->bytes, call);
	else
		read_responses(conn, bytes, n, call);
}

static bool http_asked_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	if (conn->http.request.state == HTTP1_STATE_BROKEN)
		return true;
	if (!http1_skip(&conn->http.request, n))
		return false;
	http_asked(conn, "", 0, call);
	return true;
}

static bool http_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	if (!http1_skip(&conn->http.response, n))
		return false;
	http_answered(conn, "", 0, call);
	return true;
}

static void http_answered_all(struct conn *conn, struct traffic_call *call)
{
	if (conn->http.response.state != HTTP1_STATE_UNTIL_CLOSE)
		return;
	conn->http.response.state = HTTP1_STATE_DONE;
	conn->http.no_more_answers = true;
	http_answered(conn, "", 0, call);
}

static void http_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct request *request = unanswered(conn);

	if (request && request->is_broken && !conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_HTTP);
	if (!http1_is_within(&conn->http.response) || conn->http.response.status < 200)
		forget_response(conn);
	if (!conn->http.no_more_answers)
		finish_all(conn, error, call);
}

static void http_forget(struct conn *conn)
{
	traffic_carry_give(&conn->http.request);
	traffic_carry_give(&conn->http.response);
}

static void http_show_work(struct conn *conn, const struct request *oldest)
{
	traffic_show_work(conn, traffic_work_of_turn(conn, conn->http.reading), traffic_work_of_turn(conn, oldest));
}

static const struct traffic_protocol traffic_http = {
	.protocol = SEG_PROTOCOL_HTTP,
	.asked = http_asked,
	.answered = http_answered,
	.asked_unseen = http_asked_unseen,
	.answered_unseen = http_answered_unseen,
	.answered_all = http_answered_all,
	.end = http_end,
	.forget = http_forget,
	.show_work = http_show_work,
};

/* The parser has read a first line, perhaps into its carry, and goes on from there. */
static void follow(struct conn *conn)
{
	struct http1 request = conn->http.request;

	traffic_follow(conn, &traffic_http);
	conn->http.request = request;
	conn->http.request.trace = conn->is_client ? NULL : &conn->http.trace; /* what the program sends on is another's */
	conn->http.response.is_response = true;
}

void traffic_http_begin(struct conn *conn, struct traffic_call *call)
{
	bool is_line = conn->http.request.target != NULL;

	follow(conn);
	begin_request(conn, conn->first_ns);
	if (is_line)
		on_request_line(conn, call);
	if (conn->as == &traffic_http)
		return_idle_carry(&conn->http.request);
}

void traffic_http_begin_broken(struct conn *conn, struct traffic_call *call)
{
	(void)call;
	traffic_carry_give(&conn->http.request);
	traffic_follow(conn, &traffic_http);
	conn->http.response.is_response = true;
	conn->http.request.state = HTTP1_STATE_BROKEN;
	break_request(conn, conn->first_ns);
}
