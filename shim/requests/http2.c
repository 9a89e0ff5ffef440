/* Each frame is a header of 9 bytes, perhaps a prefix (length of padding, priority, promised stream, error code), content
 * and padding. What is of known length and may matter is collected in small; the content of HEADERS, PUSH_PROMISE and
 * CONTINUATION goes to the decoder as it comes; everything else is passed by its length. A frame's event comes with its
 * last byte, so that where a piece ends can make no difference.
 *
 * Invariant: used never exceeds n, and nothing at or beyond bytes + n is read.
 */
#include "http2.h"

#include <endian.h>
#include <string.h>

/* clause 6 */
enum {
	TYPE_DATA = 0,
	TYPE_HEADERS = 1,
	TYPE_PRIORITY = 2,
	TYPE_RST_STREAM = 3,
	TYPE_SETTINGS = 4,
	TYPE_PUSH_PROMISE = 5,
	TYPE_PING = 6,
	TYPE_GOAWAY = 7,
	TYPE_WINDOW_UPDATE = 8,
	TYPE_CONTINUATION = 9,

	FLAG_END_STREAM = 0x1,
	FLAG_ACK = 0x1,
	FLAG_END_HEADERS = 0x4,
	FLAG_PADDED = 0x8,
	FLAG_PRIORITY = 0x20,

	FRAME_HEADER_BYTES = 9,
	SETTING_BYTES = 6,
	SETTING_HEADER_TABLE_SIZE = 1,
};

/* What stands before a frame's content, and what reads it. */
struct frame_kind {
	uint8_t prefix_bytes;
	uint8_t padding;     /* flag that adds one byte, the length of what follows the content */
	uint8_t priority;    /* and one that adds five */
	bool is_of_a_stream; /* never of the connection */
	bool has_rules;      /* of its own: follows_rules */
	uint8_t state;
};

static const struct frame_kind kinds[] = {
	[TYPE_DATA] = { .padding = FLAG_PADDED, .is_of_a_stream = true, .state = HTTP2_STATE_DATA },
	[TYPE_HEADERS] = { .padding = FLAG_PADDED, .priority = FLAG_PRIORITY, .is_of_a_stream = true, .state = HTTP2_STATE_BLOCK },
	[TYPE_PRIORITY] = { .state = HTTP2_STATE_REST },
	[TYPE_RST_STREAM] = { .prefix_bytes = 4, .is_of_a_stream = true, .has_rules = true, .state = HTTP2_STATE_REST },
	[TYPE_SETTINGS] = { .has_rules = true, .state = HTTP2_STATE_SETTING },
	[TYPE_PUSH_PROMISE] = { .prefix_bytes = 4, .padding = FLAG_PADDED, .is_of_a_stream = true, .state = HTTP2_STATE_BLOCK },
	[TYPE_PING] = { .state = HTTP2_STATE_REST },
	[TYPE_GOAWAY] = { .prefix_bytes = 8, .state = HTTP2_STATE_REST },
	[TYPE_WINDOW_UPDATE] = { .state = HTTP2_STATE_REST },
	[TYPE_CONTINUATION] = { .state = HTTP2_STATE_BLOCK },
};

/* Frames of unknown types are passed as those are that we do not look at: clause 4.1. */
static const struct frame_kind *kind_of(uint8_t type)
{
	return type < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[type] : &kinds[TYPE_PING];
}

static uint32_t number_at(const uint8_t *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, sizeof(number));
	return be32toh(number);
}

static uint32_t stream_at(const uint8_t *bytes)
{
	return number_at(bytes) & 0x7fffffff; /* the highest bit is reserved: clause 4.1 */
}

bool http2_begin(struct http2 *http, bool is_client, size_t passed_bytes)
{
	memset(http, 0, sizeof(*http));
	http->is_client = is_client;
	http->state = is_client && passed_bytes < HTTP2_PREFACE_BYTES ? HTTP2_STATE_PREFACE : HTTP2_STATE_HEADER;
	if (http->state == HTTP2_STATE_PREFACE)
		http->have_bytes = (uint8_t)passed_bytes;
	if (!hpack_is_open())
		return true;
	http->hpack = hpack_new();
	return http->hpack != NULL;
}

void http2_end(struct http2 *http)
{
	http2_remembered_end(&http->remembered);
	hpack_free(http->hpack);
	http->hpack = NULL;
}

