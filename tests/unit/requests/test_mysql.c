#include "../../../shim/requests/mysql.h"
#include "check_main.h"
#include "wire.h"

#include <stdlib.h>

static struct mysql_client client;
static struct mysql_server server;

/* Capabilities, as the documents number them. */
enum {
	CAN_MYSQL = 1 << 0, CAN_COMPRESS = 1 << 5, CAN_41 = 1 << 9, CAN_TLS = 1 << 11, CAN_PLUGINS = 1 << 19,
	CAN_DEPRECATE_EOF = 1 << 24, CAN_OPTIONAL_METADATA = 1 << 25, CAN_ZSTD = 1 << 26, CAN_QUERY_ATTRIBUTES = 1 << 27,
};
#define CAN_PROGRESS (1ULL << 32)
#define CAN_CACHE_METADATA (1ULL << 36)
#define CAN_ALL (CAN_41 | CAN_PLUGINS)

/* What the parser that is begun agreed on with the other side. */
static uint64_t agreed;

static void begin_client(void *parser)
{
	memset(parser, 0, sizeof(struct mysql_client));
	client.agreed = agreed;
}

static void say_client(const struct mysql_client *at, enum mysql_event event, struct said *said)
{
	switch (event) {
	case MYSQL_MORE: break;
	case MYSQL_BROKEN: say(said, "broken;"); break;
	case MYSQL_ENCRYPTED: say(said, "encrypted;"); break;
	case MYSQL_ASKS_TLS: say(said, "asks tls;"); break;
	case MYSQL_HANDSHAKE: say(said, "handshake %llx;", (unsigned long long)at->capabilities); break;
	case MYSQL_COMMAND:
		say(said, "%s", mysql_command_name(at->command));
		if (at->command == MYSQL_COM_QUERY || at->command == MYSQL_COM_STMT_PREPARE)
			say(said, " %s", sql_verb_name(at->sql.verb));
		if (at->statement)
			say(said, " %u", at->statement);
		say(said, " @%u;", at->last_sequence);
		break;
	default: ck_abort_msg("event %d of a client", event);
	}
}

