#include "inherited.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "../requests/connection.h"
#include "decoders.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PASSED_FIRST = 3, /* SD_LISTEN_FDS_START */
	PASSED_MAX = 1024,
};

static int option_of(int fd, int option)
{
	socklen_t bytes = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

bool inherited_is_connection(int fd)
{
	struct sockaddr_storage address;
	socklen_t bytes = sizeof(address), peer_bytes = sizeof(address);

	if (option_of(fd, SO_TYPE) != SOCK_STREAM || option_of(fd, SO_ACCEPTCONN) != 0)
		return false;
	if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0)
		return false;
	bool is_named = address.ss_family == AF_INET || address.ss_family == AF_INET6 ||
			(address.ss_family == AF_UNIX && bytes > sizeof(address.ss_family));
	return is_named && getpeername(fd, (struct sockaddr *)&address, &peer_bytes) == 0;
}

static bool is_same_file(int fd, int other)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int count_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

	if (!pid || !count || atol(pid) != (long)getpid())
		return 0;
	int passed = atoi(count);
	return passed < 0 || passed > PASSED_MAX ? 0 : passed;
}

static void follow(int fd, uint64_t now_ns)
{
	atomic_store_explicit(&seg.head->has_listened, 1, memory_order_relaxed);
	decoders_need();
	conn_accepted(fd, now_ns);
}

void inherited_follow(void)
{
	int saved_errno = errno, passed = count_passed();
	uint64_t now_ns = clock_now_ns();

	if (inherited_is_connection(STDIN_FILENO)) {
		follow(STDIN_FILENO, now_ns);
		for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
			if (is_same_file(STDIN_FILENO, fd))
				conn_duplicated(STDIN_FILENO, fd, now_ns);
	}
	for (int fd = PASSED_FIRST; fd < PASSED_FIRST + passed; fd++)
		if (inherited_is_connection(fd))
			follow(fd, now_ns);
	errno = saved_errno;
}
