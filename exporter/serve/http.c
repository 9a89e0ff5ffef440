/* libmicrohttpd runs in its external mode on our one thread: we poll its epoll descriptor and our listening socket, then
 * let it run. We accept ourselves, so that each descriptor is known to the host before anything else can happen to it,
 * and so that a full house leaves newcomers in the backlog instead of refusing them.
 *
 * A connection that libmicrohttpd tells of is a struct client, from notify STARTED to CLOSED; a request on it is its
 * exchange, from the first call of the access handler to notify COMPLETED. A request with seconds=N keeps a snapshot in
 * its exchange and is suspended; http_turn resumes it when it is due, or when its client has hung up. So is a request that
 * has to wait for others, since one a turn is answered of those that take time.
 *
 * Limits (an exporter serves a few scrapers and people, all trusted to read but not to be gentle): CLIENTS_MAX
 * connections; when all are taken and somebody waits, the one that has been idle, or has been dribbling its request, for
 * longest is closed. libmicrohttpd ends connections on which nothing moves; requests that take for ever to arrive, and
 * answers that take for ever to be read, have deadlines here. Answers that wait to be read take ANSWERS_BYTES_MAX and one
 * more at most, snapshots of requests that wait WAITERS_BYTES_MAX and one more. A body is read only if it says that it is small, and then thrown away.
 *
 * Whatever is refused is counted by reason. What libmicrohttpd refuses by itself, since it cannot even be read as HTTP, is
 * known from the line that it logs of it.
 *
 * libmicrohttpd's answer to the impossible is MHD_PANIC, which aborts the process. The impossible here is a program that
 * closes descriptors it does not own, by a way that the hooks do not see. Our panic handler jumps out of the library
 * instead; what it had is leaked, since freeing it would close descriptors that may be somebody else's now.
 */
#include "http.h"

#include "../../shim/segment/kernel_clock.h"
#include "../pace.h"
#include "gzip.h"
#include "host.h"
#include "listener.h"
#include "negotiate.h"
#include "route.h"

#include <errno.h>
#include <microhttpd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	CLIENTS_MAX = 64,
	WAITERS_MAX = 16,            /* requests with seconds=N at once: each holds a snapshot */
	/* Request line and headers, and libmicrohttpd's state of a connection. It takes the second half of a line that does not end in
	 * pieces of 128 bytes and looks through all of it for each (try_grow_read_buffer in its connection.c). */
	HEAD_BYTES_MAX = 8192,
	FIRST_SECONDS = 10,          /* from the connection to the end of its first request's head */
	STALL_SECONDS = 20,          /* nothing moved on the connection */
	REQUEST_SECONDS = 30,        /* from the end of an answer to the end of the next request's head */
	ANSWER_SECONDS = 120,        /* from the end of the head to the last byte of the answer, waiting not counted */
	EVICTABLE_SECONDS = 1,       /* idle for less is no idleness, just a client between two requests */
	PLAIN_BYTES_MAX = 512,       /* an answer that fits into one packet anyway is not worth compressing */
	BODY_BYTES_MAX = 4096,       /* of a request: none is wanted, but a form or an empty object does no harm */
	ANSWERS_BYTES_MAX = 32 << 20, /* held for clients that have not read them yet */
	ANSWER_BYTES_MAX = 32 << 20, /* of one, before it is packed: of deep stacks with many ends /folded could take gigabytes */
	WAITERS_BYTES_MAX = 32 << 20, /* of snapshots that are held already when another one is taken */
	LOSSES_MAX = 3,              /* times that we begin anew after our descriptors were closed */
};

struct exchange {
	struct route route;
	bool accepts_gzip;
	bool has_large_body;         /* is answered without waiting for it */
	bool is_waiting;             /* the connection is suspended until due_ns, or in line since then */
	bool is_in_line;             /* waits for its turn to be answered */
	bool has_turn;
	bool is_gone;                /* the client hung up while waiting */
	uint64_t due_ns;
	struct snapshot *earlier;    /* of a request with seconds=N; owned */
	size_t answer_bytes;         /* that the response holds until it is sent */
};

struct client {
	struct client *next, **place; /* in http->clients; place points at whatever points here */
	struct http *http;
	struct MHD_Connection *connection;
	int fd;
	ino_t inode;                 /* of the socket that fd is, to notice that its number means something else */
	uint64_t since_ns;           /* when it began to be idle, or, with an exchange, to be answered */
	struct exchange *exchange;   /* NULL = between requests, or the head is still incomplete */
	bool has_asked;              /* the head of a request came in whole */
	bool is_hung_up;             /* shut down by us, and about to be closed */
};

