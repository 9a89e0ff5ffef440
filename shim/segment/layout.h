#pragma once
/* layout - the bytes of a session's segment: one shared memory file that is the wall between who counts and who looks.
 * Context: signal. Types and sizes only; no code but address arithmetic lives here.
 *
 * Rules that hold for every field:
 * - Counters only grow, and a reader subtracts two snapshots, so that no reader disturbs another. The one exception is
 *   what a person asks for by POST /control/reset (exporter/serve/reset.h), which snapshots tell by struct segment's resets.
 * - A table entry is claimed by one compare-and-swap on its 64-bit key (table.h) and never freed. What stands behind the
 *   key is zero until added to, so a writer killed between two stores leaves nothing that anyone would wait for.
 * - Numbers inside tables name other entries by their index; a reader treats every index as input from a stranger.
 * - Times are nanoseconds. *_mono_ns are CLOCK_MONOTONIC, *_boot_ns CLOCK_BOOTTIME, *_real_ns CLOCK_REALTIME.
 */
#include "counters.h"

#include <stdatomic.h>
#include <stdint.h>

#define SEG_MAGIC 0x6d69687366727000ULL /* "\0prfshim", little endian */
#define SEG_VERSION 5u

#define SEG_TEXT_BYTES 256        /* paths, addresses and names in the header, with their final NUL */
#define SEG_ENDPOINT_BYTES 192    /* name of an endpoint, with its final NUL */
#define SEG_MODULE_PATH_BYTES 448 /* path of a module, with its final NUL; a longer one keeps its end */
#define SEG_BUILD_ID_BYTES 20     /* SHA-1, what GNU ld and lld write by default */
#define SEG_BOUNDS_MAX 30         /* latency buckets besides +Inf */
#define SEG_SIZE_BOUNDS 10        /* body size buckets besides +Inf: see seg_size_bounds in segment.h */
#define SEG_SHARDS_MAX 8          /* of histograms, besides the baseline */
#define SEG_DEPTH_MAX 1024 /* frames kept of a stack */
#define SEG_STREAM_BOUNDS 7       /* buckets of streams' durations besides +Inf: see seg_stream_bounds_ns in segment.h */
#define SEG_PEERS_MAX 32          /* servers that the program asks, told apart in labels; the others are one more */
#define SEG_PEER_BYTES 108        /* address of a peer, with its final NUL: sun_path of unix(7) is the longest */
#define SEG_RECENT 64             /* last samples of a thread that are remembered with their request */
#define SEG_SLOW_PER_ENDPOINT 32  /* slow requests kept of each endpoint */
#define SEG_SLOW_STACKS 16        /* different stacks kept of a slow request, those with the most time first come */
#define SEG_TRACE_ID_BYTES 16     /* W3C Trace Context */
#define SEG_SPAN_ID_BYTES 8
#define SEG_REQUEST_ID_BYTES 65   /* X-Request-ID, with its final NUL */

/* Modules with a meaning of their own; the loader's modules follow. */
enum {
	SEG_MODULE_NONE = 0,   /* no frame has it: a frame key is never 0 */
	SEG_MODULE_CALL = 1,   /* offset = enum seg_call: an interposed call, shown as {recv} */
	SEG_MODULE_PSEUDO = 2, /* offset = enum seg_pseudo */
	SEG_MODULE_FIRST = 3,  /* index in the module table of the first real one */
};
enum seg_pseudo {
	SEG_PSEUDO_UNKNOWN = 1, /* code outside of every module, such as a JIT's; shown as [unknown] */
	SEG_PSEUDO_TRUNCATED,   /* stands at the root of a stack deeper than SEG_DEPTH_MAX; shown as [truncated] */
	SEG_PSEUDO_LOST,        /* the whole stack of a sample that was dropped; shown as [lost] */
};

/* Endpoints with a meaning of their own: the first entries of the endpoint table. */
enum {
	SEG_ENDPOINT_BACKGROUND = 0, /* "_background": CPU outside any request */
	SEG_ENDPOINT_IDLE = 1,       /* "_idle": the event loop's own */
	SEG_ENDPOINT_OTHER = 2,      /* "_OTHER" for any protocol and method without an overflow entry of its own */
	SEG_ENDPOINT_FIRST = 3,
};

/* frames: key = module << 48 | offset (an ELF virtual address: pc - load bias). Id = index + 1.
 * For a caller the offset is that of the return address minus one, so that it points into the call instruction.
 */
