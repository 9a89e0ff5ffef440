/* The log of slow requests: each once, whoever logs it, and those that cannot be logged are counted. Events are made here
 * as requests/slow.c makes them. */
#include "../../../exporter/serve/slow_log.h"
#include "../../../exporter/view.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct made_session made;
static struct names names;
static struct exporter_host host;
static char dir[] = "/tmp/profshim-test-XXXXXX";
static char path[64];
static char last_line[1024];
static _Atomic int line_count, open_count;

static void keep_line(enum seg_log_level level, const char *line)
{
	ck_assert_int_le(level, SEG_LOG_WARN);
	snprintf(last_line, sizeof(last_line), "%s", line);
	line_count++;
}

static void count_opened(int fd)
{
	ck_assert_int_ge(fd, 960);
	open_count++;
}

static void count_closed(int fd)
{
	ck_assert_int_ge(fd, 960);
	open_count--;
}

static void set_up(void)
{
	made_init(&made);
	names = made_names(&made);
	host = (struct exporter_host){ .seg = made.seg, .log = keep_line, .descriptor_opened = count_opened, .descriptor_closed = count_closed };
	made_command(&made, "module m /m");
	made_command(&made, "function m 0x10 0x20 outer -");
	made_command(&made, "function m 0x20 0x30 inner -");
	made_command(&made, "endpoint a http GET \"GET /a\"");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/slow.json", dir);
	strcpy(made.seg.head->config.slow_log, path);
}

static void tear_down(void)
{
	char command[64];

	snprintf(command, sizeof(command), "/bin/rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(open_count, 0);
	made_deinit(&made);
}

static struct slow_log log_open(void)
{
	struct slow_log log;

	slow_log_init(&log, &host, &names);
	return log;
}

/* Takes a ticket and gives the event its place; not finished yet. */
static struct seg_slow *event_begin(void)
{
	uint64_t ticket = made.seg.head->slow_events_begun++;
	struct seg_slow *event = &made.seg.slow_events[ticket % made.seg.slots[SEG_TABLE_SLOW_EVENTS].count];

	event->sequence = 2 * ticket + 1;
	event->endpoint = SEG_ENDPOINT_FIRST;
	event->status = 200;
	event->pid = event->tid = 77;
	event->begin_real_ns = 1700000000123456789;
	event->duration_ns = (ticket + 1) * 1000000;
	event->stack_count = 0;
	return event;
}

static void event_end(struct seg_slow *event)
{
	event->sequence++;
}

static void events(int count)
{
	while (count--)
		event_end(event_begin());
}

static uint64_t unlogged(void)
{
	return made.seg.threads[0].counters[SEG_COUNTER_SLOW_UNLOGGED];
}

/* Text of the log's file, until the next call. */
static char *content(void)
{
	static char text[1 << 20];
	FILE *file = fopen(path, "r");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[n] = '\0';
	if (file)
		fclose(file);
	return text;
}

/* "0.012" seconds as JSON has it, for so many ms. */
static const char *seconds_of(unsigned ms)
{
	static char text[32];
	char *end = text + snprintf(text, sizeof(text), "%u.%03u", ms / 1000, ms % 1000);

	while (end[-1] == '0' && end[-2] != '.')
		*--end = '\0';
	return text;
}

/* How many lines the log has; each is one whole object with the next duration, from first ms on. */
static int lines_from(unsigned first)
{
	char wanted[64];
	int count = 0;

	for (char *line = content(), *end; *line; line = end + 1, count++) {
		end = strchr(line, '\n');
		ck_assert_ptr_nonnull(end);
		snprintf(wanted, sizeof(wanted), "\"duration_seconds\":%s,", seconds_of(first + (unsigned)count));
		char *found = strstr(line, wanted);
		ck_assert_msg(found && found < end, "no %s in %.200s", wanted, line);
		ck_assert_int_eq(line[0], '{');
		ck_assert_int_eq(end[-1], '}');
	}
	return count;
}

START_TEST(a_request_is_a_line_with_all_that_is_known)
{
	struct slow_log log = log_open();
	struct seg_slow *event = event_begin();

	event->status = 503;
	event->scheme = SEG_SCHEME_TLS;
	event->first_byte_ns = 500000;
	event->request_bytes = 5;
	event->response_bytes = 6;
	event->has_trace = 1;
	memset(event->trace_id, 0xab, sizeof(event->trace_id));
	memset(event->span_id, 0xcd, sizeof(event->span_id));
	strcpy(event->request_id, "id-1");
	event->samples = 3;
	event->cpu_ns = 30000000;
	made_command(&made, "slow a 0 - http 0 0 0 0 0 - -"); /* so that its stacks' nodes are there */
	made_command(&made, "slow_stack 1 10 outer");
	made_command(&made, "slow_stack 2 20 outer inner");
	event->stack_count = 2;
	memcpy(event->stacks, made.slow->stacks, sizeof(event->stacks));
	event_end(event);
	slow_log_turn(&log);
	ck_assert_str_eq(content(),
	                 "{\"start\":\"2023-11-14T22:13:20.123456789Z\",\"endpoint\":\"GET /a\",\"protocol\":\"http\","
	                 "\"duration_seconds\":0.001,\"time_to_first_byte_seconds\":0.0005,\"request_body_bytes\":5,"
	                 "\"response_body_bytes\":6,\"status\":\"503\",\"error_type\":\"503\",\"scheme\":\"https\",\"pid\":77,\"tid\":77,"
	                 "\"trace_id\":\"abababababababababababababababab\",\"span_id\":\"cdcdcdcdcdcdcdcd\",\"request_id\":\"id-1\","
	                 "\"cpu_seconds\":0.03,\"samples\":3,\"stacks\":[{\"cpu_seconds\":0.02,\"samples\":2,\"frames\":[\"outer\","
	                 "\"inner\"]},{\"cpu_seconds\":0.01,\"samples\":1,\"frames\":[\"outer\"]}],\"stacks_left_out\":0}\n");
	ck_assert_uint_eq(unlogged(), 0);
}
END_TEST

START_TEST(each_request_is_logged_once_and_in_order)
{
	struct slow_log log = log_open();
	struct stat status;

	ck_assert(!slow_log_is_due(&log));
	events(40);
	ck_assert(slow_log_is_due(&log));
	slow_log_turn(&log);
	slow_log_turn(&log);
	events(3);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(1), 43);
	ck_assert(!slow_log_is_due(&log));
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
	ck_assert_uint_eq(unlogged(), 0);
	ck_assert_int_eq(line_count, 0);
}
END_TEST

