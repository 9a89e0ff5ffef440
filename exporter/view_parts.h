#pragma once
/* view_parts - what several views have in common.
 * Context: the exporter's threads. For the view_*.c files only.
 */
#include "json.h"
#include "metrics_text.h"
#include "view.h"

void view_index_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_metrics_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_report_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_folded_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_endpoints_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_self_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_slow_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_active_render(const struct model *model, const struct view_params *params, struct strbuf *out);
void view_connections_render(const struct model *model, const struct view_params *params, struct strbuf *out);

/* The families that requests are counted in. */
void view_metrics_requests(const struct model *model, struct metrics_text *text);

extern const char *const view_sort_names[]; /* by enum seg_sort, as parameters take them */
extern const char *const view_by_names[];   /* by enum model_by */
enum { VIEW_SORTS = SEG_SORT_NAME + 1, VIEW_BYS = MODEL_BY_MODULE + 1 };

/* The row's name without file and line: function, or module+0xoffset where it has none, or the module. */
void view_row_name(const struct model_row *row, enum model_by by, struct strbuf *out);

/* The same of a frame and its symbol. */
void view_frame_name(const struct model *model, const struct snapshot_frame *frame, const struct symbol *symbol,
                     struct strbuf *out);

/* "https" or "http", where a protocol is not one of the web's "tls" or "plain". */
const char *view_scheme_name(enum seg_protocol protocol, enum seg_scheme scheme);

/* "Not seen: 12 raw_socket_syscall calls, 3 tls connections; 1 connection unclassified", or nothing if all was seen. */
void view_unseen(const struct snapshot *snapshot, struct strbuf *out);

/* Writes the endpoint as one object: the rows of /endpoints and of the report's JSON. */
void view_endpoint_json(const struct model *model, const struct model_endpoint *endpoint, struct json_writer *json);
bool view_endpoint_did_something(const struct model_endpoint *endpoint);

/* Writes all plain counters of the session as members: "samples_dropped": {"nodes_full": 1, ...}, "config_errors": 0. */
void view_counters_json(const struct snapshot *snapshot, struct json_writer *json);

/* What a server keeps between scrapes; see view.h. memory may be NULL: nothing is remembered then. */
bool view_memory_knows(const struct view_memory *memory, const char *labels);
/* False: no memory. */
bool view_memory_learn(struct view_memory *memory, const char *labels);
/* CPU time of the session's processes, the dead ones that were seen before included, so that it never falls. */
uint64_t view_memory_cpu_ns(struct view_memory *memory, const struct snapshot *snapshot);
