/* mask - what the program says about signals that it blocks or waits for. The kernel is told the same but for SIGPROF, which
 * has a deputy (sampling/deputy.h); the program is told what it said. Not counted.
 */
#include "mask.h"

#include "../base/hot.h"
#include "../base/readable.h"
#include "../sampling/deputy.h"
#include "../sampling/disposition.h"
#include "again.h"
#include "hook.h"

#include <stdint.h>
#include <string.h>
#include <sys/signalfd.h>

/* The program blocks the deputy without its neighbours, or them without it, as it said last: then its bit in the kernel's
 * mask tells nothing. */
static __thread bool is_deputy_odd __attribute__((tls_model("initial-exec")));

static bool passes_through(void)
{
	real_need();
	return !deputy_signal || self.own_depth || self.in_handler;
}

/* Not to be translated; one that cannot be read is the kernel's to refuse. */
static bool is_for_kernel(const sigset_t *program)
{
	return !program || !deputy_signal || !readable(program, sizeof(uint64_t));
}

/* shield: SIGPROF's bit where the kernel shall have that, too. */
static const sigset_t *for_kernel(const sigset_t *program, uint64_t shield, sigset_t *room)
{
	if (is_for_kernel(program))
		return program;
	*room = deputy_set_of(deputy_kernel_mask(deputy_mask_of(program)) | shield);
	return room;
}

/* While a handler on a small stack waits its shield stays up. But where the program has a handler for SIGPROF and lets that
 * in, it may be what it waits for, and has made room for it. */
static uint64_t shield_of(const sigset_t *program)
{
	const uint64_t prof = deputy_bit_of(SIGPROF);

	if (!program || !deputy_is_shielded() || is_for_kernel(program))
		return 0;
	struct sigaction own = sig_disposition(SIGPROF);
	bool is_handled = own.sa_handler != SIG_DFL && own.sa_handler != SIG_IGN;
	return is_handled && !(deputy_mask_of(program) & prof) ? 0 : prof;
}

const sigset_t *mask_for_kernel(const sigset_t *program, sigset_t *room)
{
	return for_kernel(program, shield_of(program), room);
}

static uint64_t told(uint64_t kernel)
{
	return deputy_program_mask(kernel) ^ (is_deputy_odd ? deputy_bit_of(deputy_signal) : 0);
}

static uint64_t changed(int how, uint64_t mask, uint64_t set)
{
	return how == SIG_BLOCK ? mask | set : how == SIG_UNBLOCK ? mask & ~set : set;
}

/* What to unblock is also what another way than ours has blocked, but for a shield. */
static uint64_t kernel_set(int how, uint64_t set)
{
	const uint64_t prof = deputy_bit_of(SIGPROF);

	if (deputy_is_shielded())
		return how == SIG_SETMASK ? deputy_kernel_mask(set) | prof : deputy_kernel_mask(set);
	return deputy_kernel_mask(set) | (how == SIG_UNBLOCK ? set & prof : 0);
}

/* 0 or what the real call returns. What it is to write it writes where the program wants it: that can be refused, too. */
static int change(int (*call)(int, const sigset_t *, sigset_t *), int how, const sigset_t *set, sigset_t *ret_old)
{
	sigset_t room, kernel, *kernel_old = ret_old ? ret_old : &room;

	if (passes_through() || (set && is_for_kernel(set)))
		return call(how, set, ret_old);
	uint64_t program = set ? deputy_mask_of(set) : 0;
	if (set)
		kernel = deputy_set_of(kernel_set(how, program));
	int result = call(how, set ? &kernel : NULL, kernel_old);
	if (result != 0)
		return result;
	uint64_t old = told(deputy_mask_of(kernel_old));
	if (set) {
		uint64_t now = changed(how, old, program);
		is_deputy_odd = (deputy_program_mask(deputy_kernel_mask(now)) ^ now) & deputy_bit_of(deputy_signal);
	}
	if (ret_old)
		*ret_old = deputy_set_of(old);
	return 0;
}

HOOK int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict ret_old)
{
	real_need();
	return change(real.sigprocmask, how, set, ret_old);
}

HOOK int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict ret_old)
{
	real_need();
	return change(real.pthread_sigmask, how, set, ret_old);
}

HOOK int sigpending(sigset_t *set)
{
	bool is_told = !passes_through();
	int result = real.sigpending(set);

	if (result == 0 && is_told)
		*set = deputy_set_of(deputy_program_mask(deputy_mask_of(set)));
	return result;
}

/* --- System V and BSD --- */

static int change_one(int how, int number)
{
	sigset_t set;

	sigemptyset(&set);
	return sigaddset(&set, number) == 0 ? sigprocmask(how, &set, NULL) : -1;
}

HOOK int sighold(int number)
{
	return change_one(SIG_BLOCK, number);
}

HOOK int sigrelse(int number)
{
	return change_one(SIG_UNBLOCK, number);
}

static int change_low(int how, int mask)
{
	sigset_t set = deputy_set_of((uint32_t)mask), old;

	return sigprocmask(how, &set, &old) == 0 ? (int)(uint32_t)deputy_mask_of(&old) : -1;
}

HOOK int sigblock(int mask)
{
	return change_low(SIG_BLOCK, mask);
}

HOOK int sigsetmask(int mask)
{
	return change_low(SIG_SETMASK, mask);
}

HOOK int siggetmask(void)
{
	return change_low(SIG_BLOCK, 0);
}

HOOK int __sigpause(int number_or_mask, int is_number);
HOOK int __xpg_sigpause(int number);
HOOK int bsd_sigpause(int mask) __asm__("sigpause"); /* the header makes sigpause the other one */

