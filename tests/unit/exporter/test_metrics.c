#include "../../../exporter/metrics_text.h"
#include "../../../exporter/view.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct made_session made;

static void setup(void)
{
	made_init(&made);
}

static void teardown(void)
{
	made_deinit(&made);
}

static struct view_memory *memory;
static bool is_openmetrics;

/* Renders /metrics of made. */
static struct strbuf scrape(void)
{
	struct strbuf out = STRBUF_EMPTY;
	struct names names = made_names(&made);
	struct snapshot *snapshot = snapshot_take(&made.seg);
	struct model *model = model_build(snapshot, &names);
	struct view_params params;

	made_complete(&made, snapshot);
	view_params_default(&params, &snapshot->config);
	params.memory = memory;
	params.is_openmetrics = is_openmetrics;
	view_find("/metrics")->render(model, &params, &out);
	ck_assert_int_eq(out.error, 0);
	model_free(model);
	snapshot_free(snapshot);
	return out;
}

static bool has_line(const struct strbuf *text, const char *line)
{
	char wanted[320];

	snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	return strstr(strbuf_text(text), wanted);
}

/* Functions first to first + count - 1 take ms and their number more. */
static void sample_functions(unsigned first, unsigned count, unsigned ms)
{
	char command[100];

	for (unsigned i = first; i < first + count; i++) {
		snprintf(command, sizeof(command), "stack _background 1 %u 1 1 f%u", ms + i, i);
		made_command(&made, command);
	}
}

static void declare_functions(void)
{
	char command[100];

	made_command(&made, "module m /m");
	for (unsigned i = 0; i < 60; i++) {
		snprintf(command, sizeof(command), "function m %u %u f%u -", i * 16 + 1, i * 16 + 16, i);
		made_command(&made, command);
	}
}

START_TEST(the_50_largest_functions_are_shown_and_stay_shown)
{
	memory = view_memory_new();
	declare_functions();
	sample_functions(0, 60, 1);
	struct strbuf text = scrape();
	ck_assert(!has_line(&text, "profshim_function_self_seconds_total{function=\"f9\",module=\"m\"} 0.01"));
	ck_assert(has_line(&text, "profshim_function_self_seconds_total{function=\"f10\",module=\"m\"} 0.011"));
	ck_assert(has_line(&text, "profshim_function_cumulative_seconds_total{function=\"f59\",module=\"m\"} 0.06"));
	strbuf_free(&text);
	sample_functions(0, 10, 1000); /* now others are larger */
	text = scrape();
	ck_assert(has_line(&text, "profshim_function_self_seconds_total{function=\"f9\",module=\"m\"} 1.019"));
	ck_assert(has_line(&text, "profshim_function_self_seconds_total{function=\"f10\",module=\"m\"} 0.011"));
	strbuf_free(&text);
	view_memory_free(memory);
	memory = NULL;
	text = scrape();
	ck_assert(!has_line(&text, "profshim_function_self_seconds_total{function=\"f10\",module=\"m\"} 0.011"));
	strbuf_free(&text);
}
END_TEST

START_TEST(functions_of_one_name_are_one_label_set)
{
	made_command(&made, "module m /a/m");
	made_command(&made, "module m2 /b/m");
	made_command(&made, "function m 0x10 0x20 f -");
	made_command(&made, "function m 0x20 0x30 g -");
	made_command(&made, "function m2 0x10 0x20 h -");
	made_command(&made, "stack _background 1 10 1 1 f");
	made_command(&made, "stack _background 1 20 1 1 m@0x18");
	free(made.functions[1].name);
	made.functions[1].name = strdup("f"); /* another static function of that name */
	made_command(&made, "stack _background 1 40 1 1 m@0x28");
	free(made.functions[2].name);
	made.functions[2].name = strdup("f"); /* and one in a module of the same base name */
	made_command(&made, "stack _background 1 80 1 1 m2@0x18");
	struct strbuf text = scrape();
	ck_assert(has_line(&text, "profshim_function_self_seconds_total{function=\"f\",module=\"m\"} 0.15"));
	strbuf_free(&text);
}
END_TEST

START_TEST(overflow_series_of_one_label_set_are_added_up)
{
	made_command(&made, "number bounds 100");
	made_command(&made, "endpoint a http GET _OTHER overflow");
	made_command(&made, "endpoint b http GET \"GET _OTHER\" overflow");
	made_command(&made, "requests a 200 - http 3 50");
	made_command(&made, "requests b 200 - http 4 150");
	struct strbuf text = scrape();
	const char *labels = "http_request_method=\"GET\",http_route=\"_OTHER\",http_response_status_code=\"200\","
	                     "url_scheme=\"http\",error_type=\"\"";
	char line[300];
	snprintf(line, sizeof(line), "http_server_request_duration_seconds_count{%s} 7", labels);
	ck_assert(has_line(&text, line));
	snprintf(line, sizeof(line), "http_server_request_duration_seconds_bucket{%s,le=\"0.0001\"} 3", labels);
	ck_assert(has_line(&text, line));
	snprintf(line, sizeof(line), "http_server_request_duration_seconds_sum{%s} 0.00075", labels);
	ck_assert(has_line(&text, line));
	strbuf_free(&text);
}
END_TEST

