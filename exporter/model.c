/* What needs no names: endpoints as reports call them, with their requests and times, and the totals. Endpoints of the
 * segment that share a name (overflow entries, one for each method) become one here, so no view shows a name twice.
 */
#include "model.h"

#include "../symbolizer/sort.h"
#include "strbuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *model_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

enum model_family model_family_of(enum seg_protocol protocol)
{
	switch (protocol) {
	case SEG_PROTOCOL_GRPC:
		return MODEL_FAMILY_RPC;
	case SEG_PROTOCOL_REDIS:
	case SEG_PROTOCOL_MEMCACHED:
	case SEG_PROTOCOL_POSTGRES:
	case SEG_PROTOCOL_MYSQL:
		return MODEL_FAMILY_DB;
	case SEG_PROTOCOL_UNKNOWN:
	case SEG_PROTOCOL_HTTP:
	case SEG_PROTOCOL_HTTP2:
	case SEG_PROTOCOL_FASTCGI:
	case SEG_PROTOCOL_TLS:
	case SEG_PROTOCOL_COUNT:
		break;
	}
	return MODEL_FAMILY_HTTP;
}

/* What belongs to no protocol (the overflow entry of them all) is told by its error. */
enum model_family model_family(const struct snapshot *snapshot, const struct snapshot_series *series)
{
	enum seg_protocol protocol = snapshot_endpoint(snapshot, series->endpoint)->protocol;
	bool is_database_error = series->error >= SEG_ERROR_SQLSTATE && series->error != SEG_ERROR_OTHER;

	if (protocol == SEG_PROTOCOL_UNKNOWN && is_database_error)
		return MODEL_FAMILY_DB;
	return model_family_of(protocol);
}

/* Status codes of gRPC as its documents write them (grpc/doc/statuscodes.md). */
static const char *const rpc_codes[] = {
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
};
enum { RPC_CODES = sizeof(rpc_codes) / sizeof(rpc_codes[0]) };

const char *model_status(enum model_family family, uint32_t status, char ret_text[static MODEL_STATUS_BYTES])
{
	if (!status)
		return "";
	if (family == MODEL_FAMILY_DB)
		seg_sqlstate_text(ret_text, status);
	else if (family == MODEL_FAMILY_RPC && status <= RPC_CODES)
		return rpc_codes[status - 1];
	else
		snprintf(ret_text, MODEL_STATUS_BYTES, "%u", family == MODEL_FAMILY_RPC ? status - 1 : status);
	return ret_text;
}

static bool is_error(enum model_family family, uint32_t status, bool is_asked)
{
	switch (family) {
	case MODEL_FAMILY_HTTP:
		return status >= (is_asked ? 400 : 500);
	case MODEL_FAMILY_RPC:
		return status > 1;
	case MODEL_FAMILY_DB:
		break;
	}
	return false; /* warnings have a SQLSTATE, too; errors say that they are some */
}

const char *model_error_type(enum model_family family, uint32_t status, enum seg_error error, bool is_asked,
                             char ret_text[static MODEL_STATUS_BYTES])
{
	if (error == SEG_ERROR_SQLSTATE)
		return status ? model_status(MODEL_FAMILY_DB, status, ret_text) : seg_error_names[SEG_ERROR_OTHER];
	if (error != SEG_ERROR_NONE)
		return seg_error_names[error];
	return is_error(family, status, is_asked) ? model_status(family, status, ret_text) : "";
}

const char *model_route(const struct snapshot_endpoint *endpoint)
{
	const char *method = seg_method_names[endpoint->method];
	size_t n = strlen(method);

	if (endpoint->is_overflow)
		return "_OTHER";
	return !strncmp(endpoint->name, method, n) && endpoint->name[n] == ' ' ? endpoint->name + n + 1 : endpoint->name;
}

char *model_endpoint_name(const struct snapshot_endpoint *endpoint)
{
	bool is_http = model_family_of(endpoint->protocol) == MODEL_FAMILY_HTTP;
	struct strbuf label = STRBUF_EMPTY;

	if (endpoint->is_overflow) {
		strbuf_add(&label, "_OTHER");
	} else {
		if (!is_http)
			strbuf_printf(&label, "%s ", seg_protocol_names[endpoint->protocol]);
		strbuf_add_clean(&label, endpoint->name);
	}
	strbuf_add(&label, ""); /* so that there is a text */
	if (label.error)
		strbuf_free(&label);
	return label.text;
}

/* The label is the endpoint's name made clean, which leaves the method before the route as it is. */
static const char *route_within(const char *label, const struct snapshot_endpoint *endpoint)
{
	return endpoint->is_overflow ? label : label + (model_route(endpoint) - endpoint->name);
}

