/* blind - calls that may pass bytes of requests by us: syscall() with the number of a socket call, and vmsplice.
 * They are counted by kind, and what they do to a connection that is followed is told as bytes unseen, so that nothing
 * wrong is made of what comes after them.
 *
 * syscall() is much used for calls that libc has no function for, some of which return twice. So its entry looks at the
 * number and is gone: it jumps into libc's unless the number is one of those below. Waits for futexes are among them since
 * threads of programs with locks of their own (Abseil's, Rust's) rest there (rest.c).
 */
#include "hook.h"

#include "../base/readable.h"
#include "../requests/connection.h"
#include "again.h"
#include "descriptor.h"
#include "execution.h"
#include "lock.h"
#include "prctl.h"
#include "rights.h"
#include "tls.h"
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

enum { NUMBERS_MAX = 512 };

/* A bit for each number that is looked at; read by the entry. */
#define BIT(number, word) ((number) / 64 == (word) ? 1ULL << (number) % 64 : 0)
#define WATCHED(word)                                                                                                  \
	(BIT(SYS_read, word) | BIT(SYS_write, word) | BIT(SYS_close, word) | BIT(SYS_readv, word) | BIT(SYS_writev, word) |     \
	 BIT(SYS_sendfile, word) | BIT(SYS_connect, word) | BIT(SYS_accept, word) | BIT(SYS_sendto, word) |                      \
	 BIT(SYS_recvfrom, word) | BIT(SYS_sendmsg, word) | BIT(SYS_recvmsg, word) | BIT(SYS_splice, word) |                     \
	 BIT(SYS_vmsplice, word) | BIT(SYS_accept4, word) | BIT(SYS_recvmmsg, word) | BIT(SYS_sendmmsg, word) |                  \
	 BIT(SYS_io_uring_setup, word) | BIT(SYS_io_uring_enter, word) | BIT(SYS_close_range, word) | BIT(SYS_shutdown, word) |    \
	 BIT(SYS_futex, word) | BIT(SYS_setuid, word) | BIT(SYS_setgid, word) | BIT(SYS_setreuid, word) |                                                 \
	 BIT(SYS_setregid, word) | BIT(SYS_setresuid, word) | BIT(SYS_setresgid, word) | BIT(SYS_setgroups, word) |                            \
	 BIT(SYS_poll, word) | BIT(SYS_ppoll, word) | BIT(SYS_select, word) | BIT(SYS_pselect6, word) |      \
	 BIT(SYS_epoll_wait, word) | BIT(SYS_epoll_pwait, word) | BIT(SYS_epoll_pwait2, word) | BIT(SYS_pause, word) |            \
	 BIT(SYS_rt_sigsuspend, word) | BIT(SYS_rt_sigtimedwait, word) | BIT(SYS_nanosleep, word) |                               \
	 BIT(SYS_clock_nanosleep, word) | BIT(SYS_semop, word) | BIT(SYS_semtimedop, word) | BIT(SYS_msgsnd, word) |               \
	 BIT(SYS_msgrcv, word) | BIT(SYS_io_getevents, word) | BIT(SYS_io_pgetevents, word) | BIT(SYS_futex_waitv, word) |        \
	 BIT(SYS_clone, word) | BIT(SYS_fork, word) | BIT(SYS_execve, word) | BIT(SYS_execveat, word) | BIT(SYS_prctl, word) | BIT(SYS_mlockall, word) |        \
	 BIT(SYS_munlockall, word) | BIT(SYS_seccomp, word))

__attribute__((used, visibility("hidden"))) const uint64_t blind_numbers[NUMBERS_MAX / 64] = {
	WATCHED(0), WATCHED(1), WATCHED(2), WATCHED(3), WATCHED(4), WATCHED(5), WATCHED(6), WATCHED(7),
};

/* libc's syscall(); NULL = not looked up yet. W: blind_syscall, always the same. */
__attribute__((used, visibility("hidden"))) _Atomic(void *) blind_true_syscall;

enum { ARGUMENTS = 6 };

static long do_call(long number, const long *a)
{
	return real.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static bool is_socket(int fd)
{
	struct stat status;

	return conn_is_tracked(fd) || (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode));
}

enum effect { EFFECT_NONE, EFFECT_RECEIVES, EFFECT_SENDS, EFFECT_BOTH, EFFECT_UNTOLD };

