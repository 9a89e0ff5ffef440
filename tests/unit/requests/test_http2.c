#include "../../../shim/requests/http2.h"
#include "check_main.h"
#include "http2_wire.h"

#include <stdarg.h>
#include <stdio.h>

/* --- what a parser says of them --- */

/* As ck_assert, which is too slow for what is claimed a million times. */
static void must(bool is_true, const char *claim)
{
	if (!is_true)
		ck_abort_msg("%s", claim);
}

struct log {
	char text[64 * 1024];
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void say(struct log *log, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(log->text + log->n, sizeof(log->text) - log->n, format, arguments);
	va_end(arguments);
	log->n += (size_t)n;
	must(n >= 0 && log->n < sizeof(log->text), "the log has room");
}

static void say_trace(struct log *log, const struct trace_context *trace)
{
	if (trace_is_known(trace))
		say(log, " trace %02x..%02x", trace->trace_id[0], trace->trace_id[15]);
	if (trace->request_id_bytes)
		say(log, " id %.*s", trace->request_id_bytes, trace->request_id);
}

static void say_fields(struct log *log, const struct http2_fields *fields)
{
#define METHOD_NAME(id, name) name,
	static const char *const methods[] = { SEG_METHODS(METHOD_NAME) };

	if (!fields->is_known) {
		say(log, " unknown");
		return;
	}
	if (fields->has_method)
		say(log, " %s %.*s", methods[fields->method], fields->path_bytes, fields->path);
	if (fields->status)
		say(log, " %u", fields->status);
	if (fields->grpc_status != HTTP2_GRPC_STATUS_NONE)
		say(log, " grpc %u", fields->grpc_status);
	say(log, "%s%s%s%s", fields->is_https ? " https" : "", fields->is_grpc ? " is grpc" : "",
	    fields->is_event_stream ? " is event-stream" : "", fields->has_protocol ? " is protocol" : "");
	say_trace(log, &fields->trace);
}

static void say_event(struct log *log, const struct http2 *http, enum http2_event event)
{
	static const char *const broken[] = { "not", "start", "frame", "block", "memory" };

	switch (event) {
	case HTTP2_BEGIN:
		say(log, "begin %u;", http->stream);
		break;
	case HTTP2_BEGIN_AND_HEAD:
		say_event(log, http, HTTP2_BEGIN);
		say_event(log, http, HTTP2_HEAD);
		break;
	case HTTP2_HEAD:
	case HTTP2_PROMISE:
		say(log, event == HTTP2_HEAD ? "head %u" : "promise %u", http->stream);
		say_fields(log, http->fields);
		say(log, "%s;", http->ends_stream ? " end" : "");
		break;
	case HTTP2_DATA:
		say(log, "data %u %u%s;", http->stream, http->data_bytes, http->ends_stream ? " end" : "");
		break;
	case HTTP2_RESET:
		say(log, "reset %u %u;", http->stream, http->code);
		break;
	case HTTP2_SETTINGS:
		say(log, "table %u;", http->table_bytes);
		break;
	case HTTP2_GOAWAY:
		say(log, "goaway %u %u;", http->stream, http->code);
		break;
	case HTTP2_BROKEN:
		say(log, "broken %s;", broken[http->broken]);
		break;
	case HTTP2_MORE:
	case HTTP2_NEEDS_ROOM:
		break;
	}
}

static void feed(struct http2 *http, const char *bytes, size_t n, struct log *log)
{
	static struct http2_room room;
	const char *copy = guarded(bytes, n);
	struct http2_step step;

	do {
		step = http2_read(http, copy, n);
		must(step.used_bytes <= n, "no more bytes are used than given");
		copy += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == HTTP2_NEEDS_ROOM) {
			must(!http->room, "room is needed when there is none");
			http->room = &room;
		}
		say_event(log, http, step.event);
	} while (step.event != HTTP2_MORE);
	must(n == 0, "all bytes are used");
	if (!http2_is_within_block(http))
		http->room = NULL;
}

/* The events of wire given as [0, first), [first, second), [second, n). */
static const char *events_of(bool is_client, const struct wire *wire, size_t first, size_t second)
{
	static struct log log;
	struct http2 http;
	const size_t ends[] = { first, second, wire->n };
	size_t begin = 0;

	log.n = 0;
	log.text[0] = '\0';
	must(http2_begin(&http, is_client, 0), "there is memory for a decoder");
	for (int i = 0; i < 3; i++) {
		feed(&http, wire->bytes + begin, ends[i] - begin, &log);
		begin = ends[i];
	}
	http2_end(&http);
	return log.text;
}

static const char *events_bytewise(bool is_client, const struct wire *wire)
{
	static struct log log;
	struct http2 http;

	log.n = 0;
	log.text[0] = '\0';
	must(http2_begin(&http, is_client, 0), "there is memory for a decoder");
	for (size_t i = 0; i < wire->n; i++)
		feed(&http, wire->bytes + i, 1, &log);
	http2_end(&http);
	return log.text;
}

