/* signal_server - has something to do with SIGUSR1 itself, or not.
 *
 *     signal_server own|none PORT
 *
 * own: installs a handler that writes "handled" to stdout. Both listen, print "ready" when all is set up, and end with code 0 on
 * SIGTERM. In between, the program only waits.
 *
 *     signal_server steps STEP...
 *
 * does what the steps say, one after the other, and says what came of each that can tell:
 *
 *     handler, handler=FLAGS   sets a handler that says with which mask it runs. FLAGS: letters of flag_letters
 *     sysv                     the same by sysv_signal(3), which sets one that runs once
 *     default, ignore          sets that
 *     query                    what is set
 *     block, unblock, pending  the thread's mask, and what waits behind it
 *     send                     sends SIGUSR1 to the process
 *     sigwait, sigwaitinfo, sigtimedwait, signalfd
 *                              takes one that waits
 *     vfork                    a child of vfork sets the default action, another one a handler, and both end
 *     exec, spawn, vforkexec, system
 *                              another signal_server takes the steps behind it, up to the step "back", if any
 *     threads=N                waits until the process has so many: profshim's begins some time after the program
 *     listen                   as a server does, which a profiled program executes
 *     end                      SIGTERM ends it, with code 0
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RESTORER = 0x04000000 /* libc adds it to the flags */, ALTERNATE_BYTES = 8192 };

static volatile sig_atomic_t has_ended;

static void on_usr1(int number)
{
	static const char text[] = "handled\n";

	(void)number;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
}

static void on_term(int number)
{
	(void)number;
	has_ended = 1;
}

static int open_listener(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_port = htons((uint16_t)port);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16)) {
		perror("signal_server: listen");
		exit(1);
	}
	return listener;
}

