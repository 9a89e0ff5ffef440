/* fault_shapes - the ways in which programs meet SIGSEGV and SIGBUS: fault_shapes CASE, after some CPU time, so that it is
 * sampled. What it prints and how it ends is the same under the shim. */
#include "burn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, ALTERNATE_BYTES = 65536, RESTORER = 0x04000000 /* libc adds it */ };

extern char **environ;
static const char *program;
static sigjmp_buf out;
static struct sigaction before; /* for handlers that chain */
static char alternate[ALTERNATE_BYTES];

static void spend_ms(uint64_t ms)
{
	uint64_t end_ns = burn_clock_ns() + ms * 1000000;

	while (burn_clock_ns() < end_ns)
		burn(1000);
}

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(99);
}

static char *volatile nothing = (char *)16;

static void fault(void)
{
	*nothing = 1;
}

static volatile bool is_endless = true;

static int recurse(volatile char *above)
{
	volatile char room[1024];

	room[0] = above[0];
	return is_endless ? recurse(room) + room[1] : 0;
}

static void overflow(void)
{
	volatile char begin = 0;

	recurse(&begin);
}

static void set(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = flags };

	if (sigaction(number, &action, &before) != 0)
		_exit(98);
}

static void set_default(int number)
{
	struct sigaction action = { .sa_handler = SIG_DFL };

	sigaction(number, &action, NULL);
}

static void use_alternate(void)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	sigaltstack(&stack, NULL);
}

/* --- handlers --- */

static void tell(int number, siginfo_t *info, void *context)
{
	char text[100];
	uintptr_t address = info->si_code > 0 ? (uintptr_t)info->si_addr : 0;

	(void)context;
	snprintf(text, sizeof(text), "signal %d code %d address %#lx\n", number, info->si_code, address < PAGE ? address : PAGE);
	say(text);
	siglongjmp(out, 1);
}

static void tell_overflow(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	say(info->si_code == SEGV_MAPERR ? "stack overflow\n" : "something else\n");
	_exit(7);
}

static void tell_number(int number)
{
	say(number == SIGSEGV ? "SIGSEGV\n" : "SIGBUS\n");
	siglongjmp(out, 1);
}

static void chain(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	say(before.sa_handler == SIG_DFL ? "on to the default\n" : "on to a handler\n");
	sigaction(number, &before, NULL);
}

static void raise_default(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	say("crashed\n");
	set_default(number);
	raise(number);
}

static void pass_by(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	say("once\n");
}

/* --- cases --- */

static void case_null(void)
{
	fault();
}

static void case_read_only(void)
{
	*(volatile char *)(uintptr_t)"constant" = 1;
}

/* No address: the kernel tells SI_KERNEL. By way of the frame pointer it is a SIGBUS. */
static void case_wild(void)
{
	*(volatile char *)0x8000000000000000 = 1;
}

static void case_wild_frame(void)
{
	__asm__ volatile("mov %0, %%rbp\n\tmov %%rax, (%%rbp)" : : "r"(0x8000000000000000));
}

static void case_no_code(void)
{
	((void (*)(void))(uintptr_t)alternate)();
}

static void case_privileged(void)
{
	__asm__ volatile("hlt");
}

static void bus(void)
{
	char name[] = "fault-shapes-XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	*(volatile char *)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) = 1;
}

static void case_bus(void)
{
	bus();
}

static void case_overflow(void)
{
	overflow();
}

static void case_overflow_with_alternate(void)
{
	use_alternate();
	overflow();
}

static void case_overflow_handled(void)
{
	use_alternate();
	set(SIGSEGV, tell_overflow, SA_SIGINFO | SA_ONSTACK);
	overflow();
}

static void case_overflow_chained(void)
{
	use_alternate();
	set(SIGSEGV, chain, SA_SIGINFO | SA_ONSTACK);
	overflow();
}

static void case_kill(void)
{
	kill(getpid(), SIGSEGV);
	pause();
}

static void case_raise(void)
{
	raise(SIGSEGV);
}

static void case_raise_bus(void)
{
	raise(SIGBUS);
}

static void case_queue(void)
{
	sigqueue(getpid(), SIGBUS, (union sigval){ .sival_int = 5 });
	pause();
}

static void *fault_in_thread(void *unused)
{
	fault();
	return unused;
}

static void case_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, fault_in_thread, NULL);
	pthread_join(thread, NULL);
}

static void block(int number)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void case_blocked(void)
{
	block(SIGSEGV);
	fault();
}

static void case_blocked_and_sent(void)
{
	sigset_t set;

	block(SIGSEGV);
	raise(SIGSEGV);
	sigpending(&set);
	say(sigismember(&set, SIGSEGV) ? "pending\n" : "lost\n");
	sigfillset(&set);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void case_waited_for(void)
{
	sigset_t set;
	int number = 0;

	block(SIGSEGV);
	raise(SIGSEGV);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigwait(&set, &number);
	say(number == SIGSEGV ? "waited for\n" : "not\n");
}

static void case_ignored(void)
{
	signal(SIGSEGV, SIG_IGN);
	raise(SIGSEGV);
	say("ignored\n");
	fault();
}

static void case_handled(void)
{
	const int flags[] = { SA_SIGINFO, SA_SIGINFO | SA_RESTART, SA_SIGINFO | SA_NODEFER, SA_SIGINFO | (int)SA_RESETHAND };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		set(SIGSEGV, tell, flags[i]);
		set(SIGBUS, tell, flags[i]);
		if (sigsetjmp(out, 1) == 0)
			fault();
		if (sigsetjmp(out, 1) == 0)
			bus();
		set(SIGSEGV, tell, flags[i]);
		if (sigsetjmp(out, 1) == 0)
			raise(SIGSEGV);
	}
}

