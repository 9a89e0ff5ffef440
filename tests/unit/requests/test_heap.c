#include "../../../shim/requests/heap.h"
#include "check_main.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_all(const char *piece, char c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (piece[i] != c)
			return false;
	return true;
}

START_TEST(pieces_of_every_size_are_aligned_and_do_not_overlap)
{
	enum { PIECES = 600 };
	static char *pieces[PIECES];
	static size_t sizes[PIECES];

	for (size_t i = 0; i < PIECES; i++) {
		sizes[i] = i < 300 ? i : i * i / 2;
		pieces[i] = heap_alloc(sizes[i]);
		ck_assert_ptr_nonnull(pieces[i]);
		ck_assert_uint_eq((uintptr_t)pieces[i] % 16, 0);
		memset(pieces[i], (int)(i % 251), sizes[i]);
	}
	for (size_t i = 0; i < PIECES; i++) {
		ck_assert(is_all(pieces[i], (char)(i % 251), sizes[i]));
		heap_free(pieces[i]);
	}
}
END_TEST

START_TEST(the_largest_piece_can_be_had_and_one_byte_more_cannot)
{
	char *piece = heap_alloc(HEAP_BYTES_MAX);

	ck_assert_ptr_nonnull(piece);
	memset(piece, 'x', HEAP_BYTES_MAX);
	heap_free(piece);
	ck_assert_ptr_null(heap_alloc(HEAP_BYTES_MAX + 1));
	ck_assert_ptr_null(heap_alloc(SIZE_MAX));
	ck_assert_ptr_null(heap_zalloc(SIZE_MAX / 2, 3));
}
END_TEST

START_TEST(a_piece_that_was_given_back_is_used_again_and_cleared_on_request)
{
	char *piece = heap_alloc(100);

	memset(piece, 'x', 100);
	heap_free(piece);
	char *again = heap_zalloc(25, 4);
	ck_assert_ptr_eq(again, piece);
	ck_assert(is_all(again, '\0', 100));
	heap_free(again);
	heap_free(NULL);
}
END_TEST

START_TEST(a_piece_that_grows_keeps_its_bytes)
{
	char *piece = heap_realloc(NULL, 1);
	size_t n = 1;

	piece[0] = 'x';
	for (; n < HEAP_BYTES_MAX / 2; n *= 2) {
		piece = heap_realloc(piece, n * 2);
		ck_assert_ptr_nonnull(piece);
		ck_assert(is_all(piece, 'x', n));
		memset(piece, 'x', n * 2);
	}
	ck_assert_ptr_null(heap_realloc(piece, HEAP_BYTES_MAX + 1));
	ck_assert(is_all(piece, 'x', n));
	ck_assert_ptr_eq(heap_realloc(piece, 1), piece);
	heap_free(piece);
}
END_TEST

START_TEST(what_runs_out_is_told_and_comes_back)
{
	enum { PIECES_MAX = 2048 };
	static void *pieces[PIECES_MAX];
	size_t count = 0;

	while (count < PIECES_MAX && (pieces[count] = heap_alloc(65536)))
		count++;
	ck_assert_uint_gt(count, 500);
	ck_assert_uint_lt(count, PIECES_MAX);
	void *small = heap_alloc(32768); /* another size is not concerned */
	ck_assert_ptr_nonnull(small);
	heap_free(small);
	heap_free(pieces[--count]);
	ck_assert_ptr_nonnull((pieces[count] = heap_alloc(65536)));
	for (size_t i = 0; i <= count; i++)
		heap_free(pieces[i]);
}
END_TEST

static void *churn(void *argument)
{
	uint32_t random = (uint32_t)(uintptr_t)argument;
	char *held[16] = { NULL };

	for (int round = 0; round < 50000; round++) {
		random = random * 1664525 + 1013904223;
		char **place = &held[random >> 28];
		size_t n = 1 + (random >> 8) % 1000;
		char mark = (char)(uintptr_t)argument;
		if (*place && (*place)[0] != mark)
			return (void *)1;
		heap_free(*place);
		*place = heap_alloc(n);
		if (!*place)
			return (void *)1;
		memset(*place, mark, n);
	}
	for (int i = 0; i < 16; i++)
		heap_free(held[i]);
	return NULL;
}

START_TEST(threads_never_share_a_piece)
{
	pthread_t threads[4];
	void *result;

	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &result), 0);
		ck_assert_ptr_null(result);
	}
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, pieces_of_every_size_are_aligned_and_do_not_overlap);
	tcase_add_test(tcase, the_largest_piece_can_be_had_and_one_byte_more_cannot);
	tcase_add_test(tcase, a_piece_that_was_given_back_is_used_again_and_cleared_on_request);
	tcase_add_test(tcase, a_piece_that_grows_keeps_its_bytes);
	tcase_add_test(tcase, what_runs_out_is_told_and_comes_back);
	tcase_add_test(tcase, threads_never_share_a_piece);
}

int main(void)
{
	return check_main("heap", add_tests);
}
