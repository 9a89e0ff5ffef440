/* FastCGI: a request begins with the first byte of its BEGIN_REQUEST and ends with its END_REQUEST. It is an HTTP request,
 * of the method and the route that its parameters tell and with the status of the head of its output. Requests are told
 * apart by id; those of one connection may be interleaved and end in any order, so that one that ended stays in the queue
 * until all before it have.
 */
#include "traffic_fastcgi.h"

#include "fastcgi.h"

#include <string.h>

/* Requests of one connection at once, and those of them whose parameters are being read: web servers send one after the
 * other. More would take more than 4 KiB for a connection. */
#define OPEN_MAX 6u
#define READING_MAX 2u

/* While its parameters are read. */
struct reading {
	struct pool_link link;
	struct fastcgi_params params;
	struct trace_context trace;
};

/* A request that has not ended. */
struct open_request {
	struct pool_link link;
	struct open_request *newer;
	struct request *request; /* its place in the queue */
	struct reading *reading; /* NULL: its parameters are over, or nobody reads them */
	uint16_t id;
	bool has_head;
	struct fastcgi_head head;
};

/* 2 MiB, and 12 MiB. */
static struct pool open_requests = POOL_OF(struct open_request, 16384);
static struct pool readings = POOL_OF(struct reading, 16384);

_Static_assert(OPEN_MAX * sizeof(struct open_request) + READING_MAX * sizeof(struct reading) <= 2560,
	       "what a connection keeps besides its own struct and a block of requests");

struct fastcgi_conn {
	struct fastcgi asked;
	struct fastcgi answered;
	struct open_request *oldest;
	uint32_t open_count;
	uint32_t reading_count;
	uint64_t record_ns; /* when the first byte of the client's record being read passed */
};

static struct fastcgi_conn *state_of(struct conn *conn)
{
	return traffic_state(conn, struct fastcgi_conn);
}

static struct open_request *find(struct conn *conn, uint16_t id)
{
	struct open_request *open = state_of(conn)->oldest;

	while (open && open->id != id)
		open = open->newer;
	return open;
}

static void end_reading(struct conn *conn, struct open_request *open)
{
	if (!open->reading)
		return;
	pool_give(&readings, open->reading);
	open->reading = NULL;
	state_of(conn)->reading_count--;
}

static void begin_reading(struct conn *conn, struct open_request *open)
{
	struct fastcgi_conn *state = state_of(conn);
	struct reading *reading = state->reading_count < READING_MAX ? pool_take(&readings) : NULL;

	if (!reading) /* it will be counted without its route */
		return;
	memset(&reading->params, 0, sizeof(reading->params));
	memset(&reading->trace, 0, sizeof(reading->trace));
	reading->params.trace = conn->is_client ? NULL : &reading->trace;
	open->reading = reading;
	state->reading_count++;
}

static void remove_open(struct conn *conn, struct open_request *open)
{
	struct open_request **place = &state_of(conn)->oldest;

	end_reading(conn, open);
	while (*place != open)
		place = &(*place)->newer;
	*place = open->newer;
	state_of(conn)->open_count--;
	pool_give(&open_requests, open);
}

/* NULL: no memory, or more at once than are followed, and the connection was given up. */
static struct open_request *add_open(struct conn *conn, uint16_t id)
{
	struct fastcgi_conn *state = state_of(conn);
	struct open_request *open = state->open_count < OPEN_MAX ? pool_take(&open_requests) : NULL;
	struct open_request **place = &state->oldest;

	if (!open) {
		traffic_give_up(conn, SEG_COUNTER_LOST_POOL_FULL);
		return NULL;
	}
	pool_clear(&open_requests, open);
	open->id = id;
	while (*place)
		place = &(*place)->newer;
	*place = open;
	state->open_count++;
	return open;
}

/* ends */

static struct traffic_outcome outcome_of(const struct open_request *open, enum seg_error error)
{
	return (struct traffic_outcome){
		.status = open->head.is_over ? open->head.status : 0,
		.error = (uint8_t)error,
		.response_bytes = open->head.body_bytes,
	};
}

