#pragma once
/* view - the answers of profshim, one pure function each: model in, text out. HTTP, signal reports and the command line
 * all come here, so that all of them say the same, byte for byte.
 * Context: the exporter's threads. Views never fail but by memory, which the strbuf remembers.
 */
#include "model.h"
#include "strbuf.h"

#define VIEW_PROBLEM_BYTES 320
enum { VIEW_SHOWN_BYTES = 64 }; /* of what a client sent, when it is shown to it again */

struct view_memory;

/* What a reader may ask for; defaults from the session's configuration by view_params_default. */
struct view_params {
	uint32_t top; /* rows, 0 = all */
	enum seg_sort sort;
	enum model_by by;
	const char *endpoint; /* NULL = all; as reports show it: "GET /users/{id}", "redis GET", "_idle". Borrowed. */
	uint32_t seconds;     /* 0 = since the session began; else wait and show the difference (who waits: the caller) */
	bool is_json;
	bool is_openmetrics; /* by the Accept header, no parameter */
	struct view_memory *memory; /* borrowed; NULL = none is kept */
};

void view_params_default(struct view_params *ret_params, const struct seg_config *config);

/* Takes one "name=value" of a query or option; value must outlive params. NULL, or one sentence, naming the parameter,
 * the value and what is accepted, in problem (returned). */
const char *view_params_set(struct view_params *params, const char *name, const char *value,
                            char problem[static VIEW_PROBLEM_BYTES]);

/* value as it may be shown to a person: clean, and cut where it gets long. */
void view_shorten(char ret_text[static VIEW_SHOWN_BYTES], const char *value);

/* What only the model can tell of params: whether the endpoint exists. NULL, or one sentence in problem (returned). A
 * view rendered in spite of it says the same sentence. */
const char *view_params_check(const struct view_params *params, const struct model *model,
                              char problem[static VIEW_PROBLEM_BYTES]);

/* What a server remembers from one scrape to the next: which functions were shown, and the CPU time of processes that
 * are gone. One for all scrapes of a session, used by one thread at a time. NULL: no memory. */
struct view_memory *view_memory_new(void);
void view_memory_free(struct view_memory *memory);

struct view {
	const char *path;    /* "/report" */
	const char *summary; /* one line, for the index and the help */
	const char *(*content_type)(const struct view_params *params);
	void (*render)(const struct model *model, const struct view_params *params, struct strbuf *out);
};

/* All of them, ended by a NULL path: /, /metrics, /report, /folded, /requests/slow, /requests/active, /endpoints,
 * /connections, /self. */
extern const struct view views[];
const struct view *view_find(const char *path); /* NULL = no such view */

#define VIEW_LOG_LINE_BYTES 8192

/* All slow requests of the model, each as one line of JSON of at most VIEW_LOG_LINE_BYTES, in the order in which they
 * stand in the snapshot: what /requests/slow says of them, with as many of their stacks, the heaviest first, as fit. */
void view_slow_log_render(const struct model *model, struct strbuf *out);