struct seg_frame {
	_Atomic uint64_t key;
};

/* nodes of the call tree: key = parent node id << 32 | frame id. Id = index + 1; parent 0 = the root, above main. */
struct seg_node {
	_Atomic uint64_t key;
};

/* cells: key = node id << 32 | endpoint << 8 | kind + 1. What was seen at one node for one endpoint. */
enum seg_kind { SEG_KIND_CPU };
struct seg_cell {
	_Atomic uint64_t key;
	_Atomic uint64_t samples;     /* samples whose leaf is this node */
	_Atomic uint64_t weight_ns;   /* the CPU time they stand for */
	_Atomic uint64_t activations; /* times this node was newly entered between two samples of a thread: a lower bound */
};

/* modules: key = hash of path and build-id, never 0. Id = index. Text is valid once ready is 1 (release/acquire). */
struct seg_module {
	_Atomic uint64_t key;
	_Atomic uint32_t ready;
	uint32_t build_id_bytes;
	uint8_t build_id[SEG_BUILD_ID_BYTES];
	char path[SEG_MODULE_PATH_BYTES];
};

/* endpoints: key = hash of protocol and name, never 0. Id = index. Text is valid once ready is 1 (release/acquire);
 * whoever meets a claimed entry that is not ready writes the same text again, so that a killed writer costs nothing.
 * name: HTTP: "GET /users/{id}"; gRPC: "pkg.Service/Method"; others: the operation, "GET", "SELECT". The protocol gives the
 * prefix that reports show ("redis GET", "postgres SELECT").
 */
struct seg_endpoint {
	_Atomic uint64_t key;
	_Atomic uint32_t ready;
	uint8_t protocol; /* enum seg_protocol */
	uint8_t method;   /* enum seg_method; HTTP only */
	uint16_t is_overflow;
	_Atomic uint64_t cpu_samples;
	_Atomic uint64_t cpu_ns;
	_Atomic uint64_t slow_requests; /* that took longer than config.slow_ns */
	/* 1 + the endpoint that this one turned out to be, 0 = none: an entry that stood in for a route until it was
	 * answered (requests/endpoint.h), and what was credited to it meanwhile. */
	_Atomic uint32_t alias;
	char name[SEG_ENDPOINT_BYTES];
};

/* peers: servers that the program asks. key = hash of address and port, never 0. Id = index + 1; SEG_PEER_OTHER = all that
 * found no place. Text is valid once ready is 1 (release/acquire). */
enum { SEG_PEER_NONE = 0 /* a request that the program serves */, SEG_PEER_OTHER = SEG_PEERS_MAX + 1 };
struct seg_peer {
	_Atomic uint64_t key;
	_Atomic uint32_t ready;
	uint16_t port;                 /* 0 = a unix socket */
	char address[SEG_PEER_BYTES];  /* numeric, or the path of a unix socket ("@..." if abstract, "" if it has none) */
};

/* series: key = 1 << 63 | peer << 48 | endpoint << 32 | status << 16 | error << 8 | scheme. One label set of a duration
 * histogram. peer: SEG_PEER_NONE, or whom the program asked. status: HTTP's; gRPC: 1 + code; databases: the class of the
 * SQLSTATE (seg_sqlstate_class); 0 = none. */
enum seg_scheme { SEG_SCHEME_PLAIN /* http */, SEG_SCHEME_TLS /* https */ };
#define SEG_STATUS_MAX 1296 /* "ZZ" as a SQLSTATE's class */
struct seg_series {
	_Atomic uint64_t key;
};

/* Shards, of histograms, first bytes and sizes: numbers that are sums over all shards. The first shards_shared of them are
 * added to by any thread, with locked instructions; each of the others by the thread alone that owns it (shard_owners),
 * with single ones that are not (base/thread.h). Like a thread's slot it outlives its owner, and the next one adds on.
 * Where there are any to own, one shard more, behind the last, is the baseline: what those held together at the last
 * reset, which readers take off, since nobody else may store there. W: the server. */

/* histograms: one for each series in each shard: index = shard * series.count + series.
 * first bytes: time from a request's first byte to its answer's; one for each endpoint in each shard, like sizes. */
struct seg_histogram {
	_Atomic uint64_t buckets[SEG_BOUNDS_MAX + 1]; /* not cumulative; the last one in use is +Inf */
	_Atomic uint64_t sum_ns;
};
enum { SEG_HISTOGRAM_NUMBERS = sizeof(struct seg_histogram) / sizeof(uint64_t) };

