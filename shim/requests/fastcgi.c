/* A record is a header of eight bytes, content and padding. The streams within (PARAMS, STDIN, STDOUT ...) are cut into
 * records wherever the sender likes, so they have parsers of their own that know nothing of records.
 */
#include "fastcgi.h"

#include "http1.h"

#include <string.h>
#include <strings.h>

/* records */

enum record_state {
	RECORD_HEADER,
	RECORD_BODY,    /* of BEGIN_REQUEST and END_REQUEST */
	RECORD_CONTENT, /* of a stream */
	RECORD_SKIPPED, /* content that nobody looks at */
	RECORD_PADDING,
	RECORD_BROKEN,
};

/* Types that the client sends, and those that the application does (section 8); one bit each. */
#define TYPES_OF_CLIENT                                                                                                \
	(1u << FASTCGI_BEGIN_REQUEST | 1u << FASTCGI_ABORT_REQUEST | 1u << FASTCGI_PARAMS | 1u << FASTCGI_STDIN |      \
	 1u << FASTCGI_DATA | 1u << FASTCGI_GET_VALUES)
#define TYPES_OF_APPLICATION                                                                                           \
	(1u << FASTCGI_END_REQUEST | 1u << FASTCGI_STDOUT | 1u << FASTCGI_STDERR | 1u << FASTCGI_GET_VALUES_RESULT |   \
	 1u << FASTCGI_UNKNOWN_TYPE)
#define TYPES_OF_MANAGEMENT (1u << FASTCGI_GET_VALUES | 1u << FASTCGI_GET_VALUES_RESULT | 1u << FASTCGI_UNKNOWN_TYPE)
#define TYPES_WITH_BODY (1u << FASTCGI_BEGIN_REQUEST | 1u << FASTCGI_END_REQUEST)

/* version, type, id (2), content length (2), padding length, reserved. Management records are those of id 0. */
static bool read_header(struct fastcgi *fastcgi)
{
	const uint8_t *header = fastcgi->kept;
	uint32_t bit = header[1] < 32 ? 1u << header[1] : 0;

	fastcgi->type = header[1];
	fastcgi->id = (uint16_t)(header[2] << 8 | header[3]);
	fastcgi->content_bytes = (uint32_t)(header[4] << 8 | header[5]);
	fastcgi->padding_bytes = header[6];
	if (header[0] != 1 || !(bit & (fastcgi->is_response ? TYPES_OF_APPLICATION : TYPES_OF_CLIENT)))
		return false;
	if (!fastcgi->id != !!(bit & TYPES_OF_MANAGEMENT))
		return false;
	if (bit & TYPES_WITH_BODY && fastcgi->content_bytes != FASTCGI_BODY_BYTES)
		return false;
	fastcgi->kept_bytes = 0;
	if (bit & TYPES_WITH_BODY)
		fastcgi->state = RECORD_BODY;
	else
		fastcgi->state = bit & TYPES_OF_MANAGEMENT || fastcgi->type == FASTCGI_ABORT_REQUEST ? RECORD_SKIPPED :
												       RECORD_CONTENT;
	return true;
}

static enum fastcgi_event end_header(struct fastcgi *fastcgi)
{
	if (!read_header(fastcgi)) {
		fastcgi->state = RECORD_BROKEN;
		return FASTCGI_BROKEN;
	}
	if (fastcgi->type == FASTCGI_ABORT_REQUEST)
		return FASTCGI_ABORT;
	if (fastcgi->state != RECORD_CONTENT || fastcgi->content_bytes)
		return FASTCGI_RECORD;
	fastcgi->state = RECORD_PADDING;
	return FASTCGI_STREAM_END;
}

/* role (2), flags, reserved (5); or application status (4), protocol status, reserved (3). */
static enum fastcgi_event end_body(struct fastcgi *fastcgi)
{
	fastcgi->protocol_status = fastcgi->kept[4];
	fastcgi->content_bytes = 0;
	fastcgi->kept_bytes = 0;
	fastcgi->state = RECORD_PADDING;
	return fastcgi->type == FASTCGI_BEGIN_REQUEST ? FASTCGI_BEGIN : FASTCGI_END;
}

