#include "../../../shim/requests/mysql.h"
#include "../../../shim/requests/prepared.h"
#include "check_main.h"
#include "room.h"
#include "wire.h"

enum { FD = 7 };

enum {
	CAN_COMPRESS = 1 << 5, CAN_41 = 1 << 9, CAN_TLS = 1 << 11, CAN_PLUGINS = 1 << 19, CAN_DEPRECATE_EOF = 1 << 24,
	CAN_USUALLY = CAN_41 | CAN_PLUGINS | CAN_DEPRECATE_EOF,
};

static struct wire wire; /* what the one side says next */
static bool is_client;   /* the program asks */

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

static void greeting(uint32_t capabilities)
{
	char payload[128] = "\x0a" "8.0.36";
	size_t at = strlen(payload) + 1;

	memcpy(payload + at, "\1\2\3\4saltsalt", 12);
	payload[at + 13] = (char)(capabilities | 1);
	payload[at + 14] = (char)(capabilities >> 8);
	payload[at + 18] = (char)(capabilities >> 16);
	payload[at + 19] = (char)(capabilities >> 24);
	memcpy(payload + at + 31, "moresaltmore\0mysql_native_password", 35); /* with its final zero */
	my_packet(&wire, 0, payload, at + 31 + 35);
}

static void handshake(uint8_t sequence, uint32_t capabilities)
{
	char payload[40] = { 0 };

	payload[0] = (char)(capabilities | 1);
	for (int i = 1; i < 4; i++)
		payload[i] = (char)(capabilities >> (8 * i));
	memcpy(payload + 32, "canary", 6);
	my_packet(&wire, sequence, payload, sizeof(payload));
}

static void ok(uint8_t sequence)
{
	MY_BYTES(&wire, sequence, "\0\0\0\2\0\0\0");
}

static void error(uint8_t sequence, const char *code)
{
	char payload[64];
	int n = snprintf(payload, sizeof(payload), "\xff\x7a\x04#%scanary", code);

	my_packet(&wire, sequence, payload, (size_t)n);
}

static void command(uint8_t number, const char *text)
{
	char payload[256] = { (char)number };

	memcpy(payload + 1, text, strlen(text));
	my_packet(&wire, 0, payload, 1 + strlen(text));
}

static void with_statement(uint8_t number, uint32_t statement)
{
	const unsigned char payload[10] = { number, (uint8_t)statement, (uint8_t)(statement >> 8), (uint8_t)(statement >> 16),
					    (uint8_t)(statement >> 24) };

	my_packet(&wire, 0, payload, sizeof(payload));
}

static void rows(void)
{
	MY_BYTES(&wire, 1, "\1");
	MY_BYTES(&wire, 2, "\3def");
	MY_BYTES(&wire, 3, "\6canary");
	MY_BYTES(&wire, 4, "\xfe\0\0\2\0\0\0");
}

static void prepared(uint32_t statement)
{
	const unsigned char payload[12] = { 0, (uint8_t)statement, (uint8_t)(statement >> 8) };

	my_packet(&wire, 1, payload, sizeof(payload));
}

static void begin_session(uint32_t capabilities)
{
	room_open(200);
	wire.n = 0;
	if (is_client)
		room_connect(FD, 3);
	else
		room_accept(FD);
	greeting(capabilities);
	answered();
	handshake(1, capabilities);
	asked();
	ok(2);
	answered();
}

static uint64_t count(const char *operation)
{
	return room_requests(SEG_PROTOCOL_MYSQL, operation, 0, SEG_ERROR_NONE);
}

static uint64_t failed(const char *operation, const char *class)
{
	return room_requests(SEG_PROTOCOL_MYSQL, operation, seg_sqlstate_class(class[0], class[1]), SEG_ERROR_SQLSTATE);
}

static uint64_t all(void)
{
	return room_requests(SEG_PROTOCOL_MYSQL, NULL, ROOM_ANY, ROOM_ANY);
}

static void end_session(uint64_t requests)
{
	command(MYSQL_COM_QUIT, "");
	asked();
	room_close(FD);
	ck_assert_uint_eq(all(), requests);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MYSQL), !is_client);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}

