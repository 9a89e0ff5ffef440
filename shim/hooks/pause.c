/* pause - calls that sleep for a time, and others with a time-out that no event loop rests in. Not counted; hooked so that the
 * handler knows when they must end, and what ended for nobody begins again (again.h). */
#include "again.h"
#include "hook.h"

#include <sys/sem.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_US 1000
#define US_PER_S 1000000

static uint64_t end_of(const struct timespec *time)
{
	return time ? again_end(clock_now_ns(), time) : 0;
}

HOOK int nanosleep(const struct timespec *time, struct timespec *ret_left)
{
	struct timespec left;

	real_need();
	again_expect(&left, SYS_clock_nanosleep, end_of(time));
	int result = real.nanosleep(time, ret_left ? ret_left : &left);
	again_done();
	return result;
}

HOOK int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *ret_left)
{
	bool is_relative = !(flags & TIMER_ABSTIME);
	struct timespec left;

	real_need();
	again_expect(&left, SYS_clock_nanosleep, again_end_of_pause(clock_now_ns(), clock, flags, time));
	int result = real.clock_nanosleep(clock, flags, time, ret_left || !is_relative ? ret_left : &left);
	again_done();
	return result;
}

HOOK int usleep(useconds_t us)
{
	struct timespec time = { (time_t)(us / US_PER_S), (long)(us % US_PER_S) * NS_PER_US };

	return nanosleep(&time, NULL);
}

/* As glibc has it: what was not slept, in whole seconds. */
HOOK unsigned sleep(unsigned seconds)
{
	struct timespec time = { .tv_sec = seconds }, left = { 0 };
	int saved_errno = errno;

	if (nanosleep(&time, &left) != 0)
		return (unsigned)left.tv_sec;
	errno = saved_errno;
	return 0;
}

HOOK int thrd_sleep(const struct timespec *time, struct timespec *ret_left)
{
	struct timespec left;

	real_need();
	again_expect(&left, SYS_clock_nanosleep, end_of(time));
	int result = real.thrd_sleep(time, ret_left ? ret_left : &left);
	again_done();
	return result;
}

HOOK int semtimedop(int set, struct sembuf *operations, size_t count, const struct timespec *timeout)
{
	struct timespec left;

	real_need();
	again_expect(&left, SYS_semtimedop, end_of(timeout));
	int result = AGAIN_IF_NOBODY(real.semtimedop(set, operations, count, timeout),
				     real.semtimedop(set, operations, count, again_left(timeout, &left)));
	again_done();
	return result;
}

HOOK int semop(int set, struct sembuf *operations, size_t count)
{
	real_need();
	return AGAIN_IF_NOBODY(real.semop(set, operations, count), real.semop(set, operations, count));
}
