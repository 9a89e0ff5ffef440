#include "again.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

/* 0.5 ms: an interruption that early costs nothing that anybody could measure if the time begins anew. */
#define EARLY_NS 500000
#define NS_PER_S 1000000000
#define NS_PER_US 1000

/* False: it has none, or is no socket. */
static bool get_timeout(int fd, int option, struct timeval *ret_timeout)
{
	socklen_t bytes = sizeof(*ret_timeout);

	return getsockopt(fd, SOL_SOCKET, option, ret_timeout, &bytes) == 0 && (ret_timeout->tv_sec || ret_timeout->tv_usec);
}

static uint64_t ns_of(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_usec * NS_PER_US;
}

static uint64_t left_until(uint64_t end_ns)
{
	uint64_t now_ns = clock_now_ns();

	return end_ns > now_ns ? end_ns - now_ns : 0;
}

/* handlers_run: as it was when the program called. To be asked last before a call that waits. */
static bool has_run_handler(uint32_t handlers_run)
{
	atomic_signal_fence(memory_order_acquire);
	return self.handlers_run != handlers_run;
}

/* Negative: interrupted, and maybe by a handler of the program's, or one has run before; 0: it is over. */
static int wait_until_ready(int fd, short events, uint64_t end_ns, uint32_t handlers_run)
{
	struct pollfd ready = { .fd = fd, .events = events };
	uint64_t left_ns = left_until(end_ns);
	struct timespec left = { (time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S) };

	again_expect(&left, SYS_ppoll, end_ns);
	int result = has_run_handler(handlers_run) ? -1 : real.ppoll(&ready, 1, &left, NULL);
	again_done();
	return result;
}

int again_left_ms(int timeout_ms)
{
	enum { NS_PER_MS = 1000000 };

	return timeout_ms > 0 ? (int)((left_until(self.wait.end_ns) + NS_PER_MS - 1) / NS_PER_MS) : timeout_ms;
}

const struct timespec *again_left(const struct timespec *timeout, struct timespec *room)
{
	if (!timeout || !self.wait.end_ns)
		return timeout;
	uint64_t left_ns = left_until(self.wait.end_ns);
	*room = (struct timespec){ (time_t)(left_ns / NS_PER_S), (long)(left_ns % NS_PER_S) };
	return room;
}

bool again_waits(int fd, int flags)
{
	int saved_errno = errno;
	bool is_waiting = !(flags & MSG_DONTWAIT) && !(real.fcntl(fd, F_GETFL) & O_NONBLOCK);

	errno = saved_errno;
	return is_waiting;
}

/* A signal in the last jiffy of a time-out makes it end at once with EAGAIN (schedule_timeout, kernel/time/timer.c: nothing
 * is left, but the timer comes one later). */
static bool ended_early(uint64_t end_ns, int fd, int flags)
{
	return errno == EAGAIN && left_until(end_ns) && again_waits(fd, flags);
}

bool again_is_wanted(uint64_t start_ns, uint32_t handlers_run, int fd, short events, int flags)
{
	struct timeval timeout;
	int error = errno;

	if (error != EINTR && error != EAGAIN)
		return false;
	/* It was known as one that never waits, and waits all the same (ioctl(2), FIONBIO): its time-out begins anew. */
	if (!start_ns)
		return error == EINTR && !has_run_handler(handlers_run);
	if (error == EINTR && clock_now_ns() - start_ns < EARLY_NS)
		return !has_run_handler(handlers_run);
	bool has_timeout = get_timeout(fd, events == POLLIN ? SO_RCVTIMEO : SO_SNDTIMEO, &timeout);
	uint64_t end_ns = start_ns + (has_timeout ? ns_of(&timeout) : 0);
	errno = error;
	if (error == EAGAIN && (!has_timeout || !ended_early(end_ns, fd, flags)))
		return false;
	if (has_timeout && wait_until_ready(fd, events, end_ns, handlers_run) == 0) {
		errno = EAGAIN;
		return false;
	}
	errno = EINTR;
	return !has_run_handler(handlers_run);
}

/* --- connect --- */

static int connect_once(const struct hook *hook, int fd, const struct sockaddr *address, socklen_t bytes)
{
	uint32_t handlers_run = self.handlers_run;

	self.is_interrupted = 0;
	again_expect(hook, THREAD_WAIT_HOOK, 0);
	int result = real.connect(fd, address, bytes);
	again_done();
	self.is_interrupted |= result < 0 && again_was_for_nobody(handlers_run);
	return result;
}

/* Whether it ended for our signal's sake; see ended_early. */
static bool is_ours_alone(int result, uint64_t end_ns, int fd)
{
	if (result == 0 || !self.is_interrupted)
		return false;
	return errno == EINTR || ((errno == EAGAIN || errno == EINPROGRESS || errno == EALREADY) && left_until(end_ns) && again_waits(fd, 0));
}

/* The last moments, which no time-out of a socket could measure: a place that comes free in them is found at their end. */
static int connect_at(const struct hook *hook, int fd, const struct sockaddr *address, socklen_t bytes, uint64_t end_ns,
		      uint32_t handlers_run)
{
	if (wait_until_ready(-1, 0, end_ns, handlers_run) < 0) {
		errno = EINTR;
		return -1;
	}
	int flags = real.fcntl(fd, F_GETFL);
	real.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	int result = connect_once(hook, fd, address, bytes), error = errno;
	real.fcntl(fd, F_SETFL, flags);
	errno = error;
	return result;
}

