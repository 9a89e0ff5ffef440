#pragma once
/* torture - what its parts have in common: actors, and steps that must not stall.
 *
 * An actor is a thread that does the same round again and again until the time is over. What a round comes to must be the
 * same number each time, and is what is printed, so that the output does not tell how many rounds there were: it must be
 * the same with and without profshim.
 *
 * A step is a stretch of a round that waits for no other actor. What CPU time it took cannot be another thread's, so more
 * than STALL_NS of that is a stall, and told on stderr: somebody's code in the thread went round in circles, or the machine
 * had the thread's CPU and left it the bill (host_watch.c; scripts/soak tells the one from the other). A round without steps
 * is looked at as a whole: what it takes beyond twice the shortest one. What a step slept, that is neither ran nor waited for
 * a core (the kernel's word: schedstat in proc(5)), is counted apart: threads of one process wait for each other's locks in
 * the loader and the kernel, with and without a profiler, so this can only be compared.
 */
#include <cstdint>
#include <cstdio>
#include <functional>

constexpr uint64_t STALL_NS = 50000000; /* 50 ms */

/* Ends the program with a word on stderr; for what cannot fail. */
void require(bool is_well, const char *what);

/* Acts, and looks how long that took. name: a literal. */
void step(const char *name, const std::function<void()> &act);

/* CPU time, so that there is something to sample. Its result is 1, which the compiler cannot know. */
int burn(unsigned thousands);

uint64_t now_ns();

/* Errors EINTR that reached the program where it sent itself no signal. */
void note_interrupted();

long loader_round();      /* loader.cpp */
long unload_round();
long namespace_round();
long exception_round();
long thread_round();      /* threads.cpp */
long cancel_round();
long async_cancel_round();
long blocking_round();
long fork_round();        /* processes.cpp */
long spawn_round();
long jump_round();        /* stacks.cpp */
long coroutine_round();
long switched_round();
long alternate_round();
long fault_round();
long recursion_round();
long request_round();     /* calls.cpp */
long descriptor_round();
long memory_round();
long timer_round();
long profiler_round();
/* torture.cpp: what must be found out */
long spin_round();        /* a step that goes round in circles */
long whirl_round();       /* so does every other round, without a step */
long doze_round();        /* a step that sleeps */
