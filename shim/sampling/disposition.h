#pragma once
/* disposition - what the program has said shall be done with its SIGPROF, while the kernel knows only of our handler.
 * Context: call; sig_*: signal.
 * Overlap: any calls with each other.
 */
#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

/* Makes action the program's own and gives back what it was; as sigaction(2), either may be NULL. */
void disposition_set(const struct sigaction *action, struct sigaction *ret_old);

/* A thread that blocks SIGPROF, which is what a thread that blocks everything does, could not be sampled: lets it through.
 * disposition_block puts the mask back as the program has it. Both for the calling thread, at any time. */
void disposition_unblock(void);
void disposition_block(void);

/* The program's own as it is now. */
struct sigaction sig_disposition(void);

/* Does with the signal what would have been done with it without us. False: that is nothing. */
bool sig_disposition_do(int number, siginfo_t *info, ucontext_t *context);