static void read_client(void *parser, const char *bytes, size_t n, struct said *said)
{
	struct mysql_step step;

	do {
		step = mysql_read_client(parser, bytes, n);
		ck_assert_uint_le(step.used_bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_client(parser, step.event, said);
	} while (step.event != MYSQL_MORE);
	ck_assert_uint_eq(n, 0);
}

static void assert_client(const struct wire *wire, const char *expected)
{
	wire_assert_everywhere(wire, begin_client, read_client, &client, expected);
}

/* A handshake's answer with these capabilities; names that must not matter follow. */
static void add_handshake(struct wire *wire, uint8_t sequence, uint64_t capabilities)
{
	unsigned char payload[64] = { 0 };

	for (int i = 0; i < 4; i++) {
		payload[i] = (uint8_t)(capabilities >> (8 * i));
		payload[28 + i] = (uint8_t)(capabilities >> (8 * i + 32));
	}
	memcpy(payload + 4, "\0\0\0\1\x21", 5);
	memcpy(payload + 32, "canary\0\24abcdefghijklmnopqrst", 28);
	my_packet(wire, sequence, payload, sizeof(payload));
}

static void add_tls_request(struct wire *wire)
{
	char payload[32] = { 0 };

	memcpy(payload, "\0\x0a\0\0\0\0\0\1\x21", 9);
	my_packet(wire, 1, payload, sizeof(payload));
}

START_TEST(commands_are_told_with_their_verbs_and_statements)
{
	struct wire wire = { 0 };

	agreed = CAN_ALL;
	add_handshake(&wire, 1, CAN_ALL | CAN_MYSQL);
	MY_BYTES(&wire, 3, "\3\3\3"); /* goes on with the authentication */
	MY_BYTES(&wire, 5, "");
	MY_BYTES(&wire, 0, "\x0e");
	MY_BYTES(&wire, 0, "\3select 1");
	MY_BYTES(&wire, 0, "\2canary");
	MY_BYTES(&wire, 0, "\x16/* x */ insert into t values (?)");
	MY_BYTES(&wire, 0, "\x17\1\2\0\0\0\1\0\0\0");
	MY_BYTES(&wire, 0, "\x19\1\0\0\1");
	MY_BYTES(&wire, 0, "\x18\3\0\0\0\0\0long data");
	MY_BYTES(&wire, 0, "\x1c\4\0\0\0\12\0\0\0");
	MY_BYTES(&wire, 0, "\xfa\xff\xff\xff\xff\200\0");
	MY_BYTES(&wire, 0, "\3");
	MY_BYTES(&wire, 0, "");
	MY_BYTES(&wire, 0, "\x77");
	MY_BYTES(&wire, 0, "\1");
	assert_client(&wire, "handshake 80201;PING @0;QUERY SELECT @0;INIT_DB @0;STMT_PREPARE INSERT @0;STMT_EXECUTE 513 @0;"
			     "STMT_CLOSE 16777217 @0;STMT_SEND_LONG_DATA 3 @0;STMT_FETCH 4 @0;"
			     "STMT_BULK_EXECUTE 4294967295 @0;QUERY _EMPTY @0;SLEEP @0;_OTHER @0;QUIT @0;");
}
END_TEST

START_TEST(mariadbs_own_capabilities_are_read_where_they_are_meant)
{
	struct wire wire = { 0 };

	add_handshake(&wire, 1, CAN_ALL | CAN_PROGRESS | CAN_CACHE_METADATA);
	assert_client(&wire, "handshake 1100080200;");
	wire.n = 0;
	add_handshake(&wire, 1, CAN_ALL | CAN_MYSQL | CAN_PROGRESS);
	assert_client(&wire, "handshake 80201;");
}
END_TEST

START_TEST(a_short_handshake_asks_for_tls)
{
	struct wire wire = { 0 };

	add_tls_request(&wire);
	size_t asked = wire.n;
	add_handshake(&wire, 2, CAN_ALL | CAN_TLS);
	MY_BYTES(&wire, 0, "\3BEGIN");
	assert_client(&wire, "asks tls;handshake 80a00;QUERY BEGIN @0;");
	wire.n = asked;
	wire_add(&wire, "\x16\x03\x01\x02\0\1\0\1\xfc\3\3", 11);
	assert_client(&wire, "asks tls;encrypted;");
}
END_TEST

START_TEST(a_handshake_of_before_4_1_is_broken)
{
	struct wire wire = { 0 };

	MY_BYTES(&wire, 1, "\5\0\0\0\0canary\0pass");
	MY_BYTES(&wire, 0, "\3SELECT 1");
	assert_client(&wire, "broken;");
}
END_TEST

START_TEST(query_attributes_stand_before_the_statement)
{
	struct wire wire = { 0 };

	agreed = CAN_ALL | CAN_QUERY_ATTRIBUTES;
	add_handshake(&wire, 1, CAN_ALL | CAN_MYSQL);
	MY_BYTES(&wire, 0, "\3\0\1SELECT 1");
	/* a string, a null, a long and a datetime; one without a name */
	MY_BYTES(&wire, 0, "\3\4\1\2\1\xfd\0\5trace\x08\0\2ab\3\0\1n\x0c\0\0\x06" "canary\1\0\0\0\4\1\2\3\4UPDATE t");
	MY_BYTES(&wire, 0, "\3\1\1\0\1\xfd\0\1a\xfc\4\0longDELETE"); /* a length of three bytes */
	MY_BYTES(&wire, 0, "\3\1\1\0\1\xfd\0\1a\0SET a"); /* an empty value */
	MY_BYTES(&wire, 0, "\3\2\1\3\1\6\0\0\6\0\0SHOW a"); /* nulls only */
	MY_BYTES(&wire, 0, "\3\1\1\0\0SELECT"); /* types must come along */
	MY_BYTES(&wire, 0, "\3\41\1SELECT"); /* more than are looked at */
	MY_BYTES(&wire, 0, "\3\xff\1SELECT");
	MY_BYTES(&wire, 0, "\3\1");
	MY_BYTES(&wire, 0, "\x16SELECT ?"); /* has none */
	assert_client(&wire, "handshake 80201;QUERY SELECT @0;QUERY UPDATE @0;QUERY DELETE @0;QUERY SET @0;QUERY SHOW @0;"
			     "QUERY _OTHER @0;QUERY _OTHER @0;QUERY _OTHER @0;QUERY _EMPTY @0;STMT_PREPARE SELECT @0;");
}
END_TEST

START_TEST(every_type_of_an_attribute_has_its_length)
{
	static const struct {
		unsigned char type;
		const char *value;
		size_t n;
	} types[] = {
		{ 1, "x", 1 }, { 2, "xx", 2 }, { 13, "xx", 2 }, { 3, "xxxx", 4 }, { 9, "xxxx", 4 }, { 4, "xxxx", 4 },
		{ 5, "xxxxxxxx", 8 }, { 8, "xxxxxxxx", 8 }, { 6, "", 0 }, { 7, "\0", 1 }, { 10, "\4xxxx", 5 },
		{ 11, "\10xxxxxxxx", 9 }, { 12, "\13xxxxxxxxxxx", 12 }, { 0xf6, "\1x", 2 }, { 0xfe, "\1x", 2 }, { 0x0f, "\1x", 2 },
	};
	struct wire wire = { 0 };
	char payload[64] = "\3\1\1\0\1";
	size_t n;

	agreed = CAN_ALL | CAN_QUERY_ATTRIBUTES;
	payload[5] = (char)types[_i].type;
	payload[6] = (char)0x80;
	payload[7] = 0;
	memcpy(payload + 8, types[_i].value, types[_i].n);
	n = 8 + types[_i].n;
	memcpy(payload + n, "CALL p", 6);
	add_handshake(&wire, 1, CAN_ALL | CAN_MYSQL);
	my_packet(&wire, 0, payload, n + 6);
	assert_client(&wire, "handshake 80201;QUERY CALL @0;");
}
END_TEST

/* Feeds a packet of n bytes that begins with head. */
static enum mysql_event feed_packet(bool is_server, uint8_t sequence, uint32_t n, const char *head, size_t head_bytes)
{
	static char filler[65536];
	const char header[] = { (char)n, (char)(n >> 8), (char)(n >> 16), (char)sequence };
	enum mysql_event event;

	ck_assert_uint_le(head_bytes, n);
	event = is_server ? mysql_read_server(&server, header, 4).event : mysql_read_client(&client, header, 4).event;
	n -= (uint32_t)head_bytes;
	if (head_bytes)
		event = is_server ? mysql_read_server(&server, head, head_bytes).event : mysql_read_client(&client, head, head_bytes).event;
	while (n) {
		ck_assert_int_eq(event, MYSQL_MORE);
		uint32_t piece = n < sizeof(filler) ? n : (uint32_t)sizeof(filler);
		event = is_server ? mysql_read_server(&server, filler, piece).event : mysql_read_client(&client, filler, piece).event;
		n -= piece;
	}
	return event;
}

static void begin_session(void)
{
	struct wire wire = { 0 };

	agreed = CAN_ALL;
	begin_client(&client);
	add_handshake(&wire, 1, CAN_ALL | CAN_MYSQL);
	ck_assert_int_eq(mysql_read_client(&client, wire.bytes, wire.n).event, MYSQL_HANDSHAKE);
}

START_TEST(a_statement_of_many_packets_is_one)
{
	begin_session();
	ck_assert_int_eq(feed_packet(false, 0, 0xffffff, "\3INSERT INTO", 12), MYSQL_MORE);
	ck_assert(mysql_client_is_within(&client));
	ck_assert(mysql_client_has_verb(&client));
	ck_assert_int_eq(feed_packet(false, 1, 0xffffff, "\3SELECT", 7), MYSQL_MORE);
	ck_assert_int_eq(feed_packet(false, 2, 0, "", 0), MYSQL_COMMAND);
	ck_assert_str_eq(sql_verb_name(client.sql.verb), "INSERT");
	ck_assert_uint_eq(client.last_sequence, 2);
	ck_assert(!mysql_client_is_within(&client));
	ck_assert_int_eq(feed_packet(false, 0, 0xffffff, "\3-- x", 5), MYSQL_MORE);
	ck_assert_int_eq(feed_packet(false, 1, 8, "\n DELETE", 8), MYSQL_COMMAND);
	ck_assert_str_eq(sql_verb_name(client.sql.verb), "DELETE");
}
END_TEST

START_TEST(a_file_is_no_command_whatever_its_sequence_numbers)
{
	begin_session();
	ck_assert_int_eq(feed_packet(false, 0, 10, "\3LOAD DATA", 10), MYSQL_COMMAND);
	mysql_send_file(&client);
	for (int i = 2; i < 600; i++)
		ck_assert_int_eq(feed_packet(false, (uint8_t)i, 4, "\3SEL", 4), MYSQL_MORE);
	ck_assert_int_eq(feed_packet(false, 88, 0xffffff, "", 0), MYSQL_MORE);
	ck_assert_int_eq(feed_packet(false, 89, 0, "", 0), MYSQL_MORE); /* the rest of that */
	ck_assert_int_eq(feed_packet(false, 0, 4, "\3SEL", 4), MYSQL_MORE);
	ck_assert_int_eq(feed_packet(false, 0, 0, "", 0), MYSQL_MORE);
	ck_assert_int_eq(feed_packet(false, 0, 1, "\x0e", 1), MYSQL_COMMAND);
	ck_assert_uint_eq(client.command, MYSQL_COM_PING);
}
END_TEST

/* the server */

static uint8_t expected_command;

static void begin_server(void *parser)
{
	struct mysql_client other = { .capabilities = agreed };

	memset(parser, 0, sizeof(struct mysql_server));
	((struct mysql_server *)parser)->capabilities = agreed;
	mysql_agree(&other, parser);
	if (expected_command != MYSQL_COM_SLEEP)
		mysql_expect(parser, expected_command, 0);
}

static void say_server(const struct mysql_server *at, enum mysql_event event, struct said *said)
{
	switch (event) {
	case MYSQL_MORE: break;
	case MYSQL_BROKEN: say(said, "broken;"); break;
	case MYSQL_GREETING: say(said, "greeting %llx;", (unsigned long long)at->capabilities); break;
	case MYSQL_READY: say(said, "ready;"); break;
	case MYSQL_WANTS_FILE: say(said, "file;"); break;
	case MYSQL_STREAMS: say(said, "streams;"); break;
	case MYSQL_ANSWER:
		if (at->is_error)
			say(said, "error %.2s;", at->sqlstate);
		else
			say(said, "ok;");
		ck_assert(mysql_server_is_idle(at));
		break;
	default: ck_abort_msg("event %d of a server", event);
	}
}

static void read_server(void *parser, const char *bytes, size_t n, struct said *said)
{
	struct mysql_step step;

	do {
		step = mysql_read_server(parser, bytes, n);
		ck_assert_uint_le(step.used_bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_server(parser, step.event, said);
	} while (step.event != MYSQL_MORE);
	ck_assert_uint_eq(n, 0);
}

/* What answers a command when both sides are capable of these. */
static void assert_answer(const struct wire *wire, uint8_t command, uint64_t capabilities, const char *expected)
{
	expected_command = command;
	agreed = CAN_41 | capabilities;
	wire_assert_everywhere(wire, begin_server, read_server, &server, expected);
}

/* Packets with the sequence numbers 1, 2, ..., each as long as its text says: sizes are of literals. */
#define MY_ANSWER(wire, ...) do {                                                                                      \
	const struct { const char *text; size_t n; } packets[] = { __VA_ARGS__ };                                      \
	(wire)->n = 0;                                                                                                 \
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)                                              \
		my_packet(wire, (uint8_t)(1 + i), packets[i].text, packets[i].n);                                      \
} while (0)
#define P(text) { text, sizeof(text) - 1 }

