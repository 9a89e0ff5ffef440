/* An entry that is written while it is copied is told by its sequence: odd, or another one afterwards (struct seg_slow,
 * struct seg_exemplar). What stands in it meanwhile is neither old nor new, so it is left out; it will be there at the
 * next look. Other entries are made of fields that are each whole by themselves.
 *
 * Endpoints that stand in for a route are shown as overflow until somebody knows what they are (is_pending), and as their
 * final endpoint from then on. Which that is, is kept by id instead of being added up here, so that two snapshots can be
 * subtracted, entry by entry, though an entry had no name in the earlier one.
 */
#include "snapshot_requests.h"

#include "../symbolizer/sort.h"
#include "pace.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ALIAS_HOPS_MAX 16      /* requests/endpoint.c makes no longer chains */
#define NO_ENDPOINT UINT32_MAX /* of a connection's request whose head is not there yet */

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint32_t load_32(const _Atomic uint32_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

static void text_copy(char *ret_text, const char *from, size_t bytes)
{
	memcpy(ret_text, from, bytes);
	ret_text[bytes - 1] = '\0';
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	while (n && !bytes[n - 1])
		n--;
	return n == 0;
}

void snapshot_endpoint_times_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	for (uint32_t i = 0; i < snapshot->endpoint_count; i++) {
		snapshot->endpoints[i].cpu_ns = load(&seg->endpoints[i].cpu_ns);
		snapshot->endpoints[i].cpu_samples = load(&seg->endpoints[i].cpu_samples);
	}
}

/* series */

static void shard_add(uint64_t *sums, const _Atomic uint64_t *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sums[i] += load(&numbers[i]);
}

/* Sums over all shards of an entry's n numbers, first_entry in shard 0 and stride numbers further on in each next one; less
 * the baseline, which is no more than they are but in a damaged file. */
static void shards_read(const struct seg_view *seg, uint64_t *ret_sums, const void *first_entry, size_t stride, size_t n)
{
	const _Atomic uint64_t *first = first_entry;

	memset(ret_sums, 0, n * sizeof(*ret_sums));
	for (uint32_t shard = 0; shard < seg->shard_count; shard++)
		if (seg_shard_is_used(seg, shard))
			shard_add(ret_sums, first + shard * stride, n);
	if (!seg_has_baseline_shard(seg) || !seg_shard_is_used(seg, seg->shard_count))
		return;
	for (size_t i = 0; i < n; i++) {
		uint64_t baseline = load(&first[seg->shard_count * stride + i]);
		ret_sums[i] = ret_sums[i] > baseline ? ret_sums[i] - baseline : 0;
	}
}

/* Of latencies; entries: in each shard. Buckets behind the last bound belong to +Inf; there are some only if the file is
 * damaged. Returns how many observations it holds. */
static uint64_t histogram_read(const struct snapshot *snapshot, const struct seg_view *seg, const struct seg_histogram *first,
                               uint32_t entries, uint64_t ret_buckets[static SEG_BOUNDS_MAX + 1], uint64_t *ret_sum_ns)
{
	uint32_t infinite = snapshot->config.bound_count;
	uint64_t numbers[SEG_HISTOGRAM_NUMBERS], count = 0;

	shards_read(seg, numbers, first, (size_t)entries * SEG_HISTOGRAM_NUMBERS, SEG_HISTOGRAM_NUMBERS);
	for (uint32_t i = 0; i <= SEG_BOUNDS_MAX; i++) {
		ret_buckets[i < infinite ? i : infinite] += numbers[i];
		count += numbers[i];
	}
	*ret_sum_ns = numbers[offsetof(struct seg_histogram, sum_ns) / sizeof(uint64_t)];
	return count;
}

static void series_read(const struct snapshot *snapshot, const struct seg_view *seg, struct snapshot_series *series)
{
	series->count = histogram_read(snapshot, seg, &seg->histograms[series->slot], seg->slots[SEG_TABLE_SERIES].count,
	                               series->buckets, &series->sum_ns);
}

static void exemplar_read(struct snapshot_exemplar *exemplar, const struct seg_exemplar *from)
{
	uint32_t before = atomic_load_explicit(&from->sequence, memory_order_acquire);

	if (!before || before & 1)
		return;
	exemplar->duration_ns = from->duration_ns;
	exemplar->at_real_ns = from->at_real_ns;
	memcpy(exemplar->trace_id, from->trace_id, sizeof(exemplar->trace_id));
	memcpy(exemplar->span_id, from->span_id, sizeof(exemplar->span_id));
	atomic_thread_fence(memory_order_acquire);
	exemplar->is_used = load_32(&from->sequence) == before && !is_zero(exemplar->trace_id, sizeof(exemplar->trace_id)) &&
	                    !is_zero(exemplar->span_id, sizeof(exemplar->span_id));
}