START_TEST(a_command_is_one_request_by_its_verb_or_its_name)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "/* x */ select 1");
	asked();
	rows();
	answered();
	command(MYSQL_COM_PING, "");
	asked();
	ok(1);
	answered();
	command(MYSQL_COM_INIT_DB, "canary");
	asked();
	error(1, "42000");
	answered();
	command(0x77, "");
	asked();
	error(1, "08S01");
	answered();
	command(MYSQL_COM_QUERY, "canary");
	asked();
	MY_BYTES(&wire, 1, "\xff\1\2no class");
	answered();
	ck_assert_uint_eq(count("SELECT"), 1);
	ck_assert_uint_eq(count("PING"), 1);
	ck_assert_uint_eq(failed("INIT_DB", "42"), 1);
	ck_assert_uint_eq(failed("_OTHER", "08"), 1);
	ck_assert_uint_eq(failed("_OTHER", "HY"), 1);
	end_session(5);
}
END_TEST

START_TEST(a_request_ends_with_the_last_packet_of_its_answer)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "CALL p()");
	asked();
	uint64_t begin_ns = room_now_ns;
	MY_BYTES(&wire, 1, "\1");
	answered();
	MY_BYTES(&wire, 2, "\3def");
	MY_BYTES(&wire, 3, "\xfe\0\0\x0a\0\0\0"); /* more results follow */
	answered();
	ck_assert_uint_eq(all(), 0);
	room_now_ns += 7000000;
	ok(4);
	answered();
	ck_assert_uint_eq(count("CALL"), 1);
	ck_assert_uint_eq(room_sum_ns("CALL"), room_now_ns - begin_ns);
	end_session(1);
}
END_TEST

START_TEST(commands_that_came_at_once_are_answered_in_order)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "INSERT INTO t");
	with_statement(MYSQL_COM_STMT_CLOSE, 7);
	command(MYSQL_COM_QUERY, "UPDATE t");
	with_statement(MYSQL_COM_STMT_SEND_LONG_DATA, 8);
	with_statement(MYSQL_COM_STMT_CLOSE, 8);
	asked();
	ck_assert_uint_eq(all(), 0);
	ok(1);
	error(1, "23000");
	answered();
	ck_assert_uint_eq(count("INSERT"), 1);
	ck_assert_uint_eq(failed("UPDATE", "23"), 1);
	ck_assert_uint_eq(count("STMT_CLOSE"), 2);
	ck_assert_uint_eq(count("STMT_SEND_LONG_DATA"), 1);
	with_statement(MYSQL_COM_STMT_CLOSE, 9);
	asked();
	ck_assert_uint_eq(count("STMT_CLOSE"), 3);
	end_session(6);
}
END_TEST

START_TEST(statements_are_known_by_their_numbers)
{
	begin_session(CAN_USUALLY);
	for (uint32_t i = 1; i <= 300; i++) {
		command(MYSQL_COM_STMT_PREPARE, i % 2 ? "UPDATE t" : "SELECT 1");
		asked();
		prepared(i);
		answered();
	}
	for (uint32_t i = 300; i >= 1; i--) {
		with_statement(MYSQL_COM_STMT_EXECUTE, i);
		asked();
		ok(1);
		answered();
	}
	ck_assert_uint_eq(count("STMT_PREPARE"), 300);
	ck_assert_uint_eq(count("UPDATE"), 150);
	ck_assert_uint_eq(count("SELECT"), 150);
	with_statement(MYSQL_COM_STMT_CLOSE, 2);
	with_statement(MYSQL_COM_STMT_EXECUTE, 2);
	asked();
	error(1, "HY000");
	answered();
	ck_assert_uint_eq(failed("_OTHER", "HY"), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 1);
	/* One that failed to be prepared has no number; a session begun anew has none at all. */
	command(MYSQL_COM_STMT_PREPARE, "canary");
	asked();
	error(1, "42000");
	answered();
	command(MYSQL_COM_RESET_CONNECTION, "");
	asked();
	ok(1);
	answered();
	with_statement(MYSQL_COM_STMT_EXECUTE, 3);
	asked();
	error(1, "HY000");
	answered();
	ck_assert_uint_eq(failed("STMT_PREPARE", "42"), 1);
	ck_assert_uint_eq(failed("_OTHER", "HY"), 2);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 2);
	end_session(605);
}
END_TEST