static void histogram_add(struct model_histogram *to, const uint64_t buckets[static SEG_BOUNDS_MAX + 1], uint64_t sum_ns)
{
	for (int i = 0; i <= SEG_BOUNDS_MAX; i++) {
		to->buckets[i] += buckets[i];
		to->count += buckets[i];
	}
	to->sum_ns += sum_ns;
}

static void streams_add(struct model_streams *to, uint64_t opened, const uint64_t buckets[static SEG_STREAM_BOUNDS + 1],
                        uint64_t sum_ns)
{
	to->opened += opened;
	for (int i = 0; i <= SEG_STREAM_BOUNDS; i++)
		to->buckets[i] += buckets[i];
	to->sum_ns += sum_ns;
}

/* What the program did is its own endpoint; what it asked of others is told by its peers. By the segment's id. */
static bool *served_find(const struct snapshot *snapshot)
{
	bool *is_served = calloc((size_t)snapshot->endpoint_count + 1, sizeof(*is_served));

	if (!is_served)
		return NULL;
	for (uint32_t id = 0; id < snapshot->endpoint_count; id++) {
		const struct snapshot_endpoint *endpoint = &snapshot->endpoints[id];
		bool has_worked = endpoint->cpu_samples || endpoint->streams_opened;
		is_served[endpoint->final] |= endpoint->is_used && (id < SEG_ENDPOINT_FIRST || has_worked);
	}
	for (uint32_t i = 0; i < snapshot->series_count; i++)
		if (snapshot->series[i].peer == SEG_PEER_NONE)
			is_served[snapshot->endpoints[snapshot->series[i].endpoint].final] = true;
	for (uint32_t i = 0; i < snapshot->slow_count; i++)
		is_served[snapshot->endpoints[snapshot->slow[i].endpoint].final] = true;
	for (uint32_t i = 0; i < snapshot->connection_count; i++) {
		const struct snapshot_connection *connection = &snapshot->connections[i];
		if (connection->begin_mono_ns && !connection->is_asked)
			is_served[snapshot->endpoints[connection->endpoint].final] = true;
	}
	return is_served;
}

/* What is counted at one entry of the segment. */
static void entry_add(struct model_endpoint *endpoint, const struct snapshot_endpoint *from)
{
	endpoint->cpu_ns += from->cpu_ns;
	endpoint->cpu_samples += from->cpu_samples;
	endpoint->pending_cpu_ns += from->is_pending ? from->cpu_ns : 0;
	endpoint->request_bytes += from->request_sum_bytes;
	endpoint->response_bytes += from->response_sum_bytes;
	endpoint->slow_requests += from->slow_requests;
	histogram_add(&endpoint->first_byte, from->first_byte_buckets, from->first_byte_sum_ns);
	streams_add(&endpoint->streams, from->streams_opened, from->stream_buckets, from->stream_sum_ns);
}

/* False: no memory. */
static bool endpoint_begin(struct model_endpoint *endpoint, const struct snapshot_endpoint *from, uint32_t id)
{
	endpoint->name = model_endpoint_name(from);
	if (!endpoint->name)
		return false;
	bool is_http = id >= SEG_ENDPOINT_FIRST && model_family_of(from->protocol) == MODEL_FAMILY_HTTP;
	endpoint->protocol = id < SEG_ENDPOINT_FIRST ? "" : seg_protocol_names[from->protocol];
	endpoint->method = is_http ? seg_method_names[from->method] : "";
	endpoint->route = is_http ? route_within(endpoint->name, from) : "";
	return true;
}

/* One entry for each endpoint that is served, with all that the segment's entries say which turned out to be it. */
static int endpoints_make(struct model *model, const bool *is_served)
{
	const struct snapshot *snapshot = model->snapshot;

	for (uint32_t id = 0; id < snapshot->endpoint_count; id++) {
		const struct snapshot_endpoint *from = &snapshot->endpoints[id];
		model->endpoint_of[id] = UINT32_MAX;
		if (!from->is_used || from->final != id || !is_served[id])
			continue;
		if (!endpoint_begin(&model->endpoints[model->endpoint_count], from, id))
			return -1;
		model->endpoint_of[id] = model->endpoint_count++;
	}
	for (uint32_t id = 0; id < snapshot->endpoint_count; id++) {
		const struct snapshot_endpoint *from = &snapshot->endpoints[id];
		uint32_t index = from->is_used ? model->endpoint_of[from->final] : UINT32_MAX;
		model->endpoint_of[id] = index;
		if (index != UINT32_MAX)
			entry_add(&model->endpoints[index], from);
	}
	return 0;
}

