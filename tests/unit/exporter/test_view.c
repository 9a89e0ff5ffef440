#include "../../../exporter/view.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <stdio.h>
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

static struct view_params defaults(void)
{
	struct view_params params;

	view_params_default(&params, &made.seg.head->config);
	return params;
}

START_TEST(defaults_come_from_the_session)
{
	made_command(&made, "number top 7");
	made_command(&made, "number sort 2");
	struct view_params params = defaults();
	ck_assert_uint_eq(params.top, 7);
	ck_assert_int_eq(params.sort, SEG_SORT_NCALLS);
	ck_assert_int_eq(params.by, MODEL_BY_FUNCTION);
	ck_assert_ptr_null(params.endpoint);
	ck_assert(!params.is_json && !params.is_openmetrics);
}
END_TEST

START_TEST(every_parameter_is_taken)
{
	struct view_params params = defaults();
	char problem[VIEW_PROBLEM_BYTES];

	ck_assert_ptr_null(view_params_set(&params, "top", "0", problem));
	ck_assert_ptr_null(view_params_set(&params, "sort", "name", problem));
	ck_assert_ptr_null(view_params_set(&params, "by", "line", problem));
	ck_assert_ptr_null(view_params_set(&params, "endpoint", "GET /a b", problem));
	ck_assert_ptr_null(view_params_set(&params, "seconds", "3600", problem));
	ck_assert_ptr_null(view_params_set(&params, "format", "json", problem));
	ck_assert_uint_eq(params.top, 0);
	ck_assert_int_eq(params.sort, SEG_SORT_NAME);
	ck_assert_int_eq(params.by, MODEL_BY_LINE);
	ck_assert_str_eq(params.endpoint, "GET /a b");
	ck_assert_uint_eq(params.seconds, 3600);
	ck_assert(params.is_json);
}
END_TEST

START_TEST(a_wrong_parameter_is_named_with_its_value_and_what_is_accepted)
{
	static const char *const cases[][3] = {
		{ "top", "many", "Parameter top: \"many\" is not accepted; give a number of rows, 0 (all) to 1000000." },
		{ "top", "-1", "Parameter top: \"-1\" is not accepted; give a number of rows, 0 (all) to 1000000." },
		{ "top", "", "Parameter top: \"\" is not accepted; give a number of rows, 0 (all) to 1000000." },
		{ "top", "1000001", "Parameter top: \"1000001\" is not accepted; give a number of rows, 0 (all) to 1000000." },
		{ "top", "18446744073709551617",
		  "Parameter top: \"18446744073709551617\" is not accepted; give a number of rows, 0 (all) to 1000000." },
		{ "seconds", "1.5",
		  "Parameter seconds: \"1.5\" is not accepted; give a number of seconds to wait, 0 (do not wait) to 3600." },
		{ "sort", "time", "Parameter sort: \"time\" is not accepted; give tottime, cumtime, ncalls or name." },
		{ "by", "file", "Parameter by: \"file\" is not accepted; give function, line or module." },
		{ "format", "xml", "Parameter format: \"xml\" is not accepted; give text or json." },
		{ "endpoint", "",
		  "Parameter endpoint: \"\" is not accepted; give an endpoint as the report names it, such as GET /users/{id}." },
		{ "limit", "3", "Parameter limit is not known; known are top, sort, by, endpoint, seconds and format." },
		{ "top", "a\nb\x1b", "Parameter top: \"a?b?\" is not accepted; give a number of rows, 0 (all) to 1000000." },
	};
	char problem[VIEW_PROBLEM_BYTES];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct view_params params = defaults(), before = params;
		const char *said = view_params_set(&params, cases[i][0], cases[i][1], problem);
		ck_assert_ptr_eq(said, problem);
		ck_assert_str_eq(said, cases[i][2]);
		ck_assert_mem_eq(&params, &before, sizeof(params));
	}
}
END_TEST

START_TEST(a_long_value_is_cut_between_characters)
{
	struct view_params params = defaults();
	char problem[VIEW_PROBLEM_BYTES], value[1000] = "x", shown[100] = "x";

	for (int i = 0; i < 300; i++)
		strcat(value, "\xe2\x82\xac");
	for (int i = 0; i < 19; i++) /* 1 + 19 * 3 = 58 bytes; another would pass 60 */
		strcat(shown, "\xe2\x82\xac");
	strcat(shown, "...\"");
	ck_assert_ptr_nonnull(view_params_set(&params, "top", value, problem));
	ck_assert_ptr_nonnull(strstr(problem, shown));
	ck_assert_ptr_nonnull(view_params_set(&params, value, "1", problem));
	ck_assert_ptr_nonnull(strstr(problem, "known are"));
}
END_TEST

