#include "deputy.h"

#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Programs count from SIGRTMIN (34) up and from SIGRTMAX (64) down. */
enum { FIRST_CHOICE = 50, LAST_CHOICE = 62, KERNEL_MASK_BYTES = 8 };

int deputy_signal;

/* What rt_sigaction(2) takes: not libc's struct sigaction. */
struct kernel_action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

int deputy_choose(uint64_t blocked)
{
	for (int number = FIRST_CHOICE; number <= LAST_CHOICE; number++) {
		struct kernel_action action;
		if (!(blocked & deputy_bit_of(number)) &&
		    syscall(SYS_rt_sigaction, number, NULL, &action, KERNEL_MASK_BYTES) == 0 && action.handler == SIG_DFL)
			return number;
	}
	/* A program that begins with everything blocked. */
	return blocked & deputy_bit_of(FIRST_CHOICE) ? deputy_choose(0) : -1;
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
	if (kernel & (prof | deputy))
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
