/* ratio_server - four endpoints whose CPU costs stand 10 to 1 and 1 to 1, in the shapes that servers have.
 *
 *     ratio_server SHAPE PORT THREADS UNIT_US [UPSTREAM_PORT]
 *
 * GET /light burns one unit on average, /heavy ten, /left and /right five each; anything else is 404. Each burns in a
 * function of its own, a length that varies from request to request (half to one and a half times its mean), so that no
 * clock tick can fall into step with it. SHAPE:
 *
 *     threads     a thread for each connection, blocking calls
 *     loops       THREADS event loops, connections dealt out to them in turn; pipelined requests are answered one by one
 *     acceptor    one thread waits for events and hands the descriptors to THREADS workers, which receive and answer
 *                 (a mutex and a condition variable)
 *     workers     one thread receives and hands the requests to THREADS workers, which answer (a mutex and a semaphore)
 *     eventfd     the same over an eventfd
 *     spawn       one thread receives and makes a thread for each request, which answers
 *     helpers     as threads; each request is burnt by a thread that is made for it and joined
 *     returned    as workers, but the results go back to the first thread, which answers: the workers touch no socket
 *
 * With UPSTREAM_PORT each request asks a server there in its middle, on a connection that its thread keeps open, and waits
 * for the answer with poll(). Prints "ready" once it listens. On SIGTERM it prints what each endpoint really cost, by the
 * CPU clocks of the threads that worked for it, from the return of the receiving call (or from when it was taken from the
 * queue) to the return of the sending one:
 *     light REQUESTS CPU_NS
 */
#include "burn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, THREADS_MAX = 16, EVENTS = 64, LIGHT_UNITS = 1, HEAVY_UNITS = 10, LEFT_UNITS = 5, RIGHT_UNITS = 5 };

struct endpoint {
	const char *name;
	void (*serve)(uint64_t mean_steps);
	uint64_t units;
	_Atomic uint64_t requests, cpu_ns;
};

struct connection {
	int fd;
	size_t used;
	char head[HEAD_BYTES];
};

/* A request on its way through a queue. */
struct job {
	struct job *next;
	struct connection *connection;
	struct endpoint *endpoint; /* NULL: the connection is readable, or 404 */
};

static uint64_t unit_steps;
static uint16_t upstream_port;