static void assert_everywhere(bool is_client, const struct wire *wire, const char *expected)
{
	/* All pairs of cuts of what is short; of what is long all single ones. */
	bool is_short = wire->n <= 200;

	ck_assert(hpack_open());
	ck_assert_str_eq(events_of(is_client, wire, wire->n, wire->n), expected);
	ck_assert_str_eq(events_bytewise(is_client, wire), expected);
	for (size_t first = 0; first <= wire->n; first++)
		for (size_t second = is_short ? first : wire->n; second <= wire->n; second++)
			must(strcmp(events_of(is_client, wire, first, second), expected) == 0, "cuts make no difference");
}

#define GET "begin 1;head 1 GET /a end;"
#define GET_FIELDS ":method: GET\n:path: /a"

START_TEST(a_request_without_body_ends_with_its_head)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, GET_FIELDS "\n:scheme: https\n:authority: h");
	assert_everywhere(true, wire, "begin 1;head 1 GET /a https end;");
}
END_TEST

START_TEST(a_request_with_body_and_trailers_ends_with_them)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS, 1, ":method: POST\n:path: /upload?x=1");
	put_frame(wire, DATA, 0, 1, "abcde", 5);
	put_frame(wire, DATA, 0, 1, NULL, 0);
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, "checksum: 1");
	assert_everywhere(true, wire, "begin 1;head 1 POST /upload?x=1;data 1 5;data 1 0;begin 1;head 1 end;");
}
END_TEST

START_TEST(streams_may_interleave)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS, 1, ":method: PUT\n:path: /1");
	put_block(wire, HEADERS, END_HEADERS, 3, ":method: PUT\n:path: /3");
	put_frame(wire, DATA, 0, 1, "a", 1);
	put_frame(wire, DATA, END_STREAM, 3, "bb", 2);
	put_frame(wire, DATA, END_STREAM, 1, "ccc", 3);
	assert_everywhere(true, wire,
			  "begin 1;head 1 PUT /1;begin 3;head 3 PUT /3;data 1 1;data 3 2 end;data 1 3 end;");
}
END_TEST

START_TEST(padding_and_priority_are_no_content)
{
	struct wire *wire = begin_client();
	struct wire block = { .n = 0 };

	put(&block, "\5\0\0\0\0\20", 6);
	put_fields(&block, ":method: POST\n:path: /a");
	put(&block, "\0\0\0\0\0", 5);
	put_frame(wire, HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, block.bytes, block.n);
	put_frame(wire, DATA, PADDED, 1, "\3abc\0\0\0", 7);
	put_frame(wire, DATA, PADDED, 1, "\0", 1);
	put_frame(wire, DATA, PADDED | END_STREAM, 1, "\2\0\0", 3);
	assert_everywhere(true, wire, "begin 1;head 1 POST /a;data 1 3;data 1 0;data 1 0 end;");
}
END_TEST

START_TEST(padding_longer_than_its_frame_is_broken)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS, 1, GET_FIELDS);
	put_frame(wire, DATA, PADDED, 1, "\3ab", 3);
	put_frame(wire, DATA, END_STREAM, 1, "ab", 2);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a;broken frame;");
}
END_TEST

START_TEST(a_block_goes_on_in_continuations_of_any_size)
{
	struct wire *wire = begin_client();
	struct wire block = { .n = 0 };

	put_fields(&block, GET_FIELDS "\nx-request-id: r-1");
	put_frame(wire, HEADERS, END_STREAM, 1, NULL, 0);
	for (size_t i = 0; i < block.n; i++)
		put_frame(wire, CONTINUATION, 0, 1, block.bytes + i, 1);
	put_frame(wire, CONTINUATION, END_HEADERS, 1, NULL, 0);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a id r-1 end;");
}
END_TEST

START_TEST(nothing_may_come_between_a_block_and_its_continuation)
{
	static const struct {
		uint8_t type;
		uint32_t stream;
	} intruders[] = { { CONTINUATION, 3 }, { DATA, 1 }, { PING, 0 }, { 0xfa, 1 }, { HEADERS, 3 } };

	for (size_t i = 0; i < sizeof(intruders) / sizeof(intruders[0]); i++) {
		struct wire *wire = begin_client();
		put_block(wire, HEADERS, 0, 1, GET_FIELDS);
		put_frame(wire, intruders[i].type, END_HEADERS, intruders[i].stream, "12345678", 8);
		assert_everywhere(true, wire, "begin 1;broken frame;");
	}
}
END_TEST

START_TEST(a_continuation_of_nothing_is_broken)
{
	struct wire *wire = begin_client();

	put_block(wire, CONTINUATION, END_HEADERS, 1, GET_FIELDS);
	assert_everywhere(true, wire, "broken frame;");
}
END_TEST