static void finish(struct conn *conn, struct open_request *open, enum seg_error error, struct traffic_call *call)
{
	struct traffic_outcome outcome = outcome_of(open, error);
	struct request *request = open->request;

	traffic_finish(conn, request, &outcome, call);
	traffic_retire(conn, request);
	remove_open(conn, open);
	while ((request = request_oldest(&conn->queue)) && request->is_answered)
		request_pop(&conn->queue);
}

static void finish_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	while (state_of(conn)->oldest)
		finish(conn, state_of(conn)->oldest, error, call);
}

/* The bytes of a side are no FastCGI (any more). */
static void on_broken(struct conn *conn, struct traffic_call *call)
{
	finish_all(conn, SEG_ERROR_PARSE, call);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
}

/* the client's side */

static void on_begin(struct conn *conn, struct traffic_call *call)
{
	struct fastcgi_conn *state = state_of(conn);
	struct open_request *open = find(conn, state->asked.id);

	if (open) /* its id was not free yet */
		finish(conn, open, SEG_ERROR_RESET, call);
	open = add_open(conn, state->asked.id);
	if (!open)
		return;
	struct request *request = traffic_push(conn, state->record_ns);
	if (!request) /* and no open request is left, either */
		return;
	open->request = request;
	begin_reading(conn, open);
}

static void on_params_end(struct conn *conn, struct open_request *open, struct traffic_call *call)
{
	const struct reading *reading = open->reading;
	struct request *request = open->request;

	if (!reading)
		return;
	const struct fastcgi_params *params = &reading->params;
	open->has_head = true;
	if (reading->trace.source || reading->trace.request_id_bytes)
		request_keep_trace(request, &reading->trace);
	request->is_https = params->is_https;
	traffic_head_http(conn, request, (enum seg_method)params->method, params->target, params->target_bytes);
	end_reading(conn, open);
	if (call->work.endpoint == WORK_PENDING && !conn->is_client)
		call->work = traffic_work_of(conn, request);
}

static void on_asked_content(struct conn *conn, const struct fastcgi_step *step)
{
	const struct fastcgi *asked = &state_of(conn)->asked;
	struct open_request *open = find(conn, asked->id);

	if (open && asked->type == FASTCGI_PARAMS && open->reading)
		fastcgi_read_params(&open->reading->params, step->content, step->content_bytes);
	else if (open && asked->type == FASTCGI_STDIN)
		open->request->body_bytes += step->content_bytes;
}

static void on_asked_stream_end(struct conn *conn, struct traffic_call *call)
{
	const struct fastcgi *asked = &state_of(conn)->asked;
	struct open_request *open = find(conn, asked->id);

	if (open && asked->type == FASTCGI_PARAMS)
		on_params_end(conn, open, call);
	else if (open && asked->type == FASTCGI_STDIN)
		open->request->is_read = true;
}

static void on_asked_event(struct conn *conn, const struct fastcgi_step *step, struct traffic_call *call)
{
	switch (step->event) {
	case FASTCGI_BEGIN:
		on_begin(conn, call);
		break;
	case FASTCGI_CONTENT:
		on_asked_content(conn, step);
		break;
	case FASTCGI_STREAM_END:
		on_asked_stream_end(conn, call);
		break;
	case FASTCGI_BROKEN:
		if (conn->is_settled) /* else the answer tells what it was */
			on_broken(conn, call);
		break;
	default:
		break;
	}
}

static void fastcgi_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct fastcgi_conn *state = state_of(conn);
	struct fastcgi_step step;

	do {
		if (!fastcgi_is_within(&state->asked))
			state->record_ns = call->now_ns;
		step = fastcgi_read(&state->asked, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		on_asked_event(conn, &step, call);
	} while (step.event != FASTCGI_MORE && conn->as == &traffic_fastcgi);
}

/* the application's side */

static void on_head(struct conn *conn, struct open_request *open, struct traffic_call *call)
{
	enum { STATUS_OK = 200 };

	traffic_answer_begins(conn, open->request, open->head.status, call);
	/* HTML Standard clause 9.2.3: an event stream has the status 200. */
	if (open->head.is_event_stream && open->head.status == STATUS_OK && open->request->method != SEG_METHOD_HEAD)
		traffic_stream_begins(conn, open->request);
}

