/* growth_module - one of the modules through which growth_load goes. */
#include "growth_module.h"

uint64_t growth_step(const struct growth *growth, uint32_t left, uint64_t state);

uint64_t growth_step(const struct growth *growth, uint32_t left, uint64_t state)
{
	/* Something is left to do after each call, so that none is a jump. */
	if (!left)
		return growth->bottom(state) + 1;
	return growth->steps[(left - 1) % growth->count](growth, left - 1, state) + left;
}
