#pragma once
/* image - an ELF file while it is being read.
 * Context: any thread; one owner at a time. Everything read is a copy, so that an image is opened, read and closed in
 * one go: a descriptor kept in somebody else's process may be closed and given to another file, and a mapping of a file
 * that is truncated ends the process by SIGBUS. Contents are not trusted: sizes are held against the file's.
 */
#include "spans.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { IMAGE_BUILD_ID_MAX = 64, IMAGE_DEBUGLINK_MAX = 256 };

/* Tells whether two images are the same file, and who belongs to whom. */
struct image_identity {
	dev_t device; /* 0 with inode 0: not a file */
	ino_t inode;
	int64_t size_bytes, modified_ns;
	uint32_t build_id_bytes; /* 0 = has none */
	uint8_t build_id[IMAGE_BUILD_ID_MAX];
	char debuglink[IMAGE_DEBUGLINK_MAX]; /* name of the debug file, "" = has none */
	uint32_t debuglink_crc;
};

/* A section's bytes, decompressed, followed by IMAGE_SLACK_BYTES of zero so that a text or number cut off by the
 * section's end ends there. */
enum { IMAGE_SLACK_BYTES = 64 };
struct image_section {
	uint8_t *bytes; /* owned by who asked for it; free() */
	uint64_t size, address, entry_size;
};

enum image_binding { IMAGE_LOCAL, IMAGE_WEAK, IMAGE_GLOBAL };
struct image_symbol {
	const char *name; /* valid during the call */
	uint64_t start, size;
	enum image_binding binding;
	bool is_function; /* else a label without a type */
};

struct image;

/* 0 or -errno: -ENOEXEC is not an ELF file, -EINVAL not a regular file. */
int image_open(const char *path, struct image **ret_image);
int image_open_memory(const uint8_t *bytes, size_t n, struct image **ret_image); /* borrows bytes until image_close */
void image_close(struct image *image);

/* Tables of symbols and their names are not read if one takes more; UINT64_MAX before. */
void image_set_limit(struct image *image, uint64_t bytes_max);
bool image_was_limited(const struct image *image); /* one was not, for that reason */

const struct image_identity *image_identity(const struct image *image);
bool image_is_x86_64(const struct image *image);
bool image_has_section(const struct image *image, const char *name); /* with contents in this file */

/* 0 or -errno: -ENOENT no such section, -EFBIG over max_bytes, -ENOEXEC damaged. ".debug_x" also finds ".zdebug_x". */
int image_read_section(struct image *image, const char *name, uint64_t max_bytes, struct image_section *ret_section);

/* The address ranges that hold code; id 0. 0 or -errno. */
int image_read_code(struct image *image, struct spans *ret_code);

/* Calls found for each defined function or label of .symtab (of .dynsym when is_dynamic); found returns 0 to go on.
 * 0, -ENOENT when there is no such table, or what found returned. */
int image_read_symbols(struct image *image, bool is_dynamic, int (*found)(void *context, const struct image_symbol *symbol),
                       void *context);

/* Calls found for each dynamic relocation that names a symbol: address is that of the word to be filled in. As above. */
int image_read_imports(struct image *image, int (*found)(void *context, uint64_t address, const char *symbol), void *context);