#define OK P("\0\0\0\2\0\0\0")
#define OK_MORE P("\0\xfc\1\1\xfe\1\2\3\4\5\6\7\x08\x0a\0\0\0")
#define END P("\xfe\0\0\2\0")
#define END_MORE P("\xfe\0\0\x0a\0")
#define END_OK P("\xfe\0\0\2\0\0\0")
#define END_OK_MORE P("\xfe\0\0\x0a\0\0\0")
#define COLUMN P("\3def\0\0\0\1" "a\0\x0c?\0\1\0\0\0\10\201\0\0\0\0")
#define ROW P("\6canary")
#define NULL_ROW P("\xfb")
#define ERROR P("\xff\x7a\x04#42S02Table canary")
#define NUMBERLESS_ERROR P("\xff\x10\x04Too many connections")
#define PROGRESS P("\xff\xff\xff\1\1\2\0\0\0\5stage")

START_TEST(one_packet_answers_most_commands)
{
	static struct wire wire;

	MY_ANSWER(&wire, OK);
	assert_answer(&wire, MYSQL_COM_PING, 0, "ok;");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "ok;");
	MY_ANSWER(&wire, ERROR);
	assert_answer(&wire, MYSQL_COM_PING, 0, "error 42;");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "error 42;");
	assert_answer(&wire, MYSQL_COM_STMT_PREPARE, 0, "error 42;");
	assert_answer(&wire, MYSQL_COM_STMT_FETCH, 0, "error 42;");
	assert_answer(&wire, MYSQL_COM_BINLOG_DUMP, 0, "error 42;");
	assert_answer(&wire, 0x77, 0, "error 42;");
	MY_ANSWER(&wire, NUMBERLESS_ERROR);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "error ;");
	MY_ANSWER(&wire, P("Uptime: 12  Threads: 1"));
	assert_answer(&wire, MYSQL_COM_STATISTICS, 0, "ok;");
	MY_ANSWER(&wire, END);
	assert_answer(&wire, MYSQL_COM_SET_OPTION, 0, "ok;");
}
END_TEST

