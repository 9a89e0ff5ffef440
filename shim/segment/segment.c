/* The tables share the ceiling by fixed proportions found by use: most stacks a program has are few, most cells are one
 * endpoint's, and what a page does not use costs nothing, since the file is sparse. The ceiling scales the three tables
 * that grow with the variety of stacks; the others have sizes of their own.
 */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEG_NAME(id, name) name,
const char *const seg_call_names[SEG_CALL_COUNT] = { SEG_CALLS(SEG_NAME) };
const char *const seg_protocol_names[SEG_PROTOCOL_COUNT] = { SEG_PROTOCOLS(SEG_NAME) };
const char *const seg_method_names[SEG_METHOD_COUNT] = { SEG_METHODS(SEG_NAME) };
const char *const seg_error_names[SEG_ERROR_COUNT] = { SEG_ERRORS(SEG_NAME) };
const char *const seg_phase_names[SEG_PHASE_COUNT] = { SEG_PHASES(SEG_NAME) };

#define SEG_COUNTER_INFO(id, family, key, value, help) { family, key, value, help },
const struct seg_counter_info seg_counter_infos[SEG_COUNTER_COUNT] = { SEG_COUNTERS(SEG_COUNTER_INFO) };

/* 256 B to 256 MiB: a cache line's worth of small answers up to downloads; the common web sizes in steps of four. */
const uint64_t seg_size_bounds[SEG_SIZE_BOUNDS] = {
	256, 1024, 4096, 16384, 65536, 262144, 1048576, 16777216, 67108864, 268435456,
};

const uint64_t seg_stream_bounds_ns[SEG_STREAM_BOUNDS] = {
	1000000000ULL, 10000000000ULL, 60000000000ULL, 600000000000ULL, 3600000000000ULL, 21600000000000ULL, 86400000000000ULL,
};

static const uint32_t strides[SEG_TABLE_COUNT] = {
	[SEG_TABLE_THREADS] = sizeof(struct seg_thread),
	[SEG_TABLE_PROCESSES] = sizeof(struct seg_process),
	[SEG_TABLE_FRAMES] = sizeof(struct seg_frame),
	[SEG_TABLE_NODES] = sizeof(struct seg_node),
	[SEG_TABLE_CELLS] = sizeof(struct seg_cell),
	[SEG_TABLE_MODULES] = sizeof(struct seg_module),
	[SEG_TABLE_ENDPOINTS] = sizeof(struct seg_endpoint),
	[SEG_TABLE_SERIES] = sizeof(struct seg_series),
	[SEG_TABLE_HISTOGRAMS] = sizeof(struct seg_histogram),
	[SEG_TABLE_SIZES] = sizeof(struct seg_sizes),
	[SEG_TABLE_FIRST_BYTES] = sizeof(struct seg_histogram),
	[SEG_TABLE_EXEMPLARS] = sizeof(struct seg_exemplar),
	[SEG_TABLE_STREAMS] = sizeof(struct seg_streams),
	[SEG_TABLE_PEERS] = sizeof(struct seg_peer),
	[SEG_TABLE_WORDS] = sizeof(struct seg_word),
	[SEG_TABLE_SLOW] = sizeof(struct seg_slow),
	[SEG_TABLE_SLOW_EVENTS] = sizeof(struct seg_slow),
	[SEG_TABLE_CONNECTIONS] = sizeof(struct seg_connection),
	[SEG_TABLE_UNWIND] = sizeof(struct seg_unwind),
	[SEG_TABLE_UNWIND_ARENA] = sizeof(struct seg_unwind_piece),
};

enum {
	THREADS = 512,    /* sampled at once with counters of their own; more share slot 0 */
	PROCESSES = 1024, /* alive at once with gauges of their own */
	MODULES = 1024,
	ENDPOINTS = 512, /* PROFSHIM_MAX_ROUTES at its default, closed lists of commands, overflow entries */
	SERIES = 2048, /* a thousand label sets and room around them, so that each is found within a few places */
	WORDS = 8192,       /* of all paths whose trie is kept */
	SLOW_EVENTS = 256,  /* between two turns of the server */
	CONNECTIONS = 8192, /* open at once and listed */
	UNWIND_PIECES = 2,  /* of 64 bytes, for each of the stacks ... */
	UNWIND_PIECES_MAX = 65536, /* ... but no more than 4 MiB: 550,000 rows, twice mariadbd with its libraries */
	STACKS_MIN = 1024,  /* entries of frames; nodes and cells follow */
	STACKS_MAX = 1 << 20, /* the same, beyond which a larger ceiling changes nothing */
	ALIGNMENT = 64,     /* a cache line */
};

static int base36(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : -1;
}

