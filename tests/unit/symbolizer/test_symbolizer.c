/* The symbolizer against files built here from samples/, whose addresses are told by nm and whose lines by the marks in
 * the sources.
 */
#include "../../../symbolizer/symbolizer.h"
#include "build.h"
#include "../run.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct symbolizer *symbolizer;

/* Every file that the tests look at. Code generation is the same in all files of one source, so that addresses are, too. */
static void build_files(void)
{
	build_start();
	build_run("gcc -O2 -g -gdwarf-5 -fPIC -shared -Wl,-z,lazy -Wl,--build-id=sha1 \"$S/sample.c\" -o c.so");
	build_run("gcc -O2 -g -gdwarf-4 -fPIC -shared -Wl,--build-id=sha1 \"$S/sample.c\" -o c-dwarf4.so");
	build_run("gcc -O2 -g -gdwarf-5 -gdwarf64 -fPIC -shared \"$S/sample.c\" -o c-64bit.so");
	build_run("gcc -O2 -g -flto -fPIC -shared \"$S/sample.c\" \"$S/other.c\" -o lto.so");
	build_run("gcc -O2 -g -fPIC -shared -fcf-protection -Wl,-z,ibtplt \"$S/sample.c\" -o c-ibt.so");
	build_run("g++ -O2 -g -fPIC -shared -Wl,--build-id=sha1 \"$S/sample.cpp\" -o cpp.so");
	build_run("cd \"$S\" && gcc -O2 -g -fPIC -shared sample.c -o \"$OLDPWD/relative.so\"");
	build_run("strip --strip-debug c.so -o no-dwarf.so && strip --strip-all c.so -o stripped.so");
	build_run("objcopy --compress-debug-sections=zlib c.so zlib.so");
	build_run("objcopy --compress-debug-sections=zlib-gnu c.so zlib-gnu.so");
	build_run("gcc -O2 -g -fPIC -shared -Wl,--build-id=none \"$S/sample.c\" -o no-id.so");
	build_run("objcopy --only-keep-debug no-id.so no-id.debug");
	build_run("strip --strip-all no-id.so -o linked.so && objcopy --add-gnu-debuglink=no-id.debug linked.so && rm no-id.debug");
	build_run("objcopy --strip-symbol=static_function c.so unnamed.so");
	build_run("echo 'OLD { global: f; local: *; }; NEW { } OLD;' > versions && "
	          "gcc -O2 -fPIC -shared -Wl,--version-script=versions \"$S/versioned.c\" -o versioned.so");
	build_run("mkdir root empty && objcopy --only-keep-debug no-id.so kept.debug");
}

static void start(void)
{
	symbolizer = symbolizer_new();
	ck_assert_ptr_nonnull(symbolizer);
	symbolizer_set_debug_root(symbolizer, build_path("root"));
}

static void stop(void)
{
	symbolizer_free(symbolizer);
}

static struct module *module_of(const char *file)
{
	struct module *module = symbolizer_module(symbolizer, build_path(file), NULL, 0);

	ck_assert_ptr_nonnull(module);
	return module;
}

static struct symbol look_up(const char *file, uint64_t address)
{
	struct symbol symbol;

	symbolizer_lookup(module_of(file), address, &symbol);
	return symbol;
}

static void assert_line(const struct symbol *symbol, const char *source, const char *mark)
{
	ck_assert_pstr_eq(symbol->file, build_sample(source));
	ck_assert_uint_eq(symbol->line, build_mark(source, mark));
}

static void assert_declared(const struct symbol *symbol, const char *source, const char *mark)
{
	ck_assert_pstr_eq(symbol->function_file, build_sample(source));
	ck_assert_uint_eq(symbol->function_line, build_mark(source, mark));
}

static void assert_no_lines(const struct symbol *symbol)
{
	ck_assert_ptr_null(symbol->file);
	ck_assert_uint_eq(symbol->line, 0);
	ck_assert_ptr_null(symbol->function_file);
	ck_assert_uint_eq(symbol->function_line, 0);
}

