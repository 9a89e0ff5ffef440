#include "namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint32_t namespace_read(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) == 0 ? (uint32_t)status.st_ino : 0;
}

/* Its number in its own namespace, the last of NSpid in /proc/PID/status (proc(5)); 0: it has but one, or has ended. */
static pid_t inner_number(int proc, const char *pid)
{
	char path[300], text[2048];

	snprintf(path, sizeof(path), "%s/status", pid);
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *numbers = strstr(text, "\nNSpid:"), *state = strstr(text, "\nState:\t");
	const char *threads = strstr(text, "\nThreads:");
	if (!numbers || !state || (state[8] == 'Z' && threads && atoi(threads + 9) <= 1))
		return 0;
	numbers += strlen("\nNSpid:");
	int count = 0;
	pid_t last = 0;
	for (char *end; *numbers && *numbers != '\n'; numbers = end, count++) {
		last = (pid_t)strtol(numbers, &end, 10);
		if (end == numbers)
			break;
	}
	return count > 1 ? last : 0;
}

bool namespace_has_proc(void)
{
	char link[16];
	ssize_t n = readlink("/proc/self", link, sizeof(link) - 1);

	link[n > 0 ? n : 0] = '\0';
	return atoi(link) == (int)getpid();
}

pid_t namespace_find(uint32_t namespace, pid_t inner, bool *ret_is_sure)
{
	DIR *proc = opendir("/proc");
	pid_t found = 0;

	*ret_is_sure = false;
	if (!proc)
		return 0;
	*ret_is_sure = namespace_has_proc();
	for (struct dirent *entry; *ret_is_sure && !found && (entry = readdir(proc));) {
		char path[300];
		struct stat status;
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || inner_number(dirfd(proc), entry->d_name) != inner)
			continue;
		snprintf(path, sizeof(path), "%s/ns/pid", entry->d_name);
		if (fstatat(dirfd(proc), path, &status, 0) < 0)
			*ret_is_sure = false; /* it may be this one, and is another user's */
		else if ((uint32_t)status.st_ino == namespace)
			found = atoi(entry->d_name);
	}
	closedir(proc);
	return found;
}
