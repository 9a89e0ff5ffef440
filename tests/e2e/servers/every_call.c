/* every_call - calls each function that profshim interposes a number of times that it counts itself.
 *
 *     every_call          calls all of them, prints "NAME COUNT" for each and then "done", and waits for SIGTERM
 *     every_call child    exits at once: what the exec calls start
 *
 * The names are called as such, also those that the compiler would use only for fortified code (__recv_chk) or for large
 * files (fcntl64). Every call must succeed, or the truth would be about failures; poll and its like find nothing to wait
 * for. After "done" the program calls nothing that is interposed.
 */
#undef _FILE_OFFSET_BITS /* the build system's 64 would turn fcntl into fcntl64 and sendfile into sendfile64 */

#include "every_call.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

/* glibc's entry points of fortified code; its headers declare them only inside of that. */
ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes);
ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes, int flags, struct sockaddr *from,
                       socklen_t *from_bytes);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t fds_bytes);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                size_t fds_bytes);

enum {
	NAMES_MAX = 160,
	CLOSED_FROM = 900, /* profshim's own descriptors are above, and must survive */
};

struct truth {
	const char *name;
	unsigned count;
};

static struct truth truths[NAMES_MAX];
static unsigned truth_count;
static char self_path[4096];

void count_call(const char *name)
{
	unsigned i = 0;

	while (i < truth_count && strcmp(truths[i].name, name) != 0)
		i++;
	if (i == truth_count)
		truths[truth_count++].name = name;
	truths[i].count++;
}

