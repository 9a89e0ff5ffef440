#include "../../../shim/requests/memcached.h"
#include "../../../shim/segment/segment.h"
#include "check_main.h"
#include "guarded.h"

#include <stdarg.h>
#include <stdio.h>

/* What a parser said, one item a line. */
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

/* Tags by the order in which they come first: hashes are nothing to read. */
static int number_of_tag(uint32_t tag)
{
	static uint32_t tags[64];
	static int count;

	if (!tag)
		return 0;
	for (int i = 0; i < count; i++)
		if (tags[i] == tag)
			return i + 1;
	ck_assert_int_lt(count, 64);
	tags[count++] = tag;
	return count;
}

static void say_command(struct log *log, const struct memcached_command *command, enum memcached_event event)
{
	if (event == MEMCACHED_BROKEN) {
		say(log, "broken\n");
		return;
	}
	say(log, "%s%s%s%s%s\n", memcached_operation_name(command->asked.operation), command->asked.is_binary ? " binary" : "",
	    command->asked.is_quiet ? " quiet" : "", command->has_no_answer ? " noreply" : "",
	    command->opens_stream ? " stream" : "");
}

static void feed_command(struct memcached_command *command, const char *bytes, size_t n, struct log *log)
{
	const char *copy = guarded(bytes, n);
	struct memcached_step step;

	do {
		step = memcached_read_command(command, copy, n);
		ck_assert_uint_le(step.used_bytes, n);
		copy += step.used_bytes;
		n -= step.used_bytes;
		if (step.event != MEMCACHED_MORE)
			say_command(log, command, step.event);
	} while (step.event != MEMCACHED_MORE);
	ck_assert_uint_eq(n, 0);
}

static void say_reply(struct log *log, const struct memcached_reply *reply, enum memcached_event event)
{
	static const char *const answers[] = {
		[MEMCACHED_ANSWER_HD] = "HD", [MEMCACHED_ANSWER_VA] = "VA", [MEMCACHED_ANSWER_EN] = "EN",
		[MEMCACHED_ANSWER_NF] = "NF", [MEMCACHED_ANSWER_NS] = "NS", [MEMCACHED_ANSWER_EX] = "EX",
		[MEMCACHED_ANSWER_MN] = "MN", [MEMCACHED_ANSWER_UNKNOWN] = "unknown",
	};

	if (event == MEMCACHED_BROKEN)
		say(log, "broken\n");
	else if (reply->error != SEG_ERROR_NONE)
		say(log, "%s\n", seg_error_names[reply->error]);
	else
		say(log, "%s\n", answers[reply->answer] ? answers[reply->answer] : "plain");
}

static void feed_reply(struct memcached_reply *reply, const char *bytes, size_t n, struct log *log)
{
	const char *copy = guarded(bytes, n);
	struct memcached_step step;

	do {
		step = memcached_read_reply(reply, copy, n);
		ck_assert_uint_le(step.used_bytes, n);
		copy += step.used_bytes;
		n -= step.used_bytes;
		if (step.event != MEMCACHED_MORE)
			say_reply(log, reply, step.event);
	} while (step.event != MEMCACHED_MORE);
	ck_assert_uint_eq(n, 0);
}

enum side { COMMANDS, REPLIES };

/* What comes of bytes in pieces that end at the places of ends, and at n. */
static const char *items_of(enum side side, const char *bytes, size_t n, const size_t *ends, size_t count)
{
	static struct log log;
	struct memcached_command command = { 0 };
	struct memcached_reply reply = { 0 };
	size_t begin = 0;

	log.n = 0;
	log.text[0] = '\0';
	for (size_t i = 0; i <= count; i++) {
		size_t end = i < count ? ends[i] : n;
		if (side == COMMANDS)
			feed_command(&command, bytes + begin, end - begin, &log);
		else
			feed_reply(&reply, bytes + begin, end - begin, &log);
		begin = end;
	}
	return log.text;
}

static const char *items_bytewise(enum side side, const char *bytes, size_t n)
{
	static size_t ends[GUARDED_BYTES];

	for (size_t i = 0; i < n; i++)
		ends[i] = i;
	return items_of(side, bytes, n, ends, n);
}

