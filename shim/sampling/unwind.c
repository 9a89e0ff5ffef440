/* libunwind's cached walk begins where it is called, so it passes through our handler and the kernel's signal frame
 * first; those frames are recognized by the interrupted address, which follows them.
 *
 * It runs on a stack of its own: the interrupted code may be on an alternate signal stack of 8 KiB, which two signal
 * frames have nearly filled, or on a coroutine's.
 */
#include "unwind.h"

#include "../base/thread.h"
#include "modules.h"

#include <pthread.h>
#include <string.h>

#define ADDRESS_MIN 4096         /* the first page is never mapped */
#define HANDLER_FRAMES_MAX 12    /* walk, handler and trampoline are 4 to 6 */
#define FRAME_BYTES_MAX 0x800000 /* 8 MiB: a larger step by frame pointers is no frame */

__thread struct unwind_walk unwind_walk __attribute__((tls_model("initial-exec")));
struct unwinder unwinder;

/* The first free one: they are as big as a cache of libunwind's, and so no more are ever used than must be. */
static struct unwind_state *claim_state(void)
{
	for (uint32_t i = 1; i < unwinder.state_count; i++) {
		_Atomic uint32_t *owner = &unwinder.owners[i];
		uint32_t nobody = 0;
		if (atomic_load_explicit(owner, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong_explicit(owner, &nobody, self.tid, memory_order_acquire, memory_order_relaxed))
			return &unwinder.states[i];
	}
	return NULL;
}

struct unwind_state *sig_unwind_begin(void)
{
	if (!unwind_walk.own && self.is_exclusive)
		unwind_walk.own = claim_state();
	struct unwind_state *state = unwind_walk.own ? unwind_walk.own : unwinder.states;
	return state && !atomic_exchange_explicit(&state->is_busy, 1, memory_order_acquire) ? state : NULL;
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

/* The end of the stack that the thread runs on; stack_pointer itself where that is not the thread's: an alternate signal
 * stack, a coroutine's. */
static uintptr_t stack_end(uintptr_t stack_pointer)
{
	note_stack();
	bool is_known = stack_pointer >= self.stack_low && stack_pointer < self.stack_high;

	return is_known ? self.stack_high : stack_pointer;
}

static bool can_be_frame(uintptr_t frame, uintptr_t low, uintptr_t high)
{
	return frame % sizeof(frame) == 0 && frame >= low && frame - low <= FRAME_BYTES_MAX && frame < high &&
	       high - frame >= 2 * sizeof(frame);
}

struct sig_walk sig_unwind_pointers(const ucontext_t *context, uintptr_t *pcs, uint32_t max)
{
	uintptr_t low = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	uintptr_t high = stack_end(low);
	uintptr_t frame = (uintptr_t)context->uc_mcontext.gregs[REG_RBP];
	struct sig_walk walk = { .depth = 1, .is_by_pointers = true };
	uintptr_t pair[2];

	pcs[0] = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
	while (can_be_frame(frame, low, high)) {
		memcpy(pair, (const void *)frame, sizeof(pair));
		if (pair[1] < ADDRESS_MIN)
			break;
		if (walk.depth == max) {
			walk.is_cut = true;
			break;
		}
		pcs[walk.depth++] = pair[1];
		low = frame + sizeof(pair);
		frame = pair[0];
	}
	return walk;
}

/* libunwind remembers how to leave each address, per thread and for ever, and behind that for all threads; when addresses
 * have changed their meaning, it must forget. An entry of a thread is free when its first word is 0. False: its memory was
 * never seen, so it cannot be trusted. */
static bool make_cache_sound(struct unwind_state *state)
{
	uint32_t epoch = sig_modules_epoch();

	if (atomic_exchange_explicit(&unwinder.flushed_epoch, epoch, memory_order_relaxed) != epoch)
		unwinder.flush(unwinder.space, 0, 0);
	if (state->cache_epoch == epoch)
		return true;
	if (state->cache)
		memset(state->cache, 0, state->cache_bytes);
	else if (state->has_tls)
		return false;
	state->cache_epoch = epoch;
	return true;
}

/* sig_call_on calls function(pcs, max) on another stack and leaves in *ret_escape what sig_escape needs to return 0 from it
 * at any moment: the old stack pointer, with the registers on top that a callee must keep. The frame pointer leads from the
 * new stack to the old one, for unwinders and debuggers alike. */
int sig_call_on(void *stack_end, int (*function)(void **, int), void **pcs, int max, void **ret_escape);
__asm__(".text\n"
	".hidden sig_call_on\n"
	".globl sig_call_on\n"
	".type sig_call_on, @function\n"
	"sig_call_on:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rsp, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%r8)\n"
	"	mov %rdi, %rsp\n"
	"	mov %rsi, %rax\n"
	"	mov %rdx, %rdi\n"
	"	mov %ecx, %esi\n"
	"	call *%rax\n"
	"	lea -40(%rbp), %rsp\n"
	"1:	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size sig_call_on, . - sig_call_on\n"
	".hidden sig_escape\n"
	".globl sig_escape\n"
	".type sig_escape, @function\n"
	"sig_escape:\n"
	"	mov %rdi, %rsp\n"
	"	xor %eax, %eax\n"
	"	jmp 1b\n"
	".size sig_escape, . - sig_escape\n");

int sig_unwind_library(int (*backtrace)(void **, int), struct unwind_state *state, uintptr_t low, uintptr_t high)
{
	int found = 0;

	unwind_walk.stack_low = low;
	unwind_walk.stack_high = high;
	unwind_walk.held_count = 0;
	unwind_walk.state = state;
	atomic_signal_fence(memory_order_seq_cst);
	if (make_cache_sound(state))
		found = sig_call_on(state->stack + UNWIND_STACK_BYTES, backtrace, (void **)state->pcs, UNWIND_PCS_MAX,
				    &unwind_walk.escape);
	atomic_signal_fence(memory_order_seq_cst);
	unwind_walk.state = NULL;
	return found;
}

static uint32_t count_handler_frames(const uintptr_t *pcs, uint32_t depth, uintptr_t interrupted)
{
	for (uint32_t i = 0; i < depth && i < HANDLER_FRAMES_MAX; i++)
		if (pcs[i] == interrupted)
			return i;
	return UINT32_MAX;
}

struct sig_walk sig_unwind(const ucontext_t *context, struct unwind_state *state)
{
	int (*backtrace)(void **, int) = atomic_load_explicit(&unwinder.backtrace, memory_order_acquire);

	/* What libunwind keeps of a thread cannot be shared; and it must not walk while it walks. */
	if (!backtrace || state == unwinder.states)
		return sig_unwind_pointers(context, state->pcs, UNWIND_PCS_MAX);
	if (unwind_walk.state)
		return (struct sig_walk){ 0 };

	uintptr_t low = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	uintptr_t high = stack_end(low);
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	if (here < low && here >= self.stack_low)
		low = here; /* the walk begins at the handler's own frames, on the same stack */
	int found = sig_unwind_library(backtrace, state, low, high);

	uint32_t depth = found > 0 ? (uint32_t)found : 0;
	uint32_t skipped = count_handler_frames(state->pcs, depth, (uintptr_t)context->uc_mcontext.gregs[REG_RIP]);
	if (skipped == UINT32_MAX)
		return (struct sig_walk){ 0 };
	struct sig_walk walk = {
		.depth = depth - skipped,
		.is_cut = depth == UNWIND_PCS_MAX,
		.trampoline = skipped ? state->pcs[skipped - 1] : 0,
	};
	memmove(state->pcs, state->pcs + skipped, walk.depth * sizeof(*state->pcs));
	return walk;
}
