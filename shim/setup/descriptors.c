#include "descriptors.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OWN_MAX = 256 }; /* the exporter's connections are limited below that */

static _Atomic int own[OWN_MAX]; /* descriptor + 1, 0 = free */
static _Atomic int own_count;

static bool replace(int from, int to)
{
	for (int i = 0; i < OWN_MAX; i++) {
		int expected = from;
		if (atomic_compare_exchange_strong_explicit(&own[i], &expected, to, memory_order_relaxed, memory_order_relaxed))
			return true;
	}
	return false;
}

void descriptors_add(int fd)
{
	if (fd >= 0 && replace(0, fd + 1))
		atomic_fetch_add_explicit(&own_count, 1, memory_order_release);
}

void descriptors_remove(int fd)
{
	if (fd >= 0 && replace(fd + 1, 0))
		atomic_fetch_sub_explicit(&own_count, 1, memory_order_release);
}

bool descriptors_is_own(int fd)
{
	if (fd < 0 || atomic_load_explicit(&own_count, memory_order_acquire) == 0)
		return false;
	for (int i = 0; i < OWN_MAX; i++)
		if (atomic_load_explicit(&own[i], memory_order_relaxed) == fd + 1)
			return true;
	return false;
}

void descriptors_close_all(void)
{
	for (int i = 0; i < OWN_MAX; i++) {
		int fd = atomic_exchange_explicit(&own[i], 0, memory_order_relaxed);
		if (fd)
			syscall(SYS_close, fd - 1);
	}
	atomic_store_explicit(&own_count, 0, memory_order_relaxed);
}
