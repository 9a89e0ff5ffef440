/* What is open, and what waits for an answer. No client's address is in the segment, and no address is here.
 *
 * A connection of HTTP/2 has an entry and each of its streams has one, which know whose request is whose; so where there
 * are streams, what waits is told by them and not by their connection.
 */
#include "view_parts.h"

#include "../symbolizer/sort.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {
	[SEG_CONNECTION_SERVED] = "served", [SEG_CONNECTION_ASKED] = "asked", [SEG_CONNECTION_STREAM] = "stream"
};

typedef int compare_function(const void *a, const void *b);

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* So that equal times come in one order. */
static int by_place(const struct snapshot_connection *x, const struct snapshot_connection *y)
{
	int order = compare_numbers((uint64_t)x->pid, (uint64_t)y->pid);

	return order ? order : (x->fd > y->fd) - (x->fd < y->fd);
}

static int by_begin(const void *a, const void *b)
{
	const struct snapshot_connection *x = *(const struct snapshot_connection *const *)a;
	const struct snapshot_connection *y = *(const struct snapshot_connection *const *)b;
	int order = compare_numbers(x->begin_mono_ns, y->begin_mono_ns);

	return order ? order : by_place(x, y);
}

static int by_opened(const void *a, const void *b)
{
	const struct snapshot_connection *x = *(const struct snapshot_connection *const *)a;
	const struct snapshot_connection *y = *(const struct snapshot_connection *const *)b;
	int order = compare_numbers(x->opened_mono_ns, y->opened_mono_ns);

	return order ? order : by_place(x, y);
}

/* All of them, the oldest first. To be freed by free(); NULL: no memory. */
static const struct snapshot_connection **in_order(const struct snapshot *snapshot, compare_function *compare)
{
	const struct snapshot_connection **order = calloc((size_t)snapshot->connection_count + 1, sizeof(struct snapshot_connection *));

	if (!order)
		return NULL;
	for (uint32_t i = 0; i < snapshot->connection_count; i++)
		order[i] = &snapshot->connections[i];
	sort_items(order, snapshot->connection_count, sizeof(struct snapshot_connection *), compare);
	return order;
}

static uint64_t age_ns(const struct snapshot *snapshot, uint64_t since_mono_ns)
{
	return snapshot->taken_mono_ns > since_mono_ns ? snapshot->taken_mono_ns - since_mono_ns : 0;
}

static void place_json(struct json_writer *json, const struct snapshot_connection *connection, enum seg_protocol protocol)
{
	json_write_text(json, "scheme", view_scheme_name(protocol, connection->scheme));
	json_write_number(json, "pid", (uint64_t)connection->pid);
	json_write_number(json, "tid", (uint64_t)connection->tid);
	if (connection->fd >= 0)
		json_write_number(json, "fd", (uint64_t)connection->fd);
	else
		json_write_null(json, "fd");
}

/* what waits */

static void active_json(const struct model *model, const struct snapshot_connection *connection, const char *name,
                        struct json_writer *json)
{
	const struct snapshot_endpoint *endpoint = snapshot_endpoint(model->snapshot, connection->endpoint);
	bool is_http = connection->has_endpoint && model_family_of(endpoint->protocol) == MODEL_FAMILY_HTTP;
	enum seg_protocol protocol = connection->protocol;

	if (protocol == SEG_PROTOCOL_UNKNOWN && connection->has_endpoint) /* until its first answer */
		protocol = endpoint->protocol;
	json_write_begin_object(json, NULL);
	json_write_text(json, "endpoint", connection->has_endpoint ? name : NULL);
	json_write_text(json, "protocol", seg_protocol_names[protocol]);
	json_write_text(json, "method", is_http ? seg_method_names[endpoint->method] : NULL);
	json_write_text(json, "kind", kind_names[connection->is_asked ? SEG_CONNECTION_ASKED : SEG_CONNECTION_SERVED]);
	json_write_bool(json, "is_stream", connection->is_stream);
	json_write_seconds(json, "age_seconds", age_ns(model->snapshot, connection->begin_mono_ns));
	json_write_number(json, "in_flight", connection->in_flight);
	place_json(json, connection, protocol);
	json_write_end(json);
}

