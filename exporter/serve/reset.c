/* What many threads add to with locked instructions is set to zero by one exchange each, so that nothing is lost and
 * nothing counts twice. A thread's own counters are added to without a lock, so they are left alone: their sums now are
 * the baseline that snapshots take off. To keep a baseline of everything instead would take three numbers for each cell of
 * the call tree, a quarter of the segment, or a second file that a server with fewer rights could not open.
 *
 * resets is odd meanwhile. A snapshot that saw it odd or change is taken again, and one of before is not subtracted from
 * one of after (exporter/snapshot.c).
 */
#include "reset.h"

#include <time.h>

static void clear(_Atomic uint64_t *counter)
{
	if (atomic_load_explicit(counter, memory_order_relaxed))
		atomic_exchange_explicit(counter, 0, memory_order_relaxed);
}

static void clear_all(_Atomic uint64_t *counters, size_t n)
{
	for (size_t i = 0; i < n; i++)
		clear(&counters[i]);
}

#define CLEAR_ARRAY(array) clear_all((array), sizeof(array) / sizeof((array)[0]))

static void clear_cells(const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_CELLS];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		clear(&seg->cells[i].samples);
		clear(&seg->cells[i].weight_ns);
		clear(&seg->cells[i].activations);
	}
}

/* Claimed as a writer would, so that one of them at a time has the entry; who is at it now ended after the reset. */
static void clear_slow(const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_SLOW];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		struct seg_slow *slow = &seg->slow[i];
		uint64_t sequence = atomic_load_explicit(&slow->sequence, memory_order_relaxed);
		if (!sequence || sequence & 1 || !atomic_compare_exchange_strong(&slow->sequence, &sequence, sequence + 1))
			continue;
		atomic_store_explicit(&slow->duration_ns, 0, memory_order_relaxed);
		atomic_store_explicit(&slow->sequence, 0, memory_order_release);
	}
}

static void clear_exemplar(struct seg_exemplar *exemplar)
{
	uint32_t sequence = atomic_load_explicit(&exemplar->sequence, memory_order_relaxed);

	if (sequence && !(sequence & 1))
		atomic_compare_exchange_strong(&exemplar->sequence, &sequence, 0);
}

static void clear_histogram(struct seg_histogram *histogram)
{
	CLEAR_ARRAY(histogram->buckets);
	clear(&histogram->sum_ns);
}

static void clear_series(const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_SERIES];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		if (!atomic_load_explicit(&seg->series[i].key, memory_order_relaxed))
			continue;
		for (uint32_t shard = 0; shard < seg->slots[SEG_TABLE_HISTOGRAMS].count / slots->count; shard++)
			clear_histogram(&seg->histograms[(size_t)shard * slots->count + i]);
		clear_exemplar(&seg->exemplars[i]);
	}
}

static void clear_endpoint(const struct seg_view *seg, uint32_t id)
{
	uint32_t count = seg->slots[SEG_TABLE_ENDPOINTS].count, shards = seg->slots[SEG_TABLE_SIZES].count / count;
	struct seg_endpoint *endpoint = &seg->endpoints[id];
	struct seg_streams *streams = &seg->streams[id];

	clear(&endpoint->cpu_samples);
	clear(&endpoint->cpu_ns);
	clear(&endpoint->slow_requests);
	clear(&streams->opened);
	CLEAR_ARRAY(streams->buckets);
	clear(&streams->sum_ns);
	for (uint32_t shard = 0; shard < shards; shard++) {
		struct seg_sizes *sizes = &seg->sizes[(size_t)shard * count + id];
		CLEAR_ARRAY(sizes->request_buckets);
		clear(&sizes->request_sum_bytes);
		CLEAR_ARRAY(sizes->response_buckets);
		clear(&sizes->response_sum_bytes);
		clear_histogram(&seg->first_bytes[(size_t)shard * count + id]);
	}
}

static void clear_endpoints(const struct seg_view *seg)
{
	for (uint32_t id = 0; id < seg->slots[SEG_TABLE_ENDPOINTS].count; id++)
		if (id < SEG_ENDPOINT_FIRST || atomic_load_explicit(&seg->endpoints[id].key, memory_order_relaxed))
			clear_endpoint(seg, id);
}

/* Sum of one counter over all threads; at: where it stands in the first one's. */
static uint64_t sum_of(const struct seg_view *seg, const _Atomic uint64_t *at)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_THREADS];
	size_t offset = (size_t)((const char *)at - (const char *)seg->threads);
	uint64_t sum = 0;

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++)
		sum += atomic_load_explicit((const _Atomic uint64_t *)((const char *)&seg->threads[i] + offset), memory_order_relaxed);
	return sum;
}

static void keep_sums(const struct seg_view *seg, _Atomic uint64_t *ret_sums, const _Atomic uint64_t *first, size_t n)
{
	for (size_t i = 0; i < n; i++)
		atomic_store_explicit(&ret_sums[i], sum_of(seg, &first[i]), memory_order_relaxed);
}

static void take_baseline(const struct seg_view *seg)
{
	struct seg_baseline *baseline = &seg->head->baseline;
	const struct seg_thread *first = &seg->threads[0];

#define KEEP_SUMS(name) keep_sums(seg, baseline->name, first->name, sizeof(first->name) / sizeof(first->name[0]));
	SEG_THREAD_SUMS(KEEP_SUMS)
#undef KEEP_SUMS
}

void reset_session(const struct seg_view *seg)
{
	struct segment *head = seg->head;
	struct timespec now;

	atomic_fetch_or(&head->resets, 1); /* odd already: a server died at it */
	/* Samples are added to an endpoint first and to a cell then. Cleared the other way round, what is on its way meanwhile
	 * cannot look like one that was dropped. */
	clear_cells(seg);
	clear_slow(seg);
	clear_series(seg);
	clear_endpoints(seg);
	take_baseline(seg);
	clock_gettime(CLOCK_MONOTONIC, &now);
	atomic_store_explicit(&head->reset_mono_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, memory_order_relaxed);
	atomic_fetch_add(&head->resets, 1);
}

void reset_finish(const struct seg_view *seg)
{
	if (atomic_load(&seg->head->resets) & 1)
		reset_session(seg);
}
