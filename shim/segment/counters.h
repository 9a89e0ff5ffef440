#pragma once
/* counters - every counted thing of a session, declared once.
 * Context: signal. Lists only; each feeds the layout of the segment, the Prometheus text and the report.
 * Appending to a list changes the layout: raise SEG_VERSION in layout.h.
 */

/* Interposed calls, of libc and of TLS libraries: X(ID, "name as the program calls it"). The report shows them as {name}. */
#define SEG_CALLS(X)                                                                                                   \
	X(ACCEPT, "accept")                                                                                            \
	X(ACCEPT4, "accept4")                                                                                          \
	X(CONNECT, "connect")                                                                                          \
	X(LISTEN, "listen")                                                                                            \
	X(SOCKET, "socket")                                                                                            \
	X(READ, "read")                                                                                                \
	X(READV, "readv")                                                                                              \
	X(RECV, "recv")                                                                                                \
	X(RECVFROM, "recvfrom")                                                                                        \
	X(RECVMSG, "recvmsg")                                                                                          \
	X(RECVMMSG, "recvmmsg")                                                                                        \
	X(READ_CHK, "__read_chk")                                                                                      \
	X(RECV_CHK, "__recv_chk")                                                                                      \
	X(RECVFROM_CHK, "__recvfrom_chk")                                                                              \
	X(WRITE, "write")                                                                                              \
	X(WRITEV, "writev")                                                                                            \
	X(SEND, "send")                                                                                                \
	X(SENDTO, "sendto")                                                                                            \
	X(SENDMSG, "sendmsg")                                                                                          \
	X(SENDMMSG, "sendmmsg")                                                                                        \
	X(SENDFILE, "sendfile")                                                                                        \
	X(SENDFILE64, "sendfile64")                                                                                    \
	X(SPLICE, "splice")                                                                                            \
	X(CLOSE, "close")                                                                                              \
	X(SHUTDOWN, "shutdown")                                                                                        \
	X(DUP, "dup")                                                                                                  \
	X(DUP2, "dup2")                                                                                                \
	X(DUP3, "dup3")                                                                                                \
	X(FCNTL, "fcntl")                                                                                              \
	X(FCNTL64, "fcntl64")                                                                                          \
	X(EPOLL_WAIT, "epoll_wait")                                                                                    \
	X(EPOLL_PWAIT, "epoll_pwait")                                                                                  \
	X(EPOLL_PWAIT2, "epoll_pwait2")                                                                                \
	X(POLL, "poll")                                                                                                \
	X(PPOLL, "ppoll")                                                                                              \
	X(POLL_CHK, "__poll_chk")                                                                                      \
	X(PPOLL_CHK, "__ppoll_chk")                                                                                    \
	X(SELECT, "select")                                                                                            \
	X(PSELECT, "pselect")                                                                                          \
	X(PTHREAD_CREATE, "pthread_create")                                                                            \
	X(PTHREAD_COND_WAIT, "pthread_cond_wait")                                                                      \
	X(PTHREAD_COND_TIMEDWAIT, "pthread_cond_timedwait")                                                            \
	X(PTHREAD_COND_CLOCKWAIT, "pthread_cond_clockwait")                                                            \
	X(SEM_WAIT, "sem_wait")                                                                                        \
	X(SEM_TIMEDWAIT, "sem_timedwait")                                                                              \
	X(SEM_CLOCKWAIT, "sem_clockwait")                                                                              \
	X(SIGACTION, "sigaction")                                                                                      \
	X(SIGNAL, "signal")                                                                                            \
	X(FORK, "fork")                                                                                                \
	X(DLOPEN, "dlopen")                                                                                            \
	X(DLCLOSE, "dlclose")                                                                                          \
	X(DL_ITERATE_PHDR, "dl_iterate_phdr")                                                                          \
	X(EXECVE, "execve")                                                                                            \
	X(EXECV, "execv")                                                                                              \
	X(EXECVP, "execvp")                                                                                            \
	X(EXECVPE, "execvpe")                                                                                          \
	X(EXECL, "execl")                                                                                              \
	X(EXECLE, "execle")                                                                                            \
	X(EXECLP, "execlp")                                                                                            \
	X(EXECVEAT, "execveat")                                                                                        \
	X(FEXECVE, "fexecve")                                                                                          \
	X(CLOSE_RANGE, "close_range")                                                                                  \
	X(CLOSEFROM, "closefrom")                                                                                      \
	X(FCLOSE, "fclose")                                                                                            \
	X(FDOPEN, "fdopen")                                                                                            \
	X(VMSPLICE, "vmsplice")                                                                                        \
	X(SSL_DO_HANDSHAKE, "SSL_do_handshake")                                                                        \
	X(SSL_ACCEPT, "SSL_accept")                                                                                    \
	X(SSL_CONNECT, "SSL_connect")                                                                                  \
	X(SSL_READ, "SSL_read")                                                                                        \
	X(SSL_READ_EX, "SSL_read_ex")                                                                                  \
	X(SSL_PEEK, "SSL_peek")                                                                                        \
	X(SSL_PEEK_EX, "SSL_peek_ex")                                                                                  \
	X(SSL_WRITE, "SSL_write")                                                                                      \
	X(SSL_WRITE_EX, "SSL_write_ex")                                                                                \
	X(SSL_SENDFILE, "SSL_sendfile")                                                                                \
	X(SSL_READ_EARLY_DATA, "SSL_read_early_data")                                                                  \
	X(SSL_WRITE_EARLY_DATA, "SSL_write_early_data")                                                                \
	X(SSL_SHUTDOWN, "SSL_shutdown")                                                                                \
	X(SSL_FREE, "SSL_free")                                                                                        \
	X(GNUTLS_HANDSHAKE, "gnutls_handshake")                                                                        \
	X(GNUTLS_RECORD_RECV, "gnutls_record_recv")                                                                    \
	X(GNUTLS_RECORD_RECV_SEQ, "gnutls_record_recv_seq")                                                            \
	X(GNUTLS_RECORD_RECV_PACKET, "gnutls_record_recv_packet")                                                      \
	X(GNUTLS_RECORD_RECV_EARLY_DATA, "gnutls_record_recv_early_data")                                              \
	X(GNUTLS_RECORD_SEND, "gnutls_record_send")                                                                    \
	X(GNUTLS_RECORD_SEND2, "gnutls_record_send2")                                                                  \
	X(GNUTLS_RECORD_SEND_RANGE, "gnutls_record_send_range")                                                        \
	X(GNUTLS_RECORD_SEND_FILE, "gnutls_record_send_file")                                                          \
	X(GNUTLS_RECORD_SEND_EARLY_DATA, "gnutls_record_send_early_data")                                              \
	X(GNUTLS_RECORD_CORK, "gnutls_record_cork")                                                                    \
	X(GNUTLS_RECORD_UNCORK, "gnutls_record_uncork")                                                                \
	X(GNUTLS_BYE, "gnutls_bye")                                                                                    \
	X(GNUTLS_DEINIT, "gnutls_deinit")                                                                              \
	X(DLMOPEN, "dlmopen")                                                                                          \
	X(THRD_CREATE, "thrd_create")

