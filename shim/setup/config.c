/* One table of variables, one function a kind of value. Each gives the accepted forms in words, for the sentence that a
 * wrong value gets.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 50 us to 10 s: six below OpenTelemetry's own buckets, for servers that answer in microseconds. */
static const uint64_t default_bounds_ns[] = {
	50000,     100000,    250000,    500000,    1000000,   2500000,    5000000,    10000000,   25000000,   50000000,
	75000000,  100000000, 250000000, 500000000, 750000000, 1000000000, 2500000000, 5000000000, 7500000000, 10000000000,
};

typedef bool parse_function(struct config *config, const char *value);

struct variable {
	const char *name;
	parse_function *parse;
	const char *accepted;
};

/* A whole number and nothing else, within [min, max]. */
static bool parse_number(const char *value, unsigned long min, unsigned long max, unsigned long *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)*value))
		return false;
	errno = 0;
	unsigned long number = strtoul(value, &end, 10);
	if (errno || *end || number < min || number > max)
		return false;
	*ret_number = number;
	return true;
}

/* Index of value in names, -1 if it is none of them. */
static int parse_choice(const char *value, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(value, names[i]) == 0)
			return i;
	return -1;
}

/* False: too long, or given more than once and too long in all. */
static bool keep_text(struct config *config, const char *value, const char **ret_text)
{
	size_t n = strlen(value) + 1;

	if (n > CONFIG_TEXT_BYTES || n > sizeof(config->texts) - config->texts_bytes)
		return false;
	*ret_text = memcpy(config->texts + config->texts_bytes, value, n);
	config->texts_bytes += n;
	return true;
}

static bool parse_text(const char *value, char ret_text[static SEG_TEXT_BYTES])
{
	if (!*value || strlen(value) >= SEG_TEXT_BYTES)
		return false;
	strcpy(ret_text, value);
	return true;
}

/* A decimal number of seconds, to nanoseconds, without floating point in the way of exact bounds. */
static bool parse_decimal_ns(const char **value, uint64_t unit_ns, uint64_t *ret_ns)
{
	const char *next = *value;
	uint64_t whole = 0, part_ns = 0, place_ns = unit_ns / 10;

	if (!isdigit((unsigned char)*next) && *next != '.')
		return false;
	for (; isdigit((unsigned char)*next); next++) {
		whole = whole * 10 + (uint64_t)(*next - '0');
		if (whole > 1000000000)
			return false;
	}
	if (*next == '.')
		for (next++; isdigit((unsigned char)*next); next++, place_ns /= 10)
			part_ns += place_ns * (uint64_t)(*next - '0');
	*ret_ns = whole * unit_ns + part_ns;
	*value = next;
	return true;
}

static bool parse_duration(const char *value, uint64_t *ret_ns)
{
	static const struct { const char *suffix; uint64_t ns; } units[] = {
		{ "", 1000000000 }, { "s", 1000000000 }, { "ms", 1000000 }, { "us", 1000 }, { "m", 60000000000 },
	};
	const char *end = value;
	uint64_t ns;

	if (!parse_decimal_ns(&end, 1000000000, &ns))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].suffix) != 0)
			continue;
		if (!parse_decimal_ns(&value, units[i].ns, &ns) || ns == 0)
			return false;
		*ret_ns = ns;
		return true;
	}
	return false;
}

static bool parse_listen(struct config *config, const char *value)
{
	unsigned long port;
	const char *colon = strrchr(value, ':');

	if (strcmp(value, "off") == 0)
		return parse_text(value, config->shared.listen);
	if (strncmp(value, "unix:/", 6) == 0)
		return strlen(value) < 5 + 108 /* sun_path, unix(7) */ && parse_text(value, config->shared.listen);
	if (!colon || colon == value || !parse_number(colon + 1, 0, 65535, &port))
		return false;
	return parse_text(value, config->shared.listen);
}

static bool parse_hz(struct config *config, const char *value)
{
	unsigned long hz;

	if (!parse_number(value, 0, 10000, &hz))
		return false;
	atomic_store_explicit(&config->shared.hz, (uint32_t)hz, memory_order_relaxed);
	return true;
}

/* In percent. */
static bool parse_budget(struct config *config, const char *value)
{
	uint64_t ppm;

	if (!parse_decimal_ns(&value, 10000, &ppm) || (*value && strcmp(value, "%") != 0) || ppm > 1000000)
		return false;
	config->shared.budget_ppm = (uint32_t)ppm;
	return true;
}

static bool parse_signal(struct config *config, const char *value)
{
	static const char *const names[] = { "none", "USR1", "USR2", "HUP", "WINCH", "URG", "IO", "PWR", NULL };
	static const int numbers[] = { 0, SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH, SIGURG, SIGIO, SIGPWR };
	int choice = parse_choice(strncmp(value, "SIG", 3) == 0 ? value + 3 : value, names);

	if (choice < 0)
		return false;
	config->report_signal = numbers[choice];
	config->report_signal_is_explicit = true;
	return true;
}

