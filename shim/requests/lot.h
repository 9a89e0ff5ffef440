#pragma once
/* lot - draws one of many with equal chances while they come, without knowing how many there will be.
 * Context: call. Pure.
 */
#include <stdbool.h>
#include <stdint.h>

/* One of 0 .. count - 1. *random is not 0 and belongs to the drawer. */
static inline uint32_t lot_draw(uint32_t *random, uint32_t count)
{
	/* Marsaglia's xorshift; which lot it gives does not matter, only that it does not follow the traffic. */
	uint32_t x = *random;

	if (count <= 1)
		return 0;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	*random = x;
	return (uint32_t)((uint64_t)x * count >> 32);
}

/* True: the count-th (from 1) is the choice now instead of the one before. */
static inline bool lot_falls(uint32_t *random, uint32_t count)
{
	return lot_draw(random, count) == 0;
}