START_TEST(rows_are_one_answer)
{
	static struct wire wire;

	MY_ANSWER(&wire, P("\2"), COLUMN, COLUMN, END, ROW, NULL_ROW, ROW, END);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "ok;");
	MY_ANSWER(&wire, P("\2"), COLUMN, COLUMN, END, END);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "ok;");
	MY_ANSWER(&wire, P("\2"), COLUMN, COLUMN, ROW, NULL_ROW, END_OK);
	assert_answer(&wire, MYSQL_COM_QUERY, CAN_DEPRECATE_EOF, "ok;");
	assert_answer(&wire, MYSQL_COM_STMT_EXECUTE, CAN_DEPRECATE_EOF, "ok;");
	MY_ANSWER(&wire, P("\1"), COLUMN, END, ROW, ERROR);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "error 42;");
	MY_ANSWER(&wire, P("\1"), COLUMN, ERROR);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "error 42;");
	MY_ANSWER(&wire, P("\1"), ERROR);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "error 42;");
	/* A long row that begins like an end; and with deprecated EOF an end longer than any EOF. */
	MY_ANSWER(&wire, P("\1"), COLUMN, END, P("\xfe\0\0\1\0\0\0\0\0row"), END);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "ok;");
	MY_ANSWER(&wire, P("\1"), COLUMN, ROW, P("\xfe\0\0\2\0\0\0\x0bsome info..."));
	assert_answer(&wire, MYSQL_COM_QUERY, CAN_DEPRECATE_EOF, "ok;");
}
END_TEST

