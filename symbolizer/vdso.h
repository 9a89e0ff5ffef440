#pragma once
/* vdso - the kernel's library in every process, which has no file.
 * Context: any thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool vdso_is_path(const char *path); /* is this how the loader or the kernel calls it? */

/* Our own process's copy, which lives as long as the process. -ENOENT: has none, or /proc does not say how long it is. */
int vdso_find(const uint8_t **ret_bytes, size_t *ret_n);
