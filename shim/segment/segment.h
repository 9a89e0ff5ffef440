#pragma once
/* segment - makes, opens and checks the memory of a session; gives typed views of its tables.
 * Context: setup for making and opening; the accessors of an open view: signal.
 * Owns the mapping; never unmaps it inside a profiled program, since a handler may be looking.
 */
#include "layout.h"
#include "table.h"

#include <stdbool.h>
#include <stddef.h>

struct seg_view {
	struct segment *head; /* NULL = not open */
	struct seg_thread *threads;
	struct seg_process *processes;
	struct seg_frame *frames;
	struct seg_node *nodes;
	struct seg_cell *cells;
	struct seg_module *modules;
	struct seg_endpoint *endpoints;
	struct seg_series *series;
	struct seg_histogram *histograms;
	struct seg_sizes *sizes;
	struct seg_histogram *first_bytes;
	struct seg_exemplar *exemplars;
	struct seg_streams *streams;
	struct seg_peer *peers;
	struct seg_word *words;
	struct seg_slow *slow;
	struct seg_slow *slow_events;
	struct seg_connection *connections;
	struct seg_unwind *unwind;
	struct seg_unwind_piece *unwind_arena;
	struct seg_slots slots[SEG_TABLE_COUNT]; /* the same tables, for table.h */
	uint32_t shard_count, shards_shared;     /* of the head, found good */
};

/* A table of unwind rules (unwind.h), its bounds found good. */
struct seg_unwind_view {
	uint64_t base;
	uint32_t shift, block_count, row_count;
	const uint32_t *blocks, *rules;
	const uint16_t *lows;
};

/* What can be wrong with a file that should be a segment; seg_problem_text says it in words. */
enum seg_problem {
	SEG_OK,
	SEG_PROBLEM_OPEN,      /* errno tells */
	SEG_PROBLEM_KIND,      /* no regular file */
	SEG_PROBLEM_FOREIGN,   /* to be written to, but another user's, or others may write to it, too */
	SEG_PROBLEM_TRUNCATED, /* shorter than it says, or than a header */
	SEG_PROBLEM_MAGIC,     /* no segment */
	SEG_PROBLEM_VERSION,   /* of another version of profshim */
	SEG_PROBLEM_NOT_READY, /* its maker died first */
	SEG_PROBLEM_LAYOUT,    /* tables out of bounds or of another shape */
};
const char *seg_problem_text(enum seg_problem problem);

/* Bytes that a segment of at most ceiling_bytes really takes, 0 if the ceiling is too low for any. */
size_t seg_bytes_for(size_t ceiling_bytes);

/* Lays a segment out in base (zeroed, bytes as seg_bytes_for gave). The caller then fills head->config and the names and
 * calls seg_publish. cores: at most so many shards of histograms are for all threads; the others are to be owned. */
void seg_format(void *base, size_t bytes, uint32_t cores);
void seg_publish(struct segment *head);

/* Checks bytes at base and fills ret_view. Trusts nothing: base may be any file. */
enum seg_problem seg_view_init(struct seg_view *ret_view, void *base, size_t bytes);

/* Maps a segment's file to look at it (private mapping: what the reader writes by mistake reaches nobody) or, with
 * is_writable, to take part in the session, which only its owner may. seg_close unmaps; a profiled program never calls it. */
enum seg_problem seg_open(struct seg_view *ret_view, const char *path, bool is_writable);
void seg_close(struct seg_view *view);

/* Names of the enums of counters.h, as labels show them. */
extern const char *const seg_call_names[SEG_CALL_COUNT];
extern const char *const seg_protocol_names[SEG_PROTOCOL_COUNT];
extern const char *const seg_method_names[SEG_METHOD_COUNT];
extern const char *const seg_error_names[SEG_ERROR_COUNT];
extern const char *const seg_phase_names[SEG_PHASE_COUNT];

struct seg_counter_info {
	const char *family; /* Prometheus name */
	const char *key;    /* label, "" = none */
	const char *value;
	const char *help; /* "" = as the entry before, of the same family */
};
extern const struct seg_counter_info seg_counter_infos[SEG_COUNTER_COUNT];

