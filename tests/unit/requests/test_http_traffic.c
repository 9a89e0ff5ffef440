#include "check_main.h"
#include "room.h"

#include "../../../shim/requests/request.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

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

START_TEST(one_request_is_one_request)
{
	begin();
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_UNKNOWN), 1);
	room_receive(5, "GET /users/42?q=1 HTTP/1.1\r\nHost: a\r\n\r\n");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1);
	ck_assert_uint_eq(all_http(), 0);
	room_answer(5, 10);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(http("GET /users/{id}", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_sum_ns("GET /users/{id}"), 1000);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_HTTP), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 1);
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_HTTP), 39);
	ck_assert_uint_eq(room_sent_bytes(SEG_PROTOCOL_HTTP), 49);
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_request_lasts_from_its_first_byte_to_the_last_of_its_response)
{
	begin();
	room_receive(5, "G");
	room_now_ns += 3000000;
	room_receive(5, "ET / HTTP/1.1\r\n");
	room_now_ns += 1000000;
	room_receive(5, "\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx");
	room_now_ns += 500000;
	room_send(5, "y");
	ck_assert_uint_eq(room_sum_ns("GET /"), 4504000);
}
END_TEST

/* Of which there are 65536. */
START_TEST(ids_that_come_after_the_answer_are_given_back)
{
	struct trace_context trace = { .request_id = "a", .request_id_bytes = 1 };
	struct request request = { 0 };

	begin();
	for (int i = 0; i < 70000; i++) {
		room_receive(5, "GET /a HTTP/1.1\r\n");
		room_answer(5, 1);
		room_receive(5, "X-Request-ID: 1\r\n\r\n");
	}
	ck_assert_uint_eq(all_http(), 70000);
	request_keep_trace(&request, &trace);
	ck_assert_ptr_nonnull(request_trace(&request));
}
END_TEST

START_TEST(keep_alive_requests_are_counted_each)
{
	begin();
	for (int i = 0; i < 1000; i++) {
		room_receive(5, i % 2 ? "GET /a HTTP/1.1\r\n\r\n" : "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
		room_answer(5, 7);
	}
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 500);
	ck_assert_uint_eq(http("POST /b", 200, SEG_ERROR_NONE), 500);
	ck_assert_uint_eq(all_http(), 1000);
	struct room_bodies bodies = room_bodies("POST /b");
	ck_assert_uint_eq(bodies.requests, 500);
	ck_assert_uint_eq(bodies.request_bytes, 1500);
	ck_assert_uint_eq(bodies.responses, 500);
	ck_assert_uint_eq(bodies.response_bytes, 3500);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_thousand_pipelined_requests_are_a_thousand)
{
	static char text[32 * 1000];
	size_t n = 0;

	begin();
	for (int i = 0; i < 1000; i++)
		n += (size_t)sprintf(text + n, "GET /%c HTTP/1.1\r\n\r\n", "ab"[i % 2]);
	room_receive_n(5, text, n / 2);
	room_receive_n(5, text + n / 2, n - n / 2);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1000);
	for (int i = 0; i < 1000; i++) {
		room_send(5, i % 2 ? "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n" : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		ck_assert_int_eq(room_active(SEG_METHOD_GET), 999 - i);
	}
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 500);
	ck_assert_uint_eq(http("GET /b", 410, SEG_ERROR_NONE), 500);
	room_close(5);
	ck_assert_uint_eq(all_http(), 1000);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(pipelined_answers_may_share_one_write)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nHTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("HEAD /b", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET /c", 500, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_bodies("HEAD /b").response_bytes, 0);
}
END_TEST

