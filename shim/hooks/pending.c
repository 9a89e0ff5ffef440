/* pending - calls that take one of the places which a user's processes have for timers and queued signals (RLIMIT_SIGPENDING,
 * getrlimit(2)). Our timers take such places, one for each thread: where the program finds none it gets ours, and the call is made
 * once more. Not counted.
 */
#include "hook.h"

#include "../sampling/sampling.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static bool make_room(int error)
{
	int saved_errno = errno;

	if (error != EAGAIN || self.own_depth || self.in_handler)
		return false;
	self.own_depth++;
	bool has_room = sampling_make_room();
	self.own_depth--;
	errno = saved_errno;
	return has_room;
}

static int create(__typeof__(timer_create) *function, clockid_t clock, struct sigevent *event, timer_t *ret_timer)
{
	int result = function(clock, event, ret_timer);

	return result != 0 && make_room(errno) ? function(clock, event, ret_timer) : result;
}

HOOK __typeof__(timer_create) timer_create_now, timer_create_then, timer_create_older;
HOOK_VERSION(timer_create_now, "timer_create@@GLIBC_2.34");
HOOK_VERSION(timer_create_then, "timer_create@GLIBC_2.3.3"); /* the same, in librt */
HOOK_VERSION(timer_create_older, "timer_create@GLIBC_2.2.5");

int timer_create_now(clockid_t clock, struct sigevent *event, timer_t *ret_timer)
{
	real_need();
	return create(real.timer_create, clock, event, ret_timer);
}

int timer_create_then(clockid_t clock, struct sigevent *event, timer_t *ret_timer) __attribute__((alias("timer_create_now")));

int timer_create_older(clockid_t clock, struct sigevent *event, timer_t *ret_timer)
{
	real_need();
	return create(real.older.timer_create, clock, event, ret_timer);
}

HOOK int sigqueue(pid_t pid, int number, const union sigval value)
{
	real_need();
	int result = real.sigqueue(pid, number, value);
	return result != 0 && make_room(errno) ? real.sigqueue(pid, number, value) : result;
}

HOOK int pthread_sigqueue(pthread_t thread, int number, const union sigval value)
{
	real_need();
	int error = real.pthread_sigqueue(thread, number, value);
	return make_room(error) ? real.pthread_sigqueue(thread, number, value) : error;
}
