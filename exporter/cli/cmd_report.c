/* profshim report - the table of a session, living or dead, as HTTP's /report renders it, or what another path answers. */
#include "../serve/reading.h"
#include "command.h"
#include "sessions.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { OPTION_DIR = 0, OPTION_VIEW = 1, OPTION_FIRST_PARAM = 2 }; /* all others are parameters of the view, by the same names */

static const struct option_spec report_options[] = {
	{ "dir", "PATH", "directory of the sessions, instead of PROFSHIM_DIR" },
	{ "view", "NAME", "what another path of HTTP answers: requests/slow, endpoints, metrics, folded..." },
	{ "top", "N", "rows, 0 = all" },
	{ "sort", "COLUMN", "tottime, cumtime, ncalls or name" },
	{ "by", "WHAT", "function, line or module" },
	{ "endpoint", "NAME", "of this endpoint only, such as 'GET /users/{id}' or 'redis GET'" },
	{ "seconds", "N", "wait so long and show what came between" },
	{ "format", "KIND", "text or json" },
	{ 0 },
};

/* What was asked for on the command line, kept until the session's configuration gives the defaults. */
struct request {
	const char *dir, *session;
	const char *values[sizeof(report_options) / sizeof(report_options[0])];
};

static int parse(const struct command *command, int argc, char **argv, struct request *ret_request)
{
	struct options options = OPTIONS_OF(command, argc, argv);
	const char *value;
	int option;

	while ((option = options_next(&options, &value)) != OPTION_END) {
		if (option == OPTION_BAD || option == OPTION_DONE)
			return option;
		if (option != OPTION_OPERAND)
			ret_request->values[option] = value;
		else if (ret_request->session)
			return command_complain(command, OPTION_BAD, "one session at a time, but there is also %s", value);
		else
			ret_request->session = value;
	}
	ret_request->dir = ret_request->values[OPTION_DIR];
	return OPTION_END;
}

/* NULL: there is none, which has been said. */
static const struct view *find_view(const struct command *command, const struct request *request)
{
	const char *name = request->values[OPTION_VIEW] ? request->values[OPTION_VIEW] : "report";

	for (const struct view *view = views; view->path; view++)
		if (!strcmp(view->path, name) || (view->path[1] && !strcmp(view->path + 1, name)))
			return view;
	command_complain(command, COMMAND_USAGE, "--view does not accept '%s': / of the program's address lists what there is", name);
	return NULL;
}

static int complain_not_found(const struct command *command, const char *session, const struct sessions_dirs *dirs)
{
	const char *first = dirs->paths[0], *second = dirs->count > 1 ? dirs->paths[1] : "";
	const char *joint = second[0] ? " or " : "";

	if (session)
		return command_complain(command, COMMAND_FAILED, "there is no session %s in %s%s%s; profshim ls lists them", session,
		                        first, joint, second);
	return command_complain(command, COMMAND_FAILED, "there is no session in %s%s%s", first, joint, second);
}

/* COMMAND_OK with the path of the file in ret_path. */
static int find(const struct command *command, const struct request *request, char ret_path[static PATH_MAX])
{
	struct sessions_dirs dirs;
	struct sessions sessions;

	if (request->session && strchr(request->session, '/')) {
		if (strlen(request->session) >= PATH_MAX)
			return command_complain(command, COMMAND_USAGE, "the path of the session is too long");
		strcpy(ret_path, request->session);
		return COMMAND_OK;
	}
	sessions_dirs_init(&dirs, request->dir);
	if (sessions_list(&sessions, &dirs))
		return command_complain(command, COMMAND_FAILED, "not enough memory");
	const struct session *session = sessions_find(&sessions, request->session);
	if (session)
		strcpy(ret_path, session->path);
	sessions_free(&sessions);
	return session ? COMMAND_OK : complain_not_found(command, request->session, &dirs);
}

/* COMMAND_OK with what was asked for in ret_params. */
static int take_params(const struct command *command, const struct request *request, const struct seg_config *config,
                       struct view_params *ret_params)
{
	char problem[VIEW_PROBLEM_BYTES];

	view_params_default(ret_params, config);
	for (int i = OPTION_FIRST_PARAM; report_options[i].name; i++)
		if (request->values[i] && view_params_set(ret_params, report_options[i].name, request->values[i], problem))
			return command_complain(command, COMMAND_USAGE, "%s", problem);
	return COMMAND_OK;
}

static void wait_seconds(uint32_t seconds)
{
	struct timespec left = { .tv_sec = seconds };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static int print_view(const struct command *command, struct reading *reading, const struct view *view,
                      const struct view_params *params)
{
	struct strbuf text = STRBUF_EMPTY;
	struct snapshot *earlier = NULL;
	char problem[VIEW_PROBLEM_BYTES];
	enum reading_result result = READING_NO_MEMORY;

	if (params->seconds)
		earlier = reading_snapshot(reading);
	if (earlier)
		wait_seconds(params->seconds);
	if (earlier || !params->seconds)
		result = reading_render(reading, view, params, earlier, &text, problem);
	int code = COMMAND_OK;
	if (result == READING_OK)
		code = command_print(command, strbuf_text(&text), text.length);
	else if (result == READING_BAD_PARAMETER)
		code = command_complain(command, COMMAND_USAGE, "%s", problem);
	else
		code = command_complain(command, COMMAND_FAILED, "not enough memory");
	snapshot_free(earlier);
	strbuf_free(&text);
	return code;
}

static int report(const struct command *command, const struct request *request, const struct view *view,
                  const struct seg_view *seg, uint64_t changed_real_ns)
{
	struct reading reading;
	struct view_params params;
	int code = take_params(command, request, &seg->head->config, &params);

	if (code)
		return code;
	if (reading_init(&reading, seg))
		return command_complain(command, COMMAND_FAILED, "not enough memory");
	reading.changed_real_ns = changed_real_ns;
	code = print_view(command, &reading, view, &params);
	reading_deinit(&reading);
	return code;
}

static int cmd_report(const struct command *command, int argc, char **argv)
{
	struct request request = { 0 };
	char path[PATH_MAX], text[128];
	struct seg_view seg = { 0 };
	uint64_t changed_real_ns;
	int parsed = parse(command, argc, argv, &request);

	if (parsed != OPTION_END)
		return parsed == OPTION_DONE ? COMMAND_OK : COMMAND_USAGE;
	const struct view *view = find_view(command, &request);
	if (!view)
		return COMMAND_USAGE;
	int code = find(command, &request, path);
	if (code)
		return code;
	enum seg_problem problem = session_open(&seg, path, &changed_real_ns);
	if (problem != SEG_OK)
		return command_complain(command, COMMAND_FAILED, "%s %s", path, session_problem_text(text, problem, errno));
	code = report(command, &request, view, &seg, changed_real_ns);
	seg_close(&seg);
	return code;
}

const struct command command_report = {
	.name = "report",
	.usage = "[OPTIONS] [SESSION]",
	.summary = "print the report of a session, living or dead",
	.details = "SESSION is a name as profshim ls shows it, the pid of one of its processes, or the\n"
	           "path of its file (with a slash in it); the newest session if it is left out.\n",
	.options = report_options,
	.run = cmd_report,
};
