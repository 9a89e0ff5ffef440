/* Fuzzes the reading of the configuration: the input is an environment, its strings ended by newlines, the first line a
 * path that the globs of PROFSHIM_EXE are tried on. What was read must be sound whatever it was read from.
 */
#include "../../shim/setup/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { STRINGS_MAX = 256 };

static void need(bool is_so)
{
	if (!is_so)
		abort();
}

static void need_ended(const char *text, size_t bytes)
{
	need(memchr(text, 0, bytes) != NULL);
}

static void check(const struct config *config)
{
	const struct seg_config *shared = &config->shared;

	need(shared->hz <= 10000 && shared->sort <= SEG_SORT_NAME && shared->log_level <= SEG_LOG_DEBUG);
	need(shared->bound_count >= 1 && shared->bound_count <= SEG_BOUNDS_MAX);
	for (uint32_t i = 0; i < shared->bound_count; i++)
		need(shared->bounds_ns[i] > (i ? shared->bounds_ns[i - 1] : 0));
	need(shared->slow_ns > 0 && shared->max_routes >= 1 && shared->max_routes <= 400);
	need(seg_bytes_for(config->memory_bytes) > 0 && seg_bytes_for(config->memory_bytes) <= config->memory_bytes);
	need_ended(shared->listen, sizeof(shared->listen));
	need_ended(shared->report, sizeof(shared->report));
	need_ended(shared->slow_log, sizeof(shared->slow_log));
	need_ended(shared->token, sizeof(shared->token));
	need_ended(shared->service, sizeof(shared->service));
	need_ended(shared->unwind, sizeof(shared->unwind));
	const char *texts[CONFIG_TEXTS] = { config->exe, config->routes, config->directory, config->runtime_directory, config->session };
	for (int i = 0; i < CONFIG_TEXTS; i++)
		need(strlen(texts[i]) < CONFIG_TEXT_BYTES);
	for (uint32_t i = 0; i < config->problem_count && i < CONFIG_PROBLEMS_MAX; i++)
		need_ended(config->problems[i], CONFIG_PROBLEM_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct config config;
	char *text = malloc(n + 1), *place = NULL, *strings[STRINGS_MAX + 1];
	size_t count = 0;

	memcpy(text, bytes, n);
	text[n] = '\0';
	char *path = strtok_r(text, "\n", &place);
	for (char *line; count < STRINGS_MAX && (line = strtok_r(NULL, "\n", &place));)
		strings[count++] = strdup(line); /* of its very size */
	strings[count] = NULL;
	memset(&config, 0, sizeof(config));
	config_read(&config, strings, "program");
	check(&config);
	config_matches_exe(config.exe, path ? path : "");
	while (count)
		free(strings[--count]);
	free(text);
	return 0;
}
