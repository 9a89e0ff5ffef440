/* The kernel ends an interrupted call in one of two ways (arch/x86/kernel/signal.c, handle_signal; which one is the call's
 * own choice, see signal(7)). Calls that SA_RESTART covers are wound back: the handler runs on a context that is about to
 * enter the kernel with the same registers. Our handlers are set with SA_RESTART, so there is nothing left to do. The others
 * are behind that instruction, and -EINTR is where the number of the call was. The registers of the arguments are as they
 * were, so to go back by that one instruction, with the number in its place again, is to call again.
 *
 * Not so if the program has a signal, too, that is pending already or comes before we are back: its handler runs on the
 * context that we leave, and the call has to end with EINTR after all. And when that handler has returned, another tick may
 * find the EINTR on its way into the program, and must not take it for its own. Both are told in the context itself. Of the
 * two registers that the instruction destroys (rcx, r11; "syscall" in the processor's manual) r11 is of no use to anyone
 * who is just before or just behind it, and the kernel saves and restores it with the rest. So
 *
 *	r11 = AGAIN     the call was not one that SA_RESTART covers; we made it again, and it has not been entered yet
 *	r11 = WOUND_BACK    the same of one that the kernel has wound back for our handler's sake
 *	r11 = THEIRS    behind the call: its EINTR is for a handler of the program's
 *
 * Whoever enters the kernel overwrites it. All handlers of the program's are entered by entry.c, which undoes the first
 * two and leaves the third. There is no instant between two instructions in which this is not true, and no state of the
 * thread's that a jump out of a handler could leave behind.
 *
 * A handler that was set by the bare system call is not entered that way: if it meets one of our restarts before it is
 * made, the call goes on as if the signal had come before it.
 *
 * A call whose time the kernel keeps (futexes with one, poll, nanosleep) is wound back as restart_syscall(2) where it was woken
 * and there is no signal for it after all: it was stopped and goes on, or another thread has taken the signal. If our signal comes
 * just then, the return from our handler makes that fail with EINTR (restore_sigcontext, arch/x86/kernel/signal_64.c, forgets
 * what was to be begun again), so it is made again as the call that it was.
 *
 * What is left of a time-out: the hook has said when it must end (struct thread_wait). Without that, calls that write it back
 * themselves (select, ppoll, nanosleep) go on with what they wrote. Without a hook, as in the middle of libc or in code
 * with system calls of its own, the time-out begins anew: timers on a thread's CPU clock expire while it runs, so a call is
 * met on its way in, when nothing of it has passed, or when it was woken for nothing.
 *
 * A time-out of a socket (SO_RCVTIMEO) is in the kernel, where nobody can shorten it: the hook sees to those (again.h).
 *
 * The number: the hook has said it, or it is found in the code, which loads it shortly before:
 *
 *	b8 nn nn 00 00	mov $number, %eax		or	31 c0	xor %eax, %eax
 *	...		at most a few loads of arguments
 *	0f 05		syscall
 */
#include "restart.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "modules.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* No flags register looks like these. */
#define AGAIN 0x9e3779b97f4a7c15
#define WOUND_BACK 0xc2b2ae3d27d4eb4f
#define THEIRS 0x165667b19e3779f9

enum {
	ENTER_BYTES = 2,
	LOAD_BYTES = 5,
	LOOK_BACK_BYTES = 24,  /* the farthest in glibc 2.36 is 14 */
	PAGE_BYTES = 4096,
	/* Of stack, between a hook's frame and the system call within it: less than the frame of a signal (x86-64 psABI: a
	 * red zone of 128; 576 of floating point state, some 440 of ucontext and siginfo), so that what a handler of the
	 * program's calls in the midst of a hooked call is not taken for that. */
	WRAPPER_BYTES_MAX = 1024,
};

#define NS_PER_MS 1000000
#define NS_PER_S 1000000000

static uint64_t reg(const ucontext_t *context, int number)
{
	return (uint64_t)context->uc_mcontext.gregs[number];
}

static void set_reg(ucontext_t *context, int number, uint64_t value)
{
	context->uc_mcontext.gregs[number] = (greg_t)value;
}

