#include "slow.h"

#include "../segment/kernel_clock.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Adds a sample's stack to those of entry. The table is full: its time is still in cpu_ns. */
static void add_stack(struct seg_slow *entry, uint32_t node, uint32_t samples, uint64_t weight_ns)
{
	entry->samples += samples;
	entry->cpu_ns += weight_ns;
	for (uint32_t i = 0; i < entry->stack_count; i++) {
		if (entry->stacks[i].node != node)
			continue;
		entry->stacks[i].samples += samples;
		entry->stacks[i].weight_ns += weight_ns;
		return;
	}
	if (entry->stack_count < SEG_SLOW_STACKS)
		entry->stacks[entry->stack_count++] = (struct seg_slow_stack){ node, samples, weight_ns };
}

static void add_thread(struct seg_slow *entry, const struct seg_thread *slot, uint64_t number)
{
	for (int i = 0; i < SEG_RECENT; i++) {
		const struct seg_recent *recent = &slot->recent[i];
		if (atomic_load_explicit(&recent->request, memory_order_acquire) != number)
			continue;
		add_stack(entry, atomic_load_explicit(&recent->node, memory_order_relaxed),
			  atomic_load_explicit(&recent->samples, memory_order_relaxed),
			  atomic_load_explicit(&recent->weight_ns, memory_order_relaxed));
	}
}

/* What all threads of this process remember of the request: others than the one that answers may have worked for it. */
static void add_samples(struct seg_slow *entry, uint64_t number)
{
	const struct seg_slots *slots = &seg.slots[SEG_TABLE_THREADS];
	uint32_t pid = entry->pid;

	for (uint32_t i = seg_table_next(slots, 0); i < slots->count; i = seg_table_next(slots, i + 1))
		if (atomic_load_explicit(&seg.threads[i].owner, memory_order_relaxed) >> 32 == pid)
			add_thread(entry, &seg.threads[i], number);
}

static void add_trace(struct seg_slow *entry, const struct trace_context *trace)
{
	if (!trace)
		return;
	entry->has_trace = trace_is_known(trace);
	memcpy(entry->trace_id, trace->trace_id, sizeof(entry->trace_id));
	memcpy(entry->span_id, trace->span_id, sizeof(entry->span_id));
	memcpy(entry->request_id, trace->request_id, trace->request_id_bytes);
}

/* begin_ns is of another clock. */
static uint64_t begin_real_ns(uint64_t duration_ns)
{
	return kernel_clock_ns(CLOCK_REALTIME) - duration_ns;
}

static void describe(struct seg_slow *entry, const struct slow_request *slow)
{
	const struct request *request = slow->request;
	const struct observation *seen = slow->seen;

	*entry = (struct seg_slow){
		.duration_ns = seen->duration_ns,
		.begin_real_ns = begin_real_ns(seen->duration_ns),
		.first_byte_ns = request->first_byte_ns > request->begin_ns ? request->first_byte_ns - request->begin_ns : 0,
		.request_bytes = request->body_bytes,
		.response_bytes = slow->response_bytes,
		.endpoint = seen->endpoint,
		.pid = (uint32_t)syscall(SYS_getpid),
		.tid = self.tid,
		.status = seen->status,
		.error = seen->error,
		.scheme = seen->scheme,
	};
	add_samples(entry, slow->number);
	add_trace(entry, request_trace(request));
}

/* Everything but the sequence. */
static void copy_entry(struct seg_slow *to, const struct seg_slow *from)
{
	size_t begin = offsetof(struct seg_slow, duration_ns);

	memcpy((char *)to + begin, (const char *)from + begin, sizeof(*to) - begin);
}

/* The place of the fastest of the endpoint's, NULL if none may give way to a request of this duration. */
static struct seg_slow *place_for(uint32_t endpoint, uint64_t duration_ns)
{
	uint32_t per_endpoint = seg.slots[SEG_TABLE_SLOW].count / seg.slots[SEG_TABLE_ENDPOINTS].count;
	struct seg_slow *fastest = NULL;

	for (uint32_t i = 0; i < per_endpoint; i++) {
		struct seg_slow *entry = &seg.slow[endpoint * per_endpoint + i];
		if (atomic_load_explicit(&entry->sequence, memory_order_relaxed) & 1)
			continue;
		uint64_t entry_ns = atomic_load_explicit(&entry->duration_ns, memory_order_relaxed);
		if (entry_ns < duration_ns) {
			duration_ns = entry_ns;
			fastest = entry;
		}
	}
	return fastest;
}

static bool claim(struct seg_slow *entry)
{
	uint64_t sequence = atomic_load_explicit(&entry->sequence, memory_order_relaxed);

	return !(sequence & 1) && atomic_compare_exchange_strong_explicit(&entry->sequence, &sequence, sequence + 1,
									 memory_order_acq_rel, memory_order_relaxed);
}

static void store(struct seg_slow *entry, const struct seg_slow *described)
{
	copy_entry(entry, described);
	seg_table_mark(&seg.slots[SEG_TABLE_SLOW], (uint32_t)(entry - seg.slow));
	atomic_fetch_add_explicit(&entry->sequence, 1, memory_order_release);
}

static void hand_to_log(const struct seg_slow *described)
{
	uint32_t count = seg.slots[SEG_TABLE_SLOW_EVENTS].count;
	uint64_t ticket = atomic_fetch_add_explicit(&seg.head->slow_events_begun, 1, memory_order_relaxed);
	struct seg_slow *entry = &seg.slow_events[ticket % count];

	/* The last one that had this place may still be writing it, or have been killed at it. Either way it is ours now: the
	 * reader takes only what has the sequence of its ticket before and after. */
	atomic_store_explicit(&entry->sequence, 2 * ticket + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	copy_entry(entry, described);
	seg_table_mark(&seg.slots[SEG_TABLE_SLOW_EVENTS], (uint32_t)(ticket % count));
	atomic_store_explicit(&entry->sequence, 2 * (ticket + 1), memory_order_release);
}

void slow_keep(const struct slow_request *slow)
{
	struct seg_slow *place = place_for(slow->seen->endpoint, slow->seen->duration_ns);
	bool is_logged = seg.head->config.slow_log[0];
	struct seg_slow described;

	atomic_fetch_add_explicit(&seg.endpoints[slow->seen->endpoint].slow_requests, 1, memory_order_relaxed);
	if (!place && !is_logged)
		return;
	describe(&described, slow);
	if (place && claim(place))
		store(place, &described);
	if (is_logged)
		hand_to_log(&described);
}
