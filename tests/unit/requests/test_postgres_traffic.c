#include "../../../shim/requests/prepared.h"
#include "check_main.h"
#include "room.h"
#include "wire.h"

enum { FD = 7 };

/* What the one side says next, put together here and passed at once. */
static struct wire wire;
static bool is_client; /* the program asks */

static void asked(void)
{
	if (is_client)
		room_send_n(FD, wire.bytes, wire.n);
	else
		room_receive_n(FD, wire.bytes, wire.n);
	wire.n = 0;
}

static void answered(void)
{
	if (is_client)
		room_receive_n(FD, wire.bytes, wire.n);
	else
		room_send_n(FD, wire.bytes, wire.n);
	wire.n = 0;
}

static void query(const char *text)
{
	pg_message(&wire, 'Q', text, strlen(text) + 1);
}

static void parse_statement(const char *name, const char *text)
{
	char body[256];
	int n = snprintf(body, sizeof(body), "%s%c%s%c%c%c", name, 0, text, 0, 0, 0);

	pg_message(&wire, 'P', body, (size_t)n);
}

static void bind_portal(const char *portal, const char *name)
{
	char body[256] = { 0 };
	int n = snprintf(body, sizeof(body), "%s%c%s", portal, 0, name);

	pg_message(&wire, 'B', body, (size_t)n + 7);
}

static void execute_portal(const char *portal)
{
	char body[256] = { 0 };

	pg_message(&wire, 'E', memcpy(body, portal, strlen(portal)), strlen(portal) + 5);
}

static void close_statement(const char *name)
{
	char body[256];
	int n = snprintf(body, sizeof(body), "S%s", name);

	pg_message(&wire, 'C', body, (size_t)n + 1);
}

static void end_group(void)
{
	pg_message(&wire, 'S', NULL, 0);
}

static void empty_message(char type)
{
	pg_message(&wire, type, NULL, 0);
}

static void ready(void)
{
	pg_message(&wire, 'Z', "I", 1);
}

static void complete(void)
{
	PG_TEXT(&wire, 'C', "DONE 1");
}

static void error(const char *severity, const char *code)
{
	char body[128];
	int n = snprintf(body, sizeof(body), "S%s%cV%s%cC%s%cMcanary%c%c", severity, 0, severity, 0, code, 0, 0, 0);

	pg_message(&wire, 'E', body, (size_t)n);
}

static void begin_session(void)
{
	room_open(100);
	is_client = false;
	wire.n = 0;
	room_accept(FD);
	PG_STARTUP(&wire);
	asked();
	PG_BYTES(&wire, 'R', "\0\0\0\0");
	ready();
	answered();
}

static uint64_t count(const char *operation)
{
	return room_requests(SEG_PROTOCOL_POSTGRES, operation, 0, SEG_ERROR_NONE);
}

static uint64_t failed(const char *operation, const char *class)
{
	return room_requests(SEG_PROTOCOL_POSTGRES, operation, seg_sqlstate_class(class[0], class[1]), SEG_ERROR_SQLSTATE);
}

static uint64_t all(void)
{
	return room_requests(SEG_PROTOCOL_POSTGRES, NULL, ROOM_ANY, ROOM_ANY);
}

static void end_session(uint64_t requests)
{
	empty_message('X');
	asked();
	room_close(FD);
	ck_assert_uint_eq(all(), requests);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_POSTGRES), !is_client);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}

START_TEST(a_query_is_one_request_by_its_first_keyword)
{
	begin_session();
	query("select 1; select 2");
	asked();
	PG_BYTES(&wire, 'T', "\0\0");
	PG_BYTES(&wire, 'D', "\0\0");
	complete();
	answered();
	ck_assert_uint_eq(count("SELECT"), 0);
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("SELECT"), 1);
	query("BEGIN");
	asked();
	complete();
	ready();
	answered();
	query("");
	asked();
	empty_message('I');
	ready();
	answered();
	query("canary");
	asked();
	error("ERROR", "42601");
	ready();
	answered();
	ck_assert_uint_eq(count("BEGIN"), 1);
	ck_assert_uint_eq(count("_EMPTY"), 1);
	ck_assert_uint_eq(failed("_OTHER", "42"), 1);
	end_session(4);
}
END_TEST

