/* profshim check - says whether a program can be profiled, and what would be seen of it. */
#include "../strbuf.h"
#include "binary.h"
#include "command.h"

#include <string.h>

static const struct option_spec check_options[] = { { 0 } };

static void describe_names(struct strbuf *text, const struct binary *binary)
{
	bool is_apart = binary->debug_file[0];

	if (binary->has_symbols)
		strbuf_add(text, "  functions  all have names: the file has its symbol table\n");
	else if (is_apart)
		strbuf_printf(text, "  functions  all have names: %s has them\n", binary->debug_file);
	else
		strbuf_add(text, "  functions  only exported ones have names: the file is stripped, its debug symbols are not installed\n");
	if (binary->has_lines)
		strbuf_add(text, "  lines      known: the file has debug information\n");
	else if (is_apart)
		strbuf_printf(text, "  lines      known if %s has them\n", binary->debug_file);
	else
		strbuf_add(text, "  lines      not known: there is no debug information\n");
}

static void describe(struct strbuf *text, const struct binary *binary)
{
	if (strcmp(binary->path, binary->runs))
		strbuf_printf(text, "%s can be profiled: it is a script, run by %s.\n", binary->path, binary->runs);
	else
		strbuf_printf(text, "%s can be profiled.\n", binary->path);
	strbuf_printf(text, "  loader     %s\n", binary->loader);
	describe_names(text, binary);
	strbuf_add(text, binary->has_frames ? "  stacks     whole: there are frame descriptions\n"
	                                    : "  stacks     may be cut short: there are no frame descriptions\n");
	if (binary->tls_library[0])
		strbuf_printf(text, "  TLS        uses %s: requests on encrypted connections are not told apart yet\n",
		              binary->tls_library);
}

static int cmd_check(const struct command *command, int argc, char **argv)
{
	struct options options = OPTIONS_OF(command, argc, argv);
	const char *value, *program = NULL;
	struct binary binary;
	struct strbuf text = STRBUF_EMPTY;
	int option;

	while ((option = options_next(&options, &value)) != OPTION_END) {
		if (option == OPTION_DONE)
			return COMMAND_OK;
		if (option == OPTION_BAD)
			return COMMAND_USAGE;
		if (program)
			return command_complain(command, COMMAND_USAGE, "one program at a time, but there is also %s", value);
		program = value;
	}
	if (!program)
		return command_complain(command, COMMAND_USAGE, "which program? Usage: profshim check %s", command->usage);
	binary_check(&binary, program);
	if (binary.verdict == BINARY_ACCEPTED)
		describe(&text, &binary);
	else
		strbuf_printf(&text, "%s cannot be profiled: it %s.\n", binary.path, binary.reason);
	int code = command_print(command, strbuf_text(&text), text.length);
	strbuf_free(&text);
	return code || binary.verdict == BINARY_ACCEPTED ? code : COMMAND_FAILED;
}

const struct command command_check = {
	.name = "check",
	.usage = "PROGRAM",
	.summary = "say whether a program can be profiled, and why not",
	.details = "PROGRAM is a path, or a name that is looked for in PATH. Ends with 0 if it can be\n"
	           "profiled, else with 1.\n",
	.options = check_options,
	.run = cmd_check,
};
