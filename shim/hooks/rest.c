/* rest - the calls in which threads wait for each other: condition variables and semaphores; futexes: blind.c. A worker
 * rests there until it is given something; what that is it learns when it answers (base/work.h). Mutexes are not among
 * them: who waits for one is in the middle of something.
 */
#include "hook.h"

static int rested(struct hook *hook, int result)
{
	hook_returned(hook);
	if (result == 0)
		work_woken();
	hook_leave(hook);
	return result;
}

HOOK __typeof__(pthread_cond_wait) pthread_cond_wait_now, pthread_cond_wait_older;
HOOK __typeof__(pthread_cond_timedwait) pthread_cond_timedwait_now, pthread_cond_timedwait_older;
HOOK_VERSION(pthread_cond_wait_now, "pthread_cond_wait@@GLIBC_2.3.2");
HOOK_VERSION(pthread_cond_wait_older, "pthread_cond_wait@GLIBC_2.2.5");
HOOK_VERSION(pthread_cond_timedwait_now, "pthread_cond_timedwait@@GLIBC_2.3.2");
HOOK_VERSION(pthread_cond_timedwait_older, "pthread_cond_timedwait@GLIBC_2.2.5");

int pthread_cond_wait_now(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_PTHREAD_COND_WAIT))
		return real.pthread_cond_wait(condition, mutex);
	work_wait((uintptr_t)condition, hook.start_ns);
	return rested(&hook, real.pthread_cond_wait(condition, mutex));
}

int pthread_cond_timedwait_now(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
			       const struct timespec *restrict until)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_PTHREAD_COND_TIMEDWAIT))
		return real.pthread_cond_timedwait(condition, mutex, until);
	work_wait((uintptr_t)condition, hook.start_ns);
	return rested(&hook, real.pthread_cond_timedwait(condition, mutex, until));
}

/* On a condition variable of another kind, which leads to one of today's: passed on, without being seen as a rest. */
int pthread_cond_wait_older(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
	real_need();
	return real.older.pthread_cond_wait(condition, mutex);
}

int pthread_cond_timedwait_older(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
				 const struct timespec *restrict until)
{
	real_need();
	return real.older.pthread_cond_timedwait(condition, mutex, until);
}

/* Since glibc 2.30; declared here for C libraries that do not. */
HOOK int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
				const struct timespec *restrict until);
HOOK int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until);

HOOK int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, clockid_t clock,
				const struct timespec *restrict until)
{
	struct hook hook;

	if (!real.pthread_cond_clockwait && real_is_resolved())
		return ENOSYS;
	if (!hook_enter(&hook, SEG_CALL_PTHREAD_COND_CLOCKWAIT))
		return real.pthread_cond_clockwait(condition, mutex, clock, until);
	work_wait((uintptr_t)condition, hook.start_ns);
	return rested(&hook, real.pthread_cond_clockwait(condition, mutex, clock, until));
}

HOOK int sem_wait(sem_t *semaphore)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SEM_WAIT))
		return real.sem_wait(semaphore);
	work_wait((uintptr_t)semaphore, hook.start_ns);
	return rested(&hook, real.sem_wait(semaphore));
}

HOOK int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SEM_TIMEDWAIT))
		return real.sem_timedwait(semaphore, until);
	work_wait((uintptr_t)semaphore, hook.start_ns);
	return rested(&hook, real.sem_timedwait(semaphore, until));
}

HOOK int sem_clockwait(sem_t *restrict semaphore, clockid_t clock, const struct timespec *restrict until)
{
	struct hook hook;

	if (!real.sem_clockwait && real_is_resolved()) {
		errno = ENOSYS;
		return -1;
	}
	if (!hook_enter(&hook, SEG_CALL_SEM_CLOCKWAIT))
		return real.sem_clockwait(semaphore, clock, until);
	work_wait((uintptr_t)semaphore, hook.start_ns);
	return rested(&hook, real.sem_clockwait(semaphore, clock, until));
}
