#include "stack.h"

#include "modules.h"

/* At the leaf end of the stack: how many frames are the C library's or ours, because of an interposed call or of what
 * our hook does around it. 0: the program's own code is at work. */
static uint32_t count_covered(const uint64_t *stack, const struct sig_walk *walk, uint32_t call)
{
	uint32_t system = 0;

	while (system < walk->depth && sig_modules_is_system(stack[system]))
		system++;
	uint32_t covered = system;
	while (covered < walk->depth && sig_modules_is_own(stack[covered]))
		covered++;
	if (covered > system)
		return covered;
	/* Without the hook's frame one cannot tell a call of the program's signal handler from the call that it interrupts;
	 * by frame pointers the hook's is the frame that is missing, so there it must be the hook's. */
	return call && walk->is_by_pointers ? system : 0;
}

uint32_t sig_stack_shown(uint64_t *stack, const struct sig_walk *walk, uint32_t call)
{
	uint32_t covered = count_covered(stack, walk, call);
	uint64_t above = covered ? stack[covered - 1] : 0;
	uint32_t shown = 0;

	/* Never ahead of the reading: a call's tag stands for at least one covered frame. */
	if (covered && call)
		stack[shown++] = call;
	for (uint32_t i = covered; i < walk->depth; i++) {
		uint64_t address = stack[i];
		bool is_exact = i == 0 || (walk->trampoline && above == walk->trampoline);
		above = address;
		if (!sig_modules_is_own(address))
			stack[shown++] = is_exact ? address : address | SIG_TAG_RETURN;
	}
	if (!walk->is_cut && shown <= SEG_DEPTH_MAX)
		return shown;
	if (shown > SEG_DEPTH_MAX - 1)
		shown = SEG_DEPTH_MAX - 1;
	stack[shown++] = SIG_TAG_TRUNCATED;
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
