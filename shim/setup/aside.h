#pragma once
/* aside - how the thread of ours gets out of the way of calls that look at all threads of the process.
 * Context: call for the program's side, setup for the thread's.
 *
 * Some calls fail, or end the program, because there is a second thread: set*id where that thread has other rights (glibc
 * aborts when its threads do not agree, nptl/setxid), setns(2) and unshare(2) where they want a single thread. For their
 * duration the thread ends, whatever it does, and the program starts another one afterwards: a new thread has the rights
 * of the one that makes it.
 */
#include <stdbool.h>

/* The program's side. May overlap with itself. */

/* A thread of ours lives, and may have other rights than the caller: capabilities, what keeps them, or ids that were changed
 * for one thread alone. Three system calls. */
bool aside_is_needed(void);
/* It may still do what the caller has given up for good: its permitted capabilities are more. */
bool aside_has_more_rights(void);
/* The caller changed rights of its own thread, past libc: from now on those of the thread that there is may be others. */
void aside_rights_changed(void);
/* Asks the thread to end and waits until it is gone, max_ms at most. False: it is not. Each call is followed by aside_end. */
bool aside_begin(unsigned max_ms);
/* True: nobody asks any more, and the thread ended because somebody had: it is the caller's to start another. */
bool aside_end(void);
/* In the child of fork, which has no thread of ours. */
void aside_forked(void);

/* The thread's side. Its maker says that it is about to be made, and if it was not after all. */

void aside_thread_is_made(bool is_made);
void aside_thread_begins(void);
void aside_thread_ends(void);
bool aside_is_asked(void);
/* Sleeps so long, or until it is asked to end. */
void aside_sleep(unsigned ms);
