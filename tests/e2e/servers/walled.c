/* walled - works behind a list of the system calls that it may make, which it sets up itself or has from before.
 *
 *     walled serve|sum WAY ACTION NUMBER...
 *
 * WAY: prctl, seccomp (the call by its number), all (for all threads), or none: no list is set up, but the same is done up to
 * there, so that whoever traces it learns what it needs behind that line: from prctl(PR_SET_NO_NEW_PRIVS) on. ACTION: what
 * the kernel answers to other calls (SECCOMP_RET_...).
 *     serve   prints its port, and answers each line of a connection, in a thread for each, after some work; ends with
 *             code 7 when one says "end"
 *     sum     prints what it computed, with code 5
 */
#include "burn.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINES_MAX = 2 * 256 + 2, WORK_STEPS = 20 * 1000 * 1000 /* some 20 ms: ticks come meanwhile */ };

static int wall_up(const char *way, char **numbers, unsigned action)
{
	struct sock_filter lines[LINES_MAX] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)) };
	struct sock_fprog filter = { .len = 1, .filter = lines };

	for (; *numbers && filter.len + 3 < LINES_MAX; numbers++) {
		lines[filter.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(*numbers), 0, 1);
		lines[filter.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	lines[filter.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	if (strcmp(way, "none") == 0)
		return 0;
	if (strcmp(way, "prctl") == 0)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, strcmp(way, "all") == 0 ? SECCOMP_FILTER_FLAG_TSYNC : 0, &filter);
}

static void *serve(void *argument)
{
	int fd = (int)(long)argument;
	char line[64];
	ssize_t n;

	while ((n = recv(fd, line, sizeof(line), 0)) > 0) {
		burn(WORK_STEPS);
		if (send(fd, line, (size_t)n, 0) < 0)
			break;
		if (n >= 3 && memcmp(line, "end", 3) == 0)
			exit(7);
	}
	close(fd);
	return NULL;
}

static int serve_all(int listener)
{
	for (;;) {
		pthread_t thread;
		int fd = accept(listener, NULL, NULL);
		if (fd < 0 || pthread_create(&thread, NULL, serve, (void *)(long)fd) || pthread_detach(thread)) {
			perror("accept");
			return 1;
		}
	}
}

static int sum(void)
{
	unsigned long total = 0;
	char *text = malloc(1 << 20);

	for (int round = 0; round < 10 && text; round++) {
		memset(text, round, 1 << 20);
		burn(WORK_STEPS / 4);
		for (int i = 0; i < 1 << 20; i += 4096)
			total += (unsigned char)text[i];
	}
	free(text);
	printf("%lu\n", total);
	return 5;
}

static int open_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, bytes) || listen(listener, 16) ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes))
		return -1;
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	return listener;
}

int main(int argc, char **argv)
{
	int listener = -1;

	if (argc < 4)
		return 2;
	if (strcmp(argv[1], "serve") == 0 && (listener = open_port()) < 0)
		return 1;
	burn(WORK_STEPS);
	if (wall_up(argv[2], argv + 4, (unsigned)strtoul(argv[3], NULL, 0))) {
		perror("seccomp");
		return 1;
	}
	return listener < 0 ? sum() : serve_all(listener);
}
