/* silent_handler - a thread that computes under a seccomp filter which lets nothing through but rt_sigreturn.
 *
 *     silent_handler MILLIONS_OF_STEPS
 *
 * A system call in the handler that samples the thread is the program's end (SIGSYS). Prints "silent" when the filter is there, and
 * "computed" when the thread is through; it cannot end by itself any more, so main ends the process, when its standard input does.
 */
#include "burn.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t steps;
static _Atomic int is_silent, is_through;
static volatile int sink;

/* By the instruction: profshim, which would end sampling here if it saw the filter come, does not see it. */
static long bare_prctl(long option, long a, const void *b)
{
	register long fourth __asm__("r10") = 0;
	register long fifth __asm__("r8") = 0;
	long result = SYS_prctl;

	__asm__ volatile("syscall" : "+a"(result) : "D"(option), "S"(a), "d"(b), "r"(fourth), "r"(fifth) : "rcx", "r11", "memory");
	return result;
}

static bool forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	return bare_prctl(PR_SET_NO_NEW_PRIVS, 1, NULL) || bare_prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int compare(const void *left, const void *right)
{
	burn(200);
	return *(const int *)left - *(const int *)right;
}

/* Through the C library's code, which is stripped, and back into ours. */
static __attribute__((noinline)) void sort_numbers(uint64_t seed)
{
	int numbers[64];

	for (int i = 0; i < 64; i++)
		numbers[i] = (int)(seed * 2654435761u >> (i % 16) & 1023);
	qsort(numbers, 64, sizeof(numbers[0]), compare);
	sink += numbers[0];
}

static __attribute__((noinline)) void deep(int depth, uint64_t n)
{
	if (depth)
		deep(depth - 1, n);
	else
		burn(n);
	sink++;
}

static void *compute(void *unused)
{
	(void)unused;
	burn(200 * 1000 * 1000); /* some samples before, so that nothing is left to be done for the first time */
	if (forbid_system_calls()) {
		perror("seccomp");
		_exit(2);
	}
	atomic_store(&is_silent, 1);
	for (uint64_t done = 0; done < steps; done += 1000000) {
		deep((int)(done / 1000000 % 60), 800000);
		for (int i = 0; i < 3; i++)
			sort_numbers(done + (uint64_t)i);
	}
	atomic_store(&is_through, 1);
	for (;;)
		;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	steps = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1000) * 1000000;
	if (pthread_create(&thread, NULL, compute, NULL))
		return 1;
	while (!atomic_load(&is_silent))
		usleep(1000);
	puts("silent");
	fflush(stdout);
	while (!atomic_load(&is_through))
		usleep(10000);
	puts("computed");
	fflush(stdout);
	getchar(); /* somebody may want to ask how it was */
	_exit(0);
}
