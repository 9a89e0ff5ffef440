#include "observe.h"

#include "endpoint.h"

#include <string.h>
#include <time.h>

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

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

/* Index of the histogram in this thread's shard, for count requests. */
static uint32_t histogram_of(uint64_t key, uint32_t endpoint, uint32_t count)
{
	uint32_t series = seg_table_insert(&seg.slots[SEG_TABLE_SERIES], key, NULL);

	if (series == SEG_NOT_FOUND)
		series = overflow_series(endpoint, seg_series_peer(key), count);
	return series == SEG_NOT_FOUND ? SEG_NOT_FOUND : self.shard * seg.slots[SEG_TABLE_SERIES].count + series;
}

/* The first bucket whose bound is not below the value; the last is +Inf. */
static uint32_t bucket_of(const uint64_t *bounds, uint32_t count, uint64_t value)
{
	uint32_t bucket = 0;

	while (bucket < count && bounds[bucket] < value)
		bucket++;
	return bucket;
}

void observe_run_flush(struct observe_run *run)
{
	if (run->count && run->histogram != SEG_NOT_FOUND) {
		struct seg_histogram *histogram = &seg.histograms[run->histogram];
		add(&histogram->buckets[run->bucket], run->count);
		add(&histogram->sum_ns, run->sum_ns);
	}
	run->count = 0;
	run->sum_ns = 0;
}

static uint64_t key_of(const struct observation *observation)
{
	uint64_t key = seg_series_key(observation->endpoint, observation->status, observation->error, observation->scheme);

	return seg_series_key_asked(key, observation->peer);
}

static bool histogram_is_of(uint32_t histogram, uint64_t key)
{
	if (histogram == SEG_NOT_FOUND)
		return false;
	uint32_t series = histogram % seg.slots[SEG_TABLE_SERIES].count;
	return atomic_load_explicit(&seg.series[series].key, memory_order_relaxed) == key;
}

void observe_run_add(struct observe_run *run, const struct observation *observation, uint32_t count)
{
	const struct seg_config *config = &seg.head->config;
	uint64_t key = key_of(observation);
	uint32_t bucket = bucket_of(config->bounds_ns, config->bound_count, observation->duration_ns);

	if (key != run->key) {
		observe_run_flush(run);
		run->histogram = histogram_of(key, observation->endpoint, count);
		/* The overflow label set is looked for each time, so that each time is counted. */
		run->key = histogram_is_of(run->histogram, key) ? key : 0;
	} else if (bucket != run->bucket) {
		observe_run_flush(run);
	}
	run->bucket = bucket;
	run->count += count;
	run->sum_ns += count * observation->duration_ns;
}

void observe_request(const struct observation *observation)
{
	struct observe_run run = { 0 };

	observe_run_add(&run, observation, 1);
	observe_run_flush(&run);
}

static struct seg_sizes *sizes_of(uint32_t endpoint)
{
	return &seg.sizes[self.shard * seg.slots[SEG_TABLE_ENDPOINTS].count + endpoint];
}

void observe_request_body(uint32_t endpoint, uint64_t bytes)
{
	struct seg_sizes *sizes = sizes_of(endpoint);

	add(&sizes->request_buckets[bucket_of(seg_size_bounds, SEG_SIZE_BOUNDS, bytes)], 1);
	if (bytes)
		add(&sizes->request_sum_bytes, bytes);
}

void observe_response_body(uint32_t endpoint, uint64_t bytes)
{
	struct seg_sizes *sizes = sizes_of(endpoint);

	add(&sizes->response_buckets[bucket_of(seg_size_bounds, SEG_SIZE_BOUNDS, bytes)], 1);
	if (bytes)
		add(&sizes->response_sum_bytes, bytes);
}

void observe_open(enum seg_protocol protocol, int delta)
{
	if (thread_process)
		atomic_fetch_add_explicit(&thread_process->open_connections[protocol], delta, memory_order_relaxed);
}

void observe_active(enum seg_method method, enum seg_scheme scheme, int delta)
{
	if (thread_process)
		atomic_fetch_add_explicit(&thread_process->active_requests[method][scheme], delta, memory_order_relaxed);
}

static uint64_t real_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void observe_exemplar(const struct observation *observation, const uint8_t *trace_id, const uint8_t *span_id)
{
	uint32_t series = seg_table_find(&seg.slots[SEG_TABLE_SERIES], key_of(observation));

	if (series == SEG_NOT_FOUND)
		return;
	struct seg_exemplar *exemplar = &seg.exemplars[series];
	uint32_t sequence = atomic_load_explicit(&exemplar->sequence, memory_order_relaxed);
	if (sequence & 1 || !atomic_compare_exchange_strong_explicit(&exemplar->sequence, &sequence, sequence + 1,
								     memory_order_acq_rel, memory_order_relaxed))
		return;
	exemplar->duration_ns = observation->duration_ns;
	exemplar->at_real_ns = real_now_ns();
	memcpy(exemplar->trace_id, trace_id, sizeof(exemplar->trace_id));
	memcpy(exemplar->span_id, span_id, sizeof(exemplar->span_id));
	seg_table_mark(&seg.slots[SEG_TABLE_EXEMPLARS], series);
	atomic_store_explicit(&exemplar->sequence, sequence + 2, memory_order_release);
}

void observe_first_byte(uint32_t endpoint, uint64_t duration_ns, uint32_t count)
{
	const struct seg_config *config = &seg.head->config;
	uint32_t index = self.shard * seg.slots[SEG_TABLE_ENDPOINTS].count + endpoint;
	struct seg_histogram *histogram = &seg.first_bytes[index];

	add(&histogram->buckets[bucket_of(config->bounds_ns, config->bound_count, duration_ns)], count);
	add(&histogram->sum_ns, count * duration_ns);
}

void observe_stream_moved(enum seg_protocol protocol, int delta)
{
	if (thread_process)
		atomic_fetch_add_explicit(&thread_process->open_streams[protocol], delta, memory_order_relaxed);
}

void observe_stream_opened(enum seg_protocol protocol, uint32_t endpoint)
{
	add(&seg.streams[endpoint].opened, 1);
	observe_stream_moved(protocol, 1);
}

void observe_stream_ended(enum seg_protocol protocol, uint32_t endpoint, uint64_t duration_ns)
{
	struct seg_streams *streams = &seg.streams[endpoint];

	add(&streams->buckets[bucket_of(seg_stream_bounds_ns, SEG_STREAM_BOUNDS, duration_ns)], 1);
	add(&streams->sum_ns, duration_ns);
	observe_stream_moved(protocol, -1);
}