/* Protocols told apart by their bytes: X(ID, "name in labels"). UNKNOWN: nothing recognised yet, or given up.
 * Of connections all but GRPC, which is one of HTTP2. Of endpoints all but HTTP2, FASTCGI (requests for a route: HTTP) and
 * TLS (bytes that we cannot read). */
#define SEG_PROTOCOLS(X)                                                                                               \
	X(UNKNOWN, "unknown")                                                                                          \
	X(HTTP, "http")                                                                                                \
	X(REDIS, "redis")                                                                                              \
	X(HTTP2, "http2")                                                                                              \
	X(GRPC, "grpc")                                                                                                \
	X(MEMCACHED, "memcached")                                                                                      \
	X(POSTGRES, "postgres")                                                                                        \
	X(MYSQL, "mysql")                                                                                              \
	X(FASTCGI, "fastcgi")                                                                                          \
	X(TLS, "tls")

/* HTTP methods that become a label as they are (RFC 9110 clause 9, RFC 5789); any other token is _OTHER. */
#define SEG_METHODS(X)                                                                                                 \
	X(OTHER, "_OTHER")                                                                                             \
	X(GET, "GET")                                                                                                  \
	X(HEAD, "HEAD")                                                                                                \
	X(POST, "POST")                                                                                                \
	X(PUT, "PUT")                                                                                                  \
	X(DELETE, "DELETE")                                                                                            \
	X(CONNECT, "CONNECT")                                                                                          \
	X(OPTIONS, "OPTIONS")                                                                                          \
	X(TRACE, "TRACE")                                                                                              \
	X(PATCH, "PATCH")

/* Why a request failed where its status alone does not tell: X(ID, "value of error_type").
 * A 5xx status is its own error_type and needs no entry. SQLSTATE: the class that the status holds is it. Redis: the first word of the error reply, from this closed list.
 */
