#pragma once
/* strbuf - text that grows; remembers its first failure, so that callers check once, at the end.
 * Context: any thread of the exporter. Owns its memory. Independent of the locale: the profiled program may have set one
 * with a decimal comma, so no floating point number is ever formatted; times are integers of nanoseconds.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strbuf {
	char *text; /* ended by a NUL; NULL while nothing was ever added */
	size_t length, capacity;
	size_t bytes_max; /* of text, its NUL included; 0 = any number */
	int error; /* 0, -ENOMEM, or -EFBIG: bytes_max; once set, nothing is added any more */
};
#define STRBUF_EMPTY ((struct strbuf){ 0 })

void strbuf_free(struct strbuf *buf);
/* Frees part, whose text went into whole; a failure of part becomes whole's. */
void strbuf_discard(struct strbuf *part, struct strbuf *whole);
/* Remembers a failure (-errno, 0 = none), unless there is one already. */
void strbuf_fail(struct strbuf *buf, int error);
void strbuf_truncate(struct strbuf *buf, size_t length /* at most the present one */);
/* The text, "" if nothing was added; valid until the next change. */
const char *strbuf_text(const struct strbuf *buf);

void strbuf_add_bytes(struct strbuf *buf, const void *bytes, size_t n);
void strbuf_add(struct strbuf *buf, const char *text);
void strbuf_add_char(struct strbuf *buf, char c);
void strbuf_add_spaces(struct strbuf *buf, size_t n);
/* For integers and texts only: %f and its kin follow the locale. */
void strbuf_printf(struct strbuf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vprintf(struct strbuf *buf, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

/* Text of unknown origin as one line of valid UTF-8: bytes that are none become U+FFFD, control characters (which could
 * steer a terminal) and line breaks become '?'. */
void strbuf_add_clean(struct strbuf *buf, const char *text);

void strbuf_add_number(struct strbuf *buf, uint64_t n);
/* n / 10^scale exactly, without trailing zeros: (1500000000, 9) is 1.5, (3, 0) is 3. scale up to 18. */
void strbuf_add_decimal(struct strbuf *buf, uint64_t n, unsigned scale);
/* n / 10^scale rounded half up to so many decimals (at most scale): (1234567890, 9, 3) is 1.235. */
void strbuf_add_rounded(struct strbuf *buf, uint64_t n, unsigned scale, unsigned decimals);
/* The same, right-aligned in width columns as printf's %8.3f. */
void strbuf_add_column(struct strbuf *buf, uint64_t n, unsigned scale, unsigned decimals, unsigned width);
