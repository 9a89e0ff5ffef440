/* memcached: commands are queued when they are complete and answered in that order, but for the quiet ones, which may have
 * no answer: such a one is over when an answer comes that is a later one's. A pipeline's work is drawn by lot, as Redis'.
 *
 * Some inline commands of Redis are commands of memcached, too ("get k"): then the first answer tells, and what is queued
 * goes on as Redis'.
 */
#include "traffic_memcached.h"

#include "endpoint.h"
#include "lot.h"
#include "memcached.h"

#include <string.h>

struct memcached_conn {
	struct memcached_command command;
	struct memcached_reply reply;
	uint64_t begin_ns;     /* of the command being received */
	uint64_t answer_ns;    /* when the first byte of the answer being sent passed */
	struct work work;      /* that of one command, which stands for all last received */
	struct work half_work; /* of a command half received, WORK_NONE = none or not known */
	uint32_t random;
	bool has_begun;
};

static struct memcached_conn *state_of(struct conn *conn)
{
	return traffic_state(conn, struct memcached_conn);
}

/* struct request, kind and detail: what tells its answer */
enum { KIND_QUIET = 0x80 };

static void remember_asked(struct request *request, const struct memcached_asked *asked)
{
	request->kind = (uint8_t)(asked->operation | (asked->is_quiet ? KIND_QUIET : 0));
	request->detail = asked->tag;
}

static struct memcached_asked asked_of(struct conn *conn, const struct request *request)
{
	return (struct memcached_asked){
		.tag = request->detail,
		.operation = request->kind & (KIND_QUIET - 1),
		.is_binary = !state_of(conn)->command.is_text,
		.is_quiet = request->kind & KIND_QUIET,
	};
}

static void finish(struct conn *conn, struct request *request, enum seg_error error, struct traffic_call *call)
{
	traffic_finish(conn, request, &(struct traffic_outcome){ .error = (uint8_t)error }, call);
	request_pop(&conn->queue);
}

/* Those whose turn it is and which have no answer are over. */
static void finish_unanswered(struct conn *conn, struct traffic_call *call)
{
	struct request *request;

	while (conn->is_settled && (request = request_oldest(&conn->queue)) && request->has_no_answer)
		finish(conn, request, SEG_ERROR_NONE, call);
}

static void draw_work(struct conn *conn, const struct request *request, struct traffic_call *call)
{
	struct memcached_conn *state = state_of(conn);

	call->commands++;
	if (conn->is_client || !lot_falls(&state->random, call->commands))
		return;
	state->work = traffic_work_of(conn, request);
	call->work = state->work;
}

static void on_command(struct conn *conn, struct traffic_call *call)
{
	struct memcached_conn *state = state_of(conn);
	const struct memcached_command *command = &state->command;
	enum memcached_operation operation = command->asked.operation;
	struct request *request = traffic_push(conn, state->begin_ns);

	if (!request)
		return;
	request->is_read = true;
	request->has_no_answer = command->has_no_answer;
	request->opens_stream = command->opens_stream;
	remember_asked(request, &command->asked);
	traffic_head_operation(request, SEG_PROTOCOL_MEMCACHED, operation, memcached_operation_name(operation));
	draw_work(conn, request, call);
	/* No other protocol has the word noreply; of quit alone it cannot be told. */
	if (command->has_no_answer && operation != MEMCACHED_QUIT)
		traffic_settle(conn, SEG_PROTOCOL_MEMCACHED);
	finish_unanswered(conn, call);
}

static void on_broken_command(struct conn *conn)
{
	struct request *request;

	if (!conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	request = traffic_push(conn, state_of(conn)->begin_ns);
	if (!request)
		return;
	request->is_read = true;
	request->is_broken = true;
	traffic_head_operation(request, SEG_PROTOCOL_MEMCACHED, MEMCACHED_OTHER, memcached_operation_name(MEMCACHED_OTHER));
}

/* The rest of a large value is still to come, and receiving it is work for its command. */
static void note_half_command(struct conn *conn, struct traffic_call *call)
{
	struct memcached_conn *state = state_of(conn);
	const struct memcached_command *command = &state->command;
	enum memcached_operation operation = command->asked.operation;

	state->half_work = WORK_NONE;
	if (conn->is_client || !memcached_command_is_within(command) || !command->is_named)
		return;
	state->half_work.endpoint =
		endpoint_peek_operation(SEG_PROTOCOL_MEMCACHED, operation, memcached_operation_name(operation));
	if (call->work.endpoint == WORK_PENDING)
		call->work = state->half_work;
}

static void begin(struct conn *conn)
{
	struct memcached_conn *state = state_of(conn);

	state->has_begun = true;
	state->begin_ns = conn->first_ns;
	state->work = (struct work){ SEG_ENDPOINT_BACKGROUND, 0 };
	state->random = (uint32_t)conn->first_ns | 1;
}

static void memcached_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct memcached_conn *state = state_of(conn);

	if (!state->has_begun)
		begin(conn);
	while (n && conn->as == &traffic_memcached) {
		/* The first command began with the connection. */
		if (!memcached_command_is_within(&state->command) && (conn->queue.count || conn->is_settled))
			state->begin_ns = call->now_ns;
		struct memcached_step step = memcached_read_command(&state->command, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == MEMCACHED_ITEM)
			on_command(conn, call);
		else if (step.event == MEMCACHED_BROKEN)
			on_broken_command(conn);
	}
	if (conn->as == &traffic_memcached)
		note_half_command(conn, call);
}

