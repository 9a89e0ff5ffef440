#include "../../../exporter/json.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(members_stand_in_the_order_they_were_written)
{
	struct json_writer json = { 0 };
	struct strbuf out = STRBUF_EMPTY;

	json_write_begin_object(&json, NULL);
	json_write_text(&json, "z", "text");
	json_write_number(&json, "a", UINT64_MAX);
	json_write_seconds(&json, "s", 1500000001);
	json_write_bool(&json, "b", true);
	json_write_null(&json, "n");
	json_write_begin_array(&json, "list");
	json_write_number(&json, NULL, 1);
	json_write_begin_object(&json, NULL);
	json_write_end(&json);
	json_write_end(&json);
	json_write_end(&json);
	json_write_finish(&json, &out);
	ck_assert_int_eq(out.error, 0);
	ck_assert_str_eq(strbuf_text(&out), "{\n  \"z\": \"text\",\n  \"a\": 9223372036854775807,\n  \"s\": 1.500000001,\n"
	                                    "  \"b\": true,\n  \"n\": null,\n  \"list\": [\n    1,\n    {}\n  ]\n}\n");
	strbuf_free(&out);
}
END_TEST

START_TEST(any_bytes_become_a_valid_text)
{
	struct json_writer json = { 0 };
	struct strbuf out = STRBUF_EMPTY;

	json_write_begin_array(&json, NULL);
	json_write_text(&json, NULL, "\xff\"\\\n");
	json_write_text(&json, NULL, NULL);
	json_write_end(&json);
	json_write_finish(&json, &out);
	ck_assert_str_eq(strbuf_text(&out), "[\n  \"\xef\xbf\xbd\\\"\\\\?\",\n  null\n]\n");
	strbuf_free(&out);
}
END_TEST

START_TEST(too_deep_a_document_is_an_error_of_the_text)
{
	struct json_writer json = { 0 };
	struct strbuf out = STRBUF_EMPTY;

	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		json_write_begin_array(&json, NULL);
	json_write_number(&json, NULL, 1);
	json_write_finish(&json, &out);
	ck_assert_int_eq(out.error, -ENOMEM);
	strbuf_free(&out);
}
END_TEST

/* localedef makes a locale whose decimal point is a comma, whatever the machine has installed. */
START_TEST(a_program_with_a_decimal_comma_gets_the_same_json)
{
	struct json_writer json = { 0 };
	struct strbuf out = STRBUF_EMPTY;
	char folder[] = "/tmp/profshim-locale-XXXXXX", command[200];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(command, sizeof(command), "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
	ck_assert_int_eq(system(command), 0);
	setenv("LOCPATH", folder, 1);
	ck_assert_ptr_nonnull(setlocale(LC_ALL, "de_DE.UTF-8"));
	ck_assert_str_eq(localeconv()->decimal_point, ",");
	json_write_begin_array(&json, NULL);
	json_write_seconds(&json, NULL, 1500000000);
	json_write_end(&json);
	json_write_finish(&json, &out);
	strbuf_add_decimal(&out, 1500000000, 9);
	ck_assert_str_eq(strbuf_text(&out), "[\n  1.5\n]\n1.5");
	ck_assert_str_eq(localeconv()->decimal_point, ","); /* the program's own is as it was */
	strbuf_free(&out);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tests = tcase_create("json");

	tcase_set_timeout(tests, 60); /* localedef takes a while on a busy machine */
	tcase_add_test(tests, members_stand_in_the_order_they_were_written);
	tcase_add_test(tests, any_bytes_become_a_valid_text);
	tcase_add_test(tests, too_deep_a_document_is_an_error_of_the_text);
	tcase_add_test(tests, a_program_with_a_decimal_comma_gets_the_same_json);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
