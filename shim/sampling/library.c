/* Walks by libunwind. Its cached walk begins where it is called, so it passes through our handler and the kernel's signal
 * frame first; those frames are recognized by the interrupted address, which follows them.
 *
 * It runs on a stack of its own: the interrupted code may be on an alternate signal stack of 8 KiB, which two signal
 * frames have nearly filled, or on a coroutine's.
 */
#include "unwind.h"

#include "../base/thread.h"
#include "modules.h"

#include <string.h>

#define HANDLER_FRAMES_MAX 12    /* walk, handler and trampoline are 4 to 6 */

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

/* function(argument, max) on the stack that ends at stack_end. What is left in *ret_escape is the old stack pointer. On top
 * of the old stack are the registers that a callee must keep. The frame pointer leads from the new stack to the old
 * one, for unwinders and debuggers alike. */
__asm__(".text\n"
	".hidden sig_call_end\n"
	".globl sig_call_end\n"
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
	"	test %rdi, %rdi\n"
	"	cmovz %rsp, %rdi\n"
	"	and $-16, %rdi\n"
	"	mov %rdi, %rsp\n"
	"	mov %rsi, %rax\n"
	"	mov %rdx, %rdi\n"
	"	mov %ecx, %esi\n"
	"	call *%rax\n"
	"	lea -40(%rbp), %rsp\n"
	"sig_call_end:\n"
	"	pop %r15\n"
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
	"	jmp sig_call_end\n"
	".size sig_escape, . - sig_escape\n");

int sig_call_on(void *stack_end, int (*function)(void *, int), void *argument, int max, void **ret_escape);

int sig_call_guarded(void *stack_end, int (*function)(void *, int), void *argument, int max)
{
	unwind_walk.is_guarded = true;
	atomic_signal_fence(memory_order_seq_cst);
	int result = sig_call_on(stack_end, function, argument, max, &unwind_walk.escape);
	atomic_signal_fence(memory_order_seq_cst);
	unwind_walk.is_guarded = false;
	return result;
}

int sig_unwind_library(int (*backtrace)(void **, int), struct unwind_state *state, uintptr_t low, uintptr_t high)
{
	int found = 0;

	unwind_walk.stack_low = low;
	unwind_walk.stack_high = high;
	unwind_walk.held_count = 0;
	unwind_walk.state = state;
	atomic_signal_fence(memory_order_seq_cst);
	if (make_cache_sound(state))
		found = sig_call_guarded(state->stack + UNWIND_STACK_BYTES, (int (*)(void *, int))backtrace, state->pcs, SIG_FRAMES_MAX);
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

/* Its addresses as frames, which know no registers. What follows the signal's trampoline was interrupted, not called; but
 * of the trampoline we know only that of our own handler. */
static void frames_of(struct unwind_state *state, const uintptr_t *pcs, uint32_t depth, uintptr_t trampoline)
{
	for (uint32_t i = 0; i < depth; i++) {
		bool is_exact = i == 0 || (trampoline && pcs[i - 1] == trampoline);
		uint32_t flags = (sig_modules_is_own(pcs[i]) ? SIG_FRAME_OWN : 0) | (sig_modules_is_system(pcs[i]) ? SIG_FRAME_SYSTEM : 0);
		state->frames[depth - 1 - i] =
			(struct sig_frame){ .tag = is_exact ? pcs[i] : pcs[i] | SIG_TAG_RETURN, .flags = (uint8_t)flags };
	}
}

struct sig_walk sig_walk_library(int (*backtrace)(void **, int), const ucontext_t *context, struct unwind_state *state)
{
	uintptr_t low = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	struct unwind_bounds bounds = sig_unwind_bounds(low, context);
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (here < low && here >= bounds.low)
		low = here; /* the walk begins at the handler's own frames, on the same stack */
	int found = sig_unwind_library(backtrace, state, low, bounds.is_known ? bounds.high : low);

	if (found < 0)
		return sig_unwind_faulted(state, true);
	uint32_t depth = found > 0 ? (uint32_t)found : 0;
	uint32_t skipped = count_handler_frames(state->pcs, depth, (uintptr_t)context->uc_mcontext.gregs[REG_RIP]);
	if (skipped == UINT32_MAX)
		return (struct sig_walk){ 0 };
	struct sig_walk walk = { .frames = state->frames, .depth = depth - skipped, .is_cut = depth == SIG_FRAMES_MAX };
	frames_of(state, state->pcs + skipped, walk.depth, skipped ? state->pcs[skipped - 1] : 0);
	return walk;
}
