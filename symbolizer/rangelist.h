#pragma once
/* rangelist - decodes the address ranges of units and functions that are not in one piece: .debug_ranges of DWARF 3 and 4,
 * .debug_rnglists of DWARF 5.
 * Context: any thread. Needs no library. Damaged lists
 * give the ranges before the damage.
 */
#include "cursor.h"
#include "spans.h"

struct rangelist_sections {
	struct bytes ranges, rnglists, addr;
};

/* What a unit's first entry says that its lists depend on. */
struct rangelist_unit {
	uint64_t base;          /* DW_AT_low_pc, 0 if it has none */
	uint64_t rnglists_base; /* DW_AT_rnglists_base */
	uint64_t addr_base;     /* DW_AT_addr_base */
	uint32_t offset_bytes;  /* 4 or 8: of the 32-bit or 64-bit format */
};

/* Adds a range unless it is that of code which the linker left out. 0 or -ENOMEM. */
int rangelist_add(struct spans *spans, uint64_t start, uint64_t end, uint32_t id);

/* Adds the list at offset, in .debug_ranges or .debug_rnglists by version. 0 or -ENOMEM. */
int rangelist_read(const struct rangelist_sections *sections, const struct rangelist_unit *unit, uint32_t version,
                   uint64_t offset, struct spans *spans, uint32_t id);

/* Adds the list of the unit that has this index (DW_FORM_rnglistx). 0 or -ENOMEM. */
int rangelist_read_indexed(const struct rangelist_sections *sections, const struct rangelist_unit *unit, uint64_t index,
                           struct spans *spans, uint32_t id);
