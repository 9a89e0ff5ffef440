#include "../../../shim/hooks/loader.h"
#include "../../../shim/hooks/tls.h"
#include "../../../shim/setup/process.h"
#include "../../../shim/setup/shim.h"

#include "../requests/room.h"
#include "../run.h"

/* What hooks ask of setup: this process is profiled, and the thread is attached by the room. */
_Atomic int shim_state = SHIM_ACTIVE;

void loader_forget(uintptr_t here)
{
	(void)here;
}

bool shim_cloned(void)
{
	return false;
}

bool process_is_self(void)
{
	return true;
}

void shim_thread_begin(void)
{
	ck_abort_msg("the thread is attached");
}

/* A session of a library that knows this much of itself. */
struct session {
	int fd, written; /* -1 = it does not know */
	bool is_before, is_peer_done, has_random;
	unsigned char random[TLS_RANDOM_BYTES];
};

static void descriptors_of(const struct foreign_library *library, void *session, int *ret_read, int *ret_write)
{
	(void)library;
	*ret_read = ((struct session *)session)->fd;
	*ret_write = ((struct session *)session)->written;
}

static bool is_before(const struct foreign_library *library, void *session)
{
	(void)library;
	return ((struct session *)session)->is_before;
}

static bool is_peer_done(const struct foreign_library *library, void *session)
{
	(void)library;
	return ((struct session *)session)->is_peer_done;
}

static bool client_random(const struct foreign_library *library, void *session, unsigned char *ret_random)
{
	(void)library;
	memcpy(ret_random, ((struct session *)session)->random, TLS_RANDOM_BYTES);
	return ((struct session *)session)->has_random;
}

static const struct tls_source source = { descriptors_of, is_before, is_peer_done, client_random };

/* As the hooks of sockets do after the real call. */
static void socket_receives(int fd, const void *bytes, size_t n)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, n };

	if (!tls_is_own(fd))
		conn_receiving(fd);
	if (n == 0 && tls_takes_failure(fd, 0, true))
		return;
	if (n == 0 || !tls_takes(fd, &iov, 1, n))
		conn_received(fd, &iov, 1, n, room_now_ns += 1000);
}

static void socket_sends(int fd, const void *bytes, size_t n)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, n };

	if (!tls_is_own(fd))
		conn_sending(fd);
	if (!tls_takes(fd, &iov, 1, n))
		conn_sent(fd, &iov, 1, n, room_now_ns += 1000);
}

/* As the hooks of a library do around the real call. */
static struct tls_call begin(struct session *session, enum tls_direction direction)
{
	struct tls_call call;

	ck_assert(tls_begin(&call, SEG_CALL_SSL_READ, &source, NULL, session, direction));
	return call;
}

static void end_received(struct tls_call *call, const char *text)
{
	tls_returned(call, *text);
	tls_received(call, text, strlen(text));
	hook_leave(&call->hook);
}

static void end_sent(struct tls_call *call, const char *text)
{
	tls_returned(call, *text);
	tls_sent(call, text, strlen(text));
	hook_leave(&call->hook);
}

static void end_handshake(struct tls_call *call, bool is_done)
{
	tls_returned(call, is_done);
	tls_nothing(call);
	hook_leave(&call->hook);
}

static const char record[] = "\x17\x03\x03\x00\x10................"; /* application data */
enum { RECORD_BYTES = sizeof(record) - 1, FD = 30, OTHER_FD = 31, FILE_FD = 32 };

static const char request[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
enum { REQUEST_BYTES = sizeof(request) - 1, ANSWER_BYTES = sizeof(answer) - 1 };

/* A request and its answer through a session whose library reads and writes fd by itself. */
static void exchange(struct session *session, int fd)
{
	struct tls_call call = begin(session, TLS_RECEIVES);
	socket_receives(fd, record, RECORD_BYTES);
	end_received(&call, request);
	call = begin(session, TLS_SENDS);
	socket_sends(fd, record, RECORD_BYTES);
	end_sent(&call, answer);
}

/* The same where the program moves the records. */
static void exchange_by_memory(struct session *session, int fd)
{
	socket_receives(fd, record, RECORD_BYTES);
	struct tls_call call = begin(session, TLS_RECEIVES);
	end_received(&call, request);
	call = begin(session, TLS_SENDS);
	end_sent(&call, answer);
	socket_sends(fd, record, RECORD_BYTES);
}

static void greet(const struct session *session, unsigned char *ret_greeting, size_t n)
{
	static const unsigned char head[] = { 0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3 };

	memset(ret_greeting, 0, n);
	memcpy(ret_greeting, head, sizeof(head));
	memcpy(ret_greeting + sizeof(head), session->random, TLS_RANDOM_BYTES);
}

static void open_room(void)
{
	room_open(100);
	for (int fd = FD; fd <= FILE_FD; fd++) {
		conn_closing(fd, room_now_ns);
		tls_descriptor_ends(fd);
	}
	room_accept(FD);
	tls_thread = (struct tls_thread){ .fd = -1 };
	self.call = 0;
}

static void expect_requests(uint64_t count)
{
	conn_closing(FD, room_now_ns += 1000);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, "GET /a", 200, SEG_ERROR_NONE), count);
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_HTTP), count * REQUEST_BYTES);
	ck_assert_uint_eq(room_sent_bytes(SEG_PROTOCOL_HTTP), count * ANSWER_BYTES);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 0);
	ck_assert_uint_eq(tls_thread.depth, 0);
}

