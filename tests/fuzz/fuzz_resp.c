/* fuzz_resp - whatever bytes come, in whatever pieces, both sides of RESP stay within them, come to an end, and say the
 * same as for the bytes in one piece.
 * Input: side (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/resp.h"
#include "pieces.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct parser {
	bool is_reply;
	union {
		struct resp_command command;
		struct resp_reply reply;
	};
};

static void say_event(struct said *said, const struct parser *parser, enum resp_event event)
{
	if (event == RESP_MORE)
		return;
	said->events++;
	say(said, &event, sizeof(event));
	if (event == RESP_BROKEN)
		return;
	if (parser->is_reply) {
		say(said, &parser->reply.top, 1);
		say(said, parser->reply.word, parser->reply.word_bytes);
	} else {
		if (!parser->command.is_named || parser->command.command >= REDIS_COMMANDS_MAX)
			abort();
		say(said, &parser->command.command, sizeof(parser->command.command));
	}
}

static struct resp_step read_one(struct parser *parser, const char *bytes, size_t n)
{
	return parser->is_reply ? resp_read_reply(&parser->reply, bytes, n) : resp_read_command(&parser->command, bytes, n);
}

/* Whatever a run is said to be it is one by one, too. */
static void check_run(struct parser parser, const char *bytes, size_t n)
{
	struct parser alone = parser;
	struct resp_run run = parser.is_reply ? resp_read_replies(&parser.reply, bytes, n, 5) : resp_read_commands(&parser.command, bytes, n);
	size_t used = 0;

	for (uint32_t i = 0; i < run.count; i++) {
		struct resp_step step = read_one(&alone, bytes + used, n - used);
		bool is_other = parser.is_reply ? run.count > 1 && !strchr("$+:", alone.reply.top) :
						  run.event == RESP_ITEM && alone.command.command != parser.command.command;
		if (step.event != run.event || is_other)
			abort();
		used += step.used_bytes;
	}
	if (used != run.used_bytes || (run.event != RESP_ITEM && run.count != 1))
		abort();
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	struct parser *parser = reader;
	uint64_t steps_left = 16 + n;
	struct resp_step step;

	do {
		check_run(*parser, bytes, n);
		step = read_one(parser, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_event(said, parser, step.event);
	} while (step.event != RESP_MORE);
	if (n)
		abort();
}

static struct said read_pieces(bool is_reply, const char *bytes, size_t n, uint32_t seed)
{
	struct parser parser = { .is_reply = is_reply };
	struct said said = { 0 };

	if (is_reply)
		parser.reply = (struct resp_reply){ 0 };
	feed_pieces(feed, &parser, bytes, n, seed, &said);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	bool is_reply = data[0] & 1;
	const char *bytes = (const char *)data + 2;
	need_same(read_pieces(is_reply, bytes, size - 2, 0),
		  read_pieces(is_reply, bytes, size - 2, 1 + (uint32_t)data[1]));
	return 0;
}
