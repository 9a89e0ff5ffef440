#pragma once
/* observe - adds finished requests and sizes of bodies to the segment, and moves the gauges of this process.
 * Context: call.
 * Overlap: any. Histograms are in shards, one of which belongs to the thread or else to many, and are added to as thread.h
 * says, each number by one instruction; gauges belong to the process, and those of requests besides to one of its threads;
 * what is counted in a thread's slot goes through thread.h. A reset at the same time finds each add before or after it.
 */
#include "../base/thread.h"

struct observation {
	uint32_t endpoint;
	uint16_t status;    /* as in the key of a series */
	uint8_t error;      /* enum seg_error */
	uint8_t scheme;     /* enum seg_scheme */
	uint8_t peer;       /* SEG_PEER_NONE: the program served it; else whom it asked */
	uint64_t duration_ns;
};

static inline void observe_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* To a number in that shard, a value of self.shard. */
static inline void observe_add_to(uint32_t shard, _Atomic uint64_t *number, uint64_t n)
{
	thread_add_to(number, n, shard & THREAD_OWNS_SHARD);
}

/* The first bucket whose bound is not below the value; the last is +Inf. */
static inline uint32_t observe_bucket_of(const uint64_t *bounds, uint32_t count, uint64_t value)
{
	uint32_t bucket = 0;

	while (bucket < count && bounds[bucket] < value)
		bucket++;
	return bucket;
}

/* Where the thread counted last, which is most often where it counts next. Kept of what it found in a shard of its own. W: the
 * thread. */
struct observe_place {
	uint32_t shard;    /* self.shard, or one that no thread has: nothing is kept */
	uint32_t endpoint;
	uint64_t key;      /* of the series */
	uint32_t series;   /* index */
	struct seg_histogram *durations, *first_bytes;
	struct seg_sizes *sizes;
};
extern __thread struct observe_place observe_place __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* A run of requests, whose label set is the same as the one before more often than not, count at a time: holds sums back until
 * another label set comes. Flush before the connection's lock is given back. Where a label set finds no place, they go to the
 * overflow label set of its protocol and method, and OVERFLOW_SERIES counts them. */
struct observe_run {
	uint64_t key;       /* of the series; 0 = nothing held */
	uint32_t series;    /* index; SEG_NOT_FOUND = it found no place */
	uint32_t bucket;
	uint64_t count;
	uint64_t sum_ns;
};
void observe_run_begin_elsewhere(struct observe_run *run, uint64_t key, uint32_t endpoint, uint32_t count);
void observe_run_flush(struct observe_run *run);

/* count requests of another label set come. */
static inline void observe_run_begin(struct observe_run *run, uint64_t key, uint32_t endpoint, uint32_t count)
{
	if (__builtin_expect(run->count != 0, 0))
		observe_run_flush(run);
	run->key = key;
	run->series = observe_place.series;
	if (__builtin_expect(observe_place.key != key || observe_place.shard != self.shard, 0))
		observe_run_begin_elsewhere(run, key, endpoint, count);
}

static inline uint64_t observe_key_of(const struct observation *observation)
{
	uint64_t key = seg_series_key(observation->endpoint, observation->status, observation->error, observation->scheme);

	return seg_series_key_asked(key, observation->peer);
}

static inline uint32_t observe_bucket_of_duration(uint64_t duration_ns)
{
	return observe_bucket_of(seg.head->config.bounds_ns, seg.head->config.bound_count, duration_ns);
}

static inline void observe_run_add(struct observe_run *run, const struct observation *observation, uint32_t count)
{
	uint64_t key = observe_key_of(observation);
	uint32_t bucket = observe_bucket_of_duration(observation->duration_ns);

	if (key != run->key)
		observe_run_begin(run, key, observation->endpoint, count);
	else if (__builtin_expect(bucket != run->bucket, 0))
		observe_run_flush(run);
	run->bucket = bucket;
	run->count += count;
	run->sum_ns += count * observation->duration_ns;
}

/* The trace id and the span id of a request as the exemplar of its label set. */
void observe_exemplar(const struct observation *observation, const uint8_t *trace_id, const uint8_t *span_id);

