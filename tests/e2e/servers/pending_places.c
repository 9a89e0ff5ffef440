/* pending_places - THREADS threads of it work; then it makes timers until there is no place for one more, lets them go, queues
 * signals to itself until there is none, and says how many there were. For RLIMIT_SIGPENDING.
 *
 *     pending_places THREADS
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PLACES_MAX = 1000, WORK_MS = 100 };

static _Atomic int is_over;

static void *work(void *unused)
{
	while (!atomic_load(&is_over))
		;
	return unused;
}

static void count_timers(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	timer_t timers[PLACES_MAX];
	int count = 0;

	while (count < PLACES_MAX && timer_create(CLOCK_MONOTONIC, &event, &timers[count]) == 0)
		count++;
	printf("timers %d %s\n", count, strerrorname_np(errno));
	while (count)
		timer_delete(timers[--count]);
}

static void count_signals(void)
{
	const union sigval value = { .sival_int = 1 };
	int count = 0;

	while (count < PLACES_MAX && sigqueue(getpid(), SIGRTMIN + 3, value) == 0)
		count++;
	printf("signals %d %s\n", count, strerrorname_np(errno));
}

int main(int count, char **arguments)
{
	int thread_count = count > 1 ? atoi(arguments[1]) : 0;
	pthread_t thread;
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN + 3);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	for (int i = 0; i < thread_count; i++)
		if (pthread_create(&thread, NULL, work, NULL) != 0)
			return 1;
	usleep(WORK_MS * 1000);
	count_timers();
	count_signals();
	fflush(stdout);
	atomic_store(&is_over, 1);
	return 0;
}
