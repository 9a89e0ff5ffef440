#pragma once
/* log - one line to the operator, "profshim: ...", on the program's stderr.
 * Context: setup. One write(2) a line, so lines of several processes do not mix. errno is kept.
 * Nothing is written where descriptor 2 has become something else than a log since the start (a program may close it
 * and get the number back for a file of its own): such a line is counted in log_lines_lost.
 * A thread with a table of descriptors of its own (setup/descriptors.h) fetches the program's descriptor 2 for each line. Where a
 * kernel before 5.6 or a filter refuses that, it has a copy of it until it sees by procfs that the program's is something else.
 * From then on lines reach what can be opened anew without harm: terminals, pipes and files that are only appended to.
 * Others, and all where there is no procfs, are counted as lost.
 */
#include "../segment/segment.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Remembers what descriptor 2 is now. */
void log_init(enum seg_log_level level);

__attribute__((format(printf, 2, 3))) void log_line(enum seg_log_level level, const char *format, ...);

/* The program's descriptor 2, if it is a place for our text, -1 if not; until log_stderr_return. */
int log_stderr_borrow(void);
void log_stderr_return(int fd);

/* The program copied a descriptor to number 2 (dup2(2)), so that this is its stderr from now on. Context: call. */
void log_stderr_is_named(void);

/* The calling thread's descriptors are not the program's: these are got at by pidfd, pidfd_getfd(2). */
void log_thread_fetches(int pidfd);

/* Or these cannot be got at, and copy, owned by the log from now on, is what descriptor 2 was when they parted; -1 = nothing. */
void log_thread_keeps(int copy);

/* Lets go of the copy if the program has let go of what it is a copy of. To be called often: until then a reader of that pipe
 * waits for its end. */
void log_stderr_tend(void);

extern _Atomic unsigned log_lines_lost;
