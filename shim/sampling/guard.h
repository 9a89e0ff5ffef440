#pragma once
/* guard - a fault in the middle of a walk of ours ends the walk, not the program.
 * Context: signal for sig_*; call for guard_*.
 *
 * A walk keeps between the known ends of a stack, but a page between them may be one that cannot be read: the guard page of
 * a coroutine whose stack was cut out of a thread's, or a stack that is gone. So while there are samples, SIGSEGV and SIGBUS
 * come by us first, through the entry of the program's handler or, where it has none, of the default action (entry.h). The
 * program is told what it set, its handlers are entered as ever, and what it would have died of it dies of: of a fault by
 * the same instruction once more with nothing of ours in the kernel, of a signal that was sent by that signal once more.
 *
 * Not guarded are threads that block the signal and programs that ignore it: to the kernel a fault is then the end of the
 * process, whoever handles it (force_sig_info_to_task in kernel/signal.c). And where a stack overflows, or the stack pointer
 * is wild, in a thread that has no alternate stack there is no room to ask us: the kernel ends the process by SIGSEGV, as it
 * would have, but for a SIGBUS, too, its own log lacks the line about it, and the core's si_code is SI_KERNEL.
 *
 * Overlap: any calls with each other.
 */
#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

/* For good, until it is lowered; no more than one load if it is up. The disposition that another thread sets meanwhile is
 * in force a moment later. */
void guard_raise(void);
/* The kernel has what the program set. */
void guard_lower(void);

/* A handler of the program's, or the default action, is about to be done on context. True: no, it was a fault of ours, and
 * context goes on where the walk has ended. info: NULL = it is none that our walks could raise. */
bool sig_guard_catch(const siginfo_t *info, ucontext_t *context);

/* When we return, what the kernel would have done without us is done. */
void sig_guard_default(int number, siginfo_t *info, ucontext_t *context);
