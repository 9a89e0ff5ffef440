/* fuzz_memcached - whatever bytes come, in whatever pieces, both sides of memcached's protocols stay within them, come to an
 * end, and say the same as for the bytes in one piece.
 * Input: side (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/memcached.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct parser {
	bool is_replies;
	struct memcached_command command;
	struct memcached_reply reply;
};

static struct memcached_step read_some(struct parser *parser, const char *bytes, size_t n, struct said *said)
{
	const struct memcached_command *command = &parser->command;
	const struct memcached_reply *reply = &parser->reply;
	struct memcached_step step = parser->is_replies ? memcached_read_reply(&parser->reply, bytes, n) :
							  memcached_read_command(&parser->command, bytes, n);

	if (step.event == MEMCACHED_MORE)
		return step;
	said->events++;
	say_number(said, step.event);
	if (step.event == MEMCACHED_BROKEN)
		return step;
	if (parser->is_replies) {
		say_number(said, (uint64_t)reply->answer << 32 | (uint64_t)reply->error << 16 |
				 (uint64_t)reply->operation << 1 | reply->is_quiet);
		say_number(said, reply->tag);
	} else {
		say_number(said, (uint64_t)command->asked.operation << 1 | command->asked.is_binary);
		say_number(said, command->asked.is_quiet | command->has_no_answer << 1 | command->opens_stream << 2);
		say_number(said, command->asked.tag);
		if (!command->is_named || command->asked.operation >= MEMCACHED_OPERATION_COUNT)
			abort();
	}
	return step;
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	struct parser *parser = reader;
	uint64_t steps_left = 16 + n;
	struct memcached_step step;

	do {
		step = read_some(parser, bytes, n, said);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
	} while (step.event != MEMCACHED_MORE);
	if (n)
		abort();
}

static struct said read_pieces(bool is_replies, const char *bytes, size_t n, uint32_t seed)
{
	struct parser parser = { .is_replies = is_replies };
	struct said said = { 0 };

	feed_pieces(feed, &parser, bytes, n, seed, &said);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	bool is_replies = data[0] & 1;
	const char *bytes = (const char *)data + 2;
	need_same(read_pieces(is_replies, bytes, size - 2, 0),
		  read_pieces(is_replies, bytes, size - 2, 1 + (uint32_t)data[1]));
	memcached_may_begin(bytes, size - 2);
	return 0;
}
