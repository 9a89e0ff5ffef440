/* Whether a write would block is asked by poll before each piece. A pipe with room for a page says it is writable, so
 * pieces of PIPE_BUF bytes never block there; sockets are sent to without waiting.
 */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static bool is_trusted(uid_t owner)
{
	return owner == geteuid() || owner == 0;
}

static bool is_link_trusted(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && is_trusted(status.st_uid);
}

/* Somebody else could have made the file, in a directory where anybody may. */
static bool is_laid_by_others(const char *path, const struct stat *file)
{
	char directory[PATH_MAX] = ".";
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) + (slash == path) : 0;
	struct stat status;

	if (!S_ISREG(file->st_mode) || is_trusted(file->st_uid))
		return false;
	if (n >= sizeof(directory))
		return true;
	if (n) {
		memcpy(directory, path, n);
		directory[n] = '\0';
	}
	return stat(directory, &status) < 0 || status.st_mode & 022;
}

/* Emptied only here: a file that is refused must stay as it is. */
static int check_opened(int fd, const char *path, int flags)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (is_laid_by_others(path, &status))
		return -EPERM;
	return flags & O_TRUNC && S_ISREG(status.st_mode) && ftruncate(fd, 0) < 0 ? -errno : 0;
}

int sink_open(const char *path, int flags)
{
	int opening = (flags & ~O_TRUNC) | O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(path, opening | O_NOFOLLOW, 0600);

	if (fd < 0 && errno == ELOOP && is_link_trusted(path))
		fd = open(path, opening, 0600);
	if (fd < 0)
		return -errno;
	int result = check_opened(fd, path, flags);
	if (result)
		close(fd);
	return result ? result : fd;
}

int sink_init(struct sink *ret_sink, int fd)
{
	struct stat status;
	struct sockaddr_storage address;
	socklen_t bytes = sizeof(address);

	if (fstat(fd, &status) < 0)
		return -errno;
	*ret_sink = (struct sink){ .fd = fd, .piece = S_ISREG(status.st_mode) ? SSIZE_MAX : PIPE_BUF };
	if (!S_ISSOCK(status.st_mode))
		return 0;
	ret_sink->is_socket = true;
	if (getsockname(fd, (struct sockaddr *)&address, &bytes) < 0)
		return -errno;
	/* A service manager hands out Unix sockets as stderr; anything else is a connection of the program's. */
	return address.ss_family == AF_UNIX ? 0 : -ENOTTY;
}

static ssize_t write_piece(const struct sink *sink, const char *bytes, size_t count)
{
	size_t n = count < sink->piece ? count : sink->piece;

	if (sink->is_socket)
		return send(sink->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(sink->fd, bytes, n);
}

/* Waits until the sink is writable: 0, or -ETIMEDOUT, or -errno. */
static int wait_writable(const struct sink *sink)
{
	struct pollfd poll_fd = { .fd = sink->fd, .events = POLLOUT };
	int ready;

	do
		ready = poll(&poll_fd, 1, SINK_PATIENCE_MS);
	while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : ready < 0 ? -errno : -ETIMEDOUT;
}

/* Writes all of it; 0 or -errno, with the bytes that were taken in *ret_written. */
static int write_all(const struct sink *sink, const char *bytes, size_t count, size_t *ret_written)
{
	int result = 0;
	unsigned idle_rounds = 0; /* writable, says poll, but would block: not for ever */

	*ret_written = 0;
	while (*ret_written < count && !result && idle_rounds < 100) {
		result = wait_writable(sink);
		ssize_t n = result ? 0 : write_piece(sink, bytes + *ret_written, count - *ret_written);
		idle_rounds = n > 0 ? 0 : idle_rounds + 1;
		if (n > 0)
			*ret_written += (size_t)n;
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			result = -errno;
	}
	return !result && *ret_written < count ? -ETIMEDOUT : result;
}

/* Signals of ours are kept from the program: they would be sent to this very thread, at once. */
int sink_write(const struct sink *sink, const char *bytes, size_t count, size_t *ret_written)
{
	sigset_t ours, before, pending;
	const struct timespec at_once = { 0 };

	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE);
	sigaddset(&ours, SIGXFSZ); /* a file beyond RLIMIT_FSIZE */
	sigemptyset(&pending);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	int result = write_all(sink, bytes, count, ret_written);
	int raised = result == -EPIPE ? SIGPIPE : result == -EFBIG ? SIGXFSZ : 0;
	if (raised && !sigismember(&pending, raised)) {
		sigemptyset(&ours);
		sigaddset(&ours, raised);
		sigtimedwait(&ours, NULL, &at_once);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}
