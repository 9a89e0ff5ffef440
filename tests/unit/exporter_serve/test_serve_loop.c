/* The server's loop over a segment made here, spoken to by curl and by sockets that behave worse than curl. */
#include "../../../exporter/exporter.h"
#include "../../../exporter/view.h"
#include "../run.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_BYTES = 1 << 20, PATIENCE_MS = 8000, SEGMENT_BYTES = 16 << 20 };

static struct exporter_host host;
static pthread_t server;
static _Atomic bool must_stop;
static _Atomic bool is_held;     /* the loop waits in its tick */
static _Atomic bool is_in_tick;
static _Atomic unsigned turn_count;
static _Atomic int open_count;
static _Atomic int opened[1024];
static char lines[16][1024];
static _Atomic int line_count;
static char dir[] = "/tmp/profshim-test-XXXXXX";

/* --- the program that is served in */

static void keep_line(enum seg_log_level level, const char *line)
{
	int index = line_count;

	(void)level;
	ck_assert_int_lt(index, 16);
	snprintf(lines[index], sizeof(lines[index]), "%s", line);
	line_count = index + 1; /* whoever sees it may read the line */
}

static int stderr_borrow(void)
{
	return STDERR_FILENO;
}

static void stderr_return(int fd)
{
	ck_assert_int_eq(fd, STDERR_FILENO);
}

/* The loop ends by its tick in all of these tests. */
static bool is_to_end(void)
{
	turn_count++;
	return false;
}

static void sleep_ms(int ms)
{
	poll(NULL, 0, ms);
}

static bool tick(void)
{
	is_in_tick = true;
	while (is_held)
		sleep_ms(1);
	is_in_tick = false;
	return !atomic_load(&must_stop);
}

static void descriptor_opened(int fd)
{
	opened[fd]++;
	open_count++;
}

static void descriptor_closed(int fd)
{
	opened[fd]--;
	open_count--;
}

/* One sample of _background in recv(), so that every view has something to show. */
static void add_sample(void)
{
	struct seg_view *seg = &host.seg;
	uint64_t frame_key = seg_frame_key(SEG_MODULE_CALL, SEG_CALL_RECV);
	uint32_t frame = seg_table_insert(&seg->slots[SEG_TABLE_FRAMES], frame_key, NULL) + 1;
	uint32_t node = seg_table_insert(&seg->slots[SEG_TABLE_NODES], seg_node_key(0, frame), NULL) + 1;
	uint32_t cell = seg_table_insert(&seg->slots[SEG_TABLE_CELLS], seg_cell_key(node, SEG_ENDPOINT_BACKGROUND, SEG_KIND_CPU), NULL);

	seg->cells[cell].samples = 1;
	seg->cells[cell].weight_ns = 10101010;
	seg->cells[cell].activations = 1;
	seg->endpoints[SEG_ENDPOINT_BACKGROUND].cpu_samples = 1;
	seg->endpoints[SEG_ENDPOINT_BACKGROUND].cpu_ns = 10101010;
	seg->threads[0].counters[SEG_COUNTER_SAMPLES] = 1;
	seg->threads[0].call_counts[SEG_CALL_RECV] = 1;
}

static void make_segment(void)
{
	size_t bytes = seg_bytes_for(SEGMENT_BYTES);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(base, MAP_FAILED);
	seg_format(base, bytes, 1);
	struct segment *head = base;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	head->created_mono_ns = (uint64_t)now.tv_sec * 1000000000u;
	strcpy(head->program, "server");
	strcpy(head->session, "server.1");
	strcpy(head->config.listen, "127.0.0.1:0");
	strcpy(head->config.report, "stderr");
	strcpy(head->config.service, "server");
	strcpy(head->config.unwind, "auto");
	head->config.top = 20;
	head->config.hz = 99;
	head->config.is_enabled = 1;
	head->config.bound_count = 1;
	head->config.bounds_ns[0] = 1000000;
	head->config.log_level = SEG_LOG_INFO;
	memset(head->marks, 0xff, sizeof(head->marks)); /* entries are written here without the tables' own functions */
	seg_publish(head);
	ck_assert_int_eq(seg_view_init(&host.seg, base, bytes), SEG_OK);
	/* What the shim writes at the start. */
	static const char *const names[] = { "_background", "_idle", "_OTHER" };
	for (int i = 0; i < SEG_ENDPOINT_FIRST; i++) {
		strcpy(host.seg.endpoints[i].name, names[i]);
		host.seg.endpoints[i].key = (uint64_t)i + 1;
		host.seg.endpoints[i].ready = 1;
	}
	add_sample();
}

static void set_up(void)
{
	host = (struct exporter_host){ .log = keep_line, .stderr_borrow = stderr_borrow, .stderr_return = stderr_return, .tick = tick, .is_to_end = is_to_end,
		                       .descriptor_opened = descriptor_opened, .descriptor_closed = descriptor_closed };
	make_segment();
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void *serve(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)profshim_exporter_serve(&host);
}

static void start(const char *listen, const char *token)
{
	strcpy(host.seg.head->config.listen, listen);
	strcpy(host.seg.head->config.token, token);
	host.seg.head->served_address[0] = '\0';
	must_stop = false;
	ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
	if (!strcmp(listen, "off"))
		return;
	for (int waited = 0; (!line_count || !host.seg.head->served_address[0]) && waited < PATIENCE_MS; waited += 5)
		sleep_ms(5);
	ck_assert_str_ne(host.seg.head->served_address, "");
}