struct http {
	const struct exporter_host *host;
	struct reading *reading;
	struct listener listener;
	char token[SEG_TEXT_BYTES];  /* as the session began: what the program writes over it later does not count */
	struct route_rules rules;
	struct MHD_Daemon *daemon;
	int epoll_fd;
	struct client *clients;
	unsigned client_count, waiter_count, loss_count;
	size_t answer_bytes;         /* of all exchanges */
	size_t waiter_bytes;         /* of their snapshots */
	bool is_turn_taken;          /* a request was answered that takes time, the next one has to wait for another turn */
	bool has_line;               /* somebody is in line */
	bool is_accept_paused;       /* accepting failed for want of descriptors or memory: until the next tick */
	bool is_inside;              /* libmicrohttpd is running on our thread and panic may be jumped out of */
	jmp_buf panic;
};

/* Whose daemon is running on this thread; how the panic handler tells our thread from the program's own. */
static __thread struct http *running;

static uint64_t seconds_ns(uint64_t seconds)
{
	return seconds * 1000000000u;
}

/* --- answering */

static void free_exchange(struct http *http, struct exchange *exchange)
{
	if (!exchange)
		return;
	if (exchange->earlier) {
		http->waiter_bytes -= snapshot_bytes(exchange->earlier);
		http->waiter_count--;
		snapshot_free(exchange->earlier);
	}
	http->answer_bytes -= exchange->answer_bytes;
	free(exchange);
}

/* Headers that every answer has, and those of its route. MHD_NO (no memory) is not checked: an answer without is better
 * than none. */
static void add_headers(struct MHD_Response *response, const struct route *route, const char *content_type, bool is_gzip)
{
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Content-Security-Policy", "frame-ancestors 'none'");
	if (route->view)
		MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Accept, Accept-Encoding");
	if (is_gzip)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
	if (route->allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, route->allow);
	if (route->asks_token)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"profshim\"");
}

