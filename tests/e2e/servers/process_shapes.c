/* process_shapes - the ways in which programs make processes, each done so often that its races happen.
 *
 *     process_shapes SHAPE COUNT [PORT]
 *
 * Every process writes to /dev/null as often as the shape says; what is printed tells how many writes there were in all, so
 * that whoever counts them can be checked. At the end "done" is printed, and the program waits to be killed.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, BUSY = 2, WRITES = 20, WRITES_AT_ONCE = 5000, WRITES_BETWEEN = 8000, STACK_BYTES = 256 * 1024 };

extern char **environ;

static int null_fd;
static int count;
static const char *port;
static _Atomic long failures;
static _Atomic bool has_ended;

static void write_some(int how_many)
{
	for (int i = 0; i < how_many; i++)
		if (write(null_fd, "x", 1) != 1)
			failures++;
}

static volatile unsigned long work;

static void burn_ms(long ms)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
	do {
		for (int i = 0; i < 1000; i++)
			work += (unsigned long)i * i;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
}

/* Waits for the child, which must end with code 0. */
static void reap(pid_t child)
{
	int status;
	pid_t ended;

	do
		ended = waitpid(child, &status, __WALL);
	while (ended < 0 && errno == EINTR);
	if (ended != child || status != 0) {
		failures++;
		fprintf(stderr, "process_shapes: child %d ended as %x\n", (int)child, (unsigned)status);
	}
}

/* --- forks by many threads at once, while others work */

static void *burn(void *unused)
{
	(void)unused;
	while (!has_ended)
		burn_ms(1);
	return NULL;
}

static void *fork_often(void *unused)
{
	(void)unused;
	for (int i = 0; i < count; i++) {
		pid_t child = fork();
		if (child == 0) {
			write_some(WRITES);
			_exit(failures != 0);
		}
		write_some(1);
		reap(child);
	}
	return NULL;
}

