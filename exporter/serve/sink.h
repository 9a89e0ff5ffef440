#pragma once
/* sink - a descriptor that texts are written to: a file, a terminal, a pipe, or a service manager's socket.
 * Context: the exporter's threads, and the program's own at its end. Borrows the descriptor. Never waits for longer than
 * SINK_PATIENCE_MS on somebody who does not read, and raises no signal.
 */
#include <stdbool.h>
#include <stddef.h>

enum { SINK_PATIENCE_MS = 1000 }; /* a terminal or a pipe's reader that takes nothing for so long is stuck */

struct sink {
	int fd;
	bool is_socket;
	size_t piece; /* bytes that one write takes without blocking once poll says it is writable */
};

/* Opens the file at path for writing, without waiting; the descriptor, or -errno. flags: O_CREAT, O_TRUNC, O_APPEND. What
 * another user may have laid there for us is refused: a symbolic link of his (-ELOOP), and, in a directory that others may
 * write to, a file of his (-EPERM). Root's are trusted, as /dev/stdout is one. A new file is its owner's alone. */
int sink_open(const char *path, int flags);

/* 0 or -errno: fd is nothing that our texts may go to, such as a connection of the program's. */
int sink_init(struct sink *ret_sink, int fd);

/* Writes all of it; 0 or -errno, with the bytes that were taken in *ret_written. */
int sink_write(const struct sink *sink, const char *bytes, size_t count, size_t *ret_written);
