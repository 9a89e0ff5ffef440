/* PostgreSQL: what is one request, and when it is over.
 *
 * - A Query is one, whatever number of statements it has; its operation is the verb of the first one. It ends with
 *   ReadyForQuery. So is a FunctionCall.
 * - An Execute is one, with the Parse, Bind and Describe that came before it since the last Execute or Sync; its operation
 *   is the verb of the statement that its portal was bound to. It ends with its own answer, but the last one before a Sync
 *   ends with ReadyForQuery, since that is when it is committed, and may fail. Several Executes of one portal are several.
 * - After an error the server passes over everything up to the Sync. What it passed over it did not do, and does not log:
 *   it is not counted.
 * - What came before a Sync without an Execute (a statement that is prepared for later) is counted if it failed, by the
 *   verb of its statement, and so is a Sync that could not commit (COMMIT), and the beginning of a session (CONNECT): no
 *   error that a server tells goes uncounted, and nothing else is that no statement asked for.
 * - A CancelRequest is one (CANCEL), over when it is read: nothing answers it.
 * - COPY in and out last as long as their data; from CopyBothResponse on the connection is a stream (replication).
 * - A FATAL error ends its request, since nothing follows it, and the backend may end without closing its socket.
 *
 * A Sync is no request but a number: of those that follow a request, kept with it, and of those due before the oldest one.
 */
#include "endpoint.h"
#include "postgres.h"
#include "prepared.h"
#include "traffic_sql.h"

#include <string.h>

enum kind {
	KIND_CONNECT,
	KIND_QUERY,
	KIND_FUNCTION,
	KIND_EXECUTE,
	KIND_GROUP, /* ends with a Sync and has no Execute */
	KIND_MASK = 0x0f,
	KIND_COPY_ENDED = 0x10, /* the client sent all of its data before it was told to */
};

/* Operations that are no verbs. */
enum { OPERATION_CONNECT = SQL_VERB_COUNT, OPERATION_CANCEL, OPERATION_FUNCTION, OPERATION_COUNT };
_Static_assert(OPERATION_COUNT < ENDPOINT_OPERATIONS_MAX && SQL_VERB_COUNT - 1 <= PREPARED_VERB_MAX, "numbers must fit");

struct state {
	struct postgres_client client;
	struct postgres_server server;
	struct prepared *prepared; /* names of statements and portals; NULL = none was given yet */
	struct request *newest;    /* of the queue; NULL: all that the client asked is answered */
	uint64_t message_ns;       /* when the message being read began */
	uint64_t group_ns;         /* the first message since the last Execute or Sync; 0 = none */
	uint64_t asked_bytes;      /* since the last request */
	uint64_t answered_bytes;   /* of the oldest one */
	struct work work;          /* that of one request, which stands for all last received */
	uint32_t half_endpoint;    /* of what is half received, 0 = nothing or not known */
	struct traffic_sql_tls tls;
	uint32_t syncs_due;        /* before the oldest request */
	uint8_t group_verb;
	uint8_t statement_verb;    /* of the unnamed ones */
	uint8_t portal_verb;
	bool has_startup;
	bool is_broken;            /* what the client says cannot be read */
	bool is_copy_in;           /* the server reads data, and ignores Sync */
	bool is_skipping;          /* the server passes over everything up to the next Sync */
};

static struct state *state_of(struct conn *conn)
{
	return traffic_state(conn, struct state);
}

static const char *operation_name(uint32_t operation)
{
	switch (operation) {
	case OPERATION_CONNECT:
		return "CONNECT";
	case OPERATION_CANCEL:
		return "CANCEL";
	case OPERATION_FUNCTION:
		return "FUNCTION_CALL";
	}
	return sql_verb_name(operation);
}

static uint8_t kind_of(const struct request *request)
{
	return request->kind & KIND_MASK;
}

/* requests */

/* One of those received in a call stands for all of them, chosen by lot: see traffic_redis.c. */
static void draw_work(struct conn *conn, const struct request *request, struct traffic_call *call)
{
	if (conn->is_client || !traffic_sql_draw(call))
		return;
	state_of(conn)->work = traffic_work_of(conn, request);
	call->work = state_of(conn)->work;
}