static void wait_for_end(void)
{
	struct sigaction term = { .sa_handler = on_term };
	sigset_t blocked, before;

	sigaction(SIGTERM, &term, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigdelset(&before, SIGTERM);
	printf("ready\n");
	fflush(stdout);
	while (!has_ended)
		sigsuspend(&before);
}

/* --- steps --- */

static const struct {
	char letter;
	int flag;
} flag_letters[] = { { 'r', SA_RESTART }, { 'o', (int)SA_RESETHAND }, { 'n', SA_NODEFER }, { 'i', SA_SIGINFO }, { 's', SA_ONSTACK } };

static char *program;

/* At once, and in a handler, too: what a program has said before it is ended by a signal counts. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[256];
	va_list list;

	va_start(list, format);
	int bytes = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	if (write(STDOUT_FILENO, line, (size_t)bytes) < 0)
		_exit(3);
}

static unsigned long bits_of(const sigset_t *set)
{
	unsigned long bits = 0;

	memcpy(&bits, set, sizeof(bits));
	return bits;
}

static unsigned long own_mask(void)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	return bits_of(&set);
}

static void on_step(int number)
{
	say("handled %d with mask %lx\n", number, own_mask());
}

static void on_step_with_info(int number, siginfo_t *info, void *context)
{
	stack_t stack = { 0 };

	sigaltstack(NULL, &stack);
	say("handled %d of %s with mask %lx over %lx%s\n", number, info->si_pid == getpid() ? "its own" : "another's", own_mask(),
	    bits_of(&((ucontext_t *)context)->uc_sigmask), stack.ss_flags & SS_ONSTACK ? ", on the other stack" : "");
}

static void set_handler(const char *letters)
{
	struct sigaction action = { .sa_handler = on_step };

	for (size_t i = 0; i < sizeof(flag_letters) / sizeof(flag_letters[0]); i++)
		if (strchr(letters, flag_letters[i].letter))
			action.sa_flags |= flag_letters[i].flag;
	if (strchr(letters, 'm'))
		sigfillset(&action.sa_mask);
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction = on_step_with_info;
	if (action.sa_flags & SA_ONSTACK)
		sigaltstack(&(stack_t){ .ss_sp = malloc(ALTERNATE_BYTES), .ss_size = ALTERNATE_BYTES }, NULL);
	sigaction(SIGUSR1, &action, NULL);
}

static const char *name_of(const struct sigaction *action)
{
	if (action->sa_flags & SA_SIGINFO)
		return action->sa_sigaction == on_step_with_info ? "its handler of three" : "another handler of three";
	return action->sa_handler == SIG_DFL ? "default" : action->sa_handler == SIG_IGN ? "ignored" :
	       action->sa_handler == on_step ? "its handler" : "another handler";
}

static void query(const char *unused)
{
	struct sigaction action;

	(void)unused;
	sigaction(SIGUSR1, NULL, &action);
	say("%s, flags %x, mask %lx\n", name_of(&action), (unsigned)action.sa_flags & ~(unsigned)RESTORER, bits_of(&action.sa_mask));
}

static void set_sysv(const char *unused)
{
	(void)unused;
	say("before it %s\n", sysv_signal(SIGUSR1, on_step) == SIG_DFL ? "default" : "another");
}

static void set_default(const char *unused)
{
	(void)unused;
	signal(SIGUSR1, SIG_DFL);
}

static void set_ignored(const char *unused)
{
	(void)unused;
	signal(SIGUSR1, SIG_IGN);
}

static sigset_t usr1(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return set;
}

static void block(const char *unused)
{
	sigset_t set = usr1();

	(void)unused;
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void unblock(const char *unused)
{
	sigset_t set = usr1();

	(void)unused;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void tell_pending(const char *unused)
{
	sigset_t set;

	(void)unused;
	sigpending(&set);
	say("pending %lx\n", bits_of(&set));
}

static void send_one(const char *unused)
{
	(void)unused;
	say("sends\n");
	kill(getpid(), SIGUSR1);
}

static void take_by_sigwait(const char *unused)
{
	sigset_t set = usr1();
	int number = 0;

	(void)unused;
	int error = sigwait(&set, &number);
	say("sigwait %d: %d\n", error, number);
}

static void take_by_sigwaitinfo(const char *unused)
{
	sigset_t set = usr1();
	siginfo_t info = { 0 };

	(void)unused;
	int number = sigwaitinfo(&set, &info);
	say("sigwaitinfo %d of %s\n", number, info.si_pid == getpid() ? "its own" : "another's");
}

static void take_by_sigtimedwait(const char *unused)
{
	const struct timespec at_once = { 0 };
	sigset_t set = usr1();

	(void)unused;
	int number = sigtimedwait(&set, NULL, &at_once);
	say("sigtimedwait %d, errno %d\n", number, number < 0 ? errno : 0);
}

static void take_by_signalfd(const char *unused)
{
	struct signalfd_siginfo info = { 0 };
	sigset_t set = usr1();
	int fd = signalfd(-1, &set, SFD_NONBLOCK);

	(void)unused;
	ssize_t bytes = read(fd, &info, sizeof(info));
	say("signalfd %zd: %u of %s\n", bytes, info.ssi_signo, info.ssi_pid == (uint32_t)getpid() ? "its own" : "another's");
	close(fd);
}

static void change_in_vfork(const char *unused)
{
	(void)unused;
	if (vfork() == 0) {
		signal(SIGUSR1, SIG_DFL);
		query(NULL);
		_exit(0);
	}
	wait(NULL);
	if (vfork() == 0) {
		set_handler("");
		query(NULL);
		_exit(0);
	}
	wait(NULL);
}

static void wait_for_threads(const char *count)
{
	int wanted = atoi(count), found;

	do {
		DIR *folder = opendir("/proc/self/task");
		for (found = -2; readdir(folder); found++)
			;
		closedir(folder);
		usleep(2000);
	} while (found < wanted);
}

static void become_server(const char *unused)
{
	(void)unused;
	open_listener(0);
}

static void rest(const char *unused)
{
	(void)unused;
	wait_for_end();
	exit(0);
}

/* --- another program --- */

extern char **environ;

static void end_as(int status)
{
	say("ended with %x\n", status);
}

static void go_on_by(const char *way, char **arguments)
{
	char command[1024];
	int status = -1;
	pid_t child;

	if (strcmp(way, "exec") == 0)
		execv(program, arguments);
	if (strcmp(way, "spawn") == 0 && posix_spawn(&child, program, NULL, NULL, arguments, environ) == 0)
		waitpid(child, &status, 0);
	if (strcmp(way, "vforkexec") == 0) {
		child = vfork();
		if (child == 0)
			execv(program, arguments);
		waitpid(child, &status, 0);
	}
	if (strcmp(way, "system") == 0) {
		int bytes = snprintf(command, sizeof(command), "exec");
		for (char **word = arguments; *word; word++)
			bytes += snprintf(command + bytes, sizeof(command) - (size_t)bytes, " %s", word == arguments ? program : *word);
		status = system(command);
	}
	end_as(status);
}

static const struct {
	const char *name;
	void (*take)(const char *argument);
} steps[] = {
	{ "handler", set_handler }, { "sysv", set_sysv }, { "default", set_default }, { "ignore", set_ignored }, { "query", query },
	{ "block", block }, { "unblock", unblock }, { "pending", tell_pending }, { "send", send_one },
	{ "sigwait", take_by_sigwait }, { "sigwaitinfo", take_by_sigwaitinfo }, { "sigtimedwait", take_by_sigtimedwait },
	{ "signalfd", take_by_signalfd }, { "vfork", change_in_vfork }, { "threads", wait_for_threads }, { "listen", become_server },
	{ "end", rest },
};

static void take_step(const char *word)
{
	size_t bytes = strcspn(word, "=");

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (strlen(steps[i].name) == bytes && strncmp(steps[i].name, word, bytes) == 0) {
			steps[i].take(word[bytes] ? word + bytes + 1 : "");
			return;
		}
	fprintf(stderr, "signal_server: %s is no step\n", word);
	exit(2);
}

static bool is_another_program(const char *word)
{
	return !strcmp(word, "exec") || !strcmp(word, "spawn") || !strcmp(word, "vforkexec") || !strcmp(word, "system");
}

/* The steps up to "back" or the last one are another's; where it goes on. words: up to NULL, and one before, which may be written to. */
static char **give_steps(char **words)
{
	static char begin[] = "steps";
	char **end = words, *way = *words;

	while (*end && strcmp(*end, "back") != 0)
		end++;
	char *last = *end;
	*end = NULL;
	words[-1] = program;
	words[0] = begin;
	go_on_by(way, words - 1);
	*end = last;
	return last ? end + 1 : end;
}

static void take_steps(char **words)
{
	while (*words)
		if (is_another_program(*words))
			words = give_steps(words);
		else
			take_step(*words++);
}

int main(int argc, char **argv)
{
	struct sigaction handled = { .sa_handler = on_usr1, .sa_flags = SA_RESTART };

	program = argv[0];
	if (argc > 2 && strcmp(argv[1], "steps") == 0) {
		take_steps(argv + 2);
		return 0;
	}
	if (argc != 3) {
		fprintf(stderr, "usage: signal_server own|none PORT\n       signal_server steps STEP...\n");
		return 2;
	}
	if (strcmp(argv[1], "own") == 0)
		sigaction(SIGUSR1, &handled, NULL);
	open_listener(atoi(argv[2]));
	wait_for_end();
	return 0;
}
