/* A request with all it may hold is 16 stacks of up to 514 names, and there may be thousands: an answer of all endpoints
 * is therefore kept below FRAMES_MAX names by leaving out the lighter stacks of every request alike, which each of them
 * tells; of one endpoint nothing is ever left out. A line of the log is kept below its length by leaving out the lighter
 * stacks, and of the last one that fits in part its outer frames.
 */
#include "view_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	FRAMES_MAX = 300000,       /* names in one answer: some 10 MB of text */
	LOG_STACKS_BYTES = 7000,   /* of a line, for stacks; what else is in it is some 700 bytes */
	LOG_STACK_BYTES = 90,      /* of a stack without its names */
	LOG_NAME_BYTES = 200,      /* of a function's name in a line */
	REQUESTS_SHOWN = SEG_SLOW_PER_ENDPOINT,
};

/* How much of the stacks may be told. */
struct allowance {
	uint32_t stacks;
	size_t bytes;      /* of the text of all stacks; SIZE_MAX = any */
	size_t name_bytes; /* the same of a name */
};

struct rendering {
	const struct model *model;
	struct symbol *symbols; /* by frame */
	struct json_writer json;
};

/* RFC 3339, in UTC. By hand, since the C library's functions share a lock with the program that we may be in.
 * Days to dates: the era of 400 years begins on 1 March, so that leap days are last. */
static void add_time(struct strbuf *out, uint64_t real_ns)
{
	uint64_t seconds = real_ns / 1000000000, of_day = seconds % 86400, day = seconds / 86400 + 719468;
	uint64_t era = day / 146097, day_of_era = day % 146097;
	uint64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	uint64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100), month = (5 * day_of_year + 2) / 153;
	unsigned of_month = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1);

	month = month < 10 ? month + 3 : month - 9;
	year += era * 400 + (month <= 2);
	strbuf_printf(out, "%04u-%02u-%02uT%02u:%02u:%02u.%09uZ", (unsigned)year, (unsigned)month, of_month,
	              (unsigned)(of_day / 3600), (unsigned)(of_day / 60 % 60), (unsigned)(of_day % 60),
	              (unsigned)(real_ns % 1000000000));
}

static void time_json(struct json_writer *json, const char *key, uint64_t real_ns)
{
	struct strbuf text = STRBUF_EMPTY;

	add_time(&text, real_ns);
	json_write_text(json, key, strbuf_text(&text));
	json->has_failed |= text.error != 0;
	strbuf_free(&text);
}

