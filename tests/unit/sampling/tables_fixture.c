#include "fixture.h"

#include "../../../exporter/serve/unwind_tables.h"
#include "../../../shim/base/log.h"

static void log_to_fixture(enum seg_log_level level, const char *line)
{
	log_line(level, "%s", line);
}

void fixture_make_tables(void)
{
	struct exporter_host host = { .seg = seg, .log = log_to_fixture };
	struct unwind_tables tables;

	unwind_tables_init(&tables, &host);
	while (unwind_tables_turn(&tables) == 0)
		;
}
