/* The entries are so many copies of the same two instructions, which differ in a number; what belongs to it is in a table.
 * A word of the table is written once: the handler's address, and above it what its entry must know of its flags.
 */
#include "entry.h"

#include "deputy.h"
#include "guard.h"
#include "handler.h"
#include "pulse.h"
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
#define SHIELDED (1ULL << 59) /* SA_ONSTACK */
#define GUARDED (1ULL << 60)  /* beside it the kernel has flags that the program did not set; address may be SIG_DFL's, 0 */
#define TELLS (1ULL << 61)    /* of those the program set SA_SIGINFO */
#define ONCE (1ULL << 62)     /* and SA_RESETHAND */
#define UNTOUCHED (1ULL << 63) /* nobody has ever set it, so the kernel had not even libc's SA_RESTORER */
#define ADDRESS ((1ULL << 56) - 1)
#define RESTORER 0x04000000 /* SA_RESTORER, asm/signal.h */

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static _Atomic uint64_t handlers[ENTRY_COUNT]; /* 0 = free */
_Atomic uint64_t entry_guarded;

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

static bool is_guarded(int number)
{
	return atomic_load_explicit(&entry_guarded, memory_order_relaxed) & deputy_bit_of(number);
}

/* 0 = the kernel shall have it as it is. */
static uint64_t word_for(int number, const struct sigaction *action)
{
	uintptr_t address = (uintptr_t)action->sa_handler;
	uint64_t mask = deputy_mask_of(&action->sa_mask), word = address;
	int flags = action->sa_flags;

	if (address & ~ADDRESS || word_of(address) || !(is_handler(address) || (is_guarded(number) && action->sa_handler == SIG_DFL)))
		return 0;
	word |= flags & SA_RESTART ? RESTARTS : 0;
	word |= flags & SA_ONSTACK ? SHIELDED : 0;
	word |= mask & deputy_bit_of(SIGPROF) ? MASKS_PROF : 0;
	word |= mask & deputy_bit_of(deputy_signal) ? MASKS_DEPUTY : 0;
	if (is_guarded(number))
		word |= GUARDED | (flags & SA_SIGINFO ? TELLS : 0) | (flags & (int)SA_RESETHAND ? ONCE : 0);
	return word;
}

static void set_mask(struct sigaction *action, uint64_t mask)
{
	memcpy(&action->sa_mask, &mask, sizeof(mask));
}

/* word: of its entry, 0 = it has none. */
static struct sigaction kernel_action(const struct sigaction *action, uint64_t word)
{
	uintptr_t address = word ? entry_of(word) : (uintptr_t)action->sa_handler;
	uint64_t mask = deputy_kernel_mask(deputy_mask_of(&action->sa_mask));
	struct sigaction kernel = *action;

	kernel.sa_handler = (void (*)(int))address;
	word = word_of(address);
	if (word & GUARDED)
		kernel.sa_flags = (kernel.sa_flags & ~(int)SA_RESETHAND) | SA_SIGINFO | (word & ADDRESS ? 0 : SA_ONSTACK);
	if (deputy_signal && word && kernel.sa_flags & SA_ONSTACK)
		mask |= deputy_bit_of(SIGPROF);
	set_mask(&kernel, mask);
	return kernel;
}

struct sigaction entry_kernel_action(int number, const struct sigaction *action)
{
	return kernel_action(action, word_for(number, action));
}

struct sigaction entry_kernel_action_of_start(int number, const struct sigaction *action)
{
	uint64_t word = word_for(number, action);

	return kernel_action(action, word && !(action->sa_flags & RESTORER) ? word | UNTOUCHED : word);
}

static int program_flags(uint64_t word, int flags)
{
	if (!(word & GUARDED))
		return flags;
	flags &= ~(SA_SIGINFO | SA_ONSTACK | (word & UNTOUCHED ? RESTORER : 0));
	return flags | (word & TELLS ? SA_SIGINFO : 0) | (word & SHIELDED ? SA_ONSTACK : 0) | (word & ONCE ? (int)SA_RESETHAND : 0);
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
	action->sa_flags = program_flags(word, action->sa_flags);
	if (word)
		action->sa_handler = (void (*)(int))(word & ADDRESS);
	if (word & UNTOUCHED)
		action->sa_restorer = NULL;
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

	/* The thread's next hook looks whether it was left up. */
	if (is_kept || deputy_raise_shield(context))
		atomic_store_explicit(&pulse.hz, PULSE_LOOK, memory_order_relaxed);
	else if (!atomic_load_explicit(&handler.is_paused, memory_order_relaxed))
		syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &prof, NULL, KERNEL_MASK_BYTES);
}

/* The kernel would have done it before the handler began. */
static void reset(int number, uint64_t word)
{
	struct deputy_kernel_action action;

	if (syscall(SYS_rt_sigaction, number, NULL, &action, KERNEL_MASK_BYTES) != 0)
		return;
	action.handler = (void (*)(int))entry_of(word & ~ADDRESS);
	syscall(SYS_rt_sigaction, number, &action, NULL, KERNEL_MASK_BYTES);
}

uintptr_t sig_entry(int number, siginfo_t *info, ucontext_t *context, unsigned index)
{
	uint64_t word = atomic_load_explicit(&handlers[index], memory_order_relaxed);
	uintptr_t program = word & ADDRESS;

	if (sig_guard_catch(word & GUARDED ? info : NULL, context))
		return 0;
	if (!program) {
		sig_guard_default(number, info, context);
		return 0;
	}
	if (word & ONCE)
		reset(number, word);
	sig_restart_interrupted(context, word & RESTARTS);
	if (word & SHIELDED && deputy_signal)
		keep_shield(context);
	if (!deputy_signal || !(deputy_context_mask(context) & (deputy_bit_of(SIGPROF) | deputy_bit_of(deputy_signal))))
		return program;
	call_with_mask((handler_of_three *)program, number, info, context);
	return 0;
}
