/* The segment: its tables, and what is refused as a segment. */
#include "../../../shim/segment/segment.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *base;
static size_t bytes;
static struct seg_view view;

static void set_up(void)
{
	bytes = seg_bytes_for(8 << 20);
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	seg_format(base, bytes, 2);
	seg_publish(base);
	ck_assert_int_eq(seg_view_init(&view, base, bytes), SEG_OK);
}

static void tear_down(void)
{
	munmap(base, bytes);
}

START_TEST(a_key_is_found_where_it_was_inserted)
{
	const struct seg_slots *slots = &view.slots[SEG_TABLE_NODES];
	bool is_new;

	ck_assert_uint_eq(seg_table_find(slots, 42), SEG_NOT_FOUND);
	uint32_t index = seg_table_insert(slots, 42, &is_new);
	ck_assert(is_new);
	ck_assert_uint_eq(seg_table_insert(slots, 42, &is_new), index);
	ck_assert(!is_new);
	ck_assert_uint_eq(seg_table_find(slots, 42), index);
	ck_assert_uint_eq(atomic_load(&view.nodes[index].key), 42);
}
END_TEST

START_TEST(a_full_table_refuses_and_keeps_what_it_has)
{
	uint64_t entries[16] = { 0 };
	struct seg_slots slots = { entries, 16, sizeof(entries[0]) };

	for (uint64_t key = 1; key <= 16; key++)
		ck_assert_uint_ne(seg_table_insert(&slots, key, NULL), SEG_NOT_FOUND);
	ck_assert_uint_eq(seg_table_insert(&slots, 17, NULL), SEG_NOT_FOUND);
	for (uint64_t key = 1; key <= 16; key++)
		ck_assert_uint_ne(seg_table_find(&slots, key), SEG_NOT_FOUND);
}
END_TEST

START_TEST(appended_keys_get_rising_indexes_from_the_first_on)
{
	const struct seg_slots *slots = &view.slots[SEG_TABLE_ENDPOINTS];
	bool is_new;

	ck_assert_uint_eq(seg_table_append(slots, 3, 900, &is_new), 3);
	ck_assert_uint_eq(seg_table_append(slots, 3, 100, &is_new), 4);
	ck_assert_uint_eq(seg_table_append(slots, 3, 900, &is_new), 3);
	ck_assert(!is_new);
}
END_TEST

START_TEST(a_walk_meets_every_entry_and_skips_what_was_never_used)
{
	const struct seg_slots *slots = &view.slots[SEG_TABLE_CELLS];
	uint32_t found = 0, visited = 0;

	for (uint64_t key = 1; key <= 100; key++)
		ck_assert_uint_ne(seg_table_insert(slots, key * 7919, NULL), SEG_NOT_FOUND);
	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++, visited++)
		found += atomic_load(&view.cells[i].key) != 0;
	ck_assert_uint_eq(found, 100);
	ck_assert_uint_le(visited, 2 * 100 << slots->mark_shift);
}
END_TEST

START_TEST(an_empty_table_is_walked_in_no_step)
{
	for (int table = 0; table < SEG_TABLE_COUNT; table++)
		ck_assert_uint_eq(seg_table_next(&view.slots[table], 0), view.slots[table].count);
}
END_TEST

START_TEST(keys_of_bytes_differ_by_bytes_length_and_seed)
{
	ck_assert_uint_ne(seg_key_of_bytes("GET /a", 6, 1), seg_key_of_bytes("GET /b", 6, 1));
	ck_assert_uint_ne(seg_key_of_bytes("GET /a\0", 7, 1), seg_key_of_bytes("GET /a", 6, 1));
	ck_assert_uint_ne(seg_key_of_bytes("GET /a", 6, 1), seg_key_of_bytes("GET /a", 6, 2));
	ck_assert_uint_eq(seg_key_of_bytes("abcdefghijk", 11, 7), seg_key_of_bytes("abcdefghijk", 11, 7));
}
END_TEST

