#pragma once
/* reading - a session made readable: what HTTP, reports by signal and the command line all render views through.
 * Context: the exporter's threads; one reading belongs to one thread. Owns the names and what views remember; borrows
 * the segment's mapping.
 */
#include "../names.h"
#include "../snapshot.h"
#include "../view.h"

struct reading {
	struct seg_view seg;
	uint64_t changed_real_ns; /* of a session's file: when it last changed; 0 = the session is our own process's */
	struct names names;
	struct view_memory *memory;
};

/* 0 or -ENOMEM. */
int reading_init(struct reading *ret_reading, const struct seg_view *seg);
void reading_deinit(struct reading *reading);

/* The session now. NULL: no memory. */
struct snapshot *reading_snapshot(const struct reading *reading);

enum reading_result {
	READING_OK,
	READING_NO_MEMORY,
	READING_TOO_LARGE,     /* for out's bytes_max */
	READING_BAD_PARAMETER, /* one sentence is in problem */
};

/* Renders a view of the session now, or of what came since the snapshot earlier (borrowed, may be NULL), into out. */
enum reading_result reading_render(struct reading *reading, const struct view *view, const struct view_params *params,
                                   const struct snapshot *earlier, struct strbuf *out,
                                   char problem[static VIEW_PROBLEM_BYTES]);
