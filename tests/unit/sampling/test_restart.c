#include "../../../shim/base/clock.h"
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
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

/* Code that is nobody's library: here, in memory that is only ours. */
static ucontext_t interrupted_in(const unsigned char *code, size_t bytes)
{
	unsigned char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ucontext_t context = { 0 };

	ck_assert_ptr_ne(memory, MAP_FAILED);
	memcpy(memory + 100, code, bytes);
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)(memory + 100 + bytes);
	context.uc_mcontext.gregs[REG_RAX] = -EINTR;
	return context;
}

START_TEST(a_call_that_cannot_be_made_twice_is_left_alone)
{
	ucontext_t context = interrupted((void *)close, SYS_close);

	ck_assert_int_eq(moved_by(&context), 0);
}
END_TEST

START_TEST(a_system_call_that_the_program_makes_by_itself_is_made_again)
{
	static const unsigned char plain[] = { 0xb8, SYS_epoll_wait, 0, 0, 0, 0x0f, 0x05 };
	/* mov $7, %eax; mov %rbx, %rdi; mov %r12, %r10; xor %edx, %edx; syscall */
	static const unsigned char moves[] = { 0xb8, SYS_poll, 0, 0, 0, 0x48, 0x89, 0xdf, 0x4d, 0x89, 0xe2, 0x31, 0xd2, 0x0f, 0x05 };
	ucontext_t context = interrupted_in(plain, sizeof(plain));

	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RAX], SYS_epoll_wait);
	context = interrupted_in(moves, sizeof(moves));
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RAX], SYS_poll);
}
END_TEST

START_TEST(a_call_whose_number_is_not_certain_is_left_alone)
{
	/* mov $232, %eax; mov %ecx, %eax; syscall: the load is not the last word */
	static const unsigned char other[] = { 0xb8, SYS_epoll_wait, 0, 0, 0, 0x89, 0xc8, 0x0f, 0x05 };
	/* mov $232, %eax; cmove %ecx, %eax; syscall */
	static const unsigned char either[] = { 0xb8, SYS_epoll_wait, 0, 0, 0, 0x0f, 0x44, 0xc1, 0x0f, 0x05 };
	static const unsigned char none[] = { 0x48, 0x89, 0xd8, 0x0f, 0x05 };
	ucontext_t context = interrupted_in(other, sizeof(other));

	ck_assert_int_eq(moved_by(&context), 0);
	context = interrupted_in(either, sizeof(either));
	ck_assert_int_eq(moved_by(&context), 0);
	context = interrupted_in(none, sizeof(none));
	ck_assert_int_eq(moved_by(&context), 0);
}
END_TEST

START_TEST(code_that_does_not_enter_the_kernel_is_left_alone)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	context.uc_mcontext.gregs[REG_RIP] = 3;
	ck_assert_int_eq(moved_by(&context), 0);
	context.uc_mcontext.gregs[REG_RIP] = (greg_t)after_call((void *)epoll_wait, SYS_epoll_wait) + 1;
	ck_assert_int_eq(moved_by(&context), 0);
}
END_TEST

static char stack[4096];

/* As if a hook with its frame at the end of stack had made the call. */
static void expect(ucontext_t *context, int number, uint64_t end_ns)
{
	self.wait = (struct thread_wait){ .frame = (uintptr_t)stack + sizeof(stack), .end_ns = end_ns, .number = number };
	context->uc_mcontext.gregs[REG_RSP] = (greg_t)((uintptr_t)stack + sizeof(stack) - 64);
}

START_TEST(the_timeout_of_a_hooked_call_ends_when_it_would_have)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	context.uc_mcontext.gregs[REG_R10] = 1000;
	expect(&context, SYS_epoll_wait, clock_now_ns() + 500000000);
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_le(context.uc_mcontext.gregs[REG_R10], 500);
	ck_assert_int_gt(context.uc_mcontext.gregs[REG_R10], 300);
	/* Over while it was interrupted. */
	context.uc_mcontext.gregs[REG_RIP] += 2;
	context.uc_mcontext.gregs[REG_RAX] = -EINTR;
	context.uc_mcontext.gregs[REG_R11] = 0;
	self.wait.end_ns = 1;
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_R10], 0);
}
END_TEST

