/* Redis: commands are queued when they are complete (one that is not will never run) and answered in that order.
 *
 * A pipeline is received by one call, run command after command, and answered by one call: between the two nothing tells
 * which command the thread is at. So one of them stands for all, chosen by lot with equal chances: over many pipelines
 * each command gets its share of the time, in proportion to how often it occurs.
 *
 * A subscriber's connection is a stream from the first answer on, and goes on with commands all the same: what is pushed is
 * told from answers by its kind (RESP3), or by the word that it begins with (RESP2, in which a subscriber has few commands
 * left).
 */
#include "endpoint.h"
#include "lot.h"
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

/* The n-th command of a call replaces the choice with a chance of 1 in n; here those of the newest count commands of the
 * queue, which belong to request, all at once. */
static void draw_work(struct conn *conn, const struct request *request, uint32_t count, struct traffic_call *call)
{
	call->commands += count;
	if (conn->is_client)
		return;
	uint32_t lot = lot_draw(&conn->redis.random, call->commands);
	if (lot >= count)
		return;
	conn->redis.work = traffic_work_of(conn, request);
	conn->redis.work.request += conn->requests_count - request->ordinal - lot;
	call->work = conn->redis.work;
}

static bool is_subscribed(const struct conn *conn)
{
	return conn->stream != REQUEST_NO_ENDPOINT;
}

static void begin_stream(struct conn *conn, uint32_t endpoint, struct traffic_call *call)
{
	if (is_subscribed(conn))
		return;
	conn->stream = endpoint;
	conn->stream_ns = call->now_ns;
	if (!conn->is_client)
		observe_stream_opened(conn->protocol, endpoint);
}

static void end_stream(struct conn *conn, struct traffic_call *call)
{
	if (is_subscribed(conn) && !conn->is_client)
		observe_stream_ended(conn->protocol, conn->stream,
				     call->now_ns > conn->stream_ns ? call->now_ns - conn->stream_ns : 0);
	conn->stream = REQUEST_NO_ENDPOINT;
}

/* The oldest count requests, request and copies of it, are over. */
static void finish(struct conn *conn, struct request *request, uint32_t count, enum seg_error error, struct traffic_call *call)
{
	bool opens_stream = request->opens_stream && error == SEG_ERROR_NONE;
	uint32_t endpoint = request->endpoint;

	traffic_finish_copies(conn, request, &(struct traffic_outcome){ .error = (uint8_t)error }, count, call);
	request_pop_copies(&conn->queue, count);
	if (opens_stream) {
		end_stream(conn, call);
		traffic_follow_bytes(conn, endpoint, call->now_ns);
	}
}

