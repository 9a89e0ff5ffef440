/* A file of the perf clock that is closed goes on as long as it is mapped, its asynchronous notification included: that is
 * undone when the file is released (fs/file_table.c, __fput), not when a descriptor of it is closed.
 *
 * Each overflow writes a record of 16 bytes. The mapping is read-only, so the kernel overwrites the oldest for ever
 * (perf_event_open(2), data_head), and how far it has come tells how many there were, signals lost or not.
 */
#include "perf.h"

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

bool perf_begin(uint32_t hz)
{
	if (mapped)
		perf_end();
	if (atomic_load_explicit(&is_refused, memory_order_relaxed))
		return false;
	int fd = open_clock(hz);
	if (fd < 0) {
		refuse(errno);
		return false;
	}
	void *memory = (void *)syscall(SYS_mmap, NULL, MAPPED_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED || (pulse.perf_fd = fd, !notify_by_signal(fd))) {
		refuse(errno);
		if (memory != MAP_FAILED)
			syscall(SYS_munmap, memory, MAPPED_BYTES);
		syscall(SYS_close, fd);
		return false;
	}
	const struct perf_event_mmap_page *page = memory;
	mapped = memory;
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
	syscall(SYS_munmap, mapped, MAPPED_BYTES);
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
