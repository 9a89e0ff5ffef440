#include "descriptors.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic uint64_t inodes[DESCRIPTORS_MAX]; /* by descriptor, 0 = not ours */
static _Atomic int highest = -1;                 /* of those that ever were ours */

/* 0: not open. */
static uint64_t inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

int descriptors_raise(int fd)
{
	struct rlimit limit;
	int floor = DESCRIPTORS_FLOOR;

	if (fd < 0)
		return fd;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 * 3 < (rlim_t)floor)
		floor = (int)(limit.rlim_cur / 4 * 3);
	int raised = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, floor);
	if (raised < 0)
		return fd;
	syscall(SYS_close, fd);
	return raised;
}

void descriptors_add(int fd)
{
	if (fd < 0 || fd >= DESCRIPTORS_MAX)
		return;
	atomic_store_explicit(&inodes[fd], inode_of(fd), memory_order_relaxed);
	int seen = atomic_load_explicit(&highest, memory_order_relaxed);
	while (seen < fd && !atomic_compare_exchange_weak_explicit(&highest, &seen, fd, memory_order_relaxed, memory_order_relaxed))
		;
}

void descriptors_remove(int fd)
{
	if (fd >= 0 && fd < DESCRIPTORS_MAX)
		atomic_store_explicit(&inodes[fd], 0, memory_order_relaxed);
}

bool descriptors_is_own(int fd)
{
	if (fd < 0 || fd > atomic_load_explicit(&highest, memory_order_relaxed))
		return false;
	uint64_t inode = atomic_load_explicit(&inodes[fd], memory_order_relaxed);
	if (!inode)
		return false;
	if (inode == inode_of(fd))
		return true;
	descriptors_remove(fd);
	return false;
}

void descriptors_close_all(void)
{
	for (int fd = 0; fd <= atomic_load_explicit(&highest, memory_order_relaxed); fd++) {
		if (descriptors_is_own(fd))
			syscall(SYS_close, fd);
		descriptors_remove(fd);
	}
	atomic_store_explicit(&highest, -1, memory_order_relaxed);
}
