/* /proc/PID/stat (proc(5)) gives CPU time, start, and sizes; it is world readable. The number of open descriptors is the
 * size of the directory /proc/PID/fd since Linux 6.2 (and needs counting before); it and the limit may be read only with
 * the rights to trace the process, which workers that changed their user id withhold: then the figure is absent rather
 * than wrong.
 */
#include "process_usage.h"

#include "../shim/segment/kernel_clock.h"
#include "text_file.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000ULL

struct stat_fields {
	char state;
	uint64_t utime_ticks, stime_ticks, threads, start_ticks, virtual_bytes;
	int64_t resident_pages;
};

static bool stat_read(struct stat_fields *ret_fields, pid_t pid)
{
	char path[64], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!text_file_read(path, text, sizeof(text)))
		return false;
	/* Field 2 is the program's name in parentheses and may itself contain some; fields are counted from 1. */
	char *next = strrchr(text, ')');
	if (!next)
		return false;
	next++;
	uint64_t fields[25] = { 0 };
	char *place = NULL, *state = strtok_r(next, " ", &place), *word = NULL;
	int field = 4;
	while (field < 25 && (word = strtok_r(NULL, " ", &place)))
		fields[field++] = strtoull(word, NULL, 10);
	if (!state || field < 25)
		return false;
	*ret_fields = (struct stat_fields){ *state, fields[14], fields[15], fields[20], fields[22], fields[23], (int64_t)fields[24] };
	return true;
}

static uint64_t ns_of_ticks(uint64_t ticks)
{
	long per_second = sysconf(_SC_CLK_TCK);

	return per_second > 0 ? ticks * (NS_PER_SECOND / (uint64_t)per_second) : 0;
}

/* Mounted for another pid namespace than ours it shows others under our numbers, proc(5). */
static bool is_proc_of_others(void)
{
	char link[16];
	ssize_t n = readlink("/proc/self", link, sizeof(link) - 1);

	link[n > 0 ? n : 0] = '\0';
	return n > 0 && atoi(link) != (int)getpid();
}

pid_t process_number_here(pid_t pid, uint32_t namespace, pid_t session_pid, uint32_t session_namespace)
{
	struct stat status;
	bool is_known = session_namespace && stat("/proc/self/ns/pid", &status) == 0;
	uint32_t own = is_known ? (uint32_t)status.st_ino : session_namespace;

	if (own == namespace)
		return is_proc_of_others() ? 0 : pid;
	return own == session_namespace && session_pid > 0 ? session_pid : 0;
}

bool process_is_running(pid_t pid, uint64_t since_boot_ns)
{
	struct stat_fields fields;

	if (pid <= 0 || (kill(pid, 0) < 0 && errno != EPERM))
		return false;
	if (!stat_read(&fields, pid))
		return true;
	/* The state is the first thread's, which may have ended before the others. */
	if (fields.state == 'X' || (fields.state == 'Z' && fields.threads <= 1))
		return false;
	/* The start is rounded down to a tick, hence never after the true one. */
	return !since_boot_ns || ns_of_ticks(fields.start_ticks) <= since_boot_ns;
}

/* Asked once: the difference of the two clocks trembles by microseconds, and a start time must not. */
static uint64_t booted_real_ns(void)
{
	static _Atomic uint64_t booted_ns;

	if (!booted_ns)
		booted_ns = kernel_clock_ns(CLOCK_REALTIME) - kernel_clock_ns(CLOCK_BOOTTIME);
	return booted_ns;
}

static bool open_fds_count(uint64_t *ret_count, pid_t pid)
{
	struct stat status;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	DIR *directory = opendir(path);
	if (!directory)
		return false;
	bool is_own = pid == getpid();
	uint64_t count = 0;
	if (fstat(dirfd(directory), &status) == 0 && status.st_size > 0) {
		count = (uint64_t)status.st_size;
	} else {
		const struct dirent *entry;
		while ((entry = readdir(directory)))
			count += entry->d_name[0] != '.';
	}
	closedir(directory);
	*ret_count = count - (is_own && count); /* not the descriptor that counts */
	return true;
}

void process_usage_read(struct snapshot_usage *ret_usage, pid_t pid)
{
	struct stat_fields fields;
	struct rlimit limit;

	*ret_usage = (struct snapshot_usage){ 0 };
	if (stat_read(&fields, pid)) {
		ret_usage->has_stat = true;
		ret_usage->cpu_ns = ns_of_ticks(fields.utime_ticks + fields.stime_ticks);
		ret_usage->start_real_ns = booted_real_ns() + ns_of_ticks(fields.start_ticks);
		ret_usage->virtual_bytes = fields.virtual_bytes;
		if (fields.resident_pages > 0)
			ret_usage->resident_bytes = (uint64_t)fields.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
	}
	ret_usage->has_open_fds = open_fds_count(&ret_usage->open_fds, pid);
	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
		ret_usage->has_max_fds = true;
		ret_usage->max_fds = limit.rlim_cur;
	}
}
