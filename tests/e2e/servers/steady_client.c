/* steady_client - asks for one path over and over, whatever happens to the server meanwhile.
 *
 *     steady_client PORT THREADS PATH
 *
 * Each of THREADS threads keeps a connection to 127.0.0.1:PORT as long as the server does, and asks again when it has the
 * answer. The end of its standard input ends it; then it prints "answers N broken M": answers that were read
 * to their last byte, and requests that got none or a part of one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS_MAX = 64, PAUSE_US = 2000 };

static uint16_t server_port;
static const char *path;
static _Atomic unsigned long answers, broken;
static _Atomic bool is_ending;

/* -1: nobody listens just now. */
static int connect_once(void)
{
	static const int on = 1;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(server_port),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The end of the head and what it says of the body; 0: not all of it is there. */
static size_t read_head(const char *text, size_t *ret_body_bytes, bool *ret_closes)
{
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = strcasestr(text, "\r\ncontent-length: ");
	const char *closing = strcasestr(text, "\r\nconnection: close");

	if (!end)
		return 0;
	*ret_body_bytes = length && length < end ? strtoul(length + strlen("\r\ncontent-length: "), NULL, 10) : 0;
	*ret_closes = closing && closing < end;
	return (size_t)(end - text) + 4;
}

enum outcome { ANSWERED, ANSWERED_LAST, BROKEN };

static enum outcome read_answer(int fd)
{
	char text[16384];
	size_t bytes = 0, body_bytes = 0;
	bool closes = false;

	while (bytes < sizeof(text) - 1) {
		ssize_t got = recv(fd, text + bytes, sizeof(text) - 1 - bytes, 0);
		if (got <= 0)
			return BROKEN;
		bytes += (size_t)got;
		text[bytes] = '\0';
		size_t head_bytes = read_head(text, &body_bytes, &closes);
		if (head_bytes && bytes >= head_bytes + body_bytes)
			return closes ? ANSWERED_LAST : ANSWERED;
	}
	return BROKEN;
}

/* True: the connection is good for more. */
static bool ask(int fd)
{
	char request[512];
	int bytes = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
	enum outcome outcome = send(fd, request, (size_t)bytes, MSG_NOSIGNAL) == bytes ? read_answer(fd) : BROKEN;

	atomic_fetch_add(outcome == BROKEN ? &broken : &answers, 1);
	return outcome == ANSWERED;
}

static void *run_thread(void *unused)
{
	(void)unused;
	while (!atomic_load(&is_ending)) {
		int fd = connect_once();
		if (fd < 0) {
			usleep(PAUSE_US);
			continue;
		}
		while (ask(fd) && !atomic_load(&is_ending))
			;
		close(fd);
	}
	return NULL;
}

static void *wait_for_end(void *unused)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	atomic_store(&is_ending, true);
	return unused;
}

int main(int argc, char **argv)
{
	int count = argc == 4 ? atoi(argv[2]) : 0;
	pthread_t threads[THREADS_MAX], waiting;

	if (count < 1 || count > THREADS_MAX) {
		fprintf(stderr, "usage: steady_client PORT THREADS PATH, of 1 to %d threads\n", THREADS_MAX);
		return 2;
	}
	server_port = (uint16_t)atoi(argv[1]);
	path = argv[3];
	pthread_create(&waiting, NULL, wait_for_end, NULL);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run_thread, NULL))
			return 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("answers %lu broken %lu\n", atomic_load(&answers), atomic_load(&broken));
	return 0;
}
