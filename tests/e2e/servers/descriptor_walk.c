/* descriptor_walk - does by chance all that programs do to descriptors, thousands of times, and tells every number that it got.
 *
 *     descriptor_walk SEED STEPS RESULT       begins when a byte comes by stdin; RESULT and files of the walk are made anew
 *     descriptor_walk list LOG                what it is executed as on the way: adds what it finds open to LOG
 *
 * The result has a line for each step, and for each file of the walk a digest of what was written to it. Whoever runs the same
 * seed twice gets the same result: what the kernel may do sooner or later (a stream's bytes arriving) is not looked at.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NUMBERS = 48 /* RLIMIT_NOFILE */, TEXT_BYTES = 8 << 20 };

static char *text;
static size_t text_bytes;
static uint64_t state;
static unsigned step, file_count;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_bytes += (size_t)vsnprintf(text + text_bytes, TEXT_BYTES - text_bytes, format, arguments);
	va_end(arguments);
	if (text_bytes > TEXT_BYTES - 4096)
		_exit(3);
}

/* Result of a call, and errno if it failed. */
static int told(const char *what, int result)
{
	tell(" %s %d", what, result);
	if (result < 0)
		tell(" (%d)", errno);
	return result;
}

static unsigned chance(unsigned below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(state >> 33) % below;
}

/* Mostly one that may be open. */
static int some_number(void)
{
	return (int)chance(chance(10) ? NUMBERS : NUMBERS + 20) - !chance(40);
}

static uint64_t digest(uint64_t sum, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sum = (sum ^ (unsigned char)bytes[i]) * 1099511628211ULL;
	return sum;
}

/* 0 not open, 'f' file, 'p' pipe, 'u' Unix socket, 'i' internet socket, 'c' device, 'o' what else there is */
static char kind_of(int fd)
{
	struct stat status;
	int domain = 0;
	socklen_t bytes = sizeof(domain);

	if (fstat(fd, &status) < 0)
		return '-';
	if (S_ISSOCK(status.st_mode) && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0)
		return domain == AF_UNIX ? 'u' : 'i';
	return S_ISREG(status.st_mode) ? 'f' : S_ISFIFO(status.st_mode) ? 'p' : S_ISCHR(status.st_mode) ? 'c' : 'o';
}

static void open_file(void)
{
	char path[32];

	snprintf(path, sizeof(path), "walk.%u", file_count);
	if (told("open", open(path, O_RDWR | O_CREAT | O_TRUNC | (chance(2) ? O_CLOEXEC : 0), 0600)) >= 0)
		file_count++;
}

