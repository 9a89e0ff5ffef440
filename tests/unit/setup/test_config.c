/* The contract of the PROFSHIM_* variables: defaults, accepted forms, and one sentence for each wrong value. */
#include "../../../shim/setup/config.h"
#include "../run.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config config;

static void read_all(char *const *environment)
{
	memset(&config, 0, sizeof(config));
	config_read(&config, environment, "server");
}

static void read_one(const char *entry)
{
	char *environment[] = { (char *)(uintptr_t)entry, NULL };

	read_all(environment);
}

START_TEST(an_empty_environment_gives_the_documented_defaults)
{
	char *environment[] = { NULL };

	read_all(environment);
	ck_assert_uint_eq(config.problem_count, 0);
	ck_assert_str_eq(config.shared.listen, "127.0.0.1:9464");
	ck_assert_uint_eq(atomic_load(&config.shared.hz), 99);
	ck_assert_uint_eq(config.shared.budget_ppm, 10000);
	ck_assert_int_eq(config.report_signal, SIGUSR1);
	ck_assert(!config.report_signal_is_explicit);
	ck_assert_str_eq(config.shared.report, "stderr");
	ck_assert_uint_eq(config.shared.report_at_exit, 0);
	ck_assert_uint_eq(config.shared.top, 20);
	ck_assert_uint_eq(config.shared.sort, SEG_SORT_TOTTIME);
	ck_assert_uint_eq(config.shared.max_routes, 256);
	ck_assert_uint_eq(config.shared.slow_ns, 1000000000);
	ck_assert_str_eq(config.shared.slow_log, "");
	ck_assert_uint_eq(config.memory_bytes, 32 << 20);
	ck_assert_str_eq(config.shared.unwind, "auto");
	ck_assert_str_eq(config.shared.service, "server");
	ck_assert_uint_eq(config.shared.bound_count, 20);
	ck_assert_uint_eq(config.shared.bounds_ns[0], 50000);
	ck_assert_uint_eq(config.shared.bounds_ns[19], 10000000000);
}
END_TEST

static const char *const accepted[] = {
	"PROFSHIM_LISTEN=0.0.0.0:1", "PROFSHIM_LISTEN=[::1]:9464", "PROFSHIM_LISTEN=localhost:0", "PROFSHIM_LISTEN=off",
	"PROFSHIM_LISTEN=unix:/run/p.sock", "PROFSHIM_HZ=0", "PROFSHIM_HZ=10000", "PROFSHIM_BUDGET=1", "PROFSHIM_BUDGET=0.5%", "PROFSHIM_BUDGET=0", "PROFSHIM_BUDGET=100%", "PROFSHIM_SIGNAL=none", "PROFSHIM_SIGNAL=SIGUSR2",
	"PROFSHIM_REPORT=/tmp/%p.%n", "PROFSHIM_REPORT_AT_EXIT=1", "PROFSHIM_TOP=1", "PROFSHIM_SORT=name", "PROFSHIM_EXE=nginx:*redis*",
	"PROFSHIM_ROUTES=/a/{b}", "PROFSHIM_MAX_ROUTES=1", "PROFSHIM_BUCKETS=0.001", "PROFSHIM_BUCKETS=0.00005,.1,1,10.5",
	"PROFSHIM_SLOW=250ms", "PROFSHIM_SLOW=0.5", "PROFSHIM_SLOW=2m", "PROFSHIM_SLOW_LOG=/var/log/slow.json",
	"PROFSHIM_DIR=/tmp", "PROFSHIM_MEMORY=64M", "PROFSHIM_MEMORY=1G",
	"PROFSHIM_UNWIND=fp", "PROFSHIM_TOKEN=x", "PROFSHIM_LOG=debug", "OTEL_SERVICE_NAME=shop", "PROFSHIM_HZ=", "PATH=/bin",
	"XDG_RUNTIME_DIR=relative",
};

START_TEST(each_accepted_form_gives_no_problem)
{
	read_one(accepted[_i]);
	ck_assert_msg(config.problem_count == 0, "%s: %s", accepted[_i], config.problems[0]);
}
END_TEST

static const char *const refused[] = {
	"PROFSHIM_LISTEN=9464", "PROFSHIM_LISTEN=:9464", "PROFSHIM_LISTEN=host:70000", "PROFSHIM_LISTEN=unix:relative", "PROFSHIM_HZ=fast",
	"PROFSHIM_HZ=10001", "PROFSHIM_HZ=-1", "PROFSHIM_HZ=99.5", "PROFSHIM_BUDGET=some", "PROFSHIM_BUDGET=101", "PROFSHIM_BUDGET=1%%", "PROFSHIM_BUDGET=-1", "PROFSHIM_SIGNAL=KILL", "PROFSHIM_REPORT_AT_EXIT=yes", "PROFSHIM_TOP=0",
	"PROFSHIM_SORT=time", "PROFSHIM_MAX_ROUTES=0", "PROFSHIM_MAX_ROUTES=401", "PROFSHIM_BUCKETS=1,1", "PROFSHIM_BUCKETS=2,1",
	"PROFSHIM_BUCKETS=0", "PROFSHIM_BUCKETS=1,", "PROFSHIM_BUCKETS=1;2",
	"PROFSHIM_BUCKETS=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31", "PROFSHIM_SLOW=soon",
	"PROFSHIM_SLOW=0", "PROFSHIM_SLOW=1h", "PROFSHIM_SLOW_LOG=slow.json", "PROFSHIM_SLOW_LOG=/var/log/", "PROFSHIM_DIR=relative", "PROFSHIM_MEMORY=900K", "PROFSHIM_MEMORY=32MB",
	"PROFSHIM_MEMORY=99999999999999999999", "PROFSHIM_UNWIND=magic", "PROFSHIM_LOG=loud", "PROFSHIM_HERTZ=99",
};

