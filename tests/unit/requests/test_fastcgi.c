#include "../../../shim/requests/fastcgi.h"
#include "check_main.h"
#include "fastcgi_wire.h"
#include "guarded.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const method_names[] = {
#define METHOD_NAME(id, name) name,
	SEG_METHODS(METHOD_NAME)
};

struct log {
	char text[4096];
	size_t n;
};

static void __attribute__((format(printf, 2, 3))) say(struct log *log, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log->n += (size_t)vsnprintf(log->text + log->n, sizeof(log->text) - log->n, format, arguments);
	va_end(arguments);
	ck_assert_uint_lt(log->n, sizeof(log->text));
}

/* A side of a connection with what its streams tell, of two requests at most: ids 1 and 2. */
struct side {
	struct fastcgi records;
	struct fastcgi_params params[3];
	struct fastcgi_head heads[3];
	struct trace_context traces[3];
	uint64_t stdin_bytes[3];
	struct log log;
};

static void say_params(struct log *log, const struct fastcgi_params *params, const struct trace_context *trace)
{
	say(log, "%s %.*s%s%s%.*s\n", method_names[params->method], (int)params->target_bytes, params->target,
	    params->is_https ? " https" : "", trace_is_known(trace) ? " traced" : "", (int)trace->request_id_bytes,
	    trace->request_id);
}

static void on_content(struct side *side, unsigned id, const char *content, size_t n)
{
	if (side->records.type == FASTCGI_PARAMS)
		fastcgi_read_params(&side->params[id], content, n);
	else if (side->records.type == FASTCGI_STDOUT)
		fastcgi_read_head(&side->heads[id], content, n);
	else if (side->records.type == FASTCGI_STDIN)
		side->stdin_bytes[id] += n;
}

static void on_stream_end(struct side *side, unsigned id)
{
	if (side->records.type == FASTCGI_PARAMS)
		say_params(&side->log, &side->params[id], &side->traces[id]);
	else if (side->records.type == FASTCGI_STDIN)
		say(&side->log, "stdin %llu\n", (unsigned long long)side->stdin_bytes[id]);
}

static void on_event(struct side *side, struct fastcgi_step step)
{
	unsigned id = side->records.id;

	ck_assert(id <= 2 || step.event == FASTCGI_BROKEN || step.event == FASTCGI_MORE);
	switch (step.event) {
	case FASTCGI_RECORD:
		if (!id)
			say(&side->log, "management %u\n", side->records.type);
		break;
	case FASTCGI_BEGIN:
		say(&side->log, "begin %u\n", id);
		side->params[id] = (struct fastcgi_params){ .trace = &side->traces[id] };
		break;
	case FASTCGI_CONTENT:
		on_content(side, id, step.content, step.content_bytes);
		break;
	case FASTCGI_STREAM_END:
		on_stream_end(side, id);
		break;
	case FASTCGI_ABORT:
		say(&side->log, "abort %u\n", id);
		break;
	case FASTCGI_END:
		say(&side->log, "end %u: %u, %u%s + %llu\n", id, side->records.protocol_status, side->heads[id].status,
		    side->heads[id].is_event_stream ? " events" : "", (unsigned long long)side->heads[id].body_bytes);
		side->heads[id] = (struct fastcgi_head){ 0 };
		break;
	case FASTCGI_BROKEN:
		say(&side->log, "broken\n");
		break;
	case FASTCGI_MORE:
		break;
	}
}

static void feed(struct side *side, const char *bytes, size_t n)
{
	const char *copy = guarded(bytes, n);
	struct fastcgi_step step;

	do {
		step = fastcgi_read(&side->records, copy, n);
		ck_assert_uint_le(step.used_bytes, n);
		on_event(side, step);
		copy += step.used_bytes;
		n -= step.used_bytes;
	} while (step.event != FASTCGI_MORE);
	ck_assert_uint_eq(n, 0);
}

static struct side side;

static const char *events_of(bool is_response, const char *bytes, size_t n, size_t first, size_t second)
{
	memset(&side, 0, sizeof(side));
	side.records.is_response = is_response;
	feed(&side, bytes, first);
	feed(&side, bytes + first, second - first);
	feed(&side, bytes + second, n - second);
	return side.log.text;
}

