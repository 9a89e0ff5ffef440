#pragma once
/* sessions - the files in which sessions live, found by name, pid or path.
 * Context: the command line. A session's file is NAME.seg in a session directory; NAME is like nginx.12345.
 */
#include "../../shim/segment/segment.h"

#include <limits.h>
#include <stdint.h>

enum { SESSIONS_DIRS_MAX = 2 };

/* Where sessions are looked for: one directory if it was named, else the places where the shim puts them by default. A
 * server started by a service manager has no XDG_RUNTIME_DIR even where this user has, hence both. */
struct sessions_dirs {
	char paths[SESSIONS_DIRS_MAX][PATH_MAX];
	unsigned count;
};

struct session {
	char name[NAME_MAX + 1];
	char path[PATH_MAX];
	enum seg_problem problem;
	int error;                /* errno of SEG_PROBLEM_OPEN */
	uint64_t created_real_ns; /* 0 where there is a problem */
};

struct sessions {
	struct session *list; /* newest first, damaged ones last */
	unsigned count;
};

/* dir: from an option, NULL = PROFSHIM_DIR or the defaults. */
void sessions_dirs_init(struct sessions_dirs *ret_dirs, const char *dir);

/* 0 or -ENOMEM. Directories that cannot be read count as empty. */
int sessions_list(struct sessions *ret_sessions, const struct sessions_dirs *dirs);
void sessions_free(struct sessions *sessions);

/* The session that text means: a name, a pid, or NULL for the newest. NULL: none. A path is not looked up here. */
const struct session *sessions_find(const struct sessions *sessions, const char *text);

/* Opens to read, with the time when the file last changed. seg_close closes. */
enum seg_problem session_open(struct seg_view *ret_seg, const char *path, uint64_t *ret_changed_real_ns);

/* "is cut short", or, for SEG_PROBLEM_OPEN, "cannot be opened: Permission denied". */
const char *session_problem_text(char ret_text[static 128], enum seg_problem problem, int error);
