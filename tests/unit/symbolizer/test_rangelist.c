/* Range lists written byte by byte, as the DWARF standard says (version 4, 2.17.3; version 5, 7.25), and then cut. */
#include "../../../symbolizer/rangelist.h"
#include "guarded.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>

static struct spans spans;

static void start(void)
{
	spans = (struct spans){ 0 };
}

static void stop(void)
{
	spans_free(&spans);
}

static void assert_spans(const uint64_t (*expected)[2], uint32_t count)
{
	ck_assert_uint_eq(spans.count, count);
	for (uint32_t i = 0; i < count; i++) {
		ck_assert_uint_eq(spans.items[i].start, expected[i][0]);
		ck_assert_uint_eq(spans.items[i].end, expected[i][1]);
		ck_assert_uint_eq(spans.items[i].id, 7);
	}
}

static const uint64_t pairs[] = {
	0x10, 0x20, 0x30, 0x38, UINT64_MAX, 0x5000, 0x0, 0x8, 0x9, 0x9, 0, 0, 0x100, 0x200,
};

START_TEST(pairs_count_from_the_base_until_two_zeros)
{
	static const uint64_t expected[][2] = { { 0x1010, 0x1020 }, { 0x1030, 0x1038 }, { 0x5000, 0x5008 } };
	struct rangelist_sections sections = { .ranges = { .at = guarded_copy(pairs, sizeof(pairs)), .size = sizeof(pairs) } };
	struct rangelist_unit unit = { .base = 0x1000, .offset_bytes = 4 };

	ck_assert_int_eq(rangelist_read(&sections, &unit, 4, 0, &spans, 7), 0);
	assert_spans(expected, 3);
}
END_TEST

/* 8 bytes of a header that is skipped over by offsets, two offsets, and a list that has an entry of each kind. */
static const uint8_t lists[] = {
	0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 8, 0, 0, 0,
	4, 0x10, 0x90, 0x01,                                     /* offset_pair: base + 0x10 to base + 0x90 */
	5, 0x00, 0x50, 0, 0, 0, 0, 0, 0,                         /* base_address 0x5000 */
	4, 0x01, 0x02,                                           /* offset_pair */
	6, 0x00, 0x60, 0, 0, 0, 0, 0, 0, 0x10, 0x60, 0, 0, 0, 0, 0, 0, /* start_end */
	7, 0x00, 0x70, 0, 0, 0, 0, 0, 0, 0x20,                   /* start_length */
	1, 0x00,                                                 /* base_addressx 0 */
	4, 0x00, 0x04,                                           /* offset_pair */
	2, 0x00, 0x01,                                           /* startx_endx */
	3, 0x01, 0x06,                                           /* startx_length */
	4, 0x03, 0x03,                                           /* an empty one */
	7, 0x01, 0, 0, 0, 0, 0, 0, 0, 0x20,                      /* start_length at 1: left out by the linker */
	0,
};
static const uint64_t addresses[] = { 0xdddddddddddddddd, 0x8000, 0x9000 };
static const uint64_t all_kinds[][2] = {
	{ 0x1010, 0x1090 }, { 0x5001, 0x5002 }, { 0x6000, 0x6010 }, { 0x7000, 0x7020 },
	{ 0x8000, 0x8004 }, { 0x8000, 0x9000 }, { 0x9000, 0x9006 },
};

static struct rangelist_sections sections_of(size_t list_bytes, size_t address_bytes)
{
	return (struct rangelist_sections){
		.rnglists = { .at = guarded_copy(lists, list_bytes), .size = list_bytes },
		.addr = { .at = guarded_copy(addresses, address_bytes), .size = address_bytes },
	};
}

static const struct rangelist_unit unit_5 = { .base = 0x1000, .rnglists_base = 8, .addr_base = 8, .offset_bytes = 4 };

START_TEST(every_kind_of_entry_gives_its_range)
{
	struct rangelist_sections sections = sections_of(sizeof(lists), sizeof(addresses));

	ck_assert_int_eq(rangelist_read(&sections, &unit_5, 5, 16, &spans, 7), 0);
	assert_spans(all_kinds, 7);
}
END_TEST

START_TEST(an_index_leads_to_the_same_list)
{
	struct rangelist_sections sections = sections_of(sizeof(lists), sizeof(addresses));

	ck_assert_int_eq(rangelist_read_indexed(&sections, &unit_5, 1, &spans, 7), 0);
	assert_spans(all_kinds, 7);
}
END_TEST

START_TEST(offsets_and_indexes_beyond_the_section_give_nothing)
{
	static const uint64_t far[] = { 0, 1000, UINT32_MAX, UINT64_MAX / 4, UINT64_MAX };
	struct rangelist_sections sections = sections_of(sizeof(lists), sizeof(addresses)), none = { 0 };
	struct rangelist_unit lost = { .rnglists_base = UINT64_MAX, .addr_base = UINT64_MAX, .offset_bytes = 8 };

	ck_assert_int_eq(rangelist_read_indexed(&sections, &unit_5, far[_i], &spans, 7), 0);
	ck_assert_int_eq(rangelist_read_indexed(&sections, &lost, far[_i], &spans, 7), 0);
	ck_assert_int_eq(rangelist_read_indexed(&none, &unit_5, far[_i], &spans, 7), 0);
	ck_assert_int_eq(rangelist_read(&none, &unit_5, 4, far[_i], &spans, 7), 0);
	ck_assert_int_eq(rangelist_read(&sections, &unit_5, 5, far[_i] | 4096, &spans, 7), 0);
	ck_assert_uint_eq(spans.count, 0);
}
END_TEST

START_TEST(a_list_cut_anywhere_gives_the_ranges_before_the_cut)
{
	for (size_t n = 16; n <= sizeof(lists); n++) {
		struct rangelist_sections sections = sections_of(n, sizeof(addresses));
		uint32_t before = spans.count;

		spans.count = 0;
		ck_assert_int_eq(rangelist_read(&sections, &unit_5, 5, 16, &spans, 7), 0);
		ck_assert_uint_ge(spans.count, before);
		assert_spans(all_kinds, spans.count);
	}
	assert_spans(all_kinds, 7);
}
END_TEST

START_TEST(addresses_cut_anywhere_leave_the_ranges_that_need_none)
{
	for (size_t n = 0; n < sizeof(addresses); n++) {
		struct rangelist_sections sections = sections_of(sizeof(lists), n);

		spans.count = 0;
		ck_assert_int_eq(rangelist_read(&sections, &unit_5, 5, 16, &spans, 7), 0);
		ck_assert_uint_ge(spans.count, 4);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rangelist");
	TCase *tests = tcase_create("rangelist");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, start, stop);
	tcase_add_test(tests, pairs_count_from_the_base_until_two_zeros);
	tcase_add_test(tests, every_kind_of_entry_gives_its_range);
	tcase_add_test(tests, an_index_leads_to_the_same_list);
	tcase_add_loop_test(tests, offsets_and_indexes_beyond_the_section_give_nothing, 0, 5);
	tcase_add_test(tests, a_list_cut_anywhere_gives_the_ranges_before_the_cut);
	tcase_add_test(tests, addresses_cut_anywhere_leave_the_ranges_that_need_none);
	failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
