#include "../../../shim/sampling/stack.h"
#include "fixture.h"


/* Addresses by what they are: program 0x1...., libc 0x2...., libprofshim 0x3..... */
#define PROGRAM(n) (0x10000ULL + (n))
#define LIBC(n) (0x20000ULL + (n))
#define OWN(n) (0x30000ULL + (n))
#define RETURN(address) ((address) | SIG_TAG_RETURN)
#define CALL (SEG_CALL_RECV + 1)

static struct sig_frame frames[SIG_FRAMES_MAX];
static uint64_t tags[SEG_DEPTH_MAX];
static uint32_t tagged;
static struct sig_shown last;

static void forget(void)
{
	tagged = 0;
}

static uint16_t flags_of(uint64_t address)
{
	return address >= OWN(0) ? SIG_FRAME_OWN : address >= LIBC(0) ? SIG_FRAME_SYSTEM : 0;
}

/* Frames are given leaf first, as one reads a stack; walks have them root first. */
static void lay_down(const uint64_t *addresses, uint32_t depth)
{
	for (uint32_t i = 0; i < depth; i++)
		frames[depth - 1 - i] = (struct sig_frame){ .tag = i ? RETURN(addresses[i]) : addresses[i],
							    .flags = flags_of(addresses[i]) };
}

static uint32_t shown(const uint64_t *addresses, uint32_t depth, uint32_t call)
{
	struct sig_walk walk = { .frames = frames, .depth = depth };

	lay_down(addresses, depth);
	last = sig_stack_shown(&walk, call, &tagged, tags);
	ck_assert_uint_eq(last.kept, 0);
	return last.count;
}

/* expected: leaf first. */
static void expect(uint32_t depth, const uint64_t *expected, uint32_t count)
{
	ck_assert_uint_eq(depth, count);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_uint_eq(tags[count - 1 - i], expected[i]);
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
	struct sig_walk walk = { .frames = frames, .depth = 3, .is_by_pointers = true };

	lay_down(addresses, 3);
	last = sig_stack_shown(&walk, CALL, &tagged, tags);
	expect(last.count, ARRAY(CALL, RETURN(PROGRAM(2)), RETURN(PROGRAM(3))));
}
END_TEST

static struct sig_shown shown_again(uint32_t depth, uint32_t kept, uint32_t call)
{
	struct sig_walk walk = { .frames = frames, .depth = depth, .kept = kept };

	return last = sig_stack_shown(&walk, call, &tagged, tags);
}

START_TEST(frames_that_are_kept_need_no_tags)
{
	shown(ARRAY(PROGRAM(1), OWN(2), PROGRAM(3), OWN(4), LIBC(5)), 0);
	shown_again(5, 4, 0);
	ck_assert_uint_eq(last.kept, 2);
	expect(last.count, ARRAY(PROGRAM(1)));
	shown_again(5, 5, 0);
	ck_assert_uint_eq(last.kept, 3);
	ck_assert_uint_eq(last.count, 0);
}
END_TEST

START_TEST(frames_that_a_call_covered_get_their_tags_when_they_are_seen)
{
	ck_assert_uint_eq(shown(ARRAY(LIBC(1), OWN(2), PROGRAM(3), PROGRAM(4)), CALL), 3);
	/* The same frames, but the call is over: libc's is shown, and nothing of it has a tag yet. */
	lay_down(ARRAY(LIBC(1), PROGRAM(2), PROGRAM(3), PROGRAM(4)));
	frames[0].shown = 1;
	frames[1].shown = 2;
	shown_again(4, 4, 0);
	ck_assert_uint_eq(last.kept, 2);
	expect(last.count, ARRAY(LIBC(1), RETURN(PROGRAM(2))));
}
END_TEST

START_TEST(a_call_covers_frames_that_are_kept)
{
	shown(ARRAY(LIBC(1), OWN(2), PROGRAM(3), PROGRAM(4)), CALL);
	shown_again(4, 4, CALL);
	ck_assert_uint_eq(last.kept, 2);
	expect(last.count, ARRAY(CALL));
}
END_TEST

START_TEST(a_stack_of_nothing_but_ours_is_empty)
{
	ck_assert_uint_eq(shown(ARRAY(OWN(1), OWN(2)), 0), 0);
}
END_TEST

