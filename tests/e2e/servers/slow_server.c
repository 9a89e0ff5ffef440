/* slow_server - answers as slowly as its clients ask for, in threads or in forked workers.
 *
 *     slow_server PORT WORKERS
 *
 * A thread for each connection, in WORKERS forked processes, or in this one if that is 0.
 *     /burn/MS    burns so many ms of CPU, then answers
 *     /sleep/MS   sleeps so long, then answers
 *     /first/MS   sends half of its answer, sleeps, sends the rest
 *     /fail/MS    sleeps, then answers 503
 *     /hang       never answers
 * Anything else is answered at once. Prints "ready" once it listens, and each worker's pid. SIGTERM ends it by exit.
 */
#include "burn.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, BODY_BYTES = 1000 };

static uint64_t steps_per_ms;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static __attribute__((noinline)) void burn_in_here(unsigned ms)
{
	burn(ms * steps_per_ms);
}

static __attribute__((noinline)) void work_for_request(unsigned ms)
{
	burn_in_here(ms);
	__asm__ volatile(""); /* no tail call */
}

static void sleep_ms(unsigned ms)
{
	struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0)
		;
}

static void send_all(int fd, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t sent = send(fd, text, bytes, MSG_NOSIGNAL);
		if (sent < 0)
			return; /* the client has gone */
		text += sent;
		bytes -= (size_t)sent;
	}
}

static void answer(int fd, int status, unsigned pause_ms)
{
	char text[BODY_BYTES + 200];
	int head = snprintf(text, sizeof(text), "HTTP/1.1 %d Status\r\nContent-Length: %d\r\n\r\n", status, BODY_BYTES);

	memset(text + head, 'x', BODY_BYTES);
	size_t all = (size_t)head + BODY_BYTES, first = pause_ms ? all / 2 : all;
	send_all(fd, text, first);
	sleep_ms(pause_ms);
	send_all(fd, text + first, all - first);
}

static void serve(int fd, const char *path)
{
	const char *number = strchr(path + 1, '/'); /* that of HTTP/1.1, where the path has none */
	unsigned ms = number ? (unsigned)strtoul(number + 1, NULL, 10) : 0;

	if (!strncmp(path, "/hang", 5))
		pause();
	else if (!strncmp(path, "/first/", 7))
		answer(fd, 200, ms);
	else {
		if (!strncmp(path, "/burn/", 6))
			work_for_request(ms);
		else
			sleep_ms(ms);
		answer(fd, strncmp(path, "/fail/", 6) ? 200 : 503, 0);
	}
}

/* The body of a request, of which the head is text[0, head). Returns the bytes of all, 0: it cannot be had. */
static size_t read_body(int fd, char *text, size_t head, size_t used)
{
	const char *field = strstr(text, "Content-Length: ");
	size_t all = head + (field ? strtoul(field + 16, NULL, 10) : 0);

	while (used < all) {
		ssize_t n = recv(fd, text + used, HEAD_BYTES - used, 0);
		if (n <= 0)
			return 0;
		used += (size_t)n;
	}
	return all;
}

static void *serve_connection(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char text[HEAD_BYTES + 1] = "";
	size_t used = 0;

	for (;;) {
		char *end = strstr(text, "\r\n\r\n");
		if (!end) {
			ssize_t n = recv(fd, text + used, HEAD_BYTES - used, 0);
			if (n <= 0)
				break;
			text[used += (size_t)n] = '\0';
			continue;
		}
		size_t all = read_body(fd, text, (size_t)(end + 4 - text), used);
		char *path = strchr(text, ' ');
		if (!all || !path)
			break;
		serve(fd, path + 1);
		used -= used < all ? used : all;
		memmove(text, text + all, used);
		text[used] = '\0';
	}
	close(fd);
	return NULL;
}

static void accept_all(int listener)
{
	for (;;) {
		pthread_t thread;
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		if (pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd))
			die("pthread_create");
		pthread_detach(thread);
	}
}

static int listen_at(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
		die("listen");
	return fd;
}

static void *accept_in_thread(void *listener)
{
	accept_all((int)(intptr_t)listener);
	return NULL;
}

/* SIGTERM is waited for, so that the end is an orderly exit. */
static void wait_for_end(void)
{
	sigset_t end;
	int number;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigwait(&end, &number);
}

static void run_here(int listener)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, accept_in_thread, (void *)(intptr_t)listener))
		die("pthread_create");
	wait_for_end();
	exit(0);
}

int main(int argc, char **argv)
{
	sigset_t end;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	steps_per_ms = burn_steps_per_us() * 1000;
	int listener = listen_at((uint16_t)atoi(argv[1]));
	for (int left = atoi(argv[2]); left; left--) {
		pid_t worker = fork();
		if (!worker)
			run_here(listener);
		printf("worker %d\n", worker);
	}
	printf("ready\n");
	if (!atoi(argv[2]))
		run_here(listener);
	wait_for_end();
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
	return 0;
}
