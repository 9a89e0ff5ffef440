/* closing_client - a client that counts and opens a new connection for each request.
 *
 *     closing_client PORT REQUESTS THREADS PATH...
 *
 * Asks 127.0.0.1:PORT for the paths in turn with "Connection: close", reads to the end of the stream, and prints how many
 * answers began with which status: "200 5000". Anything that fails ends it with code 1. Source addresses rotate through
 * 127.0.1.0/24, so that ports in TIME_WAIT never run out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS_MAX = 64, STATUS_MAX = 600, SOURCES = 250 };

static uint16_t server_port;
static char **paths;
static unsigned path_count;
static unsigned long request_count;
static _Atomic unsigned long next_request;
static _Atomic unsigned long statuses[STATUS_MAX];

static void die(const char *what)
{
	fprintf(stderr, "closing_client: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_from(unsigned source)
{
	static const int on = 1;
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000101u + source) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(server_port),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	/* The port is chosen at connect, when the whole quadruple is known. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)))
		die("bind");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	return fd;
}

/* Reads to the end; the status of the answer. */
static unsigned read_answer(int fd)
{
	char text[16384] = "";
	size_t head_bytes = 0;
	unsigned status;

	for (;;) {
		char *to = head_bytes < 13 ? text + head_bytes : text + 13; /* "HTTP/1.1 200 " is all that is kept */
		ssize_t got = read(fd, to, (size_t)(text + sizeof(text) - 1 - to));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			die("read");
		if (got == 0)
			break;
		head_bytes += (size_t)got;
	}
	if (sscanf(text, "HTTP/1.1 %3u ", &status) != 1 || status >= STATUS_MAX) {
		fprintf(stderr, "closing_client: no HTTP answer: %.13s\n", text);
		exit(1);
	}
	return status;
}

static void ask(unsigned long number)
{
	char request[512];
	int bytes = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
	                     paths[number % path_count]);
	int fd = connect_from((unsigned)(number % SOURCES));

	if (send(fd, request, (size_t)bytes, MSG_NOSIGNAL) != bytes)
		die("send");
	atomic_fetch_add(&statuses[read_answer(fd)], 1);
	close(fd);
}

static void *run_thread(void *argument)
{
	unsigned long number;

	(void)argument;
	while ((number = atomic_fetch_add(&next_request, 1)) < request_count)
		ask(number);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	int count = argc >= 5 ? atoi(argv[3]) : 0;

	if (count < 1 || count > THREADS_MAX) {
		fprintf(stderr, "usage: closing_client PORT REQUESTS THREADS PATH..., of 1 to %d threads\n", THREADS_MAX);
		return 2;
	}
	server_port = (uint16_t)atoi(argv[1]);
	request_count = strtoul(argv[2], NULL, 10);
	paths = argv + 4;
	path_count = (unsigned)(argc - 4);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run_thread, NULL))
			die("pthread_create");
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	for (int status = 0; status < STATUS_MAX; status++)
		if (statuses[status])
			printf("%d %lu\n", status, atomic_load(&statuses[status]));
	return 0;
}
