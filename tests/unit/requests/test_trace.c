#include "../../../shim/requests/trace.h"
#include "check_main.h"
#include "guarded.h"

#include <stdio.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"
#define OTHER_TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define OTHER_SPAN "00f067aa0ba902b7"

struct field {
	const char *name;
	const char *value;
};

/* "TRACE SPAN [sampled]", and what the request id is, if there is one. */
static const char *text_of(const struct trace_context *context)
{
	static char text[256];
	size_t n = 0;

	if (trace_is_known(context)) {
		for (size_t i = 0; i < sizeof(context->trace_id); i++)
			n += (size_t)sprintf(text + n, "%02x", context->trace_id[i]);
		text[n++] = ' ';
		for (size_t i = 0; i < sizeof(context->span_id); i++)
			n += (size_t)sprintf(text + n, "%02x", context->span_id[i]);
		if (context->flags)
			n += (size_t)sprintf(text + n, " sampled");
	}
	if (context->request_id_bytes)
		n += (size_t)sprintf(text + n, "[%.*s]", (int)context->request_id_bytes, context->request_id);
	text[n] = '\0';
	return text;
}

static bool read_field(const struct field *field, struct trace_context *context)
{
	size_t n = strlen(field->value);

	return trace_read(trace_field_of(field->name, strlen(field->name)), guarded(field->value, n), n, context);
}

static const char *read_fields(const struct field *fields, size_t count)
{
	struct trace_context context = { 0 };

	for (size_t i = 0; i < count && fields[i].name; i++)
		read_field(&fields[i], &context);
	return text_of(&context);
}

START_TEST(fields_are_known_by_name_in_any_case_and_as_cgi_writes_them)
{
	static const struct {
		const char *name;
		enum trace_field field;
	} names[] = {
		{ "traceparent", TRACE_FIELD_TRACEPARENT }, { "TraceParent", TRACE_FIELD_TRACEPARENT },
		{ "b3", TRACE_FIELD_B3 }, { "B3", TRACE_FIELD_B3 }, { "X-B3-TraceId", TRACE_FIELD_B3_TRACE_ID },
		{ "x-b3-spanid", TRACE_FIELD_B3_SPAN_ID }, { "X-B3-Sampled", TRACE_FIELD_B3_SAMPLED },
		{ "X-B3-Flags", TRACE_FIELD_B3_FLAGS }, { "X_REQUEST_ID", TRACE_FIELD_REQUEST_ID },
		{ "X_B3_TRACEID", TRACE_FIELD_B3_TRACE_ID }, { "", TRACE_FIELD_NONE }, { "b", TRACE_FIELD_NONE },
		{ "traceparent ", TRACE_FIELD_NONE }, { "tracestate", TRACE_FIELD_NONE }, { "X-Request-Ix", TRACE_FIELD_NONE },
		{ "X-B3-ParentSpanId", TRACE_FIELD_NONE }, { "traceparen\x14", TRACE_FIELD_NONE },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = strlen(names[i].name);
		ck_assert_int_eq(trace_field_of(guarded(names[i].name, n), n), names[i].field);
	}
}
END_TEST

