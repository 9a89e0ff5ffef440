#pragma once
/* entry - what the kernel calls in the place of the program's signal handlers.
 * Context: call; sig_*: signal.
 *
 * Each handler of the program's gets an entry of its own, a few instructions that tell restart.c of it and jump on to the
 * handler, with the same registers on the same stack: no return passes by us, no backtrace shows us. The kernel keeps the
 * program's own flags and mask beside it, so that there is no disposition of ours that could differ from it. An entry
 * belongs to its handler for good. Overlap: any calls with each other.
 * Handlers that ask for the alternate stack begin behind a shield (deputy.h), since only the kernel can raise it in time;
 * the entry lowers it where there is room.
 */
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

/* action as the kernel shall have it: its handler entered by us, its mask without SIGPROF (deputy.h) but for the shield. SIG_DFL, SIG_IGN,
 * and what is one handler too many stay as they are. */
struct sigaction entry_kernel_action(const struct sigaction *action);

/* And back: action as the kernel had it becomes what the program set. */
void entry_program_action(struct sigaction *action);

/* For functions that know only handlers: flags as they will be set with it. */
void (*entry_kernel_handler(void (*handler)(int), int flags))(int);
void (*entry_program_handler(void (*handler)(int)))(int);

/* Where the entry numbered index begins with; the handler to go on to, NULL = it was called. */
uintptr_t sig_entry(int number, siginfo_t *info, ucontext_t *context, unsigned index) __attribute__((visibility("hidden")));
