#pragma once
/* filter - what a seccomp(2) filter that the program is about to install would make of the calls that we add to its threads.
 * Context: call. The filter is the program's, and read as the kernel would read it. One from before the start cannot be read: trial.h.
 */
#include "../base/permitted.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SECCOMP_RET_... for this call; what kills, where the kernel would refuse the filter or a line of it. */
uint32_t filter_answer(const struct sock_fprog *filter, const struct seccomp_data *data);

/* The filter lies in memory that can be read. Where not, the kernel will not have it either, and says so. */
bool filter_can_be_read(const struct sock_fprog *filter);

/* All of FILTER_OWN would be let through: with arguments of 0, which is what filters look at that are about us at all. */
bool filter_allows_us(const struct sock_fprog *filter);

/* The calls that we add to a process, by who makes them. */
enum filter_calls {
	FILTER_OWN,      /* the program's threads, in hooks, the handler, their beginning and end: without these nothing is profiled */
	FILTER_SERVING,  /* our thread: without these there is none */
	FILTER_STARTING, /* the program's first thread, before it begins: without these nothing is begun */
	FILTER_SPARED,   /* what is done otherwise, or not at all, where it is forbidden */
	FILTER_CALLS_COUNT,
};
struct filter_list {
	const uint16_t *numbers;
	size_t count;
};
extern const struct filter_list filter_lists[FILTER_CALLS_COUNT] __attribute__((visibility("hidden")));

/* Those of the other lists that the filter does not let through are forbidden from now on (base/permitted.h). */
void filter_note(const struct sock_fprog *filter);

/* None of them is forbidden. */
bool filter_permits(enum filter_calls calls);
