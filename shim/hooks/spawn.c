/* spawn - programs that are executed in a child which libc makes by inner functions: posix_spawn, system, popen; and daemon,
 * whose parent ends by an inner _exit. Not counted as calls: only so that what comes out of them stays in the session.
 */
#include "execution.h"
#include "rights.h"

#include <fcntl.h>
#include <paths.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Around a call that makes a child with the thread's mask and what the process ignores: as the program has it, not as the
 * kernel has it for us. */
static bool lend_mask(void)
{
	int saved_errno = errno;
	bool is_ours = atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE && !self.own_depth;

	if (is_ours)
		shim_lend();
	errno = saved_errno;
	return is_ours;
}

static void take_back_mask(bool is_lent)
{
	int saved_errno = errno;

	if (is_lent)
		shim_take_back();
	errno = saved_errno;
}

/* Both forms of both names: the older ones give a file without an interpreter line to the shell. */
static int spawn(__typeof__(posix_spawn) *function, pid_t *ret_child, const char *file,
		 const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const arguments[],
		 char *const environment[])
{
	bool is_lent = lend_mask();
	char **extended = WITH_SESSION(environment);
	int problem = function(ret_child, file, actions, attributes, arguments, extended);
	if (problem == EAGAIN && rights_make_room()) {
		problem = function(ret_child, file, actions, attributes, arguments, extended);
		rights_room_is_used();
	}
	take_back_mask(is_lent);
	return problem;
}

#define SPAWN_HOOK(name, real_name, version)                                                                           \
	HOOK __typeof__(posix_spawn) name;                                                                             \
	HOOK_VERSION(name, version);                                                                                   \
	int name(pid_t *restrict ret_child, const char *restrict file, const posix_spawn_file_actions_t *actions,      \
		 const posix_spawnattr_t *restrict attributes, char *const arguments[restrict],                        \
		 char *const environment[restrict])                                                                    \
	{                                                                                                              \
		real_need();                                                                                             \
		return spawn(real.real_name, ret_child, file, actions, attributes, arguments, environment);            \
	}
SPAWN_HOOK(posix_spawn_now, posix_spawn, "posix_spawn@@GLIBC_2.15")
SPAWN_HOOK(posix_spawn_older, older.posix_spawn, "posix_spawn@GLIBC_2.2.5")
SPAWN_HOOK(posix_spawnp_now, posix_spawnp, "posix_spawnp@@GLIBC_2.15")
SPAWN_HOOK(posix_spawnp_older, older.posix_spawnp, "posix_spawnp@GLIBC_2.2.5")

HOOK int system(const char *command)
{
	real_need();
	if (!command)
		return real.system(command);
	bool is_mask_lent = lend_mask(), is_lent = shim_is_in_session() && environment_lend();
	int status = real.system(command);
	if (is_lent)
		environment_take_back();
	take_back_mask(is_mask_lent);
	return status;
}

HOOK FILE *popen(const char *command, const char *mode)
{
	real_need();
	bool is_mask_lent = lend_mask(), is_lent = shim_is_in_session() && environment_lend();
	FILE *stream = real.popen(command, mode);
	if (is_lent)
		environment_take_back();
	take_back_mask(is_mask_lent);
	return stream;
}

/* The null device, and nothing that was put in its place (as glibc has it). */
static int replace_standard_streams(void)
{
	struct stat status;
	int fd = open(_PATH_DEVNULL, O_RDWR);

	if (fd < 0)
		return -1;
	if (fstat(fd, &status) != 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
		close(fd);
		errno = ENODEV;
		return -1;
	}
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	return 0;
}

/* daemon(3) by the hooks of what it is made of. */
HOOK int daemon(int stays_there, int keeps_streams)
{
	real_need();
	if (!shim_is_in_session())
		return real.daemon(stays_there, keeps_streams);
	pid_t child = fork();
	if (child < 0)
		return -1;
	if (child > 0)
		_exit(0);
	if (setsid() < 0)
		return -1;
	if (!stays_there && chdir("/") < 0) {
		/* goes on where it is, as with glibc */
	}
	return keeps_streams ? 0 : replace_standard_streams();
}

long execution_by_number(long number, const long *arguments)
{
	bool is_at = number == SYS_execveat;
	long a[5] = { arguments[0], arguments[1], arguments[2], arguments[3], arguments[4] };
	char **environment = (char **)a[is_at ? 3 : 2];
	struct execution execution = { .is_counted = hook_may_see() };

	a[is_at ? 3 : 2] = (long)WITH_SESSION(environment);
	execution.is_begun = execution.is_counted && shim_exec_begin();
	if (execution.is_counted && !execution.is_begun)
		shim_lend();
	long result = real.syscall(number, a[0], a[1], a[2], a[3], a[4]);
	if (execution.is_begun)
		shim_exec_failed();
	else if (execution.is_counted)
		shim_take_back();
	return result;
}
