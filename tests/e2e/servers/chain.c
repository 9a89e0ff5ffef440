/* chain - computes at the end of a chain of calls, for ever: chain_outer, chain_middle, chain_inner, chain_leaf.
 * Built without unwind information, once with frame pointers and once without: see meson.build.
 */
#include "burn.h"

#include <stdio.h>

static volatile int sink;

/* Exported, so that a stripped build has their names. What follows each call keeps it from being a jump. */
#define KEPT __attribute__((noinline, noclone, visibility("default")))
KEPT void chain_leaf(uint64_t steps);
KEPT void chain_inner(uint64_t steps);
KEPT void chain_middle(uint64_t steps);
KEPT void chain_outer(uint64_t steps);

KEPT void chain_leaf(uint64_t steps)
{
#ifdef HAS_POINTERS
	/* Naming the frame makes the compiler build one, which it need not in a function that calls nothing. */
	__asm__ volatile("" : : "m"(*(char *)__builtin_frame_address(0)));
#endif
	burn(steps);
	sink++;
}

KEPT void chain_inner(uint64_t steps)
{
	chain_leaf(steps);
	sink++;
}

KEPT void chain_middle(uint64_t steps)
{
	chain_inner(steps);
	sink++;
}

KEPT void chain_outer(uint64_t steps)
{
	chain_middle(steps);
	sink++;
}

int main(void)
{
	puts("computing");
	fflush(stdout);
	for (;;)
		chain_outer(10000000);
}