/* What the call does to the socket a[0]; splice: from a[0] to a[2]. */
static enum effect effect_of(long number)
{
	switch (number) {
	case SYS_read:
	case SYS_readv:
	case SYS_recvfrom:
	case SYS_recvmsg:
		return EFFECT_RECEIVES;
	case SYS_write:
	case SYS_writev:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendfile:
		return EFFECT_SENDS;
	case SYS_splice:
		return EFFECT_BOTH;
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_recvmmsg: /* of datagrams, but for a stream of messages that nobody sends */
	case SYS_sendmmsg:
		return EFFECT_UNTOLD;
	default:
		return EFFECT_NONE;
	}
}

static void tell_received(int fd, long bytes, uint64_t now_ns)
{
	if (bytes > 0 && conn_is_tracked(fd) && !tls_takes(fd, NULL, 0, (size_t)bytes))
		conn_received_unseen(fd, (size_t)bytes, now_ns);
}

static void tell_sent(int fd, long bytes, uint64_t now_ns)
{
	if (bytes > 0 && conn_is_tracked(fd) && !tls_takes(fd, NULL, 0, (size_t)bytes))
		conn_sent_unseen(fd, (size_t)bytes, now_ns);
}

/* bytes that MSG_PEEK only showed are not told. */
static bool is_peek(long number, const long *a)
{
	return (number == SYS_recvfrom && a[3] & MSG_PEEK) || (number == SYS_recvmsg && a[2] & MSG_PEEK);
}

static void tell(long number, const long *a, long result)
{
	uint64_t now_ns = clock_now_ns();
	enum effect effect = effect_of(number);

	if (effect == EFFECT_BOTH) {
		tell_received((int)a[0], result, now_ns);
		tell_sent((int)a[2], result, now_ns);
	} else if (effect == EFFECT_RECEIVES && !is_peek(number, a)) {
		tell_received((int)a[0], result, now_ns);
	} else if (effect == EFFECT_SENDS) {
		tell_sent((int)a[0], result, now_ns);
	} else if ((number == SYS_accept || number == SYS_accept4) && result >= 0 && conn_is_tracked((int)result)) {
		conn_closing((int)result, now_ns); /* a number whose close was not seen */
	} else if (number == SYS_shutdown && result == 0 && conn_is_tracked((int)a[0])) {
		conn_shut_down((int)a[0], (int)a[1], now_ns);
	}
}

static bool changes_rights(long number)
{
	return number == SYS_setuid || number == SYS_setgid || number == SYS_setreuid || number == SYS_setregid ||
	       number == SYS_setresuid || number == SYS_setresgid || number == SYS_setgroups;
}

static void before_call(long number, const long *a)
{
	if (number == SYS_vmsplice)
		thread_count(SEG_COUNTER_BLIND_VMSPLICE);
	else if (number == SYS_io_uring_setup)
		uring_making();
	else if (number == SYS_io_uring_enter)
		thread_count(SEG_COUNTER_BLIND_IO_URING);
	else if (number == SYS_prctl)
		prctl_begins((int)a[0], (unsigned long)a[1], (const void *)a[2]);
	else if (number == SYS_seccomp)
		prctl_seccomp((unsigned long)a[0], (unsigned long)a[1], (const void *)a[2]);
	else if (changes_rights(number))
		rights_raw_call();
	else if (number == SYS_close)
		descriptor_range_closing((unsigned)a[0], (unsigned)a[0], 0, clock_now_ns());
	else if (number == SYS_close_range)
		descriptor_range_closing((unsigned)a[0], (unsigned)a[1], (unsigned)a[2], clock_now_ns());
	else if (effect_of(number) != EFFECT_NONE &&
		 (is_socket((int)a[0]) || (number == SYS_splice && is_socket((int)a[2]))))
		thread_count(SEG_COUNTER_BLIND_RAW_SYSCALL);
}

/* Which argument is a struct timespec of how long the call waits at most; -1 = none, or the kernel keeps its end. */
static int time_argument(long number)
{
	switch (number) {
	case SYS_rt_sigtimedwait:
		return 2;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
	case SYS_futex:
		return 3;
	case SYS_io_getevents:
	case SYS_io_pgetevents:
		return 4;
	default:
		return -1;
	}
}