static void stop(void)
{
	void *result;

	must_stop = true;
	ck_assert_int_eq(pthread_join(server, &result), 0);
	ck_assert_ptr_null(result);
	ck_assert_int_eq(open_count, 0);
}

static void tear_down(void)
{
	char command[64];

	snprintf(command, sizeof(command), "/bin/rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* --- its clients */

static char answer[ANSWER_BYTES];

/* Runs curl with these arguments, in which %A stands for the server's address, and keeps what it prints in answer. */
static void curl(const char *arguments)
{
	char command[1024] = "curl -s -m 8 ", *end = command + strlen(command);
	const char *address = host.seg.head->served_address;

	for (const char *at = arguments; *at; at++) {
		if (at[0] == '%' && at[1] == 'A') {
			end += sprintf(end, "%s", address);
			at++;
		} else {
			*end++ = *at;
		}
	}
	*end = '\0';
	FILE *stream = popen(command, "r");
	ck_assert_ptr_nonnull(stream);
	size_t bytes = fread(answer, 1, sizeof(answer) - 1, stream);
	answer[bytes] = '\0';
	pclose(stream);
}

static void assert_begins(const char *wanted)
{
	ck_assert_msg(!strncmp(answer, wanted, strlen(wanted)), "not %s but %.200s", wanted, answer);
}

static void assert_contains(const char *wanted)
{
	ck_assert_msg(strstr(answer, wanted) != NULL, "no %s in %.2000s", wanted, answer);
}

static void assert_lacks(const char *unwanted)
{
	ck_assert_msg(strstr(answer, unwanted) == NULL, "%s in %.2000s", unwanted, answer);
}

static void connect_this(int fd)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                  .sin_port = htons((uint16_t)host.seg.head->served_port) };

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
}

static int connect_to_server(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_ge(fd, 0);
	connect_this(fd);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until the server closes or text has been seen `times` times, into answer. */
static void hear(int fd, const char *text, int times)
{
	size_t bytes = 0;
	int seen = 0;

	answer[0] = '\0';
	while (seen < times) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		ck_assert_msg(poll(&poll_fd, 1, PATIENCE_MS) == 1, "no answer after %s", answer);
		ssize_t n = recv(fd, answer + bytes, sizeof(answer) - 1 - bytes, 0);
		if (n <= 0)
			return;
		bytes += (size_t)n;
		answer[bytes] = '\0';
		seen = 0;
		for (const char *at = answer; (at = strstr(at, text)); at++)
			seen++;
	}
}

static void wait_until_open(int count)
{
	for (int waited = 0; open_count != count && waited < PATIENCE_MS; waited += 10)
		sleep_ms(10);
	ck_assert_int_eq(open_count, count);
}

enum { DESCRIPTORS_AT_REST = 2 }; /* the listening socket and the epoll descriptor */

/* --- answers */

START_TEST(every_view_is_served_with_its_type)
{
	struct view_params params;
	char command[256], type[128];

	start("127.0.0.1:0", "");
	view_params_default(&params, &host.seg.head->config);
	for (const struct view *view = views; view->path; view++) {
		snprintf(command, sizeof(command), "-i http://%%A%s", view->path);
		curl(command);
		assert_begins("HTTP/1.1 200 OK\r\n");
		snprintf(type, sizeof(type), "Content-Type: %s\r\n", view->content_type(&params));
		assert_contains(type);
		assert_contains("Cache-Control: no-store\r\n");
		assert_lacks("Content-Encoding");
		ck_assert_msg(strlen(strstr(answer, "\r\n\r\n")) >= strlen("\r\n\r\n[]\n"), "an empty body of %s", view->path);
	}
	stop();
}
END_TEST

START_TEST(health_is_told)
{
	start("127.0.0.1:0", "");
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 OK\r\n");
	assert_contains("\r\n\r\nhealthy\n");
	curl("-i http://%A/-/ready");
	assert_begins("HTTP/1.1 200 OK\r\n");
	assert_contains("\r\n\r\nready\n");
	stop();
}
END_TEST

