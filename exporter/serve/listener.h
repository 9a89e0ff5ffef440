#pragma once
/* listener - the socket that HTTP is served at: chosen by config.listen, told to host, segment and log.
 * Context: the exporter's thread, inside the profiled program. Owns the socket as long as its number still means it.
 */
#include "../exporter.h"
#include "address.h"

#include <sys/types.h>

struct listener {
	int fd; /* -1 = closed */
	ino_t inode;
	struct address address;
};

/* Listens at config.listen, at the port that the session had before, or at one of the next 15 ports, and says which.
 * False: HTTP is off, or no address could be had, which has been logged. */
bool listener_open(struct listener *ret_listener, const struct exporter_host *host);

/* False: the program closed the socket behind our back; its number may mean anything. */
bool listener_is_ours(const struct listener *listener);

/* Closes the socket if it is ours, and forgets it. */
void listener_close(struct listener *listener, const struct exporter_host *host);

/* What a socket is, as long as it lives; 0 = fd is no socket (any more). */
ino_t socket_inode(int fd);