static long shape_forks(void)
{
	pthread_t forkers[THREADS], burner;

	pthread_create(&burner, NULL, burn, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&forkers[i], NULL, fork_often, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(forkers[i], NULL);
	has_ended = true;
	pthread_join(burner, NULL);
	return (long)THREADS * count * (WRITES + 1);
}

/* --- forks in a handler, which interrupts forks, too */

static volatile sig_atomic_t handler_children;
static volatile sig_atomic_t is_child;

/* Once: an interval could be over before the handler is, and the program would do nothing else any more. */
static void set_alarm(void)
{
	struct itimerval soon = { .it_value.tv_usec = 700 };

	setitimer(ITIMER_REAL, &soon, NULL);
}

static void on_alarm(int number)
{
	int saved_errno = errno;

	(void)number;
	if (is_child || has_ended)
		return;
	pid_t child = fork();
	if (child == 0) {
		is_child = 1;
		write_some(WRITES);
		_exit(failures != 0);
	}
	if (child > 0) {
		handler_children++;
		reap(child);
	}
	set_alarm();
	errno = saved_errno;
}

/* Between its forks it calls what is interposed, so that the alarm comes also while that is being counted. */
static long shape_handler(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	long forks = 0, own_writes = 0;

	sigaction(SIGALRM, &action, NULL);
	set_alarm();
	for (; forks < count; forks++) {
		pid_t child = fork();
		if (child == 0) {
			is_child = 1;
			write_some(WRITES);
			_exit(failures != 0);
		}
		reap(child);
		write_some(WRITES_BETWEEN);
		own_writes += WRITES_BETWEEN;
	}
	has_ended = true;
	printf("forks in the handler %s\n", handler_children ? "happened" : "did not happen");
	/* The mask is what it was, and samples still come. */
	sigset_t mask;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	printf("SIGPROF blocked %d\n", sigismember(&mask, SIGPROF));
	burn_ms(300);
	return (forks + handler_children) * WRITES + own_writes;
}

/* --- clone without exec, and without the handlers of pthread_atfork */

static int write_in_clone(void *unused)
{
	(void)unused;
	write_some(WRITES_AT_ONCE);
	return failures != 0;
}

static pid_t clone_plainly(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(write_in_clone(NULL));
	return child;
}

static long shape_clone(void)
{
	char *stack = malloc(STACK_BYTES);
	long writes = 0;

	for (int i = 0; i < count; i++) {
		pid_t child = i % 2 ? clone_plainly() : clone(write_in_clone, stack + STACK_BYTES, SIGCHLD, NULL);
		write_some(WRITES_AT_ONCE); /* at the same time as the child */
		reap(child);
		writes += 2 * WRITES_AT_ONCE;
	}
	free(stack);
	return writes;
}

/* A clone that goes on as a server of its own would: it makes threads and forks. */
static void *write_in_thread(void *unused)
{
	(void)unused;
	write_some(WRITES);
	return NULL;
}

static int live_in_clone(void *unused)
{
	pthread_t thread;

	(void)unused;
	write_some(WRITES);
	if (pthread_create(&thread, NULL, write_in_thread, NULL) == 0)
		pthread_join(thread, NULL);
	pid_t child = fork();
	if (child == 0) {
		write_some(WRITES);
		_exit(0);
	}
	reap(child);
	return failures != 0;
}

/* Begun by a client, once all that is opened at the start is there: a clone has what locks of the loader are held. */
static long shape_clone_lives(void)
{
	char *stack = malloc(STACK_BYTES), byte;

	if (read(STDIN_FILENO, &byte, 1) != 1)
		failures++;

	for (int i = 0; i < count; i++)
		reap(clone(live_in_clone, stack + STACK_BYTES, SIGCHLD, NULL));
	free(stack);
	return 3L * count * WRITES;
}

/* A clone that calls the loader, at once and in the middle of all that is opened and looked through at the start: whoever
 * has its lock then has it in the copy for ever. */
static int load_in_clone(void *unused)
{
	(void)unused;
	void *library = dlopen("libm.so.6", RTLD_NOW);
	if (!library || !dlsym(library, "cos"))
		return 1;
	dlclose(library);
	write_some(WRITES);
	return failures != 0;
}

static long shape_clone_loads(void)
{
	char *stack = malloc(STACK_BYTES);

	for (int i = 0; i < count; i++) {
		pid_t child = i % 3 == 0 ? clone(load_in_clone, stack + STACK_BYTES, SIGCHLD, NULL) :
					   (pid_t)(i % 3 == 1 ? syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : syscall(SYS_fork));
		if (child == 0)
			_exit(load_in_clone(NULL));
		reap(child);
	}
	free(stack);
	return (long)count * WRITES;
}

/* Made by the call's number alone, of a program whose threads are in the middle of calls and samples. */
static void *write_without_end(void *ret_writes)
{
	long writes = 0;

	for (; !has_ended; writes += WRITES) {
		write_some(WRITES);
		burn_ms(1);
	}
	*(long *)ret_writes = writes;
	return NULL;
}

static void be_handled(int number)
{
	(void)number;
}

static pid_t clone_by_number(int i)
{
	struct clone_args plain = { .exit_signal = SIGCHLD };
	struct clone_args cleared = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	struct clone_args sibling = { .flags = CLONE_PARENT_SETTID | CLONE_FS, .exit_signal = SIGCHLD, .parent_tid = (uintptr_t)&(pid_t){ 0 } };

	switch (i % 5) {
	case 0: return (pid_t)syscall(SYS_fork);
	case 1: return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	case 2: return (pid_t)syscall(SYS_clone3, &plain, sizeof(plain));
	case 3: return (pid_t)syscall(SYS_clone3, &cleared, sizeof(cleared));
	default: return (pid_t)syscall(SYS_clone3, &sibling, sizeof(sibling));
	}
}

/* Long enough for ticks of its own, and what it asks of a socket is its own, too. */
static int live_by_number(int i)
{
	struct sigaction action;
	int pair[2];
	char byte = 0;

	write_some(WRITES);
	burn_ms(5);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || send(pair[0], "x", 1, 0) != 1 || recv(pair[1], &byte, 1, 0) != 1)
		return 1;
	if (sigaction(SIGPROF, NULL, &action) != 0 || (action.sa_handler == be_handled) != (i % 5 != 3))
		return 2;
	if (i % 5 != 3)
		raise(SIGPROF);
	return failures != 0 || byte != 'x';
}

/* What the kernel refuses without us it refuses as it did. */
static void check_refusals(void)
{
	struct clone_args sound = { .exit_signal = SIGCHLD };

	if (syscall(SYS_clone3, NULL, 0) != -1 || errno != EINVAL)
		failures++;
	if (syscall(SYS_clone3, NULL, sizeof(sound)) != -1 || errno != EFAULT)
		failures++;
	if (syscall(SYS_clone3, (char *)-4096, sizeof(sound)) != -1 || errno != EFAULT)
		failures++;
	sound.flags = CLONE_THREAD;
	if (syscall(SYS_clone3, &sound, sizeof(sound)) != -1 || errno != EINVAL)
		failures++;
}

static long shape_clone_numbers(void)
{
	pthread_t threads[BUSY];
	long writes[BUSY], sum = (long)count * WRITES;
	struct sigaction action = { .sa_handler = be_handled };

	sigaction(SIGPROF, &action, NULL);
	check_refusals();
	for (int i = 0; i < BUSY; i++)
		if (pthread_create(&threads[i], NULL, write_without_end, &writes[i]) != 0)
			exit(3);
	for (int i = 0; i < count; i++) {
		pid_t child = clone_by_number(i);
		if (child == 0)
			_exit(live_by_number(i));
		reap(child);
	}
	has_ended = true;
	for (int i = 0; i < BUSY; i++) {
		pthread_join(threads[i], NULL);
		sum += writes[i];
	}
	return sum;
}

/* --- vfork, clone as vfork, and posix_spawn, each with exec */

static char *const true_arguments[] = { "true", NULL };

