/* A segment is first taken for a variable by its form. The forms go from the strict to the loose, and the loosest, {token},
 * asks for what random strings have and words do not: letters and digits that alternate. Which words vary can only be told
 * by counting them: that is route_trie.h's.
 *
 * A route is itself a path with the same route: its variables stand for themselves. So a route that was made when less was
 * known can be made again from its text.
 */
#include "route.h"

#include "route_trie.h"

#include <stdbool.h>
#include <string.h>

enum { TEMPLATE_BYTES_MAX = 160 }; /* fits an endpoint's name together with its method */

struct template {
	const char *text;
	size_t n;
	bool has_star; /* ends with a star, which n does not count */
};

static struct {
	char text[ROUTE_TEMPLATES_BYTES];
	struct template items[ROUTE_TEMPLATES_MAX];
	uint32_t count;
} templates;

struct text {
	char *bytes;
	size_t n;
	size_t room;
	bool is_full; /* something did not fit */
};

static void put(struct text *text, const char *bytes, size_t n)
{
	if (n > text->room - text->n) {
		text->is_full = true;
		return;
	}
	memcpy(text->bytes + text->n, bytes, n);
	text->n += n;
}

static void put_word(struct text *text, const char *word)
{
	put(text, word, strlen(word));
}

/* What separates the parts of a segment that may each be a variable. */
static bool is_piece_end(char c)
{
	return c == '.' || c == ':' || c == '(' || c == ')' || c == '\'';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* 12345, -7, and lists of them: 1,2,3 */
static bool is_number(const char *s, size_t n)
{
	if (n > 1 && (*s == '-' || *s == '+'))
		s++, n--;
	for (size_t i = 0; i < n; i++)
		if (!is_digit(s[i]) && !(s[i] == ',' && i && i + 1 < n && is_digit(s[i - 1])))
			return false;
	return n > 0;
}

/* RFC 9562 */
static bool is_uuid(const char *s, size_t n)
{
	if (n != 36)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (is_dash ? s[i] != '-' : !is_hex(s[i]))
			return false;
	}
	return true;
}

static int two_digits(const char *s)
{
	return is_digit(s[0]) && is_digit(s[1]) ? (s[0] - '0') * 10 + s[1] - '0' : -1;
}

/* 2024-01-31, with or without a time after T (RFC 3339) */
static bool is_date(const char *s, size_t n)
{
	if (n < 10 || two_digits(s) < 0 || two_digits(s + 2) < 0 || s[4] != '-' || s[7] != '-' || (n > 10 && s[10] != 'T'))
		return false;
	int month = two_digits(s + 5), day = two_digits(s + 8);
	return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool is_hash(const char *s, size_t n)
{
	bool has_digit = false;

	for (size_t i = 0; i < n; i++) {
		if (!is_hex(s[i]))
			return false;
		has_digit |= is_digit(s[i]);
	}
	return n >= 8 && has_digit;
}

static int class_of(char c)
{
	return is_digit(c) ? 1 : is_lower(c) ? 2 : is_upper(c) ? 3 : 0;
}

/* base64url, base62, base36 and the like, 16 bytes or more, or 8 with little doubt. In random text of these alphabets the
 * kind of character changes at 30 to 45 % of the places; in words, even joined by dashes or written in camel case, at less
 * than 20 %. */
static bool is_token(const char *s, size_t n)
{
	size_t digits = 0, changes = 0;
	int before = 0;

	if (n < 8)
		return false;
	for (size_t i = 0; i < n; i++) {
		int now = class_of(s[i]);
		if (!now && !memchr("-_=~", s[i], 4))
			return false;
		digits += now == 1;
		changes += before && now && now != before && !(before == 3 && now == 2);
		before = now;
	}
	if (n < 16)
		return digits > 1 && changes >= 4;
	return digits && digits < n && changes >= 3 && changes * 5 >= n;
}

/* PROJ-123: of issue trackers */
static bool is_tracked(const char *s, size_t n)
{
	size_t letters = 0;

	while (letters < n && is_upper(s[letters]))
		letters++;
	return letters && letters + 1 < n && s[letters] == '-' && is_number(s + letters + 1, n - letters - 1);
}

/* The variable that a word without dots stands for, NULL if it stands for itself. */
static const char *variable_of(const char *s, size_t n)
{
	if (is_number(s, n) || is_tracked(s, n))
		return "{id}";
	if (is_uuid(s, n))
		return "{uuid}";
	if (is_date(s, n))
		return "{date}";
	if (is_hash(s, n))
		return "{hash}";
	return is_token(s, n) ? "{token}" : NULL;
}

/* somebody@example.org, also with the at sign percent-encoded */
static bool is_email(const char *s, size_t n)
{
	const char *at = memchr(s, '@', n);
	size_t at_bytes = 1;

	for (size_t i = 0; !at && i + 3 <= n; i++)
		if (memcmp(s + i, "%40", 3) == 0) {
			at = s + i;
			at_bytes = 3;
		}
	if (!at || at == s)
		return false;
	const char *domain = at + at_bytes;
	const char *dot = memchr(domain, '.', (size_t)(s + n - domain));
	return dot && dot > domain && dot + 1 < s + n;
}

/* Digits and dots: an address, a number with a fraction; "2.0", as in /api/2.0/users, is a word. */
static const char *variable_of_dotted_digits(const char *s, size_t n)
{
	size_t parts = 1, longest = 0, run = 0;

	if (!is_digit(s[0]))
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (s[i] != '.' && !is_digit(s[i]))
			return NULL;
		run = s[i] == '.' ? 0 : run + 1;
		parts += s[i] == '.';
		longest = run > longest ? run : longest;
	}
	if (parts == 4 && longest <= 3)
		return "{ip}";
	return parts == 2 && longest <= 2 ? NULL : "{id}";
}

