#include "../../../shim/requests/hpack.h"
#include "check_main.h"
#include "http2_wire.h"
#include "room.h"

#include <errno.h>
#include <sys/socket.h>

static uint64_t http(const char *name, uint32_t status, uint32_t error)
{
	return room_requests(SEG_PROTOCOL_HTTP, name, status, error);
}

static uint64_t grpc(const char *name, uint32_t code)
{
	return room_requests(SEG_PROTOCOL_GRPC, name, 1 + code, SEG_ERROR_NONE);
}

static uint64_t all(void)
{
	return http(NULL, ROOM_ANY, ROOM_ANY) + room_requests(SEG_PROTOCOL_GRPC, NULL, ROOM_ANY, ROOM_ANY);
}

/* --- what both sides say --- */

static struct wire *nothing(void)
{
	static struct wire wire;

	wire.n = 0;
	return &wire;
}

static void receive(const struct wire *wire)
{
	room_receive_n(5, wire->bytes, wire->n);
}

static void reply(const struct wire *wire)
{
	room_send_n(5, wire->bytes, wire->n);
}

/* The connection is there, and both sides have said so. */
static void begin(void)
{
	room_open(256);
	ck_assert(hpack_open());
	room_know("GET /a");
	room_know("GET /b");
	room_accept(5);
	receive(begin_client());
	reply(begin_server());
}

/* Requests that room_know counts. */
enum { KNOWN = 2 };

static void receive_head(uint32_t stream, uint8_t flags, const char *fields)
{
	static struct wire wire;

	wire.n = 0;
	put_block(&wire, HEADERS, END_HEADERS | flags, stream, fields);
	receive(&wire);
}

static void receive_data(uint32_t stream, uint8_t flags, const char *text)
{
	static struct wire wire;

	wire.n = 0;
	put_frame(&wire, DATA, flags, stream, text, strlen(text));
	receive(&wire);
}

static void reply_head(uint32_t stream, uint8_t flags, const char *fields)
{
	static struct wire wire;

	wire.n = 0;
	put_block(&wire, HEADERS, END_HEADERS | flags, stream, fields);
	reply(&wire);
}

static void reply_data(uint32_t stream, uint8_t flags, const char *text)
{
	static struct wire wire;

	wire.n = 0;
	put_frame(&wire, DATA, flags, stream, text, strlen(text));
	reply(&wire);
}

static void get(uint32_t stream, const char *path)
{
	char fields[128];

	snprintf(fields, sizeof(fields), ":method: GET\n:path: %s", path);
	receive_head(stream, END_STREAM, fields);
}

#define CALL "\ncontent-type: application/grpc\nte: trailers"
#define IS_GRPC "\ncontent-type: application/grpc"

/* --- counting --- */

START_TEST(a_stream_is_a_request)
{
	begin();
	get(1, "/a?q=1");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1);
	ck_assert_uint_eq(all(), KNOWN);
	reply_head(1, 0, ":status: 200");
	reply_data(1, END_STREAM, "hello");
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_HTTP2), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP2), 1);
	room_close(5);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(bytes_are_counted_under_http2_from_the_first_on)
{
	struct wire *wire = begin_client();

	room_open(256);
	ck_assert(hpack_open());
	room_accept(5);
	room_receive_n(5, wire->bytes, 10);
	room_receive_n(5, wire->bytes + 10, wire->n - 10);
	reply(begin_server());
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_HTTP2), 24 + 9);
	ck_assert_uint_eq(room_sent_bytes(SEG_PROTOCOL_HTTP2), 9 + 6);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_server_may_speak_first)
{
	for (size_t first = 0; first < 24; first++) {
		struct wire *wire = begin_client();
		room_open(256);
		ck_assert(hpack_open());
		room_accept(5);
		if (first)
			room_receive_n(5, wire->bytes, first);
		reply(begin_server());
		room_receive_n(5, wire->bytes + first, wire->n - first);
		get(1, "/a");
		reply_head(1, END_STREAM, ":status: 200");
		ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
		ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP2), 1);
		room_close(5);
		ck_assert(room_is_balanced());
	}
}
END_TEST

