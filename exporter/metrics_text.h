#pragma once
/* metrics_text - writes Prometheus' text format 0.0.4 or OpenMetrics 1.0, family by family.
 * Context: any thread of the exporter. The caller gives each family once and its samples at once, each label set once.
 * Numbers are integers with a decimal scale (see strbuf_add_decimal), so they are exact.
 */
#include "strbuf.h"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM, METRICS_INFO };

struct metrics_text {
	struct strbuf *out;
	bool is_openmetrics;
	const char *name; /* of the family, without _total and _info */
	enum metrics_type type;
};

/* name without the suffixes _total and _info, which the type brings. */
void metrics_family(struct metrics_text *text, const char *name, enum metrics_type type, const char *help);

/* One sample of a counter, gauge or info. labels: as metrics_label made them, "" = none. */
void metrics_sample(struct metrics_text *text, const char *labels, uint64_t n, unsigned scale);

/* A request that stands for many: where to go on looking. */
enum { METRICS_TRACE_BYTES = 16, METRICS_SPAN_BYTES = 8 };
struct metrics_exemplar {
	uint64_t at_ns; /* when, since 1970; 0 = there is none */
	uint64_t value; /* scaled as the bounds */
	uint8_t trace_id[METRICS_TRACE_BYTES], span_id[METRICS_SPAN_BYTES];
};

struct metrics_buckets {
	const uint64_t *bounds; /* rising */
	const uint64_t *counts; /* count + 1 of them, not cumulative; the last is +Inf */
	uint32_t count;
	unsigned scale; /* of bounds and sum */
	uint64_t sum;
	const struct metrics_exemplar *exemplar; /* of OpenMetrics only; NULL = none */
};
void metrics_histogram(struct metrics_text *text, const char *labels, const struct metrics_buckets *buckets);

/* Ends the exposition (OpenMetrics wants it said). */
void metrics_end(struct metrics_text *text);

/* Adds key="value" to the labels in buf, escaped, behind a comma if there were some since begin. */
void metrics_label(struct strbuf *buf, size_t begin, const char *key, const char *value);
