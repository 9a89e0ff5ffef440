/* Families of requests, by the names and labels of OpenTelemetry's semantic conventions with dots as underscores: HTTP and
 * databases as they are, RPC as of 1.40. Where those know no metric (time to first byte, streams, errors, slow
 * requests) the labels are profshim's own, protocol and endpoint.
 */
#include "metrics_set.h"
#include "view_parts.h"

#include <stdio.h>
#include <string.h>

static void add_label(struct metrics_set *set, const char *key, const char *value)
{
	metrics_set_label(set, key, value);
}

/* One series and what its labels are made from. */
struct labelled {
	const struct snapshot *snapshot;
	const struct snapshot_series *series;
	const struct snapshot_endpoint *endpoint;
	enum model_family family;
	bool is_asked;
};

static struct labelled labelled_of(const struct snapshot *snapshot, const struct snapshot_series *series)
{
	return (struct labelled){ .snapshot = snapshot,
		                  .series = series,
		                  .endpoint = snapshot_endpoint(snapshot, series->endpoint),
		                  .family = model_family(snapshot, series),
		                  .is_asked = series->peer != SEG_PEER_NONE };
}

static void error_label(struct metrics_set *set, const struct labelled *of)
{
	char text[MODEL_STATUS_BYTES];

	add_label(set, "error_type", model_error_type(of->family, of->series->status, of->series->error, of->is_asked, text));
}

static void status_label(struct metrics_set *set, const char *key, const struct labelled *of)
{
	char text[MODEL_STATUS_BYTES];

	add_label(set, key, model_status(of->family, of->series->status, text));
}

static const char *operation_of(const struct snapshot_endpoint *endpoint)
{
	return endpoint->is_overflow ? "_OTHER" : endpoint->name;
}

/* Whom the program asked; nothing where it served. */
static void peer_labels(struct metrics_set *set, const struct labelled *of)
{
	const struct snapshot_peer *peer = NULL;
	char port[8] = "";

	if (!of->is_asked)
		return;
	if (of->series->peer != SEG_PEER_OTHER)
		peer = &of->snapshot->peers[of->series->peer - 1];
	if (peer && peer->port)
		snprintf(port, sizeof(port), "%u", peer->port);
	add_label(set, "server_address", peer ? peer->address : "_OTHER");
	add_label(set, "server_port", port);
}

static void http_labels(struct metrics_set *set, const struct labelled *of)
{
	add_label(set, "http_request_method", seg_method_names[of->endpoint->method]);
	if (!of->is_asked)
		add_label(set, "http_route", model_route(of->endpoint));
	peer_labels(set, of);
	status_label(set, "http_response_status_code", of);
	add_label(set, "url_scheme", of->series->scheme == SEG_SCHEME_TLS ? "https" : "http");
	error_label(set, of);
}

static void rpc_labels(struct metrics_set *set, const struct labelled *of)
{
	add_label(set, "rpc_system_name", "grpc");
	add_label(set, "rpc_method", operation_of(of->endpoint));
	peer_labels(set, of);
	status_label(set, "rpc_response_status_code", of);
	error_label(set, of);
}

/* As OpenTelemetry calls them (db.system.name). */
static const char *database_name(enum seg_protocol protocol)
{
	switch (protocol) {
	case SEG_PROTOCOL_REDIS:
		return "redis";
	case SEG_PROTOCOL_MEMCACHED:
		return "memcached";
	case SEG_PROTOCOL_POSTGRES:
		return "postgresql";
	case SEG_PROTOCOL_MYSQL:
		return "mysql";
	default:
		return "_OTHER"; /* of no protocol: see model_family */
	}
}

static void db_labels(struct metrics_set *set, const struct labelled *of)
{
	add_label(set, "db_system_name", database_name(of->endpoint->protocol));
	add_label(set, "db_operation_name", operation_of(of->endpoint));
	peer_labels(set, of);
	error_label(set, of);
}

