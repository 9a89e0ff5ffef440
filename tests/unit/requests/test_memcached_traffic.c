#include "check_main.h"
#include "room.h"

static uint64_t commands(const char *name, uint32_t error)
{
	return room_requests(SEG_PROTOCOL_MEMCACHED, name, 0, error);
}

static uint64_t all(void)
{
	return room_requests(SEG_PROTOCOL_MEMCACHED, NULL, ROOM_ANY, ROOM_ANY);
}

static void begin(void)
{
	room_open(256);
	room_accept(5);
}

START_TEST(commands_are_counted_by_name_with_their_duration)
{
	begin();
	room_receive(5, "set k 0 0 5\r\nhel");
	room_now_ns += 2000000;
	room_receive(5, "lo\r\n");
	ck_assert_uint_eq(all(), 0);
	room_send(5, "STORED\r\n");
	room_receive(5, "get k l\r\n");
	room_send(5, "VALUE k 0 5\r\nhello\r\n");
	room_send(5, "END\r\n");
	ck_assert_uint_eq(commands("set", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("get", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_sum_ns("set"), 2002000);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MEMCACHED), 1);
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_MEMCACHED), 29);
	ck_assert_uint_eq(room_sent_bytes(SEG_PROTOCOL_MEMCACHED), 33);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_MEMCACHED), 1);
	room_close(5);
	ck_assert_uint_eq(all(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(the_program_as_client_counts_by_the_same_names)
{
	room_open(256);
	room_connect(5, 7);
	room_send(5, "get k\r\ngets k\r\n");
	room_receive(5, "END\r\nSERVER_ERROR out of memory\r\n");
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_MEMCACHED, "get", 0, SEG_ERROR_NONE, 7), 1);
	ck_assert_uint_eq(room_asked(SEG_PROTOCOL_MEMCACHED, "gets", 0, SEG_ERROR_MEMCACHED_SERVER_ERROR, 7), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(errors_have_their_names_and_misses_are_none)
{
	begin();
	room_receive(5, "get k\r\nincr k 1\r\nincr s 1\r\nfoo\r\nset k 0 0 3\r\nabcd\r\n");
	room_send(5, "END\r\nNOT_FOUND\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\nERROR\r\n");
	room_send(5, "CLIENT_ERROR bad data chunk\r\nERROR\r\n");
	ck_assert_uint_eq(commands("get", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("incr", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("incr", SEG_ERROR_MEMCACHED_CLIENT_ERROR), 1);
	ck_assert_uint_eq(commands("set", SEG_ERROR_MEMCACHED_CLIENT_ERROR), 1);
	ck_assert_uint_eq(commands("_OTHER", SEG_ERROR_MEMCACHED_ERROR), 2);
	ck_assert_uint_eq(all(), 6);
}
END_TEST

START_TEST(noreply_is_counted_at_once_and_takes_nobody_s_answer)
{
	begin();
	room_receive(5, "set k 0 0 1 noreply\r\na\r\n");
	ck_assert_uint_eq(commands("set", SEG_ERROR_NONE), 1);
	room_receive(5, "get k\r\ndelete k noreply\r\nget k\r\n");
	ck_assert_uint_eq(all(), 1);
	room_send(5, "VALUE k 0 1\r\na\r\nEND\r\n");
	ck_assert_uint_eq(commands("delete", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("get", SEG_ERROR_NONE), 1);
	room_send(5, "END\r\n");
	ck_assert_uint_eq(commands("get", SEG_ERROR_NONE), 2);
	room_close(5);
	ck_assert_uint_eq(all(), 4);
}
END_TEST

START_TEST(quiet_meta_commands_are_over_with_a_later_answer)
{
	begin();
	room_receive(5, "mg a v q\r\nmg b v q\r\nms c 1 q\r\nx\r\nmd d q\r\nmn\r\n");
	ck_assert_uint_eq(all(), 0);
	room_send(5, "VA 1\r\nb\r\nMN\r\n");
	ck_assert_uint_eq(commands("mg", SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(commands("ms", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("md", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("mn", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all(), 5);
}
END_TEST

START_TEST(an_opaque_tells_whose_an_answer_is)
{
	begin();
	room_receive(5, "mg a v q O1\r\nmg b v q O2\r\nmg c v q O3\r\nmg d v O4\r\n");
	room_now_ns += 1000000;
	room_send(5, "VA 1 O2\r\nb\r\n"); /* so the first one is over, too */
	ck_assert_uint_eq(commands("mg", SEG_ERROR_NONE), 2);
	room_send(5, "EN O4\r\n");
	ck_assert_uint_eq(commands("mg", SEG_ERROR_NONE), 4);
	room_receive(5, "mg a q\r\nmg b\r\n");
	room_send(5, "CLIENT_ERROR bad command line format\r\n");
	ck_assert_uint_eq(commands("mg", SEG_ERROR_MEMCACHED_CLIENT_ERROR), 1);
	room_send(5, "EN\r\n");
	ck_assert_uint_eq(all(), 6);
	room_close(5);
	ck_assert_uint_eq(all(), 6);
}
END_TEST

START_TEST(an_error_that_might_be_of_two_shifts_no_other)
{
	begin();
	room_receive(5, "mg a q\r\nincr b x\r\nversion\r\nmg c\r\n");
	room_send(5, "CLIENT_ERROR invalid numeric delta argument\r\nVERSION 1.6.18\r\nEN\r\n");
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_MEMCACHED, NULL, ROOM_ANY, SEG_ERROR_MEMCACHED_CLIENT_ERROR), 1);
	ck_assert_uint_eq(commands("version", SEG_ERROR_NONE), 1);
	room_receive(5, "mg a q\r\nnonsense\r\nmn\r\n");
	room_send(5, "ERROR\r\nMN\r\n");
	ck_assert_uint_eq(commands("_OTHER", SEG_ERROR_MEMCACHED_ERROR), 1);
	ck_assert_uint_eq(all(), 7);
	room_close(5);
	ck_assert_uint_eq(all(), 7);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_MEMCACHED, NULL, ROOM_ANY, SEG_ERROR_RESET), 0);
}
END_TEST

START_TEST(an_answer_that_nobody_can_have_is_the_oldest_one_s)
{
	begin();
	room_receive(5, "version\r\nget a\r\n");
	room_send(5, "VERSION 1\r\nTOUCHED\r\n");
	ck_assert_uint_eq(all(), 2);
	room_receive(5, "get a\r\n");
	room_send(5, "END\r\nEND\r\n");
	ck_assert_uint_eq(all(), 3);
}
END_TEST

START_TEST(an_answer_that_is_nobody_s_shifts_no_other)
{
	begin();
	room_receive(5, "mg a O1\r\n");
	room_send(5, "HD O9\r\n");
	ck_assert_uint_eq(all(), 0);
	room_send(5, "HD O1\r\n");
	ck_assert_uint_eq(all(), 1);
}
END_TEST

/* A packet without body. */
static void packet(char *out, uint8_t magic, uint8_t opcode, uint8_t status, uint8_t opaque)
{
	memset(out, 0, 24);
	out[0] = (char)magic;
	out[1] = (char)opcode;
	out[7] = (char)status;
	out[15] = (char)opaque;
}

START_TEST(binary_commands_are_counted_by_the_names_of_text)
{
	static const uint8_t opcodes[] = { 0x09, 0x09, 0x0d, 0x11, 0x0a };
	char asked[5 * 24], answered[2 * 24];

	begin();
	for (uint8_t i = 0; i < 5; i++)
		packet(asked + 24 * i, 0x80, opcodes[i], 0, i);
	packet(answered, 0x81, 0x09, 0, 1);
	packet(answered + 24, 0x81, 0x0a, 0, 4);
	room_receive_n(5, asked, 10);
	room_receive_n(5, asked + 10, sizeof(asked) - 10);
	ck_assert_uint_eq(all(), 0);
	room_send_n(5, answered, sizeof(answered));
	ck_assert_uint_eq(commands("get", SEG_ERROR_NONE), 3);
	ck_assert_uint_eq(commands("set", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("noop", SEG_ERROR_NONE), 1);
	packet(asked, 0x80, 0x01, 0, 9);
	packet(answered, 0x81, 0x01, 0x82, 9);
	room_receive_n(5, asked, 24);
	room_send_n(5, answered, 24);
	ck_assert_uint_eq(commands("set", SEG_ERROR_MEMCACHED_OUT_OF_MEMORY), 1);
	packet(asked, 0x80, 0x17, 0, 10); /* quit, quietly */
	room_receive_n(5, asked, 24);
	ck_assert_uint_eq(commands("quit", SEG_ERROR_NONE), 1);
	room_close(5);
	ck_assert_uint_eq(all(), 7);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_connection_of_quiet_binary_commands_alone_is_memcached_s)
{
	char asked[24];

	begin();
	packet(asked, 0x80, 0x11, 0, 1);
	room_receive_n(5, asked, 24);
	room_close(5);
	ck_assert_uint_eq(commands("set", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MEMCACHED), 1);
}
END_TEST

START_TEST(watch_opens_a_stream_unless_it_is_refused)
{
	begin();
	room_receive(5, "watch nothing\r\n");
	room_send(5, "ERROR\r\n");
	room_receive(5, "watch fetchers\r\n");
	room_send(5, "OK\r\n");
	room_send(5, "ts=1 gid=1 type=item_get key=secret status=not_found\r\n");
	ck_assert_uint_eq(commands("watch", SEG_ERROR_MEMCACHED_ERROR), 1);
	ck_assert_uint_eq(commands("watch", SEG_ERROR_NONE), 1);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_MEMCACHED), 1);
	room_close(5);
	ck_assert_uint_eq(all(), 2);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_MEMCACHED, "watch").ended, 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(inline_commands_of_redis_that_look_alike_are_redis)
{
	begin();
	room_receive(5, "get k\r\nquit\r\n");
	room_send(5, "$-1\r\n+OK\r\n");
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, "GET", 0, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, "QUIT", 0, SEG_ERROR_NONE), 1);
	room_receive(5, "*1\r\n$4\r\nPING\r\n");
	room_send(5, "+PONG\r\n");
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, "PING", 0, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_REDIS), 1);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_server_that_answers_otherwise_never_was_memcached)
{
	static const char *const answers[] = { "220 mail ready\r\n", "hello\r\n", "BUSY x\r\nBUSY x\r\n" };

	room_open(256);
	for (int i = 0; i < 3; i++) {
		room_accept(5 + i);
		room_receive(5 + i, "get k\r\n");
		room_send(5 + i, answers[i]);
		room_close(5 + i);
	}
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_MEMCACHED), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 3);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_line_that_nobody_answered_might_be_anybody_s)
{
	begin();
	room_receive(5, "get k\r\n");
	room_close(5);
	ck_assert_uint_eq(all(), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_UNCLASSIFIED_CONNECTIONS), 1);
}
END_TEST

