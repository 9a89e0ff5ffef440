/* One thread and no waiting: the caller polls what http_poll names, and http_turn goes as far with each client as that goes.
 *
 * A connection is a struct client. What it asks for is its exchange, from the end of the request's head to the last byte of the
 * answer: it reads a body (to throw it away), is ready, perhaps waits or stands in line, and is sent. Of each connection one
 * request a turn is looked at, and one a turn is answered of those that take time.
 *
 * Limits (an exporter serves a few scrapers and people, all trusted to read but not to be gentle): CLIENTS_MAX connections; when
 * all are taken and somebody waits, the one that has been idle, or has been dribbling its request, for longest is closed.
 * Connections on which nothing moves are closed, and so are requests that take for ever to arrive, and answers that take for
 * ever to be read. Answers that wait to be read take ANSWERS_BYTES_MAX and one more at most. A body is read only if it says
 * that it is small.
 *
 * Whatever is refused is counted by reason.
 */
#include "http.h"

#include "gzip.h"
#include "host.h"
#include "listener.h"
#include "message.h"
#include "negotiate.h"

#include "../pace.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	CLIENTS_MAX = 64,
	WAITERS_MAX = 16,            /* requests with seconds=N at once: each holds a snapshot */
	HEAD_BYTES_MAX = 16384,      /* request line and headers */
	HEAD_BYTES_MOST = 1000,      /* that nearly every head fits into: a piece of memory.c that takes no page of its own */
	FIRST_SECONDS = 10,          /* from the connection to the end of its first request's head */
	STALL_SECONDS = 20,          /* nothing moved on the connection */
	REQUEST_SECONDS = 30,        /* from the end of an answer to the end of the next request's head */
	ANSWER_SECONDS = 120,        /* from the end of the head to the last byte of the answer, waiting not counted */
	LINGER_SECONDS = 2,          /* for who still sends, to read why that is in vain */
	LINGER_BYTES = 1 << 16,
	EVICTABLE_SECONDS = 1,       /* idle for less is no idleness, just a client between two requests */
	PLAIN_BYTES_MAX = 512,       /* an answer that fits into one packet anyway is not worth compressing */
	BODY_BYTES_MAX = 4096,       /* of a request: none is wanted, but a form or an empty object does no harm */
	ANSWERS_BYTES_MAX = 32 << 20, /* held for clients that have not read them yet */
	LOSSES_MAX = 3,              /* times that we begin anew after our descriptors were closed */
};

enum stage { STAGE_BODY, STAGE_READY, STAGE_WAITING, STAGE_SENDING };

struct exchange {
	enum stage stage;
	struct message message;      /* borrows from the client's bytes */
	struct route route;
	size_t asked_bytes;          /* of the client's bytes that are this request's */
	uint64_t body_left;          /* bytes that are still to come */
	bool is_last;                /* the connection is closed afterwards */
	bool is_in_line;             /* ready, but waits for its turn to be answered */
	bool has_turn;
	uint64_t due_ns;             /* when it is ready, or stood in line */
	struct snapshot *earlier;    /* of a request with seconds=N; owned */
	struct strbuf head;          /* of the answer */
	char *body;                  /* owned; NULL = none */
	size_t body_bytes, sent_bytes; /* of the latter the head is a part */
};

struct client {
	struct client *next, **place; /* in http->clients; place points at whatever points here */
	int fd;
	ino_t inode;                 /* of the socket that fd is, to notice that its number means something else */
	unsigned polled;             /* which of http->fds it has; 0 = none, it came just now */
	uint64_t since_ns;           /* when it began to be idle, or, with an exchange, to be answered */
	uint64_t moved_ns;           /* when bytes came or went */
	char *in;                    /* what it sent; NULL = nothing is kept */
	size_t in_bytes, in_room, in_seen; /* in_seen: without the end of a head */
	size_t lingered_bytes;
	struct exchange *exchange;   /* NULL = between requests, or the head is still incomplete */
	bool has_asked;              /* the head of a request came in whole */
	bool is_lingering;           /* answered for the last time; what it still sends is thrown away */
};

