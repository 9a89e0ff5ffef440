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
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

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

static __thread int fetched_by __attribute__((tls_model("initial-exec"))); /* 0 = the thread shares the program's */

void log_thread_fetches(int pidfd)
{
	fetched_by = pidfd;
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
	int fd = fetched_by ? (int)syscall(SYS_pidfd_getfd, fetched_by, STDERR_FILENO, 0) : STDERR_FILENO;

	if (fd < 0 || is_ours(fd))
		return fd;
	log_stderr_return(fd);
	return -1;
}

void log_stderr_return(int fd)
{
	if (fetched_by)
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