uint32_t seg_sqlstate_class(char first, char second)
{
	int high = base36(first), low = base36(second);

	return high < 0 || low < 0 ? 0 : (uint32_t)(high * 36 + low) + 1;
}

void seg_sqlstate_text(char ret_text[static 3], uint32_t status)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	uint32_t number = status ? (status - 1) % SEG_STATUS_MAX : 0;

	ret_text[0] = status ? digits[number / 36] : '\0';
	ret_text[1] = digits[number % 36];
	ret_text[2] = '\0';
}

const char *seg_problem_text(enum seg_problem problem)
{
	switch (problem) {
	case SEG_OK: return "is a session";
	case SEG_PROBLEM_OPEN: return "cannot be opened";
	case SEG_PROBLEM_KIND: return "is not a regular file";
	case SEG_PROBLEM_FOREIGN: return "belongs to another user, or others may write to it";
	case SEG_PROBLEM_TRUNCATED: return "is cut short";
	case SEG_PROBLEM_MAGIC: return "is not a profshim session";
	case SEG_PROBLEM_VERSION: return "was written by another version of profshim";
	case SEG_PROBLEM_NOT_READY: return "was left unfinished by the program that began it";
	case SEG_PROBLEM_LAYOUT: return "is damaged: a table lies outside of the file";
	}
	return "cannot be read";
}

/* Slow requests kept of each endpoint: as many as are promised from the default ceiling on. */
static uint32_t slow_per_endpoint(uint32_t stacks)
{
	uint32_t n = stacks / 1024;

	return n < SEG_SLOW_PER_ENDPOINT ? n : SEG_SLOW_PER_ENDPOINT;
}

/* Under a low ceiling what does not grow with the variety of stacks is smaller, too. */
struct tier {
	uint32_t stacks;     /* from so many on */
	uint32_t lives;      /* divisor of what lives at once */
	uint32_t kinds;      /* divisor of what there are kinds of, by label or name */
	uint32_t shards;     /* of histograms, to be owned if there are three or more, and then with the baseline */
};
static const struct tier tiers[] = { { 8192, 1, 1, SEG_SHARDS_MAX + 1 }, { 4096, 4, 1, 4 }, { 2048, 4, 2, 2 },
				     { STACKS_MIN, 32, 4, 1 } };

static const struct tier *tier_of(uint32_t stacks)
{
	const struct tier *tier = tiers;

	while (stacks < tier->stacks && tier->stacks > STACKS_MIN)
		tier++;
	return tier;
}

static void table_counts(uint32_t ret_counts[SEG_TABLE_COUNT], uint32_t stacks)
{
	const struct tier *tier = tier_of(stacks);
	uint32_t endpoints = ENDPOINTS / tier->kinds, series = SERIES / tier->kinds, modules = MODULES / tier->kinds;

	ret_counts[SEG_TABLE_THREADS] = THREADS / tier->lives;
	ret_counts[SEG_TABLE_PROCESSES] = PROCESSES / tier->kinds;
	ret_counts[SEG_TABLE_FRAMES] = stacks;
	ret_counts[SEG_TABLE_NODES] = stacks * 4;
	ret_counts[SEG_TABLE_CELLS] = stacks * 4;
	ret_counts[SEG_TABLE_MODULES] = modules;
	ret_counts[SEG_TABLE_ENDPOINTS] = endpoints;
	ret_counts[SEG_TABLE_SERIES] = series;
	ret_counts[SEG_TABLE_HISTOGRAMS] = series * tier->shards;
	ret_counts[SEG_TABLE_SIZES] = endpoints * tier->shards;
	ret_counts[SEG_TABLE_FIRST_BYTES] = endpoints * tier->shards;
	ret_counts[SEG_TABLE_EXEMPLARS] = series;
	ret_counts[SEG_TABLE_STREAMS] = endpoints;
	ret_counts[SEG_TABLE_PEERS] = SEG_PEERS_MAX;
	ret_counts[SEG_TABLE_WORDS] = WORDS / tier->kinds;
	ret_counts[SEG_TABLE_SLOW] = endpoints * slow_per_endpoint(stacks);
	ret_counts[SEG_TABLE_SLOW_EVENTS] = SLOW_EVENTS / tier->kinds;
	ret_counts[SEG_TABLE_CONNECTIONS] = CONNECTIONS / tier->lives;
	ret_counts[SEG_TABLE_UNWIND] = modules;
	ret_counts[SEG_TABLE_UNWIND_ARENA] = stacks * UNWIND_PIECES < UNWIND_PIECES_MAX ? stacks * UNWIND_PIECES : UNWIND_PIECES_MAX;
}

