#include "steps.h"

#include <alloca.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <ctype.h>
#include <wchar.h>

#define KEPT __attribute__((noinline, noclone))

volatile int steps_sink;

/* --- plain --- */

static KEPT int leaf(int a)
{
	return a * 3 + 1;
}

static KEPT int many(int a, int b, int c, int d, int e, int f, int g, int h, double i)
{
	int sum = leaf(a) + b + c;

	for (int n = 0; n < d; n++)
		sum += leaf(sum) ^ e ^ f;
	return sum + g + h + (int)i;
}

static KEPT int tail(int a)
{
	return many(a, 2, 3, 3, 5, 6, 7, 8, 0.5);
}

static KEPT int early(int a)
{
	if (a > 100)
		return a;
	steps_sink += tail(a);
	if (steps_sink == 12345)
		return -1;
	return tail(steps_sink & 3);
}

static KEPT int recurse(int depth)
{
	return depth ? recurse(depth - 1) + depth : leaf(depth);
}

void steps_plain(void)
{
	steps_sink += early(200) + early(3) + recurse(20);
}

/* --- size and frame pointers --- */

static __attribute__((noinline, noclone, optimize("Os"))) int small(int a, int b)
{
	int sum = 0;

	for (int i = 0; i < 3; i++)
		sum += leaf(a + i) * leaf(b) + tail(i);
	return sum;
}

__attribute__((optimize("Os"))) void steps_small(void)
{
	steps_sink += small(1, 2) + small(3, 4);
}

static __attribute__((noinline, noclone, optimize("no-omit-frame-pointer"))) int by_pointer(int depth)
{
	return depth ? by_pointer(depth - 1) + tail(depth) : leaf(1);
}

__attribute__((optimize("no-omit-frame-pointer"))) void steps_pointers(void)
{
	steps_sink += by_pointer(4);
}

/* --- stack --- */

static KEPT int with_alloca(int n)
{
	char *bytes = alloca((size_t)n);

	memset(bytes, n, (size_t)n);
	return bytes[n / 2] + leaf(n);
}

static KEPT int with_large_frame(void)
{
	volatile char bytes[70000];

	bytes[0] = 1;
	bytes[69999] = 2;
	return bytes[0] + tail(bytes[69999]);
}

/* Farther from the CFA than half a word of rules can say. */
static KEPT int with_huge_frame(void)
{
	volatile char bytes[1100000];

	bytes[0] = 1;
	bytes[1099999] = 2;
	return bytes[0] + tail(bytes[1099999]);
}

/* As Rust's compiler does in leaves for size: nothing says that sp must be even in a function that calls nobody. */
int with_odd_frame(int a);
__asm__(".text\n"
	".type with_odd_frame, @function\n"
	"with_odd_frame:\n"
	"	.cfi_startproc\n"
	"	sub $39, %rsp\n"
	"	.cfi_adjust_cfa_offset 39\n"
	"	movb %dil, 7(%rsp)\n"
	"	movzbl 7(%rsp), %eax\n"
	"	add $39, %rsp\n"
	"	.cfi_adjust_cfa_offset -39\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size with_odd_frame, . - with_odd_frame\n");

/* The way back in memory where rbp leads, the saved registers where the CFA does: as libcrypto's code for vector units. */
int with_stored_way(int a);
__asm__(".text\n"
	".type with_stored_way, @function\n"
	"with_stored_way:\n"
	"	.cfi_startproc\n"
	"	mov %rsp, %rax\n"
	"	.cfi_def_cfa_register %rax\n"
	"	push %rbx\n"
	"	.cfi_offset %rbx, -16\n"
	"	push %rbp\n"
	"	.cfi_offset %rbp, -24\n"
	"	sub $64, %rsp\n"
	"	and $-64, %rsp\n"
	"	mov %rax, 40(%rsp)\n"
	"	mov %rsp, %rbp\n"
	"	.cfi_escape 0x0f, 0x05, 0x76, 0x28, 0x06, 0x23, 0x08\n" /* *(rbp + 40) + 8 */
	"	sub $32, %rsp\n"
	"	mov $17, %ebx\n"
	"	lea (%rbx, %rdi), %eax\n"
	"	mov 40(%rbp), %rsi\n"
	"	.cfi_def_cfa %rsi, 8\n"
	"	mov -8(%rsi), %rbx\n"
	"	.cfi_restore %rbx\n"
	"	mov -16(%rsi), %rbp\n"
	"	.cfi_restore %rbp\n"
	"	lea (%rsi), %rsp\n"
	"	.cfi_def_cfa_register %rsp\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size with_stored_way, . - with_stored_way\n");