START_TEST(several_results_are_one_answer)
{
	static struct wire wire;

	MY_ANSWER(&wire, OK_MORE, P("\1"), COLUMN, END, ROW, END_MORE, OK);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "ok;");
	assert_answer(&wire, MYSQL_COM_MULTI, 0, "ok;");
	MY_ANSWER(&wire, P("\1"), COLUMN, ROW, END_OK_MORE, P("\1"), COLUMN, END_OK_MORE, OK_MORE, ERROR);
	assert_answer(&wire, MYSQL_COM_QUERY, CAN_DEPRECATE_EOF, "error 42;");
}
END_TEST

START_TEST(metadata_may_be_left_out)
{
	static struct wire wire;

	MY_ANSWER(&wire, P("\2\0"), ROW, END_OK);
	assert_answer(&wire, MYSQL_COM_STMT_EXECUTE, CAN_DEPRECATE_EOF | CAN_CACHE_METADATA, "ok;");
	assert_answer(&wire, MYSQL_COM_QUERY, CAN_DEPRECATE_EOF | CAN_OPTIONAL_METADATA, "ok;");
	MY_ANSWER(&wire, P("\2\1"), COLUMN, COLUMN, ROW, END_OK);
	assert_answer(&wire, MYSQL_COM_STMT_EXECUTE, CAN_DEPRECATE_EOF | CAN_CACHE_METADATA, "ok;");
	MY_ANSWER(&wire, P("\2\0"), END, ROW, END);
	assert_answer(&wire, MYSQL_COM_STMT_EXECUTE, CAN_CACHE_METADATA, "ok;");
}
END_TEST

START_TEST(an_open_cursor_ends_with_the_definitions)
{
	static struct wire wire;

	MY_ANSWER(&wire, P("\1"), COLUMN, P("\xfe\0\0\x42\0"));
	assert_answer(&wire, MYSQL_COM_STMT_EXECUTE, 0, "ok;");
	MY_ANSWER(&wire, P("\1"), COLUMN, P("\xfe\0\0\x42\0\0\0"));
	assert_answer(&wire, MYSQL_COM_STMT_EXECUTE, CAN_DEPRECATE_EOF, "ok;");
	MY_ANSWER(&wire, P("\0\0\1"), P("\0\0\2"), P("\xfe\0\0\x82\0"));
	assert_answer(&wire, MYSQL_COM_STMT_FETCH, 0, "ok;");
	MY_ANSWER(&wire, P("\0\0\1"), P("\xfe\0\0\x82\0\0\0"));
	assert_answer(&wire, MYSQL_COM_STMT_FETCH, CAN_DEPRECATE_EOF, "ok;");
}
END_TEST

