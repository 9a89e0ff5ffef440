#pragma once
/* work - whose CPU time it is that this thread spends: the one word in which requests and samples meet.
 * Context: signal; work_init: setup. The hooks set it in calls, the handler reads it.
 *
 * A thread learns late what it works for. An event loop wakes, accepts, receives, and only then is the head of a request
 * known; a worker that gets a request which another thread has read touches no socket until it answers. Samples of such
 * a stretch are kept back (WORK_PENDING) and credited when the request is known, all of them, or to nobody when the
 * stretch ends with nothing found:
 *   _idle         what a loop did between two waits for events;
 *   _background   what a worker did between two waits, and what those threads do that never served.
 *
 * A stretch ends where the thread comes back to the place where it rested before it, or rests anywhere once it has
 * answered. Elsewhere it waits in the middle of its work (an upstream's answer, a resolver, a lock) and goes on with it.
 * Once a response has ended its endpoint stays the thread's until the next event: what a server does after its last
 * byte (log, free, keep-alive) is work for that request.
 *
 * Not so with threads that answer what others have read (struct thread's foreign): the next request is in such a thread's
 * hands without any event, and one that it has read itself may be in another's. What it does, whatever it read, is known
 * when it answers; what it did without an answer before it reads or waits again is nobody's.
 *
 * A thread that is made by one that serves is taken to be a worker like that. If it was made in the middle of a request and
 * ends without having waited for anything or answered another one, it worked for that. The child of a fork works for
 * the request, until it waits.
 */
#include "thread.h"

#include <stddef.h>

#define WORK_PENDING UINT32_MAX

/* Not known yet. For a loop, the request whose bytes come next; for a worker one that it will answer: what it sends
 * elsewhere meanwhile tells nothing. */
#define WORK_NONE ((struct work){ WORK_PENDING, 0 })
#define WORK_JOB ((struct work){ WORK_PENDING, UINT64_MAX })

/* Where a thread rests: the address of what it rests at, or one of these with what tells it from others. */
#define WORK_PLACE_EPOLL (1ULL << 63)
#define WORK_PLACE_FEW (1ULL << 62)  /* a few descriptors: a loop's, or what something in the middle of a request waits for */
#define WORK_PLACE_MANY (1ULL << 61) /* many descriptors: a loop's */
#define WORK_PLACE_NEW (1ULL << 60)  /* of a thread made by one that serves: where it waits first it waits for work */
#define WORK_PLACE_WORD (1ULL << 59) /* a descriptor that it reads a word from: an eventfd, a pipe */

/* CPU time that is kept back at most, for a stretch: longer than anybody waits for an answer. What takes longer is no
 * request, and the time is nobody's. */
#define WORK_PENDING_NS_MAX 100000000000ULL
#define WORK_PENDING_NS_NEW 1000000000ULL /* 1 s: of a thread that never answered anything, and may never do */

/* Setup: so many bytes of memory, all zero, for what threads keep back, once the segment is open. Without it each keeps
 * back a few stacks only. */
size_t work_bytes(void);
void work_init(void *memory);

/* The rest of work_set: what is pending goes to work. */
__attribute__((cold)) void work_settle(struct work work);

/* The thread is no heir any more. */
__attribute__((cold)) void work_release_heir(void);

/* From now on the thread does this work; what was pending goes to it, too. */
static inline void work_set(struct work work)
{
	self.work = work;
	self.is_answered = 0;
	/* First the word, then the backlog: a handler that comes between credits directly and adds nothing to it. */
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(self.pending_count | self.heir, 0))
		work_settle(work);
}

/* Its endpoint is one of the entries that stand for no request, or not known. */
static inline bool work_is_request(struct work work)
{
	return work.endpoint != WORK_PENDING && work.endpoint >= SEG_ENDPOINT_OTHER;
}

/* It does something for a request that it will answer, but has not read. */
static inline bool work_is_job(void)
{
	return self.work.endpoint == WORK_PENDING && self.work.request;
}

/* From now on the thread works for a request that is not known yet: WORK_NONE or WORK_JOB. What was pending stays so. */
static inline void work_set_unknown(struct work work)
{
	self.work = work;
	self.is_answered = 0;
	if (__builtin_expect(self.heir, 0))
		work_release_heir();
}

static inline void work_set_pending(void)
{
	work_set_unknown(WORK_NONE);
}

/* What the thread did came to nothing: what is pending is nobody's, and what comes is pending again. */
void work_abandon(void);

/* The rest of work_wait, of a thread that works for a request, or may. */
void work_pause(uint64_t place, uint64_t now_ns);

/* The thread goes to wait at place, for events or until another thread has something for it. */
static inline void work_wait(uint64_t place, uint64_t now_ns)
{
	if (self.work.endpoint >= SEG_ENDPOINT_OTHER)
		work_pause(place, now_ns);
	else
		self.place = place;
}

/* The wait is over and brought events; or another thread has something for it. If it ever served, what follows is for a
 * request that is not known yet. */
static inline void work_woke(void)
{
	if (self.work.endpoint == SEG_ENDPOINT_IDLE)
		self.work = self.foreign ? WORK_JOB : WORK_NONE;
}

static inline void work_woken(void)
{
	if (self.work.endpoint == SEG_ENDPOINT_IDLE)
		self.work = WORK_JOB;
}

/* The thread has answered answered. is_read_here: it was the last to receive where it answers. */
void work_answered(struct work answered, bool is_read_here, uint64_t now_ns);

/* The thread makes another one: what that inherits, 0 = nothing; and the new thread, or nobody, takes it. work: the
 * maker's. */
uint32_t work_bequeath(void);
void work_inherit(uint32_t heir, struct work work);
void work_disinherit(uint32_t heir);

/* How many threads work for what they inherited. */
extern _Atomic uint32_t work_heir_count __attribute__((visibility("hidden")));
__attribute__((cold)) void work_end_inheritances(uint64_t request);

static inline bool work_has_heirs(void)
{
	return __builtin_expect(atomic_load_explicit(&work_heir_count, memory_order_relaxed) != 0, 0);
}

/* This request is answered, or never will be: what its heirs do from now on is not for it. */
static inline void work_request_ended(uint64_t request)
{
	if (work_has_heirs())
		work_end_inheritances(request);
}

/* For thread.c: the calling thread has this slot, 0 = none of its own; it will have none; and it is the only one of a new
 * process. */
void work_thread_begin(uint32_t slot);
void work_thread_end(void);
void work_forked(void);

/* Credits a sample at node to what the thread works for; entered: how many nodes, from the leaf up, are new since the
 * thread's last sample. node 0: the stack was lost, only the endpoint is credited. In the handler. */
void work_credit(uint32_t node, uint32_t entered, uint64_t weight_ns);
