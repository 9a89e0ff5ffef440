#pragma once
/* process - this process's place in the session, and the burial of those that died without a word.
 * Context: setup. Owns thread_process (base/thread.h).
 */
#include "../segment/segment.h"

#include <stdbool.h>
#include <sys/types.h>

/* Before a fork, in the parent: a place for the child; and after it, with the child's pid, -1 = there is none. From then on
 * the place is the child's, even if that dies before it could do anything. Context: call. */
struct process_reservation {
	struct seg_process *place; /* NULL = none: the table is full */
	uint64_t owner;            /* like no other reservation's */
};
struct process_reservation process_reserve(void);
void process_reserve_end(const struct process_reservation *reservation, pid_t child);

/* Takes a place in the table of processes; again in the child of fork, with what the parent reserved for it, if it did
 * (NULL: it did not). False: none was free, gauges are not kept. */
bool process_enter(const struct process_reservation *reservation);

/* Gives it up, counting why. False: this process has none, or is a vfork child that only borrows our memory. */
bool process_leave(enum seg_counter cause);

/* The calling process is the one that entered: not a child of vfork, which shares our memory but is somebody else. */
bool process_is_self(void);

/* No process but this one is in the session. */
bool process_is_last(void);

/* A process of this number, which began to be in a session at since_boot_ns (0 = not known), still runs: it is no zombie,
 * and none that got the number later. True where /proc does not tell. */
bool process_is_alive(pid_t pid, uint64_t since_boot_ns);

/* The election's last winner died as such: in whichever namespace that was, it is gone. By its successor. */
void process_bury_server(void);

/* Live processes of the session with a thread that serves or waits to: standby_count as it should be now. */
uint32_t process_count_servers(void);

/* Frees the places of processes and threads that are gone. By the server, every tick; a thorough one looks into /proc for
 * zombies and reused pids, too. Also refreshes standby_count. */
void process_bury(bool is_thorough);
