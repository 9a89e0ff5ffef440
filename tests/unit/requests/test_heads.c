/* A head that a thread has read before is told as if it were read again; any other is read. */
#include "../../../shim/requests/heads.h"
#include "check_main.h"
#include "guarded.h"
#include "room.h"

static const char request[] = "GET /users/1?page=2 HTTP/1.1\r\nHost: example.org\r\nContent-Length: 3\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nDate: Sun, 01 Jan 2023 00:00:00 GMT\r\nContent-Length: 12\r\n\r\n";

/* Reads text, a head, to its end, and remembers it. */
static struct http1 read_head(const char *text, bool is_response, struct trace_context *trace)
{
	struct http1 http = { .is_response = is_response, .trace = trace };
	const char *rest = text, *target = NULL;
	enum http1_event event;

	do {
		struct http1_step step = http1_read(&http, rest, strlen(rest));
		rest += step.used_bytes;
		event = step.event;
		target = event == HTTP1_LINE ? http.target : target;
	} while (event == HTTP1_LINE);
	ck_assert_int_eq(event, HTTP1_HEAD);
	heads_remember(&http, text, (size_t)(rest - text), target);
	return http;
}

START_TEST(a_request_that_comes_again_is_known_with_its_target_and_its_body)
{
	struct trace_context trace = { 0 };
	struct http1 first = read_head(request, false, &trace), again = { .trace = &trace };
	const char *copy = guarded(request, sizeof(request) - 1);

	ck_assert_uint_eq(heads_recall(&again, copy, sizeof(request) - 1), sizeof(request) - 1);
	ck_assert_ptr_eq(again.target, copy + 4);
	ck_assert_uint_eq(again.target_bytes, strlen("/users/1?page=2"));
	ck_assert_int_eq(again.method, first.method);
	ck_assert_int_eq(again.state, HTTP1_STATE_COUNTED);
	ck_assert_uint_eq(again.left_bytes, 3);
	ck_assert_ptr_eq(again.trace, &trace);
}
END_TEST

START_TEST(a_response_that_comes_again_is_known_with_its_status)
{
	struct http1 again = { .is_response = true };

	read_head(response, true, NULL);
	ck_assert_uint_eq(heads_recall(&again, guarded(response, sizeof(response) - 1), sizeof(response) - 1), sizeof(response) - 1);
	ck_assert_int_eq(again.status, 200);
	ck_assert_uint_eq(again.left_bytes, 12);
	ck_assert(again.is_response);
}
END_TEST

START_TEST(one_other_byte_anywhere_is_another_head)
{
	struct http1 http = { .is_response = true };
	char other[sizeof(response)];

	for (size_t i = 0; i < sizeof(response) - 1; i++) {
		read_head(response, true, NULL);
		memcpy(other, response, sizeof(response));
		other[i] ^= 1;
		ck_assert_uint_eq(heads_recall(&http, guarded(other, sizeof(response) - 1), sizeof(response) - 1), 0);
	}
	for (size_t n = 0; n < sizeof(response) - 1; n++)
		ck_assert_uint_eq(heads_recall(&http, guarded(response, n), n), 0);
}
END_TEST

START_TEST(what_the_two_sides_write_alike_is_not_the_same)
{
	struct http1 client = { .trace = NULL }, answering = { .is_response = true };

	read_head(request, false, &(struct trace_context){ 0 });
	ck_assert_uint_eq(heads_recall(&client, request, sizeof(request) - 1), 0);
	ck_assert_uint_eq(heads_recall(&answering, request, sizeof(request) - 1), 0);
}
END_TEST

START_TEST(within_a_message_nothing_is_a_head)
{
	struct http1 http = { .is_response = true, .state = HTTP1_STATE_UNTIL_CLOSE };

	read_head(response, true, NULL);
	ck_assert_uint_eq(heads_recall(&http, response, sizeof(response) - 1), 0);
}
END_TEST

START_TEST(the_ids_of_each_request_are_read)
{
	static const char *const ids[] = { "0af7651916cd43dd8448eb211c80319c", "11111111111111111111111111111111" };
	char text[256];

	room_accept(7);
	for (int i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "GET /a HTTP/1.1\r\nHost: h\r\ntraceparent: 00-%s-b7ad6b7169203331-01\r\n\r\n", ids[i & 1]);
		room_receive(7, text);
		room_send(7, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		const struct seg_exemplar *exemplar = NULL;
		for (uint32_t series = 0; series < seg.slots[SEG_TABLE_SERIES].count && !exemplar; series++)
			if (atomic_load(&seg.exemplars[series].sequence))
				exemplar = &seg.exemplars[series];
		ck_assert_ptr_nonnull(exemplar);
		ck_assert_uint_eq(exemplar->trace_id[0], i & 1 ? 0x11 : 0x0a);
	}
	room_close(7);
}
END_TEST

START_TEST(a_head_longer_than_is_kept_is_read_each_time)
{
	char text[2048] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: ";
	struct http1 http = { .is_response = true };

	memset(text + strlen(text), 'x', 1000);
	strcat(text, "\r\n\r\n");
	read_head(text, true, NULL);
	ck_assert_uint_eq(heads_recall(&http, text, strlen(text)), 0);
}
END_TEST

START_TEST(the_two_that_were_met_last_are_known)
{
	char text[3][64];
	struct http1 http;

	for (int i = 0; i < 3; i++) {
		snprintf(text[i], sizeof(text[i]), "GET /%d HTTP/1.1\r\nHost: test\r\n\r\n", i);
		read_head(text[i], false, NULL);
	}
	for (int i = 2; i >= 0; i--) {
		http = (struct http1){ 0 };
		ck_assert_uint_eq(heads_recall(&http, text[i], strlen(text[i])), i ? strlen(text[i]) : 0);
	}
	read_head(text[0], false, NULL); /* in place of 2, since 1 was met after it */
	for (int i = 0; i < 3; i++) {
		http = (struct http1){ 0 };
		ck_assert_uint_eq(heads_recall(&http, text[i], strlen(text[i])), i < 2 ? strlen(text[i]) : 0);
	}
}
END_TEST

static void open_room(void)
{
	room_open(256);
}

static void add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, open_room, NULL);
	tcase_add_test(tcase, a_request_that_comes_again_is_known_with_its_target_and_its_body);
	tcase_add_test(tcase, a_response_that_comes_again_is_known_with_its_status);
	tcase_add_test(tcase, one_other_byte_anywhere_is_another_head);
	tcase_add_test(tcase, what_the_two_sides_write_alike_is_not_the_same);
	tcase_add_test(tcase, within_a_message_nothing_is_a_head);
	tcase_add_test(tcase, the_ids_of_each_request_are_read);
	tcase_add_test(tcase, a_head_longer_than_is_kept_is_read_each_time);
	tcase_add_test(tcase, the_two_that_were_met_last_are_known);
}

int main(void)
{
	return check_main("heads", add_tests);
}
