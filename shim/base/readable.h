#pragma once
/* readable - whether memory that the program passes to the kernel can be read, before the kernel says so.
 * Context: call. Keeps errno.
 *
 * A call with a bad pointer fails with EFAULT, and so it must where we look at what the pointer points to.
 */
#include "thread.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* By the kernel: a system call for each page. What another thread unmaps meanwhile is not known. */
bool readable_asked(const void *memory, size_t bytes);

/* A list that ends with NULL, and the strings in it. Consecutive ones that share a page cost one system call. */
bool readable_strings(char *const *list);

/* What lies on the calling thread's stack is told without asking. */
static inline bool readable(const void *memory, size_t bytes)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), address = (uintptr_t)memory;
	bool is_on_stack = here >= self.stack_low && address >= here && address < self.stack_high;

	return (is_on_stack && bytes <= self.stack_high - address) || readable_asked(memory, bytes);
}
