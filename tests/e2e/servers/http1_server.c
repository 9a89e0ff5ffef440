/* http1_server PORT LOG HOW - a server of HTTP/1.1 to the letter of RFC 9112, a thread for each connection, that logs what
 * it answers: method, target, status, and "parse" if it refused the request for its form, "stream" if one followed, else
 * "-"; "_OTHER" where a line could not be read. HOW it receives: recv, peek (looks first), readv, recvmsg, bytes (one each).
 *
 * What it answers is in the target: /counted/N, /chunked/N and /close/N give N bytes framed in that way, /status/N that
 * status, /hints an interim answer first, /upgrade a stream, /refuse a 413 before the body was read. CONNECT gives a
 * stream. Streams echo until the client shuts its side.
 */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { IN_BYTES = 1 << 17, OUT_BYTES = 1 << 16, HEAD_BYTES = 1 << 16 };

static FILE *log_file;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *how;

struct client {
	int fd;
	size_t begin, end; /* of what is in in */
	size_t head_bytes; /* of the head being read */
	size_t out_bytes;
	char in[IN_BYTES];
	char out[OUT_BYTES];
};

struct request {
	char method[64];
	char target[2048]; /* what is longer is cut */
	bool is_1_0, is_last, keeps_alive;
	bool is_chunked, has_length, expects, upgrades;
	unsigned long length;
};

enum result { GOOD, REFUSED, GONE };