static bool series_key_is_sound(const struct snapshot *snapshot, uint64_t key)
{
	return seg_series_peer(key) <= SEG_PEER_OTHER && seg_series_endpoint(key) < snapshot->endpoint_count &&
	       seg_series_status(key) <= SEG_STATUS_MAX && seg_series_error(key) < SEG_ERROR_COUNT &&
	       seg_series_scheme(key) <= SEG_SCHEME_TLS;
}

static void all_series_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_SERIES];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		pace_step(1);
		uint64_t key = load(&seg->series[i].key);
		struct snapshot_series *series = &snapshot->series[snapshot->series_count];
		if (!key)
			continue;
		snapshot->tables[SEG_TABLE_SERIES].used++;
		if (!series_key_is_sound(snapshot, key)) {
			snapshot->damaged_entries++;
			continue;
		}
		*series = (struct snapshot_series){
			.slot = i,
			.peer = seg_series_peer(key),
			.endpoint = seg_series_endpoint(key),
			.status = seg_series_status(key),
			.error = seg_series_error(key),
			.scheme = seg_series_scheme(key),
		};
		series_read(snapshot, seg, series);
		exemplar_read(&series->exemplar, &seg->exemplars[i]);
		snapshot->series_count++;
	}
}

/* slow requests */

static int by_falling_weight(const void *a, const void *b)
{
	const struct snapshot_slow_stack *x = a, *y = b;

	if (x->weight_ns != y->weight_ns)
		return x->weight_ns > y->weight_ns ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

static void slow_stacks_read(struct snapshot_slow *slow, const struct seg_slow *from)
{
	slow->stack_count = from->stack_count;
	for (uint32_t i = 0; i < slow->stack_count; i++)
		slow->stacks[i] = (struct snapshot_slow_stack){ from->stacks[i].node, from->stacks[i].samples,
			                                        from->stacks[i].weight_ns };
	sort_items(slow->stacks, slow->stack_count, sizeof(slow->stacks[0]), by_falling_weight);
}

bool snapshot_slow_read(struct snapshot_slow *ret_slow, const struct seg_slow *from, uint32_t endpoint_count)
{
	if (from->endpoint >= endpoint_count || from->status > SEG_STATUS_MAX || from->error >= SEG_ERROR_COUNT ||
	    from->scheme > SEG_SCHEME_TLS || from->stack_count > SEG_SLOW_STACKS || from->pid > INT32_MAX ||
	    from->tid > INT32_MAX)
		return false;
	*ret_slow = (struct snapshot_slow){
		.sequence = load(&from->sequence),
		.endpoint = from->endpoint,
		.begin_real_ns = from->begin_real_ns,
		.duration_ns = load(&from->duration_ns),
		.first_byte_ns = from->first_byte_ns,
		.request_bytes = from->request_bytes,
		.response_bytes = from->response_bytes,
		.cpu_ns = from->cpu_ns,
		.samples = from->samples,
		.pid = (pid_t)from->pid,
		.tid = (pid_t)from->tid,
		.status = from->status,
		.error = from->error,
		.scheme = from->scheme,
		.has_trace = from->has_trace,
	};
	memcpy(ret_slow->trace_id, from->trace_id, sizeof(ret_slow->trace_id));
	memcpy(ret_slow->span_id, from->span_id, sizeof(ret_slow->span_id));
	text_copy(ret_slow->request_id, from->request_id, sizeof(ret_slow->request_id));
	slow_stacks_read(ret_slow, from);
	return true;
}

enum slow_state { SLOW_FREE, SLOW_BUSY, SLOW_USED };

static enum slow_state slow_copy(struct seg_slow *copy, const struct seg_slow *from)
{
	uint64_t before = atomic_load_explicit(&from->sequence, memory_order_acquire);

	if (!before)
		return SLOW_FREE;
	memcpy((void *)copy, (const void *)from, sizeof(*copy));
	atomic_thread_fence(memory_order_acquire);
	return before & 1 || load(&from->sequence) != before ? SLOW_BUSY : SLOW_USED;
}

static bool slow_append(struct snapshot *snapshot, uint32_t *capacity, const struct snapshot_slow *slow)
{
	if (snapshot->slow_count == *capacity) {
		uint32_t larger = *capacity ? *capacity * 2 : 32;
		struct snapshot_slow *all = realloc(snapshot->slow, larger * sizeof(*all));
		if (!all)
			return false;
		snapshot->slow = all;
		*capacity = larger;
	}
	snapshot->slow[snapshot->slow_count++] = *slow;
	return true;
}

static int by_falling_duration(const void *a, const void *b)
{
	const struct snapshot_slow *x = a, *y = b;

	if (x->duration_ns != y->duration_ns)
		return x->duration_ns > y->duration_ns ? -1 : 1;
	return (x->slot > y->slot) - (x->slot < y->slot);
}

static int all_slow_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_SLOW];
	uint32_t per_endpoint = slots->count / snapshot->endpoint_count, capacity = 0;
	struct snapshot_slow slow;
	struct seg_slow copy;

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		enum slow_state state = slow_copy(&copy, &seg->slow[i]);
		snapshot->tables[SEG_TABLE_SLOW].used += state != SLOW_FREE;
		if (state != SLOW_USED)
			continue;
		if (!snapshot_slow_read(&slow, &copy, snapshot->endpoint_count) || slow.endpoint != i / per_endpoint) {
			snapshot->damaged_entries++;
			continue;
		}
		slow.slot = i;
		if (!slow_append(snapshot, &capacity, &slow))
			return -ENOMEM;
	}
	if (snapshot->slow_count)
		sort_items(snapshot->slow, snapshot->slow_count, sizeof(*snapshot->slow), by_falling_duration);
	return 0;
}

