/* Address ranges: which one contains an address, also where they overlap. */
#include "../../../symbolizer/spans.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>

static struct spans spans;

static void start(void)
{
	spans = (struct spans){ 0 };
}

static void stop(void)
{
	spans_free(&spans);
}

static void add(uint64_t from, uint64_t to, uint32_t id)
{
	ck_assert_int_eq(spans_add(&spans, from, to, id), 0);
}

static int id_at(uint64_t address)
{
	const struct span *span = spans_find(&spans, address);

	return span ? (int)span->id : -1;
}

START_TEST(nothing_is_found_among_no_spans)
{
	spans_sort(&spans);
	ck_assert_int_eq(id_at(0), -1);
	ck_assert_int_eq(id_at(UINT64_MAX), -1);
}
END_TEST

START_TEST(a_span_contains_its_start_but_not_its_end)
{
	add(10, 20, 1);
	spans_sort(&spans);
	ck_assert_int_eq(id_at(9), -1);
	ck_assert_int_eq(id_at(10), 1);
	ck_assert_int_eq(id_at(19), 1);
	ck_assert_int_eq(id_at(20), -1);
}
END_TEST

START_TEST(spans_added_in_any_order_are_found)
{
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t place = i * 617 % 1000; /* 617 and 1000 have no common factor */

		add(place * 10, place * 10 + 5, place);
	}
	spans_sort(&spans);
	for (uint32_t i = 0; i < 1000; i++) {
		ck_assert_int_eq(id_at(i * 10), (int)i);
		ck_assert_int_eq(id_at(i * 10 + 5), -1);
	}
}
END_TEST

START_TEST(the_innermost_of_nested_spans_wins_and_the_outer_one_goes_on_behind_it)
{
	add(0, 100, 1);
	add(10, 50, 2);
	add(20, 30, 3);
	add(60, 70, 4);
	spans_sort(&spans);
	ck_assert_int_eq(id_at(5), 1);
	ck_assert_int_eq(id_at(25), 3);
	ck_assert_int_eq(id_at(30), 2);
	ck_assert_int_eq(id_at(55), 1);
	ck_assert_int_eq(id_at(65), 4);
	ck_assert_int_eq(id_at(99), 1);
}
END_TEST

START_TEST(of_spans_that_begin_together_the_shortest_wins)
{
	add(10, 20, 1);
	add(10, 30, 2);
	spans_sort(&spans);
	ck_assert_int_eq(id_at(15), 1);
	ck_assert_int_eq(id_at(25), 2);
}
END_TEST

START_TEST(empty_and_reversed_ranges_are_left_out)
{
	add(10, 10, 1);
	add(20, 15, 2);
	spans_sort(&spans);
	ck_assert_uint_eq(spans.count, 0);
}
END_TEST

START_TEST(the_highest_address_can_be_covered)
{
	add(UINT64_MAX - 1, UINT64_MAX, 7);
	spans_sort(&spans);
	ck_assert_int_eq(id_at(UINT64_MAX - 1), 7);
	ck_assert_int_eq(id_at(UINT64_MAX), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spans");
	TCase *tests = tcase_create("spans");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, start, stop);
	tcase_add_test(tests, nothing_is_found_among_no_spans);
	tcase_add_test(tests, a_span_contains_its_start_but_not_its_end);
	tcase_add_test(tests, spans_added_in_any_order_are_found);
	tcase_add_test(tests, the_innermost_of_nested_spans_wins_and_the_outer_one_goes_on_behind_it);
	tcase_add_test(tests, of_spans_that_begin_together_the_shortest_wins);
	tcase_add_test(tests, empty_and_reversed_ranges_are_left_out);
	tcase_add_test(tests, the_highest_address_can_be_covered);
	failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