START_TEST(keys_give_back_what_they_were_made_of)
{
	uint64_t frame = seg_frame_key(1023, 0x7fffdeadbeef), node = seg_node_key(77, 88);
	uint64_t cell = seg_cell_key(99, 511, SEG_KIND_CPU), series = seg_series_key(511, 503, SEG_ERROR_RESET, SEG_SCHEME_TLS);

	ck_assert_uint_eq(seg_frame_module(frame), 1023);
	ck_assert_uint_eq(seg_frame_offset(frame), 0x7fffdeadbeef);
	ck_assert_uint_eq(seg_node_parent(node), 77);
	ck_assert_uint_eq(seg_node_frame(node), 88);
	ck_assert_uint_eq(seg_cell_node(cell), 99);
	ck_assert_uint_eq(seg_cell_endpoint(cell), 511);
	ck_assert_uint_eq(seg_cell_kind(cell), SEG_KIND_CPU);
	ck_assert_uint_eq(seg_series_endpoint(series), 511);
	ck_assert_uint_eq(seg_series_status(series), 503);
	ck_assert_uint_eq(seg_series_error(series), SEG_ERROR_RESET);
	ck_assert_uint_eq(seg_series_scheme(series), SEG_SCHEME_TLS);
}
END_TEST

START_TEST(a_ceiling_is_kept_and_one_too_low_is_refused)
{
	for (size_t ceiling = 1 << 20; ceiling <= (size_t)256 << 20; ceiling *= 2) {
		ck_assert_uint_gt(seg_bytes_for(ceiling), 0);
		ck_assert_uint_le(seg_bytes_for(ceiling), ceiling);
	}
	ck_assert_uint_eq(seg_bytes_for(900 << 10), 0);
}
END_TEST

static void format_again(size_t ceiling, uint32_t cores)
{
	munmap(base, bytes);
	bytes = seg_bytes_for(ceiling);
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	seg_format(base, bytes, cores);
	seg_publish(base);
	ck_assert_int_eq(seg_view_init(&view, base, bytes), SEG_OK);
}

START_TEST(half_of_the_shards_or_more_are_to_be_owned_and_their_baseline_is_one_more)
{
	static const struct { size_t ceiling; uint32_t cores, shared, all; } cases[] = {
		{ 32u << 20, 0, 1, 8 }, { 32u << 20, 2, 2, 8 }, { 32u << 20, 64, 4, 8 }, { 8u << 20, 2, 1, 3 },
		{ 4u << 20, 2, 2, 2 }, { 1u << 20, 2, 1, 1 }, /* too few to own any: no baseline */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		format_again(cases[i].ceiling, cases[i].cores);
		ck_assert_uint_eq(view.shards_shared, cases[i].shared);
		ck_assert_uint_eq(view.shard_count, cases[i].all);
		ck_assert_uint_eq(view.slots[SEG_TABLE_HISTOGRAMS].count,
				  view.slots[SEG_TABLE_SERIES].count * (cases[i].all + (cases[i].all > 2)));
	}
}
END_TEST

static enum seg_problem problem_of(void *start, size_t n)
{
	struct seg_view other = { 0 };

	return seg_view_init(&other, start, n);
}

START_TEST(what_is_no_segment_is_refused_with_the_reason)
{
	struct segment *head = base;

	ck_assert_int_eq(problem_of(base, 4), SEG_PROBLEM_TRUNCATED);
	ck_assert_int_eq(problem_of(base, sizeof(*head) - 1), SEG_PROBLEM_TRUNCATED);
	ck_assert_int_eq(problem_of(base, bytes - 1), SEG_PROBLEM_TRUNCATED);
	head->version++;
	ck_assert_int_eq(problem_of(base, bytes), SEG_PROBLEM_VERSION);
	head->version--;
	atomic_store(&head->ready, 0);
	ck_assert_int_eq(problem_of(base, bytes), SEG_PROBLEM_NOT_READY);
	atomic_store(&head->ready, 1);
	head->magic++;
	ck_assert_int_eq(problem_of(base, bytes), SEG_PROBLEM_MAGIC);
}
END_TEST

