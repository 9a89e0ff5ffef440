/* zlib would take its memory from the program's malloc, which may keep it; asked by a name of our own it takes that of the
 * library that we are linked into.
 */
#define ZLIB_CONST
#include "unpack.h"

#include "step.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE_BYTES = 16 * 1024, OUT_BYTES = 16 * 1024 };

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

struct source {
	int descriptor;
	const uint8_t *memory;
	uint64_t at, left;
	uint8_t piece[PIECE_BYTES];
};

/* 0 or -errno. */
static int next_piece(struct source *source, z_stream *stream)
{
	size_t wanted = source->left < PIECE_BYTES ? (size_t)source->left : PIECE_BYTES;
	ssize_t got = (ssize_t)wanted;

	if (source->descriptor >= 0)
		do
			got = pread(source->descriptor, source->piece, wanted, (off_t)source->at);
		while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : -ENOEXEC;
	stream->next_in = source->descriptor >= 0 ? source->piece : source->memory + source->at;
	stream->avail_in = (unsigned)got;
	source->at += (uint64_t)got;
	source->left -= (uint64_t)got;
	return 0;
}

static int run(struct source *source, z_stream *stream, uint8_t *bytes, uint64_t n)
{
	int result = Z_OK;
	uint64_t room = n;

	stream->next_out = bytes;
	while (result == Z_OK) {
		int failed = stream->avail_in ? 0 : next_piece(source, stream);
		if (failed)
			return failed;
		if (!stream->avail_out) {
			stream->avail_out = room < OUT_BYTES ? (unsigned)room : OUT_BYTES;
			room -= stream->avail_out;
		}
		result = inflate(stream, Z_NO_FLUSH);
		step_taken(STEP_LARGE);
	}
	if (result == Z_MEM_ERROR)
		return -ENOMEM;
	return result == Z_STREAM_END && !room && !stream->avail_out ? 0 : -ENOEXEC;
}

int unpack(int descriptor, const uint8_t *memory, uint64_t offset, uint64_t n, uint8_t *ret_bytes, uint64_t ret_n)
{
	struct source source = { .descriptor = memory ? -1 : descriptor, .memory = memory, .at = offset, .left = n };
	z_stream stream = { .zalloc = allocate, .zfree = release };

	if (inflateInit(&stream) != Z_OK)
		return -ENOMEM;
	int failed = run(&source, &stream, ret_bytes, ret_n);
	inflateEnd(&stream);
	return failed;
}