START_TEST(streams_are_answered_in_any_order)
{
	begin();
	for (uint32_t stream = 1; stream < 200; stream += 2)
		get(stream, stream % 4 == 1 ? "/a" : "/b");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 100);
	for (uint32_t stream = 199; stream < 200; stream -= 2)
		reply_head(stream, END_STREAM, stream % 10 == 1 ? ":status: 500" : ":status: 204");
	ck_assert_uint_eq(all(), KNOWN + 100);
	ck_assert_uint_eq(http("GET /a", 204, SEG_ERROR_NONE), 40);
	ck_assert_uint_eq(http("GET /b", 204, SEG_ERROR_NONE), 40);
	ck_assert_uint_eq(http("GET /a", 500, SEG_ERROR_NONE), 10);
	ck_assert_uint_eq(http("GET /b", 500, SEG_ERROR_NONE), 10);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(many_streams_in_many_connections_leave_nothing_behind)
{
	begin();
	for (int fd = 6; fd < 40; fd++) {
		struct wire *wire = begin_client();
		room_accept(fd);
		room_receive_n(fd, wire->bytes, wire->n);
		wire = begin_server();
		room_send_n(fd, wire->bytes, wire->n);
	}
	for (uint32_t stream = 1; stream < 2000; stream += 2)
		for (int fd = 6; fd < 40; fd++) {
			struct wire *wire = nothing();
			put_block(wire, HEADERS, END_HEADERS | END_STREAM, stream, ":method: GET\n:path: /a");
			room_receive_n(fd, wire->bytes, wire->n);
		}
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 34000);
	for (uint32_t stream = 1; stream < 1000; stream += 2)
		for (int fd = 6; fd < 40; fd++) {
			struct wire *wire = nothing();
			put_block(wire, HEADERS, END_HEADERS | END_STREAM, stream, ":status: 200");
			room_send_n(fd, wire->bytes, wire->n);
		}
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1 + 17000);
	for (int fd = 6; fd < 40; fd++)
		room_close(fd);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_RESET), 17000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_POOL_FULL), 0);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_request_lasts_from_its_first_byte_to_the_last_of_its_answer)
{
	struct wire *wire = nothing();

	begin();
	uint64_t before_ns = room_sum_ns("GET /a");
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, ":method: GET\n:path: /a");
	room_receive_n(5, wire->bytes, 1);
	room_now_ns += 3000000;
	room_receive_n(5, wire->bytes + 1, 10);
	room_now_ns += 1000000;
	room_receive_n(5, wire->bytes + 11, wire->n - 11);
	reply_head(1, 0, ":status: 200");
	wire = nothing();
	put_frame(wire, DATA, PADDED | END_STREAM, 1, "\1x\0", 3);
	room_send_n(5, wire->bytes, wire->n - 1);
	room_now_ns += 500000;
	room_send_n(5, wire->bytes + wire->n - 1, 1);
	ck_assert_uint_eq(room_sum_ns("GET /a") - before_ns, 4505000);
}
END_TEST

START_TEST(a_frame_behind_one_that_is_half_there_begins_later)
{
	struct wire *wire = nothing();

	begin();
	uint64_t before_ns = room_sum_ns("GET /b");
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, ":method: GET\n:path: /a");
	room_receive_n(5, wire->bytes, 12);
	room_now_ns += 3000000;
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 3, ":method: GET\n:path: /b");
	room_receive_n(5, wire->bytes + 12, wire->n - 12);
	reply_head(3, END_STREAM, ":status: 200");
	ck_assert_uint_eq(room_sum_ns("GET /b") - before_ns, 1000);
}
END_TEST

