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
	size_t n;         /* without its end, at most HTTP1_LINE_BYTES */
	bool is_cut;      /* it is longer */
	const char *tail; /* is_cut: its last bytes, end included; NULL = its end was not seen yet */
	size_t tail_bytes;
};

/* raw_bytes of line, its CR included if it has one; text holds at least the first HTTP1_CARRY_BYTES of them. */
static struct line line_of(const char *text, size_t raw_bytes)
{
	if (raw_bytes > HTTP1_CARRY_BYTES)
		return (struct line){ .text = text, .n = HTTP1_LINE_BYTES, .is_cut = true };
	if (raw_bytes && text[raw_bytes - 1] == '\r')
		raw_bytes--;
	if (raw_bytes > HTTP1_LINE_BYTES)
		return (struct line){ .text = text, .n = HTTP1_LINE_BYTES, .is_cut = true };
	return (struct line){ .text = text, .n = raw_bytes };
}

/* The tail is kept of first lines only, which end in a version. */
static void keep_tail(struct http1 *http, const char *bytes, size_t n)
{
	size_t kept = http->tail_bytes;

	if (n >= HTTP1_TAIL_BYTES) {
		memcpy(http->tail, bytes + n - HTTP1_TAIL_BYTES, HTTP1_TAIL_BYTES);
		http->tail_bytes = HTTP1_TAIL_BYTES;
		return;
	}
	size_t stays = kept + n > HTTP1_TAIL_BYTES ? HTTP1_TAIL_BYTES - n : kept;
	memmove(http->tail, http->tail + (kept - stays), stays);
	memcpy(http->tail + stays, bytes, n);
	http->tail_bytes = (uint8_t)(stays + n);
}

static void carry_append(struct http1 *http, const char *bytes, size_t n)
{
	size_t room = http->carried_bytes < HTTP1_CARRY_BYTES ? HTTP1_CARRY_BYTES - http->carried_bytes : 0;

	memcpy(http->carry + (HTTP1_CARRY_BYTES - room), bytes, n < room ? n : room);
	http->carried_bytes += (uint32_t)n; /* bounded by HTTP1_HEAD_BYTES */
	if (http->state == HTTP1_STATE_FIRST_LINE)
		keep_tail(http, bytes, n);
}

/* A line that is whole in bytes but for its end, or in the carry. */
static struct line whole_line(struct http1 *http, const char *bytes, size_t text_bytes)
{
	struct line line;

	if (!http->carried_bytes) {
		line = line_of(bytes, text_bytes);
		if (line.is_cut) {
			line.tail = bytes + (text_bytes - HTTP1_TAIL_BYTES);
			line.tail_bytes = HTTP1_TAIL_BYTES;
		}
		return line;
	}
	line = line_of(http->carry, http->carried_bytes);
	if (line.is_cut) {
		line.tail = http->tail;
		line.tail_bytes = http->tail_bytes;
	}
	http->carried_bytes = 0;
	return line;
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

/* text, of a line longer than is kept, is a request's that is told before its end comes: it begins with a method that is
 * known and a space. */
static bool is_told_early(const char *text)
{
	const char *space = memchr(text, ' ', HTTP1_LINE_BYTES);

	return space && http1_method_of(text, (size_t)(space - text)) != SEG_METHOD_OTHER;
}

/* The part of a long first line that is kept is whole with the next taken bytes. */
static bool take_early(struct http1 *http, const char *bytes, size_t taken, struct line *ret_line)
{
	const char *text = bytes;

	if (http->carried_bytes) {
		memcpy(http->carry + http->carried_bytes, bytes, taken - 1);
		text = http->carry;
	}
	if (!is_told_early(text))
		return false;
	keep_tail(http, bytes, taken);
	http->carried_bytes = 0;
	*ret_line = line_of(text, HTTP1_CARRY_BYTES + 1);
	return true;
}

/* Takes the next line out of n (> 0) bytes. HTTP1_LINE: ret_line is it. */
static enum http1_event next_line(struct http1 *http, const char *bytes, size_t n, size_t *used, struct line *ret_line)
{
	const char *end = memchr(bytes, '\n', n);
	size_t text_bytes = end ? (size_t)(end - bytes) : n;