static void assert_nothing_known(const struct symbol *symbol, uint64_t address)
{
	ck_assert_ptr_null(symbol->function);
	ck_assert_uint_eq(symbol->function_start, address);
	assert_no_lines(symbol);
}

/* Each form of debug information tells the same of one function. */
static const char *const with_lines[] = { "c.so", "c-dwarf4.so", "c-64bit.so", "zlib.so", "zlib-gnu.so", "relative.so" };

START_TEST(a_static_function_has_name_start_line_and_declaration)
{
	const char *file = with_lines[_i];
	struct symbol symbol = look_up(file, build_address(file, "probe_in_static"));

	ck_assert_pstr_eq(symbol.function, "static_function");
	ck_assert_uint_eq(symbol.function_start, build_address(file, "static_function"));
	assert_line(&symbol, "sample.c", "in_static");
	assert_declared(&symbol, "sample.c", "static_function");
}
END_TEST

START_TEST(an_inlined_call_has_its_own_line_and_the_function_it_is_in)
{
	const char *file = with_lines[_i];
	struct symbol symbol = look_up(file, build_address(file, "probe_in_inlined"));

	ck_assert_pstr_eq(symbol.function, "outer");
	ck_assert_uint_eq(symbol.function_start, build_address(file, "outer"));
	assert_line(&symbol, "sample.c", "in_inlined");
	assert_declared(&symbol, "sample.c", "outer");
}
END_TEST

START_TEST(code_from_a_header_has_the_headers_file)
{
	const char *file = with_lines[_i];
	struct symbol symbol = look_up(file, build_address(file, "probe_in_header"));

	ck_assert_pstr_eq(symbol.function, "calls_header");
	assert_line(&symbol, "sample.h", "in_header");
	assert_declared(&symbol, "sample.c", "calls_header");
}
END_TEST

START_TEST(a_nested_function_is_found_inside_of_another)
{
	struct symbol symbol = look_up("c.so", build_address("c.so", "probe_in_nested"));

	ck_assert_pstr_eq(symbol.function, "nested.0");
	assert_line(&symbol, "sample.c", "in_nested");
	assert_declared(&symbol, "sample.c", "nested");
}
END_TEST

START_TEST(both_pieces_of_a_split_function_have_its_declaration)
{
	const char *file = with_lines[_i];
	struct symbol hot = look_up(file, build_address(file, "has_cold_part"));
	struct symbol cold = look_up(file, build_address(file, "has_cold_part.cold"));

	ck_assert_pstr_eq(hot.function, "has_cold_part");
	ck_assert_pstr_eq(cold.function, "has_cold_part.cold");
	assert_declared(&hot, "sample.c", "has_cold_part");
	assert_declared(&cold, "sample.c", "has_cold_part");
}
END_TEST

START_TEST(of_aliases_the_visible_plain_one_is_shown)
{
	struct symbol symbol = look_up("c.so", build_address("c.so", "longer_alias_of_outer"));

	/* Not the weak out, though shorter, nor _alias_with_underscore. */
	ck_assert_pstr_eq(symbol.function, "outer");
}
END_TEST

START_TEST(units_optimized_together_keep_their_files)
{
	struct symbol other = look_up("lto.so", build_address("lto.so", "probe_in_other"));
	struct symbol first = look_up("lto.so", build_address("lto.so", "probe_in_static"));

	assert_line(&other, "other.c", "in_other");
	assert_declared(&other, "other.c", "other_function");
	assert_line(&first, "sample.c", "in_static");
	assert_declared(&first, "sample.c", "static_function");
}
END_TEST

struct cpp_case {
	const char *probe, *function, *line, *declared;
};

static const struct cpp_case cpp_cases[] = {
	{ "probe_in_constructor", "shop::Cart::Cart(int)", "in_constructor", "constructor" },
	{ "probe_in_total_int", "shop::Cart::total(int) const", "in_total_int", "total_int" },
	{ "probe_in_twice", "long shop::twice<long>(long)", "in_twice", "twice" },
	{ "probe_in_hidden", "shop::(anonymous namespace)::hidden(int)", "in_hidden", "hidden" },
	{ "_ZNK4shop4Cart5totalEd", "shop::Cart::total(double) const", "in_total_double", "total_double" },
};

