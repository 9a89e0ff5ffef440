#pragma once
/* dwarf - DWARF's entries and frames read into plain tables.
 * Context: any thread; one owner at a time, and no two threads in here at once: libdwarf keeps static buffers.
 * Damaged DWARF gives fewer entries, never an error that stops the rest.
 */
#include "spans.h"
#include "unwind.h"

#include <stdbool.h>
#include <stdint.h>

#define DWARF_NO_LINES UINT64_MAX
enum { DWARF_SECTIONS_MAX = 16, DWARF_NO_FILE = UINT32_MAX };

struct dwarf_section {
	const char *name;
	uint8_t *bytes; /* borrowed until dwarf_close; zeros must follow, see image.h */
	uint64_t size, address;
};

struct dwarf_unit {
	uint64_t start, end; /* offsets in .debug_info of its first entry, and of the next unit */
	uint64_t lines;      /* offset of its line table in .debug_line, DWARF_NO_LINES = has none */
	const char *directory; /* of compilation; borrowed from the sections, may be NULL */
};

struct dwarf_function {
	const char *name;         /* borrowed from the sections, may be NULL; mangled where the language does that */
	uint32_t file, line;      /* of the declaration; DWARF_NO_FILE and 0 = not known */
	uint64_t file_unit_entry; /* an entry of the unit whose line table numbers the file */
};

struct dwarf;

/* 0 or -errno: -ENOMEM, -ENOEXEC when libdwarf finds no sense in the sections. */
int dwarf_open(const struct dwarf_section *sections, uint32_t count, struct dwarf **ret_dwarf);
void dwarf_close(struct dwarf *dwarf);

/* All units, in order, and the addresses they cover (ids are indexes of units). ret_units is to be freed. 0 or -ENOMEM. */
int dwarf_read_units(struct dwarf *dwarf, struct dwarf_unit **ret_units, uint32_t *ret_count, struct spans *ret_covered);

/* The functions of a unit that have code; ids are offsets of entries from the unit's start. is_deep: also those that lie
 * inside of other functions, which takes far longer. 0 or -errno. */
int dwarf_read_functions(struct dwarf *dwarf, const struct dwarf_unit *unit, bool is_deep, struct spans *ret_functions);

void dwarf_describe_function(struct dwarf *dwarf, uint64_t entry, struct dwarf_function *ret_function);

/* The functions that .eh_frame describes; ids 0. 0 or -errno. */
int dwarf_read_frames(struct dwarf *dwarf, struct spans *ret_frames);

/* Calls found for each function's call frame information, by rising addresses, out of .eh_frame or else of .debug_frame;
 * found returns 0 to go on. 0, -ENOENT: there is none, or what found returned. */
int dwarf_visit_frames(struct dwarf *dwarf, bool is_eh, int (*found)(void *context, const struct unwind_frame *frame), void *context);
