#pragma once
/* names - who tells the model what lies at an address; in the product the symbolizer, in tests a table.
 * Context: the exporter's threads; like the symbolizer, one source belongs to one thread.
 * The strings it gives out live as long as the source.
 */
#include "../symbolizer/symbolizer.h"
#include "snapshot.h"

struct names {
	void (*resolve)(void *context, const struct snapshot_module *module, uint64_t offset, struct symbol *ret_symbol);
	/* Where the module's names come from or why there are none; NULL = nothing to say. May itself be NULL. */
	const char *(*note)(void *context, const struct snapshot_module *module);
	/* A reading is done: what it took to find answers may go, answers stay. May be NULL. */
	void (*trim)(void *context);
	void *context;
};

/* The symbolizer as a source; keep it as long as the process serves, since it caches. False: no memory. */
bool names_init(struct names *ret_names);
void names_deinit(struct names *names);