START_TEST(a_timeout_in_memory_is_shortened_in_memory_of_ours)
{
	ucontext_t context = interrupted((void *)semtimedop, SYS_semtimedop);
	struct timespec timeout = { .tv_sec = 5 };

	context.uc_mcontext.gregs[REG_R10] = (greg_t)(uintptr_t)&timeout;
	expect(&context, SYS_semtimedop, clock_now_ns() + 2500000000);
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(timeout.tv_sec, 5);
	const struct timespec *left = (const struct timespec *)(uintptr_t)context.uc_mcontext.gregs[REG_R10];
	ck_assert_ptr_eq(left, &self.wait_left);
	ck_assert_int_eq(left->tv_sec, 2);
}
END_TEST

START_TEST(a_pause_goes_on_with_what_the_kernel_says_is_left)
{
	ucontext_t context = interrupted((void *)clock_nanosleep, SYS_clock_nanosleep);

	context.uc_mcontext.gregs[REG_RSI] = 0;
	context.uc_mcontext.gregs[REG_RDX] = 0x1000;
	context.uc_mcontext.gregs[REG_R10] = 0x2000;
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RDX], 0x2000);
}
END_TEST

START_TEST(a_hook_of_another_call_is_not_asked)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);

	context.uc_mcontext.gregs[REG_R10] = 1000;
	expect(&context, SYS_poll, 1);
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_R10], 1000);
	/* One whose frame is far above: a handler of the program's makes the call. */
	context = interrupted((void *)epoll_wait, SYS_epoll_wait);
	context.uc_mcontext.gregs[REG_R10] = 1000;
	expect(&context, SYS_epoll_wait, 1);
	context.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)stack;
	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_R10], 1000);
}
END_TEST

START_TEST(a_call_that_its_hook_makes_again_is_left_to_it)
{
	ucontext_t context = interrupted((void *)recv, SYS_recvfrom);

	expect(&context, THREAD_WAIT_HOOK, 0);
	ck_assert_int_eq(moved_by(&context), 0);
	ck_assert_uint_eq(self.is_interrupted, 1);
	/* Unless a handler of the program's runs, too. */
	sig_restart_interrupted(&context, false);
	ck_assert_uint_eq(self.is_interrupted, 0);
}
END_TEST

/* The registers that tell whether a call is made again, ended, or about to be entered. */
static void ck_assert_ended(const ucontext_t *context, greg_t after)
{
	ck_assert_int_eq(context->uc_mcontext.gregs[REG_RIP], after);
	ck_assert_int_eq(context->uc_mcontext.gregs[REG_RAX], -EINTR);
}

START_TEST(a_handler_of_the_programs_on_top_of_ours_keeps_its_eintr)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);
	greg_t after = context.uc_mcontext.gregs[REG_RIP];

	ck_assert_int_eq(moved_by(&context), -2);
	ck_assert_int_eq(moved_by(&context), 0); /* another tick before the call is entered */
	sig_restart_interrupted(&context, _i);   /* SA_RESTART does not cover it */
	ck_assert_ended(&context, after);
	/* And one more when that handler has returned. */
	ck_assert_int_eq(moved_by(&context), 0);
	ck_assert_ended(&context, after);
}
END_TEST

START_TEST(a_handler_of_the_programs_before_ours_keeps_its_eintr)
{
	ucontext_t context = interrupted((void *)epoll_wait, SYS_epoll_wait);
	greg_t after = context.uc_mcontext.gregs[REG_RIP];

	sig_restart_interrupted(&context, _i);
	ck_assert_int_eq(moved_by(&context), 0);
	ck_assert_ended(&context, after);
}
END_TEST

/* As the kernel leaves a call that SA_RESTART covers for a handler that has it. */
static ucontext_t wound_back(const void *wrapper, int number)
{
	ucontext_t context = interrupted(wrapper, number);

	context.uc_mcontext.gregs[REG_RCX] = context.uc_mcontext.gregs[REG_RIP];
	context.uc_mcontext.gregs[REG_RIP] -= 2;
	context.uc_mcontext.gregs[REG_RAX] = number;
	context.uc_mcontext.gregs[REG_R11] = 0x246;
	return context;
}

START_TEST(a_handler_without_restart_ends_what_was_wound_back_for_ours)
{
	ucontext_t context = wound_back((void *)waitpid, SYS_wait4);
	greg_t after = context.uc_mcontext.gregs[REG_RCX];

	ck_assert_int_eq(moved_by(&context), 0);
	sig_restart_interrupted(&context, false);
	ck_assert_ended(&context, after);
}
END_TEST

