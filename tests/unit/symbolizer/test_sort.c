/* What is sorted is what qsort would have made of it, and equal items stay in their order. */
#include "../../../symbolizer/sort.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 5000 };

struct item {
	int key, place;
};

static int by_key(const void *a, const void *b)
{
	return ((const struct item *)a)->key - ((const struct item *)b)->key;
}

static int by_key_times(const void *a, const void *b, void *sign)
{
	return by_key(a, b) * *(const int *)sign;
}

static void assert_sorted(const struct item *items, size_t count, int sign)
{
	for (size_t i = 1; i < count; i++) {
		ck_assert_int_le(items[i - 1].key * sign, items[i].key * sign);
		ck_assert(items[i - 1].key != items[i].key || items[i - 1].place < items[i].place);
	}
}

START_TEST(items_of_any_number_are_in_order_and_equal_ones_stay)
{
	static struct item items[MANY];
	const size_t counts[] = { 0, 1, 2, 3, 7, 8, 9, 1000, MANY };
	int up = 1, down = -1;

	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		for (size_t k = 0; k < counts[i]; k++)
			items[k] = (struct item){ (int)(k * 7919 % 613), (int)k };
		sort_items(items, counts[i], sizeof(*items), by_key);
		assert_sorted(items, counts[i], 1);
		sort_items_with(items, counts[i], sizeof(*items), by_key_times, &up);
		assert_sorted(items, counts[i], 1);
		for (size_t k = 0; k < counts[i]; k++)
			items[k].place = (int)k;
		sort_items_with(items, counts[i], sizeof(*items), by_key_times, &down);
		assert_sorted(items, counts[i], -1);
	}
}
END_TEST

static int by_first_byte(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

START_TEST(items_of_odd_sizes_are_moved_whole)
{
	char items[][5] = { "dEEE", "bCCC", "aBBB", "cDDD" };

	sort_items(items, 4, sizeof(items[0]), by_first_byte);
	ck_assert_mem_eq(items, "aBBB\0bCCC\0cDDD\0dEEE", sizeof(items));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sort");
	TCase *tests = tcase_create("sort");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, items_of_any_number_are_in_order_and_equal_ones_stay);
	tcase_add_test(tests, items_of_odd_sizes_are_moved_whole);
	failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
