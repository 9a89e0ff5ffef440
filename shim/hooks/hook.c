#include "hook.h"

#include "../sampling/sampling.h"
#include "../setup/process.h"
#include "loader.h"

#include <signal.h>

#define STACK_BYTES_MAX (64ul << 20) /* frames further apart are hardly on one stack */

/* A handler of the program on an alternate stack tells nothing of the stack that it interrupted. */
static bool is_on_alternate_stack(void)
{
	stack_t stack;

	return sigaltstack(NULL, &stack) != 0 || stack.ss_flags & SS_ONSTACK;
}

/* Stacks grow down, so the frame of a call that is still on lies above the frame of who is called within it. */
bool hook_is_gone(uintptr_t frame, uintptr_t here)
{
	return frame && frame < here && here - frame < STACK_BYTES_MAX && !is_on_alternate_stack();
}

void hook_enter_within(uintptr_t frame)
{
	if (!hook_is_gone(self.call_frame, frame))
		return;
	self.call = 0;
	self.call_frame = 0;
	loader_forget(frame);
}

bool hook_enter_slowly(void)
{
	int state = atomic_load_explicit(&shim_state, memory_order_acquire);

	/* A library loaded before us calls a hook in its constructor. */
	if (state == SHIM_EARLY && !real_is_resolved())
		real_resolve();
	if (state == SHIM_EARLY && shim_cloned())
		state = atomic_load_explicit(&shim_state, memory_order_relaxed);
	if (state == SHIM_ACTIVE && self.own_depth && self.call &&
	    hook_is_gone(self.call_frame, (uintptr_t)__builtin_frame_address(0)))
		self.own_depth = 0;
	if (state != SHIM_ACTIVE || self.own_depth || self.in_handler)
		return false;
	/* A child of vfork is another thread, and its slot and timer would be left to its parent's. */
	if (!process_is_self())
		return self.slot != NULL;
	if (!self.slot)
		shim_thread_begin();
	else
		sampling_follow();
	return self.slot != NULL;
}