START_TEST(a_handler_with_restart_leaves_what_was_wound_back_for_ours)
{
	ucontext_t context = wound_back((void *)waitpid, SYS_wait4);
	greg_t before = context.uc_mcontext.gregs[REG_RIP];

	ck_assert_int_eq(moved_by(&context), 0);
	sig_restart_interrupted(&context, true);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RIP], before);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RAX], SYS_wait4);
}
END_TEST

START_TEST(a_call_that_no_handler_of_ours_interrupted_is_entered)
{
	ucontext_t context = wound_back((void *)waitpid, SYS_wait4);
	greg_t before = context.uc_mcontext.gregs[REG_RIP];

	sig_restart_interrupted(&context, false);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RIP], before);
}
END_TEST

START_TEST(a_call_that_the_kernel_goes_on_with_is_made_again_as_what_it_was)
{
	ucontext_t context = wound_back((void *)poll, SYS_poll);

	context.uc_mcontext.gregs[REG_RAX] = SYS_restart_syscall;
	context.uc_mcontext.gregs[REG_RDX] = 1000;
	expect(&context, SYS_poll, clock_now_ns() + 500000000);
	ck_assert_int_eq(moved_by(&context), 0);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RAX], SYS_poll);
	ck_assert_int_le(context.uc_mcontext.gregs[REG_RDX], 500);
	greg_t after = context.uc_mcontext.gregs[REG_RCX];
	sig_restart_interrupted(&context, true);
	ck_assert_ended(&context, after);
}
END_TEST

START_TEST(what_the_kernel_goes_on_with_in_code_of_no_certain_number_is_left_to_it)
{
	static const unsigned char none[] = { 0x48, 0x89, 0xd8, 0x0f, 0x05 };
	ucontext_t context = interrupted_in(none, sizeof(none));

	context.uc_mcontext.gregs[REG_RCX] = context.uc_mcontext.gregs[REG_RIP];
	context.uc_mcontext.gregs[REG_RIP] -= 2;
	context.uc_mcontext.gregs[REG_RAX] = SYS_restart_syscall;
	ck_assert_int_eq(moved_by(&context), 0);
	ck_assert_int_eq(context.uc_mcontext.gregs[REG_RAX], SYS_restart_syscall);
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
	sampling_program_action(SIGPROF, &action, NULL);
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

	sampling_program_action(SIGPROF, &ignore, NULL);
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
	tcase_add_test(cases[0], a_system_call_that_the_program_makes_by_itself_is_made_again);
	tcase_add_test(cases[0], a_call_whose_number_is_not_certain_is_left_alone);
	tcase_add_test(cases[0], code_that_does_not_enter_the_kernel_is_left_alone);
	tcase_add_test(cases[0], the_timeout_of_a_hooked_call_ends_when_it_would_have);
	tcase_add_test(cases[0], a_timeout_in_memory_is_shortened_in_memory_of_ours);
	tcase_add_test(cases[0], a_pause_goes_on_with_what_the_kernel_says_is_left);
	tcase_add_test(cases[0], a_hook_of_another_call_is_not_asked);
	tcase_add_test(cases[0], a_call_that_its_hook_makes_again_is_left_to_it);
	tcase_add_loop_test(cases[0], a_handler_of_the_programs_on_top_of_ours_keeps_its_eintr, 0, 2);
	tcase_add_loop_test(cases[0], a_handler_of_the_programs_before_ours_keeps_its_eintr, 0, 2);
	tcase_add_test(cases[0], a_handler_without_restart_ends_what_was_wound_back_for_ours);
	tcase_add_test(cases[0], a_handler_with_restart_leaves_what_was_wound_back_for_ours);
	tcase_add_test(cases[0], a_call_that_no_handler_of_ours_interrupted_is_entered);
	tcase_add_test(cases[0], a_call_that_the_kernel_goes_on_with_is_made_again_as_what_it_was);
	tcase_add_test(cases[0], what_the_kernel_goes_on_with_in_code_of_no_certain_number_is_left_to_it);
	tcase_add_loop_test(cases[1], samples_do_not_end_a_wait, 0, wait_count);
	tcase_add_test(cases[1], samples_do_not_end_a_receive_with_a_timeout);
	tcase_add_loop_test(cases[1], samples_do_not_end_a_pause, 0, 2);
	tcase_add_loop_test(cases[1], a_signal_of_the_program_ends_a_wait, 0, wait_count);
	tcase_add_test(cases[1], a_signal_that_the_program_ignores_does_not_end_a_wait);
	return fixture_run(cases, 2, "restart");
}
