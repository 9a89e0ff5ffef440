#include "../../../shim/sampling/module_map.h"
#include "../../../shim/sampling/tree.h"
#include "fixture.h"


static struct sig_path path;

/* Stacks are written root first, as one reads them. */
static uint32_t enter(const uint64_t *tags, uint32_t depth, uint32_t *ret_entered)
{
	return sig_tree_enter(self.is_exclusive ? &path : NULL, 0, tags, depth, false, ret_entered);
}

/* One module from 0 to 1 MiB: an address is its own offset. */
static struct map_object object = { .low = 0, .high = 1 << 20, .module = SEG_MODULE_FIRST };
static struct map_range range = { 0, 1 << 20, 0 };
static struct module_map map = { .objects = &object, .ranges = &range, .object_count = 1, .range_count = 1 };

static void open_session(void)
{
	fixture_open(100, "fp");
	atomic_store(&module_gate.current, &map);
	sig_tree_init();
}

#define STACK(...) (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t)

START_TEST(a_stack_becomes_nodes_from_the_root_to_the_leaf)
{
	uint64_t frames[8];
	uint32_t entered;
	uint32_t node = enter(STACK(0x1000, 0x2000, 0x3000), &entered);

	ck_assert_uint_eq(fixture_path(node, frames, 8), 3);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_FIRST, 0x3000));
	ck_assert_uint_eq(frames[1], seg_frame_key(SEG_MODULE_FIRST, 0x2000));
	ck_assert_uint_eq(frames[2], seg_frame_key(SEG_MODULE_FIRST, 0x1000));
}
END_TEST

START_TEST(a_return_address_means_the_call_before_it)
{
	uint64_t frames[2];
	uint32_t entered;
	uint32_t node = enter(STACK(0x1000 | SIG_TAG_RETURN), &entered);

	ck_assert_uint_eq(fixture_path(node, frames, 2), 1);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_FIRST, 0xfff));
}
END_TEST

START_TEST(equal_stacks_are_one_node)
{
	uint32_t entered;
	uint32_t first = enter(STACK(0x1000, 0x2000), &entered);
	uint32_t other = enter(STACK(0x1000, 0x2001), &entered);

	ck_assert_uint_ne(first, other);
	ck_assert_uint_eq(enter(STACK(0x1000, 0x2000), &entered), first);
}
END_TEST

START_TEST(the_first_stack_is_entered_as_a_whole)
{
	uint32_t entered;

	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	ck_assert_uint_eq(entered, 3);
}
END_TEST

