#pragma once
/* process_usage - what /proc tells of another process of the session.
 * Context: the exporter's threads. Short-lived descriptors, closed on exec.
 */
#include "snapshot.h"

/* Whether a process of that id exists, as far as can be seen from here, and is not one that got the id later: it must
 * have started before since_boot_ns (0 = not known, then any will do). */
bool process_is_running(pid_t pid, uint64_t since_boot_ns);

/* The number that we and /proc know a process by which has this pid in this pid namespace (an inode), and session_pid, where
 * that is known (> 0), in the one that the session began in; 0 = namespace not known. 0: it has none here. */
pid_t process_number_here(pid_t pid, uint32_t namespace, pid_t session_pid, uint32_t session_namespace);

/* Reads what may be read; the rest stays without its has_ flag. */
void process_usage_read(struct snapshot_usage *ret_usage, pid_t pid);