static void requests_add(struct model *model)
{
	char text[MODEL_STATUS_BYTES];

	for (uint32_t i = 0; i < model->snapshot->series_count; i++) {
		const struct snapshot_series *series = &model->snapshot->series[i];
		if (series->peer != SEG_PEER_NONE)
			continue;
		struct model_endpoint *endpoint = &model->endpoints[model->endpoint_of[series->endpoint]];
		enum model_family family = model_family(model->snapshot, series);
		histogram_add(&endpoint->latency, series->buckets, series->sum_ns);
		endpoint->requests += series->count;
		if (*model_error_type(family, series->status, series->error, false, text))
			endpoint->errors += series->count;
	}
}

/* What the cells do not hold of an endpoint's time was dropped. Only where drops were counted: otherwise a sample was on
 * its way while the snapshot was taken. */
static void lost_find(struct model *model)
{
	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		model->endpoints[i].lost_ns = model->endpoints[i].cpu_ns;
		model->endpoints[i].lost_samples = model->endpoints[i].cpu_samples;
	}
	for (uint32_t i = 0; i < model->snapshot->cell_count; i++) {
		const struct snapshot_cell *cell = &model->snapshot->cells[i];
		if (model->endpoint_of[cell->endpoint] == UINT32_MAX)
			continue; /* its endpoint's time was read before it had any */
		struct model_endpoint *endpoint = &model->endpoints[model->endpoint_of[cell->endpoint]];
		endpoint->lost_ns -= cell->weight_ns < endpoint->lost_ns ? cell->weight_ns : endpoint->lost_ns;
		endpoint->lost_samples -= cell->samples < endpoint->lost_samples ? cell->samples : endpoint->lost_samples;
	}
	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		if (model->dropped && model->endpoints[i].lost_samples)
			continue;
		model->endpoints[i].lost_ns = model->endpoints[i].lost_samples = 0;
	}
}

static int compare_names(const struct model_endpoint *a, const struct model_endpoint *b)
{
	int order = strcmp(a->name, b->name);

	return order ? order : strcmp(a->protocol, b->protocol);
}

struct sorting {
	uint32_t index; /* before */
	const struct model *model;
};

static int by_name(const void *a, const void *b)
{
	const struct sorting *x = a, *y = b;
	int order = compare_names(&x->model->endpoints[x->index], &y->model->endpoints[y->index]);

	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static int by_cpu(const void *a, const void *b)
{
	const struct sorting *x = a, *y = b;
	const struct model_endpoint *p = &x->model->endpoints[x->index], *q = &y->model->endpoints[y->index];

	if (p->cpu_ns != q->cpu_ns)
		return p->cpu_ns > q->cpu_ns ? -1 : 1;
	return by_name(a, b);
}

static void endpoint_merge(struct model_endpoint *into, struct model_endpoint *from)
{
	if (strcmp(into->method, from->method))
		into->method = seg_method_names[SEG_METHOD_OTHER];
	into->requests += from->requests;
	into->errors += from->errors;
	into->cpu_samples += from->cpu_samples;
	into->cpu_ns += from->cpu_ns;
	into->lost_samples += from->lost_samples;
	into->lost_ns += from->lost_ns;
	into->pending_cpu_ns += from->pending_cpu_ns;
	into->request_bytes += from->request_bytes;
	into->response_bytes += from->response_bytes;
	into->slow_requests += from->slow_requests;
	histogram_add(&into->latency, from->latency.buckets, from->latency.sum_ns);
	histogram_add(&into->first_byte, from->first_byte.buckets, from->first_byte.sum_ns);
	streams_add(&into->streams, from->streams.opened, from->streams.buckets, from->streams.sum_ns);
	free(from->name);
	from->name = NULL;
}

/* Puts endpoints into the given order, leaving out those whose merged_into names another; translates endpoint_of. */
static int endpoints_permute(struct model *model, const struct sorting *order, const uint32_t *merged_into)
{
	uint32_t kept = 0;
	struct model_endpoint *sorted = calloc(model->endpoint_count + 1, sizeof(*sorted));
	uint32_t *place = calloc(model->endpoint_count + 1, sizeof(*place));

	if (!sorted || !place) {
		free(sorted);
		free(place);
		return -1;
	}
	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		if (merged_into[order[i].index] != order[i].index)
			continue;
		place[order[i].index] = kept;
		sorted[kept++] = model->endpoints[order[i].index];
	}
	for (uint32_t id = 0; id < model->snapshot->endpoint_count; id++)
		if (model->endpoint_of[id] != UINT32_MAX)
			model->endpoint_of[id] = place[merged_into[model->endpoint_of[id]]];
	free(model->endpoints);
	model->endpoints = sorted;
	model->endpoint_count = kept;
	free(place);
	return 0;
}

