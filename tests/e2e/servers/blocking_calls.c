/* blocking_calls - does nothing but blocking calls, of every kind, and says what became of them.
 *
 *     blocking_calls quiet SECONDS     no signal that the program is to see: no call may end with EINTR, none may be short
 *     blocking_calls shared MS         the same, each kind for so long on the first thread, which each signal is sent to the
 *                                      process for: it wakes, and another thread has taken the signal meanwhile
 *     blocking_calls pressed CALLS     so many calls of each kind that ends by its time-out, on few threads
 *     blocking_calls own ROUNDS        so many signals of the program's own in each kind of call, one at a time: each has
 *                                      to end the call with EINTR, or, with SA_RESTART where that counts, not to
 *
 * and then any of
 *
 *     kind=NAME       only calls of this kind; may be said again
 *     signal=NUMBER   quiet, shared, pressed: what is sent; else SIGPROF. own: what the program handles; else three others
 *     timeout=MS      of each call
 *     period=US       between two signals
 *     slack=US        the kernel may sleep longer by so much (prctl(2), PR_SET_TIMERSLACK)
 *
 * In all modes another thread keeps sending SIGPROF, which the program ignores: without a profiler nothing of that reaches
 * anybody; with one, each of them interrupts a call for a handler of the profiler's.
 *
 *	quiet     one thread after the other, so that with sixty of them a call of 12 ms gets one or two, anywhere in it
 *	shared    the process, and so the first thread, that waits: some thirty a call
 *	pressed   every thread that waits, with every period: some thirty a call, where a period is what it is here
 *
 * One line of JSON for each kind: {"call", "calls", "sent", "eintr", "wrong", "short", "late_us"}; late_us: by how much the
 * time-out came too late, the median; in the modes shared and pressed "lates_us": all of them, rising. In mode own: {"call", "signal", "mask",
 * "sent", "eintr", "lost", "rests"}: how many were sent, how many calls ended by them, how many of those did so only when the
 * signal came again, and how many told wrongly what was left of their time.
 */
#include "burn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum {
	COMPLETED_AFTER_US = 3000,
	LATES_MAX = 4096,
	BUSY_THREADS = 2,
	LANES = 4, /* threads of mode pressed */
	WORDS_MAX = 16,
};

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL
#define NS_PER_DAY (86400 * NS_PER_S)
#define MESSAGE_TYPE 1

/* What the command line says. */
static struct {
	const char *kinds[WORDS_MAX];
	int kind_count; /* 0 = all */
	int signal;     /* 0 = not said */
	int timeout_ms;
	int period_us;
	int slack_us; /* 0 = as it is */
} options = { .timeout_ms = 12, .period_us = 150 };

static struct timespec timeout;
static struct timeval timeout_of_socket;
static _Atomic bool has_ended;

static void set_timeouts(void)
{
	timeout = (struct timespec){ options.timeout_ms / 1000, options.timeout_ms % 1000 * NS_PER_MS };
	timeout_of_socket = (struct timeval){ timeout.tv_sec, timeout.tv_nsec / 1000 };
}

static long long now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static bool is_wanted(const char *kind)
{
	for (int i = 0; i < options.kind_count; i++)
		if (strcmp(kind, options.kinds[i]) == 0)
			return true;
	return options.kind_count == 0;
}

static struct timespec timespec_of(long long ns)
{
	return (struct timespec){ (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };
}

static struct timespec in_time(clockid_t clock)
{
	return timespec_of(now_ns(clock) + options.timeout_ms * NS_PER_MS);
}

static struct timespec tomorrow(clockid_t clock)
{
	return timespec_of(now_ns(clock) + NS_PER_DAY);
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* What a kind of call works on; each thread has its own. */
struct place {
	int fd;      /* to wait for */
	int other;   /* what completes the call writes here */
	int epoll;
	sem_t semaphore;
	int queue;   /* System V messages */
	int set;     /* System V semaphores */
	int word;    /* a futex */
	mqd_t mq;
	aio_context_t aio;
	pid_t child;
	char path[64];
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	struct sockaddr_storage address;
	socklen_t address_bytes;
	long long rest_ns; /* of a day, as the call says; -1 = it says nothing */
	_Atomic bool is_connected;
};

struct message {
	long type;
	char text[8];
};

/* --- places --- */

static void make_pipe(struct place *p)
{
	int ends[2];

	if (pipe(ends) != 0)
		die("pipe");
	p->fd = ends[0];
	p->other = ends[1];
}

static void make_pair(struct place *p)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		die("socketpair");
	p->fd = ends[0];
	p->other = ends[1];
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout_of_socket, sizeof(timeout_of_socket));
	setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout_of_socket, sizeof(timeout_of_socket));
}

static void make_pair_without_timeout(struct place *p)
{
	const struct timeval none = { 0 };

	make_pair(p);
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
}

static void make_pair_patient(struct place *p)
{
	const struct timeval none = { 0 };

	make_pair_without_timeout(p);
	setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
}

static void make_full_pair(struct place *p)
{
	char bytes[4096] = { 0 };

	make_pair(p);
	while (send(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void make_udp(struct place *p)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	p->fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(p->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("bind");
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout_of_socket, sizeof(timeout_of_socket));
}

static void make_listener(struct place *p)
{
	struct sockaddr_in *address = (struct sockaddr_in *)&p->address;

	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	p->address_bytes = sizeof(*address);
	p->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(p->fd, (struct sockaddr *)address, sizeof(*address)) != 0 || listen(p->fd, 0) != 0 ||
	    getsockname(p->fd, (struct sockaddr *)address, &p->address_bytes) != 0)
		die("listen");
}

static void make_impatient_listener(struct place *p)
{
	make_listener(p);
	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout_of_socket, sizeof(timeout_of_socket));
}

/* So many wait to be accepted that nobody else gets in line; who has got in stays there, closed or not. */
static void fill_line(struct place *p, int domain)
{
	for (int i = 0; i < 3; i++) {
		int fd = socket(domain, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(fd, (struct sockaddr *)&p->address, p->address_bytes) != 0 && errno != EINPROGRESS && errno != EAGAIN)
			die("connect");
		close(fd);
	}
	usleep(10000);
}

static void make_full_listener(struct place *p)
{
	make_listener(p);
	fill_line(p, AF_INET);
}

static void make_full_unix_listener(struct place *p)
{
	struct sockaddr_un *address = (struct sockaddr_un *)&p->address;
	static _Atomic int count;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1, "blocking-calls-%d-%d", getpid(), atomic_fetch_add(&count, 1));
	p->address_bytes = sizeof(*address);
	p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(p->fd, (struct sockaddr *)address, sizeof(*address)) != 0 || listen(p->fd, 0) != 0)
		die("listen");
	fill_line(p, AF_UNIX);
}

static void make_queue(struct place *p)
{
	p->queue = msgget(IPC_PRIVATE, 0600);
	if (p->queue < 0)
		die("msgget");
}

static void make_full_queue(struct place *p)
{
	struct message message = { .type = MESSAGE_TYPE };

	make_queue(p);
	while (msgsnd(p->queue, &message, sizeof(message.text), IPC_NOWAIT) == 0)
		;
}