START_TEST(plain_bytes_are_told_and_the_encrypted_ones_under_them_not)
{
	_Alignas(16) static struct session session = { .fd = FD, .written = FD };

	exchange(&session, FD);
	exchange(&session, FD);
	expect_requests(2);
}
END_TEST

START_TEST(a_transport_is_learned_from_the_records_that_it_passes)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1 };

	exchange(&session, FD);
	/* A record that was buffered: no call within. */
	struct tls_call call = begin(&session, TLS_RECEIVES);
	end_received(&call, request);
	call = begin(&session, TLS_SENDS);
	end_sent(&call, answer);
	expect_requests(2);
}
END_TEST

START_TEST(the_rest_of_a_record_is_no_plain_text)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1 };
	struct tls_call call = begin(&session, TLS_RECEIVES);

	socket_receives(FD, record, 5);
	end_received(&call, "");
	call = begin(&session, TLS_RECEIVES);
	socket_receives(FD, "GET / HTTP/1.1\r\n", 16); /* as if encrypted to that */
	end_received(&call, request);
	call = begin(&session, TLS_SENDS);
	socket_sends(FD, record, RECORD_BYTES);
	end_sent(&call, answer);
	expect_requests(1);
}
END_TEST

/* kTLS: the library passes plain bytes to the socket, and files by sendfile; the kernel makes records of them. */
START_TEST(plain_bytes_that_the_kernel_encrypts_are_told_once)
{
	_Alignas(16) static struct session session = { .fd = FD, .written = FD };
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
	struct tls_call call = begin(&session, TLS_RECEIVES);

	socket_receives(FD, request, REQUEST_BYTES);
	end_received(&call, request);
	call = begin(&session, TLS_SENDS);
	socket_sends(FD, head, sizeof(head) - 1);
	end_sent(&call, head);
	call = begin(&session, TLS_SENDS);
	ck_assert(tls_takes(FD, NULL, 0, 2));
	tls_returned(&call, true);
	tls_sent_unseen(&call, 2);
	hook_leave(&call.hook);
	expect_requests(1);
}
END_TEST

START_TEST(other_connections_within_a_call_are_told_as_always)
{
	_Alignas(16) static struct session session = { .fd = FD, .written = FD }, unknowing = { .fd = -1, .written = -1 };

	room_accept(OTHER_FD);
	struct tls_call call = begin(&session, TLS_RECEIVES);
	socket_receives(OTHER_FD, request, REQUEST_BYTES);
	socket_sends(OTHER_FD, answer, ANSWER_BYTES);
	end_handshake(&call, true);
	call = begin(&unknowing, TLS_RECEIVES);
	socket_receives(OTHER_FD, request, REQUEST_BYTES);
	socket_sends(OTHER_FD, answer, ANSWER_BYTES);
	end_handshake(&call, false);
	conn_closing(OTHER_FD, room_now_ns);
	expect_requests(2);
}
END_TEST

START_TEST(a_session_without_a_transport_is_known_by_the_clients_greeting)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1, .has_random = true, .random = "12345" };
	unsigned char greeting[517];

	greet(&session, greeting, sizeof(greeting));
	socket_receives(FD, greeting, sizeof(greeting));
	struct tls_call call = begin(&session, TLS_RECEIVES);
	end_handshake(&call, true);
	exchange_by_memory(&session, FD);
	exchange_by_memory(&session, FD);
	expect_requests(2);
}
END_TEST

START_TEST(plain_bytes_may_be_the_first_sign_of_a_finished_handshake)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1, .has_random = true, .random = "12345" };
	unsigned char greeting[517];

	greet(&session, greeting, sizeof(greeting));
	socket_receives(FD, greeting, sizeof(greeting));
	exchange_by_memory(&session, FD);
	expect_requests(1);
}
END_TEST

