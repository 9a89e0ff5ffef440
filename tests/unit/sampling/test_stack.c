#include "../../../shim/sampling/module_map.h"
#include "../../../shim/sampling/stack.h"
#include "fixture.h"

#include <string.h>

/* Addresses by what they are: program 0x1...., libc 0x2...., libprofshim 0x3..... */
#define PROGRAM(n) (0x10000ULL + (n))
#define LIBC(n) (0x20000ULL + (n))
#define OWN(n) (0x30000ULL + (n))
#define RETURN(address) ((address) | SIG_TAG_RETURN)
#define CALL (SEG_CALL_RECV + 1)

static struct map_object objects[] = { { .module = 3 }, { .module = 4, .is_system = true }, { .module = 5 } };
static struct map_range ranges[] = { { 0x10000, 0x20000, 0 }, { 0x20000, 0x30000, 1 }, { 0x30000, 0x40000, 2 } };
static struct module_map map = {
	.objects = objects, .ranges = ranges, .object_count = 3, .range_count = 3, .own_low = 0x30000, .own_high = 0x40000,
};

static uint64_t stack[SEG_DEPTH_MAX + 16];

static void use_map(void)
{
	atomic_store(&module_gate.current, &map);
}

/* Leaf first, as walks give it. */
static uint32_t shown(const uint64_t *addresses, uint32_t depth, uint32_t call)
{
	struct sig_walk walk = { .depth = depth };

	memcpy(stack, addresses, depth * sizeof(*addresses));
	return sig_stack_shown(stack, &walk, call);
}

static void expect(uint32_t depth, const uint64_t *tags, uint32_t count)
{
	ck_assert_uint_eq(depth, count);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_uint_eq(stack[i], tags[i]);
}

#define ARRAY(...) (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t)

START_TEST(the_leaf_is_exact_and_the_others_are_return_addresses)
{
	expect(shown(ARRAY(PROGRAM(1), PROGRAM(2), LIBC(3)), 0), ARRAY(PROGRAM(1), RETURN(PROGRAM(2)), RETURN(LIBC(3))));
}
END_TEST

START_TEST(a_call_in_progress_replaces_what_is_libc_and_ours_above_the_caller)
{
	expect(shown(ARRAY(LIBC(1), LIBC(2), OWN(3), OWN(4), PROGRAM(5), PROGRAM(6)), CALL),
	       ARRAY(CALL, RETURN(PROGRAM(5)), RETURN(PROGRAM(6))));
}
END_TEST

START_TEST(our_own_code_around_the_call_is_the_call)
{
	expect(shown(ARRAY(OWN(1), OWN(2), PROGRAM(5)), CALL), ARRAY(CALL, RETURN(PROGRAM(5))));
}
END_TEST

START_TEST(our_own_code_outside_of_a_call_goes_to_its_caller)
{
	expect(shown(ARRAY(LIBC(1), OWN(2), PROGRAM(5)), 0), ARRAY(RETURN(PROGRAM(5))));
}
END_TEST

START_TEST(the_frame_that_threads_begin_in_is_not_shown)
{
	expect(shown(ARRAY(PROGRAM(1), PROGRAM(2), OWN(3), LIBC(4)), 0),
	       ARRAY(PROGRAM(1), RETURN(PROGRAM(2)), RETURN(LIBC(4))));
	expect(shown(ARRAY(LIBC(1), OWN(2), PROGRAM(3), OWN(4), LIBC(5)), CALL),
	       ARRAY(CALL, RETURN(PROGRAM(3)), RETURN(LIBC(5))));
}
END_TEST

START_TEST(a_handler_of_the_program_that_interrupts_a_call_is_shown)
{
	expect(shown(ARRAY(PROGRAM(1), LIBC(2), LIBC(3), OWN(4), PROGRAM(5)), CALL),
	       ARRAY(PROGRAM(1), RETURN(LIBC(2)), RETURN(LIBC(3)), RETURN(PROGRAM(5))));
}
END_TEST

START_TEST(libc_that_the_program_calls_by_itself_is_shown)
{
	expect(shown(ARRAY(LIBC(1), PROGRAM(2)), 0), ARRAY(LIBC(1), RETURN(PROGRAM(2))));
	/* A call that was left by longjmp is still noted as in progress. */
	expect(shown(ARRAY(LIBC(1), PROGRAM(2)), CALL), ARRAY(LIBC(1), RETURN(PROGRAM(2))));
}
END_TEST