static void make_epoll(struct place *p)
{
	struct epoll_event event = { .events = EPOLLIN };

	p->fd = eventfd(0, 0);
	p->other = p->fd;
	p->epoll = epoll_create1(0);
	epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->fd, &event);
}

static void make_eventfd(struct place *p)
{
	p->fd = eventfd(0, 0);
	p->other = p->fd;
}

static void make_timerfd(struct place *p)
{
	p->fd = timerfd_create(CLOCK_MONOTONIC, 0);
}

static void make_inotify(struct place *p)
{
	snprintf(p->path, sizeof(p->path), "inotify-%d", getpid());
	p->other = open(p->path, O_CREAT | O_WRONLY, 0600);
	p->fd = inotify_init1(0);
	if (inotify_add_watch(p->fd, p->path, IN_MODIFY) < 0)
		die("inotify_add_watch");
}

static void make_fifo(struct place *p)
{
	snprintf(p->path, sizeof(p->path), "fifo-%d", getpid());
	if (mkfifo(p->path, 0600) != 0)
		die("mkfifo");
}

static void make_lock_file(struct place *p)
{
	static _Atomic int count;

	snprintf(p->path, sizeof(p->path), "lock-%d-%d", getpid(), atomic_fetch_add(&count, 1));
	p->fd = open(p->path, O_CREAT | O_RDWR, 0600);
	p->other = open(p->path, O_RDWR);
}

static void make_semaphore(struct place *p)
{
	sem_init(&p->semaphore, 0, 0);
}

static void make_condition(struct place *p)
{
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->condition, NULL);
}

static void make_set(struct place *p)
{
	p->set = semget(IPC_PRIVATE, 1, 0600);
	if (p->set < 0)
		die("semget");
}

static void make_mq(struct place *p)
{
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = 16 };
	char name[64];

	snprintf(name, sizeof(name), "/blocking-calls-%d", getpid());
	p->mq = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
	if (p->mq < 0)
		die("mq_open");
	mq_unlink(name);
}

static void make_aio(struct place *p)
{
	if (syscall(SYS_io_setup, 4, &p->aio) != 0)
		die("io_setup");
}

static void make_nothing(struct place *p)
{
	(void)p;
}

/* --- calls that end by their time-out. They return 1 if that is how they ended, else -1 with errno, or 0 --- */

static int by_errno(long result, int wanted)
{
	return result == -1 && errno == wanted ? 1 : result == -1 ? -1 : 0;
}

static int by_zero(long result)
{
	return result == 0 ? 1 : result == -1 ? -1 : 0;
}

static int time_epoll_wait(struct place *p)
{
	struct epoll_event event;

	return by_zero(epoll_wait(p->epoll, &event, 1, options.timeout_ms));
}

static int time_epoll_pwait(struct place *p)
{
	struct epoll_event event;
	sigset_t none;

	sigemptyset(&none);
	return by_zero(epoll_pwait(p->epoll, &event, 1, options.timeout_ms, &none));
}

static int time_epoll_pwait2(struct place *p)
{
	struct epoll_event event;

	return by_zero(epoll_pwait2(p->epoll, &event, 1, &timeout, NULL));
}

static int time_poll(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	return by_zero(poll(&fd, 1, options.timeout_ms));
}

static int time_ppoll(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	return by_zero(ppoll(&fd, 1, &timeout, NULL));
}

static int time_select(struct place *p)
{
	struct timeval left = timeout_of_socket;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(p->fd, &set);
	return by_zero(select(p->fd + 1, &set, NULL, NULL, &left));
}

static int time_pselect(struct place *p)
{
	sigset_t none;
	fd_set set;

	sigemptyset(&none);
	FD_ZERO(&set);
	FD_SET(p->fd, &set);
	return by_zero(pselect(p->fd + 1, &set, NULL, NULL, &timeout, &none));
}

static int time_nanosleep(struct place *p)
{
	(void)p;
	return by_zero(nanosleep(&timeout, NULL));
}

static int time_nanosleep_with_rest(struct place *p)
{
	struct timespec left;

	(void)p;
	return by_zero(nanosleep(&timeout, &left));
}

static int clock_result(int error)
{
	errno = error;
	return error ? -1 : 1;
}

static int time_clock_nanosleep(struct place *p)
{
	(void)p;
	return clock_result(clock_nanosleep(CLOCK_MONOTONIC, 0, &timeout, NULL));
}

static int time_clock_nanosleep_until(struct place *p)
{
	struct timespec end = in_time(CLOCK_MONOTONIC);

	(void)p;
	return clock_result(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL));
}

static int time_usleep(struct place *p)
{
	(void)p;
	return by_zero(usleep(options.timeout_ms * 1000));
}

static int time_thrd_sleep(struct place *p)
{
	(void)p;
	return by_zero(thrd_sleep(&timeout, NULL));
}

static int time_sem_timedwait(struct place *p)
{
	struct timespec end = in_time(CLOCK_REALTIME);

	return by_errno(sem_timedwait(&p->semaphore, &end), ETIMEDOUT);
}

static int time_sem_clockwait(struct place *p)
{
	struct timespec end = in_time(CLOCK_MONOTONIC);

	return by_errno(sem_clockwait(&p->semaphore, CLOCK_MONOTONIC, &end), ETIMEDOUT);
}

static int time_cond_timedwait(struct place *p)
{
	struct timespec end = in_time(CLOCK_REALTIME);

	pthread_mutex_lock(&p->mutex);
	int error = pthread_cond_timedwait(&p->condition, &p->mutex, &end);
	pthread_mutex_unlock(&p->mutex);
	errno = error;
	return error == ETIMEDOUT ? 1 : -1;
}

static int time_recv(struct place *p)
{
	char byte;

	return by_errno(recv(p->fd, &byte, 1, 0), EAGAIN);
}

static int time_recvmsg(struct place *p)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	return by_errno(recvmsg(p->fd, &message, 0), EAGAIN);
}

static int time_read_socket(struct place *p)
{
	char byte;

	return by_errno(read(p->fd, &byte, 1), EAGAIN);
}

static int time_recvmmsg(struct place *p)
{
	char bytes[2];
	struct iovec iov[2] = { { bytes, 1 }, { bytes + 1, 1 } };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = iov, .msg_iovlen = 1 } },
				       { .msg_hdr = { .msg_iov = iov + 1, .msg_iovlen = 1 } } };
	struct timespec long_time = { 5, 0 };

	return by_errno(recvmmsg(p->fd, messages, 2, 0, &long_time), EAGAIN);
}

static int time_send(struct place *p)
{
	return by_errno(send(p->fd, "x", 1, 0), EAGAIN);
}

static int time_write_socket(struct place *p)
{
	return by_errno(write(p->fd, "x", 1), EAGAIN);
}

static int time_accept(struct place *p)
{
	return by_errno(accept(p->fd, NULL, NULL), EAGAIN);
}

