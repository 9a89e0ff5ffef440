/* Redis: commands are queued when they are complete (one that is not will never run) and answered in that order.
 *
 * A pipeline is received by one call, run command after command, and answered by one call: between the two nothing tells
 * which command the thread is at. So one of them stands for all, chosen by lot with equal chances: over many pipelines
 * each command gets its share of the time, in proportion to how often it occurs.
 */
#include "endpoint.h"
#include "traffic.h"

#include <string.h>

static const struct traffic_protocol traffic_redis;

void traffic_redis_begin(struct conn *conn)
{
	traffic_follow(conn, &traffic_redis);
	conn->redis.begin_ns = conn->first_ns;
	conn->redis.work = (struct work){ SEG_ENDPOINT_BACKGROUND, 0 };
	conn->redis.half_work = WORK_NONE;
	conn->redis.random = (uint32_t)conn->first_ns | 1;
}

/* Marsaglia's xorshift; which lot it gives does not matter, only that it does not follow the traffic. */
static uint32_t next_random(struct conn *conn)
{
	uint32_t x = conn->redis.random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	conn->redis.random = x;
	return x;
}

/* The n-th command of a call replaces the choice with a chance of 1 in n. */
static void draw_work(struct conn *conn, const struct request *request, struct traffic_call *call)
{
	call->commands++;
	if (conn->is_client || (call->commands > 1 && (uint64_t)next_random(conn) * call->commands >> 32))
		return;
	conn->redis.work = traffic_work_of(conn, request);
	call->work = conn->redis.work;
}

/* The oldest request is over. */
static void finish(struct conn *conn, struct request *request, enum seg_error error, struct traffic_call *call)
{
	bool opens_stream = request->opens_stream && error == SEG_ERROR_NONE;
	uint32_t endpoint = request->endpoint;

	traffic_finish(conn, request, &(struct traffic_outcome){ .error = (uint8_t)error }, call);
	request_pop(&conn->queue);
	if (opens_stream)
		traffic_follow_bytes(conn, endpoint, call->now_ns);
}

/* One whose turn it is and which has no answer is over; what follows it may have none, either. */
static void finish_without_answer(struct conn *conn, struct traffic_call *call)
{
	struct request *request = request_oldest(&conn->queue);

	if (!request || !request->has_no_answer)
		return;
	traffic_settle(conn, SEG_PROTOCOL_REDIS);
	finish(conn, request, SEG_ERROR_NONE, call);
}

static struct request *push(struct conn *conn, uint32_t command)
{
	struct request *request = traffic_push(conn, conn->redis.begin_ns);

	if (!request)
		return NULL;
	request->is_read = true;
	traffic_head_operation(request, SEG_PROTOCOL_REDIS, command, redis_command_name(command));
	return request;
}

static void on_command(struct conn *conn, struct traffic_call *call)
{
	uint32_t command = conn->redis.command.command;
	uint32_t traits = redis_command_traits(command);
	struct request *request = push(conn, command);

	if (!request)
		return;
	draw_work(conn, request, call);
	if (!traits)
		return;
	request->has_no_answer = traits & REDIS_NO_ANSWER;
	request->opens_stream = traits & (REDIS_OPENS_STREAM | REDIS_NO_ANSWER);
	finish_without_answer(conn, call);
}

static void on_broken_command(struct conn *conn)
{
	struct request *request = push(conn, REDIS_COMMAND_OTHER);

	if (request)
		request->is_broken = true;
}

/* The rest of a large value is still to come, and receiving it is work for its command. */
static void note_half_command(struct conn *conn, struct traffic_call *call)
{
	const struct resp_command *command = &conn->redis.command;

	conn->redis.half_work = WORK_NONE;
	if (conn->is_client || !resp_command_is_within(command) || !command->is_named)
		return;
	conn->redis.half_work.endpoint =
		endpoint_peek_operation(SEG_PROTOCOL_REDIS, command->command, redis_command_name(command->command));
	if (call->work.endpoint == WORK_PENDING)
		call->work = conn->redis.half_work;
}