START_TEST(the_same_stack_again_enters_nothing)
{
	uint32_t entered;

	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(a_frame_that_moved_on_is_the_same_activation)
{
	uint32_t entered;

	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	enter(STACK(0x1000, 0x2000, 0x3004), &entered);
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(what_a_moved_frame_calls_is_newly_entered)
{
	uint32_t entered;

	enter(STACK(0x1000, 0x2000, 0x3000, 0x4000), &entered);
	enter(STACK(0x1000, 0x2008, 0x3000, 0x4000), &entered);
	ck_assert_uint_eq(entered, 2);
}
END_TEST

START_TEST(a_deeper_stack_enters_what_is_beyond)
{
	uint32_t entered;

	enter(STACK(0x1000, 0x2000), &entered);
	enter(STACK(0x1000, 0x2000, 0x3000, 0x4000), &entered);
	ck_assert_uint_eq(entered, 2);
}
END_TEST

START_TEST(a_shorter_stack_enters_nothing)
{
	uint32_t entered;

	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	enter(STACK(0x1000, 0x2000), &entered);
	ck_assert_uint_eq(entered, 0);
	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	ck_assert_uint_eq(entered, 1);
}
END_TEST

START_TEST(a_thread_that_shares_its_slot_enters_nothing)
{
	uint32_t entered = 7;
	uint32_t own = enter(STACK(0x1000, 0x2000), &entered);

	self.is_exclusive = 0;
	ck_assert_uint_eq(enter(STACK(0x1000, 0x2000), &entered), own);
	ck_assert_uint_eq(entered, 0);
	ck_assert_uint_ne(enter(STACK(0x1000, 0x2000, 0x3000), &entered), own);
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(a_truncated_stack_enters_nothing_and_is_not_remembered)
{
	uint64_t frames[4];
	uint32_t entered;

	enter(STACK(0x1000, 0x2000), &entered);
	uint32_t node = enter(STACK(SIG_TAG_TRUNCATED, 0x2000, 0x3000), &entered);
	ck_assert_uint_eq(entered, 0);
	ck_assert_uint_eq(fixture_path(node, frames, 4), 3);
	ck_assert_uint_eq(frames[2], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_TRUNCATED));
	enter(STACK(0x1000, 0x2000), &entered);
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(an_interposed_call_is_a_frame_of_its_own)
{
	uint64_t frames[4];
	uint32_t entered;
	uint32_t node = enter(STACK(0x1000, SEG_CALL_RECV + 1), &entered);

	ck_assert_uint_eq(fixture_path(node, frames, 4), 2);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_CALL, SEG_CALL_RECV));
}
END_TEST

START_TEST(code_outside_of_every_module_is_unknown)
{
	uint64_t frames[2];
	uint32_t entered;
	uint32_t node = enter(STACK(0x7f0000001000), &entered);

	ck_assert_uint_eq(fixture_path(node, frames, 2), 1);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
	ck_assert_uint_eq(atomic_load(&module_gate.is_stale), 1);
}
END_TEST

START_TEST(stale_nodes_are_found_anew_but_activations_are_not_counted_anew)
{
	uint64_t tags[] = { 0x1000, 0x2000 };
	uint64_t frames[2];
	uint32_t entered;
	uint32_t before = sig_tree_enter(&path, 0, tags, 2, false, &entered);

	object.module = SEG_MODULE_FIRST + 1;
	ck_assert_uint_eq(sig_tree_enter(&path, 0, tags, 2, false, &entered), before);
	uint32_t after = sig_tree_enter(&path, 0, tags, 2, true, &entered);
	ck_assert_uint_ne(after, before);
	ck_assert_uint_eq(entered, 0);
	ck_assert_uint_eq(fixture_path(after, frames, 2), 2);
	ck_assert_uint_eq(seg_frame_module(frames[1]), SEG_MODULE_FIRST + 1);
}
END_TEST

START_TEST(no_stack_that_was_met_before_the_code_changed_is_remembered)
{
	uint64_t frames[2];
	uint32_t entered;
	uint32_t before = enter(STACK(0x1000, 0x2000), &entered);

	ck_assert_uint_ne(enter(STACK(0x3000, 0x4000), &entered), before);
	ck_assert_uint_eq(enter(STACK(0x1000, 0x2000), &entered), before);
	object.module = SEG_MODULE_FIRST + 1;
	sig_tree_enter(&path, 0, STACK(0x3000, 0x4000), true, &entered);
	uint32_t after = enter(STACK(0x1000, 0x2000), &entered);
	ck_assert_uint_ne(after, before);
	ck_assert_uint_eq(fixture_path(after, frames, 2), 2);
	ck_assert_uint_eq(seg_frame_module(frames[0]), SEG_MODULE_FIRST + 1);
}
END_TEST

START_TEST(unknown_code_is_looked_for_whenever_it_is_met_anew)
{
	uint64_t frames[1];
	uint32_t entered;

	range.high = 0x1000;
	uint32_t unknown = enter(STACK(0x2000), &entered);
	enter(STACK(0x800), &entered);
	range.high = 1 << 20;
	uint32_t known = enter(STACK(0x2000), &entered);
	ck_assert_uint_ne(known, unknown);
	ck_assert_uint_eq(fixture_path(known, frames, 1), 1);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_FIRST, 0x2000));
}
END_TEST