START_TEST(queries_that_came_at_once_are_answered_in_order)
{
	begin_session();
	query("INSERT INTO t");
	query("UPDATE t");
	query("DELETE FROM t");
	asked();
	complete();
	ready();
	error("ERROR", "23505");
	ready();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("INSERT"), 1);
	ck_assert_uint_eq(failed("UPDATE", "23"), 1);
	ck_assert_uint_eq(count("DELETE"), 1);
	end_session(3);
}
END_TEST

START_TEST(each_execute_is_one_request_by_the_verb_of_its_statement)
{
	begin_session();
	parse_statement("", "SELECT $1");
	bind_portal("", "");
	PG_BYTES(&wire, 'D', "P\0");
	execute_portal("");
	end_group();
	asked();
	empty_message('1');
	empty_message('2');
	empty_message('n');
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("SELECT"), 1);
	parse_statement("s1", "insert into t values ($1)");
	end_group();
	asked();
	empty_message('1');
	ready();
	answered();
	ck_assert_uint_eq(all(), 1);
	parse_statement("", "VALUES (1)");
	bind_portal("p", "s1");
	bind_portal("", "");
	execute_portal("p");
	execute_portal("");
	execute_portal("p");
	end_group();
	asked();
	for (int i = 0; i < 3; i++)
		empty_message('2');
	complete();
	empty_message('s');
	empty_message('I');
	ready();
	answered();
	ck_assert_uint_eq(count("INSERT"), 2);
	ck_assert_uint_eq(count("VALUES"), 1);
	end_session(4);
}
END_TEST

/* Of three, the first two end with their own answers and the last one with ReadyForQuery. */
START_TEST(each_execute_of_a_pipeline_has_its_own_time)
{
	begin_session();
	uint64_t begin_ns = room_now_ns + 1000;
	static const char *const verbs[] = { "INSERT", "UPDATE", "DELETE" };
	for (int i = 0; i < 3; i++) {
		parse_statement("", verbs[i]);
		bind_portal("", "");
		execute_portal("");
	}
	end_group();
	asked();
	for (int i = 0; i < 3; i++) {
		room_now_ns = begin_ns + (uint64_t)(i + 1) * 1000000 - 1000;
		empty_message('1');
		empty_message('2');
		complete();
		answered();
	}
	ck_assert_uint_eq(all(), 2);
	room_now_ns = begin_ns + 4000000 - 1000;
	ready();
	answered();
	ck_assert_uint_eq(room_sum_ns("INSERT"), 1000000);
	ck_assert_uint_eq(room_sum_ns("UPDATE"), 2000000);
	ck_assert_uint_eq(room_sum_ns("DELETE"), 4000000);
	end_session(3);
}
END_TEST

START_TEST(what_the_server_passes_over_after_an_error_is_not_counted)
{
	begin_session();
	static const char *const verbs[] = { "INSERT", "UPDATE", "DELETE", "MERGE" };
	for (int i = 0; i < 4; i++) {
		parse_statement("", verbs[i]);
		bind_portal("", "");
		execute_portal("");
	}
	query("SELECT 1"); /* passed over, too */
	end_group();
	parse_statement("", "VALUES");
	bind_portal("", "");
	execute_portal("");
	end_group();
	query("SHOW x");
	asked();
	empty_message('1');
	empty_message('2');
	complete();
	error("ERROR", "40001");
	ready();
	empty_message('1');
	empty_message('2');
	complete();
	ready();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("INSERT"), 1);
	ck_assert_uint_eq(failed("UPDATE", "40"), 1);
	ck_assert_uint_eq(count("VALUES"), 1);
	ck_assert_uint_eq(count("SHOW"), 1);
	end_session(4);
}
END_TEST

START_TEST(an_error_before_the_rest_has_come_is_counted_once)
{
	begin_session();
	parse_statement("", "SELECT canary");
	empty_message('H');
	asked();
	error("ERROR", "42703");
	answered();
	ck_assert_uint_eq(failed("SELECT", "42"), 1);
	bind_portal("", "");
	execute_portal("");
	end_group();
	asked();
	ready();
	answered();
	query("BEGIN");
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("BEGIN"), 1);
	end_session(2);
}
END_TEST

START_TEST(a_statement_that_cannot_be_prepared_is_counted)
{
	begin_session();
	parse_statement("s1", "WITH canary");
	PG_BYTES(&wire, 'D', "Ss1\0");
	end_group();
	asked();
	error("ERROR", "42P01");
	ready();
	answered();
	ck_assert_uint_eq(failed("WITH", "42"), 1);
	PG_BYTES(&wire, 'D', "Sgone\0");
	end_group();
	end_group();
	asked();
	error("ERROR", "26000");
	ready();
	ready();
	answered();
	ck_assert_uint_eq(failed("_OTHER", "26"), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 1);
	end_session(2);
}
END_TEST