bool snapshot_slow_is_in(const struct snapshot *snapshot, const struct snapshot_slow *slow)
{
	const struct snapshot_slow *found = NULL;

	if (snapshot->slow_count)
		found = bsearch(slow, snapshot->slow, snapshot->slow_count, sizeof(*slow), by_falling_duration);
	return found && found->sequence == slow->sequence;
}

/* connections */

/* Its process still has the place in the table that the connection's entry names, which is what gauges ask, too. */
static bool owner_is_there(const struct seg_view *seg, uint64_t owner)
{
	uint32_t index = (uint32_t)owner;

	return index < seg->slots[SEG_TABLE_PROCESSES].count && load(&seg->processes[index].owner) == owner >> 32;
}

static bool connection_is_sound(const struct snapshot *snapshot, const struct snapshot_connection *connection)
{
	return connection->pid > 0 && connection->kind <= SEG_CONNECTION_STREAM && connection->protocol < SEG_PROTOCOL_COUNT &&
	       connection->scheme <= SEG_SCHEME_TLS && connection->endpoint < snapshot->endpoint_count &&
	       connection->tid >= 0;
}

static void connection_read(struct snapshot_connection *connection, const struct seg_connection *from, uint64_t owner)
{
	*connection = (struct snapshot_connection){
		.kind = atomic_load_explicit(&from->kind, memory_order_relaxed),
		.protocol = atomic_load_explicit(&from->protocol, memory_order_relaxed),
		.scheme = atomic_load_explicit(&from->scheme, memory_order_relaxed),
		.pid = (pid_t)(owner >> 32),
		.tid = (pid_t)load_32(&from->tid),
		.fd = atomic_load_explicit(&from->fd, memory_order_relaxed),
		.opened_mono_ns = load(&from->opened_mono_ns),
		.begin_mono_ns = load(&from->begin_mono_ns),
		.endpoint = load_32(&from->endpoint),
		.is_stream = atomic_load_explicit(&from->is_stream, memory_order_relaxed),
		.in_flight = load_32(&from->in_flight),
		.requests = load(&from->requests),
		.received_bytes = load(&from->received_bytes),
		.sent_bytes = load(&from->sent_bytes),
	};
	connection->has_endpoint = connection->begin_mono_ns && connection->endpoint != NO_ENDPOINT;
	if (!connection->has_endpoint)
		connection->endpoint = SEG_ENDPOINT_OTHER;
}

static uint32_t connections_in_use(const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_CONNECTIONS];
	uint32_t count = 0;

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++)
		count += load(&seg->connections[i].owner) != 0;
	return count;
}

