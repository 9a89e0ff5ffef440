#include "guard.h"

#include "deputy.h"
#include "restart.h"
#include "unwind.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	KERNEL_MASK_BYTES = 8,
	/* Of stack, for the walk: it takes some 650. Less than the frame of a signal, so that a handler that interrupts a walk
	 * is outside (restart.c counts the bytes). */
	WALK_BYTES_MAX = 1024,
	TRAP_NOT_PRESENT = 11, /* Intel SDM, volume 3, 6.3.1 */
	TRAP_PROTECTION = 13,
	DIRECTION_FLAG = 0x400,
};

static bool is_within(uintptr_t address, const void *low, size_t bytes)
{
	return address - (uintptr_t)low < bytes;
}

/* The fault is the walk's own, not that of a handler on top of it. */
static bool is_of_walk(uintptr_t stack_pointer)
{
	const struct unwind_state *state = unwind_walk.state;

	if (state)
		return is_within(stack_pointer, state->stack, UNWIND_STACK_BYTES);
	return (uintptr_t)unwind_walk.escape - stack_pointer < WALK_BYTES_MAX;
}

bool sig_guard_catch(const siginfo_t *info, ucontext_t *context)
{
	greg_t *registers = context->uc_mcontext.gregs;
	bool is_guarded = unwind_walk.is_guarded;

	/* Whatever else a handler does on top of a walk is its own. */
	unwind_walk.is_guarded = false;
	if (!is_guarded || !info || info->si_code <= 0 || !is_of_walk((uintptr_t)registers[REG_RSP]))
		return false;
	sig_unwind_let_go();
	registers[REG_RIP] = (greg_t)(uintptr_t)sig_call_end;
	registers[REG_RSP] = (greg_t)(uintptr_t)unwind_walk.escape;
	registers[REG_RAX] = -1;
	registers[REG_EFL] &= ~(greg_t)DIRECTION_FLAG;
	return true;
}

/* The same instruction will raise it again. SI_KERNEL stands for faults without an address, and for what the kernel itself
 * could not do, as to return from a handler. */
static bool comes_again(int number, const siginfo_t *info, const ucontext_t *context)
{
	greg_t trap = context->uc_mcontext.gregs[REG_TRAPNO];

	if (info->si_code == SI_KERNEL)
		return trap >= TRAP_NOT_PRESENT && trap <= TRAP_PROTECTION;
	return info->si_code > 0 && !(number == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

/* It is blocked while we are in its handler. */
static void send_again(int number, siginfo_t *info)
{
	long pid = syscall(SYS_getpid), tid = syscall(SYS_gettid);

	if (syscall(SYS_rt_tgsigqueueinfo, pid, tid, number, info) != 0)
		syscall(SYS_tgkill, pid, tid, number);
}

void sig_guard_default(int number, siginfo_t *info, ucontext_t *context)
{
	static const struct deputy_kernel_action action = { .handler = SIG_DFL };
	int saved_errno = errno;

	/* A fault that is blocked is the end, too, but without a line in the kernel's log. */
	if (syscall(SYS_rt_sigaction, number, &action, NULL, KERNEL_MASK_BYTES) != 0)
		deputy_set_context_mask(context, deputy_context_mask(context) | deputy_bit_of(number));
	if (!comes_again(number, info, context))
		send_again(number, info);
	/* The first process of a namespace is spared by signals from within it. */
	if (syscall(SYS_getpid) == 1)
		sig_restart(context);
	errno = saved_errno;
}
