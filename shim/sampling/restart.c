/* When a handler runs, the kernel has already put -EINTR where the call's number was and its result goes. The registers of
 * the arguments are as they were, so to go back by the one instruction that enters the kernel, with the number in its place
 * again, is to call again. The number is found in the code of the C library's wrapper, which loads it shortly before:
 *
 *	b8 nn nn 00 00	mov $number, %eax		or	31 c0	xor %eax, %eax
 *	...		at most a few loads of arguments
 *	0f 05		syscall
 *
 * A program that makes its system calls by itself gets the EINTR.
 *
 * Timers on a thread's CPU clock expire while it runs, so a call is met on its way in, or on its way out after being woken
 * for nothing; hence no time to speak of has passed and a timeout begins anew. The exception are programs woken for
 * nothing again and again: for the calls that take a number of milliseconds the end is kept from the first interruption on
 * (select, pselect and ppoll write back what is left by themselves).
 */
#include "restart.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "modules.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	ENTER_BYTES = 2,
	LOOK_BACK_BYTES = 24, /* the farthest in glibc 2.36 is 14 */
	KERNEL_MASK_BYTES = 8,
};

#define NS_PER_MS 1000000

/* The hooked call with a timeout that was interrupted last on this thread, and when it must end. */
static __thread struct {
	uint64_t number; /* the how-manieth call of its kind; 0 = none */
	uint32_t call;
	uint64_t end_ns;
} waiting __attribute__((tls_model("initial-exec")));

/* The number of the system call that context is returning from, -1 = it is not, or not by a wrapper of libc's. */
static int returning_from(const ucontext_t *context)
{
	uintptr_t pc = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
	unsigned char code[LOOK_BACK_BYTES];
	int number;

	if (!sig_modules_is_system(pc - LOOK_BACK_BYTES) || !sig_modules_is_system(pc))
		return -1;
	memcpy(code, (const void *)(pc - LOOK_BACK_BYTES), sizeof(code));
	const unsigned char *enter = code + LOOK_BACK_BYTES - ENTER_BYTES;
	if (enter[0] != 0x0f || enter[1] != 0x05)
		return -1;
	if (enter[-2] == 0x31 && enter[-1] == 0xc0)
		return 0;
	for (const unsigned char *load = enter - 5; load >= code; load--) {
		memcpy(&number, load + 1, sizeof(number));
		if (load[0] == 0xb8 && number > 0 && number < 1024)
			return number;
	}
	return -1;
}

/* Which argument is a timeout in milliseconds, -1 = none. */
static int timeout_register(int number)
{
	switch (number) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return REG_R10;
	case SYS_poll:
		return REG_RDX;
	default:
		return -1;
	}
}

static bool is_never_restarted(int number, const ucontext_t *context)
{
	switch (number) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_poll:
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigtimedwait:
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
	case SYS_semtimedop:
	case SYS_msgsnd:
	case SYS_msgrcv:
	case SYS_io_getevents:
	/* With a timeout set on the socket. Not connect, which cannot be made twice. */
	case SYS_accept:
	case SYS_accept4:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_read:
	case SYS_readv:
	case SYS_write:
	case SYS_writev:
		return true;
	case SYS_futex: /* sem_timedwait: the end is a point in time */
		return (context->uc_mcontext.gregs[REG_RSI] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
	case SYS_epoll_pwait2: /* its timeout stays as it is in memory that is not ours to change */
		return !context->uc_mcontext.gregs[REG_R10];
	default:
		return false;
	}
}

/* False: the call has a timeout, and nothing tells how long it has been waiting. */
static bool keep_end(ucontext_t *context, int number)
{
	int argument = timeout_register(number);
	int32_t timeout_ms = argument < 0 ? -1 : (int32_t)context->uc_mcontext.gregs[argument];

	if (timeout_ms <= 0)
		return true;
	if (!self.call || !self.is_exclusive)
		return false;
	uint64_t count = atomic_load_explicit(&self.slot->call_counts[self.call - 1], memory_order_relaxed);
	uint64_t now_ns = clock_now_ns();
	if (waiting.call != self.call || waiting.number != count) {
		waiting.call = self.call;
		waiting.number = count;
		waiting.end_ns = now_ns + (uint64_t)timeout_ms * NS_PER_MS;
		return true;
	}
	uint64_t left_ns = waiting.end_ns > now_ns ? waiting.end_ns - now_ns : 0;
	context->uc_mcontext.gregs[argument] = (greg_t)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
	return true;
}

/* One that the interrupted code does not block: its handler runs as soon as ours returns, and the EINTR is its. */
static bool has_signal_for_program(const ucontext_t *context)
{
	uint64_t pending = 0, blocked;

	memcpy(&blocked, &context->uc_sigmask, sizeof(blocked));
	return syscall(SYS_rt_sigpending, &pending, KERNEL_MASK_BYTES) != 0 || pending & ~blocked;
}

void sig_restart(ucontext_t *context)
{
	if (context->uc_mcontext.gregs[REG_RAX] != -EINTR)
		return;
	bool has_entered = sig_modules_enter();
	int number = has_entered ? returning_from(context) : -1;
	sig_modules_leave(has_entered);

	if (number < 0 || !is_never_restarted(number, context))
		return;
	if (has_signal_for_program(context) || !keep_end(context, number))
		return;
	context->uc_mcontext.gregs[REG_RIP] -= ENTER_BYTES;
	context->uc_mcontext.gregs[REG_RAX] = number;
}