/* exemplars: index = series: a recent request that brought a trace id. */
struct seg_exemplar {
	_Atomic uint32_t sequence; /* odd while it is written, 0 = there is none; who finds it odd leaves it alone */
	uint32_t reserved;
	uint64_t duration_ns;
	uint64_t at_real_ns;
	uint8_t trace_id[SEG_TRACE_ID_BYTES];
	uint8_t span_id[SEG_SPAN_ID_BYTES];
};

/* streams: index = endpoint. What is open for as long as its ends like (WebSocket, CONNECT, event-stream, SUBSCRIBE). */
struct seg_streams {
	_Atomic uint64_t opened;
	_Atomic uint64_t buckets[SEG_STREAM_BOUNDS + 1]; /* of those that ended; not cumulative */
	_Atomic uint64_t sum_ns;
};

/* words: the trie of requests/route_trie.h, which learns what varies in paths. */
struct seg_word {
	_Atomic uint64_t key;
	_Atomic uint32_t children;
	_Atomic uint32_t state;
};

/* slow requests: SEG_SLOW_PER_ENDPOINT (or fewer, in a small segment) for each endpoint: index = endpoint * n + i.
 * slow events: the same, each slow request in order, for the log; index = ticket % count. */
struct seg_slow_stack {
	uint32_t node; /* of the call tree; 0 = the stack was lost */
	uint32_t samples;
	uint64_t weight_ns;
};
struct seg_slow {
	/* slow requests: odd while it is written; who finds it odd leaves it alone. 0 = there is none.
	 * slow events: 2 * ticket + 1 while it is written, then 2 * (ticket + 1). */
	_Atomic uint64_t sequence;
	_Atomic uint64_t duration_ns;
	uint64_t begin_real_ns;
	uint64_t first_byte_ns; /* from begin to the answer's first byte; 0 = there was no answer */
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint64_t cpu_ns;        /* of the samples that are still remembered */
	uint32_t samples;
	uint32_t endpoint;
	uint32_t pid;
	uint32_t tid;           /* of the thread that answered */
	uint16_t status;        /* as in series */
	uint8_t error;          /* enum seg_error */
	uint8_t scheme;
	uint8_t stack_count;
	uint8_t has_trace;
	uint8_t trace_id[SEG_TRACE_ID_BYTES];
	uint8_t span_id[SEG_SPAN_ID_BYTES];
	char request_id[SEG_REQUEST_ID_BYTES];
	struct seg_slow_stack stacks[SEG_SLOW_STACKS];
};

/* connections: what is open now, and what waits for an answer on it. An entry belongs to the process that claimed it and
 * is free again when that is gone. HTTP/2: each stream has an entry of its own besides.
 * W: who holds the connection's lock; R: whoever looks, each field for itself. */
enum seg_connection_kind { SEG_CONNECTION_SERVED, SEG_CONNECTION_ASKED /* the program is the client */, SEG_CONNECTION_STREAM };
struct seg_connection {
	_Atomic uint64_t owner;          /* pid << 32 | index of its entry in the table of processes, 0 = free */
	_Atomic uint64_t opened_mono_ns;
	_Atomic uint64_t begin_mono_ns;  /* of the oldest request without an answer; 0 = none */
	_Atomic uint64_t requests;       /* answered */
	_Atomic uint64_t received_bytes;
	_Atomic uint64_t sent_bytes;
	_Atomic uint32_t endpoint;       /* of the oldest request without an answer */
	_Atomic uint32_t in_flight;      /* requests without an answer */
	_Atomic uint32_t tid;            /* thread that last touched it */
	_Atomic int32_t fd;
	_Atomic uint8_t protocol;        /* enum seg_protocol */
	_Atomic uint8_t kind;            /* enum seg_connection_kind */
	_Atomic uint8_t scheme;
	_Atomic uint8_t is_stream;       /* endpoint is a stream's, open since begin_mono_ns */
};

/* body sizes: one for each endpoint in each shard: index = shard * endpoints.count + endpoint. */
struct seg_sizes {
	_Atomic uint64_t request_buckets[SEG_SIZE_BOUNDS + 1];
	_Atomic uint64_t request_sum_bytes;
	_Atomic uint64_t response_buckets[SEG_SIZE_BOUNDS + 1];
	_Atomic uint64_t response_sum_bytes;
};
enum { SEG_SIZES_NUMBERS = sizeof(struct seg_sizes) / sizeof(uint64_t) };

