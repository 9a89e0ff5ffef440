#pragma once
/* shim - the life of profshim in this process: what the hooks ask of it.
 * Context: call and setup, as said at each.
 *
 *   EARLY    before our constructor: hooks pass through
 *   OFF      not to be profiled (PROFSHIM_EXE, no memory): hooks pass through for good
 *   DORMANT  executed by a profiled program, and not (yet) a server: hooks pass through until it listens or accepts
 *   ACTIVE   profiled
 */
#include "process.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum shim_state { SHIM_EARLY, SHIM_OFF, SHIM_DORMANT, SHIM_ACTIVE };
extern _Atomic int shim_state __attribute__((visibility("hidden")));

/* OFF or DORMANT: a transfer and a wait have nothing to do but to pass through. (EARLY they have: hook_enter_slowly.) */
static inline bool shim_is_out(void)
{
	int state = atomic_load_explicit(&shim_state, memory_order_relaxed);

	return __builtin_expect(state == SHIM_OFF || state == SHIM_DORMANT, 0);
}

/* In a child that a plain clone(2) made, without a word to pthread_atfork(3), the state is EARLY again, since the kernel
 * empties the page that it lies in (MADV_WIPEONFORK). Makes such a child one of the session, as a fork would be, at its
 * first hook. False: the state is what it seems. Context: call. */
bool shim_cloned(void);

/* Around a clone(2) that copies the process, in the parent: our thread has no lock of the loader's meanwhile, which would be
 * locked in the copy for ever, and no signal makes the kernel begin anew. False: it needs nothing of that, and the other two
 * are not called. mask: of signals, for the end in the parent or, there before anything else, in the child. Context: call. */
bool shim_clone_begins(uint64_t *ret_mask);
void shim_clone_ended(uint64_t mask);
void shim_clone_child(uint64_t mask);

/* The program installs a filter that calls of ours would not pass: counts what is open as ended and makes no system call on
 * the program's threads any more, for good. is_for_all: ours would have it, too, and ends. Context: call. */
void shim_goes_silent(bool is_for_all);

/* The same of one that calls of our thread alone would not pass: the thread ends. Context: call. */
void shim_stops_serving(void);

/* What this process executes belongs to the session. In a child of clone or vfork, too. Context: call. */
bool shim_is_in_session(void);

/* A dormant process turns out to be a server. Context: call, once in a process's life. */
void shim_activate(void);

/* The calling thread is met for the first time: slot, timer, and the reminder to end both with the thread. Context: call. */
void shim_thread_begin(void);
/* The same of one that has just been made and has not run anything of the program's. */
void shim_new_thread_begin(void);

/* The process is about to end by _exit, maybe in a handler of the program's that interrupted anything: nothing is
 * allocated, and no lock taken. A normal exit is our destructor's. Context: call. */
void shim_process_ends(void);

/* Around fork in the parent: the child is in the session from its first moment on, whatever becomes of it, so that a
 * session whose last process forks and ends at once is not taken for over. child: -1 = there is none. interrupted: what
 * the beginning gave, which is that of a fork in whose midst a handler of the program forks. Context: call. */
struct process_reservation shim_fork_begins(void);
void shim_fork_ended(pid_t child, struct process_reservation interrupted);

/* In the child, last: signals waited for all of fork. Context: call. */
void shim_fork_child(void);

/* Around exec: nothing of ours may be pending in the new program; ended without effect if exec failed. False: this is a
 * child of vfork, nothing was done and shim_exec_failed must not be called. Context: call. */
bool shim_exec_begin(void);
void shim_exec_failed(void);

/* Around what begins another program in a child of vfork, or in one that libc makes by itself: the thread's mask and what the
 * process ignores, which that program inherits, are the program's own meanwhile. Errno is kept. Context: call. */
void shim_lend(void);
void shim_take_back(void);