static const char *events_bytewise(bool is_response, const char *bytes, size_t n)
{
	memset(&side, 0, sizeof(side));
	side.records.is_response = is_response;
	for (size_t i = 0; i < n; i++)
		feed(&side, bytes + i, 1);
	return side.log.text;
}

static struct wire made;

static void assert_events(bool is_response, const char *expected)
{
	struct wire whole = made;

	ck_assert_str_eq(events_of(is_response, whole.bytes, whole.n, whole.n, whole.n), expected);
	ck_assert_str_eq(events_bytewise(is_response, whole.bytes, whole.n), expected);
	for (size_t i = 0; i <= whole.n; i++)
		ck_assert_str_eq(events_of(is_response, whole.bytes, whole.n, i, i), expected);
	for (size_t i = 0; i <= whole.n && whole.n < 500; i += 7)
		for (size_t j = i; j <= whole.n; j += 5)
			ck_assert_str_eq(events_of(is_response, whole.bytes, whole.n, i, j), expected);
}

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* As nginx sends it with its fastcgi_params. */
static const char *const nginx_pairs[] = {
	"QUERY_STRING=a=b&secret=c", "REQUEST_METHOD=POST", "CONTENT_TYPE=text/plain", "CONTENT_LENGTH=5",
	"SCRIPT_NAME=/index.php", "REQUEST_URI=/users/17?a=b&secret=c", "DOCUMENT_URI=/index.php", "DOCUMENT_ROOT=/var/www",
	"SERVER_PROTOCOL=HTTP/1.1", "REQUEST_SCHEME=https", "HTTPS=on", "GATEWAY_INTERFACE=CGI/1.1", "REMOTE_ADDR=127.0.0.1",
	"SERVER_NAME=localhost", "REDIRECT_STATUS=200", "HTTP_HOST=localhost", "HTTP_TRACEPARENT=" TRACEPARENT,
	"HTTP_X_REQUEST_ID=abc-1", "HTTP_COOKIE=session=secret", NULL,
};

START_TEST(a_request_as_nginx_sends_it_is_read)
{
	static const size_t steps[] = { 4096, 64, 31, 7 };

	made.n = 0;
	wire_begin(&made, 1);
	wire_params(&made, 1, steps[_i], nginx_pairs);
	wire_text(&made, FASTCGI_STDIN, 1, "hello");
	wire_text(&made, FASTCGI_STDIN, 1, "");
	assert_events(false, "begin 1\nPOST /users/17 https tracedabc-1\nstdin 5\n");
}
END_TEST

START_TEST(one_request_after_another_over_a_kept_connection)
{
	static const char *const first[] = { "REQUEST_METHOD=GET", "REQUEST_URI=/a", NULL };
	static const char *const second[] = { "REQUEST_METHOD=HEAD", "REQUEST_URI=/b?x", "HTTPS=", NULL };

	made.n = 0;
	wire_begin(&made, 1);
	wire_params(&made, 1, 4096, first);
	wire_text(&made, FASTCGI_STDIN, 1, "");
	wire_begin(&made, 1);
	wire_params(&made, 1, 4096, second);
	wire_text(&made, FASTCGI_STDIN, 1, "");
	assert_events(false, "begin 1\nGET /a\nstdin 0\nbegin 1\nHEAD /b\nstdin 0\n");
}
END_TEST

START_TEST(two_requests_interleaved_do_not_mix)
{
	static const char *const first[] = { "REQUEST_METHOD=GET", "REQUEST_URI=/first", NULL };
	static const char *const second[] = { "REQUEST_METHOD=PUT", "REQUEST_URI=/second", NULL };
	char one[128], two[128];
	size_t n = wire_pairs(one, first), m = wire_pairs(two, second);

	made.n = 0;
	wire_begin(&made, 1);
	wire_begin(&made, 2);
	for (size_t i = 0; i < n || i < m; i += 5) {
		if (i < n)
			wire_record(&made, FASTCGI_PARAMS, 1, one + i, n - i < 5 ? n - i : 5, 0);
		if (i < m)
			wire_record(&made, FASTCGI_PARAMS, 2, two + i, m - i < 5 ? m - i : 5, 1);
	}
	wire_record(&made, FASTCGI_PARAMS, 2, "", 0, 0);
	wire_record(&made, FASTCGI_PARAMS, 1, "", 0, 0);
	wire_record(&made, FASTCGI_ABORT_REQUEST, 2, "", 0, 0);
	wire_record(&made, FASTCGI_ABORT_REQUEST, 1, "xx", 2, 6);
	assert_events(false, "begin 1\nbegin 2\nPUT /second\nGET /first\nabort 2\nabort 1\n");
}
END_TEST

