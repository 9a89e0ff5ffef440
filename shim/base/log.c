#include "log.h"

#include "permitted.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

#define PROGRAMS_STDERR "/proc/self/fd/2" /* of the whole process, whatever table the thread has */

_Atomic unsigned log_lines_lost;

static enum seg_log_level log_level = SEG_LOG_WARN;
static struct stat stderr_at_start; /* st_nlink 0 = there was none */
static bool is_named_stderr;        /* the program itself made a descriptor number 2 */

void log_init(enum seg_log_level level)
{
	log_level = level;
	if (fstat(STDERR_FILENO, &stderr_at_start) < 0)
		memset(&stderr_at_start, 0, sizeof(stderr_at_start));
}

/* How a thread comes by the program's descriptor 2. */
static __thread struct {
	enum { AT_HAND, BY_PIDFD, BY_COPY } way;
	int fd; /* -1 = there is no copy (any more) */
} thread __attribute__((tls_model("initial-exec")));

void log_thread_fetches(int pidfd)
{
	thread.way = BY_PIDFD;
	thread.fd = pidfd;
}

void log_thread_keeps(int copy)
{
	thread.way = BY_COPY;
	thread.fd = copy;
}

/* Where the program's descriptor 2 is in its file, and how it was opened (proc_pid_fdinfo(5)). */
static bool read_info(long long *ret_position, unsigned *ret_flags)
{
	char text[128];
	int fd = open("/proc/self/fdinfo/2", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return sscanf(text, "pos: %lld flags: %o", ret_position, ret_flags) == 2;
}

/* Another opening of the same file would write over what the program writes. */
static bool is_at_same_place(int copy)
{
	long long before = lseek(copy, 0, SEEK_CUR), position;
	unsigned flags;

	return read_info(&position, &flags) && before <= position && position <= lseek(copy, 0, SEEK_CUR);
}

static bool is_copy_current(int copy)
{
	struct stat own, now;

	if (fstat(copy, &own) < 0 || stat(PROGRAMS_STDERR, &now) < 0 || own.st_dev != now.st_dev || own.st_ino != now.st_ino)
		return false;
	return !S_ISREG(own.st_mode) || is_at_same_place(copy);
}

void log_stderr_tend(void)
{
	int saved_errno = errno;

	if (thread.way == BY_COPY && thread.fd >= 0 && !is_copy_current(thread.fd)) {
		close(thread.fd);
		thread.fd = -1;
	}
	errno = saved_errno;
}

/* Or /dev/null and its like, by the numbers of Documentation/admin-guide/devices.txt. */
static bool is_terminal(const struct stat *file)
{
	unsigned kind = major(file->st_rdev);

	return S_ISCHR(file->st_mode) && (kind == 1 || kind == 4 || kind == 5 || (kind >= 136 && kind <= 143));
}

/* Looked at before it is opened: other devices may take that for an order, and in a file that is not only appended to the
 * program would write over our lines. */
static int open_anew(void)
{
	long long position;
	unsigned flags = 0;
	char path[48];
	struct stat file;
	int fd = -1, place = open(PROGRAMS_STDERR, O_PATH | O_CLOEXEC);

	if (place < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", place);
	if (fstat(place, &file) == 0 && (S_ISFIFO(file.st_mode) || is_terminal(&file) ||
					 (S_ISREG(file.st_mode) && read_info(&position, &flags) && flags & O_APPEND)))
		fd = open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	close(place);
	return fd;
}

static int take_copy(void)
{
	log_stderr_tend();
	return thread.fd < 0 ? open_anew() : fcntl(thread.fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

static bool is_ours(int fd)
{
	struct stat now;

	if (fstat(fd, &now) < 0)
		return false;
	if (now.st_dev == stderr_at_start.st_dev && now.st_ino == stderr_at_start.st_ino)
		return true;
	bool is_appended = S_ISREG(now.st_mode) && (fcntl(fd, F_GETFL) & O_APPEND);
	/* Redirected since: terminals, /dev/null and pipes are logs, and so is a file that is only appended to. */
	if (is_named_stderr)
		return S_ISCHR(now.st_mode) || S_ISFIFO(now.st_mode) || is_appended;
	/* Opened when the number was free: a pipe is the program's own, and where there never was a stderr, so is all else. */
	return stderr_at_start.st_nlink && (S_ISCHR(now.st_mode) || is_appended);
}

void log_stderr_is_named(void)
{
	is_named_stderr = true;
}

int log_stderr_borrow(void)
{
	int fd = STDERR_FILENO;

	if (thread.way == BY_PIDFD)
		fd = permitted(SYS_pidfd_getfd) ? (int)syscall(SYS_pidfd_getfd, thread.fd, STDERR_FILENO, 0) : -1;
	else if (thread.way == BY_COPY)
		fd = take_copy();
	if (fd < 0 || is_ours(fd))
		return fd;
	log_stderr_return(fd);
	return -1;
}

void log_stderr_return(int fd)
{
	if (thread.way != AT_HAND)
		syscall(SYS_close, fd);
}

/* Writes, keeping from the program the signals that a write may raise in its thread: a pipe without a reader, a file at
 * its size limit. Those that were pending before stay so. */
static bool write_quietly(int fd, const char *bytes, size_t count)
{
	const struct timespec at_once = { 0 };
	sigset_t raised, before, pending;

	sigemptyset(&raised);
	sigaddset(&raised, SIGPIPE);
	sigaddset(&raised, SIGXFSZ);
	sigemptyset(&pending);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &raised, &before);
	bool is_written = write(fd, bytes, count) == (ssize_t)count;
	if (sigismember(&pending, SIGPIPE))
		sigdelset(&raised, SIGPIPE);
	if (sigismember(&pending, SIGXFSZ))
		sigdelset(&raised, SIGXFSZ);
	if (!is_written)
		sigtimedwait(&raised, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return is_written;
}

static bool is_permitted(void)
{
	return permitted(SYS_rt_sigpending) && permitted(SYS_rt_sigprocmask) && permitted(SYS_rt_sigtimedwait) && permitted(SYS_fstat) &&
	       permitted(SYS_newfstatat) && permitted(SYS_fcntl) && permitted(SYS_write);
}

void log_line(enum seg_log_level level, const char *format, ...)
{
	static const char prefix[] = "profshim: ";
	char line[LINE_BYTES];
	int saved_errno = errno;
	va_list arguments;

	if (level > log_level)
		return;
	memcpy(line, prefix, sizeof(prefix) - 1);
	va_start(arguments, format);
	int n = vsnprintf(line + sizeof(prefix) - 1, sizeof(line) - sizeof(prefix), format, arguments);
	va_end(arguments);
	if (n < 0)
		n = 0;
	size_t bytes = sizeof(prefix) - 1 + (size_t)n;
	if (bytes > sizeof(line) - 2)
		bytes = sizeof(line) - 2;
	line[bytes++] = '\n';
	int fd = is_permitted() ? log_stderr_borrow() : -1;
	if (fd < 0 || !write_quietly(fd, line, bytes))
		atomic_fetch_add_explicit(&log_lines_lost, 1, memory_order_relaxed);
	if (fd >= 0)
		log_stderr_return(fd);
	errno = saved_errno;
}
