/* All families of the contract, in one order, each once. A label set may be reached from several places of the segment
 * (overflow entries, functions of equal name), and a label set that occurs twice makes Prometheus refuse the whole
 * scrape; so wherever labels come from tables, rows are collected with their labels as text, sorted by it, and equal
 * ones are added up.
 *
 * Every sample of a family carries the same label names; an empty value says the same as an absent label.
 */
#include "metrics_text.h"
#include "view_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUNCTIONS_SHOWN = 50 };

/* A label set on its way out. labels: offset into set.texts, which moves while it grows. */
struct labelled {
	size_t labels;
	uint64_t values[3];
	const uint64_t *buckets;
	uint64_t *merged; /* owned; NULL while there is nothing to add up */
};

struct label_set {
	struct strbuf texts;
	struct labelled *rows;
	size_t count, capacity;
	size_t bucket_count; /* of each row's buckets */
};

static struct labelled *row_add(struct label_set *set)
{
	if (set->count == set->capacity) {
		size_t larger = set->capacity ? set->capacity * 2 : 64;
		struct labelled *rows = realloc(set->rows, larger * sizeof(*rows));
		if (!rows) {
			set->texts.error = -ENOMEM;
			return NULL;
		}
		set->rows = rows;
		set->capacity = larger;
	}
	set->rows[set->count] = (struct labelled){ .labels = set->texts.length };
	return &set->rows[set->count++];
}

static void label(struct label_set *set, const char *key, const char *value)
{
	metrics_label(&set->texts, set->rows[set->count - 1].labels, key, value);
}

/* The row's labels are complete. */
static void row_end(struct label_set *set)
{
	strbuf_add_bytes(&set->texts, "", 1);
}

static const char *labels_of(const struct label_set *set, const struct labelled *row)
{
	return set->texts.text + row->labels;
}

static int by_labels(const void *a, const void *b, void *set)
{
	return strcmp(labels_of(set, a), labels_of(set, b));
}

static bool merge(struct label_set *set, struct labelled *into, const struct labelled *from)
{
	for (size_t i = 0; i < sizeof(into->values) / sizeof(into->values[0]); i++)
		into->values[i] += from->values[i];
	if (!from->buckets)
		return true;
	if (!into->merged) {
		into->merged = calloc(set->bucket_count, sizeof(*into->merged));
		if (!into->merged)
			return false;
		memcpy(into->merged, into->buckets, set->bucket_count * sizeof(*into->merged));
		into->buckets = into->merged;
	}
	for (size_t i = 0; i < set->bucket_count; i++)
		into->merged[i] += from->buckets[i];
	return true;
}

/* Sorts, and adds up what has the same labels. False: no memory. */
static bool set_finish(struct label_set *set)
{
	size_t kept = 0;

	if (set->texts.error)
		return false;
	if (set->count)
		qsort_r(set->rows, set->count, sizeof(*set->rows), by_labels, set);
	for (size_t i = 0; i < set->count; i++) {
		bool is_same = kept && !by_labels(&set->rows[kept - 1], &set->rows[i], set);
		if (!is_same)
			set->rows[kept++] = set->rows[i];
		else if (!merge(set, &set->rows[kept - 1], &set->rows[i]))
			return false;
	}
	set->count = kept;
	return true;
}

static void set_free(struct label_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		free(set->rows[i].merged);
	free(set->rows);
	strbuf_free(&set->texts);
}

static void fail(struct metrics_text *text)
{
	strbuf_fail(text->out, -ENOMEM);
}

/* Writes rows with buckets as a histogram whose sum is values[0]. */
static void histograms_write(struct metrics_text *text, struct label_set *set, const uint64_t *bounds, unsigned scale)
{
	if (!set_finish(set))
		fail(text);
	for (size_t i = 0; i < set->count && !text->out->error; i++) {
		const struct labelled *row = &set->rows[i];
		struct metrics_buckets buckets = { bounds, row->buckets, (uint32_t)set->bucket_count - 1, scale,
			                           row->values[0] };
		metrics_histogram(text, labels_of(set, row), &buckets);
	}
	set_free(set);
}

/* One sample without a label, or with one. */
static void plain(struct metrics_text *text, uint64_t n, unsigned scale)
{
	metrics_sample(text, "", n, scale);
}

