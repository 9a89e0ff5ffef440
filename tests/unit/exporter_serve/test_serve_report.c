/* Where reports go, and that a place which cannot take one costs a line in the log and nothing else. */
#include "../../../exporter/serve/report.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char last_line[8192];
static int line_count, open_count;

static void keep_line(enum seg_log_level level, const char *line)
{
	ck_assert_int_le(level, SEG_LOG_WARN);
	snprintf(last_line, sizeof(last_line), "%s", line);
	line_count++;
}

static bool is_ours_now = true;

static int borrow(void)
{
	return is_ours_now ? STDERR_FILENO : -1;
}

static void give_back(int fd)
{
	ck_assert_int_eq(fd, STDERR_FILENO);
}

static bool go_on(void)
{
	return true;
}

static void count_opened(int fd)
{
	ck_assert_int_ge(fd, 0);
	open_count++;
}

static void count_closed(int fd)
{
	ck_assert_int_ge(fd, 0);
	open_count--;
}

static const struct exporter_host host = {
	.log = keep_line, .stderr_borrow = borrow, .stderr_return = give_back, .tick = go_on, .descriptor_opened = count_opened, .descriptor_closed = count_closed
};

static char dir[] = "/tmp/profshim-test-XXXXXX";
static char path[64];

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/report", dir);
}

static void remove_dir(void)
{
	unlink(path);
	rmdir(dir);
	ck_assert_int_eq(open_count, 0);
}

static const struct {
	const char *pattern, *path;
} patterns[] = {
	{ "/var/tmp/report", "/var/tmp/report" },
	{ "/r.%p.%n", "/r.42.7" },
	{ "/%p%p%n", "/42427" },
	{ "/100%%", "/100%" },
	{ "/%x%", "/%x%" },
	{ "", "" },
};

START_TEST(a_path_is_filled_with_pid_and_number)
{
	char result[REPORT_PATH_BYTES];

	ck_assert_int_eq(report_path(result, patterns[_i].pattern, 42, 7), 0);
	ck_assert_str_eq(result, patterns[_i].path);
}
END_TEST

START_TEST(a_path_that_grows_too_long_is_refused)
{
	static char pattern[REPORT_PATH_BYTES];
	char result[REPORT_PATH_BYTES];

	memset(pattern, 'a', REPORT_PATH_BYTES - 3);
	ck_assert_int_eq(report_path(result, pattern, 42, 7), 0);
	memcpy(pattern + REPORT_PATH_BYTES - 5, "%p", 2);
	ck_assert_int_eq(report_path(result, pattern, 1234567, 7), -ENAMETOOLONG);
}
END_TEST

static void assert_content(const char *file, const char *wanted, size_t bytes)
{
	char *content = malloc(bytes + 2);
	FILE *stream = fopen(file, "r");

	ck_assert_ptr_nonnull(stream);
	ck_assert_uint_eq(fread(content, 1, bytes + 2, stream), bytes);
	ck_assert_mem_eq(content, wanted, bytes);
	fclose(stream);
	free(content);
}

START_TEST(a_report_replaces_what_the_file_held)
{
	ck_assert_int_eq(report_write(&host, path, 1, "a longer text", 13), 0);
	ck_assert_int_eq(report_write(&host, path, 2, "short", 5), 0);
	assert_content(path, "short", 5);
	ck_assert_int_eq(line_count, 0);
}
END_TEST

START_TEST(a_full_disk_gives_one_line_that_names_path_and_error)
{
	ck_assert_int_eq(report_write(&host, "/dev/full", 3, "text", 4), -ENOSPC);
	ck_assert_str_eq(last_line, "report 3 could not be written to /dev/full: No space left on device");
	ck_assert_int_eq(line_count, 1);
}
END_TEST

START_TEST(a_missing_directory_gives_one_line)
{
	ck_assert_int_eq(report_write(&host, "/nowhere/%n", 3, "text", 4), -ENOENT);
	ck_assert_str_eq(last_line, "report 3 could not be written to /nowhere/3: No such file or directory");
	ck_assert_int_eq(line_count, 1);
}
END_TEST

START_TEST(a_named_pipe_without_a_reader_does_not_hold_us_up)
{
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(report_write(&host, path, 1, "text", 4), -ENXIO);
	ck_assert_int_eq(line_count, 1);
}
END_TEST

