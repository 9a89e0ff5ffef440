/* What is copied when matters, since writers go on. They add to an endpoint's CPU time before they add to a cell, and
 * insert an endpoint before a series, cell or slow request that names it. So the endpoints' times are read first (what then seems to be
 * missing in the cells was really dropped, and is not merely on its way) and their names last.
 */
#include "snapshot.h"

#include "../shim/segment/kernel_clock.h"
#include "pace.h"
#include "process_usage.h"
#include "snapshot_requests.h"
#include "snapshot_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RESET_PAUSE_MS = 2, RESET_TRIES = 100, RETAKES_MAX = 10 };

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void text_copy(char *ret_text, const char *from, size_t bytes)
{
	memcpy(ret_text, from, bytes);
	ret_text[bytes - 1] = '\0';
}

static void config_copy(struct seg_config *config, const struct seg_config *from)
{
	memcpy((void *)config, (const void *)from, sizeof(*config));
	config->listen[SEG_TEXT_BYTES - 1] = config->report[SEG_TEXT_BYTES - 1] = '\0';
	config->token[SEG_TEXT_BYTES - 1] = config->service[SEG_TEXT_BYTES - 1] = '\0';
	config->slow_log[SEG_TEXT_BYTES - 1] = '\0';
	config->unwind[sizeof(config->unwind) - 1] = '\0';
	if (config->sort > SEG_SORT_NAME)
		config->sort = SEG_SORT_TOTTIME;
	if (config->log_level > SEG_LOG_DEBUG)
		config->log_level = SEG_LOG_WARN;
	if (config->bound_count > SEG_BOUNDS_MAX)
		config->bound_count = SEG_BOUNDS_MAX;
	for (uint32_t i = 1; i < config->bound_count; i++)
		if (config->bounds_ns[i] <= config->bounds_ns[i - 1])
			config->bound_count = i; /* what lies behind counts as +Inf */
}

static void header_copy(struct snapshot *snapshot, const struct segment *head)
{
	snapshot->created_mono_ns = head->created_mono_ns;
	snapshot->created_real_ns = head->created_real_ns;
	snapshot->ended_mono_ns = load(&head->ended_mono_ns);
	snapshot->heartbeat_mono_ns = load(&head->heartbeat_mono_ns);
	snapshot->server_pid = (pid_t)atomic_load_explicit(&head->server_pid, memory_order_relaxed);
	snapshot->segment_bytes = head->total_bytes;
	snapshot->hz_now = atomic_load_explicit(&head->hz_now, memory_order_relaxed);
	snapshot->perf_tick_ns = atomic_load_explicit(&head->perf_tick_ns, memory_order_relaxed);
	snapshot->perf_threads = atomic_load_explicit(&head->perf_threads, memory_order_relaxed);
	snapshot->perf_error = (int)(atomic_load_explicit(&head->perf_error, memory_order_relaxed) % 4096);
	snapshot->reset_mono_ns = load(&head->reset_mono_ns);
	text_copy(snapshot->program, head->program, sizeof(snapshot->program));
	text_copy(snapshot->session, head->session, sizeof(snapshot->session));
	text_copy(snapshot->served_address, head->served_address, sizeof(snapshot->served_address));
	config_copy(&snapshot->config, &head->config);
}

static int arrays_make(struct snapshot *snapshot, const struct seg_view *seg)
{
	for (int table = 0; table < SEG_TABLE_COUNT; table++)
		snapshot->tables[table].count = seg->slots[table].count;
	snapshot->endpoint_count = seg->slots[SEG_TABLE_ENDPOINTS].count;
	snapshot->module_count = seg->slots[SEG_TABLE_MODULES].count;
	snapshot->endpoints = calloc(snapshot->endpoint_count, sizeof(*snapshot->endpoints));
	snapshot->modules = calloc(snapshot->module_count, sizeof(*snapshot->modules));
	snapshot->series = calloc(seg->slots[SEG_TABLE_SERIES].count, sizeof(*snapshot->series));
	snapshot->processes = calloc(seg->slots[SEG_TABLE_PROCESSES].count, sizeof(*snapshot->processes));
	return snapshot->endpoints && snapshot->modules && snapshot->series && snapshot->processes ? 0 : -ENOMEM;
}

