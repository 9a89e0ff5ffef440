/* clock_threads - threads whose CPU time is known, for the fairness of the sampling clock.
 *
 *     clock_threads equal SECONDS      8 threads at once, each until its own clock has reached SECONDS
 *     clock_threads short COUNT        COUNT threads of 1 ms each, four at once
 *     clock_threads kernel SECONDS     one thread, half in system calls and half not
 *     clock_threads calling SECONDS    one thread that burns and makes a short call of libc now and then
 *     clock_threads waiting SECONDS    one thread that burns and waits in turn, 2,500 times in a second of its CPU time
 *     clock_threads late SECONDS       a thread that libc makes by itself, by no call of pthread_create
 *     clock_threads raw SECONDS        a thread made by clone(2), without thread-local memory of its own
 *
 * Prints "name nanoseconds" for each thread, or for all together, main's own clock as "main", then "done", and waits for
 * its standard input to end.
 */
#include "burn.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EQUAL = 8, AT_ONCE = 4, STEP_US = 20, STACK_BYTES = 64 << 10 };

static uint64_t steps_per_us, wanted_ns;
static _Atomic uint64_t total_ns;
static _Atomic int ended_count;

static inline __attribute__((always_inline)) void burn_until(uint64_t end_ns)
{
	while (burn_clock_ns() < end_ns)
		burn(steps_per_us * STEP_US);
}

/* Functions of their own, so that a report tells the threads apart. */
#define WORKERS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define WORKER(n)                                                                                                      \
	static __attribute__((noinline)) void *worker_##n(void *ret_ns)                                                \
	{                                                                                                              \
		burn_until(wanted_ns);                                                                                 \
		*(uint64_t *)ret_ns = burn_clock_ns();                                                                 \
		return ret_ns;                                                                                         \
	}
WORKERS(WORKER)

static void run_equal(void)
{
#define NAME(n) worker_##n,
	void *(*const workers[EQUAL])(void *) = { WORKERS(NAME) };
	pthread_t threads[EQUAL];
	uint64_t used_ns[EQUAL];

	for (int i = 0; i < EQUAL; i++)
		pthread_create(&threads[i], NULL, workers[i], &used_ns[i]);
	for (int i = 0; i < EQUAL; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < EQUAL; i++)
		printf("worker_%d %llu\n", i, (unsigned long long)used_ns[i]);
}

static void *short_thread(void *unused)
{
	burn_until(1000000);
	atomic_fetch_add(&total_ns, burn_clock_ns());
	return unused;
}

static void run_short(int count)
{
	pthread_t threads[AT_ONCE];

	for (int i = 0; i < count; i += AT_ONCE) {
		for (int j = 0; j < AT_ONCE; j++)
			if (pthread_create(&threads[j], NULL, short_thread, NULL))
				abort();
		for (int j = 0; j < AT_ONCE; j++)
			pthread_join(threads[j], NULL);
	}
	printf("short_thread %llu\n", (unsigned long long)atomic_load(&total_ns));
}

/* In turns of no fixed length, or they could fall in step with the kernel's timers. */
static void *kernel_thread(void *unused)
{
	static char buffer[256 << 10];
	int zero = open("/dev/zero", O_RDONLY);
	unsigned seed = 1;

	while (burn_clock_ns() < wanted_ns) {
		uint64_t began_ns = burn_clock_ns();
		for (int i = rand_r(&seed) % 15; i >= 0; i--)
			if (read(zero, buffer, sizeof(buffer)) < 0)
				abort();
		uint64_t in_calls_ns = burn_clock_ns() - began_ns;
		atomic_fetch_add(&total_ns, in_calls_ns);
		burn_until(burn_clock_ns() + in_calls_ns);
	}
	close(zero);
	printf("read %llu\nkernel_thread %llu\n", (unsigned long long)atomic_load(&total_ns), (unsigned long long)burn_clock_ns());
	return unused;
}

static void *calling_thread(void *unused)
{
	struct timespec none = { 0, 0 };

	while (burn_clock_ns() < wanted_ns) {
		burn_until(burn_clock_ns() + 20000000);
		pselect(0, NULL, NULL, NULL, &none, NULL);
	}
	printf("calling_thread %llu\n", (unsigned long long)burn_clock_ns());
	return unused;
}

static void *waiting_thread(void *unused)
{
	while (burn_clock_ns() < wanted_ns) {
		burn(steps_per_us * 400);
		pselect(0, NULL, NULL, NULL, &(struct timespec){ .tv_nsec = 1 }, NULL);
	}
	printf("waiting_thread %llu\n", (unsigned long long)burn_clock_ns());
	return unused;
}

static void run_one(void *(*routine)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, routine, NULL);
	pthread_join(thread, NULL);
}

/* Libc makes this thread with all signals blocked; one that is made elsewhere unseen, as by another namespace's libc, is
 * not so. By no function of libc's, which would be seen. */
static void unblock_signals(void)
{
	static const uint64_t none;
	register long mask_bytes __asm__("r10") = sizeof(none);
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_rt_sigprocmask), "D"(SIG_SETMASK), "S"(&none), "d"(NULL), "r"(mask_bytes)
			 : "rcx", "r11", "memory");
}

static void late_thread(union sigval unused)
{
	(void)unused;
	unblock_signals();
	burn_until(wanted_ns);
	atomic_store(&total_ns, burn_clock_ns());
	atomic_fetch_add(&ended_count, 1);
}

static void wait_for_end(void)
{
	while (!atomic_load(&ended_count))
		usleep(10000);
}

static void run_late(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = late_thread };
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &soon, NULL))
		abort();
	wait_for_end();
	printf("late_thread %llu\n", (unsigned long long)atomic_load(&total_ns));
}

/* No call of libc's in it: the memory that those find is main's. */
static int raw_thread(void *unused)
{
	(void)unused;
	burn(steps_per_us * (wanted_ns / 1000));
	atomic_fetch_add(&ended_count, 1);
	return 0;
}

static void run_raw(void)
{
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED ||
	    clone(raw_thread, stack + STACK_BYTES, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL) < 0)
		abort();
	wait_for_end();
}

int main(int count, char **words)
{
	const char *what = count == 3 ? words[1] : "";
	uint64_t began_ns = burn_clock_ns();

	setvbuf(stdout, NULL, _IOLBF, 0);
	steps_per_us = burn_steps_per_us();
	wanted_ns = count == 3 ? (uint64_t)(atof(words[2]) * 1e9) : 0;
	if (strcmp(what, "equal") == 0)
		run_equal();
	else if (strcmp(what, "short") == 0)
		run_short(atoi(words[2]));
	else if (strcmp(what, "kernel") == 0)
		run_one(kernel_thread);
	else if (strcmp(what, "calling") == 0)
		run_one(calling_thread);
	else if (strcmp(what, "waiting") == 0)
		run_one(waiting_thread);
	else if (strcmp(what, "late") == 0)
		run_late();
	else if (strcmp(what, "raw") == 0)
		run_raw();
	else
		return 2;
	printf("main %llu\ndone\n", (unsigned long long)(burn_clock_ns() - began_ns));
	while (getchar() != EOF)
		;
	return 0;
}
