/* early - a program that makes interposed calls before any constructor runs, and in its last destructor. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int early_answer(void);

static int resolved, initialized;

static int answer(void)
{
	return resolved;
}

/* While the program is relocated: the loader has everything else in place by then. */
static int (*resolve(void))(void)
{
	int pair[2] = { -1, -1 };
	char byte = 5;

	if (pipe(pair) == 0 && write(pair[1], &byte, 1) == 1 && read(pair[0], &byte, 1) == 1)
		resolved = byte;
	close(pair[0]);
	close(pair[1]);
	return answer;
}

static int own_answer(void) __attribute__((ifunc("resolve")));

static void before_constructors(int argc, char **argv, char **environment)
{
	char byte;
	int fd = open("/dev/zero", O_RDONLY);

	(void)argc;
	(void)argv;
	(void)environment;
	initialized = (int)read(fd, &byte, 1) + fcntl(fd, F_GETFD) + close(fd);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = before_constructors;

__attribute__((destructor)) static void last(void)
{
	char byte = '\n';

	if (write(STDOUT_FILENO, &byte, 1) != 1 || close(-1) != -1)
		abort();
}

int main(void)
{
	printf("main %d %d %d\n", own_answer(), initialized, early_answer());
	fflush(stdout);
	return 0;
}