#define SEG_ERRORS(X)                                                                                                  \
	X(NONE, "")                                                                                                    \
	X(RESET, "reset")                                                                                              \
	X(PARSE, "parse")                                                                                              \
	X(TIMEOUT, "timeout")                                                                                          \
	X(SQLSTATE, "")                                                                                                \
	X(REDIS_ERR, "ERR")                                                                                            \
	X(REDIS_WRONGTYPE, "WRONGTYPE")                                                                                \
	X(REDIS_NOAUTH, "NOAUTH")                                                                                      \
	X(REDIS_WRONGPASS, "WRONGPASS")                                                                                \
	X(REDIS_NOPERM, "NOPERM")                                                                                      \
	X(REDIS_NOSCRIPT, "NOSCRIPT")                                                                                  \
	X(REDIS_NOPROTO, "NOPROTO")                                                                                    \
	X(REDIS_EXECABORT, "EXECABORT")                                                                                \
	X(REDIS_MOVED, "MOVED")                                                                                        \
	X(REDIS_ASK, "ASK")                                                                                            \
	X(REDIS_TRYAGAIN, "TRYAGAIN")                                                                                  \
	X(REDIS_CLUSTERDOWN, "CLUSTERDOWN")                                                                            \
	X(REDIS_CROSSSLOT, "CROSSSLOT")                                                                                \
	X(REDIS_LOADING, "LOADING")                                                                                    \
	X(REDIS_BUSY, "BUSY")                                                                                          \
	X(REDIS_BUSYGROUP, "BUSYGROUP")                                                                                \
	X(REDIS_BUSYKEY, "BUSYKEY")                                                                                    \
	X(REDIS_NOGROUP, "NOGROUP")                                                                                    \
	X(REDIS_READONLY, "READONLY")                                                                                  \
	X(REDIS_MASTERDOWN, "MASTERDOWN")                                                                              \
	X(REDIS_MISCONF, "MISCONF")                                                                                    \
	X(REDIS_NOREPLICAS, "NOREPLICAS")                                                                              \
	X(REDIS_UNKILLABLE, "UNKILLABLE")                                                                              \
	X(REDIS_OOM, "OOM")                                                                                            \
	X(MEMCACHED_ERROR, "ERROR")                                                                                    \
	X(MEMCACHED_CLIENT_ERROR, "CLIENT_ERROR")                                                                      \
	X(MEMCACHED_SERVER_ERROR, "SERVER_ERROR")                                                                      \
	X(MEMCACHED_TOO_LARGE, "too_large")                                                                            \
	X(MEMCACHED_INVALID_ARGUMENTS, "invalid_arguments")                                                            \
	X(MEMCACHED_NON_NUMERIC, "non_numeric")                                                                        \
	X(MEMCACHED_AUTH_ERROR, "auth_error")                                                                          \
	X(MEMCACHED_UNKNOWN_COMMAND, "unknown_command")                                                                \
	X(MEMCACHED_OUT_OF_MEMORY, "out_of_memory")                                                                    \
	X(OTHER, "_OTHER")

/* Plain counters, one cell in every thread slot: X(ID, family, label key, label value, help).
 * Entries of one family stand together and share their help text; "" means no label.
 */