static int endpoints_sort(struct model *model)
{
	struct sorting *order = calloc(model->endpoint_count + 1, sizeof(*order));
	uint32_t *merged_into = calloc(model->endpoint_count + 1, sizeof(*merged_into));
	int error = -1;

	if (!order || !merged_into)
		goto out;
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		order[i] = (struct sorting){ i, model };
	sort_items(order, model->endpoint_count, sizeof(*order), by_name);
	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		uint32_t index = order[i].index, first = i ? merged_into[order[i - 1].index] : index;
		bool is_same = i && !compare_names(&model->endpoints[first], &model->endpoints[index]);
		merged_into[index] = is_same ? first : index;
		if (is_same)
			endpoint_merge(&model->endpoints[first], &model->endpoints[index]);
	}
	uint32_t kept = 0;
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		if (merged_into[i] == i)
			order[kept++] = (struct sorting){ i, model };
	sort_items(order, kept, sizeof(*order), by_cpu);
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		if (merged_into[i] != i)
			order[kept++] = (struct sorting){ i, model };
	error = endpoints_permute(model, order, merged_into);
out:
	free(order);
	free(merged_into);
	return error;
}

static void totals_find(struct model *model)
{
	const struct snapshot *snapshot = model->snapshot;

	model->samples = snapshot->counters[SEG_COUNTER_SAMPLES];
	for (int i = 0; i < SEG_COUNTER_COUNT; i++)
		if (!strcmp(seg_counter_infos[i].family, seg_counter_infos[SEG_COUNTER_DROP_NO_SLOT].family))
			model->dropped += snapshot->counters[i];
	for (uint32_t i = 0; i < snapshot->endpoint_count; i++)
		model->cpu_ns += snapshot->endpoints[i].is_used ? snapshot->endpoints[i].cpu_ns : 0;
	for (uint32_t i = 0; i < snapshot->series_count; i++)
		model->requests += snapshot->series[i].peer == SEG_PEER_NONE ? snapshot->series[i].count : 0;
}

struct model *model_build(const struct snapshot *snapshot, const struct names *names)
{
	struct model *model = calloc(1, sizeof(*model));
	bool *is_served = served_find(snapshot);

	if (!model || !is_served)
		goto fail;
	model->snapshot = snapshot;
	model->names = names;
	totals_find(model);
	model->endpoints = calloc(snapshot->endpoint_count + 1, sizeof(*model->endpoints));
	model->endpoint_of = calloc(snapshot->endpoint_count + 1, sizeof(*model->endpoint_of));
	if (!model->endpoints || !model->endpoint_of || endpoints_make(model, is_served))
		goto fail;
	requests_add(model);
	lost_find(model);
	if (endpoints_sort(model))
		goto fail;
	free(is_served);
	return model;
fail:
	free(is_served);
	model_free(model);
	return NULL;
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		free(model->endpoints[i].name);
	free(model->endpoints);
	free(model->endpoint_of);
	free(model);
}

bool model_endpoint_matches(const struct model *model, uint32_t endpoint_id, const char *name)
{
	uint32_t index = model->endpoint_of[endpoint_id];

	return index != UINT32_MAX && (!name || !strcmp(model->endpoints[index].name, name));
}

bool model_has_endpoint(const struct model *model, const char *name)
{
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		if (!strcmp(model->endpoints[i].name, name))
			return true;
	return false;
}

struct model_quantile model_quantile(const struct model_histogram *histogram, const struct seg_config *config,
                                     unsigned per_mille)
{
	double rank = (double)histogram->count * per_mille / 1000, below = 0;
	uint32_t last = config->bound_count, i = 0;

	if (!histogram->count || !last)
		return (struct model_quantile){ .is_above = histogram->count > 0 };
	while (i < last && below + (double)histogram->buckets[i] < rank)
		below += (double)histogram->buckets[i++];
	if (i == last)
		return (struct model_quantile){ .ns = config->bounds_ns[last - 1], .is_above = true };
	double low = i ? (double)config->bounds_ns[i - 1] : 0, width = (double)config->bounds_ns[i] - low;
	double share = histogram->buckets[i] ? (rank - below) / (double)histogram->buckets[i] : 0;
	return (struct model_quantile){ .ns = (uint64_t)(low + width * share + 0.5), .is_first = i == 0 };
}