START_TEST(definitions_of_a_prepared_statement_are_counted)
{
	static struct wire wire;

	MY_ANSWER(&wire, P("\0\7\0\0\1\1\0\2\0\0\0\0"), COLUMN, COLUMN, END, COLUMN, END);
	assert_answer(&wire, MYSQL_COM_STMT_PREPARE, 0, "ok;");
	ck_assert_uint_eq(server.statement, 0x1000007);
	MY_ANSWER(&wire, P("\0\7\0\0\1\1\0\2\0\0\0\0"), COLUMN, COLUMN, COLUMN);
	assert_answer(&wire, MYSQL_COM_STMT_PREPARE, CAN_DEPRECATE_EOF, "ok;");
	MY_ANSWER(&wire, P("\0\2\0\0\0\0\0\0\0\0\0\0"));
	assert_answer(&wire, MYSQL_COM_STMT_PREPARE, 0, "ok;");
	MY_ANSWER(&wire, P("\0\2\0\0\0\1\0\1\0\0\0\0\0"));
	assert_answer(&wire, MYSQL_COM_STMT_PREPARE, CAN_OPTIONAL_METADATA | CAN_DEPRECATE_EOF, "ok;");
	MY_ANSWER(&wire, P("\0\2\0\0\0\1\0\0\0\0\0\0\1"), COLUMN);
	assert_answer(&wire, MYSQL_COM_STMT_PREPARE, CAN_OPTIONAL_METADATA | CAN_DEPRECATE_EOF, "ok;");
}
END_TEST

START_TEST(a_list_of_fields_ends_with_eof_and_a_stream_when_it_likes)
{
	static struct wire wire;

	MY_ANSWER(&wire, COLUMN, COLUMN, END);
	assert_answer(&wire, MYSQL_COM_FIELD_LIST, 0, "ok;");
	MY_ANSWER(&wire, COLUMN, END_OK);
	assert_answer(&wire, MYSQL_COM_FIELD_LIST, CAN_DEPRECATE_EOF, "ok;");
	MY_ANSWER(&wire, END);
	assert_answer(&wire, MYSQL_COM_BINLOG_DUMP, 0, "ok;");
	MY_ANSWER(&wire, P("\0event"), P("\0\xef\1event"), ERROR);
	assert_answer(&wire, MYSQL_COM_BINLOG_DUMP_GTID, 0, "streams;");
	assert_answer(&wire, MYSQL_COM_CLONE, 0, "streams;");
}
END_TEST

START_TEST(a_change_of_user_is_an_exchange)
{
	static struct wire wire;

	wire.n = 0;
	MY_BYTES(&wire, 1, "\xfemysql_native_password\0abcdefghijklmnopqrst");
	MY_BYTES(&wire, 3, "\1\4");
	MY_BYTES(&wire, 5, "\0\0\0\2\0\0\0");
	assert_answer(&wire, MYSQL_COM_CHANGE_USER, 0, "ok;");
	wire.n = 0;
	MY_BYTES(&wire, 1, "\xfemysql_native_password\0abcdefghijklmnopqrst");
	MY_BYTES(&wire, 3, "\xff\x15\x04#28000Access denied for canary");
	assert_answer(&wire, MYSQL_COM_CHANGE_USER, 0, "error 28;");
}
END_TEST

START_TEST(a_file_is_wanted_and_then_answered)
{
	static struct wire wire;

	wire.n = 0;
	MY_BYTES(&wire, 1, "\xfb/canary.csv");
	MY_BYTES(&wire, 77, "\0\5\0\2\0\0\0");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "file;ok;");
	wire.n = 0;
	MY_BYTES(&wire, 1, "\xfb/canary.csv");
	MY_BYTES(&wire, 3, "\xff\x15\x04#42000no");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "file;error 42;");
}
END_TEST

START_TEST(reports_of_progress_are_no_errors)
{
	static struct wire wire;

	MY_ANSWER(&wire, PROGRESS, PROGRESS, OK);
	assert_answer(&wire, MYSQL_COM_QUERY, CAN_PROGRESS, "ok;");
	MY_ANSWER(&wire, P("\1"), COLUMN, END, PROGRESS, ROW, END);
	assert_answer(&wire, MYSQL_COM_QUERY, CAN_PROGRESS, "ok;");
	MY_ANSWER(&wire, PROGRESS);
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "error ;");
}
END_TEST

START_TEST(an_answer_out_of_order_was_misunderstood)
{
	static struct wire wire;

	wire.n = 0;
	MY_BYTES(&wire, 1, "\1");
	MY_BYTES(&wire, 2, "\3def");
	MY_BYTES(&wire, 1, "\0\0\0\2\0\0\0");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "broken;");
	wire.n = 0;
	MY_BYTES(&wire, 2, "\0\0\0\2\0\0\0");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "broken;");
	wire.n = 0;
	MY_BYTES(&wire, 1, "\1");
	MY_BYTES(&wire, 2, "\3def");
	MY_BYTES(&wire, 3, "\xfe\0\0\2\0");
	MY_BYTES(&wire, 4, "\1a");
	MY_BYTES(&wire, 4, "\1a");
	MY_BYTES(&wire, 5, "\xfe\0\0\2\0");
	assert_answer(&wire, MYSQL_COM_QUERY, 0, "broken;");
}
END_TEST