static void hex_json(struct json_writer *json, const char *key, const uint8_t *bytes, size_t n)
{
	char text[2 * SEG_TRACE_ID_BYTES + 1] = "";

	for (size_t i = 0; i < n; i++) {
		text[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
		text[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
	}
	json_write_text(json, key, text);
}

static void text_or_null(struct json_writer *json, const char *key, const char *text)
{
	json_write_text(json, key, *text ? text : NULL);
}

/* Cut at a character's begin, so that at most bytes are left. */
static void shorten(struct strbuf *name, size_t bytes)
{
	size_t n = bytes;

	if (name->error || name->length <= bytes)
		return;
	while (n && ((unsigned char)name->text[n] & 0xc0) == 0x80)
		n--;
	strbuf_truncate(name, n);
}

static void frame_name(const struct rendering *to, uint32_t node, const struct allowance *left, struct strbuf *ret_name)
{
	uint32_t frame = to->model->snapshot->nodes[node - 1].frame;

	strbuf_truncate(ret_name, 0);
	view_frame_name(to->model, &to->model->snapshot->frames[frame], &to->symbols[frame], ret_name);
	shorten(ret_name, left->name_bytes);
}

/* The frames from the leaf outwards that may still be told, into path; returns how many. */
static uint32_t path_take(const struct rendering *to, uint32_t node, struct allowance *left,
                          uint32_t ret_path[static SNAPSHOT_DEPTH_MAX])
{
	const struct snapshot *snapshot = to->model->snapshot;
	struct strbuf name = STRBUF_EMPTY;
	uint32_t depth = 0;

	for (; node; node = snapshot->nodes[node - 1].parent) {
		if (left->bytes != SIZE_MAX) {
			frame_name(to, node, left, &name);
			size_t bytes = strlen(strbuf_text(&name)) + strlen("\"\",");
			if (bytes > left->bytes)
				break;
			left->bytes -= bytes;
		}
		ret_path[depth++] = node;
	}
	strbuf_free(&name);
	return depth;
}

static void frames_json(struct rendering *to, const struct snapshot_slow_stack *stack, struct allowance *left)
{
	uint32_t path[SNAPSHOT_DEPTH_MAX], depth = path_take(to, stack->node, left, path);
	uint32_t whole = stack->node ? to->model->snapshot->nodes[stack->node - 1].depth : 0;
	struct strbuf name = STRBUF_EMPTY;

	if (whole > depth)
		json_write_number(&to->json, "outer_frames_left_out", whole - depth);
	json_write_begin_array(&to->json, "frames");
	for (uint32_t i = depth; i; i--) {
		frame_name(to, path[i - 1], left, &name);
		json_write_text(&to->json, NULL, strbuf_text(&name));
		to->json.has_failed |= name.error != 0;
	}
	if (!stack->node)
		json_write_text(&to->json, NULL, "[lost]");
	json_write_end(&to->json);
	strbuf_free(&name);
}

static void stacks_json(struct rendering *to, const struct snapshot_slow *slow, struct allowance left)
{
	uint32_t told = 0;

	json_write_begin_array(&to->json, "stacks");
	for (; told < slow->stack_count && told < left.stacks && left.bytes >= LOG_STACK_BYTES + LOG_NAME_BYTES + 3; told++) {
		left.bytes -= left.bytes == SIZE_MAX ? 0 : LOG_STACK_BYTES;
		json_write_begin_object(&to->json, NULL);
		json_write_seconds(&to->json, "cpu_seconds", slow->stacks[told].weight_ns);
		json_write_number(&to->json, "samples", slow->stacks[told].samples);
		frames_json(to, &slow->stacks[told], &left);
		json_write_end(&to->json);
	}
	json_write_end(&to->json);
	json_write_number(&to->json, "stacks_left_out", slow->stack_count - told);
}

static void ids_json(struct json_writer *json, const struct snapshot_slow *slow)
{
	if (slow->has_trace) {
		hex_json(json, "trace_id", slow->trace_id, sizeof(slow->trace_id));
		hex_json(json, "span_id", slow->span_id, sizeof(slow->span_id));
	} else {
		json_write_null(json, "trace_id");
		json_write_null(json, "span_id");
	}
	text_or_null(json, "request_id", slow->request_id);
}

static void request_json(struct rendering *to, const struct snapshot_slow *slow, struct allowance left)
{
	const struct model_endpoint *endpoint = &to->model->endpoints[to->model->endpoint_of[slow->endpoint]];
	enum seg_protocol protocol = snapshot_endpoint(to->model->snapshot, slow->endpoint)->protocol;
	enum model_family family = model_family_of(protocol);
	struct json_writer *json = &to->json;
	char text[MODEL_STATUS_BYTES];

	json_write_begin_object(json, NULL);
	time_json(json, "start", slow->begin_real_ns);
	json_write_text(json, "endpoint", endpoint->name);
	json_write_text(json, "protocol", endpoint->protocol);
	json_write_seconds(json, "duration_seconds", slow->duration_ns);
	if (slow->first_byte_ns)
		json_write_seconds(json, "time_to_first_byte_seconds", slow->first_byte_ns);
	else
		json_write_null(json, "time_to_first_byte_seconds");
	json_write_number(json, "request_body_bytes", slow->request_bytes);
	json_write_number(json, "response_body_bytes", slow->response_bytes);
	text_or_null(json, "status", model_status(family, slow->status, text));
	text_or_null(json, "error_type", model_error_type(family, slow->status, slow->error, false, text));
	json_write_text(json, "scheme", view_scheme_name(protocol, slow->scheme));
	json_write_number(json, "pid", (uint64_t)slow->pid);
	json_write_number(json, "tid", (uint64_t)slow->tid);
	ids_json(json, slow);
	json_write_seconds(json, "cpu_seconds", slow->cpu_ns);
	json_write_number(json, "samples", slow->samples);
	stacks_json(to, slow, left);
	json_write_end(json);
}

/* the path */

static bool is_selected(const struct model *model, const struct snapshot_slow *slow, const char *endpoint)
{
	return model->endpoint_of[slow->endpoint] != UINT32_MAX &&
	       model_endpoint_matches(model, slow->endpoint, endpoint);
}

/* Names of all requests if each tells so many stacks. */
static uint64_t frames_in(const struct model *model, const char *endpoint, uint32_t stacks)
{
	const struct snapshot *snapshot = model->snapshot;
	uint64_t frames = 0;

	for (uint32_t i = 0; i < snapshot->slow_count; i++) {
		const struct snapshot_slow *slow = &snapshot->slow[i];
		if (!is_selected(model, slow, endpoint))
			continue;
		for (uint32_t j = 0; j < slow->stack_count && j < stacks; j++)
			frames += slow->stacks[j].node ? snapshot->nodes[slow->stacks[j].node - 1].depth : 1;
	}
	return frames;
}

static uint32_t stacks_affordable(const struct model *model, const char *endpoint)
{
	uint32_t stacks = SEG_SLOW_STACKS;

	while (stacks && frames_in(model, endpoint, stacks) > FRAMES_MAX)
		stacks--;
	return stacks;
}

/* All requests of one endpoint, the slowest first. */
static void endpoint_json(struct rendering *to, uint32_t index, struct allowance allowance)
{
	const struct model *model = to->model;
	const struct model_endpoint *endpoint = &model->endpoints[index];
	uint32_t shown = 0;

	json_write_begin_object(&to->json, NULL);
	json_write_text(&to->json, "endpoint", endpoint->name);
	json_write_text(&to->json, "protocol", endpoint->protocol);
	json_write_number(&to->json, "slow_requests", endpoint->slow_requests);
	json_write_begin_array(&to->json, "requests");
	for (uint32_t i = 0; i < model->snapshot->slow_count && shown < REQUESTS_SHOWN; i++) {
		if (model->endpoint_of[model->snapshot->slow[i].endpoint] != index)
			continue;
		request_json(to, &model->snapshot->slow[i], allowance);
		shown++;
	}
	json_write_end(&to->json);
	json_write_end(&to->json);
}

/* Endpoints in the order of their slowest requests. is_told: by endpoint of the model, all false. */
static void endpoints_json(struct rendering *to, const char *endpoint, bool *is_told)
{
	const struct model *model = to->model;
	struct allowance allowance = { stacks_affordable(model, endpoint), SIZE_MAX, SIZE_MAX };

	json_write_begin_array(&to->json, NULL);
	for (uint32_t i = 0; i < model->snapshot->slow_count; i++) {
		const struct snapshot_slow *slow = &model->snapshot->slow[i];
		uint32_t index = model->endpoint_of[slow->endpoint];
		if (!is_selected(model, slow, endpoint) || is_told[index])
			continue;
		is_told[index] = true;
		endpoint_json(to, index, allowance);
	}
	json_write_end(&to->json);
}

void view_slow_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	struct rendering to = { .model = model, .symbols = model_symbols(model) };
	bool *is_told = calloc((size_t)model->endpoint_count + 1, sizeof(*is_told));

	if (to.symbols && is_told) {
		endpoints_json(&to, params->endpoint, is_told);
		json_write_finish(&to.json, out);
	} else {
		strbuf_fail(out, -ENOMEM);
	}
	free(to.symbols);
	free(is_told);
}

/* the log */

static void line_render(struct rendering *to, const struct snapshot_slow *slow, struct strbuf *out)
{
	struct allowance allowance = { SEG_SLOW_STACKS, LOG_STACKS_BYTES, LOG_NAME_BYTES };
	size_t begin = out->length;

	request_json(to, slow, allowance);
	json_write_finish_line(&to->json, out);
	if (out->error || out->length - begin <= VIEW_LOG_LINE_BYTES)
		return;
	/* Names that are mostly quotes: twice as long in JSON. */
	strbuf_truncate(out, begin);
	allowance.stacks = 0;
	request_json(to, slow, allowance);
	json_write_finish_line(&to->json, out);
}

void view_slow_log_render(const struct model *model, struct strbuf *out)
{
	struct rendering to = { .model = model, .symbols = model_symbols(model) };

	if (!to.symbols)
		strbuf_fail(out, -ENOMEM);
	for (uint32_t i = 0; i < model->snapshot->slow_count && !out->error; i++)
		line_render(&to, &model->snapshot->slow[i], out);
	free(to.symbols);
}
