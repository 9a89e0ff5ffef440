#pragma once
/* disposition - what the program has said shall be done with its SIGPROF, with the deputy (deputy.h), and with the signal that
 * asks for a report, while the kernel knows only of our handlers.
 * Context: call; sig_*: signal.
 * Overlap: any calls with each other. number: SIGPROF, deputy_signal, or the one other.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <ucontext.h>

/* Makes action the program's own and gives back what it was; as sigaction(2), either may be NULL. */
void disposition_set(int number, const struct sigaction *action, struct sigaction *ret_old);

/* The program's own as it is now. */
struct sigaction sig_disposition(int number);

/* The calling thread's mask becomes the one that lets our ticks through (deputy.h), or again the program's own: when the
 * thread ends; for a moment, around what makes a process that inherits it, which disposition_thread_begin ends; before an
 * exec, where what waits as the deputy goes on waiting as SIGPROF. */
void disposition_thread_begin(void);
void disposition_thread_end(void);
void disposition_mask_pause(void);
void disposition_exec(void);

/* A handler that a shield was raised for (deputy.h) may have been left by a jump that brought no mask back: what is left of the
 * shield is lowered. False: its stack is still in use. */
bool disposition_end_shield(void);

/* A SIGPROF that is not ours, or a request of a report, has come to some thread. Sent to the process, such a one may wake a
 * thread that would not have been woken by it, because it blocks or ignores it, or because the program would have ended, and
 * then be taken by another: its call ends, and no handler runs. */
extern _Atomic bool disposition_is_shared __attribute__((visibility("hidden")));

/* Does with a SIGPROF that is not ours what would have been done with it without us. False: that is nothing. */
bool sig_disposition_do(siginfo_t *info, ucontext_t *context);

/* The handler of the deputy. */
void sig_on_deputy(int number, siginfo_t *info, void *context);

/* What came as the deputy was a SIGPROF: info as that had it. False: it was sent as what it is. */
bool sig_disposition_translate(siginfo_t *info);
