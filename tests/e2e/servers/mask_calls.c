/* mask_calls - what a program is told of its signals: one act at a time, all of them printed, so that two runs can be compared.
 *
 *     mask_calls ACT [NUMBER]
 *
 * NUMBER: of a signal that handlers are not to say they block themselves.
 *
 * Acts that burn CPU time do so because something might happen then that must not.
 */
#include "burn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { BURN_STEPS = 40000000 }; /* some 40 ms, ticks enough at 1 kHz */

extern char **environ;

static unsigned long bits_of(const sigset_t *set)
{
	unsigned long bits;

	memcpy(&bits, set, sizeof(bits));
	return bits;
}

static unsigned long told(void)
{
	sigset_t set;

	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return bits_of(&set);
}

static void say(const char *what)
{
	printf("%s: %016lx\n", what, told());
}

static sigset_t only(int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	return set;
}

static sigset_t all(void)
{
	sigset_t set;

	sigfillset(&set);
	return set;
}

static void block(int number)
{
	sigset_t set = only(number);

	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void unblock(int number)
{
	sigset_t set = only(number);

	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void block_all(void)
{
	sigset_t set = all();

	sigprocmask(SIG_SETMASK, &set, NULL);
}

static void block_none(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

/* --- what was set --- */

static int each_signal(void)
{
	for (int number = 1; number <= 64; number++) {
		sigset_t set, old;
		if (number == 32 || number == 33)
			continue;
		set = only(number);
		sigprocmask(SIG_SETMASK, &set, NULL);
		printf("only %d: %016lx\n", number, told());
		block_all();
		sigprocmask(SIG_UNBLOCK, &set, &old);
		printf("all but %d: %016lx, before: %016lx\n", number, told(), bits_of(&old));
	}
	return 0;
}

static int older_ways(void)
{
	sighold(SIGPROF);
	say("sighold");
	printf("sigset gives %s\n", sigset(SIGPROF, SIG_HOLD) == SIG_HOLD ? "SIG_HOLD" : "another");
	sigrelse(SIGPROF);
	say("sigrelse");
	printf("sigblock gives %x\n", sigblock(1 << (SIGPROF - 1) | 1 << (SIGUSR1 - 1)));
	printf("sigsetmask gives %x\n", sigsetmask(1 << (SIGUSR2 - 1)));
	say("in the end");
	return 0;
}

static void *say_as_thread(void *unused)
{
	(void)unused;
	say("thread");
	return NULL;
}

static void run_thread(const pthread_attr_t *attributes)
{
	pthread_t thread;

	pthread_create(&thread, attributes, say_as_thread, NULL);
	pthread_join(thread, NULL);
}

static int threads(void)
{
	pthread_attr_t attributes;
	sigset_t set = only(SIGPROF), kept;

	block(SIGPROF);
	run_thread(NULL);
	block_all();
	run_thread(NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setsigmask_np(&attributes, &set);
	block_none();
	run_thread(&attributes);
	pthread_attr_getsigmask_np(&attributes, &kept);
	printf("attributes: %016lx\n", bits_of(&kept));
	block_all();
	sigemptyset(&set);
	pthread_attr_setsigmask_np(&attributes, &set);
	run_thread(&attributes);
	return 0;
}

/* --- handlers and their masks --- */

static volatile sig_atomic_t count;
static volatile sig_atomic_t code;
static volatile pid_t handler_tid;
static unsigned long mask_in_handler, mask_in_context;

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	count++;
	code = info->si_code;
	handler_tid = (pid_t)syscall(SYS_gettid);
	mask_in_handler = told();
	memcpy(&mask_in_context, &((ucontext_t *)context)->uc_sigmask, sizeof(mask_in_context));
}

static void handle(int number, int flags, const sigset_t *mask)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags }, now;

	if (mask)
		action.sa_mask = *mask;
	sigaction(number, &action, NULL);
	sigaction(number, NULL, &now);
	printf("%d is told %s, flags %x, mask %016lx\n", number, now.sa_sigaction == on_signal ? "its handler" : "another",
	       (unsigned)now.sa_flags & ~0x4000000u, bits_of(&now.sa_mask));
}

static int unsaid; /* whose own bit in its handler's mask is not told */

static void raise_and_say(int number)
{
	raise(number);
	if (number == unsaid)
		mask_in_handler &= ~(1UL << (number - 1));
	printf("handled %d times, code %d, in the handler %016lx, in its context %016lx, afterwards %016lx\n", (int)count, (int)code,
	       mask_in_handler, mask_in_context, told());
}

static int handlers(void)
{
	sigset_t none, full = all(), prof = only(SIGPROF);

	sigemptyset(&none);
	handle(SIGUSR2, 0, &none);
	raise_and_say(SIGUSR2);
	handle(SIGUSR2, 0, &full);
	raise_and_say(SIGUSR2);
	handle(SIGUSR2, SA_NODEFER | SA_RESTART, &prof);
	raise_and_say(SIGUSR2);
	block(SIGPROF);
	raise_and_say(SIGUSR2);
	unblock(SIGPROF);
	handle(SIGPROF, 0, &none);
	raise_and_say(SIGPROF);
	handle(SIGPROF, SA_NODEFER | SA_RESTART, &full);
	raise_and_say(SIGPROF);
	for (int number = 34; number <= 64; number++) {
		struct sigaction now;
		handle(number, 0, &none);
		count = 0;
		raise_and_say(number);
		signal(number, SIG_DFL);
		sigaction(number, NULL, &now);
		printf("%d is default again: %d\n", number, now.sa_handler == SIG_DFL);
	}
	printf("signal gives %d\n", signal(SIGUSR1, SIG_IGN) == SIG_DFL);
	printf("signal gives %d\n", signal(SIGUSR1, SIG_DFL) == SIG_IGN);
	return 0;
}

/* Signals that the program has no handler for, and the kernel one: those of whoever was preloaded. */
static int handled_by_others(void)
{
	unsigned long caught = 0;
	char line[256];
	FILE *status = fopen("/proc/self/status", "re");

	while (status && fgets(line, sizeof(line), status) && sscanf(line, "SigCgt: %lx", &caught) != 1)
		;
	for (int number = 34; number <= 64; number++) {
		struct sigaction now;
		if (caught >> (number - 1) & 1 && sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
			printf("%d\n", number);
	}
	return 0;
}

/* A handler changes the mask that comes after it. */
static void block_in_context(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	sigaddset(&((ucontext_t *)context)->uc_sigmask, SIGPROF);
}

static void unblock_in_context(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	sigdelset(&((ucontext_t *)context)->uc_sigmask, SIGPROF);
}

static int contexts_of_handlers(void)
{
	struct sigaction action = { .sa_sigaction = block_in_context, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	say("blocked in the context");
	block(SIGPROF);
	say("blocked again");
	action.sa_sigaction = unblock_in_context;
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	say("unblocked in the context");
	return 0;
}

/* --- jumps --- */

static sigjmp_buf place;

static void jump_out(int number)
{
	siglongjmp(place, number);
}

static int jumps(void)
{
	struct sigaction action = { .sa_handler = jump_out };

	sigfillset(&action.sa_mask);
	sigaction(SIGUSR2, &action, NULL);
	if (sigsetjmp(place, 1) == 0)
		raise(SIGUSR2);
	say("back from a handler");
	block(SIGPROF);
	if (sigsetjmp(place, 1) == 0) {
		unblock(SIGPROF);
		raise(SIGUSR2);
	}
	say("back to where it was blocked");
	if (sigsetjmp(place, 0) == 0)
		raise(SIGUSR2);
	say("back without the mask");
	return 0;
}

static ucontext_t main_context, other_context;

static void other(void)
{
	say("in the other context");
	block_all();
	swapcontext(&other_context, &main_context);
	say("in the other context again");
}

static int contexts(void)
{
	static char stack[65536];

	block(SIGPROF);
	getcontext(&other_context);
	other_context.uc_stack.ss_sp = stack;
	other_context.uc_stack.ss_size = sizeof(stack);
	other_context.uc_link = &main_context;
	makecontext(&other_context, other, 0);
	unblock(SIGPROF);
	swapcontext(&main_context, &other_context);
	say("back in main");
	swapcontext(&main_context, &other_context);
	say("in main after all");
	return 0;
}

/* --- what is sent to who blocks it --- */

static void say_pending(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigpending(&set);
	printf("pending: %016lx\n", bits_of(&set));
}

static int pending(void)
{
	struct timespec at_once = { 0 }, soon = { 0, 300000000 };
	sigset_t set = only(SIGPROF);
	siginfo_t info;
	union sigval value = { .sival_int = 42 };
	int number;

	handle(SIGPROF, 0, NULL);
	block(SIGPROF);
	kill(getpid(), SIGPROF);
	kill(getpid(), SIGPROF);
	burn(BURN_STEPS);
	say_pending();
	printf("sigtimedwait gives %d, code %d, by me %d\n", sigtimedwait(&set, &info, &soon), info.si_code, info.si_pid == getpid());
	say_pending();
	printf("sigtimedwait gives %d, %d\n", sigtimedwait(&set, &info, &at_once), errno);
	sigqueue(getpid(), SIGPROF, value);
	printf("sigwaitinfo gives %d, code %d, value %d\n", sigwaitinfo(&set, &info), info.si_code, info.si_value.sival_int);
	raise(SIGPROF);
	printf("sigwait gives %d and", sigwait(&set, &number));
	printf(" %d\n", number);
	printf("handled %d times\n", (int)count);
	raise(SIGPROF);
	unblock(SIGPROF);
	printf("handled %d times, code %d\n", (int)count, (int)code);
	return 0;
}

static void say_read(int fd)
{
	struct signalfd_siginfo info = { 0 };
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	printf("poll gives %d", poll(&ready, 1, 0));
	long bytes = read(fd, &info, sizeof(info));
	printf(", read %ld: %u, code %d, by me %d, value %d\n", bytes, info.ssi_signo, info.ssi_code,
	       info.ssi_pid == (unsigned)getpid(), info.ssi_int);
}

static int descriptors(void)
{
	union sigval value = { .sival_int = 42 };
	sigset_t prof = only(SIGPROF), full = all();

	block_all();
	int fd = signalfd(-1, &prof, SFD_NONBLOCK);
	say_read(fd);
	kill(getpid(), SIGPROF);
	burn(BURN_STEPS);
	say_read(fd);
	say_read(fd);
	sigqueue(getpid(), SIGPROF, value);
	say_read(fd);
	fd = signalfd(fd, &full, 0);
	raise(SIGUSR2);
	say_read(fd);
	raise(SIGPROF);
	say_read(fd);
	return 0;
}

/* Nothing that was not sent is ever got, whatever time goes by. */
static int nothing_came(void)
{
	struct timespec at_once = { 0 };
	sigset_t full = all();
	siginfo_t info;

	block_all();
	int fd = signalfd(-1, &full, SFD_NONBLOCK);
	for (int i = 0; i < 200; i++) {
		struct signalfd_siginfo got;
		burn(BURN_STEPS / 100);
		if (read(fd, &got, sizeof(got)) > 0)
			printf("read %u\n", got.ssi_signo);
		if (sigtimedwait(&full, &info, &at_once) > 0)
			printf("got %d\n", info.si_signo);
	}
	say_pending();
	return 0;
}

static int letting_in(void)
{
	struct timespec soon = { 5, 0 };
	struct epoll_event event;
	sigset_t none;
	int epoll = epoll_create1(0), result;

	sigemptyset(&none);
	handle(SIGPROF, SA_RESTART, NULL);
	block(SIGPROF);
	for (int i = 0; i < 5; i++) {
		raise(SIGPROF);
		burn(BURN_STEPS / 4);
		printf("handled %d times, ", (int)count);
		errno = 0;
		switch (i) {
		case 0:
			result = ppoll(NULL, 0, &soon, &none);
			break;
		case 1:
			result = pselect(0, NULL, NULL, NULL, &soon, &none);
			break;
		case 2:
			result = epoll_pwait(epoll, &event, 1, 5000, &none);
			break;
		case 3:
			result = epoll_pwait2(epoll, &event, 1, &soon, &none);
			break;
		default:
			result = sigsuspend(&none);
		}
		printf("then %d: result %d, errno %d\n", (int)count, result, errno);
		say("afterwards");
	}
	raise(SIGPROF);
	printf("sigpause gives %d, ", sigpause(SIGPROF));
	printf("handled %d times\n", (int)count);
	say("afterwards");
	return 0;
}

/* Sent to the process, it is for the one thread that lets it in. */
static volatile bool is_over;

static void *block_and_burn(void *unused)
{
	(void)unused;
	block_all();
	while (!is_over)
		burn(10000);
	return NULL;
}

static int goes_to_who_lets_it_in(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	pthread_t threads_[3];
	int right = 0;

	sigaction(SIGPROF, &action, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads_[i], NULL, block_and_burn, NULL);
	struct itimerspec times = { { 0, 10000000 }, { 0, 10000000 } };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF };
	timer_t timer;
	timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer);
	timer_settime(timer, 0, &times, NULL);
	for (int i = 0; i < 50; i++) {
		count = 0;
		while (!count)
			burn(10000);
		right += handler_tid == getpid();
	}
	is_over = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads_[i], NULL);
	printf("in main: %d of 50\n", right);
	return 0;
}

