#pragma once
/* stack - from the addresses that a walk found to what a report shows of them.
 * Context: signal. Works in place on the caller's array.
 *
 * A tag is one frame of a shown stack as the tree remembers it: the address, with the highest bit set for a return
 * address; or a small number for what is no code of the program. User addresses need 47 bits and begin far above.
 */
#include "../segment/segment.h"

#define SIG_TAG_RETURN (1ULL << 63)
#define SIG_TAG_TRUNCATED 0xfffULL /* below it: 1 + enum seg_call */
_Static_assert(SEG_CALL_COUNT < SIG_TAG_TRUNCATED, "tags of calls lie below that of a truncated stack");

struct sig_walk {
	uint32_t depth;        /* addresses found; the leaf is [0] and is exact, the others are return addresses */
	bool is_cut;           /* there were more */
	bool is_by_pointers;   /* frame pointers were followed: the frame next to one without any is missing */
	uintptr_t trampoline;  /* what follows this address on the stack was interrupted, not called; 0 = not known */
};

/* Turns walk's addresses into tags, leaf first, in the same array; returns how many there are now, at most
 * SEG_DEPTH_MAX. The frames of an interposed call in progress (call: 1 + enum seg_call, 0 = none) become one that names
 * it; frames of profshim itself go. A deeper stack keeps its leaf end, below SIG_TAG_TRUNCATED. */
uint32_t sig_stack_shown(uint64_t *stack, const struct sig_walk *walk, uint32_t call);

/* The key of a tag's frame. */
uint64_t sig_stack_frame(uint64_t tag);