/* Those whose turn it is and which have no answer are over. */
static void finish_silent(struct conn *conn, struct traffic_call *call)
{
	struct request *request;

	while (conn->as == &traffic_redis && (request = request_oldest(&conn->queue)) && request->has_no_answer) {
		traffic_settle(conn, SEG_PROTOCOL_REDIS);
		finish(conn, request, 1, SEG_ERROR_NONE, call);
	}
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

/* struct request, kind: how its answer is told from what is pushed */
enum { KIND_PLAIN, KIND_SUBSCRIBES, KIND_GOES_ON /* in a subscriber of RESP2, too */ };

static uint8_t kind_of(uint32_t traits)
{
	if (traits & REDIS_SUBSCRIBES)
		return KIND_SUBSCRIBES;
	return traits & REDIS_GOES_ON ? KIND_GOES_ON : KIND_PLAIN;
}

/* What CLIENT REPLY leaves unanswered. */
enum { SILENCE_NONE, SILENCE_NEXT, SILENCE_ALL };

/* True: this command has no answer. Its own CLIENT REPLY is heard before. */
static bool hear_silence(struct conn *conn, uint32_t traits)
{
	if (traits & REDIS_REPLIES_ON)
		conn->redis.silence = SILENCE_NONE;
	else if (traits & REDIS_REPLIES_OFF)
		conn->redis.silence = SILENCE_ALL;
	bool is_silent = conn->redis.silence != SILENCE_NONE || traits & REDIS_REPLIES_SKIP;
	if (conn->redis.silence == SILENCE_NEXT)
		conn->redis.silence = SILENCE_NONE;
	if (traits & REDIS_REPLIES_SKIP && conn->redis.silence == SILENCE_NONE)
		conn->redis.silence = SILENCE_NEXT;
	return is_silent;
}

/* CLIENT REPLY is one command, whatever it says. */
static uint32_t label_of(uint32_t command, uint32_t traits)
{
	static const char client_reply[REDIS_NAME_BYTES] = "CLIENT REPLY";

	if (traits & (REDIS_REPLIES_ON | REDIS_REPLIES_OFF | REDIS_REPLIES_SKIP))
		return redis_command_find(client_reply);
	return command;
}

/* Nothing tells it from its copies but that they come later, and any answer is its answer but what is pushed. */
static bool is_plain(const struct request *request)
{
	return request->kind == KIND_PLAIN && !request->is_broken && !request->opens_stream && !request->has_no_answer;
}

/* count commands more that the program serves, without traits, are copies of the newest. False: they are not. */
static bool repeat_newest(struct conn *conn, uint32_t command, uint32_t count, struct traffic_call *call)
{
	struct request *newest = conn->is_client ? NULL : request_newest(&conn->queue);

	if (!newest || newest->begin_ns != conn->redis.begin_ns || !is_plain(newest) ||
	    newest->endpoint != endpoint_find_operation(SEG_PROTOCOL_REDIS, command, redis_command_name(command)) ||
	    !request_repeat(&conn->queue, newest, count))
		return false;
	conn->requests_count += count;
	draw_work(conn, newest, count, call);
	return true;
}

static void on_plain_command(struct conn *conn, uint32_t command, struct traffic_call *call)
{
	struct request *request = push(conn, command);

	if (request)
		draw_work(conn, request, 1, call);
}

static void on_special_command(struct conn *conn, uint32_t command, uint32_t traits, struct traffic_call *call)
{
	struct request *request = push(conn, label_of(command, traits));

	if (!request)
		return;
	draw_work(conn, request, 1, call);
	request->kind = kind_of(traits);
	request->opens_stream = traits & REDIS_OPENS_STREAM;
	request->has_no_answer = hear_silence(conn, traits);
	finish_silent(conn, call);
}

/* count commands, alike. */
static void on_commands(struct conn *conn, uint32_t count, struct traffic_call *call)
{
	uint32_t command = conn->redis.command.command;
	uint32_t traits = redis_command_traits(command);

	for (; count && conn->as == &traffic_redis; count--) {
		if (traits || conn->redis.silence)
			on_special_command(conn, command, traits, call);
		else if (repeat_newest(conn, command, count, call))
			return;
		else
			on_plain_command(conn, command, call);
		conn->redis.begin_ns = call->now_ns; /* of all but the connection's first */
	}
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
		struct resp_run run = resp_read_commands(command, bytes, n);
		bytes += run.used_bytes;
		n -= run.used_bytes;
		if (run.event == RESP_ITEM)
			on_commands(conn, run.count, call);
		else if (run.event == RESP_BROKEN)
			on_broken_command(conn);
	}
	if (conn->as != &traffic_redis)
		return;
	note_half_command(conn, call);
}

/* By the first word of the error, from the closed list of segment/counters.h. */
static enum seg_error error_of(const struct resp_reply *reply)
{
	for (int error = SEG_ERROR_REDIS_ERR; error <= SEG_ERROR_REDIS_OOM; error++) {
		const char *name = seg_error_names[error];
		if (strlen(name) == reply->word_bytes && memcmp(name, reply->word, reply->word_bytes) == 0)
			return (enum seg_error)error;
	}
	return SEG_ERROR_OTHER;
}

static bool word_ends(const struct resp_reply *reply, const char *end)
{
	size_t n = strlen(end);

	return reply->word_bytes >= n && memcmp(reply->word + reply->word_bytes - n, end, n) == 0;
}