/* Puts fd in the place of stderr and gives back a copy of the old one. */
static int replace_stderr(int fd)
{
	int old = dup(STDERR_FILENO);

	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
	else
		close(STDERR_FILENO);
	return old;
}

static int report_to_stderr(int fd, const char *text, size_t bytes)
{
	int old = replace_stderr(fd);
	int result = report_write(&host, "stderr", 1, text, bytes);

	dup2(old, STDERR_FILENO);
	close(old);
	return result;
}

START_TEST(stderr_gets_every_byte)
{
	static char text[100000];
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	memset(text, 'x', sizeof(text));
	ck_assert_int_eq(report_to_stderr(fd, text, sizeof(text)), 0);
	assert_content(path, text, sizeof(text));
	ck_assert_int_eq(line_count, 0);
}
END_TEST

START_TEST(a_pipe_that_nobody_empties_costs_a_second_and_a_line)
{
	static char text[200000]; /* more than a pipe holds */
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(report_to_stderr(ends[1], text, sizeof(text)), -ETIMEDOUT);
	ck_assert_str_eq(last_line, "report 1: only 65536 of 200000 bytes could be written to stderr: Connection timed out");
}
END_TEST

START_TEST(a_pipe_without_a_reader_kills_nobody)
{
	sigset_t pending;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	close(ends[0]);
	ck_assert_int_eq(report_to_stderr(ends[1], "text", 4), -EPIPE);
	ck_assert_int_eq(line_count, 1);
	sigpending(&pending);
	ck_assert_int_eq(sigismember(&pending, SIGPIPE), 0);
}
END_TEST

START_TEST(a_closed_stderr_is_told)
{
	ck_assert_int_eq(report_to_stderr(-1, "text", 4), -EBADF);
	ck_assert_int_eq(line_count, 1);
}
END_TEST

START_TEST(a_file_of_the_programs_in_the_place_of_stderr_gets_no_report)
{
	FILE *file = tmpfile();

	is_ours_now = false;
	ck_assert_int_eq(report_to_stderr(fileno(file), "text", 4), -EBADF);
	is_ours_now = true;
	ck_assert_int_eq(lseek(fileno(file), 0, SEEK_END), 0);
	ck_assert_int_eq(line_count, 1);
	fclose(file);
}
END_TEST

START_TEST(a_connection_in_the_place_of_stderr_gets_no_report)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(report_to_stderr(fd, "text", 4), -ENOTTY);
	ck_assert_int_eq(line_count, 1);
}
END_TEST

START_TEST(a_unix_socket_as_a_service_manager_gives_is_a_good_stderr)
{
	char text[8] = "";
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	ck_assert_int_eq(report_to_stderr(ends[1], "text", 4), 0);
	ck_assert_int_eq(recv(ends[0], text, sizeof(text), MSG_DONTWAIT), 4);
	ck_assert_str_eq(text, "text");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("report");
	TCase *tcase = tcase_create("report");
	SRunner *runner = srunner_create(suite);

	tcase_add_checked_fixture(tcase, make_dir, remove_dir);
	tcase_add_loop_test(tcase, a_path_is_filled_with_pid_and_number, 0, COUNT(patterns));
	tcase_add_test(tcase, a_path_that_grows_too_long_is_refused);
	tcase_add_test(tcase, a_report_replaces_what_the_file_held);
	tcase_add_test(tcase, a_full_disk_gives_one_line_that_names_path_and_error);
	tcase_add_test(tcase, a_missing_directory_gives_one_line);
	tcase_add_test(tcase, a_named_pipe_without_a_reader_does_not_hold_us_up);
	tcase_add_test(tcase, stderr_gets_every_byte);
	tcase_add_test(tcase, a_pipe_that_nobody_empties_costs_a_second_and_a_line);
	tcase_add_test(tcase, a_pipe_without_a_reader_kills_nobody);
	tcase_add_test(tcase, a_closed_stderr_is_told);
	tcase_add_test(tcase, a_file_of_the_programs_in_the_place_of_stderr_gets_no_report);
	tcase_add_test(tcase, a_connection_in_the_place_of_stderr_gets_no_report);
	tcase_add_test(tcase, a_unix_socket_as_a_service_manager_gives_is_a_good_stderr);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
