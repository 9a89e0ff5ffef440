/* libunwind is not there, or is not what it should be: a dlopen of our own says so. */
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/sampling/unwind.h"
#include "fixture.h"

#include <dlfcn.h>
#include <string.h>

static const char *substitute; /* what is opened in the place of libunwind; NULL = nothing */

void *dlopen(const char *name, int flags)
{
	static void *(*true_dlopen)(const char *, int);

	if (!true_dlopen)
		true_dlopen = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
	if (!name || strncmp(name, "libunwind", 9) != 0)
		return true_dlopen(name, flags);
	return substitute ? true_dlopen(substitute, flags) : true_dlopen("libunwind.so.none", flags);
}

static void expect_pointers(void)
{
	ck_assert_ptr_null(atomic_load(&unwinder.backtrace));
	ck_assert_uint_eq(fixture_log_count, 1);
	ck_assert_ptr_nonnull(strstr(fixture_log_last, "frame pointers"));
	sampling_thread_start();
	ck_assert_int_ge(self.timer, 0);
	sampling_thread_stop();
}

START_TEST(a_missing_library_is_said_once_and_sampling_goes_on)
{
	fixture_start_sampling(100, "libunwind");
	ck_assert_ptr_nonnull(strstr(fixture_log_last, "libunwind.so.none"));
	expect_pointers();
}
END_TEST

START_TEST(another_library_by_that_name_is_not_used)
{
	substitute = "libm.so.6";
	fixture_start_sampling(100, "libunwind");
	expect_pointers();
}
END_TEST

START_TEST(tables_need_no_library_and_no_word)
{
	fixture_start_sampling(100, _i ? "tables" : "auto");
	ck_assert_ptr_null(atomic_load(&unwinder.backtrace));
	ck_assert(unwinder.has_tables);
	ck_assert_int_eq(unwinder.has_pointers, !_i);
	ck_assert_uint_eq(fixture_log_count, 0);
}
END_TEST

START_TEST(pointers_that_are_asked_for_need_no_library_and_no_word)
{
	fixture_start_sampling(100, "fp");
	ck_assert_ptr_null(atomic_load(&unwinder.backtrace));
	ck_assert_uint_eq(fixture_log_count, 0);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("no library") };

	tcase_add_test(cases[0], a_missing_library_is_said_once_and_sampling_goes_on);
	tcase_add_test(cases[0], another_library_by_that_name_is_not_used);
	tcase_add_loop_test(cases[0], tables_need_no_library_and_no_word, 0, 2);
	tcase_add_test(cases[0], pointers_that_are_asked_for_need_no_library_and_no_word);
	return fixture_run(cases, 1, "no library");
}
