#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/restart.h"
#include "../../../shim/sampling/sampling.h"
#include "fixture.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void start_sampling(void)
{
	fixture_start_sampling(100, "fp");
}

/* --- a made context --- */

/* Where a wrapper of the C library has entered the kernel for this call. */
static uintptr_t after_call(const void *wrapper, int number)
{
	const unsigned char *code = wrapper;
	unsigned char wanted[7] = { 0xb8, 0, 0, 0, 0, 0x0f, 0x05 };

	memcpy(wanted + 1, &number, sizeof(number));
	for (int i = 0; i < 300; i++)
		if (memcmp(code + i, wanted, sizeof(wanted)) == 0)
			return (uintptr_t)code + (uintptr_t)i + sizeof(wanted);
	ck_abort_msg("no system call %d found", number);
	return 0;
}

static ucontext_t interrupted(const void *wrapper, int number)
{
	ucontext_t context = { 0 };

	context.uc_mcontext.gregs[REG_RIP] = (greg_t)after_call(wrapper, number);
	context.uc_mcontext.gregs[REG_RAX] = -EINTR;
	context.uc_mcontext.gregs[REG_R10] = -1;
	return context;
}

static greg_t moved_by(ucontext_t *context)
{
	greg_t before = context->uc_mcontext.gregs[REG_RIP];

	sig_restart(context);
	return context->uc_mcontext.gregs[REG_RIP] - before;
}

START_TEST(an_interrupted_wait_is_called_again)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RAX], SYS_epoll_wait);
}
END_TEST

START_TEST(a_wait_that_ended_otherwise_is_left_alone)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	for (greg_t result = -1; result <= 2; result++) {
		context.uc_mcontext.gregs[REG_RAX] = result;
		ck_assert_int_eq(moved_by(&context), 0);
	}
}
END_TEST

START_TEST(a_call_that_cannot_be_made_twice_is_left_alone)
{
	ucontext_t context = interrupted((void *)connect, SYS_connect);

	ck_assert_int_eq(moved_by(&context), 0);
}
END_TEST

START_TEST(code_that_is_no_wrapper_of_libcs_is_left_alone)
{
	static const unsigned char own_code[] = { 0xb8, SYS_epoll_wait, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	context.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)own_code + 7;
	ck_assert_int_eq(moved_by(&context), 0);
	context.uc_mcontext.gregs[REG_RIP] = 3;
	ck_assert_int_eq(moved_by(&context), 0);
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)after_call((void *)epoll_wait, SYS_epoll_wait) + 1;
	ck_assert_int_eq(moved_by(&context), 0);
}
END_TEST

START_TEST(an_unknown_timeout_is_not_begun_again)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	context.uc_mcontext.gregs[REG_R10] = 1000;
	ck_assert_int_eq(moved_by(&context), 0);
}
END_TEST

START_TEST(the_timeout_of_a_hooked_call_ends_when_it_would_have)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);
	struct timespec pause = { .tv_nsec = 30000000 };

	self.call = SEG_CALL_EPOLL_WAIT + 1;
	thread_add(&self.slot->call_counts[SEG_CALL_EPOLL_WAIT], 1);
	context.uc_mcontext.gregs[REG_R10] = 1000;
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_R10], 1000);
	nanosleep(&pause, NULL);
	context.uc_mcontext.gregs[REG_RIP] += 2;
	context.uc_mcontext.gregs[REG_RAX] = -EINTR;
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_le(context.uc_mcontext.gregs[REG_R10], 970);
	ck_assert_int_ge(context.uc_mcontext.gregs[REG_R10], 0);
	/* The next call has its own. */
	thread_add(&self.slot->call_counts[SEG_CALL_EPOLL_WAIT], 1);
	context = interrupted((void *)epoll_wait, SYS_epoll_wait);
	context.uc_mcontext.gregs[REG_R10] = 1000;
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_R10], 1000);
}
END_TEST

START_TEST(a_signal_that_waits_for_the_program_keeps_its_eintr)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR2);
	ck_assert_int_eq(moved_by(&context), 0);
	/* One that the program itself has blocked will not run its handler now. */
	context.uc_sigmask = set;
	ck_assert_int_eq(moved_by(&context), -2);
}
END_TEST

/* --- real calls, a thread that waits in them, and signals --- */

struct waiter {
	int (*wait)(int fd);
	int fd;
	_Atomic pid_t tid;
	int result;
	int error;
};

static int in_epoll(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return epoll_wait(epoll, &event, 1, -1);
}

static int in_epoll_pwait(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return epoll_pwait(epoll, &event, 1, -1, &none);
}

static int in_poll(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, -1);
}

static int in_ppoll(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	struct timespec timeout = { .tv_sec = 20 };

	return ppoll(&poll_fd, 1, &timeout, NULL);
}

static int in_select(int fd)
{
	struct timeval timeout = { .tv_sec = 20 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, &set, NULL, NULL, &timeout);
}

static int in_read_with_timeout(int fd)
{
	int pair[2];
	struct timeval timeout = { .tv_sec = 2 };
	char byte;

	(void)fd;
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return (int)recv(pair[0], &byte, 1, 0);
}

static int in_nanosleep(int fd)
{
	struct timespec time = { .tv_nsec = 500000000 };

	(void)fd;
	return nanosleep(&time, NULL) == 0;
}

static int in_semaphore(int fd)
{
	struct timespec end;
	sem_t semaphore;

	(void)fd;
	sem_init(&semaphore, 0, 0);
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec++;
	return sem_timedwait(&semaphore, &end) == -1 && errno == ETIMEDOUT;
}