struct restart_code restart_libc, restart_program;

static bool is_within(const struct restart_code *code, uintptr_t address, size_t bytes)
{
	return address >= code->low && address < code->high && code->high - address >= bytes;
}

/* The thread is at pc, so that page can be read, and what is never unmapped, and another page if it is a module's just now. */
static bool can_read(uintptr_t pc, uintptr_t address, size_t bytes)
{
	if (pc < PAGE_BYTES)
		return false;
	if (address / PAGE_BYTES == pc / PAGE_BYTES && (address + bytes - 1) / PAGE_BYTES == pc / PAGE_BYTES)
		return true;
	if (is_within(&restart_libc, address, bytes) || is_within(&restart_program, address, bytes))
		return true;
	bool has_entered = sig_modules_enter();
	bool is_readable = has_entered && sig_modules_is_readable(address, bytes);
	sig_modules_leave(has_entered);
	return is_readable;
}

static bool is_enter(uintptr_t pc, uintptr_t address)
{
	unsigned char code[ENTER_BYTES];

	if (!can_read(pc, address, sizeof(code)))
		return false;
	memcpy(code, (const void *)address, sizeof(code));
	return code[0] == 0x0f && code[1] == 0x05;
}

static bool is_interrupted(const ucontext_t *context)
{
	uintptr_t pc = reg(context, REG_RIP);

	return context->uc_mcontext.gregs[REG_RAX] == -EINTR && is_enter(pc, pc - ENTER_BYTES);
}

/* About to enter the kernel, where it came from: the instruction leaves in rcx where it goes on. */
static bool is_wound_back(const ucontext_t *context)
{
	uintptr_t pc = reg(context, REG_RIP);

	return reg(context, REG_RCX) == pc + ENTER_BYTES && is_enter(pc, pc);
}

/* --- which call --- */

static const struct thread_wait *hooked_wait(const ucontext_t *context)
{
	uint64_t sp = reg(context, REG_RSP);

	return self.wait.frame > sp && self.wait.frame - sp < WRAPPER_BYTES_MAX ? &self.wait : NULL;
}

/* Bytes of an operand behind its opcode: the form and what follows it. */
static int length_of_operand(const unsigned char *form)
{
	int mode = form[0] >> 6, base = form[0] & 7;
	bool has_index = mode != 3 && base == 4;
	int displacement = mode == 1 ? 1 : mode == 2 || (mode == 0 && (base == 5 || (has_index && (form[1] & 7) == 5))) ? 4 : 0;

	return 1 + has_index + displacement;
}

/* One instruction that moves something and leaves rax alone, as they stand before a system call to load its arguments: its
 * length; 0 = another one. Processor's manual, volume 2, chapter 2. */
static int length_of_move(const unsigned char *code)
{
	int prefix = (code[0] & 0xf0) == 0x40;
	unsigned char opcode = code[prefix], form = code[prefix + 1];
	bool is_extended_reg = prefix && code[0] & 4, is_extended_base = prefix && code[0] & 1;
	bool is_rax_reg = (form >> 3 & 7) == 0 && !is_extended_reg, is_rax_base = form >= 0xc0 && (form & 7) == 0 && !is_extended_base;

	if ((opcode & 0xf8) == 0xb8) /* mov $immediate, %register */
		return (opcode == 0xb8 && !is_extended_base) || (prefix && code[0] & 8) ? 0 : prefix + 5;
	switch (opcode) {
	case 0x8b: /* mov, movslq, xor, lea into a register */
	case 0x63:
	case 0x33:
	case 0x8d:
		return is_rax_reg ? 0 : prefix + 1 + length_of_operand(code + prefix + 1);
	case 0x89: /* mov, xor out of one */
	case 0x31:
		return is_rax_base ? 0 : prefix + 1 + length_of_operand(code + prefix + 1);
	case 0xc7: /* mov $immediate, %register or memory */
		return is_rax_base || form >> 3 & 7 ? 0 : prefix + 1 + length_of_operand(code + prefix + 1) + 4;
	default:
		return 0;
	}
}

static bool is_moves(const unsigned char *code, const unsigned char *end)
{
	while (code < end) {
		int bytes = length_of_move(code);
		if (!bytes)
			return false;
		code += bytes;
	}
	return code == end;
}

