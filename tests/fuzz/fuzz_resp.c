/* fuzz_resp - whatever bytes come, in whatever pieces, both sides of RESP stay within them, come to an end, and say the
 * same as for the bytes in one piece.
 * Input: side (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/resp.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct said {
	uint64_t hash;
	uint64_t events;
};

static void say(struct said *said, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		said->hash = (said->hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ULL;
}

union side {
	struct resp_command command;
	struct resp_reply reply;
};

static void say_event(struct said *said, bool is_reply, const union side *side, enum resp_event event)
{
	if (event == RESP_MORE)
		return;
	said->events++;
	say(said, &event, sizeof(event));
	if (event == RESP_BROKEN)
		return;
	if (is_reply) {
		say(said, &side->reply.top, 1);
		say(said, side->reply.word, side->reply.word_bytes);
	} else {
		if (!side->command.is_named || side->command.command >= REDIS_COMMANDS_MAX)
			abort();
		say(said, &side->command.command, sizeof(side->command.command));
	}
}

static void feed(bool is_reply, union side *side, const char *bytes, size_t n, struct said *said)
{
	uint64_t steps_left = 16 + n;
	struct resp_step step;

	do {
		step = is_reply ? resp_read_reply(&side->reply, bytes, n) : resp_read_command(&side->command, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_event(said, is_reply, side, step.event);
	} while (step.event != RESP_MORE);
	if (n)
		abort();
}

static struct said read_pieces(bool is_reply, const char *bytes, size_t n, uint32_t seed)
{
	union side side = { 0 };
	struct said said = { 0 };

	if (is_reply)
		side.reply = (struct resp_reply){ 0 };
	while (n) {
		size_t piece = n;
		if (seed) {
			seed = seed * 1664525 + 1013904223;
			piece = 1 + (seed >> 24) % 16;
			piece = piece < n ? piece : n;
		}
		/* A piece of its own, so that a sanitizer sees what reads beyond it. */
		char *copy = malloc(piece);
		if (!copy)
			abort();
		for (size_t i = 0; i < piece; i++)
			copy[i] = bytes[i];
		feed(is_reply, &side, copy, piece, &said);
		free(copy);
		bytes += piece;
		n -= piece;
	}
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	redis_commands_init();
	bool is_reply = data[0] & 1;
	const char *bytes = (const char *)data + 2;
	struct said whole = read_pieces(is_reply, bytes, size - 2, 0);
	struct said pieces = read_pieces(is_reply, bytes, size - 2, 1 + (uint32_t)data[1]);
	if (whole.hash != pieces.hash || whole.events != pieces.events)
		abort();
	return 0;
}
