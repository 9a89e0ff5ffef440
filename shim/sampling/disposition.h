#pragma once
/* disposition - what the program has said shall be done with its SIGPROF, while the kernel knows only of our handler.
 * Context: call; sig_*: signal.
 * Overlap: any calls with each other.
 */
#include <signal.h>
#include <stdbool.h>

/* Makes action the program's own and gives back what it was; as sigaction(2), either may be NULL. */
void disposition_set(const struct sigaction *action, struct sigaction *ret_old);

/* The program's own as it is now. */
struct sigaction sig_disposition(void);

/* Does with the signal what would have been done with it without us. False: that is nothing. */
bool sig_disposition_do(int number, siginfo_t *info, void *context);
