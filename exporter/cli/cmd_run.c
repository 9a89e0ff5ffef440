/* profshim run - starts a program under the shim: LD_PRELOAD and one variable for each option, then exec. */
#include "../serve/address.h"
#include "binary.h"
#include "command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum value_kind { VALUE_TEXT, VALUE_NUMBER, VALUE_CHOICE, VALUE_ADDRESS, VALUE_PATH, VALUE_NONE };

/* What an option stands for; what is said of it here must agree with run_options, entry by entry. Only what any value
 * of that kind must be is checked here; the shim checks the rest and says so. */
struct variable {
	const char *name;
	enum value_kind kind;
	unsigned max;        /* of VALUE_NUMBER */
	const char *choices; /* of VALUE_CHOICE, each followed by a blank */
};

static const struct option_spec run_options[] = {
	{ "listen", "ADDRESS", "HOST:PORT, unix:/path or off; port 0 takes a free one" },
	{ "hz", "N", "samples per second of CPU time and thread, 0 to 10000" },
	{ "budget", "PERCENT", "most of the program's CPU time that profshim takes before it samples less, 0 for no cap" },
	{ "signal", "NAME", "signal that writes the report; none" },
	{ "report", "WHERE", "stderr, or a path with %p for the pid and %n for the number" },
	{ "report-at-exit", NULL, "a report also when the program ends" },
	{ "top", "N", "rows of the report" },
	{ "sort", "COLUMN", "tottime, cumtime, ncalls or name" },
	{ "exe", "GLOBS", "profile only programs whose path or base name matches; colons between" },
	{ "routes", "TEMPLATES", "/users/{id},/static/*; commas between" },
	{ "max-routes", "N", "endpoints kept" },
	{ "buckets", "BOUNDS", "latency buckets in seconds, rising; commas between" },
	{ "slow", "DURATION", "keep the details of requests slower than this" },
	{ "slow-log", "PATH", "file that gets a line of JSON for each of them, an absolute path" },
	{ "dir", "PATH", "directory of the session's file, an absolute path" },
	{ "memory", "SIZE", "ceiling of the session's file" },
	{ "unwind", "HOW", "auto, tables, libunwind or fp" },
	{ "token", "TEXT", "bearer token that HTTP asks for" },
	{ "log", "LEVEL", "error, warn, info or debug" },
	{ "service", "NAME", "service_name of the metrics" },
	{ 0 },
};