/* What one value gives; "" = it is refused. */
static const struct {
	struct field field;
	const char *expected;
} values[] = {
	{ { "traceparent", "00-" TRACE "-" SPAN "-01" }, TRACE " " SPAN " sampled" },
	{ { "traceparent", "00-" TRACE "-" SPAN "-00" }, TRACE " " SPAN },
	{ { "traceparent", "00-" TRACE "-" SPAN "-02" }, TRACE " " SPAN },
	{ { "traceparent", "00-" TRACE "-" SPAN "-ff" }, TRACE " " SPAN " sampled" },
	{ { "traceparent", "cc-" TRACE "-" SPAN "-01" }, TRACE " " SPAN " sampled" },
	{ { "traceparent", "cc-" TRACE "-" SPAN "-01-what-the-future" }, TRACE " " SPAN " sampled" },
	{ { "traceparent", "cc-" TRACE "-" SPAN "-01.what" }, "" },
	{ { "traceparent", "00-" TRACE "-" SPAN "-01-" }, "" },
	{ { "traceparent", "00-" TRACE "-" SPAN "-01 " }, "" },
	{ { "traceparent", "00-" TRACE "-" SPAN "-1" }, "" },
	{ { "traceparent", "00-" TRACE "-" SPAN "-.0" }, "" },
	{ { "traceparent", "00-" TRACE "-" SPAN }, "" },
	{ { "traceparent", "ff-" TRACE "-" SPAN "-01" }, "" },
	{ { "traceparent", ".0-" TRACE "-" SPAN "-01" }, "" },
	{ { "traceparent", "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01" }, "" },
	{ { "traceparent", "00-" TRACE "-B7AD6B7169203331-01" }, "" },
	{ { "traceparent", "00-00000000000000000000000000000000-" SPAN "-01" }, "" },
	{ { "traceparent", "00-" TRACE "-0000000000000000-01" }, "" },
	{ { "traceparent", "00_" TRACE "-" SPAN "-01" }, "" },
	{ { "traceparent", "00-" TRACE "0" SPAN "-01" }, "" },
	{ { "traceparent", "00-" TRACE "-" SPAN "_01" }, "" },
	{ { "traceparent", "00-0af7651916cd43dd8448eb211c80319-" SPAN "-01-" }, "" },
	{ { "traceparent", "" }, "" },
	{ { "b3", TRACE "-" SPAN }, TRACE " " SPAN },
	{ { "b3", TRACE "-" SPAN "-1" }, TRACE " " SPAN " sampled" },
	{ { "b3", TRACE "-" SPAN "-0" }, TRACE " " SPAN },
	{ { "b3", TRACE "-" SPAN "-d" }, TRACE " " SPAN " sampled" },
	{ { "b3", TRACE "-" SPAN "-1-" OTHER_SPAN }, TRACE " " SPAN " sampled" },
	{ { "b3", "d8448eb211c80319-" SPAN "-1" }, "0000000000000000d8448eb211c80319 " SPAN " sampled" },
	{ { "b3", "0" }, "" },
	{ { "b3", "1" }, "" },
	{ { "b3", "d" }, "" },
	{ { "b3", "" }, "" },
	{ { "b3", "-" }, "" },
	{ { "b3", "-" SPAN }, "" },
	{ { "b3", TRACE "-" }, "" },
	{ { "b3", TRACE "-b7ad6b716920333" }, "" },
	{ { "b3", TRACE "-" SPAN "-" }, "" },
	{ { "b3", TRACE "-" SPAN "-2" }, "" },
	{ { "b3", TRACE "-" SPAN "-1-" }, "" },
	{ { "b3", TRACE "-" SPAN "-1-0000000000000000" }, "" },
	{ { "b3", TRACE "-" SPAN "-1-" OTHER_SPAN "0" }, "" },
	{ { "b3", TRACE "-" SPAN "_1" }, "" },
	{ { "b3", "0af7651916cd43dd8448eb211c80319-" SPAN "-1" }, "" },
	{ { "b3", "0000000000000000-" SPAN "-1" }, "" },
	{ { "X-Request-ID", "f3b1c0de-0000-4000-8000-AbCdEf012345" }, "[f3b1c0de-0000-4000-8000-AbCdEf012345]" },
	{ { "X-Request-ID", "Root=1-5e.a:b/c+d_e@f" }, "[Root=1-5e.a:b/c+d_e@f]" },
	{ { "X-Request-ID", "0123456789012345678901234567890123456789012345678901234567890123" },
	  "[0123456789012345678901234567890123456789012345678901234567890123]" },
	{ { "X-Request-ID", "01234567890123456789012345678901234567890123456789012345678901234" }, "" },
	{ { "X-Request-ID", "" }, "" },
	{ { "X-Request-ID", "a b" }, "" },
	{ { "X-Request-ID", "a\"b" }, "" },
	{ { "X-Request-ID", "<b>" }, "" },
	{ { "X-Request-ID", "a\x80" }, "" },
	{ { "X-Request-ID", "a,b" }, "" },
	{ { "Authorization", "secret" }, "" },
};

START_TEST(a_value_is_read_if_and_only_if_its_grammar_allows_it)
{
	struct trace_context context = { 0 };
	bool is_read = read_field(&values[_i].field, &context);

	ck_assert_str_eq(text_of(&context), values[_i].expected);
	ck_assert_int_eq(is_read, values[_i].expected[0] != '\0');
}
END_TEST

