/* process - fork, exec and the end. What a profiled program executes keeps the preload and the session in its
 * environment (setup/environment.h). exec may be called in a child of vfork, which borrows its parent's memory: then the
 * call is counted, and nothing else is written but our own stack.
 */
#include "hook.h"

#include "execution.h"
#include "rights.h"

#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static pid_t fork_with_room(void)
{
	pid_t child = real.fork();

	if (child >= 0 || errno != EAGAIN || !rights_make_room())
		return child;
	child = real.fork();
	if (child != 0)
		rights_room_is_used();
	return child;
}

HOOK pid_t fork(void)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_FORK))
		return real.fork();
	struct process_reservation interrupted = shim_fork_begins();
	pid_t child = fork_with_room();
	if (child == 0) {
		/* The child is a new thread of a new process: it has counted nothing, and its slot is another. */
		self.call = hook.outer_call;
		shim_fork_child();
		return child;
	}
	shim_fork_ended(child, interrupted);
	hook_done(&hook);
	return child;
}

struct clone_start {
	int (*function)(void *);
	void *argument;
	uint64_t mask;
};

static int run_clone(void *copy)
{
	const struct clone_start *start = copy;

	shim_clone_child(start->mask);
	return start->function(start->argument);
}

/* Not counted. One that shares our memory is a thread, or a vfork, and passes. */
HOOK int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
	struct clone_start start = { function, argument, 0 };
	va_list list;

	va_start(list, argument);
	void *parent_tid = va_arg(list, void *), *tls = va_arg(list, void *), *child_tid = va_arg(list, void *);
	va_end(list);
	real_need();
	if (flags & CLONE_VM || !function || !stack || !shim_clone_begins(&start.mask))
		return real.clone(function, stack, flags, argument, parent_tid, tls, child_tid);
	int child = real.clone(run_clone, stack, flags, &start, parent_tid, tls, child_tid);
	shim_clone_ended(start.mask);
	return child;
}

void execution_begin(struct execution *execution, enum seg_call call)
{
	execution->is_counted = hook_enter(&execution->hook, call);
	execution->is_begun = execution->is_counted && shim_exec_begin();
	if (!execution->is_counted || execution->is_begun)
		return;
	/* A child of vfork: its parent, whose memory this is, will not come back from this call. */
	self.call = execution->hook.outer_call;
	shim_lend();
}

int execution_failed(struct execution *execution, int result)
{
	if (execution->is_begun)
		shim_exec_failed();
	else if (execution->is_counted)
		shim_take_back();
	if (execution->is_counted)
		hook_done(&execution->hook);
	return result;
}

HOOK int execve(const char *path, char *const arguments[], char *const environment[])
{
	struct execution execution;
	char **extended = WITH_SESSION(environment);

	execution_begin(&execution, SEG_CALL_EXECVE);
	return execution_failed(&execution, real.execve(path, arguments, extended));
}

HOOK int execv(const char *path, char *const arguments[])
{
	struct execution execution;
	char **extended = WITH_SESSION(environ);

	execution_begin(&execution, SEG_CALL_EXECV);
	return execution_failed(&execution, real.execve(path, arguments, extended));
}

HOOK int execvp(const char *file, char *const arguments[])
{
	struct execution execution;
	char **extended = WITH_SESSION(environ);

	execution_begin(&execution, SEG_CALL_EXECVP);
	return execution_failed(&execution, real.execvpe(file, arguments, extended));
}

HOOK int execvpe(const char *file, char *const arguments[], char *const environment[])
{
	struct execution execution;
	char **extended = WITH_SESSION(environment);

	execution_begin(&execution, SEG_CALL_EXECVPE);
	return execution_failed(&execution, real.execvpe(file, arguments, extended));
}

HOOK int execveat(int directory, const char *path, char *const arguments[], char *const environment[], int flags)
{
	struct execution execution;
	char **extended = WITH_SESSION(environment);

	execution_begin(&execution, SEG_CALL_EXECVEAT);
	return execution_failed(&execution, real.execveat(directory, path, arguments, extended, flags));
}

HOOK int fexecve(int fd, char *const arguments[], char *const environment[])
{
	struct execution execution;
	char **extended = WITH_SESSION(environment);

	execution_begin(&execution, SEG_CALL_FEXECVE);
	return execution_failed(&execution, real.fexecve(fd, arguments, extended));
}

/* Number of arguments of a list that ends with NULL, first among them. Leaves list past the NULL. */
static size_t count_arguments(const char *first, va_list list)
{
	size_t count = 0;

	for (const char *argument = first; argument; argument = va_arg(list, const char *))
		count++;
	return count;
}

static void collect_arguments(char **ret_arguments, const char *first, va_list list)
{
	for (const char *argument = first; argument; argument = va_arg(list, const char *))
		*ret_arguments++ = (char *)(uintptr_t)argument;
	*ret_arguments = NULL;
}

/* The arguments of an execl call as an array on the caller's stack; list is left past the final NULL. */
#define ARGUMENTS_OF(first, list)                                                                                      \
	__extension__({                                                                                                \
		va_list counting_;                                                                                     \
		va_copy(counting_, list);                                                                              \
		char **arguments_ = alloca((count_arguments(first, counting_) + 1) * sizeof(*arguments_));             \
		va_end(counting_);                                                                                     \
		collect_arguments(arguments_, first, list);                                                            \
		arguments_;                                                                                            \
	})

HOOK int execl(const char *path, const char *first, ...)
{
	struct execution execution;
	va_list list;

	va_start(list, first);
	char **arguments = ARGUMENTS_OF(first, list);
	va_end(list);
	char **extended = WITH_SESSION(environ);
	execution_begin(&execution, SEG_CALL_EXECL);
	return execution_failed(&execution, real.execve(path, arguments, extended));
}

HOOK int execlp(const char *file, const char *first, ...)
{
	struct execution execution;
	va_list list;

	va_start(list, first);
	char **arguments = ARGUMENTS_OF(first, list);
	va_end(list);
	char **extended = WITH_SESSION(environ);
	execution_begin(&execution, SEG_CALL_EXECLP);
	return execution_failed(&execution, real.execvpe(file, arguments, extended));
}

HOOK int execle(const char *path, const char *first, ...)
{
	struct execution execution;
	va_list list;

	va_start(list, first);
	char **arguments = ARGUMENTS_OF(first, list);
	char *const *environment = va_arg(list, char *const *);
	va_end(list);
	char **extended = WITH_SESSION(environment);
	execution_begin(&execution, SEG_CALL_EXECLE);
	return execution_failed(&execution, real.execve(path, arguments, extended));
}

/* Not counted: only so that the process is not taken for killed. */
HOOK void _exit(int status)
{
	shim_process_ends();
	real_need();
	real._exit(status);
	__builtin_unreachable();
}

HOOK void _Exit(int status) __attribute__((alias("_exit")));