/* False: no memory. */
static bool active_consider(const struct model *model, const struct snapshot_connection *connection, const char *wanted,
                            struct json_writer *json)
{
	if (!connection->begin_mono_ns || connection->has_streams)
		return true;
	char *name = model_endpoint_name(snapshot_endpoint(model->snapshot, connection->endpoint));
	if (!name)
		return false;
	if (!wanted || (connection->has_endpoint && !strcmp(wanted, name)))
		active_json(model, connection, name, json);
	free(name);
	return true;
}

void view_active_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	const struct snapshot_connection **order = in_order(model->snapshot, by_begin);
	struct json_writer json = { 0 };

	json_write_begin_array(&json, NULL);
	for (uint32_t i = 0; order && i < model->snapshot->connection_count; i++)
		json.has_failed |= !active_consider(model, order[i], params->endpoint, &json);
	json_write_end(&json);
	json.has_failed |= !order;
	json_write_finish(&json, out);
	free(order);
}

/* what is open */

static uint64_t listed_of(const struct snapshot *snapshot, enum seg_protocol protocol, enum seg_connection_kind kind)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < snapshot->connection_count; i++)
		count += snapshot->connections[i].protocol == protocol && snapshot->connections[i].kind == kind;
	return count;
}

/* open and streams_open are the gauges, which count also what found no place in the list. */
static void protocol_json(const struct snapshot *snapshot, enum seg_protocol protocol, struct json_writer *json)
{
	uint64_t asked = listed_of(snapshot, protocol, SEG_CONNECTION_ASKED);
	uint64_t streams = listed_of(snapshot, protocol, SEG_CONNECTION_STREAM);

	if (!snapshot->accepted[protocol] && !snapshot->open_connections[protocol] && !asked && !streams)
		return;
	json_write_begin_object(json, seg_protocol_names[protocol]);
	json_write_number(json, "accepted", snapshot->accepted[protocol]);
	json_write_number(json, "open", snapshot->open_connections[protocol]);
	json_write_number(json, "streams_open", snapshot->open_streams[protocol]);
	json_write_number(json, "listed_served", listed_of(snapshot, protocol, SEG_CONNECTION_SERVED));
	json_write_number(json, "listed_asked", asked);
	json_write_number(json, "listed_streams", streams);
	json_write_end(json);
}

static void connection_json(const struct snapshot *snapshot, const struct snapshot_connection *connection,
                            struct json_writer *json)
{
	json_write_begin_object(json, NULL);
	json_write_text(json, "protocol", seg_protocol_names[connection->protocol]);
	json_write_text(json, "kind", kind_names[connection->kind]);
	json_write_bool(json, "is_stream", connection->is_stream);
	if (connection->opened_mono_ns)
		json_write_seconds(json, "age_seconds", age_ns(snapshot, connection->opened_mono_ns));
	else
		json_write_null(json, "age_seconds");
	json_write_number(json, "requests", connection->requests);
	json_write_number(json, "in_flight", connection->in_flight);
	json_write_number(json, "received_bytes", connection->received_bytes);
	json_write_number(json, "sent_bytes", connection->sent_bytes);
	place_json(json, connection, connection->protocol);
	json_write_end(json);
}

void view_connections_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	const struct snapshot *snapshot = model->snapshot;
	const struct snapshot_connection **order = in_order(snapshot, by_opened);
	struct json_writer json = { 0 };

	(void)params;
	json_write_begin_object(&json, NULL);
	json_write_begin_object(&json, "protocols");
	for (enum seg_protocol protocol = 0; protocol < SEG_PROTOCOL_COUNT; protocol++)
		protocol_json(snapshot, protocol, &json);
	json_write_end(&json);
	json_write_begin_array(&json, "connections");
	for (uint32_t i = 0; order && i < snapshot->connection_count; i++)
		connection_json(snapshot, order[i], &json);
	json_write_end(&json);
	json_write_end(&json);
	json.has_failed |= !order;
	json_write_finish(&json, out);
	free(order);
}