START_TEST(what_cannot_be_committed_failed)
{
	begin_session();
	parse_statement("", "INSERT INTO t");
	bind_portal("", "");
	execute_portal("");
	PG_BYTES(&wire, 'C', "P\0");
	end_group();
	asked();
	empty_message('1');
	empty_message('2');
	complete();
	empty_message('3');
	error("ERROR", "23503");
	ready();
	answered();
	ck_assert_uint_eq(failed("INSERT", "23"), 1);
	/* The answer was flushed before the Sync came. */
	bind_portal("", "");
	execute_portal("");
	empty_message('H');
	asked();
	empty_message('2');
	complete();
	answered();
	ck_assert_uint_eq(count("INSERT"), 1);
	end_group();
	asked();
	error("ERROR", "23503");
	ready();
	answered();
	ck_assert_uint_eq(failed("COMMIT", "23"), 1);
	end_session(3);
}
END_TEST

START_TEST(syncs_without_anything_are_answered_and_not_counted)
{
	begin_session();
	end_group();
	end_group();
	query("SELECT 1");
	end_group();
	end_group();
	bind_portal("", "");
	execute_portal("");
	end_group();
	end_group();
	asked();
	ready();
	ready();
	complete();
	ready();
	ck_assert_uint_eq(all(), 0);
	ready();
	ready();
	empty_message('2');
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("SELECT"), 1);
	ck_assert_uint_eq(count("_OTHER"), 1); /* the unnamed statement was never prepared */
	ready();
	answered();
	query("BEGIN");
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("BEGIN"), 1);
	end_session(3);
}
END_TEST

START_TEST(copy_lasts_as_long_as_its_data)
{
	begin_session();
	query("COPY t FROM STDIN");
	asked();
	PG_BYTES(&wire, 'G', "\0\0\0");
	answered();
	for (int i = 0; i < 3; i++) {
		PG_BYTES(&wire, 'd', "row\n");
		asked();
	}
	empty_message('c');
	asked();
	ck_assert_uint_eq(all(), 0);
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("COPY"), 1);
	query("COPY t TO STDOUT");
	asked();
	PG_BYTES(&wire, 'H', "\0\0\0");
	PG_BYTES(&wire, 'd', "row\n");
	empty_message('c');
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("COPY"), 2);
	/* A client that goes on with data after the error. */
	query("COPY t FROM STDIN");
	asked();
	PG_BYTES(&wire, 'G', "\0\0\0");
	answered();
	PG_BYTES(&wire, 'd', "canary\n");
	asked();
	error("ERROR", "22P04");
	ready();
	answered();
	PG_BYTES(&wire, 'd', "row\n");
	PG_TEXT(&wire, 'f', "gave up");
	query("SELECT 1");
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(failed("COPY", "22"), 1);
	ck_assert_uint_eq(count("SELECT"), 1);
	end_session(4);
}
END_TEST

static void extended_copy(void)
{
	parse_statement("", "COPY t FROM STDIN");
	bind_portal("", "");
	execute_portal("");
}

/* As libpq does: a Sync that the server will ignore, and another behind the data. */
START_TEST(a_sync_among_the_data_of_a_copy_is_ignored)
{
	begin_session();
	extended_copy();
	end_group();
	asked();
	empty_message('1');
	empty_message('2');
	PG_BYTES(&wire, 'G', "\0\0\0");
	answered();
	PG_BYTES(&wire, 'd', "row\n");
	end_group();
	PG_BYTES(&wire, 'd', "row\n");
	empty_message('c');
	end_group();
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("COPY"), 1);
	query("BEGIN");
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(count("BEGIN"), 1);
	/* Nor does it matter after an error. */
	extended_copy();
	end_group();
	asked();
	PG_BYTES(&wire, 'G', "\0\0\0");
	answered();
	PG_BYTES(&wire, 'd', "canary\n");
	empty_message('c');
	end_group();
	asked();
	error("ERROR", "22P04");
	ready();
	answered();
	query("COMMIT");
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(failed("COPY", "22"), 1);
	ck_assert_uint_eq(count("COMMIT"), 1);
	end_session(4);
}
END_TEST