static const struct duration_family {
	enum model_family family;
	bool is_asked;
	const char *name, *help;
	void (*labels)(struct metrics_set *set, const struct labelled *of);
} duration_families[] = {
	{ MODEL_FAMILY_HTTP, false, "http_server_request_duration_seconds",
	  "Time from the first byte of a request to the last byte of its response.", http_labels },
	{ MODEL_FAMILY_RPC, false, "rpc_server_call_duration_seconds",
	  "Time from the first byte of a call to the last byte of its response.", rpc_labels },
	{ MODEL_FAMILY_DB, false, "db_server_operation_duration_seconds",
	  "Time from the first byte of a command to the last byte of its reply.", db_labels },
	{ MODEL_FAMILY_HTTP, true, "http_client_request_duration_seconds",
	  "Time from the first byte of a request that the program sent to the last byte of the response.", http_labels },
	{ MODEL_FAMILY_RPC, true, "rpc_client_call_duration_seconds",
	  "Time from the first byte of a call that the program made to the last byte of the response.", rpc_labels },
	{ MODEL_FAMILY_DB, true, "db_client_operation_duration_seconds",
	  "Time from the first byte of a command that the program sent to the last byte of the reply.", db_labels },
};

static struct metrics_exemplar exemplar_of(const struct snapshot_exemplar *from)
{
	struct metrics_exemplar exemplar = { .at_ns = from->is_used ? from->at_real_ns : 0, .value = from->duration_ns };

	_Static_assert(sizeof(exemplar.trace_id) == sizeof(from->trace_id) && sizeof(exemplar.span_id) == sizeof(from->span_id),
	               "one size of ids");
	memcpy(exemplar.trace_id, from->trace_id, sizeof(exemplar.trace_id));
	memcpy(exemplar.span_id, from->span_id, sizeof(exemplar.span_id));
	return exemplar;
}

static void durations(const struct snapshot *snapshot, const struct duration_family *family, struct metrics_text *text)
{
	struct metrics_set set = { .bucket_count = snapshot->config.bound_count + 1 };

	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		struct labelled of = labelled_of(snapshot, &snapshot->series[i]);
		struct metrics_row *row;
		if (of.family != family->family || of.is_asked != family->is_asked || !(row = metrics_set_row(&set)))
			continue;
		row->buckets = of.series->buckets;
		row->values[0] = of.series->sum_ns;
		row->exemplar = exemplar_of(&of.series->exemplar);
		family->labels(&set, &of);
		metrics_set_row_end(&set);
	}
	metrics_family(text, family->name, METRICS_HISTOGRAM, family->help);
	metrics_set_write_histograms(&set, text, snapshot->config.bounds_ns, 9);
}

/* Of HTTP endpoints also where nothing was counted: every route has its sizes. */
static void sizes(const struct model *model, struct metrics_text *text, bool is_request)
{
	const struct snapshot *snapshot = model->snapshot;
	struct metrics_set set = { .bucket_count = SEG_SIZE_BOUNDS + 1 };

	for (uint32_t i = SEG_ENDPOINT_FIRST; i < snapshot->endpoint_count; i++) {
		const struct snapshot_endpoint *from = &snapshot->endpoints[i], *endpoint = snapshot_endpoint(snapshot, i);
		struct metrics_row *row;
		if (model->endpoint_of[i] == UINT32_MAX || model_family_of(endpoint->protocol) != MODEL_FAMILY_HTTP ||
		    !(row = metrics_set_row(&set)))
			continue;
		row->buckets = is_request ? from->request_buckets : from->response_buckets;
		row->values[0] = is_request ? from->request_sum_bytes : from->response_sum_bytes;
		add_label(&set, "http_request_method", seg_method_names[endpoint->method]);
		add_label(&set, "http_route", model_route(endpoint));
		metrics_set_row_end(&set);
	}
	metrics_family(text, is_request ? "http_server_request_body_size_bytes" : "http_server_response_body_size_bytes",
	               METRICS_HISTOGRAM, is_request ? "Size of request bodies." : "Size of response bodies.");
	metrics_set_write_histograms(&set, text, seg_size_bounds, 0);
}

