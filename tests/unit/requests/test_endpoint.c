#include "../../../shim/requests/endpoint.h"

#include "check_main.h"
#include "room.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The endpoint of a request for target that is answered at once. */
static uint32_t answered(enum seg_method method, const char *target, bool is_found)
{
	uint32_t candidate;
	uint32_t endpoint = endpoint_of_http(method, target, (uint32_t)strlen(target), &candidate);

	return candidate ? endpoint_settle(candidate, is_found) : endpoint;
}

static uint32_t get(const char *target)
{
	return answered(SEG_METHOD_GET, target, true);
}

static const char *get_name(const char *target)
{
	return seg.endpoints[get(target)].name;
}

/* "a", "b", ... "z", "aa": words that are taken for words. */
static const char *letters(int i)
{
	static char text[8];

	if (i < 26)
		sprintf(text, "%c", 'a' + i);
	else
		sprintf(text, "%c.%c", 'a' + i / 26 - 1, 'a' + i % 26);
	return text;
}

START_TEST(a_path_has_the_same_endpoint_each_time_and_in_each_process)
{
	room_open(256);
	uint32_t users = get("/users/1");
	ck_assert_uint_ge(users, SEG_ENDPOINT_FIRST);
	ck_assert_uint_eq(get("/users/1"), users);
	ck_assert_uint_eq(get("/users/2?x"), users);
	ck_assert_uint_ne(get("/users"), users);
	ck_assert_uint_ne(answered(SEG_METHOD_POST, "/users/1", true), users);
	ck_assert_uint_eq(seg.head->routes_count, 3);
	endpoint_init(); /* what a process remembers is lost, what the segment holds is found again */
	ck_assert_uint_eq(get("/users/3"), users);
	ck_assert_uint_eq(seg.head->routes_count, 3);
	ck_assert_str_eq(seg.endpoints[users].name, "GET /users/{id}");
	ck_assert_uint_eq(seg.endpoints[users].method, SEG_METHOD_GET);
	ck_assert_uint_eq(seg.endpoints[users].protocol, SEG_PROTOCOL_HTTP);
}
END_TEST

START_TEST(what_is_not_found_makes_no_route)
{
	char target[32];

	room_open(256);
	for (int i = 0; i < 600; i++) {
		sprintf(target, "/%s", letters(i));
		uint32_t endpoint = answered(SEG_METHOD_GET, target, false);
		ck_assert_str_eq(seg.endpoints[endpoint].name, "GET _OTHER");
	}
	uint32_t candidate;
	endpoint_of_http(SEG_METHOD_GET, "/a", 2, &candidate);
	ck_assert_uint_ne(candidate, 0);
	ck_assert_str_eq(seg.endpoints[endpoint_settle(candidate, false)].name, "GET _OTHER");
	ck_assert_uint_eq(seg.head->routes_count, 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
	/* Once it was found it stays a route, whatever is answered. */
	ck_assert_str_eq(get_name("/a"), "GET /a");
	ck_assert_uint_eq(answered(SEG_METHOD_GET, "/a", false), get("/a"));
	ck_assert_uint_eq(seg.head->routes_count, 1);
}
END_TEST

START_TEST(routes_beyond_the_cap_go_to_the_overflow_entry_of_their_method)
{
	char target[32];

	room_open(3);
	for (int i = 0; i < 10; i++)
		for (int round = 0; round < 5; round++) {
			sprintf(target, "/%s", letters(i));
			uint32_t endpoint = get(target);
			ck_assert_int_eq(seg.endpoints[endpoint].is_overflow, i >= 3);
			ck_assert_str_eq(seg.endpoints[endpoint].name + 4, i >= 3 ? "_OTHER" : target);
		}
	ck_assert_uint_eq(seg.head->routes_count, 3);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 7 * 5);
	uint32_t head = answered(SEG_METHOD_HEAD, "/a", true);
	ck_assert_str_eq(seg.endpoints[head].name, "HEAD _OTHER");
	ck_assert_uint_eq(seg.endpoints[head].method, SEG_METHOD_HEAD);
	ck_assert_str_eq(seg.endpoints[endpoint_of_broken_http()].name, "_OTHER _OTHER");
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 7 * 5 + 1);
}
END_TEST