static void add_greeting(struct wire *wire, uint64_t capabilities)
{
	char payload[128] = "\x0a" "5.5.5-10.11.6-MariaDB";
	size_t at = strlen(payload) + 1;

	memcpy(payload + at, "\1\2\3\4saltsalt", 12);
	payload[at + 13] = (char)capabilities;
	payload[at + 14] = (char)(capabilities >> 8);
	payload[at + 15] = 0x2d;
	payload[at + 16] = 2;
	payload[at + 18] = (char)(capabilities >> 16);
	payload[at + 19] = (char)(capabilities >> 24);
	payload[at + 20] = 21;
	for (int i = 0; i < 4; i++)
		payload[at + 27 + (size_t)i] = (char)(capabilities >> (32 + 8 * i));
	memcpy(payload + at + 31, "moresaltmore\0mysql_native_password", 35); /* with its final zero */
	my_packet(wire, 0, payload, at + 31 + 35);
}

START_TEST(a_session_begins_with_a_greeting)
{
	static struct wire wire;

	expected_command = MYSQL_COM_SLEEP;
	agreed = 0;
	wire.n = 0;
	add_greeting(&wire, CAN_ALL | CAN_DEPRECATE_EOF | CAN_CACHE_METADATA);
	MY_BYTES(&wire, 2, "\xfemysql_native_password\0abcdefghijklmnopqrst");
	MY_BYTES(&wire, 4, "\1\3");
	MY_BYTES(&wire, 5, "\0\0\0\2\0\0\0");
	MY_BYTES(&wire, 9, "\xff\x48\x07#HY000killed"); /* answers nothing */
	wire_assert_everywhere(&wire, begin_server, read_server, &server, "greeting 1001080200;ready;");
	wire.n = 0;
	add_greeting(&wire, CAN_ALL | CAN_MYSQL | CAN_CACHE_METADATA);
	MY_BYTES(&wire, 2, "\xff\x15\x04#28000Access denied for canary");
	wire_assert_everywhere(&wire, begin_server, read_server, &server, "greeting 80201;error 28;");
	wire.n = 0;
	MY_BYTES(&wire, 0, "\xff\x10\x04#08004Too many connections");
	wire_assert_everywhere(&wire, begin_server, read_server, &server, "error 08;");
	wire.n = 0;
	MY_BYTES(&wire, 0, "\x09" "3.20.0\0and so on");
	wire_assert_everywhere(&wire, begin_server, read_server, &server, "broken;");
	wire.n = 0;
	MY_BYTES(&wire, 0, "\x0a" "8.0.0\0short");
	wire_assert_everywhere(&wire, begin_server, read_server, &server, "broken;");
}
END_TEST

START_TEST(greetings_are_told_from_any_number_of_bytes)
{
	static struct wire wire;

	wire.n = 0;
	add_greeting(&wire, CAN_ALL);
	for (size_t n = 0; n < wire.n; n++)
		ck_assert_int_eq(mysql_greets(guarded(wire.bytes, n), n), n < 6 ? MYSQL_PERHAPS : MYSQL_SURELY);
	wire.n = 0;
	MY_BYTES(&wire, 0, "\xff\x10\x04Too many connections");
	for (size_t n = 0; n < wire.n; n++)
		ck_assert_int_eq(mysql_greets(guarded(wire.bytes, n), n), n < 7 ? MYSQL_PERHAPS : MYSQL_SURELY);
	ck_assert_int_eq(mysql_greets("220 mail ESMTP", 14), MYSQL_NOT);
	ck_assert_int_eq(mysql_greets("SSH-2.0-OpenSSH", 15), MYSQL_NOT);
	ck_assert_int_eq(mysql_greets("\x30\0\0\1\x0a" "8", 6), MYSQL_NOT);
	ck_assert_int_eq(mysql_greets("\x30\0\0\0\x09" "3", 6), MYSQL_NOT);
	ck_assert_int_eq(mysql_greets("\x30\0\0\0\x0a\1", 6), MYSQL_NOT);
}
END_TEST

