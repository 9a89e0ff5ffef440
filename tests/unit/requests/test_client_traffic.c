/* What the program asks of others, what lasts longer than a request, and when things begin, end and fail. */
#include "check_main.h"
#include "room.h"

#include "../../../shim/requests/listing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t http(const char *name, uint32_t status, uint32_t error)
{
	return room_requests(SEG_PROTOCOL_HTTP, name, status, error);
}

static uint64_t all_http(void)
{
	return http(NULL, ROOM_ANY, ROOM_ANY);
}

static uint64_t asked(uint32_t status, uint32_t error, uint8_t server)
{
	return room_asked(SEG_PROTOCOL_HTTP, NULL, status, error, server);
}

static uint64_t all_asked(void)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_SERIES].count; i++)
		if (seg.series[i].key && seg_series_peer(seg.series[i].key) != SEG_PEER_NONE)
			for (uint32_t shard = 0; shard < seg.head->shard_count; shard++)
				for (uint32_t bucket = 0; bucket <= SEG_BOUNDS_MAX; bucket++)
					count += seg.histograms[shard * seg.slots[SEG_TABLE_SERIES].count + i].buckets[bucket];
	return count;
}

static void begin(void)
{
	room_open(256);
	room_connect(5, 1);
}

static void ask(int fd, const char *text)
{
	room_send(fd, text);
}

/* A read of nothing: the other side has closed. */
static void receive_end(int fd)
{
	conn_receiving(fd);
	conn_received(fd, NULL, 0, 0, room_now_ns += 1000);
}

static void fail_receiving(int fd, int error)
{
	conn_receiving(fd);
	conn_receive_failed(fd, error, room_now_ns += 1000);
}

/* asked */

