#pragma once
/* snapshot - a session at one instant, copied out of the segment; what all views are made from.
 * Context: the exporter's threads. Owns its memory. Trusts nothing it copies: indexes are checked here, once, and texts
 * are ended, so that whoever reads a snapshot need not check again. Texts may still be any bytes.
 *
 * What holds of every snapshot, whatever the file contained: nodes form a forest and stand in preorder (a node, then all
 * below it), no deeper than SNAPSHOT_DEPTH_MAX; every index, call, pseudo frame, status, error, scheme, protocol and kind
 * is in range, and modules, endpoints and peers that anything names have is_used set. What did not fit was left out and
 * counted in damaged_entries.
 */
#include "../shim/segment/segment.h"

#include <stdbool.h>
#include <sys/types.h>

#define SNAPSHOT_DEPTH_MAX (SEG_DEPTH_MAX + 2) /* with [truncated] at the root and a {call} at the leaf */

struct snapshot_cell {
	uint32_t slot; /* place in the segment's table: the same in every snapshot of the session, rising in cells */
	uint32_t node; /* id, 1..node_count: index + 1 into nodes; not the segment's */
	uint32_t endpoint;
	enum seg_kind kind;
	uint64_t samples, weight_ns, activations;
};

struct snapshot_frame {
	uint32_t module; /* index into modules, or SEG_MODULE_CALL, SEG_MODULE_PSEUDO */
	uint64_t offset; /* in the module, or enum seg_call, enum seg_pseudo */
};

struct snapshot_node {
	uint32_t parent; /* node id, less than the node's own; 0 = root */
	uint32_t frame;  /* index into frames */
	uint32_t depth;  /* 1 = at the root */
};

/* A recent request of a series that brought a trace id. */
struct snapshot_exemplar {
	bool is_used;
	uint64_t duration_ns, at_real_ns;
	uint8_t trace_id[SEG_TRACE_ID_BYTES], span_id[SEG_SPAN_ID_BYTES];
};

struct snapshot_series {
	uint32_t slot; /* as in cells */
	uint32_t peer; /* SEG_PEER_NONE: the program served it; a peer + 1, or SEG_PEER_OTHER: it asked */
	uint32_t endpoint, status;
	enum seg_error error;
	enum seg_scheme scheme;
	uint64_t buckets[SEG_BOUNDS_MAX + 1]; /* all shards, not cumulative; [bound_count] is +Inf, those behind are 0 */
	uint64_t sum_ns;
	uint64_t count; /* sum of the buckets */
	struct snapshot_exemplar exemplar;
};

struct snapshot_peer {
	bool is_used;
	uint16_t port; /* 0 = a unix socket */
	char address[SEG_PEER_BYTES];
};

struct snapshot_endpoint {
	bool is_used;
	bool is_pending; /* stands in for a route that was not answered yet: has no name, and counts as overflow meanwhile */
	uint32_t final;  /* the endpoint that this one turned out to be, mostly itself; names and labels are that one's */
	enum seg_protocol protocol;
	enum seg_method method;
	bool is_overflow;
	char name[SEG_ENDPOINT_BYTES];
	uint64_t cpu_samples, cpu_ns;
	uint64_t request_buckets[SEG_SIZE_BOUNDS + 1], request_sum_bytes;
	uint64_t response_buckets[SEG_SIZE_BOUNDS + 1], response_sum_bytes;
	uint64_t first_byte_buckets[SEG_BOUNDS_MAX + 1], first_byte_sum_ns; /* as in series */
	uint64_t streams_opened, stream_buckets[SEG_STREAM_BOUNDS + 1], stream_sum_ns;
	uint64_t slow_requests;
};

struct snapshot_slow_stack {
	uint32_t node; /* as in cells; 0 = the stack was lost */
	uint32_t samples;
	uint64_t weight_ns;
};

/* A slow request. Stacks stand in falling order of their time. */
struct snapshot_slow {
	uint32_t slot; /* place in the segment's table, and how often that was written: the same request in every snapshot */
	uint64_t sequence;
	uint32_t endpoint;
	uint64_t begin_real_ns, duration_ns;
	uint64_t first_byte_ns; /* 0 = there was no answer */
	uint64_t request_bytes, response_bytes;
	uint64_t cpu_ns, samples; /* of all stacks, kept or not */
	pid_t pid, tid;
	uint32_t status;
	enum seg_error error;
	enum seg_scheme scheme;
	bool has_trace;
	uint8_t trace_id[SEG_TRACE_ID_BYTES], span_id[SEG_SPAN_ID_BYTES];
	char request_id[SEG_REQUEST_ID_BYTES]; /* "" = none */
	uint32_t stack_count;
	struct snapshot_slow_stack stacks[SEG_SLOW_STACKS];
};

/* An open connection, or a stream of HTTP/2's, of a process that has a place in the session. */
struct snapshot_connection {
	enum seg_connection_kind kind;
	bool is_asked;    /* the program is the client; of a stream: its connection's */
	bool has_streams; /* a connection whose streams are listed, too: they tell what waits */
	enum seg_protocol protocol;
	enum seg_scheme scheme;
	pid_t pid, tid;
	int fd;
	uint64_t opened_mono_ns; /* 0 = before this process had it */
	uint64_t begin_mono_ns;  /* of the oldest request without an answer; 0 = none */
	uint32_t endpoint;       /* of that request */
	bool has_endpoint;       /* false: its head is not there yet, and endpoint is SEG_ENDPOINT_OTHER */
	bool is_stream;          /* that request opened a stream */
	uint32_t in_flight;
	uint64_t requests, received_bytes, sent_bytes;
};

