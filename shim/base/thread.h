#pragma once
/* thread - what a thread of the profiled program knows of itself: its counters and whose work it does.
 * Context: signal. Initial-exec TLS, so that reading it never allocates; written by its own thread, in calls and in the
 * handler that may interrupt them at any instruction.
 *
 * Counting: each thread adds into a slot of its own with plain adds of one instruction, which a signal on the same
 * thread cannot split; the threads that found no free slot share slot 0 with locked adds. A slot's counters outlive its
 * owner and the next owner adds on, so a sum over all slots is the truth at any time, whoever died.
 * Histograms are in shards (layout.h). The first threads that observe something own one each, and add to it with such plain
 * adds; the others share the rest with locked ones. A thread takes its shard, and its process's gauges of requests if nobody
 * has them, when it first observes, and gives them back with its slot; from the killed the server takes shards.
 */
#include "../segment/segment.h"

#include <stdbool.h>
#include <time.h>

enum {
	THREAD_PENDING_MAX = 512, /* 12 KiB; two seconds of samples without two alike, at 250 a second (HZ=250) */
	THREAD_PENDING_FEW = 4,   /* of threads without a slot of their own */
};

/* Whose CPU time it is: an endpoint and, where one is known, the very request. */
struct work {
	uint32_t endpoint; /* its id or WORK_PENDING (work.h) */
	uint64_t request;  /* number of the request in its process, 0 = none */
};

/* Samples alike whose request is not known yet: see work.h. */
struct thread_pending {
	uint32_t node;
	uint32_t entered; /* nodes newly entered by each of them, counted from the leaf up */
	uint32_t samples;
	uint64_t weight_ns; /* of all together */
};

/* A hooked call that may be interrupted, for sampling/restart.c. */
enum { THREAD_WAIT_HOOK = -1 }; /* as its number: the hook makes the call again by itself */
struct thread_wait {
	uintptr_t frame; /* an address in the hook's stack frame, 0 = none is on */
	uint64_t end_ns; /* by clock_now_ns, when its time-out ends; 0 = it has none */
	int number;      /* of the system call */
};

enum { THREAD_LEAVES_HOOK = 1 << 16 }; /* own_depth at the end of a hook; what our code raises it by besides is far less */

struct thread {
	struct seg_thread *slot;  /* NULL = nothing of this thread is counted (yet) */
	uint32_t is_exclusive;    /* slot is its own */
	uint32_t own_depth;       /* > 0: profshim's own code runs on this thread; hooks pass through */
	uint32_t in_handler;      /* the sampling handler runs on this thread */
	uint32_t call;            /* 1 + enum seg_call of the interposed call in progress, 0 = none */
	uintptr_t call_frame;     /* where on the stack its hook keeps what it needs; 0 = no call was made yet */
	struct work work;         /* who gets the CPU time; this and what follows up to place: work.h */
	uint32_t is_answered;     /* work is a request that this thread has answered */
	uint32_t heir;            /* it was made for a request and has done nothing else: its entry in work.c, 0 = it is not */
	uint32_t pending_count;
	uint32_t pending_max;
	uint64_t place;           /* where it rested last before it began what it does now, 0 = not known */
	uint32_t foreign;         /* > 0: it answered what another thread had read, not long ago */
	uint64_t answered_ns;     /* when it last answered, 0 = never */
	uint32_t has_waited;      /* since then, for anything */
	struct work inherited;    /* for which an heir was made */
	uint32_t shard;           /* of histograms: its index, and THREAD_OWNS_SHARD */
	uint32_t shard_turns;     /* runs of observations without one of its own */
	uint32_t owns_gauges;     /* active_owned of its process is this thread's */
	uint32_t tid;             /* 0 = thread_attach was not called */
	int32_t timer;            /* kernel's id of the CPU timer, -1 = none; owned by sampling/timer */
	uint64_t stack_low;       /* lowest and one past the highest address of the stack; 0 = not known */
	uint64_t stack_high;
	uint32_t random;          /* of what is merged */
	uint32_t is_interrupted;  /* the call that is on got a signal of ours, and no handler of the program's has run since */
	uint32_t handlers_run;    /* of the program's signal handlers, on this thread */
	struct thread_wait wait;  /* W: the hook; R: the handler */
	struct timespec wait_left; /* its time-out, where the handler had to shorten it */
	uint64_t pending_ns;      /* sum of the weights of what is pending */
	struct thread_pending *pending; /* few, or the slot's own place (work.c) */
	struct thread_pending few[THREAD_PENDING_FEW];
};

extern __thread struct thread self __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The segment of this process: head is NULL until the process is profiled. W: setup, before anything counts. */
extern struct seg_view seg __attribute__((visibility("hidden")));

/* Gives the calling thread a slot; again after fork. */
void thread_attach(void);

/* The same where nothing may be asked of the kernel: by the handler, of a thread of this process that is met there first. Signal. */
void thread_attach_as(uint32_t tid, uint32_t pid);

/* Gives back the slot and what else it owns. Later calls of the thread count nowhere until thread_attach. Within a call of
 * profshim's (own_depth > 1: a handler interrupted it) the shard and the gauges stay the thread's, which may be adding. */
void thread_detach(void);

/* In the child of fork: the slot is the parent's, and so are its shard, the timer and what is pending. What the thread works
 * for it goes on with (work.h). */
void thread_forget(void);

/* Above the pid in what this process's threads own, 0 in the namespace of the session (SEG_OWNER_FOREIGN). W: setup (process.c). */
extern uint32_t thread_owner_tag __attribute__((visibility("hidden")));

/* This process. W: setup (process.c). */
extern uint32_t thread_pid __attribute__((visibility("hidden")));

/* The gauges of this process, NULL when no slot was free. W: setup (process.c). */
extern struct seg_process *thread_process __attribute__((visibility("hidden")));

/* is_owned: nobody but this thread adds to that counter. */
static inline void thread_add_to(_Atomic uint64_t *counter, uint64_t n, bool is_owned)
{
#if defined(__x86_64__)
	if (__builtin_expect(is_owned, 1)) {
		__asm__ volatile("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
		return;
	}
#endif
	(void)is_owned;
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Adds n to a counter in the thread's slot. */
static inline void thread_add(_Atomic uint64_t *counter, uint64_t n)
{
	thread_add_to(counter, n, self.is_exclusive);
}

/* In self.shard: nobody else adds to it. What one look there tells holds while a handler of the program's may get the thread
 * another shard, since none that it owns becomes another's. */
#define THREAD_OWNS_SHARD (1u << 16)
static inline uint32_t thread_shard_index(uint32_t shard) { return shard & (THREAD_OWNS_SHARD - 1); }

enum { THREAD_SHARD_TURNS = 1024 }; /* until a thread without a shard of its own asks for one again */

/* Takes a shard of its own, or if none is free a shared one: until then it is the first. */
__attribute__((cold)) void thread_take_shard(void);

static inline void thread_count(enum seg_counter counter)
{
	if (self.slot)
		thread_add(&self.slot->counters[counter], 1);
}