START_TEST(what_is_asked_is_counted_by_whom_it_is_asked)
{
	begin();
	room_connect(6, 2);
	ask(5, "GET /users/42?q=1 HTTP/1.1\r\nHost: a\r\n\r\n");
	ask(6, "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
	ck_assert_uint_eq(all_http(), 0);
	room_receive(6, "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno");
	room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	ck_assert_uint_eq(asked(200, SEG_ERROR_NONE, 1), 1);
	ck_assert_uint_eq(asked(503, SEG_ERROR_NONE, 2), 1);
	ck_assert_uint_eq(all_asked(), 2);
	ck_assert_uint_eq(all_http(), 2);
	room_close(5);
	room_close(6);
	ck_assert_uint_eq(all_asked(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_is_asked_stands_in_no_gauge_and_no_count_of_what_is_served)
{
	begin();
	ask(5, "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
	for (int protocol = 0; protocol < SEG_PROTOCOL_COUNT; protocol++)
		ck_assert_int_eq(room_open_connections(protocol), 0);
	ck_assert_int_eq(room_active(SEG_METHOD_POST), 0);
	room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	ask(5, "junk\r\n");
	room_receive(5, "junk\r\n");
	room_close(5);
	room_connect(5, 1);
	ask(5, "\1\2\3");
	room_receive(5, "\4\5\6");
	room_close(5);
	for (int protocol = 0; protocol < SEG_PROTOCOL_COUNT; protocol++) {
		ck_assert_uint_eq(room_accepted(protocol), 0);
		ck_assert_uint_eq(room_received_bytes(protocol), 0);
		ck_assert_uint_eq(room_sent_bytes(protocol), 0);
	}
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert_uint_eq(room_bodies("POST _OTHER").requests, 0);
	ck_assert_uint_eq(room_bodies("POST _OTHER").responses, 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(pipelines_and_kept_connections_are_counted_each_on_the_client_s_side_too)
{
	begin();
	for (int i = 0; i < 1000; i++) {
		ask(5, "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n");
		room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 304 N\r\nContent-Length: 900\r\n\r\n"
				"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
	}
	room_close(5);
	ck_assert_uint_eq(asked(200, SEG_ERROR_NONE, 1), 1000);
	ck_assert_uint_eq(asked(304, SEG_ERROR_NONE, 1), 1000);
	ck_assert_uint_eq(asked(500, SEG_ERROR_NONE, 1), 1000);
	ck_assert_uint_eq(all_asked(), 3000);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_exchange_is_the_same_wherever_it_is_split)
{
	static const char asking[] = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
	static const char answer[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 4\r\n\r\nbody";

	begin();
	for (size_t i = 1; i < sizeof(asking) - 1; i++) {
		room_send_n(5, asking, i);
		room_send_n(5, asking + i, sizeof(asking) - 1 - i);
		size_t cut = i % (sizeof(answer) - 2) + 1;
		room_receive_n(5, answer, cut);
		room_receive_n(5, answer + cut, sizeof(answer) - 1 - cut);
		ck_assert_uint_eq(asked(201, SEG_ERROR_NONE, 1), i);
		ck_assert_uint_eq(all_asked(), i);
	}
	room_close(5);
	ck_assert_uint_eq(all_asked(), sizeof(asking) - 2);
}
END_TEST

START_TEST(what_is_asked_lasts_from_its_first_byte_to_the_last_of_its_answer)
{
	begin();
	room_now_ns += 7000000; /* connected, and not used yet */
	ask(5, "G");
	room_now_ns += 3000000;
	ask(5, "ET / HTTP/1.1\r\n\r\n");
	room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx");
	room_now_ns += 500000;
	room_receive(5, "y");
	ck_assert_uint_eq(room_sum_ns("GET _OTHER"), 3503000);
}
END_TEST

START_TEST(an_answer_without_length_ends_when_the_server_s_end_is_read_and_lasts_to_its_last_byte)
{
	begin();
	ask(5, "GET / HTTP/1.0\r\n\r\n");
	room_receive(5, "HTTP/1.0 200 OK\r\n\r\nsome ");
	room_receive(5, "text");
	ck_assert_uint_eq(all_asked(), 0);
	room_now_ns += 9000000;
	receive_end(5);
	ck_assert_uint_eq(asked(200, SEG_ERROR_NONE, 1), 1);
	ck_assert_uint_eq(room_sum_ns("GET _OTHER"), 2000);
	room_close(5);
	ck_assert_uint_eq(all_asked(), 1);
}
END_TEST

START_TEST(a_connection_that_is_refused_leaves_nothing_behind)
{
	begin();
	fail_receiving(5, ECONNREFUSED);
	room_close(5);
	room_connect(5, 1);
	room_connect(5, 1); /* asked again whether it is done */
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert_uint_eq(seg.peers[0].key, 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_idle_connection_may_be_closed_by_either_side)
{
	for (int is_ours = 0; is_ours < 2; is_ours++) {
		begin();
		ask(5, "GET / HTTP/1.1\r\n\r\n");
		room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
		if (!is_ours)
			receive_end(5);
		room_close(5);
		ck_assert_uint_eq(asked(200, SEG_ERROR_NONE, 1), 1);
		ck_assert_uint_eq(all_asked(), 1);
	}
}
END_TEST

/* errors */

static void ask_in_vain(void)
{
	begin();
	ask(5, "GET / HTTP/1.1\r\n\r\n");
}

START_TEST(a_program_that_does_not_wait_any_longer_had_a_timeout)
{
	ask_in_vain();
	fail_receiving(5, EAGAIN);
	room_close(5);
	ck_assert_uint_eq(asked(0, SEG_ERROR_TIMEOUT, 1), 1);
	ck_assert_uint_eq(all_asked(), 1);
}
END_TEST

START_TEST(a_connection_that_the_kernel_gave_up_had_a_timeout_on_either_side)
{
	ask_in_vain();
	fail_receiving(5, ETIMEDOUT);
	room_close(5);
	room_accept(6);
	room_receive(6, "GET /a HTTP/1.1\r\n\r\n");
	room_send(6, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
	conn_send_failed(6, ETIMEDOUT, room_now_ns += 1000);
	room_close(6);
	ck_assert_uint_eq(asked(0, SEG_ERROR_TIMEOUT, 1), 1);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_TIMEOUT), 1);
	ck_assert_uint_eq(all_http(), 2);
}
END_TEST

START_TEST(a_server_that_goes_without_an_answer_is_a_reset)
{
	ask_in_vain();
	receive_end(5);
	room_close(5);
	room_connect(5, 1);
	ask(5, "GET / HTTP/1.1\r\n\r\n");
	fail_receiving(5, ECONNRESET);
	room_close(5);
	room_connect(5, 1);
	ask(5, "GET / HTTP/1.1\r\n\r\n");
	conn_send_failed(5, EPIPE, room_now_ns += 1000);
	room_close(5);
	ck_assert_uint_eq(asked(0, SEG_ERROR_RESET, 1), 3);
	ck_assert_uint_eq(all_asked(), 3);
}
END_TEST

START_TEST(half_an_answer_keeps_its_status)
{
	ask_in_vain();
	room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
	receive_end(5);
	room_close(5);
	ck_assert_uint_eq(asked(200, SEG_ERROR_RESET, 1), 1);
	ck_assert_uint_eq(all_asked(), 1);
}
END_TEST

START_TEST(a_client_that_closes_before_its_answer_resets_even_if_the_server_forked_meanwhile)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	conn_forking(); /* somebody else's child */
	receive_end(5);
	room_close(5);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	conn_forking();
	fail_receiving(5, ECONNRESET);
	room_close(5);
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 2);
	ck_assert_uint_eq(all_http(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

/* peers */

START_TEST(peers_beyond_32_are_one_and_each_request_of_theirs_is_counted_as_overflow)
{
	room_open(256);
	for (uint8_t server = 1; server <= 40; server++) {
		room_connect(5, server);
		for (int i = 0; i < 3; i++) {
			ask(5, "GET / HTTP/1.1\r\n\r\n");
			room_receive(5, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
		}
		room_close(5);
	}
	for (uint8_t server = 1; server <= 32; server++)
		ck_assert_uint_eq(asked(200, SEG_ERROR_NONE, server), 3);
	ck_assert_uint_eq(asked(200, SEG_ERROR_NONE, 0), 24);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_PEERS), 24);
	ck_assert_uint_eq(all_asked(), 120);
}
END_TEST

START_TEST(connections_that_speak_no_known_protocol_take_no_peer_s_place)
{
	room_open(256);
	for (uint8_t server = 1; server <= 40; server++) {
		room_connect(5, server);
		ask(5, "\1\2\3");
		room_receive(5, "\4\5\6");
		room_close(5);
	}
	ck_assert_uint_eq(seg.peers[0].key, 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_PEERS), 0);
}
END_TEST

static void ask_at(const void *address, socklen_t bytes, int fd)
{
	conn_connecting(fd, address, bytes, room_now_ns += 1000);
	ask(fd, "GET / HTTP/1.1\r\n\r\n");
	room_receive(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	conn_closing(fd, room_now_ns += 1000);
}

static void ask_inet6(const char *ip)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(80) };

	ck_assert_int_eq(inet_pton(AF_INET6, ip, &address.sin6_addr), 1);
	ask_at(&address, sizeof(address), 5);
}

static void ask_inet(const char *ip)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };

	ck_assert_int_eq(inet_pton(AF_INET, ip, &address.sin_addr), 1);
	ask_at(&address, sizeof(address), 5);
}

START_TEST(one_address_in_two_families_is_one_peer_and_the_wildcard_is_this_host)
{
	room_open(256);
	ask_inet("192.0.2.1");
	ask_inet6("::ffff:192.0.2.1");
	ask_inet("0.0.0.0");
	ask_inet("127.0.0.1");
	ask_inet6("::");
	ask_inet6("::1");
	ask_inet6("2001:db8::7");
	static const char *const wanted[] = { "192.0.2.1", "127.0.0.1", "::1", "2001:db8::7" };
	for (int i = 0; i < 4; i++) {
		ck_assert_str_eq(seg.peers[i].address, wanted[i]);
		ck_assert_uint_eq(seg.peers[i].port, 80);
	}
	ck_assert_uint_eq(seg.peers[4].key, 0);
	ck_assert_uint_eq(all_asked(), 7);
}
END_TEST

START_TEST(a_unix_socket_s_peer_is_its_path_also_once_it_was_duplicated)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t bytes;

	room_open(256);
	snprintf(address.sun_path, sizeof(address.sun_path), "%cprofshim-test-%d", 0, (int)getpid());
	bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, bytes), 0);
	ck_assert_int_eq(listen(listener, 5), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, bytes), 0);
	conn_connecting(fd, (struct sockaddr *)&address, bytes, room_now_ns += 1000);
	int other = dup(fd);
	conn_duplicated(fd, other, room_now_ns += 1000);
	conn_closing(fd, room_now_ns += 1000);
	close(fd);
	ask(other, "GET / HTTP/1.1\r\n\r\n");
	room_receive(other, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	room_close(other);
	ck_assert_int_eq(seg.peers[0].address[0], '@');
	ck_assert_str_eq(seg.peers[0].address + 1, address.sun_path + 1);
	ck_assert_uint_eq(seg.peers[0].port, 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_PEERS), 0);
	close(other);
	close(listener);
}
END_TEST