void http2_allow_table(struct http2 *http, uint32_t bytes)
{
	if (bytes > http->allowed_table_bytes)
		http->allowed_table_bytes = bytes;
}

static enum http2_event broken(struct http2 *http, enum http2_broken why)
{
	http->state = HTTP2_STATE_BROKEN;
	http->broken = (uint8_t)why;
	http->is_within_block = false;
	return HTTP2_BROKEN;
}

/* frames */

static uint8_t prefix_bytes_of(const struct frame_kind *kind, uint8_t flags)
{
	enum { PADDING_BYTES = 1, PRIORITY_BYTES = 5 };

	return (uint8_t)(kind->prefix_bytes + (flags & kind->padding ? PADDING_BYTES : 0) +
			 (flags & kind->priority ? PRIORITY_BYTES : 0));
}

static bool follows_rules(const struct http2 *http)
{
	if (http->type == TYPE_RST_STREAM)
		return http->left_bytes == 4;
	return http->left_bytes % SETTING_BYTES == 0 && !(http->flags & FLAG_ACK && http->left_bytes);
}

/* Whether a frame of this type, of left_bytes, may come now: within a block nothing but the block's continuation. */
static bool is_in_order(const struct http2 *http, const struct frame_kind *kind)
{
	bool is_continuation = http->type == TYPE_CONTINUATION;

	if (http->is_within_block | is_continuation)
		return http->is_within_block && is_continuation && http->stream == http->block_stream;
	return (http->stream || !kind->is_of_a_stream) && (!kind->has_rules || follows_rules(http));
}

/* A side begins with its settings (clause 3.4), or says at once why it does not talk to the other. */
static bool is_start(const struct http2 *http)
{
	bool is_settings = http->type == TYPE_SETTINGS && !(http->flags & FLAG_ACK);

	return (is_settings || http->type == TYPE_GOAWAY) && http->stream == 0;
}

static void begin_block(struct http2 *http)
{
	http->is_within_block = true;
	http->is_promise = http->type == TYPE_PUSH_PROMISE;
	http->block_ends_stream = http->type == TYPE_HEADERS && http->flags & FLAG_END_STREAM;
	http->block_stream = http->stream;
	http->fields = NULL;
}

/* What follows a frame's header and prefix. */
static void begin_content(struct http2 *http, const struct frame_kind *kind)
{
	http->state = kind->state;
	if (kind->state == HTTP2_STATE_SETTING && !http->left_bytes)
		http->state = HTTP2_STATE_REST;
	if (kind->state == HTTP2_STATE_REST)
		http->rest_bytes = http->left_bytes;
}

static enum http2_event on_frame_header(struct http2 *http, const uint8_t *header)
{
	const struct frame_kind *kind = kind_of(header[3]);

	http->left_bytes = number_at(header) >> 8;
	http->type = header[3];
	http->flags = header[4];
	http->stream = stream_at(header + 5);
	http->have_bytes = 0;
	http->rest_bytes = 0;
	http->data_bytes = 0;
	http->has_table_bytes = false;
	http->ends_stream = false;
	if (!http->has_begun && !is_start(http))
		return broken(http, HTTP2_BROKEN_START);
	http->has_begun = true;
	http->need_bytes = prefix_bytes_of(kind, http->flags);
	if (!is_in_order(http, kind) || http->left_bytes < http->need_bytes)
		return broken(http, HTTP2_BROKEN_FRAME);
	if (http->need_bytes)
		http->state = HTTP2_STATE_PREFIX;
	else
		begin_content(http, kind);
	if (kind->state != HTTP2_STATE_BLOCK || http->type == TYPE_CONTINUATION)
		return HTTP2_MORE;
	begin_block(http);
	return http->type == TYPE_HEADERS && http->is_client ? HTTP2_BEGIN : HTTP2_MORE;
}

static enum http2_event on_prefix(struct http2 *http)
{
	const uint8_t *prefix = http->small;

	http->left_bytes -= http->need_bytes;
	http->have_bytes = 0;
	if (http->type == TYPE_RST_STREAM) {
		http->code = number_at(prefix);
	} else if (http->type == TYPE_GOAWAY) {
		http->stream = stream_at(prefix);
		http->code = number_at(prefix + 4);
	} else if (http->flags & FLAG_PADDED) {
		http->rest_bytes = *prefix++;
		if (http->rest_bytes > http->left_bytes)
			return broken(http, HTTP2_BROKEN_FRAME);
		http->left_bytes -= http->rest_bytes;
	}
	if (http->type == TYPE_PUSH_PROMISE)
		http->promised_stream = stream_at(prefix);
	begin_content(http, kind_of(http->type));
	return HTTP2_MORE;
}

