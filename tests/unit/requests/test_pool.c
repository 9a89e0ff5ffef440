#include "../../../shim/requests/pool.h"
#include "../../../shim/requests/request.h"
#include "check_main.h"

#include <pthread.h>
#include <stdio.h>

struct thing {
	struct pool_link link;
	_Atomic uint32_t owner;
	char padding[1000];
};

static struct pool things = POOL_OF(struct thing, 1000);

START_TEST(a_pool_gives_no_object_twice_and_stops_at_its_maximum)
{
	static struct thing *taken[1000];

	for (int i = 0; i < 1000; i++) {
		taken[i] = pool_take(&things);
		ck_assert_ptr_nonnull(taken[i]);
		ck_assert_uint_eq(taken[i]->owner, 0);
		taken[i]->owner = 1;
	}
	ck_assert_ptr_null(pool_take(&things));
	pool_give(&things, taken[500]);
	ck_assert_ptr_eq(pool_take(&things), taken[500]);
	ck_assert_ptr_null(pool_take(&things));
}
END_TEST

static void *churn(void *argument)
{
	struct thing *held[20];
	uint32_t me = (uint32_t)(uintptr_t)argument;

	for (int round = 0; round < 5000; round++) {
		for (int i = 0; i < 20; i++) {
			held[i] = pool_take(&things);
			if (!held[i] || atomic_exchange(&held[i]->owner, me) != 0)
				return (void *)1;
		}
		for (int i = 0; i < 20; i++) {
			if (atomic_exchange(&held[i]->owner, 0) != me)
				return (void *)1;
			pool_give(&things, held[i]);
		}
	}
	return NULL;
}

START_TEST(threads_never_hold_the_same_object)
{
	pthread_t threads[4];
	void *result;

	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		ck_assert_ptr_null(result);
	}
	ck_assert_uint_le(things.made_count, 80);
}
END_TEST

static void add_body(struct request *request, void *bytes)
{
	request->body_bytes += *(uint64_t *)bytes;
}

START_TEST(requests_leave_the_queue_in_the_order_of_their_coming)
{
	struct request_queue queue = { 0 };
	uint64_t pushed = 0, popped = 0;

	/* Rising and falling depth, across the lone request and many blocks. */
	for (uint32_t depth = 0; depth < 300; depth += 7) {
		while (queue.count < depth)
			ck_assert_ptr_nonnull(request_push(&queue, pushed++));
		while (queue.count > depth / 3) {
			ck_assert_uint_eq(request_oldest(&queue)->begin_ns, popped++);
			request_pop(&queue);
		}
	}
	request_each(&queue, add_body, &(uint64_t){ 3 });
	while (queue.count) {
		ck_assert_uint_eq(request_oldest(&queue)->body_bytes, 3);
		ck_assert_uint_eq(request_oldest(&queue)->begin_ns, popped++);
		request_pop(&queue);
	}
	ck_assert_uint_eq(pushed, popped);
	ck_assert_ptr_null(request_oldest(&queue));
	ck_assert_ptr_null(queue.oldest);
}
END_TEST

START_TEST(a_pushed_request_keeps_its_place)
{
	struct request_queue queue = { 0 };

	request_push(&queue, 1);
	struct request *second = request_push(&queue, 2);
	for (uint64_t i = 3; i < 100; i++)
		request_push(&queue, i);
	request_pop(&queue);
	ck_assert_ptr_eq(request_oldest(&queue), second);
	ck_assert_uint_eq(second->endpoint, REQUEST_NO_ENDPOINT);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_pool_gives_no_object_twice_and_stops_at_its_maximum);
	tcase_add_test(tcase, threads_never_hold_the_same_object);
	tcase_add_test(tcase, requests_leave_the_queue_in_the_order_of_their_coming);
	tcase_add_test(tcase, a_pushed_request_keeps_its_place);
}

int main(void)
{
	return check_main("pool", add_tests);
}
