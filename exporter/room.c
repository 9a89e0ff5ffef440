/* The control group is killed in when its use reaches its limit and nothing of it can be given up: cgroups(7),
 * Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. Pages of files that were not used for long are given up
 * first, so they count as free. Limits of groups above hold as well. Within a container /proc/self/cgroup may tell a path that
 * is not there; then the container's own group is the root of what is mounted, where the walk to the top ends.
 */
#include "room.h"

#include "text_file.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 8192 }; /* memory.stat has 2 KiB */

struct hierarchy {
	const char *mount, *limit, *usage, *inactive; /* inactive: the line's beginning in memory.stat */
};
static const struct hierarchy unified = { "/sys/fs/cgroup", "memory.max", "memory.current", "\ninactive_file " };
static const struct hierarchy legacy = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
					 "\ntotal_inactive_file " };

/* The number behind what is found; otherwise if there is none. */
static uint64_t number_behind(const char *text, const char *what, uint64_t otherwise)
{
	const char *found = strstr(text, what);
	char *end;

	if (!found)
		return otherwise;
	found += strlen(what);
	unsigned long long number = strtoull(found, &end, 10);
	return end == found ? otherwise : number;
}

static uint64_t group_number(const struct hierarchy *hierarchy, const char *group, const char *file, const char *what,
			     uint64_t otherwise)
{
	char path[PATH_MAX], text[TEXT_BYTES];
	int n = snprintf(path, sizeof(path), "%s%s/%s", hierarchy->mount, group, file);

	return n < (int)sizeof(path) && text_file_read(path, text, sizeof(text)) ? number_behind(text, what, otherwise) : otherwise;
}

static uint64_t room_in_group(const struct hierarchy *hierarchy, const char *group)
{
	uint64_t limit = group_number(hierarchy, group, hierarchy->limit, "", UINT64_MAX); /* "max" is no number */
	uint64_t used = group_number(hierarchy, group, hierarchy->usage, "", 0);
	uint64_t inactive = group_number(hierarchy, group, "memory.stat", hierarchy->inactive, 0);

	if (limit == UINT64_MAX)
		return UINT64_MAX;
	used = used > inactive ? used - inactive : 0;
	return limit > used ? limit - used : 0;
}

static uint64_t room_in_groups(const struct hierarchy *hierarchy, const char *line)
{
	char group[PATH_MAX];
	size_t n = strcspn(line, "\n");
	uint64_t room = UINT64_MAX;

	if (n >= sizeof(group))
		return room;
	memcpy(group, line, n);
	group[n] = '\0';
	for (char *end = group + n; end; end = strrchr(group, '/')) {
		*end = '\0';
		uint64_t here = room_in_group(hierarchy, group);
		if (here < room)
			room = here;
	}
	return room;
}

uint64_t room_bytes(void)
{
	char text[TEXT_BYTES];
	uint64_t room = UINT64_MAX, in_groups = UINT64_MAX;

	if (text_file_read("/proc/meminfo", text, sizeof(text))) {
		uint64_t kib = number_behind(text, "MemAvailable:", UINT64_MAX);
		room = kib < UINT64_MAX / 1024 ? kib * 1024 : UINT64_MAX;
	}
	if (!text_file_read("/proc/self/cgroup", text, sizeof(text)))
		return room;
	const char *line = strstr(text, ":memory:");
	if (line)
		in_groups = room_in_groups(&legacy, line + strlen(":memory:"));
	else if ((line = strstr(text, "0::")))
		in_groups = room_in_groups(&unified, line + strlen("0::"));
	return in_groups < room ? in_groups : room;
}
