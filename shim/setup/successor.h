#pragma once
/* successor - the calling thread goes on as another one of the kernel's, which has a copy of the table of descriptors instead of
 * sharing the process's: what unshare(2) with CLONE_FILES does, where a filter refuses that. Threads are made by clone(2), and
 * so filters let it pass.
 * Context: setup, in a thread of ours that nobody joins, cancels or signals.
 */
#include <stdbool.h>

/* True: the caller has another number (gettid(2)) from now on, and all else that it had. False: nothing changed. */
bool successor_begins(void);
