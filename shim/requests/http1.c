/* The parser goes from line to line. A line that lies whole in the bytes given is looked at where it lies; one that does
 * not is first collected in the carry. Both ways end in on_line with the same text, so that where a piece ends can make no
 * difference. Between lines there are only counted bytes.
 *
 * Invariant: used never exceeds n, and nothing at or beyond bytes + n is read.
 */
#include "http1.h"

#include <string.h>

struct line {
	const char *text;
	size_t n;    /* without its end, at most HTTP1_LINE_BYTES */
	bool is_cut; /* it was longer */
};

/* raw_bytes of line, its CR included if it has one; text holds at least the first HTTP1_CARRY_BYTES of them. */
static struct line line_of(const char *text, size_t raw_bytes)
{
	if (raw_bytes > HTTP1_CARRY_BYTES)
		return (struct line){ text, HTTP1_LINE_BYTES, true };
	if (raw_bytes && text[raw_bytes - 1] == '\r')
		raw_bytes--;
	if (raw_bytes > HTTP1_LINE_BYTES)
		return (struct line){ text, HTTP1_LINE_BYTES, true };
	return (struct line){ text, raw_bytes, false };
}

static void carry_append(struct http1 *http, const char *bytes, size_t n)
{
	size_t room = http->carried_bytes < HTTP1_CARRY_BYTES ? HTTP1_CARRY_BYTES - http->carried_bytes : 0;

	memcpy(http->carry + (HTTP1_CARRY_BYTES - room), bytes, n < room ? n : room);
	http->carried_bytes += (uint32_t)n; /* bounded by HTTP1_HEAD_BYTES */
}

/* Takes the next line out of n (> 0) bytes. HTTP1_LINE: ret_line is it. */
static enum http1_event next_line(struct http1 *http, const char *bytes, size_t n, size_t *used, struct line *ret_line)
{
	const char *end = memchr(bytes, '\n', n);
	size_t text_bytes = end ? (size_t)(end - bytes) : n;

	if (text_bytes >= HTTP1_HEAD_BYTES - http->head_bytes)
		return HTTP1_BROKEN;
	if (!http->carried_bytes && end) {
		*ret_line = line_of(bytes, text_bytes);
	} else {
		if (!http->carry)
			return HTTP1_NEEDS_CARRY;
		carry_append(http, bytes, text_bytes);
		if (!end) {
			http->head_bytes += (uint32_t)n;
			*used += n;
			return HTTP1_MORE;
		}
		*ret_line = line_of(http->carry, http->carried_bytes);
		http->carried_bytes = 0;
	}
	http->head_bytes += (uint32_t)text_bytes + 1;
	*used += text_bytes + 1;
	return HTTP1_LINE;
}

/* RFC 9110 clause 5.6.2 */
static bool is_token_char(unsigned char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c && memchr("!#$%&'*+-.^_`|~", c, 15);
}

enum seg_method http1_method_of(const char *text, size_t n)
{
	/* All of them fit eight bytes, so that one comparison of words tells. */
#define METHOD_NAME(id, name) name,
	static const char names[SEG_METHOD_COUNT][8] = { SEG_METHODS(METHOD_NAME) };
	uint64_t word = 0, name;

	if (n > sizeof(word))
		return SEG_METHOD_OTHER;
	memcpy(&word, text, n);
	for (int method = 1; method < SEG_METHOD_COUNT; method++) {
		memcpy(&name, names[method], sizeof(name));
		if (word == name)
			return (enum seg_method)method;
	}
	return SEG_METHOD_OTHER;
}

static bool is_version(const char *text, size_t n)
{
	return n >= 8 && memcmp(text, "HTTP/1.", 7) == 0 && text[7] >= '0' && text[7] <= '9';
}

/* Takes the version off the end of a request line; what is left ends with the target. */
static bool take_version(const char *line, size_t *n)
{
	size_t end = *n;

	while (end && line[end - 1] == ' ')
		end--;
	size_t begin = end;
	while (begin && line[begin - 1] != ' ')
		begin--;
	if (!is_version(line + begin, end - begin) || end - begin > 9)
		return false;
	while (begin && line[begin - 1] == ' ')
		begin--;
	*n = begin;
	return true;
}