	if (http->state == HTTP1_STATE_FIRST_LINE && !http->is_response && http->carried_bytes <= HTTP1_CARRY_BYTES &&
	    http->carried_bytes + text_bytes > HTTP1_CARRY_BYTES) {
		size_t taken = HTTP1_CARRY_BYTES + 1 - http->carried_bytes;
		if (take_early(http, bytes, taken, ret_line)) {
			http->head_bytes += (uint32_t)taken;
			*used += taken;
			return HTTP1_LINE;
		}
	}
	if (text_bytes >= HTTP1_HEAD_BYTES - http->head_bytes)
		return HTTP1_BROKEN;
	if (http->carried_bytes || !end) {
		if (!http->carry)
			return HTTP1_NEEDS_CARRY;
		carry_append(http, bytes, text_bytes);
	}
	http->head_bytes += (uint32_t)text_bytes + (end != NULL);
	*used += text_bytes + (end != NULL);
	if (!end)
		return HTTP1_MORE;
	*ret_line = whole_line(http, bytes, text_bytes);
	return HTTP1_LINE;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_version(const char *text, size_t n)
{
	return n >= 8 && memcmp(text, "HTTP/1.", 7) == 0 && is_digit(text[7]);
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
	if (!is_version(line + begin, end - begin) || end - begin > 9 || (end - begin == 9 && !is_digit(line[end - 1])))
		return false;
	while (begin && line[begin - 1] == ' ')
		begin--;
	*n = begin;
	return true;
}

/* The last bytes of a line, CR included, end in a version. */
static bool tail_has_version(const char *tail, size_t n)
{
	if (n && tail[n - 1] == '\r')
		n--;
	return take_version(tail, &n);
}

/* method SP target SP version; of a cut line whose end was not seen yet the version comes later. */
static bool read_request_line(struct http1 *http, struct line line)
{
	size_t n = line.n, method_bytes = 0;

	while (method_bytes < n && is_token_char((unsigned char)line.text[method_bytes]))
		method_bytes++;
	if (!method_bytes || method_bytes == n || line.text[method_bytes] != ' ')
		return false;
	if (!line.is_cut && !take_version(line.text, &n))
		return false;
	if (line.tail && !tail_has_version(line.tail, line.tail_bytes))
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

/* version SP three digits, then whatever */
static bool read_status_line(struct http1 *http, struct line line)
{
	const char *status = line.text + 9;

	if (line.n < 12 || !is_version(line.text, line.n) || line.text[8] != ' ')
		return false;
	if (!is_digit(status[0]) || !is_digit(status[1]) || !is_digit(status[2]) || (line.n > 12 && status[3] != ' '))
		return false;
	http->is_version_0 = line.text[7] == '0';
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

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Without the white space around it. */
static struct line trimmed(const char *text, size_t n, bool is_cut)
{
	while (n && is_blank(*text))
		text++, n--;
	while (n && is_blank(text[n - 1]))
		n--;
	return (struct line){ .text = text, .n = n, .is_cut = is_cut };
}

/* The value of the field called name (in lower case). False: it is another field. */
static bool field_is(struct http1 *http, struct line line, const char *name, size_t name_bytes, struct line *ret_value)
{
	size_t colon = name_bytes;

	if (line.n <= name_bytes || !is_word(line.text, name, name_bytes))
		return false;
	while (colon < line.n && is_blank(line.text[colon]))
		colon++;
	if (colon == line.n || line.text[colon] != ':')
		return false;
	http->is_faulty |= colon > name_bytes;
	*ret_value = trimmed(line.text + colon + 1, line.n - colon - 1, line.is_cut);
	return true;
}

/* The next element of a comma-separated list from *i on, without white space around it; false: there is none. */
static bool next_element(struct line list, size_t *i, struct line *ret_element)
{
	while (*i < list.n && (list.text[*i] == ',' || is_blank(list.text[*i])))
		++*i;
	size_t begin = *i;
	while (*i < list.n && list.text[*i] != ',')
		++*i;
	*ret_element = trimmed(list.text + begin, *i - begin, list.is_cut);
	return *i > begin;
}

static bool line_is(struct line line, const char *word, size_t word_bytes)
{
	return line.n == word_bytes && is_word(line.text, word, word_bytes);
}

/* word stands in a comma-separated list */
static bool list_has(struct line list, const char *word, size_t word_bytes)
{
	struct line element;

	if (list.n < word_bytes || !memchr(list.text, ',', list.n))
		return line_is(list, word, word_bytes);
	for (size_t i = 0; next_element(list, &i, &element);)
		if (line_is(element, word, word_bytes))
			return true;
	return false;
}

/* RFC 9110 clause 8.6: digits only. */
static bool number_of(struct line text, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!text.n || text.n > 18)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (!is_digit(text.text[i]))
			return false;
		number = number * 10 + (uint64_t)(text.text[i] - '0');
	}
	*ret_number = number;
	return true;
}

enum field {
	FIELD_OTHER,
	FIELD_LENGTH,
	FIELD_EMPTY_LENGTH, /* the same without a value, which may come in a folded line */
	FIELD_CODINGS,
	FIELD_CONNECTION,
	FIELD_CONTENT_TYPE,
	FIELD_UPGRADE,
};

/* A repeated length must say the same, in one field or in several (RFC 9112 clause 6.3, item 5). */
static void read_length(struct http1 *http, struct line value)
{
	struct line element;
	uint64_t length;

	if (!value.n) {
		http->field = FIELD_EMPTY_LENGTH;
		http->lengths_missing = true;
		return;
	}
	http->is_faulty |= http->has_length;
	if (!http->has_length && number_of(value, &length)) { /* nearly always */
		http->has_length = true;
		http->left_bytes = length;
		return;
	}
	http->has_bad_length |= value.is_cut;
	for (size_t i = 0, count = 0; next_element(value, &i, &element); count++) {
		if (!number_of(element, &length) || (http->has_length && http->left_bytes != length)) {
			http->has_bad_length = true;
			return;
		}
		http->is_faulty |= count > 0;
		http->has_length = true;
		http->left_bytes = length;
	}
	http->has_bad_length |= !http->has_length;
}

/* The last coding of all fields decides about the framing (RFC 9112 clauses 6.1 and 6.3); identity is of RFC 2616. */
static void read_codings(struct http1 *http, struct line value)
{
	struct line coding;

	http->is_faulty |= !value.n;
	for (size_t i = 0; next_element(value, &i, &coding);) {
		if (line_is(coding, "identity", 8))
			continue;
		http->is_chunked = line_is(coding, "chunked", 7);
		http->has_other_coding = !http->is_chunked;
	}
}

static void read_connection(struct http1 *http, struct line value)
{
	if (list_has(value, "close", 5))
		http->is_last = true;
	else if (http->is_version_0 && list_has(value, "keep-alive", 10))
		http->is_version_0 = false; /* it lasts as in HTTP/1.1 */
}

static void read_content_type(struct http1 *http, struct line value)
{
	const char *after = value.text + 17;

	if (value.n >= 17 && is_word(value.text, "text/event-stream", 17))
		http->is_event_stream = value.n == 17 || *after == ';' || is_blank(*after);
}

static void read_value(struct http1 *http, enum field field, struct line value)
{
	switch (field) {
	case FIELD_LENGTH:
		read_length(http, value);
		break;
	case FIELD_CODINGS:
		read_codings(http, value);
		break;
	case FIELD_CONNECTION:
		read_connection(http, value);
		break;
	case FIELD_CONTENT_TYPE:
		read_content_type(http, value);
		break;
	case FIELD_UPGRADE:
		http->upgrades_to_h2c |= http->status == 101 && list_has(value, "h2c", 3);
		break;
	case FIELD_EMPTY_LENGTH:
	case FIELD_OTHER:
		break;
	}
}

/* RFC 9112 clause 5.2: folded lines are one, with white space between, which no length has in it. */
static void read_folded_line(struct http1 *http, struct line line)
{
	struct line value = trimmed(line.text, line.n, line.is_cut);

	http->is_faulty = true;
	if (!value.n)
		return;
	if (http->field == FIELD_LENGTH) {
		http->has_bad_length = true;
	} else if (http->field == FIELD_EMPTY_LENGTH) {
		http->field = FIELD_LENGTH;
		http->lengths_missing = false;
		read_length(http, value);
	} else {
		read_value(http, (enum field)http->field, value);
	}
}

static void read_trace_field(struct http1 *http, struct line line)
{
	const char *colon = memchr(line.text, ':', line.n);

	if (!colon || line.is_cut)
		return;
	enum trace_field field = trace_field_of(line.text, (size_t)(colon - line.text));
	if (field == TRACE_FIELD_NONE)
		return;
	struct line value = trimmed(colon + 1, line.n - (size_t)(colon + 1 - line.text), false);
	trace_read(field, value.text, value.n, http->trace);
}

/* content-length and content-type differ first in their ninth letter, connection from both in its fourth. */
static enum field c_field_of(struct http1 *http, struct line line, struct line *ret_value)
{
	if (line.n <= 10)
		return FIELD_OTHER;
	char fourth = line.text[3] | 0x20, ninth = line.text[8] | 0x20;
	if (ninth == 'l' && field_is(http, line, "content-length", 14, ret_value))
		return FIELD_LENGTH;
	if (!http->is_response)
		return FIELD_OTHER;
	if (fourth == 'n' && field_is(http, line, "connection", 10, ret_value))
		return FIELD_CONNECTION;
	if (ninth == 't' && field_is(http, line, "content-type", 12, ret_value))
		return FIELD_CONTENT_TYPE;
	return FIELD_OTHER;
}

static enum field field_of(struct http1 *http, struct line line, struct line *ret_value)
{
	char first = line.text[0] | 0x20;

