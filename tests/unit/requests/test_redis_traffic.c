#include "../../../shim/requests/lot.h"
#include "check_main.h"
#include "room.h"

static uint64_t redis(const char *name, uint32_t error)
{
	return room_requests(SEG_PROTOCOL_REDIS, name, 0, error);
}

static uint64_t all_redis(void)
{
	return room_requests(SEG_PROTOCOL_REDIS, NULL, ROOM_ANY, ROOM_ANY);
}

static void begin(void)
{
	room_open(512);
	room_accept(5);
}

START_TEST(a_command_is_a_request)
{
	begin();
	room_receive(5, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
	ck_assert_uint_eq(all_redis(), 0);
	room_send(5, "$5\r\nhello\r\n");
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(room_sum_ns("GET"), 1000);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_REDIS), 1);
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_REDIS), 20);
	ck_assert_uint_eq(room_sent_bytes(SEG_PROTOCOL_REDIS), 11);
	room_close(5);
	ck_assert_uint_eq(all_redis(), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_REDIS), 1);
	ck_assert(room_is_balanced());
}
END_TEST

static void pipeline(int depth, int rounds)
{
	static char commands[64 * 64], replies[64 * 64];
	size_t commands_bytes = 0, replies_bytes = 0;

	for (int i = 0; i < depth; i++) {
		commands_bytes += (size_t)sprintf(commands + commands_bytes, i % 4 ? "*2\r\n$3\r\nget\r\n$3\r\nkey\r\n" : "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$2\r\nxy\r\n");
		replies_bytes += (size_t)sprintf(replies + replies_bytes, i % 4 ? "$2\r\nxy\r\n" : "+OK\r\n");
	}
	for (int i = 0; i < rounds; i++) {
		/* Cut in another place each time. */
		size_t cut = (size_t)i * 7 % commands_bytes, reply_cut = (size_t)i * 5 % replies_bytes;
		if (cut)
			room_receive_n(5, commands, cut);
		room_receive_n(5, commands + cut, commands_bytes - cut);
		if (reply_cut)
			room_send_n(5, replies, reply_cut);
		room_send_n(5, replies + reply_cut, replies_bytes - reply_cut);
	}
}

START_TEST(pipelines_of_16_and_64_are_counted_exactly)
{
	begin();
	pipeline(16, 500);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 500 * 12);
	ck_assert_uint_eq(redis("SET", SEG_ERROR_NONE), 500 * 4);
	pipeline(64, 500);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 500 * 60);
	ck_assert_uint_eq(redis("SET", SEG_ERROR_NONE), 500 * 20);
	room_close(5);
	ck_assert_uint_eq(all_redis(), 500 * 80);
	ck_assert(room_is_balanced());
}
END_TEST