static bool parse_report(struct config *config, const char *value)
{
	return parse_text(value, config->shared.report);
}

static bool parse_report_at_exit(struct config *config, const char *value)
{
	unsigned long number;

	if (!parse_number(value, 0, 1, &number))
		return false;
	config->shared.report_at_exit = (uint32_t)number;
	return true;
}

static bool parse_top(struct config *config, const char *value)
{
	unsigned long number;

	if (!parse_number(value, 1, 100000, &number))
		return false;
	config->shared.top = (uint32_t)number;
	return true;
}

static bool parse_sort(struct config *config, const char *value)
{
	static const char *const names[] = { "tottime", "cumtime", "ncalls", "name", NULL }; /* as enum seg_sort */
	int choice = parse_choice(value, names);

	if (choice < 0)
		return false;
	config->shared.sort = (uint32_t)choice;
	return true;
}

static bool parse_exe(struct config *config, const char *value)
{
	return keep_text(config, value, &config->exe);
}

static bool parse_routes(struct config *config, const char *value)
{
	return keep_text(config, value, &config->routes); /* the templates themselves are checked where they are matched */
}

static bool parse_max_routes(struct config *config, const char *value)
{
	unsigned long number;

	if (!parse_number(value, 1, 400, &number))
		return false;
	config->shared.max_routes = (uint32_t)number;
	return true;
}

static bool parse_buckets(struct config *config, const char *value)
{
	uint64_t bounds_ns[SEG_BOUNDS_MAX], last_ns = 0;
	uint32_t count = 0;

	for (;; value++) {
		if (count == SEG_BOUNDS_MAX || !parse_decimal_ns(&value, 1000000000, &bounds_ns[count]) || bounds_ns[count] <= last_ns)
			return false;
		last_ns = bounds_ns[count++];
		if (*value != ',')
			break;
	}
	if (*value)
		return false;
	memcpy(config->shared.bounds_ns, bounds_ns, count * sizeof(bounds_ns[0]));
	config->shared.bound_count = count;
	return true;
}

static bool parse_slow(struct config *config, const char *value)
{
	return parse_duration(value, &config->shared.slow_ns);
}

/* Absolute, since whoever serves writes it, wherever that process has gone to. */
static bool parse_slow_log(struct config *config, const char *value)
{
	return *value == '/' && value[strlen(value) - 1] != '/' && parse_text(value, config->shared.slow_log);
}

static bool parse_directory(struct config *config, const char *value)
{
	return *value == '/' && keep_text(config, value, &config->directory);
}

static bool parse_memory(struct config *config, const char *value)
{
	char *end;

	if (!isdigit((unsigned char)*value))
		return false;
	errno = 0;
	unsigned long long bytes = strtoull(value, &end, 10);
	unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
	if (errno || end[shift ? 1 : 0] || bytes > (4ULL << 30) >> shift)
		return false;
	bytes <<= shift;
	if (!seg_bytes_for(bytes))
		return false;
	config->memory_bytes = bytes;
	return true;
}

static bool parse_unwind(struct config *config, const char *value)
{
	static const char *const names[] = { "auto", "tables", "libunwind", "fp", NULL };
	int choice = parse_choice(value, names);

	if (choice < 0)
		return false;
	strcpy(config->shared.unwind, names[choice]);
	return true;
}

static bool parse_token(struct config *config, const char *value)
{
	return parse_text(value, config->shared.token);
}

static bool parse_log(struct config *config, const char *value)
{
	static const char *const names[] = { "error", "warn", "info", "debug", NULL }; /* as enum seg_log_level */
	int choice = parse_choice(value, names);

	if (choice < 0)
		return false;
	config->shared.log_level = (uint32_t)choice;
	return true;
}

static bool parse_service(struct config *config, const char *value)
{
	return parse_text(value, config->shared.service);
}

static bool parse_session(struct config *config, const char *value)
{
	return keep_text(config, value, &config->session);
}

static bool parse_runtime_directory(struct config *config, const char *value)
{
	if (*value == '/')
		keep_text(config, value, &config->runtime_directory);
	return true; /* another tool's variable: what it means by a relative path is not ours to judge */
}

