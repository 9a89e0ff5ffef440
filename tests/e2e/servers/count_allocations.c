/* count_allocations - a little server and its client in one thread, which counts every allocation made while it works.
 *
 *     count_allocations ROUNDS
 *     count_allocations life ROUNDS
 *     count_allocations tls ROUNDS
 *
 * The program defines malloc and its kin itself, so that whatever is loaded into it calls these. It counts those of its
 * one working thread between the first and the last of ROUNDS rounds: connections are made, requests of one protocol after
 * the other sent, received and answered by several calls, descriptors duplicated and closed. None of that allocates by
 * itself, so that the count printed, "allocations N", is that of what was interposed. Burns some CPU, so that samples are
 * taken, too.
 *
 * By life threads are made and end, processes are forked, libraries opened and closed, and signals sent, ROUNDS times each; by
 * tls connections are made with OpenSSL and with GnuTLS (count_allocations_tls.c). For that the libraries do allocate, so it
 * prints how often all threads but profshim's own did, "threads N" and so on, to be compared with the same program's figures on
 * its own.
 */
#include "burn.h"
#include "count_allocations.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The allocator of glibc under the names that nobody interposes. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *old);

static __thread bool is_counting;
static __thread unsigned long allocations;
static _Atomic bool is_counting_life;
static _Atomic unsigned long life_allocations;

/* The thread that serves allocates as it likes; it is told by its name. */
static bool is_profshim(void)
{
	char name[16] = "";

	prctl(PR_GET_NAME, name);
	return !strcmp(name, "profshim");
}

static void count_allocation(void)
{
	if (is_counting)
		allocations++;
	if (atomic_load(&is_counting_life) && !is_profshim())
		atomic_fetch_add(&life_allocations, 1);
}

/* The project's objects hide their names; these are to be found by all that is loaded. */
#pragma GCC visibility push(default)

void *malloc(size_t bytes)
{
	count_allocation();
	return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	count_allocation();
	return __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
	count_allocation();
	return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes)
{
	count_allocation();
	return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
	void *memory = memalign(alignment, bytes);

	if (!memory)
		return ENOMEM;
	*ret_memory = memory;
	return 0;
}

/* Of nothing it is no work: the C library frees what a reused thread might have had in each module's memory. */
void free(void *old)
{
	if (old)
		count_allocation();
	__libc_free(old);
}

#pragma GCC visibility pop