START_TEST(a_client_need_not_wait_to_be_asked_for_its_data)
{
	begin_session();
	extended_copy();
	end_group();
	PG_BYTES(&wire, 'd', "row\n");
	empty_message('c');
	end_group();
	query("BEGIN");
	asked();
	PG_BYTES(&wire, 'G', "\0\0\0");
	complete();
	ready();
	error("ERROR", "25001");
	ready();
	answered();
	ck_assert_uint_eq(count("COPY"), 1);
	ck_assert_uint_eq(failed("BEGIN", "25"), 1);
	end_session(2);
}
END_TEST

START_TEST(statements_are_known_by_their_names)
{
	char name[32];

	begin_session();
	for (int i = 0; i < 256; i++) {
		snprintf(name, sizeof(name), "S_%d", i);
		parse_statement(name, i % 2 ? "UPDATE t" : "SELECT 1");
	}
	end_group();
	asked();
	for (int i = 0; i < 256; i++)
		empty_message('1');
	ready();
	answered();
	for (int i = 255; i >= 0; i--) {
		snprintf(name, sizeof(name), "S_%d", i);
		bind_portal("", name);
		execute_portal("");
		end_group();
		asked();
		complete();
		ready();
		answered();
	}
	ck_assert_uint_eq(count("UPDATE"), 128);
	ck_assert_uint_eq(count("SELECT"), 128);
	close_statement("S_3");
	bind_portal("", "S_3");
	execute_portal("");
	end_group();
	asked();
	error("ERROR", "26000");
	ready();
	answered();
	ck_assert_uint_eq(failed("_OTHER", "26"), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 1);
	end_session(257);
}
END_TEST

START_TEST(a_request_begins_with_the_first_message_that_it_needs)
{
	begin_session();
	uint64_t begin_ns = room_now_ns + 1000;
	parse_statement("", "SELECT 1");
	asked();
	room_now_ns += 5000000;
	bind_portal("", "");
	asked();
	execute_portal("");
	asked();
	end_group();
	asked();
	complete();
	ready();
	answered();
	ck_assert_uint_eq(room_sum_ns("SELECT"), room_now_ns - begin_ns);
	end_session(1);
}
END_TEST

START_TEST(what_a_session_remembered_is_forgotten_with_it)
{
	room_open(100);
	is_client = false;
	for (int i = 0; i < 20000; i++) { /* more than have room at once */
		room_accept(FD);
		PG_STARTUP(&wire);
		parse_statement("s", "SELECT 1");
		bind_portal("", "s");
		execute_portal("");
		end_group();
		asked();
		ready();
		complete();
		ready();
		answered();
		room_close(FD);
	}
	ck_assert_uint_eq(count("SELECT"), 20000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_forgotten_statement_is_other_and_counted_as_that)
{
	char name[32];

	begin_session();
	for (int i = 0; i <= (int)PREPARED_MAX; i++) {
		snprintf(name, sizeof(name), "S_%d", i);
		parse_statement(name, "SELECT 1");
		asked();
	}
	for (int i = 0; i <= (int)PREPARED_MAX; i++) {
		snprintf(name, sizeof(name), "S_%d", i);
		bind_portal("", name);
		execute_portal("");
		asked();
		complete();
		answered();
	}
	ck_assert_uint_eq(count("SELECT"), PREPARED_MAX);
	ck_assert_uint_eq(count("_OTHER"), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 1);
	end_session(PREPARED_MAX + 1);
}
END_TEST

START_TEST(a_session_is_counted_only_if_it_cannot_begin)
{
	room_open(100);
	is_client = false;
	for (int i = 0; i < 2; i++) {
		room_accept(FD);
		PG_STARTUP(&wire);
		asked();
		ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "CONNECT");
		PG_BYTES(&wire, 'R', "\0\0\0\5salt");
		answered();
		PG_TEXT(&wire, 'p', "md5canary");
		asked();
		if (i)
			error("FATAL", "28P01");
		else
			ready();
		answered();
		room_close(FD);
	}
	ck_assert_uint_eq(failed("CONNECT", "28"), 1);
	/* Asked for a password, psql comes again with one. */
	room_accept(FD);
	PG_STARTUP(&wire);
	asked();
	PG_BYTES(&wire, 'R', "\0\0\0\5salt");
	answered();
	room_close(FD);
	/* Refused before it could say who it is. */
	room_accept(FD);
	pg_startup(&wire, PG_ASKS_TLS, "", 0);
	asked();
	error("FATAL", "53300");
	answered();
	room_close(FD);
	ck_assert_uint_eq(failed("CONNECT", "53"), 1);
	ck_assert_uint_eq(all(), 2);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_POSTGRES), 4);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_cancel_is_a_request_without_an_answer)
{
	room_open(100);
	is_client = false;
	room_accept(FD);
	pg_startup(&wire, PG_CANCELS, "\0\0\4\1\1\2\3\4", 8);
	asked();
	ck_assert_uint_eq(count("CANCEL"), 1);
	room_close(FD);
	ck_assert_uint_eq(all(), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_POSTGRES), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_fatal_error_ends_its_request_at_once)
{
	begin_session();
	query("SELECT 1");
	query("SELECT 2");
	asked();
	error("FATAL", "57P01");
	answered();
	ck_assert_uint_eq(failed("SELECT", "57"), 1); /* a backend's socket is closed by its exit, which nobody sees */
	end_session(1);
}
END_TEST

