#pragma once
/* fastcgi_wire - writes records of FastCGI for tests. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire {
	char bytes[8192];
	size_t n;
};

static inline void wire_bytes(struct wire *wire, const void *bytes, size_t n)
{
	ck_assert_uint_le(wire->n + n, sizeof(wire->bytes));
	memcpy(wire->bytes + wire->n, bytes, n);
	wire->n += n;
}

static inline void wire_record(struct wire *wire, unsigned type, unsigned id, const char *content, size_t n, unsigned padding)
{
	uint8_t header[8] = { 1, (uint8_t)type, (uint8_t)(id >> 8), (uint8_t)id, (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)padding };

	wire_bytes(wire, header, sizeof(header));
	wire_bytes(wire, content, n);
	for (unsigned i = 0; i < padding; i++)
		wire_bytes(wire, "p", 1);
}

/* Padded to whole eights, as servers do. */
static inline void wire_text(struct wire *wire, unsigned type, unsigned id, const char *text)
{
	wire_record(wire, type, id, text, strlen(text), (unsigned)(8 - strlen(text) % 8) % 8);
}

static inline void wire_begin(struct wire *wire, unsigned id)
{
	wire_record(wire, 1, id, "\0\1\1\0\0\0\0\0", 8, 0);
}

static inline void wire_end(struct wire *wire, unsigned id, char protocol_status)
{
	char body[8] = { 0, 0, 0, 0, protocol_status };

	wire_record(wire, 3, id, body, 8, 0);
}

/* Name-value pairs, "NAME=value" each; lengths above 127 and those of names that begin with '+' take four bytes. */
static inline size_t wire_pairs(char *out, const char *const *pairs)
{
	size_t n = 0;

	for (; *pairs; pairs++) {
		int is_wide = **pairs == '+';
		const char *name = *pairs + is_wide, *value = strchr(name, '=') + 1;
		size_t lengths[2] = { (size_t)(value - name) - 1, strlen(value) };
		for (int i = 0; i < 2; i++) {
			uint32_t length = (uint32_t)lengths[i] | 1u << 31;
			if (!is_wide && lengths[i] <= 127)
				out[n++] = (char)lengths[i];
			else
				for (int shift = 24; shift >= 0; shift -= 8)
					out[n++] = (char)(length >> shift);
		}
		memcpy(out + n, name, lengths[0]);
		memcpy(out + n + lengths[0], value, lengths[1]);
		n += lengths[0] + lengths[1];
	}
	return n;
}

/* PARAMS in records of at most step bytes, and their end. */
static inline void wire_params(struct wire *wire, unsigned id, size_t step, const char *const *pairs)
{
	char content[4096];
	size_t n = wire_pairs(content, pairs);

	for (size_t i = 0; i < n; i += step)
		wire_record(wire, 4, id, content + i, n - i < step ? n - i : step, 3);
	wire_record(wire, 4, id, "", 0, 0);
}
