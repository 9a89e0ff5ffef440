#include "../../../shim/hooks/hook.h"
#include "../run.h"

/* Every stride-th call of a kind may be another than those between: what the timed ones stand for must be as many. */
START_TEST(the_calls_that_are_timed_stand_for_all_whatever_the_pattern)
{
	enum { CALLS = 16000 };

	for (uint64_t stride = 1; stride <= 64; stride++)
		for (uint64_t phase = 0; phase < stride; phase++) {
			uint64_t stands_for = 0;
			for (uint64_t i = 0; i < CALLS; i++)
				stands_for += hook_weight_of(HOOK_TIMED_FIRST + 1 + phase + i * stride);
			ck_assert_msg(stands_for >= CALLS * 95 / 100 && stands_for <= CALLS * 105 / 100, "%d calls, every %d-th from %d: %d",
				      CALLS, (int)stride, (int)phase, (int)stands_for);
		}
}
END_TEST

START_TEST(the_first_calls_are_timed_each_for_itself)
{
	for (uint64_t count = 1; count <= HOOK_TIMED_FIRST; count++)
		ck_assert_uint_eq(hook_weight_of(count), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hook");
	TCase *tests = tcase_create("hook");

	tcase_add_test(tests, the_calls_that_are_timed_stand_for_all_whatever_the_pattern);
	tcase_add_test(tests, the_first_calls_are_timed_each_for_itself);
	suite_add_tcase(suite, tests);
	return run_tests(srunner_create(suite)) != 0;
}