/* A thread's own counters. They belong to the slot, not to the thread: the next owner adds on, readers sum all slots.
 * Slot 0 is shared by the threads that found no free one and is only added to with locked instructions (base/thread.h).
 */
struct seg_thread {
	_Atomic uint64_t owner; /* pid << 32 | tid, 0 = free; with SEG_OWNER_FOREIGN each process's own idea of both */
	_Atomic uint64_t call_counts[SEG_CALL_COUNT];
	_Atomic uint64_t call_ns[SEG_CALL_COUNT];
	_Atomic uint64_t counters[SEG_COUNTER_COUNT];
	_Atomic uint64_t overhead_ns[SEG_PHASE_COUNT];
	_Atomic uint64_t accepted[SEG_PROTOCOL_COUNT]; /* connections, counted when their protocol is known or they close */
	_Atomic uint64_t receive_bytes[SEG_PROTOCOL_COUNT];
	_Atomic uint64_t transmit_bytes[SEG_PROTOCOL_COUNT];
	/* The last samples taken for a request, so that a slow one can show where it was. W: the handler on the owning thread,
	 * or work.h there; R: any thread. Equal neighbours share an entry. */
	struct seg_recent {
		_Atomic uint64_t request; /* struct thread's request, 0 = free */
		_Atomic uint32_t node;
		_Atomic uint32_t samples;
		_Atomic uint64_t weight_ns;
	} recent[SEG_RECENT];
	_Atomic uint32_t recent_next;
};

/* unwind: index = module's. How its code is left (segment/unwind.h). W: the server; R: handlers.
 * unwind arena: the tables; whoever makes one takes the next free piece of it. */
enum seg_unwind_state {
	SEG_UNWIND_WANTED,  /* not looked at yet */
	SEG_UNWIND_READY,   /* all below is written (release/acquire) */
	SEG_UNWIND_NO_CFI,  /* its file has no unwind information */
	SEG_UNWIND_FAILED,  /* its file cannot be read, is another one by now, or is damaged */
	SEG_UNWIND_FULL,    /* there was no room for it */
};
#define SEG_UNWIND_ATTEMPTS_MAX 3 /* servers that may die of a file before it is left alone */
struct seg_unwind {
	_Atomic uint32_t state;
	_Atomic uint32_t is_met;   /* by a handler: is wanted before others */
	_Atomic uint32_t attempts; /* that were begun */
	uint32_t place;            /* in the arena, in its entries */
	uint64_t base;             /* address of the first block, a multiple of 64 KiB */
	uint32_t block_count;
	uint32_t shift;            /* a block is 2^shift bytes, at most 64 KiB */
	uint32_t row_count;
	uint32_t unsupported_rows;
	uint32_t covered_pct;      /* of the file's code: what rows cover; the rest is followed by frame pointers */
	uint64_t ready_mono_ns;    /* when it became ready */
};
#define SEG_UNWIND_PIECE_BYTES 64
struct seg_unwind_piece {
	uint8_t bytes[SEG_UNWIND_PIECE_BYTES];
};

/* In a pid namespace other than that in which the session began: bits of the namespace's number above those of the pid. */
#define SEG_OWNER_FOREIGN (1u << 31)
#define SEG_OWNER_NAMESPACE_SHIFT 22 /* PID_MAX_LIMIT, linux/threads.h */

/* A process: only what must vanish with it. Gauges are signed, since one thread may add what another takes away. */
#define SEG_PROCESS_CLAIMED (1ULL << 32)  /* by this pid, which fills it in or clears it */
#define SEG_PROCESS_RESERVED (1ULL << 33) /* by this pid, for a child that it is about to fork */
#define SEG_PROCESS_TURN_SHIFT 34         /* above: number of the reservation */
struct seg_process {
	_Atomic uint64_t owner;       /* pid, 0 = free; with one of the flags above it is in nobody's use yet, or no more */
	_Atomic uint64_t since_boot_ns; /* later than the process's start: tells a reused pid from its first owner */
	_Atomic uint32_t pid_namespace; /* its inode, in which the owner's pid counts; 0 = not known, as the session's */
	_Atomic int32_t session_pid;  /* its number in the namespace where the session began, if it is in another; 0 = not known.
				       * W: the server */
	_Atomic uint32_t is_exiting;  /* said good-bye: its death is EXIT_CLEAN or EXIT_EXEC, already counted */
	_Atomic int32_t threads;      /* attached threads */
	_Atomic uint32_t has_server;  /* one of its threads serves or waits to */
	_Atomic uint32_t rings_counted; /* of io_uring that it made or inherited, and that were counted as blind */
	_Atomic int64_t open_connections[SEG_PROTOCOL_COUNT];
	/* HTTP: the sum of both is the gauge. The second is its own of the one thread that the process gave it to, which adds
	 * with instructions that are not locked (base/thread.h). */
	_Atomic int64_t active_requests[SEG_METHOD_COUNT][2 /* enum seg_scheme */];
	_Atomic int64_t active_owned[SEG_METHOD_COUNT][2];
	_Atomic int64_t open_streams[SEG_PROTOCOL_COUNT];
};

