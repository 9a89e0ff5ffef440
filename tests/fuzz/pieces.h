#pragma once
/* pieces - for targets that read the same bytes twice, in one piece and in many, and must say the same of them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A hash over all that was told of the bytes; of how many events. */
struct said {
	uint64_t hash;
	uint64_t events;
};

static inline void say(struct said *said, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		said->hash = (said->hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ULL;
}

static inline void say_number(struct said *said, uint64_t number)
{
	say(said, &number, sizeof(number));
}

static inline void need_same(struct said whole, struct said pieces)
{
	if (whole.hash != pieces.hash || whole.events != pieces.events)
		abort();
}

/* How much of n bytes comes next, 1 to 16; seed 0: all of it. */
static inline size_t piece_bytes(size_t n, uint32_t *seed)
{
	if (!*seed)
		return n;
	*seed = *seed * 1664525 + 1013904223;
	size_t piece = 1 + (*seed >> 24) % 16;
	return piece < n ? piece : n;
}

typedef void fuzz_feed(void *reader, const char *bytes, size_t n, struct said *said);

/* In memory of their own, so that a sanitizer sees what reads beyond them. */
static inline void feed_copy(fuzz_feed *feed, void *reader, const char *bytes, size_t n, struct said *said)
{
	char *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	for (size_t i = 0; i < n; i++)
		copy[i] = bytes[i];
	feed(reader, copy, n, said);
	free(copy);
}

static inline void feed_pieces(fuzz_feed *feed, void *reader, const char *bytes, size_t n, uint32_t seed, struct said *said)
{
	while (n) {
		size_t piece = piece_bytes(n, &seed);
		feed_copy(feed, reader, bytes, piece, said);
		bytes += piece;
		n -= piece;
	}
}
