/* What many threads add to with locked instructions is set to zero by one exchange each, so that nothing is lost and
 * nothing counts twice. What is a thread's own, counters and shards of histograms, is added to without a lock, so it is left
 * alone: its sums now are the baselines that snapshots take off. To keep a baseline of everything instead would take three
 * numbers for each cell of the call tree, a quarter of the segment, or a second file that a server with fewer rights could
 * not open.
 *
 * resets is odd meanwhile. A snapshot that saw it odd or change is taken again, and one of before is not subtracted from
 * one of after (exporter/snapshot.c).
 */
#include "reset.h"

#include "../../shim/segment/kernel_clock.h"

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

/* Of an entry's n numbers, first_entry in shard 0 and stride numbers further on in each next one: those of shared shards are
 * cleared; what the others hold together is their baseline from now on. */
static void reset_shards(const struct seg_view *seg, void *first_entry, size_t stride, size_t n)
{
	_Atomic uint64_t *first = first_entry;
	uint32_t baseline = seg->shard_count;

	for (uint32_t shard = 0; shard < seg->shards_shared; shard++)
		if (seg_shard_is_used(seg, shard))
			clear_all(first + shard * stride, n);
	if (!seg_shard_is_used(seg, baseline))
		return;
	for (size_t i = 0; i < n; i++) {
		uint64_t sum = 0;
		for (uint32_t shard = seg->shards_shared; shard < baseline; shard++)
			if (seg_shard_is_used(seg, shard))
				sum += atomic_load_explicit(&first[shard * stride + i], memory_order_relaxed);
		if (atomic_load_explicit(&first[baseline * stride + i], memory_order_relaxed) != sum)
			atomic_store_explicit(&first[baseline * stride + i], sum, memory_order_relaxed);
	}
}

/* What nobody owned yet is all zeros, and so is its baseline: to look at it would be to make its pages. */
static void use_baseline_shard(const struct seg_view *seg)
{
	for (uint32_t shard = seg->shards_shared; shard < seg->shard_count; shard++)
		if (seg_shard_is_used(seg, shard))
			atomic_fetch_or(&seg->head->shards_used, 1u << seg->shard_count);
}

static void reset_series(const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_SERIES];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		if (!atomic_load_explicit(&seg->series[i].key, memory_order_relaxed))
			continue;
		reset_shards(seg, &seg->histograms[i], (size_t)slots->count * SEG_HISTOGRAM_NUMBERS, SEG_HISTOGRAM_NUMBERS);
		clear_exemplar(&seg->exemplars[i]);
	}
}

static void reset_endpoint(const struct seg_view *seg, uint32_t id)
{
	size_t count = seg->slots[SEG_TABLE_ENDPOINTS].count;
	struct seg_endpoint *endpoint = &seg->endpoints[id];
	struct seg_streams *streams = &seg->streams[id];

	clear(&endpoint->cpu_samples);
	clear(&endpoint->cpu_ns);
	clear(&endpoint->slow_requests);
	clear(&streams->opened);
	CLEAR_ARRAY(streams->buckets);
	clear(&streams->sum_ns);
	reset_shards(seg, &seg->sizes[id], count * SEG_SIZES_NUMBERS, SEG_SIZES_NUMBERS);
	reset_shards(seg, &seg->first_bytes[id], count * SEG_HISTOGRAM_NUMBERS, SEG_HISTOGRAM_NUMBERS);
}

static void reset_endpoints(const struct seg_view *seg)
{
	for (uint32_t id = 0; id < seg->slots[SEG_TABLE_ENDPOINTS].count; id++)
		if (id < SEG_ENDPOINT_FIRST || atomic_load_explicit(&seg->endpoints[id].key, memory_order_relaxed))
			reset_endpoint(seg, id);
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

	atomic_fetch_or(&head->resets, 1); /* odd already: a server died at it */
	/* Samples are added to an endpoint first and to a cell then. Cleared the other way round, what is on its way meanwhile
	 * cannot look like one that was dropped. */
	clear_cells(seg);
	clear_slow(seg);
	use_baseline_shard(seg);
	reset_series(seg);
	reset_endpoints(seg);
	take_baseline(seg);
	atomic_store_explicit(&head->reset_mono_ns, kernel_clock_ns(CLOCK_MONOTONIC), memory_order_relaxed);
	atomic_fetch_add(&head->resets, 1);
}

void reset_finish(const struct seg_view *seg)
{
	if (atomic_load(&seg->head->resets) & 1)
		reset_session(seg);
}