struct http {
	const struct exporter_host *host;
	struct reading *reading;
	struct listener listener;
	char token[SEG_TEXT_BYTES];  /* as the session began: what the program writes over it later does not count */
	struct route_rules rules;
	struct client *clients, **clients_end; /* as they came; the end is where the next one is to be put */
	struct pollfd fds[1 + CLIENTS_MAX]; /* the listener's first */
	unsigned client_count, waiter_count, loss_count;
	size_t answer_bytes;         /* of all exchanges */
	uint64_t now_ns;             /* of this turn */
	bool is_turn_taken;          /* a request was answered that takes time, the next one has to wait for another turn */
	bool has_line;               /* somebody is in line */
	bool is_accept_paused;       /* accepting failed for want of descriptors or memory: until the next poll */
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t seconds_ns(uint64_t seconds)
{
	return seconds * 1000000000u;
}

/* --- the end of exchanges and connections */

static void free_exchange(struct http *http, struct client *client)
{
	struct exchange *exchange = client->exchange;

	if (!exchange)
		return;
	if (exchange->earlier) {
		snapshot_free(exchange->earlier);
		http->waiter_count--;
	}
	http->answer_bytes -= exchange->body_bytes;
	strbuf_free(&exchange->head);
	free(exchange->body);
	free(exchange);
	client->exchange = NULL;
}

/* Frees what there is of it in memory. */
static void forget_client(struct http *http, struct client *client)
{
	free_exchange(http, client);
	*client->place = client->next;
	*(client->next ? &client->next->place : &http->clients_end) = client->place;
	http->client_count--;
	free(client->in);
	free(client);
}

static void drop_client(struct http *http, struct client *client)
{
	int fd = client->fd;

	http->host->descriptor_closed(fd); /* before it is closed: afterwards the number could already be the program's */
	close(fd);
	forget_client(http, client);
}

/* Closed while there are bytes of the client's that nobody read, a connection takes the answer back (RFC 9112, 9.6). */
static void linger(struct http *http, struct client *client)
{
	free_exchange(http, client);
	free(client->in);
	client->in = NULL;
	client->in_bytes = client->in_seen = 0;
	shutdown(client->fd, SHUT_WR);
	client->is_lingering = true;
	client->since_ns = http->now_ns;
}

static void throw_away(struct http *http, struct client *client)
{
	char bytes[BODY_BYTES_MAX];
	ssize_t n = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	client->lingered_bytes += n > 0 ? (size_t)n : 0;
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR) || client->lingered_bytes > LINGER_BYTES)
		drop_client(http, client);
}

/* --- answering */

static const char *phrase_of(unsigned status)
{
	switch (status) {
	case 200: return "OK";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 421: return "Misdirected Request";
	case 431: return "Request Header Fields Too Large";
	case 503: return "Service Unavailable";
	case 505: return "HTTP Version Not Supported";
	}
	return "";
}

/* RFC 9110, 5.6.7. By hand: gmtime_r takes a lock of the C library's that the program's threads wait for. The calendar is
 * counted from the first of March of the year 0, so that the odd day is the last one of a year. */
static void add_date(struct strbuf *head)
{
	static const char days[][4] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
	static const char months[][4] = { "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb" };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t seconds = (uint64_t)now.tv_sec, day = seconds / 86400, since_march = day + 719468;
	uint64_t era = since_march / 146097, of_era = since_march % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
	strbuf_printf(head, "Date: %s, %02u %s %04u %02u:%02u:%02u GMT\r\n", days[day % 7],
	              (unsigned)(of_year - (153 * month + 2) / 5 + 1), months[month], (unsigned)(era * 400 + year + (month >= 10)),
	              (unsigned)(seconds / 3600 % 24), (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60));
}

