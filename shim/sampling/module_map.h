#pragma once
/* module_map - one picture of the modules of this process: what the setup side draws and the handler looks at.
 * Context: signal and setup. Everything in a map is constant once it is published.
 */
#include "modules.h"

#include "../segment/layout.h"

#include <stdatomic.h>

struct map_object {
	struct dl_phdr_info info; /* name and headers are the map's own copies: the loader's may vanish */
	uintptr_t low, high;      /* all its loadable segments; high is one past */
	uint8_t build_id[SEG_BUILD_ID_BYTES];
	uint32_t build_id_bytes;  /* 0 = it has none */
	uint32_t module;          /* index in the segment's table; SEG_MODULE_NONE: the table is full */
	bool is_system;
	bool is_permanent;        /* it was there when the program began, so it never goes */
};

struct map_range { /* executable */
	uintptr_t low, high;
	uint32_t object;
};

struct module_map {
	size_t bytes; /* of the mapping that all of this lies in */
	struct map_object *objects;
	struct map_range *ranges; /* rising, not overlapping */
	uint32_t object_count;
	uint32_t range_count;
	uint32_t epoch;
	uintptr_t own_low, own_high; /* libprofshim.so */
	struct module_map *older;    /* retired, next to be freed */
};

/* Shared by modules.c and module_map.c. Each flag's partner is named at its use. */
struct module_gate {
	_Atomic(struct module_map *) current;
	_Atomic uint32_t phase;      /* 0 or 1: where handlers that enter are counted */
	_Atomic uint64_t inside;     /* handlers between enter and leave, in three parts: see below */
	_Atomic uint32_t unloading; /* threads between unload_begin and unload_end */
	_Atomic uint32_t is_stale;  /* a pc was met that no module covers */
};
extern struct module_gate module_gate;

/* Of module_gate.inside, 21 bits each, and no process has as many threads: all of one phase, all of the other, and those
 * among them that were let in. In one word, so that a handler comes and goes by one instruction each. */
static inline uint64_t gate_reader(uint32_t phase) { return 1ULL << 21 * phase; }
#define GATE_WALKER (1ULL << 42)
static inline uint32_t gate_readers(uint64_t inside, uint32_t phase) { return (uint32_t)(inside >> 21 * phase) & 0x1fffff; }
static inline uint32_t gate_walkers(uint64_t inside) { return (uint32_t)(inside / GATE_WALKER); }

/* The range that covers pc, NULL = none. */
const struct map_range *sig_map_find(const struct module_map *map, uintptr_t pc);