START_TEST(a_response_may_be_preceded_by_interim_ones)
{
	struct wire *wire = begin_server();

	put_frame(wire, SETTINGS, ACK, 0, NULL, 0);
	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 103\nlink: x");
	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 200\ncontent-type: text/html");
	put_frame(wire, DATA, END_STREAM, 1, "<html>", 6);
	assert_everywhere(false, wire, "head 1 103;head 1 200;data 1 6 end;");
}
END_TEST

START_TEST(a_status_of_grpc_comes_in_trailers)
{
	struct wire *wire = begin_server();

	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 200\ncontent-type: application/grpc");
	put_frame(wire, DATA, 0, 1, "\0\0\0\0\2ab", 7);
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, "grpc-status: 0\ngrpc-message: fine");
	assert_everywhere(false, wire, "head 1 200 is grpc;data 1 7;head 1 grpc 0 end;");
}
END_TEST

START_TEST(a_status_of_grpc_comes_in_trailers_only)
{
	struct wire *wire = begin_server();

	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1,
		  ":status: 200\ncontent-type: application/grpc+proto\ngrpc-status: 12");
	assert_everywhere(false, wire, "head 1 200 grpc 12 is grpc end;");
}
END_TEST

START_TEST(a_reset_and_a_goodbye_tell_their_codes)
{
	struct wire *wire = begin_server();

	put_frame(wire, RST_STREAM, 0, 5, "\0\0\0\10", 4);
	put_frame(wire, GOAWAY, 0, 0, "\x80\0\0\7\0\0\0\13debug data", 18);
	put_frame(wire, GOAWAY, 0, 0, "\0\0\0\7\0\0\0\0", 8);
	assert_everywhere(false, wire, "reset 5 8;goaway 7 11;goaway 7 0;");
}
END_TEST

START_TEST(of_settings_only_the_size_of_the_table_matters)
{
	struct wire *wire = begin_server();

	put_frame(wire, SETTINGS, 0, 0, "\0\4\0\1\0\0\0\1\0\0\40\0\0\5\0\0\100\0", 18);
	put_frame(wire, SETTINGS, 0, 0, "\0\1\0\0\0\0", 6);
	put_frame(wire, SETTINGS, 0, 0, "\0\5\0\0\100\0", 6);
	assert_everywhere(false, wire, "table 8192;table 0;");
}
END_TEST

START_TEST(settings_of_an_odd_size_are_broken)
{
	struct wire *wire = begin_server();

	put_frame(wire, SETTINGS, 0, 0, "\0\1\0\0\0\0\0", 7);
	assert_everywhere(false, wire, "broken frame;");
	wire = begin_server();
	put_frame(wire, SETTINGS, ACK, 0, "\0\1\0\0\0\0", 6);
	assert_everywhere(false, wire, "broken frame;");
}
END_TEST

START_TEST(a_promise_is_a_request_of_its_own)
{
	struct wire *wire = begin_server();
	struct wire block = { .n = 0 };

	put(&block, "\2\0\0\0\2", 5);
	put_fields(&block, ":method: GET\n:path: /style.css");
	put_frame(wire, PUSH_PROMISE, PADDED, 1, block.bytes, block.n + 2);
	put_frame(wire, CONTINUATION, END_HEADERS, 1, NULL, 0);
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 2, ":status: 200");
	assert_everywhere(false, wire, "promise 2 GET /style.css;head 2 200 end;");
}
END_TEST

START_TEST(frames_that_do_not_matter_are_passed)
{
	struct wire *wire = begin_client();

	put_frame(wire, PING, 0, 0, "12345678", 8);
	put_frame(wire, WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
	put_frame(wire, PRIORITY, 0, 1, "\0\0\0\0\1", 5);
	put_frame(wire, 0xfa, 0xff, 0x7fffffff, "anything", 8);
	put_frame(wire, 0x10, 0, 0, NULL, 0); /* PRIORITY_UPDATE is of type 0x10: RFC 9218 clause 7.1 */
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, GET_FIELDS);
	assert_everywhere(true, wire, GET);
}
END_TEST

START_TEST(the_reserved_bit_of_a_stream_is_ignored)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 0x80000001, GET_FIELDS);
	assert_everywhere(true, wire, GET);
}
END_TEST

START_TEST(frames_too_short_or_of_no_stream_are_broken)
{
	static const struct {
		uint8_t type, flags;
		uint32_t stream;
		size_t n;
	} frames[] = {
		{ RST_STREAM, 0, 1, 3 }, { RST_STREAM, 0, 1, 5 }, { RST_STREAM, 0, 0, 4 }, { GOAWAY, 0, 0, 7 },
		{ PUSH_PROMISE, 0, 1, 3 }, { PUSH_PROMISE, PADDED, 1, 4 }, { HEADERS, HAS_PRIORITY, 1, 4 },
		{ HEADERS, PADDED, 1, 0 }, { DATA, PADDED, 1, 0 }, { DATA, 0, 0, 1 }, { HEADERS, 0, 0, 1 },
	};

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct wire *wire = begin_client();
		put_frame(wire, frames[i].type, frames[i].flags, frames[i].stream, "\0\0\0\0\0", frames[i].n);
		put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, GET_FIELDS);
		assert_everywhere(true, wire, "broken frame;");
	}
}
END_TEST

