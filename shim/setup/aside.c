/* The thread sleeps on a word of ours, waits for its turn in slices, or waits in a poll of the exporter. What interrupts that poll is the
 * signal by which glibc makes threads change their ids: no mask keeps it away, its handler is there since the first thread
 * was made, and looks at nothing that was queued rather than sent by tgkill (sighandler_setxid).
 */
#include "aside.h"

#include "../segment/kernel_clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	SIGNAL_SETXID = 33,    /* glibc, sysdeps/unix/sysv/linux/internal-signals.h */
	KERNEL_MASK_BYTES = 8,
	NOT_BEGUN = -1,        /* the thread is made, and has not said its number yet */
	PAUSE_NS = 200000,
	LEAVING_MS = 100,      /* from the thread's last line to its end in the kernel */
};

/* struct sigaction of the kernel, whose libc twin will not be told of its own signals. */
struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static _Atomic uint32_t asked_count; /* calls for which the thread is to be gone; it sleeps on this word */
static _Atomic int32_t thread_tid;   /* of the last thread of ours, NOT_BEGUN, or 0 = it is known to be gone */
static _Atomic bool is_leaving;      /* it has come to its end */
static _Atomic bool has_made_room;   /* it ended because it was asked to */
static _Atomic bool have_rights_changed;
static int securebits;               /* of the thread */

static bool is_gone(int32_t tid)
{
	return !tid || (syscall(SYS_tgkill, getpid(), tid, 0) < 0 && errno == ESRCH);
}

static bool read_capabilities(int32_t tid, struct __user_cap_data_struct ret_data[2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = tid };

	return syscall(SYS_capget, &header, ret_data) == 0;
}

/* What the caller and the thread have. False: there is no thread. */
static bool read_both(struct __user_cap_data_struct ret_own[2], struct __user_cap_data_struct ret_other[2])
{
	int32_t tid = atomic_load_explicit(&thread_tid, memory_order_acquire);

	return tid > 0 && read_capabilities(0, ret_own) && read_capabilities(tid, ret_other);
}

static bool is_there(void)
{
	int32_t tid = atomic_load_explicit(&thread_tid, memory_order_acquire);

	return tid && !atomic_load_explicit(&is_leaving, memory_order_relaxed) && (tid == NOT_BEGUN || !is_gone(tid));
}

bool aside_is_needed(void)
{
	struct __user_cap_data_struct own[2] = { 0 }, other[2] = { 0 };

	if (atomic_load_explicit(&have_rights_changed, memory_order_relaxed) || prctl(PR_GET_SECUREBITS) != securebits ||
	    !read_both(own, other))
		return is_there();
	return memcmp(own, other, sizeof(own)) != 0;
}

bool aside_has_more_rights(void)
{
	struct __user_cap_data_struct own[2] = { 0 }, other[2] = { 0 };

	if (!read_both(own, other))
		return is_there();
	return (other[0].permitted & ~own[0].permitted) || (other[1].permitted & ~own[1].permitted);
}

void aside_rights_changed(void)
{
	atomic_store_explicit(&have_rights_changed, true, memory_order_relaxed);
}

static bool has_setxid_handler(void)
{
	struct kernel_action action = { 0 };

	return syscall(SYS_rt_sigaction, SIGNAL_SETXID, NULL, &action, KERNEL_MASK_BYTES) == 0 &&
	       action.handler != (void *)SIG_DFL && action.handler != (void *)SIG_IGN;
}

static void interrupt(int32_t tid)
{
	siginfo_t info = { .si_signo = SIGNAL_SETXID, .si_code = SI_QUEUE, .si_pid = getpid(), .si_uid = getuid() };

	syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGNAL_SETXID, &info);
}

/* One look at the thread: true if it is gone. Interrupts it again each time: before it may just have been about to wait. */
static bool look(bool may_interrupt)
{
	int32_t tid = atomic_load_explicit(&thread_tid, memory_order_acquire);

	if (tid == NOT_BEGUN)
		return false;
	if (is_gone(tid)) {
		atomic_compare_exchange_strong_explicit(&thread_tid, &tid, 0, memory_order_relaxed, memory_order_relaxed);
		return true;
	}
	if (may_interrupt && !atomic_load_explicit(&is_leaving, memory_order_acquire))
		interrupt(tid);
	return false;
}

bool aside_begin(unsigned max_ms)
{
	const struct timespec pause = { 0, PAUSE_NS };
	uint64_t waited_ns = 0, left_ns = 0;

	atomic_fetch_add_explicit(&asked_count, 1, memory_order_seq_cst);
	syscall(SYS_futex, &asked_count, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	bool may_interrupt = atomic_load_explicit(&thread_tid, memory_order_relaxed) && has_setxid_handler();
	while (!look(may_interrupt)) {
		/* Its number may be another thread's when it has left for so long. */
		if (waited_ns >= max_ms * 1000000ULL || left_ns >= LEAVING_MS * 1000000ULL)
			return left_ns > 0;
		nanosleep(&pause, NULL);
		waited_ns += PAUSE_NS;
		if (atomic_load_explicit(&is_leaving, memory_order_relaxed))
			left_ns += PAUSE_NS;
	}
	return true;
}

bool aside_end(void)
{
	if (atomic_fetch_sub_explicit(&asked_count, 1, memory_order_seq_cst) != 1)
		return false;
	return atomic_exchange_explicit(&has_made_room, false, memory_order_relaxed);
}

void aside_forked(void)
{
	atomic_store(&asked_count, 0);
	atomic_store(&thread_tid, 0);
	atomic_store(&has_made_room, false);
}

void aside_thread_is_made(bool is_made)
{
	securebits = prctl(PR_GET_SECUREBITS);
	atomic_store_explicit(&have_rights_changed, false, memory_order_relaxed);
	atomic_store_explicit(&is_leaving, false, memory_order_relaxed);
	atomic_store_explicit(&thread_tid, is_made ? NOT_BEGUN : 0, memory_order_release);
}

void aside_thread_begins(void)
{
	atomic_store_explicit(&thread_tid, (int32_t)gettid(), memory_order_release);
}

void aside_thread_ends(void)
{
	if (aside_is_asked())
		atomic_store_explicit(&has_made_room, true, memory_order_relaxed);
	atomic_store_explicit(&is_leaving, true, memory_order_release);
}

bool aside_is_asked(void)
{
	return atomic_load_explicit(&asked_count, memory_order_seq_cst) != 0;
}

void aside_sleep(unsigned ms)
{
	struct timespec until = kernel_clock_after_ms(ms);

	/* Wakes by itself, at its end only; the mask of all keeps the time absolute. */
	while (!aside_is_asked() && (syscall(SYS_futex, &asked_count, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL,
					     FUTEX_BITSET_MATCH_ANY) == 0 ||
				     errno == EINTR))
		;
}
