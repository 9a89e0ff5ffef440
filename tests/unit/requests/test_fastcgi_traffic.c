#include "check_main.h"
#include "fastcgi_wire.h"
#include "room.h"

enum { ABORT = 2, STDIN = 5, STDOUT = 6, STDERR = 7, GET_VALUES = 9, GET_VALUES_RESULT = 10 };

static uint64_t http(const char *name, uint32_t status, uint32_t error)
{
	return room_requests(SEG_PROTOCOL_HTTP, name, status, error);
}

static uint64_t all_http(void)
{
	return http(NULL, ROOM_ANY, ROOM_ANY);
}

static void begin(void)
{
	room_open(256);
	room_accept(5);
}

static void ask(struct wire *wire, unsigned id, const char *method, const char *uri)
{
	const char *const pairs[] = { method, uri, "SCRIPT_NAME=/index.php", NULL };

	wire_begin(wire, id);
	wire_params(wire, id, 4096, pairs);
	wire_text(wire, STDIN, id, "");
}

static void answer(struct wire *wire, unsigned id, const char *head_and_body)
{
	wire_text(wire, STDOUT, id, head_and_body);
	wire_end(wire, id, 0);
}

static void received(const struct wire *wire)
{
	room_receive_n(5, wire->bytes, wire->n);
}

static void sent(const struct wire *wire)
{
	room_send_n(5, wire->bytes, wire->n);
}

START_TEST(a_request_is_one_of_http_with_its_route_and_status)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };
	static const char *const pairs[] = { "REQUEST_METHOD=POST", "REQUEST_URI=/users/17?secret=1", NULL };

	begin();
	wire_begin(&asked, 1);
	wire_params(&asked, 1, 10, pairs);
	received(&asked);
	ck_assert_int_eq(room_active(SEG_METHOD_POST), 1);
	asked.n = 0;
	wire_text(&asked, STDIN, 1, "hello");
	wire_text(&asked, STDIN, 1, "");
	received(&asked);
	answer(&answered, 1, "Content-type: text/html\r\n\r\nhello world");
	ck_assert_uint_eq(all_http(), 0);
	room_now_ns += 3000000;
	sent(&answered);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(http("POST /users/{id}", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_sum_ns("POST /users/{id}"), 3002000);
	struct room_bodies bodies = room_bodies("POST /users/{id}");
	ck_assert_uint_eq(bodies.request_bytes, 5);
	ck_assert_uint_eq(bodies.response_bytes, 11);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_FASTCGI), 1);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_FASTCGI), 1);
	ck_assert_int_eq(room_active(SEG_METHOD_POST), 0);
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_exchange_split_anywhere_counts_the_same)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
	answer(&answered, 1, "Status: 404 Not Found\r\n\r\nno");
	for (size_t i = 1; i < asked.n; i++) {
		size_t j = i % (answered.n - 1) + 1;
		begin();
		room_know("GET /a");
		room_receive_n(5, asked.bytes, i);
		room_receive_n(5, asked.bytes + i, asked.n - i);
		room_send_n(5, answered.bytes, j);
		room_send_n(5, answered.bytes + j, answered.n - j);
		ck_assert_uint_eq(http("GET /a", 404, SEG_ERROR_NONE), 1);
		ck_assert_uint_eq(all_http(), 2);
		room_close(5);
		ck_assert(room_is_balanced());
	}
}
END_TEST