static ssize_t receive(int fd, char *bytes, size_t n)
{
	size_t half = n / 2;
	struct iovec iov[2] = { { bytes, half }, { bytes + half, n - half } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	if (strcmp(how, "readv") == 0)
		return readv(fd, iov, 2);
	if (strcmp(how, "recvmsg") == 0)
		return recvmsg(fd, &message, 0);
	if (strcmp(how, "bytes") == 0)
		return read(fd, bytes, 1);
	if (strcmp(how, "peek") == 0 && recv(fd, bytes, n, MSG_PEEK) <= 0)
		return 0;
	return recv(fd, bytes, n, 0);
}

static bool flush(struct client *client)
{
	for (size_t sent = 0; sent < client->out_bytes;) {
		ssize_t n = send(client->fd, client->out + sent, client->out_bytes - sent, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		sent += (size_t)n;
	}
	client->out_bytes = 0;
	return true;
}

/* Answers leave when nothing is left to read, as those of a pipeline do together. */
static bool fill(struct client *client)
{
	if (!flush(client))
		return false;
	if (client->begin == client->end)
		client->begin = client->end = 0;
	if (client->end == IN_BYTES) {
		memmove(client->in, client->in + client->begin, client->end - client->begin);
		client->end -= client->begin;
		client->begin = 0;
	}
	ssize_t n = receive(client->fd, client->in + client->end, IN_BYTES - client->end);
	if (n <= 0)
		return false;
	client->end += (size_t)n;
	return true;
}

static bool put(struct client *client, const char *bytes, size_t n)
{
	while (n) {
		size_t room = OUT_BYTES - client->out_bytes, taken = n < room ? n : room;
		memcpy(client->out + client->out_bytes, bytes, taken);
		client->out_bytes += taken;
		bytes += taken;
		n -= taken;
		if (client->out_bytes == OUT_BYTES && !flush(client))
			return false;
	}
	return true;
}

static bool __attribute__((format(printf, 2, 3))) print(struct client *client, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return put(client, text, (size_t)n);
}

/* The next line without its end, good until the next fill. */
static enum result read_line(struct client *client, char **ret_line)
{
	size_t seen = 0;

	for (;;) {
		char *text = client->in + client->begin;
		char *end = memchr(text + seen, '\n', client->end - client->begin - seen);
		if (end) {
			client->head_bytes += (size_t)(end - text) + 1;
			client->begin += (size_t)(end - text) + 1;
			*(end > text && end[-1] == '\r' ? end - 1 : end) = '\0';
			*ret_line = text;
			return client->head_bytes <= HEAD_BYTES ? GOOD : REFUSED;
		}
		seen = client->end - client->begin;
		if (client->head_bytes + seen >= HEAD_BYTES)
			return REFUSED;
		if (!fill(client))
			return GONE;
	}
}

static bool is_token(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("!#$%&'*+-.^_`|~", *text))
			return false;
	return true;
}

static enum result read_request_line(struct request *request, char *line)
{
	char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

	if (!version)
		return REFUSED;
	*target++ = '\0';
	*version++ = '\0';
	if (!is_token(line) || !*target || strlen(line) >= sizeof(request->method))
		return REFUSED;
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return REFUSED;
	request->is_1_0 = version[7] == '0';
	snprintf(request->method, sizeof(request->method), "%s", line);
	snprintf(request->target, sizeof(request->target), "%s", target);
	return GOOD;
}

/* A length, or a list of equal ones (RFC 9112 clause 6.3); again must say the same. */
static enum result read_length(struct request *request, const char *value)
{
	do {
		char *end;
		value += strspn(value, " \t");
		if (!isdigit((unsigned char)*value))
			return REFUSED;
		unsigned long length = strtoul(value, &end, 10);
		if (request->has_length && length != request->length)
			return REFUSED;
		request->has_length = true;
		request->length = length;
		value = end + strspn(end, " \t");
	} while (*value++ == ',');
	return value[-1] ? REFUSED : GOOD;
}

static enum result read_field(struct request *request, char *line)
{
	char *colon = strchr(line, ':');

	if (!colon)
		return REFUSED;
	*colon = '\0';
	if (!is_token(line)) /* folded, or with white space before the colon */
		return REFUSED;
	char *value = colon + 1 + strspn(colon + 1, " \t");
	for (char *end = value + strlen(value); end > value && strchr(" \t", end[-1]); end--)
		end[-1] = '\0';
	if (strcasecmp(line, "Content-Length") == 0)
		return read_length(request, value);
	if (strcasecmp(line, "Transfer-Encoding") == 0) {
		size_t n = strlen(value);
		if (n < 7 || strcasecmp(value + n - 7, "chunked") != 0 || (n > 7 && !strchr(", ", value[n - 8])))
			return REFUSED;
		request->is_chunked = true;
	}
	request->expects |= strcasecmp(line, "Expect") == 0 && strcasecmp(value, "100-continue") == 0;
	request->upgrades |= strcasecmp(line, "Upgrade") == 0;
	request->is_last |= strcasecmp(line, "Connection") == 0 && strcasestr(value, "close");
	request->keeps_alive |= strcasecmp(line, "Connection") == 0 && strcasestr(value, "keep-alive");
	return GOOD;
}

static enum result read_head(struct client *client, struct request *request)
{
	char *line;
	enum result result;

	client->head_bytes = 0;
	memset(request, 0, sizeof(*request));
	strcpy(request->method, "_OTHER");
	strcpy(request->target, "_OTHER");
	do {
		result = read_line(client, &line);
		client->head_bytes = result != GOOD || *line ? client->head_bytes : 0; /* empty lines before a request */
	} while (result == GOOD && !*line);
	if (result == GOOD)
		result = read_request_line(request, line);
	while (result == GOOD && (result = read_line(client, &line)) == GOOD && *line)
		result = read_field(request, line);
	if (result == GOOD && request->is_chunked && (request->has_length || request->is_1_0))
		result = REFUSED;
	return result;
}

static bool pass(struct client *client, unsigned long n)
{
	while (n) {
		size_t there = client->end - client->begin, taken = n < there ? n : there;
		client->begin += taken;
		n -= taken;
		if (n && !fill(client))
			return false;
	}
	return true;
}

static enum result read_chunks(struct client *client)
{
	char *line, *end;
	enum result result;

	for (;;) {
		client->head_bytes = 0;
		if ((result = read_line(client, &line)) != GOOD)
			return result;
		if (!isxdigit((unsigned char)*line))
			return REFUSED;
		unsigned long size = strtoul(line, &end, 16);
		if (*end && !strchr("; \t", *end))
			return REFUSED;
		if (!size)
			break;
		if (!pass(client, size))
			return GONE;
		if ((result = read_line(client, &line)) != GOOD || *line)
			return result == GOOD ? REFUSED : result;
	}
	while ((result = read_line(client, &line)) == GOOD && *line)
		; /* trailers */
	return result;
}

static void note(const struct request *request, unsigned status, const char *remark)
{
	pthread_mutex_lock(&log_lock);
	fprintf(log_file, "%s\t%s\t%u\t%s\n", request->method, request->target, status, remark);
	pthread_mutex_unlock(&log_lock);
}

static const char *connection_of(const struct request *request)
{
	if (request->is_last || (request->is_1_0 && !request->keeps_alive))
		return "Connection: close\r\n";
	return request->is_1_0 ? "Connection: keep-alive\r\n" : "";
}

static bool put_filling(struct client *client, unsigned long n)
{
	static const char filling[1024] = "filling";

	for (; n > sizeof(filling); n -= sizeof(filling))
		if (!put(client, filling, sizeof(filling)))
			return false;
	return put(client, filling, n);
}

static void answer_chunked(struct client *client, const struct request *request, unsigned long n)
{
	print(client, "HTTP/1.1 200 OK\r\n%sTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n", connection_of(request));
	if (strcmp(request->method, "HEAD") == 0)
		return;
	for (unsigned long size; n; n -= size) {
		size = n > 100 ? n / 2 : n;
		print(client, "%lx;name=\"a;b\"\r\n", size);
		put_filling(client, size);
		print(client, "\r\n");
	}
	print(client, "0\r\nX-Sum: 1\r\n\r\n");
}

static void answer_counted(struct client *client, const struct request *request, unsigned status, unsigned long n)
{
	bool has_body = status != 204 && status != 304 && strcmp(request->method, "HEAD") != 0;

	print(client, "HTTP/1.1 %u Whatever\r\n%s", status, connection_of(request));
	if (status == 204)
		print(client, "\r\n");
	else
		print(client, "Content-Length: %lu\r\n\r\n", n);
	if (has_body)
		put_filling(client, n);
}

static void echo(struct client *client)
{
	do
		put(client, client->in + client->begin, client->end - client->begin);
	while ((client->begin = client->end) && fill(client));
}

/* The number after prefix in the path, -1 if the path has another. */
static long number_after(const char *target, const char *prefix)
{
	const char *scheme = strstr(target, "://");
	const char *path = scheme ? strchr(scheme + 3, '/') : target;

	return path && strncmp(path, prefix, strlen(prefix)) == 0 ? atol(path + strlen(prefix)) : -1;
}

/* False: the connection is over. */
static bool answer(struct client *client, const struct request *request)
{
	const char *target = request->target;
	long n;

	if (strcmp(request->method, "CONNECT") == 0 || (request->upgrades && number_after(target, "/upgrade") >= 0)) {
		unsigned status = *request->method == 'C' ? 200 : 101;
		print(client, "HTTP/1.1 %u Stream\r\n%s\r\n", status,
		      status == 200 ? "Content-Length: 5\r\n" : "Connection: Upgrade\r\nUpgrade: websocket\r\n");
		note(request, status, "stream");
		echo(client);
		return false;
	}
	if (number_after(target, "/hints") >= 0)
		print(client, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
	if ((n = number_after(target, "/chunked/")) >= 0 && !request->is_1_0) {
		answer_chunked(client, request, (unsigned long)n);
	} else if ((n = number_after(target, "/close/")) >= 0) {
		print(client, "HTTP/1.%d 200 OK\r\n%s\r\n", !request->is_1_0, request->is_1_0 ? "" : "Connection: close\r\n");
		if (strcmp(request->method, "HEAD") != 0)
			put_filling(client, (unsigned long)n);
		note(request, 200, "-");
		return false;
	} else {
		long status = number_after(target, "/status/");
		n = number_after(target, "/counted/");
		answer_counted(client, request, status > 0 ? (unsigned)status : 200, n > 0 ? (unsigned long)n : 2);
		note(request, status > 0 ? (unsigned)status : 200, "-");
		return *connection_of(request) != 'C' || request->keeps_alive;
	}
	note(request, 200, "-");
	return !request->is_last;
}

static void refuse(struct client *client, const struct request *request, unsigned status, const char *remark)
{
	print(client, "HTTP/1.1 %u Refused\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n", status);
	note(request, status, remark);
}

static bool serve_one(struct client *client)
{
	struct request request;
	enum result result = read_head(client, &request);

	if (result == GOOD && number_after(request.target, "/refuse") >= 0) {
		refuse(client, &request, 413, "-");
		return false;
	}
	if (result == GOOD && request.expects && (!print(client, "HTTP/1.1 100 Continue\r\n\r\n") || !flush(client)))
		return false;
	if (result == GOOD && request.is_chunked)
		result = read_chunks(client);
	else if (result == GOOD && !pass(client, request.length))
		result = GONE;
	if (result == REFUSED)
		refuse(client, &request, 400, "parse");
	return result == GOOD && answer(client, &request);
}

static void *serve(void *argument)
{
	struct client *client = argument;

	while (serve_one(client))
		;
	flush(client);
	/* What the client still sends would reset the connection before it has the answer: RFC 9112 clause 9.6. */
	shutdown(client->fd, SHUT_WR);
	while (receive(client->fd, client->in, IN_BYTES) > 0)
		;
	close(client->fd);
	free(client);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	pthread_attr_t attributes;

	if (argc != 4 || !(log_file = fopen(argv[2], "w")))
		return EXIT_FAILURE;
	how = argv[3];
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1024))
		return EXIT_FAILURE;
	setvbuf(log_file, NULL, _IOLBF, 1 << 16);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (;;) {
		struct client *client = calloc(1, sizeof(*client));
		pthread_t thread;
		if (!client || (client->fd = accept(listener, NULL, NULL)) < 0)
			return EXIT_FAILURE;
		setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (pthread_create(&thread, &attributes, serve, client))
			return EXIT_FAILURE;
	}
}