START_TEST(cpp_names_are_readable_and_defined_where_the_body_is)
{
	const struct cpp_case *test = &cpp_cases[_i];
	struct symbol symbol = look_up("cpp.so", build_address("cpp.so", test->probe));

	ck_assert_pstr_eq(symbol.function, test->function);
	assert_line(&symbol, "sample.cpp", test->line);
	assert_declared(&symbol, "sample.cpp", test->declared);
}
END_TEST

START_TEST(a_lambda_without_a_declared_line_has_that_of_its_code)
{
	struct symbol symbol = look_up("cpp.so", build_address("cpp.so", "probe_in_lambda"));

	ck_assert_pstr_eq(symbol.function, "shop::use(int)::{lambda(int)#1}::operator()(int) const");
	assert_line(&symbol, "sample.cpp", "in_lambda");
	ck_assert_pstr_eq(symbol.function_file, build_sample("sample.cpp"));
	ck_assert_uint_ge(symbol.function_line, build_mark("sample.cpp", "lambda"));
	ck_assert_uint_le(symbol.function_line, build_mark("sample.cpp", "in_lambda"));
}
END_TEST

START_TEST(a_versioned_name_is_shown_without_its_version)
{
	static const char *const names[] = { "new_f", "old_f" };
	uint64_t address = build_address("versioned.so", names[_i]);
	struct symbol symbol = look_up("versioned.so", address);

	ck_assert_pstr_eq(symbol.function, "f");
	ck_assert_uint_eq(symbol.function_start, address);
}
END_TEST

START_TEST(a_function_of_known_size_ends_there)
{
	uint64_t behind = build_address("c.so", "probe_behind_sized");
	struct symbol inside = look_up("c.so", behind - 1), symbol = look_up("c.so", behind);

	ck_assert_pstr_eq(inside.function, "sized_function");
	assert_nothing_known(&symbol, behind);
}
END_TEST

START_TEST(a_label_inside_of_a_function_is_not_a_function)
{
	struct symbol symbol = look_up("c.so", build_address("c.so", "visible_label"));

	ck_assert_pstr_eq(symbol.function, "sized_function");
	ck_assert_uint_eq(symbol.function_start, build_address("c.so", "sized_function"));
}
END_TEST

START_TEST(a_function_without_a_size_ends_with_its_frame)
{
	uint64_t nameless = build_address("c.so", "probe_nameless");
	struct symbol inside = look_up("c.so", build_address("c.so", "probe_in_unsized")), behind = look_up("c.so", nameless);

	ck_assert_pstr_eq(inside.function, "unsized_function");
	ck_assert_uint_eq(inside.function_start, build_address("c.so", "unsized_function"));
	assert_nothing_known(&behind, nameless);
}
END_TEST

START_TEST(a_nameless_function_starts_where_its_frame_does)
{
	struct symbol symbol = look_up("c.so", build_address("c.so", "probe_in_only_framed"));

	ck_assert_ptr_null(symbol.function);
	ck_assert_uint_eq(symbol.function_start, build_address("c.so", "probe_only_framed"));
}
END_TEST

START_TEST(a_function_that_only_debug_information_names_has_that_name)
{
	struct symbol symbol = look_up("unnamed.so", build_address("c.so", "probe_in_static"));

	ck_assert_pstr_eq(symbol.function, "static_function");
	ck_assert_uint_eq(symbol.function_start, build_address("c.so", "static_function"));
}
END_TEST

START_TEST(a_stub_is_named_after_the_function_it_calls)
{
	static const char *const files[] = { "c.so", "c-ibt.so" };
	const char *line = build_ask("objdump -d %s | grep '<report_error@plt>:'", files[_i]);
	uint64_t start_address = strtoull(line, NULL, 16);
	struct symbol symbol = look_up(files[_i], start_address + 5);

	ck_assert_pstr_eq(symbol.function, "report_error@plt");
	ck_assert_uint_eq(symbol.function_start, start_address);
}
END_TEST