/* Redis */

START_TEST(commands_that_the_program_sends_are_asked)
{
	begin();
	ask(5, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nINCR\r\n");
	room_receive(5, "$1\r\nx\r\n-ERR wrong number of arguments\r\n");
	ask(5, "PING\r\n");
	room_close(5);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_REDIS, "GET", 0, SEG_ERROR_NONE, 1), 1);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_REDIS, "INCR", 0, SEG_ERROR_REDIS_ERR, 1), 1);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_REDIS, "PING", 0, SEG_ERROR_TIMEOUT, 1), 1);
	ck_assert_uint_eq(all_asked(), 3);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, NULL, ROOM_ANY, ROOM_ANY), 3);
	ck_assert(room_is_balanced());
}
END_TEST

/* streams */

static const struct seg_connection *listed(void)
{
	const struct seg_connection *found = NULL;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CONNECTIONS].count; i++)
		if (seg.connections[i].owner) {
			ck_assert_ptr_null(found);
			found = &seg.connections[i];
		}
	return found;
}

static void check_stream(const char *name, uint64_t opened, uint64_t ended, uint64_t sum_ns)
{
	struct room_streams streams = room_streams(SEG_PROTOCOL_HTTP, name);

	ck_assert_uint_eq(streams.opened, opened);
	ck_assert_uint_eq(streams.ended, ended);
	ck_assert_uint_eq(streams.sum_ns, sum_ns);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_HTTP), (int64_t)(opened - ended));
}

