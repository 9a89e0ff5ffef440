#pragma once
/* config - what the PROFSHIM_* variables say.
 * Context: setup. Read once, from environ itself, since some programs bring a getenv of their own.
 * A wrong value is never fatal: the default is used, and one sentence names variable, value and what is accepted.
 */
#include "../segment/segment.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONFIG_PROBLEMS_MAX = 24, CONFIG_PROBLEM_BYTES = 200, CONFIG_TEXTS = 5, CONFIG_TEXT_BYTES = 4096 };

struct config {
	struct seg_config shared;   /* what readers need, for the segment */
	size_t memory_bytes;        /* ceiling of the segment */
	int report_signal;          /* 0 = none */
	bool report_signal_is_explicit;
	/* In texts, below. "" = unset. */
	const char *exe;               /* globs; unset: every program */
	const char *routes;            /* templates */
	const char *directory;         /* PROFSHIM_DIR */
	const char *runtime_directory; /* XDG_RUNTIME_DIR */
	const char *session;           /* the session to join, set by ourselves before exec; unset: begin one */
	uint32_t problem_count;     /* may be more than are kept */
	char problems[CONFIG_PROBLEMS_MAX][CONFIG_PROBLEM_BYTES];
	/* Copies, since programs write their titles over their environment: one behind the other, as most are short and each page
	 * that is written to is one more in every process. */
	size_t texts_bytes;
	char texts[CONFIG_TEXTS * CONFIG_TEXT_BYTES];
};

/* Fills ret_config, which is all zero, from environment ("NAME=value" strings, NULL at the end, as environ). program: default
 * service. */
void config_read(struct config *ret_config, char *const *environment, const char *program);

/* A program is to be profiled by its path or base name: globs separated by colons; "" matches all. */
bool config_matches_exe(const char *globs, const char *path);
