#pragma once
/* unwind - the addresses on an interrupted thread's stack, by libunwind or by frame pointers.
 * Context: signal for sig_*; setup for the rest.
 * What is read lies between the interrupted stack pointer and the known end of the thread's stack, in a module of the map,
 * or was found readable first; how far libunwind 1.6.2 can be held to that is told in stand_ins.c.
 * Owns the states that walks need. A thread takes one with its first sample and gives it back when it ends; the next one
 * inherits what libunwind has learnt. There are as many as were ever in use at once.
 */
#include "stack.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

enum {
	UNWIND_PCS_MAX = SEG_DEPTH_MAX + 16, /* room for the handler's own frames, which are dropped */
	UNWIND_TLS_BYTES = 128,
	UNWIND_STACK_BYTES = 16384, /* libunwind takes 5500 of them on a walk that meets new addresses */
	UNWIND_HELD_MAX = 4, /* mutexes at once: libunwind needs 2 */
};

/* W, R: the thread that has it, in its handler. State 0 is for those that found none, one sample at a time. */
struct unwind_state {
	_Atomic uint32_t is_busy; /* a sample is being taken with it */
	uint32_t path_epoch;      /* of the modules' map when the slot's last path was found (tree.h) */
	uint32_t cache_epoch;     /* the same of libunwind's cache */
	uint32_t has_tls;         /* tls has its first contents */
	void *cache;              /* libunwind's cache of a thread, cache_bytes long; NULL = none was seen being made */
	size_t cache_bytes;
	_Alignas(64) char tls[UNWIND_TLS_BYTES]; /* libunwind's thread-local data, apart from the program's */
	uintptr_t pcs[UNWIND_PCS_MAX];
	_Alignas(64) char stack[UNWIND_STACK_BYTES]; /* what a walk runs on */
};

/* Opens what config.unwind names (auto, tables, libunwind, fp), logging one line if that is not to be had. False: no
 * memory for the states; there can be no sampling. After thread_attach and modules_refresh. */
bool unwind_init(const char *name);

/* The calling thread gives its state back; it will not be sampled any more. Context: call. */
void unwind_thread_stop(void);

/* Takes back the states of threads that ended without a word. */
void unwind_reclaim(void);

/* In the child of fork: is_torn = a thread of the parent was in mid-walk, so a lock of libunwind may be held for good;
 * frame pointers are followed from then on. */
void unwind_forked(bool is_torn);

/* The calling thread's state, to be let go by sig_unwind_end; NULL: another sample has it. */
struct unwind_state *sig_unwind_begin(void);
void sig_unwind_end(struct unwind_state *state);

/* The stack of the interrupted context, into state->pcs. depth 0: nothing could be found beyond doubt. Between
 * sig_modules_enter, if it let us in, and sig_modules_leave. */
struct sig_walk sig_unwind(const ucontext_t *context, struct unwind_state *state);

/* The same by frame pointers; at most max addresses. */
struct sig_walk sig_unwind_pointers(const ucontext_t *context, uintptr_t *pcs, uint32_t max);

/* --- between unwind.c, unwind_open.c and stand_ins.c --- */

/* A thread's walk, and what libunwind may do while it is on. */
struct unwind_walk {
	struct unwind_state *own;        /* the thread's, NULL = none yet */
	struct unwind_state *state;      /* NULL = libunwind, if it runs at all, runs for the program */
	uintptr_t stack_low, stack_high; /* readable without asking */
	pthread_mutex_t *held[UNWIND_HELD_MAX];
	uint32_t held_count;
	void *escape; /* for sig_escape */
};
extern __thread struct unwind_walk unwind_walk __attribute__((tls_model("initial-exec"), visibility("hidden")));

struct unwinder {
	_Atomic(int (*)(void **, int)) backtrace; /* NULL = frame pointers. W: setup, release; R: handlers, acquire */
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

/* Gives the walk up: sig_unwind_library returns 0. */
__attribute__((noreturn, visibility("hidden"))) void sig_escape(void *escape);

/* One walk of libunwind for us; how many addresses it found, 0 = given up. */
int sig_unwind_library(int (*backtrace)(void **, int), struct unwind_state *state, uintptr_t low, uintptr_t high);