START_TEST(an_upgraded_connection_is_a_stream_from_its_answer_to_its_close)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_HTTP), 0);
	room_send(5, "HTTP/1.1 101 Switching Protocols\r\n\r\nhello");
	check_stream("GET /ws", 1, 0, 0);
	ck_assert_int_eq(listed()->is_stream, 1);
	ck_assert_uint_eq(listed()->endpoint, room_endpoint(SEG_PROTOCOL_HTTP, "GET /ws"));
	ck_assert_uint_eq(listed()->in_flight, 1);
	room_now_ns += 5000000;
	room_close(5);
	check_stream("GET /ws", 1, 1, 5001000);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_event_stream_is_open_from_its_head_on)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /events HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
	check_stream("GET /events", 1, 0, 0);
	ck_assert_int_eq(listed()->is_stream, 1);
	room_send(5, "1\r\nx\r\n");
	room_send(5, "0\r\n\r\n");
	check_stream("GET /events", 1, 1, 3000);
	ck_assert_int_eq(listed()->is_stream, 0);
	ck_assert_uint_eq(listed()->in_flight, 0);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 1);
	room_close(5);
	check_stream("GET /events", 1, 1, 3000);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_event_stream_without_length_lasts_until_it_is_closed)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /events HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	room_now_ns += 7000000;
	room_close(5);
	check_stream("GET /events", 1, 1, 7002000);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_only_names_an_event_stream_is_none)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "HEAD /events HTTP/1.1\r\n\r\nGET /events HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
	room_send(5, "HTTP/1.1 503 No\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n");
	room_close(5);
	ck_assert_uint_eq(http("HEAD /events", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET /events", 503, SEG_ERROR_NONE), 1);
	check_stream("GET /events", 0, 0, 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_event_stream_in_answer_to_nothing_known_is_a_stream_of_nothing_known)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET / HTTP/9\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_subscriber_is_a_stream)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n");
	room_send(5, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_REDIS), 1);
	ck_assert_int_eq(listed()->is_stream, 1);
	room_now_ns += 2000000;
	room_close(5);
	struct room_streams streams = room_streams(SEG_PROTOCOL_REDIS, "SUBSCRIBE");
	ck_assert_uint_eq(streams.opened, 1);
	ck_assert_uint_eq(streams.ended, 1);
	ck_assert_uint_eq(streams.sum_ns, 2001000);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(streams_that_the_program_opens_at_others_are_not_counted)
{
	begin();
	ask(5, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
	room_receive(5, "HTTP/1.1 101 Switching Protocols\r\n\r\nhello");
	room_connect(6, 1);
	ask(6, "GET /events HTTP/1.1\r\n\r\n");
	room_receive(6, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	check_stream("GET _OTHER", 0, 0, 0);
	room_close(5);
	room_close(6);
	check_stream("GET _OTHER", 0, 0, 0);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

/* fork and the end of a process */

/* What the child does with connection 5; what it says goes to the exit code. */
static void in_child(bool (*serve)(void))
{
	int status;

	conn_forking();
	pid_t child = fork();
	if (!child) {
		room_next_process();
		conn_forked();
		thread_attach();
		bool is_right = serve();
		_exit(is_right ? 0 : 1);
	}
	room_close(5);
	bool is_parent_done = room_open_streams(SEG_PROTOCOL_HTTP) == 0 && room_active(SEG_METHOD_GET) == 0;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(is_parent_done);
}

static bool stream_on(void)
{
	room_send(5, "more");
	bool is_open = room_open_streams(SEG_PROTOCOL_HTTP) == 1;
	room_close(5);
	return is_open && room_open_streams(SEG_PROTOCOL_HTTP) == 0;
}

START_TEST(a_stream_that_is_handed_to_a_child_is_the_child_s)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /ws HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
	in_child(stream_on);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_HTTP, "GET /ws").opened, 1);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_HTTP, "GET /ws").ended, 1);
	room_accept(5);
	room_receive(5, "GET /events HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	in_child(stream_on);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_HTTP, "GET /events").opened, 1);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_HTTP, "GET /events").ended, 1);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

static bool serve_and_exit(void)
{
	room_receive(5, "GET /a HTTP/1.0\r\n\r\n");
	room_send(5, "HTTP/1.0 200 OK\r\n\r\nall of it");
	conn_process_ends(room_now_ns += 1000);
	return room_open_connections(SEG_PROTOCOL_HTTP) == 0;
}

START_TEST(a_child_that_ends_without_a_close_has_answered)
{
	room_open(256);
	room_accept(5);
	in_child(serve_and_exit);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(what_is_open_when_a_process_ends_is_over)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /ws HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
	room_accept(60);
	room_receive(60, "GET /a HTTP/1.1\r\n\r\n");
	room_accept(7);
	room_receive(7, "GET /b HTTP/1.1\r\n\r\n");
	room_answer(7, 1);
	room_connect(8, 1);
	ask(8, "GET /c HTTP/1.1\r\n\r\n");
	conn_process_ends(room_now_ns += 1000);
	check_stream("GET /ws", 1, 1, 1000 * 8);
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("GET /b", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(asked(0, SEG_ERROR_TIMEOUT, 1), 1);
	ck_assert_uint_eq(all_http(), 3);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(an_exec_that_fails_leaves_gauges_and_listings_as_they_were)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	conn_duplicated(5, 7, room_now_ns += 1000);
	room_accept(6);
	room_receive(6, "GET /ws HTTP/1.1\r\n\r\n");
	room_send(6, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
	/* As process_leave and process_enter do. */
	memset((void *)thread_process->open_connections, 0, sizeof(thread_process->open_connections));
	memset((void *)thread_process->active_requests, 0, sizeof(thread_process->active_requests));
	memset((void *)thread_process->active_owned, 0, sizeof(thread_process->active_owned));
	memset((void *)thread_process->open_streams, 0, sizeof(thread_process->open_streams));
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CONNECTIONS].count; i++)
		seg.connections[i].owner = seg.connections[i].owner ? 1ULL << 32 : 0; /* somebody else's already */
	room_next_process();
	conn_rejoined();
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_HTTP), 1);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_HTTP), 1);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_UNKNOWN), 1);
	room_answer(7, 1);
	room_close(5);
	room_close(6);
	room_close(7);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	int others = 0;
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CONNECTIONS].count; i++) {
		others += seg.connections[i].owner == 1ULL << 32;
		seg.connections[i].owner = seg.connections[i].owner == 1ULL << 32 ? 0 : seg.connections[i].owner;
	}
	ck_assert_int_eq(others, 2);
	ck_assert(room_is_balanced());
}
END_TEST

