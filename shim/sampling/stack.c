#include "stack.h"

#include "modules.h"

/* At the leaf end of the stack: how many frames are the C library's or ours, because of an interposed call or of what
 * our hook does around it. 0: the program's own code is at work. */
static uint32_t count_covered(const struct sig_walk *walk, uint32_t call)
{
	const struct sig_frame *leaf = walk->frames + walk->depth - 1;
	uint32_t system = 0;

	while (system < walk->depth && leaf[-(int32_t)system].flags & SIG_FRAME_SYSTEM)
		system++;
	uint32_t covered = system;
	while (covered < walk->depth && leaf[-(int32_t)covered].flags & SIG_FRAME_OWN)
		covered++;
	if (covered > system)
		return covered;
	/* Without the hook's frame one cannot tell a call of the program's signal handler from the call that it interrupts;
	 * by frame pointers the hook's is the frame that is missing, so there it must be the hook's. */
	return call && walk->is_by_pointers ? system : 0;
}

static bool is_shown(const struct sig_frame *frame)
{
	return !(frame->flags & SIG_FRAME_OWN);
}

/* The leaf end of a stack that is too deep, with the call (0 = none) that takes the place of what was covered. */
static uint32_t show_leaf_end(const struct sig_walk *walk, uint32_t depth, uint64_t call, uint64_t *ret_tags)
{
	uint32_t room = SEG_DEPTH_MAX - 1 - (call != 0), from = depth, count = 0;

	while (from && room) {
		from--;
		room -= is_shown(&walk->frames[from]);
	}
	ret_tags[count++] = SIG_TAG_TRUNCATED;
	for (; from < depth; from++)
		if (is_shown(&walk->frames[from]))
			ret_tags[count++] = walk->frames[from].tag;
	if (call)
		ret_tags[count++] = call;
	return count;
}

struct sig_shown sig_stack_shown(const struct sig_walk *walk, uint32_t call, uint32_t *tagged, uint64_t *ret_tags)
{
	uint32_t covered = count_covered(walk, call), depth = walk->depth - covered;
	uint32_t kept = walk->kept < *tagged ? walk->kept : *tagged;
	struct sig_shown shown = { 0 };

	if (!covered)
		call = 0;
	if (kept > depth)
		kept = depth;
	uint32_t total = shown.kept = kept ? walk->frames[kept - 1].shown : 0;
	for (uint32_t i = kept; i < depth; i++) {
		struct sig_frame *frame = &walk->frames[i];
		if (is_shown(frame) && total++ < SEG_DEPTH_MAX)
			ret_tags[shown.count++] = frame->tag;
		frame->shown = (uint16_t)total;
	}
	*tagged = depth;
	if (walk->is_cut || total + (call != 0) > SEG_DEPTH_MAX) {
		*tagged = 0;
		return (struct sig_shown){ .count = show_leaf_end(walk, depth, call, ret_tags) };
	}
	if (call)
		ret_tags[shown.count++] = call;
	return shown;
}

uint64_t sig_stack_frame(uint64_t tag)
{
	if (tag == SIG_TAG_TRUNCATED)
		return seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_TRUNCATED);
	if (tag < SIG_TAG_TRUNCATED)
		return seg_frame_key(SEG_MODULE_CALL, tag - 1);
	return sig_modules_frame((uintptr_t)(tag & ~SIG_TAG_RETURN), tag & SIG_TAG_RETURN);
}
