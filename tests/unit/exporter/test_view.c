#include "../../../exporter/view.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
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

int main(void)
{
	Suite *suite = suite_create("view");
	TCase *tests = tcase_create("view");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, defaults_come_from_the_session);
	tcase_add_test(tests, every_parameter_is_taken);
	tcase_add_test(tests, a_wrong_parameter_is_named_with_its_value_and_what_is_accepted);
	tcase_add_test(tests, a_long_value_is_cut_between_characters);
	tcase_add_test(tests, an_endpoint_that_is_not_there_is_told_by_all_means);
	tcase_add_test(tests, views_are_found_by_their_exact_path);
	tcase_add_test(tests, content_types_follow_what_is_asked);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