static void with_label(struct metrics_text *text, const char *key, const char *value, uint64_t n, unsigned scale)
{
	struct strbuf labels = STRBUF_EMPTY;

	metrics_label(&labels, 0, key, value);
	metrics_sample(text, strbuf_text(&labels), n, scale);
	strbuf_discard(&labels, text->out);
}

/* Which family a series belongs to. What is neither (the overflow entry of all protocols) is told by its status, which
 * only HTTP has, and by its error. */
static bool series_is_http(const struct snapshot *snapshot, const struct snapshot_series *series)
{
	enum seg_protocol protocol = snapshot->endpoints[series->endpoint].protocol;

	if (protocol == SEG_PROTOCOL_UNKNOWN)
		return series->status || series->error < SEG_ERROR_REDIS_ERR;
	return protocol == SEG_PROTOCOL_HTTP;
}

static void http_labels(struct label_set *set, const struct snapshot *snapshot, const struct snapshot_series *series)
{
	const struct snapshot_endpoint *endpoint = &snapshot->endpoints[series->endpoint];
	char error[MODEL_STATUS_BYTES], status[MODEL_STATUS_BYTES] = "";

	if (series->status)
		snprintf(status, sizeof(status), "%u", series->status);
	label(set, "http_request_method", seg_method_names[endpoint->method]);
	label(set, "http_route", model_route(endpoint));
	label(set, "http_response_status_code", status);
	label(set, "url_scheme", series->scheme == SEG_SCHEME_TLS ? "https" : "http");
	label(set, "error_type", model_error_type(series->status, series->error, error));
}

static void redis_labels(struct label_set *set, const struct snapshot *snapshot, const struct snapshot_series *series)
{
	const struct snapshot_endpoint *endpoint = &snapshot->endpoints[series->endpoint];
	char error[MODEL_STATUS_BYTES];

	label(set, "db_system_name", "redis");
	label(set, "db_operation_name", endpoint->is_overflow ? "_OTHER" : endpoint->name);
	label(set, "error_type", model_error_type(series->status, series->error, error));
}

static void durations_collect(const struct snapshot *snapshot, struct label_set *set, bool is_http)
{
	set->bucket_count = snapshot->config.bound_count + 1;
	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		const struct snapshot_series *series = &snapshot->series[i];
		struct labelled *row;
		if (series_is_http(snapshot, series) != is_http || !(row = row_add(set)))
			continue;
		row->buckets = series->buckets;
		row->values[0] = series->sum_ns;
		if (is_http)
			http_labels(set, snapshot, series);
		else
			redis_labels(set, snapshot, series);
		row_end(set);
	}
}

static void durations(const struct snapshot *snapshot, struct metrics_text *text)
{
	struct label_set http = { 0 }, redis = { 0 };

	durations_collect(snapshot, &http, true);
	metrics_family(text, "http_server_request_duration_seconds", METRICS_HISTOGRAM,
	               "Time from the first byte of a request to the last byte of its response.");
	histograms_write(text, &http, snapshot->config.bounds_ns, 9);
	durations_collect(snapshot, &redis, false);
	metrics_family(text, "db_server_operation_duration_seconds", METRICS_HISTOGRAM,
	               "Time from the first byte of a command to the last byte of its reply.");
	histograms_write(text, &redis, snapshot->config.bounds_ns, 9);
}

static void sizes(const struct snapshot *snapshot, struct metrics_text *text, bool is_request)
{
	struct label_set set = { .bucket_count = SEG_SIZE_BOUNDS + 1 };

	for (uint32_t i = 0; i < snapshot->endpoint_count; i++) {
		const struct snapshot_endpoint *endpoint = &snapshot->endpoints[i];
		const uint64_t *buckets = is_request ? endpoint->request_buckets : endpoint->response_buckets;
		uint64_t count = 0;
		for (int bucket = 0; bucket <= SEG_SIZE_BOUNDS; bucket++)
			count += buckets[bucket];
		struct labelled *row;
		if (!endpoint->is_used || (endpoint->protocol != SEG_PROTOCOL_HTTP && !count) ||
		    endpoint->protocol == SEG_PROTOCOL_REDIS || !(row = row_add(&set)))
			continue;
		row->buckets = buckets;
		row->values[0] = is_request ? endpoint->request_sum_bytes : endpoint->response_sum_bytes;
		label(&set, "http_request_method", seg_method_names[endpoint->method]);
		label(&set, "http_route", model_route(endpoint));
		row_end(&set);
	}
	metrics_family(text, is_request ? "http_server_request_body_size_bytes" : "http_server_response_body_size_bytes",
	               METRICS_HISTOGRAM, is_request ? "Size of request bodies." : "Size of response bodies.");
	histograms_write(text, &set, seg_size_bounds, 0);
}