static bool method_is_known(const struct snapshot *snapshot, int method, int scheme)
{
	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		struct labelled of = labelled_of(snapshot, &snapshot->series[i]);
		if (of.family == MODEL_FAMILY_HTTP && !of.is_asked && (int)of.series->scheme == scheme &&
		    (int)of.endpoint->method == method)
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

/* A row for the endpoint; NULL: no memory. */
static struct metrics_row *endpoint_row(struct metrics_set *set, const struct model_endpoint *endpoint)
{
	struct metrics_row *row = metrics_set_row(set);

	if (!row)
		return NULL;
	add_label(set, "protocol", endpoint->protocol);
	add_label(set, "endpoint", endpoint->name);
	metrics_set_row_end(set);
	return row;
}

static void first_bytes(const struct model *model, struct metrics_text *text)
{
	struct metrics_set set = { .bucket_count = model->snapshot->config.bound_count + 1 };

	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &model->endpoints[i];
		struct metrics_row *row = endpoint->first_byte.count ? endpoint_row(&set, endpoint) : NULL;
		if (!row)
			continue;
		row->buckets = endpoint->first_byte.buckets;
		row->values[0] = endpoint->first_byte.sum_ns;
	}
	metrics_family(text, "profshim_time_to_first_byte_seconds", METRICS_HISTOGRAM,
	               "Time from the first byte of a request to the first byte of its response.");
	metrics_set_write_histograms(&set, text, model->snapshot->config.bounds_ns, 9);
}

static void stream_durations(const struct model *model, struct metrics_text *text)
{
	struct metrics_set set = { .bucket_count = SEG_STREAM_BOUNDS + 1 };

	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &model->endpoints[i];
		struct metrics_row *row = endpoint->streams.opened ? endpoint_row(&set, endpoint) : NULL;
		if (!row)
			continue;
		row->buckets = endpoint->streams.buckets;
		row->values[0] = endpoint->streams.sum_ns;
	}
	metrics_family(text, "profshim_stream_duration_seconds", METRICS_HISTOGRAM,
	               "How long streams were open that ended; they are in no histogram of requests.");
	metrics_set_write_histograms(&set, text, seg_stream_bounds_ns, 9);
}

/* A counter that is member of each endpoint; where is_sparse, of those that ever counted. */
static void endpoint_counter(const struct model *model, struct metrics_text *text, uint64_t (*member)(const struct model_endpoint *),
                             bool is_sparse)
{
	struct metrics_set set = { 0 };

	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		uint64_t n = member(&model->endpoints[i]);
		bool is_shown = n || (!is_sparse && model->endpoints[i].requests);
		struct metrics_row *row = is_shown ? endpoint_row(&set, &model->endpoints[i]) : NULL;
		if (row)
			row->values[0] = n;
	}
	metrics_set_write(&set, text, 0);
}

static uint64_t streams_opened(const struct model_endpoint *endpoint)
{
	return endpoint->streams.opened;
}

static uint64_t slow_requests(const struct model_endpoint *endpoint)
{
	return endpoint->slow_requests;
}

/* Only what failed: a label set for each error of each endpoint that could. */
static void errors(const struct model *model, struct metrics_text *text)
{
	const struct snapshot *snapshot = model->snapshot;
	struct metrics_set set = { 0 };
	char buffer[MODEL_STATUS_BYTES];

	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		const struct snapshot_series *series = &snapshot->series[i];
		const struct model_endpoint *endpoint = &model->endpoints[0];
		const char *error = model_error_type(model_family(snapshot, series), series->status, series->error, false, buffer);
		struct metrics_row *row;
		if (series->peer != SEG_PEER_NONE || !*error || !(row = metrics_set_row(&set)))
			continue;
		endpoint += model->endpoint_of[series->endpoint];
		row->values[0] = series->count;
		add_label(&set, "protocol", endpoint->protocol);
		add_label(&set, "endpoint", endpoint->name);
		add_label(&set, "error_type", error);
		metrics_set_row_end(&set);
	}
	metrics_family(text, "profshim_request_errors", METRICS_COUNTER, "Requests that failed, by why.");
	metrics_set_write(&set, text, 0);
}

void view_metrics_requests(const struct model *model, struct metrics_text *text)
{
	for (size_t i = 0; i < sizeof(duration_families) / sizeof(duration_families[0]); i++)
		durations(model->snapshot, &duration_families[i], text);
	active_requests(model->snapshot, text);
	sizes(model, text, true);
	sizes(model, text, false);
	first_bytes(model, text);
	errors(model, text);
	metrics_family(text, "profshim_slow_requests", METRICS_COUNTER,
	               "Requests that took longer than PROFSHIM_SLOW.");
	endpoint_counter(model, text, slow_requests, false);
	metrics_family(text, "profshim_streams_opened", METRICS_COUNTER,
	               "Streams that were opened (WebSocket, CONNECT, event-stream, SUBSCRIBE).");
	endpoint_counter(model, text, streams_opened, true);
	stream_durations(model, text);
}
