#include "../../../shim/requests/heap.h"
#include "../../../shim/requests/late.h"
#include "check_main.h"
#include "room.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t http(const char *name, uint32_t status, uint32_t error)
{
	return room_requests(SEG_PROTOCOL_HTTP, name, status, error);
}

static uint64_t all_http(void)
{
	return http(NULL, ROOM_ANY, ROOM_ANY);
}

/* life */

START_TEST(only_accepted_descriptors_are_tracked)
{
	room_open(256);
	ck_assert(!conn_is_tracked(5));
	room_receive(5, "GET / HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_close(5);
	room_receive(-1, "GET / HTTP/1.1\r\n\r\n");
	room_close(-1);
	room_receive(2000000000, "GET / HTTP/1.1\r\n\r\n");
	ck_assert_uint_eq(all_http(), 0);
	room_accept(5);
	ck_assert(conn_is_tracked(5));
	room_close(5);
	ck_assert(!conn_is_tracked(5));
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_UNKNOWN), 1);
}
END_TEST

START_TEST(without_a_table_every_call_does_nothing)
{
	room_accept(5);
	room_receive(5, "GET / HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	conn_receive_failed(5, EAGAIN, 1);
	conn_duplicated(5, 6, 1);
	conn_shut_down(5, 2, 1);
	room_close(5);
	ck_assert(!conn_is_tracked(5));
	ck_assert_uint_eq(self.work.endpoint, SEG_ENDPOINT_BACKGROUND);
}
END_TEST

START_TEST(descriptors_beyond_the_limit_are_counted_as_lost)
{
	struct rlimit limit = { 100, 100 };

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	room_open(256);
	room_accept(99);
	room_accept(100);
	conn_duplicated(99, 100, room_now_ns);
	ck_assert(conn_is_tracked(99));
	ck_assert(!conn_is_tracked(100));
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_FD_RANGE), 2);
}
END_TEST

START_TEST(a_number_that_is_accepted_again_is_a_new_connection)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /old HTTP/1.1\r\n\r\nGET /half HT");
	room_accept(5); /* its close was not seen */
	room_receive(5, "GET /new HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_close(5);
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(http("GET /new", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 3);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 2);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_number_reused_after_close_starts_afresh)
{
	room_open(256);
	for (int i = 0; i < 2000; i++) {
		room_accept(5 + i % 3);
		room_receive(5 + i % 3, "GET /a HTTP/1.1\r\n\r\n");
		room_answer(5 + i % 3, 1);
		room_close(5 + i % 3);
	}
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2000);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 2000);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(names_of_one_file_share_one_connection_that_ends_with_the_last)
{
	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n");
	conn_duplicated(5, 9, room_now_ns);
	conn_duplicated(9, 10, room_now_ns);
	room_close(5);
	room_receive(9, "\r\n");
	room_send(10, "HTTP/1.0 200 OK\r\n\r\nx");
	room_close(10);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert_int_eq(room_open_connections(SEG_PROTOCOL_HTTP), 1);
	room_close(9);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_name_that_is_given_to_another_file_leaves_its_connection)
{
	room_open(256);
	room_accept(5);
	room_accept(6);
	room_receive(6, "GET /gone HTTP/1.1\r\n\r\n");
	conn_duplicated(5, 6, room_now_ns); /* closes the old 6 */
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 1);
	room_receive(6, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	conn_duplicated(5, 5, room_now_ns);
	conn_duplicated(3, 5, room_now_ns); /* 3 is no connection */
	ck_assert(!conn_is_tracked(5));
	ck_assert(conn_is_tracked(6));
	room_close(6);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 2);
	ck_assert(room_is_balanced());
}
END_TEST

/* fork */

