#include "../../../shim/requests/http1.h"
#include "check_main.h"
#include "guarded.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const method_names[] = {
#define METHOD_NAME(id, name) name,
	SEG_METHODS(METHOD_NAME)
};

/* What a parser said, one event a line. */
struct log {
	char text[64 * 1024];
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

static void say_trace(struct log *log, struct trace_context *trace)
{
	if (trace && trace_is_known(trace))
		say(log, " trace %02x..%02x", trace->trace_id[0], trace->span_id[7]);
	if (trace && trace->request_id_bytes)
		say(log, " id %.*s", (int)trace->request_id_bytes, trace->request_id);
	if (trace)
		*trace = (struct trace_context){ 0 };
	say(log, "\n");
}

static void say_event(struct log *log, const struct http1 *http, enum http1_event event)
{
	switch (event) {
	case HTTP1_LINE:
		if (http->is_response)
			say(log, "status %u\n", http->status);
		else
			say(log, "%s %.*s\n", method_names[http->method], (int)http->target_bytes, http->target);
		break;
	case HTTP1_HEAD:
		say(log, "head%s%s%s%s", http->is_last ? " last" : "", http->is_event_stream ? " events" : "",
		    http->is_faulty ? " faulty" : "", http->upgrades_to_h2c ? " h2c" : "");
		say_trace(log, http->trace);
		break;
	case HTTP1_END:
		say(log, "end %llu\n", (unsigned long long)http->body_bytes);
		break;
	case HTTP1_BROKEN:
		say(log, "broken\n");
		break;
	default:
		break;
	}
}

static void feed(struct http1 *http, const char *bytes, size_t n, struct log *log)
{
	static char carry[HTTP1_CARRY_BYTES];
	const char *copy = guarded(bytes, n);
	struct http1_step step;

	do {
		step = http1_read(http, copy, n);
		ck_assert_uint_le(step.used_bytes, n);
		copy += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == HTTP1_NEEDS_CARRY) {
			ck_assert_ptr_null(http->carry);
			http->carry = carry;
		}
		say_event(log, http, step.event);
	} while (step.event != HTTP1_MORE);
	ck_assert_uint_eq(n, 0);
	if (!http->carried_bytes)
		http->carry = NULL; /* as the caller may at any time */
}

static struct log *events_of(bool is_response, const char *bytes, size_t n, size_t first, size_t second)
{
	static struct log log;
	struct trace_context trace = { 0 };
	struct http1 http = { .is_response = is_response, .trace = is_response ? NULL : &trace };

	log.n = 0;
	log.text[0] = '\0';
	feed(&http, bytes, first, &log);
	feed(&http, bytes + first, second - first, &log);
	feed(&http, bytes + second, n - second, &log);
	return &log;
}

static struct log *events_bytewise(bool is_response, const char *bytes, size_t n)
{
	static struct log log;
	struct trace_context trace = { 0 };
	struct http1 http = { .is_response = is_response, .trace = is_response ? NULL : &trace };

	log.n = 0;
	log.text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		feed(&http, bytes + i, 1, &log);
	return &log;
}

/* The events of text, whole and split everywhere. */
static void assert_events_n(bool is_response, const char *text, size_t n, const char *expected)
{
	ck_assert_str_eq(events_of(is_response, text, n, n, n)->text, expected);
	ck_assert_str_eq(events_bytewise(is_response, text, n)->text, expected);
	for (size_t i = 0; i <= n; i++)
		ck_assert_str_eq(events_of(is_response, text, n, i, i)->text, expected);
}

static void assert_events(bool is_response, const char *text, const char *expected)
{
	assert_events_n(is_response, text, strlen(text), expected);
}