START_TEST(a_kept_connection_serves_many)
{
	begin();
	for (int i = 0; i < 100; i++) {
		struct wire asked = { .n = 0 }, answered = { .n = 0 };
		ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
		answer(&answered, 1, i % 2 ? "Status: 503 Busy\r\n\r\n" : "\r\nok");
		received(&asked);
		sent(&answered);
	}
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 50);
	ck_assert_uint_eq(http("GET /a", 503, SEG_ERROR_NONE), 50);
	room_close(5);
	ck_assert_uint_eq(all_http(), 100);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(interleaved_requests_end_in_any_order)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	for (unsigned id = 1; id <= 3; id++)
		ask(&asked, id, "REQUEST_METHOD=GET", id == 1 ? "REQUEST_URI=/a" : id == 2 ? "REQUEST_URI=/b" : "REQUEST_URI=/c");
	received(&asked);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 3);
	wire_text(&answered, STDOUT, 3, "Status: 201 Created\r\n");
	wire_text(&answered, STDOUT, 1, "Content-type: a/b\r\n\r\n");
	wire_text(&answered, STDERR, 2, "complaint");
	wire_text(&answered, STDOUT, 3, "\r\nbody");
	answer(&answered, 2, "Status: 400 Bad\r\n\r\n");
	sent(&answered);
	ck_assert_uint_eq(all_http(), 1);
	answered.n = 0;
	wire_end(&answered, 3, 0);
	wire_end(&answered, 1, 0);
	sent(&answered);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET /b", 400, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET /c", 201, SEG_ERROR_NONE), 1);
	room_close(5);
	ck_assert_uint_eq(all_http(), 3);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(parameters_of_more_than_two_at_once_are_not_read_but_their_requests_are_counted)
{
	static const char *const pairs[] = { "REQUEST_METHOD=GET", "REQUEST_URI=/a", NULL };
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	for (unsigned id = 1; id <= 3; id++)
		wire_begin(&asked, id);
	for (unsigned id = 1; id <= 3; id++)
		wire_params(&asked, id, 9, pairs);
	for (unsigned id = 1; id <= 3; id++)
		answer(&answered, id, "\r\n");
	received(&asked);
	sent(&answered);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(http("_OTHER _OTHER", 200, SEG_ERROR_NONE), 1);
	asked.n = answered.n = 0;
	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
	answer(&answered, 1, "\r\n");
	received(&asked);
	sent(&answered);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 3);
	room_close(5);
	ck_assert_uint_eq(all_http(), 4);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(the_program_as_client_counts_by_method_and_status)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	room_open(256);
	room_connect(5, 7);
	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/users/1");
	answer(&answered, 1, "Status: 500 No\r\n\r\n");
	room_send_n(5, asked.bytes, asked.n);
	room_receive_n(5, answered.bytes, answered.n);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_HTTP, NULL, 500, SEG_ERROR_NONE, 7), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_request_without_an_end_was_reset)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	room_know("GET /a");
	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
	wire_record(&asked, ABORT, 1, "", 0, 0);
	received(&asked);
	wire_text(&answered, STDOUT, 1, "Content-type: a/b\r\n\r\nhalf");
	sent(&answered);
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_RESET), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_refused_request_and_one_without_a_head_fail)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	room_know("GET /a");
	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
	ask(&asked, 2, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
	received(&asked);
	wire_end(&answered, 1, 2); /* overloaded */
	wire_text(&answered, STDOUT, 2, "Content-type: a/b\r\n");
	wire_end(&answered, 2, 0);
	sent(&answered);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_OTHER), 1);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_PARSE), 1);
}
END_TEST

START_TEST(an_event_stream_is_a_stream)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	room_know("GET /events");
	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/events");
	received(&asked);
	wire_text(&answered, STDOUT, 1, "Content-type: text/event-stream\r\n\r\ndata: 1\n\n");
	sent(&answered);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_FASTCGI), 1);
	answered.n = 0;
	wire_end(&answered, 1, 0);
	sent(&answered);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_FASTCGI), 0);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_HTTP, "GET /events").ended, 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(management_records_are_no_requests)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	wire_record(&asked, GET_VALUES, 0, "\x0e\0FCGI_MAX_CONNS", 16, 0);
	wire_record(&answered, GET_VALUES_RESULT, 0, "\x0e\1FCGI_MAX_CONNS1", 17, 7);
	received(&asked);
	sent(&answered);
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_FASTCGI), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_only_begins_with_a_one_is_not_fastcgi)
{
	begin();
	room_receive_n(5, "\1\2\3\4\5\6\7\x08 and so on", 18);
	room_send(5, "what?\r\n");
	room_close(5);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 1);
	room_accept(5);
	room_receive_n(5, "\1\2\3\4\5\6\7\x08 and so on\r\n\r\n", 22);
	room_send(5, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("_OTHER _OTHER", 400, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_FASTCGI), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(records_that_go_wrong_later_end_what_was_open)
{
	struct wire asked = { .n = 0 }, answered = { .n = 0 };

	begin();
	room_know("GET /a");
	ask(&asked, 1, "REQUEST_METHOD=GET", "REQUEST_URI=/a");
	received(&asked);
	wire_text(&answered, STDOUT, 1, "\r\n");
	sent(&answered);
	room_send(5, "no record at all");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_PARSE), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(more_than_are_followed_are_lost_and_counted_as_that)
{
	begin();
	for (unsigned id = 1; id <= 7; id++) {
		struct wire asked = { .n = 0 };
		wire_begin(&asked, id);
		received(&asked);
	}
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_POOL_FULL), 1);
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_request_is_one_of_http_with_its_route_and_status);
	tcase_add_test(tcase, an_exchange_split_anywhere_counts_the_same);
	tcase_add_test(tcase, a_kept_connection_serves_many);
	tcase_add_test(tcase, interleaved_requests_end_in_any_order);
	tcase_add_test(tcase, parameters_of_more_than_two_at_once_are_not_read_but_their_requests_are_counted);
	tcase_add_test(tcase, the_program_as_client_counts_by_method_and_status);
	tcase_add_test(tcase, a_request_without_an_end_was_reset);
	tcase_add_test(tcase, a_refused_request_and_one_without_a_head_fail);
	tcase_add_test(tcase, an_event_stream_is_a_stream);
	tcase_add_test(tcase, management_records_are_no_requests);
	tcase_add_test(tcase, what_only_begins_with_a_one_is_not_fastcgi);
	tcase_add_test(tcase, records_that_go_wrong_later_end_what_was_open);
	tcase_add_test(tcase, more_than_are_followed_are_lost_and_counted_as_that);
}

int main(void)
{
	return check_main("fastcgi_traffic", add_tests);
}
