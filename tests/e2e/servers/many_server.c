/* many_server - a server of many processes that come and go. Each serves HTTP, one request on each connection, and the
 * answers whose last byte the kernel took are counted in memory that all of them share.
 *
 *     many_server siblings PORT COUNT        COUNT processes, of which each replaces those that it finds dead
 *     many_server children PORT [PROGRAM]    a process for each connection; every tenth then executes PROGRAM
 *     many_server parents PORT COUNT [PROGRAM]   COUNT processes that do as children, the first one among them
 *     many_server crowd PORT COUNT           COUNT children at once; each serves what it accepts until it is told to end
 *     many_server doomed PORT                as children, but every tenth child is killed in the midst of fork
 *     many_server cost COUNT                 COUNT forks, one after the other, of which the durations are printed
 *
 * "answered N" is printed by the first process when it gets SIGTERM, after all others have ended; nothing else is printed
 * but "ready" and, by cost, the median and the 90th percentile of fork's own duration in microseconds, and how many a second, waited for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIBLINGS_MAX = 64, LOOK_MS = 10, LOOK_EVERY = 16, EXEC_EVERY = 10, DOOM_EVERY = 10, COSTS_MAX = 100000 };

static struct {
	_Atomic unsigned long answered;
	_Atomic unsigned children; /* made so far, by all parents */
	_Atomic int siblings[SIBLINGS_MAX]; /* pid; negative: that process is about to replace it */
} *shared;

static int listener;
static unsigned sibling_count;
static volatile sig_atomic_t is_ending;
static bool is_doomed; /* the next child */

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void end(int number)
{
	(void)number;
	is_ending = 1;
}

static void listen_on(int port)
{
	static const int on = 1;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
	                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 4096))
		die("many_server: listen");
}

/* A request is at hand as a whole, since its client sends it so. */
static void answer(int fd)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
	char request[4096];

	if (recv(fd, request, sizeof(request), 0) > 0 && send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) == sizeof(text) - 1)
		atomic_fetch_add(&shared->answered, 1);
	close(fd);
}