static void add_head(struct exchange *exchange, const char *content_type, bool is_gzip)
{
	const struct route *route = &exchange->route;
	struct strbuf *head = &exchange->head;

	strbuf_printf(head, "HTTP/1.1 %u %s\r\n", route->status, phrase_of(route->status));
	add_date(head);
	strbuf_printf(head, "Content-Type: %s\r\nContent-Length: %zu\r\n", content_type, exchange->body_bytes);
	strbuf_add(head, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
	                 "Content-Security-Policy: frame-ancestors 'none'\r\n");
	if (route->view)
		strbuf_add(head, "Vary: Accept, Accept-Encoding\r\n");
	if (is_gzip)
		strbuf_add(head, "Content-Encoding: gzip\r\n");
	if (route->allow)
		strbuf_printf(head, "Allow: %s\r\n", route->allow);
	if (route->asks_token)
		strbuf_add(head, "WWW-Authenticate: Bearer realm=\"profshim\"\r\n");
	if (exchange->is_last)
		strbuf_add(head, "Connection: close\r\n");
	strbuf_add(head, "\r\n");
}

/* Takes over body, which may be NULL if there is none or no memory. */
static void queue(struct http *http, struct exchange *exchange, const char *content_type, char *body, size_t bytes, bool is_gzip)
{
	exchange->body = body;
	exchange->body_bytes = bytes;
	http->answer_bytes += bytes;
	add_head(exchange, content_type, is_gzip);
	if (bytes && !body)
		strbuf_fail(&exchange->head, -ENOMEM);
	exchange->stage = STAGE_SENDING;
}

static void queue_text(struct http *http, struct exchange *exchange)
{
	struct strbuf text = STRBUF_EMPTY;

	strbuf_add(&text, exchange->route.text);
	queue(http, exchange, "text/plain; charset=utf-8", text.text, strlen(exchange->route.text), false);
}

/* What route_request or route_refuse refused. */
static void queue_refusal(struct http *http, struct exchange *exchange)
{
	host_count(http->host, exchange->route.refused, 1);
	queue_text(http, exchange);
}

static void queue_busy(struct http *http, struct exchange *exchange, const char *sentence)
{
	route_refuse(&exchange->route, SEG_COUNTER_HTTP_BUSY, 503, sentence);
	queue_refusal(http, exchange);
}

static void queue_view(struct http *http, struct exchange *exchange, struct strbuf *text)
{
	const char *content_type = exchange->route.view->content_type(&exchange->route.params);
	size_t packed_bytes;
	char *packed = NULL;

	if (negotiate_gzip(exchange->message.request.accept_encoding) && text->length > PLAIN_BYTES_MAX)
		packed = gzip_compress(text->text, text->length, &packed_bytes);
	if (packed) {
		queue(http, exchange, content_type, packed, packed_bytes, true);
		return;
	}
	queue(http, exchange, content_type, text->text, text->length, false);
	*text = STRBUF_EMPTY; /* handed over */
}

static void render(struct http *http, struct exchange *exchange)
{
	struct route *route = &exchange->route;
	struct strbuf text = STRBUF_EMPTY;
	char problem[VIEW_PROBLEM_BYTES];

	if (http->answer_bytes > ANSWERS_BYTES_MAX) {
		queue_busy(http, exchange, "Other clients have too much to read still; try again.");
		return;
	}
	switch (reading_render(http->reading, route->view, &route->params, exchange->earlier, &text, problem)) {
	case READING_OK:
		queue_view(http, exchange, &text);
		break;
	case READING_BAD_PARAMETER:
		route_refuse(route, SEG_COUNTER_HTTP_PARAMETER, 400, problem);
		queue_refusal(http, exchange);
		break;
	case READING_NO_MEMORY:
		queue_busy(http, exchange, "There is not enough memory for this answer.");
		break;
	}
	strbuf_free(&text);
}

/* Begins the wait of a request with seconds=N. */
static void begin_wait(struct http *http, struct exchange *exchange)
{
	if (http->waiter_count >= WAITERS_MAX) {
		queue_busy(http, exchange, "Too many requests with seconds= are waiting already.");
		return;
	}
	exchange->earlier = reading_snapshot(http->reading);
	if (!exchange->earlier) {
		queue_busy(http, exchange, "There is not enough memory for this answer.");
		return;
	}
	http->waiter_count++;
	exchange->due_ns = http->now_ns + seconds_ns(exchange->route.params.seconds);
	exchange->stage = STAGE_WAITING;
}

/* What takes more than a moment is done for one client a turn, in the order in which they asked: so the loop's housekeeping
 * goes on in between, and what clients cost is looked at after each. False: not yet. */