START_TEST(an_error_that_nothing_asked_for_is_no_request)
{
	begin_session();
	error("FATAL", "57P01");
	answered();
	PG_BYTES(&wire, 'N', "SNOTICE\0C00000\0\0");
	PG_BYTES(&wire, 'A', "\0\0\4\1channel\0\0");
	PG_BYTES(&wire, 'S', "a\0b\0");
	answered();
	end_session(0);
}
END_TEST

START_TEST(a_session_that_is_cut_leaves_its_requests_reset)
{
	begin_session();
	query("SELECT 1");
	asked();
	PG_BYTES(&wire, 'T', "\0\0");
	answered();
	room_close(FD);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_POSTGRES, "SELECT", 0, SEG_ERROR_RESET), 1);
	room_accept(FD);
	PG_STARTUP(&wire);
	asked();
	ready();
	answered();
	parse_statement("s", "UPDATE t");
	end_group();
	bind_portal("", "s");
	execute_portal("");
	end_group();
	asked();
	empty_message('1');
	answered();
	room_close(FD);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_POSTGRES, "UPDATE", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(replication_is_a_stream)
{
	begin_session();
	query("IDENTIFY_SYSTEM");
	asked();
	complete();
	ready();
	answered();
	query("START_REPLICATION 0/0");
	asked();
	PG_BYTES(&wire, 'W', "\0\0\0");
	answered();
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_POSTGRES), 1);
	PG_BYTES(&wire, 'd', "w canary");
	answered();
	PG_BYTES(&wire, 'd', "r canary");
	asked();
	room_close(FD);
	ck_assert_uint_eq(count("IDENTIFY_SYSTEM"), 1);
	ck_assert_uint_eq(count("START_REPLICATION"), 1);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_POSTGRES, "START_REPLICATION").ended, 1);
	ck_assert_uint_eq(all(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_cannot_be_read_is_one_parse_error)
{
	begin_session();
	query("BEGIN");
	wire_add(&wire, "canary canary canary", 20);
	asked();
	complete();
	ready();
	error("FATAL", "08P01");
	answered();
	ck_assert_uint_eq(count("BEGIN"), 1);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_POSTGRES, "_OTHER", 0, SEG_ERROR_PARSE), 1);
	end_session(2);
	begin_session();
	query("SELECT 1");
	asked();
	wire_add(&wire, "canary canary canary", 20);
	answered();
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_POSTGRES, "SELECT", 0, SEG_ERROR_PARSE), 1);
	end_session(1);
}
END_TEST

START_TEST(zeros_to_another_server_are_not_postgresql)
{
	room_open(100);
	is_client = false;
	room_accept(FD);
	wire_add(&wire, "\0\0\0\0\0\0\0\0", 8);
	asked();
	wire_add(&wire, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 47);
	answered();
	room_close(FD);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, 400, ROOM_ANY), 1);
	room_accept(FD);
	wire_add(&wire, "\0\0\0\0\0\0\0\0", 8);
	asked();
	wire_add(&wire, "what?", 5);
	answered();
	room_close(FD);
	room_accept(FD);
	PG_STARTUP(&wire);
	asked();
	wire_add(&wire, "\1what?", 5);
	answered();
	room_close(FD);
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 2);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_POSTGRES), 0);
	ck_assert(room_is_balanced());
}
END_TEST

static void begin_tls(void)
{
	room_open(100);
	is_client = false;
	wire.n = 0;
	room_accept(FD);
	pg_startup(&wire, PG_ASKS_TLS, "", 0);
	asked();
	wire_add(&wire, "S", 1);
	answered();
}