static const struct variable variables[] = {
	{ "PROFSHIM_LISTEN", VALUE_ADDRESS, 0, NULL },
	{ "PROFSHIM_HZ", VALUE_NUMBER, 10000, NULL },
	{ "PROFSHIM_BUDGET", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_SIGNAL", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_REPORT", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_REPORT_AT_EXIT", VALUE_NONE, 0, NULL },
	{ "PROFSHIM_TOP", VALUE_NUMBER, UINT_MAX, NULL },
	{ "PROFSHIM_SORT", VALUE_CHOICE, 0, "tottime cumtime ncalls name " },
	{ "PROFSHIM_EXE", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_ROUTES", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_MAX_ROUTES", VALUE_NUMBER, UINT_MAX, NULL },
	{ "PROFSHIM_BUCKETS", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_SLOW", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_SLOW_LOG", VALUE_PATH, 0, NULL },
	{ "PROFSHIM_DIR", VALUE_PATH, 0, NULL },
	{ "PROFSHIM_MEMORY", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_UNWIND", VALUE_CHOICE, 0, "auto tables libunwind fp " },
	{ "PROFSHIM_TOKEN", VALUE_TEXT, 0, NULL },
	{ "PROFSHIM_LOG", VALUE_CHOICE, 0, "error warn info debug " },
	{ "OTEL_SERVICE_NAME", VALUE_TEXT, 0, NULL },
};
_Static_assert(sizeof(variables) / sizeof(variables[0]) + 1 == sizeof(run_options) / sizeof(run_options[0]),
               "one variable for each option");

static bool is_number(const char *text, unsigned max)
{
	return text[0] && !text[strspn(text, "0123456789")] && strlen(text) <= 10 && strtoull(text, NULL, 10) <= max;
}

static bool is_choice(const char *text, const char *choices)
{
	size_t length = strlen(text);

	for (const char *at = choices; *at; at = strchr(at, ' ') + 1)
		if ((size_t)(strchr(at, ' ') - at) == length && !memcmp(at, text, length))
			return true;
	return false;
}

static bool is_accepted(const struct variable *variable, const char *value)
{
	struct address address;

	switch (variable->kind) {
	case VALUE_NUMBER: return is_number(value, variable->max);
	case VALUE_CHOICE: return is_choice(value, variable->choices);
	case VALUE_ADDRESS: return !address_parse(&address, value);
	case VALUE_PATH: return value[0] == '/';
	case VALUE_TEXT: return value[0] != '\0';
	case VALUE_NONE: return true;
	}
	return false;
}

/* Puts the options into the environment. OPTION_END with the index of the program in *ret_program. */
static int take_options(const struct command *command, int argc, char **argv, int *ret_program)
{
	struct options options = OPTIONS_OF(command, argc, argv);
	const char *value;
	int option;

	while ((option = options_next(&options, &value)) != OPTION_END) {
		if (option == OPTION_BAD || option == OPTION_DONE)
			return option;
		const struct option_spec *spec = &run_options[option];
		if (!is_accepted(&variables[option], value))
			return command_complain(command, OPTION_BAD, "--%s does not accept '%s': %s", spec->name, value, spec->help);
		if (setenv(variables[option].name, value ? value : "1", 1) < 0)
			return command_complain(command, OPTION_BAD, "not enough memory");
	}
	*ret_program = options.next;
	return OPTION_END;
}

/* The directory that this program's own file is in. */
static bool own_directory(char ret_path[static PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);

	if (length <= 0)
		return false;
	ret_path[length] = '\0';
	char *slash = strrchr(ret_path, '/');
	*slash = '\0';
	return true;
}

/* dir without suffix "/bin", that is, the prefix that was installed to, wherever that is now. */
static bool own_prefix(char dir[static PATH_MAX])
{
	size_t length = strlen(dir), suffix = strlen("/" PROFSHIM_BINDIR);

	if (length < suffix || strcmp(dir + length - suffix, "/" PROFSHIM_BINDIR))
		return false;
	dir[length - suffix] = '\0';
	return true;
}

static bool is_at(const char *dir, const char *name, char ret_path[static PATH_MAX])
{
	char candidate[PATH_MAX];

	return snprintf(candidate, sizeof(candidate), "%s/%s", dir, name) < PATH_MAX && realpath(candidate, ret_path);
}

/* The library beside this program in the build tree, or in its own prefix, or in the configured one. */
static bool find_library(char ret_path[static PATH_MAX])
{
	char own[PATH_MAX];

	if (own_directory(own)) {
		if (is_at(own, PROFSHIM_BUILD_LIBRARY, ret_path))
			return true;
		if (own_prefix(own) && is_at(own, PROFSHIM_LIBDIR "/profshim/libprofshim.so", ret_path))
			return true;
	}
	return realpath(PROFSHIM_LIBRARY_DIR "/libprofshim.so", ret_path) != NULL;
}

/* Puts library before whatever is preloaded already. COMMAND_OK, or what was complained. */
static int preload(const struct command *command, const char *library)
{
	const char *others = getenv("LD_PRELOAD");
	char *value = NULL;

	if (access(library, R_OK) < 0)
		return command_complain(command, COMMAND_FAILED, "%s cannot be read: %s", library, strerror(errno));
	if (strpbrk(library, " :"))
		return command_complain(command, COMMAND_FAILED, "%s cannot be preloaded: its path has a blank or a colon", library);
	if (others && strstr(others, library))
		return COMMAND_OK; /* run under run */
	if (others && others[0] && asprintf(&value, "%s:%s", library, others) < 0)
		return command_complain(command, COMMAND_FAILED, "not enough memory");
	int result = setenv("LD_PRELOAD", value ? value : library, 1);
	free(value);
	return result ? command_complain(command, COMMAND_FAILED, "not enough memory") : COMMAND_OK;
}

static void warn_if_blind(const struct command *command, const char *program)
{
	struct binary binary;

	binary_check(&binary, program);
	if (binary.verdict == BINARY_REFUSED)
		command_complain(command, 0, "%s cannot be profiled: it %s; it runs without", binary.path, binary.reason);
}

static int cmd_run(const struct command *command, int argc, char **argv)
{
	char library[PATH_MAX];
	int program = argc;
	int parsed = take_options(command, argc, argv, &program);

	if (parsed != OPTION_END)
		return parsed == OPTION_DONE ? COMMAND_OK : COMMAND_USAGE;
	if (program >= argc)
		return command_complain(command, COMMAND_USAGE, "which program? Usage: profshim run %s", command->usage);
	if (!find_library(library))
		return command_complain(command, COMMAND_FAILED, "libprofshim.so is neither in the build tree nor in %s",
		                        PROFSHIM_LIBRARY_DIR);
	warn_if_blind(command, argv[program]);
	int code = preload(command, library);
	if (code)
		return code;
	execvp(argv[program], argv + program);
	int error = errno;
	return command_complain(command, error == ENOENT ? COMMAND_NOT_FOUND : COMMAND_NOT_EXECUTABLE, "cannot run %s: %s",
	                        argv[program], strerror(error));
}

const struct command command_run = {
	.name = "run",
	.usage = "[OPTIONS] -- PROGRAM [ARGUMENTS]",
	.summary = "run a program and profile it",
	.details = "Each option sets an environment variable of the program's, such as PROFSHIM_LISTEN; see\n"
	           "profshim(1). Ends with the program's own exit code, 127 if it is not found, 126 if it\n"
	           "cannot be run.\n",
	.options = run_options,
	.has_foreign_tail = true,
	.run = cmd_run,
};
