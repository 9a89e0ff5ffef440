/* memory_server - does what it is told to, so that its memory can be looked at in between. Each line of its standard input is
 * a command, answered by a line "done" (or "done N"):
 *
 *     threads N US       N more threads, each of which burns US microseconds of CPU and then waits; N = those that began
 *     end                all of these end
 *     churn N            N threads, one after the other, each of which makes a call that is interposed
 *     requests C R       C connections to itself, one after the other, with R requests each, no path of which comes twice
 *     stacks N           burns CPU for N milliseconds at the ends of call paths of which hardly one comes twice
 *     samples N          N call paths, none of which comes twice, with one sample at the end of each; N = those samples
 *     deep N             the same below DEEP frames of a function with a long name, N a power of two
 *
 * The kernel makes 250 samples a second of a thread, whatever is asked for. So by "samples" the thread sends itself what
 * profshim's timer would send: timers and the value that they come with are in /proc/self/timers, proc(5). Without profshim
 * there is none, and no sample is made.
 */
#include "burn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS_MAX = 20000, STACK_BYTES = 128 * 1024, PATH_DEPTH = 40, DEEP = 850 };

static pthread_t threads[THREADS_MAX];
static unsigned thread_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned begun_count;
static bool are_to_end;
static uint64_t random_state = 88172645463325252ULL;
static int listener;
static struct sockaddr_in address;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Marsaglia's xorshift64. */
static uint64_t random_bits(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void burn_us(uint64_t us)
{
	for (uint64_t end_ns = burn_clock_ns() + us * 1000; burn_clock_ns() < end_ns;)
		burn(2000);
}

static void *run_thread(void *us)
{
	burn_us((uintptr_t)us);
	pthread_mutex_lock(&lock);
	begun_count++;
	pthread_cond_broadcast(&changed);
	while (!are_to_end)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void start_threads(unsigned count, unsigned long us)
{
	unsigned wanted = thread_count + count < THREADS_MAX ? thread_count + count : THREADS_MAX;
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	are_to_end = false;
	while (thread_count < wanted && !pthread_create(&threads[thread_count], &attributes, run_thread, (void *)(uintptr_t)us))
		thread_count++;
	pthread_attr_destroy(&attributes);
	pthread_mutex_lock(&lock);
	while (begun_count < thread_count)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	printf("done %u\n", thread_count);
}

static void end_threads(void)
{
	pthread_mutex_lock(&lock);
	are_to_end = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	while (thread_count)
		pthread_join(threads[--thread_count], NULL);
	begun_count = 0;
	puts("done");
}

static void *call_once(void *unused)
{
	char byte;

	if (read(-1, &byte, 1) >= 0)
		die("memory_server: read");
	return unused;
}

static void churn(unsigned count)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (unsigned i = 0; i < count; i++) {
		if (pthread_create(&thread, &attributes, call_once, NULL))
			die("memory_server: pthread_create");
		pthread_join(thread, NULL);
	}
	pthread_attr_destroy(&attributes);
	puts("done");
}

static void listen_somewhere(void)
{
	socklen_t bytes = sizeof(address);

	address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16) ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes))
		die("memory_server: listen");
}

static void ask_and_answer(int client, int server)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	char buffer[4096];
	uint64_t a = random_bits(), b = random_bits();
	/* Letters only, so that nothing in the path's form tells that it varies. */
	int n = snprintf(buffer, sizeof(buffer), "GET /");
	for (int i = 0; i < 16; i++, a >>= 4)
		buffer[n++] = i == 8 ? '/' : (char)('a' + (a & 15) + (b >> i & 1));
	n += snprintf(buffer + n, sizeof(buffer) - (size_t)n, " HTTP/1.1\r\nHost: localhost\r\n\r\n");

	if (send(client, buffer, (size_t)n, 0) != n || recv(server, buffer, sizeof(buffer), 0) <= 0 ||
	    send(server, text, sizeof(text) - 1, 0) != sizeof(text) - 1 || recv(client, buffer, sizeof(buffer), 0) <= 0)
		die("memory_server: a request");
}

/* Ports in TIME_WAIT would run out: the connection is reset. */
static void serve_requests(unsigned connections, unsigned requests)
{
	static const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	for (unsigned i = 0; i < connections; i++) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)))
			die("memory_server: connect");
		int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (server < 0)
			die("memory_server: accept");
		for (unsigned j = 0; j < requests; j++)
			ask_and_answer(client, server);
		close(server);
		setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(client);
	}
	puts("done");
}

