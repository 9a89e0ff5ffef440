#include "../../../shim/requests/postgres.h"
#include "check_main.h"
#include "wire.h"

static struct postgres_client client;
static struct postgres_server server;

static void begin_client(void *parser)
{
	memset(parser, 0, sizeof(struct postgres_client));
}

static void begin_server(void *parser)
{
	memset(parser, 0, sizeof(struct postgres_server));
}

static void begin_server_asked_for_tls(void *parser)
{
	begin_server(parser);
	postgres_expect_negotiation(parser);
}

/* The names of a test, by the hash that stands for them. */
static const char *name_of(uint64_t hash)
{
	static const char *const names[] = { "a", "b", "s1", "s2", "S_12", "c" };
	static uint64_t hashes[2][6];

	if (!hash)
		return "-";
	if (!hashes[0][0])
		for (int i = 0; i < 12; i++) {
			struct postgres_client namer;
			struct wire wire = { 0 };
			char body[16] = { i < 6 ? 'S' : 'P' };
			memcpy(body + 1, names[i % 6], strlen(names[i % 6]));
			PG_STARTUP(&wire);
			pg_message(&wire, 'C', body, strlen(body) + 1);
			begin_client(&namer);
			struct postgres_step step = postgres_read_client(&namer, wire.bytes, wire.n);
			postgres_read_client(&namer, wire.bytes + step.used_bytes, wire.n - step.used_bytes);
			hashes[i / 6][i % 6] = i < 6 ? namer.statement : namer.portal;
		}
	for (int i = 0; i < 12; i++)
		if (hashes[i / 6][i % 6] == hash)
			return names[i % 6];
	return "?";
}

static void say_client(const struct postgres_client *at, enum postgres_event event, struct said *said)
{
	switch (event) {
	case POSTGRES_MORE: break;
	case POSTGRES_BROKEN: say(said, "broken;"); break;
	case POSTGRES_ENCRYPTED: say(said, "encrypted;"); break;
	case POSTGRES_NEGOTIATES: say(said, "negotiates;"); break;
	case POSTGRES_STARTUP: say(said, "startup;"); break;
	case POSTGRES_CANCEL: say(said, "cancel;"); break;
	case POSTGRES_QUERY: say(said, "query %s;", sql_verb_name(at->sql.verb)); break;
	case POSTGRES_PARSE: say(said, "parse %s %s;", name_of(at->statement), sql_verb_name(at->sql.verb)); break;
	case POSTGRES_BIND: say(said, "bind %s %s;", name_of(at->portal), name_of(at->statement)); break;
	case POSTGRES_DESCRIBE:
	case POSTGRES_CLOSE:
		say(said, "%s %s %s;", event == POSTGRES_CLOSE ? "close" : "describe", at->is_of_portal ? "portal" : "statement",
		    name_of(at->is_of_portal ? at->portal : at->statement));
		break;
	case POSTGRES_EXECUTE: say(said, "execute %s;", name_of(at->portal)); break;
	case POSTGRES_SYNC: say(said, "sync;"); break;
	case POSTGRES_FUNCTION: say(said, "function;"); break;
	case POSTGRES_COPY_END: say(said, "copy end;"); break;
	case POSTGRES_TERMINATE: say(said, "terminate;"); break;
	default: ck_abort_msg("event %d of a client", event);
	}
}

