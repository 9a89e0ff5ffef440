/* Rules and tables: what is put in is what is found, for every row of real files. */
#include "../../../shim/sampling/modules.h"
#include "../../../shim/segment/unwind.h"
#include "../../../symbolizer/unwind.h"
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

START_TEST(a_rule_that_fits_comes_out_as_it_went_in)
{
	for (int32_t offset = -262144; offset < 262144; offset += 8) {
		struct seg_unwind_rule rule = { SEG_UNWIND_BP, 2, SEG_UNWIND_LOST, offset, 0 };
		uint32_t word = seg_unwind_pack(&rule);
		ck_assert_uint_eq(seg_unwind_kind_of(word), SEG_UNWIND_BP);
		ck_assert_uint_eq(seg_unwind_bp(word), 2);
		ck_assert_uint_eq(seg_unwind_bx(word), SEG_UNWIND_LOST);
		ck_assert_int_eq(seg_unwind_offset(word), offset);
	}
	struct seg_unwind_rule deref = { SEG_UNWIND_DEREF_BP, SEG_UNWIND_AT_BP, 3, -24, 8 };
	uint32_t word = seg_unwind_pack(&deref);
	ck_assert_int_eq(seg_unwind_deref_offset(word), -24);
	ck_assert_int_eq(seg_unwind_deref_added(word), 8);
	ck_assert_uint_eq(seg_unwind_bp(word), SEG_UNWIND_AT_BP);
	struct seg_unwind_rule other = { SEG_UNWIND_REGISTER, 0, 0, -16, 10 };
	word = seg_unwind_pack(&other);
	ck_assert_int_eq(seg_unwind_register_offset(word), -16);
	ck_assert_uint_eq(seg_unwind_register(word), 10);
	struct seg_unwind_rule plt = { SEG_UNWIND_PLT, 0, 0, 11, 0 };
	ck_assert_uint_eq(seg_unwind_plt_limit(seg_unwind_pack(&plt)), 11);
}
END_TEST

START_TEST(odd_and_far_offsets_from_the_stack_pointer_come_out_as_they_went_in)
{
	for (int32_t offset = 0; offset < 262144; offset += 61) {
		struct seg_unwind_rule rule = { SEG_UNWIND_SP, 2, 3, offset, 0 };
		uint32_t word = seg_unwind_pack(&rule), kind = seg_unwind_kind_of(word);
		ck_assert_uint_eq(kind, offset % 8 == 0 ? SEG_UNWIND_SP : offset < 65536 ? SEG_UNWIND_SP_BYTES : SEG_UNWIND_UNSUPPORTED);
		if (kind == SEG_UNWIND_SP_BYTES)
			ck_assert_uint_eq(seg_unwind_byte_offset(word), (uint32_t)offset);
	}
	for (int32_t offset = SEG_UNWIND_FAR_BYTES; offset < SEG_UNWIND_FAR_BYTES + (3 << 19); offset += 8 * 61) {
		struct seg_unwind_rule rule = { SEG_UNWIND_SP, 2, 3, offset, 0 };
		uint32_t word = seg_unwind_pack(&rule);
		ck_assert_uint_ge(seg_unwind_kind_of(word), SEG_UNWIND_SP_FAR);
		ck_assert_uint_eq(seg_unwind_far_offset(word), (uint32_t)offset);
		ck_assert_uint_eq(seg_unwind_bp(word), 2);
		ck_assert_uint_eq(seg_unwind_bx(word), 3);
	}
}
END_TEST