	if (first == 'c')
		return c_field_of(http, line, ret_value);
	if (first == 't' && field_is(http, line, "transfer-encoding", 17, ret_value))
		return FIELD_CODINGS;
	if (http->is_response && first == 'u' && field_is(http, line, "upgrade", 7, ret_value))
		return FIELD_UPGRADE;
	if (http->trace)
		read_trace_field(http, line);
	return FIELD_OTHER;
}

static void read_field(struct http1 *http, struct line line)
{
	struct line value = { 0 };

	if (is_blank(line.text[0])) {
		read_folded_line(http, line);
		return;
	}
	enum field field = field_of(http, line, &value);
	http->field = (uint8_t)field;
	if (field != FIELD_OTHER)
		read_value(http, field, value);
}

/* RFC 9112 clause 6.3; the caller knows what the parser cannot: which request a response answers. */
static bool begin_body(struct http1 *http)
{
	bool is_interim = http->is_response && http->status < 200;
	bool is_coded = http->is_chunked || http->has_other_coding;

	http->head_bytes = 0;
	http->has_bad_length |= http->lengths_missing;
	http->is_last |= http->is_version_0;
	http->is_faulty |= is_coded && (http->has_length || http->has_bad_length);
	if (is_interim || (http->is_response && (http->status == 204 || http->status == 304)))
		http->state = HTTP1_STATE_DONE;
	else if (http->is_chunked)
		http->state = HTTP1_STATE_CHUNK_SIZE;
	else if ((is_coded && !http->is_response) || (!is_coded && http->has_bad_length))
		return false;
	else if (!is_coded && http->has_length)
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
	bool is_early = line.is_cut && !line.tail;

	if (!(http->is_response ? read_status_line(http, line) : read_request_line(http, line))) {
		http->target = line.text;
		http->target_bytes = (uint32_t)line.n;
		return broken(http);
	}
	http->state = is_early ? HTTP1_STATE_LINE_REST : HTTP1_STATE_FIELDS;
	return HTTP1_LINE;
}

static bool on_line_rest(struct http1 *http)
{
	http->state = HTTP1_STATE_FIELDS;
	return tail_has_version(http->tail, http->tail_bytes);
}

static enum http1_event on_line(struct http1 *http, struct line line)
{
	bool is_good = true;