START_TEST(what_does_not_begin_like_http2_is_told_apart)
{
	struct wire wire = { .n = 0 };

	put(&wire, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 24);
	assert_everywhere(true, &wire, "broken start;");
	wire.n = 0;
	put(&wire, "GET / HTTP/1.1\r\n\r\n", 18);
	assert_everywhere(true, &wire, "broken start;");
	wire.n = 0;
	put(&wire, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	assert_everywhere(false, &wire, "broken start;");
	wire.n = 0;
	put_frame(&wire, SETTINGS, ACK, 0, NULL, 0);
	assert_everywhere(false, &wire, "broken start;");
	wire.n = 0;
	put_frame(&wire, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\1", 8);
	assert_everywhere(false, &wire, "goaway 0 1;");
}
END_TEST

START_TEST(a_block_that_cannot_be_decoded_is_broken)
{
	struct wire *wire = begin_client();

	put_frame(wire, HEADERS, END_HEADERS, 1, "\x82\xbe\x84", 3); /* there is no entry 62 */
	put_block(wire, HEADERS, END_HEADERS, 3, GET_FIELDS);
	assert_everywhere(true, wire, "begin 1;broken block;");
}
END_TEST

START_TEST(trailers_of_a_block_that_ends_in_a_field_are_broken)
{
	struct wire *wire = begin_client();

	put_frame(wire, HEADERS, END_HEADERS, 1, "\x82\0\5:path\3/", 10);
	assert_everywhere(true, wire, "begin 1;broken block;");
}
END_TEST

START_TEST(the_ids_of_a_trace_are_read)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1,
		  GET_FIELDS "\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nx-request-id: abc");
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 3,
		  GET_FIELDS "\nb3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 5, GET_FIELDS);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a trace 0a..9c id abc end;"
			  "begin 3;head 3 GET /a trace 80..f7 end;begin 5;head 5 GET /a end;");
}
END_TEST

START_TEST(fields_are_told_from_those_of_like_names)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS, 1,
		  ":method: CONNECT\n:path: /chat\n:protocol: websocket\n:scheme: http\n:authorit: h\n:statut: 200\n:wrong: x");
	put_block(wire, HEADERS, END_HEADERS, 3, ":method: BREW\n:path: \ncontent-tips: application/grpc\ngrpc-statue: 3\nx: y");
	put_block(wire, HEADERS, END_HEADERS, 5, ":method: GETS\n:path: /");
	assert_everywhere(true, wire, "begin 1;head 1 CONNECT /chat is protocol;begin 3;head 3 _OTHER ;begin 5;head 5 _OTHER /;");
}
END_TEST

START_TEST(types_of_content_are_told_by_their_beginning)
{
	struct wire *wire = begin_server();

	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 200\ncontent-type: Text/Event-Stream; charset=utf-8");
	put_block(wire, HEADERS, END_HEADERS, 3, ":status: 200\ncontent-type: application/grpc; x=y");
	put_block(wire, HEADERS, END_HEADERS, 5, ":status: 200\ncontent-type: application/grpc-web+proto");
	put_block(wire, HEADERS, END_HEADERS, 7, ":status: 200\ncontent-type: application/grp");
	assert_everywhere(false, wire, "head 1 200 is event-stream;head 3 200 is grpc;head 5 200;head 7 200;");
}
END_TEST

START_TEST(numbers_that_are_none_are_not_taken_for_one)
{
	struct wire *wire = begin_server();

	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 20\ngrpc-status: ");
	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 2000\ngrpc-status: 17");
	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 2x0\ngrpc-status: 1x");
	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 099\ngrpc-status: 016");
	put_block(wire, HEADERS, END_HEADERS, 1, ":status: 599\ngrpc-status: 16");
	assert_everywhere(false, wire, "head 1 grpc 2;head 1 grpc 2;head 1 grpc 2;head 1 grpc 2;head 1 599 grpc 16;");
}
END_TEST

START_TEST(tables_are_followed_over_many_blocks)
{
	struct wire *wire = begin_client();

	/* RFC 7541 appendix C.4 */
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 1, "\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 17);
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 3, "\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", 12);
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 5, "\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", 24);
	assert_everywhere(true, wire, "begin 1;head 1 GET / end;begin 3;head 3 GET / end;begin 5;head 5 GET /index.html https end;");
}
END_TEST

