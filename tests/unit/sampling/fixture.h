#pragma once
/* fixture - a session in private memory for the tests of the sampler, and eyes to look into it. */
#include "../../../shim/base/thread.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>

/* Opens a session and attaches the calling thread to it. */
void fixture_open(uint32_t hz, const char *unwind);

/* The same, the map of modules and the sampler begun on it. */
void fixture_start_sampling(uint32_t hz, const char *unwind);

/* Makes the unwind tables of all modules that are in the segment, as the serving thread does (tables_fixture.c). */
void fixture_make_tables(void);

/* Sums over all threads, all endpoints. */
uint64_t fixture_counter(enum seg_counter counter);
uint64_t fixture_cpu_ns(void);
uint64_t fixture_overhead_ns(void);

/* Lines that log_line was given, and the last of them. */
extern unsigned fixture_log_count;
extern char fixture_log_last[512];

/* Sum of the cells whose leaf is this node. */
uint64_t fixture_node_samples(uint32_t node);
uint64_t fixture_node_activations(uint32_t node);

/* The node that was sampled most. */
uint32_t fixture_hottest_node(void);

/* Frames of a node, leaf first; returns their number. */
uint32_t fixture_path(uint32_t node, uint64_t *ret_frames, uint32_t max);

/* The frame lies in the function of the program that begins at start (exported, so that dladdr knows it). */
bool fixture_frame_is_in(uint64_t frame, const void *start);

/* A signal of ours, as the kernel would bring it. */
siginfo_t fixture_signal(int overrun);


/* Runs a suite's cases: TAP on standard output, nothing else. */
int fixture_run(TCase **cases, size_t count, const char *name);
