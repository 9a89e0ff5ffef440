/* golden - renders the views that .in files describe and compares them with the .expected files beside them.
 *   golden FILE.in...          one TAP line each; what differs is shown by diff(1). With PROFSHIM_GOLDEN_UPDATE=1 in the
 *                              environment the .expected files are rewritten instead, and the difference still shown.
 *   golden --print FILE.in     just renders one
 * Version and sizes of the segment's build are replaced by words, so that they may change.
 */
#include "../../exporter/view.h"
#include "made_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void take_parameters(struct view_params *params, char *query)
{
	char problem[VIEW_PROBLEM_BYTES], *place = NULL;

	for (char *pair = strtok_r(query, "&", &place); pair; pair = strtok_r(NULL, "&", &place)) {
		char *value = strchr(pair, '=');
		if (!value) {
			fprintf(stderr, "parameter without a value: %s\n", pair);
			exit(99);
		}
		*value++ = '\0';
		if (view_params_set(params, pair, value, problem)) {
			fprintf(stderr, "%s\n", problem);
			exit(99);
		}
	}
}

/* Replaces what stands behind prefix, up to any of ends, by a word; only what begins with old. */
static void replace(struct strbuf *text, const char *prefix, const char *old, const char *ends, const char *with)
{
	struct strbuf out = STRBUF_EMPTY;
	const char *rest = strbuf_text(text), *found;

	while ((found = strstr(rest, prefix))) {
		found += strlen(prefix);
		strbuf_add_bytes(&out, rest, (size_t)(found - rest));
		rest = found;
		if (strncmp(found, old, strlen(old)))
			continue;
		strbuf_add(&out, with);
		rest += strcspn(found, ends);
	}
	strbuf_add(&out, rest);
	strbuf_free(text);
	*text = out;
}

static void render(const char *path, struct strbuf *out)
{
	struct made_session made;
	struct view_params params;

	made_init(&made);
	made_read(&made, path);
	if (!made.view)
		exit(99);
	struct names names = made_names(&made);
	struct snapshot *snapshot = snapshot_take(&made.seg);
	if (!snapshot)
		exit(99);
	made_complete(&made, snapshot);
	struct model *model = model_build(snapshot, &names);
	char *query = strchr(made.view, '?');
	view_params_default(&params, &snapshot->config);
	if (query) {
		*query++ = '\0';
		take_parameters(&params, query);
	}
	params.is_openmetrics = made.is_openmetrics;
	const struct view *view = view_find(made.view);
	if (!view || !model)
		exit(99);
	view->render(model, &params, out);
	if (out->error)
		exit(99);
	model_free(model);
	snapshot_free(snapshot);
	made_deinit(&made);
	replace(out, "profshim ", PROFSHIM_VERSION, ":", "VERSION"); /* of titles: "profshim 0.1: nginx" */
	replace(out, "\"version\": \"", PROFSHIM_VERSION, "\"", "VERSION");
	replace(out, "version=\"", PROFSHIM_VERSION, "\"", "VERSION");
	replace(out, "\"segment_bytes\": ", "", ",\n", "BYTES");
	replace(out, "\"capacity\": ", "", ",\n", "COUNT");
}

/* What the file holds. False: there is none. */
static bool read_all(const char *path, struct strbuf *ret_text)
{
	char bytes[4096];
	size_t n;
	FILE *file = fopen(path, "r");

	while (file && (n = fread(bytes, 1, sizeof(bytes), file)))
		strbuf_add_bytes(ret_text, bytes, n);
	if (file)
		fclose(file);
	return file;
}

/* diff writes to stderr: stdout is TAP. */
static void show_difference(const char *expected, const struct strbuf *got)
{
	char path[] = "/tmp/profshim-golden-XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, strbuf_text(got), got->length) != (ssize_t)got->length) {
		perror(path);
		return;
	}
	close(fd);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execlp("diff", "diff", "-u", "-N", expected, path, (char *)NULL);
		_exit(127);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
	unlink(path);
}

static void rewrite(const char *path, const struct strbuf *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fwrite(strbuf_text(text), 1, text->length, file) != text->length || fclose(file)) {
		perror(path);
		exit(99);
	}
}

static bool check(const char *path, unsigned number)
{
	struct strbuf got = STRBUF_EMPTY, wanted = STRBUF_EMPTY;
	const char *update = getenv("PROFSHIM_GOLDEN_UPDATE"), *name = strrchr(path, '/');
	char expected[4096];

	while (name && name > path && name[-1] != '/')
		name--; /* with its folder */
	snprintf(expected, sizeof(expected), "%.*s.expected", (int)(strlen(path) - strlen(".in")), path);
	render(path, &got);
	bool is_same = read_all(expected, &wanted) && !strcmp(strbuf_text(&got), strbuf_text(&wanted));
	if (!is_same)
		show_difference(expected, &got);
	if (!is_same && update && *update == '1') {
		rewrite(expected, &got);
		is_same = true;
	}
	printf("%sok %u - %s\n", is_same ? "" : "not ", number, name ? name : path);
	strbuf_free(&got);
	strbuf_free(&wanted);
	return is_same;
}

int main(int argc, char **argv)
{
	bool is_all_same = true;

	if (argc == 3 && !strcmp(argv[1], "--print")) {
		struct strbuf out = STRBUF_EMPTY;
		render(argv[2], &out);
		fputs(strbuf_text(&out), stdout);
		strbuf_free(&out);
		return 0;
	}
	printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++)
		is_all_same &= check(argv[i], (unsigned)i);
	return !is_all_same;
}
