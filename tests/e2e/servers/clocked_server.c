/* clocked_server - an HTTP server that takes as long as it is asked to, and logs how long each request took.
 *
 *     clocked_server PORT LOG [FILE]
 *
 * A thread serves each connection, one request after the other. A request's query tells what it is to cost:
 *     first=US   before the first byte of the answer        how=busy|sleep
 *     rest=US    spread over the gaps between the pieces     pieces=N    writes of the body
 *     bytes=N    of the body, or of FILE by sendfile with file=1
 *     close=MS   no length: the end of the body is the end of the connection, this long after its last byte
 * LOG gets a line for each: path, nanoseconds from just after the read that gave the first byte returned until just after
 * the last write did, the same until just after the first write, the bytes of both bodies, its X-Request-ID, and how often
 * the kernel took the CPU from the thread during those calls or between them and the clock: who takes the same times a
 * moment earlier or later sees others then.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, BODY_MAX = 1 << 20, SEND_BUFFER = 64 * 1024 };

struct request {
	int fd;
	char head[HEAD_MAX];
	size_t head_bytes;
	char path[128];
	const char *query;
	uint64_t body_bytes;
	uint64_t begin_ns, first_ns, end_ns;
	uint64_t sent_body_bytes;
	long preemptions_before; /* of the call in progress */
	long preemptions;        /* in calls at whose end a time was taken */
	char id[64];
};

