/* Texts are kept once, and stay where they are. */
#include "../../../symbolizer/strings.h"
#include "../run.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 20000 };

START_TEST(equal_texts_are_one)
{
	struct strings strings = { 0 };
	char copy[] = "nginx.c";
	const char *kept = strings_keep(&strings, "nginx.c");

	ck_assert_str_eq(kept, "nginx.c");
	ck_assert_ptr_eq(strings_keep(&strings, copy), kept);
	ck_assert_ptr_eq(strings_keep_n(&strings, "nginx.cpp", 7), kept);
	ck_assert_ptr_ne(strings_keep(&strings, "nginx."), kept);
	ck_assert_str_eq(strings_keep(&strings, ""), "");
	strings_free(&strings);
}
END_TEST

START_TEST(texts_stay_where_they_are_while_others_come)
{
	static const char *kept[MANY];
	struct strings strings = { 0 };
	char text[32];

	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "function_%d", i);
		kept[i] = strings_keep(&strings, text);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "function_%d", i);
		ck_assert_str_eq(kept[i], text);
		ck_assert_ptr_eq(strings_keep(&strings, text), kept[i]);
	}
	strings_free(&strings);
}
END_TEST

START_TEST(a_text_longer_than_a_chunk_is_kept)
{
	struct strings strings = { 0 };
	char *text = malloc(1000001);

	memset(text, 'x', 1000000);
	text[1000000] = '\0';
	ck_assert_str_eq(strings_keep(&strings, text), text);
	ck_assert_str_eq(strings_keep(&strings, "short"), "short");
	free(text);
	strings_free(&strings);
}
END_TEST

START_TEST(a_text_ends_at_its_first_zero)
{
	struct strings strings = { 0 };

	ck_assert_ptr_eq(strings_keep_n(&strings, "ab\0cd", 5), strings_keep(&strings, "ab"));
	strings_free(&strings);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("strings");
	TCase *tests = tcase_create("strings");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, equal_texts_are_one);
	tcase_add_test(tests, texts_stay_where_they_are_while_others_come);
	tcase_add_test(tests, a_text_longer_than_a_chunk_is_kept);
	tcase_add_test(tests, a_text_ends_at_its_first_zero);
	failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
