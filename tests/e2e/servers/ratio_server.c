/* ratio_server - two endpoints whose CPU costs stand 10 to 1, in the two usual shapes of a server.
 *
 *     ratio_server threads|epoll PORT LOOPS UNIT_US
 *
 * GET /light burns one unit, GET /heavy ten, anything else is 404. threads: a thread for each connection, blocking calls.
 * epoll: LOOPS event loops, connections dealt out to them in turn. Prints "ready" once it listens. On SIGTERM it prints
 * what each endpoint really cost, by the CPU clocks of the threads that served them, from the return of the receiving
 * call to the return of the sending one:
 *     light REQUESTS CPU_NS
 *     heavy REQUESTS CPU_NS
 */
#include "burn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096, LOOPS_MAX = 16, EVENTS = 64, HEAVY_UNITS = 10 };

struct endpoint {
	_Atomic uint64_t requests, cpu_ns;
};

struct connection {
	int fd;
	size_t used;
	char head[HEAD_BYTES];
};

static struct endpoint light, heavy;
static uint64_t unit_steps;

static void die(const char *what)
{
	fprintf(stderr, "ratio_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

static __attribute__((noinline)) void serve_light(void)
{
	burn(unit_steps);
}

static __attribute__((noinline)) void serve_heavy(void)
{
	burn(HEAVY_UNITS * unit_steps);
}

static void send_all(int fd, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t sent = send(fd, text, bytes, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return; /* the client's loss: it has gone */
		if (sent > 0) {
			text += sent;
			bytes -= (size_t)sent;
		}
	}
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static void answer(struct connection *connection)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	static const char missing[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

	if (starts_with(connection->head, "GET /light "))
		serve_light();
	else if (starts_with(connection->head, "GET /heavy "))
		serve_heavy();
	else
		return send_all(connection->fd, missing, sizeof(missing) - 1);
	send_all(connection->fd, ok, sizeof(ok) - 1);
}

static void account(bool is_light, uint64_t cpu_ns)
{
	struct endpoint *endpoint = is_light ? &light : &heavy;

	atomic_fetch_add_explicit(&endpoint->requests, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&endpoint->cpu_ns, cpu_ns, memory_order_relaxed);
}

/* Receives once and answers the request if its head is complete (one at a time: the clients do not pipeline). False: the
 * connection is over. A read that would block leaves all as it is. */
static bool connection_step(struct connection *connection)
{
	ssize_t got = recv(connection->fd, connection->head + connection->used, HEAD_BYTES - 1 - connection->used, 0);
	uint64_t began_ns = burn_clock_ns();

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0)
		return false;
	connection->used += (size_t)got;
	connection->head[connection->used] = '\0';
	if (!strstr(connection->head, "\r\n\r\n"))
		return connection->used < HEAD_BYTES - 1;
	answer(connection);
	account(starts_with(connection->head, "GET /light "), burn_clock_ns() - began_ns);
	connection->used = 0;
	return true;
}

static struct connection *connection_new(int fd)
{
	static const int on = 1;
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		die("calloc");
	connection->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return connection;
}

static void connection_free(struct connection *connection)
{
	close(connection->fd);
	free(connection);
}

static void *connection_thread(void *argument)
{
	struct connection *connection = argument;

	while (connection_step(connection))
		;
	connection_free(connection);
	return NULL;
}

static void *loop_thread(void *argument)
{
	int epoll = *(int *)argument;
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;

			if (!connection_step(connection))
				connection_free(connection); /* closing takes it out of the epoll set */
		}
	}
	return NULL;
}

static void start_thread(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, argument);
	if (errno)
		die("pthread_create");
	pthread_detach(thread);
}

static int listen_on(uint16_t port)
{
	static const int on = 1;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
	                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 128))
		die("listen");
	return fd;
}

static void accept_for_threads(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			start_thread(connection_thread, connection_new(fd));
		else if (errno != EINTR && errno != ECONNABORTED)
			die("accept4");
	}
}

static void accept_for_loops(int listener, int loops)
{
	int epolls[LOOPS_MAX];

	for (int i = 0; i < loops; i++) {
		epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		if (epolls[i] < 0)
			die("epoll_create1");
		start_thread(loop_thread, &epolls[i]);
	}
	for (int turn = 0;; turn = (turn + 1) % loops) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct epoll_event event = { .events = EPOLLIN };

		if (fd < 0)
			die("accept4");
		event.data.ptr = connection_new(fd);
		if (epoll_ctl(epolls[turn], EPOLL_CTL_ADD, fd, &event))
			die("epoll_ctl");
	}
}

static void print_endpoint(const char *name, struct endpoint *endpoint)
{
	printf("%s %llu %llu\n", name, (unsigned long long)atomic_load(&endpoint->requests),
	       (unsigned long long)atomic_load(&endpoint->cpu_ns));
}

/* Waits for SIGTERM, which every other thread blocks. */
static void *end_thread(void *argument)
{
	int number;

	sigwait(argument, &number);
	print_endpoint("light", &light);
	print_endpoint("heavy", &heavy);
	exit(0);
}

int main(int argc, char **argv)
{
	static sigset_t end;
	int listener, loops;

	if (argc != 5 || (strcmp(argv[1], "threads") && strcmp(argv[1], "epoll"))) {
		fprintf(stderr, "usage: ratio_server threads|epoll PORT LOOPS UNIT_US\n");
		return 2;
	}
	loops = atoi(argv[3]);
	if (loops < 1 || loops > LOOPS_MAX) {
		fprintf(stderr, "ratio_server: LOOPS is 1 to %d\n", LOOPS_MAX);
		return 2;
	}
	unit_steps = strtoull(argv[4], NULL, 10) * burn_steps_per_us();
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &end, NULL);
	start_thread(end_thread, &end);
	listener = listen_on((uint16_t)atoi(argv[2]));
	printf("ready\n");
	fflush(stdout);
	if (strcmp(argv[1], "threads") == 0)
		accept_for_threads(listener);
	accept_for_loops(listener, loops);
}