START_TEST(bodies_are_what_data_frames_hold_without_their_padding)
{
	struct wire *wire = nothing();

	begin();
	receive_head(1, 0, ":method: POST\n:path: /upload");
	receive_data(1, 0, "abc");
	put_frame(wire, DATA, PADDED | END_STREAM, 1, "\2de\0\0", 5);
	receive(wire);
	reply_head(1, 0, ":status: 201");
	reply_data(1, 0, "hello ");
	reply_data(1, 0, "world");
	reply_head(1, END_STREAM, "checksum: 1");
	struct room_bodies bodies = room_bodies("POST /upload");
	ck_assert_uint_eq(bodies.requests, 1);
	ck_assert_uint_eq(bodies.request_bytes, 5);
	ck_assert_uint_eq(bodies.responses, 1);
	ck_assert_uint_eq(bodies.response_bytes, 11);
	ck_assert_uint_eq(http("POST /upload", 201, SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(data_may_pass_unseen)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	reply_head(1, 0, ":status: 200");
	put_frame(wire, DATA, END_STREAM, 1, NULL, 0);
	wire->bytes[wire->n - 8] = 4; /* its length is 1024 */
	reply(wire);
	conn_sending(5);
	conn_sent_unseen(5, 1000, room_now_ns += 1000);
	ck_assert_uint_eq(all(), KNOWN);
	conn_sent_unseen(5, 24, room_now_ns += 1000);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert_uint_eq(room_bodies("GET /a").response_bytes, 1024 + 0);
	conn_sent_unseen(5, 1, room_now_ns += 1000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_UNSEEN_BYTES), 1);
}
END_TEST

START_TEST(interim_answers_are_none)
{
	begin();
	get(1, "/a");
	reply_head(1, 0, ":status: 103\nlink: x");
	reply_head(1, 0, ":status: 103\nlink: y");
	ck_assert_uint_eq(all(), KNOWN);
	reply_head(1, END_STREAM, ":status: 404");
	ck_assert_uint_eq(http("GET /a", 404, SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(an_answer_may_end_before_its_request)
{
	begin();
	receive_head(1, 0, ":method: POST\n:path: /upload");
	receive_data(1, 0, "abc");
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_uint_eq(http("POST /upload", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_bodies("POST /upload").requests, 0);
	receive_data(1, END_STREAM, "de");
	ck_assert_uint_eq(room_bodies("POST /upload").request_bytes, 5);
	reply_data(1, END_STREAM, "nobody waits for this");
	receive_data(1, END_STREAM, "nor this");
	receive_head(1, END_STREAM, ":method: GET\n:path: /a");
	ck_assert_uint_eq(all(), KNOWN + 1);
	room_close(5);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_early_answer_may_be_followed_by_a_reset)
{
	struct wire *wire = nothing();

	begin();
	receive_head(1, 0, ":method: POST\n:path: /upload");
	reply_head(1, END_STREAM, ":status: 413");
	put_frame(wire, RST_STREAM, 0, 1, "\0\0\0\0", 4);
	reply(wire);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert_uint_eq(http("POST /upload", 413, SEG_ERROR_NONE), 1);
	room_close(5);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_reset_ends_a_request_with_an_error)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	get(3, "/b");
	reply_head(3, 0, ":status: 200");
	put_frame(wire, RST_STREAM, 0, 1, "\0\0\0\10", 4);
	receive(wire);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_RESET), 1);
	wire = nothing();
	put_frame(wire, RST_STREAM, 0, 3, "\0\0\0\2", 4);
	put_frame(wire, RST_STREAM, 0, 77, "\0\0\0\2", 4);
	reply(wire);
	ck_assert_uint_eq(http("GET /b", 200, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all(), KNOWN + 2);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(streams_beyond_the_last_of_a_goaway_are_over)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	get(3, "/b");
	put_frame(wire, GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0", 8); /* about to go */
	reply(wire);
	ck_assert_uint_eq(all(), KNOWN);
	wire = nothing();
	put_frame(wire, GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
	reply(wire);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert_uint_eq(http("GET /b", 0, SEG_ERROR_RESET), 1);
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_is_unanswered_at_the_end_was_reset)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	get(3, "/b");
	reply_head(3, 0, ":status: 200");
	put_block(wire, HEADERS, 0, 5, ":method: GET"); /* its head is not over */
	receive(wire);
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("GET /b", 200, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("_OTHER _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all(), KNOWN + 3);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_promise_is_a_request_that_the_server_makes)
{
	struct wire *wire = nothing(), block = { .n = 0 };

	begin();
	get(1, "/a");
	put_number(&block, 2, 4);
	put_fields(&block, ":method: GET\n:path: /b");
	put_frame(wire, PUSH_PROMISE, END_HEADERS, 1, block.bytes, block.n);
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, ":status: 200");
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 2, ":status: 204");
	reply(wire);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(http("GET /b", 204, SEG_ERROR_NONE), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(streams_of_something_else_are_in_no_histogram)
{
	begin();
	get(1, "/a");
	reply_head(1, 0, ":status: 200\ncontent-type: text/event-stream");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_HTTP2), 1);
	reply_data(1, 0, "data: x");
	reply_data(1, END_STREAM, "data: y");
	receive_head(3, 0, ":method: CONNECT\n:protocol: websocket\n:path: /chat");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_HTTP2), 0);
	reply_head(3, 0, ":status: 200");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_HTTP2), 1);
	receive_data(3, 0, "to and");
	reply_data(3, 0, "fro");
	receive_data(3, END_STREAM, "");
	reply_data(3, END_STREAM, "");
	receive_head(5, 0, ":method: CONNECT\n:authority: h:1");
	reply_head(5, END_STREAM, ":status: 502");
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert_uint_eq(http(NULL, 502, SEG_ERROR_NONE), 1);
	get(7, "/a");
	reply_head(7, 0, ":status: 200\ncontent-type: text/event-stream");
	room_close(5);
	struct room_streams events = room_streams(SEG_PROTOCOL_HTTP, "GET /a");
	ck_assert_uint_eq(events.opened, 2);
	ck_assert_uint_eq(events.ended, 2);
	ck_assert_uint_eq(all(), KNOWN + 1);
	ck_assert(room_is_balanced());
}
END_TEST

/* --- gRPC --- */

START_TEST(a_call_of_grpc_is_counted_by_method_and_status)
{
	begin();
	receive_head(1, 0, ":method: POST\n:path: /shop.Cart/Add" CALL);
	receive_data(1, END_STREAM, "message");
	reply_head(1, 0, ":status: 200" IS_GRPC);
	reply_data(1, 0, "message");
	reply_head(1, END_STREAM, "grpc-status: 0");
	receive_head(3, END_STREAM, ":method: POST\n:path: /shop.Cart/Add" CALL);
	reply_head(3, 0, ":status: 200" IS_GRPC);
	reply_head(3, END_STREAM, "grpc-status: 5\ngrpc-message: there is none");
	receive_head(5, END_STREAM, ":method: POST\n:path: /shop.Cart/Add" CALL);
	reply_head(5, END_STREAM, ":status: 200\ngrpc-status: 7" IS_GRPC);
	ck_assert_uint_eq(grpc("shop.Cart/Add", 0), 1);
	ck_assert_uint_eq(grpc("shop.Cart/Add", 5), 1);
	ck_assert_uint_eq(grpc("shop.Cart/Add", 7), 1);
	ck_assert_uint_eq(all(), KNOWN + 3);
	ck_assert_uint_eq(room_open_connections(SEG_PROTOCOL_HTTP2), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(methods_that_are_not_implemented_make_no_endpoint)
{
	char fields[160];

	begin();
	for (uint32_t i = 0; i < 500; i++) {
		snprintf(fields, sizeof(fields), ":method: POST\n:path: /shop.Cart/None%u" CALL, i);
		receive_head(2 * i + 1, END_STREAM, fields);
		reply_head(2 * i + 1, END_STREAM, ":status: 200\ngrpc-status: 12" IS_GRPC);
	}
	ck_assert_uint_eq(grpc("_OTHER", 12), 500);
	ck_assert_uint_eq(room_endpoint(SEG_PROTOCOL_GRPC, "shop.Cart/None1"), SEG_NOT_FOUND);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_call_without_a_status_has_the_one_that_clients_make_of_it)
{
	static const struct {
		const char *head;
		uint32_t code;
	} answers[] = {
		{ ":status: 400", 13 }, { ":status: 401", 16 }, { ":status: 403", 7 }, { ":status: 404", 12 },
		{ ":status: 429", 14 }, { ":status: 502", 14 }, { ":status: 503", 14 }, { ":status: 504", 14 },
		{ ":status: 200", 2 }, { ":status: 418", 2 },
	};

	begin();
	receive_head(1, END_STREAM, ":method: POST\n:path: /s.S/Known" CALL);
	reply_head(1, END_STREAM, ":status: 200\ngrpc-status: 0");
	for (uint32_t i = 0; i < 10; i++) {
		uint64_t before = grpc(NULL, answers[i].code);
		receive_head(3 + 2 * i, END_STREAM, ":method: POST\n:path: /s.S/Known" CALL);
		reply_head(3 + 2 * i, END_STREAM, answers[i].head);
		ck_assert_uint_eq(grpc(NULL, answers[i].code), before + 1);
	}
}
END_TEST

START_TEST(a_call_that_is_reset_has_the_status_that_its_code_means)
{
	static const struct {
		char code;
		uint32_t status;
	} resets[] = { { 0, 13 }, { 2, 13 }, { 7, 14 }, { 8, 1 }, { 11, 8 }, { 12, 7 } };

	begin();
	for (uint32_t i = 0; i < 6; i++) {
		struct wire *wire = nothing();
		uint64_t before = grpc("s.S/M", resets[i].status);
		receive_head(1 + 2 * i, 0, ":method: POST\n:path: /s.S/M" CALL);
		reply_head(1 + 2 * i, 0, ":status: 200" IS_GRPC);
		put_frame(wire, RST_STREAM, 0, 1 + 2 * i, (char[]){ 0, 0, 0, resets[i].code }, 4);
		receive(wire);
		ck_assert_uint_eq(grpc("s.S/M", resets[i].status), before + 1);
	}
	ck_assert_uint_eq(all(), KNOWN + 6);
}
END_TEST

START_TEST(calls_that_stream_are_counted_at_their_end)
{
	begin();
	receive_head(1, 0, ":method: POST\n:path: /s.S/Talk" CALL);
	for (int i = 0; i < 100; i++) {
		receive_data(1, 0, "question");
		if (i == 0)
			reply_head(1, 0, ":status: 200" IS_GRPC);
		reply_data(1, 0, "answer");
	}
	ck_assert_uint_eq(all(), KNOWN);
	receive_data(1, END_STREAM, "");
	reply_head(1, END_STREAM, "grpc-status: 0");
	ck_assert_uint_eq(grpc("s.S/Talk", 0), 1);
}
END_TEST

/* --- what is no HTTP/2, or breaks it --- */

START_TEST(a_server_that_knows_no_http2_answers_a_request_that_it_could_not_read)
{
	room_open(256);
	ck_assert(hpack_open());
	room_accept(5);
	receive(begin_client());
	room_send(5, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("_OTHER _OTHER", 400, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(all(), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_preface_of_something_else_is_unclassified)
{
	room_open(256);
	ck_assert(hpack_open());
	room_accept(5);
	room_receive(5, "PRI * HTTP/2.0\r\n\r\nXY\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(after_a_clients_error_what_was_asked_before_may_be_answered)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	get(3, "/b");
	put_frame(wire, DATA, 0, 0, "of no stream", 12);
	receive(wire);
	reply_head(1, END_STREAM, ":status: 200");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(http("GET /b", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all(), KNOWN + 2);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_HPACK), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_block_that_cannot_be_decoded_is_told)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	put_frame(wire, HEADERS, END_HEADERS, 3, "\xbe", 1);
	receive(wire);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_HPACK), 1);
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_server_that_breaks_the_rules_ends_its_requests)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	get(3, "/b");
	put_frame(wire, CONTINUATION, 0, 1, NULL, 0);
	reply(wire);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(http("GET /b", 0, SEG_ERROR_PARSE), 1);
	get(5, "/a");
	room_close(5);
	ck_assert_uint_eq(all(), KNOWN + 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_answer_that_cannot_be_decoded_is_told_and_nothing_is_counted)
{
	struct wire *wire = nothing();

	begin();
	get(1, "/a");
	put_frame(wire, HEADERS, END_HEADERS, 1, "\xbe", 1);
	reply(wire);
	room_close(5);
	ck_assert_uint_eq(all(), KNOWN);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_HPACK), 1);
	ck_assert(room_is_balanced());
}
END_TEST

/* In a process of its own by Check, which has not opened the library. */
START_TEST(without_a_decoder_requests_are_counted_as_lost)
{
	if (hpack_is_open())
		return; /* under CK_FORK=no a test before has opened it */
	room_open(256);
	room_accept(5);
	receive(begin_client());
	reply(begin_server());
	get(1, "/a");
	get(3, "/a");
	reply_head(1, END_STREAM, ":status: 200");
	room_close(5);
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_HPACK), 2);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP2), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_table_grows_where_the_other_side_allows_it)
{
	struct wire *wire = nothing();

	begin();
	put_frame(wire, SETTINGS, 0, 0, "\0\1\0\0\40\0", 6); /* 8192 */
	reply(wire);
	wire = nothing();
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 1, "\x3f\xe1\x3f\x82\x84", 5);
	receive(wire);
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_uint_eq(http("GET /", 200, SEG_ERROR_NONE), 1);
	get(3, "/a");
	wire = nothing();
	put_frame(wire, HEADERS, END_HEADERS | END_STREAM, 3, "\x3f\xe1\x3f\x88", 4);
	reply(wire); /* the client never allowed that */
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_HPACK), 1);
}
END_TEST

