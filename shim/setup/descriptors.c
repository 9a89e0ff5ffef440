#include "descriptors.h"

#include "../base/log.h"
#include "../base/permitted.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic uint64_t inodes[DESCRIPTORS_MAX]; /* by descriptor, 0 = not ours */
static _Atomic int highest = -1;                 /* of those that ever were ours */

static __thread bool has_own_table __attribute__((tls_model("initial-exec")));

/* Nothing is opened to find out: that would take a number from the program for a moment. */
static bool can_fetch(void)
{
	return permitted(SYS_pidfd_getfd) && permitted(SYS_pidfd_open) && permitted(SYS_close_range) && permitted(SYS_dup3) &&
	       syscall(SYS_pidfd_getfd, -1, 0, 0) < 0 && errno == EBADF;
}

void descriptors_part(void)
{
	if (!can_fetch() || syscall(SYS_close_range, 0, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return;
	has_own_table = true;
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int out_of_the_way = (int)syscall(SYS_fcntl, pidfd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int null = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
	/* Without /dev anything will do that no text can be written to. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		syscall(SYS_dup3, null >= 0 ? null : out_of_the_way, fd, O_CLOEXEC);
	if (null > STDERR_FILENO)
		syscall(SYS_close, null);
	log_thread_fetches(out_of_the_way);
}

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

	if (fd < 0 || has_own_table)
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
	if (fd < 0 || fd >= DESCRIPTORS_MAX || has_own_table)
		return;
	atomic_store_explicit(&inodes[fd], inode_of(fd), memory_order_relaxed);
	int seen = atomic_load_explicit(&highest, memory_order_relaxed);
	while (seen < fd && !atomic_compare_exchange_weak_explicit(&highest, &seen, fd, memory_order_relaxed, memory_order_relaxed))
		;
}

void descriptors_remove(int fd)
{
	if (fd >= 0 && fd < DESCRIPTORS_MAX && !has_own_table)
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