/* Queues body, which is freed with the response if must_free, else copied. MHD_NO closes the connection. */
static enum MHD_Result queue(struct MHD_Connection *connection, const struct route *route, const char *content_type,
                             char *body, size_t bytes, bool is_gzip, bool must_free)
{
	/* Not MHD_RESPMEM_MUST_FREE: that is the C library's free, which does not know our pieces (memory.c). */
	struct MHD_Response *response =
	        must_free ? MHD_create_response_from_buffer_with_free_callback(bytes, body, free) :
	                    MHD_create_response_from_buffer(bytes, body, MHD_RESPMEM_MUST_COPY);

	if (!response) {
		if (must_free)
			free(body);
		return MHD_NO;
	}
	add_headers(response, route, content_type, is_gzip);
	enum MHD_Result result = MHD_queue_response(connection, route->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result queue_text(struct MHD_Connection *connection, struct route *route)
{
	return queue(connection, route, "text/plain; charset=utf-8", route->text, strlen(route->text), false, false);
}

/* What route_request or route_refuse refused. */
static enum MHD_Result queue_refusal(struct http *http, struct MHD_Connection *connection, struct route *route)
{
	host_count(http->host, route->refused, 1);
	return queue_text(connection, route);
}

static enum MHD_Result queue_busy(struct http *http, struct MHD_Connection *connection, struct route *route,
                                  const char *sentence)
{
	route_refuse(route, SEG_COUNTER_HTTP_BUSY, 503, sentence);
	return queue_refusal(http, connection, route);
}

static enum MHD_Result queue_view(struct http *http, struct MHD_Connection *connection, struct exchange *exchange,
                                  struct strbuf *text)
{
	const char *content_type = exchange->route.view->content_type(&exchange->route.params);
	size_t bytes = text->length, packed_bytes;
	char *packed = NULL;

	if (exchange->accepts_gzip && bytes > PLAIN_BYTES_MAX)
		packed = gzip_compress(text->text, bytes, &packed_bytes);
	exchange->answer_bytes = packed ? packed_bytes : bytes;
	http->answer_bytes += exchange->answer_bytes;
	if (packed) {
		strbuf_free(text);
		return queue(connection, &exchange->route, content_type, packed, packed_bytes, true, true);
	}
	if (!text->text)
		return queue(connection, &exchange->route, content_type, (char[1]){ 0 }, 0, false, false);
	char *plain = text->text; /* handed over to the response */
	*text = STRBUF_EMPTY;
	return queue(connection, &exchange->route, content_type, plain, bytes, false, true);
}

static enum MHD_Result render(struct http *http, struct MHD_Connection *connection, struct exchange *exchange)
{
	struct route *route = &exchange->route;
	struct strbuf text = { .bytes_max = ANSWER_BYTES_MAX };
	char problem[VIEW_PROBLEM_BYTES];

	if (http->answer_bytes > ANSWERS_BYTES_MAX)
		return queue_busy(http, connection, route, "Other clients have too much to read still; try again.");
	switch (reading_render(http->reading, route->view, &route->params, exchange->earlier, &text, problem)) {
	case READING_OK:
		return queue_view(http, connection, exchange, &text);
	case READING_BAD_PARAMETER:
		strbuf_free(&text);
		route_refuse(route, SEG_COUNTER_HTTP_PARAMETER, 400, problem);
		return queue_refusal(http, connection, route);
	case READING_TOO_LARGE:
		strbuf_free(&text);
		return queue_busy(http, connection, route, "This answer would be larger than 32 MiB; ask for one endpoint, or for what "
		                  "comes in some seconds, or read the session by `profshim report`.");
	case READING_NO_MEMORY:
		break;
	}
	strbuf_free(&text);
	return queue_busy(http, connection, route, "There is not enough memory for this answer.");
}

static enum MHD_Result suspend(struct MHD_Connection *connection, struct exchange *exchange, uint64_t due_ns)
{
	exchange->due_ns = due_ns;
	exchange->is_waiting = true;
	MHD_suspend_connection(connection);
	return MHD_YES;
}

/* Begins the wait of a request with seconds=N. */
static enum MHD_Result begin_wait(struct http *http, struct MHD_Connection *connection, struct exchange *exchange)
{
	if (http->waiter_count >= WAITERS_MAX || http->waiter_bytes > WAITERS_BYTES_MAX)
		return queue_busy(http, connection, &exchange->route, "Too many requests with seconds= are waiting already.");
	exchange->earlier = reading_snapshot(http->reading);
	if (!exchange->earlier)
		return queue_busy(http, connection, &exchange->route, "There is not enough memory for this answer.");
	http->waiter_count++;
	http->waiter_bytes += snapshot_bytes(exchange->earlier);
	return suspend(connection, exchange, kernel_clock_ns(CLOCK_MONOTONIC) + seconds_ns(exchange->route.params.seconds));
}

/* What takes more than a moment is done for one client a turn, in the order in which they asked: so the loop's housekeeping
 * goes on in between, and what clients cost is looked at after each. False: not yet. */
static bool is_its_turn(struct http *http, struct exchange *exchange)
{
	if (!exchange->has_turn && (http->has_line || http->is_turn_taken))
		return false;
	exchange->has_turn = false;
	http->is_turn_taken = true;
	return true;
}

static enum MHD_Result stand_in_line(struct http *http, struct MHD_Connection *connection, struct exchange *exchange)
{
	http->has_line = exchange->is_in_line = true;
	return suspend(connection, exchange, kernel_clock_ns(CLOCK_MONOTONIC));
}

static enum MHD_Result answer(struct http *http, struct MHD_Connection *connection, struct exchange *exchange)
{
	struct route *route = &exchange->route;

	if (exchange->is_gone)
		return MHD_NO;
	if (route->status != 200)
		return queue_refusal(http, connection, route);
	if ((route->control || route->view) && !is_its_turn(http, exchange))
		return stand_in_line(http, connection, exchange);
	if (route->control)
		control_do(route->control, route->hz, &http->host->seg, route->text);
	if (route->view && route->params.seconds && !exchange->earlier)
		return begin_wait(http, connection, exchange);
	if (route->view)
		return render(http, connection, exchange);
	if (route->is_ready_check && !atomic_load_explicit(&http->reading->seg.head->ready, memory_order_acquire))
		return queue_busy(http, connection, route, "The session cannot be read.");
	return queue_text(connection, route);
}

static enum MHD_Result take_param(void *context, enum MHD_ValueKind kind, const char *name, size_t name_bytes,
                                  const char *value, size_t value_bytes)
{
	struct request *request = context;

	(void)kind;
	if (request->param_count == ROUTE_PARAMS_MAX || strlen(name) != name_bytes || (value && strlen(value) != value_bytes)) {
		request->is_malformed = true;
		return MHD_NO;
	}
	request->params[request->param_count++] = (struct request_param){ name, value ? value : "" };
	return MHD_YES;
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* A request with a body that may be large, as far as its head tells. */
static bool has_large_body(struct MHD_Connection *connection)
{
	const char *length = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING) || (length && strtoull(length, NULL, 10) > BODY_BYTES_MAX);
}

static enum MHD_Result count_host(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	unsigned *count = context;

	(void)kind, (void)value;
	*count += !strcasecmp(name, MHD_HTTP_HEADER_HOST);
	return MHD_YES;
}

static unsigned count_hosts(struct MHD_Connection *connection)
{
	unsigned count = 0;

	MHD_get_connection_values(connection, MHD_HEADER_KIND, count_host, &count);
	return count;
}

static struct exchange *new_exchange(struct http *http, struct MHD_Connection *connection, const char *method,
                                     const char *path, const char *version)
{
	struct exchange *exchange = calloc(1, sizeof(*exchange));
	struct request request = {
		.method = method,
		.path = path,
		.accept = header(connection, MHD_HTTP_HEADER_ACCEPT),
		.accept_encoding = header(connection, MHD_HTTP_HEADER_ACCEPT_ENCODING),
		.authorization = header(connection, MHD_HTTP_HEADER_AUTHORIZATION),
		.host = header(connection, MHD_HTTP_HEADER_HOST),
		.origin = header(connection, "Origin"),
		.referer = header(connection, MHD_HTTP_HEADER_REFERER),
		.fetch_site = header(connection, "Sec-Fetch-Site"),
		.has_large_body = has_large_body(connection),
		.host_count = count_hosts(connection),
		.needs_host = !strcmp(version, MHD_HTTP_VERSION_1_1),
	};

	if (!exchange)
		return NULL;
	MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, take_param, &request);
	route_request(&exchange->route, &http->rules, &request);
	exchange->accepts_gzip = negotiate_gzip(request.accept_encoding);
	exchange->has_large_body = request.has_large_body;
	return exchange;
}

static struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

/* libmicrohttpd calls this once when the head of a request is there, once for each piece of its body (of which we want
 * none), once at its end, and again when a suspended connection is resumed. Only who is answered at the request's end may
 * use the connection for another; who is answered before is hung up on then. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_bytes, void **request_context)
{
	struct http *http = context;
	struct client *client = client_of(connection);
	bool is_new = !*request_context;

	(void)body;
	if (!client)
		return MHD_NO; /* no memory when it was accepted */
	if (is_new) {
		client->exchange = new_exchange(http, connection, method, path, version);
		client->has_asked = true;
		client->since_ns = kernel_clock_ns(CLOCK_MONOTONIC);
		*request_context = client->exchange;
		if (!client->exchange)
			return MHD_NO;
	}
	bool is_piece = *body_bytes > 0;
	*body_bytes = 0;
	if ((is_new && !client->exchange->has_large_body) || is_piece)
		return MHD_YES;
	pace_point(); /* many clients at once are long work, too */
	return answer(http, connection, client->exchange);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                         enum MHD_RequestTerminationCode code)
{
	struct client *client = client_of(connection);

	if (code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
		host_count(((struct http *)context)->host, SEG_COUNTER_HTTP_SLOW, 1);
	free_exchange(context, *request_context);
	*request_context = NULL;
	if (client) {
		client->exchange = NULL;
		client->since_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	}
}

/* --- connections */

static void add_client(struct http *http, struct MHD_Connection *connection, void **socket_context)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = calloc(1, sizeof(*client));

	*socket_context = client;
	if (!client)
		return; /* its requests will be refused */
	*client = (struct client){ .next = http->clients, .place = &http->clients, .http = http, .connection = connection,
		                   .fd = info->connect_fd, .inode = socket_inode(info->connect_fd), .since_ns = kernel_clock_ns(CLOCK_MONOTONIC) };
	if (client->next)
		client->next->place = &client->next;
	http->clients = client;
}