START_TEST(tls_is_followed_where_its_library_shows_it)
{
	for (int is_seen_late = 0; is_seen_late < 2; is_seen_late++) {
		begin_tls();
		if (is_seen_late) {
			room_receive_n(FD, "\x16\x03\x01\0\4\1\0\0\0", 9);
			room_send_n(FD, "\x16\x03\x03\0\4\2\0\0\0", 9);
		}
		conn_tls_opened(FD, room_now_ns);
		PG_STARTUP(&wire);
		asked();
		ready();
		answered();
		query("SELECT 1");
		asked();
		complete();
		ready();
		answered();
		ck_assert_uint_eq(count("SELECT"), 1);
		ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 0);
		end_session(1);
	}
}
END_TEST

START_TEST(tls_that_nobody_shows_is_counted_as_that)
{
	begin_tls();
	room_receive_n(FD, "\x16\x03\x01\0\4\1\0\0\0", 9);
	room_send_n(FD, "\x16\x03\x03\0\4\2\0\0\0", 9);
	room_receive_n(FD, "\x14\x03\x03\0\1\1\x17\x03\x03\0\1x", 12);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 0);
	room_send_n(FD, "\x17\x03\x03\0\1x", 6);
	room_receive_n(FD, "\x17\x03\x03\0\1x", 6);
	room_send_n(FD, "\x17\x03\x03\0\1x", 6);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 1);
	room_close(FD);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_TLS), 1);
	ck_assert_uint_eq(all(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(encryption_by_gssapi_is_blindness_too)
{
	room_open(100);
	is_client = false;
	room_accept(FD);
	pg_startup(&wire, PG_ASKS_GSS, "", 0);
	asked();
	wire_add(&wire, "G", 1);
	answered();
	room_receive_n(FD, "\0\0\0\4abcd", 8);
	room_send_n(FD, "\0\0\0\4abcd", 8);
	room_close(FD);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_POSTGRES), 1);
	ck_assert_uint_eq(all(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_the_program_asks_is_counted_by_its_peer)
{
	room_open(100);
	is_client = true;
	wire.n = 0;
	room_connect(FD, 3);
	PG_STARTUP(&wire);
	asked();
	PG_BYTES(&wire, 'R', "\0\0\0\0");
	ready();
	answered();
	query("SELECT 1");
	asked();
	complete();
	ready();
	answered();
	parse_statement("s", "UPDATE t");
	bind_portal("", "s");
	execute_portal("");
	end_group();
	asked();
	error("ERROR", "40P01");
	ready();
	answered();
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_POSTGRES, "SELECT", 0, SEG_ERROR_NONE, 3), 1);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_POSTGRES, "UPDATE", seg_sqlstate_class('4', '0'), SEG_ERROR_SQLSTATE, 3), 1);
	end_session(2);
	is_client = false;
}
END_TEST

static const char *work_receiving(void)
{
	conn_receiving(FD);
	return room_endpoint_name(self.work.endpoint);
}

START_TEST(a_half_received_query_is_known_by_its_verb)
{
	static char data[5000];

	begin_session();
	ck_assert_str_eq(work_receiving(), "_pending");
	wire_add(&wire, "Q\0\0\40\0INSERT INTO t VALUES (", 27);
	asked();
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "INSERT");
	ck_assert_str_eq(work_receiving(), "INSERT");
	room_receive_n(FD, data, sizeof(data));
	ck_assert_str_eq(work_receiving(), "INSERT");
	room_receive_n(FD, data, 0x2000 - 4 - 22 - sizeof(data));
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "INSERT");
	complete();
	ready();
	answered();
	ck_assert_str_eq(work_receiving(), "_pending");
	query("COPY t FROM STDIN");
	asked();
	PG_BYTES(&wire, 'G', "\0\0\0");
	answered();
	ck_assert_str_eq(work_receiving(), "COPY");
	empty_message('c');
	asked();
	complete();
	ready();
	answered();
	parse_statement("", "MERGE INTO t"); /* to be flushed, and executed later */
	asked();
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "MERGE");
	ck_assert_uint_eq(count("INSERT"), 1);
	end_session(2);
}
END_TEST

