#include "../../../shim/setup/governor.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>

enum { ONE_PERCENT = 10000 };
#define SECOND 1000000000ULL

static uint32_t decide(uint32_t hz, uint32_t shift, uint64_t sampling_ns, uint64_t other_ns)
{
	struct governor_costs costs = { .program_ns = SECOND, .sampling_ns = sampling_ns, .other_ns = other_ns };

	return governor_shift(hz, shift, ONE_PERCENT, &costs);
}

START_TEST(over_the_budget_the_rate_halves)
{
	ck_assert_uint_eq(decide(10000, 0, 10000001, 0), 1);
	ck_assert_uint_eq(decide(10000, 3, 6000001, 4000000), 4);
}
END_TEST

START_TEST(within_the_budget_it_stays)
{
	ck_assert_uint_eq(decide(10000, 0, 10000000, 0), 0);
	ck_assert_uint_eq(decide(10000, 2, 4000000, 0), 2); /* twice as much would be over three quarters */
}
END_TEST

START_TEST(far_below_the_budget_it_doubles_again)
{
	ck_assert_uint_eq(decide(10000, 2, 3700000, 0), 1);
	ck_assert_uint_eq(decide(10000, 1, 0, 0), 0);
	ck_assert_uint_eq(decide(10000, 0, 0, 0), 0);
}
END_TEST

START_TEST(what_no_rate_can_change_leaves_sampling_half)
{
	ck_assert_uint_eq(decide(99, 0, 5000000, 50000000), 0);
	ck_assert_uint_eq(decide(99, 0, 5000001, 50000000), 1);
}
END_TEST

START_TEST(the_lowest_rate_is_one_a_second)
{
	ck_assert_uint_eq(decide(99, 6, 90000000, 0), 6);
	ck_assert_uint_eq(decide(1, 0, 90000000, 0), 0);
}
END_TEST

/* Whatever a sample costs: from any rate it comes to one that is within the budget, and does not swing there. */
START_TEST(it_comes_to_rest)
{
	uint32_t shift = 0;

	for (int i = 0; i < 14; i++)
		shift = decide(10000, shift, 10000 * (uint64_t)(_i + 1) * 1000 >> shift, 0);
	for (int i = 0; i < 10; i++)
		ck_assert_uint_eq(decide(10000, shift, 10000 * (uint64_t)(_i + 1) * 1000 >> shift, 0), shift);
	ck_assert_uint_le(10000 * (uint64_t)(_i + 1) * 1000 >> shift, 10000000);
}
END_TEST

int main(void)
{
	TCase *tests = tcase_create("governor");
	Suite *suite = suite_create("governor");

	tcase_add_test(tests, over_the_budget_the_rate_halves);
	tcase_add_test(tests, within_the_budget_it_stays);
	tcase_add_test(tests, far_below_the_budget_it_doubles_again);
	tcase_add_test(tests, what_no_rate_can_change_leaves_sampling_half);
	tcase_add_test(tests, the_lowest_rate_is_one_a_second);
	tcase_add_loop_test(tests, it_comes_to_rest, 0, 40);
	suite_add_tcase(suite, tests);
	return run_tests(srunner_create(suite)) ? EXIT_FAILURE : EXIT_SUCCESS;
}