START_TEST(each_wrong_value_gives_one_sentence_that_names_the_variable_and_changes_nothing)
{
	static struct config defaults;
	char *empty[] = { NULL };
	char name[64];

	config_read(&defaults, empty, "server");
	read_one(refused[_i]);
	ck_assert_msg(config.problem_count == 1, "%s: %u problems", refused[_i], config.problem_count);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(refused[_i], "="), refused[_i]);
	ck_assert_ptr_nonnull(strstr(config.problems[0], name));
	ck_assert_int_eq(memcmp(&config.shared, &defaults.shared, sizeof(config.shared)), 0);
	ck_assert_uint_eq(config.memory_bytes, defaults.memory_bytes);
	ck_assert_int_eq(config.report_signal, defaults.report_signal);
}
END_TEST

START_TEST(buckets_are_exact_nanoseconds)
{
	read_one("PROFSHIM_BUCKETS=0.000000001,0.1,0.3,7.5");
	ck_assert_uint_eq(config.shared.bound_count, 4);
	ck_assert_uint_eq(config.shared.bounds_ns[0], 1);
	ck_assert_uint_eq(config.shared.bounds_ns[1], 100000000);
	ck_assert_uint_eq(config.shared.bounds_ns[2], 300000000);
	ck_assert_uint_eq(config.shared.bounds_ns[3], 7500000000);
}
END_TEST

START_TEST(durations_have_units)
{
	read_one("PROFSHIM_SLOW=250us");
	ck_assert_uint_eq(config.shared.slow_ns, 250000);
	read_one("PROFSHIM_SLOW=1.5s");
	ck_assert_uint_eq(config.shared.slow_ns, 1500000000);
}
END_TEST

START_TEST(the_path_of_the_slow_log_is_kept_as_it_is)
{
	char entry[400] = "PROFSHIM_SLOW_LOG=/";

	read_one("PROFSHIM_SLOW_LOG=/tmp/100%/%p.json");
	ck_assert_str_eq(config.shared.slow_log, "/tmp/100%/%p.json");
	memset(entry + strlen(entry), 'a', SEG_TEXT_BYTES - 2);
	read_one(entry);
	ck_assert_uint_eq(config.problem_count, 0);
	ck_assert_uint_eq(strlen(config.shared.slow_log), SEG_TEXT_BYTES - 1);
	strcat(entry, "a");
	read_one(entry);
	ck_assert_uint_eq(config.problem_count, 1);
	ck_assert_str_eq(config.shared.slow_log, "");
}
END_TEST

START_TEST(more_problems_than_are_kept_are_still_counted)
{
	char *environment[CONFIG_PROBLEMS_MAX + 3];

	for (int i = 0; i < CONFIG_PROBLEMS_MAX + 2; i++)
		environment[i] = "PROFSHIM_HZ=x";
	environment[CONFIG_PROBLEMS_MAX + 2] = NULL;
	read_all(environment);
	ck_assert_uint_eq(config.problem_count, CONFIG_PROBLEMS_MAX + 2);
}
END_TEST

START_TEST(programs_are_chosen_by_globs_of_path_or_base_name)
{
	ck_assert(config_matches_exe("", "/usr/sbin/nginx"));
	ck_assert(config_matches_exe("nginx", "/usr/sbin/nginx"));
	ck_assert(config_matches_exe("redis*:ngin?", "/usr/sbin/nginx"));
	ck_assert(config_matches_exe("/usr/sbin/*", "/usr/sbin/nginx"));
	ck_assert(!config_matches_exe("/usr/bin/*:redis", "/usr/sbin/nginx"));
	ck_assert(!config_matches_exe(":", "/usr/sbin/nginx"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tests = tcase_create("config");
	SRunner *runner = srunner_create(suite);

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, an_empty_environment_gives_the_documented_defaults);
	tcase_add_loop_test(tests, each_accepted_form_gives_no_problem, 0, sizeof(accepted) / sizeof(accepted[0]));
	tcase_add_loop_test(tests, each_wrong_value_gives_one_sentence_that_names_the_variable_and_changes_nothing, 0,
			    sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tests, buckets_are_exact_nanoseconds);
	tcase_add_test(tests, durations_have_units);
	tcase_add_test(tests, the_path_of_the_slow_log_is_kept_as_it_is);
	tcase_add_test(tests, more_problems_than_are_kept_are_still_counted);
	tcase_add_test(tests, programs_are_chosen_by_globs_of_path_or_base_name);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
