#pragma once
/* traffic_fastcgi - FastCGI as a protocol of traffic.h: its requests are HTTP requests.
 * Context: call.
 */
#include "traffic.h"

/* Follows a connection from the client's first byte on. */
extern const struct traffic_protocol traffic_fastcgi __attribute__((visibility("hidden")));