static void remove_client(struct client *client)
{
	*client->place = client->next;
	if (client->next)
		client->next->place = client->place;
	free(client);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
	struct http *http = context;

	pace_point(); /* connections that come and go are long work, too, and may never ask for anything */
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		http->client_count++;
		add_client(http, connection, socket_context);
		return;
	}
	http->client_count--;
	/* Told before libmicrohttpd closes it: afterwards the number could already be the program's. */
	http->host->descriptor_closed(MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
	if (*socket_context)
		remove_client(*socket_context);
}

/* Closes the connection that has been idle for longest, so that somebody else gets its place. libmicrohttpd finds it at
 * its end and cleans up. */
static void evict_idle(struct http *http)
{
	struct client *oldest = NULL;

	for (struct client *client = http->clients; client; client = client->next)
		if (!client->exchange && !client->is_hung_up && (!oldest || client->since_ns < oldest->since_ns))
			oldest = client;
	if (!oldest || kernel_clock_ns(CLOCK_MONOTONIC) - oldest->since_ns <= seconds_ns(EVICTABLE_SECONDS))
		return;
	host_count(http->host, SEG_COUNTER_HTTP_BUSY, 1);
	shutdown(oldest->fd, SHUT_RDWR);
	oldest->is_hung_up = true;
}

