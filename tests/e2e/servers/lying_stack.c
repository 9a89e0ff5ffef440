/* lying_stack - computes with a frame pointer that leads to a page of its own stack which cannot be read:
 *
 *     lying_stack WAY HANDLER MS
 *
 * WAY rules: the code's call frame information says that the pointer leads on; pointers: there is none.
 * HANDLER own: SIGSEGV has a handler of the program's, which must get the program's own fault at the end, and no other;
 * default: it has none. Prints what became of it. */
#include "burn.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, STEPS = 20000 };

/* STEPS at a time with the pointer in rbp. */
void lie_by_rules(void *pointer, uint64_t steps);
void lie_by_pointers(void *pointer, uint64_t steps);
__asm__(".text\n"
	".type lie_by_rules, @function\n"
	"lie_by_rules:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rdi, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"1:	imul %rsi, %rax\n"
	"	dec %rsi\n"
	"	jnz 1b\n"
	"	pop %rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size lie_by_rules, . - lie_by_rules\n"
	".type lie_by_pointers, @function\n"
	"lie_by_pointers:\n"
	"	push %rbp\n"
	"	mov %rdi, %rbp\n"
	"1:	imul %rsi, %rax\n"
	"	dec %rsi\n"
	"	jnz 1b\n"
	"	pop %rbp\n"
	"	ret\n"
	".size lie_by_pointers, . - lie_by_pointers\n");

static void (*lie)(void *, uint64_t);
static uint64_t spend_ms;
static volatile sig_atomic_t faults;
static sigjmp_buf out;
static char *volatile nothing = (char *)16;

static void on_fault(int number)
{
	(void)number;
	faults++;
	siglongjmp(out, 1);
}

/* Honest for a tenth of the time. A write now and then, since threads that call nothing are looked after only now and then. */
static void compute(void *pointer)
{
	uint64_t end_ns = burn_clock_ns() + spend_ms * 1000000;

	for (unsigned i = 0; burn_clock_ns() < end_ns; i++) {
		lie(pointer, 10 * STEPS);
		burn(STEPS);
		if (i % 100 == 0 && write(STDOUT_FILENO, ".", 0) < 0)
			_exit(99);
	}
}

static void *on_stack(void *unused)
{
	char room[3 * PAGE];
	char *page = (char *)(((uintptr_t)room + PAGE - 1) & ~(uintptr_t)(PAGE - 1));

	if (mprotect(page, PAGE, PROT_NONE) != 0)
		_exit(98);
	compute(page + 64);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 4)
		return 2;
	lie = strcmp(argv[1], "rules") == 0 ? lie_by_rules : lie_by_pointers;
	spend_ms = strtoul(argv[3], NULL, 10);
	if (strcmp(argv[2], "own") == 0)
		signal(SIGSEGV, on_fault);
	on_stack(NULL);
	pthread_create(&thread, NULL, on_stack, NULL);
	pthread_join(thread, NULL);
	printf("%d faults\n", (int)faults);
	fflush(stdout);
	if (strcmp(argv[2], "own") == 0 && sigsetjmp(out, 1) == 0)
		*nothing = 1;
	printf("%d at the end\n", (int)faults);
	return 0;
}
