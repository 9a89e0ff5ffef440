#pragma once
/* traffic_http2 - HTTP/2 and gRPC as a protocol of traffic.h.
 * Context: call.
 */
#include "traffic.h"

/* Follows a connection from the client's preface on. */
extern const struct traffic_protocol traffic_http2 __attribute__((visibility("hidden")));

/* The first bytes of a server are those of HTTP/2: a SETTINGS frame. */
bool traffic_http2_is_greeting(const char *bytes, size_t n);

/* HTTP/1's answer to the oldest request was 101 with "Upgrade: h2c": the connection goes on as HTTP/2, in which that
 * request is stream 1 (RFC 7540 clause 3.2). What HTTP/1 holds of the connection is given back. */
void traffic_http2_upgraded(struct conn *conn, struct traffic_call *call);