static void on_answered_content(struct conn *conn, const struct fastcgi_step *step, struct traffic_call *call)
{
	const struct fastcgi *answered = &state_of(conn)->answered;
	struct open_request *open = find(conn, answered->id);

	if (!open || answered->type != FASTCGI_STDOUT)
		return;
	bool was_over = open->head.is_over;
	traffic_first_byte(open->request, call);
	fastcgi_read_head(&open->head, step->content, step->content_bytes);
	if (!was_over && open->head.is_over)
		on_head(conn, open, call);
}

static void on_answered_end(struct conn *conn, struct traffic_call *call)
{
	const struct fastcgi *answered = &state_of(conn)->answered;
	struct open_request *open = find(conn, answered->id);
	enum seg_error error = SEG_ERROR_NONE;

	if (!open)
		return;
	if (answered->protocol_status) /* refused: too many, or a role that it does not play */
		error = SEG_ERROR_OTHER;
	else if (!open->head.is_over)
		error = SEG_ERROR_PARSE;
	finish(conn, open, error, call);
}

static void on_answered_event(struct conn *conn, const struct fastcgi_step *step, struct traffic_call *call)
{
	switch (step->event) {
	case FASTCGI_MORE:
		return;
	case FASTCGI_BROKEN:
		if (conn->is_settled)
			on_broken(conn, call);
		else
			traffic_unclassified(conn);
		return;
	case FASTCGI_CONTENT:
		on_answered_content(conn, step, call);
		break;
	case FASTCGI_END:
		on_answered_end(conn, call);
		break;
	default:
		/* The first header of the application, which fits the client's. */
		traffic_settle(conn, SEG_PROTOCOL_FASTCGI);
	}
}

static void fastcgi_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct fastcgi_conn *state = state_of(conn);
	struct fastcgi_step step;

	state->answered.is_response = true;
	do {
		step = fastcgi_read(&state->answered, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		on_answered_event(conn, &step, call);
	} while (step.event != FASTCGI_MORE && conn->as == &traffic_fastcgi);
}

/* what passes unseen, and the end */

static bool fastcgi_asked_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	struct fastcgi *asked = &state_of(conn)->asked;
	struct open_request *open = find(conn, asked->id);

	(void)call;
	if (asked->type != FASTCGI_STDIN || !fastcgi_skip(asked, n))
		return false;
	if (open)
		open->request->body_bytes += n;
	return true;
}

static bool fastcgi_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	struct fastcgi *answered = &state_of(conn)->answered;
	struct open_request *open = find(conn, answered->id);

	(void)call;
	if (answered->type != FASTCGI_STDOUT || (open && !open->head.is_over) || !fastcgi_skip(answered, n))
		return false;
	if (open)
		open->head.body_bytes += n;
	return true;
}

static void fastcgi_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	if (!conn->is_settled && !conn->queue.count) {
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_FASTCGI);
	finish_all(conn, error, call);
}

static void fastcgi_forget(struct conn *conn)
{
	while (state_of(conn)->oldest)
		remove_open(conn, state_of(conn)->oldest);
}

static struct work work_of(const struct conn *conn, const struct open_request *open)
{
	return open ? traffic_work_of(conn, open->request) : WORK_NONE;
}

static void fastcgi_show_work(struct conn *conn, const struct request *unused)
{
	const struct open_request *oldest = state_of(conn)->oldest, *reading = NULL;

	(void)unused;
	for (const struct open_request *open = oldest; open; open = open->newer)
		if (open->has_head && !open->request->is_read)
			reading = open;
	traffic_show_work(conn, work_of(conn, reading), work_of(conn, oldest && oldest->has_head ? oldest : NULL));
}

const struct traffic_protocol traffic_fastcgi = {
	.protocol = SEG_PROTOCOL_FASTCGI,
	.asked = fastcgi_asked,
	.answered = fastcgi_answered,
	.asked_unseen = fastcgi_asked_unseen,
	.answered_unseen = fastcgi_answered_unseen,
	.end = fastcgi_end,
	.forget = fastcgi_forget,
	.show_work = fastcgi_show_work,
};
