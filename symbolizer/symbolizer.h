#pragma once
/* symbolizer - names, files and lines for addresses in ELF modules; knows files, never the segment.
 * Context: the exporter's threads, with 1 MiB of stack or more. Not thread-safe: one symbolizer belongs to one thread at a
 * time.
 * Owns all strings it gives out; they live until symbolizer_free. Nothing here ever exits or aborts, prints or waits,
 * whatever a file contains: a damaged file gives fewer names, and symbolizer_note says why. No descriptor stays open and
 * no file stays mapped between calls.
 */
#include <stdbool.h>
#include <stdint.h>

struct symbolizer;
struct module;

struct symbol {
	const char *function;   /* demangled, with the types of its parameters; recv@plt for a stub of the procedure linkage
	                           table; NULL = no name known */
	const char *file;       /* source file of the address: full path as the compiler knew it, NULL = not known */
	uint32_t line;          /* of the address, 0 = not known */
	const char *function_file; /* where the function is declared, or where its code begins if the compiler does not say;
	                              NULL = not known */
	uint32_t function_line;    /* 0 = not known */
	uint64_t function_start;   /* first address of the function (symbol table, else the frame description that covers the
	                              address); the address itself when neither knows. Tells functions apart. */
};

struct symbolizer *symbolizer_new(void); /* NULL: no memory */
void symbolizer_free(struct symbolizer *symbolizer);

/* Where separate debug files lie, /usr/lib/debug by default. For modules opened from now on. */
void symbolizer_set_debug_root(struct symbolizer *symbolizer, const char *root);

/* How much memory debug information may take at one time: at most half of it raw sections, the rest what was decoded from them.
 * A module for which there is no room left has names, but no lines. */
#define SYMBOLIZER_MEMORY_LIMIT ((uint64_t)512 << 20) /* by default: of a program of some million lines */
void symbolizer_set_memory_limit(struct symbolizer *symbolizer, uint64_t limit_bytes);

/* What one table of a file may take that is read for names: of symbols, their names, frame descriptions. Of a larger one
 * nothing is read, and answers are not kept, as there may be room later. What is made of such a table takes some four times as
 * much while it is in use. UINT64_MAX by default. */
void symbolizer_set_tables_limit(struct symbolizer *symbolizer, uint64_t limit_bytes);

/* The module of a file; opened once, cached by path and build_id. build_id (may be of 0 bytes) must match the file's, or
 * the file has been replaced since and its names would lie: then the module knows nothing but addresses. Never NULL
 * except out of memory. */
struct module *symbolizer_module(struct symbolizer *symbolizer, const char *path, const uint8_t *build_id,
                                 uint32_t build_id_bytes);

/* What is known of the address (an ELF virtual address in the module: pc - load bias). Answers are cached. */
void symbolizer_lookup(struct module *module, uint64_t address, struct symbol *ret_symbol);

/* The same from symbol tables and frame descriptions only: function and function_start, the rest unknown. Reads no
 * debug information, which for a big program saves a second and much memory; function_start is the same. */
void symbolizer_lookup_function(struct module *module, uint64_t address, struct symbol *ret_symbol);

/* Gives back the memory of symbol tables, frame descriptions and debug information, which are read again for an address that
 * was not asked for before; answers and strings stay. To be called when a report is done. */
void symbolizer_trim(struct symbolizer *symbolizer);

/* One sentence on where the module's names come from or why there are none, for the operator. */
const char *symbolizer_note(const struct module *module);
