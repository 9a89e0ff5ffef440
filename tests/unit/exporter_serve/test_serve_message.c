/* Heads of requests: where they end, what is taken out of them, and what is none. */
#include "../../../exporter/serve/message.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static char head[4096];

static enum message_result parse(struct message *message, const char *text)
{
	size_t n = strlen(text);

	memcpy(head, text, n);
	return message_parse(message, head, n);
}

static const struct {
	const char *text;
	size_t bytes;
} ends[] = {
	{ "", 0 },
	{ "GET / HTTP/1.1\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r", 0 },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\rX\n", 0 },
	{ "GET / HTTP/1.1\r\n\r\n", 18 },
	{ "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", 18 },
	{ "GET / HTTP/1.1\n\n", 16 },
	{ "GET / HTTP/1.1\r\n\nbody", 17 },
	{ "GET / HTTP/1.1\n\r\nbody", 17 },
};

START_TEST(a_head_ends_with_an_empty_line_however_it_comes_in)
{
	const char *text = ends[_i].text;
	size_t n = strlen(text), found = 0;

	ck_assert_uint_eq(message_head_bytes(text, n, 0), ends[_i].bytes);
	for (size_t seen = 0; seen < n && !found; seen++)
		found = message_head_bytes(text, seen + 1, seen);
	ck_assert_uint_eq(found, ends[_i].bytes);
}
END_TEST

START_TEST(what_is_asked_for_is_taken_out_of_the_head)
{
	struct message message;

	ck_assert_int_eq(parse(&message, "GET /%72eport?top=5&by=%6Cine&&endpoint=GET+%2f&empty=&alone HTTP/1.1\r\nhost: localhost:9464\r\n"
	                                 "ACCEPT:text/plain\r\nAccept-Encoding: \t gzip, br \t\r\nAccept: second\r\nX-Else: 1\r\n\r\n"),
	                 MESSAGE_WHOLE);
	const struct request *request = &message.request;
	ck_assert_str_eq(request->method, "GET");
	ck_assert_str_eq(request->path, "/report");
	ck_assert_str_eq(request->host, "localhost:9464");
	ck_assert_str_eq(request->accept, "text/plain");
	ck_assert_str_eq(request->accept_encoding, "gzip, br");
	ck_assert_ptr_null(request->origin);
	ck_assert_uint_eq(request->host_count, 1);
	ck_assert(request->needs_host && !request->is_malformed && message.is_persistent && !message.is_coded);
	ck_assert_uint_eq(message.body_bytes, 0);
	static const struct request_param wanted[] = { { "top", "5" }, { "by", "line" }, { "endpoint", "GET /" }, { "empty", "" }, { "alone", "" } };
	ck_assert_uint_eq(request->param_count, 5);
	for (int i = 0; i < 5; i++) {
		ck_assert_str_eq(request->params[i].name, wanted[i].name);
		ck_assert_str_eq(request->params[i].value, wanted[i].value);
	}
}
END_TEST

static const struct {
	const char *text;
	bool is_persistent, is_coded, expects_continue;
	uint64_t body_bytes;
} messages[] = {
	{ "GET / HTTP/1.1\r\n\r\n", true, false, false, 0 },
	{ "GET / HTTP/1.0\r\n\r\n", false, false, false, 0 },
	{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, false, false, 0 },
	{ "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false, false, false, 0 },
	{ "GET / HTTP/1.1\r\nConnection: upgrade,CLOSE\r\n\r\n", false, false, false, 0 },
	{ "GET / HTTP/1.1\r\nConnection: closed\r\n\r\n", true, false, false, 0 },
	{ "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n", true, false, false, UINT64_MAX },
	{ "POST / HTTP/1.1\r\nContent-Length: 07\r\ncontent-length: 7\r\n\r\n", true, false, false, 7 },
	{ "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n", true, true, false, 7 },
	{ "POST / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n", true, false, true, 0 },
};

START_TEST(the_head_tells_what_becomes_of_connection_and_body)
{
	struct message message;

	ck_assert_int_eq(parse(&message, messages[_i].text), MESSAGE_WHOLE);
	ck_assert_int_eq(message.is_persistent, messages[_i].is_persistent);
	ck_assert_int_eq(message.is_coded, messages[_i].is_coded);
	ck_assert_int_eq(message.expects_continue, messages[_i].expects_continue);
	ck_assert_uint_eq(message.body_bytes, messages[_i].body_bytes);
}
END_TEST

static const struct {
	const char *text;
	enum message_result result;
} none[] = {
	{ "\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET /\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET  HTTP/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ " GET / HTTP/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1 \r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / x HTTP/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.10\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / http/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ "G{T / HTTP/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET /%00 HTTP/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET /\x01 HTTP/1.1\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\rHost: a\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nHost\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\n: a\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nHost : a\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nContent-Length: \r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", MESSAGE_MALFORMED },
	{ "GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", MESSAGE_MALFORMED },
	{ "PRI * HTTP/2.0\r\n\r\n", MESSAGE_FOREIGN },
	{ "GET / HTTP/0.9\r\n\r\n", MESSAGE_FOREIGN },
};

START_TEST(what_is_no_request_is_refused_as_a_whole)
{
	struct message message;

	ck_assert_msg(parse(&message, none[_i].text) == none[_i].result, "%s", none[_i].text);
}
END_TEST

START_TEST(a_nul_in_a_query_and_too_many_parameters_are_told)
{
	struct message message;

	ck_assert_int_eq(parse(&message, "GET /report?a=1%00 HTTP/1.1\r\n\r\n"), MESSAGE_WHOLE);
	ck_assert(message.request.is_malformed);
	ck_assert_int_eq(parse(&message, "GET /?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p HTTP/1.1\r\n\r\n"), MESSAGE_WHOLE);
	ck_assert(!message.request.is_malformed && message.request.param_count == ROUTE_PARAMS_MAX);
	ck_assert_int_eq(parse(&message, "GET /?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q HTTP/1.1\r\n\r\n"), MESSAGE_WHOLE);
	ck_assert(message.request.is_malformed);
}
END_TEST

START_TEST(what_is_no_percent_encoding_stays_as_it_is)
{
	struct message message;

	ck_assert_int_eq(parse(&message, "GET /%zz%4?x=%&%25=+ HTTP/1.1\r\n\r\n"), MESSAGE_WHOLE);
	ck_assert_str_eq(message.request.path, "/%zz%4");
	ck_assert_str_eq(message.request.params[0].value, "%");
	ck_assert_str_eq(message.request.params[1].name, "%");
	ck_assert_str_eq(message.request.params[1].value, " ");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("message");
	TCase *tcase = tcase_create("message");
	SRunner *runner = srunner_create(suite);

	tcase_add_loop_test(tcase, a_head_ends_with_an_empty_line_however_it_comes_in, 0, COUNT(ends));
	tcase_add_test(tcase, what_is_asked_for_is_taken_out_of_the_head);
	tcase_add_loop_test(tcase, the_head_tells_what_becomes_of_connection_and_body, 0, COUNT(messages));
	tcase_add_loop_test(tcase, what_is_no_request_is_refused_as_a_whole, 0, COUNT(none));
	tcase_add_test(tcase, a_nul_in_a_query_and_too_many_parameters_are_told);
	tcase_add_test(tcase, what_is_no_percent_encoding_stays_as_it_is);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