/* The kernel counts time-outs of sockets in these, and each lasts up to one more (schedule_timeout, kernel/time/timer.c). */
static uint64_t jiffy_us(void)
{
	struct timespec jiffy = { 0, 10000000 };

	clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy);
	return (uint64_t)jiffy.tv_nsec / NS_PER_US;
}

/* A Unix socket that could not get in line has nothing to wait for: its time-out is made what is left meanwhile. */
static int connect_in_line(const struct hook *hook, int fd, const struct sockaddr *address, socklen_t bytes,
			   const struct timeval *timeout, uint32_t handlers_run)
{
	uint64_t end_ns = hook->start_ns + ns_of(timeout), unit_us = jiffy_us(), left_us;
	int result = -1, error = EINTR;

	while ((left_us = left_until(end_ns) / NS_PER_US) >= unit_us) {
		left_us -= left_us % unit_us;
		struct timeval left = { (time_t)(left_us / 1000000), (suseconds_t)(left_us % 1000000) };
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left));
		if (has_run_handler(handlers_run))
			break;
		result = connect_once(hook, fd, address, bytes);
		error = errno;
		bool is_early = result < 0 && errno == EAGAIN && left_until(end_ns) && again_waits(fd, 0);
		if (!is_early && !is_ours_alone(result, end_ns, fd))
			break;
		error = EINTR;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timeout, sizeof(*timeout));
	if (left_us < unit_us && !has_run_handler(handlers_run))
		return connect_at(hook, fd, address, bytes, end_ns, handlers_run);
	errno = error;
	return result;
}

/* The connection is on its way. Once it is there, or has failed, the second call says what the first would have. */
static int connect_on_its_way(const struct hook *hook, int fd, const struct sockaddr *address, socklen_t bytes, uint64_t end_ns,
			      uint32_t handlers_run)
{
	int result;

	do {
		int ready = end_ns ? wait_until_ready(fd, POLLOUT, end_ns, handlers_run) : has_run_handler(handlers_run) ? -1 : 1;
		if (ready <= 0) {
			errno = ready ? EINTR : EINPROGRESS;
			return -1;
		}
		result = connect_once(hook, fd, address, bytes);
	} while (is_ours_alone(result, end_ns, fd));
	return result;
}

int again_connect(const struct hook *hook, int fd, const struct sockaddr *address, socklen_t bytes)
{
	uint32_t handlers_run = self.handlers_run;
	int result = connect_once(hook, fd, address, bytes), error = errno;
	struct timeval timeout;

	if (result == 0 || !self.is_interrupted)
		return result;
	uint64_t end_ns = get_timeout(fd, SO_SNDTIMEO, &timeout) ? hook->start_ns + ns_of(&timeout) : 0;
	errno = error;
	if (!is_ours_alone(result, end_ns, fd))
		return result;
	return end_ns && address->sa_family == AF_UNIX ? connect_in_line(hook, fd, address, bytes, &timeout, handlers_run) :
							 connect_on_its_way(hook, fd, address, bytes, end_ns, handlers_run);
}

/* --- the rest of a transfer --- */

bool again_goes_on(int fd, int flags, uint32_t handlers_run)
{
	return self.is_interrupted && again_waits(fd, flags) && !has_run_handler(handlers_run);
}

ssize_t again_write(int fd, const void *buffer, size_t bytes, int unused)
{
	(void)unused;
	return real.write(fd, buffer, bytes);
}

ssize_t again_send_rest(const struct hook *hook, int fd, const void *buffer, size_t bytes, int flags, ssize_t result, again_send *call)
{
	uint32_t handlers_run = again_handlers_run();

	while ((size_t)result < bytes && again_goes_on(fd, flags, handlers_run)) {
		ssize_t more = AGAIN(hook, fd, POLLOUT, flags, call(fd, (const char *)buffer + result, bytes - (size_t)result, flags));
		if (more <= 0)
			break;
		result += more;
	}
	return result;
}

ssize_t again_send_rest_of(const struct hook *hook, int fd, const struct iovec *iov, size_t iov_count, int flags, ssize_t result,
			   again_send *call)
{
	uint32_t handlers_run = again_handlers_run();
	size_t before = 0, done = (size_t)result;

	for (size_t i = 0; i < iov_count; before += iov[i++].iov_len) {
		if (before + iov[i].iov_len <= done)
			continue;
		if (!again_goes_on(fd, flags, handlers_run))
			break;
		size_t begun = done - before;
		ssize_t more = AGAIN(hook, fd, POLLOUT, flags, call(fd, (const char *)iov[i].iov_base + begun, iov[i].iov_len - begun, flags));
		if (more <= 0)
			break;
		done += (size_t)more;
		if (begun + (size_t)more == iov[i].iov_len)
			self.is_interrupted = 1; /* there is no handler of the program's that it is for: on to the next */
		else
			done = (size_t)again_send_rest(hook, fd, iov[i].iov_base, iov[i].iov_len, flags, (ssize_t)(begun + (size_t)more), call) + before;
	}
	return (ssize_t)done;
}

ssize_t again_receive_rest(const struct hook *hook, int fd, void *buffer, size_t bytes, int flags, ssize_t result)
{
	uint32_t handlers_run = again_handlers_run();

	while ((size_t)result < bytes && again_goes_on(fd, flags, handlers_run)) {
		ssize_t more = AGAIN(hook, fd, POLLIN, flags, real.recv(fd, (char *)buffer + result, bytes - (size_t)result, flags));
		if (more <= 0)
			break;
		result += more;
	}
	return result;
}
