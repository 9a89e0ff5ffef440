#pragma once
/* check_main - runs one suite and prints TAP. */
#include "../run.h"

#include <check.h>
#include <stdlib.h>

static inline int check_main(const char *name, void (*add_tests)(TCase *tcase))
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 60); /* Check's own 4 s are short on a busy machine */
	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	return run_tests(srunner_create(suite)) ? EXIT_FAILURE : EXIT_SUCCESS;
}