static bool is_its_turn(struct http *http, struct exchange *exchange)
{
	if (exchange->has_turn || (!http->has_line && !http->is_turn_taken)) {
		exchange->has_turn = exchange->is_in_line = false;
		http->is_turn_taken = true;
		return true;
	}
	if (!exchange->is_in_line)
		exchange->due_ns = clock_ns();
	http->has_line = exchange->is_in_line = true;
	return false;
}

static void answer(struct http *http, struct exchange *exchange)
{
	struct route *route = &exchange->route;

	if (route->status != 200) {
		queue_refusal(http, exchange);
		return;
	}
	if ((route->control || route->view) && !is_its_turn(http, exchange))
		return;
	if (route->control)
		control_do(route->control, route->hz, &http->host->seg, route->text);
	if (route->view && route->params.seconds && !exchange->earlier)
		begin_wait(http, exchange);
	else if (route->view)
		render(http, exchange);
	else if (route->is_ready_check && !atomic_load_explicit(&http->reading->seg.head->ready, memory_order_acquire))
		queue_busy(http, exchange, "The session cannot be read.");
	else
		queue_text(http, exchange);
}

/* --- asking */

/* Room for more of a head. False: no memory. */
static bool has_room(struct client *client)
{
	if (client->in_bytes < client->in_room)
		return true;
	size_t room = client->in_room ? HEAD_BYTES_MAX : HEAD_BYTES_MOST;
	char *in = realloc(client->in, room);
	if (in) {
		client->in = in;
		client->in_room = room;
	}
	return in != NULL;
}

