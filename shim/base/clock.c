/* The rate of the TSC is measured once, over at least CALIBRATE_NS between clock_init and the first reading after that.
 * Two readings, each within READ_TICKS_MAX, over 10 ms give the rate to some tens of ppm; the line then starts at the second reading, so both
 * clocks agree there. Rate and start are published by one release store and never change: no reading can jump.
 */
#include "clock.h"

#include "../segment/kernel_clock.h"
#include "hot.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define CALIBRATE_NS 10000000 /* 10 ms */
#define READ_TICKS_MAX 1000   /* a reading between two others takes about 100; an interrupt tens of thousands */
#define READ_ATTEMPTS 8

struct reading {
	uint64_t ticks;
	uint64_t ns;
};

/* W: clock_init. */
static struct reading first;
HOT_DATA struct clock_line clock_line;

#if defined(__x86_64__)

/* Both clocks at one moment; false: we lost the core in between every time. */
static bool read_both(struct reading *ret_reading)
{
	for (int attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
		uint64_t before = __rdtsc();
		uint64_t ns = kernel_clock_ns(CLOCK_MONOTONIC);
		uint64_t taken = __rdtsc() - before;
		if (taken > READ_TICKS_MAX)
			continue;
		*ret_reading = (struct reading){ before + taken / 2, ns };
		return true;
	}
	return false;
}

static bool kernel_trusts_tsc(void)
{
	char name[8] = "";
	int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	ssize_t n = read(fd, name, sizeof(name) - 1);
	close(fd);
	return n == 4 && memcmp(name, "tsc\n", 4) == 0;
}

void clock_init(void)
{
	if (atomic_load_explicit(&clock_line.state, memory_order_relaxed) != CLOCK_KERNEL || !kernel_trusts_tsc())
		return;
	if (!read_both(&first))
		return;
	atomic_store_explicit(&clock_line.state, CLOCK_UNCALIBRATED, memory_order_release);
}

static uint64_t calibrate(void)
{
	struct reading now;
	int expected = CLOCK_UNCALIBRATED;

	if (!read_both(&now))
		return kernel_clock_ns(CLOCK_MONOTONIC);
	if (now.ns - first.ns < CALIBRATE_NS || now.ticks <= first.ticks)
		return now.ns;
	if (!atomic_compare_exchange_strong_explicit(&clock_line.state, &expected, CLOCK_CALIBRATING, memory_order_relaxed, memory_order_relaxed))
		return now.ns;
	clock_line.ns_per_tick_q32 = (uint64_t)(((unsigned __int128)(now.ns - first.ns) << 32) / (now.ticks - first.ticks));
	clock_line.ticks = now.ticks;
	clock_line.ns = now.ns;
	atomic_store_explicit(&clock_line.state, CLOCK_TSC, memory_order_release);
	return now.ns;
}

uint64_t clock_now_slowly(void)
{
	int state = atomic_load_explicit(&clock_line.state, memory_order_acquire);

	return state == CLOCK_UNCALIBRATED ? calibrate() : kernel_clock_ns(CLOCK_MONOTONIC);
}

#else

void clock_init(void) {}

uint64_t clock_now_slowly(void)
{
	return kernel_clock_ns(CLOCK_MONOTONIC);
}

#endif
