#include "../../../shim/requests/prepared.h"
#include "check_main.h"

#include <stdlib.h>

static struct prepared prepared;

static bool knows(uint64_t name, uint32_t verb)
{
	uint32_t found = UINT32_MAX;

	return prepared_get(&prepared, name, &found) && found == verb;
}

static bool knows_any(uint64_t name)
{
	uint32_t verb;

	return prepared_get(&prepared, name, &verb);
}

START_TEST(a_name_means_what_it_was_last_given)
{
	prepared_clear(&prepared);
	ck_assert(!knows_any(5));
	ck_assert(prepared_put(&prepared, 5, 7));
	ck_assert(knows(5, 7));
	ck_assert(prepared_put(&prepared, 5, PREPARED_VERB_MAX));
	ck_assert(knows(5, PREPARED_VERB_MAX));
	ck_assert(prepared_put(&prepared, 0, 0));
	ck_assert(knows(0, 0));
	prepared_drop(&prepared, 5);
	prepared_drop(&prepared, 5);
	ck_assert(!knows_any(5));
	ck_assert(knows(0, 0));
	ck_assert_uint_eq(prepared.count, 1);
	prepared_clear(&prepared);
	ck_assert(!knows_any(0));
}
END_TEST

START_TEST(as_many_as_there_is_room_for_are_all_known)
{
	prepared_clear(&prepared);
	for (uint64_t name = 1; name <= PREPARED_MAX; name++)
		ck_assert(prepared_put(&prepared, name, name % 100));
	for (uint64_t name = 1; name <= PREPARED_MAX; name++)
		ck_assert(knows(name, name % 100));
	ck_assert_uint_eq(prepared.count, PREPARED_MAX);
}
END_TEST

/* Statements come and go in any order; a plain array tells what should be known. */
START_TEST(whatever_is_put_and_dropped_what_should_be_known_is)
{
	enum { NAMES = 1000 };
	static uint8_t wanted[NAMES];
	uint32_t random = 12345, known = 0;

	prepared_clear(&prepared);
	for (int i = 0; i < 300000; i++) {
		random = random * 1664525 + 1013904223;
		uint32_t at = (random >> 8) % NAMES;
		uint64_t name = (uint64_t)at * 0x123456789ULL; /* beyond 32 bits, too */
		if (wanted[at]) {
			ck_assert(knows(name, wanted[at] - 1u));
			prepared_drop(&prepared, name);
			wanted[at] = 0;
			known--;
		} else if (known < PREPARED_MAX) {
			ck_assert(!knows_any(name));
			wanted[at] = (uint8_t)(1 + random % 100);
			ck_assert(prepared_put(&prepared, name, wanted[at] - 1u));
			known++;
		}
		ck_assert_uint_eq(prepared.count, known);
	}
}
END_TEST

/* psycopg: 100 at a time, those longest not used dropped by SQL, which is not followed. */
START_TEST(statements_in_use_are_known_however_many_were_forgotten_by_the_program)
{
	enum { IN_USE = 100 };
	bool is_any_forgotten = false;

	prepared_clear(&prepared);
	for (uint64_t newest = 0; newest < 20000; newest++) {
		is_any_forgotten |= !prepared_put(&prepared, newest, newest % 50);
		for (uint64_t name = newest < IN_USE ? 0 : newest - IN_USE + 1; name <= newest; name++)
			if (name % 10 == newest % 10) /* each at least once in ten rounds */
				ck_assert(knows(name, name % 50));
		ck_assert_uint_le(prepared.count, PREPARED_MAX);
	}
	ck_assert(is_any_forgotten);
}
END_TEST

START_TEST(one_used_all_the_time_outlives_any_number_of_others)
{
	prepared_clear(&prepared);
	prepared_put(&prepared, 1ULL << 35, 3);
	for (uint64_t name = 1; name < 5000; name++) {
		prepared_put(&prepared, name, 1);
		if (name % 100 == 0)
			ck_assert(knows(1ULL << 35, 3));
	}
}
END_TEST

START_TEST(full_of_statements_in_use_there_is_room_for_a_new_one)
{
	prepared_clear(&prepared);
	for (uint64_t name = 0; name < PREPARED_MAX; name++) {
		prepared_put(&prepared, name, 1);
		knows_any(name);
	}
	ck_assert(!prepared_put(&prepared, 1000, 2));
	ck_assert(knows(1000, 2));
	ck_assert_uint_eq(prepared.count, PREPARED_MAX);
}
END_TEST

START_TEST(it_fits_with_a_connection_into_4_kib)
{
	ck_assert_uint_le(sizeof(struct prepared), 3100);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_name_means_what_it_was_last_given);
	tcase_add_test(tcase, as_many_as_there_is_room_for_are_all_known);
	tcase_add_test(tcase, whatever_is_put_and_dropped_what_should_be_known_is);
	tcase_add_test(tcase, statements_in_use_are_known_however_many_were_forgotten_by_the_program);
	tcase_add_test(tcase, one_used_all_the_time_outlives_any_number_of_others);
	tcase_add_test(tcase, full_of_statements_in_use_there_is_room_for_a_new_one);
	tcase_add_test(tcase, it_fits_with_a_connection_into_4_kib);
}

int main(void)
{
	return check_main("prepared", add_tests);
}