START_TEST(tables_out_of_bounds_are_refused)
{
	struct segment *head = base;
	struct seg_span *span = &head->tables[_i], sound = *span;
	const struct seg_span forged[] = {
		{ bytes + 64, sound.count, sound.stride },      { sound.offset, UINT32_MAX, sound.stride },
		{ sound.offset, sound.count, sound.stride * 2 }, { sound.offset + 1, sound.count, sound.stride },
		{ 0, sound.count, sound.stride },               { sound.offset, 0, sound.stride },
		{ UINT64_MAX & ~63ULL, sound.count, sound.stride },
	};

	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		*span = forged[i];
		ck_assert_int_eq(problem_of(base, bytes), SEG_PROBLEM_LAYOUT);
	}
	*span = sound;
	ck_assert_int_eq(problem_of(base, bytes), SEG_OK);
}
END_TEST

START_TEST(numbers_of_shards_that_cannot_be_are_refused)
{
	struct segment *head = base;
	uint32_t count = head->shard_count, shared = head->shards_shared;
	const uint32_t forged[][2] = { { 0, 0 }, { count, 0 }, { count, count }, { count, count + 1 }, { count + 1, shared },
				       { SEG_SHARDS_MAX + 1, shared }, { UINT32_MAX, UINT32_MAX } };

	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		head->shard_count = forged[i][0];
		head->shards_shared = forged[i][1];
		ck_assert_int_eq(problem_of(base, bytes), SEG_PROBLEM_LAYOUT);
	}
	head->shard_count = count;
	head->shards_shared = shared;
	ck_assert_int_eq(problem_of(base, bytes), SEG_OK);
}
END_TEST

START_TEST(a_file_that_is_missing_empty_or_short_is_refused)
{
	char path[] = "/tmp/profshim-test-XXXXXX";
	struct seg_view other = { 0 };
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(seg_open(&other, path, false), SEG_PROBLEM_TRUNCATED);
	ck_assert_int_eq(write(fd, base, 4096), 4096);
	ck_assert_int_eq(seg_open(&other, path, false), SEG_PROBLEM_TRUNCATED);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	ck_assert_int_eq(seg_open(&other, path, false), SEG_OK);
	seg_close(&other);
	close(fd);
	unlink(path);
	ck_assert_int_eq(seg_open(&other, path, false), SEG_PROBLEM_OPEN);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("segment");
	TCase *tests = tcase_create("segment");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_key_is_found_where_it_was_inserted);
	tcase_add_test(tests, a_full_table_refuses_and_keeps_what_it_has);
	tcase_add_test(tests, appended_keys_get_rising_indexes_from_the_first_on);
	tcase_add_test(tests, a_walk_meets_every_entry_and_skips_what_was_never_used);
	tcase_add_test(tests, an_empty_table_is_walked_in_no_step);
	tcase_add_test(tests, keys_of_bytes_differ_by_bytes_length_and_seed);
	tcase_add_test(tests, keys_give_back_what_they_were_made_of);
	tcase_add_test(tests, a_ceiling_is_kept_and_one_too_low_is_refused);
	tcase_add_test(tests, half_of_the_shards_or_more_are_to_be_owned_and_their_baseline_is_one_more);
	tcase_add_test(tests, what_is_no_segment_is_refused_with_the_reason);
	tcase_add_loop_test(tests, tables_out_of_bounds_are_refused, 0, SEG_TABLE_COUNT);
	tcase_add_test(tests, numbers_of_shards_that_cannot_be_are_refused);
	tcase_add_test(tests, a_file_that_is_missing_empty_or_short_is_refused);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
