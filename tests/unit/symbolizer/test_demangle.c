/* Names as compilers write them and as people read them. */
#include "../../../symbolizer/demangle.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct name {
	const char *mangled, *readable;
};

static const struct name readable[] = {
	{ "_Z3fooi", "foo(int)" },
	{ "_ZN4shop4Cart5totalEd", "shop::Cart::total(double)" },
	{ "_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)" },
	{ "_ZN12_GLOBAL__N_16hiddenEi", "(anonymous namespace)::hidden(int)" },
	{ "_Z3fooi.cold", "foo(int) [clone .cold]" },
	{ "_Z3fooi.constprop.0", "foo(int) [clone .constprop.0]" },
	{ "_GLOBAL__I__Z3fooi", "global constructors keyed to foo(int)" },
	{ "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad" },
	{ "_RNvC7mycrate3foo", "mycrate::foo" },
	{ "_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>" },
};

START_TEST(a_mangled_name_becomes_readable)
{
	char *name = demangle(readable[_i].mangled);

	ck_assert_pstr_eq(name, readable[_i].readable);
	free(name);
}
END_TEST

static const char *const plain[] = { "", "_", "_Z", "_R", "main", "foo__Fi", "_start", "ada__text_io", "_Znonsense", "_D3foo" };

START_TEST(a_name_that_is_not_mangled_is_left_alone)
{
	char *name = demangle(plain[_i]);

	ck_assert_msg(!name, "%s became %s", plain[_i], name);
}
END_TEST

/* Bombs: each more letter of the name doubles what it stands for, or deepens the recursion. */
START_TEST(names_made_to_exhaust_the_stack_come_back)
{
	static const char letters[][4] = { "P", "N", "S_", "T_", "F", "I", "DpT", "K" };
	char *name = malloc(200001);

	for (size_t i = 0; i < sizeof(letters) / sizeof(*letters); i++) {
		strcpy(name, "_Z3foo");
		for (size_t n = strlen(name); n + 4 < 200000; n += strlen(letters[i]))
			strcpy(name + n, letters[i]);
		free(demangle(name));
		name[1000] = '\0';
		free(demangle(name));
	}
	free(name);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("demangle");
	TCase *tests = tcase_create("demangle");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_loop_test(tests, a_mangled_name_becomes_readable, 0, sizeof(readable) / sizeof(*readable));
	tcase_add_loop_test(tests, a_name_that_is_not_mangled_is_left_alone, 0, sizeof(plain) / sizeof(*plain));
	tcase_add_test(tests, names_made_to_exhaust_the_stack_come_back);
	failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
