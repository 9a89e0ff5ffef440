#include "gzip.h"

#include "../pace.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

enum {
	LEVEL = 1,            /* fastest: the CPU is the profiled program's, and text of this kind shrinks tenfold anyway */
	WINDOW_GZIP = 15 + 16, /* largest window; 16 more asks zlib for the gzip frame */
	MEMORY = 8,           /* zlib's default */
	PIECE_BYTES = 4096,
};

/* zlib's 256 KiB, asked for by a name of our own: from the program's malloc, which may keep them, they would come otherwise. */
static void *allocate(void *unused, unsigned count, unsigned n)
{
	(void)unused;
	return calloc(count, n);
}

static void release(void *unused, void *piece)
{
	(void)unused;
	free(piece);
}

/* False: there was not enough room, or it went wrong. */
static bool pack(z_stream *stream, size_t count)
{
	int result = Z_OK;

	while (result == Z_OK) {
		stream->avail_in = (uInt)(count < PIECE_BYTES ? count : PIECE_BYTES);
		count -= stream->avail_in;
		result = deflate(stream, count ? Z_NO_FLUSH : Z_FINISH);
		pace_point();
	}
	return result == Z_STREAM_END;
}

char *gzip_compress(const char *bytes, size_t count, size_t *ret_count)
{
	z_stream stream = { .zalloc = allocate, .zfree = release };
	char *out = NULL;

	if (count > UINT_MAX / 2 || deflateInit2(&stream, LEVEL, Z_DEFLATED, WINDOW_GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	size_t bound = deflateBound(&stream, count);
	out = malloc(bound);
	stream.next_in = (Bytef *)(uintptr_t)bytes;
	stream.next_out = (Bytef *)out;
	stream.avail_out = (uInt)bound;
	if (out && (!pack(&stream, count) || stream.total_out >= count)) {
		free(out);
		out = NULL;
	}
	*ret_count = stream.total_out;
	deflateEnd(&stream);
	return out;
}