/* True: the eight bytes of a header or a body are there. */
static bool keep(struct fastcgi *fastcgi, const char **next, const char *end)
{
	size_t room = (size_t)(end - *next), missing = sizeof(fastcgi->kept) - fastcgi->kept_bytes;
	size_t taken = room < missing ? room : missing;

	if (!taken)
		return false;
	memcpy(fastcgi->kept + fastcgi->kept_bytes, *next, taken);
	fastcgi->kept_bytes += (uint32_t)taken;
	*next += taken;
	return fastcgi->kept_bytes == sizeof(fastcgi->kept);
}

static size_t pass(uint32_t *left_bytes, const char **next, const char *end)
{
	size_t room = (size_t)(end - *next);
	size_t taken = room < *left_bytes ? room : *left_bytes;

	*next += taken;
	*left_bytes -= (uint32_t)taken;
	return taken;
}

static struct fastcgi_step step_of(enum fastcgi_event event, const char *bytes, const char *next)
{
	return (struct fastcgi_step){ .event = event, .used_bytes = (size_t)(next - bytes) };
}

static struct fastcgi_step content_step(struct fastcgi *fastcgi, const char *bytes, const char *next, const char *end)
{
	const char *content = next;
	size_t n = pass(&fastcgi->content_bytes, &next, end);

	return (struct fastcgi_step){ FASTCGI_CONTENT, (size_t)(next - bytes), content, n };
}

/* Passes what has no event. True: a record is over, or there never was one. */
static bool pass_rest(struct fastcgi *fastcgi, const char **next, const char *end)
{
	if (fastcgi->state == RECORD_SKIPPED || fastcgi->state == RECORD_CONTENT) {
		pass(&fastcgi->content_bytes, next, end);
		if (fastcgi->content_bytes)
			return false;
		fastcgi->state = RECORD_PADDING;
	}
	pass(&fastcgi->padding_bytes, next, end);
	return !fastcgi->padding_bytes;
}

struct fastcgi_step fastcgi_read(struct fastcgi *fastcgi, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;

	for (;;) {
		switch (fastcgi->state) {
		case RECORD_HEADER:
			if (!keep(fastcgi, &next, end))
				return step_of(FASTCGI_MORE, bytes, next);
			return step_of(end_header(fastcgi), bytes, next);
		case RECORD_BODY:
			if (!keep(fastcgi, &next, end))
				return step_of(FASTCGI_MORE, bytes, next);
			return step_of(end_body(fastcgi), bytes, next);
		case RECORD_BROKEN:
			return step_of(FASTCGI_MORE, bytes, end);
		case RECORD_CONTENT:
			if (fastcgi->content_bytes && next < end)
				return content_step(fastcgi, bytes, next, end);
			if (fastcgi->content_bytes)
				return step_of(FASTCGI_MORE, bytes, next);
		/* fall through */
		default:
			if (!pass_rest(fastcgi, &next, end))
				return step_of(FASTCGI_MORE, bytes, next);
			fastcgi->kept_bytes = 0;
			fastcgi->state = RECORD_HEADER;
		}
	}
}

bool fastcgi_is_within(const struct fastcgi *fastcgi)
{
	bool is_due = fastcgi->state == RECORD_PADDING && !fastcgi->padding_bytes;

	return fastcgi->state != RECORD_BROKEN && !is_due && (fastcgi->state != RECORD_HEADER || fastcgi->kept_bytes);
}

bool fastcgi_skip(struct fastcgi *fastcgi, size_t n)
{
	if (fastcgi->state != RECORD_CONTENT || n > fastcgi->content_bytes)
		return false;
	fastcgi->content_bytes -= (uint32_t)n;
	return true;
}

/* parameters */

enum params_state { PARAMS_LENGTHS, PARAMS_NAME, PARAMS_VALUE };

/* Kept in this order of rank: the higher one goes before. */
enum wanted {
	WANTED_NOT,
	WANTED_SCRIPT_NAME,
	WANTED_DOCUMENT_URI,
	WANTED_REQUEST_URI,
	WANTED_METHOD,
	WANTED_HTTPS,
	WANTED_TRACE, /* and enum trace_field */
};

