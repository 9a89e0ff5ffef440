#pragma once
/* entry - what the kernel calls in the place of the program's signal handlers.
 * Context: call; sig_*: signal.
 *
 * Each handler of the program's gets an entry of its own, a few instructions that tell restart.c of it and jump on to the
 * handler, with the same registers on the same stack: no return passes by us, no backtrace shows us. The kernel keeps the
 * program's own flags and mask beside it, so that there is no disposition of ours that could differ from it. An entry
 * belongs to its handler for good. Overlap: any calls with each other.
 * Of the signals that a fault in a walk of ours may raise the entries look first whether it is one (guard.h). While they are
 * guarded their default action has an entry, too, and with their entries the kernel has other flags than the program set,
 * which are told again as they were: what a signal brings is wanted (SA_SIGINFO), no disposition may end with a fault of
 * ours (SA_RESETHAND: the entry does that), and the default action comes on a stack that overflows, too, where there is another.
 * Handlers that ask for the alternate stack begin behind a shield (deputy.h), since only the kernel can raise it in time;
 * the entry lowers it where there is room.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <ucontext.h>

/* Signals whose default action has an entry, and whose entries look for faults of ours: bits. W: guard_raise, guard_lower. */
extern _Atomic uint64_t entry_guarded __attribute__((visibility("hidden")));

/* action as the kernel shall have it: its handler entered by us, its mask without SIGPROF (deputy.h) but for the shield. SIG_DFL
 * but for guarded signals, SIG_IGN, and what is one handler too many stay as they are. In a handler, too. */
struct sigaction entry_kernel_action(int number, const struct sigaction *action);

/* The same of what the kernel has when we begin. */
struct sigaction entry_kernel_action_of_start(int number, const struct sigaction *action);

/* And back: action as the kernel had it becomes what the program set. */
void entry_program_action(struct sigaction *action);

/* Where the entry numbered index begins with; the handler to go on to, NULL = it was called. */
uintptr_t sig_entry(int number, siginfo_t *info, ucontext_t *context, unsigned index) __attribute__((visibility("hidden")));
