/* coroutines - two coroutines that take turns, computing on stacks of their own, for ever.
 *
 *     coroutines ucontext|switch
 *
 * ucontext: makecontext and swapcontext. switch: a switch of stacks written by hand, whose code has no unwind information
 * and whose stacks begin with what was in memory: no zero ends them. Below and above each stack lies a page that cannot be
 * read. A coroutine goes through coroutine_outer and coroutine_inner to coroutine_work and switches there, and back up. Each
 * turn is as long as some ticks of the profiler, so that it is met in all of them.
 */
#include "burn.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, STACK_BYTES = 64 << 10 };
#define KEPT __attribute__((noinline, noclone, visibility("default")))
#define TURN_STEPS 3000000 /* some ms */

void coroutine_switch(void **save_sp, void *sp);
/* void coroutine_switch(void **save_sp, void *sp): no .cfi anywhere, as in many a library. */
__asm__(".text\n"
	".type coroutine_switch, @function\n"
	"coroutine_switch:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size coroutine_switch, . - coroutine_switch\n");

static struct coroutine {
	ucontext_t context;
	void *sp;
	char *stack;
} main_line, coroutines[2];
static int current = -1;
static int uses_ucontext;
static volatile int sink;

static void switch_to(struct coroutine *from, struct coroutine *to)
{
	if (uses_ucontext)
		swapcontext(&from->context, &to->context);
	else
		coroutine_switch(&from->sp, to->sp);
}

KEPT void coroutine_work(void);
KEPT void coroutine_inner(int depth);
KEPT void coroutine_outer(void);
KEPT void coroutine_main(void);
KEPT void main_work(void);

KEPT void coroutine_work(void)
{
	int other = !current;

	burn(TURN_STEPS);
	struct coroutine *self = &coroutines[current];
	if (sink++ % 8 == 7) {
		current = -1;
		switch_to(self, &main_line);
	} else {
		current = other;
		switch_to(self, &coroutines[other]);
	}
	sink++;
}

KEPT void coroutine_inner(int depth)
{
	char bytes[256];

	memset(bytes, depth, sizeof(bytes));
	if (depth)
		coroutine_inner(depth - 1);
	else
		coroutine_work();
	sink += bytes[depth];
}

KEPT void coroutine_outer(void)
{
	coroutine_inner(12); /* more than a page deep */
	sink++;
}

KEPT void coroutine_main(void)
{
	for (;;)
		coroutine_outer();
}

KEPT void main_work(void)
{
	burn(TURN_STEPS);
	sink++;
}

static int open_coroutine(struct coroutine *coroutine)
{
	char *pages = mmap(NULL, STACK_BYTES + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED || mprotect(pages + PAGE_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE))
		return -1;
	coroutine->stack = pages + PAGE_BYTES;
	memset(coroutine->stack, 0x5a, STACK_BYTES);
	if (uses_ucontext) {
		getcontext(&coroutine->context);
		coroutine->context.uc_stack.ss_sp = coroutine->stack;
		coroutine->context.uc_stack.ss_size = STACK_BYTES;
		makecontext(&coroutine->context, coroutine_main, 0);
		return 0;
	}
	/* Six registers and the first address; above it lies what a return from there would go to. */
	void **top = (void **)(void *)(coroutine->stack + STACK_BYTES - 16);
	top[0] = (void *)coroutine_main;
	coroutine->sp = top - 6;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	uses_ucontext = !strcmp(argv[1], "ucontext");
	if (open_coroutine(&coroutines[0]) || open_coroutine(&coroutines[1]))
		return 1;
	puts("computing");
	fflush(stdout);
	for (int turn = 0;; turn++) {
		main_work();
		current = turn % 2;
		switch_to(&main_line, &coroutines[current]);
	}
}