static void add_sums(uint64_t *sums, const _Atomic uint64_t *of_thread, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sums[i] += load(&of_thread[i]);
}

static void thread_add_up(struct snapshot *snapshot, const struct seg_thread *thread)
{
#define ADD_SUMS(name) add_sums(snapshot->name, thread->name, sizeof(snapshot->name) / sizeof(snapshot->name[0]));
	SEG_THREAD_SUMS(ADD_SUMS)
#undef ADD_SUMS
}

static void threads_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_THREADS];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		pace_step(1);
		thread_add_up(snapshot, &seg->threads[i]);
		snapshot->tables[SEG_TABLE_THREADS].used += load(&seg->threads[i].owner) != 0;
	}
}

/* Counters only grow, so less than before means a damaged file. */
static void subtract(uint64_t *later, uint64_t earlier)
{
	*later = *later > earlier ? *later - earlier : 0;
}

static void subtract_all(uint64_t *later, const uint64_t *earlier, size_t n)
{
	for (size_t i = 0; i < n; i++)
		subtract(&later[i], earlier[i]);
}

#define SUBTRACT_ARRAY(later, earlier, array) \
	subtract_all((later)->array, (earlier)->array, sizeof((later)->array) / sizeof((later)->array[0]))

static void subtract_sums(uint64_t *sums, const _Atomic uint64_t *baseline, size_t n)
{
	for (size_t i = 0; i < n; i++)
		subtract(&sums[i], load(&baseline[i]));
}

static void baseline_subtract(struct snapshot *snapshot, const struct seg_baseline *baseline)
{
#define SUBTRACT_SUMS(name) \
	subtract_sums(snapshot->name, baseline->name, sizeof(snapshot->name) / sizeof(snapshot->name[0]));
	SEG_THREAD_SUMS(SUBTRACT_SUMS)
#undef SUBTRACT_SUMS
}

struct gauges {
	int64_t open_connections[SEG_PROTOCOL_COUNT];
	int64_t active_requests[SEG_METHOD_COUNT][2];
	int64_t open_streams[SEG_PROTOCOL_COUNT];
};

static void process_add_up(struct gauges *gauges, const struct seg_process *process)
{
	for (int i = 0; i < SEG_PROTOCOL_COUNT; i++) {
		gauges->open_connections[i] += atomic_load_explicit(&process->open_connections[i], memory_order_relaxed);
		gauges->open_streams[i] += atomic_load_explicit(&process->open_streams[i], memory_order_relaxed);
	}
	for (int i = 0; i < SEG_METHOD_COUNT; i++)
		for (int scheme = 0; scheme < 2; scheme++)
			gauges->active_requests[i][scheme] += seg_process_active(process, (enum seg_method)i, (enum seg_scheme)scheme);
}

static uint64_t clamp(int64_t gauge)
{
	return gauge > 0 ? (uint64_t)gauge : 0;
}

/* One process may have taken what another gives back, hence the sum is clamped, not its parts. */
static void gauges_clamp(struct snapshot *snapshot, const struct gauges *gauges)
{
	for (int i = 0; i < SEG_PROTOCOL_COUNT; i++) {
		snapshot->open_connections[i] = clamp(gauges->open_connections[i]);
		snapshot->open_streams[i] = clamp(gauges->open_streams[i]);
	}
	for (int i = 0; i < SEG_METHOD_COUNT; i++)
		for (int scheme = 0; scheme < 2; scheme++)
			snapshot->active_requests[i][scheme] = clamp(gauges->active_requests[i][scheme]);
}