START_TEST(a_larger_table_is_good_once_the_other_side_allows_it)
{
	struct wire *wire = begin_client();
	struct log log = { .n = 0 };
	struct http2 http;

	ck_assert(hpack_open());
	put_block(wire, HEADERS, END_STREAM, 1, GET_FIELDS);
	size_t half = wire->n;
	put_frame(wire, CONTINUATION, END_HEADERS, 1, NULL, 0);
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 3, "\x3f\xe1\x3f\x82", 4);
	ck_assert_str_eq(events_of(true, wire, 0, 0), GET "begin 3;broken block;");
	ck_assert(http2_begin(&http, true, 0));
	feed(&http, wire->bytes, half, &log);
	http2_allow_table(&http, 8192); /* it may come while a block is half there */
	http2_allow_table(&http, 4096);
	feed(&http, wire->bytes + half, wire->n - half, &log);
	ck_assert_str_eq(log.text, GET "begin 3;head 3 GET  end;");
	http2_end(&http);
}
END_TEST

START_TEST(a_path_is_kept_up_to_its_limit)
{
	static struct wire block;
	static struct log log;
	struct wire *wire = begin_client();
	struct http2 http;

	ck_assert(hpack_open());
	block.n = 0;
	put(&block, "\x82\x04\x7f\x81\x1f", 5); /* :path of 127 + 1 + 31 * 128 = 4096 bytes */
	for (int i = 0; i < 4096; i++)
		put(&block, &"/abcdef"[i % 7], 1);
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 1, block.bytes, block.n);
	ck_assert(http2_begin(&http, true, 0));
	feed(&http, wire->bytes, wire->n, &log);
	ck_assert_uint_eq(strlen(log.text), strlen("begin 1;head 1 GET  end;") + HTTP2_PATH_BYTES);
	ck_assert_int_eq(memcmp(log.text + strlen("begin 1;head 1 GET "), block.bytes + 5, HTTP2_PATH_BYTES), 0);
	http2_end(&http);
}
END_TEST

START_TEST(a_block_longer_than_64_kib_is_read_all_the_same)
{
	static struct wire block;
	struct wire *wire = begin_client();
	char name[20];

	block.n = 0;
	for (int i = 0; block.n < 100000; i++) {
		snprintf(name, sizeof(name), "field-%d", i);
		put_field(&block, name, "a value that says nothing but takes some room in the block of its request");
	}
	put_fields(&block, GET_FIELDS);
	put_frame(wire, HEADERS, END_STREAM, 1, block.bytes, 16384);
	size_t done = 16384;
	for (; block.n - done > 16384; done += 16384)
		put_frame(wire, CONTINUATION, 0, 1, block.bytes + done, 16384);
	put_frame(wire, CONTINUATION, END_HEADERS, 1, block.bytes + done, block.n - done);
	ck_assert(hpack_open());
	ck_assert_str_eq(events_of(true, wire, 50000, 60001), GET);
	ck_assert_str_eq(events_bytewise(true, wire), GET);
}
END_TEST

START_TEST(skipped_bytes_are_those_of_one_frame_only)
{
	struct wire *wire = begin_server();
	struct log log = { .n = 0 };
	struct http2 http;

	ck_assert(hpack_open());
	ck_assert(http2_begin(&http, false, 0));
	ck_assert(!http2_skip(&http, 1));
	put_frame(wire, DATA, END_STREAM, 1, NULL, 0);
	wire->bytes[wire->n - 8] = 4; /* its length is 1024 */
	feed(&http, wire->bytes, wire->n, &log);
	ck_assert_uint_eq(http.stream, 1);
	ck_assert(!http2_skip(&http, 1025));
	ck_assert(http2_skip(&http, 1000));
	feed(&http, "xxxx", 4, &log);
	ck_assert(http2_skip(&http, 20));
	ck_assert_str_eq(log.text, "");
	feed(&http, NULL, 0, &log);
	ck_assert_str_eq(log.text, "data 1 1024 end;");
	ck_assert(!http2_skip(&http, 1));
	http2_end(&http);
}
END_TEST

START_TEST(a_preface_may_have_passed_elsewhere)
{
	struct wire *wire = begin_client();

	ck_assert(hpack_open());
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, GET_FIELDS);
	for (size_t passed = 0; passed <= HTTP2_PREFACE_BYTES; passed++) {
		struct log log = { .n = 0 };
		struct http2 http;
		ck_assert(http2_begin(&http, true, passed));
		feed(&http, wire->bytes + passed, wire->n - passed, &log);
		ck_assert_str_eq(log.text, GET);
		http2_end(&http);
	}
}
END_TEST