static void die(const char *what)
{
	fprintf(stderr, "ratio_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- what costs --- */

/* Marsaglia's xorshift; its seed is the thread's own. */
static uint64_t vary(uint64_t mean_steps)
{
	static __thread uint64_t state;

	if (!state)
		state = burn_clock_ns() | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return mean_steps / 2 + state % (mean_steps + 1);
}

static __attribute__((noinline)) void burn_light(uint64_t mean_steps)
{
	burn(vary(mean_steps));
}

static __attribute__((noinline)) void burn_heavy(uint64_t mean_steps)
{
	burn(vary(mean_steps));
}

static __attribute__((noinline)) void burn_left(uint64_t mean_steps)
{
	burn(vary(mean_steps));
}

static __attribute__((noinline)) void burn_right(uint64_t mean_steps)
{
	burn(vary(mean_steps));
}

static struct endpoint endpoints[] = {
	{ .name = "light", .serve = burn_light, .units = LIGHT_UNITS },
	{ .name = "heavy", .serve = burn_heavy, .units = HEAVY_UNITS },
	{ .name = "left", .serve = burn_left, .units = LEFT_UNITS },
	{ .name = "right", .serve = burn_right, .units = RIGHT_UNITS },
};

enum { ENDPOINTS = sizeof(endpoints) / sizeof(endpoints[0]) };

static void account(struct endpoint *endpoint, uint64_t began_ns, bool is_whole)
{
	if (!endpoint)
		return;
	atomic_fetch_add_explicit(&endpoint->requests, is_whole, memory_order_relaxed);
	atomic_fetch_add_explicit(&endpoint->cpu_ns, burn_clock_ns() - began_ns, memory_order_relaxed);
}

/* --- sockets --- */

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

static int connect_upstream(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(upstream_port),
	                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die("upstream");
	return fd;
}

/* Asks upstream and waits for the answer, which comes in one piece: it is small and made at once. */
static void ask_upstream(void)
{
	static const char question[] = "GET /upstream HTTP/1.1\r\nHost: upstream\r\n\r\n";
	static __thread int fd = -1;
	char answer[512];

	if (fd < 0)
		fd = connect_upstream();
	send_all(fd, question, sizeof(question) - 1);
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	if (poll(&pollfd, 1, -1) != 1 || recv(fd, answer, sizeof(answer), 0) <= 0)
		die("upstream's answer");
}

static void compute(struct endpoint *endpoint)
{
	if (!upstream_port) {
		endpoint->serve(endpoint->units * unit_steps);
		return;
	}
	endpoint->serve(endpoint->units * unit_steps / 2);
	ask_upstream();
	endpoint->serve(endpoint->units * unit_steps / 2);
}

static void answer(int fd, const struct endpoint *endpoint)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	static const char missing[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

	if (endpoint)
		send_all(fd, ok, sizeof(ok) - 1);
	else
		send_all(fd, missing, sizeof(missing) - 1);
}

static void *helper_thread(void *argument)
{
	struct endpoint *endpoint = argument;
	uint64_t began_ns = burn_clock_ns();

	compute(endpoint);
	account(endpoint, began_ns, false);
	return NULL;
}

static bool has_helpers;

static void serve(int fd, struct endpoint *endpoint)
{
	pthread_t helper;

	if (endpoint && has_helpers) {
		errno = pthread_create(&helper, NULL, helper_thread, endpoint);
		if (errno)
			die("pthread_create");
		pthread_join(helper, NULL);
	} else if (endpoint) {
		compute(endpoint);
	}
	answer(fd, endpoint);
}

static struct endpoint *endpoint_of(const char *head)
{
	for (int i = 0; i < ENDPOINTS; i++) {
		size_t n = strlen(endpoints[i].name);
		if (strncmp(head, "GET /", 5) == 0 && strncmp(head + 5, endpoints[i].name, n) == 0 && head[5 + n] == ' ')
			return &endpoints[i];
	}
	return NULL;
}

enum read_result { READ_SOME, READ_NOTHING, READ_OVER };

static enum read_result read_more(struct connection *connection)
{
	ssize_t got = recv(connection->fd, connection->head + connection->used, HEAD_BYTES - 1 - connection->used, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return READ_NOTHING;
	if (got <= 0)
		return READ_OVER;
	connection->used += (size_t)got;
	connection->head[connection->used] = '\0';
	return READ_SOME;
}

/* Takes the first request out of what was received. False: there is none yet. */
static bool take_request(struct connection *connection, struct endpoint **ret_endpoint)
{
	char *end = strstr(connection->head, "\r\n\r\n");

	if (!end)
		return false;
	*ret_endpoint = endpoint_of(connection->head);
	end += 4;
	connection->used -= (size_t)(end - connection->head);
	memmove(connection->head, end, connection->used + 1);
	return true;
}

/* Receives once and answers what is complete. False: the connection is over. */
static bool connection_step(struct connection *connection)
{
	struct endpoint *endpoint;
	enum read_result result = read_more(connection);
	uint64_t began_ns = burn_clock_ns();

	if (result != READ_SOME)
		return result == READ_NOTHING;
	while (take_request(connection, &endpoint)) {
		serve(connection->fd, endpoint);
		account(endpoint, began_ns, true);
		began_ns = burn_clock_ns();
	}
	return connection->used < HEAD_BYTES - 1;
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
	close(connection->fd); /* takes it out of the epoll set, too */
	free(connection);
}

/* --- queues --- */

struct queue {
	pthread_mutex_t mutex;
	struct job *oldest, **end;
	pthread_cond_t condition;
	sem_t semaphore;
	int event; /* -1 = none */
	enum { BY_CONDITION, BY_SEMAPHORE, BY_EVENTFD } by;
};

static struct queue queue, results;

static void queue_init(struct queue *made, int by)
{
	pthread_mutex_init(&made->mutex, NULL);
	pthread_cond_init(&made->condition, NULL);
	sem_init(&made->semaphore, 0, 0);
	made->event = by == BY_EVENTFD ? eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC) : -1;
	made->end = &made->oldest;
	made->by = by;
}

static void queue_put(struct queue *to, struct connection *connection, struct endpoint *endpoint)
{
	static const uint64_t one = 1;
	struct job *job = malloc(sizeof(*job));

	if (!job)
		die("malloc");
	*job = (struct job){ .connection = connection, .endpoint = endpoint };
	pthread_mutex_lock(&to->mutex);
	*to->end = job;
	to->end = &job->next;
	if (to->by == BY_CONDITION)
		pthread_cond_signal(&to->condition);
	pthread_mutex_unlock(&to->mutex);
	if (to->by == BY_SEMAPHORE)
		sem_post(&to->semaphore);
	if (to->by == BY_EVENTFD && write(to->event, &one, sizeof(one)) < 0)
		die("eventfd");
}

/* Waits until there is one. */
static struct job queue_take(struct queue *from)
{
	uint64_t count;

	if (from->by == BY_SEMAPHORE)
		while (sem_wait(&from->semaphore))
			;
	if (from->by == BY_EVENTFD && read(from->event, &count, sizeof(count)) < 0)
		die("eventfd");
	pthread_mutex_lock(&from->mutex);
	while (!from->oldest)
		pthread_cond_wait(&from->condition, &from->mutex);
	struct job *job = from->oldest, taken = *job;
	from->oldest = job->next;
	if (!from->oldest)
		from->end = &from->oldest;
	pthread_mutex_unlock(&from->mutex);
	free(job);
	return taken;
}

/* --- threads --- */

static void start_thread(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, argument);
	if (errno)
		die("pthread_create");
	pthread_detach(thread);
}

static int epoll_new(void)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		die("epoll_create1");
	return epoll;
}