static bool processes_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	struct gauges gauges = { 0 };
	bool is_any_running = false;

	const struct seg_slots *slots = &seg->slots[SEG_TABLE_PROCESSES];
	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++) {
		const struct seg_process *from = &seg->processes[i];
		pace_point(); /* files of /proc are read of each */
		uint64_t owner = load(&from->owner);
		if (!seg_process_is_in(owner)) {
			snapshot->damaged_entries += owner && !(owner & (SEG_PROCESS_CLAIMED | SEG_PROCESS_RESERVED));
			continue;
		}
		struct snapshot_process *process = &snapshot->processes[snapshot->process_count++];
		process->pid = (pid_t)owner;
		int32_t threads = atomic_load_explicit(&from->threads, memory_order_relaxed);
		process->threads = threads > 0 ? threads : 0;
		pid_t here = process_number_here(process->pid, atomic_load_explicit(&from->pid_namespace, memory_order_relaxed),
						 atomic_load_explicit(&from->session_pid, memory_order_relaxed), seg->head->pid_namespace);
		if (here)
			process->pid = here;
		process->is_running = !here || process_is_running(here, load(&from->since_boot_ns));
		if (process->is_running && here)
			process_usage_read(&process->usage, process->pid);
		is_any_running |= process->is_running;
		snapshot->thread_count += (uint32_t)process->threads;
		process_add_up(&gauges, from);
	}
	snapshot->tables[SEG_TABLE_PROCESSES].used = snapshot->process_count;
	gauges_clamp(snapshot, &gauges);
	return is_any_running;
}

static void read_unwind(const struct seg_view *seg, uint32_t index, struct snapshot_module *module)
{
	const struct seg_unwind *from = &seg->unwind[index];
	uint64_t begin_ns = seg->head->created_mono_ns;

	module->unwind_state = atomic_load_explicit(&from->state, memory_order_acquire);
	if (module->unwind_state > SEG_UNWIND_FULL)
		module->unwind_state = SEG_UNWIND_FAILED;
	if (module->unwind_state != SEG_UNWIND_READY)
		return;
	module->unwind_rows = from->row_count;
	module->unwind_unsupported = from->unsupported_rows;
	module->unwind_covered_pct = from->covered_pct < 100 ? from->covered_pct : 100;
	module->unwind_ready_ns = from->ready_mono_ns > begin_ns ? from->ready_mono_ns - begin_ns : 0;
}

static void modules_copy(struct snapshot *snapshot, const struct seg_view *seg)
{
	const struct seg_slots *slots = &seg->slots[SEG_TABLE_MODULES];

	for (uint32_t i = SEG_MODULE_FIRST; (i = seg_table_next(slots, i)) < slots->count; i++) {
		const struct seg_module *from = &seg->modules[i];
		struct snapshot_module *module = &snapshot->modules[i];
		if (!load(&from->key) || !atomic_load_explicit(&from->ready, memory_order_acquire))
			continue;
		module->is_used = true;
		module->build_id_bytes = from->build_id_bytes <= SEG_BUILD_ID_BYTES ? from->build_id_bytes : 0;
		memcpy(module->build_id, from->build_id, sizeof(module->build_id));
		text_copy(module->path, from->path, sizeof(module->path));
		read_unwind(seg, i, module);
		snapshot->tables[SEG_TABLE_MODULES].used++;
	}
	snapshot->tables[SEG_TABLE_UNWIND_ARENA].used = atomic_load_explicit(&seg->head->unwind_pieces, memory_order_relaxed);
}

static uint64_t since(uint64_t later_ns, uint64_t earlier_ns)
{
	return later_ns > earlier_ns ? later_ns - earlier_ns : 0;
}

/* Now, while somebody lives; else when the last one said good-bye; else, all having been killed, when the file changed
 * last. */
static void time_find(struct snapshot *snapshot, bool is_any_running, uint64_t changed_real_ns)
{
	uint64_t created = snapshot->created_mono_ns;

	snapshot->taken_mono_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	if (!is_any_running && snapshot->ended_mono_ns)
		snapshot->taken_mono_ns = snapshot->ended_mono_ns;
	else if (!is_any_running && snapshot->heartbeat_mono_ns > created)
		snapshot->taken_mono_ns = snapshot->heartbeat_mono_ns;
	else if (!is_any_running && changed_real_ns)
		snapshot->taken_mono_ns = created + since(changed_real_ns, snapshot->created_real_ns);
	bool is_reset = snapshot->reset_mono_ns > created;
	snapshot->duration_ns = since(snapshot->taken_mono_ns, is_reset ? snapshot->reset_mono_ns : created);
}