static void on_setting(struct http2 *http)
{
	http->left_bytes -= SETTING_BYTES;
	http->have_bytes = 0;
	if (number_at(http->small) >> 16 == SETTING_HEADER_TABLE_SIZE) {
		http->table_bytes = number_at(http->small + 2);
		http->has_table_bytes = true;
	}
	if (!http->left_bytes)
		http->state = HTTP2_STATE_REST;
}

static enum http2_event on_block_end(struct http2 *http)
{
	if (!(http->flags & FLAG_END_HEADERS))
		return HTTP2_MORE;
	http->is_within_block = false;
	if (http->is_promise) {
		http->stream = http->promised_stream;
		return HTTP2_PROMISE;
	}
	http->ends_stream = http->block_ends_stream;
	return HTTP2_HEAD;
}

static enum http2_event event_of_end(const struct http2 *http)
{
	switch (http->type) {
	case TYPE_RST_STREAM:
		return HTTP2_RESET;
	case TYPE_GOAWAY:
		return HTTP2_GOAWAY;
	case TYPE_SETTINGS:
		return http->has_table_bytes ? HTTP2_SETTINGS : HTTP2_MORE;
	default:
		return HTTP2_MORE;
	}
}

/* The last byte of a frame has passed. */
static enum http2_event on_frame_end(struct http2 *http)
{
	enum http2_event event;

	if (http->type == TYPE_DATA) {
		http->ends_stream = http->flags & FLAG_END_STREAM;
		event = HTTP2_DATA;
	} else {
		event = kind_of(http->type)->state == HTTP2_STATE_BLOCK ? on_block_end(http) : event_of_end(http);
	}
	http->state = http->is_within_block ? HTTP2_STATE_HEADER : HTTP2_STATE_BETWEEN;
	return event;
}

/* bytes */

/* Fills small up to need bytes. False: there are not enough. */
static bool collect(struct http2 *http, uint8_t need, const char *bytes, size_t n, size_t *used)
{
	size_t missing = need - http->have_bytes;
	size_t taken = n - *used < missing ? n - *used : missing;

	memcpy(http->small + http->have_bytes, bytes + *used, taken);
	http->have_bytes += (uint8_t)taken;
	*used += taken;
	return http->have_bytes == need;
}

static enum http2_event read_preface(struct http2 *http, const char *bytes, size_t n, size_t *used)
{
	size_t missing = HTTP2_PREFACE_BYTES - http->have_bytes;
	size_t taken = n - *used < missing ? n - *used : missing;

	if (memcmp(&HTTP2_PREFACE[http->have_bytes], bytes + *used, taken) != 0)
		return broken(http, HTTP2_BROKEN_START);
	http->have_bytes += (uint8_t)taken;
	*used += taken;
	if (http->have_bytes == HTTP2_PREFACE_BYTES) {
		http->state = HTTP2_STATE_HEADER;
		http->have_bytes = 0;
	}
	return HTTP2_MORE;
}

/* How many of the n bytes belong to the frame's content. */
static size_t content_of(const struct http2 *http, size_t n)
{
	return n < http->left_bytes ? n : http->left_bytes;
}

/* The first bytes of a block that is not remembered. */
static void begin_decoding(struct http2 *http)
{
	http2_fields_begin(http->room, http->hpack != NULL);
	http->fields = &http->room->fields;
	if (http->hpack && http->allowed_table_bytes)
		hpack_allow_table(http->hpack, http->allowed_table_bytes); /* if it is broken, the block will tell */
}

/* Hands n bytes of a block to the decoder. */
static enum http2_event decode(struct http2 *http, const char *bytes, size_t n, bool is_last)
{
	struct hpack_field field;
	struct hpack_step step;

	for (;;) {
		step = hpack_read(http->hpack, bytes, n, is_last, &field);
		bytes += step.used_bytes;
		n -= step.used_bytes;
		switch (step.event) {
		case HPACK_FIELD:
			http2_fields_keep(http->room, &field);
			break;
		case HPACK_BROKEN:
			return broken(http, HTTP2_BROKEN_BLOCK);
		case HPACK_NO_MEMORY:
			return broken(http, HTTP2_BROKEN_MEMORY);
		case HPACK_MORE:
		case HPACK_END:
			return HTTP2_MORE;
		}
	}
}

