#include "../../../shim/hooks/descriptor_map.h"

#include "../run.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static struct descriptor_map map;

static void make_empty(void)
{
	memset(&map, 0, sizeof(map));
}

static int count_in(int set, uint64_t key)
{
	int count = 0;

	for (int way = 0; way < DESCRIPTOR_MAP_WAYS; way++)
		count += map.entries[set][way] >> DESCRIPTOR_MAP_FD_BITS == key;
	return count;
}

/* Keys that share a set: found by looking, since how they are spread is the map's business. */
static void find_neighbours(uint64_t *ret_keys, int count)
{
	int found = 0, set = 0;

	make_empty();
	descriptor_map_set(&map, 1, 1);
	while (!count_in(set, 1))
		set++;
	for (uint64_t key = 2; found < count; key++) {
		descriptor_map_set(&map, key, 1);
		if (count_in(set, key))
			ret_keys[found++] = key;
		descriptor_map_remove(&map, key);
	}
	make_empty();
}

START_TEST(what_was_set_is_found)
{
	descriptor_map_set(&map, 5, 0);
	descriptor_map_set(&map, 6, DESCRIPTOR_MAP_FD_MAX);
	descriptor_map_set(&map, 7, DESCRIPTOR_MAP_CLOSED);
	ck_assert_int_eq(descriptor_map_find(&map, 5), 0);
	ck_assert_int_eq(descriptor_map_find(&map, 6), DESCRIPTOR_MAP_FD_MAX);
	ck_assert_int_eq(descriptor_map_find(&map, 7), DESCRIPTOR_MAP_CLOSED);
	ck_assert_int_eq(descriptor_map_find(&map, 8), DESCRIPTOR_MAP_NONE);
}
END_TEST

START_TEST(a_key_that_is_set_again_has_its_new_descriptor)
{
	descriptor_map_set(&map, 5, 10);
	descriptor_map_set(&map, 5, 11);
	ck_assert_int_eq(descriptor_map_find(&map, 5), 11);
	descriptor_map_remove(&map, 5);
	ck_assert_int_eq(descriptor_map_find(&map, 5), DESCRIPTOR_MAP_NONE);
}
END_TEST

START_TEST(a_removed_key_is_not_there_and_its_place_is_free)
{
	uint64_t keys[DESCRIPTOR_MAP_WAYS + 1];

	find_neighbours(keys, DESCRIPTOR_MAP_WAYS + 1);
	for (int i = 0; i < DESCRIPTOR_MAP_WAYS; i++)
		descriptor_map_set(&map, keys[i], i);
	descriptor_map_remove(&map, keys[3]);
	descriptor_map_remove(&map, keys[3]);
	descriptor_map_set(&map, keys[DESCRIPTOR_MAP_WAYS], 100);
	for (int i = 0; i < DESCRIPTOR_MAP_WAYS; i++)
		ck_assert_int_eq(descriptor_map_find(&map, keys[i]), i == 3 ? DESCRIPTOR_MAP_NONE : i);
	ck_assert_int_eq(descriptor_map_find(&map, keys[DESCRIPTOR_MAP_WAYS]), 100);
}
END_TEST

START_TEST(where_a_set_is_full_one_goes_and_the_new_one_stays)
{
	uint64_t keys[DESCRIPTOR_MAP_WAYS + 1];
	int lost = 0;

	find_neighbours(keys, DESCRIPTOR_MAP_WAYS + 1);
	for (int i = 0; i <= DESCRIPTOR_MAP_WAYS; i++)
		descriptor_map_set(&map, keys[i], i);
	for (int i = 0; i < DESCRIPTOR_MAP_WAYS; i++) {
		int fd = descriptor_map_find(&map, keys[i]);
		ck_assert(fd == i || fd == DESCRIPTOR_MAP_NONE);
		lost += fd == DESCRIPTOR_MAP_NONE;
	}
	ck_assert_int_eq(lost, 1);
	ck_assert_int_eq(descriptor_map_find(&map, keys[DESCRIPTOR_MAP_WAYS]), DESCRIPTOR_MAP_WAYS);
}
END_TEST