/* Of an endpoint's numbers in that shard. */
static inline uint32_t observe_index_of(uint32_t shard, uint32_t endpoint)
{
	return thread_shard_index(shard) * seg.slots[SEG_TABLE_ENDPOINTS].count + endpoint;
}

/* The same as pointers: most often they are kept. */
static inline bool observe_is_placed(uint32_t shard, uint32_t endpoint)
{
	return __builtin_expect(observe_place.shard == shard && observe_place.endpoint == endpoint, 1);
}

static inline struct seg_histogram *observe_first_bytes_of(uint32_t shard, uint32_t endpoint)
{
	return observe_is_placed(shard, endpoint) ? observe_place.first_bytes : &seg.first_bytes[observe_index_of(shard, endpoint)];
}

static inline struct seg_sizes *observe_sizes_of(uint32_t shard, uint32_t endpoint)
{
	return observe_is_placed(shard, endpoint) ? observe_place.sizes : &seg.sizes[observe_index_of(shard, endpoint)];
}

/* first_byte_ns: from the first byte of a request to the first byte of its answer. For the count requests of that duration that
 * run was given last. */
static inline void observe_first_byte(const struct observe_run *run, uint32_t endpoint, uint64_t duration_ns, uint64_t first_byte_ns,
				      uint32_t count)
{
	uint32_t shard = self.shard;
	struct seg_histogram *histogram = observe_first_bytes_of(shard, endpoint);
	uint32_t bucket = run->bucket; /* of the duration, and of an answer that goes out at once */

	if (first_byte_ns != duration_ns)
		bucket = observe_bucket_of_duration(first_byte_ns);
	observe_add_to(shard, &histogram->buckets[bucket], count);
	observe_add_to(shard, &histogram->sum_ns, count * first_byte_ns);
}

/* A stream of endpoint begins; it ends after duration_ns. */
void observe_stream_opened(enum seg_protocol protocol, uint32_t endpoint);
void observe_stream_ended(enum seg_protocol protocol, uint32_t endpoint, uint64_t duration_ns);

/* The gauge of open streams alone, of one that is followed on by another process, or no more. */
void observe_stream_moved(enum seg_protocol protocol, int delta);

/* Bytes of a request's and of a response's body, without framing. */
static inline void observe_request_body(uint32_t endpoint, uint64_t bytes)
{
	uint32_t shard = self.shard;
	struct seg_sizes *sizes = observe_sizes_of(shard, endpoint);

	observe_add_to(shard, &sizes->request_buckets[observe_bucket_of(seg_size_bounds, SEG_SIZE_BOUNDS, bytes)], 1);
	if (bytes)
		observe_add_to(shard, &sizes->request_sum_bytes, bytes);
}

static inline void observe_response_body(uint32_t endpoint, uint64_t bytes)
{
	uint32_t shard = self.shard;
	struct seg_sizes *sizes = observe_sizes_of(shard, endpoint);

	observe_add_to(shard, &sizes->response_buckets[observe_bucket_of(seg_size_bounds, SEG_SIZE_BOUNDS, bytes)], 1);
	if (bytes)
		observe_add_to(shard, &sizes->response_sum_bytes, bytes);
}

/* Gauges; delta is 1 or -1. */
void observe_open(enum seg_protocol protocol, int delta);
static inline void observe_active(enum seg_method method, enum seg_scheme scheme, int delta)
{
	struct seg_process *process = thread_process;
	bool is_owned = self.owns_gauges;

	if (__builtin_expect(!process, 0))
		return;
	_Atomic int64_t *gauge = is_owned ? &process->active_owned[method][scheme] : &process->active_requests[method][scheme];
	thread_add_to((_Atomic uint64_t *)gauge, (uint64_t)(int64_t)delta, is_owned);
}

/* Counters of the thread. */
static inline void observe_accepted(enum seg_protocol protocol)
{
	if (self.slot)
		thread_add(&self.slot->accepted[protocol], 1);
}

static inline void observe_received(enum seg_protocol protocol, uint64_t bytes)
{
	if (self.slot)
		thread_add(&self.slot->receive_bytes[protocol], bytes);
}

static inline void observe_sent(enum seg_protocol protocol, uint64_t bytes)
{
	if (self.slot)
		thread_add(&self.slot->transmit_bytes[protocol], bytes);
}
