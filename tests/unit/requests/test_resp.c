#include "../../../shim/requests/resp.h"
#include "check_main.h"
#include "guarded.h"

#include <stdio.h>

/* What a parser said, one event after the other. */
struct log {
	char text[64 * 1024];
	size_t n;
};

static void say(struct log *log, const char *text, size_t n)
{
	ck_assert_uint_lt(log->n + n + 1, sizeof(log->text));
	memcpy(log->text + log->n, text, n);
	log->n += n;
	log->text[log->n++] = ';';
	log->text[log->n] = '\0';
}

/* What a run of commands was one by one: so many, with the same name, in the same bytes. */
static void check_commands(const struct resp_command *last, const char *bytes, const struct resp_run *run)
{
	size_t used = 0;

	for (uint32_t i = 0; i < run->count; i++) {
		struct resp_command command = { 0 };
		struct resp_step step = resp_read_command(&command, bytes + used, run->used_bytes - used);
		ck_assert_int_eq(step.event, RESP_ITEM);
		ck_assert_uint_eq(command.command, last->command);
		used += step.used_bytes;
	}
	ck_assert_uint_eq(used, run->used_bytes);
}

static void feed_commands(struct resp_command *command, const char *bytes, size_t n, struct log *log)
{
	const char *copy = guarded(bytes, n);
	struct resp_run run;

	do {
		run = resp_read_commands(command, copy, n);
		ck_assert_uint_le(run.used_bytes, n);
		if (run.event == RESP_ITEM && run.count > 1)
			check_commands(command, copy, &run);
		copy += run.used_bytes;
		n -= run.used_bytes;
		if (run.event == RESP_ITEM) {
			const char *name = redis_command_name(command->command);
			ck_assert(command->is_named);
			for (uint32_t i = 0; i < run.count; i++)
				say(log, name, strlen(name));
		} else if (run.event == RESP_BROKEN) {
			say(log, "broken", 6);
		}
	} while (run.event != RESP_MORE);
	ck_assert_uint_eq(n, 0);
}

/* An error by its word; anything else by its type, and the first word in it. */
static void say_reply(struct log *log, const struct resp_reply *reply)
{
	char text[1 + RESP_WORD_BYTES];
	bool is_error = (reply->top == '-' || reply->top == '!') && reply->word_bytes;

	text[0] = reply->top;
	memcpy(text + 1, reply->word, reply->word_bytes);
	say(log, text + is_error, 1u + reply->word_bytes - is_error);
}

enum { RUN_MAX = 3 };

/* A run one by one: so many plain replies, in the same bytes. */
static void say_replies(struct log *log, const char *bytes, const struct resp_run *run)
{
	size_t used = 0;

	for (uint32_t i = 0; i < run->count; i++) {
		struct resp_reply reply = { 0 };
		struct resp_step step = resp_read_reply(&reply, bytes + used, run->used_bytes - used);
		ck_assert_int_eq(step.event, RESP_ITEM);
		ck_assert_ptr_nonnull(strchr("$+:", reply.top));
		say_reply(log, &reply);
		used += step.used_bytes;
	}
	ck_assert_uint_eq(used, run->used_bytes);
}

static void feed_replies(struct resp_reply *reply, const char *bytes, size_t n, struct log *log)
{
	const char *copy = guarded(bytes, n);
	struct resp_run run;

	do {
		run = resp_read_replies(reply, copy, n, RUN_MAX);
		ck_assert_uint_le(run.used_bytes, n);
		ck_assert_uint_le(run.count, RUN_MAX);
		if (run.event == RESP_ITEM && run.count > 1)
			say_replies(log, copy, &run);
		else if (run.event == RESP_ITEM)
			say_reply(log, reply);
		else if (run.event == RESP_BROKEN)
			say(log, "broken", 6);
		copy += run.used_bytes;
		n -= run.used_bytes;
	} while (run.event != RESP_MORE);
	ck_assert_uint_eq(n, 0);
}

/* The events of text given as [0, first), [first, second), [second, n); with step 1: byte by byte. */
static const char *events_of(bool is_reply, const char *text, size_t n, size_t first, size_t second)
{
	static struct log log;
	struct resp_command command = { 0 };
	struct resp_reply reply = { 0 };
	const size_t ends[] = { first, second, n };
	size_t begin = 0;

	log.n = 0;
	log.text[0] = '\0';
	for (int i = 0; i < 3; i++) {
		if (is_reply)
			feed_replies(&reply, text + begin, ends[i] - begin, &log);
		else
			feed_commands(&command, text + begin, ends[i] - begin, &log);
		begin = ends[i];
	}
	return log.text;
}