/* What readers must know of the configuration in force, whichever process serves. Written before ready, then constant,
 * but for the atomic fields. */
struct seg_config {
	_Atomic uint32_t hz;         /* 0 = no sampling */
	_Atomic uint32_t is_enabled; /* 0 = nothing is sampled */
	uint32_t budget_ppm;         /* of the program's CPU time, for profshim's own; 0 = no cap */
	uint32_t max_routes;
	uint32_t top;                      /* rows of a report */
	uint32_t sort;                     /* enum seg_sort */
	uint32_t log_level;                /* enum seg_log_level */
	uint32_t report_at_exit;
	uint32_t bound_count;              /* 1..SEG_BOUNDS_MAX */
	uint64_t bounds_ns[SEG_BOUNDS_MAX]; /* rising */
	uint64_t slow_ns;
	char listen[SEG_TEXT_BYTES];  /* HOST:PORT, unix:/path or off, as configured */
	char report[SEG_TEXT_BYTES];  /* stderr or a path with %p and %n */
	char slow_log[SEG_TEXT_BYTES]; /* path that gets a line of JSON for each slow request; "" = none */
	char token[SEG_TEXT_BYTES];   /* "" = none */
	char service[SEG_TEXT_BYTES]; /* service_name of target_info */
	char unwind[16];              /* auto, tables, libunwind, fp */
};
enum seg_sort { SEG_SORT_TOTTIME, SEG_SORT_CUMTIME, SEG_SORT_NCALLS, SEG_SORT_NAME };
enum seg_log_level { SEG_LOG_ERROR, SEG_LOG_WARN, SEG_LOG_INFO, SEG_LOG_DEBUG };

/* The arrays of struct seg_thread that readers sum over all threads, by name. */
#define SEG_THREAD_SUMS(X) \
	X(call_counts) X(call_ns) X(counters) X(overhead_ns) X(accepted) X(receive_bytes) X(transmit_bytes)

/* What those sums were at the last reset: a thread's own counters can be cleared by nobody else, since it
 * adds to them with instructions that are not locked. W: the server; R: readers. */
struct seg_baseline {
	_Atomic uint64_t call_counts[SEG_CALL_COUNT];
	_Atomic uint64_t call_ns[SEG_CALL_COUNT];
	_Atomic uint64_t counters[SEG_COUNTER_COUNT];
	_Atomic uint64_t overhead_ns[SEG_PHASE_COUNT];
	_Atomic uint64_t accepted[SEG_PROTOCOL_COUNT];
	_Atomic uint64_t receive_bytes[SEG_PROTOCOL_COUNT];
	_Atomic uint64_t transmit_bytes[SEG_PROTOCOL_COUNT];
};

/* Where a table lies in the segment. */
struct seg_span {
	uint64_t offset; /* from the start of the segment, a multiple of 64 */
	uint32_t count;  /* entries */
	uint32_t stride; /* bytes of an entry: sizeof of its struct, or the file is of another build */
};

enum seg_table {
	SEG_TABLE_THREADS,
	SEG_TABLE_PROCESSES,
	SEG_TABLE_FRAMES,
	SEG_TABLE_NODES,
	SEG_TABLE_CELLS,
	SEG_TABLE_MODULES,
	SEG_TABLE_ENDPOINTS,
	SEG_TABLE_SERIES,
	SEG_TABLE_HISTOGRAMS,
	SEG_TABLE_SIZES,
	SEG_TABLE_FIRST_BYTES,
	SEG_TABLE_EXEMPLARS,
	SEG_TABLE_STREAMS,
	SEG_TABLE_PEERS,
	SEG_TABLE_WORDS,
	SEG_TABLE_SLOW,
	SEG_TABLE_SLOW_EVENTS,
	SEG_TABLE_CONNECTIONS,
	SEG_TABLE_UNWIND,
	SEG_TABLE_UNWIND_ARENA,
	SEG_TABLE_COUNT
};