/* In a process of its own by Check, which has not opened the library. */
START_TEST(without_a_decoder_streams_are_told_and_their_fields_are_not)
{
	struct wire *wire = begin_client();

	put_block(wire, HEADERS, END_HEADERS, 1, GET_FIELDS);
	put_frame(wire, DATA, END_STREAM, 1, "abc", 3);
	if (hpack_is_open())
		return; /* under CK_FORK=no a test before has opened it */
	ck_assert_str_eq(events_of(true, wire, 40, 50), "begin 1;head 1 unknown;data 1 3 end;");
}
END_TEST

START_TEST(frames_are_counted_as_they_begin)
{
	struct wire *wire = begin_server();
	struct log log = { .n = 0 };
	struct http2 http;

	ck_assert(hpack_open());
	ck_assert(http2_begin(&http, false, 0));
	ck_assert(!http2_is_within_frame(&http));
	feed(&http, wire->bytes, 1, &log);
	ck_assert_uint_eq(http.frames, 1);
	ck_assert(http2_is_within_frame(&http));
	feed(&http, wire->bytes + 1, wire->n - 1, &log);
	ck_assert_uint_eq(http.frames, 1);
	ck_assert(!http2_is_within_frame(&http));
	feed(&http, wire->bytes, wire->n, &log);
	ck_assert_uint_eq(http.frames, 2);
	http2_end(&http);
}
END_TEST

/* --- blocks that come again; RFC 7541 clauses 6.1 to 6.3 --- */

enum { INDEXED = 0x80, NEWEST = 62 /* of the table, behind the static one */, GET_METHOD = INDEXED | 2 };

/* :path: /X, which goes into the table. */
static void put_path_into_table(struct wire *wire, uint32_t stream, char name)
{
	const char block[] = { (char)GET_METHOD, 0x40 | 4, 2, '/', name };

	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, stream, block, sizeof(block));
}

/* A request for what stands there at the index-th place of the newest. */
static void put_path_of_table(struct wire *wire, uint32_t stream, uint8_t index)
{
	const char block[] = { (char)GET_METHOD, (char)(INDEXED | (NEWEST + index)) };

	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, stream, block, sizeof(block));
}

START_TEST(a_block_that_comes_again_says_the_same)
{
	struct wire *wire = begin_client();

	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	put_path_of_table(wire, 5, 0);
	put_path_of_table(wire, 7, 0);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a end;begin 3;head 3 GET /a end;begin 5;head 5 GET /a end;"
				      "begin 7;head 7 GET /a end;");
}
END_TEST

START_TEST(a_block_that_comes_again_is_not_decoded_again)
{
	struct wire *wire = begin_client();
	struct http2_room room;
	struct http2_step step;
	struct http2 http;

	ck_assert(hpack_open());
	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	ck_assert(http2_begin(&http, true, 0));
	feed(&http, wire->bytes, wire->n, &(struct log){ .n = 0 });
	memset(&room, 'x', sizeof(room)); /* would be found if it was looked at */
	wire->n = 0;
	put_path_of_table(wire, 5, 0);
	step = http2_read(&http, wire->bytes, wire->n);
	ck_assert_int_eq(step.event, HTTP2_BEGIN_AND_HEAD); /* without room for its fields */
	ck_assert_uint_eq(step.used_bytes, wire->n);
	ck_assert_uint_eq(http.fields->path_bytes, 2);
	ck_assert_mem_eq(http.fields->path, "/a", 2);
	http2_end(&http);
}
END_TEST

/* :path: /X, which goes into no table; form: 0, or 0x10 where nobody shall keep it. */
static void put_path_as_it_is(struct wire *wire, uint32_t stream, uint8_t form, char name)
{
	const char block[] = { (char)GET_METHOD, (char)(form | 4), 2, '/', name };

	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, stream, block, sizeof(block));
}

/* Whether the second of two blocks that are alike asks for room to be decoded in. */
static bool is_decoded_again(uint8_t form)
{
	struct wire *wire = begin_client();
	struct http2_step step;
	struct http2 http;

	ck_assert(hpack_open());
	put_path_as_it_is(wire, 1, form, 'a');
	ck_assert(http2_begin(&http, true, 0));
	feed(&http, wire->bytes, wire->n, &(struct log){ .n = 0 });
	http.room = NULL;
	wire->n = 0;
	put_path_as_it_is(wire, 3, form, 'a');
	step = http2_read(&http, wire->bytes, wire->n);
	if (step.event == HTTP2_BEGIN_AND_HEAD) {
		ck_assert_mem_eq(http.fields->path, "/a", 2);
	} else {
		ck_assert_int_eq(step.event, HTTP2_BEGIN);
		step = http2_read(&http, wire->bytes + step.used_bytes, wire->n - step.used_bytes);
		ck_assert_int_eq(step.event, HTTP2_NEEDS_ROOM);
	}
	http2_end(&http);
	return step.event == HTTP2_NEEDS_ROOM;
}

START_TEST(a_block_with_a_path_in_no_table_is_not_decoded_again)
{
	ck_assert(!is_decoded_again(0));
}
END_TEST