static void assert_items_n(enum side side, const char *bytes, size_t n, const char *expected)
{
	ck_assert_str_eq(items_of(side, bytes, n, NULL, 0), expected);
	ck_assert_str_eq(items_bytewise(side, bytes, n), expected);
	for (size_t first = 0; first <= n; first++)
		for (size_t second = first; second <= n && n < 200; second++)
			ck_assert_str_eq(items_of(side, bytes, n, (size_t[]){ first, second }, 2), expected);
	for (size_t first = 0; first <= n; first++)
		ck_assert_str_eq(items_of(side, bytes, n, &first, 1), expected);
}

#define KEY_250                                                                                                        \
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" \
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk" \
	"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

/* As a client writes it, and what memcached 1.6.18 takes it for (each answered by it in the same number of answers). */
static const struct {
	enum side side;
	const char *text;
	const char *items;
} texts[] = {
	{ COMMANDS, "get a\r\n", "get\n" },
	{ COMMANDS, "get a b c\r\ngets a\r\ngat 10 a b\r\ngats 0 a\r\n", "get\ngets\ngat\ngats\n" },
	{ COMMANDS, "get a\nget b\n", "get\nget\n" },
	{ COMMANDS, "get\r\ngets \r\n", "get\ngets\n" },
	{ COMMANDS, " get  a \r\n", "get\n" },
	{ COMMANDS, "set k 0 0 5\r\nhello\r\nget k\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 0\r\n\r\nadd k 1 -1 2\r\n\r\n\r\n", "set\nadd\n" },
	{ COMMANDS, "replace k 0 0 1\r\na\r\nappend k 0 0 1\r\nb\r\nprepend k 0 0 1\r\nc\r\ncas k 0 0 1 77\r\nd\r\n",
	  "replace\nappend\nprepend\ncas\n" },
	{ COMMANDS, "set k 0 0 9\r\nget a\r\nb\n\r\nget b\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 1 noreply\r\na\r\ncas k 0 0 1 5 noreply\r\na\r\nset k 0 0 1 norepl\r\na\r\n",
	  "set noreply\ncas noreply\nset\n" },
	{ COMMANDS, "set k 0 0 2\na\n\r\nversion\n", "set\nversion\n" },
	{ COMMANDS, "delete k\r\ndelete k noreply\r\ndelete k 0 noreply\r\ndelete noreply\r\n",
	  "delete\ndelete noreply\ndelete noreply\ndelete\n" },
	{ COMMANDS, "incr k 1\r\ndecr k 1 noreply\r\ntouch k 100\r\ntouch k 100 noreply\r\nincr k noreply\r\n",
	  "incr\ndecr noreply\ntouch\ntouch noreply\nincr noreply\n" },
	{ COMMANDS, "flush_all\r\nflush_all noreply\r\nflush_all 10 noreply\r\nverbosity 1\r\nverbosity 1 noreply\r\n",
	  "flush_all\nflush_all noreply\nflush_all noreply\nverbosity\nverbosity noreply\n" },
	{ COMMANDS, "stats\r\nstats items\r\nversion\r\nlru mode flat\r\nlru_crawler metadump all\r\nslabs automove 1\r\n",
	  "stats\nstats\nversion\nlru\nlru_crawler\nslabs\n" },
	{ COMMANDS, "watch fetchers\r\n", "watch stream\n" },
	{ COMMANDS, "quit\r\nget a\r\n", "quit noreply\n" },
	{ COMMANDS, "\r\n\n \r\n", "_OTHER\n_OTHER\n_OTHER\n" },
	{ COMMANDS, "GET a\r\nfoo bar\r\nsetx k 0 0 1\r\nnoop\r\n", "_OTHER\n_OTHER\n_OTHER\n_OTHER\n" },
	{ COMMANDS, "mg k\r\nmg k v q Oabc\r\nmn\r\n", "mg\nmg quiet\nmn\n" },
	{ COMMANDS, "ms k 5 q\r\nhello\r\nms k 0\r\n\r\nmd k q\r\nma k q D10\r\nme k\r\n",
	  "ms quiet\nms\nmd quiet\nma quiet\nme\n" },
	{ COMMANDS, "mg q\r\nmg k q1\r\nmg k Oq\r\n", "mg\nmg quiet\nmg\n" },
	/* refused for the line, which then has no data */
	{ COMMANDS, "set k 0 0\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 5 6 7\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k x 0 5\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k -1 0 5\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 x 5\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 -1\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 5x\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 2147483647\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "set k 0 0 99999999999999999999999999\r\nget a\r\n", "set\nget\n" },
	{ COMMANDS, "cas k 0 0 1\r\nget a\r\n", "cas\nget\n" },
	{ COMMANDS, "cas k 0 0 1 x\r\nget a\r\n", "cas\nget\n" },
	{ COMMANDS, "ms k\r\nms k x\r\nget a\r\n", "ms\nms\nget\n" },
	{ COMMANDS, "set " KEY_250 " 0 0 1\r\na\r\nset " KEY_250 "k 0 0 1\r\nget a\r\n", "set\nset\nget\n" },
	{ COMMANDS, "ms " KEY_250 " 1\r\na\r\nms " KEY_250 "k 1\r\nmn\r\n", "ms\nms\nmn\n" },
	{ COMMANDS, "cas k 0 0 1 18446744073709551615\r\na\r\nget b\r\n", "cas\nget\n" },
	/* answers */
	{ REPLIES, "END\r\nSTORED\r\nNOT_STORED\r\nEXISTS\r\nNOT_FOUND\r\nDELETED\r\nTOUCHED\r\nOK\r\nRESET\r\n",
	  "plain\nplain\nplain\nplain\nplain\nplain\nplain\nplain\nplain\n" },
	{ REPLIES, "VALUE a 0 5\r\nhello\r\nEND\r\n", "plain\n" },
	{ REPLIES, "VALUE a 0 5 7\r\nEND\r\n\r\nVALUE b 1 0\r\n\r\nEND\r\nEND\r\n", "plain\nplain\n" },
	{ REPLIES, "VALUE a 0 1\r\nx\r\nSERVER_ERROR out of memory writing get response\r\n", "SERVER_ERROR\n" },
	{ REPLIES, "12\r\n0\r\n18446744073709551615\r\n", "plain\nplain\nplain\n" },
	{ REPLIES, "9 \r\nVERSION 1.6.18\r\n", "plain\nplain\n" },
	{ REPLIES, "STAT pid 1\r\nSTAT version 1.6.18\r\nEND\r\nOK\r\n", "plain\nplain\n" },
	{ REPLIES, "96 1\r\n128 7\r\nEND\r\n", "plain\n" },
	{ REPLIES, "ITEM a [1 b; 0 s]\r\nEND\r\nPREFIX a get 1 hit 1 set 1 del 0\r\nEND\r\n", "plain\nplain\n" },
	{ REPLIES, "key=a exp=-1 la=1 cas=2 fetch=no cls=1 size=63\r\nEND\r\n", "plain\n" },
	{ REPLIES, "mg a\r\nmg b\r\nEN\r\n", "EN\n" },
	{ REPLIES, "ERROR\r\nERROR cannot pipeline\r\nERROR: shutdown not enabled\r\n", "ERROR\nERROR\nERROR\n" },
	{ REPLIES, "CLIENT_ERROR bad data chunk\r\nSERVER_ERROR object too large for cache\r\n",
	  "CLIENT_ERROR\nSERVER_ERROR\n" },
	{ REPLIES, "BUSY currently processing crawler request\r\nWATCHER_TOO_MANY\r\n", "unknown\nunknown\n" },
	{ REPLIES, "HD\r\nVA 5 Oabc\r\nhello\r\nEN\r\nNF Oq\r\nNS\r\nEX\r\nMN\r\nME a exp=1\r\n",
	  "HD\nVA\nEN\nNF\nNS\nEX\nMN\nplain\n" },
	{ REPLIES, "HD kfoo Oabc b\r\nVA 0\r\n\r\nEN\n", "HD\nVA\nEN\n" },
	/* none of memcached's */
	{ REPLIES, "+OK\r\n", "broken\n" },
	{ REPLIES, "$5\r\nhello\r\n", "broken\n" },
	{ REPLIES, "-ERR unknown command\r\n", "broken\n" },
	{ REPLIES, "HTTP/1.1 400 Bad Request\r\n\r\n", "broken\n" },
	{ REPLIES, "220 mail ready\r\n", "broken\n" },
	{ REPLIES, "hello\r\n", "broken\n" },
	{ REPLIES, "\r\n", "broken\n" },
	{ REPLIES, "\n", "broken\n" },
	{ REPLIES, "VALUE a 0\r\n", "broken\n" },
	{ REPLIES, "VALUE a 0 x\r\n", "broken\n" },
	{ REPLIES, "VALUE a 0 -5\r\n", "broken\n" },
	{ REPLIES, "VA\r\n", "broken\n" },
	{ REPLIES, "STAT a 1\r\nlower\r\n", "broken\n" },
	{ REPLIES, "END\r\n\x81\r\n", "plain\nbroken\n" },
};

START_TEST(every_text_gives_the_same_items_split_anywhere)
{
	assert_items_n(texts[_i].side, texts[_i].text, strlen(texts[_i].text), texts[_i].items);
}
END_TEST

/* A packet: header, then body_bytes of x. */
static size_t packet(char *out, uint8_t magic, uint8_t opcode, uint16_t status, uint32_t opaque, uint32_t body_bytes)
{
	memset(out, 0, 24);
	out[0] = (char)magic;
	out[1] = (char)opcode;
	out[6] = (char)(status >> 8);
	out[7] = (char)status;
	for (int i = 0; i < 4; i++) {
		out[8 + i] = (char)(body_bytes >> (24 - 8 * i));
		out[12 + i] = (char)(opaque >> (24 - 8 * i));
	}
	memset(out + 24, 'x', body_bytes);
	return 24 + body_bytes;
}

START_TEST(binary_commands_bear_the_names_of_text)
{
	static const struct {
		uint8_t opcode;
		const char *item;
	} commands[] = {
		{ 0x00, "get binary\n" }, { 0x09, "get binary quiet\n" }, { 0x0c, "get binary\n" }, { 0x0d, "get binary quiet\n" },
		{ 0x01, "set binary\n" }, { 0x11, "set binary quiet\n" }, { 0x02, "add binary\n" }, { 0x03, "replace binary\n" },
		{ 0x04, "delete binary\n" }, { 0x05, "incr binary\n" }, { 0x06, "decr binary\n" }, { 0x08, "flush_all binary\n" },
		{ 0x0a, "noop binary\n" }, { 0x0b, "version binary\n" }, { 0x0e, "append binary\n" }, { 0x10, "stats binary\n" },
		{ 0x1c, "touch binary\n" }, { 0x1d, "gat binary\n" }, { 0x24, "gat binary quiet\n" },
		{ 0x20, "sasl_list_mechs binary\n" }, { 0x21, "sasl_auth binary\n" }, { 0x22, "sasl_step binary\n" },
		{ 0x07, "quit binary\n" }, { 0x17, "quit binary quiet noreply\n" }, { 0x1f, "_OTHER binary\n" },
		{ 0x30, "_OTHER binary\n" }, { 0xff, "_OTHER binary\n" },
	};
	char bytes[64];

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		size_t n = packet(bytes, 0x80, commands[i].opcode, 0, 7, commands[i].opcode == 0x0a ? 0 : 9);
		bool is_quit = commands[i].opcode == 0x07 || commands[i].opcode == 0x17;
		assert_items_n(COMMANDS, bytes, n, commands[i].item);
		ck_assert_int_eq(strlen(items_of(COMMANDS, bytes, n - 1, NULL, 0)) > 0, is_quit);
	}
}
END_TEST

