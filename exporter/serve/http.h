#pragma once
/* http - serves the views of a session over HTTP/1.1.
 * Context: the exporter's thread, inside the profiled program. Never waits: its caller polls what http_poll names and
 * then calls http_turn. The only file that knows libmicrohttpd.
 * Owns its descriptors and tells the host of each. Survives that the program closes them behind its back: it then gives
 * them up, never touching numbers that may mean something else by now, and begins anew.
 */
#include "../exporter.h"
#include "reading.h"

#include <poll.h>

struct http;

enum { HTTP_POLL_FDS = 2 };

/* Listens at config.listen and tells the segment and the log where. 0 with *ret_http NULL: it is off, or no address
 * could be had, which has been logged. -ENOMEM. host and reading are borrowed. */
int http_new(struct http **ret_http, const struct exporter_host *host, struct reading *reading);
void http_free(struct http *http);

/* What to poll, and for how long at most, in ms (at most limit_ms). Returns how many descriptors. */
unsigned http_poll(struct http *http, struct pollfd ret_fds[static HTTP_POLL_FDS], int limit_ms, int *ret_timeout_ms);

/* Accepts, reads, answers, as far as that goes without waiting, but for what pace takes in between. */
void http_turn(struct http *http);
