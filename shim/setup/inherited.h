#pragma once
/* inherited - connections that nobody accepted here: handed over by another process, or there from the start.
 * Context: call for inherited_is_connection, setup for the rest.
 */
#include <stdbool.h>

/* fd is a connection as accept gives them: a stream that is connected, and whose own end has an address. The ends of a
 * socketpair have none, and are a process's own affair. */
bool inherited_is_connection(int fd);

/* Follows those that the process began with: standard input (inetd), and what LISTEN_FDS tells of (sd_listen_fds(3)). Once
 * connections can be followed. */
void inherited_follow(void);
