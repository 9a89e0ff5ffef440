/* processes - fork from a process of many threads, vfork, posix_spawn, exec that fails. Children do only what they may. */
#include "torture.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" char **environ;

namespace {

int end_of(pid_t child)
{
	int status = 0;

	require(child > 0 && waitpid(child, &status, 0) == child, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

const char *const arguments[] = { "true", nullptr };
char *const *const argv = const_cast<char *const *>(arguments);

__attribute__((noinline)) pid_t vforked(bool is_failing_first)
{
	pid_t child = vfork();

	if (child == 0) {
		if (is_failing_first)
			execve("/nowhere/true", argv, environ);
		execve("/bin/true", argv, environ);
		_exit(99);
	}
	return child;
}

}

long fork_round()
{
	long result = 0;

	for (int i = 0; i < 10; i++) {
		burn(2000);
		pid_t child = -1;
		int pair[2];
		char byte = 0;
		require(pipe(pair) == 0, "pipe");
		step("fork", [&] {
			child = fork();
			if (child == 0) {
				burn(200);
				byte = 3;
				_exit(write(pair[1], &byte, 1) == 1 ? i : 99);
			}
		});
		result += end_of(child);
		result += read(pair[0], &byte, 1) == 1 ? byte : 0;
		close(pair[0]);
		close(pair[1]);
	}
	return result;
}

long spawn_round()
{
	long result = 0;

	for (int i = 0; i < 4; i++) {
		burn(2000);
		result += end_of(vforked(i % 2)) + 1;
		pid_t child = -1;
		require(posix_spawn(&child, "/bin/false", nullptr, nullptr, argv, environ) == 0, "posix_spawn");
		result += end_of(child) + 1;
	}
	return result;
}