static bool method_is_known(const struct snapshot *snapshot, int method, int scheme)
{
	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		const struct snapshot_series *series = &snapshot->series[i];
		if (series_is_http(snapshot, series) && (int)series->scheme == scheme &&
		    (int)snapshot->endpoints[series->endpoint].method == method)
			return true;
	}
	return false;
}

/* Methods that occurred: a zero for all nine, of a server that speaks no HTTP, would tell nobody anything. */
static void active_requests(const struct snapshot *snapshot, struct metrics_text *text)
{
	metrics_family(text, "http_server_active_requests", METRICS_GAUGE, "Requests that have begun and not ended.");
	for (int method = 0; method < SEG_METHOD_COUNT; method++)
		for (int scheme = 0; scheme < 2; scheme++) {
			struct strbuf labels = STRBUF_EMPTY;
			uint64_t active = snapshot->active_requests[method][scheme];
			if (!active && !method_is_known(snapshot, method, scheme))
				continue;
			metrics_label(&labels, 0, "http_request_method", seg_method_names[method]);
			metrics_label(&labels, 0, "url_scheme", scheme == SEG_SCHEME_TLS ? "https" : "http");
			metrics_sample(text, strbuf_text(&labels), active, 0);
			strbuf_discard(&labels, text->out);
		}
}

/* The model has merged endpoints by protocol and name already. */
static void endpoint_cpu(const struct model *model, struct metrics_text *text)
{
	struct label_set set = { 0 };

	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		struct labelled *row = row_add(&set);
		if (!row)
			break;
		row->values[0] = model->endpoints[i].cpu_ns;
		label(&set, "protocol", model->endpoints[i].protocol);
		label(&set, "endpoint", model->endpoints[i].name);
		row_end(&set);
	}
	metrics_family(text, "profshim_endpoint_cpu_seconds", METRICS_COUNTER,
	               "CPU time by the endpoint it was spent for, from samples.");
	if (!set_finish(&set))
		fail(text);
	for (size_t i = 0; i < set.count && !text->out->error; i++)
		metrics_sample(text, labels_of(&set, &set.rows[i]), set.rows[i].values[0], 9);
	set_free(&set);
}

enum { SELF, CUMULATIVE, IS_SHOWN }; /* values of a function's row */

struct ranked {
	uint64_t ns;
	size_t row;
};

static int by_falling_ns(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	return (x->row > y->row) - (x->row < y->row);
}

/* The 50 largest by one of the two values are shown, unless they are 0. */
static bool largest_choose(struct label_set *set, int value)
{
	struct ranked *ranked = calloc(set->count + 1, sizeof(*ranked));

	if (!ranked)
		return false;
	for (size_t i = 0; i < set->count; i++)
		ranked[i] = (struct ranked){ set->rows[i].values[value], i };
	qsort(ranked, set->count, sizeof(*ranked), by_falling_ns);
	for (size_t i = 0; i < set->count && i < FUNCTIONS_SHOWN && ranked[i].ns; i++)
		set->rows[ranked[i].row].values[IS_SHOWN] = 1;
	free(ranked);
	return true;
}

static bool functions_collect(const struct model *model, struct label_set *set)
{
	struct model_table table;

	if (model_tabulate(model, MODEL_BY_FUNCTION, NULL, false, &table))
		return false;
	for (uint32_t i = 0; i < table.count; i++) {
		struct strbuf name = STRBUF_EMPTY;
		struct labelled *row = row_add(set);
		if (!row)
			break;
		row->values[SELF] = table.rows[i].tottime_ns;
		row->values[CUMULATIVE] = table.rows[i].cumtime_ns;
		view_row_name(&table.rows[i], MODEL_BY_FUNCTION, &name);
		label(set, "function", strbuf_text(&name));
		label(set, "module", table.rows[i].module_name);
		row_end(set);
		strbuf_discard(&name, &set->texts);
	}
	model_table_free(&table);
	return set_finish(set);
}