static bool name_is(const struct fastcgi_params *params, const char *name)
{
	return strlen(name) == params->name_kept && memcmp(params->name, name, params->name_kept) == 0;
}

static uint8_t wanted_of(const struct fastcgi_params *params)
{
	if (name_is(params, "REQUEST_URI"))
		return WANTED_REQUEST_URI;
	if (name_is(params, "REQUEST_METHOD"))
		return WANTED_METHOD;
	if (name_is(params, "SCRIPT_NAME"))
		return WANTED_SCRIPT_NAME;
	if (name_is(params, "DOCUMENT_URI"))
		return WANTED_DOCUMENT_URI;
	if (name_is(params, "HTTPS"))
		return WANTED_HTTPS;
	if (!params->trace || params->name_kept <= 5 || memcmp(params->name, "HTTP_", 5) != 0)
		return WANTED_NOT;
	enum trace_field field = trace_field_of(params->name + 5, params->name_kept - 5u);
	return field == TRACE_FIELD_NONE ? WANTED_NOT : (uint8_t)(WANTED_TRACE + field);
}

static bool is_target(uint8_t wanted)
{
	return wanted >= WANTED_SCRIPT_NAME && wanted <= WANTED_REQUEST_URI;
}

static void begin_value(struct fastcgi_params *params)
{
	params->wanted = params->name_kept < FASTCGI_NAME_BYTES ? wanted_of(params) : WANTED_NOT;
	params->value_kept = 0;
	if (!is_target(params->wanted))
		return;
	if (params->wanted <= params->target_rank || !params->value_left) {
		params->wanted = WANTED_NOT;
		return;
	}
	params->target_rank = params->wanted;
	params->target_bytes = 0;
	params->has_query = false;
}

static void end_value(struct fastcgi_params *params)
{
	const char *value = params->value;
	size_t n = params->value_kept;

	params->state = PARAMS_LENGTHS;
	params->lengths_bytes = 0;
	if (n == FASTCGI_VALUE_BYTES) /* cut */
		return;
	if (params->wanted == WANTED_METHOD)
		params->method = (uint8_t)http1_method_of(value, n);
	else if (params->wanted == WANTED_HTTPS)
		params->is_https = n && !(n == 3 && strncasecmp(value, "off", 3) == 0);
	else if (params->wanted > WANTED_TRACE)
		trace_read((enum trace_field)(params->wanted - WANTED_TRACE), value, n, params->trace);
}

/* A length is one byte, or four with the highest bit set (section 3.4). */
static uint32_t length_bytes(uint8_t first)
{
	return first & 0x80 ? 4 : 1;
}