void require(const char *what, bool is_well)
{
	if (is_well)
		return;
	fprintf(stderr, "every_call: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The value of a call that must not fail; counted under its name. */
static long checked(const char *name, long value)
{
	require(name, value != -1);
	count_call(name);
	return value;
}

#define CALL(function, ...) checked(#function, (long)(function)(__VA_ARGS__))

struct pair {
	int server, client;
};

static struct pair connect_pair(int listener, bool use_accept4)
{
	struct sockaddr_in address;
	socklen_t bytes = sizeof(address);
	struct pair pair;

	getsockname(listener, (struct sockaddr *)&address, &bytes);
	pair.client = (int)CALL(socket, AF_INET, SOCK_STREAM, 0);
	CALL(connect, pair.client, (struct sockaddr *)&address, sizeof(address));
	pair.server = use_accept4 ? (int)CALL(accept4, listener, NULL, NULL, SOCK_CLOEXEC)
	                          : (int)CALL(accept, listener, NULL, NULL);
	return pair;
}

static int make_listener(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = (int)CALL(socket, AF_INET, SOCK_STREAM, 0);

	require("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	CALL(listen, listener, 16);
	return listener;
}

/* Everything that sends goes from the client, everything that receives takes as much at the server. */
static void call_send_family(int fd, int file)
{
	struct iovec piece = { .iov_base = "xy", .iov_len = 2 };
	struct mmsghdr many = { .msg_hdr = { .msg_iov = &piece, .msg_iovlen = 1 } };
	off_t offset = 0;
	int pipe_fds[2];

	CALL(write, fd, "xy", 2);
	CALL(writev, fd, &piece, 1);
	CALL(send, fd, "xy", 2, 0);
	CALL(sendto, fd, "xy", 2, 0, NULL, 0);
	CALL(sendmsg, fd, &many.msg_hdr, 0);
	CALL(sendmmsg, fd, &many, 1, 0);
	CALL(sendfile, fd, file, &offset, 2);
	offset = 0;
	CALL(sendfile64, fd, file, &offset, 2);
	require("pipe", pipe(pipe_fds) == 0);
	CALL(write, pipe_fds[1], "xy", 2);
	CALL(splice, pipe_fds[0], NULL, fd, NULL, 2, 0);
	CALL(vmsplice, pipe_fds[1], &piece, 1, 0);
	CALL(close, pipe_fds[0]);
	CALL(close, pipe_fds[1]);
}

/* Takes the 18 bytes that call_send_family gave. */
static void call_receive_family(int fd)
{
	char buffer[2];
	struct iovec piece = { .iov_base = buffer, .iov_len = sizeof(buffer) };
	struct mmsghdr many = { .msg_hdr = { .msg_iov = &piece, .msg_iovlen = 1 } };

	CALL(read, fd, buffer, sizeof(buffer));
	CALL(readv, fd, &piece, 1);
	CALL(recv, fd, buffer, sizeof(buffer), 0);
	CALL(recvfrom, fd, buffer, sizeof(buffer), 0, NULL, NULL);
	CALL(recvmsg, fd, &many.msg_hdr, 0);
	CALL(recvmmsg, fd, &many, 1, 0, NULL);
	CALL(__read_chk, fd, buffer, sizeof(buffer), sizeof(buffer));
	CALL(__recv_chk, fd, buffer, sizeof(buffer), sizeof(buffer), 0);
	CALL(__recvfrom_chk, fd, buffer, sizeof(buffer), sizeof(buffer), 0, NULL, NULL);
}

static void call_wait_family(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLOUT };
	struct epoll_event event = { .events = EPOLLOUT };
	struct timespec at_once = { 0 };
	struct timeval no_time = { 0 };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	fd_set set;

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	CALL(epoll_wait, epoll, &event, 1, 0);
	CALL(epoll_pwait, epoll, &event, 1, 0, NULL);
	CALL(epoll_pwait2, epoll, &event, 1, &at_once, NULL);
	CALL(poll, &entry, 1, 0);
	CALL(ppoll, &entry, 1, &at_once, NULL);
	CALL(__poll_chk, &entry, 1, 0, sizeof(entry));
	CALL(__ppoll_chk, &entry, 1, &at_once, NULL, sizeof(entry));
	FD_ZERO(&set);
	FD_SET(fd, &set);
	CALL(select, fd + 1, NULL, &set, NULL, &no_time);
	FD_SET(fd, &set);
	CALL(pselect, fd + 1, NULL, &set, NULL, &at_once, NULL);
	CALL(close, epoll);
}

static void call_descriptor_family(int fd)
{
	int copy = (int)CALL(dup, fd);

	CALL(dup2, fd, copy);
	CALL(dup3, fd, copy, O_CLOEXEC);
	CALL(close, (int)CALL(fcntl, fd, F_DUPFD_CLOEXEC, 100));
	CALL(close, (int)CALL(fcntl64, fd, F_DUPFD, 100));
	CALL(fcntl, fd, F_GETFL);
	CALL(close_range, (unsigned)copy, (unsigned)copy, 0);
	closefrom(CLOSED_FROM);
	count_call("closefrom");
	FILE *stream = fdopen((int)CALL(dup, 0), "r");
	checked("fdopen", stream ? 0 : -1);
	CALL(fclose, stream);
}

static void *empty_thread(void *argument)
{
	return argument;
}

static int empty_standard_thread(void *argument)
{
	return argument != NULL;
}

static void ignore_signal(int number)
{
	(void)number;
}

static int count_module(struct dl_phdr_info *info, size_t bytes, void *data)
{
	(void)info;
	(void)bytes;
	++*(int *)data;
	return 0;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool is_told;

static void *tell(void *argument)
{
	pthread_mutex_lock(&mutex);
	is_told = true;
	pthread_cond_signal(&condition);
	pthread_mutex_unlock(&mutex);
	return argument;
}

static void call_rest_family(void)
{
	const struct timespec past = { .tv_sec = 1 };
	pthread_t thread;
	sem_t semaphore;

	pthread_mutex_lock(&mutex);
	is_told = false;
	checked("pthread_create", pthread_create(&thread, NULL, tell, NULL) ? -1 : 0);
	do /* once more than needed, perhaps, but as often as it is counted */
		require("pthread_cond_wait", CALL(pthread_cond_wait, &condition, &mutex) == 0);
	while (!is_told);
	require("pthread_cond_timedwait", CALL(pthread_cond_timedwait, &condition, &mutex, &past) == ETIMEDOUT);
	require("pthread_cond_clockwait", CALL(pthread_cond_clockwait, &condition, &mutex, CLOCK_MONOTONIC, &past) == ETIMEDOUT);
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	sem_init(&semaphore, 0, 3);
	CALL(sem_wait, &semaphore);
	CALL(sem_timedwait, &semaphore, &past);
	CALL(sem_clockwait, &semaphore, CLOCK_MONOTONIC, &past);
	sem_destroy(&semaphore);
}

static void call_process_family(void)
{
	struct sigaction action = { .sa_handler = ignore_signal }, old;
	pthread_t thread;
	thrd_t standard_thread;
	void *library;
	int modules = 0;

	checked("pthread_create", pthread_create(&thread, NULL, empty_thread, NULL) ? -1 : 0);
	pthread_join(thread, NULL);
	checked("thrd_create", thrd_create(&standard_thread, empty_standard_thread, NULL) == thrd_success ? 0 : -1);
	require("thrd_join", thrd_join(standard_thread, NULL) == thrd_success);
	CALL(sigaction, SIGUSR2, &action, NULL);
	CALL(sigaction, SIGUSR2, NULL, &old);
	require("sigaction gives back what was set", old.sa_handler == ignore_signal);
	CALL(signal, SIGUSR2, SIG_DFL);
	library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
	checked("dlopen", library ? 0 : -1);
	CALL(dlclose, library);
	library = dlmopen(LM_ID_BASE, "libm.so.6", RTLD_NOW | RTLD_LOCAL);
	checked("dlmopen", library ? 0 : -1);
	CALL(dlclose, library);
	CALL(dl_iterate_phdr, count_module, &modules);
	require("modules", modules > 1);
}

/* Executes self_path by the n-th function of the family; returns only if that failed. */
static void exec_by(unsigned n)
{
	char *argv[] = { self_path, "child", NULL };

	switch (n) {
	case 0: execve(self_path, argv, environ); break;
	case 1: execv(self_path, argv); break;
	case 2: execvp(self_path, argv); break;
	case 3: execvpe(self_path, argv, environ); break;
	case 4: execl(self_path, self_path, "child", (char *)NULL); break;
	case 5: execle(self_path, self_path, "child", (char *)NULL, environ); break;
	case 6: execlp(self_path, self_path, "child", (char *)NULL); break;
	case 7: execveat(AT_FDCWD, self_path, argv, environ, 0); break;
	case 8: fexecve(open(self_path, O_RDONLY | O_CLOEXEC), argv, environ); break;
	}
}

static void call_exec_family(void)
{
	static const char *const names[] = { "execve", "execv",  "execvp",   "execvpe", "execl",
	                                     "execle", "execlp", "execveat", "fexecve" };

	for (unsigned n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
		pid_t child = (pid_t)CALL(fork);
		int status;

		if (child == 0) {
			exec_by(n);
			_exit(99);
		}
		require("waitpid", waitpid(child, &status, 0) == child);
		require(names[n], status == 0);
		count_call(names[n]);
	}
}

static void call_all(unsigned rounds)
{
	int listener = make_listener();
	int file = open(self_path, O_RDONLY | O_CLOEXEC);

	for (unsigned round = 0; round < rounds; round++) {
		struct pair pair = connect_pair(listener, round % 2);

		call_send_family(pair.client, file);
		call_receive_family(pair.server);
		call_wait_family(pair.client);
		call_descriptor_family(pair.server);
		call_process_family();
		call_openssl_family();
		call_gnutls_family();
		call_rest_family();
		CALL(shutdown, pair.client, SHUT_WR);
		CALL(close, pair.client);
		CALL(close, pair.server);
	}
	call_exec_family();
	/* The listener stays open: a server that listens is what is being profiled. */
}

int main(int argc, char **argv)
{
	sigset_t end;
	int number;

	if (argc == 2 && strcmp(argv[1], "child") == 0)
		return 0;
	if (readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) < 0)
		return 1;
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	call_all(7);
	for (unsigned i = 0; i < truth_count; i++)
		printf("%s %u\n", truths[i].name, truths[i].count);
	printf("done\n");
	fflush(stdout);
	sigwait(&end, &number);
	return 0;
}
