#include "view_parts.h"

#include <string.h>

void view_row_name(const struct model_row *row, enum model_by by, struct strbuf *out)
{
	if (row->function) {
		strbuf_add_clean(out, row->function);
		return;
	}
	strbuf_add_clean(out, row->module_name);
	if (by != MODEL_BY_MODULE)
		strbuf_printf(out, "+0x%llx", (unsigned long long)row->start);
}

void view_frame_name(const struct model *model, const struct snapshot_frame *frame, const struct symbol *symbol,
                     struct strbuf *out)
{
	struct model_row row = { .module = frame->module, .module_name = "", .function = symbol->function,
		                 .start = symbol->function_start };

	if (frame->module >= SEG_MODULE_FIRST)
		row.module_name = model_base_name(model->snapshot->modules[frame->module].path);
	view_row_name(&row, MODEL_BY_FUNCTION, out);
}

const char *view_scheme_name(enum seg_protocol protocol, enum seg_scheme scheme)
{
	enum model_family family = model_family_of(protocol);

	if (protocol == SEG_PROTOCOL_UNKNOWN || protocol == SEG_PROTOCOL_TLS || family == MODEL_FAMILY_DB)
		return scheme == SEG_SCHEME_TLS ? "tls" : "plain";
	return scheme == SEG_SCHEME_TLS ? "https" : "http";
}

bool view_endpoint_did_something(const struct model_endpoint *endpoint)
{
	return endpoint->cpu_samples || endpoint->requests || endpoint->request_bytes || endpoint->response_bytes ||
	       endpoint->streams.opened;
}

static void quantile_json(const struct model *model, const struct model_histogram *histogram, struct json_writer *json,
                          const char *key, unsigned per_mille)
{
	struct model_quantile quantile = model_quantile(histogram, &model->snapshot->config, per_mille);

	if (histogram->count)
		json_write_seconds(json, key, quantile.ns);
	else
		json_write_null(json, key);
}

/* Upper bound of the slowest request's bucket: null without requests, and where it is +Inf. */
static void max_json(const struct model *model, const struct model_endpoint *endpoint, struct json_writer *json)
{
	const struct seg_config *config = &model->snapshot->config;
	uint32_t i = config->bound_count + 1;

	while (i && !endpoint->latency.buckets[i - 1])
		i--;
	if (i && i - 1 < config->bound_count)
		json_write_seconds(json, "latency_max_bucket_seconds", config->bounds_ns[i - 1]);
	else
		json_write_null(json, "latency_max_bucket_seconds");
}

void view_endpoint_json(const struct model *model, const struct model_endpoint *endpoint, struct json_writer *json)
{
	json_write_begin_object(json, NULL);
	json_write_text(json, "endpoint", endpoint->name);
	json_write_text(json, "protocol", endpoint->protocol);
	json_write_text(json, "method", endpoint->method);
	json_write_text(json, "route", endpoint->route);
	json_write_number(json, "requests", endpoint->requests);
	json_write_number(json, "errors", endpoint->errors);
	json_write_number(json, "samples", endpoint->cpu_samples);
	json_write_seconds(json, "cpu_seconds", endpoint->cpu_ns);
	if (endpoint->latency.count)
		json_write_seconds(json, "latency_mean_seconds", endpoint->latency.sum_ns / endpoint->latency.count);
	else
		json_write_null(json, "latency_mean_seconds");
	quantile_json(model, &endpoint->latency, json, "latency_p50_seconds", 500);
	quantile_json(model, &endpoint->latency, json, "latency_p90_seconds", 900);
	quantile_json(model, &endpoint->latency, json, "latency_p99_seconds", 990);
	max_json(model, endpoint, json);
	quantile_json(model, &endpoint->first_byte, json, "time_to_first_byte_p50_seconds", 500);
	quantile_json(model, &endpoint->first_byte, json, "time_to_first_byte_p99_seconds", 990);
	json_write_number(json, "slow_requests", endpoint->slow_requests);
	json_write_number(json, "streams_opened", endpoint->streams.opened);
	json_write_number(json, "request_body_bytes", endpoint->request_bytes);
	json_write_number(json, "response_body_bytes", endpoint->response_bytes);
	json_write_end(json);
}

