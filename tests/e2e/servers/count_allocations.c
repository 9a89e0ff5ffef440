/* count_allocations - a little server and its client in one thread, which counts every allocation made while it works.
 *
 *     count_allocations ROUNDS
 *
 * The program defines malloc and its kin itself, so that whatever is loaded into it calls these. It counts those of its
 * one working thread between the first and the last of ROUNDS rounds: connections are made, HTTP and Redis requests sent,
 * received and answered by several calls, descriptors duplicated and closed. None of that allocates by itself, so that
 * the count printed, "allocations N", is that of what was interposed. Burns some CPU, so that samples are taken, too.
 */
#include "burn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* The allocator of glibc under the names that nobody interposes. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *old);

static __thread bool is_counting;
static __thread unsigned long allocations;

static void count_allocation(void)
{
	if (is_counting)
		allocations++;
}

void *malloc(size_t bytes)
{
	count_allocation();
	return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	count_allocation();
	return __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
	count_allocation();
	return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes)
{
	count_allocation();
	return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
	void *memory = memalign(alignment, bytes);

	if (!memory)
		return ENOMEM;
	*ret_memory = memory;
	return 0;
}

void free(void *old)
{
	count_allocation();
	__libc_free(old);
}

static void check(const char *what, bool is_well)
{
	if (is_well)
		return;
	is_counting = false;
	fprintf(stderr, "count_allocations: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static int listen_anywhere(struct sockaddr_in *ret_address)
{
	socklen_t bytes = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*ret_address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	check("listen", bind(fd, (struct sockaddr *)ret_address, bytes) == 0 && listen(fd, 16) == 0);
	getsockname(fd, (struct sockaddr *)ret_address, &bytes);
	return fd;
}

static void wait_readable(int epoll, int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };
	struct epoll_event event;

	check("epoll_wait", epoll_wait(epoll, &event, 1, 5000) == 1);
	check("poll", poll(&entry, 1, 5000) == 1);
}

/* The server takes request in two pieces and answers by two calls; the client takes the answer. */
static void exchange(int client, int server, int epoll, const char *request, const char *answer)
{
	size_t request_bytes = strlen(request), answer_bytes = strlen(answer);
	struct iovec rest = { .iov_base = (char *)answer + 1, .iov_len = answer_bytes - 1 };
	char buffer[512];

	check("write", write(client, request, request_bytes) == (ssize_t)request_bytes);
	wait_readable(epoll, server);
	check("recv", recv(server, buffer, 3, 0) == 3);
	check("read", read(server, buffer, sizeof(buffer)) == (ssize_t)request_bytes - 3);
	burn(20000);
	check("send", send(server, answer, 1, 0) == 1);
	check("writev", writev(server, &rest, 1) == (ssize_t)answer_bytes - 1);
	check("recv", recv(client, buffer, answer_bytes, MSG_WAITALL) == (ssize_t)answer_bytes);
}

static void round_trip(int listener, const struct sockaddr_in *address, unsigned number)
{
	static const int on = 1;
	struct epoll_event event = { .events = EPOLLIN };
	int client = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), server;
	char request[128];

	check("connect", connect(client, (const struct sockaddr *)address, sizeof(*address)) == 0);
	server = accept4(listener, NULL, NULL, 0);
	/* Or the second piece of each answer would wait for the first one's acknowledgement. */
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	check("accept4", server >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event) == 0);
	if (number % 2) {
		exchange(client, server, epoll, "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "$5\r\nvalue\r\n");
		exchange(client, server, epoll, "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n1\r\n", "+OK\r\n");
	} else {
		/* A new route every time: endpoints are made while we count. */
		snprintf(request, sizeof(request), "GET /page-%x%x/list HTTP/1.1\r\nHost: a\r\n\r\n", number, number * 7);
		exchange(client, server, epoll, request, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		exchange(client, server, epoll, "POST /form HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
		         "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
	}
	check("dup", close(dup(server)) == 0);
	check("close", close(client) == 0 && close(server) == 0 && close(epoll) == 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	unsigned rounds = argc == 2 ? (unsigned)atoi(argv[1]) : 0;
	void *volatile memory; /* or the pair would be optimized away */
	int listener;

	if (!rounds) {
		fprintf(stderr, "usage: count_allocations ROUNDS\n");
		return 2;
	}
	listener = listen_anywhere(&address);
	is_counting = true;
	for (unsigned number = 0; number < rounds; number++)
		round_trip(listener, &address, number);
	is_counting = false;
	printf("allocations %lu\n", allocations);
	is_counting = true;
	memory = malloc(1); /* proof that the counting works: two more */
	free((void *)memory);
	is_counting = false;
	printf("control %lu\n", allocations);
	return 0;
}
