/* silent_handler - threads that compute, from their first instruction on, under a seccomp filter which lets nothing through but
 * rt_sigreturn and their end.
 *
 *     silent_handler ROUNDS MILLIONS_OF_STEPS [unseen]
 *
 * A system call in the handler that samples them is the program's end (SIGSYS). In each round a thread is made for each shape of
 * stack, which computes so many steps: one round at once, the others when a byte comes by stdin. With "unseen" the last round has
 * a thread besides that the C library makes by itself, where no hook sees it: for two seconds, since somebody else must come
 * across it. Prints "computed" when all are through, and ends when its standard input does.
 */
#include "burn.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 700, NUMBERS = 64, UNSEEN_SECONDS = 2 };

static uint64_t steps;
static volatile int sink;
static void *tree;

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
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	return bare_prctl(PR_SET_NO_NEW_PRIVS, 1, NULL) || bare_prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Not by pthread_exit, which asks much of the kernel. */
static _Noreturn void end_silently(void)
{
	for (;;)
		__asm__ volatile("syscall" : : "a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
}

/* --- shapes of stacks, each with a leaf of its own --- */

static __attribute__((noinline)) void leaf_plain(void)
{
	burn(steps * 1000000);
	sink++;
}

static __attribute__((noinline)) void leaf_deep(uint64_t n)
{
	burn(n);
	sink++;
}

/* Most of the time at the lower end, the rest on the way. */
static __attribute__((noinline)) void go_deep(int depth)
{
	burn(steps * 500000 / DEPTH);
	if (depth)
		go_deep(depth - 1);
	else
		leaf_deep(steps * 500000);
	sink++;
}

static void shape_deep(void)
{
	go_deep(DEPTH);
}

/* Through libraries that know nothing of it, and back into ours: lfind, twalk and qsort. */
static int leaf_library(const void *left, const void *right)
{
	burn(steps * 1000000 / (5 * NUMBERS * 8));
	sink++;
	return *(const int *)left - *(const int *)right;
}

static void sort_numbers(const void *node, VISIT visit, int depth)
{
	int numbers[NUMBERS];

	(void)node;
	(void)depth;
	if (visit != leaf && visit != postorder)
		return;
	for (unsigned i = 0; i < NUMBERS; i++)
		numbers[i] = (int)(i * 2654435761u >> 8 & 1023);
	qsort(numbers, NUMBERS, sizeof(numbers[0]), leaf_library);
}

static int walk_tree(const void *left, const void *right)
{
	twalk(tree, sort_numbers);
	return left != right;
}

/* Nothing that takes a lock, which our thread may want. */
static void shape_library(void)
{
	size_t count = 1;

	lfind(&tree, &tree, &count, sizeof(tree), walk_tree);
}

/* In handlers, on top of what they interrupted; the signal is made by an instruction. */
static __attribute__((noinline)) void leaf_handler(int number)
{
	(void)number;
	burn(steps * 1000000 / 16);
	sink++;
}

static __attribute__((noinline)) int trap(const void *left, const void *right)
{
	__asm__ volatile("int3");
	return *(const int *)left - *(const int *)right;
}

static void shape_handler(void)
{
	static const int numbers[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

	for (int wanted = 0; wanted < 17; wanted += 4)
		bsearch(&wanted, numbers, sizeof(numbers) / sizeof(numbers[0]), sizeof(numbers[0]), trap);
}

static void (*const shapes[])(void) = { leaf_plain, shape_deep, shape_library, shape_handler };
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static void *compute(void *shape)
{
	if (forbid_system_calls())
		_exit(2);
	(*(void (*const *)(void))shape)();
	end_silently();
}

/* --- the thread that no hook saw --- */

static _Atomic bool is_unseen_over;

static __attribute__((noinline)) void leaf_unseen(void)
{
	burn(1000000);
	sink++;
}

static time_t now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* by the vDSO */
	return now.tv_sec;
}

static void unseen(union sigval unused)
{
	time_t end = now_seconds() + UNSEEN_SECONDS + 1;
	sigset_t none;

	(void)unused;
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) || forbid_system_calls()) /* the C library begins it with all of them blocked */
		_exit(2);
	while (now_seconds() < end)
		leaf_unseen();
	is_unseen_over = true;
	end_silently();
}

/* timer_create(2), SIGEV_THREAD: by libc's own pthread_create. */
static int begin_unseen(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = unseen };
	struct itimerspec soon = { .it_value.tv_nsec = 1 };
	timer_t timer;

	return timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &soon, NULL);
}

static int run_round(void)
{
	pthread_t threads[SHAPES];

	for (int i = 0; i < SHAPES; i++)
		if (pthread_create(&threads[i], NULL, compute, (void *)&shapes[i]))
			return 1;
	for (int i = 0; i < SHAPES; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

static int compare_addresses(const void *left, const void *right)
{
	return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = leaf_handler };
	static const char nodes[5];

	if (argc < 3)
		return 2;
	steps = strtoull(argv[2], NULL, 10);
	for (size_t i = 0; i < sizeof(nodes); i++)
		if (!tsearch(&nodes[i], &tree, compare_addresses))
			return 1;
	sigaction(SIGTRAP, &action, NULL);
	for (int i = 0, rounds = atoi(argv[1]); i < rounds; i++) {
		if (i == 1)
			getchar();
		if (argc > 3 && i == rounds - 1 && begin_unseen())
			return 1;
		if (run_round())
			return 1;
	}
	while (argc > 3 && !is_unseen_over)
		sched_yield();
	puts("computed");
	fflush(stdout);
	getchar(); /* somebody may want to ask how it was */
	return 0;
}