/* gcc keeps the way back in memory, as an expression says (DRAP). */
static KEPT int with_alignment(int n, int a, int b, int c, int d, int e, int f, int g)
{
	_Alignas(64) volatile char bytes[128];
	char *more = alloca((size_t)n);

	memset(more, g, (size_t)n);
	bytes[n % 128] = (char)(a + b + c + d + e + f + more[n / 2]);
	return bytes[n % 128] + tail(n & 3);
}

/* Is left by its rbp, which the function that it calls has saved. */
static __attribute__((noinline, noclone, optimize("no-omit-frame-pointer"))) int around_stored_way(int a)
{
	return with_stored_way(a) + 1;
}

void steps_stack(void)
{
	steps_sink += with_huge_frame() + with_odd_frame(3) + around_stored_way(4);
	steps_sink += with_alloca(40) + with_alloca(400) + with_large_frame() + with_alignment(50, 1, 2, 3, 4, 5, 6, 7);
}

/* --- libraries --- */

void steps_lazy(void)
{
	wchar_t wide[8];

	steps_sink += strcasecmp("first call", "first Call") + (int)strcspn("abc", "c") + abs(-3) + toupper('a');
	steps_sink += (int)mbstowcs(wide, "abc", 8) + (int)strtol("12", NULL, 10);
	steps_sink += strcasecmp("second call", "second Call");
}

static int compare(const void *left, const void *right)
{
	steps_sink += leaf(1);
	return *(const int *)left - *(const int *)right;
}

void steps_library(void)
{
	int numbers[] = { 5, 3, 9, 1, 7, 2, 8, 4 };
	char text[128];

	qsort(numbers, sizeof(numbers) / sizeof(numbers[0]), sizeof(numbers[0]), compare);
	steps_sink += snprintf(text, sizeof(text), "%d %s %.3f %lx", numbers[0], "text", 1.5, 255ul);
	void *memory = malloc(1000);
	memory = realloc(memory, 200000);
	free(memory);
}

/* --- jumps --- */

static jmp_buf target;
static sigjmp_buf signal_target;

static KEPT void jump_from(int depth)
{
	if (depth == 0)
		longjmp(target, 1);
	if (steps_sink != -1)
		jump_from(depth - 1);
	steps_sink++;
}

void steps_jump(void)
{
	if (setjmp(target) == 0)
		jump_from(5);
	if (sigsetjmp(signal_target, 1) == 0)
		siglongjmp(signal_target, 2);
	steps_sink += leaf(3);
}

/* --- signals --- */

static void on_inner(int number)
{
	steps_on();
	steps_sink += tail(number & 3);
}

static void on_outer(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	steps_on();
	steps_sink += leaf(number);
	raise(SIGUSR2);
	steps_sink += leaf(number);
}

void steps_signal(void)
{
	static char alternate[65536];
	struct sigaction inner = { .sa_handler = on_inner };
	struct sigaction outer = { .sa_sigaction = on_outer, .sa_flags = SA_SIGINFO };
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	stack_t none = { .ss_flags = SS_DISABLE };

	sigaction(SIGUSR2, &inner, NULL);
	sigaction(SIGUSR1, &outer, NULL);
	raise(SIGUSR1);
	sigaltstack(&stack, NULL);
	outer.sa_flags |= SA_ONSTACK;
	sigaction(SIGUSR1, &outer, NULL);
	raise(SIGUSR1);
	sigaltstack(&none, NULL);
}

/* --- the others --- */

void steps_vdso(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	clock_gettime(CLOCK_REALTIME, &now);
	steps_sink += (int)time(NULL);
}

void steps_assembler(void)
{
	unsigned char digest[SHA512_DIGEST_LENGTH];

	SHA1((const unsigned char *)"abc", 3, digest);
	SHA256((const unsigned char *)"abc", 3, digest);
	SHA512((const unsigned char *)"abc", 3, digest);
	steps_sink += digest[0];
}