void check(const char *what, bool is_well)
{
	if (is_well)
		return;
	is_counting = false;
	fprintf(stderr, "count_allocations: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static int listen_anywhere(struct sockaddr_in *ret_address)
{
	socklen_t bytes = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*ret_address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	check("listen", bind(fd, (struct sockaddr *)ret_address, bytes) == 0 && listen(fd, 16) == 0);
	getsockname(fd, (struct sockaddr *)ret_address, &bytes);
	return fd;
}

static void wait_readable(int epoll, int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };
	struct epoll_event event;

	check("epoll_wait", epoll_wait(epoll, &event, 1, 5000) == 1);
	check("poll", poll(&entry, 1, 5000) == 1);
}

struct bytes {
	const char *text;
	size_t n;
};

#define BYTES(literal) ((struct bytes){ literal, sizeof(literal) - 1 })

/* The client sides of one connection, and what waits for the server's. */
struct pair {
	int client;
	int server;
	int epoll;
};

static void answer(const struct pair *pair, struct bytes said)
{
	struct iovec rest = { .iov_base = (char *)(uintptr_t)said.text + 1, .iov_len = said.n - 1 };
	char buffer[512];

	check("send", send(pair->server, said.text, 1, 0) == 1);
	check("writev", writev(pair->server, &rest, 1) == (ssize_t)said.n - 1);
	check("recv", recv(pair->client, buffer, said.n, MSG_WAITALL) == (ssize_t)said.n);
}

/* The server takes what is asked in two pieces and answers by two calls; the client takes the answer. */
static void exchange(const struct pair *pair, struct bytes asked, struct bytes said)
{
	char buffer[512];

	check("write", write(pair->client, asked.text, asked.n) == (ssize_t)asked.n);
	wait_readable(pair->epoll, pair->server);
	check("recv", recv(pair->server, buffer, 3, 0) == 3);
	check("read", read(pair->server, buffer, sizeof(buffer)) == (ssize_t)asked.n - 3);
	burn(20000);
	answer(pair, said);
}

static void speak_redis(const struct pair *pair, unsigned number)
{
	(void)number;
	exchange(pair, BYTES("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"), BYTES("$5\r\nvalue\r\n"));
	exchange(pair, BYTES("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n1\r\n"), BYTES("+OK\r\n"));
}

static void speak_http1(const struct pair *pair, unsigned number)
{
	char text[160];
	/* A new route every time: endpoints are made while we count. */
	int n = snprintf(text, sizeof(text), "GET /page-%x%x/list HTTP/1.1\r\nHost: a\r\ntraceparent: "
			 "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n", number, number * 7);

	exchange(pair, (struct bytes){ text, (size_t)n }, BYTES("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
	exchange(pair, BYTES("POST /form HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"),
		 BYTES("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
}

/* Preface, SETTINGS, HEADERS of stream 1: GET, /, http, and an authority that enters the table. RFC 9113, RFC 7541. */
static void speak_http2(const struct pair *pair, unsigned number)
{
	(void)number;
	exchange(pair, BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" "\0\0\0\4\0\0\0\0\0"
			     "\0\0\6\1\5\0\0\0\1" "\x82\x84\x86\x41\x01" "a"),
		 BYTES("\0\0\0\4\0\0\0\0\0" "\0\0\1\1\5\0\0\0\1" "\x88"));
	exchange(pair, BYTES("\0\0\4\1\5\0\0\0\3" "\x82\x84\x86\xbe"), BYTES("\0\0\1\1\5\0\0\0\3" "\x88"));
}

static void speak_memcached(const struct pair *pair, unsigned number)
{
	(void)number;
	exchange(pair, BYTES("get key\r\n"), BYTES("VALUE key 0 1\r\nx\r\nEND\r\n"));
	exchange(pair, BYTES("set key 0 0 1\r\nx\r\n"), BYTES("STORED\r\n"));
}

/* Start-up, then a simple query. */
static void speak_postgres(const struct pair *pair, unsigned number)
{
	(void)number;
	exchange(pair, BYTES("\0\0\0\x11\0\3\0\0" "user\0a\0\0" "\0"), BYTES("R\0\0\0\x08\0\0\0\0" "Z\0\0\0\5I"));
	exchange(pair, BYTES("Q\0\0\0\x0dSELECT 1\0"), BYTES("C\0\0\0\x0dSELECT 1\0" "Z\0\0\0\5I"));
	exchange(pair, BYTES("P\0\0\0\x11s\0SELECT 1\0\0\0" "B\0\0\0\x0d\0s\0\0\0\0\0\0\0" "E\0\0\0\x09\0\0\0\0\0" "S\0\0\0\4"),
		 BYTES("1\0\0\0\4" "2\0\0\0\4" "C\0\0\0\x0dSELECT 1\0" "Z\0\0\0\5I"));
}

/* Records of request 1: begin, parameters and their end, end of input; answer and end. */
static void speak_fastcgi(const struct pair *pair, unsigned number)
{
	(void)number;
	exchange(pair, BYTES("\1\1\0\1\0\x08\0\0" "\0\1\1\0\0\0\0\0" "\1\4\0\1\0\x24\0\0" "\x0e\3REQUEST_METHODGET"
			     "\x0b\4REQUEST_URI/fpm" "\1\4\0\1\0\0\0\0" "\1\5\0\1\0\0\0\0"),
		 BYTES("\1\6\0\1\0\x15\0\0" "Status: 200 OK\r\n\r\nabc" "\1\3\0\1\0\x08\0\0" "\0\0\0\0\0\0\0\0"));
}

/* The server's greeting, the client's answer, a query, and a statement that is prepared and executed. */
static void speak_mysql(const struct pair *pair, unsigned number)
{
	(void)number;
	answer(pair, BYTES("\x4a\0\0\0" "\x0a" "8.0.36\0" "\1\2\3\4saltsalt\0" "\1\2" "\x21" "\2\0" "\x08\0" "\x15"
			   "\0\0\0\0\0\0\0\0\0\0" "moresaltmore\0" "mysql_native_password\0"));
	exchange(pair, BYTES("\x28\0\0\1" "\1\2\x08\0" "\0\0\0\1" "\x21" "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
			     "a\0\0\0\0\0\0\0"),
		 BYTES("\7\0\0\2" "\0\0\0\2\0\0\0"));
	exchange(pair, BYTES("\x09\0\0\0" "\3SELECT 1"), BYTES("\7\0\0\1" "\0\0\0\2\0\0\0"));
	exchange(pair, BYTES("\x09\0\0\0" "\x16" "SELECT 1"), BYTES("\x0c\0\0\1" "\0\1\0\0\0\0\0\0\0\0\0\0"));
	exchange(pair, BYTES("\x0a\0\0\0" "\x17\1\0\0\0\0\1\0\0\0"), BYTES("\7\0\0\1" "\0\0\0\2\0\0\0"));
}

static void (*const protocols[])(const struct pair *, unsigned) = {
	speak_redis, speak_http1, speak_http2, speak_memcached, speak_postgres, speak_fastcgi, speak_mysql,
};

static void round_trip(int listener, const struct sockaddr_in *address, unsigned number)
{
	static const int on = 1;
	struct epoll_event event = { .events = EPOLLIN };
	struct pair pair = { .client = socket(AF_INET, SOCK_STREAM, 0), .epoll = epoll_create1(0) };

	check("connect", connect(pair.client, (const struct sockaddr *)address, sizeof(*address)) == 0);
	pair.server = accept4(listener, NULL, NULL, 0);
	/* Or the second piece of each answer would wait for the first one's acknowledgement. */
	setsockopt(pair.server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	check("accept4", pair.server >= 0 && epoll_ctl(pair.epoll, EPOLL_CTL_ADD, pair.server, &event) == 0);
	protocols[number % (sizeof(protocols) / sizeof(protocols[0]))](&pair, number);
	check("dup", close(dup(pair.server)) == 0);
	check("close", close(pair.client) == 0 && close(pair.server) == 0 && close(pair.epoll) == 0);
}

static void *read_nothing(void *unused)
{
	char byte;

	check("read", read(-1, &byte, 1) < 0);
	burn(20000);
	return unused;
}

static void live_by_threads(void)
{
	pthread_t thread;

	check("pthread_create", pthread_create(&thread, NULL, read_nothing, NULL) == 0);
	pthread_join(thread, NULL);
}

static void live_by_forks(void)
{
	unsigned long before = atomic_load(&life_allocations);
	int status;
	pid_t child = fork();

	check("fork", child >= 0);
	if (child == 0) {
		read_nothing(NULL);
		_exit(atomic_load(&life_allocations) != before);
	}
	check("waitpid", waitpid(child, &status, 0) == child && WIFEXITED(status));
	atomic_fetch_add(&life_allocations, (unsigned long)WEXITSTATUS(status));
}

static void live_by_libraries(void)
{
	/* One that nobody else has opened. */
	void *library = dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);

	check("dlopen", library && dlsym(library, "__ctype_get_mb_cur_max"));
	burn(20000);
	dlclose(library);
}

static void take_signal(int number)
{
	(void)number;
	burn(1000);
}

static void live_by_signals(void)
{
	const int numbers[] = { SIGUSR1, SIGUSR2, SIGPROF, SIGRTMAX };
	sigset_t set, before;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sigaction action = { .sa_handler = take_signal }, old;
		check("sigaction", sigaction(numbers[i], &action, &old) == 0);
		pthread_sigmask(SIG_BLOCK, &set, &before);
		raise(numbers[i]);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		check("signal", signal(numbers[i], SIG_IGN) != SIG_ERR && sigaction(numbers[i], &old, NULL) == 0);
	}
}

struct sockets sockets_connect(void)
{
	static const int on = 1;
	static struct sockaddr_in address;
	static int listener = -1;
	struct sockets made = { .client = socket(AF_INET, SOCK_STREAM, 0) };

	if (listener < 0)
		listener = listen_anywhere(&address);
	check("connect", connect(made.client, (const struct sockaddr *)&address, sizeof(address)) == 0);
	made.server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	check("accept4", made.server >= 0 && fcntl(made.client, F_SETFL, O_NONBLOCK) == 0);
	setsockopt(made.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(made.server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return made;
}

struct life {
	const char *name;
	void (*go)(void);
};

static const struct life lives[] = { { "threads", live_by_threads }, { "forks", live_by_forks },
				     { "libraries", live_by_libraries }, { "signals", live_by_signals }, { NULL, NULL } };
static const struct life tls_lives[] = { { "openssl", live_by_openssl }, { "gnutls", live_by_gnutls }, { NULL, NULL } };

static int live(const struct life *life, unsigned rounds)
{
	for (; life->name; life++) {
		life->go(); /* what is allocated once */
		atomic_store(&life_allocations, 0);
		atomic_store(&is_counting_life, true);
		for (unsigned round = 0; round < rounds; round++)
			life->go();
		atomic_store(&is_counting_life, false);
		printf("%s %lu\n", life->name, atomic_load(&life_allocations));
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address;
	unsigned rounds = argc == 2 ? (unsigned)atoi(argv[1]) : 0;
	void *volatile memory; /* or the pair would be optimized away */
	int listener;

	if (argc == 3 && !strcmp(argv[1], "life"))
		return live(lives, (unsigned)atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "tls"))
		return live(tls_lives, (unsigned)atoi(argv[2]));
	if (!rounds) {
		fprintf(stderr, "usage: count_allocations [life|tls] ROUNDS\n");
		return 2;
	}
	listener = listen_anywhere(&address);
	is_counting = true;
	for (unsigned number = 0; number < rounds; number++)
		round_trip(listener, &address, number);
	is_counting = false;
	printf("allocations %lu\n", allocations);
	is_counting = true;
	memory = strdup("x"); /* proof that the counting works, also of what a library allocates: two more */
	free((void *)memory);
	is_counting = false;
	printf("control %lu\n", allocations);
	return 0;
}
