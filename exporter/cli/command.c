#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int command_complain(const struct command *command, int code, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "profshim %s: ", command->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return code;
}

int command_print(const struct command *command, const char *bytes, size_t count)
{
	if (fwrite(bytes, 1, count, stdout) == count && fflush(stdout) == 0)
		return COMMAND_OK;
	return command_complain(command, COMMAND_FAILED, "cannot write: %s", strerror(errno));
}

static void print_help(const struct command *command)
{
	char left[64];

	printf("Usage: profshim %s %s\n%s\n", command->name, command->usage, command->summary);
	if (command->details[0])
		printf("\n%s", command->details);
	printf("\nOptions:\n");
	for (const struct option_spec *spec = command->options; spec->name; spec++) {
		snprintf(left, sizeof(left), "--%s%s%s", spec->name, spec->argument ? " " : "", spec->argument ? spec->argument : "");
		printf("  %-22s %s\n", left, spec->help);
	}
	printf("  %-22s %s\n", "--help", "print this and end");
}

static int find_option(const struct command *command, const char *name, size_t length)
{
	for (int i = 0; command->options[i].name; i++)
		if (strlen(command->options[i].name) == length && !memcmp(command->options[i].name, name, length))
			return i;
	return OPTION_BAD;
}

/* argument is "--name" or "--name=value". */
static int take_option(struct options *options, const char *argument, const char **ret_value)
{
	const char *name = argument + 2, *equals = strchr(name, '=');
	int index = find_option(options->command, name, equals ? (size_t)(equals - name) : strlen(name));

	if (index < 0)
		return command_complain(options->command, OPTION_BAD, "there is no option %s; --help lists them", argument);
	const struct option_spec *spec = &options->command->options[index];
	if (equals && !spec->argument)
		return command_complain(options->command, OPTION_BAD, "option --%s takes no value", spec->name);
	if (!spec->argument)
		return index;
	if (!equals && options->next == options->argc)
		return command_complain(options->command, OPTION_BAD, "option --%s needs a value: %s", spec->name, spec->argument);
	*ret_value = equals ? equals + 1 : options->argv[options->next++];
	return index;
}

int options_next(struct options *options, const char **ret_value)
{
	*ret_value = NULL;
	if (options->next >= options->argc)
		return OPTION_END;
	const char *argument = options->argv[options->next];
	bool is_operand = options->is_over || argument[0] != '-' || !argument[1];

	if (is_operand && options->command->has_foreign_tail)
		return OPTION_END;
	options->next++;
	if (is_operand) {
		*ret_value = argument;
		return OPTION_OPERAND;
	}
	if (!strcmp(argument, "--")) {
		options->is_over = true;
		return options_next(options, ret_value);
	}
	if (!strcmp(argument, "--help") || !strcmp(argument, "-h")) {
		print_help(options->command);
		return OPTION_DONE;
	}
	if (strncmp(argument, "--", 2))
		return command_complain(options->command, OPTION_BAD, "there is no option %s; --help lists them", argument);
	return take_option(options, argument, ret_value);
}