START_TEST(management_records_are_no_requests)
{
	made.n = 0;
	wire_record(&made, FASTCGI_GET_VALUES, 0, "\x0e\0FCGI_MAX_CONNS", 16, 0);
	wire_record(&made, FASTCGI_GET_VALUES, 0, "", 0, 0);
	wire_begin(&made, 1);
	assert_events(false, "management 9\nmanagement 9\nbegin 1\n");
	made.n = 0;
	wire_record(&made, FASTCGI_GET_VALUES_RESULT, 0, "\x0e\1FCGI_MAX_CONNS1", 17, 7);
	wire_record(&made, FASTCGI_UNKNOWN_TYPE, 0, "\7\0\0\0\0\0\0\0", 8, 0);
	wire_end(&made, 1, 0);
	assert_events(true, "management 10\nmanagement 11\nend 1: 0, 0 + 0\n");
}
END_TEST

/* What the parameters of one request tell. */
static const struct {
	const char *pairs[6];
	const char *told;
} params[] = {
	{ { "SCRIPT_NAME=/s.php", "DOCUMENT_URI=/d.php", "REQUEST_URI=/r", "REQUEST_METHOD=GET" }, "GET /r" },
	{ { "REQUEST_URI=/r", "DOCUMENT_URI=/d.php", "SCRIPT_NAME=/s.php", "REQUEST_METHOD=GET" }, "GET /r" },
	{ { "SCRIPT_NAME=/s.php", "DOCUMENT_URI=/d.php" }, "_OTHER /d.php" },
	{ { "SCRIPT_NAME=/status", "REQUEST_METHOD=GET" }, "GET /status" },
	{ { "REQUEST_URI=", "SCRIPT_NAME=/s.php", "REQUEST_METHOD=GET" }, "GET /s.php" },
	{ { "REQUEST_METHOD=PROPFIND", "REQUEST_URI=/dav" }, "_OTHER /dav" },
	{ { "REQUEST_METHOD=get", "REQUEST_URI=/" }, "_OTHER /" },
	{ { "+REQUEST_METHOD=DELETE", "+REQUEST_URI=/x?y", "+HTTPS=off" }, "DELETE /x" },
	{ { "HTTPS=OFF", "REQUEST_URI=/" }, "_OTHER /" },
	{ { "HTTPS=1", "REQUEST_URI=/" }, "_OTHER / https" },
	{ { "REQUEST_URI=?a", "REQUEST_METHOD=GET" }, "GET " },
	{ { "REQUEST_URI_X=/no", "XREQUEST_URI=/no", "REQUEST_UR=/no", "REQUEST_METHOD=GET" }, "GET " },
	{ { "HTTP_B3=0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1", "REQUEST_URI=/" }, "_OTHER / traced" },
	{ { "HTTP_X_B3_TRACEID=0af7651916cd43dd8448eb211c80319c", "HTTP_X_B3_SPANID=b7ad6b7169203331", "REQUEST_URI=/" },
	  "_OTHER / traced" },
	{ { "HTTP_TRACEPARENT=" TRACEPARENT TRACEPARENT, "REQUEST_URI=/" }, "_OTHER /" },
	{ { "TRACEPARENT=" TRACEPARENT, "X_REQUEST_ID=a", "HTTP_=b", "REQUEST_URI=/" }, "_OTHER /" },
	{ { "=", "A_NAME_THAT_IS_LONGER_THAN_ANY_THAT_IS_LOOKED_FOR=/no", "REQUEST_URI=/yes" }, "_OTHER /yes" },
};

START_TEST(parameters_tell_method_and_target)
{
	char content[2048], told[256];
	size_t n = wire_pairs(content, params[_i].pairs);

	for (size_t i = 0; i <= n; i++) {
		struct trace_context trace = { 0 };
		struct fastcgi_params read = { .trace = &trace };
		fastcgi_read_params(&read, guarded(content, i), i);
		fastcgi_read_params(&read, guarded(content + i, n - i), n - i);
		sprintf(told, "%s %.*s%s%s", method_names[read.method], (int)read.target_bytes, read.target,
			read.is_https ? " https" : "", trace_is_known(&trace) ? " traced" : "");
		ck_assert_str_eq(told, params[_i].told);
	}
}
END_TEST

