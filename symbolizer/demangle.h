#pragma once
/* demangle - C++ and Rust names as people write them.
 * Context: any thread with a stack of 1 MiB or more (the demangler recurses, up to 2048 deep).
 */

/* The readable form, to be freed by the caller. NULL: the name is not mangled, is damaged or too long to demangle
 * safely, or there is no memory. */
char *demangle(const char *name);