START_TEST(a_cap_larger_than_the_table_leaves_room_for_all_overflow_entries)
{
	char target[32];

	room_open(100000);
	for (int i = 0; i < 700; i++) {
		sprintf(target, "/a/%s", letters(i % 26));
		sprintf(target + 4, "/%s", letters(i / 26));
		get(target);
	}
	for (int method = 0; method < SEG_METHOD_COUNT; method++) {
		uint32_t endpoint = answered((enum seg_method)method, "/late", true);
		ck_assert_uint_ge(endpoint, SEG_ENDPOINT_FIRST);
		ck_assert_uint_eq(seg.endpoints[endpoint].is_overflow, 1);
		ck_assert_uint_eq(seg.endpoints[endpoint].method, (uint32_t)method);
	}
	for (int protocol = SEG_PROTOCOL_REDIS; protocol < SEG_PROTOCOL_COUNT; protocol++) {
		uint32_t other = endpoint_of_operation((enum seg_protocol)protocol, 0, "_OTHER");
		ck_assert_uint_ge(other, SEG_ENDPOINT_FIRST);
		ck_assert_uint_eq(seg.endpoints[other].protocol, (uint32_t)protocol);
		ck_assert_uint_eq(endpoint_of_operation((enum seg_protocol)protocol, 1, "GET"), other);
		ck_assert_uint_eq(endpoint_overflow_of(other), other);
	}
}
END_TEST

START_TEST(an_operation_has_one_name_in_each_protocol)
{
	room_open(3);
	uint32_t redis = endpoint_of_operation(SEG_PROTOCOL_REDIS, 7, "GET");
	uint32_t memcached = endpoint_of_operation(SEG_PROTOCOL_MEMCACHED, 1, "GET");
	ck_assert_uint_ne(redis, memcached);
	ck_assert_uint_eq(endpoint_peek_operation(SEG_PROTOCOL_REDIS, 7, "GET"), redis);
	endpoint_init();
	ck_assert_uint_eq(endpoint_of_operation(SEG_PROTOCOL_REDIS, 7, "GET"), redis);
	ck_assert_str_eq(seg.endpoints[memcached].name, "GET");
	endpoint_of_operation(SEG_PROTOCOL_POSTGRES, 1, "SELECT");
	uint32_t other = endpoint_peek_operation(SEG_PROTOCOL_POSTGRES, 2, "INSERT");
	ck_assert_str_eq(seg.endpoints[other].name, "_OTHER");
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
	ck_assert_uint_eq(endpoint_of_operation(SEG_PROTOCOL_POSTGRES, 2, "INSERT"), other);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 1);
}
END_TEST

static const char *rpc_name(const char *path, bool is_found)
{
	uint32_t candidate;
	uint32_t endpoint = endpoint_of_rpc(path, (uint32_t)strlen(path), &candidate);

	if (candidate)
		endpoint = endpoint_settle(candidate, is_found);
	ck_assert_uint_eq(seg.endpoints[endpoint].protocol, SEG_PROTOCOL_GRPC);
	return seg.endpoints[endpoint].name;
}

