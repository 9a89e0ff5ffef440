#include "build.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char directory[256];

/* Not ck_assert: most of this runs before the first test does. */
static void require(bool is_true, const char *what, const char *detail)
{
	if (is_true)
		return;
	fprintf(stderr, "%s: %s\n", what, detail);
	exit(EXIT_FAILURE);
}

void build_start(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%s/symbolizer-test.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
	require(mkdtemp(directory) != NULL, "cannot make the directory", directory);
}

void build_clean(void)
{
	build_run("rm -rf '%s'", directory);
}

const char *build_path(const char *name)
{
	static char paths[16][512];
	static uint32_t next;
	char *path = paths[next++ % 16];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static void make_command(char *command, size_t n, const char *format, va_list arguments)
{
	int used = snprintf(command, n, "cd '%s' && S='%s' && ", directory, SAMPLES);

	used += vsnprintf(command + used, n - (size_t)used, format, arguments);
	require(used < (int)n, "too long", command);
}

void build_run(const char *format, ...)
{
	char command[2048];
	va_list arguments;
	int status;

	va_start(arguments, format);
	make_command(command, sizeof(command), format, arguments);
	va_end(arguments);
	status = system(command);
	require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "failed", command);
}

const char *build_ask(const char *format, ...)
{
	static char line[512];
	char command[2048];
	va_list arguments;
	FILE *output;

	va_start(arguments, format);
	make_command(command, sizeof(command), format, arguments);
	va_end(arguments);
	output = popen(command, "r");
	require(output && fgets(line, sizeof(line), output), "printed nothing", command);
	pclose(output);
	line[strcspn(line, "\n")] = '\0';
	return line;
}

uint64_t build_address(const char *file, const char *symbol)
{
	return strtoull(build_ask("nm '%s' | awk '$3 == \"%s\" { print $1 }'", file, symbol), NULL, 16);
}

uint32_t build_id(const char *file, uint8_t id[static 64])
{
	const char *hex = build_ask("readelf -n '%s' | awk '/Build ID:/ { print $3 }'", file);
	uint32_t n = 0;
	unsigned int byte;

	while (n < 64 && sscanf(hex + 2 * n, "%2x", &byte) == 1)
		id[n++] = (uint8_t)byte;
	require(n > 0, "no build-id", file);
	return n;
}

uint32_t build_mark(const char *file, const char *name)
{
	uint32_t line = (uint32_t)strtoul(build_ask("grep -n '/\\* MARK %s \\*/' \"$S/%s\"", name, file), NULL, 10);

	require(line > 0, "no such mark", name);
	return line;
}

const char *build_sample(const char *file)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", SAMPLES, file);
	return path;
}