/* NULL: the connection was given up, and its state is gone. */
static struct request *push(struct conn *conn, enum kind kind, uint32_t operation, uint64_t begin_ns,
			    struct traffic_call *call)
{
	struct request *request = traffic_push(conn, begin_ns);
	struct state *state = state_of(conn);

	if (!request)
		return NULL;
	request->is_read = true;
	request->kind = (uint8_t)kind;
	request->body_bytes = state->asked_bytes;
	state->asked_bytes = 0;
	state->newest = request;
	traffic_head_operation(request, SEG_PROTOCOL_POSTGRES, operation, operation_name(operation));
	draw_work(conn, request, call);
	return request;
}

/* The oldest request leaves the queue; the Syncs behind it are the next ones due. */
static void pop(struct conn *conn, struct request *request)
{
	struct state *state = state_of(conn);

	if (state->newest == request)
		state->newest = NULL;
	state->syncs_due += request->detail;
	state->answered_bytes = 0;
	request_pop(&conn->queue);
}

static void drop(struct conn *conn, struct request *request)
{
	traffic_drop(conn, request);
	pop(conn, request);
}

static void finish(struct conn *conn, struct request *request, enum seg_error error, struct traffic_call *call)
{
	traffic_finish(conn, request, &(struct traffic_outcome){
		.status = request->status,
		.error = (uint8_t)(request->status ? SEG_ERROR_SQLSTATE : error),
		.response_bytes = state_of(conn)->answered_bytes,
	}, call);
	pop(conn, request);
}

/* What is no request of the queue failed. */
static void count_failure(struct conn *conn, uint32_t operation, uint64_t begin_ns, enum seg_error error, uint16_t status,
			  struct traffic_call *call)
{
	struct request request = { .status = status };

	traffic_begin_request(conn, &request, begin_ns);
	traffic_head_operation(&request, SEG_PROTOCOL_POSTGRES, operation, operation_name(operation));
	traffic_finish(conn, &request, &(struct traffic_outcome){ .status = status, .error = (uint8_t)error }, call);
}

/* names of statements and portals */

static void remember(struct state *state, uint64_t name, uint32_t verb)
{
	if (!state->prepared)
		state->prepared = prepared_take();
	if (state->prepared)
		prepared_put(state->prepared, name, verb);
}

static uint8_t recall(struct state *state, uint64_t name)
{
	uint32_t verb;

	if (state->prepared && prepared_get(state->prepared, name, &verb))
		return (uint8_t)verb;
	thread_count(SEG_COUNTER_OVERFLOW_STATEMENTS);
	return SQL_OTHER;
}

static uint8_t verb_of_statement(struct state *state, uint64_t name)
{
	return name ? recall(state, name) : state->statement_verb;
}

static uint8_t verb_of_portal(struct state *state, uint64_t name)
{
	return name ? recall(state, name) : state->portal_verb;
}

static void open_group(struct state *state, uint8_t verb)
{
	if (!state->group_ns)
		state->group_ns = state->message_ns;
	state->group_verb = verb;
}

static void on_parse(struct state *state)
{
	const struct postgres_client *client = &state->client;

	if (client->statement)
		remember(state, client->statement, client->sql.verb);
	else
		state->statement_verb = client->sql.verb;
	open_group(state, client->sql.verb);
}

static void on_bind(struct state *state)
{
	const struct postgres_client *client = &state->client;
	uint8_t verb = verb_of_statement(state, client->statement);

	if (client->portal)
		remember(state, client->portal, verb);
	else
		state->portal_verb = verb;
	open_group(state, verb);
}

static void on_describe(struct state *state)
{
	const struct postgres_client *client = &state->client;

	if (!state->group_ns)
		open_group(state, client->is_of_portal ? verb_of_portal(state, client->portal) :
							 verb_of_statement(state, client->statement));
}

static void on_close(struct state *state)
{
	uint64_t name = state->client.is_of_portal ? state->client.portal : state->client.statement;

	if (name && state->prepared)
		prepared_drop(state->prepared, name);
}