/* What is sent in place of a tick of the timer; si_signo 0 = nothing: there is no timer. */
static siginfo_t tick;
static unsigned long ticks_sent;

/* By no function of the C library's, which would be a frame more. */
static void send_tick(void)
{
	long process = getpid(), thread = gettid(), result = SYS_rt_tgsigqueueinfo;
	register siginfo_t *info __asm__("r10") = &tick;

	__asm__ volatile("syscall" : "+a"(result) : "D"(process), "S"(thread), "d"((long)SIGPROF), "r"(info) : "rcx", "r11", "memory");
	errno = (int)-result;
	if (result)
		die("memory_server: rt_tgsigqueueinfo");
	ticks_sent++;
}

/* Two functions that call one another by the bits of path: 2^PATH_DEPTH ways to their end. Nothing is a tail call. */
static void left(uint64_t path, unsigned depth);
static void right(uint64_t path, unsigned depth);

static __attribute__((noinline)) void descend(uint64_t path, unsigned depth)
{
	if (!depth && tick.si_signo)
		send_tick();
	else if (!depth)
		burn_us(20);
	else if (path & 1)
		left(path >> 1, depth - 1);
	else
		right(path >> 1, depth - 1);
	__asm__ volatile("");
}

static __attribute__((noinline)) void left(uint64_t path, unsigned depth)
{
	descend(path, depth);
	__asm__ volatile("# left"); /* or the compiler would make one of the two */
}

static __attribute__((noinline)) void right(uint64_t path, unsigned depth)
{
	descend(path, depth);
	__asm__ volatile("# right");
}

static void vary_stacks(unsigned long ms)
{
	uint64_t end_ns = burn_clock_ns() + ms * 1000000;

	while (burn_clock_ns() < end_ns)
		descend(random_bits(), PATH_DEPTH);
	puts("done");
}

static void find_tick(void)
{
	FILE *timers = fopen("/proc/self/timers", "r");
	char line[256];
	unsigned long value;
	int number;

	if (!timers)
		die("memory_server: /proc/self/timers");
	while (!tick.si_signo && fgets(line, sizeof(line), timers)) {
		if (sscanf(line, "signal: %d/%lx", &number, &value) != 2 || number != SIGPROF)
			continue;
		tick.si_signo = SIGPROF;
		tick.si_code = SI_TIMER;
		tick.si_value.sival_ptr = (void *)value;
	}
	fclose(timers);
}

static __attribute__((noinline)) void name_that_is_as_long_as_those_of_many_templates(unsigned frames, uint64_t path, unsigned depth)
{
	if (frames)
		name_that_is_as_long_as_those_of_many_templates(frames - 1, path, depth);
	else
		descend(path, depth);
	__asm__ volatile("");
}

/* A factor that is odd makes of different numbers different ones, modulo a power of two. */
static void sample_stacks(unsigned count, unsigned frames, unsigned depth)
{
	static uint64_t path;

	find_tick();
	ticks_sent = 0;
	for (unsigned i = 0; tick.si_signo && i < count; i++)
		name_that_is_as_long_as_those_of_many_templates(frames, ++path * 0x9e3779b97f4a7c15, depth);
	tick = (siginfo_t){ 0 };
	printf("done %lu\n", ticks_sent);
}

static bool obey(const char *line)
{
	unsigned a = 0, b = 0;

	if (sscanf(line, "threads %u %u", &a, &b) == 2)
		start_threads(a, b);
	else if (!strncmp(line, "end", 3))
		end_threads();
	else if (sscanf(line, "churn %u", &a) == 1)
		churn(a);
	else if (sscanf(line, "requests %u %u", &a, &b) == 2)
		serve_requests(a, b);
	else if (sscanf(line, "stacks %u", &a) == 1)
		vary_stacks(a);
	else if (sscanf(line, "samples %u", &a) == 1)
		sample_stacks(a, 0, PATH_DEPTH);
	else if (sscanf(line, "deep %u", &a) == 1 && a)
		sample_stacks(a, DEEP, (unsigned)__builtin_ctz(a));
	else
		return false;
	fflush(stdout);
	return true;
}

int main(void)
{
	char line[256];

	listen_somewhere();
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		if (!obey(line))
			return 2;
	return 0;
}
