/* fuzz_http1 - whatever bytes come, in whatever pieces, both sides of HTTP stay within them, come to an end, and say the
 * same as for the bytes in one piece.
 * Input: side (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/http1.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void say_event(struct said *said, const struct http1 *http, enum http1_event event)
{
	if (event == HTTP1_MORE || event == HTTP1_NEEDS_CARRY)
		return;
	said->events++;
	say(said, &event, sizeof(event));
	if (event == HTTP1_LINE) {
		say(said, &http->status, sizeof(http->status));
		say(said, &http->method, sizeof(http->method));
		say(said, http->target, http->target_bytes);
	} else if (event == HTTP1_END) {
		say(said, &http->body_bytes, sizeof(http->body_bytes));
	} else if (event == HTTP1_HEAD) {
		say(said, &http->is_last, 1);
		say(said, &http->is_event_stream, 1);
		say(said, &http->is_faulty, 1);
		say(said, &http->upgrades_to_h2c, 1);
		if (http->trace) {
			say(said, http->trace, sizeof(*http->trace));
			*http->trace = (struct trace_context){ 0 };
		}
	}
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	static char carry[HTTP1_CARRY_BYTES];
	struct http1 *http = reader;
	uint64_t steps_left = 16 + n * 4;
	struct http1_step step;

	do {
		step = http1_read(http, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == HTTP1_NEEDS_CARRY) {
			if (http->carry)
				abort();
			http->carry = carry;
		}
		say_event(said, http, step.event);
	} while (step.event != HTTP1_MORE);
	if (n)
		abort();
	if (!http->carried_bytes)
		http->carry = NULL;
}

static struct said read_pieces(bool is_response, const char *bytes, size_t n, uint32_t seed)
{
	struct trace_context trace = { 0 };
	struct http1 http = { .is_response = is_response, .trace = is_response ? NULL : &trace };
	struct said said = { 0 };

	feed_pieces(feed, &http, bytes, n, seed, &said);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	bool is_response = data[0] & 1;
	const char *bytes = (const char *)data + 2;
	need_same(read_pieces(is_response, bytes, size - 2, 0),
		  read_pieces(is_response, bytes, size - 2, 1 + (uint32_t)data[1]));
	return 0;
}