/* Commands and answers of all kinds, as they come by chance: what is told of runs of them must be the same. */
START_TEST(pipelines_of_any_mixture_cut_anywhere_are_counted_exactly)
{
	static const struct {
		const char *name, *command, *reply;
		uint32_t error;
	} kinds[] = {
		{ "GET", "*2\r\n$3\r\nGET\r\n$2\r\naa\r\n", "$2\r\nxy\r\n", SEG_ERROR_NONE },
		{ "GET", "*2\r\n$3\r\nGET\r\n$11\r\nlonger-name\r\n", "$-1\r\n", SEG_ERROR_NONE },
		{ "GET", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "-WRONGTYPE x\r\n", SEG_ERROR_REDIS_WRONGTYPE },
		{ "GET", "get b\r\n", "$0\r\n\r\n", SEG_ERROR_NONE },
		{ "INCR", "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", ":12\r\n", SEG_ERROR_NONE },
		{ "INCR", "*2\r\n$4\r\nINCR\r\n$1\r\nb\r\n", "-ERR no integer\r\n", SEG_ERROR_REDIS_ERR },
		{ "KEYS", "*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n", "*2\r\n$1\r\na\r\n:1\r\n", SEG_ERROR_NONE },
	};
	enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), ROUNDS = 3000, DEPTH_MAX = 40 };
	static char commands[DEPTH_MAX * 64], replies[DEPTH_MAX * 64];
	uint64_t counts[KINDS] = { 0 }, count = 0;
	uint32_t random = 1;

	begin();
	for (int round = 0; round < ROUNDS; round++) {
		size_t asked = 0, answered = 0, kind = 0;
		size_t depth = 1 + lot_draw(&random, DEPTH_MAX);
		for (size_t i = 0; i < depth; i++) {
			if (lot_draw(&random, 4) == 0)
				kind = lot_draw(&random, KINDS);
			asked += (size_t)sprintf(commands + asked, "%s", kinds[kind].command);
			answered += (size_t)sprintf(replies + answered, "%s", kinds[kind].reply);
			counts[kind]++;
		}
		size_t cut = lot_draw(&random, (uint32_t)asked), reply_cut = lot_draw(&random, (uint32_t)answered);
		room_receive_n(5, commands, asked - cut);
		if (cut)
			room_receive_n(5, commands + asked - cut, cut);
		room_send_n(5, replies, answered - reply_cut);
		if (reply_cut)
			room_send_n(5, replies + answered - reply_cut, reply_cut);
	}
	for (size_t i = 0; i < KINDS; i++)
		count += counts[i];
	ck_assert_uint_eq(all_redis(), count);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), counts[0] + counts[1] + counts[3]);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_REDIS_WRONGTYPE), counts[2]);
	ck_assert_uint_eq(redis("INCR", SEG_ERROR_NONE), counts[4]);
	ck_assert_uint_eq(redis("INCR", SEG_ERROR_REDIS_ERR), counts[5]);
	ck_assert_uint_eq(redis("KEYS", SEG_ERROR_NONE), counts[6]);
	room_close(5);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(commands_alike_answered_in_pieces_have_times_of_their_own)
{
	static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", reply[] = "$1\r\nx\r\n";
	char text[512] = "";

	begin();
	for (int i = 0; i < 4; i++)
		strcat(text, get);
	room_receive(5, text);                   /* t: four */
	room_receive(5, get);                    /* t + 1 us: one */
	room_send(5, reply);                     /* t + 2 us: of 2 us */
	room_send(5, "$1\r\nx\r\n$1\r\nx\r\n$1"); /* t + 3 us: two of 3 us */
	room_receive(5, get);                    /* t + 4 us */
	room_send(5, "\r\nx\r\n$1\r\nx\r\n");    /* t + 5 us: of 5 us and of 4 us */
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 5);
	ck_assert_uint_eq(room_sum_ns("GET"), 17000);
	room_close(5);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_RESET), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(commands_alike_are_reset_one_by_one_at_close)
{
	begin();
	room_receive(5, "PING\r\n");
	room_send(5, "+PONG\r\n");
	for (int i = 0; i < 3; i++)
		room_receive(5, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n");
	room_send(5, "+PONG\r\n+PONG\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 3);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_RESET), 10);
	ck_assert(room_is_balanced());
}
END_TEST

/* A command's number tells its samples from those of others, in /requests/slow. */
START_TEST(of_commands_alike_each_is_worked_for_as_often)
{
	enum { DEPTH = 8, ROUNDS = 8000 };
	char text[DEPTH * 32] = "", replies[DEPTH * 8] = "";
	uint32_t chosen[DEPTH] = { 0 };

	begin();
	room_receive(5, "PING\r\n");
	uint64_t first = self.work.request + 1;
	room_send(5, "+PONG\r\n");
	for (int i = 0; i < DEPTH; i++) {
		strcat(text, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
		strcat(replies, ":1\r\n");
	}
	for (uint64_t i = 0; i < ROUNDS; i++) {
		room_receive_n(5, text, strlen(text));
		uint64_t offset = self.work.request - first - i * DEPTH;
		ck_assert_uint_lt(offset, DEPTH);
		chosen[offset]++;
		room_send(5, replies);
		ck_assert_uint_eq(self.work.request, first + i * DEPTH + offset);
	}
	/* 1000 +- 6 standard deviations of a fair lot, 30 */
	for (int i = 0; i < DEPTH; i++)
		ck_assert_msg(chosen[i] >= 820 && chosen[i] <= 1180, "%d: %u", i, chosen[i]);
}
END_TEST

START_TEST(each_command_of_a_pipeline_has_a_beginning_of_its_own)
{
	begin();
	room_receive(5, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nEC"); /* t */
	room_receive(5, "HO\r\n*1\r\n$6\r\nDBSIZE\r\n");      /* t + 1 us */
	room_send(5, "+PONG\r\n");                             /* t + 2 us */
	room_send(5, "+x\r\n:1\r\n");                          /* t + 3 us */
	ck_assert_uint_eq(room_sum_ns("PING"), 2000);
	ck_assert_uint_eq(room_sum_ns("ECHO"), 3000);
	ck_assert_uint_eq(room_sum_ns("DBSIZE"), 2000);
}
END_TEST

START_TEST(inline_commands_are_commands)
{
	begin();
	room_receive(5, "PING\r\n");
	room_send(5, "+PONG\r\n");
	room_receive(5, "\r\nset a 1\r\nconfig get save\r\n");
	room_send(5, "+OK\r\n*0\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("SET", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("CONFIG GET", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_redis(), 3);
}
END_TEST

START_TEST(the_first_command_may_come_byte_by_byte)
{
	const char *text = "PING\r\n*1\r\n$4\r\nECHO\r\n";

	begin();
	for (size_t i = 0; i < strlen(text); i++)
		room_receive_n(5, text + i, 1);
	room_send(5, "+PONG\r\n-ERR wrong number of arguments\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("ECHO", SEG_ERROR_REDIS_ERR), 1);
	ck_assert_uint_eq(room_sum_ns("PING"), 20000);
}
END_TEST

START_TEST(error_replies_are_counted_by_their_first_word)
{
	static const struct {
		const char *reply;
		enum seg_error error;
	} cases[] = {
		{ "-ERR no such key\r\n", SEG_ERROR_REDIS_ERR },
		{ "-WRONGTYPE Operation against a key\r\n", SEG_ERROR_REDIS_WRONGTYPE },
		{ "-NOAUTH Authentication required.\r\n", SEG_ERROR_REDIS_NOAUTH },
		{ "-MOVED 1 127.0.0.1:1\r\n", SEG_ERROR_REDIS_MOVED },
		{ "-BUSYGROUP Consumer Group name already exists\r\n", SEG_ERROR_REDIS_BUSYGROUP },
		{ "-OOM command not allowed\r\n", SEG_ERROR_REDIS_OOM },
		{ "-MYSCRIPT says no\r\n", SEG_ERROR_OTHER },
		{ "-\r\n", SEG_ERROR_OTHER },
		{ "!13\r\nREADONLY no w\r\n", SEG_ERROR_REDIS_READONLY },
		{ "*1\r\n-ERR inside\r\n", SEG_ERROR_NONE },
	};
	const size_t count = sizeof(cases) / sizeof(cases[0]);

	begin();
	for (size_t i = 0; i < count; i++) {
		uint64_t before = redis("INCR", cases[i].error);
		room_receive(5, "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n");
		room_send(5, cases[i].reply);
		ck_assert_msg(redis("INCR", cases[i].error) == before + 1, "%s", cases[i].reply);
	}
	ck_assert_uint_eq(all_redis(), count);
}
END_TEST

START_TEST(transactions_have_one_reply_for_each_command)
{
	begin();
	room_receive(5, "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb\r\n*1\r\n$4\r\nEXEC\r\n");
	room_send(5, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-WRONGTYPE x\r\n");
	ck_assert_uint_eq(redis("MULTI", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("INCR", SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(redis("EXEC", SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(pushes_and_attributes_are_no_replies)
{
	begin();
	room_receive(5, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
	room_send(5, "%1\r\n+proto\r\n:3\r\n>2\r\n+invalidate\r\n*1\r\n+a\r\n|1\r\n+ttl\r\n:1\r\n");
	ck_assert_uint_eq(all_redis(), 1);
	room_send(5, "$-1\r\n>2\r\n+invalidate\r\n_\r\n");
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_redis(), 2);
}
END_TEST

START_TEST(large_strings_and_nested_replies_pass_in_many_writes)
{
	static char blob[5000];

	begin();
	memset(blob, '\r', sizeof(blob));
	room_receive(5, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$50000\r\n");
	for (int i = 0; i < 10; i++)
		room_receive_n(5, blob, sizeof(blob));
	room_receive(5, "\r\n*1\r\n$4\r\nKEYS\r\n");
	room_send(5, "+OK\r\n*2\r\n$50000\r\n");
	for (int i = 0; i < 10; i++)
		room_send_n(5, blob, sizeof(blob));
	ck_assert_uint_eq(all_redis(), 1);
	room_send(5, "\r\n*2\r\n*0\r\n*1\r\n:1");
	ck_assert_uint_eq(all_redis(), 1);
	room_send(5, "\r\n");
	ck_assert_uint_eq(redis("KEYS", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_redis(), 2);
}
END_TEST

START_TEST(a_subscriber_is_a_stream_whose_commands_are_counted)
{
	begin();
	room_receive(5, "*1\r\n$4\r\nPING\r\n*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n");
	room_send(5, "+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
	ck_assert_uint_eq(redis("SUBSCRIBE", SEG_ERROR_NONE), 1);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_REDIS), 1);
	room_send(5, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
	room_receive(5, "*1\r\n$4\r\nPING\r\n");
	room_send(5, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 1);
	room_send(5, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 2);
	room_receive(5, "*2\r\n$10\r\nPSUBSCRIBE\r\n$1\r\n*\r\n*1\r\n$3\r\nGET\r\n*1\r\n$11\r\nUNSUBSCRIBE\r\n");
	room_send(5, "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\nx\r\n");
	room_send(5, "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:3\r\n-ERR Can't execute 'get'\r\n");
	room_send(5, "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n");
	ck_assert_uint_eq(redis("PSUBSCRIBE", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_REDIS_ERR), 1);
	ck_assert_uint_eq(redis("UNSUBSCRIBE", SEG_ERROR_NONE), 1);
	room_receive(5, "*1\r\n$4\r\nQUIT\r\n");
	room_send(5, "+OK\r\n");
	room_close(5);
	ck_assert_uint_eq(all_redis(), 7);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_REDIS, "SUBSCRIBE").ended, 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(in_resp3_what_is_pushed_is_no_answer_and_arrays_are)
{
	begin();
	room_receive(5, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n*4\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$1\r\n0\r\n$1\r\n1\r\n");
	room_send(5, ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
	ck_assert_uint_eq(redis("SUBSCRIBE", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("LRANGE", SEG_ERROR_NONE), 0);
	room_send(5, "*2\r\n$7\r\nmessage\r\n$9\r\nsubscribe\r\n");
	ck_assert_uint_eq(redis("LRANGE", SEG_ERROR_NONE), 1);
	room_receive(5, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nb\r\n");
	room_send(5, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
	ck_assert_uint_eq(all_redis(), 2);
	room_send(5, ">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
	room_receive(5, "*1\r\n$4\r\nPING\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("SUBSCRIBE", SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all_redis(), 4);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_REDIS, "SUBSCRIBE").opened, 1);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_REDIS, "SUBSCRIBE").ended, 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_list_that_begins_like_a_message_is_an_answer_to_who_did_not_subscribe)
{
	begin();
	room_receive(5, "*4\r\n$6\r\nLRANGE\r\n$1\r\nl\r\n$1\r\n0\r\n$1\r\n1\r\n*1\r\n$4\r\nKEYS\r\n");
	room_send(5, "*1\r\n$7\r\nmessage\r\n*1\r\n$9\r\nsubscribe\r\n");
	ck_assert_uint_eq(redis("LRANGE", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("KEYS", SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(a_subscriber_that_is_given_up_leaves_no_stream_open)
{
	begin();
	room_receive(5, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n");
	room_send(5, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
	room_send(5, "no reply at all\r\n");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_REDIS), 0);
	room_close(5);
	ck_assert(room_is_balanced());
	room_accept(5);
	room_receive(5, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n");
	room_send(5, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
	conn_sent_unseen(5, 10, room_now_ns);
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_REDIS), 0);
	room_close(5);
	ck_assert(room_is_balanced());
	room_accept(5);
	room_receive(5, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n*1\r\n$7\r\nMONITOR\r\n");
	room_send(5, ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n+OK\r\n");
	ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_REDIS), 1);
	room_close(5);
	ck_assert_uint_eq(room_streams(SEG_PROTOCOL_REDIS, "MONITOR").ended, 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_replica_is_a_stream_once_its_dump_begins)
{
	static const char *const asked[] = { "*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n", "SYNC\r\n" };
	static const char *const replies[] = { "+FULLRESYNC 0123 0\r\n", "$12345\r\n" };

	for (int is_split = 0; is_split < 2; is_split++)
		for (int i = 0; i < 2; i++) {
			begin();
			room_receive(5, asked[i]);
			room_send(5, "\n");
			room_send(5, "\n\n"); /* wait on */
			for (const char *next = replies[i]; *next; next += is_split ? 1 : strlen(next))
				room_send_n(5, next, is_split ? 1 : strlen(next));
			ck_assert_uint_eq(redis(i ? "SYNC" : "PSYNC", SEG_ERROR_NONE), 1);
			ck_assert_int_eq(room_open_streams(SEG_PROTOCOL_REDIS), 1);
			room_send(5, "REDIS0009\xfa and so on");
			room_receive(5, "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\n");
			room_close(5);
			ck_assert_uint_eq(all_redis(), 1);
			ck_assert(room_is_balanced());
		}
}
END_TEST

START_TEST(a_refused_subscriber_goes_on_with_commands)
{
	begin();
	room_receive(5, "*1\r\n$9\r\nSUBSCRIBE\r\n");
	room_send(5, "-ERR wrong number of arguments for 'subscribe' command\r\n");
	room_receive(5, "*1\r\n$4\r\nPING\r\n");
	room_send(5, "+PONG\r\n");
	ck_assert_uint_eq(redis("SUBSCRIBE", SEG_ERROR_REDIS_ERR), 1);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 1);
}
END_TEST

START_TEST(a_client_that_wants_no_replies_is_not_waited_for)
{
	begin();
	room_receive(5, "*1\r\n$4\r\nPING\r\n*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n*1\r\n$4\r\nPING\r\n");
	ck_assert_uint_eq(all_redis(), 0);
	room_send(5, "+PONG\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(redis("CLIENT REPLY", SEG_ERROR_NONE), 1);
	room_receive(5, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nECHO\r\n");
	ck_assert_uint_eq(redis("CLIENT REPLY", SEG_ERROR_NONE), 1);
	room_send(5, "+OK\r\n-ERR wrong number of arguments\r\n");
	ck_assert_uint_eq(redis("CLIENT REPLY", SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(redis("ECHO", SEG_ERROR_REDIS_ERR), 1);
	room_receive(5, "client reply skip\r\nPING\r\nGET a\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 3);
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 0);
	room_send(5, "$-1\r\n");
	ck_assert_uint_eq(redis("GET", SEG_ERROR_NONE), 1);
	room_receive(5, "client reply off\r\nclient reply skip\r\nPING\r\nPING\r\nclient reply on\r\n");
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 5);
	room_send(5, "+OK\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("CLIENT REPLY", SEG_ERROR_NONE), 6);
	ck_assert_uint_eq(all_redis(), 13);
	room_accept(5);
	room_receive(5, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n*1\r\n$4\r\nPING\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("CLIENT REPLY", SEG_ERROR_NONE), 7);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 6);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_REDIS), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(commands_without_a_reply_at_close_are_reset_and_half_a_command_is_none)
{
	begin();
	room_receive(5, "*2\r\n$5\r\nBLPOP\r\n$1\r\na\r\n*1\r\n$4\r\nPI");
	room_close(5);
	ck_assert_uint_eq(redis("BLPOP", SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all_redis(), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_protocol_error_counts_with_the_reply_it_gets)
{
	begin();
	room_receive(5, "*1\r\n$4\r\nPING\r\n*1\r\nnonsense\r\n*1\r\n$4\r\nPING\r\n");
	room_send(5, "+PONG\r\n-ERR Protocol error: expected '$', got 'n'\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("_OTHER", SEG_ERROR_PARSE), 1);
	ck_assert_uint_eq(all_redis(), 2);
}
END_TEST

START_TEST(unknown_commands_are_other)
{
	begin();
	room_receive(5, "*1\r\n$6\r\nSECRET\r\n*2\r\n$6\r\nCONFIG\r\n$6\r\nSECRET\r\n");
	room_send(5, "-ERR unknown command\r\n-ERR unknown subcommand\r\n");
	ck_assert_uint_eq(redis("_OTHER", SEG_ERROR_REDIS_ERR), 2);
	ck_assert_uint_eq(room_endpoint(SEG_PROTOCOL_REDIS, "SECRET"), SEG_NOT_FOUND);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
}
END_TEST

START_TEST(empty_commands_have_no_reply)
{
	begin();
	room_receive(5, "*1\r\n$4\r\nPING\r\n*0\r\n\r\n*-1\r\n*1\r\n$4\r\nECHO\r\n");
	room_send(5, "+PONG\r\n+x\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("ECHO", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_redis(), 2);
}
END_TEST

START_TEST(a_reply_that_is_none_is_a_parse_error_for_all_that_wait)
{
	begin();
	room_receive(5, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n");
	room_send(5, "+PONG\r\n");
	room_send(5, "\x01\x02");
	room_send(5, "+PONG\r\n");
	room_close(5);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(redis("PING", SEG_ERROR_PARSE), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(the_thread_works_for_each_command_of_a_pipeline_by_its_share)
{
	uint64_t gets = 0;

	begin();
	room_receive(5, "PING\r\n");
	room_send(5, "+PONG\r\n");
	for (int i = 0; i < 10000; i++) {
		room_receive(5, "*1\r\n$3\r\nGET\r\n*1\r\n$3\r\nSET\r\n*1\r\n$3\r\nSET\r\n*1\r\n$3\r\nSET\r\n");
		const char *name = room_endpoint_name(self.work.endpoint);
		gets += strcmp(name, "GET") == 0;
		work_set_pending();
		conn_sending(5);
		ck_assert_str_eq(room_endpoint_name(self.work.endpoint), name);
		room_send(5, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
	}
	/* 2500 +- 6 standard deviations of a fair lot, 43 */
	ck_assert_uint_ge(gets, 2240);
	ck_assert_uint_le(gets, 2760);
}
END_TEST

START_TEST(receiving_the_rest_of_a_value_is_work_for_its_command)
{
	begin();
	room_receive(5, "PING\r\n");
	room_send(5, "+PONG\r\n");
	room_receive(5, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$50000\r\nabc");
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "SET");
	work_set((struct work){ SEG_ENDPOINT_IDLE, 0 });
	work_woke();
	conn_receiving(5);
	ck_assert_str_eq(room_endpoint_name(self.work.endpoint), "SET");
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_command_is_a_request);
	tcase_add_test(tcase, pipelines_of_16_and_64_are_counted_exactly);
	tcase_add_test(tcase, pipelines_of_any_mixture_cut_anywhere_are_counted_exactly);
	tcase_add_test(tcase, commands_alike_answered_in_pieces_have_times_of_their_own);
	tcase_add_test(tcase, commands_alike_are_reset_one_by_one_at_close);
	tcase_add_test(tcase, of_commands_alike_each_is_worked_for_as_often);
	tcase_add_test(tcase, each_command_of_a_pipeline_has_a_beginning_of_its_own);
	tcase_add_test(tcase, inline_commands_are_commands);
	tcase_add_test(tcase, the_first_command_may_come_byte_by_byte);
	tcase_add_test(tcase, error_replies_are_counted_by_their_first_word);
	tcase_add_test(tcase, transactions_have_one_reply_for_each_command);
	tcase_add_test(tcase, pushes_and_attributes_are_no_replies);
	tcase_add_test(tcase, large_strings_and_nested_replies_pass_in_many_writes);
	tcase_add_test(tcase, a_subscriber_is_a_stream_whose_commands_are_counted);
	tcase_add_test(tcase, in_resp3_what_is_pushed_is_no_answer_and_arrays_are);
	tcase_add_test(tcase, a_list_that_begins_like_a_message_is_an_answer_to_who_did_not_subscribe);
	tcase_add_test(tcase, a_subscriber_that_is_given_up_leaves_no_stream_open);
	tcase_add_test(tcase, a_replica_is_a_stream_once_its_dump_begins);
	tcase_add_test(tcase, a_refused_subscriber_goes_on_with_commands);
	tcase_add_test(tcase, a_client_that_wants_no_replies_is_not_waited_for);
	tcase_add_test(tcase, commands_without_a_reply_at_close_are_reset_and_half_a_command_is_none);
	tcase_add_test(tcase, a_protocol_error_counts_with_the_reply_it_gets);
	tcase_add_test(tcase, unknown_commands_are_other);
	tcase_add_test(tcase, empty_commands_have_no_reply);
	tcase_add_test(tcase, a_reply_that_is_none_is_a_parse_error_for_all_that_wait);
	tcase_add_test(tcase, the_thread_works_for_each_command_of_a_pipeline_by_its_share);
	tcase_add_test(tcase, receiving_the_rest_of_a_value_is_work_for_its_command);
}

int main(void)
{
	return check_main("redis_traffic", add_tests);
}
