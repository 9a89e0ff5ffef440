#pragma once
/* stack - from the frames that a walk found to what a report shows of them.
 * Context: signal.
 *
 * A tag is one frame of a shown stack as the tree remembers it: the address, with the highest bit set for a return
 * address; or a small number for what is no code of the program. User addresses need 47 bits and begin far above.
 */
#include "../segment/segment.h"

#define SIG_TAG_RETURN (1ULL << 63)
#define SIG_TAG_TRUNCATED 0xfffULL /* below it: 1 + enum seg_call */
_Static_assert(SEG_CALL_COUNT < SIG_TAG_TRUNCATED, "tags of calls lie below that of a truncated stack");

/* A stack whose root was not reached after so many is cut: more than are shown, since our own are not. */
#define SIG_FRAMES_MAX (SEG_DEPTH_MAX + 16)

enum {
	SIG_FRAME_OWN = 1,      /* code of libprofshim.so */
	SIG_FRAME_SYSTEM = 2,   /* of the C library, the loader or the vDSO */
	SIG_FRAME_POINTERS = 4, /* left by its frame pointer, since no rule is known */
	SIG_FRAME_NO_BP = 8,    /* the register's value is not known here */
	SIG_FRAME_NO_BX = 16,
	SIG_FRAME_NEEDS_BP = 32, /* this frame's value of the register leads to a frame nearer to the root, or to its end */
	SIG_FRAME_NEEDS_BX = 64,
	SIG_FRAME_PLAIN = 128,  /* see is_plain (walk.c) */
};

/* One frame of a walk: the registers that lead to the next one, and the rule by which they do (segment/unwind.h). */
struct sig_frame {
	uint64_t tag;
	uint64_t sp, bp, bx; /* what is not needed may be of a walk before */
	uint32_t rule;
	uint8_t flags;
	uint8_t run;    /* so many frames from this one on, towards the root, hang on nothing but their return addresses */
	uint16_t shown; /* W: sig_stack_shown: how many of the frames from the root to this one are shown */
};

struct sig_walk {
	struct sig_frame *frames; /* root first */
	uint32_t depth;           /* of them; 0: nothing could be found beyond doubt */
	uint32_t kept;            /* from the root on, so many are those of the walk before */
	bool is_cut;              /* there were more, nearer to the root */
	bool is_by_pointers;      /* the leaf was left by its frame pointer: if it has none, the frame next to it is missing */
};

struct sig_shown {
	uint32_t kept;  /* tags from the root on that are as they were */
	uint32_t count; /* tags behind them; all in all at most SEG_DEPTH_MAX */
};

/* The tags of a walk, root first, behind those that are kept, into ret_tags, which has room for SEG_DEPTH_MAX. The frames
 * of an interposed call in progress (call: 1 + enum seg_call, 0 = none) become one that names it; frames of profshim itself
 * go. A deeper stack keeps its leaf end, below SIG_TAG_TRUNCATED, and nothing of it is kept.
 * tagged: how many frames of the walk before, from the root on, have their tags in the tree's path, as this function left
 * it; 0: none. */
struct sig_shown sig_stack_shown(const struct sig_walk *walk, uint32_t call, uint32_t *tagged, uint64_t *ret_tags);

/* The key of a tag's frame. */
uint64_t sig_stack_frame(uint64_t tag);