/* "subscribe", "psubscribe", "ssubscribe", and those with "un": the answer for one channel. */
static bool is_of_channel(const struct resp_reply *reply)
{
	return word_ends(reply, "subscribe");
}

/* "message", "pmessage", "smessage" */
static bool is_message(const struct resp_reply *reply)
{
	return word_ends(reply, "message");
}

/* What came is the oldest request's answer. */
static bool is_answer(const struct conn *conn, const struct request *request)
{
	const struct resp_reply *reply = &conn->redis.reply;
	bool may_be_pushed = reply->top == '*' && is_subscribed(conn) && !conn->redis.has_pushed;

	if (reply->top == '>') /* RESP3 answers SUBSCRIBE by a push */
		return request->kind == KIND_SUBSCRIBES && is_of_channel(reply);
	if (request->kind == KIND_SUBSCRIBES && reply->top == '*')
		return is_of_channel(reply);
	return !may_be_pushed || (!is_of_channel(reply) && (request->kind == KIND_PLAIN || !is_message(reply)));
}

/* So many plain replies at most are answers alike: to the oldest request and its copies. */
static uint32_t answers_due(struct conn *conn)
{
	const struct request *request = request_oldest(&conn->queue);

	return request && is_plain(request) ? 1 + request->copies : 1;
}

/* count replies: 1, or plain ones that answer the oldest request and its copies. */
static void on_replies(struct conn *conn, uint32_t count, struct traffic_call *call)
{
	const struct resp_reply *reply = &conn->redis.reply;
	struct request *request = request_oldest(&conn->queue);
	enum seg_error error = SEG_ERROR_NONE;

	conn->redis.has_pushed |= reply->top == '>';
	if (!request || !is_answer(conn, request))
		return;
	bool subscribes = request->kind == KIND_SUBSCRIBES && !word_ends(reply, "unsubscribe");
	uint32_t endpoint = request->endpoint;
	if (request->is_broken)
		error = SEG_ERROR_PARSE;
	else if (reply->top == '-' || reply->top == '!')
		error = error_of(reply);
	request->first_byte_ns = conn->redis.answer_ns;
	finish(conn, request, count, error, call);
	if (subscribes && error == SEG_ERROR_NONE)
		begin_stream(conn, endpoint, call);
	finish_silent(conn, call);
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
		enum seg_error its = request->is_broken ? SEG_ERROR_PARSE : request->has_no_answer ? SEG_ERROR_NONE : error;
		traffic_finish(conn, request, &(struct traffic_outcome){ .error = (uint8_t)its }, call);
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
	end_stream(conn, call);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
}

static void redis_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	while (n && conn->as == &traffic_redis) {
		if (!resp_reply_is_within(&conn->redis.reply))
			conn->redis.answer_ns = call->now_ns;
		struct resp_run run = resp_read_replies(&conn->redis.reply, bytes, n, answers_due(conn));
		bytes += run.used_bytes;
		n -= run.used_bytes;
		if (run.event == RESP_BROKEN) {
			on_broken_reply(conn, call);
			return;
		}
		traffic_settle(conn, SEG_PROTOCOL_REDIS);
		if (run.event == RESP_ITEM || is_dump_begun(conn))
			on_replies(conn, run.count, call);
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
	end_stream(conn, call);
}

static void redis_move_gauges(struct conn *conn, int direction)
{
	if (is_subscribed(conn) && !conn->is_client)
		observe_stream_moved(conn->protocol, direction);
}

static bool redis_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	(void)call;
	return resp_skip_reply(&conn->redis.reply, n);
}

static void redis_show_work(struct conn *conn, const struct request *oldest)
{
	traffic_show_work(conn, conn->redis.half_work, traffic_work_of_batch(conn, oldest, conn->redis.work));
}

static const struct traffic_protocol traffic_redis = {
	.protocol = SEG_PROTOCOL_REDIS,
	.asked = redis_asked,
	.answered = redis_answered,
	.answered_unseen = redis_answered_unseen,
	.end = redis_end,
	.show_work = redis_show_work,
	.move_gauges = redis_move_gauges,
};