/* MariaDB's connectors prepare and execute at once: the number is not known yet. */
START_TEST(the_statement_prepared_last_needs_no_number)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_STMT_PREPARE, "INSERT INTO t VALUES (?)");
	with_statement(MYSQL_COM_STMT_EXECUTE, MYSQL_LAST_STATEMENT);
	with_statement(MYSQL_COM_STMT_BULK_EXECUTE, MYSQL_LAST_STATEMENT);
	asked();
	prepared(1);
	ok(1);
	ok(1);
	answered();
	ck_assert_uint_eq(count("INSERT"), 2);
	ck_assert_uint_eq(count("STMT_PREPARE"), 1);
	end_session(3);
}
END_TEST

START_TEST(a_file_belongs_to_the_request_that_loads_it)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "LOAD DATA LOCAL INFILE 'canary'");
	asked();
	MY_BYTES(&wire, 1, "\xfb" "canary");
	answered();
	conn_receiving(FD);
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "LOAD");
	for (int i = 2; i < 300; i++) {
		my_packet(&wire, (uint8_t)i, "\3SELECT", 7);
		asked();
	}
	my_packet(&wire, 44, NULL, 0);
	asked();
	ck_assert_uint_eq(all(), 0);
	ok(45);
	answered();
	ck_assert_uint_eq(count("LOAD"), 1);
	command(MYSQL_COM_PING, "");
	asked();
	ok(1);
	answered();
	ck_assert_uint_eq(count("PING"), 1);
	end_session(2);
}
END_TEST

START_TEST(a_session_is_counted_only_if_it_cannot_begin)
{
	room_open(100);
	is_client = false;
	room_accept(FD);
	greeting(CAN_USUALLY);
	answered();
	handshake(1, CAN_USUALLY);
	asked();
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "CONNECT");
	MY_BYTES(&wire, 2, "\xfemysql_native_password\0salt");
	answered();
	MY_BYTES(&wire, 3, "canary");
	asked();
	error(4, "28000");
	answered();
	room_close(FD);
	ck_assert_uint_eq(failed("CONNECT", "28"), 1);
	/* Refused without a greeting. */
	room_accept(FD);
	error(0, "08004");
	answered();
	room_close(FD);
	ck_assert_uint_eq(failed("CONNECT", "08"), 1);
	/* Greeted, and left: a probe of the port. */
	room_accept(FD);
	greeting(CAN_USUALLY);
	answered();
	room_close(FD);
	/* Left amid the authentication. */
	room_accept(FD);
	greeting(CAN_USUALLY);
	answered();
	handshake(1, CAN_USUALLY);
	asked();
	room_close(FD);
	ck_assert_uint_eq(all(), 2);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MYSQL), 4);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_change_of_user_is_one_request)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_CHANGE_USER, "canary");
	asked();
	MY_BYTES(&wire, 1, "\xfemysql_native_password\0salt");
	answered();
	MY_BYTES(&wire, 2, "canary");
	asked();
	error(3, "28000");
	answered();
	ck_assert_uint_eq(failed("CHANGE_USER", "28"), 1);
	end_session(1);
}
END_TEST

START_TEST(a_dump_of_the_binary_log_is_a_stream)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_REGISTER_SLAVE, "canary");
	asked();
	ok(1);
	answered();
	command(MYSQL_COM_BINLOG_DUMP, "\4");
	asked();
	MY_BYTES(&wire, 1, "\0event");
	answered();
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_MYSQL), 1);
	for (int i = 2; i < 600; i++) {
		my_packet(&wire, (uint8_t)i, "\0event", 6);
		answered();
	}
	room_close(FD);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_MYSQL, "BINLOG_DUMP").ended, 1);
	ck_assert_uint_eq(count("BINLOG_DUMP"), 1);
	ck_assert_uint_eq(count("REGISTER_SLAVE"), 1);
	ck_assert_uint_eq(all(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_compressed_session_is_given_up_and_said_so)
{
	begin_session(CAN_USUALLY | CAN_COMPRESS);
	wire_add(&wire, "\x0a\0\0\0\0\0\0\x06\0\0\0\3SELEC", 17);
	asked();
	room_close(FD);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_COMPRESSED), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MYSQL), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert_uint_eq(all(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_session_that_is_cut_leaves_its_requests_reset)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "SELECT 1");
	with_statement(MYSQL_COM_STMT_CLOSE, 1);
	asked();
	MY_BYTES(&wire, 1, "\1");
	answered();
	room_close(FD);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_MYSQL, "SELECT", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(count("STMT_CLOSE"), 1);
	ck_assert_uint_eq(all(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_error_that_nothing_asked_for_is_no_request)
{
	begin_session(CAN_USUALLY);
	error(0, "HY000"); /* it was idle for too long */
	answered();
	end_session(0);
}
END_TEST

START_TEST(what_cannot_be_read_is_one_parse_error)
{
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "SELECT 1");
	asked();
	ok(9); /* no client would take this for an answer */
	answered();
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_MYSQL, "SELECT", 0, SEG_ERROR_PARSE), 1);
	end_session(1);
}
END_TEST

