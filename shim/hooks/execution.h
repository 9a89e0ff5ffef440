#pragma once
/* execution - a call that executes another program: its environment keeps the session, and no signal of ours waits for it.
 * Context: call. May be used in a child of vfork, which borrows its parent's memory: nothing is written then but the stack.
 */
#include "hook.h"

#include "../base/readable.h"
#include "../setup/environment.h"
#include "../setup/shim.h"

#include <alloca.h>
#include <unistd.h>

enum { EXECUTION_ENTRIES_MAX = 65536 }; /* of an environment that is rebuilt on the stack: half a MiB */

/* One that cannot be read is the kernel's to refuse. */
static inline bool execution_can_read(char *const *environment)
{
	return !environment || environment == environ || readable_strings(environment);
}

/* The environment for the new program; original where nothing needs to be added or room fails. Memory: the caller's
 * stack frame, hence a macro around alloca. */
#define WITH_SESSION(original)                                                                                         \
	__extension__({                                                                                                \
		char **entries_ = NULL;                                                                                \
		bool is_extended_ = shim_is_in_session() && execution_can_read(original);                              \
		size_t count_ = is_extended_ ? environment_count(original) : 0;                                        \
		if (count_ && count_ <= EXECUTION_ENTRIES_MAX) {                                                       \
			entries_ = alloca(count_ * sizeof(*entries_));                                                 \
			environment_fill(original, entries_, alloca(ENVIRONMENT_PRELOAD_BYTES));                       \
		}                                                                                                      \
		entries_ ? entries_ : (char **)(uintptr_t)(original);                                                  \
	})

struct execution {
	struct hook hook;
	bool is_counted;
	bool is_begun;
};

void execution_begin(struct execution *execution, enum seg_call call);
/* The call came back, so it failed; result. */
int execution_failed(struct execution *execution, int result);

/* syscall(number, ...) with the number of execve or execveat; not counted as a call. */
long execution_by_number(long number, const long *arguments);