/* Parts of each table whose first use is marked, so that readers leave the others untouched: to look at a page of a sparse
 * file is to make it. */
#define SEG_MARK_PARTS 4096

/* Bytes kept for a process-shared robust mutex (pthread_mutex_t is 40 on x86-64): who holds it serves HTTP. */
#define SEG_ELECTION_BYTES 64

struct segment {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes; /* sizeof(struct segment) of the writer */
	uint64_t total_bytes;
	_Atomic uint32_t ready; /* 1 = all below is written (release/acquire) */
	uint32_t shard_count;   /* 1..SEG_SHARDS_MAX, the baseline not among them */
	uint32_t shards_shared; /* 1..shard_count: those that nobody owns stand first */
	_Atomic uint32_t shards_used; /* a bit for the first, and each that was added to, the baseline's behind the last one's */
	_Atomic uint64_t shard_owners[SEG_SHARDS_MAX]; /* as seg_thread's owner, 0 = free; W: base/thread.c, setup/process.c */
	struct seg_span tables[SEG_TABLE_COUNT];
	_Atomic uint64_t marks[SEG_TABLE_COUNT][SEG_MARK_PARTS / 64]; /* see struct seg_slots */

	uint64_t created_mono_ns;
	uint64_t created_real_ns;
	char program[SEG_TEXT_BYTES]; /* the first program as it was called, or what was executed in its place */
	char session[SEG_TEXT_BYTES]; /* name of the session: what `profshim ls` lists and `profshim report` takes */
	struct seg_config config;

	_Alignas(64) uint8_t election[SEG_ELECTION_BYTES];
	uint32_t pid_namespace;             /* in which the session began: inode, 0 = not known */
	_Atomic uint32_t server_pid;        /* the process that serves, 0 = none yet */
	_Atomic uint32_t standby_count;     /* processes with a thread that waits to serve */
	_Atomic uint32_t has_listened;      /* some process of the session is a server */
	_Atomic uint32_t reports_requested; /* raised by the report signal's handler; the server writes as many reports */
	_Atomic uint32_t reports_written;   /* %n of the next report's path, less one; counted when a report is begun */
	_Atomic uint32_t reports_finished;  /* of those, the ones that are out, or failed */
	_Atomic uint64_t slow_events_begun; /* tickets given out for slow events */
	_Atomic uint64_t slow_events_logged; /* of those, the ones that the server wrote to the log, or gave up */
	_Atomic uint32_t unwind_generation; /* raised after each table of unwind rules that became ready */
	_Atomic uint32_t unwind_pieces;     /* of the arena that were taken */
	_Atomic uint32_t routes_count;      /* endpoints made from requests, at most config.max_routes */
	/* Samples a second of CPU time and thread in force now, 0 = none: config.hz, unless sampling is disabled or its budget
	 * is used up. W: who makes the segment, then the server (setup/governor.h); R: every hook and handler. */
	_Atomic uint32_t hz_now;
	_Atomic uint32_t rate_shift;        /* times that the governor has halved config.hz for it; W: the server */
	_Atomic uint32_t perf_tick_ns;      /* what an expiry of the perf clock costs here, 0 = not measured; W: the server */
	_Atomic int64_t uncounted_ns;       /* CPU time that ended threads had used when no sample stood for it; < 0: that samples
					     * stood for and they had not used (sampling/pulse.h) */
	_Atomic uint32_t perf_threads;      /* that ever had the perf clock besides their timer */
	_Atomic uint32_t perf_error;        /* errno of the last one that was refused it, 0 = none was */
	_Atomic uint64_t ended_mono_ns;     /* when the last process said good-bye; 0 = somebody lives, or was killed */
	_Atomic uint64_t heartbeat_mono_ns;  /* when the server last looked after the session: how long one that was killed lived */
	_Atomic uint32_t resets;            /* twice as many as there were; odd: one is under way, or its server died at it */
	_Atomic uint64_t reset_mono_ns;     /* when the last one was; 0 = there was none */
	struct seg_baseline baseline;
	_Atomic uint32_t served_port;       /* so that the next server takes the same */
	char served_address[SEG_TEXT_BYTES]; /* what to curl: "127.0.0.1:9465"; W: the server */
};