/* times */

START_TEST(a_response_without_length_lasts_to_its_last_byte_and_not_to_the_close)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.0\r\n\r\n");
	room_send(5, "HTTP/1.0 200 OK\r\n\r\nsome ");
	room_send(5, "text");
	room_now_ns += 8000000;
	room_close(5);
	ck_assert_uint_eq(room_sum_ns("GET /a"), 2000);
	room_accept(5);
	room_receive(5, "GET /b HTTP/1.0\r\n\r\n");
	room_send(5, "HTTP/1.0 200 OK\r\n\r\nsome text");
	room_now_ns += 8000000;
	conn_shut_down(5, SHUT_WR, room_now_ns += 1000);
	ck_assert_uint_eq(room_sum_ns("GET /b"), 1000);
}
END_TEST

static uint64_t first_byte_ns(const char *name)
{
	uint32_t endpoint = room_endpoint(SEG_PROTOCOL_HTTP, name);
	uint64_t sum_ns = 0;

	for (uint32_t shard = 0; endpoint != SEG_NOT_FOUND && shard < seg.head->shard_count; shard++)
		sum_ns += seg.first_bytes[shard * seg.slots[SEG_TABLE_ENDPOINTS].count + endpoint].sum_ns;
	return sum_ns;
}

START_TEST(the_first_byte_is_that_of_the_final_answer)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "PUT /a HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
	room_send(5, "HTTP/1.1 100 Continue\r\n\r\n");
	room_receive(5, "x");
	room_now_ns += 4000000;
	room_send(5, "H");
	room_now_ns += 1000000;
	room_send(5, "TTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
	room_now_ns += 1000000;
	room_send(5, "x");
	ck_assert_uint_eq(first_byte_ns("PUT /a"), 4003000);
	ck_assert_uint_eq(room_sum_ns("PUT /a"), 6005000);
}
END_TEST