/* False: the connection is over. */
static bool receive(struct http *http, struct client *client)
{
	if (!has_room(client))
		return false;
	ssize_t n = recv(client->fd, client->in + client->in_bytes, client->in_room - client->in_bytes, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	client->in_bytes += (size_t)n;
	client->moved_ns = http->now_ns;
	return true;
}

static void forget_bytes(struct client *client, size_t bytes)
{
	client->in_bytes -= bytes;
	client->in_seen = 0;
	memmove(client->in, client->in + bytes, client->in_bytes);
	if (client->in_bytes)
		return;
	free(client->in);
	client->in = NULL;
	client->in_room = 0;
}

/* Before a request there may be empty lines (RFC 9112, 2.2). */
static void skip_empty_lines(struct client *client)
{
	size_t bytes = 0;

	while (bytes < client->in_bytes && (client->in[bytes] == '\r' || client->in[bytes] == '\n'))
		bytes++;
	if (bytes)
		forget_bytes(client, bytes);
}

static bool begin_exchange(struct client *client, uint64_t now_ns)
{
	client->exchange = calloc(1, sizeof(*client->exchange));
	client->has_asked = true;
	client->since_ns = now_ns;
	return client->exchange != NULL;
}

/* What cannot be understood: after that nothing on the connection can. */
static void refuse_head(struct http *http, struct exchange *exchange, enum seg_counter reason, unsigned status, const char *sentence)
{
	route_refuse(&exchange->route, reason, status, sentence);
	exchange->is_last = true;
	exchange->stage = STAGE_READY;
	queue_refusal(http, exchange);
}

/* Who waits to be told is told, unless the body has come all the same. */
static void invite_body(const struct client *client, const struct exchange *exchange)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (exchange->message.expects_continue && exchange->body_left)
		send(client->fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A large body, as far as the head tells, is not waited for. */
static void take_request(struct http *http, struct client *client, size_t head_bytes)
{
	struct exchange *exchange = client->exchange;
	struct message *message = &exchange->message;

	message->request.has_large_body = message->is_coded || message->body_bytes > BODY_BYTES_MAX;
	route_request(&exchange->route, &http->rules, &message->request);
	exchange->is_last = !message->is_persistent || message->request.has_large_body;
	exchange->asked_bytes = head_bytes;
	exchange->stage = STAGE_READY;
	if (message->request.has_large_body || !message->body_bytes)
		return;
	size_t here = client->in_bytes - head_bytes;
	exchange->body_left = here < message->body_bytes ? message->body_bytes - here : 0;
	exchange->asked_bytes += message->body_bytes - exchange->body_left;
	exchange->stage = STAGE_BODY;
	invite_body(client, exchange);
}

/* The next request, if its head is there. False: no memory. */
static bool ask(struct http *http, struct client *client)
{
	skip_empty_lines(client);
	if (!client->in_bytes)
		return true;
	size_t bytes = message_head_bytes(client->in, client->in_bytes, client->in_seen);
	client->in_seen = client->in_bytes;
	if (!bytes && client->in_bytes < HEAD_BYTES_MAX)
		return true;
	if (!begin_exchange(client, http->now_ns))
		return false;
	struct exchange *exchange = client->exchange;
	if (!bytes) {
		bool has_line = memchr(client->in, '\n', client->in_bytes) != NULL;
		refuse_head(http, exchange, SEG_COUNTER_HTTP_HEAD, has_line ? 431 : 414, "The head of the request is too large.");
		return true;
	}
	switch (message_parse(&exchange->message, client->in, bytes)) {
	case MESSAGE_WHOLE:
		take_request(http, client, bytes);
		break;
	case MESSAGE_MALFORMED:
		refuse_head(http, exchange, SEG_COUNTER_HTTP_MALFORMED, 400, "This is no request of HTTP/1.1.");
		break;
	case MESSAGE_FOREIGN:
		refuse_head(http, exchange, SEG_COUNTER_HTTP_MALFORMED, 505, "Here HTTP/1.1 is spoken.");
		break;
	}
	return true;
}

/* False: the connection is over. */
static bool read_body(struct http *http, struct client *client)
{
	struct exchange *exchange = client->exchange;
	char bytes[BODY_BYTES_MAX];

	if (exchange->body_left) {
		ssize_t n = recv(client->fd, bytes, exchange->body_left, MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		exchange->body_left -= (size_t)n;
		client->moved_ns = http->now_ns;
	}
	if (!exchange->body_left)
		exchange->stage = STAGE_READY;
	return true;
}

/* --- sending */

/* What is left of head and body. Returns how many pieces. */
static int pieces_of(struct exchange *exchange, struct iovec ret_pieces[static 2])
{
	size_t sent = exchange->sent_bytes, head_bytes = exchange->head.length;
	bool has_body = exchange->body && !(exchange->message.request.method && !strcmp(exchange->message.request.method, "HEAD"));
	int count = 0;

	if (sent < head_bytes)
		ret_pieces[count++] = (struct iovec){ exchange->head.text + sent, head_bytes - sent };
	size_t of_body = sent > head_bytes ? sent - head_bytes : 0;
	if (has_body && of_body < exchange->body_bytes)
		ret_pieces[count++] = (struct iovec){ exchange->body + of_body, exchange->body_bytes - of_body };
	return count;
}

/* The answer was sent. False: the connection is over. */
static bool end_exchange(struct http *http, struct client *client)
{
	size_t asked_bytes = client->exchange->asked_bytes;
	bool is_last = client->exchange->is_last;
	bool has_unread = client->in_bytes > asked_bytes || client->exchange->message.request.has_large_body;

	client->since_ns = client->moved_ns = http->now_ns;
	if (!is_last) {
		free_exchange(http, client);
		forget_bytes(client, asked_bytes);
		return true;
	}
	if (has_unread)
		linger(http, client);
	return has_unread;
}

/* False: the connection is over. */
static bool send_answer(struct http *http, struct client *client)
{
	struct exchange *exchange = client->exchange;
	struct iovec pieces[2];
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = (size_t)pieces_of(exchange, pieces) };

	if (exchange->head.error)
		return false;
	ssize_t n = sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	exchange->sent_bytes += (size_t)n;
	client->moved_ns = http->now_ns;
	return pieces_of(exchange, pieces) || end_exchange(http, client);
}

/* --- connections */

static bool has_hung_up(short events)
{
	return events & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL);
}

/* It is us that it waits for. */
static bool is_patient(const struct exchange *exchange)
{
	return exchange->stage == STAGE_WAITING || exchange->is_in_line;
}

/* As far as it goes, but for what was asked behind the first request. events: what poll found. False: the connection is over. */
static bool serve_client(struct http *http, struct client *client, short events)
{
	if (!client->exchange && events && !receive(http, client))
		return false;
	if (!client->exchange && client->in_bytes > client->in_seen && !ask(http, client))
		return false;
	struct exchange *exchange = client->exchange;
	if (!exchange || (exchange->stage == STAGE_SENDING && !events))
		return true;
	if (exchange->stage == STAGE_BODY && !read_body(http, client))
		return false;
	if (is_patient(exchange)) {
		if (has_hung_up(events))
			return false;
		client->since_ns = client->moved_ns = http->now_ns;
	}
	if (exchange->stage == STAGE_WAITING && http->now_ns >= exchange->due_ns)
		exchange->stage = STAGE_READY;
	if (exchange->stage == STAGE_READY)
		answer(http, exchange);
	return exchange->stage != STAGE_SENDING || send_answer(http, client);
}

static unsigned patience_seconds(const struct client *client)
{
	if (client->is_lingering)
		return LINGER_SECONDS;
	if (client->exchange)
		return ANSWER_SECONDS;
	return client->has_asked ? REQUEST_SECONDS : FIRST_SECONDS;
}

static bool is_too_slow(const struct http *http, const struct client *client)
{
	if (client->exchange && is_patient(client->exchange))
		return false;
	return http->now_ns > client->since_ns + seconds_ns(patience_seconds(client)) ||
	       http->now_ns > client->moved_ns + seconds_ns(STALL_SECONDS);
}

/* Between answers nothing else is on its way, so who is still asking can be told why. Who only kept the connection is no
 * slow client. */
static void hang_up(struct http *http, struct client *client)
{
	static const char text[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
	                           "Content-Length: 29\r\n\r\nThe request came too slowly.\n";
	bool is_asking = !client->exchange && (client->in_bytes || !client->has_asked);

	if (is_asking)
		send(client->fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!client->is_lingering && (is_asking || client->exchange))
		host_count(http->host, SEG_COUNTER_HTTP_SLOW, 1);
	drop_client(http, client);
}

/* Whether the program has its way in between is for pace to say: many clients at once are long work, too. */
static void serve_clients(struct http *http)
{
	struct client *next;

	for (struct client *client = http->clients; client; client = next) {
		short events = client->polled ? http->fds[client->polled].revents : POLLIN;
		next = client->next;
		pace_point();
		if (client->is_lingering && events)
			throw_away(http, client);
		else if (is_too_slow(http, client))
			hang_up(http, client);
		else if (!client->is_lingering && !serve_client(http, client, events))
			drop_client(http, client);
	}
}

/* Closes the connection that has been idle for longest, so that somebody else gets its place. */
static void evict_idle(struct http *http)
{
	struct client *oldest = NULL;

	for (struct client *client = http->clients; client; client = client->next)
		if (!client->exchange && (!oldest || client->since_ns < oldest->since_ns))
			oldest = client;
	if (!oldest || http->now_ns <= oldest->since_ns + seconds_ns(EVICTABLE_SECONDS))
		return;
	host_count(http->host, SEG_COUNTER_HTTP_BUSY, 1);
	drop_client(http, oldest);
}

static bool is_somebody_waiting(const struct http *http)
{
	struct pollfd poll_fd = { .fd = http->listener.fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) > 0;
}

static void add_client(struct http *http, int fd)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return;
	}
	http->host->descriptor_opened(fd);
	*client = (struct client){ .place = http->clients_end, .fd = fd, .inode = socket_inode(fd), .since_ns = http->now_ns,
		                   .moved_ns = http->now_ns };
	*client->place = client;
	http->clients_end = &client->next;
	http->client_count++;
}

