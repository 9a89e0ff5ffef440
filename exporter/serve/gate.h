#pragma once
/* gate - who is let in, by what a request says of itself. Pure. The rules:
 *
 * - token: asked of every request where others than this machine's own programs can come in, whether PROFSHIM_TOKEN is set or
 *   not (unset, there is none that would do, and all are refused); elsewhere of every request that changes something, if it
 *   is set.
 * - host: on a loopback address the Host header must be "localhost" or a numeric address, with or without a port. A page of
 *   another site can make a browser call loopback addresses by a name of its own (DNS rebinding), but not by a number.
 *   Where the token is asked of all it protects, and any name is accepted. A Unix socket has no name.
 * - cross-site: a request that changes something must not come from a page of another origin, as browsers tell by
 *   Sec-Fetch-Site (anything but same-origin and none), by Origin, and, lacking these, by Referer. Programs send none.
 *
 * Context: the exporter's threads.
 */
#include "route.h"

enum gate { GATE_OPEN, GATE_HOST, GATE_TOKEN, GATE_TOKEN_UNSET, GATE_CROSS_SITE };

enum gate gate_check(const struct route_rules *rules, const struct request *request, bool is_change);

/* "localhost", or a numeric address, with or without a port. NULL, too: an old client that is no browser. */
bool gate_host_is_safe(const char *host);

/* value begins with a scheme of the web and the very host. */
bool gate_is_same_origin(const char *value, const char *host);
