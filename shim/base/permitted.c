#include "permitted.h"

_Atomic uint64_t permitted_not[PERMITTED_NUMBERS / 64];

void permitted_forbid(unsigned number)
{
	atomic_fetch_or_explicit(&permitted_not[number / 64], 1ULL << number % 64, memory_order_relaxed);
}
