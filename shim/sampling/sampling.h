#pragma once
/* sampling - what setup needs of the sampler: when it begins, which threads it follows, when it rests.
 * Context: setup, but for what is said to be otherwise.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Opens the unwinder that config.unwind names and installs the SIGPROF handler. hz from the segment. False: sampling is
 * off, one line was logged. Once per process, after seg and thread_attach; the handler survives fork. At a rate of 0 all is
 * made ready for another one to come. */
bool sampling_start(void);

/* A CPU timer for the calling thread, and its SIGPROF let through if it is blocked (context: call; four system calls, two
 * if the thread has its timer). No-op when sampling is off. */
void sampling_thread_start(void);
/* The same of one that has just been made, so that all its CPU time is ours to count: two system calls less. */
void sampling_new_thread_start(void);
/* Deletes it. Before thread_detach. */
void sampling_thread_stop(void);

/* The rate in force is another than the calling thread's, or its clock is to be looked at (pulse_is_behind). Context: call;
 * nothing but system calls, and none while there is nothing to change. */
void sampling_follow(void);

/* Threads that were there before us: a timer for each thread in /proc/self/task that has none, created from here. */
void sampling_adopt_threads(void);

/* Every EXPORTER_TICK_MS in the process that serves: threads that no hook saw begin get their timers, and threads that call
 * nothing follow the rate, both within a second. Other processes' threads follow at their next hook; until then their
 * handlers leave out what is too much. */
void sampling_tick(void);

/* In the child of fork: its timers are gone, its threads but one too; begins anew. */
void sampling_forked(void);
/* The same in a child of a plain clone(2), before which nothing was done. */
void sampling_cloned(void);

/* The program finds no place for a timer or a queued signal (RLIMIT_SIGPENDING, getrlimit(2)), of which ours take one for each
 * thread: they are given up in this process and its forks, which is counted and said once. False: there are none. Context:
 * call; errno is not kept. */
bool sampling_make_room(void);

/* Before exec: no SIGPROF may be pending in the new program. sampling_resume after an exec that failed. */
void sampling_pause(void);
/* For good, and so that what was to come to other threads comes to nobody. */
void sampling_end(void);
void sampling_resume(void);

/* The same for the calling thread's mask alone: around what makes another program of a child of vfork, whose mask is its
 * own, or begins one that inherits it. Errno is kept. Context: call. */
void sampling_vfork_pause(void);
void sampling_vfork_resume(void);

/* The signal is SIGPROF or its deputy, and we have the handler. Context: call. */
bool sampling_arbitrates(int number);

/* The program's own disposition of such a signal: the handler passes on to it whatever is not ours. Context: call. As
 * sigaction(2): action or ret_old may be NULL. */
int sampling_program_action(int number, const struct sigaction *action, struct sigaction *ret_old);
