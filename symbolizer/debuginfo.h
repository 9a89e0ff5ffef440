#pragma once
/* debuginfo - lines and declarations by address, out of the DWARF of one file.
 * Context: the symbolizer's thread. Holds the sections it needs in memory, lists the units when opened, and decodes a
 * unit when an address in it is first asked for.
 */
#include "image.h"
#include "strings.h"

struct debuginfo_source {
	const char *file, *function_file; /* kept in the strings; NULL = not known */
	const char *function;             /* kept in the strings; mangled */
	uint32_t line, function_line;
};

struct debuginfo;

/* Reads the image's DWARF; the image may be closed afterwards. 0 or -errno: -ENOENT has none, -EFBIG it takes over
 * max_bytes, -ENOEXEC damaged. */
int debuginfo_open(struct image *image, uint64_t max_bytes, struct debuginfo **ret_debuginfo);
void debuginfo_close(struct debuginfo *debuginfo);

uint64_t debuginfo_bytes(const struct debuginfo *debuginfo); /* held now; grows by what is decoded */

/* function_start: of the function in which address lies, or address. Unknown parts are left as they are. */
void debuginfo_find(struct debuginfo *debuginfo, struct strings *strings, uint64_t address, uint64_t function_start,
                    struct debuginfo_source *source);
