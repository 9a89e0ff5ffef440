/* thread - the functions that make threads: a thread is sampled from its first instruction in the program's own code on, and
 * begins with the request that the one who made it works for. Also one that is made before profshim is active, by a
 * library's constructor or in a program that may turn out to be a server, begins here, since only here is known where its
 * stack ends.
 */
#include "hook.h"

#include "../sampling/deputy.h"
#include "../setup/shim.h"
#include "rights.h"

/* What a new thread needs to begin; in a fixed pool, since nothing may be allocated here. A thread for which the pool has
 * no entry starts unaided: it is met, and counted, at its first hook. */
struct start {
	void *(*routine)(void *); /* NULL: standard_routine */
	thrd_start_t standard_routine;
	void *argument;
	size_t stack_bytes; /* as its attributes have it, 0 = the usual size */
	uint32_t heir;      /* of the work of its creator: base/work.h */
	struct work work;
	bool is_shielded;   /* it inherits the shield of its creator's stack (sampling/deputy.h) */
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

static struct start *take_start(void)
{
	for (int i = 0; i < STARTS_MAX; i++) {
		struct start *start = &starts[i];
		if (atomic_load_explicit(&start->is_taken, memory_order_relaxed) ||
		    atomic_exchange_explicit(&start->is_taken, true, memory_order_acquire))
			continue;
		start->routine = NULL;
		start->stack_bytes = 0;
		start->work = self.work;
		start->heir = self.slot ? work_bequeath() : 0;
		return start;
	}
	return NULL;
}

static void give_back(struct start *start)
{
	atomic_store_explicit(&start->is_taken, false, memory_order_release);
}

static void give_back_unused(struct start *start)
{
	work_disinherit(start->heir);
	give_back(start);
}

static void lower_shield(void)
{
	const sigset_t prof = deputy_set_of(deputy_bit_of(SIGPROF));

	real.pthread_sigmask(SIG_UNBLOCK, &prof, NULL);
}

/* In the new thread: what it was given, which is no longer needed. */
static struct start begin_thread(struct start *taken)
{
	struct start start = { .routine = taken->routine, .standard_routine = taken->standard_routine,
			       .argument = taken->argument, .stack_bytes = taken->stack_bytes, .heir = taken->heir,
			       .work = taken->work };

	if (taken->is_shielded)
		lower_shield();
	give_back(taken);
	note_stack(start.stack_bytes);
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE)
		shim_new_thread_begin();
	if (self.slot)
		work_inherit(start.heir, start.work);
	else
		work_disinherit(start.heir);
	return start;
}

static void *run_thread(void *taken)
{
	struct start start = begin_thread(taken);

	return start.routine(start.argument);
}

static int run_standard_thread(void *taken)
{
	struct start start = begin_thread(taken);

	return start.standard_routine(start.argument);
}

/* Whether a thread that is made now is the program's, though nothing is counted yet: profshim may become active. */
static bool may_become_active(void)
{
	int state = atomic_load_explicit(&shim_state, memory_order_relaxed);

	return !self.own_depth && !self.in_handler && (state == SHIM_EARLY || state == SHIM_DORMANT);
}

static int create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument)
{
	struct start *start = take_start();

	if (!start)
		return real.pthread_create(thread, attributes, routine, argument);
	start->routine = routine;
	start->argument = argument;
	start->stack_bytes = stack_bytes_of(attributes);
	start->is_shielded = deputy_is_shielded();
	int result = real.pthread_create(thread, attributes, run_thread, start);
	if (result == EAGAIN && rights_make_room()) {
		result = real.pthread_create(thread, attributes, run_thread, start);
		rights_room_is_used();
	}
	if (result != 0)
		give_back_unused(start);
	return result;
}

static int create_standard(thrd_t *thread, thrd_start_t routine, void *argument)
{
	struct start *start = take_start();

	if (!start)
		return real.thrd_create(thread, routine, argument);
	start->standard_routine = routine;
	start->argument = argument;
	start->is_shielded = deputy_is_shielded();
	int result = real.thrd_create(thread, run_standard_thread, start);
	if (result != thrd_success)
		give_back_unused(start);
	return result;
}

HOOK int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*routine)(void *),
			void *restrict argument)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_PTHREAD_CREATE))
		return may_become_active() ? create(thread, attributes, routine, argument) :
					     real.pthread_create(thread, attributes, routine, argument);
	int result = create(thread, attributes, routine, argument);
	hook_done(&hook);
	return result;
}

/* C11; glibc's makes its thread by an inner function, which is not interposed. */
HOOK int thrd_create(thrd_t *thread, thrd_start_t routine, void *argument)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_THRD_CREATE))
		return may_become_active() ? create_standard(thread, routine, argument) :
					     real.thrd_create(thread, routine, argument);
	int result = create_standard(thread, routine, argument);
	hook_done(&hook);
	return result;
}