START_TEST(a_pipeline_of_binary_commands_is_split_into_them)
{
	char bytes[512];
	size_t n = packet(bytes, 0x80, 0x11, 0, 1, 30);

	n += packet(bytes + n, 0x80, 0x09, 0, 2, 3);
	n += packet(bytes + n, 0x80, 0x0a, 0, 3, 0);
	assert_items_n(COMMANDS, bytes, n, "set binary quiet\nget binary quiet\nnoop binary\n");
	n += (size_t)sprintf(bytes + n, "get a\r\n");
	assert_items_n(COMMANDS, bytes, n, "set binary quiet\nget binary quiet\nnoop binary\nbroken\n");
}
END_TEST

START_TEST(a_text_connection_stays_one)
{
	assert_items_n(COMMANDS, "get a\r\n\x80\r\nget b\r\n", 17, "get\n_OTHER\nget\n");
}
END_TEST

START_TEST(binary_statuses_are_errors_by_closed_names_and_misses_none)
{
	static const struct {
		uint16_t status;
		const char *item;
	} statuses[] = {
		{ 0x00, "plain\n" }, { 0x01, "plain\n" }, { 0x02, "plain\n" }, { 0x05, "plain\n" }, { 0x21, "plain\n" },
		{ 0x03, "too_large\n" }, { 0x04, "invalid_arguments\n" }, { 0x06, "non_numeric\n" }, { 0x20, "auth_error\n" },
		{ 0x81, "unknown_command\n" }, { 0x82, "out_of_memory\n" }, { 0x84, "_OTHER\n" }, { 0x100, "_OTHER\n" },
	};
	char bytes[64];

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		size_t n = packet(bytes, 0x81, 0x01, statuses[i].status, 7, 9);
		assert_items_n(REPLIES, bytes, n, statuses[i].item);
		assert_items_n(REPLIES, bytes, packet(bytes, 0x81, 0x01, statuses[i].status, 7, 0), statuses[i].item);
	}
}
END_TEST

