/* wait - the calls in which event loops rest. While a thread waits it works for nobody; what it then wakes up for is not
 * known until it touches a connection (base/work.h).
 */
#include "hook.h"

#include "../base/readable.h"
#include "../sampling/modules.h"
#include "../sampling/stacks.h"
#include "../setup/server.h"
#include "again.h"
#include "loader.h"
#include "mask.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static void begin_wait(void)
{
	int saved_errno = errno;

	if (self.own_depth)
		return;
	server_offer();
	loader_settle();
	errno = saved_errno;
}

static bool enter(struct hook *hook, enum seg_call call)
{
	if (shim_is_out())
		return false;
	begin_wait();
	return hook_enter(hook, call);
}

enum { PLACE_DESCRIPTORS = 3, PLACE_BITS = 20, LOOKED_AT_MAX = 512 };

/* What tells a few descriptors from others: their numbers. */
struct place {
	uint64_t numbers;
	int count;
};

static void place_add(struct place *place, int fd)
{
	if (place->count < PLACE_DESCRIPTORS)
		place->numbers = place->numbers << PLACE_BITS | ((uint32_t)fd & ((1u << PLACE_BITS) - 1));
	place->count++;
}

static uint64_t place_known(const struct place *place)
{
	return place->count > PLACE_DESCRIPTORS ? WORK_PLACE_MANY : WORK_PLACE_FEW | place->numbers;
}

/* For a thread that never served it does not matter, and what it passes is not touched. */
static bool is_place_wanted(void)
{
	return self.work.endpoint != SEG_ENDPOINT_BACKGROUND;
}

static void wait_for_epoll(const struct hook *hook, int epoll)
{
	work_wait(WORK_PLACE_EPOLL | (uint32_t)epoll, hook->start_ns);
}

static void wait_for_array(const struct hook *hook, const struct pollfd *fds, nfds_t count)
{
	bool is_looked_at = is_place_wanted() && readable(fds, (count < LOOKED_AT_MAX ? count : LOOKED_AT_MAX) * sizeof(*fds));
	struct place place = { 0 };

	for (nfds_t i = 0; is_looked_at && i < count && i < LOOKED_AT_MAX && place.count <= PLACE_DESCRIPTORS; i++)
		if (fds[i].fd >= 0)
			place_add(&place, fds[i].fd);
	work_wait(place_known(&place), hook->start_ns);
}

static bool is_set(int fd, const fd_set *set)
{
	return set && FD_ISSET(fd, set);
}

/* The kernel reads so many bits of it, in whole words. */
static bool is_readable_set(int count, const fd_set *set)
{
	return !set || readable(set, (size_t)(count + 63) / 64 * 8);
}

static void wait_for_sets(const struct hook *hook, int count, const fd_set *reads, const fd_set *writes)
{
	int end = count < FD_SETSIZE ? count : FD_SETSIZE;
	bool is_looked_at = is_place_wanted() && end > 0 && is_readable_set(end, reads) && is_readable_set(end, writes);
	struct place place = { 0 };

	for (int fd = 0; is_looked_at && fd < end && place.count <= PLACE_DESCRIPTORS; fd++)
		if (is_set(fd, reads) || is_set(fd, writes))
			place_add(&place, fd);
	work_wait(place_known(&place), hook->start_ns);
}

static void expect_ms(const struct hook *hook, int number, int timeout_ms)
{
	again_expect(hook, number, again_end_ms(hook->start_ns, timeout_ms));
}

static int leave(struct hook *hook, int result)
{
	again_done();
	hook_returned(hook);
	if (result > 0)
		work_woke();
	modules_refresh_if_stale(hook->end_ns);
	stacks_look_if_wanted(hook->end_ns);
	hook_leave(hook);
	return result;
}

static int missing(void)
{
	errno = ENOSYS;
	return -1;
}

HOOK int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
	struct hook hook;

	if (!enter(&hook, SEG_CALL_EPOLL_WAIT))
		return real.epoll_wait(epoll, events, max, timeout_ms);
	wait_for_epoll(&hook, epoll);
	expect_ms(&hook, SYS_epoll_wait, timeout_ms);
	return leave(&hook, AGAIN_IF_NOBODY(real.epoll_wait(epoll, events, max, timeout_ms),
					    real.epoll_wait(epoll, events, max, again_left_ms(timeout_ms))));
}

