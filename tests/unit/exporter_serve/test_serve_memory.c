/* What stands in for malloc in the exporter's library: what is kept in a piece stays what it is, pieces do not overlap, and what
 * is given back is the kernel's again.
 */
#include "../run.h"

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__real_malloc(size_t n);

enum { PIECES = 4000, STEPS = 400000, LEFT_BYTES_MAX = 64 * 1024 };

static struct piece {
	uint8_t *bytes;
	size_t n;
	uint8_t mark;
} pieces[PIECES];

static uint64_t random_state = 88172645463325252ULL;

/* Marsaglia's xorshift64. */
static uint64_t draw(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Mostly small, as a model's are. */
static size_t draw_size(void)
{
	return draw() % (draw() % 50 ? 300 : 20000);
}

static void fill(struct piece *piece)
{
	piece->mark = (uint8_t)draw();
	memset(piece->bytes, piece->mark, piece->n);
}

static bool is_whole(const struct piece *piece, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (piece->bytes[i] != piece->mark)
			return false;
	return true;
}

static void resize(struct piece *piece, size_t n)
{
	size_t kept = piece->n < n ? piece->n : n;

	piece->bytes = realloc(piece->bytes, n);
	ck_assert_ptr_nonnull(piece->bytes);
	ck_assert(is_whole(piece, kept));
	piece->n = n;
	fill(piece);
}

static void take(struct piece *piece, size_t n)
{
	bool is_cleared = draw() % 2;

	piece->bytes = is_cleared ? calloc(1, n) : malloc(n);
	ck_assert_ptr_nonnull(piece->bytes);
	ck_assert_uint_eq((uintptr_t)piece->bytes % 16, 0);
	piece->n = n;
	piece->mark = 0;
	ck_assert(!is_cleared || is_whole(piece, n));
	fill(piece);
}

static void let_go(struct piece *piece)
{
	ck_assert(is_whole(piece, piece->n));
	free(piece->bytes);
	*piece = (struct piece){ 0 };
}

/* Of private memory, proc(5). */
static uint64_t mapped_bytes(void)
{
	unsigned long pages[6];
	FILE *statm = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(statm);
	ck_assert_int_eq(fscanf(statm, "%lu %lu %lu %lu %lu %lu", &pages[0], &pages[1], &pages[2], &pages[3], &pages[4], &pages[5]), 6);
	fclose(statm);
	return pages[5] * (uint64_t)sysconf(_SC_PAGESIZE);
}

START_TEST(pieces_keep_what_is_in_them_and_go_back_to_the_kernel)
{
	uint64_t before = mapped_bytes();

	for (int step = 0; step < STEPS; step++) {
		struct piece *piece = &pieces[draw() % PIECES];
		if (!piece->bytes)
			take(piece, draw_size());
		else if (draw() % 4 == 0)
			resize(piece, draw_size() + 1);
		else
			let_go(piece);
	}
	ck_assert_uint_gt(mapped_bytes(), before + LEFT_BYTES_MAX);
	for (int i = 0; i < PIECES; i++)
		if (pieces[i].bytes)
			let_go(&pieces[i]);
	ck_assert_uint_le(mapped_bytes(), before + LEFT_BYTES_MAX);
}
END_TEST

START_TEST(what_lasts_holds_little_beside_itself)
{
	uint64_t before = mapped_bytes();

	for (int i = 0; i < PIECES; i++)
		take(&pieces[i], draw_size());
	for (int i = 0; i < PIECES; i++)
		if (i % 1000)
			let_go(&pieces[i]);
	ck_assert_uint_le(mapped_bytes(), before + LEFT_BYTES_MAX);
	for (int i = 0; i < PIECES; i += 1000)
		let_go(&pieces[i]);
}
END_TEST

START_TEST(what_the_c_library_made_can_be_freed_and_changed)
{
	char *made = __real_malloc(100);

	ck_assert_ptr_nonnull(made);
	memset(made, 'x', 100);
	made = realloc(made, 50000);
	ck_assert_ptr_nonnull(made);
	ck_assert(!memcmp(made, "xxxxxxxxxx", 10));
	free(made);
}
END_TEST

START_TEST(too_much_is_refused)
{
	volatile size_t huge = SIZE_MAX / 2, all = SIZE_MAX - 8;
	void *piece = malloc(100);

	ck_assert_ptr_null(malloc(all));
	ck_assert_ptr_null(calloc(huge, 4));
	ck_assert_ptr_null(realloc(piece, huge));
	free(piece);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory");
	TCase *tests = tcase_create("memory");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, pieces_keep_what_is_in_them_and_go_back_to_the_kernel);
	tcase_add_test(tests, what_lasts_holds_little_beside_itself);
	tcase_add_test(tests, what_the_c_library_made_can_be_freed_and_changed);
	tcase_add_test(tests, too_much_is_refused);
	return run_tests(runner) ? EXIT_FAILURE : EXIT_SUCCESS;
}