/* When the time-out of a call that waits is over, 0 = it has none, or keeps it by itself. */
static uint64_t end_of(long number, const long *a)
{
	uint64_t now_ns = clock_now_ns();
	int time = time_argument(number);

	if (time >= 0)
		return again_end(now_ns, (const struct timespec *)a[time]);
	switch (number) {
	case SYS_poll:
		return again_end_ms(now_ns, (int)a[2]);
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return again_end_ms(now_ns, (int)a[3]);
	/* What the kernel says is left of them is more than that, by what it may sleep longer (prctl(2), PR_SET_TIMERSLACK). */
	case SYS_nanosleep:
		return again_end(now_ns, (const struct timespec *)a[0]);
	case SYS_clock_nanosleep:
		return again_end_of_pause(now_ns, (clockid_t)a[0], (int)a[1], (const struct timespec *)a[2]);
	default:
		return 0;
	}
}

/* A signal that another thread takes ends these (again.h); all others the kernel itself makes again. */
static bool may_end_for_nobody(long number)
{
	return number == SYS_epoll_wait || number == SYS_epoll_pwait || number == SYS_semop || time_argument(number) >= 0;
}

/* The call with what is left of its time. */
static long do_rest(long number, const long *a)
{
	long rest[ARGUMENTS] = { a[0], a[1], a[2], a[3], a[4], a[5] };
	struct timespec left;
	int time = time_argument(number);

	if (time >= 0)
		rest[time] = (long)again_left((const struct timespec *)a[time], &left);
	else if (number != SYS_semop)
		rest[3] = again_left_ms((int)a[3]);
	return do_call(number, rest);
}

static bool waits(long number)
{
	switch (number) {
	case SYS_poll:
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
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
	case SYS_futex_waitv:
		return true;
	default:
		return false;
	}
}

/* The code of syscall() does not tell which call it makes. */
static long do_wait(long number, const long *a)
{
	struct timespec left;
	long with_rest[ARGUMENTS] = { a[0], a[1], a[2], a[3], a[4], a[5] };

	if (number == SYS_nanosleep && !a[1])
		with_rest[1] = (long)&left;
	if (number == SYS_clock_nanosleep && !a[3] && !(a[1] & TIMER_ABSTIME))
		with_rest[3] = (long)&left;
	again_expect(with_rest, (int)number, end_of(number, a));
	long result = may_end_for_nobody(number) ? AGAIN_IF_NOBODY(do_call(number, with_rest), do_rest(number, with_rest)) :
						   do_call(number, with_rest);
	again_done();
	return result;
}

static bool is_futex_wait(long operation)
{
	int command = (int)operation & FUTEX_CMD_MASK;

	return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
}

/* Same arguments as syscall()'s. A futex's wait, for which the entry comes straight here: threads rest there many times a
 * millisecond. A lock of the program's own memory allocator, perhaps: nothing is begun here for a thread that was not met
 * before. */
__attribute__((used, visibility("hidden"))) long blind_futex(long number, long word, long operation, long value, long timeout,
							     long word2, long value3);

long blind_futex(long number, long word, long operation, long value, long timeout, long word2, long value3)
{
	bool has_end = ((int)operation & FUTEX_CMD_MASK) == FUTEX_WAIT && timeout;
	bool is_rest = self.slot && !(self.own_depth | self.in_handler);
	uint64_t now_ns = is_rest || has_end ? clock_now_ns() : 0;

	if (is_rest)
		work_wait((uint64_t)word, now_ns);
	again_expect(__builtin_frame_address(0), SYS_futex, has_end ? again_end(now_ns, (const struct timespec *)timeout) : 0);
	long result = real.syscall(number, word, operation, value, timeout, word2, value3);
	again_done();
	if (is_rest && result == 0)
		work_woken();
	return result;
}

/* A clone3 that the entry lets pass: one that shares memory, has a stack of its own, or will fail. */
__attribute__((used, visibility("hidden"))) bool blind_passes_clone3(const struct clone_args *arguments, size_t bytes);

bool blind_passes_clone3(const struct clone_args *arguments, size_t bytes)
{
	return bytes < CLONE_ARGS_SIZE_VER0 || !readable(arguments, CLONE_ARGS_SIZE_VER0) || arguments->flags & CLONE_VM ||
	       arguments->stack;
}