static uint32_t length_at(const uint8_t *bytes)
{
	if (!(bytes[0] & 0x80))
		return bytes[0];
	return (uint32_t)(bytes[0] & 0x7f) << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void add_length_byte(struct fastcgi_params *params, uint8_t byte)
{
	params->lengths[params->lengths_bytes++] = byte;
	uint32_t first = length_bytes(params->lengths[0]);
	if (params->lengths_bytes <= first || params->lengths_bytes < first + length_bytes(params->lengths[first]))
		return;
	params->name_left = length_at(params->lengths);
	params->value_left = length_at(params->lengths + first);
	params->name_kept = 0;
	params->state = PARAMS_NAME;
}

static void add_name(struct fastcgi_params *params, const char **next, const char *end)
{
	const char *name = *next;
	size_t n = pass(&params->name_left, next, end);
	size_t room = FASTCGI_NAME_BYTES - params->name_kept;

	n = n < room ? n : room;
	memcpy(params->name + params->name_kept, name, n);
	params->name_kept = (uint8_t)(params->name_kept + n);
}

static void add_target(struct fastcgi_params *params, const char *text, size_t n)
{
	const char *query = params->has_query ? text : memchr(text, '?', n);
	size_t room = FASTCGI_TARGET_BYTES - params->target_bytes;

	params->has_query = query != NULL;
	n = query ? (size_t)(query - text) : n;
	n = n < room ? n : room;
	memcpy(params->target + params->target_bytes, text, n);
	params->target_bytes += (uint32_t)n;
}

static void add_value(struct fastcgi_params *params, const char **next, const char *end)
{
	const char *value = *next;
	size_t n = pass(&params->value_left, next, end);
	size_t room = FASTCGI_VALUE_BYTES - params->value_kept;

	if (is_target(params->wanted)) {
		add_target(params, value, n);
	} else if (params->wanted != WANTED_NOT) {
		n = n < room ? n : room;
		memcpy(params->value + params->value_kept, value, n);
		params->value_kept = (uint8_t)(params->value_kept + n);
	}
}

void fastcgi_read_params(struct fastcgi_params *params, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;

	while (next < end) {
		if (params->state == PARAMS_LENGTHS)
			add_length_byte(params, (uint8_t)*next++);
		else if (params->state == PARAMS_NAME)
			add_name(params, &next, end);
		else
			add_value(params, &next, end);
		/* Names and values of no bytes end at once. */
		if (params->state == PARAMS_NAME && !params->name_left) {
			begin_value(params);
			params->state = PARAMS_VALUE;
		}
		if (params->state == PARAMS_VALUE && !params->value_left)
			end_value(params);
	}
}

/* head */

/* The value of the field called name (in lower case) in the kept part of the line, NULL if it is another. */
static const char *value_of(const struct fastcgi_head *head, const char *name, size_t *ret_bytes)
{
	size_t kept = head->line_bytes < FASTCGI_LINE_BYTES ? head->line_bytes : FASTCGI_LINE_BYTES;
	size_t n = strlen(name);

	if (kept <= n || head->line[n] != ':' || strncasecmp(head->line, name, n) != 0)
		return NULL;
	n++;
	while (n < kept && (head->line[n] == ' ' || head->line[n] == '\t'))
		n++;
	*ret_bytes = kept - n;
	return head->line + n;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 3875 clauses 6.3.1 to 6.3.3; a Location of its own makes a redirect, as servers take it. */
static void read_head_line(struct fastcgi_head *head)
{
	size_t n;
	const char *value = value_of(head, "status", &n);

	if (value && n >= 3 && is_digit(value[0]) && is_digit(value[1]) && is_digit(value[2]) &&
	    (n == 3 || !is_digit(value[3]))) {
		head->status = (uint16_t)((value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0'));
		return;
	}
	value = value_of(head, "location", &n);
	head->has_location |= value && n;
	value = value_of(head, "content-type", &n);
	if (value)
		head->is_event_stream = n >= 17 && strncasecmp(value, "text/event-stream", 17) == 0;
}

static void end_head_line(struct fastcgi_head *head)
{
	if (head->line_bytes && head->line_bytes <= FASTCGI_LINE_BYTES && head->line[head->line_bytes - 1] == '\r')
		head->line_bytes--;
	if (head->line_bytes) {
		read_head_line(head);
	} else {
		head->is_over = true;
		if (head->status < 100)
			head->status = head->has_location ? 302 : 200;
	}
	head->line_bytes = 0;
}

void fastcgi_read_head(struct fastcgi_head *head, const char *bytes, size_t n)
{
	while (n && !head->is_over) {
		const char *line_end = memchr(bytes, '\n', n);
		size_t taken = line_end ? (size_t)(line_end - bytes) : n;
		size_t room = head->line_bytes < FASTCGI_LINE_BYTES ? FASTCGI_LINE_BYTES - head->line_bytes : 0;
		memcpy(head->line + (FASTCGI_LINE_BYTES - room), bytes, taken < room ? taken : room);
		/* More than kept is told from as much as is kept, and that is all. */
		head->line_bytes = taken <= room ? head->line_bytes + (uint32_t)taken : FASTCGI_LINE_BYTES + 1;
		taken += line_end != NULL;
		bytes += taken;
		n -= taken;
		if (line_end)
			end_head_line(head);
	}
	head->body_bytes += n;
}
