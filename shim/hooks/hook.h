#pragma once
/* hook - what every interposed call has in common: whether it is ours to see, its count, its time, its errno.
 * Context: call.
 *
 *	HOOK ssize_t recv(int fd, void *buffer, size_t bytes, int flags)
 *	{
 *		struct hook hook;
 *		if (!hook_enter(&hook, SEG_CALL_RECV))
 *			return real.recv(fd, buffer, bytes, flags);
 *		... before ...
 *		ssize_t result = real.recv(fd, buffer, bytes, flags);
 *		hook_returned(&hook);
 *		... one tracking call, with hook.end_ns ...
 *		hook_leave(&hook);
 *		return result;
 *	}
 *
 * Between hook_enter and hook_returned the program may run (signal handlers, cancellation, longjmp), so nothing is held
 * then; self.call tells the sampler where we are. Between hook_returned and hook_leave own_depth is raised: what profshim
 * itself calls passes through uncounted, and so does a handler of the program that interrupts those nanoseconds; but a child
 * that it forks is a process like others (setup/shim.c).
 *
 * A handler may leave the call for good, by siglongjmp or by ending the thread, at any instruction; a C++ exception may
 * pass through. What was raised then stays so until the next call of the thread finds, from higher up the same stack, that
 * the frame is gone.
 */
#include "../base/clock.h"
#include "../base/real.h"
#include "../base/thread.h"
#include "../base/work.h"
#include "../requests/connection.h"
#include "../sampling/pulse.h"
#include "../setup/shim.h"

#include <errno.h>
#include <stdbool.h>

#define HOOK __attribute__((visibility("default")))

/* The function is the hook of one form of a name that glibc keeps in several, "name@VERSION", or @@ for the one of today
 * (profshim.map; dlvsym(3)). */
#define HOOK_VERSION(function, name) __asm__(".symver " #function ", " name ", remove")

/* What such a hook does where the program is profiled. Apart, so that where it is not the call saves no registers: it costs
 * two instructions more than a call through a table. */
#define APART __attribute__((noinline))

/* One call in this many pays for a clock reading that tells what our part of it costs; the sum is scaled up. */
enum { HOOK_OVERHEAD_EVERY = 64 };

/* Of transfers that never wait the first HOOK_TIMED_FIRST of a kind and slot are timed, and then one in HOOK_TIMED_EVERY, which
 * stands for as many: a reading of the clock costs a tenth of what all else in such a hook does together. */
enum { HOOK_TIMED_FIRST = 64, HOOK_TIMED_EVERY = 16 };

struct hook {
	uint64_t start_ns; /* 0: not timed */
	uint64_t end_ns;
	uint32_t weight;   /* how many calls its time stands for */
	uint32_t outer_call; /* self.call and self.call_frame of the call that this one interrupts */
	uintptr_t outer_frame;
	enum seg_call call;
	int saved_errno;
};

/* The slow answers: not active, a thread that is met for the first time, or one that left its last call by a jump. */
__attribute__((cold)) bool hook_enter_slowly(void);

/* What lay at frame, of a call of this thread, is no longer on the stack, as seen from here. */
bool hook_is_gone(uintptr_t frame, uintptr_t here);

/* Another call is on, as far as self knows: forgets it if it was left by a jump. */
__attribute__((cold)) void hook_enter_within(uintptr_t frame);

/* The process is profiled, this thread has a slot to count in, and it is the program's code that calls. */
static inline __attribute__((always_inline)) bool hook_may_see(void)
{
	if (__builtin_expect(atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE ||
			     (self.own_depth | self.in_handler) || !self.slot || pulse_is_behind(), 0))
		return hook_enter_slowly();
	return true;
}

/* All of hook_enter but the clock. */
static inline __attribute__((always_inline)) bool hook_begin(struct hook *hook, enum seg_call call)
{
	if (__builtin_expect(!hook_may_see(), 0))
		return false;
	thread_add(&self.slot->call_counts[call], 1);
	if (__builtin_expect(self.call != 0, 0))
		hook_enter_within((uintptr_t)hook);
	hook->call = call;
	hook->outer_call = self.call;
	hook->outer_frame = self.call_frame;
	self.call_frame = (uintptr_t)hook;
	self.call = (uint32_t)call + 1;
	return true;
}

static inline bool hook_enter(struct hook *hook, enum seg_call call)
{
	if (!hook_begin(hook, call))
		return false;
	hook->weight = 1;
	hook->start_ns = clock_now_ns();
	return true;
}

/* For how many calls the time of this one, the count-th of its kind, stands. By the golden ratio: of any so many in a row
 * the share is the same, and no pattern of the program's falls into step with it. */
static inline uint32_t hook_weight_of(uint64_t count)
{
	const uint32_t golden = 0x9e3779b9; /* 2^32 by the golden ratio */

	if (count <= HOOK_TIMED_FIRST)
		return 1;
	return (uint32_t)count * golden < UINT32_MAX / HOOK_TIMED_EVERY ? HOOK_TIMED_EVERY : 0;
}

/* The rest of hook_enter, of a transfer. never_waits: it may fail at once where others would wait. */
static inline void hook_time_transfer(struct hook *hook, bool never_waits)
{
	const _Atomic uint64_t *count = &self.slot->call_counts[hook->call];

	hook->weight = never_waits ? hook_weight_of(atomic_load_explicit(count, memory_order_relaxed)) : 1;
	hook->start_ns = hook->weight ? clock_now_ns() : 0;
}

/* The real call came back: keeps its errno, takes its time. */
static inline void hook_returned(struct hook *hook)
{
	hook->saved_errno = errno;
	hook->end_ns = clock_now_ns();
	self.own_depth = THREAD_LEAVES_HOOK;
	if (hook->weight)
		thread_add(&self.slot->call_ns[hook->call], (hook->end_ns - hook->start_ns) * hook->weight);
}

static inline void hook_leave(const struct hook *hook)
{
	if (__builtin_expect(hook->end_ns % HOOK_OVERHEAD_EVERY == 0, 0))
		thread_add(&self.slot->overhead_ns[SEG_PHASE_HOOKS], (clock_now_ns() - hook->end_ns) * HOOK_OVERHEAD_EVERY);
	self.own_depth = 0;
	self.call = hook->outer_call;
	self.call_frame = hook->outer_frame;
	errno = hook->saved_errno;
}

/* For calls with nothing to track. */
static inline void hook_done(struct hook *hook)
{
	hook_returned(hook);
	hook_leave(hook);
}
