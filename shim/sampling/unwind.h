#pragma once
/* unwind - the frames on an interrupted thread's stack: by tables of rules (PROFSHIM_UNWIND=auto, tables), by frame pointers
 * alone (fp), or by libunwind.
 * Context: signal for sig_*; setup for the rest.
 *
 * By tables and by pointers nothing is read but words between the interrupted stack pointer (and the red zone below it) and
 * the known end of the stack that it points into, so a wrong rule ends the walk and is counted. What is known of stacks: the
 * main thread's, each pthread's, the alternate stack that the signal frame names; of any other (a coroutine's) how far the
 * kernel found it readable (stacks.h), and else no more than the page that the stack pointer is in, which is mapped since it
 * is in use. libunwind's reads: see stand_ins.c.
 * A page within a stack that cannot be read all the same ends the walk, too (guard.h). After some such faults the process
 * walks no more in the way that led to them: by frame pointers, by rules, or by libunwind (then by rules).
 *
 * Owns the states that walks need. A thread takes one with its first sample and gives it back when it ends; the next one
 * inherits it. There are as many as were ever in use at once.
 */
#include "tree.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

enum {
	UNWIND_PLACES_BITS = 6,
	UNWIND_RULES_WAYS = 2, /* in the same place */
	UNWIND_RULES = UNWIND_RULES_WAYS << UNWIND_PLACES_BITS, /* remembered by each thread */
	UNWIND_SPARE = 47, /* so that frames end in the page that path begins in, and not at its end */
	UNWIND_FRAMES = 2 * SIG_FRAMES_MAX + 1 + UNWIND_SPARE, /* the last walk's, those of a walk that is on, and its next one */
	UNWIND_TLS_BYTES = 128,
	UNWIND_STACK_BYTES = 16384, /* libunwind takes 5500 of them on a walk that meets new addresses */
	UNWIND_HELD_MAX = 4, /* mutexes at once: libunwind needs 2 */
};

/* A rule that was looked up. tag: of the frames that it is for (stack.h), 0 = free. */
struct unwind_known {
	uint64_t tag;
	uint32_t rule;
	uint32_t flags;
};

/* W, R: the thread that has it, in its handler. State 0 is for those that found none, one sample at a time.
 * In this order and at the beginning of a page a thread whose stacks are not deep uses two pages of it. */
struct unwind_state {
	_Alignas(4096) struct unwind_known known[UNWIND_RULES]; /* half a page */
	_Atomic uint32_t is_busy; /* a sample is being taken with it */
	uint32_t path_epoch;      /* of the modules' map when path was found */
	uint64_t rules_epoch;     /* of the modules' map and of the tables: what is known, below, holds as long as it does */
	uint32_t frame_count;     /* of the last walk, from the start of frames; 0 = there is none to go by */
	uint32_t end;             /* how that walk ended: enum unwind_end */
	uint32_t tagged;          /* see sig_stack_shown */
	_Atomic uint32_t is_by_pointers; /* the step at hand of the walk that is on; for the case of a fault in it */
	struct sig_frame frames[UNWIND_FRAMES]; /* root first; new ones are laid down from the end, leaf first */
	struct sig_path path;

	/* Of libunwind. */
	uint32_t cache_epoch;     /* of the modules' map when its cache was last known to be sound */
	uint32_t has_tls;         /* tls has its first contents */
	void *cache;              /* its cache of a thread, cache_bytes long; NULL = none was seen being made */
	size_t cache_bytes;
	_Alignas(64) char tls[UNWIND_TLS_BYTES]; /* its thread-local data, apart from the program's */
	uintptr_t pcs[SIG_FRAMES_MAX];
	_Alignas(64) char stack[UNWIND_STACK_BYTES]; /* what it runs on */
};

enum { UNWIND_PAGE = 4096, UNWIND_PATH_AT = offsetof(struct unwind_state, path) % UNWIND_PAGE };
_Static_assert(UNWIND_PATH_AT >= 24 * sizeof(struct sig_frame), "usual walks are laid down within one page");
_Static_assert(UNWIND_PATH_AT + offsetof(struct sig_path, places[100]) <= UNWIND_PAGE, "and so is their path");

/* Prepares what config.unwind names (auto, tables, libunwind, fp), logging one line if that is not to be had. False: no
 * memory for the states; there can be no sampling. After thread_attach and modules_refresh. */
bool unwind_init(const char *name);

/* The calling thread gives its state back; it will not be sampled any more. Context: call. */
void unwind_thread_stop(void);

/* Takes back the states of threads that ended without a word. */
void unwind_reclaim(void);

/* Logs what was switched off because of faults and was not logged yet. One load if nothing was. Context: call. */
void unwind_tell(void);

/* In the child of fork: is_torn = a thread of the parent was in mid-walk, so a lock of libunwind may be held for good;
 * where that was used, frame pointers are followed from then on. */
