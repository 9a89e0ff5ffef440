#pragma once
/* stand_ins - what libunwind gets to call while it walks for us, instead of the functions it was linked to.
 * Context: signal; stand_ins_install: setup.
 */
#include <stdbool.h>
#include <stddef.h>

/* Points libunwind's imports (handle, from dlopen) at the stand-ins. 0 or -errno: an import was not found that must be
 * replaced, or its memory cannot be written; libunwind must not be used then. */
int stand_ins_install(void *handle);

struct stand_in {
	const char *name;
	void *function;
	void **original; /* where the true one is kept, for the program's own use of the same library */
	bool is_needed;
};
extern const struct stand_in sig_stand_ins[];
extern const size_t sig_stand_in_count;