START_TEST(who_serves_next_goes_on_where_the_last_one_ended)
{
	struct slow_log first = log_open(), second = log_open();

	events(5);
	slow_log_turn(&first);
	events(5);
	slow_log_turn(&second);
	slow_log_turn(&first);
	ck_assert_int_eq(lines_from(1), 10);
}
END_TEST

START_TEST(without_a_path_nothing_is_logged)
{
	made.seg.head->config.slow_log[0] = '\0';
	struct slow_log log = log_open();
	events(3);
	ck_assert(!slow_log_is_due(&log));
	slow_log_turn(&log);
	ck_assert_uint_eq(made.seg.head->slow_events_logged, 0);
	ck_assert_uint_eq(unlogged(), 0);
}
END_TEST

START_TEST(overrun_requests_are_counted)
{
	struct slow_log log = log_open();
	uint32_t places = made.seg.slots[SEG_TABLE_SLOW_EVENTS].count;

	events((int)places + 7);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(8), (int)places);
	ck_assert_uint_eq(unlogged(), 7);
}
END_TEST

START_TEST(a_request_that_is_overrun_while_it_is_looked_at_is_counted)
{
	struct slow_log log = log_open();

	events(3);
	made.seg.slow_events[1].sequence = 2 * (1 + made.seg.slots[SEG_TABLE_SLOW_EVENTS].count) + 1;
	slow_log_turn(&log);
	ck_assert_ptr_nonnull(strstr(content(), "0.001,"));
	ck_assert_ptr_null(strstr(content(), "0.002,"));
	ck_assert_ptr_nonnull(strstr(content(), "0.003,"));
	ck_assert_uint_eq(unlogged(), 1);
}
END_TEST

START_TEST(an_unfinished_request_holds_others_up_for_a_second_at_most)
{
	struct slow_log log = log_open();
	struct timespec a_second = { .tv_sec = 1, .tv_nsec = 10000000 };

	events(1);
	event_begin(); /* its writer was killed */
	events(1);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(1), 1);
	ck_assert_uint_eq(unlogged(), 0);
	nanosleep(&a_second, NULL);
	slow_log_turn(&log);
	ck_assert_ptr_nonnull(strstr(content(), "0.003,"));
	ck_assert_uint_eq(unlogged(), 1);
	ck_assert_uint_eq(made.seg.head->slow_events_logged, 3);
}
END_TEST

START_TEST(a_request_that_is_finished_late_is_logged)
{
	struct slow_log log = log_open();
	struct seg_slow *late = event_begin();

	events(1);
	slow_log_turn(&log);
	ck_assert_str_eq(content(), "");
	event_end(late);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(1), 2);
	ck_assert_uint_eq(unlogged(), 0);
}
END_TEST