START_TEST(an_rpc_is_called_by_its_service_and_method_once_it_is_implemented)
{
	static const char *const no_rpcs[] = { "", "/", "/a", "a/b", "/a/", "//b", "/a/b/c", "/a/b?c", "/a/b c", "/a/\xff", "/a/b%20", "*" };
	char longest[SEG_ENDPOINT_BYTES + 2] = "/s/";

	room_open(256);
	ck_assert_str_eq(rpc_name("/pkg.Service/Nothing", false), "_OTHER");
	ck_assert_str_eq(rpc_name("/pkg.Service/Method", true), "pkg.Service/Method");
	ck_assert_str_eq(rpc_name("/pkg.Service/Method", false), "pkg.Service/Method");
	for (size_t i = 0; i < sizeof(no_rpcs) / sizeof(no_rpcs[0]); i++)
		ck_assert_str_eq(rpc_name(no_rpcs[i], true), "_OTHER");
	memset(longest + 3, 'm', SEG_ENDPOINT_BYTES - 3);
	ck_assert_str_eq(rpc_name(longest, true), longest + 1);
	longest[SEG_ENDPOINT_BYTES] = 'm';
	ck_assert_str_eq(rpc_name(longest, true), "_OTHER");
	ck_assert_uint_eq(seg.head->routes_count, 2);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
}
END_TEST

/* A candidate for target, and the entry that stands in for it. */
static uint32_t ask(const char *target, uint32_t *ret_candidate)
{
	uint32_t endpoint = endpoint_of_http(SEG_METHOD_GET, target, (uint32_t)strlen(target), ret_candidate);

	ck_assert_uint_ne(*ret_candidate, 0);
	return endpoint;
}

static const char *shown_name(uint32_t endpoint)
{
	while (seg.endpoints[endpoint].alias)
		endpoint = seg.endpoints[endpoint].alias - 1;
	return seg.endpoints[endpoint].ready ? seg.endpoints[endpoint].name : "";
}

START_TEST(time_spent_before_the_answer_is_the_routes)
{
	uint32_t candidate;

	room_open(256);
	uint32_t stand_in = ask("/slow", &candidate);
	ck_assert_str_eq(shown_name(stand_in), "");
	seg.endpoints[stand_in].cpu_samples += 3;
	uint32_t slow = endpoint_settle(candidate, true);
	ck_assert_str_eq(seg.endpoints[slow].name, "GET /slow");
	ck_assert_uint_ne(slow, stand_in);
	ck_assert_str_eq(shown_name(stand_in), "GET /slow");
	/* What has time of its own stands in for nothing else. */
	for (int i = 0; i < 200; i++) {
		ck_assert_uint_ne(ask("/other", &candidate), stand_in);
		endpoint_settle(candidate, false);
	}
	stand_in = ask("/missing", &candidate);
	seg.endpoints[stand_in].cpu_samples++;
	endpoint_settle(candidate, false);
	ck_assert_str_eq(shown_name(stand_in), "GET _OTHER");
	stand_in = ask("/forgotten", &candidate);
	seg.endpoints[stand_in].cpu_samples++;
	endpoint_forget(candidate);
	ck_assert_str_eq(shown_name(stand_in), "GET _OTHER");
}
END_TEST

START_TEST(more_candidates_than_can_be_stood_in_for_share_the_overflow_entry)
{
	uint32_t candidates[200], without = 0;
	char target[32];

	room_open(256);
	for (int i = 0; i < 200; i++) {
		sprintf(target, "/%s", letters(i));
		without += seg.endpoints[ask(target, &candidates[i])].is_overflow;
	}
	ck_assert_uint_eq(without, 200 - 64);
	for (int i = 0; i < 200; i++) {
		sprintf(target, "GET /%s", letters(i));
		ck_assert_str_eq(seg.endpoints[endpoint_settle(candidates[i], true)].name, target);
	}
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
}
END_TEST

START_TEST(many_requests_for_one_new_route_make_it_once)
{
	uint32_t candidates[100];

	room_open(256);
	for (int i = 0; i < 100; i++)
		ask("/a", &candidates[i]);
	uint32_t endpoint = endpoint_settle(candidates[0], true);
	for (int i = 1; i < 100; i++)
		ck_assert_uint_eq(endpoint_settle(candidates[i], i % 2), i % 2 ? endpoint : endpoint_of_http_method(SEG_METHOD_GET));
	ck_assert_uint_eq(seg.head->routes_count, 1);
}
END_TEST

