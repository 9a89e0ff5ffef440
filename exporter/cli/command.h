#pragma once
/* command - what a subcommand of the `profshim` program is: one function in a file of its own, one row in main.c.
 * Context: the command line. Messages go to stderr, once, where it is decided what to do.
 */
#include <stdbool.h>
#include <stddef.h>

enum {
	COMMAND_OK = 0,
	COMMAND_FAILED = 1,          /* nothing found, not readable, cannot be preloaded */
	COMMAND_USAGE = 2,           /* bad arguments; a sentence said which */
	COMMAND_NOT_EXECUTABLE = 126, /* run: as shells do */
	COMMAND_NOT_FOUND = 127,     /* run: as shells do */
};

/* An option of a subcommand. Lists end with a NULL name. */
struct option_spec {
	const char *name;     /* without the dashes */
	const char *argument; /* what the help calls its value; NULL = it takes none */
	const char *help;
};

struct command {
	const char *name;
	const char *usage;    /* what follows "profshim NAME " */
	const char *summary;  /* one line */
	const char *details;  /* further lines of the help, each ended by a newline; "" = none */
	const struct option_spec *options; /* "help" is understood besides */
	bool has_foreign_tail; /* from the first operand on, the arguments belong to another program */
	int (*run)(const struct command *command, int argc, char **argv); /* argv[0] is the name of the command */
};

extern const struct command command_run, command_report, command_ls, command_check;

/* Goes through the arguments of a command. */
struct options {
	const struct command *command;
	int argc;
	char **argv;
	int next;       /* the first argument not yet taken */
	bool is_over;   /* "--" was there: all others are operands */
};
#define OPTIONS_OF(a_command, a_argc, a_argv) { .command = (a_command), .argc = (a_argc), .argv = (a_argv), .next = 1 }

enum {
	OPTION_END = -1,     /* no more, or, with has_foreign_tail, operands begin at next */
	OPTION_OPERAND = -2, /* *ret_value is one */
	OPTION_DONE = -3,    /* --help was there and has been printed: return COMMAND_OK */
	OPTION_BAD = -4,     /* a sentence has been printed: return COMMAND_USAGE */
};
/* The index in command->options of the next option, with its value in *ret_value (NULL if it takes none), or one of the
 * above. */
int options_next(struct options *options, const char **ret_value);

/* "profshim NAME: " and the message, one line, to stderr. Returns code. */
int command_complain(const struct command *command, int code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* All of bytes to stdout, and whether that went well: COMMAND_OK or COMMAND_FAILED, which has been said. */
int command_print(const struct command *command, const char *bytes, size_t count);