static int time_connect_to(struct place *p, int domain, int wanted)
{
	int fd = socket(domain, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout_of_socket, sizeof(timeout_of_socket));
	int result = by_errno(connect(fd, (struct sockaddr *)&p->address, p->address_bytes), wanted);
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

static int time_connect(struct place *p)
{
	return time_connect_to(p, AF_INET, EINPROGRESS);
}

static int time_connect_unix(struct place *p)
{
	return time_connect_to(p, AF_UNIX, EAGAIN);
}

static int time_futex(struct place *p)
{
	return by_errno(syscall(SYS_futex, &p->word, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0), ETIMEDOUT);
}

static int time_raw_poll(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	return by_zero(syscall(SYS_poll, &fd, 1, options.timeout_ms));
}

static int time_raw_nanosleep(struct place *p)
{
	(void)p;
	return by_zero(syscall(SYS_nanosleep, &timeout, NULL));
}

static int time_semtimedop(struct place *p)
{
	struct sembuf take = { .sem_op = -1 };

	return by_errno(semtimedop(p->set, &take, 1, &timeout), EAGAIN);
}

static int time_sigtimedwait(struct place *p)
{
	sigset_t set;

	(void)p;
	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	return by_errno(sigtimedwait(&set, NULL, &timeout), EAGAIN);
}

static int time_mq_timedreceive(struct place *p)
{
	struct timespec end = in_time(CLOCK_REALTIME);
	char bytes[16];

	return by_errno(mq_timedreceive(p->mq, bytes, sizeof(bytes), NULL, &end), ETIMEDOUT);
}

static int time_io_getevents(struct place *p)
{
	struct io_event event;

	return by_zero(syscall(SYS_io_getevents, p->aio, 1, 1, &event, &timeout));
}

/* --- calls that somebody completes --- */

static void write_byte(struct place *p)
{
	static const uint64_t one = 1;

	if (write(p->other, &one, sizeof(one)) < 0)
		die("write");
}

static int read_bytes(int fd)
{
	char bytes[512];

	return read(fd, bytes, sizeof(bytes)) > 0 ? 1 : -1;
}

static int wait_read(struct place *p)
{
	return read_bytes(p->fd);
}

static int wait_recv(struct place *p)
{
	char bytes[8];

	return recv(p->fd, bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes) ? 1 : -1;
}

static int wait_epoll(struct place *p)
{
	struct epoll_event event;
	int result = epoll_wait(p->epoll, &event, 1, -1);

	return result == 1 ? read_bytes(p->fd) : result;
}

/* What programs do that make their system calls by themselves. */
static long bare_call(long number, long a, long b, long c, long d)
{
	register long fourth __asm__("r10") = d;
	long result = number;

	__asm__ volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
	return result;
}

__attribute__((noinline)) static long bare_epoll_wait(int epoll, struct epoll_event *event)
{
	return bare_call(SYS_epoll_wait, epoll, (long)event, 1, -1);
}

static int wait_bare_epoll(struct place *p)
{
	struct epoll_event event;
	long result = bare_epoll_wait(p->epoll, &event);

	errno = result < 0 ? (int)-result : 0;
	return result == 1 ? read_bytes(p->fd) : -1;
}

static int wait_poll(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };
	int result = poll(&fd, 1, -1);

	return result == 1 ? read_bytes(p->fd) : result;
}

static int wait_select(struct place *p)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(p->fd, &set);
	int result = select(p->fd + 1, &set, NULL, NULL, NULL);
	return result == 1 ? read_bytes(p->fd) : result;
}

/* As many connections of others are before it as get in line. */
static int wait_connect_within(struct place *p, int domain, time_t seconds)
{
	int fd = socket(domain, SOCK_STREAM, 0);
	struct timeval time = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
	int result = by_zero(connect(fd, (struct sockaddr *)&p->address, p->address_bytes));
	int error = errno;
	close(fd);
	errno = error;
	return result;
}

static int wait_connect(struct place *p)
{
	return wait_connect_within(p, AF_UNIX, 0);
}

static int wait_connect_a_day(struct place *p)
{
	return wait_connect_within(p, AF_INET, 86400);
}

static int wait_connect_unix_a_day(struct place *p)
{
	return wait_connect_within(p, AF_UNIX, 86400);
}

static int wait_connect_inet(struct place *p)
{
	int result = wait_connect_within(p, AF_INET, 0);
	int error = errno;

	atomic_store(&p->is_connected, true);
	errno = error;
	return result;
}

/* Whoever finds no place is dropped, and asks again a second later. */
static void prepare_connect_inet(struct place *p)
{
	atomic_store(&p->is_connected, false);
	fill_line(p, AF_INET);
}

static void complete_connect_inet(struct place *p)
{
	while (!atomic_load(&p->is_connected)) {
		struct pollfd fd = { .fd = p->fd, .events = POLLIN };
		if (poll(&fd, 1, 10) > 0)
			close(accept(p->fd, NULL, NULL));
	}
}

static void accept_one(struct place *p)
{
	close(accept(p->fd, NULL, NULL));
}

static int wait_readv(struct place *p)
{
	char bytes[8];
	struct iovec iov[2] = { { bytes, 4 }, { bytes + 4, 4 } };

	return readv(p->fd, iov, 2) > 0 ? 1 : -1;
}

static int wait_recvmsg(struct place *p)
{
	char bytes[8];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(p->fd, &message, 0) > 0 ? 1 : -1;
}

static int wait_condition(struct place *p)
{
	int error = 0;

	pthread_mutex_lock(&p->mutex);
	while (!p->word && !error)
		error = pthread_cond_wait(&p->condition, &p->mutex);
	p->word = 0;
	pthread_mutex_unlock(&p->mutex);
	errno = error;
	return error ? -1 : 1;
}

static void complete_condition(struct place *p)
{
	pthread_mutex_lock(&p->mutex);
	p->word = 1;
	pthread_cond_signal(&p->condition);
	pthread_mutex_unlock(&p->mutex);
}

static int wait_semaphore(struct place *p)
{
	return by_zero(sem_wait(&p->semaphore));
}

static void post(struct place *p)
{
	sem_post(&p->semaphore);
}

static int wait_timerfd(struct place *p)
{
	struct itimerspec soon = { .it_value.tv_nsec = 5000000 };

	timerfd_settime(p->fd, 0, &soon, NULL);
	return read_bytes(p->fd);
}

static void complete_nothing(struct place *p)
{
	(void)p;
}

static int wait_accept(struct place *p)
{
	int fd = accept(p->fd, NULL, NULL);

	if (fd < 0)
		return -1;
	close(fd);
	return 1;
}

static void connect_there(struct place *p)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&p->address, p->address_bytes) != 0)
		die("connect");
	close(fd);
}

static int wait_msgrcv(struct place *p)
{
	struct message message;

	return msgrcv(p->queue, &message, sizeof(message.text), 0, 0) >= 0 ? 1 : -1;
}

static int wait_msgsnd(struct place *p)
{
	struct message message = { .type = MESSAGE_TYPE };

	return by_zero(msgsnd(p->queue, &message, sizeof(message.text), 0));
}

static void complete_msgsnd(struct place *p)
{
	struct message message;

	msgrcv(p->queue, &message, sizeof(message.text), 0, 0);
}

static void complete_msgrcv(struct place *p)
{
	struct message message = { .type = MESSAGE_TYPE };

	msgsnd(p->queue, &message, sizeof(message.text), 0);
}

static int wait_semop(struct place *p)
{
	struct sembuf take = { .sem_op = -1 };

	return by_zero(semop(p->set, &take, 1));
}

