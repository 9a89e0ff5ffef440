/* The successor takes over stack and thread pointer, at once: its predecessor touches no memory any more once it is there, but
 * ends in registers. What the kernel keeps for a thread is handed on by hand: the number in the C library's description of
 * the thread, by which mutexes know their owner and which is cleared when the thread has ended, the list of robust mutexes,
 * and the area of rseq(2).
 *
 * The number lies 16 bytes before the list in glibc since 2.12 (struct pthread: tid, an unused word, robust_prev,
 * robust_head), and is known by its value; where it does not lie there nothing is done. Nor is it where returns are checked
 * by a shadow stack (CET), of which a new thread's is empty.
 */
#include "successor.h"

#include "../base/permitted.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NUMBER_BEFORE_LIST = 16, KERNEL_MASK_BYTES = 8 };

/* As pthread_create has them, but for CLONE_FILES. */
#define FLAGS (CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static bool has_shadow_stack(void)
{
	uint64_t top = 0;

	__asm__ volatile("rdsspq %0" : "+r"(top)); /* where there is none it does nothing */
	return top != 0;
}

/* The list of robust mutexes, NULL = the thread's number is not where it is thought to be. */
static struct robust_list_head *find_list(void)
{
	struct robust_list_head *list = NULL;
	size_t bytes = 0;

	if (syscall(SYS_get_robust_list, 0, &list, &bytes) < 0 || !list || bytes != sizeof(*list))
		return NULL;
	return *(const pid_t *)((uintptr_t)list - NUMBER_BEFORE_LIST) == gettid() ? list : NULL;
}

/* 0 in the successor, a negative error in the caller, who is still alone then. */
static long go_over(pid_t *number)
{
	register pid_t *cleared __asm__("r10") = number;
	register uintptr_t thread __asm__("r8") = (uintptr_t)__builtin_thread_pointer();
	long result = SYS_clone;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jle 1f\n\t"
			 "xor %%edi, %%edi\n\t" /* the number is the successor's: it is not to be cleared at this end */
			 "mov %[set_tid_address], %%eax\n\t"
			 "syscall\n"
			 "0:\n\t"
			 "xor %%edi, %%edi\n\t"
			 "mov %[exit], %%eax\n\t"
			 "syscall\n\t"
			 "jmp 0b\n"
			 "1:"
			 : "+a"(result)
			 : "D"((long)FLAGS), "S"(0L), "d"(number), "r"(cleared), "r"(thread), [set_tid_address] "i"(SYS_set_tid_address),
			   [exit] "i"(SYS_exit)
			 : "rcx", "r11", "cc", "memory");
	return result;
}

static void register_rseq(int flags)
{
	struct rseq *area = (struct rseq *)((uintptr_t)__builtin_thread_pointer() + (uintptr_t)__rseq_offset);

	if (__rseq_size)
		syscall(SYS_rseq, area, sizeof(*area), flags, RSEQ_SIG);
}

bool successor_begins(void)
{
	struct robust_list_head *list = find_list();
	uint64_t all = ~0ULL, before;

	pid_t *number = (pid_t *)((uintptr_t)list - NUMBER_BEFORE_LIST);

	if (!list || has_shadow_stack() || !permitted(SYS_set_tid_address) || syscall(SYS_set_tid_address, number) != *number)
		return false;
	/* All of them, those that the C library keeps for itself, too: a handler would run on the stack of both. */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, KERNEL_MASK_BYTES);
	register_rseq(RSEQ_FLAG_UNREGISTER);
	syscall(SYS_set_robust_list, NULL, sizeof(*list));
	long result = go_over(number);
	syscall(SYS_set_robust_list, list, sizeof(*list));
	register_rseq(0);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, KERNEL_MASK_BYTES);
	return result == 0;
}
