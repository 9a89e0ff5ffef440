#pragma once
/* decoders - libraries that connections are decoded with, opened at run time before the first connection can need them.
 * Context: setup, inside of the program's first listen, accept or connect; afterwards one load.
 *
 * Opening takes the loader's lock. A program that waits for a connection while it holds that lock (in a constructor of a
 * library that it opens) would wait for us; it would wait for its own name look-ups in the same way, which open NSS
 * modules.
 */
#include <stdatomic.h>
#include <stdbool.h>

/* W: decoders_open. */
extern _Atomic bool decoders_are_asked_for __attribute__((visibility("hidden")));

/* Opens them, once. What cannot be opened says so in the log, and its protocol counts what it loses. errno is kept. */
void decoders_open(void);

/* The program makes connections. */
static inline void decoders_need(void)
{
	if (!atomic_load_explicit(&decoders_are_asked_for, memory_order_relaxed))
		decoders_open();
}