/* Upper bounds of the body size buckets, in bytes. */
extern const uint64_t seg_size_bounds[SEG_SIZE_BOUNDS];

/* Upper bounds of the buckets of streams' durations: a second to a day. */
extern const uint64_t seg_stream_bounds_ns[SEG_STREAM_BOUNDS];

/* The class of a SQLSTATE (ISO/IEC 9075, its first two characters) as a status, 1..SEG_STATUS_MAX; 0: it is none. */
uint32_t seg_sqlstate_class(char first, char second);

/* Back to its two characters, with a final NUL. */
void seg_sqlstate_text(char ret_text[static 3], uint32_t status);

/* Shards in which there may be something else than zeros. The baseline is the one of index shard_count. */
static inline bool seg_has_baseline_shard(const struct seg_view *view) { return view->shards_shared < view->shard_count; }
static inline bool seg_shard_is_used(const struct seg_view *view, uint32_t shard)
{
	return atomic_load_explicit(&view->head->shards_used, memory_order_acquire) >> shard & 1;
}

/* The gauge of requests that have begun and not ended. */
static inline int64_t seg_process_active(const struct seg_process *process, enum seg_method method, enum seg_scheme scheme)
{
	return (int64_t)((uint64_t)atomic_load_explicit(&process->active_requests[method][scheme], memory_order_relaxed) +
			 (uint64_t)atomic_load_explicit(&process->active_owned[method][scheme], memory_order_relaxed));
}

/* Keys, as layout.h gives them. */
static inline uint64_t seg_frame_key(uint32_t module, uint64_t offset) { return (uint64_t)module << 48 | (offset & 0xffffffffffffULL); }
static inline uint32_t seg_frame_module(uint64_t key) { return (uint32_t)(key >> 48); }
static inline uint64_t seg_frame_offset(uint64_t key) { return key & 0xffffffffffffULL; }
static inline uint64_t seg_node_key(uint32_t parent, uint32_t frame) { return (uint64_t)parent << 32 | frame; }
static inline uint32_t seg_node_parent(uint64_t key) { return (uint32_t)(key >> 32); }
static inline uint32_t seg_node_frame(uint64_t key) { return (uint32_t)key; }
static inline uint64_t seg_cell_key(uint32_t node, uint32_t endpoint, enum seg_kind kind) { return (uint64_t)node << 32 | endpoint << 8 | ((uint32_t)kind + 1); }
static inline uint32_t seg_cell_node(uint64_t key) { return (uint32_t)(key >> 32); }
static inline uint32_t seg_cell_endpoint(uint64_t key) { return (uint32_t)key >> 8; }
static inline uint32_t seg_cell_kind(uint64_t key) { return ((uint32_t)key & 0xff) - 1; }
static inline uint64_t seg_series_key(uint32_t endpoint, uint32_t status, enum seg_error error, enum seg_scheme scheme) { return 1ULL << 63 | (uint64_t)(endpoint & 0xffff) << 32 | (uint64_t)(status & 0xffff) << 16 | (uint64_t)error << 8 | scheme; }
static inline uint64_t seg_series_key_asked(uint64_t key, uint32_t peer) { return key | (uint64_t)(peer & 0xff) << 48; }
static inline int32_t seg_process_pid(uint64_t owner) { return (int32_t)(uint32_t)owner; } /* who has it, or claimed it */
static inline bool seg_process_is_in(uint64_t owner) { return owner && owner <= INT32_MAX; } /* it is in the session */
static inline uint64_t seg_connection_owner(uint64_t pid, uint32_t process) { return pid << 32 | process; }
static inline uint32_t seg_series_peer(uint64_t key) { return (uint32_t)(key >> 48) & 0xff; }
static inline uint32_t seg_series_endpoint(uint64_t key) { return (uint32_t)(key >> 32) & 0xffff; }
static inline uint32_t seg_series_status(uint64_t key) { return (uint32_t)(key >> 16) & 0xffff; }
static inline uint32_t seg_series_error(uint64_t key) { return (uint32_t)(key >> 8) & 0xff; }
static inline uint32_t seg_series_scheme(uint64_t key) { return (uint32_t)key & 0xff; }
