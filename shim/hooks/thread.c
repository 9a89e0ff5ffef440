/* thread - pthread_create: a thread is sampled from its first instruction in the program's own code on. */
#include "hook.h"

#include "../setup/shim.h"

/* What a new thread needs to begin; in a fixed pool, since nothing may be allocated here. A thread for which the pool has
 * no entry starts unaided: it is met, and counted, at its first hook. */
struct start {
	void *(*routine)(void *);
	void *argument;
	_Atomic bool is_taken;
};

enum { STARTS_MAX = 256 }; /* threads created and not yet running */

static struct start starts[STARTS_MAX];

static struct start *take_start(void *(*routine)(void *), void *argument)
{
	for (int i = 0; i < STARTS_MAX; i++) {
		if (atomic_load_explicit(&starts[i].is_taken, memory_order_relaxed) ||
		    atomic_exchange_explicit(&starts[i].is_taken, true, memory_order_acquire))
			continue;
		starts[i].routine = routine;
		starts[i].argument = argument;
		return &starts[i];
	}
	return NULL;
}

static void give_back(struct start *start)
{
	atomic_store_explicit(&start->is_taken, false, memory_order_release);
}

static void *run_thread(void *taken)
{
	struct start start = { .routine = ((struct start *)taken)->routine, .argument = ((struct start *)taken)->argument };

	give_back(taken);
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE)
		shim_thread_begin();
	return start.routine(start.argument);
}

HOOK int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*routine)(void *),
			void *restrict argument)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_PTHREAD_CREATE))
		return real.pthread_create(thread, attributes, routine, argument);
	struct start *start = take_start(routine, argument);
	int result = start ? real.pthread_create(thread, attributes, run_thread, start) :
			     real.pthread_create(thread, attributes, routine, argument);
	if (start && result != 0)
		give_back(start);
	if (!start)
		thread_count(SEG_COUNTER_TIMER_FAILED);
	hook_done(&hook);
	return result;
}
