/* fuzz_http2 - whatever bytes come, in whatever pieces, seen or passed unseen, both sides of HTTP/2 stay within them, come
 * to an end, and say the same as for the bytes in one piece.
 * Input: side and how large the table may be (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/http2.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void say_event(struct said *said, const struct http2 *http, enum http2_event event)
{
	if (event == HTTP2_MORE || event == HTTP2_NEEDS_ROOM)
		return;
	if (event == HTTP2_BEGIN_AND_HEAD) {
		say_event(said, http, HTTP2_BEGIN);
		say_event(said, http, HTTP2_HEAD);
		return;
	}
	said->events++;
	say(said, &event, sizeof(event));
	if (event == HTTP2_BROKEN) {
		say(said, &http->broken, sizeof(http->broken));
		return;
	}
	say(said, &http->stream, sizeof(http->stream));
	if (event == HTTP2_HEAD || event == HTTP2_PROMISE) {
		say(said, http->fields, offsetof(struct http2_fields, trace));
		say(said, &http->fields->trace, sizeof(http->fields->trace));
		say(said, http->fields->path, http->fields->path_bytes);
		say(said, &http->ends_stream, 1);
	} else if (event == HTTP2_DATA) {
		say(said, &http->data_bytes, sizeof(http->data_bytes));
		say(said, &http->ends_stream, 1);
	} else if (event == HTTP2_RESET || event == HTTP2_GOAWAY) {
		say(said, &http->code, sizeof(http->code));
	} else if (event == HTTP2_SETTINGS) {
		say(said, &http->table_bytes, sizeof(http->table_bytes));
	}
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	static struct http2_room room;
	struct http2 *http = reader;
	uint64_t steps_left = 16 + n * 4;
	struct http2_step step;

	do {
		step = http2_read(http, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == HTTP2_NEEDS_ROOM) {
			if (http->room)
				abort();
			http->room = &room;
		}
		say_event(said, http, step.event);
	} while (step.event != HTTP2_MORE);
	if (n)
		abort();
	if (!http2_is_within_block(http))
		http->room = NULL;
}

static struct said read_pieces(uint8_t side, const char *bytes, size_t n, uint32_t seed)
{
	struct said said = { 0 };
	struct http2 http;

	if (!http2_begin(&http, side & 1, 0))
		abort();
	http2_allow_table(&http, (uint32_t)(side >> 1) << 12);
	while (n) {
		size_t piece = piece_bytes(n, &seed);
		bool is_unseen = seed >> 16 & 1 && http2_skip(&http, piece);
		feed_copy(feed, &http, bytes, is_unseen ? 0 : piece, &said);
		bytes += piece;
		n -= piece;
	}
	http2_end(&http);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || !hpack_open())
		return 0;
	const char *bytes = (const char *)data + 2;
	need_same(read_pieces(data[0], bytes, size - 2, 0),
		  read_pieces(data[0], bytes, size - 2, 1 + (uint32_t)data[1]));
	return 0;
}