START_TEST(as_many_as_it_has_places_for_are_mostly_kept)
{
	enum { KEYS = DESCRIPTOR_MAP_ENTRIES / 2 };
	int kept = 0;

	/* As malloc gives them: aligned, one after the other. */
	for (uint64_t i = 0; i < KEYS; i++)
		descriptor_map_set(&map, descriptor_map_key_of_pointer((void *)(0x555500000000 + i * 6400)), (int)i);
	for (uint64_t i = 0; i < KEYS; i++) {
		int fd = descriptor_map_find(&map, descriptor_map_key_of_pointer((void *)(0x555500000000 + i * 6400)));
		ck_assert(fd == (int)i || fd == DESCRIPTOR_MAP_NONE);
		kept += fd == (int)i;
	}
	ck_assert_int_ge(kept, KEYS * 95 / 100);
}
END_TEST

START_TEST(what_is_no_address_of_an_object_has_no_key)
{
	ck_assert_uint_eq(descriptor_map_key_of_pointer(NULL), 0);
	ck_assert_uint_eq(descriptor_map_key_of_pointer((void *)0x555500000004), 0);
	ck_assert_uint_eq(descriptor_map_key_of_pointer((void *)(1ULL << 47)), 0);
	ck_assert_uint_ne(descriptor_map_key_of_pointer((void *)((1ULL << 47) - 8)), 0);
	ck_assert_uint_ne(descriptor_map_key_of_hash(0), 0);
	ck_assert_uint_ne(descriptor_map_key_of_hash(1ULL << 44), 0);
}
END_TEST

enum { THREADS = 4, ROUNDS = 200000, SHARED_KEYS = 64 };

/* A key's descriptors end with the same digit as the key, whoever sets it. */
static void *set_and_find(void *number)
{
	uint64_t random = (uintptr_t)number * 2 + 1;
	uintptr_t wrong = 0;

	for (int i = 0; i < ROUNDS; i++) {
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		uint64_t key = 1 + (random >> 33) % SHARED_KEYS;
		switch (random >> 60 & 3) {
		case 0:
			descriptor_map_remove(&map, key);
			break;
		case 1:
			descriptor_map_set(&map, key, (int)(key + SHARED_KEYS * (random >> 40 & 0xff)));
			break;
		default: {
			int fd = descriptor_map_find(&map, key);
			wrong += fd != DESCRIPTOR_MAP_NONE && (uint64_t)fd % SHARED_KEYS != key % SHARED_KEYS;
		}
		}
	}
	return (void *)wrong;
}

START_TEST(threads_at_once_find_a_keys_own_descriptors_or_none)
{
	pthread_t threads[THREADS];
	void *wrong;

	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, set_and_find, (void *)i), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &wrong);
		ck_assert_ptr_eq(wrong, NULL);
	}
	for (uint64_t key = 1; key <= SHARED_KEYS; key++) {
		descriptor_map_remove(&map, key);
		ck_assert_int_eq(descriptor_map_find(&map, key), DESCRIPTOR_MAP_NONE);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("descriptor_map");
	TCase *tests = tcase_create("map");

	tcase_add_checked_fixture(tests, make_empty, NULL);
	tcase_add_test(tests, what_was_set_is_found);
	tcase_add_test(tests, a_key_that_is_set_again_has_its_new_descriptor);
	tcase_add_test(tests, a_removed_key_is_not_there_and_its_place_is_free);
	tcase_add_test(tests, where_a_set_is_full_one_goes_and_the_new_one_stays);
	tcase_add_test(tests, as_many_as_it_has_places_for_are_mostly_kept);
	tcase_add_test(tests, what_is_no_address_of_an_object_has_no_key);
	tcase_add_test(tests, threads_at_once_find_a_keys_own_descriptors_or_none);
	tcase_set_timeout(tests, 60);
	suite_add_tcase(suite, tests);
	return run_tests(srunner_create(suite)) != 0;
}