static void epoll_set(int epoll, int operation, uint32_t events, struct connection *connection)
{
	struct epoll_event event = { .events = events, .data.ptr = connection };

	if (epoll_ctl(epoll, operation, connection->fd, &event))
		die("epoll_ctl");
}

/* For ever: waits for events, and does this with each connection that has one. */
static void run_loop(int epoll, void (*handle)(int epoll, struct connection *connection))
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(epoll, events, EVENTS, -1);

		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++)
			handle(epoll, events[i].data.ptr);
	}
}

static void *connection_thread(void *argument)
{
	struct connection *connection = argument;

	while (connection_step(connection))
		;
	connection_free(connection);
	return NULL;
}

static void serve_event(int epoll, struct connection *connection)
{
	(void)epoll;
	if (!connection_step(connection))
		connection_free(connection);
}

static void *serving_loop(void *argument)
{
	run_loop(*(int *)argument, serve_event);
	return NULL;
}

/* acceptor: an event is reported once, until the worker has answered and asks for the next. */
static int watched; /* the epoll set of the one loop */

static void hand_connection(int epoll, struct connection *connection)
{
	(void)epoll;
	queue_put(&queue, connection, NULL);
}

static void *connection_worker(void *argument)
{
	for (;;) {
		struct job job = queue_take(&queue);
		if (connection_step(job.connection))
			epoll_set(watched, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT, job.connection);
		else
			connection_free(job.connection);
	}
	return argument;
}

/* workers: the loop reads, and whoever takes the request answers it. The clients wait for each answer. */
static void *answering_worker(void *argument)
{
	for (;;) {
		struct job job = queue_take(&queue);
		uint64_t began_ns = burn_clock_ns();
		serve(job.connection->fd, job.endpoint);
		account(job.endpoint, began_ns, true);
	}
	return argument;
}

static void *returning_worker(void *argument)
{
	for (;;) {
		struct job job = queue_take(&queue);
		uint64_t began_ns = burn_clock_ns();
		if (job.endpoint)
			compute(job.endpoint);
		account(job.endpoint, began_ns, true);
		queue_put(&results, job.connection, job.endpoint);
	}
	return argument;
}

static void *job_thread(void *argument)
{
	struct job *job = argument;
	uint64_t began_ns = burn_clock_ns();

	serve(job->connection->fd, job->endpoint);
	account(job->endpoint, began_ns, true);
	free(job);
	return NULL;
}

static void spawn(struct connection *connection, struct endpoint *endpoint)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		die("malloc");
	*job = (struct job){ .connection = connection, .endpoint = endpoint };
	start_thread(job_thread, job);
}

static bool is_spawning;

static void read_and_hand(int epoll, struct connection *connection)
{
	struct endpoint *endpoint;

	(void)epoll;
	if (!connection) { /* a result */
		struct job job = queue_take(&results);
		answer(job.connection->fd, job.endpoint);
		return;
	}
	if (read_more(connection) == READ_OVER) {
		connection_free(connection);
		return;
	}
	while (take_request(connection, &endpoint))
		if (is_spawning)
			spawn(connection, endpoint);
		else
			queue_put(&queue, connection, endpoint);
}

/* --- shapes --- */

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