START_TEST(a_place_whose_writer_has_not_come_yet_is_unfinished)
{
	struct slow_log log = log_open();

	made.seg.head->slow_events_begun++;
	slow_log_turn(&log);
	ck_assert_uint_eq(made.seg.head->slow_events_logged, 0);
	slow_log_finish(&log);
	ck_assert_uint_eq(made.seg.head->slow_events_logged, 1);
	ck_assert_uint_eq(unlogged(), 1);
}
END_TEST

START_TEST(at_the_end_nothing_is_waited_for)
{
	struct slow_log log = log_open();

	event_begin();
	events(2);
	slow_log_finish(&log);
	ck_assert_int_eq(lines_from(2), 2);
	ck_assert_uint_eq(unlogged(), 1);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_is_told_once_and_counted)
{
	strcpy(made.seg.head->config.slow_log, "/nowhere/slow.json");
	struct slow_log log = log_open();
	events(20);
	slow_log_turn(&log);
	events(1);
	slow_log_turn(&log);
	ck_assert_int_eq(line_count, 1);
	ck_assert_str_eq(last_line, "slow requests cannot be logged to /nowhere/slow.json: No such file or directory");
	ck_assert_uint_eq(unlogged(), 21);
}
END_TEST

START_TEST(a_file_that_can_be_written_again_is_written_again)
{
	struct slow_log log = log_open();

	ck_assert_int_eq(mkdir(path, 0700), 0);
	events(2);
	slow_log_turn(&log);
	ck_assert_int_eq(line_count, 1);
	ck_assert_int_eq(rmdir(path), 0);
	events(2);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(3), 2);
	ck_assert_uint_eq(unlogged(), 2);
}
END_TEST

START_TEST(a_log_that_was_moved_away_is_begun_anew)
{
	struct slow_log log = log_open();
	char old[80];

	events(2);
	slow_log_turn(&log);
	snprintf(old, sizeof(old), "%s.1", path);
	ck_assert_int_eq(rename(path, old), 0);
	events(2);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(3), 2);
}
END_TEST

START_TEST(a_full_disk_is_told_and_counted)
{
	strcpy(made.seg.head->config.slow_log, "/dev/full");
	struct slow_log log = log_open();
	events(3);
	slow_log_turn(&log);
	ck_assert_int_eq(line_count, 1);
	ck_assert_str_eq(last_line, "slow requests cannot be logged to /dev/full: No space left on device");
	ck_assert_uint_eq(unlogged(), 3);
}
END_TEST

START_TEST(a_pipe_without_a_reader_holds_nobody_up)
{
	struct slow_log log = log_open();

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	events(3);
	slow_log_turn(&log);
	ck_assert_int_eq(line_count, 1);
	ck_assert_uint_eq(unlogged(), 3);
}
END_TEST

/* A limit on the file's size cuts a line in two. Whoever writes on begins a line of its own. The file is large already, so
 * that the limit is not met by check's own. */
START_TEST(a_line_that_was_cut_short_spoils_no_other)
{
	struct slow_log log = log_open();
	struct rlimit limit, before;
	enum { LARGE = 500000 };
	FILE *file = fopen(path, "w");

	fprintf(file, "%*s", LARGE, "");
	fclose(file);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = LARGE + 500;
	events(2);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	slow_log_turn(&log); /* SIGXFSZ would end this process */
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert_uint_eq(strlen(content()), LARGE + 500);
	ck_assert_uint_eq(unlogged(), 1);
	events(1);
	slow_log_turn(&log);
	ck_assert_msg(!strncmp(content() + LARGE + 500, "\n{\"start\"", 9), "%s", content() + LARGE);
	ck_assert_uint_eq(unlogged(), 1);
}
END_TEST

START_TEST(an_event_that_makes_no_sense_is_counted)
{
	struct slow_log log = log_open();
	struct seg_slow *event = event_begin();

	event->endpoint = 4000000000u;
	event_end(event);
	event = event_begin();
	event->stack_count = 200;
	event_end(event);
	event = event_begin();
	event->error = 250;
	event_end(event);
	event = event_begin(); /* its stack is none, and that is no reason to hide it */
	event->stack_count = 1;
	event->stacks[0] = (struct seg_slow_stack){ 4000000000u, 1, 10 };
	event_end(event);
	slow_log_turn(&log);
	ck_assert_int_eq(lines_from(4), 1);
	ck_assert_ptr_nonnull(strstr(content(), "[lost]"));
	ck_assert_uint_eq(unlogged(), 3);
}
END_TEST

