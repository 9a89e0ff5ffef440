/* ask_load - keeps a server on 127.0.0.1 busy with one and the same request over many connections.
 *
 *     ask_load PORT CONNECTIONS COUNT ANSWER_BYTES <REQUEST
 *
 * Each connection asks, and asks again when the ANSWER_BYTES of the answer are there, until there are COUNT answers. It never
 * sleeps, so that nobody has to wake it, and makes no more than two system calls a request and a share of a third: it needs
 * less time than what it asks, so that the server, which is what is measured, has always something to do.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1000, REQUEST_BYTES_MAX = 64 << 10, ANSWER_BYTES_MAX = 1 << 20 };

static struct {
	char request[REQUEST_BYTES_MAX];
	size_t request_bytes, answer_bytes;
	int epoll;
	unsigned long to_ask, to_read;
	struct { int fd; size_t left_bytes; } connections[CONNECTIONS_MAX];
} load;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void ask(int index)
{
	int fd = load.connections[index].fd;

	if (!load.to_ask)
		return;
	load.to_ask--;
	load.connections[index].left_bytes = load.answer_bytes;
	if (send(fd, load.request, load.request_bytes, MSG_NOSIGNAL) != (ssize_t)load.request_bytes)
		die("ask_load: send");
}

static void read_answer(int index)
{
	static char answer[ANSWER_BYTES_MAX];
	ssize_t n = recv(load.connections[index].fd, answer, load.connections[index].left_bytes, MSG_DONTWAIT);

	if (n <= 0)
		die("ask_load: recv");
	load.connections[index].left_bytes -= (size_t)n;
	if (load.connections[index].left_bytes)
		return;
	load.to_read--;
	ask(index);
}

static void make_connection(int index, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct epoll_event event = { .events = EPOLLIN, .data = { .u32 = (uint32_t)index } };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("ask_load: connect");
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("ask_load: socket");
	load.connections[index].fd = fd;
}

int main(int argc, char **argv)
{
	static struct epoll_event events[CONNECTIONS_MAX];
	int connections = argc == 5 ? atoi(argv[2]) : 0;

	load.request_bytes = fread(load.request, 1, sizeof(load.request), stdin);
	load.answer_bytes = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	if (connections < 1 || connections > CONNECTIONS_MAX || !load.request_bytes || !load.answer_bytes ||
	    load.answer_bytes > ANSWER_BYTES_MAX) {
		fprintf(stderr, "usage: ask_load PORT CONNECTIONS COUNT ANSWER_BYTES <REQUEST\n");
		return 2;
	}
	load.to_ask = load.to_read = strtoul(argv[3], NULL, 10);
	load.epoll = epoll_create1(0);
	for (int i = 0; i < connections; i++)
		make_connection(i, atoi(argv[1]));
	for (int i = 0; i < connections; i++)
		ask(i);
	while (load.to_read) {
		int count = epoll_wait(load.epoll, events, connections, 0);
		for (int i = 0; i < count; i++)
			read_answer((int)events[i].data.u32);
	}
	return 0;
}
