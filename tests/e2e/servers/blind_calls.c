/* blind_calls - passes bytes by ways that profshim can only count, and counts them itself.
 *
 *     blind_calls     prints "KIND COUNT" for each kind of profshim_blind_calls_total, then "done"; ends at SIGTERM
 *     blind_calls -r  listens and prints "done"; at SIGUSR2 makes a ring of io_uring by system calls of its own and prints
 *                     "ring"
 *
 * Calls of the same functions that touch no socket are made, too, and must not be counted.
 */
#undef _FILE_OFFSET_BITS

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned raw_calls, vmsplices, uring_calls, streams;

static void require(const char *what, bool is_well)
{
	if (is_well)
		return;
	fprintf(stderr, "blind_calls: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long raw(const char *what, long result)
{
	require(what, result >= 0);
	raw_calls++;
	return result;
}

#define RAW(number, ...) raw(#number, syscall(number, __VA_ARGS__))

static int make_listener(struct sockaddr_in *ret_address)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	require("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	require("listen", listen(listener, 16) == 0);
	getsockname(listener, (struct sockaddr *)&address, &bytes);
	*ret_address = address;
	return listener;
}

/* All that moves bytes, from one end of a connection to the other. */
static void move_bytes(int from, int to)
{
	char buffer[2] = "xy";
	struct iovec piece = { buffer, sizeof(buffer) };
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
	struct mmsghdr many = { .msg_hdr = message };
	int pipe_fds[2], file = open("/proc/self/exe", O_RDONLY);
	loff_t offset = 0;

	RAW(SYS_write, from, buffer, 2);
	RAW(SYS_read, to, buffer, 2);
	RAW(SYS_writev, from, &piece, 1);
	RAW(SYS_readv, to, &piece, 1);
	RAW(SYS_sendto, from, buffer, 2, 0, NULL, 0);
	RAW(SYS_recvfrom, to, buffer, 2, MSG_PEEK, NULL, NULL);
	RAW(SYS_recvfrom, to, buffer, 2, 0, NULL, NULL);
	RAW(SYS_sendmsg, from, &message, 0);
	RAW(SYS_recvmsg, to, &message, 0);
	RAW(SYS_sendmmsg, from, &many, 1, 0);
	RAW(SYS_recvmmsg, to, &many, 1, 0, NULL);
	RAW(SYS_sendfile, from, file, &offset, 2);
	require("pipe", pipe(pipe_fds) == 0);
	RAW(SYS_splice, to, NULL, pipe_fds[1], NULL, 2, 0);
	RAW(SYS_splice, pipe_fds[0], NULL, from, NULL, 2, 0);
	RAW(SYS_read, to, buffer, 2);
	for (int i = 0; i < 3; i++) {
		require("vmsplice", vmsplice(pipe_fds[1], &piece, 1, 0) == 2);
		require("vmsplice by number", syscall(SYS_vmsplice, pipe_fds[1], &piece, 1, 0) == 2);
		vmsplices += 2;
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(file);
}

static void call_by_number(int listener, const struct sockaddr_in *address)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);

	RAW(SYS_connect, client, address, sizeof(*address));
	int server = (int)RAW(SYS_accept4, listener, NULL, NULL, 0);
	move_bytes(client, server);
	require("close by number", syscall(SYS_close, client) == 0 && syscall(SYS_close_range, server, server, 0) == 0);
	/* The same on a connection that is followed. */
	client = socket(AF_INET, SOCK_STREAM, 0);
	require("connect", connect(client, (const struct sockaddr *)address, sizeof(*address)) == 0);
	server = (int)RAW(SYS_accept, listener, NULL, NULL);
	move_bytes(client, server);
	require("close by number", syscall(SYS_close, client) == 0 && close(server) == 0);
}

/* What is no business of ours goes through as it is: six arguments, results, errno. */
static void call_other_numbers(void)
{
	char buffer[2];
	int file = open("/proc/self/exe", O_RDONLY), pipe_fds[2];
	void *pages = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, file, 4096);
	void *same = (void *)syscall(SYS_mmap, NULL, 8192, PROT_READ, MAP_PRIVATE, file, 4096);

	require("mmap", pages != MAP_FAILED && same != MAP_FAILED && memcmp(pages, same, 8192) == 0);
	require("pipe", pipe(pipe_fds) == 0);
	require("write to a pipe", syscall(SYS_write, pipe_fds[1], "xy", 2) == 2);
	require("read from a pipe", syscall(SYS_read, pipe_fds[0], buffer, 2) == 2);
	require("read from a file", syscall(SYS_read, file, buffer, 2) == 2);
	errno = 0;
	require("EBADF", syscall(SYS_read, -1, buffer, 2) == -1 && errno == EBADF);
	errno = 0;
	require("EBADF by number unwatched", syscall(SYS_dup, -1) == -1 && errno == EBADF);
	errno = 0;
	require("ENOSYS", syscall(100000) == -1 && errno == ENOSYS);
	errno = 0;
	require("a negative number", syscall(-1) == -1 && errno == ENOSYS);
	errno = EDOM;
	require("getpid", syscall(SYS_getpid) == getpid() && errno == EDOM);
	require("read of nothing", syscall(SYS_read, file, buffer, 0) == 0 && errno == EDOM);
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (child == 0)
		syscall(SYS_exit, 7);
	siginfo_t end;
	require("clone", waitid(P_PID, (id_t)child, &end, WEXITED) == 0 && end.si_status == 7);
	close(file);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void use_liburing(void)
{
	struct io_uring ring;
	struct io_uring_params params = { 0 };

	require("io_uring_queue_init", io_uring_queue_init(4, &ring, 0) == 0);
	for (int i = 0; i < 5; i++) {
		io_uring_prep_nop(io_uring_get_sqe(&ring));
		require("io_uring_submit", io_uring_submit(&ring) == 1);
	}
	io_uring_prep_nop(io_uring_get_sqe(&ring));
	require("io_uring_submit_and_wait", io_uring_submit_and_wait(&ring, 1) == 1);
	io_uring_queue_exit(&ring);
	uring_calls += 7;
	require("no entries", io_uring_queue_init(0, &ring, 0) < 0);
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	require("io_uring_setup", fd >= 0);
	require("io_uring_enter", syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0) == 0);
	uring_calls += 2;
	require("no parameters", syscall(SYS_io_uring_setup, 4, NULL) == -1);
	close(fd);
}

