#include "http2_fields.h"

#include "http1.h"
#include "pool.h"

#include <string.h>

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* word is in lower case */
static bool begins_with_word(const char *text, size_t n, const char *word)
{
	size_t i = 0;

	while (word[i] && i < n && lower(text[i]) == word[i])
		i++;
	return !word[i];
}

static bool value_is(const struct hpack_field *field, const char *value)
{
	return field->value_bytes == strlen(value) && memcmp(field->value, value, field->value_bytes) == 0;
}

/* Three digits (RFC 9110 clause 15); 0: they are not. */
static uint16_t status_of(const struct hpack_field *field)
{
	uint32_t status = 0;

	if (field->value_bytes != 3)
		return 0;
	for (int i = 0; i < 3; i++) {
		if (field->value[i] < '0' || field->value[i] > '9')
			return 0;
		status = status * 10 + (uint32_t)(field->value[i] - '0');
	}
	return status >= 100 ? (uint16_t)status : 0;
}

static uint8_t grpc_status_of(const struct hpack_field *field)
{
	enum { UNKNOWN = 2, DIGITS_MAX = 2 };
	uint32_t code = 0;

	if (!field->value_bytes || field->value_bytes > DIGITS_MAX)
		return UNKNOWN;
	for (size_t i = 0; i < field->value_bytes; i++) {
		if (field->value[i] < '0' || field->value[i] > '9')
			return UNKNOWN;
		code = code * 10 + (uint32_t)(field->value[i] - '0');
	}
	return code <= HTTP2_GRPC_STATUS_MAX ? (uint8_t)code : UNKNOWN;
}

/* "application/grpc", perhaps with "+proto" or such. gRPC-Web, though, is a method of HTTP that hides its trailers in the
 * body. */
static bool is_grpc(const struct hpack_field *field)
{
	const char word[] = "application/grpc";
	size_t n = sizeof(word) - 1;

	if (!begins_with_word(field->value, field->value_bytes, word))
		return false;
	return field->value_bytes == n || memchr("+; ", field->value[n], 3);
}

static void keep_path(struct http2_room *room, const struct hpack_field *field)
{
	size_t n = field->value_bytes < HTTP2_PATH_BYTES ? field->value_bytes : HTTP2_PATH_BYTES;

	memcpy(room->path, field->value, n);
	room->fields.path_bytes = (uint16_t)n;
}

static bool name_is(const struct hpack_field *field, const char *name)
{
	return memcmp(field->name, name, field->name_bytes) == 0;
}

static void keep_pseudo_field(struct http2_room *room, const struct hpack_field *field)
{
	struct http2_fields *fields = &room->fields;

	switch (field->name_bytes) {
	case 5:
		if (name_is(field, ":path"))
			keep_path(room, field);
		break;
	case 7:
		if (name_is(field, ":method")) {
			fields->has_method = true;
			fields->method = (uint8_t)http1_method_of(field->value, field->value_bytes);
		} else if (name_is(field, ":status")) {
			fields->status = status_of(field);
		} else if (name_is(field, ":scheme")) {
			fields->is_https = value_is(field, "https");
		}
		break;
	case 9:
		if (name_is(field, ":protocol"))
			fields->has_protocol = true;
		break;
	}
}

void http2_fields_keep(struct http2_room *room, const struct hpack_field *field)
{
	struct http2_fields *fields = &room->fields;
	char first = field->name_bytes ? field->name[0] : '\0';

	switch (first) {
	case ':':
		keep_pseudo_field(room, field);
		break;
	case 'c':
		if (field->name_bytes != 12 || !name_is(field, "content-type"))
			break;
		fields->is_grpc = is_grpc(field);
		fields->is_event_stream = begins_with_word(field->value, field->value_bytes, "text/event-stream");
		break;
	case 'g':
		if (field->name_bytes == 11 && name_is(field, "grpc-status"))
			fields->grpc_status = grpc_status_of(field);
		break;
	case 't':
	case 'b':
	case 'x':
		trace_read(trace_field_of(field->name, field->name_bytes), field->value, field->value_bytes,
			   &fields->trace);
		break;
	}
}

void http2_fields_begin(struct http2_room *room, bool is_known)
{
	memset(&room->fields, 0, sizeof(room->fields));
	room->fields.is_known = is_known;
	room->fields.grpc_status = HTTP2_GRPC_STATUS_NONE;
	room->fields.path = room->path;
}

/* --- blocks that come again --- */

enum {
	BLOCK_BYTES_MAX = 64, /* a field is a byte or two, but for a path or a length that the client puts into no table */
	PATH_BYTES_MAX = 95,
};

