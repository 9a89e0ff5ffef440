#include "descriptors.h"

#include "../base/log.h"
#include "../base/permitted.h"
#include "successor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREAD_DESCRIPTORS "/proc/thread-self/fd"

static _Atomic uint64_t inodes[DESCRIPTORS_MAX]; /* by descriptor, 0 = not ours */
static _Atomic int highest = -1;                 /* of those that ever were ours */

static __thread bool has_own_table __attribute__((tls_model("initial-exec")));

/* Nothing is opened to find out: that would take a number from the program for a moment. */
static bool can_fetch(void)
{
	return permitted(SYS_pidfd_getfd) && permitted(SYS_pidfd_open) && syscall(SYS_pidfd_getfd, -1, 0, 0) < 0 && errno == EBADF;
}

/* Where close_range(2) is not to be had: by the list that procfs has. */
static void close_listed(void)
{
	char buffer[2048] __attribute__((aligned(8)));
	long n;

	syscall(SYS_close, STDIN_FILENO); /* so that there is a number to look with, whatever the limit */
	int list = (int)syscall(SYS_openat, AT_FDCWD, THREAD_DESCRIPTORS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while ((n = syscall(SYS_getdents64, list, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < n; at += ((struct dirent64 *)(void *)(buffer + at))->d_reclen) {
			int fd = atoi(((struct dirent64 *)(void *)(buffer + at))->d_name); /* 0 of . and .. */
			if (fd > STDERR_FILENO && fd != list)
				syscall(SYS_close, fd);
		}
	syscall(SYS_close, list);
}

/* A table of our own with nothing in it but copies of the program's stdio. The kernel copies no more than that where it is told
 * so; else all of it for a moment, in which a file or connection that the program closes lives on. */
static bool part(void)
{
	unsigned first = STDERR_FILENO + 1;

	if (permitted(SYS_close_range) && syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_UNSHARE) == 0)
		return true;
	if (access(THREAD_DESCRIPTORS, X_OK) < 0)
		return false;
	if ((!permitted(SYS_unshare) || syscall(SYS_unshare, CLONE_FILES) < 0) && !successor_begins())
		return false;
	if (!permitted(SYS_close_range) || syscall(SYS_close_range, first, ~0U, 0) < 0)
		close_listed();
	return true;
}

/* Without /dev anything will do that no text can be written to. */
static void fill_stdio(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		syscall(SYS_close, fd);
	do {
		fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = (int)syscall(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC);
	} while (fd >= 0 && fd < STDERR_FILENO);
}

bool descriptors_part(void)
{
	if (!part())
		return false;
	has_own_table = true;
	bool fetches = can_fetch();
	if (!fetches && access("/proc/self/fd", F_OK) < 0) /* said while there is a copy that nobody has had the time to close */
		log_line(SEG_LOG_WARN, "neither pidfd_getfd nor /proc is to be had, profshim's thread has no stderr from now on");
	int copy = (int)syscall(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	fill_stdio();
	int pidfd = fetches ? (int)syscall(SYS_pidfd_open, getpid(), 0) : -1;
	if (pidfd < 0) {
		log_thread_keeps(copy);
		return true;
	}
	if (copy >= 0)
		syscall(SYS_close, copy);
	log_thread_fetches(pidfd);
	return true;
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