/* 16 stacks of 500 frames with long names, and a name that doubles in JSON. */
START_TEST(a_line_keeps_below_its_length)
{
	struct slow_log log = log_open();
	struct seg_slow *event = event_begin();
	uint32_t node = 0;

	for (int i = 0; i < 2; i++) {
		free(made.functions[i].name);
		made.functions[i].name = malloc(1001);
		memset(made.functions[i].name, i ? '"' : 'f', 1000);
		made.functions[i].name[1000] = '\0';
	}
	for (uint32_t depth = 0; depth < 500; depth++) {
		uint64_t key = seg_frame_key(SEG_MODULE_FIRST, 0x10 + (depth % 32));
		uint32_t frame = seg_table_insert(&made.seg.slots[SEG_TABLE_FRAMES], key, NULL) + 1;
		node = seg_table_insert(&made.seg.slots[SEG_TABLE_NODES], seg_node_key(node, frame), NULL) + 1;
		if (depth >= 484)
			event->stacks[event->stack_count++] = (struct seg_slow_stack){ node, 1, 1000 + depth };
	}
	memset(event->request_id, '"', sizeof(event->request_id));
	memset(made.seg.endpoints[SEG_ENDPOINT_FIRST].name, '"', SEG_ENDPOINT_BYTES);
	event_end(event);
	slow_log_turn(&log);
	size_t n = strlen(content());
	ck_assert_uint_le(n, VIEW_LOG_LINE_BYTES);
	ck_assert_uint_eq(strcspn(content(), "\n"), n - 1);
	ck_assert_ptr_nonnull(strstr(content(), "left_out\":"));
}
END_TEST

static void *log_for_a_while(void *unused)
{
	struct slow_log log = log_open();

	(void)unused;
	while (made.seg.head->slow_events_logged < 2000)
		slow_log_turn(&log);
	return NULL;
}

/* The orderly end logs while another process may still serve. */
START_TEST(two_that_log_at_once_log_nothing_twice)
{
	pthread_t threads[2];
	int count = 0;

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, log_for_a_while, NULL), 0);
	for (int i = 0; i < 2000; i++) {
		while (made.seg.head->slow_events_begun - made.seg.head->slow_events_logged > 100)
			sched_yield();
		event_end(event_begin());
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (const char *at = content(); (at = strchr(at, '\n')); at++)
		count++;
	ck_assert_int_eq(count, 2000);
	ck_assert_uint_eq(unlogged(), 0);
	for (int i = 1; i <= 2000; i += 13) {
		char wanted[64];
		snprintf(wanted, sizeof(wanted), "\"duration_seconds\":%s,", seconds_of((unsigned)i));
		const char *found = strstr(content(), wanted);
		ck_assert_msg(found != NULL, "no %s", wanted);
		ck_assert_msg(strstr(found + 1, wanted) == NULL, "%s twice", wanted);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slow_log");
	TCase *tests = tcase_create("slow_log");

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 30);
	tcase_add_test(tests, a_request_is_a_line_with_all_that_is_known);
	tcase_add_test(tests, each_request_is_logged_once_and_in_order);
	tcase_add_test(tests, who_serves_next_goes_on_where_the_last_one_ended);
	tcase_add_test(tests, without_a_path_nothing_is_logged);
	tcase_add_test(tests, overrun_requests_are_counted);
	tcase_add_test(tests, a_request_that_is_overrun_while_it_is_looked_at_is_counted);
	tcase_add_test(tests, an_unfinished_request_holds_others_up_for_a_second_at_most);
	tcase_add_test(tests, a_request_that_is_finished_late_is_logged);
	tcase_add_test(tests, a_place_whose_writer_has_not_come_yet_is_unfinished);
	tcase_add_test(tests, at_the_end_nothing_is_waited_for);
	tcase_add_test(tests, a_file_that_cannot_be_opened_is_told_once_and_counted);
	tcase_add_test(tests, a_file_that_can_be_written_again_is_written_again);
	tcase_add_test(tests, a_log_that_was_moved_away_is_begun_anew);
	tcase_add_test(tests, a_full_disk_is_told_and_counted);
	tcase_add_test(tests, a_pipe_without_a_reader_holds_nobody_up);
	tcase_add_test(tests, a_line_that_was_cut_short_spoils_no_other);
	tcase_add_test(tests, an_event_that_makes_no_sense_is_counted);
	tcase_add_test(tests, a_line_keeps_below_its_length);
	tcase_add_test(tests, two_that_log_at_once_log_nothing_twice);
	suite_add_tcase(suite, tests);
	return run_tests(srunner_create(suite)) ? EXIT_FAILURE : EXIT_SUCCESS;
}