struct http2_block {
	struct pool_link link;
	struct http2_fields fields;
	char text[BLOCK_BYTES_MAX];
	char path[PATH_BYTES_MAX];
};

/* 16 MiB: for ten thousand connections and more at once. */
static struct pool blocks = POOL_OF(struct http2_block, 16u * 1024 * 1024 / sizeof(struct http2_block));

struct http2_fields *http2_remembered_find(const struct http2_remembered *remembered, const char *block, size_t n)
{
	for (int i = 0; i < remembered->count; i++)
		if (remembered->bytes[i] == n && memcmp(remembered->blocks[i]->text, block, n) == 0)
			return &remembered->blocks[i]->fields;
	return NULL;
}

/* RFC 7541 clause 5.1, of a block that is known to be valid: the integer that begins in the low bits of block[*at], which
 * comes to lie behind it. */
static size_t pass_integer(const uint8_t *block, size_t n, size_t *at, uint8_t low_bits)
{
	enum { CONTINUED = 0x80, SHIFT = 7, SHIFT_MAX = 28 };
	size_t value = block[(*at)++] & low_bits;

	for (unsigned shift = 0; value >= low_bits && *at < n && shift <= SHIFT_MAX; shift += SHIFT) {
		uint8_t byte = block[(*at)++];
		value += (size_t)(byte & ~CONTINUED) << shift;
		if (!(byte & CONTINUED))
			break;
	}
	return value;
}

/* Clause 5.2. */
static void pass_string(const uint8_t *block, size_t n, size_t *at)
{
	size_t bytes = *at < n ? pass_integer(block, n, at, 0x7f) : 0;

	*at = bytes < n - *at ? *at + bytes : n;
}

enum block_kind {
	BLOCK_CHANGES_TABLE,
	BLOCK_IS_SECRET, /* has a field that its sender wants nobody to keep: clause 6.2.3 */
	BLOCK_MAY_COME_AGAIN,
};

/* By the forms of its fields: clause 6. */
static enum block_kind kind_of(const uint8_t *block, size_t n)
{
	enum { INDEXED = 0x80, INTO_TABLE = 0x40, TABLE_SIZE = 0x20, NEVER_KEPT = 0x10 };
	enum block_kind kind = BLOCK_MAY_COME_AGAIN;

	for (size_t at = 0; at < n;) {
		uint8_t form = block[at];
		if (form & INDEXED) {
			pass_integer(block, n, &at, 0x7f);
			continue;
		}
		if (form & (INTO_TABLE | TABLE_SIZE))
			return BLOCK_CHANGES_TABLE;
		if (form & NEVER_KEPT)
			kind = BLOCK_IS_SECRET;
		if (!pass_integer(block, n, &at, 0x0f))
			pass_string(block, n, &at);
		pass_string(block, n, &at);
	}
	return kind;
}

/* Where the next block, of n bytes, is remembered; NULL: there is no memory. */
static struct http2_block *place_of_next(struct http2_remembered *remembered, size_t n)
{
	uint8_t place = remembered->count;

	if (place < HTTP2_REMEMBERED_MAX) {
		if (!remembered->blocks[place] && !(remembered->blocks[place] = pool_take(&blocks)))
			return NULL;
		remembered->count++;
	} else {
		place = remembered->next;
		remembered->next = (uint8_t)((place + 1) % HTTP2_REMEMBERED_MAX);
	}
	remembered->bytes[place] = (uint8_t)n;
	return remembered->blocks[place];
}

struct http2_fields *http2_remember(struct http2_remembered *remembered, const char *block, size_t n, struct http2_room *room)
{
	enum block_kind kind = kind_of((const uint8_t *)block, n);
	bool fits = n <= BLOCK_BYTES_MAX && room->fields.path_bytes <= PATH_BYTES_MAX;

	if (kind == BLOCK_CHANGES_TABLE)
		http2_remembered_forget(remembered);
	struct http2_block *known = kind == BLOCK_MAY_COME_AGAIN && fits ? place_of_next(remembered, n) : NULL;
	if (!known)
		return &room->fields;
	memcpy(known->text, block, n);
	known->fields = room->fields;
	known->fields.path = memcpy(known->path, room->path, room->fields.path_bytes);
	return &known->fields;
}

void http2_remembered_end(struct http2_remembered *remembered)
{
	for (int i = 0; i < HTTP2_REMEMBERED_MAX && remembered->blocks[i]; i++) {
		pool_give(&blocks, remembered->blocks[i]);
		remembered->blocks[i] = NULL;
	}
	remembered->count = 0;
}
