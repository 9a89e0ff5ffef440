#pragma once
/* peer - the servers that the program asks, by address, as a label of few values.
 * Context: call. One system call, getpeername, for a connection's first finished request.
 * Overlap: any: entries are claimed, never changed, never freed.
 *
 * At most SEG_PEERS_MAX are told apart, over all processes; the others are SEG_PEER_OTHER, and OVERFLOW_PEERS counts each
 * such connection.
 */
#include "../segment/segment.h"

/* Whom the connected socket fd asks: 1..SEG_PEERS_MAX or SEG_PEER_OTHER. errno is kept. */
uint32_t peer_of(int fd);
