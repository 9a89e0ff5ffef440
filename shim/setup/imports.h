#pragma once
/* imports - what the program and the libraries that it began with want of others, by name.
 * Context: setup, the constructor.
 */
#include <stdbool.h>

/* A loaded module other than libc and ours refers to a function of that name: so the program may call it, or not. */
bool imports_has(const char *name);
