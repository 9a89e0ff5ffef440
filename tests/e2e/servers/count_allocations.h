#pragma once
/* count_allocations - what its two parts have of one another. */
#include <stdbool.h>

/* Ends the program with the text unless is_well. */
void check(const char *what, bool is_well);

struct sockets {
	int client, server;
};

/* A connection of TCP between two non-blocking sockets; for both sides in one thread. */
struct sockets sockets_connect(void);

/* A connection with its handshake, two requests of HTTP/1.1 and its end. */
void live_by_openssl(void);
void live_by_gnutls(void);
