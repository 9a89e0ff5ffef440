#pragma once
/* address - where HTTP is served: the text of PROFSHIM_LISTEN, and a listening socket made from it.
 * Context: the exporter's threads; the parsing is pure.
 * Numeric addresses and "localhost" only: asking a resolver could block, or run somebody's plugin in the program.
 */
#include "../../shim/segment/layout.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum address_kind { ADDRESS_OFF, ADDRESS_INET, ADDRESS_UNIX };

enum { ADDRESS_PORT_TRIES = 16 }; /* the configured port and the next 15 */

struct address {
	enum address_kind kind;
	bool is_private;                 /* loopback or a Unix socket: nobody outside of this machine comes in */
	struct sockaddr_storage storage; /* not of ADDRESS_OFF */
	socklen_t bytes;
};

/* 0, or -EINVAL: not HOST:PORT, unix:/path or off. */
int address_parse(struct address *ret_address, const char *text);

uint16_t address_port(const struct address *address);

/* "127.0.0.1:9464", "[::1]:9464", "unix:/path", "off". */
void address_text(const struct address *address, char text[static SEG_TEXT_BYTES]);

/* A listening socket (close on exec, non-blocking) at exactly this address, or -errno. Port 0 takes a free one, and
 * address is then where it really listens. A Unix socket that nobody answers at any more is replaced if it is ours. */
int address_listen(struct address *address);

struct address_choice {
	int fd;            /* -errno: none could be taken; address then is the last one tried */
	uint16_t taken;    /* the configured port, if that was taken; 0 = it was not */
	struct address address;
};
/* As address_listen, but tries first, for up to FORMER_PATIENCE_MS, where a former server of the session was (has_former;
 * former_port 0 = at the configured address), and the next 15 ports after the configured one. */
enum { FORMER_PATIENCE_MS = 1000, FORMER_PAUSE_MS = 10 };
struct address_choice address_choose(const struct address *configured, bool has_former, uint16_t former_port);

/* Removes what an orderly end leaves behind: the file of a Unix socket. */
void address_release(const struct address *address);
