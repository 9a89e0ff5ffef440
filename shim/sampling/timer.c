/* Raw system calls: the C library's timer_create wraps the kernel's id in an object of its own, which it may allocate.
 *
 * Every timer stands in a table by its thread's id, so that whoever finds that the rate has changed can make it anew for
 * threads that sit in one computation and call nothing. A timer's id is taken out of the table by one exchange, and who
 * took it deletes it. The kernel gives ids of timers in rising order, so one that was just deleted is nobody else's yet.
 */
#include "timer.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "../base/log.h"
#include "pulse.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
	PLACES = 1 << 14, /* a page of it is made when a thread first needs it, and ids that follow each other share pages */
	PROBES = 32,
	STRIDE = 1031,    /* on from a place that is taken: beyond the run of ids that it belongs to, and odd, as PLACES is not */
};

#define ARMED (1ULL << 63)
#define FAILED 1 /* as armed: none could be made, which was told */

/* Whoever exchanges armed for 0 has the timer. */
struct place {
	_Atomic uint64_t owner; /* generation << 32 | thread id; of another generation = free */
	_Atomic uint64_t armed; /* ARMED | hz << 32 | the kernel's id; 0 = no timer */
};
static struct place places[PLACES];
static uint64_t generation = 1; /* of forks: what the parent had is not the child's. W: timer_forked */
static _Atomic int32_t place_count;

/* So many places from its thread's first one on a timer may stand. Only grows, before a place is taken: mostly it is 1, and
 * who looks for a thread that has no timer, as each new one does, need not look at them all. */
static _Atomic uint32_t reach;

