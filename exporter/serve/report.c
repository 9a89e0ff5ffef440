/* Whether a write would block is asked by poll before each piece. A pipe with room for a page says it is writable, so
 * pieces of PIPE_BUF bytes never block there; sockets are sent to without waiting. Descriptor 2 is the program's: it may
 * be closed or mean something else by now, and a report must not end up in a client's connection.
 */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Appends up to n bytes; keeps room for the NUL. */
static int append(char ret_path[static REPORT_PATH_BYTES], size_t *length, const char *text, size_t n)
{
	if (*length + n >= REPORT_PATH_BYTES)
		return -ENAMETOOLONG;
	memcpy(ret_path + *length, text, n);
	*length += n;
	ret_path[*length] = '\0';
	return 0;
}

int report_path(char ret_path[static REPORT_PATH_BYTES], const char *pattern, pid_t pid, uint32_t number)
{
	char digits[16];
	size_t length = 0;
	int result = 0;

	ret_path[0] = '\0';
	for (const char *at = pattern; *at && !result; at++) {
		char kind = at[0] == '%' ? at[1] : '\0';
		if (kind == 'p')
			snprintf(digits, sizeof(digits), "%d", pid);
		else if (kind == 'n')
			snprintf(digits, sizeof(digits), "%u", number);
		else if (kind == '%')
			snprintf(digits, sizeof(digits), "%%");
		else
			kind = '\0';
		result = kind ? append(ret_path, &length, digits, strlen(digits)) : append(ret_path, &length, at, 1);
		at += kind != '\0';
	}
	return result;
}

struct sink {
	int fd;
	bool is_socket;
	size_t piece; /* bytes that one write takes without blocking once poll says it is writable */
};

/* 0 or -errno: fd is nothing that a report can go to. */
static int sink_init(struct sink *ret_sink, int fd)
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

static ssize_t sink_write(const struct sink *sink, const char *bytes, size_t count)
{
	size_t n = count < sink->piece ? count : sink->piece;

	if (sink->is_socket)
		return send(sink->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(sink->fd, bytes, n);
}

/* Waits until the sink is writable: 0, or -ETIMEDOUT, or -errno. */
static int sink_wait(const struct sink *sink)
{
	struct pollfd poll_fd = { .fd = sink->fd, .events = POLLOUT };
	int ready;

	do
		ready = poll(&poll_fd, 1, REPORT_PATIENCE_MS);
	while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : ready < 0 ? -errno : -ETIMEDOUT;
}

/* Writes all of it; 0 or -errno, with the bytes that were taken in *ret_written. */
static int sink_write_all(const struct sink *sink, const char *bytes, size_t count, size_t *ret_written)
{
	int result = 0;
	unsigned idle_rounds = 0; /* writable, says poll, but would block: not for ever */

	*ret_written = 0;
	while (*ret_written < count && !result && idle_rounds < 100) {
		result = sink_wait(sink);
		ssize_t n = result ? 0 : sink_write(sink, bytes + *ret_written, count - *ret_written);
		idle_rounds = n > 0 ? 0 : idle_rounds + 1;
		if (n > 0)
			*ret_written += (size_t)n;
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			result = -errno;
	}
	return !result && *ret_written < count ? -ETIMEDOUT : result;
}

/* sink_write_all, keeping a SIGPIPE of ours from the program: it would be sent to this very thread. */
static int write_quietly(const struct sink *sink, const char *bytes, size_t count, size_t *ret_written)
{
	sigset_t pipe_only, before, pending;
	const struct timespec at_once = { 0 };

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigemptyset(&pending);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	int result = sink_write_all(sink, bytes, count, ret_written);
	if (result == -EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe_only, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

static void log_failure(const struct exporter_host *host, const char *name, uint32_t number, int error, size_t written,
                        size_t count)
{
	char line[REPORT_PATH_BYTES + 160];

	if (written)
		snprintf(line, sizeof(line), "report %u: only %zu of %zu bytes could be written to %s: %s", number, written, count,
		         name, strerrordesc_np(-error));
	else
		snprintf(line, sizeof(line), "report %u could not be written to %s: %s", number, name, strerrordesc_np(-error));
	host->log(SEG_LOG_WARN, line);
}

static int write_stderr(const struct exporter_host *host, const char *bytes, size_t count, size_t *ret_written)
{
	struct sink sink;
	int result = host->stderr_is_ours() ? sink_init(&sink, STDERR_FILENO) : -EBADF;

	return result ? result : write_quietly(&sink, bytes, count, ret_written);
}

/* Opens without waiting, since the path may be a pipe that nobody reads. */
static int write_file(const struct exporter_host *host, const char *path, const char *bytes, size_t count,
                      size_t *ret_written)
{
	struct sink sink;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);

	if (fd < 0)
		return -errno;
	host->descriptor_opened(fd);
	int result = sink_init(&sink, fd);
	if (!result)
		result = write_quietly(&sink, bytes, count, ret_written);
	host->descriptor_closed(fd);
	if (close(fd) < 0 && !result) /* some file systems tell of a full disk only now */
		result = -errno;
	return result;
}

int report_write(const struct exporter_host *host, const char *target, uint32_t number, const char *bytes, size_t count)
{
	char path[REPORT_PATH_BYTES];
	const char *name = path;
	size_t written = 0;
	int result = report_path(path, target, getpid(), number);

	if (result) {
		name = target;
	} else if (!strcmp(target, "stderr")) {
		name = "stderr";
		result = write_stderr(host, bytes, count, &written);
	} else {
		result = write_file(host, path, bytes, count, &written);
	}
	if (result)
		log_failure(host, name, number, result, written, count);
	return result;
}