START_TEST(a_child_that_serves_what_its_parent_accepted_counts_it)
{
	int status;

	room_open(256);
	for (int i = 0; i < 20; i++) {
		room_accept(5);
		conn_forking();
		pid_t child = fork();
		if (!child) {
			room_next_process();
			conn_forked();
			thread_attach();
			room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
			int64_t opened = room_open_connections(SEG_PROTOCOL_UNKNOWN);
			room_answer(5, 3);
			int64_t served = room_open_connections(SEG_PROTOCOL_HTTP);
			room_close(5);
			_exit(opened == 1 && served == 1 ? 0 : 1);
		}
		room_close(5);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 20);
	ck_assert_uint_eq(all_http(), 20);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 20);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_UNKNOWN), 0);
	ck_assert_uint_eq(room_received_bytes(SEG_PROTOCOL_HTTP), 20 * 19);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_request_that_the_parent_read_and_the_child_answers_is_one)
{
	int status;

	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	conn_forking();
	pid_t child = fork();
	if (!child) {
		room_next_process();
		conn_forked();
		thread_attach();
		room_send(5, "HTTP/1.0 200 OK\r\n\r\nx");
		int64_t active = room_active(SEG_METHOD_GET);
		room_close(5);
		_exit(active == 1 ? 0 : 1);
	}
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 1);
	room_close(5);
	ck_assert_int_eq(room_active(SEG_METHOD_GET), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(all_http(), 1);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 1);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_child_that_only_closes_what_it_inherited_counts_nothing)
{
	int status;

	room_open(256);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_accept(6);
	conn_forking();
	pid_t child = fork();
	if (!child) {
		room_next_process();
		conn_forked();
		thread_attach();
		room_close(5);
		room_close(6);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	room_answer(5, 3);
	room_receive(5, "GET /b HTTP/1.1\r\n\r\n"); /* used since the fork: its loss is the parent's */
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	ck_assert_uint_eq(http("GET _OTHER", 0, SEG_ERROR_RESET), 1);
	ck_assert_uint_eq(all_http(), 2);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 1);
	room_close(6);
	ck_assert(room_is_balanced());
}
END_TEST

/* several threads */

static _Atomic uint32_t finished;

/* Serves connections of its own on the numbers base to base + 9. */
static void *serve(void *argument)
{
	int base = (int)(intptr_t)argument;
	struct iovec request = { "GET /a HTTP/1.1\r\n\r\n", 19 };
	struct iovec response = { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38 };

	thread_attach();
	for (int i = 0; i < 5000; i++) {
		int fd = base + i % 10;
		conn_accepted(fd, 1);
		for (int k = 0; k < 4; k++) {
			conn_receiving(fd);
			conn_received(fd, &request, 1, 19, 2);
			conn_sending(fd);
			conn_sent(fd, &response, 1, 38, 3);
		}
		conn_closing(fd, 4);
	}
	return NULL;
}

START_TEST(threads_with_connections_of_their_own_count_exactly)
{
	pthread_t threads[4];

	room_open(256);
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, serve, (void *)(10 + 10 * i));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 4 * 5000 * 4);
	ck_assert_uint_eq(room_accepted(SEG_PROTOCOL_HTTP), 4 * 5000);
	ck_assert(room_is_balanced());
}
END_TEST

/* Everything that can be done to one number, without order. */
static void *hammer(void *argument)
{
	uint32_t random = (uint32_t)(uintptr_t)argument;
	struct iovec request = { "GET /a HTTP/1.1\r\n\r\n", 19 };
	struct iovec response = { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38 };

	thread_attach();
	for (int i = 0; i < 100000; i++) {
		random = random * 1664525 + 1013904223;
		int fd = 5 + (int)(random >> 30);
		switch (random >> 16 & 15) {
		case 0: conn_accepted(fd, 1); break;
		case 1: conn_closing(fd, 1); break;
		case 2: conn_duplicated(fd, 5 + (int)(random >> 28 & 3), 1); break;
		case 3: case 4: case 5: case 6: conn_sent(fd, &response, 1, 1 + (random >> 20) % 38, 1); break;
		default: conn_received(fd, &request, 1, 1 + (random >> 20) % 19, 1);
		}
	}
	atomic_fetch_add(&finished, 1);
	return NULL;
}

