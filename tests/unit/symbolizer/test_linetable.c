/* Line tables written byte by byte, as chapter 6.2 of the DWARF standard says, and then spoilt. */
#include "../../../symbolizer/linetable.h"
#include "guarded.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { COPY = 1, ADVANCE_PC, ADVANCE_LINE, SET_FILE, SET_COLUMN, CONST_ADD_PC = 8, FIXED_ADVANCE_PC = 9, UNKNOWN = 13 };
enum { OPCODE_BASE = 14, LINE_BASE = -5, LINE_RANGE = 14 };

static uint8_t table_bytes[2048];
static size_t used, header_length_at, header_end;
static uint32_t version;
static bool is_64;
static const char line_str[] = "/src\0include\0main.c\0list.h";

static void put(uint64_t value, size_t n)
{
	memcpy(table_bytes + used, &value, n);
	used += n;
}

static void put_text(const char *text)
{
	memcpy(table_bytes + used, text, strlen(text) + 1);
	used += strlen(text) + 1;
}

static void put_all(const uint8_t *bytes, size_t n)
{
	memcpy(table_bytes + used, bytes, n);
	used += n;
}

/* Directory 1 is include, file 1 main.c, file 2 include/list.h; in version 5 file 0 is main.c in /src, too. */
static void put_names_4(void)
{
	put_text("include");
	put(0, 1);
	put_text("main.c");
	put(0, 3);
	put_text("list.h");
	put(1, 3);
	put(0, 1);
}

static void put_names_5(void)
{
	size_t offset_bytes = is_64 ? 8 : 4;

	put_all((const uint8_t[]){ 1, 1, 0x1f, 2 }, 4); /* paths in .debug_line_str; two directories */
	put(0, offset_bytes);
	put(5, offset_bytes);
	put_all((const uint8_t[]){ 3, 1, 0x1f, 2, 0x0b, 5, 0x1e, 3 }, 8); /* path, directory, MD5; three files */
	for (int file = 0; file < 3; file++) {
		put(file == 2 ? 20 : 13, offset_bytes);
		put(file == 2, 1);
		put(0, 8);
		put(0, 8);
	}
}

static void begin(uint32_t of_version, bool of_64)
{
	used = 0;
	version = of_version;
	is_64 = of_64;
	if (is_64)
		put(UINT32_MAX, 4);
	put(0, is_64 ? 8 : 4);
	put(version, 2);
	if (version == 5)
		put(0x0008, 2);
	header_length_at = used;
	put(0, is_64 ? 8 : 4);
	put(1, 1); /* bytes of the shortest instruction */
	if (version >= 4)
		put(1, 1);
	put(1, 1);
	put((uint8_t)LINE_BASE, 1);
	put(LINE_RANGE, 1);
	put(OPCODE_BASE, 1);
	put_all((const uint8_t[]){ 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 2 }, OPCODE_BASE - 1);
	if (version == 5)
		put_names_5();
	else
		put_names_4();
	header_end = used;
}

static void set_address(uint64_t address)
{
	put_all((const uint8_t[]){ 0, 9, 2 }, 3);
	put(address, 8);
}

static void end_sequence(uint8_t length)
{
	put_all((const uint8_t[]){ ADVANCE_PC, length, 0, 1, 1 }, 5);
}

static void end(void)
{
	size_t offset_bytes = is_64 ? 8 : 4, length = used - (is_64 ? 12 : 4);
	uint64_t header_length = header_end - header_length_at - offset_bytes;

	memcpy(table_bytes + (is_64 ? 4 : 0), &length, offset_bytes);
	memcpy(table_bytes + header_length_at, &header_length, offset_bytes);
}

static struct linetable_sections sections_of(size_t n)
{
	return (struct linetable_sections){
		.line = { .at = guarded_copy(table_bytes, n), .size = n },
		.line_str = { .at = (const uint8_t *)line_str, .size = sizeof(line_str) },
	};
}

static struct linetable read_table(void)
{
	struct linetable_sections sections;
	struct linetable table;

	end();
	sections = sections_of(used);
	ck_assert_int_eq(linetable_read(&sections, 0, &table), 0);
	return table;
}

static void assert_row(const struct linetable *table, uint64_t address, uint32_t line, uint32_t file)
{
	const struct linetable_row *row = linetable_find(table, address);

	ck_assert_msg(row, "nothing at %#lx", (unsigned long)address);
	ck_assert_uint_eq(row->line, line);
	ck_assert_uint_eq(row->file, file);
}

static uint8_t special(int lines, int bytes)
{
	return (uint8_t)(lines - LINE_BASE + LINE_RANGE * bytes + OPCODE_BASE);
}

