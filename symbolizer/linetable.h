#pragma once
/* linetable - decodes a unit's line table out of .debug_line, DWARF 2 to 5.
 * Context: any thread. Needs no library. Damaged tables give the rows before the damage.
 */
#include "cursor.h"
#include "spans.h"

enum { LINETABLE_NO_FILE = UINT32_MAX };

struct linetable_row {
	uint64_t address;
	uint32_t line; /* 0 = of no line */
	uint32_t file; /* index into files, LINETABLE_NO_FILE = none */
};

struct linetable_file {
	const char *directory; /* borrowed from the sections, may be NULL */
	const char *name;      /* borrowed from the sections, may be NULL */
};

struct linetable {
	struct linetable_row *rows; /* owned; a row stands for all addresses up to the next */
	uint32_t row_count, row_capacity;
	struct spans sequences; /* runs of rows with rising addresses; ids are indexes of the row that ends each, whose line
	                           is the number of rows before it */
	struct linetable_file *files; /* owned; by the file numbers of the unit */
	uint32_t file_count, file_capacity;
};

/* Zeros must follow the bytes of each, see image.h. */
struct linetable_sections {
	struct bytes line, line_str, str;
};

/* The table at offset in .debug_line. 0 or -errno: -ENOEXEC no table of a known
 * version there. ret_table is to be freed unless it fails. */
int linetable_read(const struct linetable_sections *sections, uint64_t offset, struct linetable *ret_table);

/* The row of address, NULL = none. */
const struct linetable_row *linetable_find(const struct linetable *table, uint64_t address);

uint64_t linetable_bytes(const struct linetable *table);
void linetable_free(struct linetable *table);
