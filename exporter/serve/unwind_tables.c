/* A table is made in memory of ours, then copied into a piece of the arena and announced: a server that is killed in between
 * loses the piece, and nobody waits for it. That a file might kill server after server is what attempts are counted for.
 */
#include "unwind_tables.h"

#include "../../shim/segment/kernel_clock.h"
#include "../../shim/segment/unwind.h"
#include "../../symbolizer/unwind.h"
#include "../../symbolizer/vdso.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST_NS 250000000ull /* 0.25 s: what a large program's libraries come to */
#define REST_FACTOR 4
#define ROWS_MAX (1u << 24)
#define SPAN_MAX (1ull << 31) /* of a module's code: the index counts blocks of at most 64 KiB */

struct rows {
	uint64_t *addresses;
	uint32_t *rules;
	uint32_t count, capacity, unsupported;
	uint64_t code_bytes; /* that the file has */
};

void unwind_tables_init(struct unwind_tables *tables, const struct exporter_host *host)
{
	*tables = (struct unwind_tables){ .host = host, .first_open = SEG_MODULE_FIRST };
}

/* --- rules --- */

static uint32_t slot_of(const struct unwind_saved *saved, bool is_by_bp)
{
	int32_t offset = saved->offset;

	if (saved->place == UNWIND_KEPT)
		return SEG_UNWIND_KEPT;
	if (saved->place == UNWIND_AT_BP && offset == 0)
		return SEG_UNWIND_AT_BP;
	bool is_relative = saved->place == (is_by_bp ? UNWIND_AT_BP : UNWIND_AT_CFA);
	bool fits = offset < 0 && offset % 8 == 0 && offset / -8 <= SEG_UNWIND_SLOT_MAX;
	return is_relative && fits ? (uint32_t)(offset / -8) : SEG_UNWIND_LOST;
}

static enum seg_unwind_kind kind_of_cfa(uint32_t reg)
{
	switch (reg) {
	case UNWIND_RSP: return SEG_UNWIND_SP;
	case UNWIND_RBP: return SEG_UNWIND_BP;
	case UNWIND_RBX: return SEG_UNWIND_BX;
	default: return SEG_UNWIND_REGISTER;
	}
}

static enum seg_unwind_kind kind_of_deref(const struct unwind_rule *rule)
{
	bool is_by_cfa = rule->bp.place == UNWIND_AT_CFA || rule->bx.place == UNWIND_AT_CFA;

	switch (rule->reg) {
	case UNWIND_RSP: return SEG_UNWIND_DEREF_SP;
	case UNWIND_RBP: return is_by_cfa ? SEG_UNWIND_DEREF_BP_CFA : SEG_UNWIND_DEREF_BP;
	default: return SEG_UNWIND_UNSUPPORTED;
	}
}

static uint32_t pack(const struct unwind_rule *rule)
{
	struct seg_unwind_rule packed = { .kind = SEG_UNWIND_UNSUPPORTED, .offset = rule->offset, .added = rule->added };

	switch (rule->kind) {
	case UNWIND_NONE: return SEG_UNWIND_NONE;
	case UNWIND_END: return SEG_UNWIND_END;
	case UNWIND_UNSUPPORTED: return SEG_UNWIND_UNSUPPORTED;
	case UNWIND_SIGNAL: return SEG_UNWIND_SIGNAL;
	case UNWIND_CFA_PLT: packed.kind = SEG_UNWIND_PLT; break;
	case UNWIND_CFA:
		packed.kind = kind_of_cfa(rule->reg);
		packed.added = (int32_t)rule->reg;
		break;
	case UNWIND_CFA_DEREF:
		packed.kind = kind_of_deref(rule);
		break;
	}
	packed.bp = slot_of(&rule->bp, packed.kind == SEG_UNWIND_DEREF_BP);
	packed.bx = slot_of(&rule->bx, packed.kind == SEG_UNWIND_DEREF_BP);
	return seg_unwind_pack(&packed);
}

/* --- rows --- */

static int grow(struct rows *rows)
{
	uint32_t capacity = rows->capacity ? rows->capacity * 2 : 4096;
	uint64_t *addresses = realloc(rows->addresses, capacity * sizeof(*addresses));

	if (addresses)
		rows->addresses = addresses;
	uint32_t *rules = realloc(rows->rules, capacity * sizeof(*rules));
	if (rules)
		rows->rules = rules;
	if (!addresses || !rules)
		return -ENOMEM;
	rows->capacity = capacity;
	return 0;
}