static const struct {
	const char *arguments, *status, *detail;
} refusals[] = {
	{ "-i http://%A/nothing", "HTTP/1.1 404 ", "\r\n\r\nThere is nothing at this path; / lists what there is.\n" },
	{ "-i -X POST http://%A/control/restart", "HTTP/1.1 404 ", "nothing at this path" },
	{ "-i http://%A/control/reset", "HTTP/1.1 405 ", "Allow: POST\r\n" },
	{ "-i -X OPTIONS http://%A/control/reset", "HTTP/1.1 405 ", "Allow: POST\r\n" },
	{ "-i -X POST 'http://%A/control/hz?value=10001'", "HTTP/1.1 400 ", "Parameter value " },
	{ "-i -d value=100 http://%A/control/hz", "HTTP/1.1 400 ", "Parameter value is missing" },
	{ "-i -X POST -H 'Origin: http://evil.example' http://%A/control/reset", "HTTP/1.1 403 ", "another site" },
	{ "-i -X POST -H 'Sec-Fetch-Site: same-site' http://%A/control/reset", "HTTP/1.1 403 ", "another site" },
	{ "-i 'http://%A/report?top=1&top=2'", "HTTP/1.1 400 ", "Parameter top is given twice." },
	{ "-i -d \"$(head -c 5000 /dev/zero | tr '\\0' x)\" http://%A/control/reset", "HTTP/1.1 413 ", "No path takes a body" },
	{ "-i -H 'Transfer-Encoding: chunked' -d x http://%A/control/reset", "HTTP/1.1 413 ", "No path takes a body" },
	{ "-i -X POST http://%A/report", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n" },
	{ "-i -d body http://%A/report", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n" },
	{ "-i -X DELETE http://%A/-/healthy", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n" },
	{ "-i http://%A/report?colour=red", "HTTP/1.1 400 ", "colour" },
	{ "-i http://%A/report?top=many", "HTTP/1.1 400 ", "top" },
	{ "-i http://%A/report?seconds=3601", "HTTP/1.1 400 ", "seconds" },
	{ "-i 'http://%A/report?endpoint=GET+/nowhere'", "HTTP/1.1 400 ", "GET /nowhere" },
	{ "-i 'http://%A/requests/slow?endpoint=GET+/nowhere'", "HTTP/1.1 400 ", "GET /nowhere" },
	{ "-i 'http://%A/requests/slow?colour=red'", "HTTP/1.1 400 ", "colour" },
	{ "-i 'http://%A/requests/active?endpoint='", "HTTP/1.1 400 ", "endpoint" },
	{ "-i http://%A/requests/", "HTTP/1.1 404 ", "nothing at this path" },
	{ "-i -X POST http://%A/requests/active", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n" },
	{ "-i -X PUT http://%A/connections", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n" },
	{ "-i 'http://%A/report?top=1%00'", "HTTP/1.1 400 ", "NUL" },
	{ "-i 'http://%A/-/ready?verbose=1'", "HTTP/1.1 400 ", "verbose" },
	{ "-i -H 'Host: evil.example:9464' http://%A/report", "HTTP/1.1 421 ", "The Host header must be" },
};

START_TEST(a_bad_request_is_refused_in_one_sentence)
{
	start("127.0.0.1:0", "");
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		curl(refusals[i].arguments);
		assert_begins(refusals[i].status);
		assert_contains(refusals[i].detail);
		assert_contains("Content-Type: text/plain; charset=utf-8\r\n");
		const char *body = strstr(answer, "\r\n\r\n") + 4;
		ck_assert_msg(strchr(body, '\n') == body + strlen(body) - 1, "not one line: %s", body);
	}
	stop();
}
END_TEST

static uint64_t refused(enum seg_counter reason)
{
	return host.seg.threads[0].counters[reason];
}

START_TEST(refusals_are_counted_by_reason)
{
	start("127.0.0.1:0", "secret");
	curl("-X POST http://%A/control/reset -H 'Authorization: Bearer wrong'");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_TOKEN), 1);
	curl("-X POST http://%A/control/reset -H 'Authorization: Bearer secret' -H 'Origin: http://evil.example'");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_CROSS_SITE), 1);
	curl("-H 'Host: evil.example' http://%A/report http://%A/metrics");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_HOST), 2);
	curl("http://%A/nothing");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_NOT_FOUND), 1);
	curl("-X POST http://%A/report");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_METHOD), 1);
	curl("http://%A/report?top=many 'http://%A/report?endpoint=GET+/nowhere'");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_PARAMETER), 2);
	curl("-H 'Transfer-Encoding: chunked' -d x http://%A/report");
	ck_assert_uint_eq(refused(SEG_COUNTER_HTTP_BODY), 1);
	curl("http://%A/self");
	assert_contains("\"http_refused\": {");
	stop();
}
END_TEST

static const struct {
	const char *bytes, *answer;
} malformed[] = {
	{ "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "" }, /* TLS */
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 " },
	{ "GET /report\r\n\r\n", "HTTP/1.1 " }, /* HTTP/0.9 */
	{ "GET /report HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " }, /* no Host, RFC 9112, 3.2 */
	{ "POST /control/reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", "HTTP/1.1 400 " },
	{ "POST /control/reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n", "HTTP/1.1 4" },
};

START_TEST(what_is_not_http_changes_nothing_and_is_survived)
{
	start("127.0.0.1:0", "");
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		int fd = connect_to_server();
		size_t n = malformed[i].bytes[0] == '\x16' ? 15 : strlen(malformed[i].bytes);
		ck_assert_int_eq(send(fd, malformed[i].bytes, n, MSG_NOSIGNAL), (ssize_t)n);
		shutdown(fd, SHUT_WR);
		hear(fd, "no such text", 1);
		assert_begins(malformed[i].answer);
		assert_lacks(" 200 ");
		close(fd);
	}
	ck_assert_uint_eq(host.seg.head->resets, 0);
	ck_assert_uint_gt(refused(SEG_COUNTER_HTTP_MALFORMED), 0);
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	stop();
}
END_TEST

START_TEST(a_client_that_closes_its_side_with_its_request_is_answered_and_let_go)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n");
	shutdown(fd, SHUT_WR);
	hear(fd, "no such text", 1); /* to the end, well before it would time out */
	assert_contains("healthy\n");
	close(fd);
	stop();
}
END_TEST

START_TEST(two_host_headers_are_refused)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /report HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
	hear(fd, "no such text", 1);
	assert_begins("HTTP/1.1 400 ");
	assert_contains("There must be one Host header.\n");
	close(fd);
	stop();
}
END_TEST

