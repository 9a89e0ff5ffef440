/* Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenMetrics 1.0.0 specification. They
 * differ here in five points: the family's name without _total and _info, the type info, UNIT lines, exemplars, the final
 * EOF.
 * Bounds of buckets are label values, compared as text by dashboards, so they are written as all client libraries do:
 * Go's shortest %g ("5e-05", "0.001", "1.048576e+06"), and in OpenMetrics with ".0" behind whole numbers.
 */
#include "metrics_text.h"

#include <string.h>

static const char *suffix(const struct metrics_text *text)
{
	if (text->type == METRICS_COUNTER)
		return "_total";
	return text->type == METRICS_INFO ? "_info" : "";
}

static const char *type_name(const struct metrics_text *text)
{
	static const char *const names[] = {
		[METRICS_COUNTER] = "counter",
		[METRICS_GAUGE] = "gauge",
		[METRICS_HISTOGRAM] = "histogram",
		[METRICS_INFO] = "info",
	};

	return text->type == METRICS_INFO && !text->is_openmetrics ? "gauge" : names[text->type];
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

static void add_escaped(struct strbuf *buf, const char *text, bool with_quotes)
{
	for (; *text; text++) {
		if (*text == '\\')
			strbuf_add(buf, "\\\\");
		else if (*text == '\n')
			strbuf_add(buf, "\\n");
		else if (*text == '"' && with_quotes)
			strbuf_add(buf, "\\\"");
		else
			strbuf_add_char(buf, *text);
	}
}

void metrics_family(struct metrics_text *text, const char *name, enum metrics_type type, const char *help)
{
	static const char *const units[] = { "seconds", "bytes" };

	text->name = name;
	text->type = type;
	const char *end = text->is_openmetrics ? "" : suffix(text);
	strbuf_printf(text->out, "# HELP %s%s ", name, end);
	add_escaped(text->out, help, text->is_openmetrics);
	strbuf_printf(text->out, "\n# TYPE %s%s %s\n", name, end, type_name(text));
	for (size_t i = 0; text->is_openmetrics && i < sizeof(units) / sizeof(units[0]); i++)
		if (ends_with(name, units[i]))
			strbuf_printf(text->out, "# UNIT %s %s\n", name, units[i]);
}

static void add_series(struct metrics_text *text, const char *end, const char *labels)
{
	strbuf_add(text->out, text->name);
	strbuf_add(text->out, end);
	if (*labels) {
		strbuf_add_char(text->out, '{');
		strbuf_add(text->out, labels);
		strbuf_add_char(text->out, '}');
	}
	strbuf_add_char(text->out, ' ');
}

void metrics_sample(struct metrics_text *text, const char *labels, uint64_t n, unsigned scale)
{
	add_series(text, suffix(text), labels);
	strbuf_add_decimal(text->out, n, scale);
	strbuf_add_char(text->out, '\n');
}

/* n / 10^scale as Go's strconv.FormatFloat(x, 'g', -1, 64): with an exponent below 1e-04 and from 1e+06 on. */
static void add_bound(struct strbuf *out, uint64_t n, unsigned scale, bool is_openmetrics)
{
	while (n % 10 == 0 && scale) {
		n /= 10;
		scale--;
	}
	int digits = 1, zeros = 0;
	for (uint64_t rest = n; rest >= 10; rest /= 10) {
		digits++;
		zeros += zeros == digits - 2 && rest % 10 == 0; /* those that n ends in */
	}
	int exponent = digits - 1 - (int)scale;
	if (exponent >= -4 && exponent < 6) {
		strbuf_add_decimal(out, n, scale);
		if (is_openmetrics && !scale)
			strbuf_add(out, ".0");
		return;
	}
	for (int i = 0; i < zeros; i++)
		n /= 10;
	strbuf_add_decimal(out, n, (unsigned)(digits - zeros - 1));
	strbuf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

static void add_bucket(struct metrics_text *text, const char *labels, const struct metrics_buckets *buckets, uint32_t i)
{
	strbuf_add(text->out, text->name);
	strbuf_add(text->out, "_bucket{");
	strbuf_add(text->out, labels);
	strbuf_add(text->out, *labels ? ",le=\"" : "le=\"");
	if (i < buckets->count)
		add_bound(text->out, buckets->bounds[i], buckets->scale, text->is_openmetrics);
	else
		strbuf_add(text->out, "+Inf");
	strbuf_add(text->out, "\"} ");
}

static void add_hex(struct strbuf *out, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		strbuf_printf(out, "%02x", bytes[i]);
}

/* Behind the bucket that its value lies in. The label names are those that OpenTelemetry gives to exemplars. */
static void add_exemplar(struct metrics_text *text, const struct metrics_buckets *buckets, uint32_t bucket)
{
	const struct metrics_exemplar *exemplar = buckets->exemplar;

	if (!text->is_openmetrics || !exemplar || !exemplar->at_ns)
		return;
	if (bucket < buckets->count && exemplar->value > buckets->bounds[bucket])
		return;
	if (bucket > 0 && exemplar->value <= buckets->bounds[bucket - 1])
		return;
	strbuf_add(text->out, " # {trace_id=\"");
	add_hex(text->out, exemplar->trace_id, sizeof(exemplar->trace_id));
	strbuf_add(text->out, "\",span_id=\"");
	add_hex(text->out, exemplar->span_id, sizeof(exemplar->span_id));
	strbuf_add(text->out, "\"} ");
	strbuf_add_decimal(text->out, exemplar->value, buckets->scale);
	strbuf_add_char(text->out, ' ');
	strbuf_add_decimal(text->out, exemplar->at_ns, 9);
}

void metrics_histogram(struct metrics_text *text, const char *labels, const struct metrics_buckets *buckets)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i <= buckets->count; i++) {
		count += buckets->counts[i];
		add_bucket(text, labels, buckets, i);
		strbuf_add_number(text->out, count);
		add_exemplar(text, buckets, i);
		strbuf_add_char(text->out, '\n');
	}
	add_series(text, "_sum", labels);
	strbuf_add_decimal(text->out, buckets->sum, buckets->scale);
	strbuf_add_char(text->out, '\n');
	add_series(text, "_count", labels);
	strbuf_add_number(text->out, count);
	strbuf_add_char(text->out, '\n');
}

void metrics_end(struct metrics_text *text)
{
	if (text->is_openmetrics)
		strbuf_add(text->out, "# EOF\n");
}

void metrics_label(struct strbuf *buf, size_t begin, const char *key, const char *value)
{
	struct strbuf clean = STRBUF_EMPTY;

	strbuf_add_clean(&clean, value);
	if (buf->length > begin)
		strbuf_add_char(buf, ',');
	strbuf_add(buf, key);
	strbuf_add(buf, "=\"");
	add_escaped(buf, strbuf_text(&clean), true);
	strbuf_add_char(buf, '"');
	strbuf_discard(&clean, buf);
}
