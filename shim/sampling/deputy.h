#pragma once
/* deputy - the real-time signal that stands for SIGPROF in the kernel wherever the program blocks it or waits for it.
 * Context: signal; deputy_choose: setup.
 *
 * Our ticks are SIGPROFs, so the kernel must never block that, whatever the program does. What the program says about its
 * SIGPROF is therefore said to the kernel about another signal: a thread that blocks SIGPROF blocks the deputy, who waits
 * for SIGPROF waits for the deputy, and a SIGPROF that is not ours and meets a thread that blocks it is sent on as the
 * deputy. All that saves, hands on and restores masks does so with the deputy's bit without a word from us: sigsetjmp and
 * siglongjmp, ucontexts, pthread_create, fork, the mask of a ppoll, a handler's sa_mask, sigreturn.
 *
 * The price is one signal in the middle of those that nobody uses. The program's own word on the deputy itself is kept as
 * far as it can be: its bit in a mask is told as that of both its neighbours, so what sigfillset made is told whole and
 * what sigaddset made is, too.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* 0 = SIGPROF is not ours, masks are the kernel's. W: setup. */
extern int deputy_signal __attribute__((visibility("hidden")));

static inline uint64_t deputy_bit_of(int number)
{
	return number ? 1ULL << (number - 1) : 0;
}

/* The shield: SIGPROF blocked in the kernel while a handler of the program's runs on a small alternate stack. That has room
 * for what the program does there (of 8 KiB a signal's frame takes 3.3 where registers are wide), and the kernel ends a
 * program whose signal finds none. A tick that is due comes when the handler returns, with its weight.
 *
 * For a handler that is about to run on context: SIGPROF's bit, and noted for this stretch of stack; 0 = there is room. */
uint64_t deputy_raise_shield(const ucontext_t *context);

/* The caller is on such a stretch: SIGPROF in the kernel's mask is no word of the program's. */
bool deputy_is_shielded(void);

/* What rt_sigaction(2) takes: not libc's struct sigaction. */
struct deputy_kernel_action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

/* False: none was raised. */
bool deputy_forget_shield(void);

/* A signal that nobody handles or blocks; -1 = there is none left. Not yet in force. */
int deputy_choose(uint64_t blocked);

/* The mask for the kernel of one that the program has made, and back for one of the calling thread. */
uint64_t deputy_kernel_mask(uint64_t program);
uint64_t deputy_program_mask(uint64_t kernel);

/* Of a sigset_t the kernel reads this much. */
uint64_t deputy_mask_of(const sigset_t *set);
sigset_t deputy_set_of(uint64_t mask);

/* The mask that a handler's end will restore. */
uint64_t deputy_context_mask(const ucontext_t *context);
void deputy_set_context_mask(ucontext_t *context, uint64_t mask);