/* "profshim_samples_dropped_total" is the member "samples_dropped". */
static void member_name(struct strbuf *name, const char *family)
{
	static const char prefix[] = "profshim_", suffix[] = "_total";
	const char *begin = !strncmp(family, prefix, strlen(prefix)) ? family + strlen(prefix) : family;
	size_t n = strlen(begin);

	if (n > strlen(suffix) && !strcmp(begin + n - strlen(suffix), suffix))
		n -= strlen(suffix);
	strbuf_truncate(name, 0);
	strbuf_add_bytes(name, begin, n);
}

void view_counters_json(const struct snapshot *snapshot, struct json_writer *json)
{
	struct strbuf name = STRBUF_EMPTY;

	for (int i = 0; i < SEG_COUNTER_COUNT;) {
		const char *family = seg_counter_infos[i].family;
		member_name(&name, family);
		if (!*seg_counter_infos[i].key) {
			json_write_number(json, strbuf_text(&name), snapshot->counters[i++]);
			continue;
		}
		json_write_begin_object(json, strbuf_text(&name));
		for (; i < SEG_COUNTER_COUNT && !strcmp(seg_counter_infos[i].family, family); i++)
			json_write_number(json, seg_counter_infos[i].value, snapshot->counters[i]);
		json_write_end(json);
	}
	json->has_failed |= name.error != 0;
	strbuf_free(&name);
}

static uint64_t family_total(const struct snapshot *snapshot, enum seg_counter first)
{
	uint64_t total = 0;

	for (int i = first; i < SEG_COUNTER_COUNT && !strcmp(seg_counter_infos[i].family, seg_counter_infos[first].family); i++)
		total += snapshot->counters[i];
	return total;
}

/* "3 tls connections", "1 connection unclassified": kind, noun and manner, of which one or the other may be "". */
static void add_unseen(struct strbuf *out, uint64_t n, const char *kind, const char *noun, const char *manner)
{
	if (!n)
		return;
	if (out->length)
		strbuf_add(out, *kind ? ", " : "; ");
	strbuf_printf(out, "%llu %s%s%s%s%s%s", (unsigned long long)n, kind, *kind ? " " : "", noun, n == 1 ? "" : "s",
	              *manner ? " " : "", manner);
}

void view_unseen(const struct snapshot *snapshot, struct strbuf *out)
{
	static const struct {
		enum seg_counter counter;
		const char *noun;
	} blind[] = {
		{ SEG_COUNTER_BLIND_IO_URING, "call" },     { SEG_COUNTER_BLIND_RAW_SYSCALL, "call" },
		{ SEG_COUNTER_BLIND_VMSPLICE, "call" },     { SEG_COUNTER_BLIND_STDIO, "connection" },
		{ SEG_COUNTER_BLIND_TLS, "connection" },
	};
	struct strbuf what = STRBUF_EMPTY;
	uint64_t unclassified = snapshot->counters[SEG_COUNTER_UNCLASSIFIED_CONNECTIONS];

	for (size_t i = 0; i < sizeof(blind) / sizeof(blind[0]); i++)
		add_unseen(&what, snapshot->counters[blind[i].counter], seg_counter_infos[blind[i].counter].value,
		           blind[i].noun, "");
	add_unseen(&what, unclassified, "", "connection", "unclassified");
	add_unseen(&what, family_total(snapshot, SEG_COUNTER_LOST_POOL_FULL), "", "request", "lost");
	if (what.length)
		strbuf_printf(out, "Not seen: %s", what.text);
	strbuf_discard(&what, out);
}