static void redis_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct resp_command *command = &conn->redis.command;

	while (n && conn->as == &traffic_redis) {
		/* The first command began with the connection. */
		if (!resp_command_is_within(command) && (conn->queue.count || conn->is_settled))
			conn->redis.begin_ns = call->now_ns;
		struct resp_step step = resp_read_command(command, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == RESP_ITEM)
			on_command(conn, call);
		else if (step.event == RESP_BROKEN)
			on_broken_command(conn);
	}
	if (conn->as != &traffic_redis)
		return;
	note_half_command(conn, call);
}

/* By the first word of the error, from the closed list of segment/counters.h. */
static enum seg_error error_of(const struct resp_reply *reply)
{
	for (int error = SEG_ERROR_REDIS_ERR; error < SEG_ERROR_OTHER; error++) {
		const char *name = seg_error_names[error];
		if (strlen(name) == reply->error_bytes && memcmp(name, reply->error, reply->error_bytes) == 0)
			return (enum seg_error)error;
	}
	return SEG_ERROR_OTHER;
}

static void on_reply(struct conn *conn, struct traffic_call *call)
{
	const struct resp_reply *reply = &conn->redis.reply;
	struct request *request = request_oldest(&conn->queue);
	bool is_pushed = reply->top == '>';
	enum seg_error error = SEG_ERROR_NONE;

	/* RESP3 answers SUBSCRIBE by a push. */
	if (!request || (is_pushed && !request->opens_stream))
		return;
	if (request->is_broken)
		error = SEG_ERROR_PARSE;
	else if (reply->top == '-' || reply->top == '!')
		error = error_of(reply);
	finish(conn, request, error, call);
	finish_without_answer(conn, call);
}

/* SYNC is answered by a string without a line end, behind which what is replicated follows: its head is all its answer. */
static bool is_dump_begun(struct conn *conn)
{
	const struct request *request = request_oldest(&conn->queue);

	return request && request->opens_stream && resp_reply_is_within(&conn->redis.reply) && conn->redis.reply.top == '$';
}

static void finish_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct request *request;

	while ((request = request_oldest(&conn->queue))) {
		traffic_finish(conn, request, &(struct traffic_outcome){
			.error = (uint8_t)(request->is_broken ? SEG_ERROR_PARSE : error),
		}, call);
		request_pop(&conn->queue);
	}
}

static void on_broken_reply(struct conn *conn, struct traffic_call *call)
{
	if (!conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	finish_all(conn, SEG_ERROR_PARSE, call);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
}

static void redis_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	while (n && conn->as == &traffic_redis) {
		struct resp_step step = resp_read_reply(&conn->redis.reply, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == RESP_BROKEN) {
			on_broken_reply(conn, call);
			return;
		}
		traffic_settle(conn, SEG_PROTOCOL_REDIS);
		if (step.event == RESP_ITEM || is_dump_begun(conn))
			on_reply(conn, call);
	}
}

static void redis_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	if (!conn->is_settled && !conn->queue.count) {
		/* Half a command and no answer: it might be anything. */
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_REDIS);
	finish_all(conn, error, call);
}

static bool redis_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	(void)call;
	return resp_skip_reply(&conn->redis.reply, n);
}

static struct work redis_work_asking(struct conn *conn)
{
	return conn->redis.half_work;
}

static struct work redis_work_answering(struct conn *conn)
{
	struct request *request = request_oldest(&conn->queue);

	if (!request)
		return WORK_NONE;
	return conn->is_client ? traffic_work_of(conn, request) : conn->redis.work;
}

static const struct traffic_protocol traffic_redis = {
	.protocol = SEG_PROTOCOL_REDIS,
	.asked = redis_asked,
	.answered = redis_answered,
	.answered_unseen = redis_answered_unseen,
	.end = redis_end,
	.work_asking = redis_work_asking,
	.work_answering = redis_work_answering,
};