/* A row like the one before it adds nothing; one that begins where the one before it did takes its place. */
static int add_row(void *context, uint64_t address, const struct unwind_rule *rule)
{
	struct rows *rows = context;
	uint32_t packed = pack(rule);

	if (rows->count && rows->addresses[rows->count - 1] == address)
		rows->unsupported -= rows->rules[--rows->count] == SEG_UNWIND_UNSUPPORTED;
	if (rows->count && rows->rules[rows->count - 1] == packed)
		return 0;
	if (rows->count == ROWS_MAX)
		return -EFBIG;
	if (rows->count == rows->capacity && grow(rows))
		return -ENOMEM;
	rows->unsupported += packed == SEG_UNWIND_UNSUPPORTED;
	rows->addresses[rows->count] = address;
	rows->rules[rows->count++] = packed;
	return 0;
}

static void free_rows(struct rows *rows)
{
	free(rows->addresses);
	free(rows->rules);
}

/* --- tables --- */

/* Little is covered where code was made without unwind information: what is there is the C runtime's. */
static uint32_t covered_pct(const struct rows *rows)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i + 1 < rows->count; i++)
		if (rows->rules[i] != SEG_UNWIND_NONE)
			bytes += rows->addresses[i + 1] - rows->addresses[i];
	return bytes >= rows->code_bytes ? 100 : (uint32_t)(bytes * 100 / rows->code_bytes);
}

/* The narrowest blocks whose words take at most two bytes a row. */
static void choose_blocks(const struct rows *rows, struct seg_unwind *entry)
{
	uint64_t base = rows->addresses[0] & ~0xffffull, last = rows->addresses[rows->count - 1] - base;
	uint32_t shift = 8;

	while (shift < 16 && (last >> shift) + 2 > rows->count / 2)
		shift++;
	entry->base = base;
	entry->shift = shift;
	entry->block_count = (uint32_t)(last >> shift) + 1;
	entry->row_count = rows->count;
	entry->unsupported_rows = rows->unsupported;
	entry->covered_pct = covered_pct(rows);
}

static void write_table(const struct rows *rows, const struct seg_unwind *entry, uint8_t *place)
{
	uint32_t *blocks = (uint32_t *)(void *)place, *rules = blocks + entry->block_count + 1;
	uint16_t *lows = (uint16_t *)(rules + entry->row_count);
	uint32_t block = 0;

	for (uint32_t i = 0; i < rows->count; i++) {
		uint64_t at = (rows->addresses[i] - entry->base) >> entry->shift;
		while (block <= at)
			blocks[block++] = i;
		lows[i] = (uint16_t)rows->addresses[i];
	}
	while (block <= entry->block_count)
		blocks[block++] = rows->count;
	memcpy(rules, rows->rules, rows->count * sizeof(*rules));
}

/* A piece of the arena; false: there is not enough left. */
static bool take_pieces(const struct seg_view *seg, uint64_t bytes, uint32_t *ret_place)
{
	uint32_t count = seg->slots[SEG_TABLE_UNWIND_ARENA].count;
	uint64_t wanted = (bytes + SEG_UNWIND_PIECE_BYTES - 1) / SEG_UNWIND_PIECE_BYTES;
	uint32_t taken = atomic_load_explicit(&seg->head->unwind_pieces, memory_order_relaxed);

	if (taken > count || wanted > count - taken)
		return false;
	*ret_place = atomic_fetch_add_explicit(&seg->head->unwind_pieces, (uint32_t)wanted, memory_order_relaxed);
	return *ret_place <= count && wanted <= count - *ret_place;
}

static enum seg_unwind_state publish(const struct seg_view *seg, struct seg_unwind *entry, const struct rows *rows)
{
	if (!rows->count)
		return SEG_UNWIND_NO_CFI;
	if (rows->addresses[rows->count - 1] - rows->addresses[0] >= SPAN_MAX)
		return SEG_UNWIND_FAILED;
	choose_blocks(rows, entry);
	if (!take_pieces(seg, seg_unwind_bytes(entry->row_count, entry->block_count), &entry->place))
		return SEG_UNWIND_FULL;
	write_table(rows, entry, seg->unwind_arena[entry->place].bytes);
	entry->ready_mono_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	return SEG_UNWIND_READY;
}

static enum seg_unwind_state state_after(int failed)
{
	return failed == -ENOENT ? SEG_UNWIND_NO_CFI : SEG_UNWIND_FAILED;
}

static void say(struct unwind_tables *tables, enum seg_unwind_state state, const char *path, const struct rows *rows)
{
	char line[SEG_MODULE_PATH_BYTES + 128];

	if (state == SEG_UNWIND_FULL && !tables->is_full) {
		tables->is_full = true;
		snprintf(line, sizeof(line), "no room for the unwind table of %s (%u rows), its frames are followed by frame pointers; "
		         "a larger PROFSHIM_MEMORY has more", path, rows->count);
		tables->host->log(SEG_LOG_WARN, line);
	} else if (state == SEG_UNWIND_FAILED) {
		snprintf(line, sizeof(line), "no unwind table for %s: it cannot be read, or is another file by now; its frames are "
		         "followed by frame pointers", path);
		tables->host->log(SEG_LOG_INFO, line);
	}
}

