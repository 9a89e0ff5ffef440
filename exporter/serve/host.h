#pragma once
/* host - what the parts of the server tell the process that they run in.
 * Context: the exporter's threads.
 */
#include "../exporter.h"

/* One line to host's log. */
void host_say(const struct exporter_host *host, enum seg_log_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Adds n to a counter of the session. */
void host_count(const struct exporter_host *host, enum seg_counter counter, uint64_t n);