/* The answer was the request's, which is over now. */
static void take_answer(struct conn *conn, struct request *request, struct traffic_call *call)
{
	struct memcached_conn *state = state_of(conn);
	enum seg_error error = (enum seg_error)state->reply.error;
	bool opens_stream = request->opens_stream && state->reply.answer == MEMCACHED_ANSWER_OK;
	uint32_t endpoint = request->endpoint;

	request->first_byte_ns = state->answer_ns;
	finish(conn, request, request->is_broken ? SEG_ERROR_PARSE : error, call);
	if (opens_stream)
		traffic_follow_bytes(conn, endpoint, call->now_ns);
}

static bool may_answer(struct conn *conn, const struct request *request)
{
	struct memcached_asked asked = asked_of(conn, request);

	return !request->has_no_answer && memcached_may_answer(&state_of(conn)->reply, &asked);
}

struct search {
	struct conn *conn;
	bool is_found;
};

static void look_at(struct request *request, void *argument)
{
	struct search *search = argument;

	search->is_found |= may_answer(search->conn, request);
}

/* Some queued command may have this answer. */
static bool is_somebody_s(struct conn *conn)
{
	struct search search = { conn, false };

	request_each(&conn->queue, look_at, &search);
	return search.is_found;
}

/* Commands that may have the answer come after all that cannot. One that is not quiet and cannot was answered before by
 * what was taken for another's: errors say not whose they are. An answer that nobody can have is the oldest one's, unless
 * it carries the tag of another. */
static void on_reply(struct conn *conn, struct traffic_call *call)
{
	struct request *request = request_oldest(&conn->queue);
	/* It nearly always is the oldest one's: a pipeline is not looked through for each of its answers. */
	bool is_lost = request && !may_answer(conn, request) && !is_somebody_s(conn);

	while ((request = request_oldest(&conn->queue))) {
		bool must_answer = !request->has_no_answer && !(request->kind & KIND_QUIET);
		if (is_lost && must_answer && state_of(conn)->reply.tag)
			return;
		if (may_answer(conn, request) || (is_lost && must_answer)) {
			take_answer(conn, request, call);
			break;
		}
		finish(conn, request, SEG_ERROR_NONE, call);
	}
	if (conn->as == &traffic_memcached)
		finish_unanswered(conn, call);
}

/* Error stays of those that would have been answered; quiet ones may well have been served. */
static void finish_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct request *request;

	while ((request = request_oldest(&conn->queue))) {
		bool may_be_silent = request->has_no_answer || request->kind & KIND_QUIET;
		finish(conn, request, request->is_broken ? SEG_ERROR_PARSE : may_be_silent ? SEG_ERROR_NONE : error, call);
	}
}

/* A queued command of memcached as the inline command of Redis that it was. */
static void become_redis_command(struct request *request, void *unused)
{
	const char *name = memcached_operation_name(request->kind & (KIND_QUIET - 1));
	char upper_name[REDIS_NAME_BYTES] = { 0 };

	(void)unused;
	for (size_t i = 0; i + 1 < sizeof(upper_name) && name[i]; i++)
		upper_name[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] & ~0x20) : name[i];
	uint32_t command = redis_command_find(upper_name);
	request->kind = 0;
	request->detail = 0;
	request->has_no_answer = false;
	request->opens_stream = false;
	traffic_head_operation(request, SEG_PROTOCOL_REDIS, command, redis_command_name(command));
}

/* The server's first bytes are no answer of memcached. */
static void on_broken_reply(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	if (conn->is_settled) {
		finish_all(conn, SEG_ERROR_PARSE, call);
		traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
	} else if (n && state_of(conn)->command.is_text && memchr("+-:$*_#,(!=%~>|", bytes[0], 15)) {
		request_each(&conn->queue, become_redis_command, NULL);
		traffic_redis_begin(conn);
		conn->as->answered(conn, bytes, n, call);
	} else {
		traffic_unclassified(conn);
	}
}

/* What may begin an answer of memcached's is one once more of it is known than a word. */
static bool is_certain(const struct memcached_reply *reply, enum memcached_event event)
{
	return (event == MEMCACHED_ITEM && reply->answer != MEMCACHED_ANSWER_UNKNOWN) || reply->left_bytes;
}

static void memcached_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct memcached_conn *state = state_of(conn);
	const char *first = bytes;
	size_t first_bytes = n;

	while (n && conn->as == &traffic_memcached) {
		if (!memcached_reply_is_within(&state->reply))
			state->answer_ns = call->now_ns;
		struct memcached_step step = memcached_read_reply(&state->reply, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == MEMCACHED_BROKEN) {
			on_broken_reply(conn, first, first_bytes, call);
			return;
		}
		if (is_certain(&state->reply, step.event))
			traffic_settle(conn, SEG_PROTOCOL_MEMCACHED);
		if (step.event == MEMCACHED_ITEM && conn->is_settled)
			on_reply(conn, call);
		else if (step.event == MEMCACHED_ITEM)
			traffic_unclassified(conn);
	}
}

static bool memcached_answered_unseen(struct conn *conn, size_t n, struct traffic_call *call)
{
	(void)call;
	return memcached_skip_reply(&state_of(conn)->reply, n);
}

static void memcached_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	bool is_binary = !state_of(conn)->command.is_text && conn->queue.count;

	/* Lines that nobody answered might be anybody's; a binary header is memcached's alone. */
	if (!conn->is_settled && !is_binary) {
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_MEMCACHED);
	finish_all(conn, error, call);
}

static void memcached_show_work(struct conn *conn, const struct request *oldest)
{
	const struct memcached_conn *state = state_of(conn);

	traffic_show_work(conn, state->half_work, traffic_work_of_batch(conn, oldest, state->work));
}

const struct traffic_protocol traffic_memcached = {
	.protocol = SEG_PROTOCOL_MEMCACHED,
	.asked = memcached_asked,
	.answered = memcached_answered,
	.answered_unseen = memcached_answered_unseen,
	.end = memcached_end,
	.show_work = memcached_show_work,
};