static void make_pair(void)
{
	int ends[2] = { -1, -1 };

	if (chance(2))
		told("pipe2", pipe2(ends, O_NONBLOCK));
	else
		told("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
	tell(" %d %d", ends[0], ends[1]);
}

/* Blocking until all of it is there, whenever the kernel gets to that. */
static void make_connection(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int listener = told("socket", socket(AF_INET, SOCK_STREAM, 0));

	told("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)));
	told("listen", listen(listener, 4));
	getsockname(listener, (struct sockaddr *)&address, &bytes);
	int client = told("socket", socket(AF_INET, SOCK_STREAM, 0));
	if (listener >= 0 && client >= 0 && told("connect", connect(client, (struct sockaddr *)&address, sizeof(address))) == 0) {
		int server = told("accept", chance(2) ? accept(listener, NULL, NULL) : accept4(listener, NULL, NULL, SOCK_CLOEXEC));
		if (server >= 0)
			fcntl(server, F_SETFL, O_NONBLOCK);
	}
	if (client >= 0)
		fcntl(client, F_SETFL, O_NONBLOCK);
	if (listener >= 0)
		told("fcntl", fcntl(listener, F_SETFL, O_NONBLOCK));
}

static void write_to(int fd)
{
	char line[64], kind = kind_of(fd);
	int n = snprintf(line, sizeof(line), "step %u of the walk\n", step);

	tell(" %c", kind);
	if (kind == 'f' || kind == 'u' || kind == 'p' || kind == '-')
		told("write", (int)write(fd, line, (size_t)n));
}

static void read_from(int fd)
{
	char bytes[256], kind = kind_of(fd);

	tell(" %c", kind);
	if (kind != 'f' && kind != 'u' && kind != 'p' && kind != '-')
		return;
	int n = told("read", (int)read(fd, bytes, sizeof(bytes)));
	tell(" %016llx", (unsigned long long)digest(0, bytes, n > 0 ? (size_t)n : 0));
}

static void select_some(void)
{
	struct timeval at_once = { 0, 0 };
	fd_set readable;

	FD_ZERO(&readable);
	for (int i = 0; i < 3; i++) {
		int fd = (int)chance(NUMBERS);
		if (strchr("fupc", kind_of(fd)))
			FD_SET(fd, &readable);
	}
	told("select", select(NUMBERS, &readable, NULL, NULL, &at_once));
	for (int fd = 0; fd < NUMBERS; fd++)
		if (FD_ISSET(fd, &readable))
			tell(" %d", fd);
}

static void fork_and_execute(const char *self)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		execl(self, "descriptor_walk", "list", "walk.log", NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	tell(" child %d", status);
}

static void close_several(void)
{
	unsigned first = chance(NUMBERS), last = first + chance(chance(4) ? 4 : NUMBERS);

	switch (chance(6)) {
	/* One that may be open: without close_range and a number left glibc tries all of 2^31, until it could close one. */
	case 0: closefrom((int)(NUMBERS - 1 - chance(NUMBERS / 2))); break;
	case 1: told("close_range", close_range(first, ~0U, CLOSE_RANGE_CLOEXEC)); break;
	case 2: told("close_range", close_range(last + 1, first, 0)); break;
	case 3:
		for (unsigned fd = first; fd <= last; fd++)
			told("close", close((int)fd));
		break;
	default: told("close_range", close_range(first, last, 0));
	}
}

static void copy(void)
{
	int from = some_number(), to = some_number();

	tell(" %d to %d", from, to);
	switch (chance(6)) {
	case 0: told("dup", dup(from)); break;
	case 1: told("dup3", dup3(from, to, chance(2) ? O_CLOEXEC : 0)); break;
	case 2: told("fcntl", fcntl(from, F_DUPFD, to)); break;
	case 3: told("fcntl", fcntl(from, F_DUPFD_CLOEXEC, to)); break;
	default: told("dup2", dup2(from, to));
	}
}

static void take_step(const char *self)
{
	unsigned what = chance(100);

	tell("%u:", step);
	if (what < 12)
		open_file();
	else if (what < 20)
		make_pair();
	else if (what < 23)
		make_connection();
	else if (what < 25)
		told("eventfd", chance(2) ? eventfd(0, EFD_NONBLOCK) : epoll_create1(0));
	else if (what < 40)
		copy();
	else if (what < 54)
		told("close", close(some_number()));
	else if (what < 58)
		close_several();
	else if (what < 78)
		write_to(some_number());
	else if (what < 90)
		read_from(some_number());
	else if (what < 94)
		select_some();
	else if (what < 98)
		told("fcntl", fcntl(some_number(), F_SETFD, (int)chance(2)));
	else
		fork_and_execute(self);
	tell("\n");
}

static void digest_files(void)
{
	char path[32], bytes[4096];

	for (unsigned i = 0; i <= file_count; i++) {
		snprintf(path, sizeof(path), i < file_count ? "walk.%u" : "walk.log", i);
		uint64_t sum = 0;
		ssize_t n;
		int fd = open(path, O_RDONLY);
		while (fd >= 0 && (n = read(fd, bytes, sizeof(bytes))) > 0)
			sum = digest(sum, bytes, (size_t)n);
		tell("%s %016llx\n", path, (unsigned long long)sum);
		close(fd);
		unlink(path);
	}
}

static int list(const char *path)
{
	char line[256];
	int n = 0;

	for (int fd = 0; fd < NUMBERS; fd++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%c", kind_of(fd));
	int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	n += snprintf(line + n, sizeof(line) - (size_t)n, " %d\n", log);
	return log >= 0 && write(log, line, (size_t)n) == n ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct rlimit limit = { NUMBERS, NUMBERS };
	char self[4096], byte;

	if (argc == 3)
		return list(argv[2]);
	if (argc != 4)
		return 2;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	text = mmap(NULL, TEXT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (n <= 0 || text == MAP_FAILED || read(STDIN_FILENO, &byte, 1) != 1)
		return 2;
	self[n] = '\0';
	state = strtoull(argv[1], NULL, 0);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &limit);
	for (step = 0; step < (unsigned)atoi(argv[2]); step++)
		take_step(self);
	closefrom(0);
	digest_files();
	int result = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	return result == 0 && write(result, text, text_bytes) == (ssize_t)text_bytes ? 0 : 1;
}