START_TEST(threads_that_fight_over_connections_leave_the_gauges_balanced)
{
	pthread_t threads[4];

	room_open(256);
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, hammer, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(finished, 4);
	for (int fd = 5; fd < 9; fd++)
		room_close(fd);
	ck_assert(room_is_balanced());
}
END_TEST

/* A signal handler of the program that comes while we are in the connection is made by memory that faults when it is
 * read: the handler then runs in the middle of the parser. */
static char *trap;

static void on_trap(int number)
{
	(void)number;
	mprotect(trap, 4096, PROT_READ | PROT_WRITE);
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	if (finished)
		room_close(5);
}

static void enter_twice(void)
{
	struct iovec iov;

	trap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(trap, "GET /a HTTP/1.1\r\n\r\n", 19);
	iov = (struct iovec){ trap, 19 };
	signal(SIGSEGV, on_trap);
	room_open(256);
	room_accept(5);
	mprotect(trap, 4096, PROT_NONE);
	conn_received(5, &iov, 1, 19, room_now_ns);
}

START_TEST(a_handler_that_enters_again_does_not_wait_and_nothing_is_lost)
{
	enter_twice();
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_close(5);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
	ck_assert_uint_eq(all_http(), 2);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_CONN_BUSY), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(without_memory_for_what_a_handler_did_the_connection_is_given_up)
{
	enum { PIECES_MAX = 500000 };
	static void *pieces[PIECES_MAX];
	size_t count = 0;

	while (count < PIECES_MAX && (pieces[count] = heap_alloc(sizeof(struct late) + 38)))
		count++;
	ck_assert_uint_lt(count, PIECES_MAX);
	enter_twice();
	while (count)
		heap_free(pieces[--count]);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_CONN_BUSY), 1);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	room_close(5);
	ck_assert_uint_eq(all_http(), 0);
	ck_assert(room_is_balanced());
}
END_TEST

START_TEST(a_handler_may_even_close_the_connection_it_interrupts)
{
	finished = 1;
	enter_twice();
	ck_assert(!conn_is_tracked(5));
	ck_assert(room_is_balanced());
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_answer(5, 0);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 2);
}
END_TEST

/* One thread reads requests, another one answers those that were read, all on one connection: to read takes long, since
 * much comes at once. */
enum { BATCHES = 300, BATCH = 500 };
static _Atomic uint32_t batches_read;

static void *answer_batches(void *argument)
{
	static char answers[BATCH * 38];
	struct iovec iov = { answers, sizeof(answers) };

	(void)argument;
	thread_attach();
	for (int i = 0; i < BATCH; i++)
		memcpy(answers + i * 38, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38);
	for (uint32_t batch = 0; batch < BATCHES; batch++) {
		while (atomic_load(&batches_read) <= batch)
			sched_yield();
		conn_sending(5);
		conn_sent(5, &iov, 1, sizeof(answers), 3);
	}
	return NULL;
}

START_TEST(threads_that_read_and_answer_on_one_connection_lose_nothing)
{
	static char requests[BATCH * 19];
	struct iovec iov = { requests, sizeof(requests) };
	pthread_t thread;

	for (int i = 0; i < BATCH; i++)
		memcpy(requests + i * 19, "GET /a HTTP/1.1\r\n\r\n", 19);
	room_open(256);
	room_accept(5);
	pthread_create(&thread, NULL, answer_batches, NULL);
	for (uint32_t batch = 0; batch < BATCHES; batch++) {
		conn_receiving(5);
		conn_received(5, &iov, 1, sizeof(requests), 2);
		atomic_store(&batches_read, batch + 1);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), BATCHES * BATCH);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_CONN_BUSY), 0);
	room_close(5);
	ck_assert_uint_eq(all_http(), BATCHES * BATCH);
	ck_assert(room_is_balanced());
}
END_TEST