/* Lays the tables out one after the other; returns the end of the last. */
static uint64_t table_spans(struct seg_span ret_spans[SEG_TABLE_COUNT], uint32_t stacks)
{
	uint32_t counts[SEG_TABLE_COUNT];
	uint64_t offset = sizeof(struct segment);

	table_counts(counts, stacks);
	for (int table = 0; table < SEG_TABLE_COUNT; table++) {
		offset = (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
		ret_spans[table] = (struct seg_span){ offset, counts[table], strides[table] };
		offset += (uint64_t)counts[table] * strides[table];
	}
	return offset;
}

/* The largest number of stacks, a power of two, whose segment keeps below the ceiling; 0 = none does. */
static uint32_t stacks_for(size_t ceiling_bytes)
{
	struct seg_span spans[SEG_TABLE_COUNT];

	for (uint32_t stacks = STACKS_MAX; stacks >= STACKS_MIN; stacks /= 2)
		if (table_spans(spans, stacks) <= ceiling_bytes)
			return stacks;
	return 0;
}

size_t seg_bytes_for(size_t ceiling_bytes)
{
	struct seg_span spans[SEG_TABLE_COUNT];
	uint32_t stacks = stacks_for(ceiling_bytes);

	return stacks ? table_spans(spans, stacks) : 0;
}

/* Shards for all threads: one for each core, but half of them are for those that own one. */
static uint32_t shared_of(uint32_t shard_count, uint32_t cores)
{
	uint32_t half = shard_count < 2 ? 1 : shard_count / 2;

	return cores < 1 ? 1 : cores < half ? cores : half;
}

void seg_format(void *base, size_t bytes, uint32_t cores)
{
	struct segment *head = base;
	uint32_t stacks = stacks_for(bytes), shards = tier_of(stacks)->shards;
	bool has_baseline = shards >= 3;

	head->magic = SEG_MAGIC;
	head->version = SEG_VERSION;
	head->header_bytes = sizeof(struct segment);
	head->total_bytes = bytes;
	head->shard_count = has_baseline ? shards - 1 : shards;
	head->shards_shared = has_baseline ? shared_of(head->shard_count, cores) : shards;
	head->shards_used = 1;
	table_spans(head->tables, stacks);
}

void seg_publish(struct segment *head)
{
	atomic_store_explicit(&head->ready, 1, memory_order_release);
}

static bool span_is_sound(const struct segment *head, int table, size_t bytes)
{
	const struct seg_span *span = &head->tables[table];
	bool is_hashed = table == SEG_TABLE_FRAMES || table == SEG_TABLE_NODES || table == SEG_TABLE_CELLS || table == SEG_TABLE_SERIES;

	if (span->stride != strides[table] || span->offset % ALIGNMENT || span->offset < sizeof(*head) || span->offset > bytes)
		return false;
	if (!span->count || (is_hashed && span->count & (span->count - 1)))
		return false;
	return (uint64_t)span->count * span->stride <= bytes - span->offset;
}

static bool layout_is_sound(const struct segment *head, size_t bytes)
{
	for (int table = 0; table < SEG_TABLE_COUNT; table++)
		if (!span_is_sound(head, table, bytes))
			return false;
	if (head->shard_count > SEG_SHARDS_MAX || head->shards_shared < 1 || head->shards_shared > head->shard_count)
		return false;
	if (head->config.bound_count > SEG_BOUNDS_MAX)
		return false;
	uint64_t endpoints = head->tables[SEG_TABLE_ENDPOINTS].count, series = head->tables[SEG_TABLE_SERIES].count;
	uint32_t shards = head->shard_count + (head->shards_shared < head->shard_count);
	/* What is indexed by something else must be as large as that. */
	return head->tables[SEG_TABLE_HISTOGRAMS].count == series * shards &&
	       head->tables[SEG_TABLE_EXEMPLARS].count == series &&
	       head->tables[SEG_TABLE_SIZES].count == endpoints * shards &&
	       head->tables[SEG_TABLE_FIRST_BYTES].count == endpoints * shards &&
	       head->tables[SEG_TABLE_STREAMS].count == endpoints && head->tables[SEG_TABLE_SLOW].count % endpoints == 0 &&
	       head->tables[SEG_TABLE_PEERS].count == SEG_PEERS_MAX && endpoints > SEG_ENDPOINT_FIRST &&
	       head->tables[SEG_TABLE_MODULES].count > SEG_MODULE_FIRST &&
	       head->tables[SEG_TABLE_UNWIND].count == head->tables[SEG_TABLE_MODULES].count;
}

static void *table_at(struct seg_view *view, enum seg_table table)
{
	const struct seg_span *span = &view->head->tables[table];
	void *entries = (char *)view->head + span->offset;

	uint32_t shift = 0;

	while (span->count > (uint64_t)SEG_MARK_PARTS << shift)
		shift++;
	view->slots[table] = (struct seg_slots){ entries, span->count, span->stride, view->head->marks[table], shift };
	return entries;
}

enum seg_problem seg_view_init(struct seg_view *ret_view, void *base, size_t bytes)
{
	struct segment *head = base;

	if (bytes < sizeof(head->magic))
		return SEG_PROBLEM_TRUNCATED;
	if (head->magic != SEG_MAGIC)
		return SEG_PROBLEM_MAGIC;
	if (bytes < sizeof(*head))
		return SEG_PROBLEM_TRUNCATED;
	if (head->version != SEG_VERSION || head->header_bytes != sizeof(*head))
		return SEG_PROBLEM_VERSION;
	if (!atomic_load_explicit(&head->ready, memory_order_acquire))
		return SEG_PROBLEM_NOT_READY;
	if (head->total_bytes > bytes)
		return SEG_PROBLEM_TRUNCATED;
	if (!layout_is_sound(head, bytes))
		return SEG_PROBLEM_LAYOUT;

	ret_view->head = head;
	ret_view->shard_count = head->shard_count;
	ret_view->shards_shared = head->shards_shared;
	ret_view->threads = table_at(ret_view, SEG_TABLE_THREADS);
	ret_view->processes = table_at(ret_view, SEG_TABLE_PROCESSES);
	ret_view->frames = table_at(ret_view, SEG_TABLE_FRAMES);
	ret_view->nodes = table_at(ret_view, SEG_TABLE_NODES);
	ret_view->cells = table_at(ret_view, SEG_TABLE_CELLS);
	ret_view->modules = table_at(ret_view, SEG_TABLE_MODULES);
	ret_view->endpoints = table_at(ret_view, SEG_TABLE_ENDPOINTS);
	ret_view->series = table_at(ret_view, SEG_TABLE_SERIES);
	ret_view->histograms = table_at(ret_view, SEG_TABLE_HISTOGRAMS);
	ret_view->sizes = table_at(ret_view, SEG_TABLE_SIZES);
	ret_view->first_bytes = table_at(ret_view, SEG_TABLE_FIRST_BYTES);
	ret_view->exemplars = table_at(ret_view, SEG_TABLE_EXEMPLARS);
	ret_view->streams = table_at(ret_view, SEG_TABLE_STREAMS);
	ret_view->peers = table_at(ret_view, SEG_TABLE_PEERS);
	ret_view->words = table_at(ret_view, SEG_TABLE_WORDS);
	ret_view->slow = table_at(ret_view, SEG_TABLE_SLOW);
	ret_view->slow_events = table_at(ret_view, SEG_TABLE_SLOW_EVENTS);
	ret_view->connections = table_at(ret_view, SEG_TABLE_CONNECTIONS);
	ret_view->unwind = table_at(ret_view, SEG_TABLE_UNWIND);
	ret_view->unwind_arena = table_at(ret_view, SEG_TABLE_UNWIND_ARENA);
	return SEG_OK;
}

static enum seg_problem check_file(int fd, bool is_writable, struct stat *ret_status)
{
	if (fstat(fd, ret_status) < 0)
		return SEG_PROBLEM_OPEN;
	if (!S_ISREG(ret_status->st_mode))
		return SEG_PROBLEM_KIND;
	if (is_writable && (ret_status->st_uid != geteuid() || ret_status->st_mode & 022))
		return SEG_PROBLEM_FOREIGN;
	return SEG_OK;
}

/* O_NONBLOCK: a FIFO must not make us wait. */
enum seg_problem seg_open(struct seg_view *ret_view, const char *path, bool is_writable)
{
	struct stat status;
	int fd = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return SEG_PROBLEM_OPEN;
	enum seg_problem unfit = check_file(fd, is_writable, &status);
	if (unfit != SEG_OK) {
		close(fd);
		return unfit;
	}
	size_t bytes = (size_t)status.st_size;
	void *base = bytes ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, is_writable ? MAP_SHARED : MAP_PRIVATE, fd, 0) : MAP_FAILED;
	close(fd);
	if (base == MAP_FAILED)
		return bytes ? SEG_PROBLEM_OPEN : SEG_PROBLEM_TRUNCATED;
	enum seg_problem problem = seg_view_init(ret_view, base, bytes);
	if (problem != SEG_OK)
		munmap(base, bytes);
	return problem;
}

void seg_close(struct seg_view *view)
{
	if (view->head)
		munmap(view->head, view->head->total_bytes);
	*view = (struct seg_view){ 0 };
}