HOOK int __sigpause(int number_or_mask, int is_number)
{
	sigset_t set = deputy_set_of((uint32_t)number_or_mask);

	if (is_number && (sigprocmask(SIG_BLOCK, NULL, &set) != 0 || sigdelset(&set, number_or_mask) != 0))
		return -1;
	return sigsuspend(&set);
}

HOOK int __xpg_sigpause(int number)
{
	return __sigpause(number, 1);
}

HOOK int bsd_sigpause(int mask)
{
	return __sigpause(mask, 0);
}

/* --- waiting for signals --- */

HOOK int sigsuspend(const sigset_t *mask)
{
	sigset_t room;

	return passes_through() ? real.sigsuspend(mask) : real.sigsuspend(mask_for_kernel(mask, &room));
}

static int translate(int number, siginfo_t *info)
{
	if (number != deputy_signal || !deputy_signal)
		return number;
	return sig_disposition_translate(info) ? SIGPROF : number;
}

/* The number of the signal; -1 and errno. */
static int wait_for(const sigset_t *set, siginfo_t *ret_info, const struct timespec *timeout)
{
	struct timespec left;
	sigset_t room;
	siginfo_t own_info, *info = ret_info ? ret_info : &own_info;

	again_expect(&room, SYS_rt_sigtimedwait, timeout ? again_end(clock_now_ns(), timeout) : 0);
	set = for_kernel(set, 0, &room);
	int number = AGAIN_IF_NOBODY(timeout ? real.sigtimedwait(set, info, timeout) : real.sigwaitinfo(set, info),
				     timeout ? real.sigtimedwait(set, info, again_left(timeout, &left)) : real.sigwaitinfo(set, info));
	again_done();
	return number < 0 ? number : translate(number, info);
}

HOOK int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict ret_info)
{
	return passes_through() ? real.sigwaitinfo(set, ret_info) : wait_for(set, ret_info, NULL);
}

HOOK int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict ret_info, const struct timespec *restrict timeout)
{
	return passes_through() ? real.sigtimedwait(set, ret_info, timeout) : wait_for(set, ret_info, timeout);
}

/* sigwait(3) does not end with EINTR, and gives the error as its result. */
HOOK int sigwait(const sigset_t *restrict set, int *restrict ret_number)
{
	int saved_errno = errno, number;

	if (passes_through())
		return real.sigwait(set, ret_number);
	do
		number = wait_for(set, NULL, NULL);
	while (number < 0 && errno == EINTR);
	if (number < 0)
		return errno;
	errno = saved_errno;
	*ret_number = number;
	return 0;
}

/* --- descriptors --- */

HOT_DATA _Atomic bool mask_is_read;

HOOK int signalfd(int fd, const sigset_t *mask, int flags)
{
	sigset_t room;

	if (passes_through())
		return real.signalfd(fd, mask, flags);
	if (!is_for_kernel(mask) && sigismember(mask, SIGPROF) == 1)
		atomic_store_explicit(&mask_is_read, true, memory_order_relaxed);
	return real.signalfd(fd, for_kernel(mask, 0, &room), flags);
}

/* What signalfd(2) writes for the siginfo of the signal. */
static void fill(struct signalfd_siginfo *record, const siginfo_t *info)
{
	*record = (struct signalfd_siginfo){ .ssi_signo = SIGPROF, .ssi_code = info->si_code, .ssi_errno = info->si_errno };
	if (info->si_code == SI_TIMER) {
		record->ssi_tid = (uint32_t)info->si_timerid;
		record->ssi_overrun = (uint32_t)info->si_overrun;
	} else {
		record->ssi_pid = (uint32_t)info->si_pid;
		record->ssi_uid = info->si_uid;
	}
	record->ssi_ptr = (uintptr_t)info->si_value.sival_ptr;
	record->ssi_int = info->si_value.sival_int;
}

void mask_translate_read(void *buffer, size_t bytes)
{
	struct signalfd_siginfo record;

	if (bytes % sizeof(record) != 0)
		return;
	for (char *at = buffer; at < (char *)buffer + bytes; at += sizeof(record)) {
		memcpy(&record, at, sizeof(record));
		if (!deputy_signal || record.ssi_signo != (uint32_t)deputy_signal)
			continue;
		siginfo_t info = { .si_signo = deputy_signal, .si_code = record.ssi_code };
		info.si_pid = (pid_t)record.ssi_pid;
		info.si_value.sival_ptr = (void *)(uintptr_t)record.ssi_ptr;
		if (!sig_disposition_translate(&info))
			continue;
		fill(&record, &info);
		memcpy(at, &record, sizeof(record));
	}
}

/* --- what new threads and programs begin with --- */

HOOK int pthread_attr_setsigmask_np(pthread_attr_t *attributes, const sigset_t *mask)
{
	sigset_t room;

	real_need();
	if (!real.pthread_attr_setsigmask_np)
		return ENOSYS;
	return real.pthread_attr_setsigmask_np(attributes, for_kernel(mask, 0, &room));
}

HOOK int pthread_attr_getsigmask_np(const pthread_attr_t *attributes, sigset_t *ret_mask)
{
	real_need();
	if (!real.pthread_attr_getsigmask_np)
		return ENOSYS;
	int result = real.pthread_attr_getsigmask_np(attributes, ret_mask);
	if (result == 0)
		*ret_mask = deputy_set_of(deputy_program_mask(deputy_mask_of(ret_mask)));
	return result;
}
