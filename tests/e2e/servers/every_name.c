/* every_name - calls interposed names that servers hardly use, most of them older ways to the same end, and prints what each
 * answers: to be compared with and without the shim. Rights and identities are changed to what they are. */
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <mqueue.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* Names that headers declare under others, or for old standards only. */
int __sigaction(int number, const struct sigaction *action, struct sigaction *ret_old);
int __xpg_sigpause(int number);
int __sigpause(int number_or_mask, int is_number);
sighandler_t sysv_signal(int number, sighandler_t handler);
sighandler_t bsd_signal(int number, sighandler_t handler);
int capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data);
int capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data);
#undef sigpause
int sigpause(int mask);

/* sigmask is a macro that warns of itself. */
static int mask_of(int number)
{
	return (int)(1u << (number - 1));
}

static volatile sig_atomic_t caught;

static void count(int number)
{
	caught = caught * 10 + (number == SIGUSR2 ? 1 : 2);
}

static void say(const char *name, long value)
{
	printf("%s %ld %s\n", name, value, value < 0 ? strerror(errno) : "");
	errno = 0;
}

#define SAY(function, ...) say(#function, (long)function(__VA_ARGS__))
#define SAY_HANDLER(function, ...) say(#function, function(__VA_ARGS__) == count)

/* Sends itself the signal, blocked, and waits for it by a call that lets it in. */
#define SAY_PAUSE(number, function, ...) (raise(number), SAY(function, __VA_ARGS__))

static void set_handlers(void)
{
	struct sigaction action = { .sa_handler = count }, old = { 0 };

	say("__sigaction", __sigaction(SIGUSR2, &action, &old));
	say("is default", old.sa_handler == SIG_DFL);
	SAY_HANDLER(sysv_signal, SIGUSR2, count);
	SAY_HANDLER(bsd_signal, SIGUSR2, count);
	SAY_HANDLER(ssignal, SIGUSR2, count);
	SAY(siginterrupt, SIGUSR2, 1);
	__sigaction(SIGUSR2, NULL, &old);
	say("is interrupting", !(old.sa_flags & SA_RESTART));
	SAY(sigignore, SIGWINCH);
	raise(SIGWINCH);
	signal(SIGUSR2, count);
	signal(SIGPROF, count);
}

static void use_masks(int number)
{
	sigset_t set;

	SAY(sighold, number);
	SAY_PAUSE(number, sigpending, &set);
	say("is pending", sigismember(&set, number));
	SAY(__xpg_sigpause, number);
	say("caught", caught);
	SAY_PAUSE(number, sigpause, 0);
	SAY_PAUSE(number, __sigpause, number, 1);
	say("caught", caught);
	SAY(sigrelse, number);
	SAY(sigblock, mask_of(number));
	int (*get_mask)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "siggetmask"); /* the linker warns of its name */
	say("siggetmask", get_mask() == mask_of(number));
	say("sigsetmask", sigsetmask(0) == mask_of(number));
	say("siggetmask", get_mask());
	caught = 0;
}

static void use_signalfd(int number)
{
	struct signalfd_siginfo info = { 0 };
	sigset_t set, before;

	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	raise(number);
	struct pollfd ready = { fd, POLLIN, 0 };
	say("signalfd", poll(&ready, 1, 5000) == 1 && read(fd, &info, sizeof(info)) == sizeof(info) && (int)info.ssi_signo == number);
	close(fd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	say("caught", caught);
}

static void *tell_mask(void *unused)
{
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	printf("thread's mask has SIGPROF %d, SIGTERM %d\n", sigismember(&set, SIGPROF), sigismember(&set, SIGTERM));
	return unused;
}

static void use_attributes(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t set, got;

	sigemptyset(&set);
	sigaddset(&set, SIGPROF);
	pthread_attr_init(&attributes);
	SAY(pthread_attr_setsigmask_np, &attributes, &set);
	SAY(pthread_attr_getsigmask_np, &attributes, &got);
	say("is the same", sigismember(&got, SIGPROF) && !sigismember(&got, SIGTERM));
	if (pthread_create(&thread, &attributes, tell_mask, NULL) == 0)
		pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

static void change_rights(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	gid_t groups[64];
	int group_count = getgroups(64, groups);

	SAY(setgroups, (size_t)group_count, groups);
	SAY(initgroups, getpwuid(getuid())->pw_name, getgid());
	SAY(setgroups, (size_t)group_count, groups);
	SAY(setegid, getegid());
	SAY(setgid, getgid());
	SAY(setregid, getgid(), getegid());
	SAY(setresgid, getgid(), getegid(), getegid());
	SAY(seteuid, geteuid());
	SAY(setuid, getuid());
	SAY(setreuid, getuid(), geteuid());
	SAY(setresuid, getuid(), geteuid(), geteuid());
	SAY(capget, &header, data);
	SAY(capset, &header, data);
	SAY(setns, -1, 0);
	SAY(unshare, CLONE_FS);
	SAY(mlockall, MCL_CURRENT | MCL_FUTURE);
	SAY(munlockall);
}

static void take_places(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	const union sigval value = { .sival_int = 1 };
	timer_t timer;

	SAY(timer_create, CLOCK_MONOTONIC, &event, &timer);
	SAY(timer_delete, timer);
	SAY(sigqueue, getpid(), 0, value);
	SAY(pthread_sigqueue, pthread_self(), 0, value);
}

static void start_programs(void)
{
	char *argv[] = { (char *)"true", NULL };
	char line[32] = "";
	pid_t child = -1;
	int status = -1;
	FILE *echo = popen("echo popped", "r");

	say("popen", echo && fgets(line, sizeof(line), echo) && strcmp(line, "popped\n") == 0);
	SAY(pclose, echo);
	SAY(posix_spawnp, &child, "true", NULL, NULL, argv, environ);
	waitpid(child, &status, 0);
	say("its end", status);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_handlers();
	use_masks(SIGUSR2);
	use_masks(SIGPROF);
	use_signalfd(SIGUSR2);
	use_signalfd(SIGPROF);
	use_attributes();
	change_rights();
	take_places();
	start_programs();
	SAY(usleep, 1000);
	SAY(sleep, 0);
	pid_t child = fork();
	int status = 0;
	if (child == 0)
		_Exit(6);
	waitpid(child, &status, 0);
	say("_Exit", WEXITSTATUS(status));
	return 0;
}