START_TEST(a_block_that_nobody_shall_keep_is_not_remembered)
{
	ck_assert(is_decoded_again(0x10));
}
END_TEST

START_TEST(a_literal_in_no_table_leaves_what_others_say)
{
	struct wire *wire = begin_client();

	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	put_path_as_it_is(wire, 5, 0, 'b');
	put_path_as_it_is(wire, 7, 0, 'c');
	put_path_as_it_is(wire, 9, 0x10, 'd');
	put_path_of_table(wire, 11, 0);
	put_path_as_it_is(wire, 13, 0, 'b');
	assert_everywhere(true, wire, "begin 1;head 1 GET /a end;begin 3;head 3 GET /a end;begin 5;head 5 GET /b end;"
				      "begin 7;head 7 GET /c end;begin 9;head 9 GET /d end;begin 11;head 11 GET /a end;"
				      "begin 13;head 13 GET /b end;");
}
END_TEST

/* Names, values and lengths are bytes that look like anything, and what follows them may go into the table. */
START_TEST(a_field_behind_literals_may_change_the_table)
{
	enum { VALUE_BYTES = 0x7f + 3 };
	char block[VALUE_BYTES + 16] = { 0x00, 2, 'x', 'y', 0x7f, 3 };
	const char behind[] = { 0x0f, 0 /* the 15th of the static table */, 1, 'z', (char)GET_METHOD, 0x40 | 4, 2, '/', 'b' };
	struct wire *wire = begin_client();

	memset(block + 6, 0x40, VALUE_BYTES);
	memcpy(block + 6 + VALUE_BYTES, behind, sizeof(behind));
	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 5, block, 6 + VALUE_BYTES + sizeof(behind));
	put_path_of_table(wire, 7, 0);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a end;begin 3;head 3 GET /a end;begin 5;head 5 GET /b end;"
				      "begin 7;head 7 GET /b end;");
}
END_TEST

START_TEST(a_block_says_what_the_table_holds_when_it_comes)
{
	struct wire *wire = begin_client();

	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	put_path_of_table(wire, 5, 0);
	put_path_into_table(wire, 7, 'b');
	put_path_of_table(wire, 9, 0);
	put_path_of_table(wire, 11, 1);
	put_path_of_table(wire, 13, 0);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a end;begin 3;head 3 GET /a end;begin 5;head 5 GET /a end;"
				      "begin 7;head 7 GET /b end;begin 9;head 9 GET /b end;begin 11;head 11 GET /a end;"
				      "begin 13;head 13 GET /b end;");
}
END_TEST

START_TEST(a_block_in_pieces_may_change_what_others_say)
{
	const char into_table[] = { (char)GET_METHOD, 0x40 | 4, 2, '/', 'b' };
	struct wire *wire = begin_client();

	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	put_frame(wire, HEADERS, END_STREAM, 5, into_table, 3);
	put_frame(wire, CONTINUATION, END_HEADERS, 5, into_table + 3, 2);
	put_path_of_table(wire, 7, 0);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a end;begin 3;head 3 GET /a end;begin 5;head 5 GET /b end;"
				      "begin 7;head 7 GET /b end;");
}
END_TEST

START_TEST(a_table_that_was_emptied_says_nothing_any_more)
{
	const char to_nothing[] = { 0x20, (char)GET_METHOD, (char)(INDEXED | 4) };
	struct wire *wire = begin_client();

	put_path_into_table(wire, 1, 'a');
	put_path_of_table(wire, 3, 0);
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 5, to_nothing, sizeof(to_nothing));
	put_path_of_table(wire, 7, 0);
	assert_everywhere(true, wire, "begin 1;head 1 GET /a end;begin 3;head 3 GET /a end;begin 5;head 5 GET / end;"
				      "begin 7;broken block;");
}
END_TEST

START_TEST(more_blocks_may_come_again_than_are_remembered)
{
	enum { PATHS = HTTP2_REMEMBERED_MAX * 2 };
	struct wire *wire = begin_client();
	struct log expected = { .n = 0 };
	uint32_t stream = 1;

	for (int i = 0; i < PATHS; i++, stream += 2) {
		put_path_into_table(wire, stream, (char)('a' + i));
		say(&expected, "begin %u;head %u GET /%c end;", stream, stream, 'a' + i);
	}
	for (int i = 0; i < 4 * PATHS; i++, stream += 2) {
		uint8_t index = (uint8_t)(i % (i < 2 * PATHS ? PATHS : HTTP2_REMEMBERED_MAX));
		put_path_of_table(wire, stream, index);
		say(&expected, "begin %u;head %u GET /%c end;", stream, stream, 'a' + PATHS - 1 - index);
	}
	assert_everywhere(true, wire, expected.text);
}
END_TEST

