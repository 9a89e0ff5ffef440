#pragma once
/* symtab - the functions that a module's symbol tables name.
 * Context: any thread; one owner at a time. Owns its names: they are gone with it, and what is shown is kept elsewhere.
 */
#include "image.h"
#include "strings.h"

struct symtab_entry {
	const char *name;  /* as in the table, without @version */
	const char *shown; /* demangled, in the strings of who asked; NULL until asked for */
	uint64_t start, size, end; /* end of an entry of size 0: of its section, or where the next entry begins */
	uint8_t rank;      /* among names of one address, the highest is shown */
};

struct symtab {
	struct symtab_entry *entries; /* sorted by start, one per address; owned */
	uint32_t count, capacity;
	struct spans places; /* ids are indexes of entries */
	struct spans code;
	struct strings strings; /* of the names; owned */
	uint32_t defined; /* how many the tables had, not counting stubs */
};

/* tables of image added: .symtab when is_dynamic is false, else .dynsym. 0 or -errno (-ENOENT: has none). */
int symtab_add_image(struct symtab *symtab, struct image *image, bool is_dynamic);
/* Stubs of the procedure linkage table, as recv@plt. Only x86-64 is known. 0 or -errno. */
int symtab_add_stubs(struct symtab *symtab, struct image *image);
int symtab_finish(struct symtab *symtab); /* once, after all adding */

/* The function at address, NULL = none. An entry of size 0 is taken up to its end: the caller may know better. */
struct symtab_entry *symtab_find(const struct symtab *symtab, uint64_t address);

/* The name to show, put into kept, always the same one, which outlives the table. NULL: no memory. */
const char *symtab_entry_shown(struct symtab_entry *entry, struct strings *kept);

void symtab_free(struct symtab *symtab);
