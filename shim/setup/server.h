#pragma once
/* server - the background thread: waits until it is this process's turn to serve the session, then does.
 * Context: setup, but for server_offer (call).
 *
 * The turn is a process-shared robust mutex in the segment: whoever holds it serves; the kernel hands it on when the
 * holder dies, whatever the way. It needs no descriptor, so no program can close it by accident.
 */
#include "../segment/segment.h"

#include <stdbool.h>

/* Lays the election out in a new segment. */
void server_format_election(struct segment *head);

/* Starts the thread in this process, if there is none yet. delay_ms: how long it sleeps first, so that a short-lived
 * program pays for nothing but a thread. */
void server_start(unsigned delay_ms);

/* A process of a session that serves clients waits for work: it may be one of the few that stand by to serve the
 * session, should the present server die. Cheap when there is nothing to do. */
void server_offer(void);

/* Around a call that a second thread would spoil: the thread ends (aside.h) and is started again, if there was one. It is
 * given max_ms to end; false: it did not. Context: call. */
bool server_step_aside(unsigned max_ms);
void server_step_back(void);

/* How many threads of ours this process has: 0 or 1. */
int server_thread_count(void);

/* Writes the report of PROFSHIM_REPORT_AT_EXIT from the calling thread. */
void server_report_now(void);

/* Asks the serving thread for that report and waits for it, at most 2 s: for an end in which nothing may be allocated. */
void server_ask_for_report(void);

/* At the session's end, so that no slow request is left out of the log of them: logs them from the calling thread, or waits
 * until the serving thread did, at most 2 s. */
void server_finish_slow_log(void);
void server_wait_for_slow_log(void);

/* Tells the thread to stop serving, since the program's end has begun. Does not wait. */
void server_stop(void);

/* Around fork: while the thread opens libraries it holds locks that a child would inherit locked; prepare waits, at most
 * 1 s, until it does not. */
void server_fork_prepare(void);
void server_fork_parent(void);
void server_fork_child(void);