/* --- other processes --- */

static char *const itself[] = { "/proc/self/exe", "say", NULL };

static int say_all(void)
{
	struct sigaction prof;

	say("in a new program");
	say_pending();
	sigaction(SIGPROF, NULL, &prof);
	printf("ignores SIGPROF: %d\n", prof.sa_handler == SIG_IGN);
	return 0;
}

static void wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) == child && !WIFEXITED(status))
		printf("ended by %d\n", WTERMSIG(status));
}

static void run_all_ways(void)
{
	posix_spawnattr_t attributes;
	sigset_t prof = only(SIGPROF);
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		say("forked child");
		fflush(stdout);
		execvp(itself[0], itself);
		_exit(127);
	}
	wait_for(child);
	child = vfork();
	if (child == 0) {
		execvp(itself[0], itself);
		_exit(127);
	}
	wait_for(child);
	posix_spawnp(&child, itself[0], NULL, NULL, itself, environ);
	wait_for(child);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &prof);
	posix_spawnp(&child, itself[0], NULL, &attributes, itself, environ);
	wait_for(child);
	if (system("grep -E '^Sig(Blk|Ign)' /proc/self/status") != 0)
		printf("system failed\n");
	say("here");
}

static int processes(void)
{
	run_all_ways();
	block(SIGPROF);
	run_all_ways();
	block_all();
	run_all_ways();
	signal(SIGPROF, SIG_IGN);
	run_all_ways();
	block_none();
	unblock(SIGPROF);
	say("none");
	execvp("/nowhere", itself);
	block(SIGPROF);
	execvp("/nowhere", itself);
	say("after an exec that failed");
	kill(getpid(), SIGPROF);
	fflush(stdout);
	execvp(itself[0], itself);
	return 1;
}

