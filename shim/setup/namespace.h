#pragma once
/* namespace - pid namespaces (pid_namespaces(7)): in which one this process is, and who somebody in another one is here.
 * Context: setup.
 *
 * A process's number means nothing in another namespace but that of an ancestor, where it has a number, too. Who began the
 * session is the ancestor of all that take part: in its namespace everybody can be found, and from nowhere else.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { NAMESPACE_UNKNOWN = 1 }; /* another one than its parent's, and /proc does not tell which */

/* The inode of /proc/self/ns/pid; 0 where it cannot be had. */
uint32_t namespace_read(void);

/* /proc is there, and that of this process's namespace: what it shows under a number is who has that number for us. */
bool namespace_has_proc(void);

/* The number that we know a process by which is `inner` in that namespace; 0: there is none, and is_sure: all of /proc could
 * be looked through. Zombies are none. Reads all of /proc. */
pid_t namespace_find(uint32_t namespace, pid_t inner, bool *ret_is_sure);