START_TEST(ids_are_left_alone_where_nobody_wants_them)
{
	static const char *const pairs[] = { "HTTP_TRACEPARENT=" TRACEPARENT, "REQUEST_URI=/", NULL };
	struct fastcgi_params read = { 0 };
	char content[256];

	fastcgi_read_params(&read, content, wire_pairs(content, pairs));
	ck_assert_uint_eq(read.target_bytes, 1);
}
END_TEST

START_TEST(a_target_is_cut_at_its_bound)
{
	static char content[4096], pair[3000] = "REQUEST_URI=/";
	const char *const pairs[] = { pair, "REQUEST_METHOD=GET", NULL };

	memset(pair + 13, 'x', 2500);
	size_t n = wire_pairs(content, pairs);
	for (size_t i = 0; i <= n; i += 13) {
		struct fastcgi_params read = { 0 };
		fastcgi_read_params(&read, guarded(content, i), i);
		fastcgi_read_params(&read, guarded(content + i, n - i), n - i);
		ck_assert_uint_eq(read.target_bytes, FASTCGI_TARGET_BYTES);
		ck_assert_int_eq(read.method, SEG_METHOD_GET);
	}
}
END_TEST

START_TEST(an_answer_as_php_fpm_sends_it_is_read)
{
	made.n = 0;
	wire_text(&made, FASTCGI_STDERR, 1, "PHP message: Status: 500\n");
	wire_text(&made, FASTCGI_STDOUT, 1, "X-Powered-By: PHP/8.2.7\r\nContent-type: text/html; charset=UTF-8\r\n\r\nhello");
	wire_text(&made, FASTCGI_STDOUT, 1, " world");
	wire_text(&made, FASTCGI_STDOUT, 1, "");
	wire_end(&made, 1, 0);
	assert_events(true, "end 1: 0, 200 + 11\n");
	made.n = 0;
	wire_text(&made, FASTCGI_STDOUT, 1, "Status: 404 Not Found\r\nContent-type: text/html\r\n\r\n");
	wire_end(&made, 1, 0);
	wire_text(&made, FASTCGI_STDOUT, 2, "Content-type: text/plain\r\nStatus: 5");
	wire_text(&made, FASTCGI_STDOUT, 1, "Location: http://a/\r\n\r\n");
	wire_text(&made, FASTCGI_STDOUT, 2, "03 Busy\r\n\r\nx");
	wire_end(&made, 2, 0);
	wire_end(&made, 1, 0);
	wire_end(&made, 1, 3);
	assert_events(true, "end 1: 0, 404 + 0\nend 2: 0, 503 + 1\nend 1: 0, 302 + 0\nend 1: 3, 0 + 0\n");
}
END_TEST

static const struct {
	const char *text;
	uint16_t status;
	uint64_t body_bytes;
	bool is_event_stream;
} heads[] = {
	{ "\r\n", 200, 0, false },
	{ "\nbody", 200, 4, false },
	{ "Status: 204\r\n\r\n", 204, 0, false },
	{ "Status:204\n\nx\n\ny", 204, 4, false },
	{ "status: \t201 Created\r\n\r\n", 201, 0, false },
	{ "X: Status: 500\r\n\r\n", 200, 0, false },
	{ "Statusx: 500\r\n\r\n", 200, 0, false },
	{ "Status: 5000\r\n\r\n", 200, 0, false },
	{ "Status: 50\r\n\r\n", 200, 0, false },
	{ "Status: abc\r\n\r\n", 200, 0, false },
	{ "Location: /x\r\n\r\n", 302, 0, false },
	{ "Location: /x\r\nStatus: 301 Moved\r\n\r\n", 301, 0, false },
	{ "Location:\r\n\r\n", 200, 0, false },
	{ "Content-Type: text/event-stream\r\n\r\ndata: 1\n\n", 200, 9, true },
	{ "Content-Type: text/event-streams-no\r\nContent-type: text/html\r\n\r\n", 200, 0, false },
	{ "A-field: that is longer than what is kept of any line of a head, and then some more of it\r\nStatus: 500\r\n\r\n",
	  500, 0, false },
	{ "Forty-seven-and-the-end: 0123456789012345678901\r\nStatus: 500\r\n\r\n", 500, 0, false },
	{ "Forty-eight-and-the-end: 01234567890123456789012\r\nStatus: 500\r\n\r\n", 500, 0, false },
};