static void accept_all(struct http *http)
{
	while (http->client_count < CLIENTS_MAX) {
		int fd = accept4(http->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			add_client(http, fd);
			pace_point();
		} else if (errno != EINTR && errno != ECONNABORTED) {
			/* Left in the backlog it would wake us at once, again and again. */
			http->is_accept_paused = errno != EAGAIN;
			return;
		}
	}
	if (is_somebody_waiting(http))
		evict_idle(http);
}

/* Whoever has been in line for longest is the one of this turn. */
static void call_next(struct http *http)
{
	struct exchange *next = NULL;

	http->is_turn_taken = false;
	for (struct client *client = http->clients; client; client = client->next) {
		struct exchange *exchange = client->exchange;
		if (exchange && exchange->is_in_line && (!next || exchange->due_ns < next->due_ns))
			next = exchange;
	}
	http->has_line = next != NULL;
	if (next)
		next->has_turn = true;
}

/* --- life */

static bool are_descriptors_ours(const struct http *http)
{
	if (!listener_is_ours(&http->listener))
		return false;
	for (const struct client *client = http->clients; client; client = client->next)
		if (socket_inode(client->fd) != client->inode)
			return false;
	return true;
}

static bool open_listener(struct http *http)
{
	if (!listener_open(&http->listener, http->host))
		return false;
	const struct address *address = &http->listener.address;
	/* Connections inherit it: an answer's last packet does not wait until the others are acknowledged. */
	setsockopt(http->listener.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	http->rules.token = http->token[0] ? http->token : NULL;
	http->rules.is_private = address->is_private;
	http->rules.checks_host = address->is_private && address->kind == ADDRESS_INET;
	return true;
}

int http_new(struct http **ret_http, const struct exporter_host *host, struct reading *reading)
{
	struct http *http = calloc(1, sizeof(*http));
	const struct seg_config *config = &reading->seg.head->config;

	*ret_http = NULL;
	if (!http)
		return -ENOMEM;
	*http = (struct http){ .host = host, .reading = reading, .rules = { .config = config }, .clients_end = &http->clients };
	snprintf(http->token, sizeof(http->token), "%.*s", SEG_TEXT_BYTES - 1, config->token);
	if (open_listener(http))
		*ret_http = http;
	else
		free(http);
	return 0;
}

/* Closes all that is still ours, without touching what may be somebody else's by now. */
static void close_all(struct http *http)
{
	struct client *client;

	while ((client = http->clients)) {
		if (socket_inode(client->fd) == client->inode) {
			drop_client(http, client);
			continue;
		}
		http->host->descriptor_closed(client->fd);
		forget_client(http, client);
	}
	listener_close(&http->listener, http->host);
}

/* Our descriptors were closed by the program. */
static void recover(struct http *http)
{
	close_all(http);
	if (http->loss_count++ == LOSSES_MAX) {
		host_say(http->host, SEG_LOG_WARN, "the program keeps closing descriptors that are not its own; HTTP is off from now on");
		return;
	}
	host_say(http->host, SEG_LOG_INFO, "the program closed descriptors that are not its own; opening them again");
	open_listener(http);
}

static short events_for(const struct client *client)
{
	const struct exchange *exchange = client->exchange;

	if (!exchange || exchange->stage == STAGE_BODY)
		return POLLIN;
	return exchange->stage == STAGE_SENDING ? POLLOUT : POLLRDHUP;
}

struct pollfd *http_poll(struct http *http, unsigned *ret_count, int *timeout_ms)
{
	bool is_full = http->client_count >= CLIENTS_MAX || http->is_accept_paused, has_work = http->has_line;
	unsigned count = 0;

	if (http->listener.fd < 0) {
		*ret_count = 0;
		return NULL;
	}
	http->fds[count++] = (struct pollfd){ .fd = is_full ? -1 : http->listener.fd, .events = POLLIN }; /* -1: passed over, poll(2) */
	for (struct client *client = http->clients; client; client = client->next) {
		has_work |= !client->exchange && client->in_bytes > client->in_seen;
		client->polled = count;
		http->fds[count++] = (struct pollfd){ .fd = client->fd, .events = events_for(client) };
	}
	http->is_accept_paused = false;
	if (has_work)
		*timeout_ms = 0;
	*ret_count = count;
	return http->fds;
}

void http_turn(struct http *http)
{
	if (http->listener.fd < 0)
		return;
	if (!are_descriptors_ours(http)) {
		recover(http);
		return;
	}
	http->now_ns = clock_ns();
	accept_all(http);
	call_next(http);
	serve_clients(http);
}

void http_free(struct http *http)
{
	if (!http)
		return;
	close_all(http);
	free(http);
}
