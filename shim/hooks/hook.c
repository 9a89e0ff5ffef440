#include "hook.h"

bool hook_enter_slowly(void)
{
	int state = atomic_load_explicit(&shim_state, memory_order_acquire);

	/* A library loaded before us calls a hook in its constructor. */
	if (state == SHIM_EARLY && !real.read)
		real_resolve();
	if (state != SHIM_ACTIVE || self.own_depth || self.in_handler)
		return false;
	if (!self.slot)
		shim_thread_begin();
	return self.slot != NULL;
}