#define SEG_COUNTERS(X)                                                                                                \
	X(SAMPLES, "profshim_samples_total", "", "", "CPU samples taken.")                                             \
	X(DROP_NO_SLOT, "profshim_samples_dropped_total", "reason", "no_slot",                                         \
	  "CPU samples whose stack was lost, by reason; their time still counts for their endpoint.")                  \
	X(DROP_FRAMES_FULL, "profshim_samples_dropped_total", "reason", "frames_full", "")                             \
	X(DROP_NODES_FULL, "profshim_samples_dropped_total", "reason", "nodes_full", "")                               \
	X(DROP_CELLS_FULL, "profshim_samples_dropped_total", "reason", "cells_full", "")                               \
	X(DROP_UNWIND, "profshim_samples_dropped_total", "reason", "unwind_failed", "")                                \
	X(DROP_LOADER, "profshim_samples_dropped_total", "reason", "loader_busy", "")                                  \
	X(DROP_NESTED, "profshim_samples_dropped_total", "reason", "nested", "")                                       \
	X(TRUNCATED, "profshim_samples_truncated_total", "", "", "CPU samples whose stack was deeper than is kept.")   \
	X(WALK_ROOT, "profshim_stack_walks_total", "end", "root",                                                      \
	  "Walks over a thread's stack, by how they ended: root: at its outermost frame; pointers: where neither a rule nor a " \
	  "frame pointer leads on; unsupported: at a rule that cannot be followed; refused: a rule led out of the stack; " \
	  "strange_stack: at the edge of what is known of the stack; deep: after as many frames as are kept; faulted: at memory that " \
	  "cannot be read.")           \
	X(WALK_POINTERS, "profshim_stack_walks_total", "end", "pointers", "")                                          \
	X(WALK_UNSUPPORTED, "profshim_stack_walks_total", "end", "unsupported", "")                                    \
	X(WALK_REFUSED, "profshim_stack_walks_total", "end", "refused", "")                                            \
	X(WALK_STRANGE, "profshim_stack_walks_total", "end", "strange_stack", "")                                      \
	X(WALK_DEEP, "profshim_stack_walks_total", "end", "deep", "")                                                  \
	X(WALK_FAULTED, "profshim_stack_walks_total", "end", "faulted", "")                                            \
	X(TIMER_FAILED, "profshim_timers_failed_total", "", "",                                                        \
	  "Threads that are not sampled because no timer could be made for them.")                                     \
	X(FAULT_MODULES, "profshim_faults_total", "part", "modules",                                                   \
	  "Parts of profshim that failed in a process, by part; they switch themselves off, and the rest goes on. "      \
	  "modules: no memory for the map of the program's libraries; unwind: no unwinder, stacks are followed by frame pointers, " \
	  "or walks of a kind that met memory which cannot be read; " \
	  "sampling: no handler or no memory for samples; exporter: the library that answers and reports; http2: the "   \
	  "decoder of header blocks.")                                                                                    \
	X(FAULT_UNWIND, "profshim_faults_total", "part", "unwind", "")                                                 \
	X(FAULT_SAMPLING, "profshim_faults_total", "part", "sampling", "")                                             \
	X(FAULT_EXPORTER, "profshim_faults_total", "part", "exporter", "")                                             \
	X(FAULT_HTTP2, "profshim_faults_total", "part", "http2", "")                                                   \
	X(RATE_LOWERED, "profshim_sampling_rate_changes_total", "direction", "down",                                   \
	  "Times that the sampling rate was halved to keep profshim's own CPU time within PROFSHIM_BUDGET, or doubled again.") \
	X(RATE_RAISED, "profshim_sampling_rate_changes_total", "direction", "up", "")                                  \
	X(UNCLASSIFIED_CONNECTIONS, "profshim_unclassified_connections_total", "", "",                                 \
	  "Accepted connections whose bytes fit no known protocol.")                                                   \
	X(LOST_POOL_FULL, "profshim_requests_lost_total", "reason", "pool_full",                                       \
	  "Requests or connections that could not be followed, by reason.")                                            \
	X(LOST_CONN_BUSY, "profshim_requests_lost_total", "reason", "connection_busy", "")                             \
	X(LOST_FD_RANGE, "profshim_requests_lost_total", "reason", "descriptor_range", "")                             \
	X(LOST_UNSEEN_BYTES, "profshim_requests_lost_total", "reason", "unseen_bytes", "")                             \
	X(LOST_HPACK, "profshim_requests_lost_total", "reason", "no_hpack", "")                                        \
	X(LOST_COMPRESSED, "profshim_requests_lost_total", "reason", "compressed", "")                                 \
	X(SLOW_UNLOGGED, "profshim_slow_requests_unlogged_total", "", "",                                              \
	  "Slow requests that are not in PROFSHIM_SLOW_LOG: they came too fast, or it could not be written.")              \
	X(OVERFLOW_ENDPOINTS, "profshim_label_overflow_total", "family", "endpoint",                                   \
	  "Observations that went to the overflow label set, by family of label sets.")                                \
	X(OVERFLOW_SERIES, "profshim_label_overflow_total", "family", "series", "")                                    \
	X(OVERFLOW_STATEMENTS, "profshim_label_overflow_total", "family", "statement", "")                             \
	X(OVERFLOW_PEERS, "profshim_label_overflow_total", "family", "peer", "")                                       \
	X(OVERFLOW_MODULES, "profshim_label_overflow_total", "family", "module", "")                                   \
	X(OVERFLOW_THREADS, "profshim_label_overflow_total", "family", "thread_slot", "")                              \
	X(OVERFLOW_PROCESSES, "profshim_label_overflow_total", "family", "process_slot", "")                           \
	X(BLIND_IO_URING, "profshim_blind_calls_total", "kind", "io_uring",                                            \
	  "What requests may have passed by unseen, by kind: io_uring: rings made, and submissions by liburing or syscall(); " \
	  "raw_socket_syscall: calls of syscall() that move bytes or descriptors of sockets; vmsplice: calls; "        \
	  "stdio: connections given to fdopen(); tls: connections whose plain bytes came through no TLS library known here. " \
	  "System calls that a program makes by instructions of its own are not seen, but for rings of io_uring.")     \
	X(BLIND_RAW_SYSCALL, "profshim_blind_calls_total", "kind", "raw_socket_syscall", "")                           \
	X(BLIND_VMSPLICE, "profshim_blind_calls_total", "kind", "vmsplice", "")                                        \
	X(BLIND_STDIO, "profshim_blind_calls_total", "kind", "stdio", "")                                              \
	X(BLIND_TLS, "profshim_blind_calls_total", "kind", "tls", "")                                                  \
	X(HTTP_HOST, "profshim_http_refused_total", "reason", "host",                                                  \
	  "Requests to profshim's own address, or connections, that were refused or closed, by reason: host: of a name that is not this " \
	  "machine's; token: absent or wrong; cross_site: sent by a page of another site; not_found; method; parameter; body: "      \
	  "larger than is taken; head: too large; malformed: not HTTP; slow: too slow to ask or to read; busy: too many wait, " \
	  "too much memory is in use, or all places are taken.")                                                       \
	X(HTTP_TOKEN, "profshim_http_refused_total", "reason", "token", "")                                            \
	X(HTTP_CROSS_SITE, "profshim_http_refused_total", "reason", "cross_site", "")                                  \
	X(HTTP_NOT_FOUND, "profshim_http_refused_total", "reason", "not_found", "")                                    \
	X(HTTP_METHOD, "profshim_http_refused_total", "reason", "method", "")                                          \
	X(HTTP_PARAMETER, "profshim_http_refused_total", "reason", "parameter", "")                                    \
	X(HTTP_BODY, "profshim_http_refused_total", "reason", "body", "")                                              \
	X(HTTP_HEAD, "profshim_http_refused_total", "reason", "head", "")                                              \
	X(HTTP_MALFORMED, "profshim_http_refused_total", "reason", "malformed", "")                                    \
	X(HTTP_SLOW, "profshim_http_refused_total", "reason", "slow", "")                                              \
	X(HTTP_BUSY, "profshim_http_refused_total", "reason", "busy", "")                                              \
	X(EXIT_CLEAN, "profshim_process_exits_total", "cause", "exit", "Processes of the session that ended, by cause.") \
	X(EXIT_EXEC, "profshim_process_exits_total", "cause", "exec", "")                                              \
	X(EXIT_KILLED, "profshim_process_exits_total", "cause", "killed", "")                                          \
	X(CONFIG_ERRORS, "profshim_config_errors_total", "", "", "Configuration values that were refused.")            \
	X(LOG_LOST, "profshim_log_lines_lost_total", "", "", "Log lines that had nowhere to go.")