START_TEST(a_binary_stat_is_one_answer_of_many_packets)
{
	char bytes[512];
	size_t n = packet(bytes, 0x81, 0x10, 0, 1, 12);

	n += packet(bytes + n, 0x81, 0x10, 0, 1, 20);
	n += packet(bytes + n, 0x81, 0x10, 0, 1, 0);
	n += packet(bytes + n, 0x81, 0x10, 1, 1, 9); /* an unknown group of statistics */
	n += packet(bytes + n, 0x81, 0x0a, 0, 2, 0);
	assert_items_n(REPLIES, bytes, n, "plain\nplain\nplain\n");
	bytes[24 + 12] = 'x';
	ck_assert_str_eq(items_of(REPLIES, bytes, n, NULL, 0), "broken\n");
}
END_TEST

static char big[GUARDED_BYTES];

START_TEST(a_multi_get_has_as_many_keys_as_it_likes)
{
	size_t n = (size_t)sprintf(big, "get");

	while (n < 100000)
		n += (size_t)sprintf(big + n, " key%zu", n);
	n += (size_t)sprintf(big + n, "\r\nversion\r\n");
	ck_assert_str_eq(items_of(COMMANDS, big, n, NULL, 0), "get\nversion\n");
	ck_assert_str_eq(items_bytewise(COMMANDS, big, n), "get\nversion\n");
}
END_TEST

