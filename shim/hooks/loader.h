#pragma once
/* loader - what other hooks must know of libraries being opened.
 * Context: call.
 */

/* A library was opened without our being able to look afterwards (loader.c): looks now, if so. Cheap if not. */
void loader_settle(void);