START_TEST(commands_without_an_answer_fail_but_quiet_and_silent_ones_do_not)
{
	begin();
	room_receive(5, "version\r\n");
	room_send(5, "VERSION 1.6.18\r\n");
	room_receive(5, "get k\r\nmg a q\r\nset k 0 0 1 noreply\r\na\r\nget l\r\n");
	room_close(5);
	ck_assert_uint_eq(commands("get", SEG_ERROR_RESET), 2);
	ck_assert_uint_eq(commands("mg", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(commands("set", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all(), 5);
}
END_TEST

START_TEST(a_multi_get_longer_than_is_kept_begins_a_connection)
{
	static char line[8192];
	size_t n = (size_t)sprintf(line, "get");

	for (int i = 0; i < 500; i++)
		n += (size_t)sprintf(line + n, " key%d", i);
	n += (size_t)sprintf(line + n, "\r\n");
	for (size_t split = 1; split < n; split += 97) {
		room_open(256);
		room_accept(5);
		room_receive_n(5, line, split);
		room_receive_n(5, line + split, n - split);
		room_send(5, "END\r\n");
		room_receive(5, "get a\r\n");
		room_send(5, "END\r\n");
		ck_assert_uint_eq(commands("get", SEG_ERROR_NONE), 2);
		ck_assert_uint_eq(all(), 2);
		room_close(5);
	}
}
END_TEST

START_TEST(receiving_and_answering_is_work_for_the_command)
{
	begin();
	room_receive(5, "set k 0 0 20\r\nabc");
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "set");
	room_receive(5, "\r\nget data\r\n1234");
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "set");
	room_receive(5, "5\r\n");
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "set");
	room_send(5, "STORED\r\n");
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "set");
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, commands_are_counted_by_name_with_their_duration);
	tcase_add_test(tcase, the_program_as_client_counts_by_the_same_names);
	tcase_add_test(tcase, errors_have_their_names_and_misses_are_none);
	tcase_add_test(tcase, noreply_is_counted_at_once_and_takes_nobody_s_answer);
	tcase_add_test(tcase, quiet_meta_commands_are_over_with_a_later_answer);
	tcase_add_test(tcase, an_opaque_tells_whose_an_answer_is);
	tcase_add_test(tcase, an_error_that_might_be_of_two_shifts_no_other);
	tcase_add_test(tcase, an_answer_that_nobody_can_have_is_the_oldest_one_s);
	tcase_add_test(tcase, an_answer_that_is_nobody_s_shifts_no_other);
	tcase_add_test(tcase, binary_commands_are_counted_by_the_names_of_text);
	tcase_add_test(tcase, a_connection_of_quiet_binary_commands_alone_is_memcached_s);
	tcase_add_test(tcase, watch_opens_a_stream_unless_it_is_refused);
	tcase_add_test(tcase, inline_commands_of_redis_that_look_alike_are_redis);
	tcase_add_test(tcase, a_server_that_answers_otherwise_never_was_memcached);
	tcase_add_test(tcase, a_line_that_nobody_answered_might_be_anybody_s);
	tcase_add_test(tcase, commands_without_an_answer_fail_but_quiet_and_silent_ones_do_not);
	tcase_add_test(tcase, a_multi_get_longer_than_is_kept_begins_a_connection);
	tcase_add_test(tcase, receiving_and_answering_is_work_for_the_command);
}

int main(void)
{
	return check_main("memcached_traffic", add_tests);
}
