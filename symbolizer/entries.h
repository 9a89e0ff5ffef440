#pragma once
/* entries - DWARF's entries read into plain tables.
 * Context: any thread; one owner at a time. Damaged DWARF gives fewer entries, never an error that stops the rest.
 */
#include "spans.h"

#include <stdbool.h>
#include <stdint.h>

#define ENTRIES_NO_LINES UINT64_MAX
enum { ENTRIES_SECTIONS_MAX = 16, ENTRIES_NO_FILE = UINT32_MAX };

struct entries_section {
	const char *name;
	const uint8_t *bytes; /* borrowed until entries_close */
	uint64_t size;
};

struct entries_unit {
	uint64_t start, end; /* offsets in .debug_info of its first entry, and of the next unit */
	uint64_t lines;      /* offset of its line table in .debug_line, ENTRIES_NO_LINES = has none */
	const char *directory; /* of compilation; borrowed from the sections, may be NULL */
};

struct entries_function {
	const char *name;         /* borrowed from the sections, may be NULL; mangled where the language does that */
	uint32_t file, line;      /* of the declaration; ENTRIES_NO_FILE and 0 = not known */
	uint64_t file_unit_entry; /* an entry of the unit whose line table numbers the file */
};

struct entries;

/* 0 or -ENOMEM. */
int entries_open(const struct entries_section *sections, uint32_t count, struct entries **ret_entries);
void entries_close(struct entries *entries);

/* All units, in order, and the addresses they cover (ids are indexes of units); called once, before what follows.
 * ret_units is to be freed. 0 or -ENOMEM. */
int entries_read_units(struct entries *entries, struct entries_unit **ret_units, uint32_t *ret_count, struct spans *ret_covered);

/* The functions of a unit that have code; ids are offsets of entries from the unit's start. is_deep: also those that lie
 * inside of other functions, which takes far longer. 0 or -errno. */
int entries_read_functions(struct entries *entries, const struct entries_unit *unit, bool is_deep, struct spans *ret_functions);

void entries_describe_function(struct entries *entries, uint64_t entry, struct entries_function *ret_function);