static void complete_semop(struct place *p)
{
	struct sembuf give = { .sem_op = 1 };

	semop(p->set, &give, 1);
}

/* The lock is taken by other before, and given back by it. */
static int wait_flock(struct place *p)
{
	int result = flock(p->fd, LOCK_EX);

	if (result != 0)
		return -1;
	flock(p->fd, LOCK_UN);
	return 1;
}

static void prepare_flock(struct place *p)
{
	if (flock(p->other, LOCK_EX) != 0)
		die("flock");
}

static void complete_flock(struct place *p)
{
	flock(p->other, LOCK_UN);
}

static int wait_setlkw(struct place *p)
{
	struct flock lock = { .l_type = F_WRLCK };

	if (fcntl(p->fd, F_OFD_SETLKW, &lock) != 0)
		return -1;
	lock.l_type = F_UNLCK;
	fcntl(p->fd, F_OFD_SETLK, &lock);
	return 1;
}

static void prepare_setlkw(struct place *p)
{
	struct flock lock = { .l_type = F_WRLCK };

	if (fcntl(p->other, F_OFD_SETLKW, &lock) != 0)
		die("F_OFD_SETLKW");
}

static void complete_setlkw(struct place *p)
{
	struct flock lock = { .l_type = F_UNLCK };

	fcntl(p->other, F_OFD_SETLK, &lock);
}

static int wait_open(struct place *p)
{
	int fd = open(p->path, O_RDONLY);

	if (fd < 0)
		return -1;
	close(fd);
	return 1;
}

/* Stays open until the next call, so that the reader meets it whenever it comes. */
static void complete_open(struct place *p)
{
	p->other = open(p->path, O_RDWR);
}

static void prepare_open(struct place *p)
{
	if (p->other > 0)
		close(p->other);
	p->other = 0;
}

static int wait_child(struct place *p)
{
	int status;

	return waitpid(p->child, &status, 0) == p->child ? 1 : -1;
}

static int wait_child_by_id(struct place *p)
{
	siginfo_t info;

	return by_zero(waitid(P_PID, (id_t)p->child, &info, WEXITED));
}

static void prepare_child(struct place *p)
{
	int ends[2];

	if (pipe(ends) != 0)
		die("pipe");
	p->child = fork();
	if (p->child == 0) {
		char byte;
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 1);
	}
	close(ends[0]);
	p->other = ends[1];
}

static void complete_child(struct place *p)
{
	write_byte(p);
	close(p->other);
}

static int wait_sigwaitinfo(struct place *p)
{
	sigset_t set;

	(void)p;
	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	return sigwaitinfo(&set, NULL) == SIGURG ? 1 : -1;
}

static void complete_signal(struct place *p)
{
	pthread_kill(p->thread, SIGURG);
}

static int wait_futex(struct place *p)
{
	long result = syscall(SYS_futex, &p->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);

	return result == 0 || errno == EAGAIN ? 1 : -1;
}

static void prepare_futex(struct place *p)
{
	__atomic_store_n(&p->word, 0, __ATOMIC_SEQ_CST);
}