static bool functions_choose(struct label_set *set, struct view_memory *memory)
{
	if (!largest_choose(set, SELF) || !largest_choose(set, CUMULATIVE))
		return false;
	for (size_t i = 0; i < set->count; i++) {
		struct labelled *row = &set->rows[i];
		if (row->values[IS_SHOWN] && !view_memory_learn(memory, labels_of(set, row)))
			return false;
		row->values[IS_SHOWN] |= view_memory_knows(memory, labels_of(set, row));
	}
	return true;
}

static void functions(const struct model *model, const struct view_params *params, struct metrics_text *text)
{
	struct label_set set = { 0 };

	if (!functions_collect(model, &set) || !functions_choose(&set, params->memory))
		fail(text);
	metrics_family(text, "profshim_function_self_seconds", METRICS_COUNTER,
	               "CPU time in a function itself, from samples; the largest functions only.");
	for (size_t i = 0; i < set.count && !text->out->error; i++)
		if (set.rows[i].values[IS_SHOWN])
			metrics_sample(text, labels_of(&set, &set.rows[i]), set.rows[i].values[SELF], 9);
	metrics_family(text, "profshim_function_cumulative_seconds", METRICS_COUNTER,
	               "CPU time in a function and all it calls, from samples; the largest functions only.");
	for (size_t i = 0; i < set.count && !text->out->error; i++)
		if (set.rows[i].values[IS_SHOWN])
			metrics_sample(text, labels_of(&set, &set.rows[i]), set.rows[i].values[CUMULATIVE], 9);
	set_free(&set);
}

static void calls(const struct snapshot *snapshot, struct metrics_text *text)
{
	metrics_family(text, "profshim_calls", METRICS_COUNTER, "Interposed libc calls; every one is counted.");
	for (int i = 0; i < SEG_CALL_COUNT; i++)
		with_label(text, "call", seg_call_names[i], snapshot->call_counts[i], 0);
	metrics_family(text, "profshim_call_seconds", METRICS_COUNTER,
	               "Wall time inside interposed libc calls, waiting included; every call is timed, but for a dlopen by name "
	               "from a library with a search path of its own.");
	for (int i = 0; i < SEG_CALL_COUNT; i++)
		with_label(text, "call", seg_call_names[i], snapshot->call_ns[i], 9);
}

static void by_protocol(struct metrics_text *text, const char *name, enum metrics_type type, const char *help,
                        const uint64_t values[static SEG_PROTOCOL_COUNT])
{
	metrics_family(text, name, type, help);
	for (int i = 0; i < SEG_PROTOCOL_COUNT; i++)
		with_label(text, "protocol", seg_protocol_names[i], values[i], 0);
}

static void connections(const struct snapshot *snapshot, struct metrics_text *text)
{
	by_protocol(text, "profshim_connections_accepted", METRICS_COUNTER,
	            "Connections accepted, counted when their protocol is known or they close.", snapshot->accepted);
	by_protocol(text, "profshim_connections_open", METRICS_GAUGE, "Accepted connections that are open.",
	            snapshot->open_connections);
	by_protocol(text, "profshim_network_receive_bytes", METRICS_COUNTER, "Bytes received on accepted connections.",
	            snapshot->receive_bytes);
	by_protocol(text, "profshim_network_transmit_bytes", METRICS_COUNTER, "Bytes sent on accepted connections.",
	            snapshot->transmit_bytes);
}

/* seg_counter_infos has the names with _total, entries of one family together, the help with the first. */
static void counters(const struct snapshot *snapshot, struct metrics_text *text)
{
	for (int i = 0; i < SEG_COUNTER_COUNT;) {
		const struct seg_counter_info *first = &seg_counter_infos[i];
		struct strbuf name = STRBUF_EMPTY;
		strbuf_add_bytes(&name, first->family, strlen(first->family) - strlen("_total"));
		metrics_family(text, strbuf_text(&name), METRICS_COUNTER, first->help);
		for (; i < SEG_COUNTER_COUNT && !strcmp(seg_counter_infos[i].family, first->family); i++) {
			if (*seg_counter_infos[i].key)
				with_label(text, seg_counter_infos[i].key, seg_counter_infos[i].value,
				           snapshot->counters[i], 0);
			else
				plain(text, snapshot->counters[i], 0);
		}
		strbuf_discard(&name, text->out);
	}
}