START_TEST(another_line_without_end_is_broken)
{
	memset(big, 'x', 70000);
	ck_assert_str_eq(items_of(COMMANDS, big, 70000, NULL, 0), "broken\n");
	memcpy(big, "STAT ", 5);
	ck_assert_str_eq(items_of(REPLIES, big, 70000, NULL, 0), "broken\n");
}
END_TEST

START_TEST(bytes_of_values_may_pass_unseen_but_not_their_end)
{
	struct memcached_reply reply = { 0 };
	const char *text = "VALUE a 0 100\r\nxx";

	ck_assert(!memcached_skip_reply(&reply, 1));
	ck_assert_int_eq(memcached_read_reply(&reply, text, 17).event, MEMCACHED_MORE);
	ck_assert(!memcached_skip_reply(&reply, 100));
	ck_assert(memcached_skip_reply(&reply, 98));
	ck_assert_int_eq(memcached_read_reply(&reply, "\r\nEND\r\n", 7).event, MEMCACHED_ITEM);
	ck_assert(!memcached_skip_reply(&reply, 1));
}
END_TEST

static struct memcached_asked asked_of(const char *text, size_t n)
{
	struct memcached_command command = { 0 };
	struct memcached_step step = memcached_read_command(&command, text, n);

	ck_assert_int_eq(step.event, MEMCACHED_ITEM);
	return command.asked;
}

static struct memcached_reply reply_of(const char *text, size_t n)
{
	struct memcached_reply reply = { 0 };

	ck_assert_int_eq(memcached_read_reply(&reply, text, n).event, MEMCACHED_ITEM);
	return reply;
}

