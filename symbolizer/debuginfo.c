/* Which unit covers an address is known from the ranges of the units' first entries; compilers write .debug_aranges less
 * and less (clang not at all), so it is not used. A unit's lines and functions are decoded together, once.
 */
#include "debuginfo.h"
#include "entries.h"
#include "linetable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_NAME_MAX = 4096 };

struct unit {
	struct entries_unit place;
	struct linetable lines;
	struct spans functions; /* ids: entries' offsets in the unit */
	struct spans inner;     /* also those inside of other functions; filled when the others do not cover an address */
	bool has_lines, has_functions, has_inner; /* decoding was tried */
};

struct debuginfo {
	struct entries *entries;
	struct entries_section sections[ENTRIES_SECTIONS_MAX]; /* bytes owned */
	uint32_t section_count;
	struct linetable_sections line_sections; /* three of them */
	struct unit *units;
	uint32_t unit_count;
	struct spans covered; /* ids: indexes of units */
	uint64_t held_bytes;
};

/* Locations, types by signature, macros and indexes are not needed for lines. */
static const char *const section_names[] = {
	".debug_info", ".debug_abbrev", ".debug_line",     ".debug_str",        ".debug_line_str",
	".debug_addr", ".debug_ranges", ".debug_rnglists", ".debug_str_offsets",
};

_Static_assert(sizeof(section_names) / sizeof(*section_names) <= ENTRIES_SECTIONS_MAX, "room for all sections");

static int read_sections(struct debuginfo *debuginfo, struct image *image, uint64_t max_bytes)
{
	for (size_t i = 0; i < sizeof(section_names) / sizeof(*section_names); i++) {
		struct image_section section = { 0 };
		int failed = image_read_section(image, section_names[i], max_bytes - debuginfo->held_bytes, &section);

		if (failed == -ENOENT && i > 0)
			continue;
		if (failed)
			return failed;
		debuginfo->held_bytes += section.size;
		debuginfo->sections[debuginfo->section_count++] =
			(struct entries_section){ .name = section_names[i], .bytes = section.bytes, .size = section.size };
	}
	return 0;
}

static struct bytes find_bytes(const struct debuginfo *debuginfo, const char *name)
{
	for (uint32_t i = 0; i < debuginfo->section_count; i++) {
		const struct entries_section *section = &debuginfo->sections[i];

		if (strcmp(section->name, name) == 0)
			return (struct bytes){ .at = section->bytes, .size = section->size };
	}
	return (struct bytes){ 0 };
}

static int list_units(struct debuginfo *debuginfo)
{
	struct entries_unit *places = NULL;
	int failed = entries_read_units(debuginfo->entries, &places, &debuginfo->unit_count, &debuginfo->covered);

	debuginfo->units = failed ? NULL : calloc(debuginfo->unit_count + 1, sizeof(*debuginfo->units));
	if (!debuginfo->units) {
		free(places);
		debuginfo->unit_count = 0;
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < debuginfo->unit_count; i++)
		debuginfo->units[i].place = places[i];
	free(places);
	debuginfo->held_bytes += debuginfo->unit_count * sizeof(*debuginfo->units) + spans_bytes(&debuginfo->covered);
	return 0;
}

int debuginfo_open(struct image *image, uint64_t max_bytes, struct debuginfo **ret_debuginfo)
{
	struct debuginfo *debuginfo = calloc(1, sizeof(*debuginfo));
	int failed;

	if (!debuginfo)
		return -ENOMEM;
	failed = read_sections(debuginfo, image, max_bytes);
	if (!failed)
		failed = entries_open(debuginfo->sections, debuginfo->section_count, &debuginfo->entries);
	if (!failed)
		failed = list_units(debuginfo);
	if (failed) {
		debuginfo_close(debuginfo);
		return failed;
	}
	debuginfo->line_sections.line = find_bytes(debuginfo, ".debug_line");
	debuginfo->line_sections.line_str = find_bytes(debuginfo, ".debug_line_str");
	debuginfo->line_sections.str = find_bytes(debuginfo, ".debug_str");
	*ret_debuginfo = debuginfo;
	return 0;
}

void debuginfo_close(struct debuginfo *debuginfo)
{
	if (!debuginfo)
		return;
	entries_close(debuginfo->entries);
	for (uint32_t i = 0; i < debuginfo->unit_count; i++) {
		linetable_free(&debuginfo->units[i].lines);
		spans_free(&debuginfo->units[i].functions);
		spans_free(&debuginfo->units[i].inner);
	}
	for (uint32_t i = 0; i < debuginfo->section_count; i++)
		free((void *)debuginfo->sections[i].bytes);
	free(debuginfo->units);
	spans_free(&debuginfo->covered);
	free(debuginfo);
}

uint64_t debuginfo_bytes(const struct debuginfo *debuginfo)
{
	return debuginfo ? debuginfo->held_bytes : 0;
}

