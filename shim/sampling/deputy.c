#include "deputy.h"

#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Programs count from SIGRTMIN (34) up and from SIGRTMAX (64) down. */
enum { FIRST_CHOICE = 50, LAST_CHOICE = 62, KERNEL_MASK_BYTES = 8 };

/* Of an alternate stack, for a handler and below it a tick with its 3.3 KiB of frame and 2 of ours. */
enum { ROOM_BYTES = 16384 };

int deputy_signal;

/* The stretch of stack on which the calling thread's shield is up. */
static __thread struct {
	uintptr_t low, high;
} shield __attribute__((tls_model("initial-exec")));

int deputy_choose(uint64_t blocked)
{
	for (int number = FIRST_CHOICE; number <= LAST_CHOICE; number++) {
		struct deputy_kernel_action action;
		if (!(blocked & deputy_bit_of(number)) &&
		    syscall(SYS_rt_sigaction, number, NULL, &action, KERNEL_MASK_BYTES) == 0 && action.handler == SIG_DFL)
			return number;
	}
	/* A program that begins with everything blocked. */
	return blocked & deputy_bit_of(FIRST_CHOICE) ? deputy_choose(0) : -1;
}

bool deputy_is_shielded(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return here >= shield.low && here < shield.high;
}

uint64_t deputy_raise_shield(const ucontext_t *context)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), low = (uintptr_t)context->uc_stack.ss_sp;

	if (!deputy_signal || here < low || here - low >= context->uc_stack.ss_size || here - low >= ROOM_BYTES)
		return 0;
	if (!deputy_is_shielded()) {
		shield.low = low;
		shield.high = (uintptr_t)context;
	}
	return deputy_bit_of(SIGPROF);
}

bool deputy_forget_shield(void)
{
	bool was_raised = shield.high != 0;

	shield.high = 0;
	return was_raised;
}

uint64_t deputy_kernel_mask(uint64_t program)
{
	const uint64_t prof = deputy_bit_of(SIGPROF), deputy = deputy_bit_of(deputy_signal);

	if (!deputy)
		return program;
	return (program & ~(prof | deputy)) | (program & prof ? deputy : 0);
}

uint64_t deputy_program_mask(uint64_t kernel)
{
	const uint64_t prof = deputy_bit_of(SIGPROF), deputy = deputy_bit_of(deputy_signal);
	const uint64_t neighbours = deputy << 1 | deputy >> 1;

	if (!deputy)
		return kernel;
	uint64_t program = kernel & ~(prof | deputy);
	if (kernel & deputy || (kernel & prof && !deputy_is_shielded()))
		program |= prof;
	if ((kernel & neighbours) == neighbours)
		program |= deputy;
	return program;
}

uint64_t deputy_mask_of(const sigset_t *set)
{
	uint64_t mask;

	memcpy(&mask, set, sizeof(mask));
	return mask;
}

sigset_t deputy_set_of(uint64_t mask)
{
	sigset_t set = { 0 };

	memcpy(&set, &mask, sizeof(mask));
	return set;
}

uint64_t deputy_context_mask(const ucontext_t *context)
{
	uint64_t mask;

	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	return mask;
}

void deputy_set_context_mask(ucontext_t *context, uint64_t mask)
{
	memcpy(&context->uc_sigmask, &mask, sizeof(mask));
}