START_TEST(cpu_time_of_processes_does_not_fall_when_one_is_gone)
{
	memory = view_memory_new();
	made_command(&made, "process 4200001 1");
	made_command(&made, "process 4200002 1");
	made_command(&made, "usage 4200001 1500 1000 1 1 1 1");
	made_command(&made, "usage 4200002 2000 1000 1 1 1 1");
	struct strbuf text = scrape();
	ck_assert(has_line(&text, "process_cpu_seconds_total 3.5"));
	strbuf_free(&text);
	made.seg.processes[0].owner = 0;
	made.usages[1].usage.cpu_ns += 250000000;
	text = scrape();
	ck_assert(has_line(&text, "process_cpu_seconds_total 3.75"));
	strbuf_free(&text);
	made.seg.processes[0].owner = 4200001; /* the same id again, another process */
	made.usages[0].usage = (struct snapshot_usage){ .has_stat = true, .start_real_ns = 7, .cpu_ns = 1000000000 };
	text = scrape();
	ck_assert(has_line(&text, "process_cpu_seconds_total 4.75"));
	strbuf_free(&text);
	view_memory_free(memory);
}
END_TEST

START_TEST(a_usage_that_cannot_be_read_is_absent)
{
	made_command(&made, "process 4200001 1");
	struct strbuf text = scrape();
	ck_assert_ptr_null(strstr(strbuf_text(&text), "\nprocess_"));
	ck_assert(has_line(&text, "profshim_processes 1"));
	strbuf_free(&text);
}
END_TEST

START_TEST(label_values_are_escaped)
{
	struct strbuf labels = STRBUF_EMPTY;

	metrics_label(&labels, 0, "a", "back\\slash \"quoted\"");
	metrics_label(&labels, 0, "b", "");
	ck_assert_str_eq(strbuf_text(&labels), "a=\"back\\\\slash \\\"quoted\\\"\",b=\"\"");
	strbuf_free(&labels);
}
END_TEST

static void expect_bound(bool in_openmetrics, uint64_t bound, unsigned scale, const char *le)
{
	struct strbuf out = STRBUF_EMPTY;
	struct metrics_text text = { .out = &out, .is_openmetrics = in_openmetrics, .name = "x", .type = METRICS_HISTOGRAM };
	const uint64_t counts[2] = { 1, 2 };
	char wanted[200];

	metrics_histogram(&text, "", &(struct metrics_buckets){ &bound, counts, 1, scale, 5, NULL });
	snprintf(wanted, sizeof(wanted), "x_bucket{le=\"%s\"} 1\nx_bucket{le=\"+Inf\"} 3\n", le);
	ck_assert_msg(!strncmp(strbuf_text(&out), wanted, strlen(wanted)), "%s", strbuf_text(&out));
	strbuf_free(&out);
}

static void write_histogram(struct strbuf *out, bool with_exemplar, uint64_t value)
{
	struct metrics_text text = { .out = out, .is_openmetrics = with_exemplar, .name = "x", .type = METRICS_HISTOGRAM };
	const uint64_t bounds[2] = { 100000000, 200000000 }, counts[3] = { 1, 1, 1 };
	struct metrics_exemplar exemplar = { .at_ns = 1700000000123000000, .value = value };

	memset(exemplar.trace_id, 0x1f, sizeof(exemplar.trace_id));
	memset(exemplar.span_id, 0xe0, sizeof(exemplar.span_id));
	metrics_histogram(&text, "", &(struct metrics_buckets){ bounds, counts, 2, 9, 5, &exemplar });
}

static void expect_exemplar(uint64_t value, const char *le, const char *count, const char *seconds)
{
	struct strbuf out = STRBUF_EMPTY;
	char wanted[300];

	write_histogram(&out, true, value);
	snprintf(wanted, sizeof(wanted), "x_bucket{le=\"%s\"} %s # {trace_id=\"1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f\","
	         "span_id=\"e0e0e0e0e0e0e0e0\"} %s 1700000000.123\n", le, count, seconds);
	ck_assert_msg(strstr(strbuf_text(&out), wanted) != NULL, "no %s in %s", wanted, strbuf_text(&out));
	const char *first = strstr(strbuf_text(&out), " # ");
	ck_assert_ptr_null(strstr(first + 1, " # "));
	strbuf_free(&out);
}

START_TEST(an_exemplar_stands_at_the_bucket_that_its_value_is_in)
{
	expect_exemplar(1, "0.1", "1", "0.000000001");
	expect_exemplar(100000000, "0.1", "1", "0.1");
	expect_exemplar(100000001, "0.2", "2", "0.100000001");
	expect_exemplar(7000000000, "+Inf", "3", "7");
}
END_TEST

