/* fuzz_http2 - whatever bytes come, in whatever pieces, seen or passed unseen, both sides of HTTP/2 stay within them, come
 * to an end, and say the same as for the bytes in one piece.
 * Input: side and how large the table may be (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/http2.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A hash over the events and all that they tell. */
struct said {
	uint64_t hash;
	uint64_t events;
};

static void say(struct said *said, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		said->hash = (said->hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ULL;
}

static void say_event(struct said *said, const struct http2 *http, enum http2_event event)
{
	if (event == HTTP2_MORE || event == HTTP2_NEEDS_FIELDS)
		return;
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

static void feed(struct http2 *http, const char *bytes, size_t n, struct said *said)
{
	static struct http2_fields fields;
	uint64_t steps_left = 16 + n * 4;
	struct http2_step step;

	do {
		step = http2_read(http, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		if (step.event == HTTP2_NEEDS_FIELDS) {
			if (http->fields)
				abort();
			http->fields = &fields;
		}
		say_event(said, http, step.event);
	} while (step.event != HTTP2_MORE);
	if (n)
		abort();
	if (!http2_is_within_block(http))
		http->fields = NULL;
}

static void feed_copy(struct http2 *http, const char *bytes, size_t n, struct said *said)
{
	/* A piece of its own, so that a sanitizer sees what reads beyond it. */
	char *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	for (size_t i = 0; i < n; i++)
		copy[i] = bytes[i];
	feed(http, copy, n, said);
	free(copy);
}

static struct said read_pieces(uint8_t side, const char *bytes, size_t n, uint32_t seed)
{
	struct said said = { 0 };
	struct http2 http;

	if (!http2_begin(&http, side & 1, 0))
		abort();
	http2_allow_table(&http, (uint32_t)(side >> 1) << 12);
	while (n) {
		size_t piece = n;
		bool is_unseen = false;
		if (seed) {
			seed = seed * 1664525 + 1013904223;
			piece = 1 + (seed >> 24) % 16;
			piece = piece < n ? piece : n;
			is_unseen = seed >> 16 & 1 && http2_skip(&http, piece);
		}
		feed_copy(&http, bytes, is_unseen ? 0 : piece, &said);
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
	struct said whole = read_pieces(data[0], bytes, size - 2, 0);
	struct said pieces = read_pieces(data[0], bytes, size - 2, 1 + (uint32_t)data[1]);
	if (whole.hash != pieces.hash || whole.events != pieces.events)
		abort();
	return 0;
}
