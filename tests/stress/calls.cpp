/* calls - requests between threads, descriptors and memory that change under everybody's feet, timers. */
#include "torture.h"

#include <cstring>
#include <cerrno>

#include <atomic>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

namespace {

enum { REQUESTS = 200, PAGE_BYTES = 4096 };

const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

long read_until(int fd, const char *end)
{
	char text[512];
	size_t used = 0;

	for (;;) {
		ssize_t n = recv(fd, text + used, sizeof(text) - 1 - used, 0);
		if (n <= 0)
			return 0;
		used += (size_t)n;
		text[used] = '\0';
		if (strstr(text, end))
			return (long)used;
	}
}

void *serve(void *given)
{
	int listener = *static_cast<int *>(given), fd = accept(listener, nullptr, nullptr);
	long served = 0;

	while (read_until(fd, "\r\n\r\n") && write(fd, answer, sizeof(answer) - 1) > 0)
		served += burn(5);
	close(fd);
	return (void *)served;
}

std::atomic<long> profiled;

void on_prof(int)
{
	profiled++;
}

sem_t expired;

void on_timer(union sigval)
{
	sem_post(&expired);
}

}

long request_round()
{
	struct sockaddr_in address = {};
	socklen_t bytes = sizeof(address);
	pthread_t server;
	void *served = nullptr;
	long result = 0;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	require(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 4) == 0, "listen");
	require(getsockname(listener, (struct sockaddr *)&address, &bytes) == 0, "getsockname");
	require(pthread_create(&server, nullptr, serve, &listener) == 0, "pthread_create");
	require(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	for (int i = 0; i < REQUESTS; i++) {
		char request[64];
		int n = snprintf(request, sizeof(request), "GET /torture/%d HTTP/1.1\r\nHost: x\r\n\r\n", i % 10);
		require(send(client, request, (size_t)n, MSG_NOSIGNAL) == n, "send");
		result += read_until(client, "ok");
	}
	close(client);
	pthread_join(server, &served);
	close(listener);
	return result + (long)served;
}

/* Numbers of its own, well above those that others are given. */
long descriptor_round()
{
	enum { FIRST = 300, COUNT = 50 };
	long result = 0;

	for (int round = 0; round < 5; round++)
		step("descriptors", [&] {
			int pair[2];
			char byte = 1;
			require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
			for (int i = 0; i < COUNT; i++)
				result += dup2(pair[i % 2], FIRST + i);
			for (int i = 0; i < COUNT; i += 2) {
				result += write(FIRST + i, &byte, 1) + read(FIRST + i + 1, &byte, 1);
				result += close(FIRST + i);
			}
			result += close_range(FIRST, FIRST + COUNT - 1, 0);
			close(pair[0]);
			close(pair[1]);
		});
	return result;
}

/* Also code that no library owns, gone as soon as it has run. */
long memory_round()
{
	static const unsigned char code[] = { 0xb9, 0x00, 0x00, 0x10, 0x00, /* mov $0x100000, %ecx */
		                              0xff, 0xc9,                   /* dec %ecx */
		                              0x75, 0xfc,                   /* jnz back */
		                              0xb8, 0x07, 0x00, 0x00, 0x00, /* mov $7, %eax */
		                              0xc3 };
	long result = 0;

	for (int i = 0; i < 50; i++)
		step("memory", [&] {
			char *memory = (char *)mmap(nullptr, 16 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			require(memory != MAP_FAILED, "mmap");
			memcpy(memory, code, sizeof(code));
			mprotect(memory, PAGE_BYTES, PROT_READ | PROT_EXEC);
			result += ((int (*)())memory)();
			mprotect(memory + 4 * PAGE_BYTES, 4 * PAGE_BYTES, PROT_NONE);
			munmap(memory, 8 * PAGE_BYTES);
			memory[12 * PAGE_BYTES] = 1;
			munmap(memory + 8 * PAGE_BYTES, 8 * PAGE_BYTES);
		});
	return result;
}

long timer_round()
{
	enum { TIMERS = 10 };
	static bool is_made = sem_init(&expired, 0, 0) == 0;
	struct sigevent event = {};
	struct itimerspec soon = {};
	timer_t timers[TIMERS];
	long result = is_made;

	event.sigev_notify = SIGEV_THREAD;
	event.sigev_notify_function = on_timer;
	soon.it_value.tv_nsec = 1000000;
	for (timer_t &timer : timers)
		require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &soon, nullptr) == 0, "timer");
	for (int i = 0; i < TIMERS; i++) {
		while (sem_wait(&expired) != 0)
			;
		result++;
	}
	for (timer_t timer : timers)
		timer_delete(timer);
	return result;
}

/* The program has a profiling timer of its own. How often it comes is not said, but that it comes. */
long profiler_round()
{
	struct itimerval every = {}, none = {};
	struct sigaction action = {}, found = {};

	action.sa_handler = on_prof;
	action.sa_flags = SA_RESTART;
	require(sigaction(SIGPROF, &action, nullptr) == 0 && sigaction(SIGPROF, nullptr, &found) == 0, "sigaction");
	every.it_interval.tv_usec = every.it_value.tv_usec = 10000;
	profiled = 0;
	require(setitimer(ITIMER_PROF, &every, nullptr) == 0, "setitimer");
	for (int i = 0; i < 10000 && profiled < 3; i++)
		burn(100);
	require(setitimer(ITIMER_PROF, &none, nullptr) == 0, "setitimer");
	return (found.sa_handler == on_prof) + 2 * (profiled >= 3);
}