static void use_stdio(int listener, const struct sockaddr_in *address)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);
	char line[100];

	require("connect", connect(client, (const struct sockaddr *)address, sizeof(*address)) == 0);
	FILE *server = fdopen(accept(listener, NULL, NULL), "r+");
	FILE *file = fdopen(open("/proc/self/exe", O_RDONLY), "r");
	streams++;
	require("write", write(client, "hello\n", 6) == 6);
	require("fgets", fgets(line, sizeof(line), server));
	fclose(server);
	fclose(file);
	close(client);
}

/* As those do who do not care for libc or liburing. */
static long enter_kernel(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

static void make_ring_unannounced(void)
{
	struct io_uring_params params = { 0 };
	long fd = enter_kernel(SYS_io_uring_setup, 8, (long)&params, 0);

	require("io_uring_setup", fd >= 0);
	void *entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
	                     MAP_SHARED | MAP_POPULATE, (int)fd, IORING_OFF_SQES);
	require("entries", entries != MAP_FAILED);
	printf("ring\n");
	fflush(stdout);
}

static void call_all(int listener, const struct sockaddr_in *address)
{
	for (int round = 0; round < 5; round++) {
		call_by_number(listener, address);
		call_other_numbers();
		use_liburing();
		use_stdio(listener, address);
	}
	printf("raw_socket_syscall %u\nvmsplice %u\nio_uring %u\nstdio %u\n", raw_calls, vmsplices, uring_calls, streams);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	sigset_t awaited;
	int number = 0, listener = make_listener(&address);

	require("no argument, or -r", argc == 1 || strcmp(argv[1], "-r") == 0);
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGUSR2);
	sigaddset(&awaited, SIGTERM);
	sigprocmask(SIG_BLOCK, &awaited, NULL);
	if (argc == 1)
		call_all(listener, &address);
	printf("done\n");
	fflush(stdout);
	while (sigwait(&awaited, &number) == 0 && number == SIGUSR2)
		make_ring_unannounced();
	return 0;
}
