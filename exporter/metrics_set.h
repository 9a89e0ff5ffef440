#pragma once
/* metrics_set - the label sets of a family: collected, sorted, and those that are equal added up.
 * Context: any thread of the exporter. Owns its texts; borrows buckets until it is freed. Remembers its first failure.
 *
 * A label set may be reached from several places of the segment (overflow entries, functions of equal name), and one that
 * occurs twice makes Prometheus refuse the whole scrape. Every row of a set must be given the same labels; an empty value
 * says the same as an absent label.
 */
#include "metrics_text.h"

/* labels: offset into set.texts, which moves while it grows. */
struct metrics_row {
	size_t labels;
	uint64_t values[3];
	const uint64_t *buckets;
	uint64_t *merged; /* owned; NULL while there is nothing to add up */
	struct metrics_exemplar exemplar; /* of equal rows the latest */
};

/* All zero: empty. Histograms: bucket_count is set first. */
struct metrics_set {
	struct strbuf texts;
	struct metrics_row *rows;
	size_t count, capacity;
	size_t bucket_count; /* of each row's buckets */
};

/* A new row; then its labels, then its end. NULL: no memory. */
struct metrics_row *metrics_set_row(struct metrics_set *set);
void metrics_set_label(struct metrics_set *set, const char *key, const char *value);
void metrics_set_row_end(struct metrics_set *set);

/* Sorts, and adds up what has the same labels. False: no memory, now or before. */
bool metrics_set_finish(struct metrics_set *set);
const char *metrics_set_labels(const struct metrics_set *set, const struct metrics_row *row);

/* Finishes the set, writes it as the current family and frees it: as histograms whose sums are values[0], or as samples
 * of values[0]. What failed is the text's failure now. */
void metrics_set_write_histograms(struct metrics_set *set, struct metrics_text *text, const uint64_t *bounds, unsigned scale);
void metrics_set_write(struct metrics_set *set, struct metrics_text *text, unsigned scale);

void metrics_set_free(struct metrics_set *set);