START_TEST(a_response_in_writes_of_one_byte_ends_with_the_last)
{
	const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";

	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	for (size_t i = 0; i < strlen(text); i++) {
		room_send_n(5, text + i, 1);
		ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), i + 1 >= 41);
	}
	ck_assert_uint_eq(http("GET /b", 304, SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(requests_in_reads_of_one_byte_are_counted)
{
	const char *text = "\r\nPOST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";

	begin();
	for (size_t i = 0; i < strlen(text); i++)
		room_receive_n(5, text + i, 1);
	room_answer(5, 0);
	room_answer(5, 0);
	ck_assert_uint_eq(http("POST /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET /b", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_bodies("POST /a").request_bytes, 3);
}
END_TEST

START_TEST(bytes_may_be_spread_over_an_iovec_longer_than_the_call)
{
	struct iovec iov[4] = { { "GET /a HT", 9 }, { "", 0 }, { "TP/1.1\r\n\r\nrest that was not read", 31 }, { "more", 4 } };

	begin();
	conn_receiving(5);
	conn_received(5, iov, 4, 19, room_now_ns += 1000);
	iov[0] = (struct iovec){ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 36 };
	iov[1] = (struct iovec){ "\r\n", 2 };
	iov[2] = (struct iovec){ "okHTTP/1.1 never", 16 };
	conn_sent(5, iov, 3, 40, room_now_ns += 1000);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
}
END_TEST

START_TEST(sendfile_bytes_are_body)
{
	begin();
	for (int i = 0; i < 3; i++) {
		room_receive(5, "GET /file HTTP/1.1\r\n\r\n");
		room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
		conn_sent_unseen(5, 60000, room_now_ns += 1000);
		ck_assert_uint_eq(all_http(), (uint64_t)i);
		conn_sent_unseen(5, 40000, room_now_ns += 1000);
	}
	ck_assert_uint_eq(http("GET /file", 200, SEG_ERROR_NONE), 3);
	ck_assert_uint_eq(room_bodies("GET /file").response_bytes, 300000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_UNSEEN_BYTES), 0);
}
END_TEST

START_TEST(unseen_bytes_where_a_head_is_due_end_the_following)
{
	begin();
	room_receive(5, "GET /file HTTP/1.1\r\n\r\n");
	conn_sent_unseen(5, 10, room_now_ns += 1000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_UNSEEN_BYTES), 1);
	room_answer(5, 1);
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	room_accept(6);
	conn_received_unseen(6, 10, room_now_ns += 1000);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_UNSEEN_BYTES), 2);
	room_close(6);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_body_spliced_from_the_socket_is_body)
{
	begin();
	room_receive(5, "PUT /file HTTP/1.1\r\nContent-Length: 100\r\n\r\n0123456789");
	conn_received_unseen(5, 90, room_now_ns += 1000);
	room_answer(5, 0);
	room_receive(5, "GET /b HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	ck_assert_uint_eq(http("PUT /file", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET /b", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_bodies("PUT /file").request_bytes, 100);
}
END_TEST

START_TEST(a_response_without_length_ends_at_close)
{
	begin();
	room_receive(5, "GET /a HTTP/1.0\r\n\r\n");
	room_send(5, "HTTP/1.0 200 OK\r\n\r\nsome ");
	room_send(5, "text");
	ck_assert_uint_eq(all_http(), 0);
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_bodies("GET /a").response_bytes, 9);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_response_without_length_ends_at_shutdown_and_once)
{
	begin();
	room_receive(5, "GET /a HTTP/1.0\r\n\r\n");
	room_send(5, "HTTP/1.0 200 OK\r\n\r\nsome text");
	conn_shut_down(5, SHUT_RD, room_now_ns += 1000);
	ck_assert_uint_eq(all_http(), 0);
	conn_shut_down(5, SHUT_WR, room_now_ns += 1000);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	conn_shut_down(5, SHUT_RDWR, room_now_ns += 1000);
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
}
END_TEST

