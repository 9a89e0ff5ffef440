/* Every allocation of the exporter's core fails once, the others succeeding: each time the failure must be told (NULL or
 * an error remembered), never swallowed, and nothing may crash or leak.
 */
#include "../../../exporter/view.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned long calls_until_failure; /* 0 = none fails */
static bool has_failed;

static bool fails_now(void)
{
	if (!calls_until_failure || --calls_until_failure)
		return false;
	errno = ENOMEM;
	return has_failed = true;
}

/* The linker puts these in the place of malloc and its kin in all objects of ours (--wrap). */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t n)
{
	return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n)
{
	return fails_now() ? NULL : __real_realloc(old, n);
}

char *__wrap_strdup(const char *text)
{
	return fails_now() ? NULL : __real_strdup(text);
}

static struct made_session made;
static struct names names;
static struct snapshot *snapshot;

static void setup(void)
{
	made_init(&made);
	made_command(&made, "number bounds 100 1000");
	made_command(&made, "module m /lib/m.so");
	made_command(&made, "function m 0x100 0x200 f f.c:1");
	made_command(&made, "function m 0x200 0x300 g g.c:2");
	made_command(&made, "endpoint a http GET \"GET /a\"");
	made_command(&made, "endpoint over http GET _OTHER overflow");
	made_command(&made, "endpoint more http GET \"GET x\" overflow");
	made_command(&made, "endpoint set redis _OTHER SET");
	made_command(&made, "stack a 1 10 3 1 f g {recv}");
	made_command(&made, "stack set 1 10 3 1 f m@0x500");
	made_command(&made, "lost a 1 10");
	made_command(&made, "counter profshim_samples_dropped_total cells_full 1");
	made_command(&made, "requests a 200 - http 5 150");
	made_command(&made, "requests over 200 - http 5 150");
	made_command(&made, "requests more 200 - http 5 150");
	made_command(&made, "requests set 0 OOM http 5 150");
	made_command(&made, "active GET http 1");
	made_command(&made, "process 4200001 1");
	made_command(&made, "usage 4200001 1 1 1 1 1 1");
	made_command(&made, "call recv 5 5");
	made_command(&made, "peer 10.0.0.1 80");
	made_command(&made, "asked set 0 - http 5 150 10.0.0.1");
	made_command(&made, "first_byte a 5 150");
	made_command(&made, "stream a opened 1 0");
	made_command(&made, "exemplar a 200 - http 150 7 a");
	made_command(&made, "slow a 200 - http 1 50 1 2 3 a id");
	made_command(&made, "slow_stack 1 10 f g");
	made_command(&made, "slow set 0 OOM http 1 50 1 2 3 a id");
	made_command(&made, "connection served http http 4200001 5 0 0 0 0");
	made_command(&made, "waits a 1 1");
	made_command(&made, "counter profshim_blind_calls_total tls 1");
	names = made_names(&made);
	snapshot = snapshot_take(&made.seg);
	made_complete(&made, snapshot);
}

static void teardown(void)
{
	calls_until_failure = 0;
	snapshot_free(snapshot);
	made_deinit(&made);
}

START_TEST(a_snapshot_without_memory_is_none)
{
	for (unsigned long nth = 1; nth < 1000; nth++) {
		has_failed = false;
		calls_until_failure = nth;
		struct snapshot *another = snapshot_take(&made.seg);
		calls_until_failure = 0;
		ck_assert_int_eq(another == NULL, has_failed);
		snapshot_free(another);
		if (!has_failed)
			return;
	}
	ck_abort_msg("it never succeeds");
}
END_TEST

/* The lines of the log, from the entry to the text. */
START_TEST(a_line_of_the_slow_log_without_memory_is_an_error)
{
	for (unsigned long nth = 1; nth < 1000; nth++) {
		struct strbuf out = STRBUF_EMPTY;
		has_failed = false;
		calls_until_failure = nth;
		struct snapshot *slow = snapshot_take_slow(&made.seg, made.slow, 1);
		struct model *model = slow ? model_build(slow, &names) : NULL;
		if (model)
			view_slow_log_render(model, &out);
		calls_until_failure = 0;
		ck_assert_int_eq(model == NULL || out.error != 0, has_failed);
		model_free(model);
		snapshot_free(slow);
		strbuf_free(&out);
		if (!has_failed)
			return;
	}
	ck_abort_msg("it never succeeds");
}
END_TEST

START_TEST(a_model_without_memory_is_none)
{
	for (unsigned long nth = 1; nth < 1000; nth++) {
		has_failed = false;
		calls_until_failure = nth;
		struct model *model = model_build(snapshot, &names);
		calls_until_failure = 0;
		ck_assert_int_eq(model == NULL, has_failed);
		model_free(model);
		if (!has_failed)
			return;
	}
	ck_abort_msg("it never succeeds");
}
END_TEST

static void render_failing(const struct model *model, const struct view *view, const struct view_params *params)
{
	for (unsigned long nth = 1; nth < 20000; nth++) {
		struct strbuf out = STRBUF_EMPTY;
		has_failed = false;
		calls_until_failure = nth;
		view->render(model, params, &out);
		calls_until_failure = 0;
		if (out.error != (has_failed ? -ENOMEM : 0))
			ck_abort_msg("%s: failure of allocation %lu gives error %d", view->path, nth, out.error);
		strbuf_free(&out);
		if (!has_failed)
			return;
	}
	ck_abort_msg("%s never succeeds", view->path);
}

START_TEST(a_view_without_memory_says_so)
{
	struct model *model = model_build(snapshot, &names);
	struct view_params params;

	view_params_default(&params, &snapshot->config);
	for (const struct view *view = views; view->path; view++)
		for (int variant = 0; variant < 4; variant++) {
			params.by = variant & 1 ? MODEL_BY_MODULE : MODEL_BY_LINE;
			params.is_json = params.is_openmetrics = variant & 2;
			render_failing(model, view, &params);
		}
	model_free(model);
}
END_TEST

/* What was not remembered this time is the next time, hence no more is asked than that nothing breaks. */
START_TEST(a_memory_without_memory_does_without)
{
	struct model *model = model_build(snapshot, &names);
	struct view_params params;

	view_params_default(&params, &snapshot->config);
	for (unsigned long nth = 1; nth < 2000; nth += 7) {
		struct strbuf out = STRBUF_EMPTY;
		calls_until_failure = nth;
		struct view_memory *memory = params.memory = view_memory_new();
		view_find("/metrics")->render(model, &params, &out);
		calls_until_failure = 0;
		strbuf_free(&out);
		view_find("/metrics")->render(model, &params, &out);
		ck_assert_int_eq(out.error, 0);
		ck_assert_ptr_nonnull(strstr(strbuf_text(&out), "profshim_function_self_seconds_total{function=\"f\""));
		strbuf_free(&out);
		view_memory_free(memory);
	}
	model_free(model);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("no_memory");
	TCase *tests = tcase_create("no_memory");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_snapshot_without_memory_is_none);
	tcase_add_test(tests, a_model_without_memory_is_none);
	tcase_add_test(tests, a_line_of_the_slow_log_without_memory_is_an_error);
	tcase_add_test(tests, a_view_without_memory_says_so);
	tcase_add_test(tests, a_memory_without_memory_does_without);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
