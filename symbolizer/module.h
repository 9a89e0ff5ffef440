#pragma once
/* module - what a symbolizer knows of one file: its symbols, frames and debug information, each read when first needed.
 * Context: the symbolizer's thread.
 */
#include "debuginfo.h"
#include "symbolizer.h"
#include "symtab.h"

struct module_answer {
	uint64_t address;
	struct symbol symbol;
	bool is_used;
};

struct module {
	struct module *next;           /* in the symbolizer's list */
	struct symbolizer *symbolizer; /* its owner, whose strings and limits it uses */
	const char *path;
	uint32_t build_id_bytes; /* asked for */
	uint8_t build_id[IMAGE_BUILD_ID_MAX];
	bool is_usable; /* the file could be read and is the right one */

	struct image_identity identity;
	const char *debug_path; /* of the separate debug file, NULL = none */
	struct image_identity debug_identity;
	bool has_symtab, has_dwarf, debug_has_symtab, debug_has_dwarf;

	bool has_symbols, has_frames, has_debuginfo; /* reading was tried */
	int debuginfo_failed;                        /* -errno of that, 0 = could be read */
	bool lacks_room;          /* symbols or frame descriptions were not read, as they would have taken too much */
	struct symtab symtab;
	struct spans frames;
	struct debuginfo *debuginfo;
	const char *note;

	struct module_answer *answers; /* hash table by address, a power of two; owned */
	uint32_t answer_slots, answer_count;
};

struct symbolizer {
	struct strings strings;
	struct module *modules; /* owned */
	const char *debug_root;
	uint64_t memory_limit_bytes;
	uint64_t tables_limit_bytes; /* of one table of symbols, of their names, of frame descriptions */
};

/* Looks at the file and writes the note. 0 or -ENOMEM. */
int module_open(struct module *module);
void module_close(struct module *module);

/* Without the cache of answers. */
void module_find_function(struct module *module, uint64_t address, struct symbol *symbol);
void module_find_source(struct module *module, uint64_t address, uint64_t max_section_bytes, struct symbol *symbol);

/* What was read of the file goes; what it was found to mean stays. */
void module_forget(struct module *module);
