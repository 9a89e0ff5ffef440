#include "observe.h"

#include "../segment/kernel_clock.h"
#include "endpoint.h"

#include <string.h>

#define NO_SHARD UINT32_MAX

__thread struct observe_place observe_place __attribute__((tls_model("initial-exec"))) = { .shard = NO_SHARD };

/* The overflow label set of endpoint's protocol and method: no status, error _OTHER. It must be found whatever the
 * table's load, so its place is the first free one and not the one of its hash. */
static uint32_t overflow_series(uint32_t endpoint, uint32_t peer, uint32_t count)
{
	uint64_t key = seg_series_key(endpoint_overflow_of(endpoint), 0, SEG_ERROR_OTHER, SEG_SCHEME_PLAIN);

	key = seg_series_key_asked(key, peer);
	for (uint32_t i = 0; i < count; i++)
		thread_count(SEG_COUNTER_OVERFLOW_SERIES);
	return seg_table_append(&seg.slots[SEG_TABLE_SERIES], 0, key, NULL);
}

static bool series_is_of(uint32_t series, uint64_t key)
{
	return atomic_load_explicit(&seg.series[series].key, memory_order_relaxed) == key;
}

/* Index of the label set, for count requests. */
static uint32_t series_of(uint64_t key, uint32_t endpoint, uint32_t count)
{
	const struct seg_slots *slots = &seg.slots[SEG_TABLE_SERIES];
	uint32_t series = seg_table_place(slots, key);

	if (!series_is_of(series, key))
		series = seg_table_insert(slots, key, NULL);
	if (series == SEG_NOT_FOUND)
		series = overflow_series(endpoint, seg_series_peer(key), count);
	return series;
}

static struct seg_histogram *durations_of(uint32_t shard, uint32_t series)
{
	if (observe_place.shard == shard && observe_place.series == series)
		return observe_place.durations;
	return &seg.histograms[thread_shard_index(shard) * seg.slots[SEG_TABLE_SERIES].count + series];
}

/* Where to is asked for now and not when the run began: a handler may have forked meanwhile. */
void observe_run_flush(struct observe_run *run)
{
	if (run->count && run->series != SEG_NOT_FOUND) {
		uint32_t shard = self.shard;
		struct seg_histogram *histogram = durations_of(shard, run->series);
		observe_add_to(shard, &histogram->buckets[run->bucket], run->count);
		observe_add_to(shard, &histogram->sum_ns, run->sum_ns);
	}
	run->count = 0;
	run->sum_ns = 0;
}

/* Whoever interrupts this finds nothing kept, and so does the thread if that never comes back. */
static void keep_place(uint64_t key, uint32_t series, uint32_t endpoint)
{
	uint32_t shard = self.shard;

	observe_place.shard = NO_SHARD;
	if (!(shard & THREAD_OWNS_SHARD))
		return;
	atomic_signal_fence(memory_order_seq_cst);
	observe_place.key = key;
	observe_place.series = series;
	observe_place.endpoint = endpoint;
	observe_place.durations = durations_of(shard, series);
	observe_place.first_bytes = &seg.first_bytes[observe_index_of(shard, endpoint)];
	observe_place.sizes = &seg.sizes[observe_index_of(shard, endpoint)];
	atomic_signal_fence(memory_order_seq_cst);
	observe_place.shard = shard;
}

void observe_run_begin_elsewhere(struct observe_run *run, uint64_t key, uint32_t endpoint, uint32_t count)
{
	/* Who found no shard of its own asks again now and then: after a reload those of before have gone. */
	if (__builtin_expect(!(self.shard & THREAD_OWNS_SHARD), 0) && self.shard_turns++ % THREAD_SHARD_TURNS == 0)
		thread_take_shard();
	run->series = series_of(key, endpoint, count);
	/* The overflow label set is looked for each time, so that each time is counted. */
	run->key = run->series != SEG_NOT_FOUND && series_is_of(run->series, key) ? key : 0;
	if (run->key)
		keep_place(key, run->series, endpoint);
}

void observe_open(enum seg_protocol protocol, int delta)
{
	if (thread_process)
		atomic_fetch_add_explicit(&thread_process->open_connections[protocol], delta, memory_order_relaxed);
}

void observe_exemplar(const struct observation *observation, const uint8_t *trace_id, const uint8_t *span_id)
{
	uint32_t series = seg_table_find(&seg.slots[SEG_TABLE_SERIES], observe_key_of(observation));

	if (series == SEG_NOT_FOUND)
		return;
	struct seg_exemplar *exemplar = &seg.exemplars[series];
	uint32_t sequence = atomic_load_explicit(&exemplar->sequence, memory_order_relaxed);
	if (sequence & 1 || !atomic_compare_exchange_strong_explicit(&exemplar->sequence, &sequence, sequence + 1,
								     memory_order_acq_rel, memory_order_relaxed))
		return;
	exemplar->duration_ns = observation->duration_ns;
	exemplar->at_real_ns = kernel_clock_ns(CLOCK_REALTIME);
	memcpy(exemplar->trace_id, trace_id, sizeof(exemplar->trace_id));
	memcpy(exemplar->span_id, span_id, sizeof(exemplar->span_id));
	seg_table_mark(&seg.slots[SEG_TABLE_EXEMPLARS], series);
	atomic_store_explicit(&exemplar->sequence, sequence + 2, memory_order_release);
}

void observe_stream_moved(enum seg_protocol protocol, int delta)
{
	if (thread_process)
		atomic_fetch_add_explicit(&thread_process->open_streams[protocol], delta, memory_order_relaxed);
}

void observe_stream_opened(enum seg_protocol protocol, uint32_t endpoint)
{
	observe_add(&seg.streams[endpoint].opened, 1);
	observe_stream_moved(protocol, 1);
}

void observe_stream_ended(enum seg_protocol protocol, uint32_t endpoint, uint64_t duration_ns)
{
	struct seg_streams *streams = &seg.streams[endpoint];

	observe_add(&streams->buckets[observe_bucket_of(seg_stream_bounds_ns, SEG_STREAM_BOUNDS, duration_ns)], 1);
	observe_add(&streams->sum_ns, duration_ns);
	observe_stream_moved(protocol, -1);
}