/* Those that come while we look may find no room and are left for the next time. */
static int connections_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_CONNECTIONS];
	uint32_t room = connections_in_use(seg);

	snapshot->tables[SEG_TABLE_CONNECTIONS].used = room;
	snapshot->connections = calloc((size_t)room + 1, sizeof(*snapshot->connections));
	if (!snapshot->connections)
		return -ENOMEM;
	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count && snapshot->connection_count < room; i++) {
		struct snapshot_connection *connection = &snapshot->connections[snapshot->connection_count];
		uint64_t owner = atomic_load_explicit(&seg->connections[i].owner, memory_order_acquire);
		if (!owner || !owner_is_there(seg, owner))
			continue;
		connection_read(connection, &seg->connections[i], owner);
		atomic_thread_fence(memory_order_acquire);
		if (load(&seg->connections[i].owner) != owner)
			continue;
		if (connection_is_sound(snapshot, connection))
			snapshot->connection_count++;
		else
			snapshot->damaged_entries++;
	}
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct snapshot_connection *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->fd != y->fd)
		return x->fd < y->fd ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return (x->begin_mono_ns > y->begin_mono_ns) - (x->begin_mono_ns < y->begin_mono_ns);
}

/* Streams stand behind the connection that they are of, if that is listed. */
static void streams_assign(struct snapshot *snapshot)
{
	struct snapshot_connection *connection = NULL;

	if (snapshot->connection_count)
		sort_items(snapshot->connections, snapshot->connection_count, sizeof(*snapshot->connections), by_place);
	for (uint32_t i = 0; i < snapshot->connection_count; i++) {
		struct snapshot_connection *at = &snapshot->connections[i];
		if (at->kind != SEG_CONNECTION_STREAM) {
			connection = at;
			at->is_asked = at->kind == SEG_CONNECTION_ASKED;
		} else if (connection && connection->pid == at->pid && connection->fd == at->fd) {
			connection->has_streams = true;
			at->is_asked = connection->is_asked;
		}
	}
}

int snapshot_requests_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	all_series_copy(snapshot, seg);
	int error = all_slow_copy(snapshot, seg);

	if (!error)
		error = connections_copy(snapshot, seg);
	if (!error)
		streams_assign(snapshot);
	return error;
}

/* peers */

static void peers_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	for (uint32_t i = 0; i < SEG_PEERS_MAX; i++) {
		const struct seg_peer *from = &seg->peers[i];
		struct snapshot_peer *peer = &snapshot->peers[i];
		if (!load(&from->key) || !atomic_load_explicit(&from->ready, memory_order_acquire))
			continue;
		peer->is_used = true;
		peer->port = from->port;
		text_copy(peer->address, from->address, sizeof(peer->address));
		snapshot->tables[SEG_TABLE_PEERS].used++;
	}
}

/* endpoints */

static void sizes_read(struct snapshot_endpoint *endpoint, const struct seg_view *seg, uint32_t id)
{
	size_t stride = (size_t)seg->slots[SEG_TABLE_ENDPOINTS].count * SEG_SIZES_NUMBERS;
	uint64_t numbers[SEG_SIZES_NUMBERS];
	const uint64_t *response = &numbers[offsetof(struct seg_sizes, response_buckets) / sizeof(uint64_t)];

	shards_read(seg, numbers, &seg->sizes[id], stride, SEG_SIZES_NUMBERS);
	for (int i = 0; i <= SEG_SIZE_BOUNDS; i++) {
		endpoint->request_buckets[i] = numbers[i];
		endpoint->response_buckets[i] = response[i];
	}
	endpoint->request_sum_bytes = numbers[SEG_SIZE_BOUNDS + 1];
	endpoint->response_sum_bytes = response[SEG_SIZE_BOUNDS + 1];
}

static void first_bytes_read(const struct snapshot *snapshot, struct snapshot_endpoint *endpoint, const struct seg_view *seg,
                             uint32_t id)
{
	histogram_read(snapshot, seg, &seg->first_bytes[id], seg->slots[SEG_TABLE_ENDPOINTS].count, endpoint->first_byte_buckets,
	               &endpoint->first_byte_sum_ns);
}

static void streams_read(struct snapshot_endpoint *endpoint, const struct seg_streams *from)
{
	endpoint->streams_opened = load(&from->opened);
	for (int i = 0; i <= SEG_STREAM_BOUNDS; i++)
		endpoint->stream_buckets[i] = load(&from->buckets[i]);
	endpoint->stream_sum_ns = load(&from->sum_ns);
}