static int accept_next(int listener, int flags)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | flags);

		if (fd >= 0)
			return fd;
		if (errno != EINTR && errno != ECONNABORTED)
			die("accept4");
	}
}

static void accept_for_threads(int listener)
{
	for (;;)
		start_thread(connection_thread, connection_new(accept_next(listener, 0)));
}

static void accept_for_loops(int listener, int loops)
{
	static int epolls[THREADS_MAX];

	for (int i = 0; i < loops; i++) {
		epolls[i] = epoll_new();
		start_thread(serving_loop, &epolls[i]);
	}
	for (int turn = 0;; turn = (turn + 1) % loops)
		epoll_set(epolls[turn], EPOLL_CTL_ADD, EPOLLIN, connection_new(accept_next(listener, SOCK_NONBLOCK)));
}

struct watcher {
	void (*handle)(int epoll, struct connection *connection);
};

static void *watching_loop(void *argument)
{
	run_loop(watched, ((struct watcher *)argument)->handle);
	return NULL;
}

static void accept_for_workers(int listener, int workers, void *(*work)(void *), void (*handle)(int, struct connection *),
			       uint32_t flags)
{
	static struct watcher watcher;

	watcher.handle = handle;
	watched = epoll_new();
	if (results.event >= 0) {
		struct epoll_event event = { .events = EPOLLIN };
		if (epoll_ctl(watched, EPOLL_CTL_ADD, results.event, &event))
			die("epoll_ctl");
	}
	for (int i = 0; work && i < workers; i++)
		start_thread(work, NULL);
	start_thread(watching_loop, &watcher);
	for (;;)
		epoll_set(watched, EPOLL_CTL_ADD, EPOLLIN | flags, connection_new(accept_next(listener, SOCK_NONBLOCK)));
}

static void run_shape(const char *shape, int listener, int threads)
{
	queue_init(&results, BY_CONDITION);
	has_helpers = strcmp(shape, "helpers") == 0;
	is_spawning = strcmp(shape, "spawn") == 0;
	if (strcmp(shape, "threads") == 0 || has_helpers)
		accept_for_threads(listener);
	if (strcmp(shape, "loops") == 0)
		accept_for_loops(listener, threads);
	if (is_spawning)
		accept_for_workers(listener, 0, NULL, read_and_hand, 0);
	queue_init(&queue, strcmp(shape, "acceptor") == 0 ? BY_CONDITION : strcmp(shape, "eventfd") == 0 ? BY_EVENTFD : BY_SEMAPHORE);
	if (strcmp(shape, "acceptor") == 0)
		accept_for_workers(listener, threads, connection_worker, hand_connection, EPOLLONESHOT);
	if (strcmp(shape, "workers") == 0 || strcmp(shape, "eventfd") == 0)
		accept_for_workers(listener, threads, answering_worker, read_and_hand, 0);
	if (strcmp(shape, "returned") == 0) {
		queue_init(&results, BY_EVENTFD);
		accept_for_workers(listener, threads, returning_worker, read_and_hand, 0);
	}
	fprintf(stderr, "ratio_server: there is no shape \"%s\"\n", shape);
	exit(2);
}

/* Waits for SIGTERM, which every other thread blocks. */
static void *end_thread(void *argument)
{
	int number;

	sigwait(argument, &number);
	for (int i = 0; i < ENDPOINTS; i++)
		printf("%s %llu %llu\n", endpoints[i].name, (unsigned long long)atomic_load(&endpoints[i].requests),
		       (unsigned long long)atomic_load(&endpoints[i].cpu_ns));
	exit(0);
}

int main(int argc, char **argv)
{
	static sigset_t end;
	int threads;

	if (argc < 5 || argc > 6) {
		fprintf(stderr, "usage: ratio_server SHAPE PORT THREADS UNIT_US [UPSTREAM_PORT]\n");
		return 2;
	}
	threads = atoi(argv[3]);
	if (threads < 1 || threads > THREADS_MAX) {
		fprintf(stderr, "ratio_server: THREADS is 1 to %d\n", THREADS_MAX);
		return 2;
	}
	unit_steps = strtoull(argv[4], NULL, 10) * burn_steps_per_us();
	upstream_port = argc > 5 ? (uint16_t)atoi(argv[5]) : 0;
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &end, NULL);
	start_thread(end_thread, &end);
	int listener = listen_on((uint16_t)atoi(argv[2]));
	printf("ready\n");
	fflush(stdout);
	run_shape(argv[1], listener, threads);
}
