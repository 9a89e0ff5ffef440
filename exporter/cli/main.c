/* profshim - the command line. A table of subcommands; each lives in a file of its own. */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = { &command_run, &command_report, &command_ls, &command_check };

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: profshim COMMAND [OPTIONS] ...\n"
	             "Shows which endpoint of an unmodified server spends the CPU, and in which function.\n\nCommands:\n");
	for (int i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\n  --help     print this and end; profshim COMMAND --help tells more\n"
	             "  --version  print the version and end\n\nThe manual page profshim(1) tells all of it.\n");
}

/* Whether what was printed could be written. */
static int finish(void)
{
	if (fflush(stdout) == 0)
		return COMMAND_OK;
	perror("profshim: cannot write");
	return COMMAND_FAILED;
}

/* A session's file is looked at where it is mapped; somebody has cut it short since then. */
static void on_bus_error(int number)
{
	static const char line[] = "profshim: the session's file was cut short while it was read\n";

	(void)number;
	ssize_t written = write(STDERR_FILENO, line, sizeof(line) - 1);
	(void)written; /* the exit code says it, too */
	_exit(COMMAND_FAILED);
}

int main(int argc, char **argv)
{
	signal(SIGBUS, on_bus_error);
	if (argc < 2) {
		print_usage(stderr);
		return COMMAND_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_usage(stdout);
		return finish();
	}
	if (!strcmp(argv[1], "--version")) {
		printf("profshim %s\n", PROFSHIM_VERSION);
		return finish();
	}
	for (int i = 0; i < COMMAND_COUNT; i++)
		if (!strcmp(argv[1], commands[i]->name))
			return commands[i]->run(commands[i], argc - 1, argv + 1);
	fprintf(stderr, "profshim: there is no command %s; profshim --help lists them\n", argv[1]);
	return COMMAND_USAGE;
}
