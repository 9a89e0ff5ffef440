/* Raw system calls: the C library's timer_create wraps the kernel's id in an object of its own, which it may allocate.
 *
 * The first expiry is uniformly random in one period. A thread that lives for a tenth of a period is then met once in ten
 * such threads, so the sum over many short threads is true.
 */
#include "timer.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "../base/log.h"
#include "handler.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { ADOPTED_MAX = 512 };

/* Whoever exchanges tid for 0 has the timer. */
static struct {
	_Atomic uint32_t tid; /* 0 = free */
	int32_t timer;
} adopted[ADOPTED_MAX];

static _Atomic uint32_t has_logged_failure;

/* The kernel's name of a thread's CPU clock: the complement of its id above three bits that say "of a thread" and
 * "time that the scheduler counted" (include/linux/posix-timers_types.h). */
static clockid_t thread_clock(uint32_t tid)
{
	enum { OF_THREAD = 4, BY_SCHEDULER = 2 };

	return (clockid_t)(~tid << 3 | OF_THREAD | BY_SCHEDULER);
}

static void timer_delete_raw(int32_t timer)
{
	syscall(SYS_timer_delete, timer);
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
}

/* The kernel's id, or -1 with errno. */
static int32_t timer_make(uint32_t tid, uint64_t period_ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	uint64_t dice[2] = { clock_now_ns(), tid };
	uint64_t first_ns = 1 + seg_key_of_bytes(dice, sizeof(dice), 0) % period_ns;
	struct itimerspec times = { .it_interval = timespec_of(period_ns), .it_value = timespec_of(first_ns) };
	int32_t timer;

	event.sigev_value.sival_ptr = &sig_cookie;
	event.sigev_notify_thread_id = (pid_t)tid;
	if (syscall(SYS_timer_create, thread_clock(tid), &event, &timer) != 0)
		return -1;
	if (syscall(SYS_timer_settime, timer, 0, &times, NULL) != 0) {
		int error = errno;
		timer_delete_raw(timer);
		errno = error;
		return -1;
	}
	return timer;
}

static void report_failure(int error)
{
	thread_count(SEG_COUNTER_TIMER_FAILED);
	if (!atomic_exchange_explicit(&has_logged_failure, 1, memory_order_relaxed))
		log_line(SEG_LOG_WARN, "no CPU timer for a thread, it is not sampled (nor others that this happens to): %s",
			 strerror(error));
}

/* Takes the timer of an adopted thread out of the table; -1 = it has none there. */
static int32_t take_adopted(uint32_t tid)
{
	for (int i = 0; i < ADOPTED_MAX; i++) {
		_Atomic uint32_t *owner = &adopted[i].tid;
		uint32_t expected = tid;
		if (atomic_load_explicit(owner, memory_order_acquire) != tid)
			continue;
		int32_t timer = adopted[i].timer;
		if (atomic_compare_exchange_strong_explicit(owner, &expected, 0, memory_order_acq_rel, memory_order_relaxed))
			return timer;
	}
	return -1;
}

void timer_start(uint64_t period_ns)
{
	if (self.timer >= 0)
		return;
	uint32_t tid = (uint32_t)syscall(SYS_gettid);
	self.timer = take_adopted(tid);
	if (self.timer < 0)
		self.timer = timer_make(tid, period_ns);
	if (self.timer < 0)
		report_failure(errno);
}

void timer_stop(void)
{
	int32_t timer = self.timer >= 0 ? self.timer : take_adopted((uint32_t)syscall(SYS_gettid));

	self.timer = -1;
	if (timer >= 0)
		timer_delete_raw(timer);
}

static bool is_adopted(uint32_t tid)
{
	for (int i = 0; i < ADOPTED_MAX; i++)
		if (atomic_load_explicit(&adopted[i].tid, memory_order_relaxed) == tid)
			return true;
	return false;
}

static void adopt(uint32_t tid, uint64_t period_ns)
{
	int place = 0;

	while (place < ADOPTED_MAX && atomic_load_explicit(&adopted[place].tid, memory_order_acquire))
		place++;
	if (place == ADOPTED_MAX) {
		report_failure(ENOSPC);
		return;
	}
	int32_t timer = timer_make(tid, period_ns);
	if (timer < 0) {
		if (errno != EINVAL) /* the thread has ended meanwhile */
			report_failure(errno);
		return;
	}
	adopted[place].timer = timer;
	atomic_store_explicit(&adopted[place].tid, tid, memory_order_release);
}

static void delete_ended(void)
{
	pid_t pid = getpid();

	for (int i = 0; i < ADOPTED_MAX; i++) {
		uint32_t tid = atomic_load_explicit(&adopted[i].tid, memory_order_relaxed);
		int32_t timer;
		if (tid && syscall(SYS_tgkill, pid, tid, 0) != 0 && errno == ESRCH && (timer = take_adopted(tid)) >= 0)
			timer_delete_raw(timer);
	}
}

/* What getdents64(2) writes. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

static uint32_t number_of(const char *name)
{
	uint32_t number = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		number = number * 10 + (uint32_t)(*name - '0');
	return *name ? 0 : number;
}

void timer_adopt_all(uint64_t period_ns)
{
	_Alignas(struct entry) char buffer[4096];
	uint32_t own_tid = (uint32_t)syscall(SYS_gettid);
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long bytes;

	delete_ended();
	if (fd < 0) {
		log_line(SEG_LOG_WARN, "/proc/self/task cannot be read, threads from before the start are not sampled: %s",
			 strerror(errno));
		return;
	}
	while ((bytes = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < bytes; at += ((const struct entry *)(buffer + at))->bytes) {
			uint32_t tid = number_of(((const struct entry *)(buffer + at))->name);
			if (tid && tid != own_tid && !is_adopted(tid))
				adopt(tid, period_ns);
		}
	close(fd);
}

void timer_abandon_all(void)
{
	for (int i = 0; i < ADOPTED_MAX; i++) {
		uint32_t tid = atomic_load_explicit(&adopted[i].tid, memory_order_relaxed);
		int32_t timer = tid ? take_adopted(tid) : -1;
		if (timer >= 0)
			timer_delete_raw(timer);
	}
}

void timer_forked(void)
{
	self.timer = -1;
	for (int i = 0; i < ADOPTED_MAX; i++)
		atomic_store_explicit(&adopted[i].tid, 0, memory_order_relaxed);
}
