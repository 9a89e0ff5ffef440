/* All families, in one order, each once; those of requests are in view_metrics_requests.c. */
#include "metrics_set.h"
#include "../symbolizer/sort.h"
#include "view_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUNCTIONS_SHOWN = 50 };

static void fail(struct metrics_text *text)
{
	strbuf_fail(text->out, -ENOMEM);
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

/* The model has merged endpoints by protocol and name already. What may turn out to be another endpoint's waits until it
 * did, since a counter must not fall. */
static void endpoint_cpu(const struct model *model, struct metrics_text *text)
{
	struct metrics_set set = { 0 };

	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &model->endpoints[i];
		struct metrics_row *row = metrics_set_row(&set);
		if (!row)
			break;
		row->values[0] = endpoint->cpu_ns - endpoint->pending_cpu_ns;
		metrics_set_label(&set, "protocol", endpoint->protocol);
		metrics_set_label(&set, "endpoint", endpoint->name);
		metrics_set_row_end(&set);
	}
	metrics_family(text, "profshim_endpoint_cpu_seconds", METRICS_COUNTER,
	               "CPU time by the endpoint it was spent for, from samples.");
	metrics_set_write(&set, text, 9);
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
static bool largest_choose(struct metrics_set *set, int value)
{
	struct ranked *ranked = calloc(set->count + 1, sizeof(*ranked));

	if (!ranked)
		return false;
	for (size_t i = 0; i < set->count; i++)
		ranked[i] = (struct ranked){ set->rows[i].values[value], i };
	sort_items(ranked, set->count, sizeof(*ranked), by_falling_ns);
	for (size_t i = 0; i < set->count && i < FUNCTIONS_SHOWN && ranked[i].ns; i++)
		set->rows[ranked[i].row].values[IS_SHOWN] = 1;
	free(ranked);
	return true;
}

static bool functions_collect(const struct model *model, struct metrics_set *set)
{
	struct model_table table;

	if (model_tabulate(model, MODEL_BY_FUNCTION, NULL, false, &table))
		return false;
	for (uint32_t i = 0; i < table.count; i++) {
		struct strbuf name = STRBUF_EMPTY;
		struct metrics_row *row = metrics_set_row(set);
		if (!row)
			break;
		row->values[SELF] = table.rows[i].tottime_ns;
		row->values[CUMULATIVE] = table.rows[i].cumtime_ns;
		view_row_name(&table.rows[i], MODEL_BY_FUNCTION, &name);
		metrics_set_label(set, "function", strbuf_text(&name));
		metrics_set_label(set, "module", table.rows[i].module_name);
		metrics_set_row_end(set);
		strbuf_discard(&name, &set->texts);
	}
	model_table_free(&table);
	return metrics_set_finish(set);
}

static bool functions_choose(struct metrics_set *set, struct view_memory *memory)
{
	if (!largest_choose(set, SELF) || !largest_choose(set, CUMULATIVE))
		return false;
	for (size_t i = 0; i < set->count; i++) {
		struct metrics_row *row = &set->rows[i];
		if (row->values[IS_SHOWN] && !view_memory_learn(memory, metrics_set_labels(set, row)))
			return false;
		row->values[IS_SHOWN] |= view_memory_knows(memory, metrics_set_labels(set, row));
	}
	return true;
}

static void functions(const struct model *model, const struct view_params *params, struct metrics_text *text)
{
	struct metrics_set set = { 0 };

	if (!functions_collect(model, &set) || !functions_choose(&set, params->memory))
		fail(text);
	metrics_family(text, "profshim_function_self_seconds", METRICS_COUNTER,
	               "CPU time in a function itself, from samples; the largest functions only.");
	for (size_t i = 0; i < set.count && !text->out->error; i++)
		if (set.rows[i].values[IS_SHOWN])
			metrics_sample(text, metrics_set_labels(&set, &set.rows[i]), set.rows[i].values[SELF], 9);
	metrics_family(text, "profshim_function_cumulative_seconds", METRICS_COUNTER,
	               "CPU time in a function and all it calls, from samples; the largest functions only.");
	for (size_t i = 0; i < set.count && !text->out->error; i++)
		if (set.rows[i].values[IS_SHOWN])
			metrics_sample(text, metrics_set_labels(&set, &set.rows[i]), set.rows[i].values[CUMULATIVE], 9);
	metrics_set_free(&set);
}

static void calls(const struct snapshot *snapshot, struct metrics_text *text)
{
	metrics_family(text, "profshim_calls", METRICS_COUNTER,
	               "Interposed calls of libc and of TLS libraries; every one is counted.");
	for (int i = 0; i < SEG_CALL_COUNT; i++)
		with_label(text, "call", seg_call_names[i], snapshot->call_counts[i], 0);
	metrics_family(text, "profshim_call_seconds", METRICS_COUNTER,
	               "Wall time inside interposed calls, waiting included; every call is timed, but for a dlopen by name "
	               "from a library with a search path of its own, and of the transfers on an accepted socket that never waits "
	               "(O_NONBLOCK), after the first 64, one in 16, which stands for 16.");
	for (int i = 0; i < SEG_CALL_COUNT; i++)
		with_label(text, "call", seg_call_names[i], snapshot->call_ns[i], 9);
}

static void by_protocol(struct metrics_text *text, const char *name, enum metrics_type type, const char *help,
                        const uint64_t values[static SEG_PROTOCOL_COUNT])
{
	metrics_family(text, name, type, help);
	for (int i = 0; i < SEG_PROTOCOL_COUNT; i++)
		if (i != SEG_PROTOCOL_GRPC) /* to a connection it is HTTP2 */
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
	by_protocol(text, "profshim_streams_open", METRICS_GAUGE,
	            "Streams that are open (WebSocket, CONNECT, event-stream, SUBSCRIBE), by the protocol of their connection.",
	            snapshot->open_streams);
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
	metrics_family(text, "profshim_sampling_rate_hertz", METRICS_GAUGE,
		       "Samples a second of CPU time and thread in force now: what was asked for, unless sampling is disabled or over its budget.");
	plain(text, snapshot->hz_now, 0);
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

	view_metrics_requests(model, &text);
	endpoint_cpu(model, &text);
	functions(model, params, &text);
	calls(snapshot, &text);
	connections(snapshot, &text);
	counters(snapshot, &text);
	own(snapshot, &text);
	processes(snapshot, params, &text);
	metrics_end(&text);
}