START_TEST(every_version_has_rows_and_files)
{
	static const uint32_t versions[] = { 2, 3, 4, 5, 4, 5 };
	struct linetable table;

	begin(versions[_i], _i >= 4);
	set_address(0x1000);
	put_all((const uint8_t[]){ ADVANCE_LINE, 9, COPY, SET_FILE, 2, special(5, 4), special(-3, 2) }, 7);
	end_sequence(6);
	table = read_table();
	ck_assert_ptr_null(linetable_find(&table, 0xfff));
	assert_row(&table, 0x1000, 10, 1);
	assert_row(&table, 0x1003, 10, 1);
	assert_row(&table, 0x1004, 15, 2);
	assert_row(&table, 0x1006, 12, 2);
	assert_row(&table, 0x100b, 12, 2);
	ck_assert_ptr_null(linetable_find(&table, 0x100c));
	ck_assert_uint_ge(table.file_count, 3);
	ck_assert_pstr_eq(table.files[1].name, "main.c");
	ck_assert_pstr_eq(table.files[1].directory, versions[_i] == 5 ? "/src" : NULL);
	ck_assert_pstr_eq(table.files[2].name, "list.h");
	ck_assert_pstr_eq(table.files[2].directory, "include");
	linetable_free(&table);
}
END_TEST

START_TEST(every_opcode_moves_as_the_standard_says)
{
	struct linetable table;

	begin(5, false);
	set_address(0x1000);
	put_all((const uint8_t[]){ COPY, ADVANCE_PC, 0x80, 0x02, ADVANCE_LINE, 0xe4, 0x00, COPY }, 8); /* 256 on, 100 lines on */
	put_all((const uint8_t[]){ CONST_ADD_PC, ADVANCE_LINE, 0x7f, COPY }, 4);       /* (255 - 14) / 14 on, 1 line back */
	put_all((const uint8_t[]){ FIXED_ADVANCE_PC, 0x34, 0x12, ADVANCE_LINE, 1, COPY }, 6);
	put_all((const uint8_t[]){ UNKNOWN, 0x81, 0x01, 0x05, SET_COLUMN, 7, 6, 7, 10, 11, 12, 3 }, 12); /* no effect here */
	put_all((const uint8_t[]){ 0, 4, 0x80, 1, 2, 3 }, 6);                          /* an unknown extended one */
	end_sequence(1);
	table = read_table();
	assert_row(&table, 0x10ff, 1, 1);
	assert_row(&table, 0x1100, 101, 1);
	assert_row(&table, 0x1110, 101, 1);
	assert_row(&table, 0x1111, 100, 1);
	assert_row(&table, 0x1111 + 0x1234, 101, 1);
	ck_assert_ptr_null(linetable_find(&table, 0x1111 + 0x1235));
	linetable_free(&table);
}
END_TEST

START_TEST(each_sequence_begins_with_file_1_and_line_1)
{
	struct linetable table;

	begin(5, false);
	set_address(0x2000);
	put_all((const uint8_t[]){ SET_FILE, 2, ADVANCE_LINE, 5, COPY }, 5);
	end_sequence(16);
	set_address(0x1000); /* sequences need not rise */
	put(COPY, 1);
	end_sequence(16);
	table = read_table();
	assert_row(&table, 0x2000, 6, 2);
	assert_row(&table, 0x1000, 1, 1);
	linetable_free(&table);
}
END_TEST

START_TEST(code_that_the_linker_left_out_has_no_rows)
{
	struct linetable table;

	begin(4, false);
	set_address(0);
	put(COPY, 1);
	end_sequence(64);
	set_address(UINT64_MAX);
	put(COPY, 1);
	end_sequence(64);
	set_address(0x1000);
	put(COPY, 1);
	end_sequence(4);
	table = read_table();
	ck_assert_ptr_null(linetable_find(&table, 0));
	ck_assert_ptr_null(linetable_find(&table, 32));
	assert_row(&table, 0x1000, 1, 1);
	ck_assert_uint_eq(table.sequences.count, 1);
	linetable_free(&table);
}
END_TEST

START_TEST(rows_that_say_nothing_new_are_not_kept)
{
	struct linetable table;

	begin(5, false);
	set_address(0x1000);
	for (int i = 0; i < 100; i++)
		put(special(0, 1), 1);
	end_sequence(1);
	table = read_table();
	ck_assert_uint_eq(table.row_count, 2); /* one, and the end */
	assert_row(&table, 0x1064, 1, 1);
	linetable_free(&table);
}
END_TEST

START_TEST(a_sequence_without_an_end_is_dropped)
{
	struct linetable table;

	begin(5, false);
	set_address(0x1000);
	put(COPY, 1);
	end_sequence(4);
	set_address(0x2000);
	put(COPY, 1);
	table = read_table();
	assert_row(&table, 0x1000, 1, 1);
	ck_assert_ptr_null(linetable_find(&table, 0x2000));
	linetable_free(&table);
}
END_TEST

