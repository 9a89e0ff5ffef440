/* Ids are kept as bytes, since hexadecimal digits of one case are the only text that any of these fields may hold. A trace
 * id of 64 bits, which B3 allows, is filled up with zeros on its left.
 */
#include "trace.h"

#include <string.h>

/* In rising order of what goes before what. */
enum trace_source { SOURCE_NONE, SOURCE_B3_FIELDS, SOURCE_B3, SOURCE_TRACEPARENT };

static const struct {
	const char *name;
	enum trace_field field;
} fields[] = {
	{ "traceparent", TRACE_FIELD_TRACEPARENT },   { "b3", TRACE_FIELD_B3 },
	{ "x-b3-traceid", TRACE_FIELD_B3_TRACE_ID },  { "x-b3-spanid", TRACE_FIELD_B3_SPAN_ID },
	{ "x-b3-sampled", TRACE_FIELD_B3_SAMPLED },   { "x-b3-flags", TRACE_FIELD_B3_FLAGS },
	{ "x-request-id", TRACE_FIELD_REQUEST_ID },
};

static bool name_is(const char *name, const char *lower_name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 0x20);
		if (c != lower_name[i] && !(c == '_' && lower_name[i] == '-'))
			return false;
	}
	return true;
}

enum trace_field trace_field_of(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strlen(fields[i].name) == n && name_is(name, fields[i].name, n))
			return fields[i].field;
	return TRACE_FIELD_NONE;
}

/* Lower case only: Trace Context clause 3.2.2, and B3's "lower-hex". */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 2 * n digits. False: they are none, or all zero, which is no id. */
static bool read_id(const char *text, uint8_t *id, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++) {
		int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		id[i] = (uint8_t)(high << 4 | low);
		any |= id[i];
	}
	return any;
}

struct ids {
	uint8_t trace_id[16];
	uint8_t span_id[8];
};

static void keep_ids(struct trace_context *context, enum trace_source source, const struct ids *ids, bool is_sampled)
{
	memcpy(context->trace_id, ids->trace_id, sizeof(ids->trace_id));
	memcpy(context->span_id, ids->span_id, sizeof(ids->span_id));
	context->flags = is_sampled ? TRACE_FLAG_SAMPLED : 0;
	context->source = (uint8_t)source;
}

/* version "-" trace-id "-" parent-id "-" trace-flags, clause 3.2. A version to come may append "-" and more. */
static bool parse_traceparent(const char *text, size_t n, struct ids *ids, bool *is_sampled)
{
	enum { TEXT_BYTES = 55 };

	if (n < TEXT_BYTES || text[2] != '-' || text[35] != '-' || text[52] != '-')
		return false;
	int version_high = hex_value(text[0]), version_low = hex_value(text[1]);
	int flags_high = hex_value(text[53]), flags_low = hex_value(text[54]);
	if (version_high < 0 || version_low < 0 || flags_high < 0 || flags_low < 0)
		return false;
	int version = version_high << 4 | version_low;
	if (version == 0xff || (n > TEXT_BYTES && (version == 0 || text[TEXT_BYTES] != '-')))
		return false;
	*is_sampled = flags_low & 1;
	return read_id(text + 3, ids->trace_id, sizeof(ids->trace_id)) &&
	       read_id(text + 36, ids->span_id, sizeof(ids->span_id));
}

bool trace_read_traceparent(const char *text, size_t n, struct trace_context *context)
{
	struct ids ids;
	bool is_sampled;

	if (context->source == SOURCE_TRACEPARENT) {
		/* Two of them: which one is true cannot be told, so none is. */
		keep_ids(context, SOURCE_TRACEPARENT, &(struct ids){ { 0 }, { 0 } }, false);
		return false;
	}
	if (!parse_traceparent(text, n, &ids, &is_sampled))
		return false;
	keep_ids(context, SOURCE_TRACEPARENT, &ids, is_sampled);
	return true;
}

/* 16 or 32 digits. */
static bool read_b3_trace_id(const char *text, size_t n, uint8_t trace_id[16])
{
	if (n == 32)
		return read_id(text, trace_id, 16);
	memset(trace_id, 0, 8);
	return n == 16 && read_id(text, trace_id + 8, 8);
}

