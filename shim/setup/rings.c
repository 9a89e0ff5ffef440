#include "rings.h"

#include "../base/clock.h"
#include "../base/thread.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define SUBMISSIONS_OFFSET 0x10000000ULL /* IORING_OFF_SQES */

enum { SHARE_OF_TIME = 100 };

/* A line of /proc/PID/maps, proc(5): range, rights, offset, device, inode, name. */
static bool is_ring(const char *line)
{
	uint64_t offset;

	return strstr(line, " anon_inode:[io_uring]") && sscanf(line, "%*s %*s %" SCNx64, &offset) == 1 &&
	       offset == SUBMISSIONS_OFFSET;
}

static uint32_t count_rings(pid_t pid)
{
	char path[32], *line = NULL;
	uint32_t count = 0;
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	if (!maps)
		return 0;
	while (getline(&line, &room, maps) > 0)
		count += is_ring(line);
	free(line);
	fclose(maps);
	return count;
}

/* What is found beyond what was counted is counted now. */
static void look_at(struct seg_process *process, pid_t pid)
{
	uint32_t counted = atomic_load_explicit(&process->rings_counted, memory_order_relaxed);
	uint32_t found = count_rings(pid);

	while (found > counted)
		if (atomic_compare_exchange_weak_explicit(&process->rings_counted, &counted, found, memory_order_relaxed,
							  memory_order_relaxed)) {
			thread_add(&self.slot->counters[SEG_COUNTER_BLIND_IO_URING], found - counted);
			return;
		}
}

void rings_look(void)
{
	const struct seg_slots *processes = &seg.slots[SEG_TABLE_PROCESSES];
	static uint64_t next_ns;
	uint64_t begin_ns = clock_now_ns();

	if (begin_ns < next_ns || !self.slot)
		return;
	for (uint32_t i = 0; (i = seg_table_next(processes, i)) < processes->count; i++) {
		pid_t pid = (pid_t)atomic_load_explicit(&seg.processes[i].owner, memory_order_acquire);
		if (pid > 0)
			look_at(&seg.processes[i], pid);
	}
	uint64_t end_ns = clock_now_ns();
	next_ns = end_ns + (end_ns - begin_ns) * SHARE_OF_TIME;
}
