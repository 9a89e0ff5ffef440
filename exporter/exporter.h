#pragma once
/* exporter - what libprofshim-exporter.so offers to the process it is opened in.
 * Context: profshim's background thread (setup), with the hooks told that the thread is ours.
 * These functions are its only exports; the shim finds them by dlsym. None ever exits or aborts.
 */
#include "../shim/segment/segment.h"

#include <stdbool.h>

#define EXPORTER_EXPORT __attribute__((visibility("default")))
#define EXPORTER_TICK_MS 200 /* how often tick is called, and the longest wait for a report after its signal */

/* What the exporter asks of the process. */
struct exporter_host {
	struct seg_view seg;
	/* One line to the operator, without newline; dropped if above the configured level. */
	void (*log)(enum seg_log_level level, const char *line);
	/* The program's descriptor 2 until it is given back; -1 if that is no place for text any more: a program may have closed
	 * it and got the number back for a file of its own. */
	int (*stderr_borrow)(void);
	void (*stderr_return)(int fd);
	/* Housekeeping of the session (dead processes' slots); called every EXPORTER_TICK_MS. False: stop serving. */
	bool (*tick)(void);
	/* What tick says at last, at any time: looked at whenever a wait ends. */
	bool (*is_to_end)(void);
	/* sched_setscheduler(2) may be called: no filter of system calls (seccomp(2)) ends the process for it. */
	bool may_set_policy;
	/* A descriptor is now ours, to be hidden from the program and closed in forks; and no longer. */
	void (*descriptor_opened)(int fd);
	void (*descriptor_closed)(int fd);
};

/* Serves HTTP at config.listen (or just ticks, if that is "off"), writes the reports that signals ask for, and logs slow
 * requests to config.slow_log, until tick says stop. Tries the next 15 ports when the port is taken. 0, or -errno: could not begin at all (logged). */
EXPORTER_EXPORT int profshim_exporter_serve(const struct exporter_host *host);

/* Writes one report to config.report now. 0 or -errno (logged). */
EXPORTER_EXPORT int profshim_exporter_report(const struct exporter_host *host);

/* At the session's end: logs the slow requests that nobody has logged yet. May overlap with a server. 0 or -errno (logged). */
EXPORTER_EXPORT int profshim_exporter_finish(const struct exporter_host *host);