static uint32_t shown_deep(uint32_t depth, bool is_cut)
{
	struct sig_walk walk = { .frames = frames, .depth = depth, .is_cut = is_cut };

	for (uint32_t i = 0; i < depth; i++)
		frames[depth - 1 - i] = (struct sig_frame){ .tag = i ? RETURN(PROGRAM(i)) : PROGRAM(0) };
	last = sig_stack_shown(&walk, 0, &tagged, tags);
	ck_assert_uint_eq(last.kept, 0);
	return last.count;
}

START_TEST(the_deepest_stack_that_fits_is_whole)
{
	ck_assert_uint_eq(shown_deep(SEG_DEPTH_MAX, false), SEG_DEPTH_MAX);
	ck_assert_uint_eq(tags[0], RETURN(PROGRAM(SEG_DEPTH_MAX - 1)));
	ck_assert_uint_eq(tags[SEG_DEPTH_MAX - 1], PROGRAM(0));
	ck_assert_uint_eq(tagged, SEG_DEPTH_MAX);
}
END_TEST

START_TEST(one_frame_more_loses_the_root_end)
{
	ck_assert_uint_eq(shown_deep(SEG_DEPTH_MAX + 1, false), SEG_DEPTH_MAX);
	ck_assert_uint_eq(tags[SEG_DEPTH_MAX - 1], PROGRAM(0));
	ck_assert_uint_eq(tags[1], RETURN(PROGRAM(SEG_DEPTH_MAX - 2)));
	ck_assert_uint_eq(tags[0], SIG_TAG_TRUNCATED);
	ck_assert_uint_eq(tagged, 0);
}
END_TEST

START_TEST(a_walk_that_was_cut_is_truncated_however_much_of_it_is_hidden)
{
	ck_assert_uint_eq(shown_deep(10, true), 11);
	ck_assert_uint_eq(tags[0], SIG_TAG_TRUNCATED);
}
END_TEST

START_TEST(a_deep_stack_keeps_its_call)
{
	struct sig_walk walk = { .frames = frames, .depth = SIG_FRAMES_MAX };

	for (uint32_t i = 0; i < SIG_FRAMES_MAX; i++)
		frames[SIG_FRAMES_MAX - 1 - i] =
			(struct sig_frame){ .tag = RETURN(PROGRAM(i)), .flags = i == 0 ? SIG_FRAME_SYSTEM : i == 1 ? SIG_FRAME_OWN : 0 };
	last = sig_stack_shown(&walk, CALL, &tagged, tags);
	ck_assert_uint_eq(last.count, SEG_DEPTH_MAX);
	ck_assert_uint_eq(tags[SEG_DEPTH_MAX - 1], CALL);
	ck_assert_uint_eq(tags[SEG_DEPTH_MAX - 2], RETURN(PROGRAM(2)));
	ck_assert_uint_eq(tags[0], SIG_TAG_TRUNCATED);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("stack") };

	tcase_add_checked_fixture(cases[0], forget, NULL);
	tcase_add_test(cases[0], the_leaf_is_exact_and_the_others_are_return_addresses);
	tcase_add_test(cases[0], a_call_in_progress_replaces_what_is_libc_and_ours_above_the_caller);
	tcase_add_test(cases[0], our_own_code_around_the_call_is_the_call);
	tcase_add_test(cases[0], our_own_code_outside_of_a_call_goes_to_its_caller);
	tcase_add_test(cases[0], the_frame_that_threads_begin_in_is_not_shown);
	tcase_add_test(cases[0], a_handler_of_the_program_that_interrupts_a_call_is_shown);
	tcase_add_test(cases[0], libc_that_the_program_calls_by_itself_is_shown);
	tcase_add_test(cases[0], by_frame_pointers_the_hook_is_the_frame_that_is_missing);
	tcase_add_test(cases[0], frames_that_are_kept_need_no_tags);
	tcase_add_test(cases[0], frames_that_a_call_covered_get_their_tags_when_they_are_seen);
	tcase_add_test(cases[0], a_call_covers_frames_that_are_kept);
	tcase_add_test(cases[0], a_stack_of_nothing_but_ours_is_empty);
	tcase_add_test(cases[0], the_deepest_stack_that_fits_is_whole);
	tcase_add_test(cases[0], one_frame_more_loses_the_root_end);
	tcase_add_test(cases[0], a_walk_that_was_cut_is_truncated_however_much_of_it_is_hidden);
	tcase_add_test(cases[0], a_deep_stack_keeps_its_call);
	return fixture_run(cases, 1, "stack");
}
