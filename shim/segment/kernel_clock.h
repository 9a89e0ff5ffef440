#pragma once
/* kernel_clock - what the kernel's clocks tell, in nanoseconds, whoever else in the process has a clock_gettime.
 * Context: signal; kernel_clock_open: setup.
 * The C library's own function is called, not the first of that name: libfaketime's takes a mutex, which the handler may
 * find taken by the code that it interrupted, and tells another time.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

typedef int kernel_clock_function(clockid_t clock, struct timespec *ret_now);

/* W: kernel_clock_open. */
extern kernel_clock_function *_Atomic kernel_clock __attribute__((visibility("hidden")));

/* Until then, and where the C library is another one, each reading is a system call. */
void kernel_clock_open(void);

/* 0: there is no such clock. */
uint64_t kernel_clock_ns(clockid_t clock);

/* On CLOCK_MONOTONIC, for calls that wait until a time. */
struct timespec kernel_clock_after_ms(unsigned ms);