/* Comes back in the copy, too. The entry lets those pass that share memory or have a stack of their own. */
static long do_clone(long number, const long *a)
{
	uint64_t mask = 0;

	if ((number == SYS_clone && (a[0] & CLONE_VM || a[1])) || !shim_clone_begins(&mask))
		return do_call(number, a);
	long child = do_call(number, a);
	if (child == 0)
		shim_clone_child(mask);
	else
		shim_clone_ended(mask);
	return child;
}

/* Same arguments as syscall()'s, the last of which lies on the stack. */
__attribute__((used, visibility("hidden"))) long blind_syscall(long number, long a, long b, long c, long d, long e, long f);

long blind_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	const long arguments[ARGUMENTS] = { a, b, c, d, e, f };

	real_need();
	atomic_store_explicit(&blind_true_syscall, (void *)real.syscall, memory_order_relaxed);
	if (number == SYS_futex)
		return is_futex_wait(b) ? blind_futex(number, a, b, c, d, e, f) : do_call(number, arguments);
	if (number == SYS_clone || number == SYS_clone3 || number == SYS_fork)
		return do_clone(number, arguments);
	if (number == SYS_execve || number == SYS_execveat)
		return execution_by_number(number, arguments);
	if (number == SYS_mlockall)
		return lock_all((int)a);
	if (number == SYS_munlockall)
		return lock_nothing();
	if (waits(number))
		return do_wait(number, arguments);
	if (number < 0 || number >= NUMBERS_MAX || !(blind_numbers[number / 64] >> number % 64 & 1) || !hook_may_see())
		return do_call(number, arguments);
	int saved_errno = errno;
	self.own_depth++;
	before_call(number, arguments);
	self.own_depth--;
	errno = saved_errno;
	long result = do_call(number, arguments);
	saved_errno = errno;
	self.own_depth++;
	if (number == SYS_io_uring_setup)
		uring_made(result >= 0);
	tell(number, arguments, result);
	self.own_depth--;
	errno = saved_errno;
	return result;
}

#if defined(__x86_64__)
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	mov blind_true_syscall(%rip), %rax\n"
	"	test %rax, %rax\n"
	"	jz blind_syscall\n"
	"	cmp $202, %rdi\n" /* SYS_futex */
	"	je 3f\n"
	"	cmp $511, %rdi\n"
	"	ja 1f\n"
	"	lea blind_numbers(%rip), %r10\n"
	"	btq %rdi, (%r10)\n"
	"	jnc 1f\n"
	"	cmp $435, %rdi\n" /* SYS_clone3 */
	"	je 2f\n"
	"	cmp $56, %rdi\n" /* SYS_clone */
	"	jne blind_syscall\n"
	"	test $0x100, %esi\n" /* CLONE_VM */
	"	jnz 1f\n"
	"	test %rdx, %rdx\n" /* a stack of its own */
	"	jz blind_syscall\n"
	"1:	jmp *%rax\n"
	"2:	push %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	push %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	push %rdx\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	call blind_passes_clone3\n"
	"	pop %rdx\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	test %al, %al\n"
	"	jz blind_syscall\n"
	"	jmp *blind_true_syscall(%rip)\n"
	"3:	mov %edx, %r10d\n"
	"	and $~0x180, %r10d\n" /* FUTEX_CMD_MASK */
	"	jz blind_futex\n" /* FUTEX_WAIT */
	"	cmp $9, %r10d\n" /* FUTEX_WAIT_BITSET */
	"	je blind_futex\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size syscall, . - syscall\n");
_Static_assert(SYS_clone == 56 && SYS_clone3 == 435 && CLONE_VM == 0x100, "the entry of syscall tests for them");
_Static_assert(SYS_futex == 202 && FUTEX_CMD_MASK == ~0x180 && FUTEX_WAIT == 0 && FUTEX_WAIT_BITSET == 9, "and for them");
_Static_assert(NUMBERS_MAX == 512, "the entry of syscall compares with it");
#else
#error "the entry of syscall is written for x86-64"
#endif

HOOK ssize_t vmsplice(int pipe, const struct iovec *iov, size_t iov_count, unsigned flags)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_VMSPLICE))
		return real.vmsplice(pipe, iov, iov_count, flags);
	thread_count(SEG_COUNTER_BLIND_VMSPLICE);
	ssize_t result = real.vmsplice(pipe, iov, iov_count, flags);
	hook_done(&hook);
	return result;
}