START_TEST(by_frame_pointers_the_hook_is_the_frame_that_is_missing)
{
	const uint64_t addresses[] = { LIBC(1), PROGRAM(2), PROGRAM(3) };
	struct sig_walk walk = { .depth = 3, .is_by_pointers = true };

	memcpy(stack, addresses, sizeof(addresses));
	expect(sig_stack_shown(stack, &walk, CALL), ARRAY(CALL, RETURN(PROGRAM(2)), RETURN(PROGRAM(3))));
}
END_TEST

START_TEST(what_follows_the_signal_trampoline_is_exact)
{
	const uint64_t addresses[] = { PROGRAM(1), LIBC(7), PROGRAM(2), PROGRAM(3) };
	struct sig_walk walk = { .depth = 4, .trampoline = LIBC(7) };

	memcpy(stack, addresses, sizeof(addresses));
	expect(sig_stack_shown(stack, &walk, 0), ARRAY(PROGRAM(1), RETURN(LIBC(7)), PROGRAM(2), RETURN(PROGRAM(3))));
}
END_TEST

START_TEST(a_stack_of_nothing_but_ours_is_empty)
{
	ck_assert_uint_eq(shown(ARRAY(OWN(1), OWN(2)), 0), 0);
}
END_TEST

static uint32_t shown_deep(uint32_t depth, bool is_cut)
{
	struct sig_walk walk = { .depth = depth, .is_cut = is_cut };

	for (uint32_t i = 0; i < depth; i++)
		stack[i] = PROGRAM(i);
	return sig_stack_shown(stack, &walk, 0);
}

START_TEST(the_deepest_stack_that_fits_is_whole)
{
	ck_assert_uint_eq(shown_deep(SEG_DEPTH_MAX, false), SEG_DEPTH_MAX);
	ck_assert_uint_eq(stack[SEG_DEPTH_MAX - 1], RETURN(PROGRAM(SEG_DEPTH_MAX - 1)));
}
END_TEST

START_TEST(one_frame_more_loses_the_root_end)
{
	ck_assert_uint_eq(shown_deep(SEG_DEPTH_MAX + 1, false), SEG_DEPTH_MAX);
	ck_assert_uint_eq(stack[0], PROGRAM(0));
	ck_assert_uint_eq(stack[SEG_DEPTH_MAX - 2], RETURN(PROGRAM(SEG_DEPTH_MAX - 2)));
	ck_assert_uint_eq(stack[SEG_DEPTH_MAX - 1], SIG_TAG_TRUNCATED);
}
END_TEST

START_TEST(a_walk_that_was_cut_is_truncated_however_much_of_it_is_hidden)
{
	ck_assert_uint_eq(shown_deep(10, true), 11);
	ck_assert_uint_eq(stack[10], SIG_TAG_TRUNCATED);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("stack") };

	tcase_add_checked_fixture(cases[0], use_map, NULL);
	tcase_add_test(cases[0], the_leaf_is_exact_and_the_others_are_return_addresses);
	tcase_add_test(cases[0], a_call_in_progress_replaces_what_is_libc_and_ours_above_the_caller);
	tcase_add_test(cases[0], our_own_code_around_the_call_is_the_call);
	tcase_add_test(cases[0], our_own_code_outside_of_a_call_goes_to_its_caller);
	tcase_add_test(cases[0], the_frame_that_threads_begin_in_is_not_shown);
	tcase_add_test(cases[0], a_handler_of_the_program_that_interrupts_a_call_is_shown);
	tcase_add_test(cases[0], libc_that_the_program_calls_by_itself_is_shown);
	tcase_add_test(cases[0], by_frame_pointers_the_hook_is_the_frame_that_is_missing);
	tcase_add_test(cases[0], what_follows_the_signal_trampoline_is_exact);
	tcase_add_test(cases[0], a_stack_of_nothing_but_ours_is_empty);
	tcase_add_test(cases[0], the_deepest_stack_that_fits_is_whole);
	tcase_add_test(cases[0], one_frame_more_loses_the_root_end);
	tcase_add_test(cases[0], a_walk_that_was_cut_is_truncated_however_much_of_it_is_hidden);
	return fixture_run(cases, 1, "stack");
}
