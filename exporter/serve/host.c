#include "host.h"

#include <stdarg.h>
#include <stdio.h>

void host_say(const struct exporter_host *host, enum seg_log_level level, const char *format, ...)
{
	char line[3 * SEG_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	host->log(level, line);
}

/* Into slot 0, which anybody may add to with locked instructions: the slots of threads are their owners' alone. */
void host_count(const struct exporter_host *host, enum seg_counter counter, uint64_t n)
{
	if (!n)
		return;
	seg_table_mark(&host->seg.slots[SEG_TABLE_THREADS], 0);
	atomic_fetch_add_explicit(&host->seg.threads[0].counters[counter], n, memory_order_relaxed);
}
