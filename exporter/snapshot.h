#pragma once
/* snapshot - a session at one instant, copied out of the segment; what all views are made from.
 * Context: the exporter's threads. Owns its memory. Trusts nothing it copies: indexes are checked here, once, and texts
 * are ended, so that whoever reads a snapshot need not check again. Texts may still be any bytes.
 *
 * What holds of every snapshot, whatever the file contained: nodes form a forest and stand in preorder (a node, then all
 * below it), no deeper than SNAPSHOT_DEPTH_MAX; every index, call, pseudo frame, error and scheme is in range, and
 * modules and endpoints that anything names have is_used set. What did not fit was left out and counted in
 * damaged_entries.
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

struct snapshot_series {
	uint32_t slot; /* as in cells */
	uint32_t endpoint, status;
	enum seg_error error;
	enum seg_scheme scheme;
	uint64_t buckets[SEG_BOUNDS_MAX + 1]; /* all shards, not cumulative; [bound_count] is +Inf, those behind are 0 */
	uint64_t sum_ns;
	uint64_t count; /* sum of the buckets */
};

struct snapshot_endpoint {
	bool is_used;
	bool is_pending; /* it stands in for a route that is not known yet: the next look may show it */
	enum seg_protocol protocol;
	enum seg_method method;
	bool is_overflow;
	char name[SEG_ENDPOINT_BYTES];
	uint64_t cpu_samples, cpu_ns;
	uint64_t request_buckets[SEG_SIZE_BOUNDS + 1], request_sum_bytes;
	uint64_t response_buckets[SEG_SIZE_BOUNDS + 1], response_sum_bytes;
};

struct snapshot_module {
	bool is_used;
	uint32_t build_id_bytes;
	uint8_t build_id[SEG_BUILD_ID_BYTES];
	char path[SEG_MODULE_PATH_BYTES];
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
	uint64_t duration_ns; /* what it covers: since the session began (to its end), or between two snapshots */
	bool is_difference;   /* snapshot_subtract made it */
	char program[SEG_TEXT_BYTES], session[SEG_TEXT_BYTES], served_address[SEG_TEXT_BYTES];
	pid_t server_pid;
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
	uint32_t thread_count, process_count;
	struct snapshot_process *processes;

	struct snapshot_endpoint *endpoints; /* by id; unused ones have is_used false */
	uint32_t endpoint_count;
	struct snapshot_series *series;
	uint32_t series_count;
	struct snapshot_module *modules; /* by index */
	uint32_t module_count;
	struct snapshot_frame *frames; /* each different one once */
	uint32_t frame_count;
	struct snapshot_node *nodes; /* by id - 1 */
	uint32_t node_count;
	struct snapshot_cell *cells;
	uint32_t cell_count;
};

/* Copies. NULL: no memory. */
struct snapshot *snapshot_take(const struct seg_view *seg);
/* The same of a session's file, last changed at changed_real_ns (its mtime; 0 = not known): where all processes were
 * killed and nobody wrote down when, that is the best guess of the session's end. */
struct snapshot *snapshot_take_file(const struct seg_view *seg, uint64_t changed_real_ns);
/* later minus earlier of the same session, in place in later: what came between them. Gauges stay later's. Of two
 * different sessions, later stays as it is: all of it came after. */
void snapshot_subtract(struct snapshot *later, const struct snapshot *earlier);
void snapshot_free(struct snapshot *snapshot);
