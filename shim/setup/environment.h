#pragma once
/* environment - keeps the preload and the session in the environment of whatever the program executes, even where the
 * program builds that environment from nothing.
 * Context: call; works in a child of vfork: no allocation, the caller brings the memory.
 */
#include <stdbool.h>
#include <stddef.h>

/* Remembers our library's path, the variables of profshim in environ, and which session exec'd programs join
 * ("" = none: they are not profiled). Setup; again when the
 * session becomes another. */
void environment_init(const char *session);

/* Entries that environment_fill needs room for, the final NULL included; 0 = pass the original on unchanged. */
size_t environment_count(char *const *original);

/* Writes original, with what is missing added, to ret_entries (room for environment_count), and where LD_PRELOAD must be
 * extended its text to ret_preload. */
enum { ENVIRONMENT_PRELOAD_BYTES = 4096 };
void environment_fill(char *const *original, char **ret_entries, char ret_preload[static ENVIRONMENT_PRELOAD_BYTES]);

/* For calls that execute by inner functions of libc, with environ as it is: makes environ one that environment_fill wrote,
 * until it is taken back. It stays what it was made when the program changed it meanwhile: nothing of that is lost. True: the
 * caller is to take it back. False: another thread's is there, or no memory. */
bool environment_lend(void);
void environment_take_back(void);