	switch (http->state) {
	case HTTP1_STATE_FIRST_LINE:
		return on_first_line(http, line);
	case HTTP1_STATE_FIELDS:
		if (line.n) {
			read_field(http, line);
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
	http->has_bad_length = false;
	http->lengths_missing = false;
	http->has_other_coding = false;
	http->is_faulty = false;
	http->is_version_0 = false;
	http->is_last = false;
	http->is_event_stream = false;
	http->upgrades_to_h2c = false;
	http->field = FIELD_OTHER;
	http->tail_bytes = 0;
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

/* First letters of the fields that are read, a bit each: content-*, connection, transfer-encoding; of a response upgrade;
 * of a request, where ids are wanted, traceparent, b3 and x-*. */
#define LETTER(letter) (1u << ((letter) - 'a'))

static uint32_t letters_of(const struct http1 *http)
{
	uint32_t letters = LETTER('c') | LETTER('t');

	if (http->is_response)
		return letters | LETTER('u');
	return http->trace ? letters | LETTER('b') | LETTER('x') : letters;
}

/* True: a line that begins with this byte is not to be passed: a field that is read, a folded line, the head's end. */
static bool matters(uint32_t letters, char first)
{
	unsigned letter = (unsigned char)(first | 0x20) - 'a';

	return letter < 26 ? letters >> letter & 1 : is_blank(first) || first == '\r' || first == '\n';
}

/* Passes whole lines that begin like no field of read_field, which is most of a head. A head's end and its last, cut line
 * are left to next_line. */
static void skip_fields(struct http1 *http, const char *bytes, size_t n, size_t *used)
{
	uint32_t letters = letters_of(http);

	while (*used < n) {
		const char *text = bytes + *used;
		if (matters(letters, *text))
			return;
		const char *end = memchr(text, '\n', n - *used);
		if (!end || (size_t)(end - text) >= HTTP1_HEAD_BYTES - http->head_bytes)
			return;
		http->head_bytes += (uint32_t)(end - text) + 1;
		http->field = FIELD_OTHER;
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

/* What is left of a first line that was told early. */
static enum http1_event pass_line_rest(struct http1 *http, const char *bytes, size_t n, size_t *used)
{
	const char *end = memchr(bytes + *used, '\n', n - *used);
	size_t text_bytes = end ? (size_t)(end - bytes) - *used : n - *used;

	if (text_bytes >= HTTP1_HEAD_BYTES - http->head_bytes)
		return broken(http);
	keep_tail(http, bytes + *used, text_bytes);
	http->head_bytes += (uint32_t)text_bytes + (end != NULL);
	*used += text_bytes + (end != NULL);
	if (!end)
		return HTTP1_MORE;
	return on_line_rest(http) ? HTTP1_MORE : broken(http);
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
		case HTTP1_STATE_LINE_REST:
			if (used == n)
				return (struct http1_step){ HTTP1_MORE, used };
			event = pass_line_rest(http, bytes, n, &used);
			break;
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

bool http1_is_doubtful(const struct http1 *http)
{
	return http->is_faulty || http->has_bad_length || http->lengths_missing || http->has_other_coding ||
	       (http->is_chunked && http->has_length);
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
