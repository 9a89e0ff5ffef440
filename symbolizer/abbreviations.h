#pragma once
/* abbreviations - one table of .debug_abbrev: what the entries of a unit consist of.
 * Context: any thread. Borrows the section.
 */
#include "cursor.h"

struct abbreviation {
	uint64_t code; /* never 0 */
	uint64_t tag;
	bool has_children;
	uint64_t attributes; /* offset in the section of its list of names and forms */
};

/* All zero = empty. */
struct abbreviations {
	struct abbreviation *items; /* owned; rising codes */
	uint32_t count, capacity;
	uint64_t offset, bytes; /* where the table is, and how much was read of it */
};

/* 0 or -ENOMEM. A damaged table gives what stands before the damage. */
int abbreviations_read(struct bytes section, uint64_t offset, struct abbreviations *ret_table);
void abbreviations_free(struct abbreviations *table);

/* NULL = there is none of this code. */
const struct abbreviation *abbreviations_find(const struct abbreviations *table, uint64_t code);

/* One attribute of a list. False: the list is over. constant: of DW_FORM_implicit_const. */
bool abbreviations_next(struct cursor *list, uint64_t *ret_name, uint64_t *ret_form, int64_t *ret_constant);
