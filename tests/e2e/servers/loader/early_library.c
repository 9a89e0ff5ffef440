/* early_library - makes interposed calls before profshim begins and after it has ended: linked to a program, or preloaded
 * before or behind profshim. Built also with -DHAS_RESOLVER, where a resolver of an indirect function makes some, too. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 64 << 10 };

static int from_thread;

static void *touch_sockets(void *unused)
{
	int pair[2];
	char byte = 1;

	(void)unused;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return NULL;
	struct pollfd ready = { pair[1], POLLIN, 0 };
	from_thread = (int)(write(pair[0], &byte, 1) + poll(&ready, 1, -1) + read(pair[1], &byte, 1));
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

static int fork_early(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(9);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The kernel's numbers are told at once: stdio may not be ready. */
static void say(const char *what, int a, int b)
{
	char line[80];
	int n = snprintf(line, sizeof(line), "%s %d %d\n", what, a, b);

	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		_exit(99);
}

int early_answer(void);

__attribute__((constructor)) static void begin(void)
{
	pthread_attr_t small;
	pthread_t thread;

	touch_sockets(NULL);
	say("resolver", early_answer(), 0);
	say("constructor", from_thread, fork_early());
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	from_thread = 0;
	if (pthread_create(&thread, &small, touch_sockets, NULL) == 0)
		pthread_join(thread, NULL);
	signal(SIGUSR2, SIG_IGN);
	say("thread", from_thread, signal(SIGUSR2, SIG_DFL) == SIG_IGN);
}

__attribute__((destructor)) static void end(void)
{
	from_thread = 0;
	touch_sockets(NULL);
	say("destructor", from_thread, fork_early());
}

#ifdef HAS_RESOLVER
static int resolved_early = -1;

static int answer(void)
{
	return resolved_early;
}

static int (*resolve(void))(void)
{
	resolved_early = (int)read(-1, &resolved_early, 1);
	return answer;
}

int early_answer(void) __attribute__((ifunc("resolve")));
#else
int early_answer(void)
{
	return -1;
}
#endif