static int copy(struct snapshot *snapshot, const struct seg_view *seg, uint64_t changed_real_ns)
{
	int error = arrays_make(snapshot, seg);

	if (error)
		return error;
	header_copy(snapshot, seg->head);
	snapshot_endpoint_times_copy(snapshot, seg);
	pace_point();
	atomic_thread_fence(memory_order_acquire);
	threads_copy(snapshot, seg);
	pace_point();
	baseline_subtract(snapshot, &seg->head->baseline);
	time_find(snapshot, processes_copy(snapshot, seg), changed_real_ns);
	error = snapshot_requests_copy(snapshot, seg);
	if (!error)
		error = snapshot_tree_copy(snapshot, seg);
	if (error)
		return error;
	pace_point();
	atomic_thread_fence(memory_order_acquire);
	modules_copy(snapshot, seg);
	snapshot_names_copy(snapshot, seg);
	pace_point();
	snapshot_requests_check(snapshot);
	snapshot_tree_check(snapshot);
	return 0;
}

/* A reset takes milliseconds; one whose server was killed at it stays unfinished until the next server, if there is one. */
static uint32_t resets_wait(const struct segment *head)
{
	const struct timespec pause = { .tv_nsec = RESET_PAUSE_MS * 1000000L };
	uint32_t resets = atomic_load_explicit(&head->resets, memory_order_acquire);

	for (int tries = 1; resets & 1 && tries < RESET_TRIES; tries++) {
		nanosleep(&pause, NULL);
		resets = atomic_load_explicit(&head->resets, memory_order_acquire);
	}
	return resets;
}

static struct snapshot *take_once(const struct seg_view *seg, uint64_t changed_real_ns)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (!snapshot)
		return NULL;
	snapshot->resets = resets_wait(seg->head);
	if (!copy(snapshot, seg, changed_real_ns))
		return snapshot;
	snapshot_free(snapshot);
	return NULL;
}

static bool is_reset_since(const struct snapshot *snapshot, const struct seg_view *seg)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&seg->head->resets, memory_order_relaxed) != snapshot->resets;
}

struct snapshot *snapshot_take_file(const struct seg_view *seg, uint64_t changed_real_ns)
{
	struct snapshot *snapshot = take_once(seg, changed_real_ns);

	for (int tries = 1; snapshot && is_reset_since(snapshot, seg) && tries < RETAKES_MAX; tries++) {
		snapshot_free(snapshot);
		snapshot = take_once(seg, changed_real_ns);
	}
	return snapshot;
}

struct snapshot *snapshot_take(const struct seg_view *seg)
{
	return snapshot_take_file(seg, 0);
}

/* Entries have been checked already to be whole, but not for what they name. */
static int copy_slow(struct snapshot *snapshot, const struct seg_view *seg, const struct seg_slow *entries, uint32_t count)
{
	int error = arrays_make(snapshot, seg);

	if (error)
		return error;
	snapshot->slow = calloc((size_t)count + 1, sizeof(*snapshot->slow));
	if (!snapshot->slow)
		return -ENOMEM;
	header_copy(snapshot, seg->head);
	for (uint32_t i = 0; i < count; i++) {
		if (snapshot_slow_read(&snapshot->slow[snapshot->slow_count], &entries[i], snapshot->endpoint_count))
			snapshot->slow_count++;
		else
			snapshot->damaged_entries++;
	}
	error = snapshot_tree_copy_slow(snapshot, seg);
	if (error)
		return error;
	modules_copy(snapshot, seg);
	snapshot_names_copy(snapshot, seg);
	snapshot_requests_check(snapshot);
	snapshot_tree_check(snapshot);
	return 0;
}

struct snapshot *snapshot_take_slow(const struct seg_view *seg, const struct seg_slow *entries, uint32_t count)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (snapshot && copy_slow(snapshot, seg, entries, count)) {
		snapshot_free(snapshot);
		return NULL;
	}
	return snapshot;
}