START_TEST(a_request_without_answer_is_counted_as_reset)
{
	begin();
	room_know("GET /a");
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HT");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("_OTHER _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all_http(), 4);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(who_goes_away_soon_makes_no_route_and_who_waited_long_does)
{
	begin();
	room_receive(5, "GET /soon HTTP/1.1\r\n\r\n");
	room_close(5);
	room_accept(5);
	room_receive(5, "GET /hangs HTTP/1.1\r\n\r\n");
	room_now_ns += seg.head->config.slow_ns;
	room_close(5);
	ck_assert_uint_eq(room_endpoint(SEG_PROTOCOL_HTTP, "GET /soon"), SEG_NOT_FOUND);
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("GET /hangs", 0, SEG_ERROR_RESET), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_first_line_that_never_ends_is_a_reset_request_if_it_begins_like_one)
{
	begin();
	room_receive(5, "GET /half");
	room_close(5);
	ck_assert_uint_eq(http("_OTHER _OTHER", 0, SEG_ERROR_RESET), 1);
	room_accept(5);
	room_receive(5, "GETTING");
	room_close(5);
	room_accept(5);
	room_receive(5, "GET"); /* Redis has such a command, too */
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_response_cut_short_keeps_its_status_and_is_reset)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 206 Partial\r\nContent-Length: 100\r\n\r\n0123456789");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 206, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_bodies("GET /a").response_bytes, 10);
}
END_TEST

START_TEST(what_follows_a_response_that_closes_was_never_served)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_idle_connection_that_closes_is_no_request)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_receive(5, "\r\n");
	room_receive_n(5, NULL, 0);
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
}
END_TEST