/* n bytes of a block: what was there of it before is in fields. */
static __attribute__((noinline)) enum http2_event take_block(struct http2 *http, const char *bytes, size_t n, bool is_last)
{
	bool is_whole = is_last && !http->fields;

	if (!http->room)
		return HTTP2_NEEDS_ROOM;
	if (!http->fields)
		begin_decoding(http);
	if (!http->hpack)
		return HTTP2_MORE;
	enum http2_event event = decode(http, bytes, n, is_last);
	if (event != HTTP2_MORE)
		return event;
	if (is_whole)
		http->fields = http2_remember(&http->remembered, bytes, n, http->room);
	else
		http2_remembered_forget(&http->remembered);
	return HTTP2_MORE;
}

static enum http2_event read_block(struct http2 *http, const char *bytes, size_t n, size_t *used)
{
	size_t taken = content_of(http, n - *used);
	bool is_frames_last = taken == http->left_bytes;
	bool is_last = is_frames_last && http->flags & FLAG_END_HEADERS;
	bool has_begun = http->fields;
	enum http2_event event = HTTP2_MORE;

	if (is_last && !has_begun)
		http->fields = http2_remembered_find(&http->remembered, bytes + *used, taken);
	if (has_begun || !http->fields)
		event = take_block(http, bytes + *used, taken, is_last);
	if (event == HTTP2_NEEDS_ROOM)
		return event;
	*used += taken;
	http->left_bytes -= (uint32_t)taken;
	if (event != HTTP2_MORE || !is_frames_last)
		return event;
	http->state = HTTP2_STATE_REST;
	return http->rest_bytes ? HTTP2_MORE : on_frame_end(http);
}

static void pass_data(struct http2 *http, size_t n, size_t *used)
{
	size_t taken = content_of(http, n - *used);

	*used += taken;
	http->left_bytes -= (uint32_t)taken;
	http->data_bytes += (uint32_t)taken;
	if (!http->left_bytes)
		http->state = HTTP2_STATE_REST;
}

static enum http2_event pass_rest(struct http2 *http, size_t n, size_t *used)
{
	size_t room = n - *used;
	size_t taken = room < http->rest_bytes ? room : http->rest_bytes;

	*used += taken;
	http->rest_bytes -= (uint32_t)taken;
	return http->rest_bytes ? HTTP2_MORE : on_frame_end(http);
}

/* And on to what is passed, which most frames are that are no header blocks. */
static enum http2_event read_frame_header(struct http2 *http, const char *bytes, size_t n, size_t *used)
{
	const uint8_t *header = http->small;
	enum http2_event event;

	http->state = HTTP2_STATE_HEADER;
	if (!http->have_bytes)
		http->frames++;
	if (!http->have_bytes && n - *used >= FRAME_HEADER_BYTES) {
		header = (const uint8_t *)bytes + *used;
		*used += FRAME_HEADER_BYTES;
	} else if (!collect(http, FRAME_HEADER_BYTES, bytes, n, used)) {
		return HTTP2_MORE;
	}
	event = on_frame_header(http, header);
	if (http->state == HTTP2_STATE_DATA)
		pass_data(http, n, used);
	return http->state == HTTP2_STATE_REST ? pass_rest(http, n, used) : event;
}

/* The state can go on without any byte. */
static bool goes_on(const struct http2 *http)
{
	switch (http->state) {
	case HTTP2_STATE_BLOCK:
	case HTTP2_STATE_DATA:
		return !http->left_bytes;
	case HTTP2_STATE_REST:
		return !http->rest_bytes;
	default:
		return false;
	}
}

/* What is not there in every frame. */
static __attribute__((noinline)) enum http2_event read_seldom(struct http2 *http, const char *bytes, size_t n, size_t *used)
{
	switch (http->state) {
	case HTTP2_STATE_PREFACE:
		return read_preface(http, bytes, n, used);
	case HTTP2_STATE_PREFIX:
		return collect(http, http->need_bytes, bytes, n, used) ? on_prefix(http) : HTTP2_MORE;
	case HTTP2_STATE_SETTING:
		if (collect(http, SETTING_BYTES, bytes, n, used))
			on_setting(http);
		return HTTP2_MORE;
	default:
		*used = n;
		return HTTP2_MORE;
	}
}