/* One of these real-time signals is the deputy, and was sent as what it is. */
static int new_program_with_all_waiting(void)
{
	block_all();
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		kill(getpid(), number);
		kill(getpid(), number);
	}
	execlp("grep", "grep", "ShdPnd", "/proc/self/status", (char *)NULL);
	return 1;
}

/* --- sampled all the same --- */

__attribute__((noinline)) static void burn_blocked(void)
{
	burn(300000000);
	__asm__ volatile("");
}

static int sampled(void)
{
	block_all();
	kill(getpid(), SIGPROF);
	raise(SIGPROF);
	burn_blocked();
	say_pending();
	return 0;
}

/* --- alternate stacks --- */

enum { SMALL_BYTES = 8192, ROOMY_BYTES = 65536, BELOW_BYTES = 65536 };

static long used_in_handler;

/* A handler that takes most of what a small stack has left: of 8 KiB the frame of its own signal takes 3.3. */
static void burn_in_handler(int number)
{
	volatile char room[3584];

	(void)number;
	for (size_t i = 0; i < sizeof(room); i += 64)
		room[i] = 1;
	burn_blocked();
	used_in_handler += room[64];
}

static void say_mask_in_handler(int number)
{
	(void)number;
	say("in the handler");
}

static int alternate_stack(size_t bytes, void (*act)(int))
{
	struct sigaction action = { .sa_handler = act, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_size = bytes };
	char *memory = aligned_alloc(4096, BELOW_BYTES + bytes);

	/* What lies below it must not be touched. */
	memset(memory, 0x5a, BELOW_BYTES);
	stack.ss_sp = memory + BELOW_BYTES;
	if (sigaltstack(&stack, NULL) != 0) {
		perror("sigaltstack");
		return 1;
	}
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	for (size_t i = 0; i < BELOW_BYTES; i++)
		if (memory[i] != 0x5a) {
			printf("written below the stack, %zu bytes\n", BELOW_BYTES - i);
			return 1;
		}
	printf("nothing written below it, handled %ld\n", used_in_handler);
	action.sa_handler = say_mask_in_handler;
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	say("behind the handler");
	return 0;
}