static bool is_somebody_waiting(const struct http *http)
{
	struct pollfd poll_fd = { .fd = http->listener.fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

static void accept_one(struct http *http, int fd, const struct sockaddr_storage *peer, socklen_t bytes)
{
	http->host->descriptor_opened(fd);
	if (MHD_add_connection(http->daemon, fd, (const struct sockaddr *)peer, bytes) == MHD_YES)
		return;
	/* libmicrohttpd closed it: no memory. Nothing could have taken the number meanwhile but ourselves. */
	http->host->descriptor_closed(fd);
}

static void accept_all(struct http *http)
{
	struct sockaddr_storage peer = { 0 };

	while (http->client_count < CLIENTS_MAX) {
		socklen_t bytes = sizeof(peer);
		int fd = accept4(http->listener.fd, (struct sockaddr *)&peer, &bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			accept_one(http, fd, &peer, bytes);
		} else if (errno != EINTR && errno != ECONNABORTED) {
			/* Left in the backlog it would wake us at once, again and again. */
			http->is_accept_paused = errno != EAGAIN;
			return;
		}
	}
	if (is_somebody_waiting(http))
		evict_idle(http);
}

/* The client hung up, or closed its sending side, which a client that still waits for an answer hardly ever does. */
static bool has_hung_up(const struct client *client)
{
	struct pollfd poll_fd = { .fd = client->fd, .events = POLLRDHUP };

	return poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

static void resume(struct client *client, uint64_t now)
{
	client->exchange->is_waiting = client->exchange->is_in_line = false;
	client->since_ns = now;
	MHD_resume_connection(client->connection);
}

static void watch_waiter(struct client *client, uint64_t now)
{
	struct exchange *exchange = client->exchange;

	exchange->is_gone = has_hung_up(client);
	if (exchange->is_gone || (!exchange->is_in_line && now >= exchange->due_ns))
		resume(client, now);
}

/* Whoever has been in line for longest is the one of this turn. */
static void call_next(struct http *http)
{
	struct client *next = NULL;
	unsigned count = 0;

	for (struct client *client = http->clients; client; client = client->next) {
		const struct exchange *exchange = client->exchange;
		if (!exchange || !exchange->is_in_line)
			continue;
		if (!count++ || exchange->due_ns < next->exchange->due_ns)
			next = client;
	}
	http->is_turn_taken = false;
	http->has_line = count > 0;
	if (!next)
		return;
	next->exchange->has_turn = true;
	resume(next, kernel_clock_ns(CLOCK_MONOTONIC));
}

static unsigned patience_seconds(const struct client *client)
{
	if (client->exchange)
		return ANSWER_SECONDS;
	return client->has_asked ? REQUEST_SECONDS : FIRST_SECONDS;
}

/* libmicrohttpd finds the connection at its end and cleans up. Between answers nothing else is on its way on it, so who is
 * still asking can be told why. */
static void hang_up(struct http *http, struct client *client)
{
	static const char text[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
	                           "Content-Length: 29\r\n\r\nThe request came too slowly.\n";

	if (!client->exchange)
		send(client->fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	host_count(http->host, SEG_COUNTER_HTTP_SLOW, 1);
	shutdown(client->fd, SHUT_RDWR);
	client->is_hung_up = true;
}

/* Who closes together with a request is answered, but libmicrohttpd misses that nothing more can come. */
static bool is_over(const struct client *client, uint64_t now)
{
	return !client->exchange && now - client->since_ns > seconds_ns(EVICTABLE_SECONDS) && has_hung_up(client);
}

static void watch_clients(struct http *http)
{
	uint64_t now = kernel_clock_ns(CLOCK_MONOTONIC);

	for (struct client *client = http->clients; client; client = client->next) {
		if (client->exchange && client->exchange->is_waiting)
			watch_waiter(client, now);
		else if (is_over(client, now))
			shutdown(client->fd, SHUT_RDWR);
		else if (!client->is_hung_up && now - client->since_ns > seconds_ns(patience_seconds(client)))
			hang_up(http, client);
	}
}

/* --- life */

static void on_panic(void *context, const char *file, unsigned line, const char *reason)
{
	(void)context, (void)file, (void)line, (void)reason;
	if (running && running->is_inside)
		longjmp(running->panic, 1);
	/* The program itself uses libmicrohttpd and one of its own threads is here. The library cannot go on, and its
	 * default, which we displaced, is this. */
	abort();
}

/* "Error processing request (HTTP response code is 431 (`...')). ..." is what libmicrohttpd logs of what it answers by
 * itself; other lines, and other languages, tell of no status. */
static void on_log(void *context, const char *format, va_list arguments)
{
	static const char mark[] = "response code is ";
	struct http *http = context;
	char line[256];

	vsnprintf(line, sizeof(line), format, arguments);
	const char *found = strstr(line, mark);
	switch (found ? atoi(found + sizeof(mark) - 1) : 0) {
	case 0:
		break;
	case MHD_HTTP_URI_TOO_LONG:
	case MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE:
		host_count(http->host, SEG_COUNTER_HTTP_HEAD, 1);
		break;
	case MHD_HTTP_CONTENT_TOO_LARGE:
		host_count(http->host, SEG_COUNTER_HTTP_BODY, 1);
		break;
	default:
		host_count(http->host, SEG_COUNTER_HTTP_MALFORMED, 1);
	}
}

static int start_daemon(struct http *http)
{
	MHD_set_panic_func(on_panic, NULL);
	http->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
	                                NULL, NULL, on_request, http,
	                                MHD_OPTION_EXTERNAL_LOGGER, on_log, http,
	                                MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
	                                MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
	                                MHD_OPTION_CONNECTION_LIMIT, (unsigned)CLIENTS_MAX,
	                                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES_MAX,
	                                MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)STALL_SECONDS,
	                                MHD_OPTION_END);
	if (!http->daemon)
		return -ENOMEM;
	http->epoll_fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	http->host->descriptor_opened(http->epoll_fd);
	return 0;
}

/* Before its owner closes it, so that the number is never the program's and ours at once. */
static void forget_descriptor(struct http *http, int *fd)
{
	if (*fd >= 0)
		http->host->descriptor_closed(*fd);
	*fd = -1;
}

/* Sockets are told by their inodes, the epoll descriptor by what it says of a descriptor it does not hold. */
static bool is_epoll_ours(const struct http *http)
{
	return epoll_ctl(http->epoll_fd, EPOLL_CTL_DEL, http->listener.fd, NULL) < 0 && errno == ENOENT;
}

static bool are_descriptors_ours(const struct http *http)
{
	if (!listener_is_ours(&http->listener))
		return false;
	for (const struct client *client = http->clients; client; client = client->next)
		if (socket_inode(client->fd) != client->inode)
			return false;
	return is_epoll_ours(http);
}

/* 0; 1: no address; -ENOMEM. */
static int open_all(struct http *http)
{
	if (!listener_open(&http->listener, http->host))
		return 1;
	const struct address *address = &http->listener.address;
	http->rules.token = http->token[0] ? http->token : NULL;
	http->rules.is_private = address->is_private;
	http->rules.checks_host = address->is_private && address->kind == ADDRESS_INET;
	int result = start_daemon(http);
	if (result)
		listener_close(&http->listener, http->host);
	return result;
}

int http_new(struct http **ret_http, const struct exporter_host *host, struct reading *reading)
{
	struct http *http = calloc(1, sizeof(*http));
	const struct seg_config *config = &reading->seg.head->config;

	*ret_http = NULL;
	if (!http)
		return -ENOMEM;
	*http = (struct http){ .host = host, .reading = reading, .rules = { .config = config } };
	http->listener.fd = http->epoll_fd = -1;
	snprintf(http->token, sizeof(http->token), "%.*s", SEG_TEXT_BYTES - 1, config->token);
	int result = open_all(http);
	if (result)
		free(http);
	else
		*ret_http = http;
	return result < 0 ? result : 0;
}

/* Forgets a descriptor, and closes it if it is still ours. */
static void drop_descriptor(struct http *http, int *fd, bool is_ours)
{
	int number = *fd;

	forget_descriptor(http, fd);
	if (is_ours && number >= 0)
		close(number);
}

/* Gives up daemon, connections and descriptors without touching what may be somebody else's by now. What libmicrohttpd
 * allocated is never freed, LOSSES_MAX + 1 times at most; it stays reachable, so that leak checkers know it is meant. */
static void abandon(struct http *http)
{
	static struct MHD_Daemon *abandoned[LOSSES_MAX + 1] __attribute__((unused)); /* written only */
	static unsigned abandoned_count;

	abandoned[abandoned_count++ % (LOSSES_MAX + 1)] = http->daemon;
	http->daemon = NULL;
	drop_descriptor(http, &http->epoll_fd, is_epoll_ours(http));
	listener_close(&http->listener, http->host);
	while (http->clients) {
		struct client *client = http->clients;
		drop_descriptor(http, &client->fd, socket_inode(client->fd) == client->inode);
		free_exchange(http, client->exchange);
		remove_client(client);
	}
	http->client_count = 0;
}

/* Our descriptors were closed by the program. */
static void recover(struct http *http)
{
	abandon(http);
	if (http->loss_count++ == LOSSES_MAX) {
		host_say(http->host, SEG_LOG_WARN, "the program keeps closing descriptors that are not its own; HTTP is off from now on");
		return;
	}
	host_say(http->host, SEG_LOG_INFO, "the program closed descriptors that are not its own; opening them again");
	if (open_all(http) < 0)
		host_say(http->host, SEG_LOG_WARN, "no memory to serve again; HTTP is off from now on");
}

unsigned http_poll(struct http *http, struct pollfd ret_fds[static HTTP_POLL_FDS], int limit_ms, int *ret_timeout_ms)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;
	bool is_full = http->client_count >= CLIENTS_MAX || http->is_accept_paused;

	*ret_timeout_ms = limit_ms;
	if (!http->daemon)
		return 0;
	if (http->has_line)
		*ret_timeout_ms = 0;
	else if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES && timeout_ms < (unsigned)limit_ms)
		*ret_timeout_ms = (int)timeout_ms;
	ret_fds[0] = (struct pollfd){ .fd = http->epoll_fd, .events = POLLIN };
	ret_fds[1] = (struct pollfd){ .fd = http->listener.fd, .events = POLLIN };
	http->is_accept_paused = false;
	return is_full ? 1 : 2;
}

/* True: libmicrohttpd panicked. */
static bool run_daemon(struct http *http)
{
	running = http;
	if (setjmp(http->panic)) {
		http->is_inside = false;
		return true;
	}
	http->is_inside = true;
	accept_all(http);
	watch_clients(http);
	call_next(http);
	MHD_run(http->daemon);
	http->is_inside = false;
	return false;
}

void http_turn(struct http *http)
{
	if (http->daemon && (!are_descriptors_ours(http) || run_daemon(http)))
		recover(http);
}

/* Lets go of those who wait: libmicrohttpd may not be stopped before. */
static void resume_waiters(struct http *http)
{
	for (struct client *client = http->clients; client; client = client->next) {
		if (!client->exchange || !client->exchange->is_waiting)
			continue;
		client->exchange->is_gone = true;
		resume(client, kernel_clock_ns(CLOCK_MONOTONIC));
	}
}

static void stop_daemon(struct http *http)
{
	running = http;
	if (setjmp(http->panic)) {
		http->is_inside = false;
		abandon(http);
		return;
	}
	http->is_inside = true;
	listener_close(&http->listener, http->host);
	resume_waiters(http);
	MHD_run(http->daemon);
	forget_descriptor(http, &http->epoll_fd);
	MHD_stop_daemon(http->daemon);
	http->is_inside = false;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	if (http->daemon && are_descriptors_ours(http))
		stop_daemon(http);
	else if (http->daemon)
		abandon(http);
	running = NULL;
	free(http);
}
