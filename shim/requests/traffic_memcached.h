#pragma once
/* traffic_memcached - memcached's protocols as one of traffic.h.
 * Context: call.
 */
#include "traffic.h"

/* Follows a connection from the client's first byte on, binary, or from its first line on, text. */
extern const struct traffic_protocol traffic_memcached __attribute__((visibility("hidden")));
