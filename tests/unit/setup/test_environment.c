/* What a program that we execute finds in its environment, from the modules that setup links. */
#include "../../../shim/setup/environment.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 64 };

static char *entries[ROOM];
static char preload[ENVIRONMENT_PRELOAD_BYTES];

static const char *value_of(const char *name)
{
	size_t n = strlen(name);

	for (char **entry = entries; *entry; entry++)
		if (strncmp(*entry, name, n) == 0 && (*entry)[n] == '=')
			return *entry + n + 1;
	return NULL;
}

static size_t entry_count(void)
{
	size_t n = 0;

	while (entries[n])
		n++;
	return n;
}

static void extend(char *const *original)
{
	ck_assert_uint_le(environment_count(original), ROOM);
	environment_fill(original, entries, preload);
	ck_assert_uint_lt(entry_count(), environment_count(original));
}

/* In a shared program the library's path is that of whatever holds the code: here the test itself. */
static const char *own_path(void)
{
	static char *none[] = { NULL };

	extend(none);
	return value_of("LD_PRELOAD");
}

START_TEST(an_environment_built_from_nothing_gets_preload_session_and_configuration)
{
	static char *none[] = { NULL };

	extend(none);
	ck_assert_ptr_nonnull(value_of("LD_PRELOAD"));
	ck_assert_str_eq(value_of("PROFSHIM_SESSION"), "/dir/nginx.1.seg");
	ck_assert_str_eq(value_of("PROFSHIM_HZ"), "42");
	ck_assert_uint_eq(entry_count(), 3);
}
END_TEST

START_TEST(what_the_program_sets_itself_stays_as_it_is)
{
	static char *original[] = { "HOME=/root", "PROFSHIM_HZ=7", "TZ=UTC", NULL };

	extend(original);
	ck_assert_str_eq(value_of("HOME"), "/root");
	ck_assert_str_eq(value_of("PROFSHIM_HZ"), "7");
	ck_assert_str_eq(value_of("TZ"), "UTC");
	ck_assert_uint_eq(entry_count(), 5);
}
END_TEST

START_TEST(other_preloads_stay_and_ours_comes_first)
{
	static char *original[] = { "LD_PRELOAD=/lib/other.so", NULL };
	char expected[ENVIRONMENT_PRELOAD_BYTES];

	strcpy(expected, own_path());
	strcat(expected, ":/lib/other.so");
	extend(original);
	ck_assert_str_eq(value_of("LD_PRELOAD"), expected);
}
END_TEST

START_TEST(a_preload_that_has_us_already_is_not_touched)
{
	static char entry[ENVIRONMENT_PRELOAD_BYTES];
	static char *original[] = { entry, NULL };

	strcpy(entry, "LD_PRELOAD=/lib/other.so ");
	strcat(entry, own_path());
	extend(original);
	ck_assert_ptr_eq(value_of("LD_PRELOAD"), entry + strlen("LD_PRELOAD="));
}
END_TEST

START_TEST(an_older_session_is_replaced)
{
	static char *original[] = { "PROFSHIM_SESSION=/dir/old.seg", NULL };

	extend(original);
	ck_assert_str_eq(value_of("PROFSHIM_SESSION"), "/dir/nginx.1.seg");
	ck_assert_uint_eq(entry_count(), 3);
}
END_TEST

START_TEST(what_is_lent_is_taken_back)
{
	char **before = environ;

	ck_assert(environment_lend());
	ck_assert_str_eq(getenv("PROFSHIM_SESSION"), "/dir/nginx.1.seg");
	ck_assert_str_eq(getenv("HOME"), "/elsewhere");
	ck_assert(!environment_lend()); /* another thread's is there */
	environment_take_back();
	ck_assert_ptr_eq(environ, before);
}
END_TEST

START_TEST(what_was_changed_meanwhile_is_not_lost)
{
	ck_assert(environment_lend());
	setenv("HOME", "/changed", 1); /* in place */
	environment_take_back();
	ck_assert_str_eq(getenv("HOME"), "/changed");
	setenv("ADDED", "1", 1);
	ck_assert(environment_lend());
	setenv("ADDED_AGAIN", "1", 1);
	unsetenv("ADDED");
	environment_take_back();
	ck_assert_ptr_null(getenv("ADDED"));
	ck_assert_str_eq(getenv("ADDED_AGAIN"), "1");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("environment");
	TCase *tests = tcase_create("environment");
	SRunner *runner = srunner_create(suite);
	static char *ours[] = { "PROFSHIM_HZ=42", "PROFSHIM_SESSION=/dir/older.seg", "HOME=/elsewhere", NULL };

	environ = ours;
	environment_init("/dir/nginx.1.seg");
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, an_environment_built_from_nothing_gets_preload_session_and_configuration);
	tcase_add_test(tests, what_the_program_sets_itself_stays_as_it_is);
	tcase_add_test(tests, other_preloads_stay_and_ours_comes_first);
	tcase_add_test(tests, a_preload_that_has_us_already_is_not_touched);
	tcase_add_test(tests, an_older_session_is_replaced);
	tcase_add_test(tests, what_is_lent_is_taken_back);
	tcase_add_test(tests, what_was_changed_meanwhile_is_not_lost);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
