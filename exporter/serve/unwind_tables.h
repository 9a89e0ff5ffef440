#pragma once
/* unwind_tables - makes the tables that handlers walk stacks by (shim/segment/unwind.h), for every module of the session,
 * each once.
 * Context: the serving thread. Whoever serves makes them; what a server that died has left undone its successor does.
 * A module costs some milliseconds of CPU. After the first 0.25 s of work in a row this thread rests four times as
 * long as it worked, so that a program which opens hundreds of libraries keeps its cores.
 */
#include "../exporter.h"

struct unwind_tables {
	const struct exporter_host *host;
	uint64_t not_before_ns;  /* rests until then */
	uint64_t spent_ns;       /* since there was nothing to do last */
	uint32_t first_open;     /* all modules below have been seen to */
	bool is_full;            /* was said */
};

void unwind_tables_init(struct unwind_tables *tables, const struct exporter_host *host);

/* Sees to at most one module. In how many ms it wants to be called again for more; -1: there is nothing more to do. */
int unwind_tables_turn(struct unwind_tables *tables);

/* How often to look for new modules: what a program opens shall have its table within 100 ms. A look is a few loads. */
enum { UNWIND_TABLES_LOOK_MS = 50 };
