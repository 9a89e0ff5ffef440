/* Files cut short and with bytes changed, always in the same way: whatever they contain, the symbolizer comes back, prints
 * nothing and leaves no descriptor open. Each file is tried in a process of its own, which must end well within a time.
 */
#include "../../../symbolizer/symbolizer.h"
#include "build.h"
#include "../run.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MUTANTS = 150, CUTS = 48, SECONDS_MAX = 30 };

static const char *const samples[] = { "c.so", "c-dwarf4.so", "cpp.so", "lto.so", "zlib.so" };
enum { SAMPLES_COUNT = sizeof(samples) / sizeof(*samples) };

static uint8_t *original, *bytes;
static size_t size;

static void build_files(void)
{
	build_start();
	build_run("gcc -O2 -g -gdwarf-5 -fPIC -shared \"$S/sample.c\" -o c.so");
	build_run("gcc -O2 -g -gdwarf-4 -fPIC -shared \"$S/sample.c\" -o c-dwarf4.so");
	build_run("g++ -O2 -g -fPIC -shared \"$S/sample.cpp\" -o cpp.so");
	build_run("gcc -O2 -g -flto -fPIC -shared \"$S/sample.c\" \"$S/other.c\" -o lto.so");
	build_run("objcopy --compress-debug-sections=zlib c.so zlib.so");
}

static void read_sample(const char *name)
{
	FILE *file = fopen(build_path(name), "r");
	struct stat status;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fstat(fileno(file), &status), 0);
	size = (size_t)status.st_size;
	original = malloc(size);
	bytes = malloc(size);
	ck_assert_uint_eq(fread(original, 1, size, file), size);
	fclose(file);
}

static void free_sample(void)
{
	free(original);
	free(bytes);
}

