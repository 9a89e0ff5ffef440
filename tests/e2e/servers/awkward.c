/* awkward - things that programs may do, one at a time, each of which once went wrong under the shim.
 *
 *     awkward exit-in-handler      _exit in a signal handler that interrupted malloc; ends with 7
 *     awkward main-thread-ends     pthread_exit in main; the process ends with the last thread
 *     awkward system-v-signal      a handler for SIGPROF by the signal() of System V, never called
 *     awkward sigset-default       SIGPROF set to its default by sigset(), never sent
 *     awkward mask-of-child        what a forked and executed child finds blocked
 *     awkward low-descriptors      the numbers that opened files get, and dup2 onto low numbers
 *     awkward vfork-closes PORT    serves 10 requests on one connection; a child of vfork closes its copy in between
 */
#include "burn.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t called;

static void leave(int number)
{
	(void)number;
	_exit(7);
}

static void count(int number)
{
	(void)number;
	called++;
}

static int exit_in_handler(void)
{
	struct itimerval soon = { .it_value.tv_usec = 30000 };

	signal(SIGALRM, leave);
	setitimer(ITIMER_REAL, &soon, NULL);
	for (;;) {
		void *volatile memory = malloc(100000);
		free(memory);
	}
	return 1;
}

static void *end_late(void *unused)
{
	(void)unused;
	usleep(300000);
	printf("late\n");
	return NULL;
}

static int main_thread_ends(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, end_late, NULL) != 0)
		return 1;
	pthread_detach(thread);
	pthread_exit(NULL);
	return 1;
}

sighandler_t __sysv_signal(int number, sighandler_t handler);

static int system_v_signal(void)
{
	__sysv_signal(SIGPROF, count);
	burn(200000000);
	printf("called %d\n", (int)called);
	return 0;
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static int sigset_default(void)
{
	sigset(SIGPROF, SIG_DFL);
	burn(200000000);
	printf("alive\n");
	return 0;
}

static int mask_of_child(void)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		execlp("grep", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", (char *)NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int low_descriptors(void)
{
	usleep(700000); /* until profshim would serve */
	for (int i = 0; i < 4; i++)
		printf("open %d\n", open("/dev/null", O_RDWR));
	for (int to = 3; to < 12; to++)
		printf("dup2 %d close %d\n", dup2(0, to), close(to));
	return 0;
}

static void serve(int fd, int number)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	char request[512];

	if (read(fd, request, sizeof(request)) <= 0 || write(fd, answer, sizeof(answer) - 1) < 0)
		exit(1);
	if (number != 2)
		return;
	pid_t child = vfork();
	if (child == 0) {
		close(fd);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static int vfork_closes(const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                       .sin_port = htons((uint16_t)atoi(port)) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 4) != 0)
		return 1;
	int fd = accept(listener, NULL, NULL);
	for (int number = 0; number < 10; number++)
		serve(fd, number);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*act)(void); } acts[] = {
		{ "exit-in-handler", exit_in_handler }, { "main-thread-ends", main_thread_ends },
		{ "system-v-signal", system_v_signal }, { "sigset-default", sigset_default },
		{ "mask-of-child", mask_of_child },     { "low-descriptors", low_descriptors },
	};

	for (size_t i = 0; argc == 2 && i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strcmp(argv[1], acts[i].name) == 0)
			return acts[i].act();
	if (argc == 3 && strcmp(argv[1], "vfork-closes") == 0)
		return vfork_closes(argv[2]);
	fprintf(stderr, "usage: awkward ACT, see the source\n");
	return 2;
}