/* Where the profiler's own time goes, in nanoseconds: X(ID, "value of phase"). */
#define SEG_PHASES(X)                                                                                                  \
	X(HOOKS, "hooks")                                                                                              \
	X(SAMPLING, "sampling")                                                                                        \
	X(EXPORT, "export")

#define SEG_ENUM_CALL(id, name) SEG_CALL_##id,
enum seg_call { SEG_CALLS(SEG_ENUM_CALL) SEG_CALL_COUNT };

#define SEG_ENUM_PROTOCOL(id, name) SEG_PROTOCOL_##id,
enum seg_protocol { SEG_PROTOCOLS(SEG_ENUM_PROTOCOL) SEG_PROTOCOL_COUNT };

#define SEG_ENUM_METHOD(id, name) SEG_METHOD_##id,
enum seg_method { SEG_METHODS(SEG_ENUM_METHOD) SEG_METHOD_COUNT };

#define SEG_ENUM_ERROR(id, name) SEG_ERROR_##id,
enum seg_error { SEG_ERRORS(SEG_ENUM_ERROR) SEG_ERROR_COUNT };

#define SEG_ENUM_COUNTER(id, family, key, value, help) SEG_COUNTER_##id,
enum seg_counter { SEG_COUNTERS(SEG_ENUM_COUNTER) SEG_COUNTER_COUNT };

#define SEG_ENUM_PHASE(id, name) SEG_PHASE_##id,
enum seg_phase { SEG_PHASES(SEG_ENUM_PHASE) SEG_PHASE_COUNT };
