/* without_versions - uses what glibc keeps in an older form besides: condition variables, timers, posix_spawn of a file without an
 * interpreter line; says what came of it. As a library that is linked without libc, so that its references carry no version
 * (older forms for all of them); and as a part of the program itself.
 *
 *     without_versions FILE
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

enum { ROUNDS = 1000, WAIT_NS = 20000000 };

#ifdef LIBRARY
#define use_versions use_no_versions
#endif
void use_versions(const char *form, char *file);
void use_no_versions(const char *form, char *file);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER, never = PTHREAD_COND_INITIALIZER;
static unsigned turn;

static void *take_turns(void *odd)
{
	pthread_mutex_lock(&mutex);
	for (unsigned i = 0; i < ROUNDS; i++) {
		while (turn % 2 != (odd != NULL))
			pthread_cond_wait(&turned, &mutex);
		turn++;
		pthread_cond_signal(&turned);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static int wait_for_nothing(void)
{
	struct timespec until;
	int result;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += WAIT_NS;
	if (until.tv_nsec >= 1000000000)
		until = (struct timespec){ until.tv_sec + 1, until.tv_nsec - 1000000000 };
	pthread_mutex_lock(&mutex);
	do
		result = pthread_cond_timedwait(&never, &mutex, &until);
	while (result == 0);
	pthread_mutex_unlock(&mutex);
	return result;
}

static void use_a_timer(const char *form)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	struct itimerspec times = { .it_value = { 100, 0 } };
	timer_t timer;

	int created = timer_create(CLOCK_MONOTONIC, &event, &timer);
	int set = timer_settime(timer, 0, &times, NULL);
	printf("%s timer %d %d %d\n", form, created, set, timer_delete(timer));
}

static void start_program(const char *form, char *file)
{
	char *arguments[] = { file, NULL }, *environment[] = { NULL };
	pid_t child = -1;
	int status = 0;

	int problem = posix_spawn(&child, file, NULL, NULL, arguments, environment);
	if (problem == 0)
		waitpid(child, &status, 0);
	printf("%s posix_spawn %s %d\n", form, problem ? "refused" : "done", WEXITSTATUS(status));
	problem = posix_spawnp(&child, file, NULL, NULL, arguments, environment);
	if (problem == 0)
		waitpid(child, &status, 0);
	printf("%s posix_spawnp %s %d\n", form, problem ? "refused" : "done", WEXITSTATUS(status));
}

void use_versions(const char *form, char *file)
{
	pthread_t other;

	turn = 0;
	pthread_create(&other, NULL, take_turns, &other);
	take_turns(NULL);
	pthread_join(other, NULL);
	printf("%s turns %u\n", form, turn);
	printf("%s wait %s\n", form, wait_for_nothing() == ETIMEDOUT ? "ETIMEDOUT" : "?");
	use_a_timer(form);
	start_program(form, file);
	fflush(stdout);
}

#ifndef LIBRARY
int main(int count, char **arguments)
{
	if (count != 2)
		return 1;
	use_versions("now", arguments[1]);
	use_no_versions("older", arguments[1]);
	return 0;
}
#endif
