#pragma once
/* mask - for hooks of calls that take a mask, or read what signals brought.
 * Context: call.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* The mask for the real call of one that waits with it: program itself, or room filled in. NULL stays NULL. */
const sigset_t *mask_for_kernel(const sigset_t *program, sigset_t *room);

/* Some descriptor made by signalfd(2) tells of SIGPROF. */
extern _Atomic bool mask_is_read __attribute__((visibility("hidden")));

/* bytes were read into buffer, maybe by such a descriptor: what it says of the deputy becomes what happened. */
void mask_translate_read(void *buffer, size_t bytes);