static void own(const struct snapshot *snapshot, struct metrics_text *text)
{
	metrics_family(text, "profshim_overhead_seconds", METRICS_COUNTER, "CPU time that profshim itself takes, by phase.");
	for (int i = 0; i < SEG_PHASE_COUNT; i++)
		with_label(text, "phase", seg_phase_names[i], snapshot->overhead_ns[i], 9);
	metrics_family(text, "profshim_processes", METRICS_GAUGE, "Processes of the session.");
	plain(text, snapshot->process_count, 0);
	metrics_family(text, "profshim_build", METRICS_INFO, "The profshim that writes this; always 1.");
	with_label(text, "version", PROFSHIM_VERSION, 1, 0);
	metrics_family(text, "target", METRICS_INFO, "The program that is profiled; always 1.");
	with_label(text, "service_name", *snapshot->config.service ? snapshot->config.service : snapshot->program, 1, 0);
}

struct usage_sums {
	uint64_t stats, resident_bytes, virtual_bytes, start_real_ns;
	uint64_t open_counts, open_fds, max_counts, max_fds;
};

static struct usage_sums usage_add_up(const struct snapshot *snapshot)
{
	struct usage_sums sums = { 0 };

	for (uint32_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_usage *usage = &snapshot->processes[i].usage;
		if (usage->has_stat && (!sums.stats || usage->start_real_ns < sums.start_real_ns))
			sums.start_real_ns = usage->start_real_ns;
		sums.stats += usage->has_stat;
		sums.resident_bytes += usage->resident_bytes;
		sums.virtual_bytes += usage->virtual_bytes;
		sums.open_counts += usage->has_open_fds;
		sums.open_fds += usage->open_fds;
		sums.max_counts += usage->has_max_fds;
		sums.max_fds += usage->max_fds;
	}
	return sums;
}

static void gauge_if(struct metrics_text *text, const char *name, const char *help, bool is_known, uint64_t n,
                     unsigned scale)
{
	metrics_family(text, name, METRICS_GAUGE, help);
	if (is_known)
		plain(text, n, scale);
}

/* As all client libraries name them; of all processes of the session that live. */
static void processes(const struct snapshot *snapshot, const struct view_params *params, struct metrics_text *text)
{
	struct usage_sums sums = usage_add_up(snapshot);
	uint64_t cpu_ns = view_memory_cpu_ns(params->memory, snapshot);

	metrics_family(text, "process_cpu_seconds", METRICS_COUNTER, "User and system CPU time of the session's processes.");
	if (sums.stats || cpu_ns)
		plain(text, cpu_ns, 9);
	gauge_if(text, "process_resident_memory_bytes", "Resident memory, summed over the session's processes.", sums.stats,
	         sums.resident_bytes, 0);
	gauge_if(text, "process_virtual_memory_bytes", "Virtual memory, summed over the session's processes.", sums.stats,
	         sums.virtual_bytes, 0);
	gauge_if(text, "process_open_fds", "Open file descriptors, summed over the session's processes.", sums.open_counts,
	         sums.open_fds, 0);
	gauge_if(text, "process_max_fds", "Most file descriptors allowed, summed over the session's processes.", sums.max_counts,
	         sums.max_fds, 0);
	gauge_if(text, "process_start_time_seconds", "Unix time when the oldest of the session's processes started.", sums.stats,
	         sums.start_real_ns, 9);
}

void view_metrics_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	struct metrics_text text = { .out = out, .is_openmetrics = params->is_openmetrics };
	const struct snapshot *snapshot = model->snapshot;

	durations(snapshot, &text);
	active_requests(snapshot, &text);
	sizes(snapshot, &text, true);
	sizes(snapshot, &text, false);
	endpoint_cpu(model, &text);
	functions(model, params, &text);
	calls(snapshot, &text);
	connections(snapshot, &text);
	counters(snapshot, &text);
	own(snapshot, &text);
	processes(snapshot, params, &text);
	metrics_end(&text);
}