static enum http2_event read_on(struct http2 *http, const char *bytes, size_t n, size_t *used)
{
	switch (http->state) {
	case HTTP2_STATE_BETWEEN:
	case HTTP2_STATE_HEADER:
		return read_frame_header(http, bytes, n, used);
	case HTTP2_STATE_BLOCK:
		return read_block(http, bytes, n, used);
	case HTTP2_STATE_DATA:
		pass_data(http, n, used);
		return HTTP2_MORE;
	case HTTP2_STATE_REST:
		return pass_rest(http, n, used);
	default:
		return read_seldom(http, bytes, n, used);
	}
}

static __attribute__((noinline)) struct http2_step read_by_parts(struct http2 *http, const char *bytes, size_t n)
{
	enum http2_event event = HTTP2_MORE;
	size_t used = 0;

	while (event == HTTP2_MORE && (used < n || goes_on(http)))
		event = read_on(http, bytes, n, &used);
	return (struct http2_step){ event, used };
}

/* Content of a frame without padding: of the n bytes those before its end. */
static inline struct http2_step read_plain_data(struct http2 *http, size_t n)
{
	uint32_t taken = n < http->left_bytes ? (uint32_t)n : http->left_bytes;

	http->data_bytes += taken;
	http->left_bytes -= taken;
	if (http->left_bytes)
		return (struct http2_step){ HTTP2_MORE, taken };
	http->state = HTTP2_STATE_BETWEEN;
	http->ends_stream = http->flags & FLAG_END_STREAM;
	return (struct http2_step){ HTTP2_DATA, taken };
}

static inline struct http2_step begin_plain_data(struct http2 *http, const uint8_t *header, size_t n)
{
	struct http2_step step;

	http->frames++;
	http->type = TYPE_DATA;
	http->flags = header[4];
	http->stream = stream_at(header + 5);
	http->left_bytes = number_at(header) >> 8;
	http->rest_bytes = 0;
	http->data_bytes = 0;
	http->state = HTTP2_STATE_DATA;
	step = read_plain_data(http, n - FRAME_HEADER_BYTES);
	step.used_bytes += FRAME_HEADER_BYTES;
	return step;
}

/* Of a block that is all there. */
static inline struct http2_step read_remembered(struct http2 *http, const uint8_t *header, size_t block_bytes)
{
	struct http2_fields *fields = http2_remembered_find(&http->remembered, (const char *)header + FRAME_HEADER_BYTES, block_bytes);

	if (!fields)
		return (struct http2_step){ HTTP2_MORE, 0 };
	http->frames++;
	http->stream = stream_at(header + 5);
	http->fields = fields;
	http->ends_stream = header[4] & FLAG_END_STREAM;
	return (struct http2_step){ http->is_client ? HTTP2_BEGIN_AND_HEAD : HTTP2_HEAD, FRAME_HEADER_BYTES + block_bytes };
}

/* Calls are made of little else than data without padding, and header blocks that came before and are all there: those are
 * read here, as read_by_parts would, in a third of the instructions. used_bytes 0: it is something else. */
static inline struct http2_step read_at_once(struct http2 *http, const char *bytes, size_t n)
{
	const uint8_t *header = (const uint8_t *)bytes;

	if (http->state == HTTP2_STATE_DATA && !http->rest_bytes && http->left_bytes)
		return read_plain_data(http, n);
	if (http->state == HTTP2_STATE_BETWEEN && n >= FRAME_HEADER_BYTES && stream_at(header + 5)) {
		size_t content_bytes = number_at(header) >> 8;
		if (header[3] == TYPE_DATA && !(header[4] & FLAG_PADDED))
			return begin_plain_data(http, header, n);
		if (header[3] == TYPE_HEADERS && (header[4] & ~FLAG_END_STREAM) == FLAG_END_HEADERS && content_bytes <= n - FRAME_HEADER_BYTES)
			return read_remembered(http, header, content_bytes);
	}
	return (struct http2_step){ HTTP2_MORE, 0 };
}

struct http2_step http2_read(struct http2 *http, const char *bytes, size_t n)
{
	struct http2_step step = read_at_once(http, bytes, n);

	return step.used_bytes ? step : read_by_parts(http, bytes, n);
}

bool http2_skip(struct http2 *http, size_t n)
{
	size_t used = 0;

	if (http->state != HTTP2_STATE_DATA || n > http->left_bytes)
		return false;
	pass_data(http, n, &used);
	return true;
}