/* Its place was buried, or another process has it, maybe one with the same pid. */
static void bury(struct seg_process *process, bool is_reused)
{
	process->since_boot_ns += is_reused ? 5000 : 0;
	process->owner = is_reused ? process->owner : 0;
}

START_TEST(a_killed_process_leaves_its_time_to_the_overflow_entry_and_its_stand_ins_to_others)
{
	uint32_t candidate, stand_in = 0;

	room_open(256);
	pid_t child = fork();
	if (!child) {
		room_next_process();
		for (int i = 0; i < 64; i++)
			seg.endpoints[ask("/never-answered", &candidate)].cpu_samples += i == 0;
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	for (int i = 0; i < 1024; i++) /* until it is buried they stay its own */
		ck_assert_uint_eq(seg.endpoints[ask("/a", &candidate)].is_overflow, 1);
	bury(&seg.processes[1], _i);
	for (int i = 0; i < 256; i++) /* finds them used, and reaps */
		ck_assert_uint_eq(seg.endpoints[ask("/a", &candidate)].is_overflow, 1);
	for (int i = 0; i < 256; i++) {
		stand_in = ask("/b", &candidate);
		endpoint_forget(candidate);
	}
	ck_assert_uint_eq(seg.endpoints[stand_in].is_overflow, 0);
	uint32_t others = 0;
	for (uint32_t i = SEG_ENDPOINT_FIRST; i < seg.slots[SEG_TABLE_ENDPOINTS].count; i++)
		others += seg.endpoints[i].cpu_samples && strcmp(shown_name(i), "GET _OTHER") == 0;
	ck_assert_uint_eq(others, 1);
}
END_TEST

START_TEST(a_child_of_fork_leaves_its_parents_stand_ins_alone)
{
	uint32_t candidate;

	room_open(256);
	uint32_t stand_in = ask("/a", &candidate);
	pid_t child = fork();
	if (!child) {
		room_next_process();
		endpoint_forget(candidate);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_str_eq(shown_name(stand_in), "");
	seg.endpoints[stand_in].cpu_samples++;
	endpoint_settle(candidate, true);
	ck_assert_str_eq(shown_name(stand_in), "GET /a");
}
END_TEST

START_TEST(an_entry_left_without_text_by_a_killed_writer_is_written_again)
{
	room_open(256);
	uint64_t key = seg_key_of_bytes("GET /a", 6, SEG_PROTOCOL_HTTP);
	uint32_t left = seg_table_append(&seg.slots[SEG_TABLE_ENDPOINTS], SEG_ENDPOINT_FIRST, key, NULL);
	ck_assert_uint_eq(seg.endpoints[left].ready, 0);
	ck_assert_uint_eq(get("/a"), left);
	ck_assert_uint_eq(seg.endpoints[left].ready, 1);
	ck_assert_str_eq(seg.endpoints[left].name, "GET /a");
}
END_TEST

START_TEST(targets_of_no_form_are_other)
{
	room_open(256);
	uint32_t endpoint = get("no-slash");
	ck_assert_str_eq(seg.endpoints[endpoint].name, "GET _OTHER");
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
	ck_assert_uint_eq(seg.head->routes_count, 0);
}
END_TEST

START_TEST(a_name_fills_its_room_and_no_more)
{
	char target[400] = "/";

	room_open(256);
	for (size_t n = 150; n < 300; n++) {
		memset(target + 1, 'x', n - 1);
		target[n / 2] = '/';
		const char *name = seg.endpoints[answered(SEG_METHOD_OPTIONS, target, true)].name;
		ck_assert_uint_lt(strnlen(name, SEG_ENDPOINT_BYTES), SEG_ENDPOINT_BYTES);
	}
}
END_TEST

static void *make_endpoints(void *argument)
{
	char target[32];

	(void)argument;
	thread_attach();
	for (int i = 0; i < 100; i++) {
		sprintf(target, "/p/%c/%c", 'a' + i % 10, 'a' + i / 10);
		get(target);
	}
	return NULL;
}

START_TEST(threads_and_processes_that_meet_the_same_paths_make_each_once_and_never_pass_the_cap)
{
	pthread_t threads[4];
	uint32_t max_routes = _i ? 200 : 60;

	room_open(max_routes);
	pid_t child = fork();
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, make_endpoints, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	if (!child)
		_exit(0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_uint_eq(seg.head->routes_count, _i ? 100 : 60);
	uint32_t entries = 0;
	for (uint32_t i = SEG_ENDPOINT_FIRST; seg.endpoints[i].key; i++) {
		ck_assert_uint_eq(seg.endpoints[i].ready, 1);
		entries += !seg.endpoints[i].is_overflow;
		for (uint32_t k = SEG_ENDPOINT_FIRST; k < i; k++)
			ck_assert_str_ne(seg.endpoints[i].name, seg.endpoints[k].name);
	}
	ck_assert_uint_eq(entries, _i ? 100 : 60);
	if (!_i) /* 8 threads, 40 of the 100 paths each; a few more where they raced for the last place */
		ck_assert_uint_ge(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 8 * 40);
}
END_TEST

START_TEST(a_full_series_table_counts_under_the_overflow_label_set)
{
	char target[64];
	char head[64];
	uint64_t sent = 0;

	room_open(256);
	room_accept(5);
	uint64_t room = seg.slots[SEG_TABLE_SERIES].count;
	for (int path = 0; path < 16; path++)
		for (int status = 200; status < 500; status++) {
			sprintf(target, "GET /p/%c HTTP/1.1\r\n\r\n", 'a' + path);
			room_receive(5, target);
			sprintf(head, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status);
			room_send(5, head);
			sent++;
		}
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, ROOM_ANY, ROOM_ANY), sent);
	uint64_t overflow = room_requests(SEG_PROTOCOL_HTTP, "GET _OTHER", 0, SEG_ERROR_OTHER);
	ck_assert_uint_gt(sent, room);
	ck_assert_uint_ge(overflow, sent - room);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_SERIES), overflow);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_path_has_the_same_endpoint_each_time_and_in_each_process);
	tcase_add_test(tcase, what_is_not_found_makes_no_route);
	tcase_add_test(tcase, an_operation_has_one_name_in_each_protocol);
	tcase_add_test(tcase, an_rpc_is_called_by_its_service_and_method_once_it_is_implemented);
	tcase_add_test(tcase, routes_beyond_the_cap_go_to_the_overflow_entry_of_their_method);
	tcase_add_test(tcase, a_cap_larger_than_the_table_leaves_room_for_all_overflow_entries);
	tcase_add_test(tcase, time_spent_before_the_answer_is_the_routes);
	tcase_add_test(tcase, more_candidates_than_can_be_stood_in_for_share_the_overflow_entry);
	tcase_add_test(tcase, many_requests_for_one_new_route_make_it_once);
	tcase_add_loop_test(tcase, a_killed_process_leaves_its_time_to_the_overflow_entry_and_its_stand_ins_to_others, 0, 2);
	tcase_add_test(tcase, a_child_of_fork_leaves_its_parents_stand_ins_alone);
	tcase_add_test(tcase, an_entry_left_without_text_by_a_killed_writer_is_written_again);
	tcase_add_test(tcase, targets_of_no_form_are_other);
	tcase_add_test(tcase, a_name_fills_its_room_and_no_more);
	tcase_add_loop_test(tcase, threads_and_processes_that_meet_the_same_paths_make_each_once_and_never_pass_the_cap, 0, 2);
	tcase_add_test(tcase, a_full_series_table_counts_under_the_overflow_label_set);
}

int main(void)
{
	return check_main("endpoint", add_tests);
}