START_TEST(answers_find_their_commands)
{
	static const struct {
		const char *command;
		const char *reply;
		bool is_its;
	} pairs[] = {
		{ "get a\r\n", "END\r\n", true },
		{ "get a\r\n", "ERROR\r\n", true },
		{ "mn\r\n", "MN\r\n", true },
		{ "mg a q\r\n", "MN\r\n", false },
		{ "mg a q\r\n", "EN\r\n", false },
		{ "mg a q v\r\n", "VA 0\r\n\r\n", true },
		{ "mg a q\r\n", "HD\r\n", true },
		{ "mg a q\r\n", "CLIENT_ERROR invalid flag\r\n", true },
		{ "mg a q\r\n", "STORED\r\n", false },
		{ "ms a 0 q\r\n\r\n", "HD\r\n", false },
		{ "ms a 0 q\r\n\r\n", "NS\r\n", true },
		{ "ms a 0 q\r\n\r\n", "EX\r\n", true },
		{ "ms a 0 q\r\n\r\n", "NF\r\n", true },
		{ "md a q\r\n", "NF\r\n", true },
		{ "md a q\r\n", "NS\r\n", false },
		{ "md a q\r\n", "HD\r\n", false },
		{ "ma a q\r\n", "NF\r\n", true },
		{ "ma a q\r\n", "HD\r\n", false },
		{ "mg a q\r\n", "ERROR\r\n", false },
		{ "get a\r\n", "STORED\r\n", false },
		{ "get a\r\n", "OK\r\n", false },
		{ "set a 0 0 0\r\n\r\n", "EXISTS\r\n", true },
		{ "delete a\r\n", "NOT_FOUND\r\n", true },
		{ "incr a 1\r\n", "5\r\n", true },
		{ "version\r\n", "5\r\n", false },
		{ "mn\r\n", "ERROR\r\n", false },
		{ "stats reset\r\n", "RESET\r\n", true },
		{ "slabs reassign 1 2\r\n", "BUSY x\r\n", true },
		{ "unheard of\r\n", "HEARD\r\n", true },
		{ "unheard of\r\n", "ERROR\r\n", true },
		{ "mg a q Oone\r\n", "HD Oone\r\n", true },
		{ "mg a q Oone\r\n", "HD Otwo\r\n", false },
		{ "mg a q Oone\r\n", "HD\r\n", false },
		{ "mg a q Oone\r\n", "SERVER_ERROR out of memory\r\n", true },
		{ "mg a q k\r\n", "HD ka\r\n", true },
		{ "mg a q k\r\n", "HD kb\r\n", false },
		{ "mg abc k q v\r\n", "VA 1 kabc\r\nx\r\n", true },
		{ "mg abc k q v\n", "VA 1 kabc\nx\r\n", true },
		{ "mg abc k q Oone\r\n", "HD kabc Oone\r\n", true },
		{ "mg abc k q Oone\r\n", "HD Oone kxyz\r\n", true },
		{ "mg a Oone\r\n", "EN Oone\r\n", true },
		{ "mg a Oone\r\n", "EN Otwo\r\n", false },
		{ "mg a Oone\r\n", "ERROR\r\n", true },
		{ "mn\r\n", "HD Otwo\r\n", false },
		{ "get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n", true },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct memcached_asked asked = asked_of(pairs[i].command, strlen(pairs[i].command));
		struct memcached_reply reply = reply_of(pairs[i].reply, strlen(pairs[i].reply));
		ck_assert_msg(memcached_may_answer(&reply, &asked) == pairs[i].is_its, "%s%s", pairs[i].command, pairs[i].reply);
	}
}
END_TEST

START_TEST(tags_are_the_same_however_a_line_is_cut)
{
	const char *text = "mg abc v q k Ofirst\r\nVA 1 kabc Ofirst\r\nx\r\n";
	struct memcached_asked whole = asked_of(text, 21);

	ck_assert_int_eq(number_of_tag(whole.tag), number_of_tag(reply_of(text + 21, 21).tag));
	for (size_t i = 0; i <= 21; i++) {
		struct memcached_command command = { 0 };
		struct memcached_reply reply = { 0 };
		memcached_read_command(&command, guarded(text, i), i);
		memcached_read_command(&command, guarded(text + i, 21 - i), 21 - i);
		ck_assert_uint_eq(command.asked.tag, whole.tag);
		memcached_read_reply(&reply, guarded(text + 21, i), i);
		memcached_read_reply(&reply, guarded(text + 21 + i, 21 - i), 21 - i);
		ck_assert_uint_eq(reply.tag, whole.tag);
	}
}
END_TEST

