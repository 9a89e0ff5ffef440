#pragma once
/* model - what a snapshot means: the call tree, tables of functions, lines or modules made from it, and endpoints.
 * Context: the exporter's threads. A model borrows its snapshot and its names, which must outlive it, and owns the rest.
 *
 * A function is (module, first address), so equal names in different places stay apart; a line is (module, file, line,
 * function). In a table
 *   tottime    is the CPU time of samples whose leaf lies in the row;
 *   cumtime    is that of samples in whose stack the row occurs, counted once however often it occurs;
 *   ncalls     counts the activations that the samples saw, a lower bound and at least 1: is_exact is false. Of
 *              interposed calls (frames {recv}) the calls themselves are counted, exactly, unless the table is of one
 *              endpoint only;
 *   primitive  counts those whose row was not already on the stack.
 */
#include "names.h"
#include "snapshot.h"

#define MODEL_STATUS_BYTES 24 /* a status as text: a number of 32 bits, or a name of gRPC's */

enum model_by { MODEL_BY_FUNCTION, MODEL_BY_LINE, MODEL_BY_MODULE };

struct model_row {
	uint32_t module;         /* index, SEG_MODULE_CALL or SEG_MODULE_PSEUDO */
	const char *module_name; /* base name of its path, "" for calls and pseudo frames */
	const char *function;    /* with its braces or brackets for calls and pseudo frames; NULL = no name known */
	const char *file;        /* where the function is declared, or of the line; NULL = not known */
	uint32_t line;
	uint64_t start; /* first address of the function */
	bool is_exact;
	uint64_t samples, tottime_ns, cumtime_ns;
	uint64_t calls, primitive_calls;
};

struct model_table {
	enum model_by by;
	struct model_row *rows;
	uint32_t count;
};

/* A histogram as it is in the segment, summed over whatever is asked for. */
struct model_histogram {
	uint64_t buckets[SEG_BOUNDS_MAX + 1];
	uint64_t sum_ns, count;
};

struct model_streams {
	uint64_t opened;
	uint64_t buckets[SEG_STREAM_BOUNDS + 1]; /* of those that ended */
	uint64_t sum_ns;
};

/* What has one name in reports: several overflow entries may be one "_OTHER". */
struct model_endpoint {
	char *name;            /* "GET /users/{id}", "redis GET", "grpc pkg.Service/Method", "_idle" */
	const char *protocol;  /* "" for _background, _idle, and _OTHER of no protocol */
	const char *method;    /* HTTP's, else "" */
	const char *route;     /* HTTP's, within name, else "" */
	uint64_t requests, errors; /* errors: requests that have an error_type */
	uint64_t cpu_samples, cpu_ns;
	uint64_t lost_samples, lost_ns; /* part of the two above whose stack was dropped and is in no node */
	uint64_t pending_cpu_ns; /* part of cpu_ns that another endpoint may turn out to have had */
	uint64_t request_bytes, response_bytes;
	uint64_t slow_requests;
	struct model_histogram latency, first_byte;
	struct model_streams streams;
};

struct model {
	const struct snapshot *snapshot;
	const struct names *names;
	/* All that the session serves, by falling CPU time, then by name; not what it only asks of others. */
	struct model_endpoint *endpoints;
	uint32_t endpoint_count;
	uint32_t *endpoint_of;     /* by the segment's id: index into endpoints, or UINT32_MAX */
	uint64_t cpu_ns, requests; /* of all endpoints; requests: served, not asked */
	uint64_t samples, dropped; /* dropped: samples without a stack, part of samples */
};

/* NULL: no memory. */
struct model *model_build(const struct snapshot *snapshot, const struct names *names);
void model_free(struct model *model);

/* Whether some endpoint goes by that name in reports. Several may: "_OTHER" is of every protocol. */
bool model_has_endpoint(const struct model *model, const char *name);

/* Whether the endpoint of the segment with this id goes by that name; NULL = any does. */
bool model_endpoint_matches(const struct model *model, uint32_t endpoint_id, const char *name);

/* 0 or -ENOMEM. Rows come in no order. endpoint: NULL = all. with_lost: a row [lost] holds what was sampled but is in no
 * node, because a table was full. */
int model_tabulate(const struct model *model, enum model_by by, const char *endpoint, bool with_lost,
                   struct model_table *ret_table);
void model_table_sort(struct model_table *table, enum seg_sort sort);
void model_table_free(struct model_table *table);

/* Symbols of all frames, by index of the snapshot's frames; calls and pseudo frames have only their function, with braces
 * or brackets. To be freed by free(). NULL: no memory. */
struct symbol *model_symbols(const struct model *model);

/* Behind the last slash. */
const char *model_base_name(const char *path);

/* What a protocol's requests are to OpenTelemetry, which decides on their metrics and on what is an error. */
enum model_family { MODEL_FAMILY_HTTP, MODEL_FAMILY_RPC, MODEL_FAMILY_DB };
enum model_family model_family(const struct snapshot *snapshot, const struct snapshot_series *series);
enum model_family model_family_of(enum seg_protocol protocol);

/* A request's status as people write it: "200", "NOT_FOUND", "23" (the class of a SQLSTATE); "" = it has none. */
const char *model_status(enum model_family family, uint32_t status, char ret_text[static MODEL_STATUS_BYTES]);

/* Its error_type, "" = it did not fail. To who asked, a 4xx status is an error, too. */
const char *model_error_type(enum model_family family, uint32_t status, enum seg_error error, bool is_asked,
                             char ret_text[static MODEL_STATUS_BYTES]);

/* The endpoint as reports call it. Hands over a text from malloc; NULL: no memory. */
char *model_endpoint_name(const struct snapshot_endpoint *endpoint);

/* Where in HTTP endpoints' names the route begins. */
const char *model_route(const struct snapshot_endpoint *endpoint);

/* As histogram_quantile of Prometheus computes it: linear within the bucket, the last bound where it lies above all
 * (is_above), 0 if there is nothing. is_first: it lies in the first bucket, so that only its bound is sure. */
struct model_quantile {
	uint64_t ns;
	bool is_first, is_above;
};
struct model_quantile model_quantile(const struct model_histogram *histogram, const struct seg_config *config,
                                     unsigned per_mille);
