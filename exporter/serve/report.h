#pragma once
/* report - puts the bytes of a report where config.report says: the program's stderr, or a file of its own.
 * Context: the exporter's threads, inside the profiled program. Descriptor 2 is the program's: it may be closed or mean
 * something else by now, and a report must not end up in a client's connection.
 */
#include "../exporter.h"

#include <stddef.h>
#include <sys/types.h>

enum { REPORT_PATH_BYTES = 4096 }; /* PATH_MAX of the kernel */

/* pattern with %p = pid, %n = number, %% = %; 0 or -ENAMETOOLONG. */
int report_path(char ret_path[static REPORT_PATH_BYTES], const char *pattern, pid_t pid, uint32_t number);

/* Writes to "stderr" or the path that target, a text of config.report, means. 0, or -errno, which has been logged. */
int report_write(const struct exporter_host *host, const char *target, uint32_t number, const char *bytes, size_t count);
