#include "../../../shim/hooks/foreign.h"

#include "../run.h"

#include <dlfcn.h>

/* The libraries are opened for themselves alone, as Python does with its _ssl: RTLD_NEXT sees none of this. */
static void *opened[4];
static int opened_count;

static void *open_library(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	ck_assert_msg(library, "%s", dlerror());
	opened[opened_count++] = library;
	foreign_forget();
	return library;
}

static void close_libraries(void)
{
	while (opened_count)
		dlclose(opened[--opened_count]);
	foreign_forget();
}

static void *call(void *library, const char *function)
{
	void *(*called)(void);

	*(void **)&called = dlsym(library, function);
	ck_assert_ptr_nonnull(*(void **)&called);
	return called();
}

static int read_by(const struct foreign_library *library)
{
	int (*function)(void *, void *, int);

	*(void **)&function = foreign_function(library, FOREIGN_SSL_read);
	return library ? function(NULL, NULL, 0) : -1;
}

static int bye_by(const struct foreign_library *library)
{
	int (*function)(void *, int);

	*(void **)&function = foreign_function(library, FOREIGN_gnutls_bye);
	return library ? function(NULL, 0) : -1;
}

/* Any place in the code that is no library's. */
static const void *const here = (const void *)read_by;

START_TEST(without_a_library_there_is_none)
{
	ck_assert_ptr_null(foreign_find(FOREIGN_OPENSSL, NULL, here));
}
END_TEST

START_TEST(a_library_opened_locally_is_found)
{
	open_library(LIBRARY_1);
	ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, NULL, here)), 1);
	ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, NULL, here)), 1);
}
END_TEST

START_TEST(what_a_library_lacks_is_null)
{
	open_library(LIBRARY_1);
	ck_assert_ptr_null(foreign_function(foreign_find(FOREIGN_OPENSSL, NULL, here), FOREIGN_SSL_sendfile));
}
END_TEST

START_TEST(of_two_the_one_that_made_the_object_is_found)
{
	void *first = call(open_library(LIBRARY_1), "SSL_new"), *second = call(open_library(LIBRARY_2), "SSL_new");

	for (int again = 0; again < 3; again++) {
		ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, first, here)), 1);
		ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, second, here)), 2);
	}
}
END_TEST

START_TEST(a_second_one_that_comes_later_is_found_too)
{
	void *first = call(open_library(LIBRARY_1), "SSL_new");
	ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, first, here)), 1);
	void *second = call(open_library(LIBRARY_2), "SSL_new");
	ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, second, here)), 2);
	ck_assert_int_eq(read_by(foreign_find(FOREIGN_OPENSSL, first, here)), 1);
}
END_TEST

START_TEST(of_two_the_one_that_the_caller_is_linked_with_is_found)
{
	open_library(LIBRARY_1);
	void *user = open_library(USER_OF_2);

	for (int again = 0; again < 3; again++)
		ck_assert_int_eq(bye_by(foreign_find(FOREIGN_GNUTLS, NULL, dlsym(user, "user_calls"))), 2);
	ck_assert_int_eq((int)(intptr_t)call(user, "user_calls"), 3);
}
END_TEST

START_TEST(a_library_that_is_gone_is_no_more_found)
{
	open_library(LIBRARY_1);
	ck_assert_int_eq(bye_by(foreign_find(FOREIGN_GNUTLS, NULL, here)), 1);
	close_libraries();
	ck_assert_ptr_null(foreign_find(FOREIGN_GNUTLS, NULL, here));
	open_library(LIBRARY_2);
	ck_assert_int_eq(bye_by(foreign_find(FOREIGN_GNUTLS, NULL, here)), 2);
}
END_TEST

START_TEST(calls_from_within_the_library_are_known)
{
	open_library(LIBRARY_1);
	const struct foreign_library *library = foreign_find(FOREIGN_OPENSSL, NULL, here);
	ck_assert_ptr_nonnull(library);
	ck_assert(foreign_is_inside(library, foreign_function(library, FOREIGN_SSL_read)));
	ck_assert(foreign_is_inside(library, here)); /* our own: a function that we called jumped to another */
	ck_assert(!foreign_is_inside(library, (const void *)dlopen));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("foreign");
	TCase *tests = tcase_create("libraries");

	tcase_add_checked_fixture(tests, NULL, close_libraries);
	tcase_add_test(tests, without_a_library_there_is_none);
	tcase_add_test(tests, a_library_opened_locally_is_found);
	tcase_add_test(tests, what_a_library_lacks_is_null);
	tcase_add_test(tests, of_two_the_one_that_made_the_object_is_found);
	tcase_add_test(tests, a_second_one_that_comes_later_is_found_too);
	tcase_add_test(tests, of_two_the_one_that_the_caller_is_linked_with_is_found);
	tcase_add_test(tests, a_library_that_is_gone_is_no_more_found);
	tcase_add_test(tests, calls_from_within_the_library_are_known);
	suite_add_tcase(suite, tests);
	return run_tests(srunner_create(suite)) != 0;
}
