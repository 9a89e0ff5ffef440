#include "own_memory.h"

#include "permitted.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { RANGES_MAX = 256, PAGE_BYTES = 4096 };

/* W: whoever exchanges begin of 0 for BEING_WRITTEN; end is valid while begin is an address. What finds no room is locked
 * with the program's. */
static struct {
	_Atomic uintptr_t begin, end;
} ranges[RANGES_MAX];
#define BEING_WRITTEN 1

static _Atomic bool is_future_locked;

void own_memory_add(uintptr_t begin, uintptr_t end)
{
	for (int i = 0; i < RANGES_MAX; i++) {
		uintptr_t nothing = 0;
		if (!atomic_compare_exchange_strong_explicit(&ranges[i].begin, &nothing, BEING_WRITTEN, memory_order_acquire,
							     memory_order_relaxed))
			continue;
		atomic_store_explicit(&ranges[i].end, end, memory_order_relaxed);
		atomic_store_explicit(&ranges[i].begin, begin, memory_order_release);
		return;
	}
}

void own_memory_forget(uintptr_t begin)
{
	for (int i = 0; i < RANGES_MAX; i++) {
		uintptr_t found = begin;
		if (atomic_compare_exchange_strong_explicit(&ranges[i].begin, &found, 0, memory_order_relaxed, memory_order_relaxed))
			return;
	}
}

struct own_range own_memory_in(uintptr_t begin, uintptr_t end)
{
	struct own_range found = { end, end };

	for (int i = 0; i < RANGES_MAX; i++) {
		uintptr_t own_begin = atomic_load_explicit(&ranges[i].begin, memory_order_acquire);
		uintptr_t own_end = atomic_load_explicit(&ranges[i].end, memory_order_relaxed);
		if (own_begin <= BEING_WRITTEN || own_end <= begin || own_begin >= found.begin)
			continue;
		found.begin = own_begin > begin ? own_begin : begin;
		found.end = own_end < end ? own_end : end;
	}
	return found;
}

void own_memory_lock_future(bool is_locked)
{
	atomic_store_explicit(&is_future_locked, is_locked, memory_order_relaxed);
}

bool own_memory_is_future_locked(void)
{
	return atomic_load_explicit(&is_future_locked, memory_order_relaxed);
}

void own_memory_unlock(uintptr_t begin, uintptr_t end)
{
	if (permitted(SYS_munlock))
		munlock((void *)begin, end - begin);
}

/* What nobody may touch is locked, but not made resident. */
static void *map_unlocked(size_t bytes, int flags, int fd)
{
	void *base = mmap(NULL, bytes, PROT_NONE, flags, fd, 0);

	if (base == MAP_FAILED)
		return base;
	own_memory_unlock((uintptr_t)base, (uintptr_t)base + bytes);
	if (mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0)
		return base;
	int error = errno;
	munmap(base, bytes);
	errno = error;
	return MAP_FAILED;
}

void *own_memory_map(size_t bytes, int flags, int fd)
{
	void *base = own_memory_is_future_locked() ? map_unlocked(bytes, flags, fd) :
						     mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (base != MAP_FAILED)
		own_memory_add((uintptr_t)base, ((uintptr_t)base + bytes + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1));
	return base;
}

void own_memory_unmap(void *base, size_t bytes)
{
	own_memory_forget((uintptr_t)base);
	munmap(base, bytes);
}