/* Two pipelines of every kind of message, split everywhere. */
static void whole_session(bool is_answer)
{
	wire.n = 0;
	if (!is_answer) {
		PG_STARTUP(&wire);
		parse_statement("s", "SELECT 1");
		bind_portal("", "s");
		execute_portal("");
		bind_portal("p", "s");
		execute_portal("p");
		end_group();
		query("BEGIN");
		parse_statement("", "bad");
		end_group();
		close_statement("s");
		end_group();
		return;
	}
	PG_BYTES(&wire, 'R', "\0\0\0\0");
	ready();
	empty_message('1');
	empty_message('2');
	PG_BYTES(&wire, 'D', "\0\0");
	complete();
	empty_message('2');
	error("ERROR", "22012");
	ready();
	complete();
	ready();
	error("ERROR", "42601");
	ready();
	empty_message('3');
	ready();
}

START_TEST(a_session_counts_the_same_split_anywhere)
{
	static struct wire question;

	whole_session(false);
	question = wire;
	whole_session(true);
	for (size_t split = 0; split <= wire.n || split <= question.n; split++) {
		size_t asked_first = split < question.n ? split : question.n;
		size_t answered_first = split < wire.n ? split : wire.n;
		room_open(100);
		room_accept(FD);
		for (int half = 0; half < 2; half++) {
			size_t n = half ? question.n - asked_first : asked_first;
			if (n)
				room_receive_n(FD, guarded(question.bytes + (half ? asked_first : 0), n), n);
		}
		for (int half = 0; half < 2; half++) {
			size_t n = half ? wire.n - answered_first : answered_first;
			if (n)
				room_send_n(FD, guarded(wire.bytes + (half ? answered_first : 0), n), n);
		}
		room_close(FD);
		ck_assert_uint_eq(count("SELECT"), 1);
		ck_assert_uint_eq(failed("SELECT", "22"), 1);
		ck_assert_uint_eq(count("BEGIN"), 1);
		ck_assert_uint_eq(failed("_OTHER", "42"), 1);
		ck_assert_uint_eq(all(), 4);
		ck_assert(room_is_balanced());
	}
}
END_TEST

/* A client and a server that follow the rules, at random; and what was asked for and done. */
struct model {
	uint32_t random;
	struct wire asked, answered;
	bool is_skipping;
	uint64_t done[3], failed[3]; /* by verb: INSERT, UPDATE, DELETE */
};

static const char *const model_verbs[] = { "INSERT", "UPDATE", "DELETE" };

static uint32_t draw(struct model *model, uint32_t below)
{
	model->random = model->random * 1664525 + 1013904223;
	return (model->random >> 16) % below;
}

static void model_fails(struct model *model, uint32_t verb)
{
	error("ERROR", "40001");
	wire_add(&model->answered, wire.bytes, wire.n);
	wire.n = 0;
	model->failed[verb]++;
}

static void model_says(struct model *model, char type)
{
	if (type == 'Z')
		pg_message(&model->answered, type, "T", 1);
	else
		pg_message(&model->answered, type, "x", type == 'C' || type == 'D');
}

static void model_query(struct model *model)
{
	uint32_t verb = draw(model, 3), statements = 1 + draw(model, 2);

	pg_message(&model->asked, 'Q', model_verbs[verb], strlen(model_verbs[verb]) + 1);
	if (model->is_skipping)
		return;
	for (uint32_t i = 0; i < statements; i++) {
		if (draw(model, 4)) {
			model_says(model, 'C');
			continue;
		}
		model_fails(model, verb);
		model_says(model, 'Z');
		return;
	}
	model->done[verb]++;
	model_says(model, 'Z');
}

/* Parse, Bind and Execute, one or none of which fails. */
static void model_execute(struct model *model)
{
	uint32_t verb = draw(model, 3), failing = draw(model, 12);
	static const char kinds[] = { '1', '2', 'C' };

	parse_statement("", model_verbs[verb]);
	bind_portal("", "");
	execute_portal("");
	if (draw(model, 2))
		empty_message('H');
	wire_add(&model->asked, wire.bytes, wire.n);
	wire.n = 0;
	for (uint32_t i = 0; i < 3 && !model->is_skipping; i++) {
		if (i == 2 && draw(model, 2))
			model_says(model, 'D');
		if (i == failing) {
			model_fails(model, verb);
			model->is_skipping = true;
		} else {
			model_says(model, kinds[i]);
			model->done[verb] += i == 2;
		}
	}
}

static void model_prepare(struct model *model)
{
	uint32_t verb = draw(model, 3);

	parse_statement("s", model_verbs[verb]);
	wire_add(&model->asked, wire.bytes, wire.n);
	wire.n = 0;
	if (model->is_skipping)
		return;
	if (draw(model, 6)) {
		model_says(model, '1');
		return;
	}
	model_fails(model, verb);
	model->is_skipping = true;
}

