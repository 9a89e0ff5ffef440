#pragma once
/* connection - what passes through each socket that the program accepted or connected, from which requests are inferred.
 * Context: call. No allocation but pages mapped from the kernel in large pieces, no lock that can wait.
 * Owns the table from descriptor to connection and the connections; files, pipes and datagrams are not tracked and cost
 * one look into the table.
 * Overlap: any calls of any threads. Two threads in the same connection at once, or a signal handler of the program that
 * interrupts one of these calls and makes another on the same connection: after a short bounded spin the second one leaves
 * a copy of what it did to the first one, which goes through it before it leaves the connection.
 * The hooks call these with thread.own_depth raised, after the real call, with its result; all times are clock_now_ns.
 *
 * Whose work it is (base/work.h):
 *   accepting         pending: the request is still to come. What was pending before goes to _idle: this thread accepts and
 *                     others serve.
 *   accept failed     what it was before.
 *   receiving         the endpoint whose body is half received, else pending; a stream's; _background if not understood.
 *   received          HTTP: the first request whose line these bytes complete, in whose order a server works;
 *                     Redis: one of the commands these bytes complete, drawn by lot. None complete: unchanged.
 *   receive failed, or the peer's end, with nothing half received: what the thread worked for before it received. A
 *                     loop that reads until EAGAIN before (or after) it answers keeps its request this way.
 *   sending           the oldest request without an answer; Redis: the command drawn by lot. A stream's, and _background
 *                     if not understood, only where the thread does not already work for a request, known or not: so what
 *                     a request sends to the streams of others stays that request's.
 *   sent              if that ended a response: the next request of the pipeline, if it is already there; if not, still the
 *                     same. HTTP/2: what is sent tells which request it was; what was pending goes to that.
 *   closing           unchanged.
 * A thread that answered where another one had received last is one of those that answer what others read: for it what it
 * receives tells nothing, and after an answer it works for what it will answer next. What was pending when it receives or
 * waits for events goes to _background.
 * Where the program is the client its work stays what it is:
 *   connecting, sending  unchanged, and remembered with what is asked; after a wait that told nothing: that for which the
 *                     program last asked on this connection, or connected it.
 *   receiving         that for which was asked what is now answered first.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct conn;

/* The connection that each number names, NULL = none. W: connection.c, release. */
extern struct conn_table {
	_Atomic(struct conn *) *conns;
	uint32_t count;
} conn_table __attribute__((visibility("hidden")));

/* Setup: maps the table, once the segment is open. False: no memory; nothing is tracked then, and every call below does
 * nothing. */
bool conn_init(void);

/* Setup: in the parent, before fork. From now on a connection that this process closes without having used it again is
 * taken to be served by a child, and what is unanswered on it is the child's to count. */
void conn_forking(void);

/* Setup: in the child of fork, before it runs on, once thread_process is its own. Connections of the parent count in the
 * child's gauges from their first use in the child. */
void conn_forked(void);

/* accept is about to be called: what comes of it is not known yet. It gave fd; it failed. */
void conn_accepting(void);
void conn_accepted(int fd, uint64_t now_ns);
void conn_accept_failed(void);

/* connect made fd a connection to the server at address, or began to. Stream sockets only. */
void conn_connecting(int fd, const struct sockaddr *address, socklen_t bytes, uint64_t now_ns);

/* What passes fd is encrypted from now on, and the bytes told here are the plain ones (hooks of TLS libraries). */
void conn_tls_opened(int fd, uint64_t now_ns);

/* fd is a connection that is tracked; for hooks that would do more work for it. */
static inline bool conn_is_tracked(int fd)
{
	return __builtin_expect((uint32_t)fd < conn_table.count, 1) &&
	       __builtin_expect(atomic_load_explicit(&conn_table.conns[fd], memory_order_relaxed) != NULL, 1);
}

/* Calls on fd, a connection or not, wait until there is something to do for them (O_NONBLOCK is not set), or fail. */
void conn_waits_set(int fd, bool waits);

/* It is a connection of which that was told; one that is made anew waits. */
bool conn_never_waits(int fd);

/* No number from here on names a connection. */
int conn_numbers_end(void);

/* A receiving call on fd begins: the thread now works for that connection. What conn_never_waits says. */
bool conn_receiving(int fd);

/* It gave bytes (> 0), spread over iov in order; or 0 bytes: the peer ended its side. Not for MSG_PEEK. */
void conn_received(int fd, const struct iovec *iov, size_t iov_count, size_t bytes, uint64_t now_ns);

/* It failed with error (an errno): changes whom the thread works for, and tells why what is unanswered may stay so. */
void conn_receive_failed(int fd, int error, uint64_t now_ns);

/* A sending call on fd begins. What conn_never_waits says. */
bool conn_sending(int fd);

/* The kernel accepted bytes (> 0), the first ones of iov. */
void conn_sent(int fd, const struct iovec *iov, size_t iov_count, size_t bytes, uint64_t now_ns);

/* The kernel took bytes (> 0) for fd from somewhere we cannot see into (sendfile, splice). */
void conn_sent_unseen(int fd, size_t bytes, uint64_t now_ns);

/* Bytes (> 0) left fd for somewhere we cannot see (splice from the socket). */
void conn_received_unseen(int fd, size_t bytes, uint64_t now_ns);

/* Nothing was sent. What is unanswered is counted when the connection is closed. */
void conn_send_failed(int fd, int error, uint64_t now_ns);

/* shutdown(fd, how) was done. A response that lasts until close ends here if how includes sending. */
void conn_shut_down(int fd, int how, uint64_t now_ns);

/* close(fd) is about to be called: afterwards the number may be anybody's. A response that lasts until close ends here,
 * and requests without an answer are counted as reset, if no other descriptor names the connection. */
void conn_closing(int fd, uint64_t now_ns);

/* Setup: the process gave its place up to become another program, which failed, and has a place again: what is open counts
 * in its gauges. */
void conn_rejoined(void);

/* Setup: this process ends and takes its descriptors with it, as if each was closed now. It makes no more calls, but its
 * other threads may. */
void conn_process_ends(uint64_t now_ns);

/* fd was handed to another process (SCM_RIGHTS): if this one closes it without having used it again, that one goes on with
 * it, and counts it. */
void conn_passed(int fd, uint64_t now_ns);

/* to is now another name of from's open file, whatever it was before (dup, dup2, dup3, F_DUPFD). */
void conn_duplicated(int from, int to, uint64_t now_ns);
