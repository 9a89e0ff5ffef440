/* Accept and Accept-Encoding are lists of elements "name;parameter=value;q=0.5". One walker serves both; weights are
 * kept in thousandths, which is all the precision that RFC 9110, 12.4.2 allows, and needs no locale's decimal point.
 */
#include "negotiate.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { WEIGHT_MAX = 1000 };

struct slice {
	const char *begin;
	size_t length;
};

struct element {
	struct slice name;
	struct slice version; /* value of the parameter "version", empty = none */
	int weight;           /* 0..1000 */
};

static struct slice trimmed(const char *begin, const char *end)
{
	while (begin < end && (*begin == ' ' || *begin == '\t'))
		begin++;
	while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct slice){ begin, (size_t)(end - begin) };
}

static bool slice_is(struct slice slice, const char *text)
{
	return slice.length == strlen(text) && !strncasecmp(slice.begin, text, slice.length);
}

/* End of the part that begins at text: the first separator outside of quotes, or the end. */
static const char *part_end(const char *text, const char *separators)
{
	bool is_quoted = false;

	for (; *text; text++) {
		if (*text == '"')
			is_quoted = !is_quoted;
		else if (*text == '\\' && is_quoted && text[1])
			text++;
		else if (!is_quoted && strchr(separators, *text))
			break;
	}
	return text;
}

/* "1", "0.5", "0.125" in thousandths; what is no weight counts as 0, so that a broken element asks for nothing. */
static int parse_weight(struct slice text)
{
	static const int places[] = { 100, 10, 1 };
	int weight;

	if (!text.length || text.begin[0] < '0' || text.begin[0] > '1' || text.length > 5)
		return 0;
	weight = (text.begin[0] - '0') * WEIGHT_MAX;
	if (text.length > 1 && text.begin[1] != '.')
		return 0;
	for (size_t digit = 2; digit < text.length; digit++) {
		if (text.begin[digit] < '0' || text.begin[digit] > '9')
			return 0;
		weight += (text.begin[digit] - '0') * places[digit - 2];
	}
	return weight > WEIGHT_MAX ? 0 : weight;
}

static void take_parameter(struct element *element, struct slice parameter)
{
	const char *end = parameter.begin + parameter.length;
	const char *equals = memchr(parameter.begin, '=', parameter.length);

	if (!equals)
		return;
	struct slice name = trimmed(parameter.begin, equals), value = trimmed(equals + 1, end);
	if (value.length >= 2 && value.begin[0] == '"' && value.begin[value.length - 1] == '"')
		value = (struct slice){ value.begin + 1, value.length - 2 };
	if (slice_is(name, "q"))
		element->weight = parse_weight(value);
	else if (slice_is(name, "version"))
		element->version = value;
}

/* Takes the next element off the list at *text. False: the list is over. */
static bool next_element(const char **text, struct element *ret_element)
{
	const char *at = *text;

	at += strspn(at, ", \t");
	if (!*at)
		return false;
	const char *end = part_end(at, ",;");
	*ret_element = (struct element){ .name = trimmed(at, end), .weight = WEIGHT_MAX };
	while (*end == ';') {
		at = end + 1;
		end = part_end(at, ",;");
		take_parameter(ret_element, trimmed(at, end));
	}
	*text = end;
	return true;
}

bool negotiate_gzip(const char *accept_encoding)
{
	int named = -1, wildcard = 0;
	struct element element;

	while (accept_encoding && next_element(&accept_encoding, &element)) {
		if (slice_is(element.name, "gzip") || slice_is(element.name, "x-gzip"))
			named = element.weight;
		else if (slice_is(element.name, "*"))
			wildcard = element.weight;
	}
	return (named >= 0 ? named : wildcard) > 0;
}

static bool is_known_openmetrics(struct slice version)
{
	return !version.length || slice_is(version, "1.0.0") || slice_is(version, "0.0.1");
}

bool negotiate_openmetrics(const char *accept)
{
	int openmetrics = 0, plain = -1, wildcard = 0;
	struct element element;

	while (accept && next_element(&accept, &element)) {
		bool is_better = element.weight > openmetrics;
		if (slice_is(element.name, "application/openmetrics-text")) {
			if (is_better && is_known_openmetrics(element.version))
				openmetrics = element.weight;
		} else if (slice_is(element.name, "text/plain")) {
			plain = element.weight > plain ? element.weight : plain;
		} else if (slice_is(element.name, "text/*") || slice_is(element.name, "*/*")) {
			wildcard = element.weight > wildcard ? element.weight : wildcard;
		}
	}
	return openmetrics > 0 && (plain >= 0 ? openmetrics > plain : openmetrics >= wildcard);
}

bool negotiate_token_matches(const char *authorization, const char *token)
{
	unsigned difference;
	size_t given_length, length = strlen(token);

	if (!authorization || strncasecmp(authorization, "Bearer ", 7))
		return false;
	authorization += 7 + strspn(authorization + 7, " ");
	given_length = strlen(authorization);
	difference = given_length != length;
	/* Reads as many bytes as were given, whatever they are; the final NUL stands in for what the token lacks. */
	for (size_t i = 0; i < given_length; i++)
		difference |= (unsigned char)authorization[i] ^ (unsigned char)token[i < length ? i : length];
	return difference == 0;
}