START_TEST(other_greetings_are_not_mysql)
{
	room_open(100);
	is_client = false;
	room_accept(FD);
	room_send(FD, "220 mail ESMTP\r\n");
	room_receive(FD, "HELO x\r\n");
	room_close(FD);
	room_accept(FD);
	room_send_n(FD, "\x30\0\0\0\x0a" "8", 6); /* begins well */
	room_send_n(FD, "\0canary", 7);
	room_receive_n(FD, "\1\0\0\1x", 5);
	room_send(FD, "and ends badly, which only the client tells");
	room_close(FD);
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MYSQL), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 2);
	ck_assert(room_is_balanced());
}
END_TEST

static void begin_tls(void)
{
	char request[32] = { 1, (char)(CAN_USUALLY >> 8 | CAN_TLS >> 8), (char)(CAN_USUALLY >> 16), (char)(CAN_USUALLY >> 24) };

	room_open(100);
	is_client = false;
	wire.n = 0;
	room_accept(FD);
	greeting(CAN_USUALLY | CAN_TLS);
	answered();
	my_packet(&wire, 1, request, sizeof(request));
	asked();
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
		handshake(2, CAN_USUALLY | CAN_TLS);
		asked();
		ok(3);
		answered();
		command(MYSQL_COM_QUERY, "SELECT 1");
		asked();
		rows();
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
	room_receive_n(FD, "\x17\x03\x03\0\1x", 6);
	room_send_n(FD, "\x17\x03\x03\0\1x", 6);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 1);
	room_close(FD);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_TLS), 1);
	ck_assert_uint_eq(all(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_the_program_asks_is_counted_by_its_peer)
{
	is_client = true;
	begin_session(CAN_USUALLY);
	command(MYSQL_COM_QUERY, "SELECT 1");
	asked();
	rows();
	answered();
	command(MYSQL_COM_QUERY, "DELETE FROM t");
	asked();
	error(1, "40001");
	answered();
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_MYSQL, "SELECT", 0, SEG_ERROR_NONE, 3), 1);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_MYSQL, "DELETE", seg_sqlstate_class('4', '0'), SEG_ERROR_SQLSTATE, 3), 1);
	end_session(2);
	is_client = false;
}
END_TEST

START_TEST(a_half_received_statement_is_known_by_its_verb)
{
	static char data[0x2000];

	begin_session(CAN_USUALLY);
	wire_add(&wire, "\0\x20\0\0\3INSERT INTO t", 18);
	asked();
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "INSERT");
	room_receive_n(FD, data, 0x1000);
	conn_receiving(FD);
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "INSERT");
	room_receive_n(FD, data, 0x2000 - 14 - 0x1000);
	ok(1);
	answered();
	ck_assert_uint_eq(count("INSERT"), 1);
	end_session(1);
}
END_TEST

