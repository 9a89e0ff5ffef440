#pragma once
/* binary - whether a program can be preloaded, and what profshim would see of it, told from its file.
 * Context: the command line. Reads ELF headers by hand: every number in them is taken as input from a stranger.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum binary_verdict {
	BINARY_ACCEPTED,
	BINARY_REFUSED, /* it would run, but not be profiled */
	BINARY_ABSENT,  /* not found, or not executable: it would not run at all */
};

enum { BINARY_SCRIPTS_MAX = 5 /* interpreters that are scripts in turn: BINPRM's limit in fs/exec.c */ };

struct binary {
	enum binary_verdict verdict;
	char reason[PATH_MAX + 256]; /* why not, to follow "it "; "" if accepted */
	char path[PATH_MAX];         /* of the program */
	char runs[PATH_MAX];         /* of the program that a script is run by in the end; else as path */

	/* Of the ELF file at runs, if accepted. */
	char loader[256];
	char debug_file[PATH_MAX];   /* where its debug information lies apart, "" = nowhere */
	char tls_library[256];       /* the TLS library it needs, "" = none directly */
	bool has_symbols;            /* a full symbol table, not just the exported names */
	bool has_lines;              /* DWARF line numbers in the file */
	bool has_frames;             /* .eh_frame, which unwinding needs */
};

/* program: a path, or a name to look for in PATH. */
void binary_check(struct binary *ret_binary, const char *program);