/* --- the program as the client --- */

static void begin_asking(void)
{
	struct wire *wire;

	room_open(256);
	ck_assert(hpack_open());
	room_connect(5, 1);
	wire = begin_client();
	room_send_n(5, wire->bytes, wire->n);
	wire = begin_server();
	room_receive_n(5, wire->bytes, wire->n);
}

START_TEST(what_the_program_asks_is_counted_by_method_and_by_call)
{
	begin_asking();
	reply_head(1, END_STREAM, ":method: GET\n:path: /a");
	reply_head(3, 0, ":method: POST\n:path: /s.S/M" CALL);
	reply_data(3, END_STREAM, "message");
	receive_head(3, 0, ":status: 200" IS_GRPC);
	receive_data(3, 0, "message");
	receive_head(1, END_STREAM, ":status: 301");
	receive_head(3, END_STREAM, "grpc-status: 9");
	ck_assert_uint_eq(http("GET _OTHER", 301, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(grpc("s.S/M", 9), 1);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	room_close(5);
	ck_assert_uint_eq(all(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_answer_may_be_told_before_what_it_answers)
{
	static struct wire asked;

	begin_asking();
	asked.n = 0;
	put_block(&asked, HEADERS, END_HEADERS | END_STREAM, 1, ":method: GET\n:path: /a");
	put_block(&asked, HEADERS, END_HEADERS, 3, ":method: POST\n:path: /s.S/M" CALL);
	put_frame(&asked, DATA, END_STREAM, 3, "message", 7);
	put_block(&asked, HEADERS, END_HEADERS | END_STREAM, 5, ":method: POST\n:path: /s.S/M" CALL);
	put_block(&asked, HEADERS, END_HEADERS | END_STREAM, 7, ":method: PUT\n:path: /a");
	receive_head(7, 0, ":status: 200");
	receive_head(3, 0, ":status: 200" IS_GRPC);
	receive_data(3, 0, "message");
	receive_head(3, END_STREAM, "grpc-status: 9");
	receive_head(1, END_STREAM, ":status: 301");
	struct wire *wire = nothing();
	put_frame(wire, RST_STREAM, 0, 5, "\0\0\0\7", 4);
	receive(wire);
	ck_assert_uint_eq(all(), 0);
	room_send_n(5, asked.bytes, asked.n);
	ck_assert_uint_eq(http("GET _OTHER", 301, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(grpc("s.S/M", 9), 1);
	ck_assert_uint_eq(grpc("s.S/M", 14), 1);
	ck_assert_uint_eq(all(), 3);
	receive_data(7, END_STREAM, "late");
	ck_assert_uint_eq(http("PUT _OTHER", 200, SEG_ERROR_NONE), 1);
	receive_head(9, END_STREAM, ":status: 200"); /* nobody ever asks */
	wire = nothing();
	put_frame(wire, GOAWAY, 0, 0, "\0\0\0\7\0\0\0\0", 8);
	receive(wire);
	room_close(5);
	ck_assert_uint_eq(all(), 4);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(frames_of_a_request_that_has_ended_are_nothing)
{
	begin();
	get(1, "/a");
	get(1, "/b");
	receive_data(1, END_STREAM, "more");
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(room_bodies("GET /a").request_bytes, 0);
	room_close(5);
	begin_asking();
	receive_head(1, END_STREAM, ":status: 200");
	reply_head(1, END_STREAM, ":path: /of-no-method");
	get(3, "/a"); /* the server asks nothing */
	reply_head(1, END_STREAM, ":method: GET\n:path: /a");
	room_close(5);
	ck_assert_uint_eq(all(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(calls_that_are_open_when_their_connection_ends_have_a_status)
{
	begin_asking();
	reply_head(1, END_STREAM, ":method: POST\n:path: /s.S/M" CALL);
	conn_received(5, NULL, 0, 0, room_now_ns);
	room_close(5);
	ck_assert_uint_eq(grpc("s.S/M", 14), 1);
	begin();
	receive_head(1, END_STREAM, ":method: POST\n:path: /s.S/M" CALL);
	room_close(5);
	ck_assert_uint_eq(grpc("s.S/M", 1), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_push_is_no_request_of_the_program)
{
	struct wire *wire = nothing(), block = { .n = 0 };

	begin_asking();
	reply_head(1, END_STREAM, ":method: GET\n:path: /a");
	put_number(&block, 2, 4);
	put_fields(&block, ":method: GET\n:path: /b");
	put_frame(wire, PUSH_PROMISE, END_HEADERS, 1, block.bytes, block.n);
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 2, ":status: 204");
	put_block(wire, HEADERS, END_HEADERS | END_STREAM, 1, ":status: 200");
	receive(wire);
	ck_assert_uint_eq(all(), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

/* --- whose work it is --- */

static const char *works_for(void)
{
	return room_endpoint_name(self.work.endpoint);
}

static uint64_t cpu_ns(const char *endpoint)
{
	return seg.endpoints[room_endpoint(SEG_PROTOCOL_HTTP, endpoint)].cpu_ns;
}

START_TEST(a_stream_that_is_alone_is_what_its_thread_works_for)
{
	begin();
	get(1, "/a");
	ck_assert_str_eq(works_for(), "GET /a");
	reply_head(1, 0, ":status: 200");
	ck_assert_str_eq(works_for(), "GET /a");
	reply_data(1, END_STREAM, "x");
	ck_assert_str_eq(works_for(), "GET /a");
	get(3, "/b");
	ck_assert_str_eq(works_for(), "GET /b");
	reply_head(3, END_STREAM, ":status: 200");
	ck_assert_str_eq(works_for(), "GET /b");
	ck_assert(self.is_answered);
}
END_TEST

START_TEST(of_several_streams_the_answer_tells_whom_the_thread_worked_for)
{
	static struct wire both;

	begin();
	both.n = 0;
	put_block(&both, HEADERS, END_HEADERS | END_STREAM, 1, ":method: GET\n:path: /a");
	put_block(&both, HEADERS, END_HEADERS | END_STREAM, 3, ":method: GET\n:path: /b");
	receive(&both);
	ck_assert(work_is_job());
	work_credit(0, 0, 300);
	reply_head(3, 0, ":status: 200");
	ck_assert_str_eq(works_for(), "GET /b");
	reply_data(3, END_STREAM, "x");
	ck_assert(work_is_job());
	work_credit(0, 0, 20);
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_str_eq(works_for(), "GET /a");
	ck_assert_uint_eq(cpu_ns("GET /b"), 300);
	ck_assert_uint_eq(cpu_ns("GET /a"), 20);
}
END_TEST

START_TEST(of_answers_that_pass_together_one_is_drawn)
{
	static struct wire both;

	begin();
	for (uint32_t stream = 1; stream < 801; stream += 4) {
		both.n = 0;
		put_block(&both, HEADERS, END_HEADERS | END_STREAM, stream, ":method: GET\n:path: /a");
		put_block(&both, HEADERS, END_HEADERS | END_STREAM, stream + 2, ":method: GET\n:path: /b");
		receive(&both);
		work_credit(0, 0, 1);
		both.n = 0;
		put_block(&both, HEADERS, END_HEADERS | END_STREAM, stream, ":status: 200");
		put_block(&both, HEADERS, END_HEADERS | END_STREAM, stream + 2, ":status: 200");
		reply(&both);
	}
	ck_assert_uint_eq(cpu_ns("GET /a") + cpu_ns("GET /b"), 200);
	ck_assert_uint_ge(cpu_ns("GET /a"), 60);
	ck_assert_uint_ge(cpu_ns("GET /b"), 60);
}
END_TEST

START_TEST(where_other_threads_answer_only_answers_tell)
{
	uint32_t reader = self.tid;

	begin();
	get(1, "/a");
	self.tid = reader + 1;
	work_set_unknown(WORK_JOB);
	work_credit(0, 0, 300);
	reply_head(1, END_STREAM, ":status: 200");
	ck_assert_uint_eq(cpu_ns("GET /a"), 300);
	ck_assert(work_is_job());
	self.tid = reader;
	get(3, "/b");
	ck_assert(work_is_job());
	work_credit(0, 0, 20);
	reply_head(3, END_STREAM, ":status: 200");
	ck_assert_uint_eq(cpu_ns("GET /b"), 20);
	ck_assert(work_is_job());
}
END_TEST

START_TEST(what_is_half_passed_is_known_before_the_call)
{
	struct wire *wire = nothing();

	begin();
	room_know("POST /up");
	get(1, "/a");
	receive_head(3, 0, ":method: POST\n:path: /up");
	put_frame(wire, DATA, 0, 3, "0123456789", 10);
	room_receive_n(5, wire->bytes, 12);
	work_set_pending();
	conn_receiving(5);
	ck_assert_str_eq(works_for(), "POST /up");
	room_receive_n(5, wire->bytes + 12, wire->n - 12);
	work_set_pending();
	conn_receiving(5);
	ck_assert_str_eq(works_for(), "_pending");
	conn_sending(5);
	ck_assert_str_eq(works_for(), "_pending"); /* two are unanswered */
	reply_head(1, END_STREAM, ":status: 200");
	work_set_pending();
	conn_sending(5);
	ck_assert_str_eq(works_for(), "POST /up");
}
END_TEST

/* --- processes --- */

START_TEST(a_child_goes_on_with_the_streams_of_its_parent)
{
	begin();
	get(1, "/a");
	conn_forking();
	conn_forked();
	room_next_process();
	get(3, "/a");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 2);
	reply_head(1, END_STREAM, ":status: 200");
	reply_head(3, END_STREAM, ":status: 200");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 3);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	room_close(5);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_HTTP2), 0);
}
END_TEST

START_TEST(a_child_that_closes_what_it_inherited_counts_nothing)
{
	begin();
	get(1, "/a");
	conn_forking();
	conn_forked();
	room_next_process();
	room_close(5);
	ck_assert_uint_eq(all(), KNOWN);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, without_a_decoder_requests_are_counted_as_lost);
	tcase_add_test(tcase, a_stream_is_a_request);
	tcase_add_test(tcase, bytes_are_counted_under_http2_from_the_first_on);
	tcase_add_test(tcase, a_server_may_speak_first);
	tcase_add_test(tcase, streams_are_answered_in_any_order);
	tcase_add_test(tcase, many_streams_in_many_connections_leave_nothing_behind);
	tcase_add_test(tcase, a_request_lasts_from_its_first_byte_to_the_last_of_its_answer);
	tcase_add_test(tcase, a_frame_behind_one_that_is_half_there_begins_later);
	tcase_add_test(tcase, bodies_are_what_data_frames_hold_without_their_padding);
	tcase_add_test(tcase, data_may_pass_unseen);
	tcase_add_test(tcase, interim_answers_are_none);
	tcase_add_test(tcase, an_answer_may_end_before_its_request);
	tcase_add_test(tcase, an_early_answer_may_be_followed_by_a_reset);
	tcase_add_test(tcase, a_reset_ends_a_request_with_an_error);
	tcase_add_test(tcase, streams_beyond_the_last_of_a_goaway_are_over);
	tcase_add_test(tcase, what_is_unanswered_at_the_end_was_reset);
	tcase_add_test(tcase, a_promise_is_a_request_that_the_server_makes);
	tcase_add_test(tcase, streams_of_something_else_are_in_no_histogram);
	tcase_add_test(tcase, a_call_of_grpc_is_counted_by_method_and_status);
	tcase_add_test(tcase, methods_that_are_not_implemented_make_no_endpoint);
	tcase_add_test(tcase, a_call_without_a_status_has_the_one_that_clients_make_of_it);
	tcase_add_test(tcase, a_call_that_is_reset_has_the_status_that_its_code_means);
	tcase_add_test(tcase, calls_that_stream_are_counted_at_their_end);
	tcase_add_test(tcase, a_server_that_knows_no_http2_answers_a_request_that_it_could_not_read);
	tcase_add_test(tcase, a_preface_of_something_else_is_unclassified);
	tcase_add_test(tcase, after_a_clients_error_what_was_asked_before_may_be_answered);
	tcase_add_test(tcase, a_block_that_cannot_be_decoded_is_told);
	tcase_add_test(tcase, a_server_that_breaks_the_rules_ends_its_requests);
	tcase_add_test(tcase, an_answer_that_cannot_be_decoded_is_told_and_nothing_is_counted);
	tcase_add_test(tcase, a_table_grows_where_the_other_side_allows_it);
	tcase_add_test(tcase, what_the_program_asks_is_counted_by_method_and_by_call);
	tcase_add_test(tcase, an_answer_may_be_told_before_what_it_answers);
	tcase_add_test(tcase, frames_of_a_request_that_has_ended_are_nothing);
	tcase_add_test(tcase, calls_that_are_open_when_their_connection_ends_have_a_status);
	tcase_add_test(tcase, a_push_is_no_request_of_the_program);
	tcase_add_test(tcase, a_stream_that_is_alone_is_what_its_thread_works_for);
	tcase_add_test(tcase, of_several_streams_the_answer_tells_whom_the_thread_worked_for);
	tcase_add_test(tcase, of_answers_that_pass_together_one_is_drawn);
	tcase_add_test(tcase, where_other_threads_answer_only_answers_tell);
	tcase_add_test(tcase, what_is_half_passed_is_known_before_the_call);
	tcase_add_test(tcase, a_child_goes_on_with_the_streams_of_its_parent);
	tcase_add_test(tcase, a_child_that_closes_what_it_inherited_counts_nothing);
}

int main(void)
{
	return check_main("http2_traffic", add_tests);
}