START_TEST(the_classic_format_has_no_exemplars)
{
	struct strbuf out = STRBUF_EMPTY;

	write_histogram(&out, false, 1);
	ck_assert_ptr_null(strchr(strbuf_text(&out), '#'));
	strbuf_free(&out);
}
END_TEST

START_TEST(of_equal_label_sets_the_latest_exemplar_is_shown)
{
	made_command(&made, "number bounds 100");
	made_command(&made, "endpoint a http GET _OTHER overflow");
	made_command(&made, "endpoint b http GET \"GET _OTHER\" overflow");
	made_command(&made, "requests a 200 - http 1 50");
	made_command(&made, "requests b 200 - http 1 50");
	made_command(&made, "exemplar a 200 - http 50 1000 a");
	made_command(&made, "exemplar b 200 - http 50 2000 b");
	is_openmetrics = true;
	struct strbuf text = scrape();
	is_openmetrics = false;
	ck_assert_ptr_nonnull(strstr(strbuf_text(&text), "le=\"0.0001\"} 2 # {trace_id=\"bbbb"));
	ck_assert_ptr_null(strstr(strbuf_text(&text), "aaaaaaaa"));
	strbuf_free(&text);
}
END_TEST

/* A counter that falls is a restart to Prometheus. */
START_TEST(cpu_time_of_an_endpoint_that_is_not_known_yet_waits)
{
	made_command(&made, "module m /m");
	made_command(&made, "function m 1 9 f -");
	made_command(&made, "endpoint a http GET \"GET /a\"");
	made_command(&made, "endpoint s http GET x");
	made_command(&made, "endpoint other http GET _OTHER overflow");
	made_command(&made, "stack a 1 1000 1 1 f");
	made_command(&made, "stack other 1 1000 1 1 f");
	made_command(&made, "stack s 2 2000 1 2 f");
	made_command(&made, "pending s");
	struct strbuf text = scrape();
	ck_assert(has_line(&text, "profshim_endpoint_cpu_seconds_total{protocol=\"http\",endpoint=\"_OTHER\"} 1"));
	ck_assert(has_line(&text, "profshim_endpoint_cpu_seconds_total{protocol=\"http\",endpoint=\"GET /a\"} 1"));
	ck_assert(has_line(&text, "profshim_function_self_seconds_total{function=\"f\",module=\"m\"} 4"));
	strbuf_free(&text);
	made.seg.endpoints[SEG_ENDPOINT_FIRST + 1].ready = 1;
	made_command(&made, "alias s a");
	text = scrape();
	ck_assert(has_line(&text, "profshim_endpoint_cpu_seconds_total{protocol=\"http\",endpoint=\"_OTHER\"} 1"));
	ck_assert(has_line(&text, "profshim_endpoint_cpu_seconds_total{protocol=\"http\",endpoint=\"GET /a\"} 3"));
	strbuf_free(&text);
}
END_TEST

START_TEST(bounds_are_written_as_client_libraries_do)
{
	expect_bound(false, 50000, 9, "5e-05");
	expect_bound(false, 100000, 9, "0.0001");
	expect_bound(false, 2500000, 9, "0.0025");
	expect_bound(false, 12345, 9, "1.2345e-05");
	expect_bound(false, 1000000000, 9, "1");
	expect_bound(false, 10000000000, 9, "10");
	expect_bound(false, 262144, 0, "262144");
	expect_bound(false, 1000000, 0, "1e+06");
	expect_bound(false, 1048576, 0, "1.048576e+06");
	expect_bound(true, 1000000000, 9, "1.0");
	expect_bound(true, 256, 0, "256.0");
	expect_bound(true, 7500000000, 9, "7.5");
	expect_bound(true, 1000000, 0, "1e+06");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tests = tcase_create("metrics");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, the_50_largest_functions_are_shown_and_stay_shown);
	tcase_add_test(tests, functions_of_one_name_are_one_label_set);
	tcase_add_test(tests, overflow_series_of_one_label_set_are_added_up);
	tcase_add_test(tests, cpu_time_of_processes_does_not_fall_when_one_is_gone);
	tcase_add_test(tests, a_usage_that_cannot_be_read_is_absent);
	tcase_add_test(tests, label_values_are_escaped);
	tcase_add_test(tests, an_exemplar_stands_at_the_bucket_that_its_value_is_in);
	tcase_add_test(tests, the_classic_format_has_no_exemplars);
	tcase_add_test(tests, of_equal_label_sets_the_latest_exemplar_is_shown);
	tcase_add_test(tests, cpu_time_of_an_endpoint_that_is_not_known_yet_waits);
	tcase_add_test(tests, bounds_are_written_as_client_libraries_do);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