START_TEST(a_greeting_that_two_connections_sent_tells_nothing)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1, .has_random = true, .random = "12345" };
	unsigned char greeting[517];

	room_accept(OTHER_FD);
	greet(&session, greeting, sizeof(greeting));
	socket_receives(FD, greeting, sizeof(greeting));
	socket_receives(OTHER_FD, greeting, sizeof(greeting));
	exchange_by_memory(&session, FD);
	conn_closing(FD, room_now_ns += 1000);
	conn_closing(OTHER_FD, room_now_ns += 1000);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, "GET /a", ROOM_ANY, ROOM_ANY), 0);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_BLIND_TLS), 1);
}
END_TEST

START_TEST(a_greeting_of_a_connection_that_is_gone_tells_nothing)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1, .has_random = true, .random = "12345" };
	unsigned char greeting[517];

	greet(&session, greeting, sizeof(greeting));
	socket_receives(FD, greeting, sizeof(greeting));
	tls_descriptor_ends(FD);
	conn_closing(FD, room_now_ns);
	room_accept(FD);
	struct tls_call call = begin(&session, TLS_RECEIVES);
	end_received(&call, request);
	socket_receives(FD, request, REQUEST_BYTES);
	socket_sends(FD, answer, ANSWER_BYTES);
	expect_requests(1);
}
END_TEST

START_TEST(a_descriptor_that_is_used_again_is_believed_no_more)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1 };

	exchange(&session, FD);
	tls_descriptor_ends(FD);
	conn_closing(FD, room_now_ns);
	room_accept(FD);
	/* The session still has something to say, the descriptor is another connection's: plain text. */
	struct tls_call call = begin(&session, TLS_RECEIVES);
	end_received(&call, request);
	socket_receives(FD, request, REQUEST_BYTES);
	socket_sends(FD, answer, ANSWER_BYTES);
	expect_requests(2);
}
END_TEST

START_TEST(an_address_that_is_used_again_is_learned_anew)
{
	_Alignas(16) static struct session session = { .fd = FILE_FD, .written = FILE_FD };

	struct tls_call call = begin(&session, TLS_RECEIVES);
	end_handshake(&call, true);
	/* SSL_clear and SSL_set_fd: nobody told of a descriptor's end. */
	session.fd = session.written = FD;
	session.is_before = true;
	call = begin(&session, TLS_RECEIVES);
	socket_receives(FD, record, RECORD_BYTES);
	end_handshake(&call, true);
	session.is_before = false;
	exchange(&session, FD);
	/* SSL_free: the next session of this address finds its own. */
	tls_session_ends(&session);
	session.fd = session.written = -1;
	call = begin(&session, TLS_RECEIVES);
	end_received(&call, request);
	expect_requests(1);
}
END_TEST

START_TEST(a_copy_of_the_descriptor_is_the_same_connection)
{
	_Alignas(16) static struct session session = { .fd = -1, .written = -1 };

	exchange(&session, FD);
	conn_duplicated(FD, OTHER_FD, room_now_ns);
	tls_descriptor_copied(FD, OTHER_FD);
	tls_descriptor_ends(FD);
	conn_closing(FD, room_now_ns);
	exchange(&session, OTHER_FD);
	conn_closing(OTHER_FD, room_now_ns);
	expect_requests(2);
}
END_TEST

START_TEST(two_descriptors_of_one_session_are_both_its_own)
{
	_Alignas(16) static struct session session = { .fd = FD, .written = OTHER_FD };

	conn_duplicated(FD, OTHER_FD, room_now_ns);
	for (int i = 0; i < 2; i++) {
		struct tls_call call = begin(&session, TLS_RECEIVES);
		socket_receives(FD, record, RECORD_BYTES);
		end_received(&call, request);
		call = begin(&session, TLS_SENDS);
		socket_sends(OTHER_FD, record, RECORD_BYTES);
		end_sent(&call, answer);
	}
	conn_closing(OTHER_FD, room_now_ns);
	expect_requests(2);
}
END_TEST

START_TEST(a_call_that_was_left_by_longjmp_does_not_hold_back_what_follows)
{
	_Alignas(16) static struct session left = { .fd = FILE_FD, .written = FILE_FD }, session = { .fd = -1, .written = -1 };

	begin(&left, TLS_RECEIVES);
	self.call = 0;
	socket_receives(FD, request, REQUEST_BYTES);
	socket_sends(FD, answer, ANSWER_BYTES);
	exchange(&session, FD); /* the other way round is no change that a connection makes: plain, then TLS */
	tls_session_ends(&left);
	tls_thread.depth = 0;
	expect_requests(2);
}
END_TEST