START_TEST(each_answer_of_a_pipeline_has_a_first_byte_of_its_own)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP");
	room_send(5, "/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	ck_assert_uint_eq(first_byte_ns("GET /a"), 1000);
	ck_assert_uint_eq(first_byte_ns("GET /b"), 1000);
	ck_assert_uint_eq(room_sum_ns("GET /b"), 2000);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, what_is_asked_is_counted_by_whom_it_is_asked);
	tcase_add_test(tcase, what_is_asked_stands_in_no_gauge_and_no_count_of_what_is_served);
	tcase_add_test(tcase, pipelines_and_kept_connections_are_counted_each_on_the_client_s_side_too);
	tcase_add_test(tcase, an_exchange_is_the_same_wherever_it_is_split);
	tcase_add_test(tcase, what_is_asked_lasts_from_its_first_byte_to_the_last_of_its_answer);
	tcase_add_test(tcase, an_answer_without_length_ends_when_the_server_s_end_is_read_and_lasts_to_its_last_byte);
	tcase_add_test(tcase, a_connection_that_is_refused_leaves_nothing_behind);
	tcase_add_test(tcase, an_idle_connection_may_be_closed_by_either_side);
	tcase_add_test(tcase, a_program_that_does_not_wait_any_longer_had_a_timeout);
	tcase_add_test(tcase, a_connection_that_the_kernel_gave_up_had_a_timeout_on_either_side);
	tcase_add_test(tcase, a_server_that_goes_without_an_answer_is_a_reset);
	tcase_add_test(tcase, half_an_answer_keeps_its_status);
	tcase_add_test(tcase, a_client_that_closes_before_its_answer_resets_even_if_the_server_forked_meanwhile);
	tcase_add_test(tcase, peers_beyond_32_are_one_and_each_request_of_theirs_is_counted_as_overflow);
	tcase_add_test(tcase, connections_that_speak_no_known_protocol_take_no_peer_s_place);
	tcase_add_test(tcase, one_address_in_two_families_is_one_peer_and_the_wildcard_is_this_host);
	tcase_add_test(tcase, a_unix_socket_s_peer_is_its_path_also_once_it_was_duplicated);
	tcase_add_test(tcase, commands_that_the_program_sends_are_asked);
	tcase_add_test(tcase, an_upgraded_connection_is_a_stream_from_its_answer_to_its_close);
	tcase_add_test(tcase, an_event_stream_is_open_from_its_head_on);
	tcase_add_test(tcase, an_event_stream_without_length_lasts_until_it_is_closed);
	tcase_add_test(tcase, what_only_names_an_event_stream_is_none);
	tcase_add_test(tcase, an_event_stream_in_answer_to_nothing_known_is_a_stream_of_nothing_known);
	tcase_add_test(tcase, a_subscriber_is_a_stream);
	tcase_add_test(tcase, streams_that_the_program_opens_at_others_are_not_counted);
	tcase_add_test(tcase, a_stream_that_is_handed_to_a_child_is_the_child_s);
	tcase_add_test(tcase, a_child_that_ends_without_a_close_has_answered);
	tcase_add_test(tcase, what_is_open_when_a_process_ends_is_over);
	tcase_add_test(tcase, an_exec_that_fails_leaves_gauges_and_listings_as_they_were);
	tcase_add_test(tcase, a_response_without_length_lasts_to_its_last_byte_and_not_to_the_close);
	tcase_add_test(tcase, the_first_byte_is_that_of_the_final_answer);
	tcase_add_test(tcase, each_answer_of_a_pipeline_has_a_first_byte_of_its_own);
}

int main(void)
{
	return check_main("client_traffic", add_tests);
}