static const struct variable variables[] = {
	{ "PROFSHIM_LISTEN", parse_listen, "HOST:PORT, unix:/path or off" },
	{ "PROFSHIM_HZ", parse_hz, "a whole number from 0 to 10000" },
	{ "PROFSHIM_BUDGET", parse_budget, "percent of the program's CPU time, such as 1, 1% or 0.5%, at most 100; 0 for no cap" },
	{ "PROFSHIM_SIGNAL", parse_signal, "USR1, USR2, HUP, WINCH, URG, IO, PWR or none" },
	{ "PROFSHIM_REPORT", parse_report, "stderr, or a path of at most 255 bytes" },
	{ "PROFSHIM_REPORT_AT_EXIT", parse_report_at_exit, "0 or 1" },
	{ "PROFSHIM_TOP", parse_top, "a whole number from 1 to 100000" },
	{ "PROFSHIM_SORT", parse_sort, "tottime, cumtime, ncalls or name" },
	{ "PROFSHIM_EXE", parse_exe, "globs of paths or base names, separated by colons, in at most 4095 bytes" },
	{ "PROFSHIM_ROUTES", parse_routes, "templates such as /users/{id},/static/*, in at most 4095 bytes" },
	{ "PROFSHIM_MAX_ROUTES", parse_max_routes, "a whole number from 1 to 400" },
	{ "PROFSHIM_BUCKETS", parse_buckets, "at most 30 rising numbers of seconds, separated by commas" },
	{ "PROFSHIM_SLOW", parse_slow, "a duration such as 1s, 250ms or 0.5" },
	{ "PROFSHIM_SLOW_LOG", parse_slow_log, "an absolute path of a file, at most 255 bytes" },
	{ "PROFSHIM_DIR", parse_directory, "an absolute path" },
	{ "PROFSHIM_MEMORY", parse_memory, "a size such as 32M, at least 1M, at most 4G" },
	{ "PROFSHIM_UNWIND", parse_unwind, "auto, tables, libunwind or fp" },
	{ "PROFSHIM_TOKEN", parse_token, "1 to 255 bytes" },
	{ "PROFSHIM_LOG", parse_log, "error, warn, info or debug" },
	{ "PROFSHIM_SESSION", parse_session, "" },
	{ "OTEL_SERVICE_NAME", parse_service, "1 to 255 bytes" },
	{ "XDG_RUNTIME_DIR", parse_runtime_directory, "" },
};

static void set_defaults(struct config *config, const char *program)
{
	struct seg_config *shared = &config->shared;

	config->exe = config->routes = config->directory = config->runtime_directory = config->session = "";
	config->memory_bytes = 32 << 20;
	config->report_signal = SIGUSR1;

	atomic_init(&shared->hz, 99);
	atomic_init(&shared->is_enabled, 1);
	shared->budget_ppm = 10000;
	shared->max_routes = 256;
	shared->top = 20;
	shared->log_level = SEG_LOG_WARN;
	shared->slow_ns = 1000000000;
	shared->bound_count = sizeof(default_bounds_ns) / sizeof(default_bounds_ns[0]);
	memcpy(shared->bounds_ns, default_bounds_ns, sizeof(default_bounds_ns));
	strcpy(shared->listen, "127.0.0.1:9464");
	strcpy(shared->report, "stderr");
	strcpy(shared->unwind, "auto");
	snprintf(shared->service, sizeof(shared->service), "%s", program);
}

__attribute__((format(printf, 2, 3))) static void add_problem(struct config *config, const char *format, ...)
{
	va_list arguments;

	if (config->problem_count < CONFIG_PROBLEMS_MAX) {
		va_start(arguments, format);
		vsnprintf(config->problems[config->problem_count], CONFIG_PROBLEM_BYTES, format, arguments);
		va_end(arguments);
	}
	config->problem_count++;
}

static const char *value_of(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return strncmp(entry, name, n) == 0 && entry[n] == '=' ? entry + n + 1 : NULL;
}

static void read_entry(struct config *config, const char *entry)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		const char *value = value_of(entry, variables[i].name);
		if (!value)
			continue;
		if (!*value)
			return; /* empty is unset, as shells have it */
		if (!variables[i].parse(config, value))
			add_problem(config, "%s=%.60s is not understood, the default is used; accepted: %s", variables[i].name, value,
				    variables[i].accepted);
		return;
	}
	if (strncmp(entry, "PROFSHIM_", 9) == 0)
		add_problem(config, "%.*s is not a variable of profshim and is ignored", (int)strcspn(entry, "=") > 60 ? 60 : (int)strcspn(entry, "="),
			    entry);
}

void config_read(struct config *ret_config, char *const *environment, const char *program)
{
	set_defaults(ret_config, program);
	for (char *const *entry = environment; entry && *entry; entry++)
		if (**entry == 'P' || **entry == 'O' || **entry == 'X')
			read_entry(ret_config, *entry);
}

bool config_matches_exe(const char *globs, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	char glob[SEG_TEXT_BYTES];

	if (!*globs)
		return true;
	while (*globs) {
		size_t n = strcspn(globs, ":");
		if (n && n < sizeof(glob)) {
			memcpy(glob, globs, n);
			glob[n] = '\0';
			if (fnmatch(glob, strchr(glob, '/') ? path : base, 0) == 0)
				return true;
		}
		globs += n + (globs[n] == ':');
	}
	return false;
}