START_TEST(both_sides_agree_on_what_both_can_do)
{
	struct mysql_client a = { .capabilities = CAN_ALL | CAN_COMPRESS | CAN_DEPRECATE_EOF };
	struct mysql_server b = { .capabilities = CAN_ALL | CAN_DEPRECATE_EOF | CAN_ZSTD };

	mysql_agree(&a, &b);
	ck_assert_uint_eq(a.agreed, CAN_ALL | CAN_DEPRECATE_EOF);
	ck_assert_uint_eq(b.agreed, a.agreed);
	ck_assert(!mysql_is_compressed(&b));
	b.capabilities |= CAN_COMPRESS;
	mysql_agree(&a, &b);
	ck_assert(mysql_is_compressed(&b));
	a.capabilities = CAN_ZSTD;
	mysql_agree(&a, &b);
	ck_assert(mysql_is_compressed(&b));
}
END_TEST

START_TEST(a_row_of_16_mib_that_begins_like_an_end_is_a_row)
{
	expected_command = MYSQL_COM_QUERY;
	for (int i = 0; i < 2; i++) {
		agreed = CAN_41 | (i ? CAN_DEPRECATE_EOF : 0);
		begin_server(&server);
		ck_assert_int_eq(feed_packet(true, 1, 1, "\1", 1), MYSQL_MORE);
		ck_assert_int_eq(feed_packet(true, 2, 4, "\3def", 4), MYSQL_MORE);
		uint8_t sequence = 3;
		if (!i)
			ck_assert_int_eq(feed_packet(true, sequence++, 5, "\xfe\0\0\2\0", 5), MYSQL_MORE);
		ck_assert_int_eq(feed_packet(true, sequence++, 0xffffff, "\xfe\0\0\0\1\0\0\0\0", 9), MYSQL_MORE);
		ck_assert_int_eq(feed_packet(true, sequence++, 20, "\xff\0\0", 3), MYSQL_MORE);
		ck_assert_int_eq(feed_packet(true, sequence++, 0xffffff, "\xfd\0\0\1", 4), MYSQL_MORE);
		ck_assert_int_eq(feed_packet(true, sequence++, 0, "", 0), MYSQL_MORE);
		ck_assert_int_eq(feed_packet(true, sequence++, 7, "\xfe\0\0\2\0\0\0", 7), MYSQL_ANSWER);
	}
}
END_TEST

START_TEST(commands_have_their_names_and_answers)
{
	ck_assert_str_eq(mysql_command_name(MYSQL_COM_PING), "PING");
	ck_assert_str_eq(mysql_command_name(0x21), "SUBSCRIBE_GROUP_REPLICATION_STREAM");
	ck_assert_str_eq(mysql_command_name(0x77), "_OTHER");
	ck_assert_int_eq(mysql_command_answer(MYSQL_COM_STMT_CLOSE), MYSQL_NO_ANSWER);
	ck_assert_int_eq(mysql_command_answer(0x77), MYSQL_ONE_PACKET);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_set_timeout(tcase, 20);
	tcase_add_test(tcase, commands_are_told_with_their_verbs_and_statements);
	tcase_add_test(tcase, mariadbs_own_capabilities_are_read_where_they_are_meant);
	tcase_add_test(tcase, a_short_handshake_asks_for_tls);
	tcase_add_test(tcase, a_handshake_of_before_4_1_is_broken);
	tcase_add_test(tcase, query_attributes_stand_before_the_statement);
	tcase_add_loop_test(tcase, every_type_of_an_attribute_has_its_length, 0, 16);
	tcase_add_test(tcase, a_statement_of_many_packets_is_one);
	tcase_add_test(tcase, a_file_is_no_command_whatever_its_sequence_numbers);
	tcase_add_test(tcase, one_packet_answers_most_commands);
	tcase_add_test(tcase, rows_are_one_answer);
	tcase_add_test(tcase, several_results_are_one_answer);
	tcase_add_test(tcase, metadata_may_be_left_out);
	tcase_add_test(tcase, an_open_cursor_ends_with_the_definitions);
	tcase_add_test(tcase, definitions_of_a_prepared_statement_are_counted);
	tcase_add_test(tcase, a_list_of_fields_ends_with_eof_and_a_stream_when_it_likes);
	tcase_add_test(tcase, a_change_of_user_is_an_exchange);
	tcase_add_test(tcase, a_file_is_wanted_and_then_answered);
	tcase_add_test(tcase, reports_of_progress_are_no_errors);
	tcase_add_test(tcase, an_answer_out_of_order_was_misunderstood);
	tcase_add_test(tcase, a_session_begins_with_a_greeting);
	tcase_add_test(tcase, greetings_are_told_from_any_number_of_bytes);
	tcase_add_test(tcase, both_sides_agree_on_what_both_can_do);
	tcase_add_test(tcase, a_row_of_16_mib_that_begins_like_an_end_is_a_row);
	tcase_add_test(tcase, commands_have_their_names_and_answers);
}

int main(void)
{
	return check_main("mysql", add_tests);
}
