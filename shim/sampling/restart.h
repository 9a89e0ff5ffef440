#pragma once
/* restart - calls that the kernel would end with EINTR because of a signal that the program was never to see.
 * Context: signal. One system call, and that only when a call was really interrupted.
 */
#include <ucontext.h>

/* If the interrupted context is about to return EINTR from a system call that SA_RESTART does not cover (signal(7),
 * "Interruption of system calls"), makes it call again instead. Not if a signal for the program is pending, too. */
void sig_restart(ucontext_t *context);
