/* stream_server - answers that have no end of their own, each served by a child of fork.
 *
 *     stream_server PORT [unreaped]
 *
 * The parent accepts and forks; what the client asks for is told by its first line:
 *     GET /ws           101, then whatever comes is sent back
 *     CONNECT x         200, then the same
 *     GET /events       an event stream, chunked, until the client goes; /events/3 ends after 3 events
 *     GET /plain        200 with two bytes, and the next request
 *     GET /unframed     200 without length; the child ends without a close
 *     GET /early...     101 by the parent, which then forks: the child goes on with the stream
 * SIGCHLD is ignored, so that children are gone when they end; with "unreaped" they stay as zombies.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 8192, EVENT_US = 10000 };

static char head[HEAD_MAX];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static bool read_head(int fd)
{
	size_t n = 0;

	for (;;) {
		head[n] = '\0';
		if (strstr(head, "\r\n\r\n"))
			return true;
		ssize_t more = read(fd, head + n, HEAD_MAX - 1 - n);
		if (more <= 0)
			return false;
		n += (size_t)more;
	}
}

static bool say(int fd, const char *text)
{
	size_t n = strlen(text);

	return send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static void echo(int fd)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		if (send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
			break;
}

static bool is_gone(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static void send_events(int fd)
{
	int count = atoi(head + strlen("GET /events/"));

	say(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; (!count || i < count) && !is_gone(fd); i++) {
		if (!say(fd, "9\r\ndata: 1\n\n\r\n"))
			return;
		usleep(EVENT_US);
	}
	if (count)
		say(fd, "0\r\n\r\n");
}

static bool is_for(const char *text)
{
	return strncmp(head, text, strlen(text)) == 0;
}

static void serve(int fd)
{
	while (read_head(fd)) {
		if (is_for("GET /plain")) {
			say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		} else if (is_for("GET /events")) {
			send_events(fd);
		} else if (is_for("GET /ws")) {
			say(fd, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
			echo(fd);
		} else if (is_for("CONNECT ")) {
			say(fd, "HTTP/1.1 200 Connected\r\n\r\n");
			echo(fd);
		} else {
			say(fd, "HTTP/1.0 200 OK\r\n\r\nwithout a length");
			exit(0);
		}
	}
	close(fd);
}

/* The first bytes are the parent's, if they ask for it. */
static bool begin_early(int fd)
{
	char bytes[16] = "";

	recv(fd, bytes, sizeof(bytes) - 1, MSG_PEEK);
	if (strncmp(bytes, "GET /early", strlen("GET /early")) != 0)
		return false;
	return read_head(fd) && say(fd, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
}

int main(int argc, char **argv)
{
	static const int on = 1;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (argc < 2)
		die("usage: stream_server PORT [unreaped]");
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	signal(SIGCHLD, argc > 2 ? SIG_DFL : SIG_IGN);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 512) < 0)
		die("listen");
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		bool is_early = begin_early(fd);
		pid_t child = fork();
		if (child < 0)
			die("fork");
		if (!child) {
			close(listener);
			if (is_early)
				echo(fd);
			else
				serve(fd);
			exit(0);
		}
		close(fd);
	}
}