/* The number of the system call whose instruction ends at pc, -1 = not known. In code that is not libc's nothing but moves
 * between registers may stand between the load of the number and the call. */
static int number_in_code(uintptr_t pc, bool is_libc)
{
	unsigned char code[LOOK_BACK_BYTES];
	const unsigned char *enter = code + LOOK_BACK_BYTES - ENTER_BYTES;
	int number;

	memcpy(code, (const void *)(pc - LOOK_BACK_BYTES), sizeof(code));
	if (enter[-2] == 0x31 && enter[-1] == 0xc0)
		return 0;
	for (const unsigned char *load = enter - LOAD_BYTES; load >= code; load--) {
		memcpy(&number, load + 1, sizeof(number));
		if (load[0] == 0xb8 && number > 0 && number < 1024 && (is_libc || is_moves(load + LOAD_BYTES, enter)))
			return number;
	}
	return -1;
}

static int find_number(uintptr_t pc)
{
	bool is_libc = is_within(&restart_libc, pc - LOOK_BACK_BYTES, LOOK_BACK_BYTES);

	return can_read(pc, pc - LOOK_BACK_BYTES, LOOK_BACK_BYTES) ? number_in_code(pc, is_libc) : -1;
}

/* Interruption ends these whatever the flags of the handler are, or does if the socket has a time-out. */
static bool is_never_restarted(int number)
{
	switch (number) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_poll:
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigtimedwait:
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_msgsnd:
	case SYS_msgrcv:
	case SYS_io_getevents:
	case SYS_io_pgetevents:
	case SYS_futex:
	case SYS_futex_waitv:
	case SYS_io_uring_enter: /* EINTR means that nothing was submitted */
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect: /* one that goes on in the background is waited for, net/ipv4/af_inet.c */
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
	case SYS_read:
	case SYS_readv:
	case SYS_write:
	case SYS_writev:
	case SYS_sendfile:
	case SYS_splice:
		return true;
	default:
		return false;
	}
}

/* Those that SA_RESTART covers and that may sleep. */
static bool may_be_wound_back(uint64_t number)
{
	switch (number) {
	case SYS_wait4:
	case SYS_waitid:
	case SYS_flock:
	case SYS_fcntl:
	case SYS_open:
	case SYS_openat:
	case SYS_ioctl:
	case SYS_mq_timedsend:
	case SYS_mq_timedreceive:
	case SYS_getrandom:
	case SYS_preadv:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_pwritev:
	case SYS_tee:
	case SYS_vmsplice:
		return true;
	default:
		return number < 1024 && is_never_restarted((int)number);
	}
}

/* --- what is left of its time --- */

static uint64_t left_ns(const struct thread_wait *wait)
{
	uint64_t now_ns = clock_now_ns();

	return wait->end_ns > now_ns ? wait->end_ns - now_ns : 0;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };
}

static void shorten_ms(ucontext_t *context, int argument, const struct thread_wait *wait)
{
	if (wait && wait->end_ns && (int32_t)reg(context, argument) > 0)
		set_reg(context, argument, (left_ns(wait) + NS_PER_MS - 1) / NS_PER_MS);
}

static void shorten(ucontext_t *context, int argument, const struct thread_wait *wait)
{
	if (!wait || !wait->end_ns || !reg(context, argument))
		return;
	self.wait_left = timespec_of(left_ns(wait));
	set_reg(context, argument, (uintptr_t)&self.wait_left);
}

/* The kernel writes there what is left, as the C library's own copy is for. But what it writes is what was left before the
 * handler ran, so that a call that is interrupted often would last longer by all of them. */
static void correct(const ucontext_t *context, int argument, const struct thread_wait *wait)
{
	struct timespec *timeout = (struct timespec *)reg(context, argument);

	if (wait && wait->end_ns && timeout)
		*timeout = timespec_of(left_ns(wait));
}

/* The kernel has written what is left of a pause to where the argument remainder points. */
static void take_remainder(ucontext_t *context, int argument, int remainder, const struct thread_wait *wait)
{
	if (wait && wait->end_ns)
		shorten(context, argument, wait);
	else if (reg(context, remainder))
		set_reg(context, argument, reg(context, remainder));
}