START_TEST(what_a_session_remembered_is_forgotten_with_it)
{
	begin_session(CAN_USUALLY);
	for (int i = 0; i < 20000; i++) { /* more than have room at once */
		command(MYSQL_COM_STMT_PREPARE, "SELECT 1");
		with_statement(MYSQL_COM_STMT_EXECUTE, 1);
		asked();
		prepared(1);
		ok(1);
		answered();
		with_statement(MYSQL_COM_STMT_EXECUTE, 1);
		asked();
		ok(1);
		answered();
		room_close(FD);
		room_accept(FD);
		greeting(CAN_USUALLY);
		answered();
		handshake(1, CAN_USUALLY);
		asked();
		ok(2);
		answered();
	}
	/* Executed before its number was there, a statement is not known. */
	ck_assert_uint_eq(count("SELECT"), 20000);
	ck_assert_uint_eq(count("_OTHER"), 20000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_STATEMENTS), 20000);
}
END_TEST

START_TEST(a_session_counts_the_same_split_anywhere)
{
	static struct wire question, greeted;

	wire.n = 0;
	greeting(CAN_USUALLY);
	greeted = wire;
	wire.n = 0;
	handshake(1, CAN_USUALLY);
	command(MYSQL_COM_QUERY, "SELECT 1");
	command(MYSQL_COM_STMT_PREPARE, "UPDATE t");
	with_statement(MYSQL_COM_STMT_EXECUTE, MYSQL_LAST_STATEMENT);
	with_statement(MYSQL_COM_STMT_CLOSE, 1);
	command(MYSQL_COM_PING, "");
	question = wire;
	wire.n = 0;
	ok(2);
	rows();
	prepared(1);
	error(1, "40001");
	ok(1);
	for (size_t split = 0; split <= wire.n || split <= question.n; split++) {
		const struct wire *sides[] = { &greeted, &question, &wire };
		room_open(100);
		room_accept(FD);
		for (int side = 0; side < 3; side++) {
			size_t first = split < sides[side]->n ? split : sides[side]->n;
			size_t ends[] = { first, sides[side]->n };
			for (size_t half = 0, at = 0; half < 2; at = ends[half++]) {
				const char *bytes = guarded(sides[side]->bytes + at, ends[half] - at);
				if (ends[half] - at && side == 1)
					room_receive_n(FD, bytes, ends[half] - at);
				else if (ends[half] - at)
					room_send_n(FD, bytes, ends[half] - at);
			}
		}
		room_close(FD);
		ck_assert_uint_eq(count("SELECT"), 1);
		ck_assert_uint_eq(count("STMT_PREPARE"), 1);
		ck_assert_uint_eq(failed("UPDATE", "40"), 1);
		ck_assert_uint_eq(count("STMT_CLOSE"), 1);
		ck_assert_uint_eq(count("PING"), 1);
		ck_assert_uint_eq(all(), 5);
		ck_assert(room_is_balanced());
	}
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, a_command_is_one_request_by_its_verb_or_its_name);
	tcase_add_test(tcase, a_request_ends_with_the_last_packet_of_its_answer);
	tcase_add_test(tcase, commands_that_came_at_once_are_answered_in_order);
	tcase_add_test(tcase, statements_are_known_by_their_numbers);
	tcase_add_test(tcase, the_statement_prepared_last_needs_no_number);
	tcase_add_test(tcase, a_file_belongs_to_the_request_that_loads_it);
	tcase_add_test(tcase, a_session_is_counted_only_if_it_cannot_begin);
	tcase_add_test(tcase, a_change_of_user_is_one_request);
	tcase_add_test(tcase, a_dump_of_the_binary_log_is_a_stream);
	tcase_add_test(tcase, a_compressed_session_is_given_up_and_said_so);
	tcase_add_test(tcase, a_session_that_is_cut_leaves_its_requests_reset);
	tcase_add_test(tcase, an_error_that_nothing_asked_for_is_no_request);
	tcase_add_test(tcase, what_cannot_be_read_is_one_parse_error);
	tcase_add_test(tcase, other_greetings_are_not_mysql);
	tcase_add_test(tcase, tls_is_followed_where_its_library_shows_it);
	tcase_add_test(tcase, tls_that_nobody_shows_is_counted_as_that);
	tcase_add_test(tcase, what_the_program_asks_is_counted_by_its_peer);
	tcase_add_test(tcase, a_half_received_statement_is_known_by_its_verb);
	tcase_add_test(tcase, what_a_session_remembered_is_forgotten_with_it);
	tcase_add_test(tcase, a_session_counts_the_same_split_anywhere);
}

int main(void)
{
	return check_main("mysql_traffic", add_tests);
}