START_TEST(calls_on_two_stacks_may_end_in_any_order)
{
	_Alignas(16) static struct session first = { .fd = FD, .written = FD }, second = { .fd = OTHER_FD, .written = OTHER_FD };

	room_accept(OTHER_FD);
	struct tls_call outer = begin(&first, TLS_RECEIVES), other = begin(&second, TLS_RECEIVES);
	socket_receives(FD, record, RECORD_BYTES);
	end_received(&outer, request);
	socket_receives(OTHER_FD, record, RECORD_BYTES);
	end_received(&other, request);
	outer = begin(&first, TLS_SENDS);
	other = begin(&second, TLS_SENDS);
	socket_sends(OTHER_FD, record, RECORD_BYTES);
	socket_sends(FD, record, RECORD_BYTES);
	end_sent(&outer, answer);
	end_sent(&other, answer);
	conn_closing(OTHER_FD, room_now_ns += 1000);
	tls_thread.depth = 0;
	expect_requests(2);
}
END_TEST

START_TEST(the_end_of_the_stream_is_told_once)
{
	_Alignas(16) static struct session session = { .fd = FD, .written = FD };

	exchange(&session, FD);
	struct tls_call call = begin(&session, TLS_RECEIVES);
	socket_receives(FD, "", 0);
	tls_returned(&call, false);
	ck_assert(call.is_at_end);
	tls_received(&call, NULL, 0);
	hook_leave(&call.hook);
	expect_requests(1);
}
END_TEST

START_TEST(errno_and_the_call_in_progress_are_as_before)
{
	_Alignas(16) static struct session session = { .fd = FD, .written = FD };
	struct tls_call call = begin(&session, TLS_RECEIVES);

	ck_assert_uint_eq(self.call, SEG_CALL_SSL_READ + 1);
	errno = EDOM;
	end_received(&call, request);
	ck_assert_int_eq(errno, EDOM);
	ck_assert_uint_eq(self.call, 0);
	ck_assert_uint_eq(self.own_depth, 0);
}
END_TEST

START_TEST(a_session_at_an_address_that_cannot_be_one_is_left_alone)
{
	static struct session sessions[2] = { { .fd = FD, .written = FD }, { .fd = FD, .written = FD } };
	char *unaligned = (char *)sessions + 4;
	struct tls_call call = begin((struct session *)(void *)unaligned, TLS_RECEIVES);

	end_received(&call, request);
	call = begin(NULL, TLS_RECEIVES);
	end_received(&call, request);
	expect_requests(0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls");
	TCase *tests = tcase_create("sessions");

	tcase_add_checked_fixture(tests, open_room, NULL);
	tcase_add_test(tests, plain_bytes_are_told_and_the_encrypted_ones_under_them_not);
	tcase_add_test(tests, a_transport_is_learned_from_the_records_that_it_passes);
	tcase_add_test(tests, the_rest_of_a_record_is_no_plain_text);
	tcase_add_test(tests, plain_bytes_that_the_kernel_encrypts_are_told_once);
	tcase_add_test(tests, other_connections_within_a_call_are_told_as_always);
	tcase_add_test(tests, a_session_without_a_transport_is_known_by_the_clients_greeting);
	tcase_add_test(tests, plain_bytes_may_be_the_first_sign_of_a_finished_handshake);
	tcase_add_test(tests, a_greeting_that_two_connections_sent_tells_nothing);
	tcase_add_test(tests, a_greeting_of_a_connection_that_is_gone_tells_nothing);
	tcase_add_test(tests, a_descriptor_that_is_used_again_is_believed_no_more);
	tcase_add_test(tests, an_address_that_is_used_again_is_learned_anew);
	tcase_add_test(tests, a_copy_of_the_descriptor_is_the_same_connection);
	tcase_add_test(tests, two_descriptors_of_one_session_are_both_its_own);
	tcase_add_test(tests, a_call_that_was_left_by_longjmp_does_not_hold_back_what_follows);
	tcase_add_test(tests, calls_on_two_stacks_may_end_in_any_order);
	tcase_add_test(tests, the_end_of_the_stream_is_told_once);
	tcase_add_test(tests, errno_and_the_call_in_progress_are_as_before);
	tcase_add_test(tests, a_session_at_an_address_that_cannot_be_one_is_left_alone);
	suite_add_tcase(suite, tests);
	return run_tests(srunner_create(suite)) != 0;
}