/* What follows the two ids: nothing, or "-" sampling state, or that and "-" parent's id. */
static bool read_b3_rest(const char *text, size_t n, bool *is_sampled)
{
	uint8_t parent[8];

	*is_sampled = false;
	if (!n)
		return true;
	if (n < 2 || text[0] != '-' || !memchr("01d", text[1], 3))
		return false;
	*is_sampled = text[1] != '0';
	return n == 2 || (n == 19 && text[2] == '-' && read_id(text + 3, parent, sizeof(parent)));
}

bool trace_read_b3(const char *text, size_t n, struct trace_context *context)
{
	const char *dash = n ? memchr(text, '-', n) : NULL;
	struct ids ids;
	bool is_sampled;

	if (context->source >= SOURCE_B3 || !dash)
		return false;
	size_t trace_bytes = (size_t)(dash - text), rest_bytes = n - trace_bytes - 1;
	if (rest_bytes < 16 || !read_b3_trace_id(text, trace_bytes, ids.trace_id) ||
	    !read_id(dash + 1, ids.span_id, sizeof(ids.span_id)) || !read_b3_rest(dash + 17, rest_bytes - 16, &is_sampled))
		return false;
	keep_ids(context, SOURCE_B3, &ids, is_sampled);
	return true;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

/* One of the fields X-B3-*. */
static bool read_b3_field(enum trace_field field, const char *text, size_t n, struct trace_context *context)
{
	struct ids ids;

	if (context->source > SOURCE_B3_FIELDS)
		return false;
	if (field == TRACE_FIELD_B3_TRACE_ID) {
		if (!is_zero(context->trace_id, 16) || !read_b3_trace_id(text, n, ids.trace_id))
			return false;
		memcpy(context->trace_id, ids.trace_id, sizeof(ids.trace_id));
	} else if (field == TRACE_FIELD_B3_SPAN_ID) {
		if (!is_zero(context->span_id, 8) || n != 16 || !read_id(text, ids.span_id, sizeof(ids.span_id)))
			return false;
		memcpy(context->span_id, ids.span_id, sizeof(ids.span_id));
	} else {
		/* "true" is what an old draft says. X-B3-Flags: 1 is debug, which is more than sampled. */
		if (!(n == 1 && text[0] == '1') && !(field == TRACE_FIELD_B3_SAMPLED && n == 4 && memcmp(text, "true", 4) == 0))
			return false;
		context->flags = TRACE_FLAG_SAMPLED;
	}
	context->source = SOURCE_B3_FIELDS;
	return true;
}

static bool is_request_id_char(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c && memchr("._:/+=@-", c, 8);
}

bool trace_read_request_id(const char *text, size_t n, struct trace_context *context)
{
	if (context->request_id_bytes || !n || n > TRACE_REQUEST_ID_BYTES)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_request_id_char(text[i]))
			return false;
	memcpy(context->request_id, text, n);
	context->request_id_bytes = (uint8_t)n;
	return true;
}

bool trace_read(enum trace_field field, const char *text, size_t n, struct trace_context *context)
{
	switch (field) {
	case TRACE_FIELD_TRACEPARENT:
		return trace_read_traceparent(text, n, context);
	case TRACE_FIELD_B3:
		return trace_read_b3(text, n, context);
	case TRACE_FIELD_B3_TRACE_ID:
	case TRACE_FIELD_B3_SPAN_ID:
	case TRACE_FIELD_B3_SAMPLED:
	case TRACE_FIELD_B3_FLAGS:
		return read_b3_field(field, text, n, context);
	case TRACE_FIELD_REQUEST_ID:
		return trace_read_request_id(text, n, context);
	case TRACE_FIELD_NONE:
		break;
	}
	return false;
}

bool trace_is_known(const struct trace_context *context)
{
	return !is_zero(context->trace_id, sizeof(context->trace_id)) && !is_zero(context->span_id, sizeof(context->span_id));
}
