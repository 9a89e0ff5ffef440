#pragma once
/* cursor - reads numbers and texts out of bytes that are not trusted.
 * Context: any thread. Past the end it gives zeros and remembers that, so that checks stand where loops and results depend
 * on it, not at each number. Numbers are in this machine's byte order.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A section's bytes, borrowed; NULL = there is none. */
struct bytes {
	const uint8_t *at;
	uint64_t size;
};

struct cursor {
	const uint8_t *at, *end;
	bool is_past; /* tried to read beyond the end */
};

static inline struct cursor cursor_at(struct bytes bytes, uint64_t offset)
{
	static const uint8_t nothing[1];

	if (!bytes.at || offset > bytes.size)
		return (struct cursor){ .at = nothing, .end = nothing, .is_past = true };
	return (struct cursor){ .at = bytes.at + offset, .end = bytes.at + bytes.size };
}

static inline uint64_t cursor_left(const struct cursor *cursor)
{
	return (uint64_t)(cursor->end - cursor->at);
}

static inline void cursor_skip(struct cursor *cursor, uint64_t n)
{
	if (cursor_left(cursor) < n) {
		cursor->is_past = true;
		n = cursor_left(cursor);
	}
	cursor->at += n;
}

/* n is 1 to 8. */
static inline uint64_t cursor_read(struct cursor *cursor, uint32_t n)
{
	uint64_t value = 0;

	if (cursor_left(cursor) < n) {
		cursor_skip(cursor, n);
		return 0;
	}
	memcpy(&value, cursor->at, n);
	cursor->at += n;
	return value;
}

/* LEB128 (DWARF 5, 7.6): seven bits a byte, lowest first. */
static inline uint64_t cursor_read_leb(struct cursor *cursor, bool is_signed)
{
	uint64_t value = 0;
	uint32_t shift = 0;
	uint8_t byte;

	do {
		byte = (uint8_t)cursor_read(cursor, 1);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (is_signed && shift < 64 && (byte & 0x40))
		value |= UINT64_MAX << shift;
	return value;
}

static inline uint64_t cursor_read_uleb(struct cursor *cursor)
{
	return cursor_read_leb(cursor, false);
}

/* A text with its end; "" where the end is missing. */
static inline const char *cursor_read_string(struct cursor *cursor)
{
	const char *text = (const char *)cursor->at;

	cursor_skip(cursor, strnlen(text, cursor_left(cursor)) + 1);
	return cursor->is_past ? "" : text;
}
