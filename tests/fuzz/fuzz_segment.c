/* Fuzzes everything that looks at a session's file: a sound one is changed as the input says, cut short as it says, and
 * read by all views; whoever serves would also reset it and take slow requests out of it.
 * Input: changes, each the table (0: the header) in one byte, the entry in two, the offset in it in two, a count of bytes
 * up to 15 in one, and these; the highest bit of the count cuts the file there instead. The last byte chooses what is
 * done with it. MADE_SESSION: the sound one.
 */
#include "../../exporter/serve/reset.h"
#include "../../exporter/view.h"
#include "../golden/made_session.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { CEILING = 9 << 20, CHANGES_MAX = 64, CHANGE_BYTES = 15, CUT = 0x80, SLOW = 4 };

struct change {
	size_t at;
	uint8_t before[CHANGE_BYTES], bytes;
};

static struct made_session made;
static size_t total;
static uint8_t *sound; /* a copy of it */
static uint32_t used[SEG_TABLE_COUNT]; /* entries up to the last that is not zero */

static bool is_zero(const uint8_t *bytes, size_t n)
{
	while (n && !bytes[n - 1])
		n--;
	return n == 0;
}

static void make(void)
{
	made_init_within(&made, CEILING);
	made_read(&made, MADE_SESSION);
	total = made.seg.head->total_bytes;
	sound = malloc(total);
	memcpy(sound, made.base, total);
	for (int table = 0; table < SEG_TABLE_COUNT; table++) {
		const struct seg_span *span = &made.seg.head->tables[table];
		for (uint32_t i = 0; i < span->count; i++)
			if (!is_zero(sound + span->offset + (size_t)i * span->stride, span->stride))
				used[table] = i + 1;
	}
}

/* Where a change goes: mostly into what is in use. */
static size_t place_of(uint8_t table, uint32_t entry, uint32_t offset)
{
	const struct seg_span *span = &((const struct segment *)(const void *)sound)->tables[table % SEG_TABLE_COUNT];

	if (table % (SEG_TABLE_COUNT + 1) == SEG_TABLE_COUNT)
		return ((size_t)entry << 16 | offset) % sizeof(struct segment);
	entry = entry & 0x8000 ? entry % span->count : entry % (used[table % SEG_TABLE_COUNT] + 1);
	return span->offset + ((size_t)(entry < span->count ? entry : 0) * span->stride + offset % span->stride);
}

/* Returns how many changes were made; *size: of the file after them. */
static unsigned apply(const uint8_t *bytes, size_t n, struct change changes[static CHANGES_MAX], size_t *size)
{
	unsigned count = 0;

	while (n >= 6 && count < CHANGES_MAX) {
		size_t at = place_of(bytes[0], (uint32_t)(bytes[1] | bytes[2] << 8), (uint32_t)(bytes[3] | bytes[4] << 8));
		uint8_t wanted = bytes[5] & CHANGE_BYTES;
		if (bytes[5] & CUT)
			*size = at;
		bytes += 6;
		n -= 6;
		wanted = wanted < n ? wanted : (uint8_t)n;
		struct change *change = &changes[count++];
		*change = (struct change){ .at = at, .bytes = wanted < total - at ? wanted : (uint8_t)(total - at) };
		memcpy(change->before, (uint8_t *)made.base + at, change->bytes);
		memcpy((uint8_t *)made.base + at, bytes, change->bytes);
		bytes += wanted;
		n -= wanted;
	}
	return count;
}

static void undo(const struct change *changes, unsigned count)
{
	while (count--)
		memcpy((uint8_t *)made.base + changes[count].at, changes[count].before, changes[count].bytes);
}

static void render_all(const struct snapshot *snapshot, const struct names *names, int variant)
{
	struct model *model = model_build(snapshot, names);
	struct view_memory *memory = view_memory_new();
	struct view_params params;
	char problem[VIEW_PROBLEM_BYTES];

	view_params_default(&params, &snapshot->config);
	params.memory = memory;
	params.is_json = params.is_openmetrics = variant == 1;
	params.by = (enum model_by)variant;
	params.sort = (enum seg_sort)variant;
	params.endpoint = variant == 2 ? "GET /orders/{id}" : NULL;
	for (const struct view *view = views; model && view->path; view++) {
		struct strbuf text = STRBUF_EMPTY;
		if (!view_params_check(&params, model, problem))
			view->render(model, &params, &text);
		strbuf_free(&text);
	}
	model_free(model);
	view_memory_free(memory);
}

static void read_slow_log(const struct seg_view *seg, const struct names *names)
{
	struct snapshot *snapshot = snapshot_take_slow(seg, seg->slow, seg->slots[SEG_TABLE_SLOW].count < SLOW ? seg->slots[SEG_TABLE_SLOW].count : SLOW);
	struct model *model = snapshot ? model_build(snapshot, names) : NULL;
	struct strbuf text = STRBUF_EMPTY;

	if (model)
		view_slow_log_render(model, &text);
	strbuf_free(&text);
	model_free(model);
	snapshot_free(snapshot);
}

enum { VARIANT = 3, DIFFERENCE = 4, SLOW_LOG = 8, RESET = 16 }; /* bits of the last byte */

static void read_session(size_t size, uint8_t how)
{
	struct names names = made_names(&made);
	struct seg_view seg;

	if (seg_view_init(&seg, made.base, size) != SEG_OK)
		return;
	atomic_store(&seg.head->resets, atomic_load(&seg.head->resets) & ~1u); /* an unfinished one only takes time */
	struct snapshot *later = snapshot_take(&seg), *earlier = how & DIFFERENCE ? snapshot_take_file(&seg, 1) : NULL;
	if (later && earlier)
		snapshot_subtract(later, earlier);
	if (later)
		render_all(later, &names, (how & VARIANT) % 3);
	if (how & SLOW_LOG)
		read_slow_log(&seg, &names);
	if (how & RESET)
		reset_session(&seg);
	snapshot_free(earlier);
	snapshot_free(later);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct change changes[CHANGES_MAX];

	if (!sound)
		make();
	size_t size = total;
	uint8_t how = n ? bytes[n - 1] : 0;
	unsigned count = apply(bytes, n, changes, &size);
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
	ASAN_POISON_MEMORY_REGION((uint8_t *)made.base + size, total - size);
#endif
	read_session(size, how);
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
	ASAN_UNPOISON_MEMORY_REGION((uint8_t *)made.base + size, total - size);
#endif
	undo(changes, count);
	if (how & RESET)
		memcpy(made.base, sound, total);
	made.seg.head->resets = 0;
	return 0;
}