START_TEST(addresses_outside_of_the_code_are_unknown)
{
	static const uint64_t addresses[] = { 0, 1, 0x10, 1 << 20, (uint64_t)1 << 40, UINT64_MAX - 1, UINT64_MAX };
	struct symbol symbol = look_up("c.so", addresses[_i]);

	assert_nothing_known(&symbol, addresses[_i]);
}
END_TEST

START_TEST(addresses_of_data_are_unknown)
{
	uint64_t address = build_address("c.so", "shared_counter");
	struct symbol symbol = look_up("c.so", address);

	assert_nothing_known(&symbol, address);
}
END_TEST

START_TEST(without_debug_information_there_are_names_but_no_lines)
{
	struct symbol symbol = look_up("no-dwarf.so", build_address("c.so", "probe_in_static"));

	ck_assert_pstr_eq(symbol.function, "static_function");
	assert_no_lines(&symbol);
	ck_assert_str_eq(symbolizer_note(module_of("no-dwarf.so")),
	                 "names from its symbol table; no lines, as it has no debug information");
}
END_TEST

START_TEST(a_stripped_file_has_exported_names_and_frames)
{
	uint64_t probe = build_address("c.so", "probe_in_static");
	struct symbol exported = look_up("stripped.so", build_address("c.so", "probe_in_outer"));
	struct symbol hidden = look_up("stripped.so", probe);

	ck_assert_pstr_eq(exported.function, "outer");
	assert_no_lines(&exported);
	ck_assert_ptr_null(hidden.function);
	ck_assert_uint_eq(hidden.function_start, build_address("c.so", "static_function"));
	assert_no_lines(&hidden);
	ck_assert_ptr_nonnull(strstr(symbolizer_note(module_of("stripped.so")), "only the names it exports"));
}
END_TEST

/* Looks up the static function, which only a symbol table or debug information names. */
static void assert_all_known(const char *file, const char *twin)
{
	struct symbol symbol = look_up(file, build_address(twin, "probe_in_static"));

	ck_assert_pstr_eq(symbol.function, "static_function");
	ck_assert_uint_eq(symbol.function_start, build_address(twin, "static_function"));
	assert_line(&symbol, "sample.c", "in_static");
	assert_declared(&symbol, "sample.c", "static_function");
}

