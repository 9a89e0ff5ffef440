/* profshim ls - the sessions of this user, living and dead. */
#include "../snapshot.h"
#include "../../shim/segment/kernel_clock.h"
#include "../strbuf.h"
#include "command.h"
#include "sessions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 7, CELL_BYTES = SEG_TEXT_BYTES };

struct row {
	char cells[COLUMNS][CELL_BYTES];
};

static const struct row title = { { "NAME", "PROGRAM", "PROCESSES", "ADDRESS", "AGE", "REQUESTS", "STATE" } };

static const struct option_spec ls_options[] = {
	{ "dir", "PATH", "directory of the sessions, instead of PROFSHIM_DIR" },
	{ 0 },
};

/* Texts of a file may be any bytes; a terminal must not obey them. */
static void set_clean(char cell[static CELL_BYTES], const char *text)
{
	struct strbuf clean = STRBUF_EMPTY;

	strbuf_add_clean(&clean, text[0] ? text : "-");
	snprintf(cell, CELL_BYTES, "%s", strbuf_text(&clean));
	strbuf_free(&clean);
}

static void set_age(char cell[static CELL_BYTES], uint64_t created_real_ns)
{
	uint64_t now_ns = kernel_clock_ns(CLOCK_REALTIME);
	uint64_t age_s = now_ns > created_real_ns ? (now_ns - created_real_ns) / 1000000000u : 0;

	if (age_s < 60)
		snprintf(cell, CELL_BYTES, "%" PRIu64 "s", age_s);
	else if (age_s < 3600)
		snprintf(cell, CELL_BYTES, "%" PRIu64 "m%02" PRIu64 "s", age_s / 60, age_s % 60);
	else if (age_s < 86400)
		snprintf(cell, CELL_BYTES, "%" PRIu64 "h%02" PRIu64 "m", age_s / 3600, age_s / 60 % 60);
	else
		snprintf(cell, CELL_BYTES, "%" PRIu64 "d%02" PRIu64 "h", age_s / 86400, age_s / 3600 % 24);
}

static uint32_t running_processes(const struct snapshot *snapshot)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < snapshot->process_count; i++)
		count += snapshot->processes[i].is_running;
	return count;
}

static uint64_t requests(const struct snapshot *snapshot)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < snapshot->series_count; i++)
		count += snapshot->series[i].peer == SEG_PEER_NONE ? snapshot->series[i].count : 0;
	return count;
}

static void fill_from_snapshot(struct row *row, const struct snapshot *snapshot)
{
	uint32_t running = running_processes(snapshot);

	set_clean(row->cells[1], snapshot->program);
	snprintf(row->cells[2], CELL_BYTES, "%u", running);
	set_clean(row->cells[3], running ? snapshot->served_address : "");
	set_age(row->cells[4], snapshot->created_real_ns);
	snprintf(row->cells[5], CELL_BYTES, "%" PRIu64, requests(snapshot));
	snprintf(row->cells[6], CELL_BYTES, "%s", running ? "live" : snapshot->ended_mono_ns ? "ended" : "killed");
}

/* 0 or -ENOMEM. */
static int fill(struct row *ret_row, const struct session *session)
{
	struct seg_view seg = { 0 };
	uint64_t changed_real_ns;
	char text[128];
	enum seg_problem problem = session_open(&seg, session->path, &changed_real_ns);
	int error = errno;

	set_clean(ret_row->cells[0], session->name);
	if (problem != SEG_OK) {
		for (int column = 1; column < COLUMNS - 1; column++)
			set_clean(ret_row->cells[column], "");
		snprintf(ret_row->cells[COLUMNS - 1], CELL_BYTES, "unreadable: the file %s", session_problem_text(text, problem, error));
		return 0;
	}
	struct snapshot *snapshot = snapshot_take_file(&seg, changed_real_ns);
	if (snapshot)
		fill_from_snapshot(ret_row, snapshot);
	snapshot_free(snapshot);
	seg_close(&seg);
	return snapshot ? 0 : -ENOMEM;
}

static int print_table(const struct command *command, const struct row *rows, unsigned count)
{
	struct strbuf text = STRBUF_EMPTY;
	size_t widths[COLUMNS] = { 0 };

	for (unsigned i = 0; i < count; i++)
		for (int column = 0; column < COLUMNS; column++)
			if (strlen(rows[i].cells[column]) > widths[column])
				widths[column] = strlen(rows[i].cells[column]);
	for (unsigned i = 0; i < count; i++) {
		for (int column = 0; column < COLUMNS - 1; column++)
			strbuf_printf(&text, "%-*s  ", (int)widths[column], rows[i].cells[column]);
		strbuf_printf(&text, "%s\n", rows[i].cells[COLUMNS - 1]);
	}
	int code = text.error ? command_complain(command, COMMAND_FAILED, "not enough memory")
	                      : command_print(command, strbuf_text(&text), text.length);
	strbuf_free(&text);
	return code;
}

static int list(const struct command *command, const struct sessions *sessions)
{
	struct row *rows = calloc(sessions->count + 1, sizeof(*rows));
	int result = rows ? 0 : -ENOMEM;

	if (rows)
		rows[0] = title;
	for (unsigned i = 0; i < sessions->count && !result; i++)
		result = fill(&rows[i + 1], &sessions->list[i]);
	int code = result ? command_complain(command, COMMAND_FAILED, "not enough memory")
	                  : print_table(command, rows, sessions->count + 1);
	free(rows);
	return code;
}

static int cmd_ls(const struct command *command, int argc, char **argv)
{
	struct options options = OPTIONS_OF(command, argc, argv);
	struct sessions_dirs dirs;
	struct sessions sessions;
	const char *value, *dir = NULL;
	int option;

	while ((option = options_next(&options, &value)) != OPTION_END) {
		if (option == OPTION_DONE)
			return COMMAND_OK;
		if (option == OPTION_OPERAND)
			return command_complain(command, COMMAND_USAGE, "it lists all sessions and takes no %s", value);
		if (option == OPTION_BAD)
			return COMMAND_USAGE;
		dir = value;
	}
	sessions_dirs_init(&dirs, dir);
	if (sessions_list(&sessions, &dirs))
		return command_complain(command, COMMAND_FAILED, "not enough memory");
	int code = list(command, &sessions);
	sessions_free(&sessions);
	return code;
}

const struct command command_ls = {
	.name = "ls",
	.usage = "[OPTIONS]",
	.summary = "list the sessions of this user, living and dead",
	.details = "STATE is live, ended (its last process said good-bye), killed (it did not), or says why\n"
	           "the session's file cannot be read.\n",
	.options = ls_options,
	.run = cmd_ls,
};