static void case_handled_by_number(void)
{
	signal(SIGSEGV, tell_number);
	signal(SIGBUS, tell_number);
	for (volatile int i = 0; i < 3; i = i + 1) {
		if (sigsetjmp(out, 1) == 0)
			fault();
		if (sigsetjmp(out, 1) == 0)
			raise(SIGBUS);
	}
}

static void case_once(void)
{
	set(SIGSEGV, pass_by, SA_SIGINFO | (int)SA_RESETHAND);
	fault();
}

static void case_chained(void)
{
	set(SIGSEGV, chain, SA_SIGINFO);
	fault();
}

static void case_chained_and_sent(void)
{
	set(SIGSEGV, chain, SA_SIGINFO);
	raise(SIGSEGV);
	raise(SIGSEGV);
}

static void case_crash_reporter(void)
{
	set(SIGSEGV, raise_default, SA_SIGINFO);
	fault();
}

/* How bash ends. */
static void case_default_and_kill(void)
{
	set(SIGSEGV, pass_by, SA_SIGINFO);
	raise(SIGSEGV);
	set_default(SIGSEGV);
	kill(getpid(), SIGSEGV);
	pause();
}

static void tell_end(const char *what, pid_t pid)
{
	int status = 0;

	waitpid(pid, &status, 0);
	printf("%s: status %#x\n", what, (unsigned)status);
	fflush(stdout);
}

static void case_children(void)
{
	char *argv[] = { (char *)program, "null", NULL };
	pid_t pid = fork();

	if (pid == 0)
		fault();
	tell_end("fork", pid);
	pid = vfork();
	if (pid == 0)
		fault();
	tell_end("vfork", pid);
	pid = vfork();
	if (pid == 0) {
		execv(program, argv);
		_exit(97);
	}
	tell_end("vfork and exec", pid);
	if (posix_spawn(&pid, program, NULL, NULL, argv, environ) == 0)
		tell_end("spawn", pid);
	if ((pid = fork()) == 0) {
		kill(getpid(), SIGSEGV);
		pause();
	}
	tell_end("killed", pid);
}

static void tell_action(const char *what, int number)
{
	struct sigaction action;

	sigaction(number, NULL, &action);
	printf("%s %d: %s flags %#x mask", what, number,
	       action.sa_handler == SIG_DFL ? "default" : action.sa_handler == SIG_IGN ? "ignored" : action.sa_sigaction == tell ? "tell" : "other",
	       (unsigned)action.sa_flags);
	for (int i = 1; i < NSIG; i++)
		if (sigismember(&action.sa_mask, i) == 1)
			printf(" %d", i);
	printf("\n");
}

static void case_told(void)
{
	const int numbers[] = { SIGSEGV, SIGBUS };
	const int flags[] = { 0, SA_SIGINFO, SA_ONSTACK | SA_RESTART, (int)SA_RESETHAND | SA_NODEFER | SA_SIGINFO };

	for (size_t i = 0; i < 2; i++) {
		tell_action("at first", numbers[i]);
		for (size_t j = 0; j < sizeof(flags) / sizeof(flags[0]); j++)
			for (int is_default = 0; is_default < 2; is_default++) {
				struct sigaction action = { .sa_flags = flags[j] };
				action.sa_handler = is_default ? SIG_DFL : (void (*)(int))(void *)tell;
				sigaddset(&action.sa_mask, SIGPROF);
				sigaddset(&action.sa_mask, SIGUSR2);
				sigaction(numbers[i], &action, NULL);
				tell_action("set", numbers[i]);
			}
		printf("%d\n", signal(numbers[i], SIG_IGN) == SIG_DFL);
		tell_action("ignored", numbers[i]);
		printf("%d\n", signal(numbers[i], SIG_DFL) == SIG_IGN);
		tell_action("default", numbers[i]);
	}
}

#define CASE(name) { #name, case_##name }
static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	CASE(null), CASE(read_only), CASE(wild), CASE(wild_frame), CASE(no_code), CASE(privileged), CASE(bus), CASE(overflow),
	CASE(overflow_with_alternate), CASE(overflow_handled), CASE(overflow_chained), CASE(kill), CASE(raise), CASE(raise_bus),
	CASE(queue), CASE(thread), CASE(blocked), CASE(blocked_and_sent), CASE(waited_for), CASE(ignored), CASE(handled),
	CASE(handled_by_number), CASE(once), CASE(chained), CASE(chained_and_sent), CASE(crash_reporter), CASE(default_and_kill),
	CASE(children), CASE(told),
};

int main(int argc, char **argv)
{
	program = argv[0];
	if (argc < 2) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			puts(cases[i].name);
		return 0;
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (strcmp(cases[i].name, argv[1]) == 0) {
			spend_ms(20);
			cases[i].run();
			return 0;
		}
	fprintf(stderr, "fault_shapes: there is no case %s\n", argv[1]);
	return 2;
}
