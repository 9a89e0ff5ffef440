/* left - calls that are left for good: by a jump out of a handler, at any instruction; by a jump and by an end of the thread
 * out of a library's constructor. Then is busy in the C library, and makes calls that can be counted.
 *
 *     left jump | constructor-jumps PLUGIN OTHER | constructor-exits PLUGIN OTHER
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <fcntl.h>

enum { JUMPS = 3000, COUNTED = 1000 };

sigjmp_buf left_out; /* also the plugin's */
int left_exits;

static void jump_out(int number)
{
	(void)number;
	siglongjmp(left_out, 1);
}

static void jump_often(void)
{
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { 0 };
	volatile int jumps = 0;
	volatile int fd = open("/dev/zero", O_RDONLY);
	char byte;

	signal(SIGALRM, jump_out);
	if (sigsetjmp(left_out, 1) != 0)
		jumps = jumps + 1;
	if (jumps == 0)
		setitimer(ITIMER_REAL, &often, NULL);
	while (jumps < JUMPS)
		if (read(fd, &byte, 1) != 1)
			exit(1);
	sigsetjmp(left_out, 1); /* what is still on its way comes here */
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN);
}

static void *open_plugin(void *path)
{
	if (sigsetjmp(left_out, 1) == 0)
		dlopen(path, RTLD_NOW);
	return NULL;
}

/* First something has to have been unmapped, so that opening is careful. */
static void leave_constructor(char *plugin, char *other)
{
	pthread_t thread;
	void *handle = dlopen(other, RTLD_NOW);

	dlclose(handle);
	if (!left_exits) {
		open_plugin(plugin);
		return;
	}
	pthread_create(&thread, NULL, open_plugin, plugin);
	pthread_join(thread, NULL);
}

static void __attribute__((noinline)) be_busy(void)
{
	static char room[1 << 16];

	for (int i = 0; i < 400000; i++) {
		memset(room, i, sizeof(room));
		__asm__ volatile("" : : "r"(room) : "memory");
	}
}

int main(int argc, char **argv)
{
	char byte = 0;

	left_exits = argc > 1 && strcmp(argv[1], "constructor-exits") == 0;
	if (argc == 4)
		leave_constructor(argv[2], argv[3]);
	else
		jump_often();
	int fd = open("/dev/null", O_WRONLY);
	for (int i = 0; i < COUNTED; i++)
		if (write(fd, &byte, 1) != 1)
			return 1;
	be_busy();
	printf("done\n");
	fflush(stdout);
	_exit(0); /* exit would wait for the loader's lock, which the thread that ended in a constructor still holds */
}