/* An entry without a text stands in for one that will have one. */
static void endpoint_name_copy(struct snapshot *snapshot, const struct seg_endpoint *from, uint32_t id)
{
	static const char *const own[SEG_ENDPOINT_FIRST] = { "_background", "_idle", "_OTHER" };
	struct snapshot_endpoint *endpoint = &snapshot->endpoints[id];

	endpoint->final = id;
	if (id < SEG_ENDPOINT_FIRST) {
		strcpy(endpoint->name, own[id]);
		endpoint->is_overflow = id == SEG_ENDPOINT_OTHER;
		endpoint->is_used = true;
		return;
	}
	if (!load(&from->key))
		return;
	endpoint->is_pending = !atomic_load_explicit(&from->ready, memory_order_acquire);
	if (from->protocol >= SEG_PROTOCOL_COUNT || from->method >= SEG_METHOD_COUNT) {
		endpoint->is_pending = false;
		snapshot->damaged_entries++;
		return;
	}
	if (!endpoint->is_pending)
		text_copy(endpoint->name, from->name, sizeof(endpoint->name));
	endpoint->protocol = from->protocol;
	endpoint->method = from->method;
	endpoint->is_overflow = from->is_overflow || endpoint->is_pending;
	endpoint->is_used = true;
}

/* The end of a chain of aliases; the entry itself if it leads nowhere. */
static uint32_t final_of(const struct snapshot *snapshot, const struct seg_view *seg, uint32_t id)
{
	uint32_t at = id;

	for (int hop = 0; hop < ALIAS_HOPS_MAX; hop++) {
		uint32_t alias = at < SEG_ENDPOINT_FIRST ? 0 : load_32(&seg->endpoints[at].alias);
		if (!alias)
			return at;
		if (alias > snapshot->endpoint_count || !snapshot->endpoints[alias - 1].is_used)
			return id;
		at = alias - 1;
	}
	return id;
}

/* An alias that names nothing sensible is of a damaged file; what it counted is overflow. */
static void aliases_resolve(struct snapshot *snapshot, const struct seg_view *seg)
{
	for (uint32_t id = SEG_ENDPOINT_FIRST; id < snapshot->endpoint_count; id++) {
		struct snapshot_endpoint *endpoint = &snapshot->endpoints[id];
		if (!endpoint->is_used || endpoint->is_pending || !load_32(&seg->endpoints[id].alias))
			continue;
		endpoint->final = final_of(snapshot, seg, id);
		if (endpoint->final != id)
			continue;
		snapshot->damaged_entries++;
		endpoint->is_overflow = true;
	}
}

static void endpoints_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	for (uint32_t i = 0; i < snapshot->endpoint_count; i++) {
		struct snapshot_endpoint *endpoint = &snapshot->endpoints[i];
		endpoint_name_copy(snapshot, &seg->endpoints[i], i);
		if (!endpoint->is_used)
			continue;
		snapshot->tables[SEG_TABLE_ENDPOINTS].used++;
		sizes_read(endpoint, seg, i);
		first_bytes_read(snapshot, endpoint, seg, i);
		streams_read(endpoint, &seg->streams[i]);
		endpoint->slow_requests = load(&seg->endpoints[i].slow_requests);
	}
	aliases_resolve(snapshot, seg);
}

static void words_count(struct snapshot *snapshot, const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_WORDS];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++)
		snapshot->tables[SEG_TABLE_WORDS].used += load(&seg->words[i].key) != 0;
}

void snapshot_names_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	peers_copy(snapshot, seg);
	endpoints_copy(snapshot, seg);
	words_count(snapshot, seg);
}

static bool peer_is_there(const struct snapshot *snapshot, uint32_t peer)
{
	return peer == SEG_PEER_NONE || peer == SEG_PEER_OTHER || snapshot->peers[peer - 1].is_used;
}

static void series_check(struct snapshot *snapshot)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		const struct snapshot_series *series = &snapshot->series[i];
		if (snapshot->endpoints[series->endpoint].is_used && peer_is_there(snapshot, series->peer))
			snapshot->series[kept++] = *series;
		else
			snapshot->damaged_entries++;
	}
	snapshot->series_count = kept;
}

static void slow_check(struct snapshot *snapshot)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < snapshot->slow_count; i++) {
		if (snapshot->endpoints[snapshot->slow[i].endpoint].is_used)
			snapshot->slow[kept++] = snapshot->slow[i];
		else
			snapshot->damaged_entries++;
	}
	snapshot->slow_count = kept;
}

/* An endpoint that is none is no reason to hide that something is open. */
static void connections_check(struct snapshot *snapshot)
{
	for (uint32_t i = 0; i < snapshot->connection_count; i++) {
		struct snapshot_connection *connection = &snapshot->connections[i];
		if (snapshot->endpoints[connection->endpoint].is_used)
			continue;
		connection->endpoint = SEG_ENDPOINT_OTHER;
		snapshot->damaged_entries++;
	}
}

void snapshot_requests_check(struct snapshot *snapshot)
{
	series_check(snapshot);
	slow_check(snapshot);
	connections_check(snapshot);
}