static bool is_gone(int pid)
{
	char path[32], text[256];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *state = strrchr(text, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

static void be_sibling(unsigned place);

/* Whoever dies while he replaces another leaves a number, too. */
static void replace_the_dead(void)
{
	for (unsigned i = 0; i < sibling_count; i++) {
		int seen = atomic_load(&shared->siblings[i]);
		if (!is_gone(seen < 0 ? -seen : seen) || !atomic_compare_exchange_strong(&shared->siblings[i], &seen, -getpid()))
			continue;
		pid_t child = fork();
		if (child < 0)
			die("many_server: fork");
		if (child == 0)
			be_sibling(i);
		atomic_store(&shared->siblings[i], child);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void be_sibling(unsigned place)
{
	struct pollfd wanted = { .fd = listener, .events = POLLIN };
	unsigned turns = 0;

	atomic_store(&shared->siblings[place], getpid());
	while (!is_ending) {
		bool is_idle = poll(&wanted, 1, LOOK_MS) <= 0;
		int fd = is_idle ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			answer(fd);
		/* Also where there is always work: else all of them may be killed before anybody looks. */
		if ((is_idle || ++turns % LOOK_EVERY == 0) && !is_ending)
			replace_the_dead();
	}
	if (place)
		exit(0);
}

static void run_siblings(unsigned count)
{
	sibling_count = count < SIBLINGS_MAX ? count : SIBLINGS_MAX;
	fcntl(listener, F_SETFL, O_NONBLOCK);
	for (unsigned i = 1; i < sibling_count; i++) {
		pid_t child = fork();
		if (child < 0)
			die("many_server: fork");
		if (child == 0)
			be_sibling(i);
		atomic_store(&shared->siblings[i], child);
	}
	puts("ready");
	fflush(stdout);
	be_sibling(0);
}

static void run_child(int fd, const char *program)
{
	answer(fd);
	if (program)
		execl(program, program, (char *)NULL);
	exit(0);
}

static void make_children(const char *program)
{
	struct pollfd wanted = { .fd = listener, .events = POLLIN };

	while (!is_ending) {
		if (poll(&wanted, 1, 100) <= 0)
			continue;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		unsigned number = atomic_fetch_add(&shared->children, 1) + 1;
		is_doomed = number % DOOM_EVERY == 0;
		pid_t child = fork();
		if (child < 0)
			die("many_server: fork");
		if (child == 0)
			run_child(fd, number % EXEC_EVERY ? NULL : program);
		close(fd);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static void wait_for_all(void)
{
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static void run_children(const char *program)
{
	puts("ready");
	fflush(stdout);
	make_children(program);
	wait_for_all();
}

/* A connection of which several are told is one's. */
static void run_parents(unsigned count, const char *program)
{
	pid_t others[SIBLINGS_MAX];

	count = count < SIBLINGS_MAX ? count : SIBLINGS_MAX;
	fcntl(listener, F_SETFL, O_NONBLOCK);
	for (unsigned i = 1; i < count; i++) {
		others[i] = fork();
		if (others[i] < 0)
			die("many_server: fork");
		if (others[i] == 0) {
			make_children(program);
			wait_for_all();
			exit(0);
		}
	}
	puts("ready");
	fflush(stdout);
	make_children(program);
	for (unsigned i = 1; i < count; i++)
		kill(others[i], SIGTERM);
	wait_for_all();
}

static void be_killed(void)
{
	if (is_doomed)
		kill(getpid(), SIGKILL);
}

/* Before all constructors, since what comes first in a child of fork is what was registered first. */
static void begin(int argc, char **argv, char **environment)
{
	(void)environment;
	if (argc > 1 && !strcmp(argv[1], "doomed"))
		pthread_atfork(NULL, NULL, be_killed);
}
__attribute__((section(".preinit_array"), used)) static void (*const early)(int, char **, char **) = begin;

static void run_crowd(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		pid_t child = fork();
		if (child < 0)
			die("many_server: fork");
		if (child)
			continue;
		while (!is_ending) {
			int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd >= 0)
				answer(fd);
		}
		exit(0);
	}
	puts("ready");
	fflush(stdout);
	while (!is_ending)
		poll(NULL, 0, 1000);
	signal(SIGTERM, SIG_IGN);
	/* One may be about to wait just when it is told. */
	for (pid_t ended = 0; ended >= 0; poll(NULL, 0, 50)) {
		kill(0, SIGTERM);
		while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
			;
	}
}

static int compare(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void measure_cost(unsigned count)
{
	static double forks[COSTS_MAX];

	count = count < COSTS_MAX ? count : COSTS_MAX;
	double first_us = now_us();
	for (unsigned i = 0; i < count; i++) {
		double begin_us = now_us();
		pid_t child = fork();
		if (child < 0)
			die("many_server: fork");
		if (child == 0)
			_exit(0);
		forks[i] = now_us() - begin_us;
		waitpid(child, NULL, 0);
	}
	double last_us = now_us();
	qsort(forks, count, sizeof(forks[0]), compare);
	printf("%.1f %.1f %.1f\n", forks[count / 2], forks[count * 9 / 10], count * 1e6 / (last_us - first_us));
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = end }; /* no SA_RESTART: accept is to come back */
	const char *mode = argc > 2 ? argv[1] : "";

	if (!strcmp(mode, "cost")) {
		measure_cost((unsigned)atoi(argv[2]));
		return 0;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("many_server: mmap");
	sigaction(SIGTERM, &action, NULL);
	listen_on(argc > 2 ? atoi(argv[2]) : 0);
	if (!strcmp(mode, "siblings") && argc > 3)
		run_siblings((unsigned)atoi(argv[3]));
	else if (!strcmp(mode, "crowd") && argc > 3)
		run_crowd((unsigned)atoi(argv[3]));
	else if (!strcmp(mode, "parents") && argc > 3)
		run_parents((unsigned)atoi(argv[3]), argc > 4 ? argv[4] : NULL);
	else if (!strcmp(mode, "children") || !strcmp(mode, "doomed"))
		run_children(argc > 3 ? argv[3] : NULL);
	else
		return 2;
	printf("answered %lu\n", atomic_load(&shared->answered));
	return 0;
}
