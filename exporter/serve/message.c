/* Invariant: a head ends with a line's end, and all that message_parse cuts out of it lies before that and is ended by a NUL
 * that took the place of a byte of the head.
 */
#include "message.h"

#include <string.h>
#include <strings.h>

size_t message_head_bytes(const char *bytes, size_t n, size_t seen)
{
	/* The end may have begun among what was seen: with a line's end, and the CR of the next. */
	const char *at = bytes + (seen > 2 ? seen - 2 : 0), *end = bytes + n;

	while ((at = memchr(at, '\n', (size_t)(end - at)))) {
		at++;
		if (at < end && *at == '\n')
			return (size_t)(at - bytes) + 1;
		if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
			return (size_t)(at - bytes) + 2;
	}
	return 0;
}

/* No control characters but tabs and ends of lines. */
static bool is_text(const char *head, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)head[i];
		bool is_end = c == '\n' || (c == '\r' && i + 1 < bytes && head[i + 1] == '\n');
		if ((c < ' ' || c == 0x7f) && c != '\t' && !is_end)
			return false;
	}
	return true;
}

/* RFC 9110, 5.6.2. */
static bool is_token(const char *text)
{
	static const char signs[] = "!#$%&'*+-.^_`|~";
	const char *at = text;

	for (; *at; at++)
		if (!(*at >= '0' && *at <= '9') && !(*at >= 'A' && *at <= 'Z') && !(*at >= 'a' && *at <= 'z') && !strchr(signs, *at))
			return false;
	return at > text;
}

/* The line at *at, which then is at the next one; NULL = there is none. */
static char *take_line(char **at, const char *end)
{
	char *line = *at, *feed = memchr(line, '\n', (size_t)(end - line));

	if (!feed)
		return NULL;
	*at = feed + 1;
	if (feed > line && feed[-1] == '\r')
		feed--;
	*feed = '\0';
	return line;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes percent-encoding (RFC 3986, 2.1); what is none stays as it is. False: there is a NUL in it now. */
static bool decode(char *text, bool is_query)
{
	bool has_nul = false;
	char *to = text;

	for (; *text; text++) {
		int high = *text == '%' ? hex_value(text[1]) : -1, low = high >= 0 ? hex_value(text[2]) : -1;
		char c = is_query && *text == '+' ? ' ' : *text;
		if (low >= 0) {
			c = (char)(high * 16 + low);
			text += 2;
		}
		has_nul |= !c;
		*to++ = c;
	}
	*to = '\0';
	return !has_nul;
}

static void take_query(struct request *request, char *query)
{
	char *next;

	for (char *name = query; name; name = next) {
		next = strchr(name, '&');
		if (next)
			*next++ = '\0';
		char *value = strchr(name, '=');
		if (value)
			*value++ = '\0';
		if (!value && !*name)
			continue;
		if (request->param_count == ROUTE_PARAMS_MAX || !decode(name, true) || (value && !decode(value, true))) {
			request->is_malformed = true;
			return;
		}
		request->params[request->param_count++] = (struct request_param){ name, value ? value : "" };
	}
}

static enum message_result take_version(struct request *request, const char *version)
{
	bool is_digit = version[0] >= '0' && version[0] <= '9' && version[1] == '.' && version[2] >= '0' && version[2] <= '9';

	if (!is_digit || version[3])
		return MESSAGE_MALFORMED;
	request->needs_host = version[2] != '0';
	return version[0] == '1' ? MESSAGE_WHOLE : MESSAGE_FOREIGN;
}

static enum message_result take_request_line(struct request *request, char *line)
{
	char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

	if (!version || version == target + 1 || strncmp(version, " HTTP/", 6))
		return MESSAGE_MALFORMED;
	*target++ = '\0';
	*version = '\0';
	if (!is_token(line))
		return MESSAGE_MALFORMED;
	char *query = strchr(target, '?');
	if (query) {
		*query++ = '\0';
		take_query(request, query);
	}
	request->method = line;
	request->path = target;
	return decode(target, false) ? take_version(request, version + 6) : MESSAGE_MALFORMED;
}

/* The field's value without the white space around it; NULL: the line is no field. */
static char *take_field(char *line)
{
	char *value = strchr(line, ':');

	if (!value)
		return NULL;
	*value++ = '\0';
	value += strspn(value, " \t");
	size_t n = strlen(value);
	while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		value[--n] = '\0';
	return is_token(line) ? value : NULL;
}

/* False: it is no length, or another one than before. */
static bool take_length(struct message *message, const char *value, bool *has_length)
{
	uint64_t bytes = 0;

	if (!*value || value[strspn(value, "0123456789")])
		return false;
	for (; *value; value++)
		if (__builtin_mul_overflow(bytes, 10, &bytes) || __builtin_add_overflow(bytes, (uint64_t)(*value - '0'), &bytes))
			return false;
	if (*has_length && bytes != message->body_bytes)
		return false;
	*has_length = true;
	message->body_bytes = bytes;
	return true;
}

/* One of the texts of a list (RFC 9110, 5.6.1), in any case. */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (*list) {
		list += strspn(list, ", \t");
		size_t found = strcspn(list, ", \t");
		if (found == n && !strncasecmp(list, word, n))
			return true;
		list += found;
	}
	return false;
}

static const char **place_of(struct request *request, const char *name)
{
	const struct {
		const char *name;
		const char **place;
	} fields[] = {
		{ "Accept", &request->accept }, { "Accept-Encoding", &request->accept_encoding },
		{ "Authorization", &request->authorization }, { "Host", &request->host }, { "Origin", &request->origin },
		{ "Referer", &request->referer }, { "Sec-Fetch-Site", &request->fetch_site },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!strcasecmp(name, fields[i].name))
			return fields[i].place;
	return NULL;
}

/* Of fields that come twice the first one counts. False: malformed. */
static bool take_line_of_head(struct message *message, char *line, bool *has_length)
{
	struct request *request = &message->request;
	const char *value = take_field(line), **place = value ? place_of(request, line) : NULL;

	if (!value)
		return false;
	request->host_count += !strcasecmp(line, "Host");
	if (place && !*place)
		*place = value;
	else if (!strcasecmp(line, "Content-Length"))
		return take_length(message, value, has_length);
	else if (!strcasecmp(line, "Transfer-Encoding"))
		message->is_coded = true;
	else if (!strcasecmp(line, "Connection") && has_word(value, "close"))
		message->is_persistent = false;
	else if (!strcasecmp(line, "Expect") && !strcasecmp(value, "100-continue"))
		message->expects_continue = true;
	return true;
}

enum message_result message_parse(struct message *ret_message, char *head, size_t bytes)
{
	const char *end = head + bytes;
	bool has_length = false;

	*ret_message = (struct message){ 0 };
	char *line = is_text(head, bytes) ? take_line(&head, end) : NULL;
	enum message_result result = line ? take_request_line(&ret_message->request, line) : MESSAGE_MALFORMED;
	if (result != MESSAGE_WHOLE)
		return result;
	ret_message->is_persistent = ret_message->request.needs_host;
	while ((line = take_line(&head, end)) && *line)
		if (!take_line_of_head(ret_message, line, &has_length))
			return MESSAGE_MALFORMED;
	return MESSAGE_WHOLE;
}