/* IPv6: hexadecimal digits and at least two colons */
static bool is_ipv6(const char *s, size_t n)
{
	size_t colons = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] != ':' && s[i] != '.' && !is_hex(s[i]))
			return false;
		colons += s[i] == ':';
	}
	return colons >= 2;
}

/* A file's name keeps its extension and its words: {id}.jpg, main.{hash}.js; so do custom methods, {id}:cancel, and keys
 * in brackets, Users({id}), Users('{name}'). */
static void put_pieces(struct text *text, const char *s, size_t n)
{
	for (size_t begin = 0; begin <= n;) {
		size_t bytes = 0;
		while (begin + bytes < n && !is_piece_end(s[begin + bytes]))
			bytes++;
		const char *piece = s + begin;
		bool is_quoted = begin && piece[-1] == '\'' && begin + bytes < n && piece[bytes] == '\'';
		const char *variable = is_quoted && bytes ? "{name}" : bytes ? variable_of(piece, bytes) : NULL;
		/* Short numbers behind a dot are versions: jquery-3.6.0.js */
		bool is_version = begin && piece[-1] == '.' && bytes < 4 && is_number(piece, bytes);
		if (variable && !is_version)
			put_word(text, variable);
		else
			put(text, piece, bytes);
		if (begin + bytes < n)
			put(text, piece + bytes, 1);
		begin += bytes + 1;
	}
}

/* Bytes of the UTF-8 character at s, 0 if it is none or not printable (RFC 3629; C0, DEL, C1). */
static size_t printable_bytes(const unsigned char *s, size_t n)
{
	static const uint32_t lowest[5] = { 0, 0, 0xa0, 0x800, 0x10000 };
	size_t bytes = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;

	if (bytes == 1)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (!bytes || bytes > n || s[0] > 0xf4)
		return 0;
	uint32_t code = s[0] & (0x7fu >> bytes);
	for (size_t i = 1; i < bytes; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	bool is_surrogate = code >= 0xd800 && code < 0xe000;
	return code >= lowest[bytes] && code <= 0x10ffff && !is_surrogate ? bytes : 0;
}

static bool is_printable(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t bytes = printable_bytes((const unsigned char *)s + i, n - i);
		if (!bytes)
			return false;
		i += bytes;
	}
	return true;
}

/* ".", "..", and what means them with dots and slashes percent-encoded */
static bool is_traversal(const char *s, size_t n)
{
	size_t dots = 0, others = 0;

	for (size_t i = 0; i <= n; i++) {
		char c = i < n ? s[i] : '/';
		if (c == '%' && i + 2 < n && s[i + 1] == '2' && ((s[i + 2] | 0x20) == 'e' || (s[i + 2] | 0x20) == 'f')) {
			c = (s[i + 2] | 0x20) == 'e' ? '.' : '/';
			i += 2;
		}
		if (c == '/' && dots && dots <= 2 && !others)
			return true;
		dots = c == '/' ? 0 : dots + (c == '.');
		others = c == '/' ? 0 : others + (c != '.');
	}
	return false;
}

/* Letters, dashes and underscores only, as most segments are: of no form but their own. */
static bool is_bare_word(const char *s, size_t n)
{
	static const bool is_bare[256] = { ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['-'] = true, ['_'] = true };
	bool are_all = true;

	for (size_t i = 0; i < n; i++)
		are_all &= is_bare[(unsigned char)s[i]];
	return are_all;
}

