#pragma once
/* handler - what happens when a SIGPROF arrives.
 * Context: signal. Makes no system call, not even for a thread that it is the first to meet (pulse.h), takes no lock, allocates
 * nothing, and needs less than 2 KiB of stack; what libunwind adds to that, where it is asked for, is told in stand_ins.c.
 * A signal that one of our timers sent is a sample; any other goes to where the program wants its SIGPROF to go.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

struct handler {
	_Atomic uint32_t is_paused; /* samples are thrown away: the process is about to become another, or to end */
};
extern struct handler handler __attribute__((visibility("hidden")));

void sig_on_prof(int number, siginfo_t *info, void *context);
