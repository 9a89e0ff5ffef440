/* Regions are single words, so that a handler sees each as a whole: number of the first page, and how many follow. A region
 * that the program unmaps stays here; what its code says of a stack that is in use leads to that stack, and a walk reads
 * nothing else.
 */
#include "stacks.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACKS_LOOK_NS 10000000 /* 10 ms; a look is some hundred system calls of 0.1 us */

enum { PAGE_SHIFT = 12, PAGES_UP_MAX = 256, PAGES_DOWN_MAX = 64, REGIONS = 64, COUNT_BITS = 16, KERNEL_MASK_BYTES = 8 };

static _Atomic uint64_t regions[REGIONS]; /* page << COUNT_BITS | pages; 0 = free */
static _Atomic uint32_t next_region;
static _Atomic uintptr_t wanted;          /* 0 = nothing is */
static _Atomic uint64_t next_look_ns;

bool sig_stacks_find(uintptr_t stack_pointer, uintptr_t *ret_low, uintptr_t *ret_high)
{
	uint64_t page = stack_pointer >> PAGE_SHIFT;

	for (int i = 0; i < REGIONS; i++) {
		uint64_t region = atomic_load_explicit(&regions[i], memory_order_relaxed);
		uint64_t first = region >> COUNT_BITS, count = region & ((1 << COUNT_BITS) - 1);
		if (page - first >= count)
			continue;
		*ret_low = first << PAGE_SHIFT;
		*ret_high = (first + count) << PAGE_SHIFT;
		return true;
	}
	return false;
}

void sig_stacks_want(uintptr_t stack_pointer)
{
	atomic_store_explicit(&wanted, stack_pointer, memory_order_relaxed);
}

/* The kernel copies a signal mask in before it looks at what shall be done with it, and there is nothing that -1 stands
 * for: EINVAL if the page can be read, EFAULT if not. Needs no descriptor, and no sandbox forbids it. */
static bool is_readable(uintptr_t page)
{
	return syscall(SYS_rt_sigprocmask, -1, page << PAGE_SHIFT, NULL, KERNEL_MASK_BYTES) != 0 && errno == EINVAL;
}

static void look(uintptr_t page)
{
	uintptr_t low = page, high = page + 1;

	if (!is_readable(page))
		return;
	while (high - page < PAGES_UP_MAX && is_readable(high))
		high++;
	while (page - low < PAGES_DOWN_MAX && low > 1 && is_readable(low - 1))
		low--;
	uint32_t index = atomic_fetch_add_explicit(&next_region, 1, memory_order_relaxed) % REGIONS;
	atomic_store_explicit(&regions[index], low << COUNT_BITS | (high - low), memory_order_relaxed);
}

void stacks_look_if_wanted(uint64_t now_ns)
{
	uint64_t not_before_ns = atomic_load_explicit(&next_look_ns, memory_order_relaxed);
	int saved_errno = errno;

	if (!atomic_load_explicit(&wanted, memory_order_relaxed) || now_ns < not_before_ns ||
	    !atomic_compare_exchange_strong_explicit(&next_look_ns, &not_before_ns, now_ns + STACKS_LOOK_NS, memory_order_relaxed,
						     memory_order_relaxed))
		return;
	look(atomic_exchange_explicit(&wanted, 0, memory_order_relaxed) >> PAGE_SHIFT);
	errno = saved_errno;
}
