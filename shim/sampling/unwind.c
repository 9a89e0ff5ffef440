/* Who walks, with what, and between which ends of which stack. */
#include "unwind.h"

#include "../base/thread.h"
#include "pulse.h"
#include "stacks.h"

#include <pthread.h>

#define PAGE_BYTES 4096
#define RED_ZONE_BYTES 128 /* below the stack pointer, a function's own (x86-64 psABI, 3.2.2); the kernel leaves it alone, too */

enum { FAULTS_MAX = 8 }; /* of walks by rules, and as many of those by pointers, in a process: then there are no more of them */

__thread struct unwind_walk unwind_walk __attribute__((tls_model("initial-exec")));
struct unwinder unwinder;

/* What was learnt of the code holds for every thread, what lies on the stack does not. */
static struct unwind_state *begin_anew(struct unwind_state *state)
{
	state->frame_count = 0;
	state->tagged = 0;
	state->path.depth = 0;
	return state;
}

/* The first free one: they are as big as a cache of libunwind's, and so no more are ever used than must be. */
static struct unwind_state *claim_state(void)
{
	for (uint32_t i = 1; i < unwinder.state_count; i++) {
		_Atomic uint32_t *owner = &unwinder.owners[i];
		uint32_t nobody = 0;
		if (atomic_load_explicit(owner, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong_explicit(owner, &nobody, self.tid, memory_order_acquire, memory_order_relaxed))
			return begin_anew(&unwinder.states[i]);
	}
	return NULL;
}

struct unwind_state *sig_unwind_begin(void)
{
	if (!unwind_walk.own && self.is_exclusive)
		unwind_walk.own = claim_state();
	struct unwind_state *state = unwind_walk.own;

	if (!state)
		return unwinder.states && !atomic_exchange_explicit(&unwinder.states->is_busy, 1, memory_order_acquire) ? unwinder.states : NULL;
	if (atomic_load_explicit(&state->is_busy, memory_order_relaxed))
		return NULL;
	/* Who may come between is a handler on this thread, and gone before the next instruction. */
	atomic_store_explicit(&state->is_busy, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_acquire);
	return state;
}

void sig_unwind_end(struct unwind_state *state)
{
	atomic_store_explicit(&state->is_busy, 0, memory_order_release);
}

/* Glibc puts a thread's descriptor, which pthread_self points to, at the high end of its stack. How much lies below is
 * only known for a stack of the usual size; hooks that know better have written it down (self). */
static void note_stack(void)
{
	if (self.stack_high)
		return;
	if (self.tid && self.tid == unwinder.main_tid) {
		self.stack_low = unwinder.main_stack_low;
		self.stack_high = unwinder.main_stack_high;
		return;
	}
	uintptr_t descriptor = (uintptr_t)pthread_self();
	self.stack_low = descriptor - unwinder.thread_stack_bytes;
	self.stack_high = descriptor;
}

static struct unwind_bounds bounds_of(uintptr_t low, uintptr_t high, uintptr_t stack_pointer)
{
	uintptr_t red = stack_pointer - RED_ZONE_BYTES;

	return (struct unwind_bounds){ .low = red > low ? red : low, .high = high, .is_known = true };
}

/* The alternate stack in force when the signal came, as the kernel has noted it (sigaltstack(2), uc_stack); its size is 0
 * where there is none, or where it is disarmed while in use. */
static bool is_alternate(uintptr_t stack_pointer, const ucontext_t *context)
{
	uintptr_t low = (uintptr_t)context->uc_stack.ss_sp;

	return stack_pointer >= low && stack_pointer - low < context->uc_stack.ss_size;
}

struct unwind_bounds sig_unwind_bounds(uintptr_t stack_pointer, const ucontext_t *context)
{
	uintptr_t low, high;

	note_stack();
	if (is_alternate(stack_pointer, context)) {
		low = (uintptr_t)context->uc_stack.ss_sp;
		return bounds_of(low, low + context->uc_stack.ss_size, stack_pointer);
	}
	if (stack_pointer >= self.stack_low && stack_pointer < self.stack_high)
		return bounds_of(self.stack_low, self.stack_high, stack_pointer);
	if (sig_stacks_find(stack_pointer, &low, &high))
		return bounds_of(low, high, stack_pointer);
	uintptr_t page = stack_pointer & ~(uintptr_t)(PAGE_BYTES - 1);
	struct unwind_bounds bounds = bounds_of(page, page + PAGE_BYTES, stack_pointer);
	bounds.is_known = false;
	return bounds;
}

bool sig_unwind_reads_modules(void)
{
	return atomic_load_explicit(&unwinder.backtrace, memory_order_acquire) != NULL;
}

/* --- faults --- */

static void switch_off(enum unwind_way way)
{
	if (way == UNWIND_BY_POINTERS)
		atomic_store_explicit(&unwinder.has_pointers, false, memory_order_relaxed);
	else if (way == UNWIND_BY_RULES)
		atomic_store_explicit(&unwinder.is_off, true, memory_order_relaxed);
	else if (!atomic_exchange_explicit(&unwinder.backtrace, NULL, memory_order_release))
		return;
	thread_count(SEG_COUNTER_FAULT_UNWIND);
	atomic_fetch_or_explicit(&unwinder.untold, way, memory_order_relaxed);
	/* The thread's next hook is to come and tell it. */
	atomic_store_explicit(&pulse.hz, PULSE_LOOK, memory_order_relaxed);
}

/* What libunwind was in the middle of, in its caches, cannot be trusted any more. */
struct sig_walk sig_unwind_faulted(struct unwind_state *state, bool is_library)
{
	static _Atomic uint32_t by_pointers, by_rules;
	bool is_by_pointers = atomic_load_explicit(&state->is_by_pointers, memory_order_relaxed);

	thread_count(SEG_COUNTER_WALK_FAULTED);
	state->frame_count = 0;
	state->rules_epoch = UINT64_MAX;
	if (is_library)
		switch_off(UNWIND_BY_LIBRARY);
	else if (atomic_fetch_add_explicit(is_by_pointers ? &by_pointers : &by_rules, 1, memory_order_relaxed) == FAULTS_MAX - 1)
		switch_off(is_by_pointers ? UNWIND_BY_POINTERS : UNWIND_BY_RULES);
	return (struct sig_walk){ 0 };
}

struct rules_call {
	const ucontext_t *context;
	struct unwind_state *state;
	struct sig_walk walk;
};

static int walk_by_rules(void *argument, int unused)
{
	struct rules_call *call = argument;

	(void)unused;
	call->walk = sig_walk(call->context, call->state);
	return 1;
}

static struct sig_walk walk_guarded(const ucontext_t *context, struct unwind_state *state)
{
	struct rules_call call = { context, state, { 0 } };

	if (atomic_load_explicit(&unwinder.is_off, memory_order_relaxed))
		return call.walk;
	return sig_call_guarded(NULL, walk_by_rules, &call, 0) > 0 ? call.walk : sig_unwind_faulted(state, false);
}

struct sig_walk sig_unwind(const ucontext_t *context, struct unwind_state *state)
{
	int (*backtrace)(void **, int) = atomic_load_explicit(&unwinder.backtrace, memory_order_acquire);

	/* What libunwind keeps of a thread cannot be shared; and it must not walk while it walks. */
	if (!backtrace || state == unwinder.states)
		return walk_guarded(context, state);
	if (unwind_walk.state)
		return (struct sig_walk){ 0 };
	return sig_walk_library(backtrace, context, state);
}