static void put_segment(struct text *text, const char *s, size_t n)
{
	const char *variable = NULL;

	if (is_bare_word(s, n)) {
		put(text, s, n);
	} else if (is_number(s, n)) {
		put_word(text, "{id}");
	} else if (is_traversal(s, n)) {
		put(text, "_", 1);
	} else if (!is_printable(s, n)) {
		put_word(text, "{bytes}");
	} else if ((variable = variable_of(s, n))) {
		put_word(text, variable);
	} else if (is_email(s, n)) {
		put_word(text, "{email}");
	} else if (is_ipv6(s, n)) {
		put_word(text, "{ip}");
	} else if (memchr(s, '.', n) && (variable = variable_of_dotted_digits(s, n))) {
		put_word(text, variable);
	} else if (is_digit(s[0]) && n <= 5 && is_digit(s[n - 1])) {
		put(text, s, n);
	} else {
		put_pieces(text, s, n);
	}
}

/* Path parameters (";jsessionid=...") are no part of a route. */
static size_t without_parameters(const char *s, size_t n)
{
	const char *semicolon = memchr(s, ';', n);

	return semicolon ? (size_t)(semicolon - s) : n;
}

/* In /api/3/issue the number is a version. */
static bool is_bare_version(const char *s, size_t n, const char *before, size_t before_bytes)
{
	bool is_behind_api = (before_bytes == 3 && memcmp(before, "api", 3) == 0) || (before_bytes == 4 && memcmp(before, "rest", 4) == 0);

	return is_behind_api && n <= 2 && is_number(s, n);
}

/* s: a segment of the path, without its slash; before: the one before it. */
static void put_inferred(struct text *text, struct route_walk *walk, const char *s, size_t n, const char *before, size_t before_bytes)
{
	put(text, "/", 1);
	size_t begin = text->n;

	n = without_parameters(s, n);
	if (!n)
		return;
	if (is_bare_version(s, n, before, before_bytes))
		put(text, s, n);
	else
		put_segment(text, s, n);
	if (text->is_full || text->n == begin)
		return;
	size_t bytes = route_walk_step(walk, text->bytes + begin, text->n - begin, text->room - begin);
	text->is_full = !bytes;
	text->n = begin + bytes;
}

static size_t infer(char *ret_route, size_t room, struct route_path path, struct route_walk *walk)
{
	struct text text = { .bytes = ret_route, .room = room - 2 }; /* so that the star always fits */
	const char *next = path.text, *end = path.text + path.n, *last = path.text;
	size_t last_bytes = 0;
	uint32_t segments = 0;

	while (next < end) {
		size_t before = text.n;
		next++; /* the slash */
		const char *slash = memchr(next, '/', (size_t)(end - next));
		size_t n = slash ? (size_t)(slash - next) : (size_t)(end - next);
		segments += n > 0;
		if (segments <= ROUTE_SEGMENTS_MAX && (n || next == end)) /* empty segments inside of a path count for nothing */
			put_inferred(&text, walk, next, n, last, last_bytes);
		if (text.is_full || segments > ROUTE_SEGMENTS_MAX) {
			memcpy(ret_route + before, "/*", 2);
			return before + 2;
		}
		last = n ? next : last;
		last_bytes = n ? n : last_bytes;
		next += n;
	}
	return text.n;
}

static bool segment_matches(const char *pattern, size_t pattern_bytes, const char *s, size_t n)
{
	if (pattern_bytes >= 2 && pattern[0] == '{' && pattern[pattern_bytes - 1] == '}')
		return n > 0;
	return n == pattern_bytes && memcmp(pattern, s, n) == 0;
}

/* Segment by segment; both begin with a slash. */
static bool template_matches(const struct template *template, struct route_path path)
{
	size_t t = 0, p = 0;

	while (t < template->n) {
		if (p >= path.n)
			return false;
		t++, p++; /* the slashes */
		if (template->has_star && t == template->n)
			return true;
		const char *t_slash = memchr(template->text + t, '/', template->n - t);
		const char *p_slash = memchr(path.text + p, '/', path.n - p);
		size_t t_bytes = (t_slash ? (size_t)(t_slash - template->text) : template->n) - t;
		size_t p_bytes = (p_slash ? (size_t)(p_slash - path.text) : path.n) - p;
		if (!segment_matches(template->text + t, t_bytes, path.text + p, p_bytes))
			return false;
		t += t_bytes;
		p += p_bytes;
	}
	return p == path.n;
}