static int close_and_execute(void *unused)
{
	(void)unused;
	for (int fd = 3; fd < 64; fd++)
		if (fd != null_fd)
			close(fd);
	dup2(null_fd, STDIN_FILENO);
	execv("/bin/true", true_arguments);
	_exit(127);
}

static __attribute__((noinline)) pid_t vfork_and_execute(void)
{
	pid_t child = vfork();

	if (child == 0)
		close_and_execute(NULL);
	return child;
}

static void *vfork_often(void *unused)
{
	char *stack = malloc(STACK_BYTES);

	(void)unused;
	for (int i = 0; i < count; i++) {
		pid_t child = i % 2 ? clone(close_and_execute, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) :
				      vfork_and_execute();
		write_some(1);
		reap(child);
		if (posix_spawn(&child, "/bin/true", NULL, NULL, true_arguments, environ) == 0)
			reap(child);
		else
			failures++;
	}
	free(stack);
	return NULL;
}

static long shape_vfork(void)
{
	pthread_t threads[THREADS], burner;

	pthread_create(&burner, NULL, burn, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, vfork_often, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	has_ended = true;
	pthread_join(burner, NULL);
	return (long)THREADS * count;
}

/* --- exec of itself again and again, each time with samples on their way, by each of the ways in turn */

static void execute_again(char **argv, int left)
{
	char text[16];
	char *arguments[] = { argv[0], argv[1], text, NULL };

	snprintf(text, sizeof(text), "%d", left - 1);
	burn_ms(1 + left % 3);
	switch (left % 4) {
	case 0:
		execv("/proc/self/exe", arguments);
		break;
	case 1:
		syscall(SYS_execve, "/proc/self/exe", arguments, environ);
		break;
	case 2:
		fexecve(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), arguments, environ);
		break;
	default:
		syscall(SYS_execveat, AT_FDCWD, "/proc/self/exe", arguments, environ, 0);
	}
	perror("process_shapes: exec");
	_exit(1);
}

static void *execute_in_thread(void *argv)
{
	execute_again(argv, count);
	return NULL;
}

static long shape_exec(char **argv)
{
	pthread_t thread;

	if (count == 0)
		return -1;
	pthread_create(&thread, NULL, burn, NULL);
	if (count % 5 == 0) {
		pthread_create(&thread, NULL, execute_in_thread, argv);
		pthread_join(thread, NULL);
	}
	execute_again(argv, count);
	return -1;
}

/* --- daemons: who was started is gone before the server begins */

static void serve(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	char buffer[4096];

	address.sin_port = htons((uint16_t)atoi(port));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
		_exit(1);
	for (;;) {
		int connection = accept(listener, NULL, NULL);
		while (read(connection, buffer, sizeof(buffer)) > 0)
			if (write(connection, answer, sizeof(answer) - 1) < 0)
				break;
		close(connection);
	}
}

static void become_daemon(bool by_hand)
{
	if (!by_hand) {
		if (daemon(0, 0) != 0)
			_exit(1);
		return;
	}
	if (fork() != 0)
		_exit(0);
	setsid();
	if (fork() != 0)
		_exit(0);
	for (int fd = sysconf(_SC_OPEN_MAX) > 65536 ? 65536 : (int)sysconf(_SC_OPEN_MAX); fd >= 0; fd--)
		close(fd);
	if (open("/dev/null", O_RDWR) != 0 || dup(0) != 1 || dup(0) != 2)
		_exit(2);
}

int main(int argc, char **argv)
{
	const char *shape = argc > 2 ? argv[1] : "";
	long writes = -1;

	count = argc > 2 ? atoi(argv[2]) : 0;
	port = argc > 3 ? argv[3] : "0";
	null_fd = open("/dev/null", O_WRONLY);
	if (strcmp(shape, "forks") == 0)
		writes = shape_forks();
	else if (strcmp(shape, "handler") == 0)
		writes = shape_handler();
	else if (strcmp(shape, "clone") == 0)
		writes = shape_clone();
	else if (strcmp(shape, "clone-lives") == 0)
		writes = shape_clone_lives();
	else if (strcmp(shape, "clone-loads") == 0)
		writes = shape_clone_loads();
	else if (strcmp(shape, "clone-numbers") == 0)
		writes = shape_clone_numbers();
	else if (strcmp(shape, "vfork") == 0)
		writes = shape_vfork();
	else if (strcmp(shape, "exec") == 0)
		writes = shape_exec(argv);
	else if (strncmp(shape, "daemon", 6) == 0) {
		become_daemon(strcmp(shape, "daemon-by-hand") == 0);
		serve();
	} else {
		fprintf(stderr, "usage: process_shapes forks|handler|clone|clone-lives|clone-loads|clone-numbers|vfork|exec|daemon|daemon-by-hand COUNT [PORT]\n");
		return 2;
	}
	printf("failures %ld\n", (long)failures);
	if (writes >= 0)
		printf("writes %ld\n", writes);
	printf("done\n");
	fflush(stdout); /* writes by an inner function of libc */
	for (;;)
		pause();
}