/* Recorded from curl, wrk, h2load and nginx, and made by hand. */
static const struct {
	bool is_response;
	const char *text;
	const char *events;
} exchanges[] = {
	{ false, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n", "GET /\nhead\nend 0\n" },
	{ false, "GET / HTTP/1.1\nHost: a\n\n", "GET /\nhead\nend 0\n" },
	{ false, "\r\n\r\nGET /a HTTP/1.0\r\n\r\n", "GET /a\nhead\nend 0\n" },
	{ false, "GET   /a   HTTP/1.1  \r\n\r\n", "GET /a\nhead\nend 0\n" },
	{ false, "PROPFIND /dav HTTP/1.1\r\n\r\n", "_OTHER /dav\nhead\nend 0\n" },
	{ false, "get / HTTP/1.1\r\n\r\n", "_OTHER /\nhead\nend 0\n" },
	{ false, "POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /q HTTP/1.1\r\n\r\n",
	  "POST /p\nhead\nend 5\nGET /q\nhead\nend 0\n" },
	{ false, "POST /p HTTP/1.1\r\ncontent-length:\t 3 \r\n\r\nabc\r\nGET /q HTTP/1.1\r\n\r\n",
	  "POST /p\nhead\nend 3\nGET /q\nhead\nend 0\n" },
	{ false, "PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
	  "PUT /c\nhead\nend 14\n" },
	{ false, "PUT /c HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 99\r\n\r\n1\nx\n0\nTrailer: z\n\nHEAD / HTTP/1.1\n\n",
	  "PUT /c\nhead faulty\nend 1\nHEAD /\nhead\nend 0\n" },
	{ false, "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok", "POST /\nhead\nend 2\n" },
	{ false, "CONNECT a:443 HTTP/1.1\r\n\r\n", "CONNECT a:443\nhead\nend 0\n" },
	{ false, "OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS *\nhead\nend 0\n" },
	{ false, "DELETE http://a/b HTTP/1.1\r\n\r\n", "DELETE http://a/b\nhead\nend 0\n" },
	{ false, "GET /a b HTTP/1.1\r\n\r\n", "GET /a b\nhead\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", "GET /\nhead faulty\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nContent-Lengthy: 7\r\nX: Content-Length: 9\r\n\r\n", "GET /\nhead\nend 0\n" },
	/* broken */
	{ false, "GET /\r\n\r\n", "broken\n" },
	{ false, "GET / HTTP/2.0\r\n\r\n", "broken\n" },
	{ false, "GET / HTTP/1\r\n\r\n", "broken\n" },
	{ false, "GET / HTTP/1.1x\r\n\r\n", "broken\n" },
	{ false, "GET  HTTP/1.1\r\n\r\n", "broken\n" },
	{ false, "GET/ HTTP/1.1\r\n\r\n", "broken\n" },
	{ false, "G(T / HTTP/1.1\r\n\r\n", "broken\n" },
	{ false, " GET / HTTP/1.1\r\n\r\n", "broken\n" },
	{ false, "garbage\r\nGET / HTTP/1.1\r\n\r\n", "broken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: ,\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 1\r\n 2\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: x\r\n 2\r\n\r\nab", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length:\r\n \r\n\r\n", "POST /\nbroken\n" },
	{ false, "GET / HTTP/1.1\r\r\n\r\n", "broken\n" },
	/* faulty: a server may refuse them, and if it does not it reads on like this */
	{ false, "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nxGET /b HTTP/1.1\r\n\r\n",
	  "POST /\nhead faulty\nend 1\nGET /b\nhead\nend 0\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length : 1\r\n\r\nx", "POST /\nhead faulty\nend 1\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "POST /\nhead faulty\nend 0\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length:\r\n 2\r\n\r\nab", "POST /\nhead faulty\nend 2\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\t\r\n\r\nab", "POST /\nhead faulty\nend 2\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "POST /\nhead faulty\nend 0\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip,\r\n\tchunked\r\n\r\n0\r\n\r\n", "POST /\nhead faulty\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", "GET /\nhead faulty\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\n X: a\r\n\r\n", "GET /\nhead faulty\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nContent-Length: 3\r\nX: a\r\n 4\r\n\r\nabc", "GET /\nhead faulty\nend 3\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /\nhead faulty\nend 0\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", "POST /\nhead\nend 1\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding:\r\nContent-Length: 1\r\n\r\nx", "POST /\nhead faulty\nend 1\n" },
	/* ids */
	{ false, "GET / HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Request-ID:a-1 \r\n\r\nGET /b HTTP/1.1\r\n\r\n",
	  "GET /\nhead trace 0a..31 id a-1\nend 0\nGET /b\nhead\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nB3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1\r\n\r\n", "GET /\nhead trace 0a..31\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nX-B3-TraceId: 0af7651916cd43dd\r\nX-B3-SpanId: b7ad6b7169203331\r\n\r\n",
	  "GET /\nhead trace 00..31\nend 0\n" },
	{ false, "GET / HTTP/1.1\r\nX-Request-ID : a\r\nX-Request-ID: b c\r\ntraceparent: x\r\nx\r\nb\r\n\r\n", "GET /\nhead\nend 0\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "POST /\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", "POST /\nhead\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "POST /\nhead\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n", "POST /\nhead\nbroken\n" },
	{ false, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n11112222333344445\r\n", "POST /\nhead\nbroken\n" },
	/* responses */
	{ true, "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
	  "status 200\nhead\nend 3\nstatus 204\nhead\nend 0\nstatus 304\nhead\nend 0\n" },
	{ true, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	  "status 100\nhead\nend 0\nstatus 200\nhead\nend 0\n" },
	{ true, "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\nHTTP/1.0 404 No\r\ncontent-length: 1\r\n\r\nx",
	  "status 200\nhead\nend 2\nstatus 404\nhead last\nend 1\n" },
	{ true, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "status 400\nhead last\nend 1\n" },
	{ true, "HTTP/1.1 400 Bad Request\r\nConnection: foo , CLOSE\r\nContent-Length: 1\r\n\r\nx", "status 400\nhead last\nend 1\n" },
	{ true, "HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: 1\r\n\r\nx", "status 200\nhead\nend 1\n" },
	{ true, "HTTP/1.0 200 OK\r\n\r\nuntil close HTTP/1.1 200 OK\r\n\r\n", "status 200\nhead last\n" },
	{ true, "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", "status 200\nhead\nend 1\n" },
	{ true, "HTTP/1.1 200 OK\r\nConnection:\r\n close\r\nContent-Length:\r\n 1\r\n\r\nx", "status 200\nhead last faulty\nend 1\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx", "status 200\nhead faulty\nend 1\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nx", "status 200\nbroken\n" },
	{ true, "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n", "status 304\nhead\nend 0\n" },
	{ true, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "status 101\nhead h2c\nend 0\n" },
	{ true, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "status 101\nhead\nend 0\n" },
	{ true, "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n", "status 200\nhead\nend 0\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\nContent-Length: 0\r\n\r\n", "status 200\nhead\nend 0\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;a\r\nContent-Length: 0\r\n\r\n", "status 200\nhead events\nend 0\n" },
	{ true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nxyz", "status 200\nhead faulty\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n", "status 200\nhead events\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n", "status 200\nhead\nend 0\n" },
	{ true, "HTTP/2 200 OK\r\n\r\n", "broken\n" },
	{ true, "HTTP/1.1 20 OK\r\n\r\n", "broken\n" },
	{ true, "HTTP/1.1 2000 OK\r\n\r\n", "broken\n" },
	{ true, "HTTP/1.1 099 OK\r\n\r\n", "broken\n" },
	{ true, "-ERR unknown command\r\n", "broken\n" },
	{ true, "<html>", "broken\n" },
};

START_TEST(every_exchange_gives_the_same_events_split_anywhere)
{
	assert_events(exchanges[_i].is_response, exchanges[_i].text, exchanges[_i].events);
}
END_TEST

START_TEST(every_pair_of_splits_gives_the_same_events)
{
	const char *text = exchanges[_i].text;
	size_t n = strlen(text);
	size_t step = n < 120 ? 1 : 7; /* every split alone is tested above */

	for (size_t first = 0; first <= n; first += step)
		for (size_t second = first; second <= n; second += step)
			ck_assert_str_eq(events_of(exchanges[_i].is_response, text, n, first, second)->text, exchanges[_i].events);
}
END_TEST

START_TEST(zero_bytes_are_no_token_and_no_version)
{
	assert_events_n(false, "G\0T / HTTP/1.1\r\n\r\n", 18, "broken\n");
	assert_events_n(false, "GET / HTTP/1.\0\r\n\r\n", 18, "broken\n");
}
END_TEST

/* method SP slash and n times c SP version, and the rest */
static size_t long_request(char *out, size_t n, const char *rest)
{
	memcpy(out, "GET /", 5);
	memset(out + 5, 'c', n);
	return 5 + n + (size_t)sprintf(out + 5 + n, "%s", rest);
}

static char big[GUARDED_BYTES];

START_TEST(lines_around_the_length_that_is_kept_are_cut_the_same_way_split_or_not)
{
	for (size_t n = HTTP1_LINE_BYTES - 20; n < HTTP1_LINE_BYTES + 4; n++) {
		size_t bytes = long_request(big, n, " HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
		char whole[4096];
		strcpy(whole, events_of(false, big, bytes, bytes, bytes)->text);
		ck_assert_ptr_nonnull(strstr(whole, "\nhead\nend 2\n"));
		ck_assert_str_eq(events_bytewise(false, big, bytes)->text, whole);
		for (size_t i = HTTP1_LINE_BYTES - 20; i < bytes; i++)
			ck_assert_str_eq(events_of(false, big, bytes, i, i)->text, whole);
	}
}
END_TEST

START_TEST(a_line_longer_than_is_kept_gives_its_beginning)
{
	size_t bytes = long_request(big, 20000, " HTTP/1.1\r\n\r\n");
	const struct log *log = events_of(false, big, bytes, bytes, bytes);

	ck_assert_uint_eq(log->n, strlen("GET ") + HTTP1_LINE_BYTES - strlen("GET ") + strlen("\nhead\nend 0\n"));
	ck_assert_str_eq(events_of(false, big, bytes, 5000, 15000)->text, log->text);
}
END_TEST

START_TEST(a_head_is_doubtful_before_its_end)
{
	static const struct {
		const char *head;
		bool is_doubtful;
	} heads[] = {
		{ "GET / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\n", false },
		{ "GET / HTTP/1.1\r\nX: y\r\n z\r\n", true },
		{ "GET / HTTP/1.1\r\nContent-Length:\r\n", true },
		{ "GET / HTTP/1.1\r\nContent-Length: x\r\n", true },
		{ "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n", true },
		{ "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", false },
		{ "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n", true },
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct http1 http = { 0 };
		size_t n = strlen(heads[i].head);
		struct http1_step step = http1_read(&http, heads[i].head, n);
		ck_assert_int_eq(step.event, HTTP1_LINE);
		ck_assert_int_eq(http1_read(&http, heads[i].head + step.used_bytes, n - step.used_bytes).event, HTTP1_MORE);
		ck_assert_int_eq(http1_is_doubtful(&http), heads[i].is_doubtful);
	}
}
END_TEST

START_TEST(a_long_request_line_is_told_before_its_end_comes)
{
	size_t bytes = long_request(big, 9000, " HTTP/1.1\r\n\r\n");
	struct http1 http = { 0 };
	static char carry[HTTP1_CARRY_BYTES];
	struct http1_step step = http1_read(&http, guarded(big, HTTP1_CARRY_BYTES + 1), HTTP1_CARRY_BYTES + 1);

	ck_assert_int_eq(step.event, HTTP1_LINE);
	ck_assert_int_eq(http.method, SEG_METHOD_GET);
	ck_assert_uint_eq(http.target_bytes, HTTP1_LINE_BYTES - 4);
	http = (struct http1){ .carry = carry };
	ck_assert_int_eq(http1_read(&http, guarded(big, 500), 500).event, HTTP1_MORE);
	ck_assert_int_eq(http1_read(&http, guarded(big + 500, 600), 600).event, HTTP1_LINE);
	ck_assert_uint_eq(http.target_bytes, HTTP1_LINE_BYTES - 4);
	ck_assert_int_eq(http1_read(&http, big + HTTP1_CARRY_BYTES + 1, bytes - HTTP1_CARRY_BYTES - 1).event, HTTP1_HEAD);
}
END_TEST

/* Long lines of any method, and such as are no request line for how they begin or end. */
START_TEST(long_lines_say_the_same_split_anywhere)
{
	static const struct {
		const char *begin;
		const char *end;
		const char *events; /* with the target left out */
	} lines[] = {
		{ "GET /", " HTTP/1.1\r\nA: b\r\n\r\n", "GET T\nhead\nend 0\n" },
		{ "GET /", " HTTP/1.1\n\n", "GET T\nhead\nend 0\n" },
		{ "GET /", "\r\n\r\n", "GET T\nbroken\n" },
		{ "GET /", " HTTP/2.0\r\n\r\n", "GET T\nbroken\n" },
		{ "GET /", " HTTP/1.1\r\r\n\r\n", "GET T\nbroken\n" },
		{ "PROPFIND /", " HTTP/1.1  \r\n\r\n", "_OTHER T\nhead\nend 0\n" },
		{ "PROPFIND /", "\r\n\r\n", "broken\n" },
		{ "get ", "\r\n\r\n", "broken\n" },
		{ "(GET /", " HTTP/1.1\r\n\r\n", "broken\n" },
		{ "GET", " HTTP/1.1\r\n\r\n", "broken\n" },
		{ "GET /", "", "GET T\n" },
		{ "get /", "", "" },
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		for (size_t fill = HTTP1_LINE_BYTES - 14; fill < HTTP1_LINE_BYTES + 5; fill += 3) {
			size_t n = (size_t)sprintf(big, "%s", lines[i].begin);
			memset(big + n, 'c', fill);
			n += fill;
			n += (size_t)sprintf(big + n, "%s", lines[i].end);
			char whole[4096];
			strcpy(whole, events_of(false, big, n, n, n)->text);
			ck_assert_str_eq(events_bytewise(false, big, n)->text, whole);
			for (size_t split = HTTP1_LINE_BYTES - 2; split < n; split++)
				ck_assert_str_eq(events_of(false, big, n, split, split)->text, whole);
			const char *target = strstr(whole, " /");
			char said[sizeof(whole) * 2 + 8];
			sprintf(said, "%.*s%s%s", (int)(target ? target - whole : 0), whole, target ? " T" : "",
				target ? strchr(whole, '\n') : whole);
			if (fill > HTTP1_LINE_BYTES)
				ck_assert_str_eq(said, lines[i].events);
		}
	}
}
END_TEST

START_TEST(a_head_of_64_kib_is_read_and_one_byte_more_is_broken)
{
	const char *begin = "GET / HTTP/1.1\r\nX: ";
	size_t head = strlen(begin);

	for (size_t total = HTTP1_HEAD_BYTES - 1; total <= HTTP1_HEAD_BYTES + 1; total++) {
		size_t fill = total - head - 4;
		memcpy(big, begin, head);
		memset(big + head, 'x', fill);
		memcpy(big + head + fill, "\r\n\r\n", 4);
		const char *expected = total <= HTTP1_HEAD_BYTES ? "GET /\nhead\nend 0\n" : "GET /\nbroken\n";
		ck_assert_str_eq(events_of(false, big, total, total, total)->text, expected);
		ck_assert_str_eq(events_bytewise(false, big, total)->text, expected);
		for (size_t i = 0; i <= total; i += 997)
			ck_assert_str_eq(events_of(false, big, total, i, i)->text, expected);
	}
}
END_TEST

START_TEST(trailers_without_end_are_broken)
{
	size_t n = (size_t)sprintf(big, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");

	while (n < 100000)
		n += (size_t)sprintf(big + n, "A: b\r\n");
	ck_assert_str_eq(events_of(false, big, n, n, n)->text, "POST /\nhead\nbroken\n");
}
END_TEST

START_TEST(any_number_of_chunks_is_one_body)
{
	size_t n = (size_t)sprintf(big, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");

	for (int i = 0; i < 15000; i++)
		n += (size_t)sprintf(big + n, "1\r\nx\r\n");
	n += (size_t)sprintf(big + n, "0\r\n\r\n");
	ck_assert_str_eq(events_of(false, big, n, n, n)->text, "POST /\nhead\nend 15000\n");
}
END_TEST

START_TEST(an_answer_to_head_has_no_body_whatever_its_head_says)
{
	const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
	struct http1 http = { .is_response = true };
	size_t n = strlen(text);

	ck_assert_int_eq(http1_read(&http, text, n).event, HTTP1_LINE);
	text += 17, n -= 17;
	struct http1_step step = http1_read(&http, text, n);
	ck_assert_int_eq(step.event, HTTP1_HEAD);
	http1_has_no_body(&http);
	text += step.used_bytes, n -= step.used_bytes;
	step = http1_read(&http, text, n);
	ck_assert_int_eq(step.event, HTTP1_END);
	ck_assert_uint_eq(step.used_bytes, 0);
	ck_assert_int_eq(http1_read(&http, text, n).event, HTTP1_LINE);
	ck_assert_uint_eq(http.status, 404);
}
END_TEST

START_TEST(skipped_bytes_count_as_body_and_never_as_a_head)
{
	struct http1 http = { .is_response = true };
	struct log log = { .n = 0 };
	const char *head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";

	ck_assert(!http1_skip(&http, 1));
	feed(&http, head, 10, &log);
	ck_assert(!http1_skip(&http, 1));
	feed(&http, head + 10, strlen(head) - 10, &log);
	ck_assert(!http1_skip(&http, 1001));
	ck_assert(http1_skip(&http, 990));
	feed(&http, "12345", 5, &log);
	ck_assert(http1_skip(&http, 5));
	feed(&http, "", 0, &log);
	ck_assert_str_eq(log.text, "status 200\nhead\nend 1000\n");
	ck_assert(!http1_skip(&http, 1));
}
END_TEST

START_TEST(a_broken_side_stays_silent)
{
	struct http1 http = { 0 };
	struct log log = { .n = 0 };

	feed(&http, "nonsense\r\n", 10, &log);
	feed(&http, "GET / HTTP/1.1\r\n\r\n", 18, &log);
	ck_assert_str_eq(log.text, "broken\n");
	ck_assert(!http1_is_within(&http));
}
END_TEST

static void add_tests(TCase *tcase)
{
	int exchange_count = sizeof(exchanges) / sizeof(exchanges[0]);

	tcase_add_loop_test(tcase, every_exchange_gives_the_same_events_split_anywhere, 0, exchange_count);
	tcase_add_loop_test(tcase, every_pair_of_splits_gives_the_same_events, 0, exchange_count);
	tcase_add_test(tcase, zero_bytes_are_no_token_and_no_version);
	tcase_add_test(tcase, lines_around_the_length_that_is_kept_are_cut_the_same_way_split_or_not);
	tcase_add_test(tcase, a_line_longer_than_is_kept_gives_its_beginning);
	tcase_add_test(tcase, a_head_is_doubtful_before_its_end);
	tcase_add_test(tcase, a_long_request_line_is_told_before_its_end_comes);
	tcase_add_test(tcase, long_lines_say_the_same_split_anywhere);
	tcase_add_test(tcase, a_head_of_64_kib_is_read_and_one_byte_more_is_broken);
	tcase_add_test(tcase, trailers_without_end_are_broken);
	tcase_add_test(tcase, any_number_of_chunks_is_one_body);
	tcase_add_test(tcase, an_answer_to_head_has_no_body_whatever_its_head_says);
	tcase_add_test(tcase, skipped_bytes_count_as_body_and_never_as_a_head);
	tcase_add_test(tcase, a_broken_side_stays_silent);
}

int main(void)
{
	return check_main("http1", add_tests);
}