static void model_sync(struct model *model)
{
	pg_message(&model->asked, 'S', NULL, 0);
	model->is_skipping = false;
	model_says(model, 'Z');
}

static void pass_in_pieces(struct model *model, const struct wire *side, bool is_answer)
{
	for (size_t at = 0, n; at < side->n; at += n) {
		n = 1 + draw(model, 60);
		n = n < side->n - at ? n : side->n - at;
		if (is_answer)
			room_send_n(FD, guarded(side->bytes + at, n), n);
		else
			room_receive_n(FD, guarded(side->bytes + at, n), n);
	}
}

START_TEST(any_pipeline_counts_what_the_server_did)
{
	static struct model model;

	memset(&model, 0, sizeof(model));
	model.random = (uint32_t)_i + 1;
	begin_session();
	for (int batch = 0; batch < 40; batch++) {
		model.asked.n = model.answered.n = 0;
		for (uint32_t i = draw(&model, 12); i; i--) {
			switch (draw(&model, 8)) {
			case 0: model_query(&model); break;
			case 1: model_sync(&model); break;
			case 2:
				model_prepare(&model);
				model_sync(&model);
				break;
			default: model_execute(&model);
			}
		}
		model_sync(&model);
		pass_in_pieces(&model, &model.asked, false);
		pass_in_pieces(&model, &model.answered, true);
		for (int verb = 0; verb < 3; verb++) {
			ck_assert_uint_eq(count(model_verbs[verb]), model.done[verb]);
			ck_assert_uint_eq(failed(model_verbs[verb], "40"), model.failed[verb]);
		}
	}
	uint64_t total = 0;
	for (int verb = 0; verb < 3; verb++)
		total += model.done[verb] + model.failed[verb];
	end_session(total);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, a_query_is_one_request_by_its_first_keyword);
	tcase_add_test(tcase, queries_that_came_at_once_are_answered_in_order);
	tcase_add_test(tcase, each_execute_is_one_request_by_the_verb_of_its_statement);
	tcase_add_test(tcase, each_execute_of_a_pipeline_has_its_own_time);
	tcase_add_test(tcase, what_the_server_passes_over_after_an_error_is_not_counted);
	tcase_add_test(tcase, an_error_before_the_rest_has_come_is_counted_once);
	tcase_add_test(tcase, a_statement_that_cannot_be_prepared_is_counted);
	tcase_add_test(tcase, what_cannot_be_committed_failed);
	tcase_add_test(tcase, syncs_without_anything_are_answered_and_not_counted);
	tcase_add_test(tcase, copy_lasts_as_long_as_its_data);
	tcase_add_test(tcase, a_sync_among_the_data_of_a_copy_is_ignored);
	tcase_add_test(tcase, a_client_need_not_wait_to_be_asked_for_its_data);
	tcase_add_test(tcase, statements_are_known_by_their_names);
	tcase_add_test(tcase, a_request_begins_with_the_first_message_that_it_needs);
	tcase_add_test(tcase, what_a_session_remembered_is_forgotten_with_it);
	tcase_add_test(tcase, a_forgotten_statement_is_other_and_counted_as_that);
	tcase_add_test(tcase, a_session_is_counted_only_if_it_cannot_begin);
	tcase_add_test(tcase, a_cancel_is_a_request_without_an_answer);
	tcase_add_test(tcase, a_fatal_error_ends_its_request_at_once);
	tcase_add_test(tcase, an_error_that_nothing_asked_for_is_no_request);
	tcase_add_test(tcase, a_session_that_is_cut_leaves_its_requests_reset);
	tcase_add_test(tcase, replication_is_a_stream);
	tcase_add_test(tcase, what_cannot_be_read_is_one_parse_error);
	tcase_add_test(tcase, zeros_to_another_server_are_not_postgresql);
	tcase_add_test(tcase, tls_is_followed_where_its_library_shows_it);
	tcase_add_test(tcase, tls_that_nobody_shows_is_counted_as_that);
	tcase_add_test(tcase, encryption_by_gssapi_is_blindness_too);
	tcase_add_test(tcase, what_the_program_asks_is_counted_by_its_peer);
	tcase_add_test(tcase, a_half_received_query_is_known_by_its_verb);
	tcase_add_test(tcase, a_session_counts_the_same_split_anywhere);
	tcase_add_loop_test(tcase, any_pipeline_counts_what_the_server_did, 0, 100);
}

int main(void)
{
	return check_main("postgres_traffic", add_tests);
}
