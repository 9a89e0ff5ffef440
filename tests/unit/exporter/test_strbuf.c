#include "../../../exporter/strbuf.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void expect(struct strbuf *buf, const char *text)
{
	ck_assert_int_eq(buf->error, 0);
	ck_assert_str_eq(strbuf_text(buf), text);
	ck_assert_uint_eq(buf->length, strlen(text));
	strbuf_free(buf);
}

START_TEST(an_untouched_buffer_is_the_empty_text)
{
	struct strbuf buf = STRBUF_EMPTY;

	expect(&buf, "");
}
END_TEST

START_TEST(pieces_follow_each_other_however_long)
{
	struct strbuf buf = STRBUF_EMPTY;
	char wanted[10001] = "";

	for (int i = 0; i < 1000; i++) {
		strbuf_printf(&buf, "%05d", i);
		strbuf_add(&buf, "abcd");
		strbuf_add_char(&buf, ' ');
		sprintf(wanted + (size_t)i * 10, "%05dabcd ", i);
	}
	expect(&buf, wanted);
}
END_TEST

START_TEST(printf_of_more_than_fits_is_whole)
{
	struct strbuf buf = STRBUF_EMPTY;
	char word[5000];

	memset(word, 'x', sizeof(word));
	word[sizeof(word) - 1] = '\0';
	strbuf_printf(&buf, "%s", word);
	expect(&buf, word);
}
END_TEST

START_TEST(after_a_failure_nothing_is_added_and_the_error_stays)
{
	struct strbuf buf = STRBUF_EMPTY;

	strbuf_add(&buf, "kept");
	strbuf_add_bytes(&buf, "", SIZE_MAX / 2);
	ck_assert_int_eq(buf.error, -ENOMEM);
	strbuf_add(&buf, "lost");
	strbuf_printf(&buf, "%d", 1);
	ck_assert_int_eq(buf.error, -ENOMEM);
	ck_assert_str_eq(strbuf_text(&buf), "kept");
	strbuf_free(&buf);
}
END_TEST

START_TEST(decimals_are_exact_and_have_no_trailing_zeros)
{
	static const struct {
		uint64_t n;
		unsigned scale;
		const char *text;
	} cases[] = {
		{ 0, 9, "0" }, { 1, 9, "0.000000001" }, { 1500000000, 9, "1.5" }, { 3, 0, "3" }, { 100, 0, "100" },
		{ 50000, 9, "0.00005" }, { 10000000000, 9, "10" }, { UINT64_MAX, 0, "18446744073709551615" },
		{ UINT64_MAX, 9, "18446744073.709551615" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct strbuf buf = STRBUF_EMPTY;
		strbuf_add_decimal(&buf, cases[i].n, cases[i].scale);
		expect(&buf, cases[i].text);
	}
}
END_TEST

START_TEST(rounding_is_half_up_and_carries)
{
	static const struct {
		uint64_t n;
		unsigned decimals;
		const char *text;
	} cases[] = {
		{ 1234499999, 3, "1.234" }, { 1234500000, 3, "1.235" }, { 999999999, 3, "1.000" }, { 999999999, 0, "1" },
		{ 499999, 3, "0.000" }, { 500000, 3, "0.001" }, { 42310000000, 2, "42.31" }, { 7, 9, "0.000000007" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct strbuf buf = STRBUF_EMPTY;
		strbuf_add_rounded(&buf, cases[i].n, 9, cases[i].decimals);
		expect(&buf, cases[i].text);
	}
}
END_TEST

START_TEST(columns_are_right_aligned_and_grow_when_they_must)
{
	struct strbuf buf = STRBUF_EMPTY;

	strbuf_add(&buf, "|");
	strbuf_add_column(&buf, 9412000000, 9, 3, 8);
	strbuf_add(&buf, "|");
	strbuf_add_column(&buf, 123456789000000000, 9, 3, 8);
	strbuf_add(&buf, "|");
	expect(&buf, "|   9.412|123456789.000|");
}
END_TEST

START_TEST(clean_text_is_one_line_of_valid_utf8)
{
	static const struct {
		const char *raw, *clean;
	} cases[] = {
		{ "plain", "plain" },
		{ "gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "a\nb\tc\x1b[2Jd\x7f", "a?b?c?[2Jd?" },
		{ "\xc2\x9b" "31m", "?31m" },                          /* CSI as one C1 control */
		{ "\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd" },             /* no lead byte; cut short */
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },             /* overlong slash */
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* a surrogate */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* beyond Unicode */
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct strbuf buf = STRBUF_EMPTY;
		strbuf_add_clean(&buf, cases[i].raw);
		expect(&buf, cases[i].clean);
	}
}
END_TEST

START_TEST(truncating_keeps_the_beginning)
{
	struct strbuf buf = STRBUF_EMPTY;

	strbuf_truncate(&buf, 0);
	strbuf_add(&buf, "hello");
	strbuf_truncate(&buf, 9);
	ck_assert_str_eq(strbuf_text(&buf), "hello");
	strbuf_truncate(&buf, 2);
	expect(&buf, "he");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("strbuf");
	TCase *tests = tcase_create("strbuf");

	tcase_add_test(tests, an_untouched_buffer_is_the_empty_text);
	tcase_add_test(tests, pieces_follow_each_other_however_long);
	tcase_add_test(tests, printf_of_more_than_fits_is_whole);
	tcase_add_test(tests, after_a_failure_nothing_is_added_and_the_error_stays);
	tcase_add_test(tests, decimals_are_exact_and_have_no_trailing_zeros);
	tcase_add_test(tests, rounding_is_half_up_and_carries);
	tcase_add_test(tests, columns_are_right_aligned_and_grow_when_they_must);
	tcase_add_test(tests, clean_text_is_one_line_of_valid_utf8);
	tcase_add_test(tests, truncating_keeps_the_beginning);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
