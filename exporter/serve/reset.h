#pragma once
/* reset - lets everything that a session has counted begin anew, for whoever looks at it from now on: this server, the
 * next one, the command line, also after the session's end.
 * Context: the serving thread, which alone may do it. Writers go on meanwhile, and what they add is in the one count or
 * in the other. Gauges, what is open, names and configuration stay.
 */
#include "../../shim/segment/segment.h"

void reset_session(const struct seg_view *seg);

/* A server that died while it reset left the session half cleared: clears the rest. */
void reset_finish(const struct seg_view *seg);
