/* plugin - a library with all that makes loading and unloading hard: a dependency, a constructor and a destructor that make
 * interposed calls, thread-local data with a destructor, exceptions. Built twice, as A and B, with the same layout. */
#include <cstdlib>
#include <stdexcept>

#include <sys/socket.h>
#include <unistd.h>

extern "C" {
int torture_dependency(int n);
int plugin_work(int n);
int plugin_throw(int n);
int plugin_call(int (*callback)(void *), void *data);
int plugin_thread_local(int n);
}

namespace {

int constructed;

__attribute__((constructor)) void begin()
{
	int pair[2];
	char byte = 1;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return;
	if (write(pair[0], &byte, 1) == 1 && read(pair[1], &byte, 1) == 1)
		constructed = byte;
	close(pair[0]);
	close(pair[1]);
}

__attribute__((destructor)) void end()
{
	char byte;

	if (read(-1, &byte, 1) != -1)
		abort();
}

struct Counter {
	int n = WHICH;
	~Counter() { n = 0; }
};
thread_local Counter counter;

__attribute__((noinline)) void throw_deep(int depth, int n)
{
	if (depth == 0)
		throw std::runtime_error(n ? "thrown" : "none");
	throw_deep(depth - 1, n);
	asm volatile("");
}

}

int plugin_work(int n)
{
	volatile unsigned sum = 0;

	for (int i = 0; i < n * 1000; i++)
		sum = sum * 31 + WHICH;
	return constructed + torture_dependency(WHICH) + (sum != 0);
}

int plugin_throw(int n)
{
	try {
		throw_deep(n % 8, n);
	} catch (const std::runtime_error &) {
		throw n * WHICH;
	}
	return 0;
}

int plugin_call(int (*callback)(void *), void *data)
{
	volatile int result = callback(data);

	return result + WHICH;
}

int plugin_thread_local(int n)
{
	counter.n += n;
	return counter.n;
}