static FILE *log_file;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int sent_file = -1;
static char body[BODY_MAX];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static long preemptions(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static uint64_t number_of(const struct request *request, const char *key)
{
	const char *found = strstr(request->query, key);

	return found ? strtoull(found + strlen(key), NULL, 10) : 0;
}

static void pass_time(const struct request *request, uint64_t us)
{
	uint64_t end_ns = now_ns() + us * 1000;
	struct timespec until = { (time_t)(end_ns / 1000000000), (long)(end_ns % 1000000000) };

	if (strstr(request->query, "how=sleep"))
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	else
		while (now_ns() < end_ns)
			;
}

/* False: the client is gone. */
static bool read_more(struct request *request, char *to, size_t bytes, size_t *ret_read)
{
	long before = request->begin_ns ? 0 : preemptions();
	ssize_t n = read(request->fd, to, bytes);

	if (n <= 0)
		return false;
	if (!request->begin_ns) {
		request->begin_ns = now_ns();
		request->preemptions = preemptions() - before;
	}
	*ret_read = (size_t)n;
	return true;
}

static bool read_head(struct request *request)
{
	size_t n;

	request->begin_ns = 0;
	request->head_bytes = 0;
	for (;;) {
		request->head[request->head_bytes] = '\0';
		char *end = strstr(request->head, "\r\n\r\n");
		if (end)
			return true;
		if (request->head_bytes == HEAD_MAX - 1 ||
		    !read_more(request, request->head + request->head_bytes, HEAD_MAX - 1 - request->head_bytes, &n))
			return false;
		request->head_bytes += n;
	}
}

static bool read_body(struct request *request)
{
	static const char name[] = "\r\nContent-Length:";
	const char *length = strcasestr(request->head, name);
	size_t head_bytes = (size_t)(strstr(request->head, "\r\n\r\n") + 4 - request->head);
	uint64_t have = request->head_bytes - head_bytes;
	char sink[65536];
	size_t n;

	request->body_bytes = length ? strtoull(length + strlen(name), NULL, 10) : 0;
	for (; have < request->body_bytes; have += n) {
		uint64_t left = request->body_bytes - have;
		if (!read_more(request, sink, left < sizeof(sink) ? (size_t)left : sizeof(sink), &n))
			return false;
	}
	return true;
}

static void take_line(struct request *request)
{
	static const char name[] = "\r\nX-Request-ID: ";
	const char *id = strstr(request->head, name);
	char target[512];

	snprintf(request->id, sizeof(request->id), "%.*s", id ? (int)strcspn(id + strlen(name), "\r") : 0,
		 id ? id + strlen(name) : "");
	if (sscanf(request->head, "%*15s %511s", target) != 1)
		target[0] = '\0';
	snprintf(request->path, sizeof(request->path), "%.*s", (int)strcspn(target, "?"), target);
	request->query = strchr(request->head, '?');
	if (!request->query)
		request->query = "";
	else
		*strstr(request->head, "\r\n") = '\0';
}

static bool send_all(struct request *request, const char *bytes, size_t n)
{
	while (n) {
		long before = preemptions();
		ssize_t sent = write(request->fd, bytes, n);
		if (sent <= 0)
			return false;
		request->end_ns = now_ns();
		if (!request->first_ns)
			request->first_ns = request->end_ns;
		request->preemptions += preemptions() - before;
		bytes += sent;
		n -= (size_t)sent;
	}
	return true;
}

static bool send_from_file(struct request *request, uint64_t bytes)
{
	off_t offset = 0;

	while ((uint64_t)offset < bytes) {
		if (sendfile(request->fd, sent_file, &offset, bytes - (uint64_t)offset) <= 0)
			return false;
		request->end_ns = now_ns();
	}
	return true;
}

static bool send_pieces(struct request *request, uint64_t bytes)
{
	uint64_t pieces = number_of(request, "pieces="), rest_us = number_of(request, "rest=");

	if (!pieces)
		pieces = 1;
	for (uint64_t i = 0; i < pieces; i++) {
		uint64_t begin = bytes * i / pieces, end = bytes * (i + 1) / pieces;
		if (rest_us)
			pass_time(request, rest_us / pieces);
		if (!send_all(request, body + begin, (size_t)(end - begin)))
			return false;
	}
	return true;
}

/* False: nothing more will be served on this connection. */
static bool answer(struct request *request)
{
	uint64_t bytes = number_of(request, "bytes="), close_ms = number_of(request, "close=");
	char head[256];
	int n;

	pass_time(request, number_of(request, "first="));
	if (close_ms)
		n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	else
		n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)bytes);
	request->first_ns = 0;
	request->sent_body_bytes = bytes;
	if (!send_all(request, head, (size_t)n))
		return false;
	if (!(number_of(request, "file=") ? send_from_file(request, bytes) : send_pieces(request, bytes)))
		return false;
	pthread_mutex_lock(&log_lock);
	fprintf(log_file, "%s\t%llu\t%llu\t%llu\t%llu\t%s\t%ld\n", request->path, (unsigned long long)(request->end_ns - request->begin_ns),
		(unsigned long long)(request->first_ns - request->begin_ns), (unsigned long long)request->body_bytes,
		(unsigned long long)request->sent_body_bytes, request->id, request->preemptions);
	fflush(log_file);
	pthread_mutex_unlock(&log_lock);
	usleep((useconds_t)close_ms * 1000);
	return !close_ms;
}

static void *serve(void *argument)
{
	static const int on = 1;
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		die("calloc");
	request->fd = (int)(intptr_t)argument;
	setsockopt(request->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while (read_head(request)) {
		bool has_body = read_body(request);
		take_line(request);
		if (!has_body || !answer(request))
			break;
	}
	close(request->fd);
	free(request);
	return NULL;
}

int main(int argc, char **argv)
{
	static const int on = 1, send_bytes = SEND_BUFFER;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	pthread_attr_t attributes;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (argc < 3 || !(log_file = fopen(argv[2], "w")) || (argc > 3 && (sent_file = open(argv[3], O_RDONLY)) < 0))
		die("usage: clocked_server PORT LOG [FILE]");
	memset(body, 'x', sizeof(body));
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* What the kernel keeps for a slow reader must be little beside what is sent. */
	setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 512) < 0)
		die("listen");
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (;;) {
		pthread_t thread;
		int fd = accept(listener, NULL, NULL);
		if (fd >= 0 && pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd) != 0)
			die("pthread_create");
	}
}