static void write_file(const char *name, size_t n)
{
	FILE *file = fopen(build_path(name), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
	fclose(file);
}

/* xorshift64 (Marsaglia 2003), seeded by the mutant's number. */
static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void change(uint64_t *state, size_t from, size_t to)
{
	size_t at = from + draw(state) % (to - from);
	uint64_t value = draw(state);

	switch (draw(state) % 4) {
	case 0: bytes[at] ^= (uint8_t)(1 << value % 8); break;
	case 1: bytes[at] = (uint8_t)value; break;
	case 2: memset(bytes + at, 0xff, to - at < 4 ? to - at : 4); break;
	default: memcpy(bytes + at, &value, to - at < 8 ? to - at : 8); break;
	}
}

static uint32_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	uint32_t count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* 0, or the code with which the child ends. */
static int look_all_over(const char *path)
{
	uint32_t before = count_descriptors();
	struct symbolizer *symbolizer = symbolizer_new();
	struct module *module = symbolizer_module(symbolizer, path, NULL, 0);
	struct symbol symbol;

	for (uint64_t address = 0x1000; address < 0x1400; address += 5)
		symbolizer_lookup(module, address, &symbol);
	symbolizer_trim(symbolizer);
	symbolizer_lookup(module, 0, &symbol);
	symbolizer_lookup(module, UINT64_MAX, &symbol);
	if (!symbolizer_note(module))
		return 2;
	symbolizer_free(symbolizer);
	return count_descriptors() == before ? 0 : 3;
}

static void try_file(const char *name, const char *what, int number)
{
	pid_t child = fork();
	struct stat status;
	int ended = 0;

	if (child == 0) {
		int output = open(build_path("output"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(output, STDOUT_FILENO);
		dup2(output, STDERR_FILENO);
		close(output);
		alarm(SECONDS_MAX);
		_exit(look_all_over(build_path(name)));
	}
	ck_assert_int_eq(waitpid(child, &ended, 0), child);
	ck_assert_msg(ended == 0, "%s %d ends with status %#x", what, number, ended);
	ck_assert_int_eq(stat(build_path("output"), &status), 0);
	ck_assert_msg(status.st_size == 0, "%s %d prints something", what, number);
}

START_TEST(a_file_with_some_bytes_changed_harms_nobody)
{
	read_sample(samples[_i]);
	for (int mutant = 0; mutant < MUTANTS; mutant++) {
		uint64_t state = (uint64_t)mutant * 0x9e3779b97f4a7c15ULL + 1;

		memcpy(bytes, original, size);
		for (uint64_t i = draw(&state) % 8 + 1; i > 0; i--)
			change(&state, 0, size);
		write_file("mutant", size);
		try_file("mutant", samples[_i], mutant);
	}
	free_sample();
}
END_TEST

/* Most bytes of a file are code or names; what matters for safety is the rest, so that gets its own changes. */
static const char *const parts[] = { ".eh_frame", ".debug_info", ".debug_abbrev", ".debug_line", ".symtab", ".dynsym", ".rela.dyn" };
enum { PARTS_COUNT = sizeof(parts) / sizeof(*parts) };

START_TEST(a_section_with_some_bytes_changed_harms_nobody)
{
	const char *sample = samples[_i / PARTS_COUNT], *part = parts[_i % PARTS_COUNT];
	unsigned long from, length;

	ck_assert_int_eq(sscanf(build_ask("readelf -SW %s | sed 's/\\[ */[/' | awk '$2 == \"%s\" { print $5, $6 }'", sample, part),
	                        "%lx %lx", &from, &length), 2);
	read_sample(sample);
	for (int mutant = 0; mutant < MUTANTS / 3; mutant++) {
		uint64_t state = (uint64_t)mutant * 0x9e3779b97f4a7c15ULL + 2;

		memcpy(bytes, original, size);
		for (uint64_t i = draw(&state) % 3 + 1; i > 0; i--)
			change(&state, from, from + length);
		write_file("mutant", size);
		try_file("mutant", part, mutant);
	}
	free_sample();
}
END_TEST

START_TEST(a_file_cut_anywhere_harms_nobody)
{
	read_sample(samples[_i]);
	memcpy(bytes, original, size);
	for (int cut = 0; cut < CUTS; cut++) {
		write_file("mutant", cut < CUTS / 2 ? (size_t)cut * 9 : size * (size_t)cut / CUTS);
		try_file("mutant", "cut", cut);
	}
	free_sample();
}
END_TEST

START_TEST(section_headers_of_any_number_and_place_harm_nobody)
{
	static const struct {
		size_t at, n; /* in Elf64_Ehdr */
	} fields[] = { { 32, 8 }, { 40, 8 }, { 54, 2 }, { 56, 2 }, { 58, 2 }, { 60, 2 }, { 62, 2 }, { 4, 1 }, { 5, 1 } };
	static const uint64_t values[] = { 0, 1, 0x7fff, 0xff00, 0xffff, 0x7fffffff, UINT32_MAX, INT64_MAX, UINT64_MAX };

	read_sample("c.so");
	for (size_t field = 0; field < sizeof(fields) / sizeof(*fields); field++)
		for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
			memcpy(bytes, original, size);
			memcpy(bytes + fields[field].at, &values[i], fields[field].n);
			write_file("mutant", size);
			try_file("mutant", "header", (int)(field * 100 + i));
		}
	free_sample();
}
END_TEST

START_TEST(a_file_that_is_cut_while_it_is_used_harms_nobody)
{
	struct symbolizer *symbolizer = symbolizer_new();
	struct module *module;
	struct symbol symbol;

	build_run("cp c.so shrinking.so");
	module = symbolizer_module(symbolizer, build_path("shrinking.so"), NULL, 0);
	symbolizer_lookup(module, build_address("c.so", "probe_in_static"), &symbol);
	ck_assert_pstr_eq(symbol.function, "static_function");
	build_run(": > shrinking.so");
	symbolizer_lookup(module, build_address("c.so", "probe_in_outer"), &symbol);
	ck_assert_pstr_eq(symbol.function, "outer");
	symbolizer_lookup(module, build_address("c.so", "probe_in_header"), &symbol);
	ck_assert_pstr_eq(symbol.function, "calls_header");
	symbolizer_trim(symbolizer);
	symbolizer_lookup(module, build_address("c.so", "probe_in_outer"), &symbol);
	ck_assert_pstr_eq(symbol.function, "outer");
	symbolizer_lookup(module, build_address("c.so", "probe_in_header") + 1, &symbol);
	ck_assert_ptr_null(symbol.function);
	ck_assert_ptr_null(symbol.file);
	ck_assert_ptr_nonnull(strstr(symbolizer_note(module), "no names"));
	symbolizer_free(symbolizer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("damaged files");
	TCase *tests = tcase_create("damaged files");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, a_file_with_some_bytes_changed_harms_nobody, 0, SAMPLES_COUNT);
	tcase_add_loop_test(tests, a_section_with_some_bytes_changed_harms_nobody, 0, (SAMPLES_COUNT - 1) * PARTS_COUNT);
	tcase_add_loop_test(tests, a_file_cut_anywhere_harms_nobody, 0, SAMPLES_COUNT);
	tcase_add_test(tests, section_headers_of_any_number_and_place_harm_nobody);
	tcase_add_test(tests, a_file_that_is_cut_while_it_is_used_harms_nobody);

	build_files();
	failed = run_tests(runner);
	build_clean();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