static void on_trap_fork(int number)
{
	(void)number;
	mprotect(trap, 4096, PROT_READ | PROT_WRITE);
	conn_forking();
	if (fork() == 0) {
		room_next_process();
		conn_forked();
		thread_attach();
		/* Another thread of the parent held the lock, as it were. */
		room_answer(5, 0);
		_exit(room_counter(SEG_COUNTER_LOST_CONN_BUSY) == 1 ? 0 : 1);
	}
}

START_TEST(a_lock_that_was_held_across_a_fork_does_not_stop_the_child)
{
	struct iovec iov;
	int status;

	trap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(trap, "GET /a HTTP/1.1\r\n\r\n", 19);
	iov = (struct iovec){ trap, 19 };
	signal(SIGSEGV, on_trap_fork);
	room_open(256);
	room_accept(5);
	mprotect(trap, 4096, PROT_NONE);
	conn_received(5, &iov, 1, 19, room_now_ns);
	ck_assert_int_gt(wait(&status), 0);
	ck_assert_int_eq(status, 0);
	room_answer(5, 0);
	ck_assert_uint_eq(http("GET /a", 200, SEG_ERROR_NONE), 1);
}
END_TEST

/* bounds */

START_TEST(a_client_that_pipelines_without_end_is_given_up_and_the_rest_goes_on)
{
	static char many[1000 * 14];
	uint64_t i = 0;

	room_open(256);
	for (int k = 0; k < 1000; k++)
		memcpy(many + k * 14, "*1\r\n$4\r\nPING\r\n", 14);
	room_accept(5);
	room_receive(5, "PING\r\n");
	room_send(5, "+PONG\r\n");
	while (!room_counter(SEG_COUNTER_LOST_POOL_FULL) && i++ < 1000)
		room_receive_n(5, many, sizeof(many));
	ck_assert_uint_gt(i, 400); /* half a million requests were held */
	ck_assert_uint_lt(i, 600);
	room_accept(6);
	for (int k = 0; k < 3; k++) {
		room_receive_n(6, many, sizeof(many));
		for (int answer = 0; answer < 1000; answer++)
			room_send(6, "+PONG\r\n");
	}
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_REDIS, "PING", 0, SEG_ERROR_NONE), 3001);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_LOST_POOL_FULL), 1);
	room_close(5);
	room_close(6);
	ck_assert(room_is_balanced());
}
END_TEST

/* whose work */

/* Where an event loop waits, and where a worker does. */
enum { LOOP = 1000, QUEUE = 2000, ELSEWHERE = 3000 };

static const char *work(void)
{
	return room_endpoint_name(self.work.endpoint);
}

