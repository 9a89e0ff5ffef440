/* growth_load - stacks of a given depth through a given number of modules, in a given number of threads.
 *
 *     growth_load SECONDS DEPTH THREADS MODULE.so...
 *
 * Each thread goes DEPTH calls deep, from one module's growth_step to the next one's, computes for some microseconds, comes
 * back and does it again; all together for SECONDS of CPU time. Prints "ready" when all of them do. The modules are made by
 * the bench: see growth_module.c.
 */
#include "growth_module.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STACK_BYTES = 1 << 20, BOTTOM_STEPS = 20000 };

static struct growth growth;
static uint32_t depth;
static _Atomic bool is_over;
static _Atomic uint64_t sink;

/* Marsaglia's xorshift. */
static uint64_t compute(uint64_t state)
{
	for (int i = 0; i < BOTTOM_STEPS; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
	}
	return state;
}

static void *run_thread(void *argument)
{
	uint64_t state = (uintptr_t)argument | 1;

	while (!atomic_load_explicit(&is_over, memory_order_relaxed))
		state = growth.steps[depth % growth.count](&growth, depth, state) | 1;
	atomic_fetch_add(&sink, state);
	return NULL;
}

static void die(const char *what)
{
	fprintf(stderr, "growth_load: %s\n", what);
	exit(1);
}

static void open_modules(char **paths, int count)
{
	growth.bottom = compute;
	growth.count = (uint32_t)count;
	growth.steps = calloc((size_t)count, sizeof(*growth.steps));
	for (int i = 0; i < count; i++) {
		void *module = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
		if (!module || !growth.steps)
			die(dlerror());
		*(void **)&growth.steps[i] = dlsym(module, "growth_step");
		if (!growth.steps[i])
			die(dlerror());
	}
}

static double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (argc < 5)
		die("usage: growth_load SECONDS DEPTH THREADS MODULE.so...");
	double seconds = atof(argv[1]);
	int threads = atoi(argv[3]);
	depth = (uint32_t)atoi(argv[2]);
	open_modules(argv + 4, argc - 4);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, &attributes, run_thread, (void *)(uintptr_t)(i + 1)))
			die("no thread");
	puts("ready");
	fflush(stdout);
	for (double end = cpu_seconds() + seconds; cpu_seconds() < end;)
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	atomic_store(&is_over, true); /* the reader of the figures would have to wait for its turn among the threads */
	puts("done");
	fflush(stdout);
	for (;;)
		nanosleep(&(struct timespec){ .tv_sec = 60 }, NULL);
}