START_TEST(an_endpoint_that_is_not_there_is_told_by_all_means)
{
	struct names names = made_names(&made);
	char problem[VIEW_PROBLEM_BYTES], wanted[VIEW_PROBLEM_BYTES + 1];
	struct strbuf out = STRBUF_EMPTY;

	made_command(&made, "endpoint a http GET \"GET /a\"");
	made_command(&made, "requests a 200 - http 1 1");
	struct snapshot *snapshot = snapshot_take(&made.seg);
	struct model *model = model_build(snapshot, &names);
	struct view_params params = defaults();
	ck_assert_ptr_null(view_params_check(&params, model, problem));
	params.endpoint = "GET /a";
	ck_assert_ptr_null(view_params_check(&params, model, problem));
	params.endpoint = "_idle";
	ck_assert_ptr_null(view_params_check(&params, model, problem));
	params.endpoint = "GET /b";
	ck_assert_ptr_eq(view_params_check(&params, model, problem), problem);
	ck_assert_str_eq(problem, "Parameter endpoint: this session knows no endpoint \"GET /b\"; "
	                          "give one of those that the report lists.");
	view_find("/report")->render(model, &params, &out);
	strcat(strcpy(wanted, problem), "\n");
	ck_assert_str_eq(strbuf_text(&out), wanted);
	strbuf_free(&out);
	model_free(model);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(views_are_found_by_their_exact_path)
{
	static const char *const paths[] = { "/", "/metrics", "/report", "/folded", "/requests/slow", "/requests/active", "/endpoints",
		                             "/connections", "/self" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		ck_assert_str_eq(view_find(paths[i])->path, paths[i]);
	ck_assert_ptr_null(view_find("/nope"));
	ck_assert_ptr_null(view_find(""));
	ck_assert_ptr_null(view_find("/report/"));
}
END_TEST

START_TEST(content_types_follow_what_is_asked)
{
	struct view_params params = defaults();

	ck_assert_str_eq(view_find("/metrics")->content_type(&params), "text/plain; version=0.0.4; charset=utf-8");
	ck_assert_str_eq(view_find("/report")->content_type(&params), "text/plain; charset=utf-8");
	params.is_openmetrics = params.is_json = true;
	ck_assert_str_eq(view_find("/metrics")->content_type(&params), "application/openmetrics-text; version=1.0.0; charset=utf-8");
	ck_assert_str_eq(view_find("/report")->content_type(&params), "application/json");
}
END_TEST

/* Renders /requests/slow of made, of one endpoint or (NULL) all. */
static struct strbuf slow(const char *endpoint)
{
	struct names names = made_names(&made);
	struct snapshot *snapshot = snapshot_take(&made.seg);
	struct model *model = model_build(snapshot, &names);
	struct view_params params = defaults();
	struct strbuf out = STRBUF_EMPTY;

	params.endpoint = endpoint;
	view_find("/requests/slow")->render(model, &params, &out);
	ck_assert_int_eq(out.error, 0);
	model_free(model);
	snapshot_free(snapshot);
	return out;
}

static unsigned occurrences(const struct strbuf *text, const char *wanted)
{
	unsigned count = 0;

	for (const char *at = strbuf_text(text); (at = strstr(at, wanted)); at++)
		count++;
	return count;
}

START_TEST(times_are_dates_of_rfc_3339)
{
	/* From date -u -d ... +%s. */
	static const struct {
		uint64_t real_ns;
		const char *text;
	} times[] = {
		{ 0, "1970-01-01T00:00:00.000000000Z" },
		{ 951782399999999999, "2000-02-28T23:59:59.999999999Z" },
		{ 951782400000000000, "2000-02-29T00:00:00.000000000Z" },
		{ 951868800000000001, "2000-03-01T00:00:00.000000001Z" },
		{ 1704067199000000000, "2023-12-31T23:59:59.000000000Z" },
		{ 1709251199123000000, "2024-02-29T23:59:59.123000000Z" },
		{ 1735689600000000000, "2025-01-01T00:00:00.000000000Z" },
		{ 4107542400000000000, "2100-03-01T00:00:00.000000000Z" },
		{ UINT64_MAX, "2554-07-21T23:34:33.709551615Z" },
	};
	char wanted[64];

	made_command(&made, "endpoint a http GET \"GET /a\"");
	made_command(&made, "slow a 200 - http 1 50 1 2 3 - -");
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		made.slow->begin_real_ns = times[i].real_ns;
		struct strbuf out = slow(NULL);
		snprintf(wanted, sizeof(wanted), "\"start\": \"%s\"", times[i].text);
		ck_assert_msg(strstr(strbuf_text(&out), wanted) != NULL, "no %s in %s", wanted, strbuf_text(&out));
		strbuf_free(&out);
	}
}
END_TEST

/* A chain of frames, the last of which is its leaf's node. */
static uint32_t deep_stack(uint32_t depth)
{
	uint32_t node = 0;

	for (uint32_t i = 0; i < depth; i++) {
		uint32_t frame = seg_table_insert(&made.seg.slots[SEG_TABLE_FRAMES], seg_frame_key(SEG_MODULE_FIRST, 16 + i), NULL) + 1;
		node = seg_table_insert(&made.seg.slots[SEG_TABLE_NODES], seg_node_key(node, frame), NULL) + 1;
	}
	return node;
}

START_TEST(an_answer_of_many_deep_stacks_leaves_out_the_lighter_ones)
{
	made_command(&made, "module m /m");
	made_command(&made, "endpoint a http GET \"GET /a\"");
	made_command(&made, "endpoint b http GET \"GET /b\"");
	uint32_t leaf = deep_stack(500);
	for (int i = 0; i < 2 * SEG_SLOW_PER_ENDPOINT; i++) {
		made_command(&made, i % 2 ? "slow a 200 - http 1 50 1 2 3 - -" : "slow b 200 - http 1 50 1 2 3 - -");
		made.slow->stack_count = SEG_SLOW_STACKS;
		for (uint32_t j = 0; j < SEG_SLOW_STACKS; j++)
			made.slow->stacks[j] = (struct seg_slow_stack){ leaf, 1, j };
	}
	struct strbuf out = slow(NULL); /* 64 * 9 * 500 names are below 300000, with one stack more they are not */
	ck_assert_uint_eq(occurrences(&out, "\"stacks_left_out\": 7"), 2 * SEG_SLOW_PER_ENDPOINT);
	ck_assert_uint_eq(occurrences(&out, "\"frames\""), 2 * SEG_SLOW_PER_ENDPOINT * 9);
	ck_assert_uint_eq(occurrences(&out, "\"cpu_seconds\": 1.5e-8"), 2 * SEG_SLOW_PER_ENDPOINT); /* the heaviest */
	strbuf_free(&out);
	out = slow("GET /a");
	ck_assert_uint_eq(occurrences(&out, "\"stacks_left_out\": 0"), SEG_SLOW_PER_ENDPOINT);
	ck_assert_uint_eq(occurrences(&out, "\"frames\""), SEG_SLOW_PER_ENDPOINT * SEG_SLOW_STACKS);
	strbuf_free(&out);
}
END_TEST

START_TEST(endpoints_of_one_name_show_as_many_slow_requests_as_one)
{
	made_command(&made, "endpoint get http GET _OTHER overflow");
	made_command(&made, "endpoint post http POST _OTHER overflow");
	for (int i = 0; i < SEG_SLOW_PER_ENDPOINT; i++) {
		made_command(&made, "slow get 200 - http 1 50 1 2 3 - -");
		made_command(&made, "slow post 200 - http 1 60 1 2 3 - -");
	}
	struct strbuf out = slow(NULL);
	ck_assert_uint_eq(occurrences(&out, "\"start\""), SEG_SLOW_PER_ENDPOINT);
	ck_assert_uint_eq(occurrences(&out, "\"duration_seconds\": 0.06"), SEG_SLOW_PER_ENDPOINT);
	ck_assert_uint_eq(occurrences(&out, "\"slow_requests\": 64"), 1);
	strbuf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("view");
	TCase *tests = tcase_create("view");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 30);
	tcase_add_test(tests, defaults_come_from_the_session);
	tcase_add_test(tests, every_parameter_is_taken);
	tcase_add_test(tests, a_wrong_parameter_is_named_with_its_value_and_what_is_accepted);
	tcase_add_test(tests, a_long_value_is_cut_between_characters);
	tcase_add_test(tests, an_endpoint_that_is_not_there_is_told_by_all_means);
	tcase_add_test(tests, views_are_found_by_their_exact_path);
	tcase_add_test(tests, content_types_follow_what_is_asked);
	tcase_add_test(tests, times_are_dates_of_rfc_3339);
	tcase_add_test(tests, an_answer_of_many_deep_stacks_leaves_out_the_lighter_ones);
	tcase_add_test(tests, endpoints_of_one_name_show_as_many_slow_requests_as_one);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