static __thread struct place *own __attribute__((tls_model("initial-exec"))); /* NULL: not looked for, or none was free */

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
static int32_t timer_make(uint32_t tid, uint32_t hz, uint64_t first_ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	struct itimerspec times = { .it_interval = timespec_of(pulse_period_ns(hz)), .it_value = timespec_of(first_ns) };
	int32_t timer;

	event.sigev_value.sival_ptr = pulse_cookie(hz);
	event.sigev_notify_thread_id = (pid_t)tid;
	if (syscall(SYS_timer_create, thread_clock(tid), &event, &timer) != 0)
		return -1;
	if (tid != self.tid)
		pulse_expect(timer, tid);
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

static uint64_t owner_of(uint32_t tid)
{
	return generation << 32 | tid;
}

/* Where a thread's timer may stand: the i-th of PROBES. */
static struct place *place_for(uint32_t tid, uint32_t i)
{
	return &places[(tid + i * STRIDE) % PLACES];
}

static void extend_reach(uint32_t to)
{
	uint32_t now = atomic_load_explicit(&reach, memory_order_relaxed);

	while (now < to && !atomic_compare_exchange_weak_explicit(&reach, &now, to, memory_order_acq_rel, memory_order_relaxed))
		;
}

static struct place *find(uint32_t tid)
{
	uint32_t end = atomic_load_explicit(&reach, memory_order_acquire);

	for (uint32_t i = 0; i < end; i++) {
		struct place *place = place_for(tid, i);
		if (atomic_load_explicit(&place->owner, memory_order_relaxed) == owner_of(tid))
			return place;
	}
	return NULL;
}

static bool is_free(uint64_t owner)
{
	return owner >> 32 != generation;
}

static void disarm(struct place *place)
{
	uint64_t armed = atomic_exchange_explicit(&place->armed, 0, memory_order_acq_rel);

	if (armed & ARMED)
		timer_delete_raw((int32_t)armed);
}

/* One without a timer; NULL: none is free. */
static struct place *claim(uint32_t tid)
{
	atomic_fetch_add_explicit(&place_count, 1, memory_order_relaxed);
	for (uint32_t i = 0; i < PROBES; i++) {
		struct place *place = place_for(tid, i);
		uint64_t owner = atomic_load_explicit(&place->owner, memory_order_relaxed);
		if (!is_free(owner))
			continue;
		extend_reach(i + 1);
		if (!atomic_compare_exchange_strong_explicit(&place->owner, &owner, owner_of(tid), memory_order_acquire,
							     memory_order_relaxed))
			continue;
		if (owner) /* what stands there was the parent's */
			atomic_store_explicit(&place->armed, 0, memory_order_relaxed);
		else /* the timer that timer_follow_all made while the thread gave its place back */
			disarm(place);
		return place;
	}
	atomic_fetch_sub_explicit(&place_count, 1, memory_order_relaxed);
	return NULL;
}

/* By the thread at its end, or by who finds it gone, once: meanwhile the place is that of no thread, and not free. */
static void give_back(struct place *place, uint32_t tid)
{
	uint64_t owner = owner_of(tid);

	if (!atomic_compare_exchange_strong_explicit(&place->owner, &owner, owner_of(0), memory_order_acquire, memory_order_relaxed))
		return;
	disarm(place);
	atomic_store_explicit(&place->owner, 0, memory_order_release);
	atomic_fetch_sub_explicit(&place_count, 1, memory_order_relaxed);
}

/* Instead of what is there. */
static void arm(struct place *place, int32_t timer, uint32_t hz)
{
	uint64_t before = atomic_exchange_explicit(&place->armed, ARMED | (uint64_t)hz << 32 | (uint32_t)timer, memory_order_acq_rel);

	if (before & ARMED)
		timer_delete_raw((int32_t)before);
}

static uint32_t hz_of(const struct place *place)
{
	return (uint32_t)((atomic_load_explicit(&place->armed, memory_order_relaxed) & ~ARMED) >> 32);
}

static uint32_t calling_tid(void)
{
	return self.tid ? self.tid : (uint32_t)syscall(SYS_gettid);
}

/* The calling thread's, which somebody may have made for it. */
static struct place *own_place(void)
{
	if (!own)
		own = find(calling_tid());
	return own;
}

uint32_t timer_hz(void)
{
	const struct place *place = own_place();

	return place ? hz_of(place) : 0;
}

static bool drop(void)
{
	struct place *place = own_place();
	bool had_one = self.timer >= 0 || (place && hz_of(place));

	if (place)
		disarm(place);
	else if (self.timer >= 0)
		timer_delete_raw(self.timer);
	self.timer = -1;
	return had_one;
}

/* Told once of a thread, however often it is tried. */
static void fail(struct place *place, bool was_told, int error)
{
	if (place)
		atomic_store_explicit(&place->armed, FAILED, memory_order_relaxed);
	if (!was_told)
		report_failure(error);
}

static bool has_failed(const struct place *place)
{
	return place && atomic_load_explicit(&place->armed, memory_order_relaxed) == FAILED;
}

/* The old one goes first, since there may be no room for both. */
bool timer_start(uint32_t hz, uint64_t first_ns)
{
	uint32_t tid = calling_tid();

	bool was_told = has_failed(own_place());
	drop();
	self.timer = timer_make(tid, hz, first_ns);
	int error = errno;
	if (!own)
		own = claim(tid);
	if (self.timer >= 0 && own)
		arm(own, self.timer, hz);
	else if (self.timer < 0)
		fail(own, was_told, error);
	return self.timer >= 0;
}

bool timer_stop(void)
{
	bool had_one = drop();

	if (own)
		give_back(own, calling_tid());
	own = NULL;
	return had_one;
}

static uint64_t random_ns(uint32_t tid, uint32_t hz)
{
	uint64_t dice[2] = { clock_now_ns(), tid };

	return 1 + seg_key_of_bytes(dice, sizeof(dice), 0) % pulse_period_ns(hz);
}

static void arm_for(struct place *place, uint32_t tid, uint32_t hz)
{
	int32_t timer = timer_make(tid, hz, random_ns(tid, hz));

	if (timer >= 0)
		arm(place, timer, hz);
	else if (errno != EINVAL && errno != ESRCH /* the thread has ended meanwhile */ && !hz_of(place))
		fail(place, has_failed(place), errno);
}

/* It was made by the C library, so that our thread-local memory is there for it: such a thread registers its list of robust
 * mutexes before anything else (glibc's nptl/pthread_create.c, start_thread). One that was made by clone(2) may point
 * anywhere; a signal could ruin it, so it gets none. */
static bool is_of_libc(uint32_t tid)
{
	void *robust = NULL;
	size_t bytes;

	return syscall(SYS_get_robust_list, tid, &robust, &bytes) == 0 && robust;
}

/* 0: nobody's, or the calling thread's. */
static uint32_t other_thread(const struct place *place, uint32_t own_tid)
{
	uint64_t owner = atomic_load_explicit(&place->owner, memory_order_relaxed);

	return is_free(owner) || (uint32_t)owner == own_tid ? 0 : (uint32_t)owner;
}

void timer_follow_all(uint32_t hz)
{
	uint32_t own_tid = (uint32_t)syscall(SYS_gettid);

	for (struct place *place = places; place < places + PLACES; place++) {
		uint32_t tid = other_thread(place, own_tid);
		if (!tid || hz_of(place) == hz || !is_of_libc(tid))
			continue;
		if (hz)
			arm_for(place, tid, hz);
		else
			disarm(place);
	}
}

void timer_abandon_all(void)
{
	if (timer_count() > (own != NULL))
		timer_follow_all(0);
}

uint32_t timer_count(void)
{
	int32_t count = atomic_load_explicit(&place_count, memory_order_relaxed);

	return count > 0 ? (uint32_t)count : 0;
}

void timer_forked(void)
{
	generation++;
	atomic_store_explicit(&reach, 0, memory_order_relaxed);
	atomic_store_explicit(&place_count, 0, memory_order_relaxed);
	self.timer = -1;
	own = NULL;
}

static void delete_ended(uint32_t own_tid)
{
	pid_t pid = getpid();

	for (struct place *place = places; place < places + PLACES; place++) {
		uint32_t tid = other_thread(place, own_tid);
		if (tid && syscall(SYS_tgkill, pid, tid, 0) != 0 && errno == ESRCH)
			give_back(place, tid);
	}
}

/* Threads that libc makes by itself end without a word, many at once; their places are all next to each other. */
static struct place *claim_for(uint32_t tid, uint32_t own_tid)
{
	struct place *place = claim(tid);

	if (place)
		return place;
	delete_ended(own_tid);
	return claim(tid);
}

/* False: it was met for the first time. */
static bool adopt(uint32_t tid, uint32_t own_tid, uint32_t hz, bool is_first)
{
	struct place *place = find(tid);
	bool is_known = place != NULL;

	if (!is_known && !(place = claim_for(tid, own_tid))) {
		report_failure(ENOSPC);
		return true;
	}
	if ((is_known || is_first) && !atomic_load_explicit(&place->armed, memory_order_relaxed) && is_of_libc(tid))
		arm_for(place, tid, hz);
	return is_known;
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

bool timer_adopt_all(uint32_t hz, bool is_first)
{
	_Alignas(struct entry) char buffer[4096];
	uint32_t own_tid = (uint32_t)syscall(SYS_gettid);
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool are_known = true;
	long bytes;

	if (timer_count() > (own != NULL)) /* to look at the table is to make its pages */
		delete_ended(own_tid);
	if (fd < 0) {
		if (is_first)
			log_line(SEG_LOG_WARN, "/proc/self/task cannot be read, threads from before the start are not sampled: %s",
				 strerror(errno));
		return true;
	}
	while ((bytes = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < bytes; at += ((const struct entry *)(buffer + at))->bytes) {
			uint32_t tid = number_of(((const struct entry *)(buffer + at))->name);
			if (tid && tid != own_tid)
				are_known &= adopt(tid, own_tid, hz, is_first);
		}
	close(fd);
	return are_known;
}