static void complete_futex(struct place *p)
{
	__atomic_store_n(&p->word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &p->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static int wait_mq(struct place *p)
{
	char bytes[16];

	return mq_receive(p->mq, bytes, sizeof(bytes), NULL) >= 0 ? 1 : -1;
}

static void complete_mq(struct place *p)
{
	mq_send(p->mq, "x", 1, 0);
}

/* A large write that the reader takes slowly is one write. */
static int wait_write(struct place *p)
{
	static char bytes[1 << 20];

	return write(p->other, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes) ? 1 : -1;
}

static void take_megabyte(int fd)
{
	static __thread char bytes[1 << 16];

	for (size_t sum = 0; sum < 1 << 20;) {
		ssize_t n = read(fd, bytes, sizeof(bytes));
		if (n <= 0)
			die("read");
		sum += (size_t)n;
		usleep(200);
	}
}

static void complete_write(struct place *p)
{
	take_megabyte(p->fd);
}

static char megabyte[1 << 20];

static int wait_send(struct place *p)
{
	return send(p->fd, megabyte, sizeof(megabyte), 0) == (ssize_t)sizeof(megabyte) ? 1 : -1;
}

static int wait_writev(struct place *p)
{
	struct iovec iov[3] = { { megabyte, 1000 }, { megabyte, 500000 }, { megabyte, sizeof(megabyte) - 501000 } };

	return writev(p->fd, iov, 3) == (ssize_t)sizeof(megabyte) ? 1 : -1;
}

static int wait_sendmsg(struct place *p)
{
	struct iovec iov[2] = { { megabyte, 700000 }, { megabyte, sizeof(megabyte) - 700000 } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	return sendmsg(p->fd, &message, 0) == (ssize_t)sizeof(megabyte) ? 1 : -1;
}

static void complete_send(struct place *p)
{
	take_megabyte(p->other);
}

static int wait_suspended(struct place *p)
{
	sigset_t none;

	(void)p;
	sigemptyset(&none);
	return sigsuspend(&none);
}

static int wait_pause(struct place *p)
{
	(void)p;
	return pause();
}

static int wait_ppoll_letting_in(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };
	sigset_t none;

	sigemptyset(&none);
	return ppoll(&fd, 1, NULL, &none);
}

/* --- calls that last a day --- */

static const struct timespec day = { 86400, 0 };
enum { DAY_MS = 86400 * 1000 };

static void take_rest(struct place *p, const struct timespec *rest)
{
	p->rest_ns = rest->tv_sec * NS_PER_S + rest->tv_nsec;
}

static int wait_long(struct place *p)
{
	struct timespec rest = day;
	int result = nanosleep(&rest, &rest);

	take_rest(p, &rest);
	return result;
}

static int wait_long_by_clock(struct place *p)
{
	struct timespec rest = { 0 };
	int result = clock_result(clock_nanosleep(CLOCK_MONOTONIC, 0, &day, &rest));

	take_rest(p, &rest);
	return result;
}

static int wait_until_tomorrow(struct place *p)
{
	struct timespec end = tomorrow(CLOCK_REALTIME);

	(void)p;
	return clock_result(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, NULL));
}

static int wait_thrd(struct place *p)
{
	struct timespec rest = { 0 };
	int result = thrd_sleep(&day, &rest);

	take_rest(p, &rest);
	errno = result == -1 ? EINTR : 0; /* as it says it */
	return result;
}

static int wait_long_epoll(struct place *p)
{
	struct epoll_event event;

	return epoll_wait(p->epoll, &event, 1, DAY_MS);
}

static int wait_long_epoll_pwait2(struct place *p)
{
	struct epoll_event event;

	return epoll_pwait2(p->epoll, &event, 1, &day, NULL);
}

static int wait_long_poll(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	return poll(&fd, 1, DAY_MS);
}

static int wait_long_ppoll(struct place *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	return ppoll(&fd, 1, &day, NULL);
}

/* Which tells what is left, as Linux has it. */
static int wait_long_select(struct place *p)
{
	struct timeval left = { 86400, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(p->fd, &set);
	int result = select(p->fd + 1, &set, NULL, NULL, &left);
	p->rest_ns = left.tv_sec * NS_PER_S + left.tv_usec * 1000;
	return result;
}

static int wait_long_pselect(struct place *p)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(p->fd, &set);
	return pselect(p->fd + 1, &set, NULL, NULL, &day, NULL);
}

static int wait_long_semaphore(struct place *p)
{
	struct timespec end = tomorrow(CLOCK_REALTIME);

	return sem_timedwait(&p->semaphore, &end);
}

static int wait_long_semtimedop(struct place *p)
{
	struct sembuf take = { .sem_op = -1 };

	return semtimedop(p->set, &take, 1, &day);
}

static int wait_long_sigtimedwait(struct place *p)
{
	sigset_t set;

	(void)p;
	sigemptyset(&set);
	sigaddset(&set, SIGURG);
	return sigtimedwait(&set, NULL, &day);
}

static int wait_long_recv(struct place *p)
{
	struct timeval time = { 86400, 0 };
	char byte;

	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
	return (int)recv(p->fd, &byte, 1, 0);
}

/* --- the kinds --- */

struct kind {
	const char *name;
	void (*make)(struct place *p);
	void (*prepare)(struct place *p); /* before each call */
	int (*call)(struct place *p);
	void (*complete)(struct place *p); /* NULL: it ends by its time-out */
};

static const struct kind kinds[] = {
	{ "epoll_wait", make_epoll, NULL, time_epoll_wait, NULL },
	{ "epoll_pwait", make_epoll, NULL, time_epoll_pwait, NULL },
	{ "epoll_pwait2", make_epoll, NULL, time_epoll_pwait2, NULL },
	{ "poll", make_pipe, NULL, time_poll, NULL },
	{ "ppoll", make_pipe, NULL, time_ppoll, NULL },
	{ "select", make_pipe, NULL, time_select, NULL },
	{ "pselect", make_pipe, NULL, time_pselect, NULL },
	{ "nanosleep", make_nothing, NULL, time_nanosleep, NULL },
	{ "nanosleep, rest asked for", make_nothing, NULL, time_nanosleep_with_rest, NULL },
	{ "clock_nanosleep", make_nothing, NULL, time_clock_nanosleep, NULL },
	{ "clock_nanosleep until", make_nothing, NULL, time_clock_nanosleep_until, NULL },
	{ "usleep", make_nothing, NULL, time_usleep, NULL },
	{ "thrd_sleep", make_nothing, NULL, time_thrd_sleep, NULL },
	{ "sem_timedwait", make_semaphore, NULL, time_sem_timedwait, NULL },
	{ "sem_clockwait", make_semaphore, NULL, time_sem_clockwait, NULL },
	{ "pthread_cond_timedwait", make_condition, NULL, time_cond_timedwait, NULL },
	{ "recv, SO_RCVTIMEO", make_pair, NULL, time_recv, NULL },
	{ "recvmsg, SO_RCVTIMEO", make_pair, NULL, time_recvmsg, NULL },
	{ "read, SO_RCVTIMEO", make_pair, NULL, time_read_socket, NULL },
	{ "recvmmsg, SO_RCVTIMEO", make_udp, NULL, time_recvmmsg, NULL },
	{ "send, SO_SNDTIMEO", make_full_pair, NULL, time_send, NULL },
	{ "write, SO_SNDTIMEO", make_full_pair, NULL, time_write_socket, NULL },
	{ "accept, SO_RCVTIMEO", make_impatient_listener, NULL, time_accept, NULL },
	{ "connect, SO_SNDTIMEO", make_full_listener, NULL, time_connect, NULL },
	{ "connect of AF_UNIX, SO_SNDTIMEO", make_full_unix_listener, NULL, time_connect_unix, NULL },
	{ "futex", make_nothing, NULL, time_futex, NULL },
	{ "syscall(SYS_poll)", make_pipe, NULL, time_raw_poll, NULL },
	{ "syscall(SYS_nanosleep)", make_nothing, NULL, time_raw_nanosleep, NULL },
	{ "semtimedop", make_set, NULL, time_semtimedop, NULL },
	{ "sigtimedwait", make_nothing, NULL, time_sigtimedwait, NULL },
	{ "mq_timedreceive", make_mq, NULL, time_mq_timedreceive, NULL },
	{ "io_getevents", make_aio, NULL, time_io_getevents, NULL },
	{ "read of a pipe", make_pipe, NULL, wait_read, write_byte },
	{ "read of an eventfd", make_eventfd, NULL, wait_read, write_byte },
	{ "read of a timerfd", make_timerfd, NULL, wait_timerfd, complete_nothing },
	{ "read of an inotify", make_inotify, NULL, wait_read, write_byte },
	{ "recv, MSG_WAITALL", make_pair_without_timeout, NULL, wait_recv, write_byte },
	{ "epoll_wait, no end", make_epoll, NULL, wait_epoll, write_byte },
	{ "epoll_wait, bare", make_epoll, NULL, wait_bare_epoll, write_byte },
	{ "poll, no end", make_eventfd, NULL, wait_poll, write_byte },
	{ "select, no end", make_eventfd, NULL, wait_select, write_byte },
	{ "sem_wait", make_semaphore, NULL, wait_semaphore, post },
	{ "accept", make_listener, NULL, wait_accept, connect_there },
	{ "msgrcv", make_queue, NULL, wait_msgrcv, complete_msgrcv },
	{ "semop", make_set, NULL, wait_semop, complete_semop },
	{ "flock", make_lock_file, prepare_flock, wait_flock, complete_flock },
	{ "fcntl(F_OFD_SETLKW)", make_lock_file, prepare_setlkw, wait_setlkw, complete_setlkw },
	{ "open of a FIFO", make_fifo, prepare_open, wait_open, complete_open },
	{ "waitpid", make_nothing, prepare_child, wait_child, complete_child },
	{ "sigwaitinfo", make_nothing, NULL, wait_sigwaitinfo, complete_signal },
	{ "futex, no end", make_nothing, prepare_futex, wait_futex, complete_futex },
	{ "mq_receive", make_mq, NULL, wait_mq, complete_mq },
	{ "write of a megabyte", make_pipe, NULL, wait_write, complete_write },
	{ "connect of AF_UNIX, no end", make_full_unix_listener, NULL, wait_connect, accept_one },
	{ "connect, no end", make_listener, prepare_connect_inet, wait_connect_inet, complete_connect_inet },
	{ "msgsnd", make_full_queue, NULL, wait_msgsnd, complete_msgsnd },
	{ "readv of a pipe", make_pipe, NULL, wait_readv, write_byte },
	{ "recvmsg, no end", make_pair_without_timeout, NULL, wait_recvmsg, write_byte },
	{ "pthread_cond_wait", make_condition, NULL, wait_condition, complete_condition },
	{ "waitid", make_nothing, prepare_child, wait_child_by_id, complete_child },
	{ "send of a megabyte", make_pair_patient, NULL, wait_send, complete_send },
	{ "writev of a megabyte", make_pair_patient, NULL, wait_writev, complete_send },
	{ "sendmsg of a megabyte", make_pair_patient, NULL, wait_sendmsg, complete_send },
};

static const struct kind *kind_after(const struct kind *kind)
{
	const struct kind *end = kinds + sizeof(kinds) / sizeof(kinds[0]);

	for (kind = kind ? kind + 1 : kinds; kind < end; kind++)
		if (is_wanted(kind->name))
			return kind;
	return NULL;
}

/* --- mode quiet --- */

struct worker {
	const struct kind *kind;
	struct place place;
	_Atomic pid_t tid;
	_Atomic long sent;
	_Atomic long long began_ns; /* the call that is on */
	long calls, eintr, wrong, shorts;
	long calls_wanted; /* 0 = until all has ended */
	int late_us[LATES_MAX];
	sem_t go, gone;
	_Atomic bool is_done; /* makes no more calls */
};

static void note(struct worker *w, int result, long long took_ns)
{
	long long late_us = (took_ns - options.timeout_ms * 1000000LL) / 1000;

	if (result < 0 && errno == EINTR)
		w->eintr++;
	else if (result != 1)
		w->wrong++;
	else if (!w->kind->complete) {
		if (late_us < -50) /* clocks that are read at different moments */
			w->shorts++;
		w->late_us[w->calls % LATES_MAX] = (int)late_us;
	}
	if (result != 1 && w->eintr + w->wrong == 1)
		fprintf(stderr, "%s: result %d, errno %d\n", w->kind->name, result, errno);
	w->calls++;
}

static void *complete_calls(void *argument)
{
	struct worker *w = argument;

	for (;;) {
		while (sem_wait(&w->go) != 0)
			;
		if (atomic_load(&w->is_done))
			return NULL;
		usleep(COMPLETED_AFTER_US);
		w->kind->complete(&w->place);
		sem_post(&w->gone);
	}
}

static void *make_calls(void *argument)
{
	struct worker *w = argument;
	sigset_t urgent;

	sigemptyset(&urgent);
	sigaddset(&urgent, SIGURG);
	pthread_sigmask(SIG_BLOCK, &urgent, NULL);
	w->place.thread = pthread_self();
	w->kind->make(&w->place);
	atomic_store(&w->tid, (pid_t)syscall(SYS_gettid));
	while (!atomic_load(&has_ended) && (!w->calls_wanted || w->calls < w->calls_wanted)) {
		if (w->kind->prepare)
			w->kind->prepare(&w->place);
		if (w->kind->complete)
			sem_post(&w->go);
		long long begin = now_ns(CLOCK_MONOTONIC);
		atomic_store(&w->began_ns, begin);
		errno = 0;
		int result = w->kind->call(&w->place);
		int error = errno;
		long long took = now_ns(CLOCK_MONOTONIC) - begin;
		if (w->kind->complete)
			while (sem_wait(&w->gone) != 0)
				;
		errno = error;
		note(w, result, took);
	}
	atomic_store(&w->tid, 0);
	atomic_store(&w->is_done, true);
	sem_post(&w->go);
	return NULL;
}

/* Not in real time, even where the program is. */
static void *be_busy(void *unused)
{
	(void)unused;
	sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){ 0 });
	for (;;)
		burn(1000000);
	return NULL;
}