HOOK int epoll_pwait(int epoll, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask)
{
	struct hook hook;
	sigset_t room;

	if (!enter(&hook, SEG_CALL_EPOLL_PWAIT))
		return real.epoll_pwait(epoll, events, max, timeout_ms, mask);
	wait_for_epoll(&hook, epoll);
	expect_ms(&hook, SYS_epoll_pwait, timeout_ms);
	mask = mask_for_kernel(mask, &room);
	return leave(&hook, AGAIN_IF_NOBODY(real.epoll_pwait(epoll, events, max, timeout_ms, mask),
					    real.epoll_pwait(epoll, events, max, again_left_ms(timeout_ms), mask)));
}

/* Declared here for C libraries that do not; since glibc 2.35. */
HOOK int epoll_pwait2(int epoll, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask);

HOOK int epoll_pwait2(int epoll, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask)
{
	struct hook hook;
	struct timespec left;
	sigset_t room;

	if (!real.epoll_pwait2 && real_is_resolved())
		return missing();
	if (!enter(&hook, SEG_CALL_EPOLL_PWAIT2))
		return real.epoll_pwait2(epoll, events, max, timeout, mask);
	wait_for_epoll(&hook, epoll);
	again_expect(&hook, SYS_epoll_pwait2, again_end(hook.start_ns, timeout));
	mask = mask_for_kernel(mask, &room);
	return leave(&hook, AGAIN_IF_NOBODY(real.epoll_pwait2(epoll, events, max, timeout, mask),
					    real.epoll_pwait2(epoll, events, max, again_left(timeout, &left), mask)));
}

HOOK int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct hook hook;

	if (!enter(&hook, SEG_CALL_POLL))
		return real.poll(fds, count, timeout_ms);
	wait_for_array(&hook, fds, count);
	expect_ms(&hook, SYS_poll, timeout_ms);
	return leave(&hook, real.poll(fds, count, timeout_ms));
}

HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct hook hook;
	sigset_t room;

	if (!enter(&hook, SEG_CALL_PPOLL))
		return real.ppoll(fds, count, timeout, mask);
	wait_for_array(&hook, fds, count);
	again_expect(&hook, SYS_ppoll, again_end(hook.start_ns, timeout));
	return leave(&hook, real.ppoll(fds, count, timeout, mask_for_kernel(mask, &room)));
}

/* What fortified programs call (-D_FORTIFY_SOURCE): the size of the array is checked by the real ones. */
HOOK int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t fds_bytes);
HOOK int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t fds_bytes);

HOOK int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t fds_bytes)
{
	struct hook hook;

	if (!enter(&hook, SEG_CALL_POLL_CHK))
		return real.__poll_chk(fds, count, timeout_ms, fds_bytes);
	wait_for_array(&hook, fds, count);
	expect_ms(&hook, SYS_poll, timeout_ms);
	return leave(&hook, real.__poll_chk(fds, count, timeout_ms, fds_bytes));
}

HOOK int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t fds_bytes)
{
	struct hook hook;
	sigset_t room;

	if (!enter(&hook, SEG_CALL_PPOLL_CHK))
		return real.__ppoll_chk(fds, count, timeout, mask, fds_bytes);
	wait_for_array(&hook, fds, count);
	again_expect(&hook, SYS_ppoll, again_end(hook.start_ns, timeout));
	return leave(&hook, real.__ppoll_chk(fds, count, timeout, mask_for_kernel(mask, &room), fds_bytes));
}

HOOK int select(int count, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict errors,
		struct timeval *restrict timeout)
{
	struct hook hook;

	if (!enter(&hook, SEG_CALL_SELECT))
		return real.select(count, reads, writes, errors, timeout);
	wait_for_sets(&hook, count, reads, writes);
	struct timespec time = { timeout ? timeout->tv_sec : 0, timeout ? timeout->tv_usec * 1000 : 0 };
	again_expect(&hook, SYS_pselect6, timeout ? again_end(hook.start_ns, &time) : 0);
	return leave(&hook, real.select(count, reads, writes, errors, timeout));
}

HOOK int pselect(int count, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict errors,
		 const struct timespec *restrict timeout, const sigset_t *restrict mask)
{
	struct hook hook;
	sigset_t room;

	if (!enter(&hook, SEG_CALL_PSELECT))
		return real.pselect(count, reads, writes, errors, timeout, mask);
	wait_for_sets(&hook, count, reads, writes);
	again_expect(&hook, SYS_pselect6, again_end(hook.start_ns, timeout));
	return leave(&hook, real.pselect(count, reads, writes, errors, timeout, mask_for_kernel(mask, &room)));
}
