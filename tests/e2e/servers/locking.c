/* locking - locks all of its memory by mlockall(FLAGS), or by its number, and says what came of it; then what it maps and what is
 * locked, in KiB; once more after it has mapped a megabyte, after it gave that up (munlockall) and locked once more,
 * and in a child, to which none of that is left and which locks what there is.
 *
 *     locking FLAGS [number]
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MORE_BYTES = 1 << 20 };

static void say_locked(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[256];

	while (status && fgets(line, sizeof(line), status))
		if (strncmp(line, "VmLck:", 6) == 0 || strncmp(line, "VmRSS:", 6) == 0)
			printf("%.5s %d\n", line, atoi(line + 6));
	if (status)
		fclose(status);
}

int main(int count, char **arguments)
{
	int flags = atoi(arguments[1]);

	printf("flags %d\n", flags); /* there is a heap from here on */
	long result = count > 2 ? syscall(SYS_mlockall, flags) : mlockall(flags);

	printf("mlockall %s\n", result == 0 ? "0" : strerrorname_np(errno));
	say_locked();
	void *more = mmap(NULL, MORE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("mmap %s\n", more != MAP_FAILED ? "0" : strerrorname_np(errno));
	say_locked();
	printf("munlockall %s\n", munlockall() == 0 ? "0" : strerrorname_np(errno));
	printf("mlockall once more %s\n", mlockall(MCL_CURRENT) == 0 ? "0" : strerrorname_np(errno));
	say_locked();
	fflush(stdout);
	if (fork() == 0) {
		printf("mlockall in a child %s\n", mlockall(MCL_CURRENT) == 0 ? "0" : strerrorname_np(errno));
		say_locked();
		exit(0);
	}
	wait(NULL);
	return 0;
}