START_TEST(a_body_without_end_is_not_waited_for)
{
	static const char piece[] = "1000\r\n";
	static char zeros[0x1002];

	start("127.0.0.1:0", "");
	memset(zeros, 'x', sizeof(zeros) - 2);
	memcpy(zeros + sizeof(zeros) - 2, "\r\n", 2);
	int fd = connect_to_server();
	say(fd, "GET /report HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
	while (send(fd, piece, strlen(piece), MSG_NOSIGNAL) > 0 && send(fd, zeros, sizeof(zeros), MSG_NOSIGNAL) > 0)
		; /* until the server hangs up */
	close(fd);
	wait_until_open(2);
	stop();
}
END_TEST

START_TEST(a_small_body_does_no_harm_and_the_connection_goes_on)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "POST /control/disable HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
	        "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n");
	hear(fd, "healthy\n", 1);
	assert_begins("HTTP/1.1 200 OK\r\n");
	assert_contains("\r\n\r\nsampling is disabled, at 99 Hz\nHTTP/1.1 200 OK");
	close(fd);
	stop();
}
END_TEST

START_TEST(controls_change_the_state_and_tell_it)
{
	start("127.0.0.1:0", "");
	curl("-X POST http://%A/control/disable");
	ck_assert_str_eq(answer, "sampling is disabled, at 99 Hz\n");
	ck_assert_uint_eq(host.seg.head->config.is_enabled, 0);
	curl("-X POST 'http://%A/control/hz?value=250'");
	ck_assert_str_eq(answer, "sampling is disabled, at 250 Hz\n");
	ck_assert_uint_eq(host.seg.head->config.hz, 250);
	curl("-X POST http://%A/control/enable");
	ck_assert_str_eq(answer, "sampling is enabled, at 250 Hz\n");
	ck_assert_uint_eq(host.seg.head->config.is_enabled, 1);
	curl("-X POST http://%A/control/reset");
	ck_assert_str_eq(answer, "all counters begin anew; sampling is enabled, at 250 Hz\n");
	curl("http://%A/report");
	assert_contains(", 0 samples at 250 Hz");
	stop();
}
END_TEST

/* A scrape that waits while somebody resets gets what came since the reset. */
START_TEST(a_reset_while_somebody_waits_leaves_him_what_came_since)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /report?seconds=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	wait_until_open(3);
	sleep_ms(100);
	curl("-X POST http://%A/control/reset");
	hear(fd, "no such text", 1);
	assert_begins("HTTP/1.1 200 OK\r\n");
	assert_contains(", 0 samples at 99 Hz");
	close(fd);
	stop();
}
END_TEST

START_TEST(gzip_carries_the_same_bytes)
{
	static char plain[ANSWER_BYTES];

	start("127.0.0.1:0", "");
	curl("http://%A/endpoints http://%A/");
	strcpy(plain, answer);
	curl("--compressed http://%A/endpoints http://%A/");
	ck_assert_str_eq(answer, plain);
	curl("-i -H 'Accept-Encoding: gzip' http://%A/metrics | tr -d '\\0'");
	assert_contains("Content-Encoding: gzip\r\n");
	assert_contains("Vary: Accept, Accept-Encoding\r\n");
	assert_contains("\r\n\r\n\x1f\x8b");
	curl("-i -H 'Accept-Encoding: gzip;q=0' http://%A/metrics");
	assert_lacks("Content-Encoding");
	stop();
}
END_TEST

START_TEST(head_has_the_headers_of_get_and_no_body)
{
	start("127.0.0.1:0", "");
	curl("-I http://%A/endpoints http://%A/");
	assert_begins("HTTP/1.1 200 OK\r\n");
	assert_contains("Content-Length: ");
	assert_lacks("Content-Length: 0\r\n");
	const char *second = strstr(answer + 1, "HTTP/1.1 200 OK\r\n");
	ck_assert_ptr_nonnull(second);
	ck_assert_str_eq(strstr(second, "\r\n\r\n"), "\r\n\r\n");
	stop();
}
END_TEST

START_TEST(openmetrics_is_chosen_by_accept)
{
	start("127.0.0.1:0", "");
	curl("-i -H 'Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5' http://%A/metrics");
	assert_contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n");
	stop();
}
END_TEST

START_TEST(pipelined_requests_on_one_connection_are_all_answered)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\nGET http://localhost/-/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
	        "HEAD /report HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	hear(fd, "no such text", 1);
	assert_contains("\r\n\r\nhealthy\nHTTP/1.1 200 OK");
	assert_contains("\r\n\r\nready\nHTTP/1.1 200 OK");
	assert_contains("\r\n\r\nHTTP/1.1 404 ");
	close(fd);
	stop();
}
END_TEST

