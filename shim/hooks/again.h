#pragma once
/* again - calls that a signal of ours interrupted, seen from the hook.
 * Context: call.
 *
 * Most such calls are made again by the handler (sampling/restart.h), and the hook knows nothing of it. It helps where the
 * handler cannot know enough: it says which call is on and when its time-out ends.
 *
 *	again_expect(&hook, SYS_poll, again_end_ms(hook.start_ns, timeout_ms));
 *	int result = real.poll(fds, count, timeout_ms);
 *	again_done();
 *
 * The time-outs of sockets (SO_RCVTIMEO, SO_SNDTIMEO) are the kernel's. An interrupted call has ended for good there, and is
 * made again by the hook, once the descriptor is ready or the time is over:
 *
 *	ssize_t result = AGAIN(&hook, fd, POLLIN, flags, real.recv(fd, buffer, bytes, flags));
 *
 * A signal that wakes a thread and is then taken by another one (disposition.h, disposition_is_shared) ends some calls, too.
 * The kernel begins most of them anew if no handler has run. It does not where the call itself says EINTR: epoll_wait and its
 * like (fs/eventpoll.c, ep_poll), semop (ipc/sem.c), sigtimedwait (kernel/signal.c), io_getevents (fs/aio.c), which
 * AGAIN_IF_NOBODY mends, and time-outs of sockets; nor does it go on with a transfer that is partly done. All others that wait
 * with a time-out keep its end by themselves (futexes, sleeps, poll). What makes its system calls itself has no hook to mend them.
 *
 * A handler of the program's that runs in the midst of that is told of by self.handlers_run, and ends the call; one that
 * comes in the few instructions between the last look at that word and the call is taken to have come before the call.
 */
#include "hook.h"

#include "../base/readable.h"
#include "../sampling/disposition.h"

#include <poll.h>
#include <sys/syscall.h>

static inline void again_expect(const void *frame, int number, uint64_t end_ns)
{
	self.wait.end_ns = end_ns;
	self.wait.number = number;
	atomic_signal_fence(memory_order_release);
	self.wait.frame = (uintptr_t)frame;
}

static inline void again_done(void)
{
	self.wait.frame = 0;
}

/* Before the call as many of the program's handlers had run on this thread: what ended it was for nobody. */
static inline bool again_was_for_nobody(uint32_t handlers_run)
{
	return atomic_load_explicit(&disposition_is_shared, memory_order_relaxed) && self.handlers_run == handlers_run;
}

/* What is left of a time-out, whose end was told by again_expect; in milliseconds, or put into room. */
int again_left_ms(int timeout_ms);
const struct timespec *again_left(const struct timespec *timeout, struct timespec *room);

/* call, and then rest, the same with what is left of its time, as often as it must be. */
#define AGAIN_IF_NOBODY(call, rest)                                                                                        \
	__extension__({                                                                                                \
		uint32_t handlers_run_ = self.handlers_run;                                                            \
		__typeof__(call) result_ = (call);                                                                     \
		while (__builtin_expect(result_ < 0 && errno == EINTR, 0) && again_was_for_nobody(handlers_run_))      \
			result_ = (rest);                                                                              \
		result_;                                                                                               \
	})

static inline uint64_t again_end_ms(uint64_t start_ns, int timeout_ms)
{
	return timeout_ms > 0 ? start_ns + (uint64_t)timeout_ms * 1000000 : 0;
}

/* One that cannot be read is the kernel's to refuse. */
static inline uint64_t again_end(uint64_t start_ns, const struct timespec *timeout)
{
	enum { FOREVER_SECONDS = 1 << 30 };

	if (!timeout || !readable(timeout, sizeof(*timeout)) || timeout->tv_sec < 0 || timeout->tv_sec > FOREVER_SECONDS)
		return 0;
	return start_ns + (uint64_t)timeout->tv_sec * 1000000000 + (uint64_t)timeout->tv_nsec;
}

/* Of a pause: 0 where the kernel keeps its end, or where its clock is none that goes on whatever anybody does (clock_nanosleep(2)). */
static inline uint64_t again_end_of_pause(uint64_t start_ns, clockid_t clock, int flags, const struct timespec *time)
{
	bool is_steady = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;

	return is_steady && !(flags & TIMER_ABSTIME) ? again_end(start_ns, time) : 0;
}

/* The call that began at start_ns (0: it was not thought to wait, hook.h), when handlers_run was this, failed with errno. True: for
 * our signal's sake, and it is to be made again. False: errno is what it shall be. */
__attribute__((cold)) bool again_is_wanted(uint64_t start_ns, uint32_t handlers_run, int fd, short events, int flags);

#define AGAIN(hook, fd, events, flags, call)                                                                                \
	__extension__({                                                                                                \
		__typeof__(call) result_;                                                                              \
		uint32_t handlers_run_ = self.handlers_run;                                                            \
		do {                                                                                                   \
			self.is_interrupted = 0;                                                                       \
			again_expect(hook, THREAD_WAIT_HOOK, 0);                                                       \
			result_ = (call);                                                                              \
			again_done();                                                                                  \
			self.is_interrupted |= again_was_for_nobody(handlers_run_);                                    \
		} while (__builtin_expect(result_ == -1 && self.is_interrupted, 0) &&                                  \
			 again_is_wanted((hook)->start_ns, handlers_run_, fd, events, flags));                         \
		result_;                                                                                               \
	})

/* connect(2), which is not begun anew: where a connection is on its way it is waited for. */
int again_connect(const struct hook *hook, int fd, const struct sockaddr *address, socklen_t bytes);

/* As self.handlers_run stands before self.is_interrupted is looked at. */
static inline uint32_t again_handlers_run(void)
{
	uint32_t handlers_run = self.handlers_run;

	atomic_signal_fence(memory_order_acquire);
	return handlers_run;
}

/* A signal ends a transfer that has begun with what was done so far, where without it the call would have waited for the
 * rest. Does that, after result of bytes, or of what iov has in all; the new result. call: what sends bytes more. */
typedef ssize_t again_send(int fd, const void *buffer, size_t bytes, int flags);
__attribute__((cold)) ssize_t again_send_rest(const struct hook *hook, int fd, const void *buffer, size_t bytes, int flags, ssize_t result, again_send *call);
__attribute__((cold)) ssize_t again_send_rest_of(const struct hook *hook, int fd, const struct iovec *iov, size_t iov_count, int flags, ssize_t result,
			   again_send *call);

/* Of a receive with MSG_WAITALL. */
__attribute__((cold)) ssize_t again_receive_rest(const struct hook *hook, int fd, void *buffer, size_t bytes, int flags, ssize_t result);

/* Whether there may be a rest: inline, for all those calls that were not interrupted. */
static inline bool again_may_have_rest(ssize_t result)
{
	return __builtin_expect(self.is_interrupted && result > 0, 0);
}

/* A transfer on fd waits until all is done. */
bool again_waits(int fd, int flags);

/* One that has begun there is to go on: a signal of ours ended it, and no handler of the program's has run since handlers_run was
 * looked at. */
__attribute__((cold)) bool again_goes_on(int fd, int flags, uint32_t handlers_run);

/* write(2) as such a call. */
ssize_t again_write(int fd, const void *buffer, size_t bytes, int unused);
