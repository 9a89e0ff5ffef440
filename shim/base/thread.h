#pragma once
/* thread - what a thread of the profiled program knows of itself: its counters and whose work it does.
 * Context: signal. Initial-exec TLS, so that reading it never allocates; written by its own thread, in calls and in the
 * handler that may interrupt them at any instruction.
 *
 * Counting: each thread adds into a slot of its own with plain adds of one instruction, which a signal on the same
 * thread cannot split; the threads that found no free slot share slot 0 with locked adds. A slot's counters outlive its
 * owner and the next owner adds on, so a sum over all slots is the truth at any time, whoever died.
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
	uint32_t shard;           /* of histograms */
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

/* Gives the calling thread a slot; again after fork. Signal-safe, since a thread may first be met in the handler.
 * No system call but gettid and getpid. */
void thread_attach(void);

/* Gives the slot back. Later calls of the thread count nowhere until thread_attach. */
void thread_detach(void);

/* In the child of fork: the slot is the parent's, and so are the timer and what is pending. What the thread works for it
 * goes on with (work.h). */
void thread_forget(void);

/* Above the pid in what this process's threads own, 0 in the namespace of the session (SEG_OWNER_FOREIGN). W: setup (process.c). */
extern uint32_t thread_owner_tag __attribute__((visibility("hidden")));

/* The gauges of this process, NULL when no slot was free. W: setup (process.c). */
extern struct seg_process *thread_process __attribute__((visibility("hidden")));

/* Adds n to a counter in the thread's slot. */
static inline void thread_add(_Atomic uint64_t *counter, uint64_t n)
{
#if defined(__x86_64__)
	if (self.is_exclusive) {
		__asm__ volatile("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
		return;
	}
#endif
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void thread_count(enum seg_counter counter)
{
	if (self.slot)
		thread_add(&self.slot->counters[counter], 1);
}