/* More than are remembered, and each as the child of two others. */
START_TEST(whatever_is_remembered_a_stack_is_the_same_node_every_time)
{
	uint32_t nodes[2][300], entered;

	for (int turn = 0; turn < 3; turn++)
		for (uint64_t i = 0; i < 300; i++)
			for (uint64_t root = 0; root < 2; root++) {
				uint32_t node = enter(STACK(0x1000 + root, 0x2000 + i), &entered);
				if (turn == 0)
					nodes[root][i] = node;
				ck_assert_uint_eq(node, nodes[root][i]);
			}
	for (uint64_t i = 0; i < 300; i++)
		ck_assert_uint_ne(nodes[0][i], nodes[1][i]);
}
END_TEST

START_TEST(what_is_kept_of_the_last_stack_need_not_be_given)
{
	uint64_t fresh[] = { 0x4000, 0x5000 };
	uint64_t frames[8];
	uint32_t entered;

	enter(STACK(0x1000, 0x2000, 0x3000), &entered);
	uint32_t node = sig_tree_enter(&path, 2, fresh, 2, false, &entered);
	ck_assert_uint_eq(entered, 1);
	ck_assert_uint_eq(fixture_path(node, frames, 8), 4);
	ck_assert_uint_eq(frames[2], seg_frame_key(SEG_MODULE_FIRST, 0x2000));
	ck_assert_uint_eq(node, enter(STACK(0x1000, 0x2000, 0x4000, 0x5000), &entered));
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(a_stack_that_is_kept_as_a_whole_is_the_same_node)
{
	uint32_t entered = 7;
	uint32_t node = enter(STACK(0x1000, 0x2000, 0x3000), &entered);

	ck_assert_uint_eq(sig_tree_enter(&path, 3, NULL, 0, false, &entered), node);
	ck_assert_uint_eq(entered, 0);
	object.module = SEG_MODULE_FIRST + 1;
	ck_assert_uint_ne(sig_tree_enter(&path, 3, NULL, 0, true, &entered), node);
}
END_TEST

static uint32_t lost_node(void)
{
	return sig_tree_lost(0);
}

START_TEST(a_full_frame_table_leads_to_lost_and_is_counted)
{
	uint32_t entered;

	seg.slots[SEG_TABLE_FRAMES].count = 2; /* [lost] has one place */
	uint64_t before = fixture_counter(SEG_COUNTER_DROP_FRAMES_FULL);
	uint32_t lost_samples = 0;
	for (uint64_t i = 0; i < 8; i++)
		lost_samples += enter(STACK(0x1000 + i), &entered) == lost_node();
	ck_assert_uint_ge(lost_samples, 6);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_FRAMES_FULL) - before, lost_samples);
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(a_full_node_table_leads_to_lost_and_is_counted)
{
	uint32_t entered;

	seg.slots[SEG_TABLE_NODES].count = 4;
	uint32_t node = enter(STACK(0x1000, 0x2000, 0x3000, 0x4000, 0x5000), &entered);
	ck_assert_uint_eq(node, lost_node());
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_NODES_FULL), 1);
	ck_assert_uint_eq(entered, 0);
}
END_TEST

START_TEST(a_lost_leaf_stands_below_lost)
{
	uint64_t frames[4];
	uint32_t node = sig_tree_lost(0x1234);

	ck_assert_uint_eq(fixture_path(node, frames, 4), 2);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_FIRST, 0x1234));
	ck_assert_uint_eq(frames[1], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_LOST));
}
END_TEST

/* A million stacks no two of which are alike, twice the nodes that there are or more: each is in a node of its own or counted. */
START_TEST(a_million_distinct_stacks_are_each_kept_or_counted)
{
	enum { STACKS = 1000000, DEPTH = 20 };
	const struct seg_slots *nodes = &seg.slots[SEG_TABLE_NODES];
	uint32_t entered, lost = 0;

	ck_assert_uint_lt(nodes->count, STACKS / 2);
	for (uint32_t i = 0; i < STACKS; i++) {
		uint64_t stack[DEPTH];
		for (uint32_t depth = 0; depth < DEPTH; depth++)
			stack[depth] = 0x1000 * (depth + 1) + (i >> (DEPTH - 1 - depth) & 1);
		lost += enter(stack, DEPTH, &entered) == lost_node();
	}
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_NODES_FULL), lost);
	uint32_t used = 0;
	for (uint32_t i = 0; i < nodes->count; i++)
		used += atomic_load(&seg.nodes[i].key) != 0;
	ck_assert_uint_ge(used, nodes->count / 2);
	ck_assert_uint_ge(lost, STACKS - nodes->count);
	ck_assert_uint_lt(lost, STACKS);
}
END_TEST

