#pragma once
/* session - the segment of this session: where its file lies, who makes it, who joins it.
 * Context: setup. Owns the session's directory and file names; the mapping itself is never undone.
 */
#include "config.h"

#include <stdbool.h>

/* Makes the segment, in a file if a directory for it can be had, else in memory for this process and its forks (one line
 * is logged). Sets the global seg. False: no memory at all (logged). */
bool session_begin(const struct config *config, const char *program);

/* Maps the segment of config->session, made by the process that executed us. Sets the global seg. Silent: most programs
 * that are executed turn out to be no servers, and need not know. */
bool session_join(const struct config *config, const char *program);

/* The session at path was begun by this very process, before it executed the program that it now is. */
bool session_is_own(const char *path);

/* Path of the segment's file, "" if it lies in memory only. What a program that we execute needs to join. */
const char *session_path(void);

/* Takes the file's space for good where little is left. By the serving thread, every tick. */
void session_keep_space(void);

/* The session is over for good: removes its file if nothing worth reading is in it; true if so. Allocates nothing. */
bool session_discard(void);

/* Removes files of sessions that are over: all but the newest SESSION_KEEP of the last seven days, and of those the oldest
 * while they take more than SESSION_KEEP_BYTES. The newest stays. profshim(1) says so, too. */
enum { SESSION_KEEP = 16, SESSION_KEEP_BYTES = 128 << 20 };
#define SESSION_KEEP_NS (7 * 86400 * 1000000000ULL)
void session_prune(void);