START_TEST(a_head_tells_the_status_split_anywhere)
{
	size_t n = strlen(heads[_i].text);

	for (size_t i = 0; i <= n; i++) {
		struct fastcgi_head head = { 0 };
		fastcgi_read_head(&head, guarded(heads[_i].text, i), i);
		fastcgi_read_head(&head, guarded(heads[_i].text + i, n - i), n - i);
		ck_assert(head.is_over);
		ck_assert_uint_eq(head.status, heads[_i].status);
		ck_assert_uint_eq(head.body_bytes, heads[_i].body_bytes);
		ck_assert_int_eq(head.is_event_stream, heads[_i].is_event_stream);
	}
}
END_TEST

START_TEST(a_head_that_does_not_end_has_no_status_yet)
{
	struct fastcgi_head head = { 0 };

	fastcgi_read_head(&head, "Content-Type: text/html\r\n", 25);
	ck_assert(!head.is_over);
	ck_assert_uint_eq(head.body_bytes, 0);
}
END_TEST

START_TEST(what_is_no_record_of_its_side_is_broken)
{
	static const struct {
		bool is_response;
		char header[9];
	} records[] = {
		{ false, "\2\1\0\1\0\x08\0\0" }, { false, "\1\x03\0\1\0\x08\0\0" }, { false, "\1\1\0\0\0\x08\0\0" },
		{ false, "\1\1\0\1\0\x07\0\0" }, { false, "\1\x09\0\1\0\0\0\0" }, { false, "\1\x0c\0\1\0\0\0\0" },
		{ false, "\1\x21\0\1\0\0\0\0" }, { false, "\1\0\0\1\0\0\0\0" }, { false, "GET / HT" },
		{ true, "\1\1\0\1\0\x08\0\0" }, { true, "\1\x03\0\1\1\x08\0\0" }, { true, "\1\x06\0\0\0\x08\0\0" },
		{ true, "HTTP/1.1" }, { true, "\1\x0a\0\1\0\0\0\0" },
	};

	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		for (size_t split = 0; split <= 8; split++)
			ck_assert_str_eq(events_of(records[i].is_response, records[i].header, 8, split, split), "broken\n");
}
END_TEST

START_TEST(content_may_pass_unseen_within_a_record)
{
	struct fastcgi fastcgi = { 0 };

	made.n = 0;
	wire_record(&made, FASTCGI_STDIN, 1, "", 0, 0);
	made.bytes[4] = 1; /* 256 bytes of content */
	made.bytes[6] = 2;
	ck_assert(!fastcgi_skip(&fastcgi, 1));
	ck_assert_int_eq(fastcgi_read(&fastcgi, made.bytes, 8).event, FASTCGI_RECORD);
	ck_assert(!fastcgi_skip(&fastcgi, 257));
	ck_assert(fastcgi_skip(&fastcgi, 100));
	ck_assert(fastcgi_skip(&fastcgi, 156));
	ck_assert_int_eq(fastcgi_read(&fastcgi, "pp\1\5\0\1\0\0\0\0", 10).event, FASTCGI_STREAM_END);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_request_as_nginx_sends_it_is_read, 0, 4);
	tcase_add_test(tcase, one_request_after_another_over_a_kept_connection);
	tcase_add_test(tcase, two_requests_interleaved_do_not_mix);
	tcase_add_test(tcase, management_records_are_no_requests);
	tcase_add_loop_test(tcase, parameters_tell_method_and_target, 0, sizeof(params) / sizeof(params[0]));
	tcase_add_test(tcase, ids_are_left_alone_where_nobody_wants_them);
	tcase_add_test(tcase, a_target_is_cut_at_its_bound);
	tcase_add_test(tcase, an_answer_as_php_fpm_sends_it_is_read);
	tcase_add_loop_test(tcase, a_head_tells_the_status_split_anywhere, 0, sizeof(heads) / sizeof(heads[0]));
	tcase_add_test(tcase, a_head_that_does_not_end_has_no_status_yet);
	tcase_add_test(tcase, what_is_no_record_of_its_side_is_broken);
	tcase_add_test(tcase, content_may_pass_unseen_within_a_record);
}

int main(void)
{
	return check_main("fastcgi", add_tests);
}
