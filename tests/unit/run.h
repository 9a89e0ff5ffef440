#pragma once
/* run - how a program of unit tests runs them: quietly, but for one line a test on stdout (TAP), which meson counts. */
#include <check.h>

/* Runs all of runner's tests and frees it; how many failed. */
static inline int run_tests(SRunner *runner)
{
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed;
}