static const char *events_bytewise(bool is_reply, const char *text, size_t n)
{
	static struct log log;
	struct resp_command command = { 0 };
	struct resp_reply reply = { 0 };

	log.n = 0;
	log.text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (is_reply)
			feed_replies(&reply, text + i, 1, &log);
		else
			feed_commands(&command, text + i, 1, &log);
	}
	return log.text;
}

static const struct {
	bool is_reply;
	const char *text;
	const char *events;
} exchanges[] = {
	{ false, "*1\r\n$4\r\nPING\r\n", "PING;" },
	{ false, "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*3\r\n$3\r\nset\r\n$1\r\na\r\n$0\r\n\r\n", "GET;SET;" },
	{ false, "*3\r\n$6\r\nCONFIG\r\n$3\r\nget\r\n$4\r\nsave\r\n", "CONFIG GET;" },
	{ false, "*1\r\n$7\r\nCOMMAND\r\n*2\r\n$7\r\nCOMMAND\r\n$4\r\nDOCS\r\n", "COMMAND;COMMAND DOCS;" },
	{ false, "*2\r\n$6\r\nCLIENT\r\n$5\r\nSETUP\r\n", "_OTHER;" },
	{ false, "*3\r\n$6\r\nclient\r\n$5\r\nreply\r\n$3\r\noff\r\n*2\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n", "CLIENT REPLY OFF;CLIENT REPLY;" },
	{ false, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$5\r\nMAYBE\r\nclient reply on\r\nclient reply\r\nclient\r\n",
	  "_OTHER;CLIENT REPLY ON;CLIENT REPLY;CLIENT;" },
	{ false, "*2\r\n$7\r\nCLUSTER\r\n$21\r\nCOUNT-FAILURE-REPORTS\r\n", "CLUSTER COUNT-FAILURE-REPORTS;" },
	{ false, "*2\r\n$20\r\nGEORADIUSBYMEMBER_RO\r\n$1\r\na\r\n", "GEORADIUSBYMEMBER_RO;" },
	{ false, "*1\r\n$4\r\nNOPE\r\n*1\r\n$40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n*1\r\n$0\r\n\r\n", "_OTHER;_OTHER;_OTHER;" },
	{ false, "*2\r\n$32\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n$1\r\nx\r\n", "_OTHER;" },
	{ false, "*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", "PING;" },
	{ false, "PING\r\n\r\nget key\r\n  \r\n config  get save\r\nCONFIG\r\nconfig \nnope nope\n", "PING;GET;CONFIG GET;CONFIG;CONFIG;_OTHER;" },
	{ false, "PING\r\n*1\r\n$4\r\nECHO\r\nPING\r\n", "PING;ECHO;PING;" },
	{ false, "*2\n$4\nECHO\r\n$2\n\r\n\r\n", "ECHO;" },
	{ false, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$2\r\nbb\r\n*2\r\n$3\r\nGET\r\n$12\r\n*2\r\n$3\r\nGET\r\n\r\n*2\r\n$3\r\nSET\r\n$1\r\na\r\n",
	  "GET;GET;GET;SET;" },
	{ false, "*1\r\n$1\r\nX\r\n*1\r\n$1\r\nX\r\n*1\r\n$1\r\nY\r\n*1\r\n$1\r\nY\r\nPING\r\n", "_OTHER;_OTHER;_OTHER;_OTHER;PING;" },
	{ false, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$01\r\nb\r\n*2\r\n$3\r\nGET\r\n$x\r\n", "GET;GET;broken;" },
	{ false, "*2\r\n$7\r\nHGETALL\r\n$1\r\na\r\n*2\r\n$7\r\nHGETALX\r\n$1\r\na\r\n*2\r\n$7\r\nhgetall\r\n$1\r\na\r\n*3\r\n$7\r\nHGETALL\r\n$1\r\na\r\n$0\r\n\r\n",
	  "HGETALL;_OTHER;HGETALL;HGETALL;" },
	{ false, "*1\r\nPING\r\n", "broken;" },
	{ false, "*x\r\n", "broken;" },
	{ false, "*\r\n", "broken;" },
	{ false, "*1048577\r\n", "broken;" },
	{ false, "*1\r\n$-1\r\n", "broken;" },
	{ false, "*1\r\n$536870913\r\n", "broken;" },
	{ false, "*1\r\n$1x\r\n", "broken;" },
	{ false, "*1\r\n$9999999999999999999\r\n", "broken;" },
	/* replies */
	{ true, "+OK\r\n:1\r\n$-1\r\n$3\r\nabc\r\n$0\r\n\r\n*0\r\n*-1\r\n", "+;:;$;$;$;*;*;" },
	{ true, "+a long simple string that goes on\r\n+OK\r\n", "+;+;" },
	{ true, "-ERR unknown command\r\n-WRONGTYPE Operation\r\n-MOVED 3999 127.0.0.1:6381\r\n-OOM\r\n", "ERR;WRONGTYPE;MOVED;OOM;" },
	{ true, "-THISISALONGERWORDTHANISKEPT x\r\n+OK\r\n", "THISISALONGERWOR;+;" },
	{ true, "-\r\n", "-;" },
	{ true, "$1\r\na\r\n$-1\r\n:1\r\n+OK\r\n:2\r\n:3\r\n-ERR x\r\n:4\r\n$2\r\n:5\r\n:6\r\n", "$;$;:;+;:;:;ERR;:;$;:;" },
	{ true, "*3\r\n$1\r\na\r\n*2\r\n:1\r\n*1\r\n+x\r\n-ERR inside\r\n:2\r\n", "*a;:;" },
	{ true, "*2\r\n*0\r\n*-1\r\n+OK\r\n", "*;+;" },
	{ true, "%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n#t\r\n#f\r\n_\r\n,1.5\r\n(123456789012345678901234567890\r\n=5\r\ntxt:x\r\n", "%;_;,;(;=;" },
	{ true, "!21\r\nSYNTAX invalid syntax\r\n!3\r\nABC\r\n+OK\r\n", "SYNTAX;ABC;+;" },
	{ true, "*1\r\n!3\r\nABC\r\n", "*ABC;" },
	{ true, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\ntext\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", "*message;>invalidate;" },
	{ true, "*2\r\n:1\r\n$7\r\nmessage\r\n*1\r\n$-1\r\n*1\r\n$0\r\n\r\n*2\r\n*1\r\n$1\r\na\r\n$1\r\nb\r\n", "*;*;*;*;" },
	{ true, "*1\r\n$20\r\nlonger than any word\r\n*1\r\n$20\r\nlonger-than-any-word\r\n", "*longer;*longer-than-any-;" },
	{ true, "|1\r\n+key-popularity\r\n%2\r\n+a\r\n,0.1\r\n+b\r\n,0.2\r\n*1\r\n:1\r\n+OK\r\n", "*;+;" },
	{ true, "|1\r\n+ttl\r\n:3600\r\n-ERR no\r\n", "ERR;" },
	{ true, "*2\r\n|1\r\n+ttl\r\n:3600\r\n:1\r\n:2\r\n:3\r\n", "*;:;" },
	{ true, ">3\r\n+message\r\n+channel\r\n+text\r\n+OK\r\n>0\r\n", ">;+;>;" },
	{ true, "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n", "%;" },
	{ true, "HTTP/1.1 200 OK\r\n", "broken;" },
	{ true, "+OK\r\n?\r\n", "+;broken;" },
	{ true, "$?\r\n", "broken;" },
	{ true, "$\r\n", "broken;" },
	{ true, "*2\r\n+a\r\nx", "broken;" },
};

static void assert_everywhere(bool is_reply, const char *text, size_t n, const char *expected)
{
	ck_assert_str_eq(events_of(is_reply, text, n, n, n), expected);
	ck_assert_str_eq(events_bytewise(is_reply, text, n), expected);
	for (size_t first = 0; first <= n; first++)
		for (size_t second = first; second <= n; second++)
			ck_assert_str_eq(events_of(is_reply, text, n, first, second), expected);
}

START_TEST(every_exchange_gives_the_same_events_split_anywhere)
{
	assert_everywhere(exchanges[_i].is_reply, exchanges[_i].text, strlen(exchanges[_i].text), exchanges[_i].events);
}
END_TEST

START_TEST(binary_arguments_are_passed_by_their_length)
{
	const char text[] = "*3\r\n$3\r\nSET\r\n$4\r\n\r\n*1\r\n$9\r\n\0\xff$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n";

	assert_everywhere(false, text, sizeof(text) - 1, "SET;PING;");
}
END_TEST

START_TEST(an_inline_command_of_64_kib_is_read_and_one_byte_more_is_broken)
{
	static char text[RESP_INLINE_BYTES + 3];

	for (size_t n = RESP_INLINE_BYTES; n <= RESP_INLINE_BYTES + 1; n++) {
		memset(text, 'x', n);
		memcpy(text, "ECHO ", 5);
		text[n] = '\n';
		const char *expected = n <= RESP_INLINE_BYTES ? "ECHO;" : "broken;";
		ck_assert_str_eq(events_of(false, text, n + 1, n + 1, n + 1), expected);
		ck_assert_str_eq(events_of(false, text, n + 1, 3, 40000), expected);
	}
}
END_TEST

START_TEST(a_name_is_known_before_the_value_has_come)
{
	struct resp_command command = { 0 };
	const char *text = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nabc";

	ck_assert_int_eq(resp_read_command(&command, text, strlen(text)).event, RESP_MORE);
	ck_assert(resp_command_is_within(&command));
	ck_assert(command.is_named);
	ck_assert_str_eq(redis_command_name(command.command), "SET");
}
END_TEST

START_TEST(nested_deeper_than_any_stack_a_reply_is_still_one)
{
	static char text[100000];
	size_t n = 0;

	for (int i = 0; i < 20000; i++)
		n += (size_t)sprintf(text + n, "*1\r\n");
	n += (size_t)sprintf(text + n, ":1\r\n+OK\r\n");
	ck_assert_str_eq(events_of(true, text, n, n, n), "*;+;");
}
END_TEST

START_TEST(an_aggregate_of_more_elements_than_exist_is_broken)
{
	ck_assert_str_eq(events_of(true, "*999999999999999999\r\n", 21, 21, 21), "broken;");
}
END_TEST

START_TEST(skipped_bytes_are_the_inside_of_a_string_only)
{
	struct resp_reply reply = { 0 };
	struct log log = { .n = 0 };

	ck_assert(!resp_skip_reply(&reply, 1));
	feed_replies(&reply, "$1000\r\nabc", 10, &log);
	ck_assert(!resp_skip_reply(&reply, 999));
	ck_assert(resp_skip_reply(&reply, 997));
	feed_replies(&reply, "\r\n+OK\r\n", 7, &log);
	ck_assert_str_eq(log.text, "$;+;");
}
END_TEST

START_TEST(every_command_is_found_by_its_own_name_alone)
{
	uint32_t count = 0;

	for (uint32_t command = 1; command < REDIS_COMMANDS_MAX; command++) {
		const char *name = redis_command_name(command);
		char padded[REDIS_NAME_BYTES] = "";
		if (strcmp(name, "_OTHER") == 0)
			break;
		memcpy(padded, name, strlen(name));
		ck_assert_uint_eq(redis_command_find(padded), command);
		count++;
	}
	ck_assert_uint_ge(count, 366); /* what redis-server 7.0 lists */
	ck_assert_uint_eq(redis_command_traits(redis_command_find("SUBSCRIBE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")), REDIS_SUBSCRIBES);
	ck_assert_uint_eq(redis_command_traits(redis_command_find("CLIENT REPLY\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")), REDIS_IS_CONTAINER);
	ck_assert_uint_eq(redis_command_find("_OTHER\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), REDIS_COMMAND_OTHER);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, every_exchange_gives_the_same_events_split_anywhere, 0, sizeof(exchanges) / sizeof(exchanges[0]));
	tcase_add_test(tcase, binary_arguments_are_passed_by_their_length);
	tcase_add_test(tcase, an_inline_command_of_64_kib_is_read_and_one_byte_more_is_broken);
	tcase_add_test(tcase, a_name_is_known_before_the_value_has_come);
	tcase_add_test(tcase, nested_deeper_than_any_stack_a_reply_is_still_one);
	tcase_add_test(tcase, an_aggregate_of_more_elements_than_exist_is_broken);
	tcase_add_test(tcase, skipped_bytes_are_the_inside_of_a_string_only);
	tcase_add_test(tcase, every_command_is_found_by_its_own_name_alone);
}

int main(void)
{
	return check_main("resp", add_tests);
}
