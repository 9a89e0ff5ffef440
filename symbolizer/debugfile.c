/* Where both files have a build-id it decides; else the checksum in the link does, which costs one reading of the file.
 */
#include "debugfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(PATH_MAX == 4096, "ret_path holds a path");

/* CRC-32 of IEEE 802.3 (polynomial 0x04c11db7 reflected), the one of zlib and of .gnu_debuglink. */
static void make_crc_table(uint32_t table[static 256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
		table[i] = crc;
	}
}

static int compute_crc(const char *path, uint32_t *ret_crc)
{
	uint32_t table[256], crc = UINT32_MAX;
	uint8_t buffer[16 * 1024];
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t got;

	if (descriptor < 0)
		return -errno;
	make_crc_table(table);
	while ((got = read(descriptor, buffer, sizeof(buffer))) > 0 || (got < 0 && errno == EINTR))
		for (ssize_t i = 0; i < got; i++)
			crc = crc >> 8 ^ table[(crc ^ buffer[i]) & 0xff];
	close(descriptor);
	*ret_crc = ~crc;
	return got < 0 ? -EIO : 0;
}

static bool is_same_build(const struct image_identity *a, const struct image_identity *b)
{
	return a->build_id_bytes == b->build_id_bytes && memcmp(a->build_id, b->build_id, a->build_id_bytes) == 0;
}

static bool belongs(const struct image_identity *module, const struct image_identity *candidate, const char *path)
{
	uint32_t crc = 0;

	if (candidate->device == module->device && candidate->inode == module->inode)
		return false; /* a link to itself */
	if (module->build_id_bytes && candidate->build_id_bytes)
		return is_same_build(module, candidate);
	return compute_crc(path, &crc) == 0 && crc == module->debuglink_crc;
}

static int try_open(const char *path, const struct image_identity *module, struct image **ret_image)
{
	struct image *image;

	if (image_open(path, &image) != 0)
		return -ENOENT;
	if (!belongs(module, image_identity(image), path)) {
		image_close(image);
		return -ENOENT;
	}
	*ret_image = image;
	return 0;
}

static int open_by_build_id(const struct image_identity *module, const char *root, char path[static PATH_MAX],
                            struct image **ret_image)
{
	char hex[2 * IMAGE_BUILD_ID_MAX + 1];
	int n;

	if (module->build_id_bytes < 2)
		return -ENOENT;
	for (uint32_t i = 0; i < module->build_id_bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", module->build_id[i]);
	n = snprintf(path, PATH_MAX, "%s/.build-id/%.2s/%s.debug", root, hex, hex + 2);
	return n < PATH_MAX ? try_open(path, module, ret_image) : -ENOENT;
}

static int open_by_link(const struct image_identity *module, const char *directory, const char *root,
                        char path[static PATH_MAX], struct image **ret_image)
{
	const char *before[] = { "", "", root };
	const char *between[] = { "/", "/.debug/", "/" };

	for (size_t i = 0; i < 3; i++) {
		int n = snprintf(path, PATH_MAX, "%s%s%s%s", before[i], directory, between[i], module->debuglink);

		if (n < PATH_MAX && try_open(path, module, ret_image) == 0)
			return 0;
	}
	return -ENOENT;
}

/* False: has none, being a bare name. */
static bool cut_to_directory(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
	return slash;
}

int debugfile_open(const char *path, const struct image_identity *module, const char *root, char ret_path[static 4096],
                   struct image **ret_image)
{
	char directory[PATH_MAX], resolved[PATH_MAX];

	if (open_by_build_id(module, root, ret_path, ret_image) == 0)
		return 0;
	if (!module->debuglink[0] || snprintf(directory, sizeof(directory), "%s", path) >= (int)sizeof(directory))
		return -ENOENT;
	if (cut_to_directory(directory) && open_by_link(module, directory, root, ret_path, ret_image) == 0)
		return 0;
	/* /lib may be a link to /usr/lib, and debug files are filed under only one of the two. */
	if (!realpath(path, resolved) || !cut_to_directory(resolved) || strcmp(resolved, directory) == 0)
		return -ENOENT;
	return open_by_link(module, resolved, root, ret_path, ret_image);
}
