#pragma once
/* made_session - a session written down as text, turned into a real segment, so that views are tested from the bytes up
 * and without profiling. The commands are listed in made_session.c.
 */
#include "../../exporter/names.h"
#include "../../shim/segment/segment.h"

#include <stdbool.h>
#include <stddef.h>

enum { MADE_MAX = 128 };

struct made_function {
	char *name, *file; /* NULL = none */
	uint32_t module, line;
	uint64_t start, end;
};

struct made_line {
	char *file;
	uint32_t module, line;
	uint64_t address;
};

struct made_usage {
	int pid;
	struct snapshot_usage usage;
};

struct made_session {
	void *base;
	struct seg_view seg;
	struct made_function functions[MADE_MAX];
	struct made_line lines[MADE_MAX];
	struct made_usage usages[MADE_MAX];
	char *module_keys[MADE_MAX], *endpoint_keys[MADE_MAX]; /* short names; by index, by id */
	unsigned function_count, line_count, usage_count, module_count, endpoint_count, connection_count;
	struct seg_slow *slow;             /* the last one */
	struct seg_connection *connection; /* the last one */
	char *view;          /* "/report?top=5" */
	bool is_openmetrics;
};

void made_init(struct made_session *made);
/* The same in a segment of this ceiling. */
void made_init_within(struct made_session *made, size_t ceiling_bytes);
void made_deinit(struct made_session *made);

/* Reads a file of commands; exits with a message when it cannot be understood: a test that lies is worse than none. */
void made_read(struct made_session *made, const char *path);
/* The same for one command. */
void made_command(struct made_session *made, const char *command);

/* What was declared, as a source of names. Valid as long as made. */
struct names made_names(struct made_session *made);
/* What of it does not come from the segment: usage, and that the processes run. */
void made_complete(const struct made_session *made, struct snapshot *snapshot);
