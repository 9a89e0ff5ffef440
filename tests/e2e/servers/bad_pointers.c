/* bad_pointers - calls with pointers that lead nowhere, each of which the C library hands to the kernel as it is; what came of
 * them is printed, so that two runs can be compared.
 *
 *     bad_pointers
 *
 * Once before and once after it has answered a request on the connection that the calls about sockets are made with.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wnonnull"

enum { FUTEX_WAITS = 0, PAGE_BYTES = 4096 };

int epoll_pwait2(int epoll, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *mask);

static const char request[] = "GET /here HTTP/1.1\r\nHost: here\r\n\r\n", response[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void tell(const char *name, long result)
{
	printf("%s: %s\n", name, result == 0 ? "0" : result < 0 ? strerrorname_np(errno) : strerrorname_np((int)result));
}

/* So that errno is that of the call. */
#define TELL(name, call) (errno = 0, tell(name, (long)(call)))

static void sleep_badly(void *bad)
{
	struct timespec none = { 0 };

	TELL("nanosleep", nanosleep(bad, NULL));
	TELL("clock_nanosleep", clock_nanosleep(CLOCK_MONOTONIC, 0, bad, NULL));
	TELL("thrd_sleep", thrd_sleep(bad, NULL) == -2 ? EFAULT : 0);
	TELL("nanosleep by number", syscall(SYS_nanosleep, bad, NULL));
	TELL("clock_nanosleep by number", syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, bad, NULL));
	struct sembuf operation = { 0, -1, IPC_NOWAIT };
	int set = semget(IPC_PRIVATE, 1, 0600);
	TELL("semtimedop", semtimedop(set, &operation, 1, bad));
	TELL("semtimedop of bad operations", semtimedop(set, bad, 1, &none));
	TELL("semop", semop(set, bad, 1));
	TELL("semtimedop by number", syscall(SYS_semtimedop, set, &operation, 1, bad));
	semctl(set, 0, IPC_RMID);
	int word = 1;
	TELL("futex", syscall(SYS_futex, &word, FUTEX_WAITS, 1, bad, NULL, 0));
	TELL("futex at a bad word", syscall(SYS_futex, bad, FUTEX_WAITS, 1, &none, NULL, 0));
}

static void wait_badly(void *bad)
{
	int epoll = epoll_create1(0);
	struct timespec none = { 0 };
	struct timeval no_time = { 0 };
	struct epoll_event event;

	TELL("poll", poll(bad, 3, 0));
	TELL("ppoll", ppoll(bad, 3, &none, NULL));
	TELL("ppoll with a bad mask", ppoll(NULL, 0, &none, bad));
	TELL("select to read", select(100, bad, NULL, NULL, &no_time));
	TELL("select to write", select(100, NULL, bad, NULL, &no_time));
	TELL("pselect", pselect(100, bad, NULL, NULL, &none, NULL));
	TELL("pselect with a bad mask", pselect(0, NULL, NULL, NULL, &none, bad));
	TELL("epoll_wait", epoll_wait(epoll, bad, 1, 0));
	TELL("epoll_pwait with a bad mask", epoll_pwait(epoll, &event, 1, 0, bad));
	TELL("epoll_pwait2", epoll_pwait2(epoll, &event, 1, bad, NULL));
	TELL("epoll_pwait2 by number", syscall(SYS_epoll_pwait2, epoll, &event, 1, bad, NULL, 8));
	close(epoll);
}

static void ask_for_signals_badly(void *bad)
{
	struct timespec none = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	TELL("sigprocmask to a bad place", sigprocmask(SIG_BLOCK, &set, bad));
	TELL("sigpending", sigpending(bad));
	TELL("sigsuspend", sigsuspend(bad));
	TELL("signalfd", signalfd(-1, bad, 0));
	TELL("sigtimedwait", sigtimedwait(bad, NULL, &none));
	TELL("sigtimedwait with a bad time", sigtimedwait(&set, NULL, bad));
	TELL("sigtimedwait by number", syscall(SYS_rt_sigtimedwait, &set, NULL, bad, 8));
	raise(SIGUSR2);
	siginfo_t *info = bad;
	TELL("sigtimedwait to a bad place", sigtimedwait(&set, info, &none));
}

static void transfer_badly(int fd, void *bad)
{
	struct msghdr message = { .msg_iov = bad, .msg_iovlen = 1 };

	TELL("recv", recv(fd, bad, 1, MSG_DONTWAIT));
	TELL("recvmsg", recvmsg(fd, bad, MSG_DONTWAIT));
	TELL("recvmsg of bad pieces", recvmsg(fd, &message, MSG_DONTWAIT));
	TELL("recvmmsg", recvmmsg(fd, bad, 1, MSG_DONTWAIT, NULL));
	TELL("readv", readv(fd, bad, 1));
	TELL("send", send(fd, bad, 1, MSG_DONTWAIT));
	TELL("sendmsg", sendmsg(fd, bad, MSG_DONTWAIT));
	TELL("sendmsg of bad pieces", sendmsg(fd, &message, MSG_DONTWAIT));
	TELL("sendmmsg", sendmmsg(fd, bad, 1, MSG_DONTWAIT));
	TELL("writev", writev(fd, bad, 1));
	TELL("connect", connect(fd, bad, sizeof(struct sockaddr_in)));
}

static void execute_badly(void *bad)
{
	char *arguments[] = { "true", NULL }, *list[] = { "A=1", bad, NULL };
	pid_t child;

	TELL("execve in a bad environment", execve("/bin/true", arguments, bad));
	TELL("execve with a bad variable", execve("/bin/true", arguments, list));
	TELL("execve by number", syscall(SYS_execve, "/bin/true", arguments, bad));
	TELL("posix_spawn", posix_spawn(&child, "/bin/true", NULL, NULL, arguments, bad));
}

static void do_all(int fd, void *bad)
{
	sleep_badly(bad);
	wait_badly(bad);
	ask_for_signals_badly(bad);
	transfer_badly(fd, bad);
	execute_badly(bad);
}

static struct sockaddr_in address = { .sin_family = AF_INET };

static void *ask(void *unused)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char answer[sizeof(response)];

	(void)unused;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || send(fd, request, sizeof(request) - 1, 0) < 0 ||
	    recv(fd, answer, sizeof(answer), 0) <= 0)
		abort();
	return (void *)(intptr_t)fd;
}

int main(void)
{
	socklen_t bytes = sizeof(address);
	char head[256];
	pthread_t client;

	char *pages = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(pages, 'x', PAGE_BYTES);
	mprotect(pages + PAGE_BYTES, PAGE_BYTES, PROT_NONE);
	/* Nowhere; in a page that nobody may read; what is the kernel's. */
	void *bad[] = { (void *)8, pages + PAGE_BYTES, (void *)-4096L };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &bytes) != 0 || pthread_create(&client, NULL, ask, NULL) != 0)
		abort();
	int fd = accept(listener, NULL, NULL);
	struct pollfd asked = { fd, POLLIN, 0 };
	poll(&asked, 1, -1);
	for (int round = 0; round < 2; round++) {
		sleep_badly(pages + PAGE_BYTES - sizeof(long)); /* has begun when it ends */
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
			do_all(fd, bad[i]);
		if (round == 0 && (recv(fd, head, sizeof(head), 0) <= 0 || send(fd, response, sizeof(response) - 1, 0) < 0))
			abort();
	}
	return pthread_join(client, NULL);
}