/* what the client asks */

static void on_execute(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	uint64_t begin_ns = state->group_ns ? state->group_ns : state->message_ns;

	state->group_ns = 0;
	push(conn, KIND_EXECUTE, verb_of_portal(state, state->client.portal), begin_ns, call);
}

static void on_sync(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	uint64_t begin_ns = state->group_ns;

	if (state->is_copy_in)
		return;
	state->group_ns = 0;
	if (begin_ns) {
		struct request *request = push(conn, KIND_GROUP, state->group_verb, begin_ns, call);
		if (request)
			request->detail = 1;
	} else if (state->newest) {
		state->newest->detail++;
	} else {
		state->syncs_due++;
	}
}

/* The client's data are over. If it did not wait until it was asked for them, the Syncs that it sent before stand among
 * them, where they are ignored. */
static void on_copy_end(struct state *state)
{
	bool is_early = !state->is_copy_in && state->newest && kind_of(state->newest) != KIND_GROUP;

	state->is_copy_in = false;
	if (!is_early)
		return;
	state->newest->kind |= KIND_COPY_ENDED;
	state->newest->detail = 0;
}

static void on_cancel(struct conn *conn, struct traffic_call *call)
{
	struct request *request;

	traffic_settle(conn, SEG_PROTOCOL_POSTGRES);
	request = push(conn, KIND_QUERY, OPERATION_CANCEL, state_of(conn)->message_ns, call);
	if (request)
		finish(conn, request, SEG_ERROR_NONE, call);
}

static void on_broken_client(struct conn *conn, struct traffic_call *call)
{
	state_of(conn)->is_broken = true;
	if (conn->is_settled)
		count_failure(conn, SQL_OTHER, state_of(conn)->message_ns, SEG_ERROR_PARSE, 0, call);
}

static void on_asked(struct conn *conn, enum postgres_event event, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	switch (event) {
	case POSTGRES_BROKEN:
		on_broken_client(conn, call);
		break;
	case POSTGRES_ENCRYPTED:
		memset(&state->client, 0, sizeof(state->client)); /* the startup is still to come */
		state->tls.is_begun = true;
		break;
	case POSTGRES_NEGOTIATES:
		postgres_expect_negotiation(&state->server);
		break;
	case POSTGRES_STARTUP:
		state->has_startup = true;
		push(conn, KIND_CONNECT, OPERATION_CONNECT, state->message_ns, call);
		break;
	case POSTGRES_CANCEL:
		on_cancel(conn, call);
		break;
	case POSTGRES_QUERY:
		push(conn, KIND_QUERY, state->client.sql.verb, state->message_ns, call);
		break;
	case POSTGRES_FUNCTION:
		push(conn, KIND_FUNCTION, OPERATION_FUNCTION, state->message_ns, call);
		break;
	case POSTGRES_PARSE:
		on_parse(state);
		break;
	case POSTGRES_BIND:
		on_bind(state);
		break;
	case POSTGRES_DESCRIBE:
		on_describe(state);
		break;
	case POSTGRES_EXECUTE:
		on_execute(conn, call);
		break;
	case POSTGRES_CLOSE:
		on_close(state);
		break;
	case POSTGRES_SYNC:
		on_sync(conn, call);
		break;
	case POSTGRES_COPY_END:
		on_copy_end(state);
		break;
	default:
		break;
	}
}

static uint32_t peek(uint8_t verb)
{
	return endpoint_peek_operation(SEG_PROTOCOL_POSTGRES, verb, sql_verb_name(verb));
}

/* What was received asks for nothing yet, but tells what it will ask for. */
static void note_half(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	state->half_endpoint = 0;
	if (conn->is_client)
		return;
	if (postgres_client_has_verb(&state->client))
		state->half_endpoint = peek(state->client.sql.verb);
	else if (state->group_ns)
		state->half_endpoint = peek(state->group_verb);
	if (state->half_endpoint && call->work.endpoint == WORK_PENDING)
		call->work.endpoint = state->half_endpoint;
}