/* --- waiting on a small stack, with a mask that lets everything in and ticks that are due --- */

static int profs_handled;

static void handle_prof(int number)
{
	(void)number;
	profs_handled++;
}

static void wait_in_handler(int number)
{
	struct timespec at_once = { 0 };
	struct epoll_event event;
	volatile char room[2048];
	sigset_t nothing;
	int epoll = epoll_create1(0);

	(void)number;
	for (size_t i = 0; i < sizeof(room); i += 64)
		room[i] = 1;
	sigemptyset(&nothing);
	burn_blocked();
	printf("ppoll: %d\n", ppoll(NULL, 0, &at_once, &nothing));
	burn_blocked();
	printf("pselect: %d\n", pselect(0, NULL, NULL, NULL, &at_once, &nothing));
	burn_blocked();
	printf("epoll_pwait: %d\n", epoll_pwait(epoll, &event, 1, 1, &nothing));
	burn_blocked();
	printf("epoll_pwait2: %d\n", epoll_pwait2(epoll, &event, 1, &at_once, &nothing));
	close(epoll);
	used_in_handler += room[64];
}

/* Has to let in what ends it. */
static void suspend_in_handler(int number)
{
	sigset_t nothing, one = only(number == SIGUSR2 ? SIGUSR1 : SIGPROF);

	sigemptyset(&nothing);
	sigprocmask(SIG_BLOCK, &one, NULL);
	burn_blocked();
	kill(getpid(), number == SIGUSR2 ? SIGUSR1 : SIGPROF);
	int result = sigsuspend(&nothing);
	used_in_handler += result == -1 && errno == EINTR;
}

