#pragma once
/* http2_wire - one side of HTTP/2, made by hand: frames, and blocks of fields that use no table. */
#include "guarded.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, HAS_PRIORITY = 32 };

#define WIRE_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct wire {
	char bytes[GUARDED_BYTES];
	size_t n;
};

static inline void put(struct wire *wire, const void *bytes, size_t n)
{
	ck_assert_uint_le(wire->n + n, sizeof(wire->bytes));
	memcpy(wire->bytes + wire->n, bytes, n);
	wire->n += n;
}

static inline void put_number(struct wire *wire, uint32_t number, int n)
{
	while (n--)
		put(wire, &(char){ (char)(number >> (8 * n)) }, 1);
}

static inline void put_frame(struct wire *wire, uint8_t type, uint8_t flags, uint32_t stream, const void *content, size_t n)
{
	put_number(wire, (uint32_t)n, 3);
	put(wire, &type, 1);
	put(wire, &flags, 1);
	put_number(wire, stream, 4);
	put(wire, content, n);
}

/* A field that goes into no table, its strings as they are (RFC 7541 clause 6.2.2). */
static inline void put_field(struct wire *wire, const char *name, const char *value)
{
	ck_assert_uint_lt(strlen(name), 127);
	ck_assert_uint_lt(strlen(value), 127);
	put(wire, "", 1);
	put_number(wire, (uint32_t)strlen(name), 1);
	put(wire, name, strlen(name));
	put_number(wire, (uint32_t)strlen(value), 1);
	put(wire, value, strlen(value));
}

/* "name: value" each, a newline between them. */
static inline void put_fields(struct wire *wire, const char *fields)
{
	char *copy = strdup(fields), *rest = copy;

	for (char *field; (field = strsep(&rest, "\n"));) {
		char *colon = strstr(field + 1, ": ");
		ck_assert_ptr_nonnull(colon);
		*colon = '\0';
		put_field(wire, field, colon + 2);
	}
	free(copy);
}

static inline void put_block(struct wire *wire, uint8_t type, uint8_t flags, uint32_t stream, const char *fields)
{
	static struct wire block;

	block.n = 0;
	put_fields(&block, fields);
	put_frame(wire, type, flags, stream, block.bytes, block.n);
}

static inline struct wire *begin_client(void)
{
	static struct wire wire;

	wire.n = 0;
	put(&wire, WIRE_PREFACE, sizeof(WIRE_PREFACE) - 1);
	put_frame(&wire, SETTINGS, 0, 0, NULL, 0);
	return &wire;
}

static inline struct wire *begin_server(void)
{
	static struct wire wire;

	wire.n = 0;
	put_frame(&wire, SETTINGS, 0, 0, "\0\3\0\0\0\144", 6);
	return &wire;
}
