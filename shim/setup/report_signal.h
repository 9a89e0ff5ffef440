#pragma once
/* report_signal - the signal that asks for a report (PROFSHIM_SIGNAL), shared politely with the program.
 * Context: setup for init; call for the program's own changes; the handler itself only raises a number in the segment.
 *
 * Ours is installed while the program has no handler of its own. A program that installs one gets the signal for itself,
 * unless the variable was set explicitly: then ours stays, with the program's flags and mask, and calls the program's. So it
 * does, without a report, for a handler that is to run once (SA_RESETHAND), behind which the program has none again.
 * A child of vfork has dispositions of its own in the memory of its parent's: what it does is the kernel's alone.
 */
#include <signal.h>
#include <stdbool.h>

/* signal_number 0: no report signal. */
void report_signal_init(int signal_number, bool is_explicit);

/* signal_number is the report signal and is ours to arbitrate. */
bool report_signal_is(int signal_number);

/* As sigaction(2) for the report signal, on the program's view of it. 0, or -1 and errno. */
int report_signal_action(const struct sigaction *action, struct sigaction *ret_old);

/* Around what makes or becomes another program, which ignores what this one does (execve(2)): that is what the kernel sees for so
 * long. Reports are not made meanwhile. Errno is kept. Context: call. */
void report_signal_lend(void);
void report_signal_take_back(void);