START_TEST(a_head_beyond_the_limit_is_refused)
{
	static char head[40000];

	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	int n = snprintf(head, sizeof(head), "GET /report HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
	memset(head + n, 'a', sizeof(head) - 1 - (size_t)n);
	send(fd, head, strlen(head), MSG_NOSIGNAL); /* the server may hang up before it has all */
	hear(fd, "HTTP/1.1 431 ", 1);
	close(fd);
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	stop();
}
END_TEST

/* --- waiting */

START_TEST(a_request_that_waits_holds_up_nobody)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /report?seconds=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	hear(fd, "no such text", 1);
	assert_begins("HTTP/1.1 200 OK\r\n");
	close(fd);
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

START_TEST(the_answer_after_a_wait_holds_only_what_came_since)
{
	start("127.0.0.1:0", "");
	curl("http://%A/report");
	assert_contains(", 1 sample at 99 Hz");
	int fd = connect_to_server();
	say(fd, "GET /report?seconds=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	hear(fd, "no such text", 1);
	assert_contains(", 0 samples at 99 Hz");
	close(fd);
	stop();
}
END_TEST

START_TEST(a_client_that_leaves_while_it_waits_leaves_nothing)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /report?seconds=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_until_open(DESCRIPTORS_AT_REST + 1);
	sleep_ms(50);
	close(fd);
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

START_TEST(no_more_than_16_requests_wait_at_once)
{
	int fds[17];

	start("127.0.0.1:0", "");
	for (int i = 0; i < 17; i++) {
		fds[i] = connect_to_server();
		say(fds[i], "GET /report?seconds=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n");
		sleep_ms(5); /* so that the last one is the 17th */
	}
	hear(fds[16], "waiting already", 1);
	assert_begins("HTTP/1.1 503 ");
	for (int i = 0; i < 17; i++)
		close(fds[i]);
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

START_TEST(stopping_ends_requests_that_wait)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /report?seconds=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_until_open(DESCRIPTORS_AT_REST + 1);
	sleep_ms(50);
	stop();
	hear(fd, "HTTP", 1);
	ck_assert_str_eq(answer, "");
	close(fd);
}
END_TEST

/* --- many and slow clients */

START_TEST(a_hundred_connections_at_once_are_all_answered)
{
	int fds[100];

	start("127.0.0.1:0", "");
	for (int i = 0; i < 100; i++) {
		fds[i] = connect_to_server();
		/* At once: who says nothing for a second makes way for others, and a busy machine may take so long here. */
		say(fds[i], "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	}
	for (int i = 0; i < 100; i++) {
		hear(fds[i], "healthy\n", 1);
		assert_begins("HTTP/1.1 200 ");
		close(fds[i]);
	}
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

START_TEST(idle_connections_make_way_when_all_are_taken)
{
	int fds[64];

	start("127.0.0.1:0", "");
	for (int i = 0; i < 64; i++)
		fds[i] = connect_to_server();
	say(fds[0], "GET /rep"); /* a head that never ends is idleness, too */
	wait_until_open(DESCRIPTORS_AT_REST + 64);
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	for (int i = 0; i < 64; i++)
		close(fds[i]);
	stop();
}
END_TEST

START_TEST(a_client_that_sends_byte_by_byte_delays_nobody)
{
	const char *request = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";

	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	for (const char *at = request; *at; at++) {
		ck_assert_int_eq(send(fd, at, 1, MSG_NOSIGNAL), 1);
		sleep_ms(2);
		if (at - request == 10) {
			curl("-i http://%A/-/ready");
			assert_begins("HTTP/1.1 200 ");
		}
	}
	hear(fd, "healthy\n", 1);
	assert_begins("HTTP/1.1 200 ");
	close(fd);
	stop();
}
END_TEST

START_TEST(a_client_that_reads_nothing_delays_nobody)
{
	int small = 1024;

	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (int i = 0; i < 50; i++)
		say(fd, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	close(fd);
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

/* Until let_go the server does nothing: what comes meanwhile it finds at once. */
static void hold(void)
{
	is_held = true;
	for (int waited = 0; !is_in_tick && waited < PATIENCE_MS; waited++)
		sleep_ms(1);
	ck_assert(is_in_tick);
}

static void let_go(void)
{
	turn_count = 0;
	is_held = false;
}

START_TEST(of_those_who_ask_at_once_one_a_turn_is_answered)
{
	enum { ALL = 40 };
	int fds[ALL];

	start("127.0.0.1:0", "");
	hold();
	for (int i = 0; i < ALL; i++) {
		fds[i] = connect_to_server();
		say(fds[i], i % 2 ? "GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n" :
		                    "POST /control/enable HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	let_go();
	for (int i = 0; i < ALL; i++) {
		hear(fds[i], "\r\n\r\n", 1);
		assert_begins("HTTP/1.1 200 ");
		close(fds[i]);
	}
	ck_assert_uint_ge(turn_count, ALL);
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

START_TEST(who_asks_for_much_does_not_come_before_others)
{
	enum { ALL = 50 };

	start("127.0.0.1:0", "");
	hold();
	int greedy = connect_to_server(), modest = connect_to_server();
	for (int i = 0; i < ALL; i++)
		say(greedy, "GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n");
	say(modest, "GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n");
	let_go();
	hear(modest, "\r\n\r\n", 1);
	ck_assert_uint_lt(turn_count, ALL / 2);
	hear(greedy, "HTTP/1.1 200 ", ALL);
	close(greedy);
	close(modest);
	stop();
}
END_TEST

START_TEST(who_leaves_the_line_holds_up_nobody_in_it)
{
	int fds[30];

	start("127.0.0.1:0", "");
	hold();
	for (int i = 0; i < 30; i++) {
		fds[i] = connect_to_server();
		say(fds[i], "GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	let_go();
	for (int i = 0; i < 29; i++)
		close(fds[i]);
	hear(fds[29], "\r\n\r\n", 1);
	assert_begins("HTTP/1.1 200 ");
	close(fds[29]);
	wait_until_open(DESCRIPTORS_AT_REST);
	stop();
}
END_TEST

enum { FLOOD_MS = 2000, BURST_MS = 500, SHARE_PCT = 10, ONE_TURN_MS = 200 }; /* of serve.c; and what one turn may take */

/* As fast as it goes, on connections of their own; what is asked for costs the server far more than the client. */
START_TEST(a_flood_of_requests_takes_a_share_of_a_core_and_no_more)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
	struct timespec begin, now;
	int fds[8], elapsed_ms = 0;

	start("127.0.0.1:0", "");
	for (int i = 0; i < 8; i++)
		fds[i] = connect_to_server();
	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (elapsed_ms < FLOOD_MS) {
		for (int i = 0; i < 8; i++) {
			send(fds[i], request, strlen(request), MSG_NOSIGNAL | MSG_DONTWAIT);
			while (recv(fds[i], answer, sizeof(answer), MSG_DONTWAIT) > 0)
				;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		elapsed_ms = (int)(now.tv_sec - begin.tv_sec) * 1000 + (int)((now.tv_nsec - begin.tv_nsec) / 1000000);
	}
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	stop();
	uint64_t cpu_ms = host.seg.threads[0].overhead_ns[SEG_PHASE_EXPORT] / 1000000;
	ck_assert_uint_le(cpu_ms, BURST_MS + (uint64_t)elapsed_ms * SHARE_PCT / 100 + ONE_TURN_MS);
}
END_TEST

/* --- addresses and tokens */

START_TEST(the_token_is_asked_for_where_others_can_come_in)
{
	char arguments[256];

	start("0.0.0.0:0", "secret");
	snprintf(arguments, sizeof(arguments), "-i http://127.0.0.1:%u/report", host.seg.head->served_port);
	curl(arguments);
	assert_begins("HTTP/1.1 401 ");
	assert_contains("WWW-Authenticate: Bearer realm=\"profshim\"\r\n");
	snprintf(arguments, sizeof(arguments), "-i -H 'Authorization: Bearer wrong' http://127.0.0.1:%u/-/healthy", host.seg.head->served_port);
	curl(arguments);
	assert_begins("HTTP/1.1 401 ");
	snprintf(arguments, sizeof(arguments), "-i -H 'Authorization: Bearer secret' http://127.0.0.1:%u/report", host.seg.head->served_port);
	curl(arguments);
	assert_begins("HTTP/1.1 200 ");
	stop();
}
END_TEST

START_TEST(the_token_is_not_asked_for_to_read_on_loopback)
{
	start("127.0.0.1:0", "secret");
	curl("-i http://%A/report");
	assert_begins("HTTP/1.1 200 ");
	stop();
}
END_TEST

START_TEST(a_unix_socket_serves_any_host_and_vanishes_at_the_end)
{
	char listen[64], arguments[256];

	snprintf(listen, sizeof(listen), "unix:%s/s", dir);
	start(listen, "secret");
	ck_assert_str_eq(host.seg.head->served_address, listen);
	snprintf(arguments, sizeof(arguments), "-i --unix-socket %s http://anything/report", listen + 5);
	curl(arguments);
	assert_begins("HTTP/1.1 200 ");
	stop();
	ck_assert_int_eq(access(listen + 5, F_OK), -1);
}
END_TEST

START_TEST(the_log_tells_at_info_where_it_serves)
{
	char line[SEG_TEXT_BYTES + 16];

	start("127.0.0.1:0", "");
	snprintf(line, sizeof(line), "serving at %s", host.seg.head->served_address);
	ck_assert_str_eq(lines[0], line);
	ck_assert_int_eq(line_count, 1);
	ck_assert_uint_eq(host.seg.head->server_pid, (uint32_t)getpid());
	stop();
}
END_TEST

/* A listening socket of somebody else's on a free port. */
static int take_port(char ret_text[static 64], unsigned *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, bytes), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &bytes), 0);
	*ret_port = ntohs(in.sin_port);
	snprintf(ret_text, 64, "127.0.0.1:%u", *ret_port);
	return fd;
}

START_TEST(a_taken_port_is_told_in_one_line_with_the_one_served_at)
{
	char taken[64], line[SEG_TEXT_BYTES + 128];
	unsigned port;
	int fd = take_port(taken, &port);

	start(taken, "");
	snprintf(line, sizeof(line), "%s is taken, serving at %s", taken, host.seg.head->served_address);
	ck_assert_str_eq(lines[0], line);
	ck_assert_int_eq(line_count, 1);
	ck_assert_uint_gt(host.seg.head->served_port, port);
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	stop();
	close(fd);
}
END_TEST

START_TEST(the_next_server_of_a_session_takes_the_port_of_the_last)
{
	start("127.0.0.1:0", "");
	unsigned port = host.seg.head->served_port;
	int fd = connect_to_server(); /* so that the port lingers in TIME_WAIT */
	stop();
	close(fd);
	line_count = 0;
	start("127.0.0.1:0", "");
	ck_assert_uint_eq(host.seg.head->served_port, port);
	stop();
}
END_TEST

START_TEST(a_listen_text_that_is_no_address_means_the_default)
{
	start("example.com:9464", "");
	ck_assert_ptr_nonnull(strstr(lines[0], "PROFSHIM_LISTEN=example.com:9464"));
	ck_assert_int_eq(strncmp(host.seg.head->served_address, "127.0.0.1:94", 12), 0);
	ck_assert_uint_eq(host.seg.threads[0].counters[SEG_COUNTER_CONFIG_ERRORS], 1);
	stop();
}
END_TEST

START_TEST(an_address_that_cannot_be_had_costs_http_alone)
{
	snprintf(host.seg.head->config.report, SEG_TEXT_BYTES, "%s/r.%%n", dir);
	strcpy(host.seg.head->config.listen, "192.0.2.1:9464"); /* TEST-NET-1, RFC 5737 */
	ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
	atomic_fetch_add(&host.seg.head->reports_requested, 1);
	for (int waited = 0; !host.seg.head->reports_written && waited < PATIENCE_MS; waited += 10)
		sleep_ms(10);
	stop();
	ck_assert_uint_eq(host.seg.head->reports_written, 1);
	ck_assert_int_eq(line_count, 1);
	ck_assert_str_eq(lines[0], "cannot serve at 192.0.2.1:9464: Cannot assign requested address; reports by signal still work");
}
END_TEST

START_TEST(want_of_descriptors_delays_a_client_and_loses_none)
{
	struct rlimit limit, tight;

	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	wait_until_open(DESCRIPTORS_AT_REST + 1);
	int waiting = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = (struct rlimit){ .rlim_cur = 3, .rlim_max = limit.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	connect_this(waiting);
	say(waiting, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n");
	say(fd, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n");
	hear(fd, "healthy\n", 1); /* those who are in are served */
	uint64_t cpu_ns = host.seg.threads[0].overhead_ns[SEG_PHASE_EXPORT];
	sleep_ms(500);
	cpu_ns = host.seg.threads[0].overhead_ns[SEG_PHASE_EXPORT] - cpu_ns;
	ck_assert_uint_lt(cpu_ns, 100000000); /* it does not try again and again */
	ck_assert_int_eq(open_count, DESCRIPTORS_AT_REST + 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	hear(waiting, "healthy\n", 1);
	close(waiting);
	close(fd);
	stop();
}
END_TEST

/* --- reports */

static void request_reports(unsigned count)
{
	char path[64];

	snprintf(host.seg.head->config.report, SEG_TEXT_BYTES, "%s/r.%%n", dir);
	start("off", "");
	atomic_fetch_add(&host.seg.head->reports_requested, count);
	for (int waited = 0; host.seg.head->reports_written != count && waited < PATIENCE_MS; waited += 10)
		sleep_ms(10);
	stop();
	snprintf(path, sizeof(path), "%s/r.%u", dir, count);
	FILE *stream = fopen(path, "r");
	ck_assert_ptr_nonnull(stream);
	size_t bytes = fread(answer, 1, sizeof(answer) - 1, stream);
	answer[bytes] = '\0';
	fclose(stream);
}

START_TEST(as_many_reports_are_written_as_were_asked_for)
{
	char path[64];

	request_reports(3);
	for (int i = 1; i <= 4; i++) {
		snprintf(path, sizeof(path), "%s/r.%d", dir, i);
		ck_assert_int_eq(access(path, R_OK), i <= 3 ? 0 : -1);
	}
	ck_assert_int_eq(line_count, 0);
}
END_TEST

START_TEST(a_report_is_what_http_says)
{
	static char written[ANSWER_BYTES];

	host.seg.head->ended_mono_ns = host.seg.head->created_mono_ns + 1000000000; /* stops the clock */
	request_reports(1);
	strcpy(written, answer);
	start("127.0.0.1:0", "");
	curl("http://%A/report");
	ck_assert_str_eq(answer, written);
	stop();
}
END_TEST

START_TEST(a_report_on_demand_has_a_number_of_its_own)
{
	char path[64];

	snprintf(host.seg.head->config.report, SEG_TEXT_BYTES, "%s/r.%%n", dir);
	ck_assert_int_eq(profshim_exporter_report(&host), 0);
	ck_assert_int_eq(profshim_exporter_report(&host), 0);
	ck_assert_uint_eq(host.seg.head->reports_written, 2);
	ck_assert_uint_eq(host.seg.head->reports_requested, 2);
	snprintf(path, sizeof(path), "%s/r.2", dir);
	ck_assert_int_eq(access(path, R_OK), 0);
	ck_assert_int_eq(open_count, 0);
}
END_TEST

START_TEST(a_full_disk_costs_one_line_and_the_server_goes_on)
{
	strcpy(host.seg.head->config.report, "/dev/full");
	start("127.0.0.1:0", "");
	atomic_fetch_add(&host.seg.head->reports_requested, 1);
	for (int waited = 0; line_count < 2 && waited < PATIENCE_MS; waited += 10)
		sleep_ms(10);
	ck_assert_str_eq(lines[1], "report 1 could not be written to /dev/full: No space left on device");
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	ck_assert_int_eq(line_count, 2);
	stop();
}
END_TEST

/* --- a program that closes what is not its own */

static void close_all_of_ours(void)
{
	for (int fd = 0; fd < 1024; fd++)
		if (opened[fd])
			close(fd);
}

static void assert_served_again(void)
{
	for (int waited = 0; line_count < 3 && waited < PATIENCE_MS; waited += 10)
		sleep_ms(10);
	ck_assert_str_eq(lines[1], "the program closed descriptors that are not its own; opening them again");
	ck_assert_str_eq(lines[2], lines[0]); /* at the same address */
	curl("-i http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
}

START_TEST(closed_descriptors_are_opened_again)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	wait_until_open(DESCRIPTORS_AT_REST + 1);
	close_all_of_ours();
	assert_served_again();
	stop();
	close(fd);
}
END_TEST

START_TEST(descriptors_that_mean_something_else_by_now_are_not_touched)
{
	int listener = -1, ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	start("127.0.0.1:0", "");
	for (int fd = 0; fd < 1024; fd++)
		if (opened[fd] && listener < 0)
			listener = fd; /* the first that was opened */
	ck_assert_int_eq(dup2(ends[0], listener), listener);
	assert_served_again();
	ck_assert_int_eq(send(listener, "x", 1, MSG_NOSIGNAL), 1); /* neither closed nor shut down */
	stop();
}
END_TEST

START_TEST(a_connection_closed_behind_our_back_is_survived)
{
	start("127.0.0.1:0", "");
	int fd = connect_to_server();
	say(fd, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n");
	hear(fd, "healthy\n", 1);
	int last = -1;
	for (int i = 0; i < 1024; i++)
		if (opened[i])
			last = i; /* its end of the connection */
	ck_assert_int_eq(open_count, DESCRIPTORS_AT_REST + 1);
	shutdown(last, SHUT_RDWR); /* wakes the server, which will find the descriptor gone */
	close(last);
	curl("-i --retry 5 --retry-all-errors --retry-delay 1 http://%A/-/healthy");
	assert_begins("HTTP/1.1 200 ");
	stop();
	close(fd);
}
END_TEST

START_TEST(a_program_that_never_learns_loses_http_but_not_its_reports)
{
	snprintf(host.seg.head->config.report, SEG_TEXT_BYTES, "%s/r.%%n", dir);
	start("127.0.0.1:0", "");
	for (int loss = 0; loss < 4; loss++) {
		wait_until_open(DESCRIPTORS_AT_REST);
		close_all_of_ours();
		sleep_ms(300); /* more than a tick */
	}
	ck_assert_str_eq(lines[line_count - 1], "the program keeps closing descriptors that are not its own; HTTP is off from now on");
	atomic_fetch_add(&host.seg.head->reports_requested, 1);
	for (int waited = 0; !host.seg.head->reports_written && waited < PATIENCE_MS; waited += 10)
		sleep_ms(10);
	stop();
	ck_assert_int_eq(line_count, 8); /* 4 times where it serves, 3 times again, once off */
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 30);
	suite_add_tcase(suite, tcase);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *answers = add_case(suite, "answers"), *waits = add_case(suite, "waits"), *crowds = add_case(suite, "crowds");
	TCase *addresses = add_case(suite, "addresses"), *reports = add_case(suite, "reports"), *losses = add_case(suite, "losses");
	SRunner *runner = srunner_create(suite);

	tcase_add_test(answers, every_view_is_served_with_its_type);
	tcase_add_test(answers, refusals_are_counted_by_reason);
	tcase_add_test(answers, what_is_not_http_changes_nothing_and_is_survived);
	tcase_add_test(answers, a_client_that_closes_its_side_with_its_request_is_answered_and_let_go);
	tcase_add_test(answers, two_host_headers_are_refused);
	tcase_add_test(answers, a_body_without_end_is_not_waited_for);
	tcase_add_test(answers, a_small_body_does_no_harm_and_the_connection_goes_on);
	tcase_add_test(answers, controls_change_the_state_and_tell_it);
	tcase_add_test(waits, a_reset_while_somebody_waits_leaves_him_what_came_since);
	tcase_add_test(answers, health_is_told);
	tcase_add_test(answers, a_bad_request_is_refused_in_one_sentence);
	tcase_add_test(answers, gzip_carries_the_same_bytes);
	tcase_add_test(answers, head_has_the_headers_of_get_and_no_body);
	tcase_add_test(answers, openmetrics_is_chosen_by_accept);
	tcase_add_test(answers, pipelined_requests_on_one_connection_are_all_answered);
	tcase_add_test(answers, a_head_beyond_the_limit_is_refused);
	tcase_add_test(waits, a_request_that_waits_holds_up_nobody);
	tcase_add_test(waits, the_answer_after_a_wait_holds_only_what_came_since);
	tcase_add_test(waits, a_client_that_leaves_while_it_waits_leaves_nothing);
	tcase_add_test(waits, no_more_than_16_requests_wait_at_once);
	tcase_add_test(waits, stopping_ends_requests_that_wait);
	tcase_add_test(crowds, a_hundred_connections_at_once_are_all_answered);
	tcase_add_test(crowds, idle_connections_make_way_when_all_are_taken);
	tcase_add_test(crowds, a_client_that_sends_byte_by_byte_delays_nobody);
	tcase_add_test(crowds, of_those_who_ask_at_once_one_a_turn_is_answered);
	tcase_add_test(crowds, who_asks_for_much_does_not_come_before_others);
	tcase_add_test(crowds, who_leaves_the_line_holds_up_nobody_in_it);
	tcase_add_test(crowds, a_flood_of_requests_takes_a_share_of_a_core_and_no_more);
	tcase_add_test(crowds, a_client_that_reads_nothing_delays_nobody);
	tcase_add_test(addresses, the_token_is_asked_for_where_others_can_come_in);
	tcase_add_test(addresses, the_token_is_not_asked_for_to_read_on_loopback);
	tcase_add_test(addresses, a_unix_socket_serves_any_host_and_vanishes_at_the_end);
	tcase_add_test(addresses, the_log_tells_at_info_where_it_serves);
	tcase_add_test(addresses, a_taken_port_is_told_in_one_line_with_the_one_served_at);
	tcase_add_test(addresses, the_next_server_of_a_session_takes_the_port_of_the_last);
	tcase_add_test(addresses, a_listen_text_that_is_no_address_means_the_default);
	tcase_add_test(addresses, an_address_that_cannot_be_had_costs_http_alone);
	tcase_add_test(crowds, want_of_descriptors_delays_a_client_and_loses_none);
	tcase_add_test(reports, as_many_reports_are_written_as_were_asked_for);
	tcase_add_test(reports, a_report_is_what_http_says);
	tcase_add_test(reports, a_report_on_demand_has_a_number_of_its_own);
	tcase_add_test(reports, a_full_disk_costs_one_line_and_the_server_goes_on);
	tcase_add_test(losses, closed_descriptors_are_opened_again);
	tcase_add_test(losses, descriptors_that_mean_something_else_by_now_are_not_touched);
	tcase_add_test(losses, a_connection_closed_behind_our_back_is_survived);
	tcase_add_test(losses, a_program_that_never_learns_loses_http_but_not_its_reports);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