static void postgres_asked(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	if (traffic_sql_is_closed(conn, &state->tls)) {
		traffic_sql_closed_asked(&state->tls, bytes);
		return;
	}
	while (n && conn->as == &traffic_postgres && !state->tls.is_begun) {
		/* Whatever comes before the session is part of its beginning. */
		if (!postgres_client_is_within(&state->client))
			state->message_ns = state->has_startup ? call->now_ns : conn->first_ns;
		struct postgres_step step = postgres_read_client(&state->client, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		state->asked_bytes += step.used_bytes;
		on_asked(conn, step.event, call);
	}
	if (conn->as == &traffic_postgres)
		note_half(conn, call);
}

/* what the server answers */

static void on_complete(struct conn *conn, struct traffic_call *call)
{
	struct request *request = request_oldest(&conn->queue);

	state_of(conn)->is_copy_in = false;
	if (request && kind_of(request) == KIND_EXECUTE && !request->detail) /* else ReadyForQuery is its end */
		finish(conn, request, SEG_ERROR_NONE, call);
}

/* Drops what the server passed over, up to the Sync. */
static void drop_to_sync(struct conn *conn)
{
	struct request *request;

	while (!state_of(conn)->syncs_due && (request = request_oldest(&conn->queue)))
		drop(conn, request);
}

static void end_sync(struct state *state)
{
	if (state->syncs_due)
		state->syncs_due--;
}

static void on_ready(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	struct request *request;

	state->is_copy_in = false;
	if (state->is_skipping)
		drop_to_sync(conn);
	state->is_skipping = false;
	request = request_oldest(&conn->queue);
	if (state->syncs_due || !request) {
		end_sync(state);
		return;
	}
	switch (kind_of(request)) {
	case KIND_CONNECT:
		drop(conn, request);
		break;
	case KIND_GROUP:
		drop(conn, request);
		end_sync(state);
		break;
	case KIND_EXECUTE:
		finish(conn, request, SEG_ERROR_NONE, call);
		end_sync(state);
		break;
	default:
		finish(conn, request, SEG_ERROR_NONE, call);
	}
}

/* The request that the server is at failed. */
static void fail(struct conn *conn, struct request *request, uint16_t status, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	bool is_extended = kind_of(request) == KIND_EXECUTE || kind_of(request) == KIND_GROUP;

	if (!request->status)
		request->status = status;
	if (!is_extended && kind_of(request) != KIND_CONNECT && !state->server.is_fatal)
		return; /* ReadyForQuery is still to come */
	state->is_skipping = is_extended;
	finish(conn, request, SEG_ERROR_NONE, call);
}

/* Something failed that is no request, or not yet. */
static void fail_alone(struct conn *conn, uint16_t status, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	if (state->is_skipping)
		return;
	if (state->syncs_due) {
		count_failure(conn, SQL_COMMIT, state->message_ns, SEG_ERROR_SQLSTATE, status, call);
	} else if (state->group_ns) {
		count_failure(conn, state->group_verb, state->group_ns, SEG_ERROR_SQLSTATE, status, call);
		state->is_skipping = true;
	} else if (!state->has_startup) {
		count_failure(conn, OPERATION_CONNECT, conn->first_ns, SEG_ERROR_SQLSTATE, status, call);
	}
}

static void on_error(struct conn *conn, struct traffic_call *call)
{
	struct state *state = state_of(conn);
	struct request *request = request_oldest(&conn->queue);
	uint32_t status = seg_sqlstate_class(state->server.sqlstate[0], state->server.sqlstate[1]);

	if (!status) /* internal_error, the server's word for what has no class */
		status = seg_sqlstate_class('X', 'X');
	state->is_copy_in = false;
	if (request && !state->syncs_due)
		fail(conn, request, (uint16_t)status, call);
	else
		fail_alone(conn, (uint16_t)status, call);
	while (state->server.is_fatal && (request = request_oldest(&conn->queue)))
		drop(conn, request);
}

/* The server reads data, and ignores Syncs among them: the one behind the Execute, too. */
static void on_copy_in(struct conn *conn)
{
	struct state *state = state_of(conn);
	struct request *request = request_oldest(&conn->queue);

	if (!request || state->syncs_due || request->kind & KIND_COPY_ENDED)
		return;
	state->is_copy_in = true;
	request->detail = 0;
}

static void on_copy_both(struct conn *conn, struct traffic_call *call)
{
	struct request *request = request_oldest(&conn->queue);

	if (!request)
		return;
	uint32_t endpoint = request->endpoint;
	finish(conn, request, SEG_ERROR_NONE, call);
	traffic_follow_bytes(conn, endpoint, call->now_ns);
}

static void finish_all(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct request *request;

	if (state_of(conn)->is_skipping)
		drop_to_sync(conn);
	while ((request = request_oldest(&conn->queue))) {
		if (kind_of(request) == KIND_CONNECT || kind_of(request) == KIND_GROUP)
			drop(conn, request);
		else
			finish(conn, request, error, call);
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

static void on_answered(struct conn *conn, enum postgres_event event, struct traffic_call *call)
{
	switch (event) {
	case POSTGRES_BROKEN:
		on_broken_server(conn, call);
		break;
	case POSTGRES_TURNS_GSS: /* nobody will show us what was encrypted by GSSAPI */
		traffic_settle(conn, SEG_PROTOCOL_POSTGRES);
		traffic_give_up(conn, SEG_COUNTER_BLIND_TLS);
		break;
	case POSTGRES_COMPLETE:
		on_complete(conn, call);
		break;
	case POSTGRES_READY:
		on_ready(conn, call);
		break;
	case POSTGRES_ERROR:
		on_error(conn, call);
		break;
	case POSTGRES_COPY_IN:
		on_copy_in(conn);
		break;
	case POSTGRES_COPY_BOTH:
		on_copy_both(conn, call);
		break;
	default:
		break;
	}
}

/* A whole header that makes sense was said in answer to a startup, or an error in answer to what came before. */
static bool is_agreed(const struct state *state, enum postgres_event event)
{
	enum { HEADER_BYTES = 5 };

	if (event == POSTGRES_BROKEN)
		return false;
	return event == POSTGRES_ERROR || (state->has_startup && state->answered_bytes >= HEADER_BYTES);
}

static void postgres_answered(struct conn *conn, const char *bytes, size_t n, struct traffic_call *call)
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
	while (n && conn->as == &traffic_postgres) {
		struct request *request = request_oldest(&conn->queue);
		if (request && !state->syncs_due)
			traffic_first_byte(request, call);
		struct postgres_step step = postgres_read_server(&state->server, bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		state->answered_bytes += step.used_bytes;
		if (!conn->is_settled && is_agreed(state, step.event))
			traffic_settle(conn, SEG_PROTOCOL_POSTGRES);
		on_answered(conn, step.event, call);
	}
}

/* the rest */

static void postgres_end(struct conn *conn, enum seg_error error, struct traffic_call *call)
{
	struct state *state = state_of(conn);

	if (state->tls.is_begun && !conn->is_tls)
		traffic_sql_closed_end(conn, &state->tls);
	if (!conn->is_settled) {
		traffic_unclassified(conn);
		return;
	}
	finish_all(conn, error, call);
}

static void postgres_forget(struct conn *conn)
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
	/* Passwords and data belong to a request that was read before. */
	if (oldest && (state->is_copy_in || kind_of(oldest) == KIND_CONNECT))
		return traffic_work_of(conn, oldest);
	return WORK_NONE;
}

static void postgres_show_work(struct conn *conn, const struct request *oldest)
{
	const struct state *state = state_of(conn);

	traffic_show_work(conn, work_asking(conn, state, oldest), traffic_work_of_batch(conn, oldest, state->work));
}

const struct traffic_protocol traffic_postgres = {
	.protocol = SEG_PROTOCOL_POSTGRES,
	.asked = postgres_asked,
	.answered = postgres_answered,
	.end = postgres_end,
	.forget = postgres_forget,
	.show_work = postgres_show_work,
};