static void begin_busy_threads(void)
{
	pthread_t thread;

	for (int i = 0; i < BUSY_THREADS; i++)
		pthread_create(&thread, NULL, be_busy, NULL);
}

static void begin_completer(struct worker *w, pthread_t *ret_thread)
{
	sem_init(&w->go, 0, 0);
	sem_init(&w->gone, 0, 0);
	if (w->kind->complete && pthread_create(ret_thread, NULL, complete_calls, w) != 0)
		die("pthread_create");
}

static void remove_place(struct place *p)
{
	if (p->queue)
		msgctl(p->queue, IPC_RMID, NULL);
	if (p->set)
		semctl(p->set, 0, IPC_RMID);
}

static struct worker *workers;
static size_t worker_count;

static int signal_sent(void)
{
	return options.signal ? options.signal : SIGPROF;
}

static void press_one(struct worker *w)
{
	pid_t tid = atomic_load(&w->tid);

	if (tid && syscall(SYS_tgkill, getpid(), tid, signal_sent()) == 0)
		atomic_fetch_add(&w->sent, 1);
}

/* One thread after the other. */
static void *press(void *unused)
{
	struct timespec pause = timespec_of(options.period_us * 1000LL);

	(void)unused;
	for (size_t i = 0; !atomic_load(&has_ended); i++) {
		press_one(&workers[i % worker_count]);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void print_worker(struct worker *w, bool tells_all)
{
	size_t count = (size_t)(w->calls < LATES_MAX ? w->calls : LATES_MAX);

	count = w->kind->complete ? 0 : count;
	qsort(w->late_us, count, sizeof(w->late_us[0]), compare);
	printf("{\"call\": \"%s\", \"calls\": %ld, \"sent\": %ld, \"eintr\": %ld, \"wrong\": %ld, \"short\": %ld, \"late_us\": %d", w->kind->name,
	       w->calls, atomic_load(&w->sent), w->eintr, w->wrong, w->shorts, count ? w->late_us[count / 2] : 0);
	for (size_t i = 0; tells_all && i < count; i++)
		printf("%s%d%s", i ? ", " : ", \"lates_us\": [", w->late_us[i], i + 1 == count ? "]" : "");
	printf("}\n");
}

static void make_workers(bool has_untimed)
{
	workers = calloc(sizeof(kinds) / sizeof(kinds[0]), sizeof(*workers));
	for (const struct kind *kind = kind_after(NULL); kind; kind = kind_after(kind))
		if (has_untimed || !kind->complete)
			workers[worker_count++].kind = kind;
	if (!worker_count)
		die("no such kind");
}

static int quiet(int seconds)
{
	pthread_t thread, presser;

	make_workers(true);
	pthread_t *threads = calloc(worker_count, sizeof(*threads));
	for (size_t i = 0; i < worker_count; i++) {
		begin_completer(&workers[i], &thread);
		if (pthread_create(&threads[i], NULL, make_calls, &workers[i]) != 0)
			die("pthread_create");
	}
	begin_busy_threads();
	pthread_create(&presser, NULL, press, NULL);
	for (long long end = now_ns(CLOCK_MONOTONIC) + seconds * NS_PER_S; now_ns(CLOCK_MONOTONIC) < end;)
		if (usleep(100000) != 0)
			die("usleep");
	atomic_store(&has_ended, true);
	for (size_t i = 0; i < worker_count; i++) {
		pthread_join(threads[i], NULL);
		print_worker(&workers[i], false);
		remove_place(&workers[i].place);
	}
	return 0;
}

/* --- mode pressed --- */

/* One that begins anew with each signal must end, too. */
static bool is_overdue(struct worker *w)
{
	return now_ns(CLOCK_MONOTONIC) - atomic_load(&w->began_ns) > 3 * options.timeout_ms * NS_PER_MS;
}

static void *press_all(void *unused)
{
	(void)unused;
	prctl(PR_SET_TIMERSLACK, 1);
	while (!atomic_load(&has_ended)) {
		/* Half as long to half as long again, so that signals come at any moment of a call. */
		struct timespec pause = timespec_of(options.period_us * (500LL + rand() % 1000));
		for (size_t i = 0; i < worker_count; i++)
			if (!is_overdue(&workers[i]))
				press_one(&workers[i]);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

static void *make_calls_of_lane(void *lane)
{
	pthread_t none;

	for (size_t i = (size_t)(uintptr_t)lane; i < worker_count; i += LANES) {
		begin_completer(&workers[i], &none);
		make_calls(&workers[i]);
	}
	return NULL;
}

static int pressed(int calls)
{
	pthread_t lanes[LANES], presser;

	make_workers(false);
	for (size_t i = 0; i < worker_count; i++)
		workers[i].calls_wanted = calls;
	for (size_t i = 0; i < LANES; i++)
		pthread_create(&lanes[i], NULL, make_calls_of_lane, (void *)i);
	pthread_create(&presser, NULL, press_all, NULL);
	for (size_t i = 0; i < LANES; i++)
		pthread_join(lanes[i], NULL);
	atomic_store(&has_ended, true);
	pthread_join(presser, NULL);
	for (size_t i = 0; i < worker_count; i++) {
		print_worker(&workers[i], true);
		remove_place(&workers[i].place);
	}
	return 0;
}

/* --- mode shared --- */

/* The kernel wakes the first thread for a signal that is sent to the process (complete_signal, kernel/signal.c). Whoever else
 * has one of its own meanwhile takes that, too: this thread itself does. */
static void *press_process(void *ms)
{
	struct timespec pause = timespec_of(options.period_us * 1000LL);
	pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);

	for (long long end = now_ns(CLOCK_MONOTONIC) + *(int *)ms * NS_PER_MS; now_ns(CLOCK_MONOTONIC) < end;) {
		syscall(SYS_kill, pid, signal_sent());
		syscall(SYS_tgkill, pid, tid, signal_sent());
		atomic_fetch_add(&workers->sent, 1);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	atomic_store(&has_ended, true);
	return NULL;
}

static int shared(int ms)
{
	static struct worker worker;

	workers = &worker;
	begin_busy_threads();
	for (const struct kind *kind = kind_after(NULL); kind; kind = kind_after(kind)) {
		pthread_t presser, completer;
		if (kind->call == wait_bare_epoll)
			continue; /* it ends with EINTR, and nobody of ours is behind it */
		worker = (struct worker){ .kind = kind };
		atomic_store(&has_ended, false);
		begin_completer(&worker, &completer);
		pthread_create(&presser, NULL, press_process, &ms);
		make_calls(&worker);
		pthread_join(presser, NULL);
		if (worker.kind->complete)
			pthread_join(completer, NULL);
		print_worker(&worker, true);
		remove_place(&worker.place);
	}
	return 0;
}

/* --- mode own --- */

struct interruption {
	const char *name;
	void (*make)(struct place *p);
	void (*prepare)(struct place *p);
	int (*call)(struct place *p);
	void (*complete)(struct place *p); /* not NULL: SA_RESTART is set, so that only this ends the call */
	bool is_blocked;                   /* but for the call, which lets the signal in */
	bool is_slow;                      /* to be completed takes a second */
};

static const struct interruption interruptions[] = {
	{ "epoll_wait", make_epoll, NULL, wait_epoll, NULL, false, false },
	{ "epoll_wait, bare", make_epoll, NULL, wait_bare_epoll, NULL, false, false },
	{ "poll", make_eventfd, NULL, wait_poll, NULL, false, false },
	{ "select", make_eventfd, NULL, wait_select, NULL, false, false },
	{ "ppoll with a mask", make_eventfd, NULL, wait_ppoll_letting_in, NULL, true, false },
	{ "sigsuspend", make_nothing, NULL, wait_suspended, NULL, true, false },
	{ "pause", make_nothing, NULL, wait_pause, NULL, false, false },
	{ "nanosleep", make_nothing, NULL, wait_long, NULL, false, false },
	{ "clock_nanosleep", make_nothing, NULL, wait_long_by_clock, NULL, false, false },
	{ "clock_nanosleep until", make_nothing, NULL, wait_until_tomorrow, NULL, false, false },
	{ "thrd_sleep", make_nothing, NULL, wait_thrd, NULL, false, false },
	{ "epoll_wait for a day", make_epoll, NULL, wait_long_epoll, NULL, false, false },
	{ "epoll_pwait2 for a day", make_epoll, NULL, wait_long_epoll_pwait2, NULL, false, false },
	{ "poll for a day", make_eventfd, NULL, wait_long_poll, NULL, false, false },
	{ "ppoll for a day", make_eventfd, NULL, wait_long_ppoll, NULL, false, false },
	{ "select for a day", make_eventfd, NULL, wait_long_select, NULL, false, false },
	{ "pselect for a day", make_eventfd, NULL, wait_long_pselect, NULL, false, false },
	{ "sem_timedwait", make_semaphore, NULL, wait_long_semaphore, NULL, false, false },
	{ "semtimedop", make_set, NULL, wait_long_semtimedop, NULL, false, false },
	{ "sigtimedwait", make_nothing, NULL, wait_long_sigtimedwait, NULL, false, false },
	{ "connect", make_full_listener, NULL, wait_connect_inet, NULL, false, false },
	{ "connect, SO_SNDTIMEO", make_full_listener, NULL, wait_connect_a_day, NULL, false, false },
	{ "connect of AF_UNIX", make_full_unix_listener, NULL, wait_connect, NULL, false, false },
	{ "connect of AF_UNIX, SO_SNDTIMEO", make_full_unix_listener, NULL, wait_connect_unix_a_day, NULL, false, false },
	{ "sem_wait", make_semaphore, NULL, wait_semaphore, NULL, false, false },
	{ "futex", make_nothing, NULL, wait_futex, NULL, false, false },
	{ "read of a pipe", make_pipe, NULL, wait_read, NULL, false, false },
	{ "recv", make_pair_without_timeout, NULL, wait_recv, NULL, false, false },
	{ "recv, SO_RCVTIMEO", make_pair, NULL, wait_long_recv, NULL, false, false },
	{ "accept", make_listener, NULL, wait_accept, NULL, false, false },
	{ "msgrcv", make_queue, NULL, wait_msgrcv, NULL, false, false },
	{ "semop", make_set, NULL, wait_semop, NULL, false, false },
	{ "flock", make_lock_file, prepare_flock, wait_flock, NULL, false, false },
	{ "sigwaitinfo", make_nothing, NULL, wait_sigwaitinfo, NULL, false, false },
	{ "mq_receive", make_mq, NULL, wait_mq, NULL, false, false },
	{ "read of a pipe, SA_RESTART", make_pipe, NULL, wait_read, write_byte, false, false },
	{ "accept, SA_RESTART", make_listener, NULL, wait_accept, connect_there, false, false },
	{ "connect of AF_UNIX, SA_RESTART", make_full_unix_listener, NULL, wait_connect, accept_one, false, false },
	{ "connect, SA_RESTART", make_listener, prepare_connect_inet, wait_connect_inet, complete_connect_inet, false, true },
	{ "flock, SA_RESTART", make_lock_file, prepare_flock, wait_flock, complete_flock, false, false },
};

static _Atomic int handled;
static _Atomic int entered, returned;
static _Atomic bool may_go_on;
static const struct interruption *current;
static struct worker subject;
static long eintr_count, rest_count;
static _Atomic long long asleep_ns, sent_ns;

static void on_own(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

/* Of a day, when the call that began and ended then was interrupted: slept from some moment before asleep_ns to some moment after
 * sent_ns. The kernel may sleep longer by 50 us (prctl(2), PR_SET_TIMERSLACK), and tells that with what is left; so may
 * clocks differ that are read at different moments. */
static bool is_rest(long long rest_ns, long long began_ns, long long ended_ns)
{
	const long long slack_ns = 100000;

	return rest_ns >= NS_PER_DAY - (ended_ns - began_ns) - slack_ns &&
	       rest_ns <= NS_PER_DAY - (atomic_load(&sent_ns) - atomic_load(&asleep_ns)) + slack_ns;
}

static void *be_interrupted(void *unused)
{
	struct place *p = &subject.place;
	sigset_t all;

	(void)unused;
	sigfillset(&all);
	sigdelset(&all, SIGPROF);
	if (current->is_blocked)
		pthread_sigmask(SIG_BLOCK, &all, NULL);
	p->thread = pthread_self();
	current->make(p);
	if (current->prepare)
		current->prepare(p);
	atomic_store(&subject.tid, (pid_t)syscall(SYS_gettid));
	while (!atomic_load(&has_ended)) {
		p->rest_ns = -1;
		long long began_ns = now_ns(CLOCK_MONOTONIC);
		atomic_fetch_add(&entered, 1);
		errno = 0;
		int result = current->call(p);
		if (result < 0 && errno == EINTR)
			eintr_count++;
		if (p->rest_ns >= 0 && !is_rest(p->rest_ns, began_ns, now_ns(CLOCK_MONOTONIC)))
			rest_count++;
		atomic_fetch_add(&returned, 1);
		while (!atomic_exchange(&may_go_on, false))
			sched_yield();
		if (current->complete && current->prepare)
			current->prepare(p);
	}
	return NULL;
}

static char state_of(pid_t tid)
{
	char path[64], line[256] = "";
	char state = '?';

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	FILE *file = fopen(path, "r");
	if (file && fgets(line, sizeof(line), file) && strrchr(line, ')'))
		state = strrchr(line, ')')[2];
	if (file)
		fclose(file);
	return state;
}

static void wait_until_asleep(int round)
{
	while (atomic_load(&entered) < round || state_of(atomic_load(&subject.tid)) != 'S')
		sched_yield();
}

static bool wait_for(_Atomic int *word, int value)
{
	for (long long end = now_ns(CLOCK_MONOTONIC) + 3 * NS_PER_S; now_ns(CLOCK_MONOTONIC) < end;)
		if (atomic_load(word) >= value)
			return true;
	return false;
}

/* Some calls have lasted a while, so that less is left of them. */
static void interrupt(int round, int number)
{
	pid_t pid = getpid(), tid = atomic_load(&subject.tid);

	if (round % 4 == 3)
		usleep(1000);
	atomic_store(&sent_ns, now_ns(CLOCK_MONOTONIC));
	/* Before it, after it, or both; the thread is woken by the first. */
	if (round % 3 != 1)
		syscall(SYS_tgkill, pid, tid, SIGPROF);
	syscall(SYS_tgkill, pid, tid, number);
	if (round % 3 != 2)
		syscall(SYS_tgkill, pid, tid, SIGPROF);
}

static int interrupt_kind(int rounds, int number, bool has_mask)
{
	pthread_t thread;
	long lost = 0;

	rounds = current->is_slow ? (rounds + 29) / 30 : rounds;
	subject = (struct worker){ 0 };
	atomic_store(&handled, 0);
	atomic_store(&entered, 0);
	atomic_store(&returned, 0);
	atomic_store(&has_ended, false);
	atomic_store(&may_go_on, false);
	eintr_count = rest_count = 0;
	pthread_create(&thread, NULL, be_interrupted, NULL);
	for (int round = 1; round <= rounds; round++) {
		wait_until_asleep(round);
		atomic_store(&asleep_ns, now_ns(CLOCK_MONOTONIC));
		interrupt(round, number);
		if (!wait_for(&handled, round))
			die("a signal of the program's own was not handled");
		if (current->complete)
			current->complete(&subject.place);
		while (!wait_for(&returned, round)) {
			lost++;
			syscall(SYS_tgkill, getpid(), atomic_load(&subject.tid), number);
			atomic_fetch_sub(&handled, 1);
		}
		if (round == rounds)
			atomic_store(&has_ended, true);
		atomic_store(&may_go_on, true);
	}
	pthread_join(thread, NULL);
	printf("{\"call\": \"%s\", \"signal\": %d, \"mask\": %d, \"sent\": %d, \"eintr\": %ld, \"lost\": %ld, \"rests\": %ld}\n", current->name, number,
	       has_mask, rounds, eintr_count, lost, rest_count);
	fflush(stdout);
	remove_place(&subject.place);
	return 0;
}

static void interrupt_by(int number, int rounds, bool has_mask)
{
	struct sigaction action = { .sa_handler = on_own, .sa_flags = current->complete ? SA_RESTART : 0 };

	/* Keeps our signal off while it runs. */
	if (has_mask)
		sigfillset(&action.sa_mask);
	sigaction(number, &action, NULL);
	interrupt_kind(rounds, number, has_mask);
}

static int own(int rounds)
{
	/* Below SIGPROF's number, so that the kernel takes it first; above it, and one of those that queue. */
	const int numbers[] = { SIGUSR2, SIGWINCH, SIGRTMIN + 3 };

	for (size_t i = 0; i < sizeof(interruptions) / sizeof(interruptions[0]); i++) {
		current = &interruptions[i];
		if (!is_wanted(current->name))
			continue;
		for (int n = 0; n < (current->is_slow ? 1 : options.signal ? 2 : 3); n++)
			interrupt_by(options.signal ? options.signal : numbers[n], rounds, n == 1);
	}
	return 0;
}

static void take_option(const char *word)
{
	int number = atoi(strchr(word, '=') ? strchr(word, '=') + 1 : "");

	if (strncmp(word, "kind=", 5) == 0 && options.kind_count < WORDS_MAX)
		options.kinds[options.kind_count++] = word + 5;
	else if (strncmp(word, "signal=", 7) == 0)
		options.signal = number;
	else if (strncmp(word, "timeout=", 8) == 0)
		options.timeout_ms = number;
	else if (strncmp(word, "period=", 7) == 0)
		options.period_us = number;
	else if (strncmp(word, "slack=", 6) == 0)
		options.slack_us = number;
	else
		die(word);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int number);
	} modes[] = { { "quiet", quiet }, { "shared", shared }, { "pressed", pressed }, { "own", own } };

	for (int i = 3; i < argc; i++)
		take_option(argv[i]);
	set_timeouts();
	if (options.slack_us)
		prctl(PR_SET_TIMERSLACK, options.slack_us * 1000UL);
	signal(SIGPROF, SIG_IGN);
	for (size_t i = 0; argc > 2 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			return modes[i].run(atoi(argv[2]));
	fprintf(stderr, "usage: blocking_calls quiet SECONDS|shared MS|pressed CALLS|own ROUNDS [kind=NAME|signal=NUMBER|timeout=MS|period=US|slack=US]...\n");
	return 2;
}
