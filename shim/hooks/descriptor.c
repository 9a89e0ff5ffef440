/* descriptor - the calls that end, copy and rename descriptors. profshim's own are not there for the program. */
#include "hook.h"

#include "../requests/connection.h"
#include "../setup/descriptors.h"
#include "../setup/process.h"

#include <fcntl.h>
#include <stdarg.h>

/* The program names a descriptor of ours, which it never got from anybody. */
static bool is_hidden(int fd)
{
	int saved_errno = errno;
	bool is_own = !self.own_depth && descriptors_is_own(fd);

	errno = saved_errno;
	return is_own;
}

static int not_open(void)
{
	errno = EBADF;
	return -1;
}

/* A child of vfork has its parent's memory, but descriptors of its own: what it does to them changes nothing here. */
static bool has_own_memory(void)
{
	return process_is_self();
}

HOOK int close(int fd)
{
	struct hook hook;

	if (is_hidden(fd))
		return not_open();
	if (!hook_enter(&hook, SEG_CALL_CLOSE))
		return real.close(fd);
	/* Before the call: after it the number may be another thread's new connection. */
	if (conn_is_tracked(fd) && has_own_memory()) {
		int saved_errno = errno;
		self.own_depth++;
		conn_closing(fd, hook.start_ns);
		self.own_depth--;
		errno = saved_errno;
	}
	int result = real.close(fd);
	hook_done(&hook);
	return result;
}

static void finish_copy(struct hook *hook, int from, int to)
{
	hook_returned(hook);
	if (to >= 0 && to != from && (conn_is_tracked(from) || conn_is_tracked(to)) && has_own_memory())
		conn_duplicated(from, to, hook->end_ns);
	hook_leave(hook);
}

HOOK int dup(int fd)
{
	struct hook hook;

	if (is_hidden(fd))
		return not_open();
	if (!hook_enter(&hook, SEG_CALL_DUP))
		return real.dup(fd);
	int copy = real.dup(fd);
	finish_copy(&hook, fd, copy);
	return copy;
}

/* The program takes a number that is ours: it is the program's from now on, and our server learns of its loss. */
static void yield_number(int to)
{
	if (is_hidden(to) && has_own_memory())
		descriptors_remove(to);
}

HOOK int dup2(int from, int to)
{
	struct hook hook;

	if (is_hidden(from))
		return not_open();
	if (from != to)
		yield_number(to);
	if (!hook_enter(&hook, SEG_CALL_DUP2))
		return real.dup2(from, to);
	int copy = real.dup2(from, to);
	finish_copy(&hook, from, copy);
	return copy;
}

HOOK int dup3(int from, int to, int flags)
{
	struct hook hook;

	if (is_hidden(from))
		return not_open();
	yield_number(to);
	if (!hook_enter(&hook, SEG_CALL_DUP3))
		return real.dup3(from, to, flags);
	int copy = real.dup3(from, to, flags);
	finish_copy(&hook, from, copy);
	return copy;
}

static bool is_copy(int command)
{
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}

/* The third argument of fcntl is an int, a pointer or absent; passing it on as a pointer keeps all of its bits. */
HOOK int fcntl(int fd, int command, ...)
{
	struct hook hook;
	va_list arguments;

	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (is_hidden(fd))
		return not_open();
	if (!hook_enter(&hook, SEG_CALL_FCNTL))
		return real.fcntl(fd, command, argument);
	int result = real.fcntl(fd, command, argument);
	if (is_copy(command))
		finish_copy(&hook, fd, result);
	else
		hook_done(&hook);
	return result;
}

HOOK int fcntl64(int fd, int command, ...)
{
	struct hook hook;
	va_list arguments;

	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	if (is_hidden(fd))
		return not_open();
	if (!hook_enter(&hook, SEG_CALL_FCNTL64))
		return real.fcntl64(fd, command, argument);
	int result = real.fcntl64(fd, command, argument);
	if (is_copy(command))
		finish_copy(&hook, fd, result);
	else
		hook_done(&hook);
	return result;
}