START_TEST(a_file_may_be_defined_by_the_program)
{
	struct linetable table;

	begin(3, false);
	put_all((const uint8_t[]){ 0, 8, 3, 'n', '.', 'h', 0, 1, 0, 0 }, 10);
	set_address(0x1000);
	put_all((const uint8_t[]){ SET_FILE, 3, COPY }, 3);
	end_sequence(4);
	table = read_table();
	assert_row(&table, 0x1000, 1, 3);
	ck_assert_pstr_eq(table.files[3].name, "n.h");
	ck_assert_pstr_eq(table.files[3].directory, "include");
	linetable_free(&table);
}
END_TEST

START_TEST(versions_and_forms_that_are_not_known_are_refused)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes[] = {
		{ 4, 1 }, { 4, 6 },      /* version */
		{ 16, 0 }, { 17, 0 },    /* line range, first special opcode */
		{ 31, 200 }, { 33, 99 }, /* number of formats, a form */
	};
	struct linetable_sections sections;
	struct linetable table;

	begin(5, false);
	end();
	ck_assert_uint_eq(table_bytes[16], LINE_RANGE);
	ck_assert_uint_eq(table_bytes[33], 0x1f);
	table_bytes[changes[_i].at] = changes[_i].value;
	sections = sections_of(used);
	ck_assert_int_eq(linetable_read(&sections, 0, &table), -ENOEXEC);
	ck_assert_ptr_null(table.rows);
	ck_assert_ptr_null(table.files);
}
END_TEST

START_TEST(an_endless_list_of_empty_entries_is_refused)
{
	struct linetable_sections sections;
	struct linetable table;

	begin(5, false);
	used = 31;
	put_all((const uint8_t[]){ 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f }, 9); /* no formats, 2^56 entries */
	header_end = used;
	end();
	sections = sections_of(used);
	ck_assert_int_eq(linetable_read(&sections, 0, &table), -ENOEXEC);
}
END_TEST

static void put_sample(uint32_t of_version, bool of_64)
{
	begin(of_version, of_64);
	set_address(0x1000);
	put_all((const uint8_t[]){ COPY, SET_FILE, 2, special(5, 4) }, 4);
	put_all((const uint8_t[]){ 0, 8, 3, 'n', '.', 'h', 0, 1, 0, 0 }, 10);
	end_sequence(8);
	set_address(0x2000);
	put_all((const uint8_t[]){ ADVANCE_LINE, 0xe4, 0x00, COPY }, 4);
	end_sequence(8);
	end();
}

static void read_and_search(size_t n)
{
	struct linetable_sections sections = sections_of(n);
	struct linetable table;

	if (linetable_read(&sections, 0, &table) == 0) {
		linetable_find(&table, 0x1004);
		linetable_find(&table, 0x2001);
		linetable_free(&table);
	}
}

START_TEST(a_table_cut_anywhere_or_with_any_byte_changed_harms_nobody)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

	put_sample(_i < 4 ? (uint32_t)_i + 2 : 5, _i == 4);
	for (size_t n = 0; n <= used; n++)
		read_and_search(n);
	for (size_t at = 0; at < used; at++)
		for (size_t i = 0; i < sizeof(values); i++) {
			uint8_t kept = table_bytes[at];

			table_bytes[at] = values[i];
			read_and_search(used);
			table_bytes[at] = kept;
		}
}
END_TEST

START_TEST(there_is_no_table_beyond_the_section)
{
	struct linetable_sections none = { 0 }, sections;
	struct linetable table;

	put_sample(5, false);
	sections = sections_of(used);
	ck_assert_int_eq(linetable_read(&sections, used, &table), -ENOEXEC);
	ck_assert_int_eq(linetable_read(&sections, UINT64_MAX, &table), -ENOEXEC);
	ck_assert_int_eq(linetable_read(&none, 0, &table), -ENOEXEC);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("linetable");
	TCase *tests = tcase_create("linetable");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_loop_test(tests, every_version_has_rows_and_files, 0, 6);
	tcase_add_test(tests, every_opcode_moves_as_the_standard_says);
	tcase_add_test(tests, each_sequence_begins_with_file_1_and_line_1);
	tcase_add_test(tests, code_that_the_linker_left_out_has_no_rows);
	tcase_add_test(tests, rows_that_say_nothing_new_are_not_kept);
	tcase_add_test(tests, a_sequence_without_an_end_is_dropped);
	tcase_add_test(tests, a_file_may_be_defined_by_the_program);
	tcase_add_loop_test(tests, versions_and_forms_that_are_not_known_are_refused, 0, 6);
	tcase_add_test(tests, an_endless_list_of_empty_entries_is_refused);
	tcase_add_loop_test(tests, a_table_cut_anywhere_or_with_any_byte_changed_harms_nobody, 0, 5);
	tcase_add_test(tests, there_is_no_table_beyond_the_section);
	failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