static size_t write_route(char *ret_route, size_t room, struct route_path path, bool is_learning)
{
	struct route_walk walk;

	if (path.text[0] != '/') { /* "*" and ROUTE_AUTHORITY are routes already */
		memcpy(ret_route, path.text, path.n);
		return path.n;
	}
	for (uint32_t i = 0; i < templates.count; i++) {
		const struct template *template = &templates.items[i];
		size_t n = template->n + template->has_star;
		if (n <= room && template_matches(template, path)) {
			memcpy(ret_route, template->text, n);
			return n;
		}
	}
	route_walk_begin(&walk, is_learning);
	return infer(ret_route, room, path, &walk);
}

size_t route_write(char *ret_route, size_t room, struct route_path path)
{
	return write_route(ret_route, room, path, false);
}

size_t route_learn(char *ret_route, size_t room, struct route_path path)
{
	return write_route(ret_route, room, path, true);
}

/* The path of absolute-form (http://host/path), which ends in "/" if it has none. */
static struct route_path path_of_absolute(const char *target, size_t n)
{
	size_t i = 0;

	while (i < n && (is_lower((char)(target[i] | 0x20)) || (i && (is_digit(target[i]) || memchr("+-.", target[i], 3)))))
		i++;
	if (!i || n - i < 3 || memcmp(target + i, "://", 3) != 0)
		return (struct route_path){ NULL, 0 };
	const char *slash = memchr(target + i + 3, '/', n - i - 3);
	return slash ? (struct route_path){ slash, (size_t)(target + n - slash) } : (struct route_path){ "/", 1 };
}

struct route_path route_path_of(const char *target, size_t n, bool is_connect)
{
	if (is_connect)
		return (struct route_path){ ROUTE_AUTHORITY, sizeof(ROUTE_AUTHORITY) - 1 };
	const char *query = memchr(target, '?', n);
	if (query)
		n = (size_t)(query - target);
	const char *fragment = memchr(target, '#', n);
	if (fragment)
		n = (size_t)(fragment - target);
	if (n && target[0] == '/')
		return (struct route_path){ target, n };
	if (n == 1 && target[0] == '*' && !query && !fragment)
		return (struct route_path){ "*", 1 };
	return path_of_absolute(target, n);
}

/* What is wrong with one template, NULL if nothing. */
static const char *template_problem(const char *s, size_t n)
{
	if (n > TEMPLATE_BYTES_MAX)
		return "a template is longer than 160 bytes";
	if (!n || s[0] != '/')
		return "a template must begin with a slash";
	if (!is_printable(s, n) || memchr(s, ' ', n) || memchr(s, '?', n) || memchr(s, '#', n))
		return "a template is a path without blanks, query and fragment";
	const char *star = memchr(s, '*', n);
	if (star && (star != s + n - 1 || star[-1] != '/'))
		return "a star may only be a template's whole last segment";
	for (size_t begin = 1; begin <= n;) {
		const char *slash = memchr(s + begin, '/', n - begin);
		size_t bytes = slash ? (size_t)(slash - s) - begin : n - begin;
		const char *open = memchr(s + begin, '{', bytes), *close = memchr(s + begin, '}', bytes);
		bool is_variable = open == s + begin && close == s + begin + bytes - 1 && bytes > 2;
		if ((open || close) && !is_variable)
			return "a variable such as {id} must be a whole segment";
		begin += bytes + 1;
	}
	return NULL;
}

static const char *template_add(const char *s, size_t n)
{
	const char *problem = template_problem(s, n);

	if (problem)
		return problem;
	if (templates.count == ROUTE_TEMPLATES_MAX)
		return "there are more than 256 templates";
	bool has_star = s[n - 1] == '*';
	templates.items[templates.count++] = (struct template){ s, n - has_star, has_star };
	return NULL;
}

const char *route_templates_set(const char *text)
{
	size_t n = text ? strlen(text) : 0;
	const char *problem = NULL;

	templates.count = 0;
	if (n >= sizeof(templates.text))
		return "the templates take more than 8 KiB";
	if (!n)
		return NULL;
	memcpy(templates.text, text, n);
	for (size_t begin = 0; begin < n && !problem;) {
		const char *comma = memchr(templates.text + begin, ',', n - begin);
		size_t bytes = comma ? (size_t)(comma - templates.text) - begin : n - begin;
		size_t blanks = 0;
		while (blanks < bytes && templates.text[begin + blanks] == ' ')
			blanks++;
		if (bytes > blanks) /* a comma at the end is no template */
			problem = template_add(templates.text + begin + blanks, bytes - blanks);
		begin += bytes + 1;
	}
	if (problem)
		templates.count = 0;
	return problem;
}
