/* A file of the perf clock that is closed goes on as long as it is mapped, its asynchronous notification included: that is
 * undone when the file is released (fs/file_table.c, __fput), not when a descriptor of it is closed.
 *
 * Each overflow writes a record of 16 bytes. The mapping is read-only, so the kernel overwrites the oldest for ever
 * (perf_event_open(2), data_head), and how far it has come tells how many there were, signals lost or not.
 */
#include "perf.h"

#include "../base/clock.h"
#include "../base/permitted.h"
#include "pulse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, MAPPED_BYTES = 2 * PAGE_BYTES };
enum {
	MEASURED = 9,              /* expiries whose median counts: one in a few meets the kernel's tick, or another thread */
	MEASURE_HZ = PULSE_HZ_MAX,
	MEASURE_NS_MAX = 5000000,  /* 5 ms, for a thread whose core is wanted by others */
};

static __thread void *mapped __attribute__((tls_model("initial-exec")));
/* Not permitted here, for whatever reason: no other thread of the process tries. */
static _Atomic uint32_t is_refused;

static int open_clock(uint32_t hz)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_TASK_CLOCK,
		.sample_period = pulse_period_ns(hz),
		.sample_type = PERF_SAMPLE_IP,
		.wakeup_events = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	if (!permitted(SYS_perf_event_open)) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static bool notify_by_signal(int fd)
{
	struct f_owner_ex owner = { .type = F_OWNER_TID, .pid = (pid_t)syscall(SYS_gettid) };

	return syscall(SYS_fcntl, fd, F_SETSIG, SIGPROF) == 0 && syscall(SYS_fcntl, fd, F_SETOWN_EX, &owner) == 0 &&
	       syscall(SYS_fcntl, fd, F_SETFL, O_RDWR | O_ASYNC) == 0;
}

static void refuse(int error)
{
	atomic_store_explicit(&seg.head->perf_error, (uint32_t)error, memory_order_relaxed);
	/* Too many of something may be fewer later; else it is a matter of permission. */
	if (error != EMFILE && error != ENFILE)
		atomic_store_explicit(&is_refused, 1, memory_order_relaxed);
}

static void unmap(void *memory)
{
	syscall(SYS_munmap, memory, MAPPED_BYTES);
}

/* Opened and mapped; NULL: refused. The caller closes *ret_fd. */
static struct perf_event_mmap_page *open_mapped(uint32_t hz, int *ret_fd)
{
	int fd = open_clock(hz);

	if (fd < 0) {
		refuse(errno);
		return NULL;
	}
	void *memory = (void *)syscall(SYS_mmap, NULL, MAPPED_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		refuse(errno);
		syscall(SYS_close, fd);
		return NULL;
	}
	*ret_fd = fd;
	return memory;
}

bool perf_begin(uint32_t hz)
{
	int fd;

	if (mapped)
		perf_end();
	if (atomic_load_explicit(&is_refused, memory_order_relaxed))
		return false;
	const struct perf_event_mmap_page *page = open_mapped(hz, &fd);
	if (!page)
		return false;
	pulse.perf_fd = fd;
	if (!notify_by_signal(fd)) {
		refuse(errno);
		unmap((void *)page);
		syscall(SYS_close, fd);
		return false;
	}
	mapped = (void *)page;
	pulse.perf_ns = pulse_period_ns(hz);
	pulse.perf_seen = page->data_head;
	pulse.perf_due_ns = 0;
	atomic_signal_fence(memory_order_release);
	pulse.perf_head = (const volatile uint64_t *)&page->data_head;
	syscall(SYS_close, fd);
	atomic_fetch_add_explicit(&seg.head->perf_threads, 1, memory_order_relaxed);
	return true;
}

/* perf_fd stays: a signal may be on its way. */
void perf_end(void)
{
	if (!mapped)
		return;
	pulse.perf_head = NULL;
	atomic_signal_fence(memory_order_seq_cst);
	unmap(mapped);
	mapped = NULL;
}

void perf_forget(void)
{
	pulse.perf_head = NULL;
	mapped = NULL;
}

uint32_t perf_tick_hz(void)
{
	struct timespec tick;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0 || tick.tv_nsec <= 0)
		return 100;
	return (uint32_t)(1000000000 / tick.tv_nsec);
}

/* The middle one. */
static uint64_t median(uint64_t *values, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
		for (uint32_t j = i; j && values[j] < values[j - 1]; j--) {
			uint64_t lower = values[j];
			values[j] = values[j - 1];
			values[j - 1] = lower;
		}
	return values[count / 2];
}

/* How long the thread stands still when a record is written: from a look at the clock before it to the next one after. The
 * interrupt may come between the two readings of a turn, so it is two turns that are looked at. 0: none was written. */
static uint64_t standstill_ns(const volatile uint64_t *head)
{
	uint64_t begin_ns = clock_now_ns(), before_ns = begin_ns, last_ns = begin_ns, seen = *head;
	uint64_t stills_ns[MEASURED];
	uint32_t count = 0;

	while (count < MEASURED && last_ns - begin_ns < MEASURE_NS_MAX) {
		uint64_t written = *head, now_ns = clock_now_ns();
		if (written != seen)
			stills_ns[count++] = now_ns - before_ns;
		seen = written;
		before_ns = last_ns;
		last_ns = now_ns;
	}
	return count ? median(stills_ns, count) : 0;
}

void perf_measure(void)
{
	static bool has_tried;
	struct perf_event_mmap_page *page;
	int fd;

	if (has_tried || atomic_load_explicit(&seg.head->perf_tick_ns, memory_order_relaxed))
		return;
	has_tried = true;
	page = open_mapped(MEASURE_HZ, &fd);
	if (!page)
		return;
	uint64_t tick_ns = standstill_ns((const volatile uint64_t *)&page->data_head);
	unmap(page);
	syscall(SYS_close, fd);
	if (tick_ns < UINT32_MAX)
		atomic_store_explicit(&seg.head->perf_tick_ns, (uint32_t)tick_ns, memory_order_relaxed);
}

uint32_t perf_rate(uint32_t hz, uint32_t tick_hz, uint32_t budget_ppm, uint32_t tick_ns)
{
	if (!budget_ppm)
		return hz;
	if (!tick_ns)
		return 0;
	uint64_t left_ns = (uint64_t)budget_ppm * 1000 / 2, timer_ns = (uint64_t)tick_hz * PULSE_SAMPLE_NS;
	uint64_t most = left_ns > timer_ns ? (left_ns - timer_ns) / ((uint64_t)tick_ns + PULSE_SAMPLE_NS) : 0;
	if (most >= hz)
		return hz;
	return most >= (uint64_t)tick_hz * 2 ? (uint32_t)most : 0;
}