START_TEST(a_rule_that_does_not_fit_is_unsupported)
{
	const struct seg_unwind_rule rules[] = {
		{ SEG_UNWIND_SP, 0, 0, 1835008, 0 },       { SEG_UNWIND_SP, 0, 0, -262152, 0 }, { SEG_UNWIND_SP, 0, 0, 262148, 0 },
		{ SEG_UNWIND_SP, 0, 0, -12, 0 },           { SEG_UNWIND_BP, 0, 0, 12, 0 },      { SEG_UNWIND_BP, 0, 0, 262144, 0 },
		{ SEG_UNWIND_DEREF_SP, 0, 0, 2048, 0 },    { SEG_UNWIND_DEREF_SP, 0, 0, 8, -8 }, { SEG_UNWIND_DEREF_SP, 0, 0, 8, 1024 },
		{ SEG_UNWIND_REGISTER, 0, 0, 8, 16 },      { SEG_UNWIND_PLT, 0, 0, 16, 0 },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		ck_assert_uint_eq(seg_unwind_pack(&rules[i]), SEG_UNWIND_UNSUPPORTED);
}
END_TEST

/* --- tables of real files --- */

struct check {
	struct seg_unwind_view table;
	uint64_t rows, address, kind_of_last;
	bool has_last;
};

static uint32_t expected_kind(const struct unwind_rule *rule)
{
	switch (rule->kind) {
	case UNWIND_NONE: return SEG_UNWIND_NONE;
	case UNWIND_END: return SEG_UNWIND_END;
	case UNWIND_SIGNAL: return SEG_UNWIND_SIGNAL;
	case UNWIND_CFA_PLT: return SEG_UNWIND_PLT;
	case UNWIND_UNSUPPORTED: return SEG_UNWIND_UNSUPPORTED;
	case UNWIND_CFA_DEREF:
		if (rule->reg == UNWIND_RBP)
			return rule->bp.place == UNWIND_AT_CFA || rule->bx.place == UNWIND_AT_CFA ? SEG_UNWIND_DEREF_BP_CFA : SEG_UNWIND_DEREF_BP;
		return rule->reg == UNWIND_RSP ? SEG_UNWIND_DEREF_SP : SEG_UNWIND_UNSUPPORTED;
	case UNWIND_CFA: break;
	}
	return rule->reg == UNWIND_RSP ? SEG_UNWIND_SP : rule->reg == UNWIND_RBP ? SEG_UNWIND_BP :
	       rule->reg == UNWIND_RBX ? SEG_UNWIND_BX : SEG_UNWIND_REGISTER;
}

/* The row that ended at `address` is found at its first and at its last byte; so is this one at its first. */
static int check_row(void *context, uint64_t address, const struct unwind_rule *rule)
{
	struct check *check = context;
	uint32_t word = seg_unwind_find(&check->table, address), kind = expected_kind(rule);

	ck_assert_uint_ge(address, check->address);
	if (check->has_last && address > check->address)
		ck_assert_uint_eq(seg_unwind_kind_of(seg_unwind_find(&check->table, address - 1)), check->kind_of_last);
	/* A rule may have been too large for its word. */
	if (seg_unwind_kind_of(word) != SEG_UNWIND_UNSUPPORTED) {
		ck_assert_uint_eq(seg_unwind_kind_of(word), kind);
		if (kind == SEG_UNWIND_SP || kind == SEG_UNWIND_BP)
			ck_assert_int_eq(seg_unwind_offset(word), rule->offset);
		if (kind == SEG_UNWIND_SP && rule->bp.place == UNWIND_AT_CFA)
			ck_assert_int_eq(-8 * (int32_t)seg_unwind_bp(word), rule->bp.offset);
	}
	check->kind_of_last = seg_unwind_kind_of(word);
	check->address = address;
	check->has_last = true;
	check->rows++;
	return 0;
}

static uint32_t enter_module(const char *path)
{
	uint32_t index = seg_table_append(&seg.slots[SEG_TABLE_MODULES], SEG_MODULE_FIRST, seg_key_of_bytes(path, (uint32_t)strlen(path), 0), NULL);

	ck_assert_uint_ne(index, SEG_NOT_FOUND);
	snprintf(seg.modules[index].path, SEG_MODULE_PATH_BYTES, "%s", path);
	atomic_store(&seg.modules[index].ready, 1);
	return index;
}

static const struct {
	const char *path;
	uint32_t rows_min;
} files[] = {
	{ "/lib/x86_64-linux-gnu/libc.so.6", 20000 }, { "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", 20000 },
	{ "/lib64/ld-linux-x86-64.so.2", 2000 },      { "/usr/bin/python3", 20000 },
	{ "linux-vdso.so.1", 10 },
};

START_TEST(every_row_of_a_file_is_found_in_its_table)
{
	struct check check = { 0 };
	uint64_t code_bytes;

	fixture_open(100, "auto");
	uint32_t index = enter_module(files[_i].path);
	fixture_make_tables();
	const struct seg_unwind *entry = &seg.unwind[index];
	ck_assert_uint_eq(atomic_load(&entry->state), SEG_UNWIND_READY);
	ck_assert(seg_unwind_open(&seg, index, &check.table));
	ck_assert_int_eq(unwind_read(files[_i].path, NULL, 0, check_row, &check, &code_bytes), 0);
	ck_assert_uint_ge(check.rows, files[_i].rows_min);
	ck_assert_uint_ge(entry->covered_pct, 80);
	ck_assert_uint_le(entry->covered_pct, 100);
	ck_assert_uint_ge(entry->row_count, files[_i].rows_min);
	if (entry->row_count > 1000)
		ck_assert_uint_le(seg_unwind_bytes(entry->row_count, entry->block_count), 8ULL * entry->row_count);
	ck_assert_uint_eq(seg_unwind_find(&check.table, check.table.base - 1), SEG_UNWIND_NONE);
	ck_assert_uint_eq(seg_unwind_find(&check.table, check.address), SEG_UNWIND_NONE);
	ck_assert_uint_eq(seg_unwind_find(&check.table, UINT64_MAX), SEG_UNWIND_NONE);
}
END_TEST

START_TEST(a_file_that_is_gone_or_no_file_is_given_up_once)
{
	fixture_open(100, "auto");
	uint32_t gone = enter_module("/nonexistent/library.so"), text = enter_module("/etc/passwd");

	fixture_make_tables();
	ck_assert_uint_eq(atomic_load(&seg.unwind[gone].state), SEG_UNWIND_FAILED);
	ck_assert_uint_eq(atomic_load(&seg.unwind[text].state), SEG_UNWIND_FAILED);
	fixture_make_tables();
	ck_assert_uint_eq(atomic_load(&seg.unwind[gone].attempts), 1);
}
END_TEST

START_TEST(a_file_that_ended_three_servers_is_left_alone)
{
	fixture_open(100, "auto");
	uint32_t index = enter_module(files[0].path);

	atomic_store(&seg.unwind[index].attempts, SEG_UNWIND_ATTEMPTS_MAX);
	fixture_make_tables();
	ck_assert_uint_eq(atomic_load(&seg.unwind[index].state), SEG_UNWIND_FAILED);
}
END_TEST

START_TEST(a_full_arena_is_said_once_and_the_rest_goes_without)
{
	fixture_open(100, "auto");
	uint32_t index = enter_module(files[0].path), other = enter_module(files[1].path);

	atomic_store(&seg.head->unwind_pieces, seg.slots[SEG_TABLE_UNWIND_ARENA].count - 10);
	fixture_make_tables();
	ck_assert_uint_eq(atomic_load(&seg.unwind[index].state), SEG_UNWIND_FULL);
	ck_assert_uint_eq(atomic_load(&seg.unwind[other].state), SEG_UNWIND_FULL);
	ck_assert_uint_eq(fixture_log_count, 1);
	ck_assert_ptr_nonnull(strstr(fixture_log_last, "PROFSHIM_MEMORY"));
}
END_TEST

START_TEST(a_table_out_of_the_arena_is_not_opened)
{
	struct seg_unwind_view table;

	fixture_open(100, "auto");
	struct seg_unwind *entry = &seg.unwind[SEG_MODULE_FIRST];
	*entry = (struct seg_unwind){ .state = SEG_UNWIND_READY, .row_count = 10, .block_count = 10, .shift = 8 };
	ck_assert(seg_unwind_open(&seg, SEG_MODULE_FIRST, &table));
	entry->row_count = UINT32_MAX;
	ck_assert(!seg_unwind_open(&seg, SEG_MODULE_FIRST, &table));
	entry->row_count = 10;
	entry->place = UINT32_MAX;
	ck_assert(!seg_unwind_open(&seg, SEG_MODULE_FIRST, &table));
	ck_assert(!seg_unwind_open(&seg, UINT32_MAX, &table));
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("unwind tables") };

	tcase_add_test(cases[0], a_rule_that_fits_comes_out_as_it_went_in);
	tcase_add_test(cases[0], odd_and_far_offsets_from_the_stack_pointer_come_out_as_they_went_in);
	tcase_add_test(cases[0], a_rule_that_does_not_fit_is_unsupported);
	tcase_add_loop_test(cases[0], every_row_of_a_file_is_found_in_its_table, 0, sizeof(files) / sizeof(files[0]));
	tcase_add_test(cases[0], a_file_that_is_gone_or_no_file_is_given_up_once);
	tcase_add_test(cases[0], a_file_that_ended_three_servers_is_left_alone);
	tcase_add_test(cases[0], a_full_arena_is_said_once_and_the_rest_goes_without);
	tcase_add_test(cases[0], a_table_out_of_the_arena_is_not_opened);
	return fixture_run(cases, 1, "unwind tables");
}
