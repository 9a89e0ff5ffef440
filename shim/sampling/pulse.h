#pragma once
/* pulse - what a SIGPROF of ours stands for: which of our clocks sent it, and for how much CPU time of the thread.
 * Context: signal; pulse_*: call, all of them for the calling thread alone.
 *
 * The ledger is the timer on the thread's CPU clock: each of its signals tells how much time has passed, however late it
 * comes, since the kernel counts the expiries that nobody saw. So the weights of all samples sum to the thread's CPU time,
 * in user mode and in the kernel, at every rate. The kernel looks at such timers once a tick, so there are as many samples
 * as ticks at most (250 a second with HZ=250) and the weights are the larger for it.
 *
 * A thread that asks for more samples than that may have the perf clock besides (perf.h). It sees user mode only, which is
 * what every kernel permits; of a thread that is in system calls it sees nothing (measured: 23 signals of 1000). There each
 * of its signals stands for a period, and what the ledger tells beyond those is time in the kernel: it goes to the next
 * sample that a tick takes there.
 *
 * What a thread has used and no sample stands for when it ends goes to the next thread that begins (head->uncounted_ns),
 * whose timer then expires so much earlier: threads that live for less than a tick are sampled as if they were one.
 */
#include "../base/thread.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

enum { PULSE_HZ_MAX = 10000 };

/* What the kernel spends to bring a signal and to return from it, which no clock of ours sees: measured, 4.2 us for one of the
 * timer's, 4 us for one of the perf clock's beside its expiry (scripts/bench ticks). */
#define PULSE_SIGNAL_NS 4000
/* A sample's all, its handler included. */
#define PULSE_SAMPLE_NS 4500
#define PULSE_LOOK UINT32_MAX /* as hz: it is time to look which clock suits the thread */

struct pulse {
	_Atomic uint32_t hz; /* the rate that the thread has followed, or PULSE_LOOK. W: it and its handler; relaxed */
	uint32_t ledger_hz;  /* of its timer; 0 = none that it began itself */
	int32_t perf_fd;     /* the number that the perf clock's signals carry, though it is closed; 0 = there never was one */
	const volatile uint64_t *perf_head; /* bytes that the perf clock has written; NULL = none */
	uint64_t perf_seen;  /* of those */
	uint64_t perf_ns;    /* its period */
	uint64_t perf_due_ns;
	int64_t owed_ns;     /* CPU time that the ledger has told and no sample stands for yet */
	int64_t told_ns;     /* all that the ledger has told */
	int64_t base_ns;     /* the thread's CPU clock when the ledger began */
	int64_t look_ns;     /* told_ns at which sampling_follow is to look at the thread again; INT64_MAX = never */
};
extern __thread struct pulse pulse __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* What a timer's signals carry: an address that nobody else has, and in it the rate that the timer was made with. */
extern char pulse_cookies[PULSE_HZ_MAX + 1] __attribute__((visibility("hidden")));

static inline void *pulse_cookie(uint32_t hz)
{
	return &pulse_cookies[hz];
}

/* hz: 1 or more. */
static inline uint64_t pulse_period_ns(uint32_t hz)
{
	return 1000000000 / hz;
}

/* No samples in this process any more, for good: the program needs the room of its timers. */
extern _Atomic bool pulse_is_given_up __attribute__((visibility("hidden")));

/* The rate in force, 0 = no samples. A rate that nobody may ask for stands in a session that somebody forged. */
static inline uint32_t pulse_rate(void)
{
	uint32_t hz = atomic_load_explicit(&seg.head->hz_now, memory_order_relaxed);

	if (__builtin_expect(hz > PULSE_HZ_MAX || atomic_load_explicit(&pulse_is_given_up, memory_order_relaxed), 0))
		return 0;
	return hz;
}

/* The rate in force, or the clock, is another than what the thread follows: sampling_follow is to be called. */
static inline bool pulse_is_behind(void)
{
	return atomic_load_explicit(&pulse.hz, memory_order_relaxed) != pulse_rate();
}

/* One of our clocks sent it. */
bool sig_pulse_is_ours(const siginfo_t *info);

/* A timer of another thread's, which may not have been met yet: what the handler must know then, it cannot ask the kernel for.
 * Before the timer is started. */
void pulse_expect(int32_t timer, uint32_t tid);

/* The thread for which the timer that sent it was expected; 0: for none. */
uint32_t sig_pulse_stranger(const siginfo_t *info);

/* Nanoseconds of CPU time that a sample taken now stands for; 0: none is to be taken, its time goes to a later one. For a
 * signal of ours, once. */
uint64_t sig_pulse_weigh(const siginfo_t *info, const ucontext_t *context);

/* Begins the thread's ledger and gives the time after which its timer is to expire first. is_new: what the thread has used
 * until now is told, too; is_looked_at: the handler is to ask for a look now and then. */
uint64_t pulse_begin(uint32_t hz, bool is_new, bool is_looked_at);

/* Ends it, if it was begun. Once the timer is gone. */
void pulse_end(void);

/* Forgets it, and what it owes. */
void pulse_forget(void);
