#pragma once
/* own_memory - which of the process's memory is ours, so that a program that locks all of its own (mlockall(2)) does not lock
 * that, too: it would all become resident, and what may be locked (RLIMIT_MEMLOCK) is the program's.
 * Context: setup and call. Overlap: any calls with each other.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As mmap(2), of whole pages, to be read and written; flags without MAP_FIXED. What is mapped is known to be ours, and not
 * locked, whatever the program has asked for what is mapped from now on. MAP_FAILED: errno says why. */
void *own_memory_map(size_t bytes, int flags, int fd);
void own_memory_unmap(void *base, size_t bytes);

/* Something of ours that was mapped in another way. */
void own_memory_add(uintptr_t begin, uintptr_t end);
void own_memory_forget(uintptr_t begin);

struct own_range {
	uintptr_t begin, end;
};

/* The lowest of ours in begin..end, cut to that; end..end = there is none. */
struct own_range own_memory_in(uintptr_t begin, uintptr_t end);

/* Whether what is mapped from now on is locked at once. */
void own_memory_lock_future(bool is_locked);
bool own_memory_is_future_locked(void);

/* Where a filter of system calls does not let it happen nothing does. */
void own_memory_unlock(uintptr_t begin, uintptr_t end);
