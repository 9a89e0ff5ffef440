/* The profshim program as a person or a script runs it: what it prints, and how it ends. */
#include "../../../exporter/cli/command.h"
#include "../../../shim/segment/segment.h"
#include "../run.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/profshim-test-XXXXXX";
static char output[1 << 16];
static int code;

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(setenv("PROFSHIM_DIR", dir, 1), 0);
	unsetenv("LD_PRELOAD");
}

static void remove_dir(void)
{
	char command[64];

	snprintf(command, sizeof(command), "/bin/rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* Runs the program with these arguments, as a shell reads them; stdout and stderr go to output. */
static void profshim(const char *arguments)
{
	char command[1024];

	snprintf(command, sizeof(command), "{ \"$PROFSHIM\" %s; } 2>&1", arguments);
	FILE *stream = popen(command, "r");
	ck_assert_ptr_nonnull(stream);
	size_t bytes = fread(output, 1, sizeof(output) - 1, stream);
	output[bytes] = '\0';
	code = WEXITSTATUS(pclose(stream));
}

static void assert_contains(const char *wanted)
{
	ck_assert_msg(strstr(output, wanted) != NULL, "no '%s' in: %.2000s", wanted, output);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The file of a session that began age_s ago; the caller changes what it wants and unmaps. */
static struct seg_view make_session(const char *name, uint64_t age_s)
{
	size_t bytes = seg_bytes_for(16 << 20);
	struct seg_view seg;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s.seg", dir, name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	struct segment *head = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(head, MAP_FAILED);
	close(fd);
	seg_format(head, bytes, 1);
	snprintf(head->program, sizeof(head->program), "%.*s", (int)strcspn(name, "."), name);
	snprintf(head->session, sizeof(head->session), "%s", name);
	strcpy(head->served_address, "127.0.0.1:9464");
	head->created_real_ns = now_ns(CLOCK_REALTIME) - age_s * 1000000000u;
	head->created_mono_ns = now_ns(CLOCK_MONOTONIC);
	head->config.top = 20;
	head->config.hz = 99;
	head->config.bound_count = 1;
	head->config.bounds_ns[0] = 1000000;
	memset(head->marks, 0xff, sizeof(head->marks)); /* entries are written here without the tables' own functions */
	seg_publish(head);
	ck_assert_int_eq(seg_view_init(&seg, head, bytes), SEG_OK);
	strcpy(seg.endpoints[SEG_ENDPOINT_FIRST].name, "GET /");
	seg.endpoints[SEG_ENDPOINT_FIRST].protocol = SEG_PROTOCOL_HTTP;
	seg.endpoints[SEG_ENDPOINT_FIRST].method = SEG_METHOD_GET;
	seg.endpoints[SEG_ENDPOINT_FIRST].key = 1;
	seg.endpoints[SEG_ENDPOINT_FIRST].ready = 1;
	seg.series[0].key = seg_series_key(SEG_ENDPOINT_FIRST, 200, SEG_ERROR_NONE, SEG_SCHEME_PLAIN);
	return seg;
}

static void put_process(struct seg_view *seg, pid_t pid)
{
	seg->processes[0].owner = (uint64_t)pid;
	seg->processes[0].since_boot_ns = now_ns(CLOCK_BOOTTIME);
	seg->processes[0].threads = 1;
}

/* The pid of a process that is gone. */
static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

/* --- arguments */

static const struct {
	const char *arguments;
	int code;
	const char *output;
} usages[] = {
	{ "", COMMAND_USAGE, "Usage: profshim COMMAND" },
	{ "--help", COMMAND_OK, "  run      run a program and profile it\n" },
	{ "--version", COMMAND_OK, "profshim " PROFSHIM_VERSION "\n" },
	{ "dance", COMMAND_USAGE, "profshim: there is no command dance; profshim --help lists them\n" },
	{ "run --help", COMMAND_OK, "--report-at-exit " },
	{ "report --help", COMMAND_OK, "--endpoint NAME" },
	{ "ls -h", COMMAND_OK, "Usage: profshim ls [OPTIONS]\n" },
	{ "check --help", COMMAND_OK, "Usage: profshim check PROGRAM\n" },
	{ "run", COMMAND_USAGE, "which program?" },
	{ "run --hz 99", COMMAND_USAGE, "which program?" },
	{ "run --hz", COMMAND_USAGE, "profshim run: option --hz needs a value: N\n" },
	{ "run --hz many true", COMMAND_USAGE, "profshim run: --hz does not accept 'many': samples per second" },
	{ "run --hz=10001 true", COMMAND_USAGE, "--hz does not accept '10001'" },
	{ "run --hz= true", COMMAND_USAGE, "--hz does not accept ''" },
	{ "run --sort time true", COMMAND_USAGE, "--sort does not accept 'time': tottime, cumtime, ncalls or name\n" },
	{ "run --sort 'tottime cumtime' true", COMMAND_USAGE, "--sort does not accept" },
	{ "run --listen example.com:80 true", COMMAND_USAGE, "--listen does not accept 'example.com:80'" },
	{ "run --dir relative true", COMMAND_USAGE, "--dir does not accept 'relative'" },
	{ "run --report-at-exit=1 true", COMMAND_USAGE, "option --report-at-exit takes no value\n" },
	{ "run --colour true", COMMAND_USAGE, "there is no option --colour; --help lists them\n" },
	{ "run -x true", COMMAND_USAGE, "there is no option -x; --help lists them\n" },
	{ "check", COMMAND_USAGE, "which program?" },
	{ "check a b", COMMAND_USAGE, "one program at a time, but there is also b\n" },
	{ "ls all", COMMAND_USAGE, "takes no all\n" },
	{ "report a b", COMMAND_USAGE, "one session at a time, but there is also b\n" },
	{ "report", COMMAND_FAILED, "profshim report: there is no session in /tmp/profshim-test-" },
	{ "report nginx.1", COMMAND_FAILED, "profshim report: there is no session nginx.1 in /tmp/profshim-test-" },
	{ "report /nowhere/x.seg", COMMAND_FAILED, "profshim report: /nowhere/x.seg cannot be opened: No such file or directory\n" },
	{ "check /nowhere/x", COMMAND_FAILED, "/nowhere/x cannot be profiled: it cannot be found: No such file or directory.\n" },
	{ "--version > /dev/full", COMMAND_FAILED, "cannot write" },
	{ "ls > /dev/full", COMMAND_FAILED, "profshim ls: cannot write: No space left on device\n" },
};

START_TEST(arguments_get_what_they_deserve)
{
	profshim(usages[_i].arguments);
	ck_assert_msg(code == usages[_i].code, "%s ended with %d: %.2000s", usages[_i].arguments, code, output);
	assert_contains(usages[_i].output);
	if (usages[_i].code == COMMAND_USAGE && usages[_i].arguments[0])
		ck_assert_msg(strchr(output, '\n') == output + strlen(output) - 1, "not one line: %.2000s", output);
}
END_TEST

/* --- run */

START_TEST(run_ends_as_the_program_does)
{
	profshim("run --listen off -- sh -c 'exit 7'");
	ck_assert_int_eq(code, 7);
}
END_TEST

START_TEST(run_ends_as_a_shell_where_nothing_runs)
{
	profshim("run no-such-program");
	ck_assert_int_eq(code, COMMAND_NOT_FOUND);
	ck_assert_str_eq(output, "profshim run: cannot run no-such-program: No such file or directory\n");
	profshim("run /etc/passwd");
	ck_assert_int_eq(code, COMMAND_NOT_EXECUTABLE);
	ck_assert_str_eq(output, "profshim run: cannot run /etc/passwd: Permission denied\n");
}
END_TEST

START_TEST(run_sets_a_variable_for_each_option)
{
	/* env is not preloaded: the library would hide its own variables from nobody, but must exist to be loaded. */
	profshim("run --listen unix:/tmp/x --hz 7 --signal none --report /r.%p --report-at-exit --top 3 --sort name --exe none "
	         "--routes /a/{b} --max-routes 9 --buckets 1,2 --slow 2s --slow-log /tmp/slow --dir /tmp --memory 16M --unwind fp --token t "
	         "--log error --service shop env");
	ck_assert_int_eq(code, 0);
	assert_contains("PROFSHIM_LISTEN=unix:/tmp/x\n");
	assert_contains("PROFSHIM_HZ=7\n");
	assert_contains("PROFSHIM_SIGNAL=none\n");
	assert_contains("PROFSHIM_REPORT=/r.%p\n");
	assert_contains("PROFSHIM_REPORT_AT_EXIT=1\n");
	assert_contains("PROFSHIM_TOP=3\n");
	assert_contains("PROFSHIM_SORT=name\n");
	assert_contains("PROFSHIM_EXE=none\n");
	assert_contains("PROFSHIM_ROUTES=/a/{b}\n");
	assert_contains("PROFSHIM_MAX_ROUTES=9\n");
	assert_contains("PROFSHIM_BUCKETS=1,2\n");
	assert_contains("PROFSHIM_SLOW=2s\n");
	assert_contains("PROFSHIM_SLOW_LOG=/tmp/slow\n");
	assert_contains("PROFSHIM_DIR=/tmp\n");
	assert_contains("PROFSHIM_MEMORY=16M\n");
	assert_contains("PROFSHIM_UNWIND=fp\n");
	assert_contains("PROFSHIM_TOKEN=t\n");
	assert_contains("PROFSHIM_LOG=error\n");
	assert_contains("OTEL_SERVICE_NAME=shop\n");
}
END_TEST

START_TEST(run_preloads_before_others_and_only_once)
{
	setenv("LD_PRELOAD", "libm.so.6", 1);
	profshim("run --exe none -- printenv LD_PRELOAD");
	ck_assert_int_eq(code, 0);
	assert_contains("/libprofshim.so:libm.so.6\n");
	profshim("run --exe none -- \"$PROFSHIM\" run --exe none -- printenv LD_PRELOAD");
	const char *first = strstr(output, "libprofshim.so");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + 1, "libprofshim.so"));
}
END_TEST

START_TEST(run_warns_of_a_program_that_cannot_be_profiled_and_runs_it)
{
	char path[64], command[128];

	snprintf(path, sizeof(path), "%s/script", dir);
	FILE *stream = fopen(path, "w");
	fputs("exit 5\n", stream);
	fclose(stream);
	chmod(path, 0755);
	snprintf(command, sizeof(command), "run --listen off %s", path);
	profshim(command);
	ck_assert_int_eq(code, 5);
	assert_contains("cannot be profiled: it is neither an ELF program nor a script that begins with #!; it runs without\n");
}
END_TEST

/* --- ls and report */

/* The line of ls for a session, with runs of blanks made one. */
static const char *line_of(const char *name)
{
	static char line[1024];
	const char *at = strstr(output, name);
	size_t n = 0;

	ck_assert_msg(at != NULL, "no %s in %.2000s", name, output);
	for (; *at && *at != '\n'; at++)
		if (*at != ' ' || at[1] != ' ')
			line[n++] = *at;
	line[n] = '\0';
	return line;
}

START_TEST(ls_tells_living_ended_killed_and_damaged_sessions_apart)
{
	struct seg_view live = make_session("nginx.1", 5), ended = make_session("redis.2", 125), killed = make_session("app.3", 7380);
	char path[128];

	put_process(&live, getpid());
	live.histograms[0].buckets[0] = 41;
	live.histograms[0].buckets[1] = 1;
	ended.head->ended_mono_ns = ended.head->created_mono_ns + 1;
	put_process(&killed, dead_pid());
	snprintf(path, sizeof(path), "%s/cut.4.seg", dir);
	FILE *stream = fopen(path, "w");
	fputs("short", stream);
	fclose(stream);
	profshim("ls");
	ck_assert_int_eq(code, 0);
	ck_assert_str_eq(line_of("NAME"), "NAME PROGRAM PROCESSES ADDRESS AGE REQUESTS STATE");
	const char *line = line_of("nginx.1 ");
	ck_assert_msg(!strncmp(line, "nginx.1 nginx 1 127.0.0.1:9464 ", 31) && strstr(line, " 42 live"), "%s", line);
	ck_assert_str_eq(line_of("redis.2 "), "redis.2 redis 0 - 2m05s 0 ended");
	ck_assert_str_eq(line_of("app.3 "), "app.3 app 0 - 2h03m 0 killed");
	ck_assert_str_eq(line_of("cut.4 "), "cut.4 - - - - - unreadable: the file is cut short");
	ck_assert(strstr(output, "nginx.1") < strstr(output, "redis.2")); /* the newest first */
}
END_TEST

START_TEST(ls_without_sessions_prints_its_title)
{
	profshim("ls");
	ck_assert_int_eq(code, 0);
	ck_assert_str_eq(line_of("NAME"), "NAME PROGRAM PROCESSES ADDRESS AGE REQUESTS STATE");
	ck_assert_ptr_eq(strchr(output, '\n'), output + strlen(output) - 1);
}
END_TEST

START_TEST(report_finds_a_session_by_name_pid_path_or_age)
{
	struct seg_view old = make_session("old.11", 1000), young = make_session("young.12", 10);
	char arguments[128];

	(void)young;
	put_process(&old, getpid());
	profshim("report");
	assert_contains(": young (");
	profshim("report old.11");
	assert_contains(": old (");
	profshim("report 11");
	assert_contains(": old (");
	snprintf(arguments, sizeof(arguments), "report %d", getpid());
	profshim(arguments);
	assert_contains(": old (");
	snprintf(arguments, sizeof(arguments), "report %s/old.11.seg", dir);
	profshim(arguments);
	assert_contains(": old (");
	profshim("report 0");
	ck_assert_int_eq(code, COMMAND_FAILED);
}
END_TEST

START_TEST(report_takes_the_parameters_of_the_view)
{
	make_session("app.3", 10);
	profshim("report app.3 --format json --top=5 --sort cumtime --by module");
	ck_assert_int_eq(code, 0);
	ck_assert_int_eq(output[0], '{');
	profshim("report --sort time");
	ck_assert_int_eq(code, COMMAND_USAGE);
	assert_contains("profshim report: ");
	assert_contains("sort");
	profshim("report --endpoint 'GET /nowhere'");
	ck_assert_int_eq(code, COMMAND_USAGE);
	assert_contains("GET /nowhere");
}
END_TEST

START_TEST(report_prints_what_any_path_of_http_answers)
{
	make_session("app.3", 10);
	profshim("report app.3 --view requests/active");
	ck_assert_int_eq(code, 0);
	ck_assert_str_eq(output, "[]\n");
	profshim("report app.3 --view /requests/slow");
	ck_assert_str_eq(output, "[]\n");
	profshim("report app.3 --view metrics");
	assert_contains("# TYPE profshim_samples_total counter\n");
	profshim("report app.3 --view /");
	assert_contains("<!DOCTYPE html>");
	profshim("report app.3 --view nothing");
	ck_assert_int_eq(code, COMMAND_USAGE);
	ck_assert_str_eq(output, "profshim report: --view does not accept 'nothing': / of the program's address lists what there is\n");
	profshim("report app.3 --view ''");
	ck_assert_int_eq(code, COMMAND_USAGE);
}
END_TEST

START_TEST(report_of_a_damaged_file_says_what_is_wrong)
{
	struct seg_view seg = make_session("app.3", 10);
	char wanted[128];

	seg.head->version++;
	profshim("report app.3");
	ck_assert_int_eq(code, COMMAND_FAILED);
	snprintf(wanted, sizeof(wanted), "profshim report: %s/app.3.seg was written by another version of profshim\n", dir);
	ck_assert_str_eq(output, wanted);
}
END_TEST

/* --- check */

START_TEST(check_tells_of_this_very_program)
{
	profshim("check \"$PROFSHIM\"");
	ck_assert_int_eq(code, 0);
	assert_contains("/profshim can be profiled.\n  loader     /");
	assert_contains("  functions  all have names");
	assert_contains("  stacks     whole");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("cli");
	TCase *tcase = tcase_create("cli");
	SRunner *runner = srunner_create(suite);

	tcase_add_checked_fixture(tcase, make_dir, remove_dir);
	tcase_add_loop_test(tcase, arguments_get_what_they_deserve, 0, COUNT(usages));
	tcase_add_test(tcase, run_ends_as_the_program_does);
	tcase_add_test(tcase, run_ends_as_a_shell_where_nothing_runs);
	tcase_add_test(tcase, run_sets_a_variable_for_each_option);
	tcase_add_test(tcase, run_preloads_before_others_and_only_once);
	tcase_add_test(tcase, run_warns_of_a_program_that_cannot_be_profiled_and_runs_it);
	tcase_add_test(tcase, ls_tells_living_ended_killed_and_damaged_sessions_apart);
	tcase_add_test(tcase, ls_without_sessions_prints_its_title);
	tcase_add_test(tcase, report_finds_a_session_by_name_pid_path_or_age);
	tcase_add_test(tcase, report_takes_the_parameters_of_the_view);
	tcase_add_test(tcase, report_prints_what_any_path_of_http_answers);
	tcase_add_test(tcase, report_of_a_damaged_file_says_what_is_wrong);
	tcase_add_test(tcase, check_tells_of_this_very_program);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