static const struct linetable *lines_of(struct debuginfo *debuginfo, struct unit *unit)
{
	if (!unit->has_lines) {
		unit->has_lines = true;
		if (linetable_read(&debuginfo->line_sections, unit->place.lines, &unit->lines) != 0)
			unit->lines = (struct linetable){ 0 };
		debuginfo->held_bytes += linetable_bytes(&unit->lines);
	}
	return &unit->lines;
}

static const struct span *find_function(struct debuginfo *debuginfo, struct unit *unit, uint64_t address)
{
	const struct span *function;

	if (!unit->has_functions) {
		unit->has_functions = true;
		entries_read_functions(debuginfo->entries, &unit->place, false, &unit->functions);
		debuginfo->held_bytes += spans_bytes(&unit->functions);
	}
	function = spans_find(&unit->functions, address);
	if (function)
		return function;
	if (!unit->has_inner) {
		unit->has_inner = true;
		entries_read_functions(debuginfo->entries, &unit->place, true, &unit->inner);
		debuginfo->held_bytes += spans_bytes(&unit->inner);
	}
	return spans_find(&unit->inner, address);
}

/* The unit in which the entry at this offset lies, NULL = none. */
static struct unit *unit_of_entry(struct debuginfo *debuginfo, uint64_t entry)
{
	uint32_t low = 0, high = debuginfo->unit_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (debuginfo->units[middle].place.end <= entry)
			low = middle + 1;
		else
			high = middle;
	}
	return low < debuginfo->unit_count ? &debuginfo->units[low] : NULL;
}

/* Writes a directory and its slash, unless it is unknown or "." says nothing. */
static size_t put_directory(char *path, size_t used, const char *directory)
{
	int n;

	if (!directory || !directory[0] || strcmp(directory, ".") == 0)
		return used;
	n = snprintf(path + used, FILE_NAME_MAX - used, "%s%s", directory, directory[strlen(directory) - 1] == '/' ? "" : "/");
	return n > 0 && (size_t)n < FILE_NAME_MAX - used ? used + (size_t)n : used;
}

/* Must the directory of compilation come before this one? In DWARF 5 it is itself the first of the table. */
static bool is_below(const char *directory, const char *compilation)
{
	return !directory || (directory[0] != '/' && compilation && strcmp(directory, compilation) != 0);
}

/* A file's full path as the compiler knew it: relative names count from the file's directory, that from the one of
 * compilation. */
static const char *keep_file(struct debuginfo *debuginfo, struct unit *unit, struct strings *strings, uint32_t number)
{
	const struct linetable *lines = lines_of(debuginfo, unit);
	const struct linetable_file *file = number < lines->file_count ? &lines->files[number] : NULL;
	char path[FILE_NAME_MAX];
	size_t used = 0;

	if (!file || !file->name || !file->name[0])
		return NULL;
	if (file->name[0] != '/') {
		if (is_below(file->directory, unit->place.directory))
			used = put_directory(path, used, unit->place.directory);
		used = put_directory(path, used, file->directory);
	}
	snprintf(path + used, sizeof(path) - used, "%s", file->name);
	return strings_keep(strings, path);
}

static void find_line(struct debuginfo *debuginfo, struct strings *strings, uint64_t address, const char **file, uint32_t *line)
{
	const struct span *covered = spans_find(&debuginfo->covered, address);
	struct unit *unit = covered ? &debuginfo->units[covered->id] : NULL;
	const struct linetable_row *row = unit ? linetable_find(lines_of(debuginfo, unit), address) : NULL;

	if (!row)
		return;
	*file = keep_file(debuginfo, unit, strings, row->file);
	*line = *file ? row->line : 0;
}

static void find_declaration(struct debuginfo *debuginfo, struct strings *strings, uint64_t address,
                             struct debuginfo_source *source)
{
	const struct span *covered = spans_find(&debuginfo->covered, address), *place;
	struct unit *unit = covered ? &debuginfo->units[covered->id] : NULL;
	struct entries_function function;

	place = unit ? find_function(debuginfo, unit, address) : NULL;
	if (!place)
		return;
	entries_describe_function(debuginfo->entries, unit->place.start + place->id, &function);
	if (function.name)
		source->function = strings_keep(strings, function.name);
	unit = function.line ? unit_of_entry(debuginfo, function.file_unit_entry) : NULL;
	if (!unit)
		return;
	source->function_file = keep_file(debuginfo, unit, strings, function.file);
	source->function_line = source->function_file ? function.line : 0;
}

void debuginfo_find(struct debuginfo *debuginfo, struct strings *strings, uint64_t address, uint64_t function_start,
                    struct debuginfo_source *source)
{
	find_line(debuginfo, strings, address, &source->file, &source->line);
	find_declaration(debuginfo, strings, address, source);
	if (!source->function_file) /* assembler has no declarations, and gcc's lambdas have none with a line */
		find_line(debuginfo, strings, function_start, &source->function_file, &source->function_line);
}