START_TEST(binary_answers_find_their_commands_by_what_they_do_and_opaque)
{
	char bytes[64];
	struct memcached_asked quiet = asked_of(bytes, packet(bytes, 0x80, 0x09, 0, 5, 1));
	struct memcached_asked loud = asked_of(bytes, packet(bytes, 0x80, 0x00, 0, 6, 1));
	struct memcached_reply its = reply_of(bytes, packet(bytes, 0x81, 0x09, 0, 5, 8));
	struct memcached_reply next = reply_of(bytes, packet(bytes, 0x81, 0x09, 0, 6, 8));
	struct memcached_reply noop = reply_of(bytes, packet(bytes, 0x81, 0x0a, 0, 5, 0));

	ck_assert(memcached_may_answer(&its, &quiet));
	ck_assert(!memcached_may_answer(&next, &quiet));
	ck_assert(!memcached_may_answer(&noop, &quiet));
	ck_assert(!memcached_may_answer(&noop, &loud));
}
END_TEST

START_TEST(a_first_line_is_memcached_s_if_its_words_fit)
{
	static const struct {
		const char *line;
		bool may_begin;
	} lines[] = {
		{ "get k", true }, { "gets a b", true }, { "set k 0 0 5", true }, { "set k 0 0 5 noreply", true }, { "mg k v", true },
		{ "mn", true }, { "stats", true }, { "version", true }, { "quit", true }, { "delete k", true }, { "incr k 5", true },
		{ "ms k 5", true }, { "flush_all", true }, { "watch mutations", true }, { "get", false }, { "set k v", false },
		{ "incr k", false }, { "append k v", false }, { "touch k", false }, { "ping", false }, { "PING", false },
		{ "GET k", false }, { "SET k 0 0 5", false }, { "GET / HTTP/1.1", false }, { "*1", false }, { "", false },
		{ "noop", false }, { "get / HTTP/1.1", true }, { "hello world", false }, { "set k 0 0 x", false }, { "ms k x", false },
	};
	char bytes[64];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t n = strlen(lines[i].line);
		ck_assert_msg(memcached_may_begin(guarded(lines[i].line, n), n) == lines[i].may_begin, "%s", lines[i].line);
	}
	size_t n = packet(bytes, 0x80, 0x0a, 0, 0, 0);
	ck_assert(memcached_may_begin(bytes, n));
	ck_assert(!memcached_may_begin(bytes, n - 1));
	bytes[4] = 9; /* extras longer than the body */
	ck_assert(!memcached_may_begin(bytes, n));
	packet(bytes, 0x80, 0x47, 0, 0, 0);
	ck_assert(!memcached_may_begin(bytes, n));
}
END_TEST

START_TEST(a_command_is_named_before_its_data_is_there)
{
	struct memcached_command command = { 0 };

	memcached_read_command(&command, "set k 0", 7);
	ck_assert(command.is_named && memcached_command_is_within(&command));
	memcached_read_command(&command, " 0 1000\r\nabc", 12);
	ck_assert(command.is_named && memcached_command_is_within(&command));
	ck_assert_int_eq(command.asked.operation, MEMCACHED_SET);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, every_text_gives_the_same_items_split_anywhere, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(tcase, binary_commands_bear_the_names_of_text);
	tcase_add_test(tcase, a_pipeline_of_binary_commands_is_split_into_them);
	tcase_add_test(tcase, a_text_connection_stays_one);
	tcase_add_test(tcase, binary_statuses_are_errors_by_closed_names_and_misses_none);
	tcase_add_test(tcase, a_binary_stat_is_one_answer_of_many_packets);
	tcase_add_test(tcase, a_multi_get_has_as_many_keys_as_it_likes);
	tcase_add_test(tcase, another_line_without_end_is_broken);
	tcase_add_test(tcase, bytes_of_values_may_pass_unseen_but_not_their_end);
	tcase_add_test(tcase, answers_find_their_commands);
	tcase_add_test(tcase, tags_are_the_same_however_a_line_is_cut);
	tcase_add_test(tcase, binary_answers_find_their_commands_by_what_they_do_and_opaque);
	tcase_add_test(tcase, a_first_line_is_memcached_s_if_its_words_fit);
	tcase_add_test(tcase, a_command_is_named_before_its_data_is_there);
}

int main(void)
{
	return check_main("memcached", add_tests);
}