static void shorten_time(ucontext_t *context, int number, const struct thread_wait *wait)
{
	switch (number) {
	case SYS_poll:
		shorten_ms(context, REG_RDX, wait);
		break;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		shorten_ms(context, REG_R10, wait);
		break;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		shorten(context, REG_R10, wait);
		break;
	case SYS_futex:
		if ((reg(context, REG_RSI) & FUTEX_CMD_MASK) == FUTEX_WAIT)
			shorten(context, REG_R10, wait);
		break;
	case SYS_rt_sigtimedwait:
		shorten(context, REG_RDX, wait);
		break;
	case SYS_io_getevents:
	case SYS_io_pgetevents:
		shorten(context, REG_R8, wait);
		break;
	case SYS_ppoll:
		correct(context, REG_RDX, wait);
		break;
	case SYS_pselect6:
		correct(context, REG_R8, wait);
		break;
	case SYS_nanosleep:
		take_remainder(context, REG_RDI, REG_RSI, wait);
		break;
	case SYS_clock_nanosleep:
		if (!(reg(context, REG_RSI) & TIMER_ABSTIME))
			take_remainder(context, REG_RDX, REG_R10, wait);
		break;
	default:
		break;
	}
}

/* --- the two ways --- */

/* pc: behind the instruction that makes the call. Nothing is changed where it is not known which that is. */
static void make_again(ucontext_t *context, uintptr_t pc)
{
	const struct thread_wait *wait = hooked_wait(context);

	int number = find_number(pc);
	if (number < 0 && wait)
		number = wait->number;
	if (wait && wait->number != number)
		wait = NULL;
	if (number < 0 || !is_never_restarted(number))
		return;
	shorten_time(context, number, wait);
	set_reg(context, REG_RIP, pc - ENTER_BYTES);
	set_reg(context, REG_RAX, (uint64_t)number);
	set_reg(context, REG_RCX, pc);
	set_reg(context, REG_R11, AGAIN);
}

/* A signal may end a transfer before all is done, and a time-out before it is over. The hook knows how much there was to do. */
static bool is_behind_hooked(const ucontext_t *context)
{
	const struct thread_wait *wait = hooked_wait(context);
	uintptr_t pc = reg(context, REG_RIP);

	return wait && wait->number == THREAD_WAIT_HOOK && is_enter(pc, pc - ENTER_BYTES);
}

void sig_restart(ucontext_t *context)
{
	uint64_t mark = reg(context, REG_R11);

	if (mark == THEIRS || mark == AGAIN)
		return;
	if (is_behind_hooked(context))
		self.is_interrupted = 1;
	else if (is_interrupted(context))
		make_again(context, reg(context, REG_RIP));
	else if (is_wound_back(context) && reg(context, REG_RAX) == SYS_restart_syscall)
		make_again(context, reg(context, REG_RCX));
	else if (is_wound_back(context) && may_be_wound_back(reg(context, REG_RAX)))
		set_reg(context, REG_R11, WOUND_BACK);
}

static void interrupt(ucontext_t *context)
{
	set_reg(context, REG_RIP, reg(context, REG_RIP) + ENTER_BYTES);
	set_reg(context, REG_RAX, (uint64_t)-EINTR);
	set_reg(context, REG_R11, THEIRS);
}

void sig_restart_interrupted(ucontext_t *context, bool restarts)
{
	uint64_t mark = reg(context, REG_R11);

	self.is_interrupted = 0;
	self.handlers_run++;
	if (is_interrupted(context))
		set_reg(context, REG_R11, THEIRS);
	else if ((mark == AGAIN || (mark == WOUND_BACK && !restarts)) && is_wound_back(context))
		interrupt(context);
}

void sig_restart_within(ucontext_t *context, bool restarts)
{
	if (reg(context, REG_R11) != AGAIN && is_wound_back(context) && may_be_wound_back(reg(context, REG_RAX)))
		set_reg(context, REG_R11, WOUND_BACK);
	sig_restart_interrupted(context, restarts);
}
