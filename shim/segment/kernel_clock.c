#include "kernel_clock.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { NS_PER_SECOND = 1000000000, NS_PER_MS = 1000000 };

kernel_clock_function *_Atomic kernel_clock;

uint64_t kernel_clock_ns(clockid_t clock)
{
	kernel_clock_function *function = atomic_load_explicit(&kernel_clock, memory_order_acquire);
	struct timespec now;
	int result = function ? function(clock, &now) : (int)syscall(SYS_clock_gettime, clock, &now);

	return result == 0 ? (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec : 0;
}

struct timespec kernel_clock_after_ms(unsigned ms)
{
	uint64_t ns = kernel_clock_ns(CLOCK_MONOTONIC) + (uint64_t)ms * NS_PER_MS;

	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_SECOND), .tv_nsec = (long)(ns % NS_PER_SECOND) };
}
