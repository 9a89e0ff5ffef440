#pragma once
/* text_file - what stands in a small file of /proc or /sys.
 * Context: the exporter's threads.
 */
#include <stdbool.h>
#include <stddef.h>

/* Its beginning, at most bytes - 1, and a NUL. False: it cannot be read, or is empty. */
bool text_file_read(const char *path, char *ret_text, size_t bytes);
