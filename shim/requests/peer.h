#pragma once
/* peer - the servers that the program asks, by address, as a label of few values.
 * Context: call. One system call, getpeername, for a connection by a unix socket whose first request is answered.
 * Overlap: any: entries are claimed, never changed, never freed.
 *
 * At most SEG_PEERS_MAX are told apart, over all processes, those whose answers came first; the others are SEG_PEER_OTHER.
 */
#include "../segment/segment.h"

#include <stdbool.h>
#include <sys/socket.h>

/* Where a program connects to, as short as it can be kept until it is known that a protocol is spoken there. */
struct peer_address {
	uint8_t ip[16]; /* as IPv6; all zero: the wildcard, which is the host itself */
	uint16_t port;
	bool is_ip;     /* else the socket knows it */
};
struct peer_address peer_address(const struct sockaddr *address, socklen_t bytes);

/* The number of who is asked at address by socket fd: 1..SEG_PEERS_MAX or SEG_PEER_OTHER. errno is kept. */
uint32_t peer_of(const struct peer_address *address, int fd);