void unwind_forked(bool is_torn);

/* The calling thread's state, to be let go by sig_unwind_end; NULL: another sample has it. */
struct unwind_state *sig_unwind_begin(void);
void sig_unwind_end(struct unwind_state *state);

/* Walks read memory of modules, as libunwind's do: they may only be made if sig_modules_enter lets us in. Those by rules read
 * stacks and the segment, and may be made while a module vanishes. */
bool sig_unwind_reads_modules(void);

/* The stack of the interrupted context, in state->frames; how it ended is counted. depth 0: nothing could be found beyond
 * doubt. Between sig_modules_enter and sig_modules_leave. */
struct sig_walk sig_unwind(const ucontext_t *context, struct unwind_state *state);

/* Where sig_stack_shown may put the tags of the walk just made; valid until the next walk. On the pages where its frames
 * were laid down. */
static inline uint64_t *sig_unwind_tags(struct unwind_state *state, uint32_t depth)
{
	return (uint64_t *)(state->frames + UNWIND_FRAMES) - (depth + 1);
}

/* --- between unwind.c, walk.c, library.c, unwind_open.c and stand_ins.c --- */

/* Memory that can be read without asking, all of one stack. */
struct unwind_bounds {
	uintptr_t low, high;
	bool is_known; /* high is where the stack ends */
};

/* Of the stack that stack_pointer points into. context: of the interrupted thread, for its alternate stack. */
struct unwind_bounds sig_unwind_bounds(uintptr_t stack_pointer, const ucontext_t *context);

/* A walk by rules. */
struct sig_walk sig_walk(const ucontext_t *context, struct unwind_state *state);

/* A walk by libunwind; depth 0: it was given up. */
struct sig_walk sig_walk_library(int (*backtrace)(void **, int), const ucontext_t *context, struct unwind_state *state);

/* A thread's walk, and what libunwind may do while it is on. */
struct unwind_walk {
	struct unwind_state *own;        /* the thread's, NULL = none yet */
	struct unwind_state *state;      /* NULL = libunwind, if it runs at all, runs for the program */
	uintptr_t stack_low, stack_high; /* readable without asking */
	pthread_mutex_t *held[UNWIND_HELD_MAX];
	uint32_t held_count;
	void *escape; /* for sig_escape, and the guard */
	bool is_guarded; /* a fault of this walk ends it. W: its thread, and handlers on it */
};
extern __thread struct unwind_walk unwind_walk __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Ways to walk, as bits. */
enum unwind_way { UNWIND_BY_POINTERS = 1, UNWIND_BY_RULES = 2, UNWIND_BY_LIBRARY = 4 };

struct unwinder {
	_Atomic(int (*)(void **, int)) backtrace; /* of libunwind; NULL = rules. W: setup, release; R: handlers, acquire */
	bool has_tables;                          /* else frame pointers alone */
	_Atomic bool has_pointers;                /* they are followed where no rule is known. W: setup, handlers; relaxed */
	_Atomic bool is_off;                      /* there are no walks by rules: samples show the leaf alone. The same */
	_Atomic uint32_t untold;                  /* ways that were switched off because of faults, for unwind_tell */
	struct unwind_state *states;
	_Atomic uint32_t *owners;                 /* of each state: a thread's id, 0 = free */
	uint32_t state_count;
	uint32_t main_tid;
	uintptr_t main_stack_low, main_stack_high;
	uintptr_t thread_stack_bytes; /* of a thread made without attributes */
	void (*flush)(void *, uintptr_t, uintptr_t); /* unw_flush_cache, and what it takes */
	void *space;
	_Atomic uint32_t flushed_epoch;
	const void *tls_image;        /* what libunwind's thread-local data begins with */
	size_t tls_image_bytes;
};
extern struct unwinder unwinder __attribute__((visibility("hidden")));

/* A part of a walk that may meet a fault: what function(argument, max) gives back, called on the stack that ends at stack_end,
 * NULL = on the caller's. 0: sig_escape was called meanwhile; -1: there was a fault, and the guard has gone on at
 * sig_call_end with the stack pointer that is in unwind_walk.escape. */
int sig_call_guarded(void *stack_end, int (*function)(void *, int), void *argument, int max);
__attribute__((noreturn, visibility("hidden"))) void sig_escape(void *escape);
extern const char sig_call_end[] __attribute__((visibility("hidden")));

/* One walk of libunwind for us; how many addresses it found, 0 = given up, -1 = a fault. */
int sig_unwind_library(int (*backtrace)(void **, int), struct unwind_state *state, uintptr_t low, uintptr_t high);

/* Unlocks what libunwind has locked in the walk that is on. */
void sig_unwind_let_go(void);

/* A walk has ended with a fault: counts it, and maybe there is no other in the same way. What depth 0 stands for. */
struct sig_walk sig_unwind_faulted(struct unwind_state *state, bool is_library);