START_TEST(the_thread_works_for_the_request_from_its_head_to_the_next_event)
{
	room_open(256);
	room_know("GET /a");
	work_set((struct work){ SEG_ENDPOINT_IDLE, 0 });
	work_woke();
	room_accept(5);
	ck_assert_str_eq(work(), "_pending");
	conn_receiving(5);
	conn_receive_failed(5, EAGAIN, room_now_ns);
	ck_assert_str_eq(work(), "_pending");
	room_receive(5, "GET /a");
	ck_assert_str_eq(work(), "_pending");
	room_receive(5, " HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work(), "GET /a");
	/* nginx reads until EAGAIN, before it answers and after it. */
	conn_receiving(5);
	ck_assert_str_eq(work(), "_pending");
	conn_receive_failed(5, EAGAIN, room_now_ns);
	ck_assert_str_eq(work(), "GET /a");
	room_answer(5, 0);
	ck_assert_str_eq(work(), "GET /a");
	conn_receiving(5);
	conn_receive_failed(5, EAGAIN, room_now_ns);
	ck_assert_str_eq(work(), "GET /a");
	conn_receiving(5);
	conn_received(5, NULL, 0, 0, room_now_ns);
	ck_assert_str_eq(work(), "GET /a");
	work_wait(LOOP, room_now_ns);
	ck_assert_str_eq(work(), "_idle");
}
END_TEST

START_TEST(samples_before_the_head_is_known_go_to_its_request)
{
	room_open(256);
	room_know("GET /a");
	room_accept(5);
	conn_receiving(5);
	work_credit(0, 0, 1000);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	work_credit(0, 0, 500);
	ck_assert_uint_eq(seg.endpoints[room_endpoint(SEG_PROTOCOL_HTTP, "GET /a")].cpu_ns, 1500);
}
END_TEST

START_TEST(receiving_a_body_is_work_for_its_request)
{
	room_open(256);
	room_know("POST /up");
	room_accept(5);
	room_receive(5, "POST /up HTTP/1.1\r\nContent-Length: 10\r\n\r\n");
	work_set((struct work){ SEG_ENDPOINT_IDLE, 0 });
	conn_receiving(5);
	ck_assert_str_eq(work(), "POST /up");
	conn_receive_failed(5, EAGAIN, room_now_ns);
	ck_assert_str_eq(work(), "POST /up");
	room_receive(5, "0123456789");
	ck_assert_str_eq(work(), "POST /up");
	conn_receiving(5);
	ck_assert_str_eq(work(), "_pending");
}
END_TEST

START_TEST(sending_is_work_for_the_oldest_request_without_an_answer)
{
	room_open(256);
	room_know("GET /a");
	room_know("GET /b");
	room_know("GET /c");
	room_accept(5);
	room_accept(6);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work(), "GET /a");
	room_receive(6, "GET /c HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work(), "GET /c");
	conn_sending(5);
	ck_assert_str_eq(work(), "GET /a");
	room_answer(5, 0);
	ck_assert_str_eq(work(), "GET /b"); /* the server goes on with what it has read */
	room_answer(6, 0);
	ck_assert_str_eq(work(), "GET /c");
	room_answer(5, 0);
	ck_assert_str_eq(work(), "GET /b");
	conn_sending(5); /* nothing is asked for: as before */
	ck_assert_str_eq(work(), "GET /b");
}
END_TEST

START_TEST(a_request_that_writes_to_the_streams_of_others_keeps_its_work)
{
	room_open(256);
	room_know("POST /say");
	work_wait(LOOP, room_now_ns);
	room_accept(5);
	room_receive(5, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
	room_send(5, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
	room_accept(6);
	room_receive(6, "POST /say HTTP/1.1\r\n\r\n");
	conn_sending(5);
	ck_assert_str_eq(work(), "POST /say");
	work_wait(LOOP, room_now_ns);
	work_woke();
	conn_sending(5);
	ck_assert_str_eq(work(), "GET /ws");
	work_wait(LOOP, room_now_ns);
	conn_receiving(5);
	ck_assert_str_eq(work(), "GET /ws");
}
END_TEST

START_TEST(what_is_not_understood_is_work_outside_of_any_request)
{
	room_open(256);
	room_know("GET /a");
	room_accept(5);
	room_send(5, "220 hello\r\n");
	conn_receiving(5);
	ck_assert_str_eq(work(), "_background");
	room_accept(6);
	room_receive(6, "GET /a HTTP/1.1\r\n\r\n");
	conn_sending(5);
	ck_assert_str_eq(work(), "GET /a");
}
END_TEST

/* What a second thread does, one step after the other. */
struct worker {
	void (*act)(void);
	char work[64]; /* what it works for then */
	uint32_t tid;
};

static void *run_worker(void *argument)
{
	struct worker *worker = argument;

	thread_attach();
	work_set((struct work){ SEG_ENDPOINT_IDLE, 0 }); /* it has served before */
	work_wait(QUEUE, room_now_ns);
	work_woken();
	worker->act();
	snprintf(worker->work, sizeof(worker->work), "%s%s", work(), work_is_job() ? " (of a job)" : "");
	thread_detach();
	return NULL;
}

static const char *work_of_another_thread(void (*act)(void))
{
	static struct worker worker;
	pthread_t thread;

	worker.act = act;
	ck_assert_int_eq(pthread_create(&thread, NULL, run_worker, &worker), 0);
	pthread_join(thread, NULL);
	return worker.work;
}

static uint64_t cpu_ns(const char *endpoint)
{
	return seg.endpoints[room_endpoint(SEG_PROTOCOL_HTTP, endpoint)].cpu_ns;
}

static void answer_in_two_calls(void)
{
	work_credit(0, 0, 1000);
	work_wait(ELSEWHERE, room_now_ns);
	work_woke();
	work_credit(0, 0, 1000);
	room_send(5, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	ck_assert_str_eq(work(), "GET /a");
	room_send(5, "ok");
	work_credit(0, 0, 1000);
	ck_assert(work_is_job());
	conn_sending(6);
	work_credit(0, 0, 1000);
	room_answer(6, 0);
}

START_TEST(a_thread_that_answers_what_another_has_read_works_for_what_it_answers_next)
{
	room_open(256);
	room_know("GET /a");
	room_know("GET /b");
	uint64_t a = cpu_ns("GET /a"), b = cpu_ns("GET /b");
	work_wait(LOOP, room_now_ns);
	room_accept(5);
	room_accept(6);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_receive(6, "GET /b HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work_of_another_thread(answer_in_two_calls), "_pending (of a job)");
	ck_assert_uint_eq(cpu_ns("GET /a") - a, 2000);
	ck_assert_uint_eq(cpu_ns("GET /b") - b, 2000);
	ck_assert_str_eq(work(), "GET /b"); /* the thread that reads */
	work_wait(LOOP, room_now_ns);
	ck_assert_str_eq(work(), "_idle");
}
END_TEST

static void answer_both(void)
{
	room_answer(5, 0);
	ck_assert(work_is_job());
	room_answer(5, 0);
}

START_TEST(a_pipeline_that_another_thread_has_read_is_not_the_next_thing_to_do)
{
	room_open(256);
	room_know("GET /a");
	room_know("GET /b");
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work_of_another_thread(answer_both), "_pending (of a job)");
}
END_TEST

static void read_and_answer(void)
{
	conn_receiving(5);
	work_credit(0, 0, 1000);
	conn_receive_failed(5, EAGAIN, room_now_ns);
	ck_assert(work_is_job());
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	work_credit(0, 0, 1000);
	room_answer(5, 0);
	work_credit(0, 0, 1000);
}

START_TEST(a_worker_that_gets_the_connection_works_for_what_it_reads)
{
	room_open(256);
	room_know("GET /a");
	uint64_t a = cpu_ns("GET /a");
	room_accept(5);
	ck_assert_str_eq(work_of_another_thread(read_and_answer), "GET /a");
	ck_assert_uint_eq(cpu_ns("GET /a") - a, 3000);
}
END_TEST

static void read_some_and_answer_others(void)
{
	room_answer(5, 0);
	room_receive(6, "GET /b HTTP/1.1\r\n\r\n"); /* which another worker takes */
	ck_assert(work_is_job());
	work_credit(0, 0, 1000);
	room_answer(7, 0);
	work_credit(0, 0, 100); /* for one that another worker sends the answer of */
	conn_receiving(6);
	conn_receive_failed(6, EAGAIN, room_now_ns);
	work_credit(0, 0, 10);
	work_wait(WORK_PLACE_EPOLL | 3, room_now_ns + 1000000);
	ck_assert_str_eq(work(), "_idle");
	work_woke();
	ck_assert(work_is_job());
	room_answer(6, 0);
}

START_TEST(workers_that_read_and_answer_in_any_order_work_for_what_they_answer)
{
	room_open(256);
	room_know("GET /a");
	room_know("GET /b");
	room_know("GET /c");
	uint64_t a = cpu_ns("GET /a"), b = cpu_ns("GET /b"), c = cpu_ns("GET /c");
	room_accept(5);
	room_accept(6);
	room_accept(7);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_receive(7, "GET /c HTTP/1.1\r\n\r\n");
	work_of_another_thread(read_some_and_answer_others);
	ck_assert_uint_eq(cpu_ns("GET /a") - a, 0);
	ck_assert_uint_eq(cpu_ns("GET /b") - b, 0);
	ck_assert_uint_eq(cpu_ns("GET /c") - c, 1000);
	ck_assert_uint_eq(seg.endpoints[SEG_ENDPOINT_BACKGROUND].cpu_ns, 110);
}
END_TEST

static void write_to_a_stream_and_answer(void)
{
	work_credit(0, 0, 1000);
	room_send(5, "to one who only listens");
	ck_assert(work_is_job());
	room_answer(6, 0);
}

START_TEST(what_a_worker_sends_to_the_streams_of_others_is_its_jobs)
{
	room_open(256);
	room_know("POST /say");
	uint64_t say = cpu_ns("POST /say");
	room_accept(5);
	room_receive(5, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
	room_send(5, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
	room_accept(6);
	room_receive(6, "POST /say HTTP/1.1\r\n\r\n");
	work_of_another_thread(write_to_a_stream_and_answer);
	ck_assert_uint_eq(cpu_ns("POST /say") - say, 1000);
}
END_TEST

static void ask(int fd)
{
	room_send(fd, "GET /of-another HTTP/1.1\r\n\r\n");
}

static void hear(int fd)
{
	room_receive(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

static void ask_before_answering(void)
{
	ask(7); /* a connection that another request used last */
	ck_assert(work_is_job());
	work_wait(ELSEWHERE, room_now_ns);
	work_woke();
	conn_receiving(7);
	ck_assert(work_is_job());
	hear(7);
	work_credit(0, 0, 1000);
	room_answer(5, 0);
}

START_TEST(what_a_worker_asks_of_others_is_its_jobs)
{
	room_open(256);
	room_know("GET /a");
	room_know("GET /b");
	room_accept(6);
	room_receive(6, "GET /b HTTP/1.1\r\n\r\n");
	room_connect(7, 1);
	ask(7);
	hear(7);
	room_answer(6, 0);
	uint64_t a = cpu_ns("GET /a");
	room_accept(5);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work_of_another_thread(ask_before_answering), "_pending (of a job)");
	ck_assert_uint_eq(cpu_ns("GET /a") - a, 1000);
}
END_TEST

START_TEST(an_upstream_call_in_the_middle_is_work_for_the_request)
{
	room_open(256);
	room_know("GET /a");
	room_know("GET /b");
	work_wait(LOOP, room_now_ns);
	room_accept(5);
	room_accept(6);
	room_receive(5, "GET /a HTTP/1.1\r\n\r\n");
	room_connect(7, 1);
	ask(7);
	work_wait(ELSEWHERE, room_now_ns); /* a thread for each connection, which waits for the upstream only */
	work_woke();
	hear(7);
	ck_assert_str_eq(work(), "GET /a");
	ask(7);
	work_wait(LOOP, room_now_ns); /* a loop, which serves others meanwhile */
	work_woke();
	room_receive(6, "GET /b HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work(), "GET /b");
	room_answer(6, 0);
	work_wait(LOOP, room_now_ns);
	work_woke();
	conn_receiving(7);
	ck_assert_str_eq(work(), "GET /a");
	hear(7);
	room_answer(5, 0);
	ck_assert_str_eq(work(), "GET /a");
	work_wait(ELSEWHERE, room_now_ns);
	ck_assert_str_eq(work(), "_idle");
}
END_TEST

START_TEST(a_thread_that_only_accepts_is_idle)
{
	room_open(256);
	room_know("GET /a");
	conn_accepting();
	conn_accepted(5, room_now_ns);
	work_credit(0, 0, 1000);
	conn_accepting();
	ck_assert_str_eq(work(), "_pending");
	ck_assert_uint_eq(seg.endpoints[SEG_ENDPOINT_IDLE].cpu_ns, 1000);
	conn_accepted(6, room_now_ns);
	room_receive(6, "GET /a HTTP/1.1\r\n\r\n");
	ck_assert_str_eq(work(), "GET /a");
	conn_accepting(); /* EAGAIN, as event loops ask for */
	ck_assert_str_eq(work(), "_pending");
	conn_accept_failed();
	ck_assert_str_eq(work(), "GET /a");
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, only_accepted_descriptors_are_tracked);
	tcase_add_test(tcase, without_a_table_every_call_does_nothing);
	tcase_add_test(tcase, descriptors_beyond_the_limit_are_counted_as_lost);
	tcase_add_test(tcase, a_number_that_is_accepted_again_is_a_new_connection);
	tcase_add_test(tcase, a_number_reused_after_close_starts_afresh);
	tcase_add_test(tcase, names_of_one_file_share_one_connection_that_ends_with_the_last);
	tcase_add_test(tcase, a_name_that_is_given_to_another_file_leaves_its_connection);
	tcase_add_test(tcase, a_child_that_serves_what_its_parent_accepted_counts_it);
	tcase_add_test(tcase, a_request_that_the_parent_read_and_the_child_answers_is_one);
	tcase_add_test(tcase, a_child_that_only_closes_what_it_inherited_counts_nothing);
	tcase_add_test(tcase, threads_with_connections_of_their_own_count_exactly);
	tcase_add_test(tcase, threads_that_fight_over_connections_leave_the_gauges_balanced);
	tcase_add_test(tcase, threads_that_read_and_answer_on_one_connection_lose_nothing);
	tcase_add_test(tcase, a_handler_that_enters_again_does_not_wait_and_nothing_is_lost);
	tcase_add_test(tcase, without_memory_for_what_a_handler_did_the_connection_is_given_up);
	tcase_add_test(tcase, a_handler_may_even_close_the_connection_it_interrupts);
	tcase_add_test(tcase, a_lock_that_was_held_across_a_fork_does_not_stop_the_child);
	tcase_add_test(tcase, a_client_that_pipelines_without_end_is_given_up_and_the_rest_goes_on);
	tcase_add_test(tcase, the_thread_works_for_the_request_from_its_head_to_the_next_event);
	tcase_add_test(tcase, samples_before_the_head_is_known_go_to_its_request);
	tcase_add_test(tcase, receiving_a_body_is_work_for_its_request);
	tcase_add_test(tcase, sending_is_work_for_the_oldest_request_without_an_answer);
	tcase_add_test(tcase, a_request_that_writes_to_the_streams_of_others_keeps_its_work);
	tcase_add_test(tcase, what_is_not_understood_is_work_outside_of_any_request);
	tcase_add_test(tcase, a_thread_that_answers_what_another_has_read_works_for_what_it_answers_next);
	tcase_add_test(tcase, a_pipeline_that_another_thread_has_read_is_not_the_next_thing_to_do);
	tcase_add_test(tcase, a_worker_that_gets_the_connection_works_for_what_it_reads);
	tcase_add_test(tcase, workers_that_read_and_answer_in_any_order_work_for_what_they_answer);
	tcase_add_test(tcase, what_a_worker_sends_to_the_streams_of_others_is_its_jobs);
	tcase_add_test(tcase, what_a_worker_asks_of_others_is_its_jobs);
	tcase_add_test(tcase, an_upstream_call_in_the_middle_is_work_for_the_request);
	tcase_add_test(tcase, a_thread_that_only_accepts_is_idle);
}

int main(void)
{
	return check_main("connection", add_tests);
}