static void file_by_build_id(const char *of, const char *as)
{
	uint8_t id[64];
	uint32_t n = build_id(as, id);
	char hex[129];

	for (uint32_t i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	build_run("mkdir -p root/.build-id/%.2s && objcopy --only-keep-debug %s root/.build-id/%.2s/%s.debug", hex, of, hex,
	          hex + 2);
}

static void forget_debug_files(void)
{
	build_run("rm -rf root/* root/.build-id .debug no-id.debug");
}

START_TEST(a_debug_file_is_found_by_build_id)
{
	file_by_build_id("c.so", "stripped.so");
	assert_all_known("stripped.so", "c.so");
	ck_assert_ptr_nonnull(strstr(symbolizer_note(module_of("stripped.so")), build_path("root/.build-id/")));
}
END_TEST

START_TEST(frames_are_read_from_the_module_where_a_debug_file_has_none)
{
	struct symbol symbol;

	file_by_build_id("c.so", "stripped.so");
	symbol = look_up("stripped.so", build_address("c.so", "probe_in_only_framed"));
	ck_assert_ptr_null(symbol.function);
	ck_assert_uint_eq(symbol.function_start, build_address("c.so", "probe_only_framed"));
}
END_TEST

START_TEST(a_debug_file_of_another_build_is_passed_over)
{
	struct symbol symbol;

	file_by_build_id("cpp.so", "stripped.so");
	symbol = look_up("stripped.so", build_address("c.so", "probe_in_static"));
	ck_assert_ptr_null(symbol.function);
	assert_no_lines(&symbol);
}
END_TEST

static const char *const link_places[] = { "no-id.debug", ".debug/no-id.debug", "root$PWD/no-id.debug" };

START_TEST(a_debug_file_is_found_by_its_link)
{
	build_run("mkdir -p \"$(dirname %s)\" && cp kept.debug \"%s\"", link_places[_i], link_places[_i]);
	assert_all_known("linked.so", "no-id.so");
}
END_TEST

START_TEST(a_link_is_followed_from_where_the_file_truly_is)
{
	build_run("mkdir -p elsewhere \"root$PWD\" && ln -sf ../linked.so elsewhere/linked.so && cp kept.debug \"root$PWD/no-id.debug\"");
	assert_all_known("elsewhere/linked.so", "no-id.so");
}
END_TEST

START_TEST(a_linked_debug_file_with_another_checksum_is_passed_over)
{
	struct symbol symbol;

	build_run("cp kept.debug no-id.debug && echo >> no-id.debug");
	symbol = look_up("linked.so", build_address("no-id.so", "probe_in_static"));
	ck_assert_ptr_null(symbol.function);
	assert_no_lines(&symbol);
}
END_TEST

START_TEST(the_right_build_id_gives_names)
{
	uint8_t id[64];
	uint32_t n = build_id("c.so", id);
	struct module *module = symbolizer_module(symbolizer, build_path("c.so"), id, n);
	struct symbol symbol;

	symbolizer_lookup(module, build_address("c.so", "probe_in_static"), &symbol);
	ck_assert_pstr_eq(symbol.function, "static_function");
}
END_TEST

START_TEST(a_file_of_another_build_gives_no_names_and_says_so)
{
	static const uint32_t sizes[] = { 20, 16, 64, 4000 };
	static uint8_t wrong[4000] = { 1, 2, 3 };
	struct module *module = symbolizer_module(symbolizer, build_path("c.so"), wrong, sizes[_i]);
	uint64_t address = build_address("c.so", "probe_in_static");
	struct symbol symbol;

	symbolizer_lookup(module, address, &symbol);
	assert_nothing_known(&symbol, address);
	ck_assert_str_eq(symbolizer_note(module), "no names: the file was replaced since by another build");
}
END_TEST

START_TEST(a_file_replaced_between_opening_and_reading_gives_no_names)
{
	uint64_t address = build_address("c.so", "probe_in_static");
	struct module *module;
	struct symbol symbol;

	build_run("cp c.so changing.so");
	module = module_of("changing.so");
	build_run("cp cpp.so changing.so");
	symbolizer_lookup(module, address, &symbol);
	assert_nothing_known(&symbol, address);
	ck_assert_ptr_nonnull(strstr(symbolizer_note(module), "no names"));
}
END_TEST

static const char *const unusable[] = { "", "absent", "absent/c.so", "empty", "fifo", "text", "nothing", "c.so (deleted)" };

START_TEST(a_path_without_an_elf_file_gives_no_names_and_says_why)
{
	const char *path = unusable[_i][0] ? build_path(unusable[_i]) : "";
	struct module *module;
	struct symbol symbol;

	build_run("rm -f fifo && mkfifo fifo && echo text > text && : > nothing");
	module = symbolizer_module(symbolizer, path, NULL, 0);
	ck_assert_ptr_nonnull(module);
	symbolizer_lookup(module, 0x1234, &symbol);
	assert_nothing_known(&symbol, 0x1234);
	symbolizer_lookup_function(module, 0x1234, &symbol);
	assert_nothing_known(&symbol, 0x1234);
	ck_assert_ptr_eq(strstr(symbolizer_note(module), "no names: "), symbolizer_note(module));
}
END_TEST

START_TEST(a_module_is_opened_once)
{
	uint8_t id[64];
	uint32_t n = build_id("c.so", id);

	ck_assert_ptr_eq(module_of("c.so"), module_of("c.so"));
	ck_assert_ptr_ne(module_of("c.so"), module_of("cpp.so"));
	ck_assert_ptr_eq(symbolizer_module(symbolizer, build_path("c.so"), id, n),
	                 symbolizer_module(symbolizer, build_path("c.so"), id, n));
}
END_TEST

START_TEST(the_vdso_is_named_from_this_process)
{
	static const uint8_t wrong[20] = { 9 };
	struct module *module = symbolizer_module(symbolizer, "linux-vdso.so.1", NULL, 0);
	struct module *other = symbolizer_module(symbolizer, "linux-vdso.so.1", wrong, sizeof(wrong));
	uint32_t found = 0;
	struct symbol symbol;

	for (uint64_t address = 0; address < 16384; address += 16) {
		symbolizer_lookup(module, address, &symbol);
		if (symbol.function && strstr(symbol.function, "clock_gettime"))
			found++;
		symbolizer_lookup(other, address, &symbol);
		assert_nothing_known(&symbol, address);
	}
	ck_assert_uint_gt(found, 0);
}
END_TEST

START_TEST(a_lookup_without_lines_agrees_on_the_function)
{
	struct module *module = module_of("c.so");
	struct symbol with, without;

	for (uint64_t address = 0x1000; address < 0x1400; address++) {
		symbolizer_lookup_function(module, address, &without);
		symbolizer_lookup(module, address, &with);
		ck_assert_pstr_eq(without.function, with.function);
		ck_assert_uint_eq(without.function_start, with.function_start);
		assert_no_lines(&without);
	}
}
END_TEST

START_TEST(answers_stay_after_a_trim_and_lines_can_be_read_again)
{
	uint64_t in_static = build_address("c.so", "probe_in_static"), in_outer = build_address("c.so", "probe_in_outer");
	struct symbol before = look_up("c.so", in_static), after, fresh;

	symbolizer_trim(symbolizer);
	after = look_up("c.so", in_static);
	ck_assert_ptr_eq(after.function, before.function);
	ck_assert_ptr_eq(after.file, before.file);
	ck_assert_uint_eq(after.line, before.line);
	fresh = look_up("c.so", in_outer);
	assert_line(&fresh, "sample.c", "in_outer");
	ck_assert_ptr_eq(fresh.function_file, before.function_file);
}
END_TEST

START_TEST(where_memory_is_short_there_are_names_but_no_lines_and_the_note_says_so)
{
	uint64_t address = build_address("c.so", "probe_in_static");
	struct symbol symbol;

	symbolizer_set_memory_limit(symbolizer, 1000);
	symbol = look_up("c.so", address);
	ck_assert_pstr_eq(symbol.function, "static_function");
	assert_no_lines(&symbol);
	ck_assert_ptr_nonnull(strstr(symbolizer_note(module_of("c.so")), "would take more than"));

	symbolizer_set_memory_limit(symbolizer, 1000000);
	symbolizer_trim(symbolizer);
	symbol = look_up("c.so", address);
	assert_line(&symbol, "sample.c", "in_static");
	ck_assert_ptr_null(strstr(symbolizer_note(module_of("c.so")), "would take more than"));
}
END_TEST

START_TEST(memory_used_up_by_decoding_is_given_back_and_lookups_go_on)
{
	struct symbol symbol;

	/* Room for the sections, but hardly for what is decoded from them. */
	symbolizer_set_memory_limit(symbolizer, 2 * strtoull(build_ask("stat -c %%s c.so"), NULL, 10));
	for (uint64_t address = 0x1000; address < 0x1400; address++)
		symbol = look_up("c.so", address);
	symbol = look_up("c.so", build_address("c.so", "probe_in_static"));
	assert_line(&symbol, "sample.c", "in_static");
}
END_TEST

static uint32_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint32_t count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

START_TEST(no_descriptor_stays_open)
{
	uint32_t before = count_descriptors();

	for (size_t i = 0; i < sizeof(with_lines) / sizeof(*with_lines); i++)
		look_up(with_lines[i], 0x1180);
	look_up("absent", 1);
	look_up("stripped.so", 0x1180);
	ck_assert_uint_eq(count_descriptors(), before);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name, void (*before)(void), void (*after)(void))
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, before, after);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	return tests;
}