static void subtract_endpoints(struct snapshot *later, const struct snapshot *earlier)
{
	for (uint32_t i = 0; i < later->endpoint_count && i < earlier->endpoint_count; i++) {
		struct snapshot_endpoint *endpoint = &later->endpoints[i];
		const struct snapshot_endpoint *before = &earlier->endpoints[i];
		subtract(&endpoint->cpu_samples, before->cpu_samples);
		subtract(&endpoint->cpu_ns, before->cpu_ns);
		SUBTRACT_ARRAY(endpoint, before, request_buckets);
		SUBTRACT_ARRAY(endpoint, before, response_buckets);
		subtract(&endpoint->request_sum_bytes, before->request_sum_bytes);
		subtract(&endpoint->response_sum_bytes, before->response_sum_bytes);
		SUBTRACT_ARRAY(endpoint, before, first_byte_buckets);
		subtract(&endpoint->first_byte_sum_ns, before->first_byte_sum_ns);
		subtract(&endpoint->streams_opened, before->streams_opened);
		SUBTRACT_ARRAY(endpoint, before, stream_buckets);
		subtract(&endpoint->stream_sum_ns, before->stream_sum_ns);
		subtract(&endpoint->slow_requests, before->slow_requests);
	}
}

/* Both lists rise by slot, and an entry keeps its slot. */
static void subtract_series(struct snapshot *later, const struct snapshot *earlier)
{
	uint32_t j = 0;

	for (uint32_t i = 0; i < later->series_count; i++) {
		struct snapshot_series *series = &later->series[i];
		while (j < earlier->series_count && earlier->series[j].slot < series->slot)
			j++;
		if (j == earlier->series_count || earlier->series[j].slot != series->slot)
			continue;
		SUBTRACT_ARRAY(series, &earlier->series[j], buckets);
		subtract(&series->sum_ns, earlier->series[j].sum_ns);
		series->count = 0;
		for (uint32_t bucket = 0; bucket <= SEG_BOUNDS_MAX; bucket++)
			series->count += series->buckets[bucket];
	}
}

static void subtract_cells(struct snapshot *later, const struct snapshot *earlier)
{
	uint32_t j = 0;

	for (uint32_t i = 0; i < later->cell_count; i++) {
		struct snapshot_cell *cell = &later->cells[i];
		while (j < earlier->cell_count && earlier->cells[j].slot < cell->slot)
			j++;
		if (j == earlier->cell_count || earlier->cells[j].slot != cell->slot)
			continue;
		subtract(&cell->samples, earlier->cells[j].samples);
		subtract(&cell->weight_ns, earlier->cells[j].weight_ns);
		subtract(&cell->activations, earlier->cells[j].activations);
	}
}

/* The slow requests that the earlier one did not have: those that ended in between, and are still kept. */
static void subtract_slow(struct snapshot *later, const struct snapshot *earlier)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < later->slow_count; i++)
		if (!snapshot_slow_is_in(earlier, &later->slow[i]))
			later->slow[kept++] = later->slow[i];
	later->slow_count = kept;
}

void snapshot_subtract(struct snapshot *later, const struct snapshot *earlier)
{
	later->is_difference = true;
	if (later->created_mono_ns != earlier->created_mono_ns || later->created_real_ns != earlier->created_real_ns ||
	    later->resets != earlier->resets)
		return;
#define SUBTRACT_SUMS(name) SUBTRACT_ARRAY(later, earlier, name);
	SEG_THREAD_SUMS(SUBTRACT_SUMS)
#undef SUBTRACT_SUMS
	subtract_endpoints(later, earlier);
	subtract_series(later, earlier);
	subtract_cells(later, earlier);
	subtract_slow(later, earlier);
	later->duration_ns = since(later->taken_mono_ns, earlier->taken_mono_ns);
}

size_t snapshot_bytes(const struct snapshot *snapshot)
{
	return sizeof(*snapshot) + snapshot->node_count * sizeof(*snapshot->nodes) + snapshot->cell_count * sizeof(*snapshot->cells) +
	       snapshot->frame_count * sizeof(*snapshot->frames) + snapshot->slow_count * sizeof(*snapshot->slow) +
	       snapshot->series_count * sizeof(*snapshot->series) + snapshot->connection_count * sizeof(*snapshot->connections);
}

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	free(snapshot->processes);
	free(snapshot->endpoints);
	free(snapshot->series);
	free(snapshot->slow);
	free(snapshot->connections);
	free(snapshot->modules);
	free(snapshot->frames);
	free(snapshot->nodes);
	free(snapshot->cells);
	free(snapshot);
}