START_TEST(interim_responses_are_not_counted)
{
	begin();
	room_receive(5, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	room_send(5, "HTTP/1.1 100 Continue\r\n\r\n");
	ck_assert_uint_eq(all_http(), 0);
	room_receive(5, "ok");
	room_send(5, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
	ck_assert_uint_eq(http("POST /a", 201, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_bodies("POST /a").request_bytes, 2);
}
END_TEST

START_TEST(an_answer_before_the_body_was_read_is_counted_once)
{
	begin();
	room_receive(5, "POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
	room_send(5, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	ck_assert_uint_eq(http("POST /a", 413, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_bodies("POST /a").requests, 0);
	room_receive(5, "67890GET /b HTTP/1.1\r\n\r\n");
	ck_assert_uint_eq(room_bodies("POST /a").request_bytes, 10);
	room_answer(5, 0);
	ck_assert_uint_eq(http("GET /b", 200, SEG_ERROR_NONE), 1);
	room_receive(5, "POST /a HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
	room_send(5, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(all_http(), 3);
	ck_assert_uint_eq(room_bodies("POST /a").requests, 2);
	ck_assert_uint_eq(room_bodies("POST /a").request_bytes, 15);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(upgraded_connections_and_tunnels_are_streams_and_no_requests)
{
	begin();
	room_receive(5, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1);
	room_send(5, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	room_receive(5, "\x81\x85GET / HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\n\r\n");
	room_close(5);
	room_accept(5);
	room_receive(5, "CONNECT a:443 HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 Connection established\r\n\r\n");
	room_receive(5, "\x16\x03\x01");
	room_close(5);
	room_accept(5);
	room_receive(5, "CONNECT a:443 HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(http("CONNECT {authority}", 403, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 3);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_event_stream_is_no_request_in_the_histogram)
{
	begin();
	room_receive(5, "GET /events HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1);
	room_send(5, "data: 2\n\n");
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_broken_request_counts_with_the_answer_it_gets)
{
	static const char *const broken[] = { "NONSENSE\r\n\r\n", "GET /\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET / HTTP/2.0\r\n\r\n",
					      "*1\r\n$4\r\nPING\r\n", "PING\r\n", "*nonsense\r\n" };
	const int count = sizeof(broken) / sizeof(broken[0]);

	room_open(256);
	for (int i = 0; i < count; i++) {
		room_accept(5);
		room_receive(5, broken[i]);
		room_send(5, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad");
		ck_assert_msg(http("_OTHER _OTHER", 400, SEG_ERROR_PARSE) == (uint64_t)i + 1, "%s", broken[i]);
		room_receive(5, "more\r\n");
		room_close(5);
	}
	ck_assert_uint_eq(all_http(), (uint64_t)count);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), (uint64_t)count);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, NULL, ROOM_ANY, ROOM_ANY), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_broken_request_in_a_pipeline_is_answered_in_its_turn)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: x\r\n\r\nGET /c HTTP/1.1\r\n\r\n");
	room_answer(5, 1);
	room_send(5, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("POST /b", 400, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(all_http(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_answer_to_half_a_head_is_an_answer)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\nCookie: xxxxxxxxxxx");
	room_send(5, "HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	room_close(5);
	room_accept(5);
	room_receive(5, "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	room_send(5, "HTTP/1.1 414 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 431, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("_OTHER _OTHER", 414, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(all_http(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_response_that_nobody_asked_for_is_not_counted)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_send(5, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(all_http(), 2);
}
END_TEST

START_TEST(a_server_that_stops_speaking_http_is_counted_as_a_parse_error)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	room_send(5, "<html>");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 0, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(http("GET /b", 0, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(all_http(), 3);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(other_protocols_are_unclassified_once_and_their_bytes_counted)
{
	static const char *const talks[][2] = {
		{ NULL, "220 mail ESMTP\r\n" },                       /* the server speaks first */
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x12\x04\x00" },
		{ "GET / HTTP/1.1\r\n\r\n", "<html>" },
		{ "hello\n", "world\n" },
		{ "PING\r\n", "pong\r\n" },
		{ "hel", NULL },
		{ "*1\r\n$4\r\nPI", NULL },
	};
	const uint64_t count = sizeof(talks) / sizeof(talks[0]);
	uint64_t received = 0, sent = 0;

	room_open(256);
	for (uint64_t i = 0; i < count; i++) {
		room_accept(5);
		for (int round = 0; round < 3; round++) {
			if (talks[i][0] && (talks[i][1] || !round))
				room_receive(5, talks[i][0]), received += strlen(talks[i][0]);
			if (talks[i][1])
				room_send_n(5, talks[i][1], 5), sent += 5;
		}
		room_close(5);
		ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), i + 1);
	}
	ck_assert_uint_eq(all_http(), 0);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, NULL, ROOM_ANY, ROOM_ANY), 0);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_UNKNOWN), count);
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_UNKNOWN), received);
	ck_assert_uint_eq(room_sent_bytes(SEG_PROTOCOL_UNKNOWN), sent);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_client_that_means_nothing_for_64_kib_is_unclassified)
{
	static char noise[65536];

	begin();
	memset(noise, 0xa5, sizeof(noise));
	room_receive_n(5, noise, sizeof(noise) - 10);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	room_receive_n(5, noise, 11);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 1);
	room_send(5, "HTTP/1.1 200 OK\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 1);
}
END_TEST

START_TEST(a_large_upload_without_an_answer_is_still_a_request)
{
	static char body[100000];

	begin();
	room_receive(5, "POST /up HTTP/1.1\r\nContent-Length: 300000\r\n\r\n");
	for (int i = 0; i < 3; i++)
		room_receive_n(5, body, sizeof(body));
	room_answer(5, 0);
	ck_assert_uint_eq(http("POST /up", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_bodies("POST /up").request_bytes, 300000);
}
END_TEST

START_TEST(a_connection_without_bytes_is_only_accepted)
{
	begin();
	room_receive_n(5, NULL, 0);
	room_close(5);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_UNKNOWN), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(latencies_fall_into_the_first_bucket_whose_bound_is_not_below)
{
	static const uint64_t durations_ns[] = { 1, 50000, 50001, 100000, 10000000, 10000001, 3600000000000 };
	static const uint32_t buckets[] = { 0, 0, 1, 1, 7, 8, 8 };

	for (int i = 0; i < 7; i++) {
		if (!i)
			begin();
		room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
		room_now_ns += durations_ns[i] - 1000;
		room_answer(5, 0);
		uint32_t series = seg_table_find(&seg.slots[SEG_TABLE_SERIES],
						 seg_series_key(room_endpoint(SEG_PROTOCOL_HTTP, "GET /a"), 200, SEG_ERROR_NONE, SEG_SCHEME_PLAIN));
		struct seg_histogram *histogram = &seg.histograms[thread_shard_index(self.shard) * seg.slots[SEG_TABLE_SERIES].count + series];
		ck_assert_uint_eq(histogram->buckets[buckets[i]], 1);
		memset(histogram, 0, sizeof(*histogram));
	}
}
END_TEST

START_TEST(a_clock_that_is_behind_on_another_core_makes_no_negative_duration)
{
	begin();
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_now_ns -= 5000;
	room_answer(5, 0);
	ck_assert_uint_eq(room_sum_ns("GET /a"), 0);
	ck_assert_uint_eq(all_http(), 1);
}
END_TEST

START_TEST(methods_that_are_no_label_are_other)
{
	begin();
	room_receive(5, "PURGE /a HTTP/1.1\r\n\r\n");
	ck_assert_int_eq(room_active(SEG_METHOD_OTHER), 1);
	room_answer(5, 0);
	ck_assert_uint_eq(http("_OTHER /a", 200, SEG_ERROR_NONE), 1);
	uint32_t endpoint = room_endpoint(SEG_PROTOCOL_HTTP, "_OTHER /a");
	ck_assert_uint_eq(seg.endpoints[endpoint].method, SEG_METHOD_OTHER);
	ck_assert_uint_eq(seg.endpoints[endpoint].is_overflow, 0);
}
END_TEST

START_TEST(any_bytes_in_any_pieces_keep_the_gauges_balanced)
{
	static const char *const words[] = { "GET /a HTTP/1.1\r\n", "\r\n", "Content-Length: 5\r\n", "hello", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "0\r\n\r\n",
					     "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "Connection: close\r\n", "CONNECT a HTTP/1.1\r\n", "*1\r\n$4\r\nPING\r\n", "PING\r\n", "+OK\r\n",
					     "HTTP/1.1 101 X\r\n", "$5\r\n", "-ERR x\r\n", "garbage", "HEAD / HTTP/1.1\r\n", "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n", ">1\r\n" };
	uint32_t random = 12345;

	room_open(256);
	for (int i = 0; i < 200000; i++) {
		random = random * 1664525 + 1013904223;
		int fd = (int)(random >> 20) % 7;
		const char *word = words[(random >> 8) % (sizeof(words) / sizeof(words[0]))];
		size_t n = (random >> 28) ? strlen(word) : (random >> 16) % (strlen(word) + 1);
		switch ((random >> 24) % 16) {
		case 0: room_accept(fd); break;
		case 1: room_close(fd); break;
		case 2: conn_duplicated(fd, (int)(random >> 12) % 7, room_now_ns); break;
		case 3: conn_sent_unseen(fd, n + 1, room_now_ns); break;
		case 4: conn_received_unseen(fd, n + 1, room_now_ns); break;
		case 5: conn_shut_down(fd, SHUT_WR, room_now_ns); break;
		case 6: case 7: case 8: case 9: case 10:
			if (n)
				room_send_n(fd, word, n);
			break;
		default:
			if (n)
				room_receive_n(fd, word, n);
		}
	}
	for (int fd = 0; fd < 7; fd++)
		room_close(fd);
	ck_assert(room_is_balanced());
	ck_assert_uint_gt(all_http(), 100);
}
END_TEST

START_TEST(a_request_refused_for_its_form_is_a_parse_error_and_a_served_one_is_none)
{
	static const char *const heads[] = {
		"GET /a HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", "GET /a HTTP/1.1\r\nContent-Length : 0\r\n\r\n",
		"GET /a HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
		"GET /a HTTP/1.1\r\nX: a\r\n folded\r\nthe head goes on", "GET /a HTTP/1.1\r\nContent-Length:\r\n",
	};

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		begin();
		room_know("GET /a");
		room_receive(5, heads[i]);
		room_send(5, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
		room_close(5);
		ck_assert_uint_eq(http("GET /a", 400, SEG_ERROR_PARSE), 1);
		ck_assert(room_is_balanced());
	}
	begin();
	room_know("GET /a");
	room_receive(5, heads[0]);
	room_answer(5, 1);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(http("GET /a", 400, SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(a_head_beyond_all_bounds_is_answered_as_a_request)
{
	static char head[80000];

	begin();
	room_know("GET /a");
	memset(head, 'x', sizeof(head));
	memcpy(head, "GET /a HTTP/1.1\r\nX: ", 20);
	room_receive_n(5, head, 40000);
	room_receive_n(5, head + 40000, 40000);
	room_send(5, "HTTP/1.1 431 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 431, SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_target_beyond_what_is_kept_is_known_when_it_is_refused)
{
	static char line[10000];

	begin();
	room_know("GET /a");
	memset(line, 'x', sizeof(line));
	memcpy(line, "GET /a?", 7);
	room_receive_n(5, line, sizeof(line));
	room_send(5, "HTTP/1.1 414 Too Long\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 414, SEG_ERROR_NONE), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(after_an_http_1_0_response_nothing_more_is_answered)
{
	begin();
	room_receive(5, "GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n");
	room_send(5, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert(room_is_balanced());
}
END_TEST

/* What any number of exchanges added to the segment. */
struct sums {
	uint64_t buckets[SEG_BOUNDS_MAX + 1], sum_ns;             /* of all label sets, each with a factor of its own */
	uint64_t first_buckets[SEG_BOUNDS_MAX + 1], first_sum_ns; /* of all endpoints, the same */
	uint64_t sizes[2 * (SEG_SIZE_BOUNDS + 2)];
	uint64_t received_bytes, sent_bytes, unclassified;
};

static void add_histogram(uint64_t *buckets, uint64_t *sum_ns, const struct seg_histogram *histogram, uint64_t factor)
{
	for (int i = 0; i <= SEG_BOUNDS_MAX; i++)
		buckets[i] += histogram->buckets[i] * factor;
	*sum_ns += histogram->sum_ns * factor;
}

static struct sums sums_now(void)
{
	uint32_t all_series = seg.slots[SEG_TABLE_SERIES].count, endpoints = seg.slots[SEG_TABLE_ENDPOINTS].count;
	struct sums sums = { 0 };

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_HISTOGRAMS].count; i++)
		if (seg.series[i % all_series].key)
			add_histogram(sums.buckets, &sums.sum_ns, &seg.histograms[i], i % all_series + 1);
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_FIRST_BYTES].count; i++) {
		uint64_t factor = i % endpoints + 1;
		if (!seg.endpoints[i % endpoints].key)
			continue;
		add_histogram(sums.first_buckets, &sums.first_sum_ns, &seg.first_bytes[i], factor);
		const uint64_t *sizes = (const uint64_t *)(const void *)&seg.sizes[i];
		for (size_t j = 0; j < sizeof(sums.sizes) / sizeof(sums.sizes[0]); j++)
			sums.sizes[j] += sizes[j] * factor;
	}
	sums.received_bytes = room_received_bytes(SEG_PROTOCOL_HTTP);
	sums.sent_bytes = room_sent_bytes(SEG_PROTOCOL_HTTP);
	sums.unclassified = room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS);
	return sums;
}

/* The second from the third, all of them being numbers of 64 bits. */
static struct sums sums_between(const struct sums *begin, const struct sums *end)
{
	struct sums between;
	const uint64_t *from = (const uint64_t *)(const void *)begin, *to = (const uint64_t *)(const void *)end;

	for (size_t i = 0; i < sizeof(between) / sizeof(uint64_t); i++)
		((uint64_t *)(void *)&between)[i] = to[i] - from[i];
	return between;
}

static uint32_t roll(uint32_t *random, uint32_t n)
{
	*random = *random * 1664525 + 1013904223;
	return (*random >> 16) % n;
}

/* In one piece or in two, of which the second is not shown if it is a body that is sent. */
static void pass(const char *text, bool is_sent, uint32_t *random)
{
	size_t n = strlen(text), cut = roll(random, 3) ? n : roll(random, (uint32_t)n + 1);

	for (size_t i = 0; i < 2; i++, text += cut, cut = n - cut) {
		if (cut && is_sent && i && strspn(text, "x") >= cut)
			conn_sent_unseen(5, cut, room_now_ns += 1000);
		else if (cut && is_sent)
			room_send_n(5, text, cut);
		else if (cut)
			room_receive_n(5, text, cut);
	}
}

/* Whatever may make what follows a head another than what followed it last time. */
static void exchange_at_random(uint32_t *random)
{
	static const char *const requests[] = {
		"GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n", "HEAD /a HTTP/1.1\r\nHost: example.org\r\n\r\n",
		"GET /users/17?q=1 HTTP/1.1\r\nHost: example.org\r\n\r\n", "GET /users/18 HTTP/1.1\r\nHost: example.org\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: example.org\r\nContent-Length: 3\r\n\r\nxxx",
		"GET /a HTTP/1.1\r\nHost: example.org\r\nX: a\r\n folded\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n", "BREW /a HTTP/1.1\r\nHost: example.org\r\n\r\n",
	};
	static const char *const responses[] = {
		"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 4\r\n\r\nxxxx", "HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nServer: a\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 204 No Content\r\nServer: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nServer: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nxxxx\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\nServer: a\r\n\r\nHTTP/1.1 404 Not Found\r\nServer: a\r\nContent-Length: 2\r\n\r\nxx",
		"HTTP/1.1 400 Bad Request\r\nServer: a\r\nContent-Length: 0\r\n\r\n",
	};
	static const char *const to_head[] = { "HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 4\r\n\r\n",
					       "HTTP/1.1 304 Not Modified\r\nServer: a\r\nContent-Length: 4\r\n\r\n" };
	uint32_t count = roll(random, 4) ? 1 : 1 + roll(random, 3), kinds[3];
	char asked[512] = "", answered[512] = "";

	for (uint32_t i = 0; i < count; i++) {
		kinds[i] = roll(random, sizeof(requests) / sizeof(requests[0]));
		strcat(asked, requests[kinds[i]]);
	}
	pass(asked, false, random);
	bool is_joined = roll(random, 2);
	for (uint32_t i = 0; i < count; i++) {
		const char *response = responses[roll(random, sizeof(responses) / sizeof(responses[0]))];
		if (kinds[i] == 1)
			response = to_head[roll(random, 2)];
		if (is_joined)
			strcat(answered, response);
		else
			pass(response, true, random);
	}
	if (is_joined)
		pass(answered, true, random);
}

static struct sums exchange_much(bool may_know)
{
	struct sums begin = sums_now();
	uint32_t random = 1;

	self.is_exclusive = may_know; /* else the thread keeps no heads */
	for (int i = 0; i < 20000; i++) {
		if (i % 500 == 0)
			room_accept(5);
		exchange_at_random(&random);
		if (i % 500 == 499)
			room_close(5);
	}
	self.is_exclusive = 1;
	ck_assert(room_is_balanced());
	struct sums end = sums_now();
	return sums_between(&begin, &end);
}

START_TEST(what_a_head_that_is_known_brings_is_what_reading_it_brings)
{
	room_open(256);
	exchange_much(false); /* the routes are known from here on */
	struct sums read = exchange_much(false), known = exchange_much(true);
	uint64_t requests = 0;

	for (int i = 0; i <= SEG_SIZE_BOUNDS; i++)
		requests += read.sizes[i];
	ck_assert_uint_gt(requests, 20000);
	ck_assert_mem_eq(&read, &known, sizeof(read));
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, what_a_head_that_is_known_brings_is_what_reading_it_brings);
	tcase_add_test(tcase, a_request_refused_for_its_form_is_a_parse_error_and_a_served_one_is_none);
	tcase_add_test(tcase, a_head_beyond_all_bounds_is_answered_as_a_request);
	tcase_add_test(tcase, a_target_beyond_what_is_kept_is_known_when_it_is_refused);
	tcase_add_test(tcase, after_an_http_1_0_response_nothing_more_is_answered);
	tcase_add_test(tcase, one_request_is_one_request);
	tcase_add_test(tcase, a_request_lasts_from_its_first_byte_to_the_last_of_its_response);
	tcase_add_test(tcase, ids_that_come_after_the_answer_are_given_back);
	tcase_add_test(tcase, keep_alive_requests_are_counted_each);
	tcase_add_test(tcase, a_thousand_pipelined_requests_are_a_thousand);
	tcase_add_test(tcase, pipelined_answers_may_share_one_write);
	tcase_add_test(tcase, a_response_in_writes_of_one_byte_ends_with_the_last);
	tcase_add_test(tcase, requests_in_reads_of_one_byte_are_counted);
	tcase_add_test(tcase, bytes_may_be_spread_over_an_iovec_longer_than_the_call);
	tcase_add_test(tcase, sendfile_bytes_are_body);
	tcase_add_test(tcase, unseen_bytes_where_a_head_is_due_end_the_following);
	tcase_add_test(tcase, a_body_spliced_from_the_socket_is_body);
	tcase_add_test(tcase, a_response_without_length_ends_at_close);
	tcase_add_test(tcase, a_response_without_length_ends_at_shutdown_and_once);
	tcase_add_test(tcase, a_request_without_answer_is_counted_as_reset);
	tcase_add_test(tcase, who_goes_away_soon_makes_no_route_and_who_waited_long_does);
	tcase_add_test(tcase, a_first_line_that_never_ends_is_a_reset_request_if_it_begins_like_one);
	tcase_add_test(tcase, a_response_cut_short_keeps_its_status_and_is_reset);
	tcase_add_test(tcase, what_follows_a_response_that_closes_was_never_served);
	tcase_add_test(tcase, an_idle_connection_that_closes_is_no_request);
	tcase_add_test(tcase, interim_responses_are_not_counted);
	tcase_add_test(tcase, an_answer_before_the_body_was_read_is_counted_once);
	tcase_add_test(tcase, upgraded_connections_and_tunnels_are_streams_and_no_requests);
	tcase_add_test(tcase, an_event_stream_is_no_request_in_the_histogram);
	tcase_add_test(tcase, a_broken_request_counts_with_the_answer_it_gets);
	tcase_add_test(tcase, a_broken_request_in_a_pipeline_is_answered_in_its_turn);
	tcase_add_test(tcase, an_answer_to_half_a_head_is_an_answer);
	tcase_add_test(tcase, a_response_that_nobody_asked_for_is_not_counted);
	tcase_add_test(tcase, a_server_that_stops_speaking_http_is_counted_as_a_parse_error);
	tcase_add_test(tcase, other_protocols_are_unclassified_once_and_their_bytes_counted);
	tcase_add_test(tcase, a_client_that_means_nothing_for_64_kib_is_unclassified);
	tcase_add_test(tcase, a_large_upload_without_an_answer_is_still_a_request);
	tcase_add_test(tcase, a_connection_without_bytes_is_only_accepted);
	tcase_add_test(tcase, latencies_fall_into_the_first_bucket_whose_bound_is_not_below);
	tcase_add_test(tcase, a_clock_that_is_behind_on_another_core_makes_no_negative_duration);
	tcase_add_test(tcase, methods_that_are_no_label_are_other);
	tcase_add_test(tcase, any_bytes_in_any_pieces_keep_the_gauges_balanced);
}

int main(void)
{
	return check_main("http_traffic", add_tests);
}
