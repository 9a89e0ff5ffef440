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

static void expect_bound(bool is_openmetrics, uint64_t bound, unsigned scale, const char *le)
{
	struct strbuf out = STRBUF_EMPTY;
	struct metrics_text text = { .out = &out, .is_openmetrics = is_openmetrics, .name = "x", .type = METRICS_HISTOGRAM };
	const uint64_t counts[2] = { 1, 2 };
	char wanted[200];

	metrics_histogram(&text, "", &(struct metrics_buckets){ &bound, counts, 1, scale, 5 });
	snprintf(wanted, sizeof(wanted), "x_bucket{le=\"%s\"} 1\nx_bucket{le=\"+Inf\"} 3\n", le);
	ck_assert_msg(!strncmp(strbuf_text(&out), wanted, strlen(wanted)), "%s", strbuf_text(&out));
	strbuf_free(&out);
}

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
	tcase_add_test(tests, bounds_are_written_as_client_libraries_do);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
