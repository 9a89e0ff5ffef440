/* thread - pthread_create: a thread is sampled from its first instruction in the program's own code on, and begins with the
 * request that the one who made it works for. */
#include "hook.h"

#include "../setup/shim.h"

/* What a new thread needs to begin; in a fixed pool, since nothing may be allocated here. A thread for which the pool has
 * no entry starts unaided: it is met, and counted, at its first hook. */
struct start {
	void *(*routine)(void *);
	void *argument;
	size_t stack_bytes; /* as its attributes have it, 0 = the usual size */
	uint32_t heir;      /* of the work of its creator: base/work.h */
	struct work work;
	_Atomic bool is_taken;
};

enum { STARTS_MAX = 256 }; /* threads created and not yet running */

static struct start starts[STARTS_MAX];

static size_t stack_bytes_of(const pthread_attr_t *attributes)
{
	size_t bytes = 0;

	return attributes && pthread_attr_getstacksize(attributes, &bytes) == 0 ? bytes : 0;
}

/* The walk over a thread's stack ends where the stack does. Glibc keeps a thread's descriptor, which pthread_self points
 * to, at the high end of it. */
static void note_stack(size_t stack_bytes)
{
	if (!stack_bytes)
		return;
	self.stack_high = (uintptr_t)pthread_self();
	self.stack_low = self.stack_high - stack_bytes;
}

static struct start *take_start(void *(*routine)(void *), void *argument, size_t stack_bytes)
{
	for (int i = 0; i < STARTS_MAX; i++) {
		if (atomic_load_explicit(&starts[i].is_taken, memory_order_relaxed) ||
		    atomic_exchange_explicit(&starts[i].is_taken, true, memory_order_acquire))
			continue;
		starts[i].routine = routine;
		starts[i].argument = argument;
		starts[i].stack_bytes = stack_bytes;
		starts[i].work = self.work;
		starts[i].heir = work_bequeath();
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
	const struct start *mine = taken;
	struct start start = { .routine = mine->routine, .argument = mine->argument, .stack_bytes = mine->stack_bytes,
			       .heir = mine->heir, .work = mine->work };

	give_back(taken);
	note_stack(start.stack_bytes);
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE)
		shim_thread_begin();
	if (self.slot)
		work_inherit(start.heir, start.work);
	else
		work_disinherit(start.heir);
	return start.routine(start.argument);
}

HOOK int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*routine)(void *),
			void *restrict argument)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_PTHREAD_CREATE))
		return real.pthread_create(thread, attributes, routine, argument);
	struct start *start = take_start(routine, argument, stack_bytes_of(attributes));
	int result = start ? real.pthread_create(thread, attributes, run_thread, start) :
			     real.pthread_create(thread, attributes, routine, argument);
	if (start && result != 0) {
		work_disinherit(start->heir);
		give_back(start);
	}
	hook_done(&hook);
	return result;
}