/* method SP target SP version; a cut line is believed to end in a version. */
static bool read_request_line(struct http1 *http, struct line line)
{
	size_t n = line.n, method_bytes = 0;

	while (method_bytes < n && is_token_char((unsigned char)line.text[method_bytes]))
		method_bytes++;
	if (!method_bytes || method_bytes == n || line.text[method_bytes] != ' ')
		return false;
	if (!line.is_cut && !take_version(line.text, &n))
		return false;
	size_t target = method_bytes;
	while (target < n && line.text[target] == ' ')
		target++;
	if (target >= n)
		return false;
	http->method = (uint8_t)http1_method_of(line.text, method_bytes);
	http->target = line.text + target;
	http->target_bytes = (uint32_t)(n - target);
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* version SP three digits, then whatever */
static bool read_status_line(struct http1 *http, struct line line)
{
	const char *status = line.text + 9;

	if (line.n < 12 || !is_version(line.text, line.n) || line.text[8] != ' ')
		return false;
	if (!is_digit(status[0]) || !is_digit(status[1]) || !is_digit(status[2]) || (line.n > 12 && status[3] != ' '))
		return false;
	http->status = (uint16_t)((status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0'));
	return http->status >= 100;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static uint64_t eight_lower(const char *text)
{
	uint64_t word;

	memcpy(&word, text, sizeof(word));
	return word | 0x2020202020202020ULL;
}

/* word is in lower case, of letters, '-' and '/'; case is ignored by setting the bit that tells it, in eight bytes at a time,
 * the last ones overlapping. (The bit makes a CR a '-', too, but none stands inside of a line's end that we look at.) */
static bool is_word(const char *text, const char *word, size_t n)
{
	if (n >= 8) {
		for (size_t i = 0; i + 8 < n; i += 8)
			if (eight_lower(text + i) != eight_lower(word + i))
				return false;
		return eight_lower(text + n - 8) == eight_lower(word + n - 8);
	}
	for (size_t i = 0; i < n; i++)
		if (lower(text[i]) != word[i])
			return false;
	return true;
}

/* The value of the field called name (in lower case), without the white space around it. False: it is another field. */
static bool field_is(struct line line, const char *name, size_t name_bytes, struct line *ret_value)
{
	if (line.n <= name_bytes || line.text[name_bytes] != ':' || !is_word(line.text, name, name_bytes))
		return false;
	const char *text = line.text + name_bytes + 1;
	size_t n = line.n - name_bytes - 1;
	while (n && (*text == ' ' || *text == '\t'))
		text++, n--;
	while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
		n--;
	*ret_value = (struct line){ text, n, line.is_cut };
	return true;
}

/* RFC 9110 clause 8.6: digits only. A repeated field must say the same (RFC 9112 clause 6.3). */
static bool read_length(struct http1 *http, struct line value)
{
	uint64_t length = 0;

	if (!value.n || value.n > 18)
		return false;
	for (size_t i = 0; i < value.n; i++) {
		if (!is_digit(value.text[i]))
			return false;
		length = length * 10 + (uint64_t)(value.text[i] - '0');
	}
	if (http->has_length && http->left_bytes != length)
		return false;
	http->has_length = true;
	http->left_bytes = length;
	return true;
}

/* The last coding decides about the framing (RFC 9112 clause 6.1). */
static void read_codings(struct http1 *http, struct line value)
{
	bool ends_chunked = value.n >= 7 && is_word(value.text + value.n - 7, "chunked", 7);
	bool is_identity = value.n == 8 && is_word(value.text, "identity", 8);

	if (is_identity || !value.n)
		return;
	http->is_chunked = ends_chunked;
	http->has_other_coding = !ends_chunked;
}

/* word stands in a comma-separated list */
static bool list_has(struct line list, const char *word, size_t word_bytes)
{
	size_t i = 0;

	if (list.n < word_bytes || !memchr(list.text, ',', list.n))
		return list.n == word_bytes && is_word(list.text, word, word_bytes);
	while (i < list.n) {
		while (i < list.n && (list.text[i] == ' ' || list.text[i] == ',' || list.text[i] == '\t'))
			i++;
		size_t begin = i;
		while (i < list.n && list.text[i] != ',' && list.text[i] != ' ' && list.text[i] != '\t')
			i++;
		if (i - begin == word_bytes && is_word(list.text + begin, word, word_bytes))
			return true;
	}
	return false;
}

/* False: the message's length cannot be told. */
static bool read_field(struct http1 *http, struct line line)
{
	struct line value;

	switch (line.text[0] | 0x20) {
	case 'c':
		if (field_is(line, "content-length", 14, &value))
			return read_length(http, value);
		if (!http->is_response)
			return true;
		if (field_is(line, "connection", 10, &value))
			http->is_last |= list_has(value, "close", 5);
		else if (field_is(line, "content-type", 12, &value))
			http->is_event_stream = value.n >= 17 && is_word(value.text, "text/event-stream", 17);
		return true;
	case 't':
		if (field_is(line, "transfer-encoding", 17, &value))
			read_codings(http, value);
		return true;
	}
	return true;
}

/* RFC 9112 clause 6.3; the caller knows what the parser cannot: which request a response answers. */
static bool begin_body(struct http1 *http)
{
	bool is_interim = http->is_response && http->status < 200;

	http->head_bytes = 0;
	if (is_interim || (http->is_response && (http->status == 204 || http->status == 304)))
		http->state = HTTP1_STATE_DONE;
	else if (http->is_chunked)
		http->state = HTTP1_STATE_CHUNK_SIZE;
	else if (http->has_other_coding && !http->is_response)
		return false;
	else if (http->has_length && !http->has_other_coding)
		http->state = http->left_bytes ? HTTP1_STATE_COUNTED : HTTP1_STATE_DONE;
	else
		http->state = http->is_response ? HTTP1_STATE_UNTIL_CLOSE : HTTP1_STATE_DONE;
	return true;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 9112 clause 7.1: hexadecimal digits, perhaps followed by extensions. */
static bool begin_chunk(struct http1 *http, struct line line)
{
	uint64_t size = 0;
	size_t i = 0;

	for (; i < line.n && hex_value(line.text[i]) >= 0; i++) {
		if (size >> 56)
			return false;
		size = size << 4 | (uint64_t)hex_value(line.text[i]);
	}
	if (!i || (i < line.n && line.text[i] != ';' && line.text[i] != ' ' && line.text[i] != '\t'))
		return false;
	http->left_bytes = size;
	http->head_bytes = 0;
	http->state = size ? HTTP1_STATE_CHUNK_DATA : HTTP1_STATE_TRAILERS;
	return true;
}

static enum http1_event broken(struct http1 *http)
{
	http->state = HTTP1_STATE_BROKEN;
	http->carried_bytes = 0;
	return HTTP1_BROKEN;
}

static enum http1_event on_first_line(struct http1 *http, struct line line)
{
	if (!(http->is_response ? read_status_line(http, line) : read_request_line(http, line))) {
		http->target = line.text;
		http->target_bytes = (uint32_t)line.n;
		return broken(http);
	}
	http->state = HTTP1_STATE_FIELDS;
	return HTTP1_LINE;
}

static enum http1_event on_line(struct http1 *http, struct line line)
{
	bool is_good = true;

	switch (http->state) {
	case HTTP1_STATE_FIRST_LINE:
		return on_first_line(http, line);
	case HTTP1_STATE_FIELDS:
		if (line.n) {
			is_good = read_field(http, line);
			break;
		}
		return begin_body(http) ? HTTP1_HEAD : broken(http);
	case HTTP1_STATE_CHUNK_SIZE:
		is_good = begin_chunk(http, line);
		break;
	case HTTP1_STATE_CHUNK_END:
		is_good = !line.n;
		http->head_bytes = 0;
		http->state = HTTP1_STATE_CHUNK_SIZE;
		break;
	case HTTP1_STATE_TRAILERS:
		if (!line.n)
			http->state = HTTP1_STATE_DONE;
		break;
	}
	return is_good ? HTTP1_MORE : broken(http);
}

static void begin_message(struct http1 *http)
{
	http->state = HTTP1_STATE_FIRST_LINE;
	http->is_chunked = false;
	http->has_length = false;
	http->has_other_coding = false;
	http->is_last = false;
	http->is_event_stream = false;
	http->status = 0;
	http->method = SEG_METHOD_OTHER;
	http->head_bytes = 0;
	http->left_bytes = 0;
	http->body_bytes = 0;
	http->target = NULL;
	http->target_bytes = 0;
}

/* Empty lines before a message are skipped. True: one begins at the byte after those used. */
static bool find_message(struct http1 *http, const char *bytes, size_t n, size_t *used)
{
	while (*used < n && (bytes[*used] == '\r' || bytes[*used] == '\n'))
		++*used;
	if (*used == n)
		return false;
	begin_message(http);
	return true;
}

static void pass_body(struct http1 *http, size_t n, size_t *used)
{
	uint64_t room = n - *used;
	uint64_t taken = room < http->left_bytes ? room : http->left_bytes;

	*used += (size_t)taken;
	http->left_bytes -= taken;
	http->body_bytes += taken;
	if (!http->left_bytes)
		http->state = http->state == HTTP1_STATE_COUNTED ? HTTP1_STATE_DONE : HTTP1_STATE_CHUNK_END;
}

/* A response that does not begin as one is told at once: its first line might never end. */
static bool begins_wrong(const struct http1 *http, const char *bytes, size_t n)
{
	if (!http->is_response || http->state != HTTP1_STATE_FIRST_LINE || http->carried_bytes >= 7)
		return false;
	size_t rest = 7 - http->carried_bytes;
	return memcmp(bytes, &"HTTP/1."[http->carried_bytes], n < rest ? n : rest) != 0;
}

/* Passes whole lines that begin like no field of read_field, which is most of a head. A head's end and its last, cut line
 * are left to next_line. */
static void skip_fields(struct http1 *http, const char *bytes, size_t n, size_t *used)
{
	while (*used < n) {
		const char *text = bytes + *used;
		char first = *text | 0x20;
		if (first == 'c' || first == 't' || first == ('\r' | 0x20) || first == ('\n' | 0x20))
			return;
		const char *end = memchr(text, '\n', n - *used);
		if (!end || (size_t)(end - text) >= HTTP1_HEAD_BYTES - http->head_bytes)
			return;
		http->head_bytes += (uint32_t)(end - text) + 1;
		*used += (size_t)(end - text) + 1;
	}
}

static enum http1_event pass_line(struct http1 *http, const char *bytes, size_t n, size_t *used)
{
	struct line line;

	if (http->state == HTTP1_STATE_FIELDS && !http->carried_bytes) {
		skip_fields(http, bytes, n, used);
		if (*used == n)
			return HTTP1_MORE;
	}
	if (begins_wrong(http, bytes + *used, n - *used))
		return broken(http);
	enum http1_event event = next_line(http, bytes + *used, n - *used, used, &line);
	if (event == HTTP1_LINE)
		return on_line(http, line);
	return event == HTTP1_BROKEN ? broken(http) : event;
}

struct http1_step http1_read(struct http1 *http, const char *bytes, size_t n)
{
	size_t used = 0;
	enum http1_event event = HTTP1_MORE;

	while (event == HTTP1_MORE) {
		switch (http->state) {
		case HTTP1_STATE_START:
			if (!find_message(http, bytes, n, &used))
				return (struct http1_step){ HTTP1_MORE, used };
			break;
		case HTTP1_STATE_COUNTED:
		case HTTP1_STATE_CHUNK_DATA:
			if (used == n)
				return (struct http1_step){ HTTP1_MORE, used };
			pass_body(http, n, &used);
			break;
		case HTTP1_STATE_UNTIL_CLOSE:
			http->body_bytes += n - used;
			return (struct http1_step){ HTTP1_MORE, n };
		case HTTP1_STATE_DONE:
			http->state = HTTP1_STATE_START;
			return (struct http1_step){ HTTP1_END, used };
		case HTTP1_STATE_BROKEN:
			return (struct http1_step){ HTTP1_MORE, n };
		default:
			if (used == n)
				return (struct http1_step){ HTTP1_MORE, used };
			event = pass_line(http, bytes, n, &used);
		}
	}
	return (struct http1_step){ event, used };
}

void http1_has_no_body(struct http1 *http)
{
	http->state = HTTP1_STATE_DONE;
}

bool http1_skip(struct http1 *http, size_t n)
{
	size_t used = 0;

	if (http->state == HTTP1_STATE_UNTIL_CLOSE) {
		http->body_bytes += n;
		return true;
	}
	if ((http->state != HTTP1_STATE_COUNTED && http->state != HTTP1_STATE_CHUNK_DATA) || n > http->left_bytes)
		return false;
	pass_body(http, n, &used);
	return true;
}
