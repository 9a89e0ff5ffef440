#pragma once
/* gzip - one whole answer, compressed (RFC 1952).
 * Context: the exporter's threads. The only file that knows zlib.
 */
#include <stddef.h>

/* malloc'd, the caller owns it; NULL: no memory, or not smaller than the plain bytes: then send these. */
char *gzip_compress(const char *bytes, size_t count, size_t *ret_count);
