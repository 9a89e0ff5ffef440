#pragma once
/* slow_log - writes a line of JSON for each slow request to config.slow_log.
 * Context: the exporter's threads, and the program's own at its end; never waits for a writer of events, and for a reader
 * of what it writes no longer than a sink does. Owns nothing between two turns: the file is opened for each, so that it
 * may be moved away at any time, and so that nobody can close our descriptor.
 * Overlap: any number of logs of any processes: an event is taken by a compare-and-swap before it is written, so that no
 * request is logged twice; one whose logger is killed just then is lost.
 *
 * An event that is not logged (overrun by later ones, left unfinished by a killed process, or impossible to write) counts
 * in SEG_COUNTER_SLOW_UNLOGGED. That a file cannot be written is told once, until it can be again.
 */
#include "../exporter.h"
#include "../names.h"

struct slow_log {
	const struct exporter_host *host; /* borrowed */
	const struct names *names;        /* borrowed */
	char path[SEG_TEXT_BYTES];        /* "" = there is no log */
	bool is_failing;                  /* and that was told */
	bool has_torn_line;               /* the last line that was written lacks its end */
	uint64_t waits_for;               /* 1 + the ticket of an event that is not finished, 0 = none */
	uint64_t waits_since_ns;
};

void slow_log_init(struct slow_log *ret_log, const struct exporter_host *host, const struct names *names);

/* Something is there to be logged. */
bool slow_log_is_due(const struct slow_log *log);

/* Logs what is finished, and skips what is unfinished for too long. */
void slow_log_turn(struct slow_log *log);

/* The same at the end of the session: what is unfinished will be so for ever. */
void slow_log_finish(struct slow_log *log);
