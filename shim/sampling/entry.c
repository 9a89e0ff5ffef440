/* The entries are so many copies of the same two instructions, which differ in a number; what belongs to it is in a table.
 * A word of the table is written once: the handler's address, and above it what its entry must know of its flags.
 */
#include "entry.h"

#include "deputy.h"
#include "handler.h"
#include "restart.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRY_COUNT 512 /* handlers, each with or without SA_RESTART; programs have a dozen */
#define ENTRY_BYTES 16
#define KERNEL_MASK_BYTES 8

/* Above the 56 bits that an address has at most (five-level page tables). */
#define RESTARTS (1ULL << 56)
#define MASKS_PROF (1ULL << 57)
#define MASKS_DEPUTY (1ULL << 58)
#define SHIELDED (1ULL << 59)
#define ADDRESS ((1ULL << 56) - 1)

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static _Atomic uint64_t handlers[ENTRY_COUNT]; /* 0 = free */

#if defined(__x86_64__)
/* Registers at a handler's begin: number, siginfo and ucontext in rdi, rsi and rdx, and rax = 0 for functions that were
 * declared without parameters; the stack as behind a call. */
__asm__(".text\n"
	".balign " TEXT(ENTRY_BYTES) "\n"
	".hidden sig_entries\n"
	".globl sig_entries\n"
	"sig_entries:\n"
	"	.cfi_startproc\n"
	".set index, 0\n"
	".rept " TEXT(ENTRY_COUNT) "\n"
	"	.balign " TEXT(ENTRY_BYTES) "\n"
	"	endbr64\n"
	"	mov $index, %eax\n"
	"	jmp sig_entry_any\n"
	".set index, index + 1\n"
	".endr\n"
	"sig_entry_any:\n"
	"	push %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	push %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	push %rdx\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	mov %eax, %ecx\n"
	"	call sig_entry\n"
	"	pop %rdx\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	test %rax, %rax\n"
	"	jz 1f\n"
	"	mov %rax, %r11\n"
	"	xor %eax, %eax\n"
	"	jmp *%r11\n"
	"1:	ret\n"
	"	.cfi_endproc\n"
	".size sig_entries, . - sig_entries\n");
#else
#error "the entries are written for x86-64"
#endif

extern const char sig_entries[] __attribute__((visibility("hidden")));

typedef void handler_of_three(int, siginfo_t *, void *);

static bool is_handler(uintptr_t address)
{
	return address != (uintptr_t)SIG_DFL && address != (uintptr_t)SIG_IGN && address != (uintptr_t)SIG_ERR;
}

/* The entry's word, 0 = at address is no entry of ours. */
static uint64_t word_of(uintptr_t address)
{
	uintptr_t first = (uintptr_t)sig_entries;

	if (address < first || address >= first + (uintptr_t)ENTRY_COUNT * ENTRY_BYTES)
		return 0;
	return atomic_load_explicit(&handlers[(address - first) / ENTRY_BYTES], memory_order_relaxed);
}

/* The entry of this word; its own address where there is no room. */
static uintptr_t entry_of(uint64_t word)
{
	for (unsigned i = 0; i < ENTRY_COUNT; i++) {
		uint64_t found = 0;
		if (atomic_compare_exchange_strong_explicit(&handlers[i], &found, word, memory_order_relaxed, memory_order_relaxed) ||
		    found == word)
			return (uintptr_t)sig_entries + (uintptr_t)i * ENTRY_BYTES;
	}
	return word & ADDRESS;
}

static uintptr_t kernel_handler(uintptr_t address, int flags, uint64_t mask)
{
	if (!is_handler(address) || address & ~ADDRESS || word_of(address))
		return address;
	return entry_of(address | (flags & SA_RESTART ? RESTARTS : 0) | (flags & SA_ONSTACK ? SHIELDED : 0) |
			(mask & deputy_bit_of(SIGPROF) ? MASKS_PROF : 0) | (mask & deputy_bit_of(deputy_signal) ? MASKS_DEPUTY : 0));
}

static void set_mask(struct sigaction *action, uint64_t mask)
{
	memcpy(&action->sa_mask, &mask, sizeof(mask));
}

struct sigaction entry_kernel_action(const struct sigaction *action)
{
	struct sigaction kernel = *action;

	kernel.sa_handler = (void (*)(int))kernel_handler((uintptr_t)action->sa_handler, action->sa_flags, deputy_mask_of(&action->sa_mask));
	uint64_t mask = deputy_kernel_mask(deputy_mask_of(&action->sa_mask));
	if (deputy_signal && word_of((uintptr_t)kernel.sa_handler) & SHIELDED)
		mask |= deputy_bit_of(SIGPROF);
	set_mask(&kernel, mask);
	return kernel;
}

void entry_program_action(struct sigaction *action)
{
	uint64_t word = word_of((uintptr_t)action->sa_handler);
	uint64_t mask = deputy_program_mask(deputy_mask_of(&action->sa_mask));

	if (word && deputy_signal) {
		mask &= ~(deputy_bit_of(SIGPROF) | deputy_bit_of(deputy_signal));
		mask |= (word & MASKS_PROF ? deputy_bit_of(SIGPROF) : 0) | (word & MASKS_DEPUTY ? deputy_bit_of(deputy_signal) : 0);
	}
	set_mask(action, mask);
	action->sa_handler = entry_program_handler(action->sa_handler);
}

void (*entry_kernel_handler(void (*program)(int), int flags))(int)
{
	return (void (*)(int))kernel_handler((uintptr_t)program, flags, 0);
}

void (*entry_program_handler(void (*program)(int)))(int)
{
	uint64_t word = word_of((uintptr_t)program);

	return word ? (void (*)(int))(word & ADDRESS) : program;
}

/* A handler sees in its context the mask that the program set, and may change it. Only where that is not the kernel's do
 * we stay on the stack below it. */
static void call_with_mask(handler_of_three *program, int number, siginfo_t *info, ucontext_t *context)
{
	uint64_t interrupted = deputy_context_mask(context);
	uint64_t shield = deputy_is_shielded() ? interrupted & deputy_bit_of(SIGPROF) : 0;

	deputy_set_context_mask(context, deputy_program_mask(interrupted));
	program(number, info, context);
	deputy_set_context_mask(context, deputy_kernel_mask(deputy_context_mask(context)) | shield);
}

/* Where the shield is not needed it is lowered, but not if a handler below this one keeps its own up. */
static void keep_shield(const ucontext_t *context)
{
	uint64_t prof = deputy_bit_of(SIGPROF);
	bool is_kept = deputy_context_mask(context) & prof && deputy_is_shielded();

	if (!is_kept && !deputy_raise_shield(context) && !atomic_load_explicit(&handler.is_paused, memory_order_relaxed))
		syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &prof, NULL, KERNEL_MASK_BYTES);
}

uintptr_t sig_entry(int number, siginfo_t *info, ucontext_t *context, unsigned index)
{
	uint64_t word = atomic_load_explicit(&handlers[index], memory_order_relaxed);
	uintptr_t program = word & ADDRESS;

	sig_restart_interrupted(context, word & RESTARTS);
	if (word & SHIELDED && deputy_signal)
		keep_shield(context);
	if (!deputy_signal || !(deputy_context_mask(context) & (deputy_bit_of(SIGPROF) | deputy_bit_of(deputy_signal))))
		return program;
	call_with_mask((handler_of_three *)program, number, info, context);
	return 0;
}