static void compile(struct unwind_tables *tables, uint32_t index)
{
	const struct seg_view *seg = &tables->host->seg;
	const struct seg_module *module = &seg->modules[index];
	struct seg_unwind *entry = &seg->unwind[index];
	struct rows rows = { 0 };
	enum seg_unwind_state state = SEG_UNWIND_FAILED;
	char path[SEG_MODULE_PATH_BYTES];

	snprintf(path, sizeof(path), "%.*s", SEG_MODULE_PATH_BYTES - 1, module->path);
	seg_table_mark(&seg->slots[SEG_TABLE_UNWIND], index);
	if (atomic_fetch_add_explicit(&entry->attempts, 1, memory_order_relaxed) < SEG_UNWIND_ATTEMPTS_MAX) {
		uint32_t id_bytes = module->build_id_bytes < SEG_BUILD_ID_BYTES ? module->build_id_bytes : SEG_BUILD_ID_BYTES;
		int failed = unwind_read(path, module->build_id, id_bytes, add_row, &rows, &rows.code_bytes);
		state = failed ? state_after(failed) : publish(seg, entry, &rows);
	}
	atomic_store_explicit(&entry->state, state, memory_order_release);
	atomic_fetch_add_explicit(&seg->head->unwind_generation, 1, memory_order_release);
	say(tables, state, path, &rows);
	free_rows(&rows);
}

/* --- order --- */

static bool is_called(const struct seg_module *module, const char *name)
{
	char path[SEG_MODULE_PATH_BYTES];

	snprintf(path, sizeof(path), "%.*s", SEG_MODULE_PATH_BYTES - 1, module->path);
	const char *slash = strrchr(path, '/');
	return strncmp(slash ? slash + 1 : path, name, strlen(name)) == 0;
}

/* What nearly every stack goes through, then what some stack did, then the program, then the others as they were loaded. */
static uint32_t rank_of(const struct seg_view *seg, uint32_t index)
{
	static const char *const first[] = { "libc.so.", "libstdc++.so." };
	enum { MET = 2, PROGRAM, OTHERS };

	for (uint32_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (is_called(&seg->modules[index], first[i]))
			return i;
	if (atomic_load_explicit(&seg->unwind[index].is_met, memory_order_relaxed))
		return MET;
	return index == SEG_MODULE_FIRST ? PROGRAM : OTHERS;
}

/* Modules are entered in order, and an entry's text may not be there yet. SEG_NOT_FOUND: none is left. */
static uint32_t next_module(struct unwind_tables *tables)
{
	const struct seg_view *seg = &tables->host->seg;
	uint32_t count = seg->slots[SEG_TABLE_MODULES].count, best = SEG_NOT_FOUND, best_rank = UINT32_MAX;
	bool is_all_done = true;

	for (uint32_t i = tables->first_open; i < count && atomic_load_explicit(&seg->modules[i].key, memory_order_relaxed); i++) {
		bool is_open = atomic_load_explicit(&seg->unwind[i].state, memory_order_relaxed) == SEG_UNWIND_WANTED;
		is_all_done = is_all_done && !is_open;
		if (is_all_done)
			tables->first_open = i + 1;
		if (!is_open || !atomic_load_explicit(&seg->modules[i].ready, memory_order_acquire))
			continue;
		uint32_t rank = rank_of(seg, i);
		if (rank < best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

static bool is_wanted(const struct seg_view *seg)
{
	const char *unwind = seg->head->config.unwind;

	return strcmp(unwind, "fp") != 0 && strcmp(unwind, "libunwind") != 0;
}

int unwind_tables_turn(struct unwind_tables *tables)
{
	const struct seg_view *seg = &tables->host->seg;
	uint64_t now_ns = kernel_clock_ns(CLOCK_MONOTONIC);

	if (now_ns < tables->not_before_ns)
		return (int)((tables->not_before_ns - now_ns) / 1000000) + 1;
	uint32_t index = is_wanted(seg) && atomic_load_explicit(&seg->head->config.hz, memory_order_relaxed) ? next_module(tables) : SEG_NOT_FOUND;
	if (index == SEG_NOT_FOUND) {
		tables->spent_ns = 0;
		return -1;
	}
	uint64_t begin_ns = kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	compile(tables, index);
	uint64_t took_ns = kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
	tables->spent_ns += took_ns;
	if (tables->spent_ns <= BURST_NS)
		return 0;
	tables->not_before_ns = kernel_clock_ns(CLOCK_MONOTONIC) + took_ns * REST_FACTOR;
	return (int)(took_ns * REST_FACTOR / 1000000) + 1;
}