/* An index from 127 on takes two bytes, of which the second looks like anything. */
START_TEST(what_looks_like_an_index_may_be_the_rest_of_one)
{
	enum { ENTRIES = 127 - NEWEST + 1 };
	struct wire *wire = begin_client();
	struct log expected = { .n = 0 };
	uint32_t stream = 1;

	for (int i = 0; i < ENTRIES; i++, stream += 2) {
		put_path_into_table(wire, stream, (char)('0' + i));
		say(&expected, "begin %u;head %u GET /%c end;", stream, stream, '0' + i);
	}
	for (int i = 0; i < 3; i++, stream += 2) {
		put_frame(wire, HEADERS, END_HEADERS | END_STREAM, stream, (const char[]){ (char)GET_METHOD, (char)0xff, 0 }, 3);
		say(&expected, "begin %u;head %u GET /0 end;", stream, stream);
	}
	put_path_into_table(wire, stream, 'z');
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, stream + 2, (const char[]){ (char)GET_METHOD, (char)0xff, 0 }, 3);
	say(&expected, "begin %u;head %u GET /z end;begin %u;head %u GET /1 end;", stream, stream, stream + 2, stream + 2);
	assert_everywhere(true, wire, expected.text);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_block_that_comes_again_says_the_same);
	tcase_add_test(tcase, a_block_that_comes_again_is_not_decoded_again);
	tcase_add_test(tcase, a_block_with_a_path_in_no_table_is_not_decoded_again);
	tcase_add_test(tcase, a_block_that_nobody_shall_keep_is_not_remembered);
	tcase_add_test(tcase, a_literal_in_no_table_leaves_what_others_say);
	tcase_add_test(tcase, a_field_behind_literals_may_change_the_table);
	tcase_add_test(tcase, a_block_says_what_the_table_holds_when_it_comes);
	tcase_add_test(tcase, a_block_in_pieces_may_change_what_others_say);
	tcase_add_test(tcase, a_table_that_was_emptied_says_nothing_any_more);
	tcase_add_test(tcase, more_blocks_may_come_again_than_are_remembered);
	tcase_add_test(tcase, what_looks_like_an_index_may_be_the_rest_of_one);
	tcase_add_test(tcase, without_a_decoder_streams_are_told_and_their_fields_are_not);
	tcase_add_test(tcase, a_request_without_body_ends_with_its_head);
	tcase_add_test(tcase, a_request_with_body_and_trailers_ends_with_them);
	tcase_add_test(tcase, streams_may_interleave);
	tcase_add_test(tcase, padding_and_priority_are_no_content);
	tcase_add_test(tcase, padding_longer_than_its_frame_is_broken);
	tcase_add_test(tcase, a_block_goes_on_in_continuations_of_any_size);
	tcase_add_test(tcase, nothing_may_come_between_a_block_and_its_continuation);
	tcase_add_test(tcase, a_continuation_of_nothing_is_broken);
	tcase_add_test(tcase, a_response_may_be_preceded_by_interim_ones);
	tcase_add_test(tcase, a_status_of_grpc_comes_in_trailers);
	tcase_add_test(tcase, a_status_of_grpc_comes_in_trailers_only);
	tcase_add_test(tcase, a_reset_and_a_goodbye_tell_their_codes);
	tcase_add_test(tcase, of_settings_only_the_size_of_the_table_matters);
	tcase_add_test(tcase, settings_of_an_odd_size_are_broken);
	tcase_add_test(tcase, a_promise_is_a_request_of_its_own);
	tcase_add_test(tcase, frames_that_do_not_matter_are_passed);
	tcase_add_test(tcase, the_reserved_bit_of_a_stream_is_ignored);
	tcase_add_test(tcase, frames_too_short_or_of_no_stream_are_broken);
	tcase_add_test(tcase, what_does_not_begin_like_http2_is_told_apart);
	tcase_add_test(tcase, a_block_that_cannot_be_decoded_is_broken);
	tcase_add_test(tcase, trailers_of_a_block_that_ends_in_a_field_are_broken);
	tcase_add_test(tcase, the_ids_of_a_trace_are_read);
	tcase_add_test(tcase, fields_are_told_from_those_of_like_names);
	tcase_add_test(tcase, types_of_content_are_told_by_their_beginning);
	tcase_add_test(tcase, numbers_that_are_none_are_not_taken_for_one);
	tcase_add_test(tcase, tables_are_followed_over_many_blocks);
	tcase_add_test(tcase, a_larger_table_is_good_once_the_other_side_allows_it);
	tcase_add_test(tcase, a_path_is_kept_up_to_its_limit);
	tcase_add_test(tcase, a_block_longer_than_64_kib_is_read_all_the_same);
	tcase_add_test(tcase, skipped_bytes_are_those_of_one_frame_only);
	tcase_add_test(tcase, a_preface_may_have_passed_elsewhere);
	tcase_add_test(tcase, frames_are_counted_as_they_begin);
}

int main(void)
{
	return check_main("http2", add_tests);
}
