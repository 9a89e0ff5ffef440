/* Fuzzes the readers of debug information with sections of their own, so that no ELF file has to stay sound around them:
 * units, functions, lines, ranges, frames.
 * Input: for each of the sections below its size in two bytes, lowest first, then its bytes.
 */
#include "../../symbolizer/entries.h"
#include "../../symbolizer/frames.h"
#include "../../symbolizer/linetable.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { SECTIONS = 10, LINE = 2, STR = 3, LINE_STR = 4, EH_FRAME = 9, DESCRIBED_MAX = 64 };
static const char *const names[SECTIONS] = {
	".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_line_str", ".debug_addr", ".debug_ranges",
	".debug_rnglists", ".debug_str_offsets", ".eh_frame",
};

/* Each in memory of its very size, so that a sanitizer sees what is read beyond it. */
static void cut(struct entries_section sections[static SECTIONS], const uint8_t *bytes, size_t n)
{
	for (int i = 0; i < SECTIONS; i++) {
		size_t size = n >= 2 ? (size_t)(bytes[0] | bytes[1] << 8) : 0;
		bytes += n >= 2 ? 2 : n;
		n -= n >= 2 ? 2 : n;
		size = size < n ? size : n;
		uint8_t *copy = malloc(size ? size : 1);
		if (size)
			memcpy(copy, bytes, size);
		sections[i] = (struct entries_section){ .name = names[i], .bytes = copy, .size = size };
		bytes += size;
		n -= size;
	}
}

static struct bytes bytes_of(const struct entries_section *section)
{
	return (struct bytes){ .at = section->bytes, .size = section->size };
}

static void read_lines(const struct entries_section *sections, uint64_t offset)
{
	struct linetable_sections line_sections = { bytes_of(&sections[LINE]), bytes_of(&sections[LINE_STR]), bytes_of(&sections[STR]) };
	struct linetable table = { 0 };

	if (linetable_read(&line_sections, offset, &table) == 0)
		linetable_find(&table, 0x1010);
	linetable_free(&table);
}

static void read_functions(struct entries *entries, const struct entries_unit *unit, bool is_deep)
{
	struct spans functions = { 0 };
	struct entries_function function;

	entries_read_functions(entries, unit, is_deep, &functions);
	for (uint32_t i = 0; i < functions.count && i < DESCRIBED_MAX; i++)
		entries_describe_function(entries, unit->start + functions.items[i].id, &function);
	spans_free(&functions);
}

static void read_units(struct entries *entries, const struct entries_section *sections)
{
	struct entries_unit *units = NULL;
	struct spans covered = { 0 };
	struct entries_function function;
	uint32_t count = 0;

	if (entries_read_units(entries, &units, &count, &covered) == 0)
		for (uint32_t i = 0; i < count; i++) {
			read_lines(sections, units[i].lines);
			read_functions(entries, &units[i], false);
			read_functions(entries, &units[i], true);
		}
	entries_describe_function(entries, 0, &function);
	entries_describe_function(entries, UINT64_MAX, &function);
	spans_free(&covered);
	free(units);
}

/* Every byte of it, as whoever runs the programs would. */
static int look_at_frame(void *context, const struct unwind_frame *frame)
{
	uint8_t *sum = context;

	for (uint64_t i = 0; i < frame->initial_bytes; i++)
		*sum ^= frame->initial[i];
	for (uint64_t i = 0; i < frame->program_bytes; i++)
		*sum ^= frame->program[i];
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct entries_section sections[SECTIONS];
	struct entries *entries;
	struct spans frames = { 0 };
	uint8_t sum = 0;

	cut(sections, bytes, n);
	if (entries_open(sections, SECTIONS, &entries) == 0) {
		read_units(entries, sections);
		entries_close(entries);
	}
	read_lines(sections, 0);
	frames_read(bytes_of(&sections[EH_FRAME]), 0x2000, &frames);
	spans_free(&frames);
	frames_visit(bytes_of(&sections[EH_FRAME]), 0x2000, true, look_at_frame, &sum);
	frames_visit(bytes_of(&sections[EH_FRAME]), 0, false, look_at_frame, &sum);
	for (int i = 0; i < SECTIONS; i++)
		free((void *)sections[i].bytes);
	return 0;
}