struct snapshot_module {
	bool is_used;
	uint32_t build_id_bytes;
	uint8_t build_id[SEG_BUILD_ID_BYTES];
	char path[SEG_MODULE_PATH_BYTES];
	uint32_t unwind_state;    /* enum seg_unwind_state */
	uint32_t unwind_rows;     /* of its table */
	uint32_t unwind_unsupported; /* of those: walks end there */
	uint32_t unwind_covered_pct; /* of its code */
	uint64_t unwind_ready_ns; /* from the session's start until there was one */
};

/* What /proc tells of a process; a number that could not be read is left 0 and has no has_ flag. */
struct snapshot_usage {
	bool has_stat, has_open_fds, has_max_fds;
	uint64_t cpu_ns, start_real_ns, resident_bytes, virtual_bytes;
	uint64_t open_fds, max_fds;
};

struct snapshot_process {
	pid_t pid;
	int32_t threads;
	bool is_running; /* a process of this id that is not younger than the slot exists, as seen from here */
	struct snapshot_usage usage;
};

struct snapshot {
	uint64_t taken_mono_ns; /* or when the session ended, if it did */
	uint64_t created_mono_ns, created_real_ns, ended_mono_ns, heartbeat_mono_ns;
	uint64_t duration_ns; /* what it covers: since the session began or was reset (to its end), or between two snapshots */
	uint32_t resets;      /* as in struct segment */
	uint64_t reset_mono_ns;
	bool is_difference;   /* snapshot_subtract made it */
	char program[SEG_TEXT_BYTES], session[SEG_TEXT_BYTES], served_address[SEG_TEXT_BYTES];
	pid_t server_pid;
	uint32_t hz_now;       /* the sampling rate in force */
	uint32_t perf_tick_ns; /* what an expiry of the perf clock costs; 0 = not measured */
	uint32_t perf_threads; /* that ever had the perf clock */
	int perf_error;        /* why a thread was refused it last; 0 = none was */
	uint64_t segment_bytes; /* total size of the file */
	struct {
		uint32_t used, count;
	} tables[SEG_TABLE_COUNT];
	uint64_t damaged_entries;
	struct seg_config config; /* bounds are rising, enums in range */

	/* Sums over all thread slots. */
	uint64_t call_counts[SEG_CALL_COUNT], call_ns[SEG_CALL_COUNT];
	uint64_t counters[SEG_COUNTER_COUNT], overhead_ns[SEG_PHASE_COUNT];
	uint64_t accepted[SEG_PROTOCOL_COUNT], receive_bytes[SEG_PROTOCOL_COUNT], transmit_bytes[SEG_PROTOCOL_COUNT];
	/* Sums over all processes that hold a slot; never below 0. */
	uint64_t open_connections[SEG_PROTOCOL_COUNT];
	uint64_t active_requests[SEG_METHOD_COUNT][2];
	uint64_t open_streams[SEG_PROTOCOL_COUNT];
	uint32_t thread_count, process_count;
	struct snapshot_process *processes;

	struct snapshot_endpoint *endpoints; /* by id; unused ones have is_used false */
	uint32_t endpoint_count;
	struct snapshot_series *series;
	uint32_t series_count;
	struct snapshot_peer peers[SEG_PEERS_MAX]; /* by peer - 1 */
	struct snapshot_slow *slow; /* the slowest come first */
	uint32_t slow_count;
	struct snapshot_connection *connections; /* by process and descriptor, a connection before its streams */
	uint32_t connection_count;
	struct snapshot_module *modules; /* by index */
	uint32_t module_count;
	struct snapshot_frame *frames; /* each different one once */
	uint32_t frame_count;
	struct snapshot_node *nodes; /* by id - 1 */
	uint32_t node_count;
	struct snapshot_cell *cells;
	uint32_t cell_count;
};

/* Whose name and labels the endpoint with this id goes by. */
static inline const struct snapshot_endpoint *snapshot_endpoint(const struct snapshot *snapshot, uint32_t id)
{
	return &snapshot->endpoints[snapshot->endpoints[id].final];
}

/* Copies. NULL: no memory. */
struct snapshot *snapshot_take(const struct seg_view *seg);
/* The same of a session's file, last changed at changed_real_ns (its mtime; 0 = not known): where all processes were
 * killed and nobody wrote down when, that is the best guess of the session's end. */
struct snapshot *snapshot_take_file(const struct seg_view *seg, uint64_t changed_real_ns);
/* Of a segment only what tells of these slow requests: modules, endpoints, and the nodes of their stacks. entries: copies
 * that were whole when they were made; their stacks are read from seg. */
struct snapshot *snapshot_take_slow(const struct seg_view *seg, const struct seg_slow *entries, uint32_t count);
/* later minus earlier of the same session, in place in later: what came between them. Gauges and what is open stay
 * later's. Of two different sessions, or with a reset between them, later stays as it is: all of it came after. */
void snapshot_subtract(struct snapshot *later, const struct snapshot *earlier);
/* What it takes of memory, as far as that grows with what was counted. */
size_t snapshot_bytes(const struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);
