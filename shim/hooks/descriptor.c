/* descriptor - the calls that end, copy and rename descriptors. profshim's own are not there for the program. */
#include "hook.h"

#include "../base/log.h"
#include "../requests/connection.h"
#include "../setup/descriptors.h"
#include "../setup/process.h"
#include "descriptor.h"
#include "tls.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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

/* Before the call: after it the number may be another thread's new connection. */
static void end_connection(int fd, uint64_t now_ns)
{
	int saved_errno = errno;

	self.own_depth++;
	tls_descriptor_ends(fd);
	conn_closing(fd, now_ns);
	self.own_depth--;
	errno = saved_errno;
}

HOOK int close(int fd)
{
	struct hook hook;

	if (is_hidden(fd))
		return not_open();
	if (!hook_enter(&hook, SEG_CALL_CLOSE))
		return real.close(fd);
	if (conn_is_tracked(fd) && has_own_memory())
		end_connection(fd, hook.start_ns);
	int result = real.close(fd);
	hook_done(&hook);
	return result;
}

void descriptor_range_closing(unsigned first, unsigned last, unsigned flags, uint64_t now_ns)
{
	unsigned end = (unsigned)conn_numbers_end();

	if (flags & CLOSE_RANGE_CLOEXEC || first >= end || !has_own_memory())
		return;
	for (unsigned fd = first; fd <= last && fd < end; fd++)
		if (conn_is_tracked((int)fd))
			end_connection((int)fd, now_ns);
}

/* Our own descriptors are not there: what lies between them is closed. */
static int close_around_own(unsigned first, unsigned last, unsigned flags)
{
	int result = 0;

	for (unsigned fd = first; fd <= last && fd < DESCRIPTORS_MAX && !result; fd++) {
		if (!is_hidden((int)fd))
			continue;
		if (fd > first)
			result = real.close_range(first, fd - 1, (int)flags);
		first = fd + 1;
	}
	return result || first > last ? result : real.close_range(first, last, (int)flags);
}

HOOK int close_range(unsigned first, unsigned last, int flags)
{
	struct hook hook;

	if (!real.close_range && real_is_resolved()) {
		errno = ENOSYS;
		return -1;
	}
	if (!hook_may_see() || first > last || !hook_enter(&hook, SEG_CALL_CLOSE_RANGE))
		return real.close_range(first, last, flags);
	descriptor_range_closing(first, last, (unsigned)flags, hook.start_ns);
	int result = close_around_own(first, last, (unsigned)flags);
	hook_done(&hook);
	return result;
}

/* Where the kernel or a filter knows no close_range the true closefrom finds its way, over our descriptors, too. */
HOOK void closefrom(int first)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_CLOSEFROM)) {
		if (real.closefrom)
			real.closefrom(first);
		return;
	}
	unsigned from = first > 0 ? (unsigned)first : 0;
	int saved_errno = errno;
	descriptor_range_closing(from, UINT_MAX, 0, hook.start_ns);
	if ((!real.close_range || close_around_own(from, UINT_MAX, 0) != 0) && real.closefrom)
		real.closefrom(first);
	errno = saved_errno;
	hook_done(&hook);
}

/* stdio closes, reads and writes by libc's inner functions, which cannot be interposed. */
HOOK int fclose(FILE *stream)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_FCLOSE))
		return real.fclose(stream);
	int saved_errno = errno;
	int fd = fileno(stream);
	errno = saved_errno;
	if (fd >= 0 && conn_is_tracked(fd) && has_own_memory())
		end_connection(fd, hook.start_ns);
	int result = real.fclose(stream);
	hook_done(&hook);
	return result;
}

HOOK FILE *fdopen(int fd, const char *mode)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_FDOPEN))
		return real.fdopen(fd, mode);
	FILE *stream = real.fdopen(fd, mode);
	hook_returned(&hook);
	if (stream && conn_is_tracked(fd))
		thread_count(SEG_COUNTER_BLIND_STDIO);
	hook_leave(&hook);
	return stream;
}

static void finish_copy(struct hook *hook, int from, int to)
{
	hook_returned(hook);
	if (to == STDERR_FILENO && to != from && has_own_memory())
		log_stderr_is_named();
	if (to >= 0 && to != from && (conn_is_tracked(from) || conn_is_tracked(to)) && has_own_memory()) {
		tls_descriptor_copied(from, to);
		conn_duplicated(from, to, hook->end_ns);
	}
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
	if (is_copy(command)) {
		finish_copy(&hook, fd, result);
	} else {
		if (command == F_SETFL && result == 0)
			conn_waits_set(fd, !((intptr_t)argument & O_NONBLOCK));
		hook_done(&hook);
	}
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
	if (is_copy(command)) {
		finish_copy(&hook, fd, result);
	} else {
		if (command == F_SETFL && result == 0)
			conn_waits_set(fd, !((intptr_t)argument & O_NONBLOCK));
		hook_done(&hook);
	}
	return result;
}
