/* host_watch - tells when a CPU was beyond the reach of every thread. The host of a virtual machine may stop a CPU without a
 * word to the kernel, for memory that it has to bring first, and the kernel leaves the time on the account of the thread that
 * ran there; or the kernel itself is busy where it does not let itself be interrupted. On each CPU a thread of the highest
 * priority that there is (SCHED_FIFO, sched(7)) wants to run every PERIOD_MS. Code of a program, however long it goes round in
 * circles, makes way for it at once: so when it comes late, no program's code was the reason.
 *
 *     host_watch    until its stdin is at its end. Prints "watching N CPUs every N ms" or "refused: WHY"; then a line
 *                   "CPU FROM TO" for each time that the thread of that CPU was to run and did not, us of CLOCK_MONOTONIC
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD_MS = 4, LATE_MS = 15 };

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void *watch(void *cpu)
{
	for (;;) {
		uint64_t due_us = now_us() + PERIOD_MS * 1000, woken_us;
		struct timespec due = { (time_t)(due_us / 1000000), (long)(due_us % 1000000) * 1000 };
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
			;
		woken_us = now_us();
		if (woken_us - due_us >= LATE_MS * 1000)
			printf("%d %llu %llu\n", (int)(intptr_t)cpu, (unsigned long long)due_us, (unsigned long long)woken_us);
	}
	return NULL;
}

static int begin_watch(int cpu)
{
	struct sched_param highest = { .sched_priority = sched_get_priority_max(SCHED_FIFO) };
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	pthread_attr_init(&attributes);
	pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
	pthread_attr_setschedparam(&attributes, &highest);
	pthread_attr_setaffinity_np(&attributes, sizeof(only), &only);
	int error = pthread_create(&thread, &attributes, watch, (void *)(intptr_t)cpu);
	pthread_attr_destroy(&attributes);
	return error;
}

int main(void)
{
	cpu_set_t all;
	char byte;
	/* What is paged out comes late, too. */
	int error = sched_getaffinity(0, sizeof(all), &all) || mlockall(MCL_CURRENT | MCL_FUTURE) ? errno : 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && !error; cpu++)
		if (CPU_ISSET(cpu, &all))
			error = begin_watch(cpu);
	if (error) {
		printf("refused: %s\n", strerror(error));
		return 1;
	}
	printf("watching %d CPUs every %d ms\n", CPU_COUNT(&all), PERIOD_MS);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
