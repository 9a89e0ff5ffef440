#pragma once
/* process - this process's place in the session, and the burial of those that died without a word.
 * Context: setup. Owns thread_process (base/thread.h).
 */
#include "../segment/segment.h"

#include <stdbool.h>

/* Takes a place in the table of processes; again in the child of fork. False: none was free, gauges are
 * not kept. */
bool process_enter(void);

/* Gives it up, counting why. False: this process has none, or is a vfork child that only borrows our memory. */
bool process_leave(enum seg_counter cause);

/* The calling process is the one that entered: not a child of vfork, which shares our memory but is somebody else. */
bool process_is_self(void);

/* No process but this one is in the session. */
bool process_is_last(void);

/* Live processes of the session with a thread that serves or waits to: standby_count as it should be now. */
uint32_t process_count_servers(void);

/* Frees the places of processes and threads that are gone. By the server, every tick; a thorough one looks into /proc for
 * zombies and reused pids, too. Also refreshes standby_count. */
void process_bury(bool is_thorough);