static void stop_and_forget(void)
{
	stop();
	forget_debug_files();
}

int main(void)
{
	Suite *suite = suite_create("symbolizer");
	TCase *lines = add_case(suite, "lines", start, stop), *names = add_case(suite, "names", start, stop);
	TCase *separate = add_case(suite, "separate debug files", start, stop_and_forget);
	TCase *whole = add_case(suite, "modules", start, stop);
	SRunner *runner = srunner_create(suite);
	int line_files = sizeof(with_lines) / sizeof(*with_lines), failed;

	tcase_add_loop_test(lines, a_static_function_has_name_start_line_and_declaration, 0, line_files);
	tcase_add_loop_test(lines, an_inlined_call_has_its_own_line_and_the_function_it_is_in, 0, line_files);
	tcase_add_loop_test(lines, code_from_a_header_has_the_headers_file, 0, line_files);
	tcase_add_test(lines, a_nested_function_is_found_inside_of_another);
	tcase_add_loop_test(lines, both_pieces_of_a_split_function_have_its_declaration, 0, line_files);
	tcase_add_test(lines, units_optimized_together_keep_their_files);
	tcase_add_loop_test(lines, cpp_names_are_readable_and_defined_where_the_body_is, 0,
	                    sizeof(cpp_cases) / sizeof(*cpp_cases));
	tcase_add_test(lines, a_lambda_without_a_declared_line_has_that_of_its_code);

	tcase_add_test(names, of_aliases_the_visible_plain_one_is_shown);
	tcase_add_loop_test(names, a_versioned_name_is_shown_without_its_version, 0, 2);
	tcase_add_test(names, a_function_of_known_size_ends_there);
	tcase_add_test(names, a_label_inside_of_a_function_is_not_a_function);
	tcase_add_test(names, a_function_without_a_size_ends_with_its_frame);
	tcase_add_test(names, a_nameless_function_starts_where_its_frame_does);
	tcase_add_test(names, a_function_that_only_debug_information_names_has_that_name);
	tcase_add_loop_test(names, a_stub_is_named_after_the_function_it_calls, 0, 2);
	tcase_add_loop_test(names, addresses_outside_of_the_code_are_unknown, 0, 7);
	tcase_add_test(names, addresses_of_data_are_unknown);
	tcase_add_test(names, without_debug_information_there_are_names_but_no_lines);
	tcase_add_test(names, a_stripped_file_has_exported_names_and_frames);
	tcase_add_test(names, the_vdso_is_named_from_this_process);

	tcase_add_test(separate, a_debug_file_is_found_by_build_id);
	tcase_add_test(separate, frames_are_read_from_the_module_where_a_debug_file_has_none);
	tcase_add_test(separate, a_debug_file_of_another_build_is_passed_over);
	tcase_add_loop_test(separate, a_debug_file_is_found_by_its_link, 0, 3);
	tcase_add_test(separate, a_link_is_followed_from_where_the_file_truly_is);
	tcase_add_test(separate, a_linked_debug_file_with_another_checksum_is_passed_over);

	tcase_add_test(whole, the_right_build_id_gives_names);
	tcase_add_loop_test(whole, a_file_of_another_build_gives_no_names_and_says_so, 0, 4);
	tcase_add_test(whole, a_file_replaced_between_opening_and_reading_gives_no_names);
	tcase_add_loop_test(whole, a_path_without_an_elf_file_gives_no_names_and_says_why, 0,
	                    sizeof(unusable) / sizeof(*unusable));
	tcase_add_test(whole, a_module_is_opened_once);
	tcase_add_test(whole, a_lookup_without_lines_agrees_on_the_function);
	tcase_add_test(whole, answers_stay_after_a_trim_and_lines_can_be_read_again);
	tcase_add_test(whole, where_memory_is_short_there_are_names_but_no_lines_and_the_note_says_so);
	tcase_add_test(whole, memory_used_up_by_decoding_is_given_back_and_lookups_go_on);
	tcase_add_test(whole, no_descriptor_stays_open);

	build_files();
	failed = run_tests(runner);
	build_clean();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