static void *wait_in_thread(void *argument)
{
	struct waiter *waiter = argument;

	thread_attach();
	atomic_store(&waiter->tid, (pid_t)syscall(SYS_gettid));
	waiter->result = waiter->wait(waiter->fd);
	waiter->error = errno;
	return NULL;
}

/* The state letter in /proc/PID/task/TID/stat behind the name. */
static char state_of(pid_t tid)
{
	char path[64], line[256];
	char state = '?';

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	FILE *file = fopen(path, "r");
	if (file && fgets(line, sizeof(line), file) && strrchr(line, ')'))
		state = strrchr(line, ')')[2];
	if (file)
		fclose(file);
	return state;
}

static void wait_until_asleep(const struct waiter *waiter)
{
	while (!atomic_load(&waiter->tid) || state_of(atomic_load(&waiter->tid)) != 'S')
		usleep(1000);
}

static void send_sample(const struct waiter *waiter)
{
	siginfo_t info = fixture_signal(0);
	uint64_t before = fixture_counter(SEG_COUNTER_SAMPLES);

	ck_assert_int_eq(syscall(SYS_rt_tgsigqueueinfo, getpid(), atomic_load(&waiter->tid), SIGPROF, &info), 0);
	while (fixture_counter(SEG_COUNTER_SAMPLES) == before)
		usleep(1000);
}

enum { INTERRUPTIONS = 5 };

static void interrupt_and_wake(int (*wait)(int))
{
	struct waiter waiter = { .wait = wait, .fd = eventfd(0, EFD_CLOEXEC) };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, &waiter), 0);
	for (int i = 0; i < INTERRUPTIONS; i++) {
		wait_until_asleep(&waiter);
		send_sample(&waiter);
	}
	wait_until_asleep(&waiter);
	ck_assert_int_eq(eventfd_write(waiter.fd, 1), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(waiter.result, 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), INTERRUPTIONS);
}

static int (*const waits[])(int) = { in_epoll, in_epoll_pwait, in_poll, in_ppoll, in_select };

START_TEST(samples_do_not_end_a_wait)
{
	interrupt_and_wake(waits[_i]);
}
END_TEST

START_TEST(samples_do_not_end_a_receive_with_a_timeout)
{
	struct waiter waiter = { .wait = in_read_with_timeout };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, &waiter), 0);
	wait_until_asleep(&waiter);
	send_sample(&waiter);
	pthread_join(thread, NULL);
	ck_assert_int_eq(waiter.result, -1);
	ck_assert_int_eq(waiter.error, EAGAIN);
}
END_TEST

static int (*const pauses[])(int) = { in_nanosleep, in_semaphore };

START_TEST(samples_do_not_end_a_pause)
{
	struct waiter waiter = { .wait = pauses[_i] };
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, &waiter), 0);
	wait_until_asleep(&waiter);
	send_sample(&waiter);
	pthread_join(thread, NULL);
	ck_assert_int_eq(waiter.result, 1);
}
END_TEST

static void on_program(int number)
{
	(void)number;
}

START_TEST(a_signal_of_the_program_ends_a_wait)
{
	struct sigaction action = { .sa_handler = on_program };
	struct waiter waiter = { .wait = waits[_i], .fd = eventfd(0, EFD_CLOEXEC) };
	pthread_t thread;

	sigaction(SIGUSR2, &action, NULL);
	sampling_program_action(&action, NULL);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, &waiter), 0);
	wait_until_asleep(&waiter);
	send_sample(&waiter);
	wait_until_asleep(&waiter);
	pthread_kill(thread, _i % 2 ? SIGUSR2 : SIGPROF); /* a SIGPROF for the program is its own, too */
	pthread_join(thread, NULL);
	ck_assert_int_eq(waiter.result, -1);
	ck_assert_int_eq(waiter.error, EINTR);
}
END_TEST

START_TEST(a_signal_that_the_program_ignores_does_not_end_a_wait)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct waiter waiter = { .wait = in_poll, .fd = eventfd(0, EFD_CLOEXEC) };
	pthread_t thread;

	sampling_program_action(&ignore, NULL);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, &waiter), 0);
	wait_until_asleep(&waiter);
	pthread_kill(thread, SIGPROF);
	usleep(20000);
	wait_until_asleep(&waiter);
	eventfd_write(waiter.fd, 1);
	pthread_join(thread, NULL);
	ck_assert_int_eq(waiter.result, 1);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("restart"), tcase_create("real calls") };
	int wait_count = sizeof(waits) / sizeof(waits[0]);

	for (int i = 0; i < 2; i++)
		tcase_add_checked_fixture(cases[i], start_sampling, NULL);
	tcase_add_test(cases[0], an_interrupted_wait_is_called_again);
	tcase_add_test(cases[0], a_wait_that_ended_otherwise_is_left_alone);
	tcase_add_test(cases[0], a_call_that_cannot_be_made_twice_is_left_alone);
	tcase_add_test(cases[0], code_that_is_no_wrapper_of_libcs_is_left_alone);
	tcase_add_test(cases[0], an_unknown_timeout_is_not_begun_again);
	tcase_add_test(cases[0], the_timeout_of_a_hooked_call_ends_when_it_would_have);
	tcase_add_test(cases[0], a_signal_that_waits_for_the_program_keeps_its_eintr);
	tcase_add_loop_test(cases[1], samples_do_not_end_a_wait, 0, wait_count);
	tcase_add_test(cases[1], samples_do_not_end_a_receive_with_a_timeout);
	tcase_add_loop_test(cases[1], samples_do_not_end_a_pause, 0, 2);
	tcase_add_loop_test(cases[1], a_signal_of_the_program_ends_a_wait, 0, wait_count);
	tcase_add_test(cases[1], a_signal_that_the_program_ignores_does_not_end_a_wait);
	return fixture_run(cases, 2, "restart");
}