static void read_client(void *parser, const char *bytes, size_t n, struct said *said)
{
	struct postgres_step step;

	do {
		step = postgres_read_client(parser, bytes, n);
		ck_assert_uint_le(step.used_bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_client(parser, step.event, said);
	} while (step.event != POSTGRES_MORE);
	ck_assert_uint_eq(n, 0);
}

static void say_server(const struct postgres_server *at, enum postgres_event event, struct said *said)
{
	switch (event) {
	case POSTGRES_MORE: break;
	case POSTGRES_BROKEN: say(said, "broken;"); break;
	case POSTGRES_TURNS_TLS: say(said, "tls;"); break;
	case POSTGRES_TURNS_GSS: say(said, "gss;"); break;
	case POSTGRES_STAYS_PLAIN: say(said, "plain;"); break;
	case POSTGRES_READY: say(said, "ready;"); break;
	case POSTGRES_COMPLETE: say(said, "complete;"); break;
	case POSTGRES_COPY_IN: say(said, "copy in;"); break;
	case POSTGRES_COPY_BOTH: say(said, "copy both;"); break;
	case POSTGRES_ERROR: say(said, "%s %.2s;", at->is_fatal ? "fatal" : "error", at->sqlstate); break;
	default: ck_abort_msg("event %d of a server", event);
	}
}

static void read_server(void *parser, const char *bytes, size_t n, struct said *said)
{
	struct postgres_step step;

	do {
		step = postgres_read_server(parser, bytes, n);
		ck_assert_uint_le(step.used_bytes, n);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_server(parser, step.event, said);
	} while (step.event != POSTGRES_MORE);
	ck_assert_uint_eq(n, 0);
}

static void assert_client(const struct wire *wire, const char *expected)
{
	wire_assert_everywhere(wire, begin_client, read_client, &client, expected);
}

static void assert_server(const struct wire *wire, const char *expected)
{
	wire_assert_everywhere(wire, begin_server, read_server, &server, expected);
}

START_TEST(simple_queries_are_told_with_their_verb)
{
	struct wire wire = { 0 };

	PG_STARTUP(&wire);
	PG_TEXT(&wire, 'p', "md5canary");
	PG_TEXT(&wire, 'Q', "SELECT 1");
	PG_TEXT(&wire, 'Q', "");
	PG_TEXT(&wire, 'Q', "begin; insert into t values ('x'); commit");
	PG_BYTES(&wire, 'Q', "VACUUM"); /* its final zero is missing: the server refuses it */
	PG_BYTES(&wire, 'Q', "");
	PG_BYTES(&wire, 'X', "");
	assert_client(&wire, "startup;query SELECT;query _EMPTY;query BEGIN;query VACUUM;query _EMPTY;terminate;");
}
END_TEST

START_TEST(the_extended_protocol_is_told_with_its_names)
{
	struct wire wire = { 0 };

	PG_STARTUP(&wire);
	PG_BYTES(&wire, 'P', "\0SELECT $1\0\0\1\0\0\0\27");
	PG_BYTES(&wire, 'B', "\0\0\0\0\0\1\0\0\0\1" "1\0\0");
	PG_BYTES(&wire, 'D', "P\0");
	PG_BYTES(&wire, 'E', "\0\0\0\0\0");
	PG_BYTES(&wire, 'S', "");
	PG_BYTES(&wire, 'P', "s1\0/* x */ update t set a = 1\0\0\0");
	PG_BYTES(&wire, 'D', "Ss1\0");
	PG_BYTES(&wire, 'H', "");
	PG_BYTES(&wire, 'B', "c\0s1\0\0\0\0\0\0\0");
	PG_BYTES(&wire, 'E', "c\0\0\0\0\5");
	PG_BYTES(&wire, 'C', "Pc\0");
	PG_BYTES(&wire, 'C', "SS_12\0");
	PG_BYTES(&wire, 'C', "S\0");
	PG_BYTES(&wire, 'S', "");
	assert_client(&wire, "startup;parse - SELECT;bind - -;describe portal -;execute -;sync;"
			     "parse s1 UPDATE;describe statement s1;bind c s1;execute c;close portal c;close statement S_12;"
			     "close statement -;sync;");
}
END_TEST

START_TEST(messages_that_end_too_early_are_told_with_what_they_had)
{
	struct wire wire = { 0 };

	PG_STARTUP(&wire);
	PG_BYTES(&wire, 'P', "s1");
	PG_BYTES(&wire, 'P', "");
	PG_BYTES(&wire, 'B', "a\0s");
	PG_BYTES(&wire, 'E', "");
	PG_BYTES(&wire, 'C', "");
	PG_BYTES(&wire, 'C', "P");
	PG_BYTES(&wire, 'D', "");
	assert_client(&wire, "startup;parse - _EMPTY;parse - _EMPTY;bind a -;execute -;close statement -;close portal -;"
			     "describe statement -;");
}
END_TEST

START_TEST(a_portal_and_a_statement_of_one_name_are_two)
{
	ck_assert_str_eq(name_of(0), "-");
	struct wire wire = { 0 };
	PG_STARTUP(&wire);
	PG_BYTES(&wire, 'B', "a\0a\0");
	begin_client(&client);
	size_t used = postgres_read_client(&client, wire.bytes, wire.n).used_bytes;
	ck_assert_int_eq(postgres_read_client(&client, wire.bytes + used, wire.n - used).event, POSTGRES_BIND);
	ck_assert_uint_ne(client.portal, client.statement);
	ck_assert_uint_ne(client.portal & 0xffffffffffULL, client.statement & 0xffffffffffULL);
}
END_TEST

START_TEST(copy_data_function_calls_and_ends_are_told_apart)
{
	struct wire wire = { 0 };

	PG_STARTUP(&wire);
	PG_TEXT(&wire, 'Q', "COPY t FROM STDIN");
	PG_BYTES(&wire, 'd', "1\t2\n");
	PG_BYTES(&wire, 'd', "");
	PG_BYTES(&wire, 'c', "");
	PG_TEXT(&wire, 'f', "gave up");
	PG_BYTES(&wire, 'F', "\0\0\4\1\0\0\0\0\0\0");
	assert_client(&wire, "startup;query COPY;copy end;copy end;function;");
}
END_TEST

START_TEST(negotiations_come_before_the_startup)
{
	struct wire wire = { 0 };

	pg_startup(&wire, PG_ASKS_GSS, "", 0);
	pg_startup(&wire, PG_ASKS_TLS, "", 0);
	PG_STARTUP(&wire);
	PG_TEXT(&wire, 'Q', "SHOW x");
	assert_client(&wire, "negotiates;negotiates;startup;query SHOW;");
}
END_TEST

START_TEST(after_a_cancel_nothing_follows)
{
	struct wire wire = { 0 };

	pg_startup(&wire, PG_CANCELS, "\0\0\4\1\1\2\3\4", 8);
	PG_TEXT(&wire, 'Q', "SELECT 1");
	assert_client(&wire, "cancel;");
}
END_TEST

START_TEST(the_long_keys_of_protocol_3_2_are_a_cancel_and_a_startup_too)
{
	struct wire wire = { 0 };
	char key[260] = { 0 };

	pg_startup(&wire, PG_CANCELS, key, sizeof(key));
	assert_client(&wire, "cancel;");
	wire.n = 0;
	pg_startup(&wire, PG_VERSION + 2, "user\0x\0", 8);
	assert_client(&wire, "startup;");
}
END_TEST

START_TEST(tls_where_a_startup_is_due_is_told_once)
{
	struct wire wire = { 0 };

	pg_startup(&wire, PG_ASKS_TLS, "", 0);
	wire_add(&wire, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
	assert_client(&wire, "negotiates;encrypted;");
}
END_TEST

static const struct {
	const char *bytes;
	size_t n;
} no_startups[] = {
	{ "GET / HTTP/1.1\r\n\r\n", 18 },
	{ "\0\0\0\7\0\3\0\0", 8 },          /* shorter than itself */
	{ "\0\0\x27\x11\0\3\0\0", 8 },      /* longer than the server reads */
	{ "\0\0\0\x20\0\2\0\0", 8 },        /* protocol 2 */
	{ "\0\0\0\x09\x04\xd2\x16\x2f", 8 }, /* SSLRequest with a body */
	{ "\0\0\0\x08\x04\xd2\x16\x2e", 8 }, /* CancelRequest without one */
};

START_TEST(what_is_no_startup_is_broken)
{
	struct wire wire = { 0 };

	wire_add(&wire, no_startups[_i].bytes, no_startups[_i].n);
	wire_add(&wire, "whatever follows", 16);
	assert_client(&wire, "broken;");
	ck_assert_int_eq(postgres_begins(no_startups[_i].bytes, no_startups[_i].n), POSTGRES_NOT);
}
END_TEST

START_TEST(a_message_of_no_type_or_beyond_its_limit_is_broken)
{
	struct wire wire = { 0 };
	size_t startup;

	PG_STARTUP(&wire);
	startup = wire.n;
	wire_add(&wire, "Z\0\0\0\5I", 6);
	assert_client(&wire, "startup;broken;");
	wire.n = startup;
	wire_add(&wire, "Q\0\0\0\3x", 6);
	assert_client(&wire, "startup;broken;");
	wire.n = startup;
	wire_add(&wire, "S\0\1\0\0x", 6);
	assert_client(&wire, "startup;broken;");
	wire.n = startup;
	wire_add(&wire, "Q\x40\0\0\4SEL", 8);
	assert_client(&wire, "startup;broken;");
	wire.n = startup;
	wire_add(&wire, "Q\x40\0\0\3SEL", 8);
	assert_client(&wire, "startup;");
}
END_TEST

START_TEST(the_verb_of_a_long_query_is_known_before_its_end)
{
	struct wire wire = { 0 };

	PG_STARTUP(&wire);
	begin_client(&client);
	postgres_read_client(&client, wire.bytes, wire.n);
	ck_assert(!postgres_client_is_within(&client));
	ck_assert_int_eq(postgres_read_client(&client, "Q\0\1\0\0INSER", 10).event, POSTGRES_MORE);
	ck_assert(postgres_client_is_within(&client));
	ck_assert(!postgres_client_has_verb(&client));
	ck_assert_int_eq(postgres_read_client(&client, "T INTO", 6).event, POSTGRES_MORE);
	ck_assert(postgres_client_has_verb(&client));
	ck_assert_str_eq(sql_verb_name(client.sql.verb), "INSERT");
}
END_TEST

START_TEST(beginnings_are_told_from_any_number_of_bytes)
{
	struct wire wire = { 0 };

	PG_STARTUP(&wire);
	for (size_t n = 0; n < wire.n; n++)
		ck_assert_int_eq(postgres_begins(guarded(wire.bytes, n), n), n < 8 ? POSTGRES_PERHAPS : POSTGRES_SURELY);
	ck_assert_int_eq(postgres_begins("*1", 1), POSTGRES_NOT);
	ck_assert_int_eq(postgres_begins("\0\1", 2), POSTGRES_NOT);
	ck_assert_int_eq(postgres_begins("\x16\x03\x01", 3), POSTGRES_NOT);
}
END_TEST

static void add_error(struct wire *wire, const char *severity, const char *code)
{
	char body[256];
	int n = snprintf(body, sizeof(body), "S%s%cV%s%cC%s%cMrelation \"canary\" does not exist%cP15%cFparse.c%c%c", "FEHLER", 0,
			 severity, 0, code, 0, 0, 0, 0, 0);

	pg_message(wire, 'E', body, (size_t)n);
}

START_TEST(answers_to_a_session_and_to_queries_are_told)
{
	struct wire wire = { 0 };

	PG_BYTES(&wire, 'R', "\0\0\0\12SCRAM-SHA-256\0");
	PG_BYTES(&wire, 'R', "\0\0\0\0");
	PG_BYTES(&wire, 'S', "server_version\0" "15.20\0");
	PG_BYTES(&wire, 'K', "\0\0\4\1\1\2\3\4");
	PG_BYTES(&wire, 'Z', "I");
	PG_BYTES(&wire, 'T', "\0\1?column?\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0\0");
	for (int i = 0; i < 20; i++)
		PG_BYTES(&wire, 'D', "\0\1\0\0\0\1" "1");
	PG_TEXT(&wire, 'C', "SELECT 20");
	PG_BYTES(&wire, 'Z', "I");
	PG_BYTES(&wire, 'I', "");
	PG_BYTES(&wire, 'N', "SNOTICE\0C00000\0\0");
	PG_BYTES(&wire, 'A', "\0\0\4\1channel\0payload\0");
	PG_BYTES(&wire, 's', "");
	PG_BYTES(&wire, 'V', "\0\0\0\1x");
	PG_BYTES(&wire, '1', "");
	PG_BYTES(&wire, '2', "");
	PG_BYTES(&wire, '3', "");
	PG_BYTES(&wire, 'n', "");
	PG_BYTES(&wire, 't', "\0\0");
	PG_BYTES(&wire, 'v', "\0\3\0\0\0\0\0\0");
	PG_BYTES(&wire, 'Z', "E");
	assert_server(&wire, "ready;complete;ready;complete;complete;ready;");
}
END_TEST

START_TEST(errors_are_told_by_the_class_of_their_sqlstate)
{
	struct wire wire = { 0 };

	add_error(&wire, "ERROR", "42P01");
	PG_BYTES(&wire, 'Z', "I");
	add_error(&wire, "FATAL", "57P01");
	add_error(&wire, "PANIC", "XX000");
	PG_BYTES(&wire, 'E', "SERROR\0Mno code\0\0");
	PG_BYTES(&wire, 'E', "C4\0\0");
	PG_BYTES(&wire, 'E', "C");
	PG_BYTES(&wire, 'E', "");
	PG_BYTES(&wire, 'E', "\0C42000\0\0"); /* what follows its end means nothing */
	assert_server(&wire, "error 42;ready;fatal 57;fatal XX;error ;error 4;error ;error ;error ;");
}
END_TEST

START_TEST(copy_answers_are_told)
{
	struct wire wire = { 0 };

	PG_BYTES(&wire, 'G', "\0\0\1\0\0");
	PG_BYTES(&wire, 'H', "\0\0\1\0\0");
	for (int i = 0; i < 8; i++)
		PG_BYTES(&wire, 'd', "some row\n");
	PG_BYTES(&wire, 'c', "");
	PG_TEXT(&wire, 'C', "COPY 8");
	PG_BYTES(&wire, 'W', "\0\0\0");
	assert_server(&wire, "copy in;complete;copy both;");
}
END_TEST

START_TEST(one_byte_answers_a_negotiation)
{
	struct wire wire = { 0 };

	wire_add(&wire, "S", 1);
	PG_BYTES(&wire, 'S', "a\0b\0");
	PG_BYTES(&wire, 'Z', "I");
	wire_assert_everywhere(&wire, begin_server_asked_for_tls, read_server, &server, "tls;ready;");
	wire.bytes[0] = 'G';
	wire_assert_everywhere(&wire, begin_server_asked_for_tls, read_server, &server, "gss;ready;");
	wire.bytes[0] = 'N';
	wire_assert_everywhere(&wire, begin_server_asked_for_tls, read_server, &server, "plain;ready;");
	wire.bytes[0] = 'x';
	wire_assert_everywhere(&wire, begin_server_asked_for_tls, read_server, &server, "broken;");
	wire.n = 0;
	add_error(&wire, "FATAL", "53300");
	wire_assert_everywhere(&wire, begin_server_asked_for_tls, read_server, &server, "fatal 53;");
}
END_TEST

START_TEST(answers_that_are_none_are_broken)
{
	struct wire wire = { 0 };

	wire_add(&wire, "HTTP/1.1 400 Bad Request\r\n", 26);
	assert_server(&wire, "broken;"); /* H is a type, but this is no length */
	wire.n = 0;
	wire_add(&wire, "Q\0\0\0\5xxx", 8);
	assert_server(&wire, "broken;");
	wire.n = 0;
	wire_add(&wire, "D\0\0\0\3xxx", 8);
	assert_server(&wire, "broken;");
	wire.n = 0;
	wire_add(&wire, "D\x7f\0\0\0xxx", 8);
	assert_server(&wire, "broken;");
}
END_TEST

START_TEST(rows_larger_than_any_piece_are_passed_over)
{
	static struct wire wire;
	static char row[30000];

	wire.n = 0;
	for (int i = 0; i < 3; i++)
		pg_message(&wire, 'D', row, sizeof(row));
	PG_TEXT(&wire, 'C', "SELECT 3");
	for (size_t at = 0; at <= wire.n; at += 113)
		ck_assert_str_eq(wire_events(&wire, begin_server, read_server, &server, at, at + (wire.n - at) / 2), "complete;");
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, simple_queries_are_told_with_their_verb);
	tcase_add_test(tcase, the_extended_protocol_is_told_with_its_names);
	tcase_add_test(tcase, messages_that_end_too_early_are_told_with_what_they_had);
	tcase_add_test(tcase, a_portal_and_a_statement_of_one_name_are_two);
	tcase_add_test(tcase, copy_data_function_calls_and_ends_are_told_apart);
	tcase_add_test(tcase, negotiations_come_before_the_startup);
	tcase_add_test(tcase, after_a_cancel_nothing_follows);
	tcase_add_test(tcase, the_long_keys_of_protocol_3_2_are_a_cancel_and_a_startup_too);
	tcase_add_test(tcase, tls_where_a_startup_is_due_is_told_once);
	tcase_add_loop_test(tcase, what_is_no_startup_is_broken, 0, sizeof(no_startups) / sizeof(no_startups[0]));
	tcase_add_test(tcase, a_message_of_no_type_or_beyond_its_limit_is_broken);
	tcase_add_test(tcase, the_verb_of_a_long_query_is_known_before_its_end);
	tcase_add_test(tcase, beginnings_are_told_from_any_number_of_bytes);
	tcase_add_test(tcase, answers_to_a_session_and_to_queries_are_told);
	tcase_add_test(tcase, errors_are_told_by_the_class_of_their_sqlstate);
	tcase_add_test(tcase, copy_answers_are_told);
	tcase_add_test(tcase, one_byte_answers_a_negotiation);
	tcase_add_test(tcase, answers_that_are_none_are_broken);
	tcase_add_test(tcase, rows_larger_than_any_piece_are_passed_over);
}

int main(void)
{
	return check_main("postgres", add_tests);
}