START_TEST(bytes_of_a_refused_value_are_not_kept)
{
	static const struct trace_context nothing;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct trace_context context = { 0 };
		if (!read_field(&values[i].field, &context))
			ck_assert_mem_eq(&context, &nothing, sizeof(context));
	}
}
END_TEST

START_TEST(a_zero_byte_is_part_of_no_id)
{
	struct trace_context context = { 0 };

	ck_assert(!trace_read_request_id(guarded("a\0b", 3), 3, &context));
	ck_assert(!trace_read_b3(guarded(TRACE "-" SPAN "-\0", 51), 51, &context));
}
END_TEST

/* Several fields of one request. */
static const struct {
	struct field fields[5];
	const char *expected;
} requests[] = {
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-SpanId", SPAN } }, TRACE " " SPAN },
	{ { { "X-B3-SpanId", SPAN }, { "X-B3-Sampled", "1" }, { "X-B3-TraceId", TRACE } }, TRACE " " SPAN " sampled" },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-SpanId", SPAN }, { "X-B3-Sampled", "0" } }, TRACE " " SPAN },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-SpanId", SPAN }, { "X-B3-Sampled", "true" } }, TRACE " " SPAN " sampled" },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-SpanId", SPAN }, { "X-B3-Flags", "1" } }, TRACE " " SPAN " sampled" },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-SpanId", SPAN }, { "X-B3-Flags", "true" } }, TRACE " " SPAN },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-Sampled", "1" } }, "" },
	{ { { "X-B3-SpanId", SPAN } }, "" },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-SpanId", "x" } }, "" },
	{ { { "X-B3-TraceId", TRACE }, { "X-B3-TraceId", OTHER_TRACE }, { "X-B3-SpanId", SPAN } }, TRACE " " SPAN },
	{ { { "X-B3-TraceId", OTHER_TRACE }, { "X-B3-SpanId", OTHER_SPAN }, { "X-B3-Sampled", "1" },
	    { "b3", TRACE "-" SPAN "-0" } }, TRACE " " SPAN },
	{ { { "b3", TRACE "-" SPAN "-0" }, { "X-B3-TraceId", OTHER_TRACE }, { "X-B3-Sampled", "1" } }, TRACE " " SPAN },
	{ { { "b3", TRACE "-" SPAN "-1" }, { "b3", OTHER_TRACE "-" OTHER_SPAN } }, TRACE " " SPAN " sampled" },
	{ { { "b3", OTHER_TRACE "-" OTHER_SPAN "-0" }, { "traceparent", "00-" TRACE "-" SPAN "-01" } },
	  TRACE " " SPAN " sampled" },
	{ { { "traceparent", "00-" TRACE "-" SPAN "-01" }, { "b3", OTHER_TRACE "-" OTHER_SPAN "-0" },
	    { "X-B3-SpanId", OTHER_SPAN } }, TRACE " " SPAN " sampled" },
	{ { { "traceparent", "00-bad" }, { "b3", TRACE "-" SPAN } }, TRACE " " SPAN },
	{ { { "traceparent", "00-" TRACE "-" SPAN "-01" }, { "traceparent", "00-" OTHER_TRACE "-" SPAN "-01" } }, "" },
	{ { { "X-Request-ID", "one" }, { "X-Request-ID", "two" }, { "traceparent", "00-" TRACE "-" SPAN "-00" } },
	  TRACE " " SPAN "[one]" },
	{ { { "X-Request-ID", "not one!" }, { "X-Request-ID", "two" } }, "[two]" },
};

START_TEST(fields_go_before_one_another_in_any_order)
{
	ck_assert_str_eq(read_fields(requests[_i].fields, 5), requests[_i].expected);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, fields_are_known_by_name_in_any_case_and_as_cgi_writes_them);
	tcase_add_loop_test(tcase, a_value_is_read_if_and_only_if_its_grammar_allows_it, 0, sizeof(values) / sizeof(values[0]));
	tcase_add_test(tcase, bytes_of_a_refused_value_are_not_kept);
	tcase_add_test(tcase, a_zero_byte_is_part_of_no_id);
	tcase_add_loop_test(tcase, fields_go_before_one_another_in_any_order, 0, sizeof(requests) / sizeof(requests[0]));
}

int main(void)
{
	return check_main("trace", add_tests);
}
