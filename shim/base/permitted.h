#pragma once
/* permitted - the system calls that a seccomp(2) filter would end this process for, as far as that is known, and that are
 * therefore not made where there is another way.
 * Context: signal to ask; call to forbid. What is forbidden stays so, here and in all that is forked: filters are never taken away.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { PERMITTED_NUMBERS = 512 };

extern _Atomic uint64_t permitted_not[PERMITTED_NUMBERS / 64] __attribute__((visibility("hidden")));

static inline bool permitted(unsigned number)
{
	return !(atomic_load_explicit(&permitted_not[number / 64], memory_order_relaxed) >> number % 64 & 1);
}

void permitted_forbid(unsigned number);
