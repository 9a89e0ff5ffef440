/* MySQL and MariaDB: what is one request, and when it is over.
 *
 * - A command is one, and is over with the last packet of its answer: of the last result of several, of the answer to a file.
 *   Its operation is the verb of its statement, where it executes one (COM_QUERY, COM_STMT_EXECUTE); else its own name
 *   (PING, INIT_DB, STMT_PREPARE).
 * - A command without an answer (STMT_CLOSE, STMT_SEND_LONG_DATA) is over when it is read and its turn has come. COM_QUIT
 *   is the end of a session, and not counted.
 * - The beginning of a session is counted if it failed, as CONNECT, by the class of its SQLSTATE.
 * - A dump of the binary log is a stream once its first packet is there.
 * - A session that agreed to compress cannot be read, and is given up and counted as that.
 */
#include "endpoint.h"
#include "mysql.h"
#include "prepared.h"
#include "traffic_sql.h"

#include <string.h>

/* A request's detail: the verb, if any; whether it is the session's beginning; and the sequence number of its last packet. */
enum { DETAIL_VERB = 0xff, DETAIL_CONNECT = 0x100, DETAIL_SEQUENCE_SHIFT = 16 };

/* Operations that are no verbs are numbered behind these. */
enum { OPERATION_COMMANDS = SQL_VERB_COUNT };
_Static_assert(OPERATION_COMMANDS + 256 <= ENDPOINT_OPERATIONS_MAX && SQL_VERB_COUNT - 1 <= PREPARED_VERB_MAX,
	       "numbers must fit");

struct state {
	struct mysql_client client;
	struct mysql_server server;
	struct prepared *prepared; /* numbers of statements; NULL = none was given yet */
	uint64_t message_ns;       /* when the command being read began */
	uint64_t asked_bytes;      /* since the last request */
	uint64_t answered_bytes;   /* of the oldest one */
	struct work work;          /* that of one request, which stands for all last received */
	uint32_t half_endpoint;    /* of a command half received, 0 = none or not known */
	struct traffic_sql_tls tls;
	uint8_t last_verb;         /* of the statement that the client prepared last */
	bool has_greeting;
	bool has_handshake;
	bool is_broken;            /* what the client says cannot be read */
	bool is_file;              /* the client sends one */
};

static struct state *state_of(struct conn *conn)
{
	return traffic_state(conn, struct state);
}

/* requests */

static void name_operation(struct request *request, uint8_t command, bool is_known)
{
	traffic_head_operation(request, SEG_PROTOCOL_MYSQL, is_known ? OPERATION_COMMANDS + command : SQL_OTHER,
			       mysql_command_name(command));
}

static bool is_known(uint8_t command)
{
	return strcmp(mysql_command_name(command), sql_verb_name(SQL_OTHER)) != 0;
}

static bool executes(uint8_t command)
{
	return command == MYSQL_COM_QUERY || command == MYSQL_COM_STMT_EXECUTE || command == MYSQL_COM_STMT_BULK_EXECUTE;
}

static void draw_work(struct conn *conn, const struct request *request, struct traffic_call *call)
{
	if (conn->is_client || !traffic_sql_draw(call))
		return;
	state_of(conn)->work = traffic_work_of(conn, request);
	call->work = state_of(conn)->work;
}

/* NULL: the connection was given up, and its state is gone. */
static struct request *push(struct conn *conn, uint8_t command, uint8_t verb, uint64_t begin_ns, struct traffic_call *call)
{
	struct request *request = traffic_push(conn, begin_ns);
	struct state *state = state_of(conn);

	if (!request)
		return NULL;
	request->is_read = true;
	request->kind = command;
	request->detail = verb | (uint32_t)state->client.last_sequence << DETAIL_SEQUENCE_SHIFT;
	request->has_no_answer = mysql_command_answer(command) == MYSQL_NO_ANSWER;
	request->body_bytes = state->asked_bytes;
	state->asked_bytes = 0;
	if (executes(command))
		traffic_head_operation(request, SEG_PROTOCOL_MYSQL, verb, sql_verb_name(verb));
	else
		name_operation(request, command, is_known(command));
	draw_work(conn, request, call);
	return request;
}

static void pop(struct conn *conn)
{
	state_of(conn)->answered_bytes = 0;
	request_pop(&conn->queue);
}

static void finish(struct conn *conn, struct request *request, enum seg_error error, uint16_t status,
		   struct traffic_call *call)
{
	traffic_finish(conn, request, &(struct traffic_outcome){
		.status = status,
		.error = (uint8_t)error,
		.response_bytes = state_of(conn)->answered_bytes,
	}, call);
	pop(conn);
}

static bool is_connect(const struct request *request)
{
	return request->detail & DETAIL_CONNECT;
}

/* Those whose turn it is and that have no answer are over. */
static void finish_without_answer(struct conn *conn, struct traffic_call *call)
{
	struct request *request;

	while ((request = request_oldest(&conn->queue)) && request->has_no_answer)
		finish(conn, request, SEG_ERROR_NONE, 0, call);
}

