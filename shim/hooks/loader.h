#pragma once
/* loader - what other hooks must know of libraries being opened.
 * Context: call.
 */
#include <stdint.h>

/* A library was opened without our being able to look afterwards (loader.c): looks now, if so. Cheap if not. */
void loader_settle(void);

/* A call of the thread was left for good by a jump: was it one of the loader, its end is made up for. here: a place on the
 * stack where the thread now is. */
void loader_forget(uintptr_t here);
