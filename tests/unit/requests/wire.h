#pragma once
/* wire - messages of PostgreSQL and MySQL put together, and read again at every split. */
#include "guarded.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct wire {
	size_t n;
	char bytes[96 * 1024];
};

static inline void wire_add(struct wire *wire, const void *bytes, size_t n)
{
	ck_assert_uint_le(wire->n + n, sizeof(wire->bytes));
	if (n)
		memcpy(wire->bytes + wire->n, bytes, n);
	wire->n += n;
}

static inline void wire_big_32(struct wire *wire, uint32_t number)
{
	const unsigned char bytes[] = { (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number };

	wire_add(wire, bytes, sizeof(bytes));
}

/* PostgreSQL: a message of a body that is text, with its final zero or of n bytes; the first ones of a connection. */
static inline void pg_message(struct wire *wire, char type, const void *body, size_t n)
{
	wire_add(wire, &type, 1);
	wire_big_32(wire, (uint32_t)n + 4);
	wire_add(wire, body, n);
}

#define PG_TEXT(wire, type, text) pg_message(wire, type, text, sizeof(text))      /* with the zero at its end */
#define PG_BYTES(wire, type, text) pg_message(wire, type, text, sizeof(text) - 1) /* without */

static inline void pg_startup(struct wire *wire, uint32_t code, const void *rest, size_t n)
{
	wire_big_32(wire, (uint32_t)n + 8);
	wire_big_32(wire, code);
	wire_add(wire, rest, n);
}

enum { PG_VERSION = 3 << 16, PG_ASKS_TLS = 80877103, PG_ASKS_GSS = 80877104, PG_CANCELS = 80877102 };
#define PG_STARTUP(wire) pg_startup(wire, PG_VERSION, "user\0postgres\0", sizeof("user\0postgres\0"))

/* MySQL: a packet. */
static inline void my_packet(struct wire *wire, uint8_t sequence, const void *payload, size_t n)
{
	const unsigned char head[] = { (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), sequence };

	wire_add(wire, head, sizeof(head));
	wire_add(wire, payload, n);
}

#define MY_BYTES(wire, sequence, text) my_packet(wire, sequence, text, sizeof(text) - 1)

/* What a parser said, one event after the other. */
struct said {
	char text[16 * 1024];
	size_t n;
};

__attribute__((format(printf, 2, 3))) static inline void say(struct said *said, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	said->n += (size_t)vsnprintf(said->text + said->n, sizeof(said->text) - said->n, format, arguments);
	va_end(arguments);
	ck_assert_uint_lt(said->n, sizeof(said->text));
}

/* A parser of one side: reads a piece, says its events. */
typedef void (*wire_reader)(void *parser, const char *bytes, size_t n, struct said *said);

/* Begins a parser anew. */
typedef void (*wire_beginner)(void *parser);

static inline const char *wire_events(const struct wire *wire, wire_beginner begin, wire_reader read, void *parser,
				      size_t first, size_t second)
{
	static struct said said;
	const size_t ends[] = { first, second, wire->n };
	size_t at = 0;

	said.n = 0;
	said.text[0] = '\0';
	begin(parser);
	for (int i = 0; i < 3; i++) {
		read(parser, guarded(wire->bytes + at, ends[i] - at), ends[i] - at, &said);
		at = ends[i];
	}
	return said.text;
}

/* In one piece, byte by byte, in two pieces split anywhere, and in three (of long ones not at every second split). */
static inline void wire_assert_everywhere(const struct wire *wire, wire_beginner begin, wire_reader read, void *parser,
					  const char *expected)
{
	struct said said = { .n = 0 };

	ck_assert_str_eq(wire_events(wire, begin, read, parser, wire->n, wire->n), expected);
	begin(parser);
	for (size_t i = 0; i < wire->n; i++)
		read(parser, guarded(wire->bytes + i, 1), 1, &said);
	ck_assert_str_eq(said.text, expected);
	for (size_t i = 0; i <= wire->n; i++)
		for (size_t k = i; k <= wire->n; k += wire->n > 120 ? 19 : 1)
			ck_assert_str_eq(wire_events(wire, begin, read, parser, i, k), expected);
}
