/* bench_calls - what a call costs that completes no request, as the program sees it: run it without and with the shim.
 *
 *     tests/bench/bench_calls
 *     LD_PRELOAD=.../libprofshim.so PROFSHIM_HZ=0 tests/bench/bench_calls
 *
 * A server and its client in one process, on loopback TCP: the server accepted the connection and is in the middle of a
 * request's body, then of its response. Prints "name value unit" a line: the median of many runs of 16 calls, divided by
 * 16. Not part of the test suites.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 10001, CALLS = 16, PIECE = 64 };

static int server, client, epoll, event;
static sem_t semaphore;
static char piece[PIECE], pieces[CALLS * PIECE];

static void die(const char *what)
{
	fprintf(stderr, "bench_calls: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The other side's calls are made past the shim: they are not what is measured. */
static void raw_write(int fd, const char *bytes, size_t n)
{
	if (syscall(SYS_write, fd, bytes, n) != (long)n)
		die("write");
}

static void raw_read(int fd, size_t n)
{
	char thrown_away[4096];

	for (long got; n; n -= (size_t)got)
		if ((got = syscall(SYS_read, fd, thrown_away, n < sizeof(thrown_away) ? n : sizeof(thrown_away))) <= 0)
			die("read");
}

static void connect_pair(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&address, bytes) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes))
		die("listen");
	client = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
	if (syscall(SYS_connect, client, &address, bytes))
		die("connect");
	server = accept(listener, NULL, NULL);
	if (server < 0)
		die("accept");
}

static void begin_request(void)
{
	static const char head[] = "POST /body HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000000\r\n\r\n";
	char received[sizeof(head)];

	raw_write(client, head, sizeof(head) - 1);
	if (recv(server, received, sizeof(received), 0) != sizeof(head) - 1)
		die("recv");
}

static void begin_response(void)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";

	if (send(server, head, sizeof(head) - 1, 0) != sizeof(head) - 1)
		die("send");
	raw_read(client, sizeof(head) - 1);
}

static void nothing(void)
{
}

static void give_body(void)
{
	raw_write(client, pieces, sizeof(pieces));
}

static void take_response(void)
{
	raw_read(client, sizeof(pieces));
}

static void post(void)
{
	for (int i = 0; i < CALLS; i++)
		sem_post(&semaphore);
}

static void raise_event(void)
{
	static const uint64_t calls = CALLS;

	raw_write(event, (const char *)&calls, sizeof(calls));
}

static void do_receive(void)
{
	if (recv(server, piece, PIECE, 0) != PIECE)
		die("recv");
}

static void do_receive_nothing(void)
{
	if (recv(server, piece, PIECE, MSG_DONTWAIT) != -1 || errno != EAGAIN)
		die("recv");
}

static void do_send(void)
{
	if (send(server, piece, PIECE, 0) != PIECE)
		die("send");
}

static void do_read_elsewhere(void)
{
	uint64_t count;

	if (read(event, &count, sizeof(count)) != sizeof(count))
		die("read");
}

static void do_epoll(void)
{
	struct epoll_event happened;

	if (epoll_wait(epoll, &happened, 1, 0) != 0)
		die("epoll_wait");
}

static void do_poll(void)
{
	struct pollfd fds[2] = { { .fd = server, .events = POLLIN }, { .fd = event, .events = POLLIN } };

	if (poll(fds, 2, 0) != 0)
		die("poll");
}

static void do_wait(void)
{
	if (sem_wait(&semaphore))
		die("sem_wait");
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* prepare makes ready what CALLS calls need, finish takes away what they left. */
static void bench(const char *name, void (*prepare)(void), void (*call)(void), void (*finish)(void))
{
	static uint64_t times[RUNS];

	for (int run = 0; run < RUNS; run++) {
		prepare();
		uint64_t began_ns = now_ns();
		for (int i = 0; i < CALLS; i++)
			call();
		times[run] = now_ns() - began_ns;
		finish();
	}
	qsort(times, RUNS, sizeof(times[0]), compare);
	printf("%s %.1f ns\n", name, (double)times[RUNS / 2] / CALLS);
}

int main(void)
{
	connect_pair();
	sem_init(&semaphore, 0, 0);
	event = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	epoll = epoll_create1(0);
	begin_request();
	bench("recv_of_a_body", give_body, do_receive, nothing);
	bench("recv_that_would_block", nothing, do_receive_nothing, nothing);
	begin_response();
	bench("send_of_a_body", nothing, do_send, take_response);
	bench("read_of_an_eventfd", raise_event, do_read_elsewhere, nothing);
	bench("epoll_wait", nothing, do_epoll, nothing);
	bench("poll", nothing, do_poll, nothing);
	bench("sem_wait", post, do_wait, nothing);
	return 0;
}