/* The property behind all of it: the sum of what was entered never exceeds the calls that were really made. A made program
 * of nested loops is "sampled" at random instants, and its true calls are counted. */
START_TEST(entered_frames_are_never_more_than_true_activations)
{
	uint64_t random = 88172645463325252ULL;
	uint64_t stack[6] = { 0x1000 };
	uint32_t depth = 1;
	uint64_t true_calls = 1, entered_sum = 0;

	for (int step = 0; step < 20000; step++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		if (random % 3 == 0 && depth < 6) { /* call one of two functions from one of two places */
			stack[depth - 1] = (stack[depth - 1] & ~0xffULL) + ((random >> 8) % 2) * 8;
			stack[depth++] = 0x1000 * (2 + (random >> 16) % 2);
			true_calls++;
		} else if (random % 3 == 1 && depth > 1) { /* return, and go on */
			depth--;
			stack[depth - 1] += 4;
		}
		if ((random >> 24) % 5 == 0) {
			uint32_t entered;
			enter(stack, depth, &entered);
			entered_sum += entered;
		}
		ck_assert_uint_le(entered_sum, true_calls);
	}
	ck_assert_uint_gt(entered_sum, true_calls / 20);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("tree") };

	tcase_add_checked_fixture(cases[0], open_session, NULL);
	tcase_add_test(cases[0], a_stack_becomes_nodes_from_the_root_to_the_leaf);
	tcase_add_test(cases[0], a_return_address_means_the_call_before_it);
	tcase_add_test(cases[0], equal_stacks_are_one_node);
	tcase_add_test(cases[0], the_first_stack_is_entered_as_a_whole);
	tcase_add_test(cases[0], the_same_stack_again_enters_nothing);
	tcase_add_test(cases[0], a_frame_that_moved_on_is_the_same_activation);
	tcase_add_test(cases[0], what_a_moved_frame_calls_is_newly_entered);
	tcase_add_test(cases[0], a_deeper_stack_enters_what_is_beyond);
	tcase_add_test(cases[0], a_shorter_stack_enters_nothing);
	tcase_add_test(cases[0], a_thread_that_shares_its_slot_enters_nothing);
	tcase_add_test(cases[0], a_truncated_stack_enters_nothing_and_is_not_remembered);
	tcase_add_test(cases[0], an_interposed_call_is_a_frame_of_its_own);
	tcase_add_test(cases[0], code_outside_of_every_module_is_unknown);
	tcase_add_test(cases[0], stale_nodes_are_found_anew_but_activations_are_not_counted_anew);
	tcase_add_test(cases[0], no_stack_that_was_met_before_the_code_changed_is_remembered);
	tcase_add_test(cases[0], unknown_code_is_looked_for_whenever_it_is_met_anew);
	tcase_add_test(cases[0], whatever_is_remembered_a_stack_is_the_same_node_every_time);
	tcase_add_test(cases[0], what_is_kept_of_the_last_stack_need_not_be_given);
	tcase_add_test(cases[0], a_stack_that_is_kept_as_a_whole_is_the_same_node);
	tcase_add_test(cases[0], a_full_frame_table_leads_to_lost_and_is_counted);
	tcase_add_test(cases[0], a_full_node_table_leads_to_lost_and_is_counted);
	tcase_add_test(cases[0], a_lost_leaf_stands_below_lost);
	tcase_add_test(cases[0], a_million_distinct_stacks_are_each_kept_or_counted);
	tcase_add_test(cases[0], entered_frames_are_never_more_than_true_activations);
	return fixture_run(cases, 1, "tree");
}