/* --- what a handler on a small stack may do besides --- */

enum { TIGHT_BYTES = 12288 }; /* room for what the calls below take, and not for a tick besides */

static jmp_buf out_of_handler;
static const char *program;

static void *say_in_thread(void *unused)
{
	say("a thread that the handler made");
	return unused;
}

static void run_say(void)
{
	execl(program, program, "say", (char *)NULL);
	_exit(1);
}

static void make_others(int number)
{
	char *argv[] = { (char *)program, "say", NULL };
	pthread_t thread;
	pid_t pid;

	(void)number;
	pthread_create(&thread, NULL, say_in_thread, NULL);
	pthread_join(thread, NULL);
	if (posix_spawn(&pid, program, NULL, NULL, argv, environ) == 0)
		waitpid(pid, NULL, 0);
	if ((pid = fork()) == 0)
		run_say();
	waitpid(pid, NULL, 0);
	if ((pid = vfork()) == 0)
		run_say();
	waitpid(pid, NULL, 0);
	say("in the handler");
}

/* As libraries do that cannot know how the place was made that they jump to. */
static void jump_without_mask(int number)
{
	sigset_t set = only(number);

	sigprocmask(SIG_UNBLOCK, &set, NULL);
	_longjmp(out_of_handler, 1);
}

static void change_mask(int number)
{
	sigset_t before, everything = all();

	(void)number;
	sigprocmask(SIG_BLOCK, &everything, &before);
	say("all blocked in the handler");
	sigprocmask(SIG_SETMASK, &before, NULL);
	say("set again in the handler");
	sigprocmask(SIG_UNBLOCK, &everything, NULL);
	say("none blocked in the handler");
	burn_in_handler(number);
}

