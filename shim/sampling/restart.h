#pragma once
/* restart - calls that the kernel would end with EINTR because of a signal that the program was never to see.
 * Context: signal. No system call.
 */
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* In a handler of ours: if context is about to return EINTR from a system call, makes it call again instead, so that
 * nothing has happened. Not if the EINTR is for a handler of the program's that has run. */
void sig_restart(ucontext_t *context);

/* A handler of the program's is about to run on context, be it now that ours is done: where sig_restart has undone the
 * interruption, it happens after all. restarts: it was set with SA_RESTART. */
void sig_restart_interrupted(ucontext_t *context, bool restarts);

/* The same for a handler of the program's that ours, which has SA_RESTART, is about to call. */
void sig_restart_within(ucontext_t *context, bool restarts);

/* Code that is never unmapped: of the C library, and of the program. W: setup, before the first signal. */
struct restart_code {
	uintptr_t low, high;
};
extern struct restart_code restart_libc __attribute__((visibility("hidden")));
extern struct restart_code restart_program __attribute__((visibility("hidden")));
