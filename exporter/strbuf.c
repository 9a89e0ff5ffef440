/* One growing piece of memory. After the first failure the buffer keeps what it has and ignores what comes, so a view of
 * five hundred additions needs no check between them. The NUL behind the text is always there once anything was added.
 *
 * Decimal numbers are written from integers: n / 10^scale has a finite decimal form, hence "exactly" is possible without
 * floating point, and nothing asks the locale for its decimal point.
 */
#include "strbuf.h"

#include "pace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void strbuf_free(struct strbuf *buf)
{
	free(buf->text);
	*buf = STRBUF_EMPTY;
}

void strbuf_fail(struct strbuf *buf, int error)
{
	if (!buf->error)
		buf->error = error;
}

void strbuf_discard(struct strbuf *part, struct strbuf *whole)
{
	strbuf_fail(whole, part->error);
	strbuf_free(part);
}

void strbuf_truncate(struct strbuf *buf, size_t length)
{
	if (!buf->text || length > buf->length)
		return;
	buf->length = length;
	buf->text[length] = '\0';
}

const char *strbuf_text(const struct strbuf *buf)
{
	return buf->text ? buf->text : "";
}

/* Makes room for n more bytes and the NUL. False: no memory, or too much, or no longer wanted. */
static bool reserve(struct strbuf *buf, size_t n)
{
	size_t capacity = buf->capacity ? buf->capacity : 256;

	pace_step(1); /* text is what long work ends in */
	if (buf->error)
		return false;
	if (n < buf->capacity - buf->length)
		return true;
	if (buf->bytes_max && n >= buf->bytes_max - buf->length) {
		buf->error = -EFBIG;
		return false;
	}
	while (capacity - buf->length <= n) {
		if (capacity > SIZE_MAX / 2) {
			buf->error = -ENOMEM;
			return false;
		}
		capacity *= 2;
	}
	if (buf->bytes_max && capacity > buf->bytes_max)
		capacity = buf->bytes_max;
	char *text = realloc(buf->text, capacity);
	if (!text) {
		buf->error = -ENOMEM;
		return false;
	}
	buf->text = text;
	buf->capacity = capacity;
	return true;
}

void strbuf_add_bytes(struct strbuf *buf, const void *bytes, size_t n)
{
	if (!reserve(buf, n))
		return;
	memcpy(buf->text + buf->length, bytes, n);
	buf->length += n;
	buf->text[buf->length] = '\0';
}

void strbuf_add(struct strbuf *buf, const char *text)
{
	strbuf_add_bytes(buf, text, strlen(text));
}

void strbuf_add_char(struct strbuf *buf, char c)
{
	strbuf_add_bytes(buf, &c, 1);
}

void strbuf_add_spaces(struct strbuf *buf, size_t n)
{
	if (!reserve(buf, n))
		return;
	memset(buf->text + buf->length, ' ', n);
	buf->length += n;
	buf->text[buf->length] = '\0';
}

void strbuf_vprintf(struct strbuf *buf, const char *format, va_list arguments)
{
	va_list again;

	if (!reserve(buf, 128)) /* what most pieces need: one try is enough then */
		return;
	va_copy(again, arguments);
	int n = vsnprintf(buf->text + buf->length, buf->capacity - buf->length, format, arguments);
	if (n >= 0 && (size_t)n >= buf->capacity - buf->length && reserve(buf, (size_t)n))
		n = vsnprintf(buf->text + buf->length, (size_t)n + 1, format, again);
	va_end(again);
	if (n < 0)
		strbuf_fail(buf, -ENOMEM);
	if (!buf->error)
		buf->length += (size_t)n;
	buf->text[buf->length] = '\0';
}

void strbuf_printf(struct strbuf *buf, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	strbuf_vprintf(buf, format, arguments);
	va_end(arguments);
}

/* Bytes of the UTF-8 character at text, 0 if it is none (RFC 3629, clause 4). */
static unsigned utf8_length(const unsigned char *text)
{
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	unsigned n;

	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		n = 2;
	else if (text[0] >= 0xe0 && text[0] <= 0xef)
		n = 3;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (text[0] == 0xe0)
		low = 0xa0; /* shorter forms exist */
	else if (text[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	if (text[1] < low || text[1] > high)
		return 0;
	for (unsigned i = 2; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* C0, DEL, and the two-byte C1 controls (U+0080 to U+009F), which terminals obey as well. */
static bool is_control(const unsigned char *text, unsigned n)
{
	return (n == 1 && (text[0] < 0x20 || text[0] == 0x7f)) || (n == 2 && text[0] == 0xc2 && text[1] < 0xa0);
}

void strbuf_add_clean(struct strbuf *buf, const char *text)
{
	const unsigned char *next = (const unsigned char *)text;

	while (*next) {
		unsigned n = utf8_length(next);
		if (!n)
			strbuf_add(buf, "\xef\xbf\xbd");
		else if (is_control(next, n))
			strbuf_add_char(buf, '?');
		else
			strbuf_add_bytes(buf, next, n);
		next += n ? n : 1;
	}
}

static uint64_t power_of_10(unsigned exponent)
{
	uint64_t power = 1;

	while (exponent--)
		power *= 10;
	return power;
}

void strbuf_add_decimal(struct strbuf *buf, uint64_t n, unsigned scale)
{
	while (scale && n % 10 == 0) {
		n /= 10;
		scale--;
	}
	strbuf_add_rounded(buf, n, scale, scale);
}

/* With leading zeros up to so many digits. */
static void add_digits(struct strbuf *buf, uint64_t n, unsigned digits)
{
	char text[20]; /* the digits of UINT64_MAX */
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n || sizeof(text) - at < digits);
	strbuf_add_bytes(buf, text + at, sizeof(text) - at);
}

void strbuf_add_number(struct strbuf *buf, uint64_t n)
{
	add_digits(buf, n, 1);
}

void strbuf_add_rounded(struct strbuf *buf, uint64_t n, unsigned scale, unsigned decimals)
{
	uint64_t cut = power_of_10(scale - decimals), unit = power_of_10(decimals);

	uint64_t rounded = n / cut + (n % cut >= cut / 2 && cut > 1);
	strbuf_add_number(buf, rounded / unit);
	if (!decimals)
		return;
	strbuf_add_char(buf, '.');
	add_digits(buf, rounded % unit, decimals);
}

void strbuf_add_column(struct strbuf *buf, uint64_t n, unsigned scale, unsigned decimals, unsigned width)
{
	size_t begin = buf->length;

	strbuf_add_rounded(buf, n, scale, decimals);
	size_t used = buf->length - begin;
	if (buf->error || used >= width)
		return;
	strbuf_add_spaces(buf, width - used);
	if (buf->error)
		return;
	memmove(buf->text + begin + width - used, buf->text + begin, used);
	memset(buf->text + begin, ' ', width - used);
}