static void run_on_tight_stack(void (*act)(int))
{
	struct sigaction action = { .sa_handler = act, .sa_flags = SA_ONSTACK };

	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	say("behind the handler");
}

static int tight_stack(void)
{
	stack_t stack = { .ss_sp = malloc(TIGHT_BYTES), .ss_size = TIGHT_BYTES };

	sigaltstack(&stack, NULL);
	run_on_tight_stack(change_mask);
	run_on_tight_stack(make_others);
	if (_setjmp(out_of_handler) == 0)
		run_on_tight_stack(jump_without_mask);
	close(-1);
	say("behind the jump");
	burn_blocked();
	return 0;
}

static int small_stack(void)
{
	return alternate_stack(SMALL_BYTES, burn_in_handler);
}

static int waiting_on_small_stack(void)
{
	struct sigaction nothing_to_do = { .sa_handler = handle_prof };

	setvbuf(stdout, NULL, _IOLBF, 4096); /* now, and not on that stack */
	printf("begins\n");
	if (alternate_stack(SMALL_BYTES, wait_in_handler) != 0)
		return 1;
	sigaction(SIGUSR1, &nothing_to_do, NULL);
	if (alternate_stack(SMALL_BYTES, suspend_in_handler) != 0)
		return 1;
	printf("ended by handlers: %d\n", profs_handled);
	return 0;
}

/* A SIGPROF of the program's own may be what it waits for. */
static int waiting_for_prof_on_tight_stack(void)
{
	struct sigaction prof = { .sa_handler = handle_prof }, waiting = { .sa_handler = suspend_in_handler, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_sp = malloc(TIGHT_BYTES), .ss_size = TIGHT_BYTES };

	sigaltstack(&stack, NULL);
	sigaction(SIGPROF, &prof, NULL);
	sigaction(SIGURG, &waiting, NULL);
	raise(SIGURG);
	printf("ended by handlers: %d, %ld times\n", profs_handled, used_in_handler);
	say("behind the handler");
	return 0;
}

static int roomy_stack(void)
{
	return alternate_stack(ROOMY_BYTES, burn_in_handler);
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*act)(void); } acts[] = {
		{ "each-signal", each_signal }, { "older-ways", older_ways },   { "threads", threads },
		{ "handlers", handlers },       { "handled-by-others", handled_by_others }, { "contexts-of-handlers", contexts_of_handlers },
		{ "jumps", jumps },             { "contexts", contexts },       { "pending", pending },
		{ "descriptors", descriptors }, { "nothing-came", nothing_came }, { "letting-in", letting_in },
		{ "goes-to-who-lets-it-in", goes_to_who_lets_it_in },           { "processes", processes }, { "say", say_all },
		{ "new-program-with-all-waiting", new_program_with_all_waiting },
		{ "sampled", sampled },         { "small-stack", small_stack }, { "tight-stack", tight_stack },
		{ "roomy-stack", roomy_stack },
		{ "waiting-on-small-stack", waiting_on_small_stack },
		{ "waiting-for-prof-on-tight-stack", waiting_for_prof_on_tight_stack },
	};

	program = argv[0];
	unsaid = argc == 3 ? atoi(argv[2]) : 0;
	for (size_t i = 0; (argc == 2 || argc == 3) && i < sizeof(acts) / sizeof(acts[0]); i++)
		if (strcmp(argv[1], acts[i].name) == 0)
			return acts[i].act();
	fprintf(stderr, "usage: mask_calls ACT, see the source\n");
	return 2;
}