/* What is no request of the queue failed. */
static void count_failure(struct conn *conn, uint8_t command, bool is_of_list, uint64_t begin_ns, enum seg_error error,
			  uint16_t status, struct traffic_call *call)
{
	struct request request = { 0 };

	traffic_begin_request(conn, &request, begin_ns);
	name_operation(&request, command, is_of_list);
	traffic_finish(conn, &request, &(struct traffic_outcome){ .status = status, .error = (uint8_t)error }, call);
}

/* numbers of statements */

static void remember(struct state *state, uint32_t statement, uint8_t verb)
{
	if (!state->prepared)
		state->prepared = prepared_take();
	if (state->prepared)
		prepared_put(state->prepared, statement, verb);
}

static uint8_t recall(struct state *state, uint32_t statement)
{
	uint32_t verb;

	if (statement == MYSQL_LAST_STATEMENT)
		return state->last_verb;
	if (state->prepared && prepared_get(state->prepared, statement, &verb))
		return (uint8_t)verb;
	thread_count(SEG_COUNTER_OVERFLOW_STATEMENTS);
	return SQL_OTHER;
}

/* what the client asks */

static uint8_t verb_of(struct state *state)
{
	const struct mysql_client *client = &state->client;

	switch (client->command) {
	case MYSQL_COM_STMT_PREPARE:
		state->last_verb = client->sql.verb;
		return client->sql.verb;
	case MYSQL_COM_QUERY:
		return client->sql.verb;
	case MYSQL_COM_STMT_EXECUTE: case MYSQL_COM_STMT_BULK_EXECUTE:
		return recall(state, client->statement);
	}
	return SQL_OTHER;
}

static void on_command(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	const struct mysql_client *client = &state->client;

	if (client->command == MYSQL_COM_QUIT)
		return;
	if (client->command == MYSQL_COM_STMT_CLOSE && state->prepared)
		prepared_drop(state->prepared, client->statement);
	if (push(conn, client->command, verb_of(state), state->message_ns, call))
		finish_without_answer(conn, call);
}

static void on_handshake(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	mysql_agree(&state->client, &state->server);
	state->has_handshake = true;
	traffic_settle(conn, SEG_PROTOCOL_MYSQL);
	struct request *request = push(conn, MYSQL_COM_CONNECT, SQL_OTHER, conn->first_ns, call);
	if (request)
		request->detail = DETAIL_CONNECT;
}

static void on_asked(struct conn *conn, enum mysql_event event, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	switch (event) {
	case MYSQL_BROKEN:
		state->is_broken = true;
		if (conn->is_settled)
			count_failure(conn, 0, false, state->message_ns, SEG_ERROR_PARSE, 0, call);
		break;
	case MYSQL_ENCRYPTED: /* the handshake is still to come */
		state->client = (struct mysql_client){ .is_tls = true };
		state->tls.is_begun = true;
		break;
	case MYSQL_HANDSHAKE:
		on_handshake(conn, call);
		break;
	case MYSQL_COMMAND:
		on_command(conn, call);
		break;
	default:
		break;
	}
}

/* The rest of a large statement is still to come, and receiving it is work for its verb. */
static void note_half(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	uint8_t verb = state->client.sql.verb;

	state->half_endpoint = 0;
	if (conn->is_client || !mysql_client_has_verb(&state->client) || !executes(state->client.command))
		return;
	state->half_endpoint = endpoint_peek_operation(SEG_PROTOCOL_MYSQL, verb, sql_verb_name(verb));
	if (call->work.endpoint == WORK_PENDING)
		call->work.endpoint = state->half_endpoint;
}

static void mysql_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	if (traffic_sql_is_closed(conn, &state->tls)) {
		traffic_sql_closed_asked(&state->tls, bytes);
		return;
	}
	while (n && conn->as == &traffic_mysql && !state->tls.is_begun) {
		if (!mysql_client_is_within(&state->client))
			state->message_ns = call->now_ns;
		struct mysql_step step = mysql_read_client(&state->client, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		state->asked_bytes += step.used_bytes;
		on_asked(conn, step.event, call);
	}
	if (conn->as == &traffic_mysql)
		note_half(conn, call);
}

/* what the server answers */

static uint16_t status_of(const struct mysql_server *server)
{
	uint32_t status = server->is_error ? seg_sqlstate_class(server->sqlstate[0], server->sqlstate[1]) : 0;

	if (server->is_error && !status) /* the server's word for what has no class */
		status = seg_sqlstate_class('H', 'Y');
	return (uint16_t)status;
}

/* What an answer without error means for what follows. */
static void on_success(struct state *state, const struct request *request)
{
	switch (request->kind) {
	case MYSQL_COM_STMT_PREPARE:
		remember(state, state->server.statement, request->detail & DETAIL_VERB);
		break;
	case MYSQL_COM_CHANGE_USER: case MYSQL_COM_RESET_CONNECTION:
		if (state->prepared)
			prepared_clear(state->prepared);
		break;
	}
}

