#pragma once
/* stacks - the ends of stacks that neither the C library nor the kernel tells us of: coroutines', and threads' that were
 * made by other means.
 * Context: signal for sig_*; call for stacks_look_if_wanted.
 * A handler that meets such a stack leaves its address here; the next hook that has the time asks the kernel how far the
 * memory around it can be read, 1 MiB at most. Until then walks end at the edge of a page.
 */
#include <stdbool.h>
#include <stdint.h>

/* The memory, mapped as one, that was last found around an address. */
bool sig_stacks_find(uintptr_t stack_pointer, uintptr_t *ret_low, uintptr_t *ret_high);

/* Some handler could not go on at this stack for want of knowing its end. */
void sig_stacks_want(uintptr_t stack_pointer);

/* Looks up what is wanted. One load when there is nothing; else some hundred system calls, at most every 10 ms. */
void stacks_look_if_wanted(uint64_t now_ns);