static void on_answer(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	struct request *request = request_oldest(&conn->queue);
	uint16_t status = status_of(&state->server);

	state->is_file = false;
	if (!request && !state->has_handshake) { /* an error where a greeting was due */
		traffic_settle(conn, SEG_PROTOCOL_MYSQL);
		count_failure(conn, MYSQL_COM_CONNECT, true, call->now_ns, SEG_ERROR_SQLSTATE, status, call);
	}
	if (!request)
		return;
	if (!status && !is_connect(request))
		on_success(state, request);
	finish(conn, request, status ? SEG_ERROR_SQLSTATE : SEG_ERROR_NONE, status, call);
	finish_without_answer(conn, call);
}

static void on_ready(struct conn *conn)
{
	struct request *request = request_oldest(&conn->queue);

	if (request && is_connect(request)) {
		traffic_drop(conn, request);
		pop(conn);
	}
	if (mysql_is_compressed(&state_of(conn)->server))
		traffic_give_up(conn, SEG_COUNTER_LOST_COMPRESSED);
}

static void on_stream(struct conn *conn, struct traffic_call *call)
{
	struct request *request = request_oldest(&conn->queue);

	if (!request)
		return;
	uint32_t endpoint = request->endpoint;
	finish(conn, request, SEG_ERROR_NONE, 0, call);
	traffic_follow_bytes(conn, endpoint, call->now_ns);
}

static void finish_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct request *request;

	while ((request = request_oldest(&conn->queue))) {
		if (!is_connect(request)) {
			finish(conn, request, request->has_no_answer ? SEG_ERROR_NONE : error, 0, call);
			continue;
		}
		traffic_drop(conn, request);
		pop(conn);
	}
}

static void on_broken_server(struct conn *conn, struct traffic_call *call)
{
	if (!conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	finish_all(conn, SEG_ERROR_PARSE, call);
	traffic_follow_bytes(conn, REQUEST_NO_ENDPOINT, call->now_ns);
}

static void on_answered(struct conn *conn, enum mysql_event event, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	switch (event) {
	case MYSQL_BROKEN:
		on_broken_server(conn, call);
		break;
	case MYSQL_GREETING:
		state->has_greeting = true;
		break;
	case MYSQL_READY:
		on_ready(conn);
		break;
	case MYSQL_WANTS_FILE:
		mysql_send_file(&state->client);
		state->is_file = true;
		break;
	case MYSQL_ANSWER:
		on_answer(conn, call);
		break;
	case MYSQL_STREAMS:
		on_stream(conn, call);
		break;
	default:
		break;
	}
}

/* The oldest request is what the server answers next. */
static void expect(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	struct request *request = request_oldest(&conn->queue);

	if (!request)
		return;
	traffic_first_byte(request, call);
	if (mysql_server_is_idle(&state->server) && !is_connect(request))
		mysql_expect(&state->server, request->kind, (uint8_t)(request->detail >> DETAIL_SEQUENCE_SHIFT));
}

static void mysql_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	if (traffic_sql_is_closed(conn, &state->tls)) {
		traffic_sql_closed_answered(conn, &state->tls, bytes);
		return;
	}
	if (state->is_broken && !conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	while (n && conn->as == &traffic_mysql) {
		expect(conn, call);
		struct mysql_step step = mysql_read_server(&state->server, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		state->answered_bytes += step.used_bytes;
		on_answered(conn, step.event, call);
	}
}

/* the rest */

static void mysql_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	if (state->tls.is_begun && !conn->is_tls)
		traffic_sql_closed_end(conn, &state->tls);
	if (!conn->is_settled && (!state->has_greeting || state->is_broken)) {
		traffic_unclassified(conn);
		return;
	}
	traffic_settle(conn, SEG_PROTOCOL_MYSQL); /* greeted, and left without a word */
	finish_all(conn, error, call);
}

static void mysql_forget(struct conn *conn)
{
	struct state *state = state_of(conn);

	if (state->prepared)
		prepared_give(state->prepared);
	state->prepared = NULL;
}

/* Whose it is to receive more of the client; oldest: as in show_work. */
static struct work work_asking(const struct conn *conn, const struct state *state, const struct request *oldest)
{
	if (state->half_endpoint)
		return (struct work){ state->half_endpoint, 0 };
	/* Passwords and a file belong to a request that was read before. */
	if (oldest && (state->is_file || is_connect(oldest)))
		return traffic_work_of(conn, oldest);
	return WORK_NONE;
}

static void mysql_show_work(struct conn *conn, const struct request *oldest)
{
	const struct state *state = state_of(conn);

	traffic_show_work(conn, work_asking(conn, state, oldest), traffic_work_of_batch(conn, oldest, state->work));
}

const struct traffic_protocol traffic_mysql = {
	.protocol = SEG_PROTOCOL_MYSQL,
	.asked = mysql_asked,
	.answered = mysql_answered,
	.end = mysql_end,
	.forget = mysql_forget,
	.show_work = mysql_show_work,
};
