#pragma once
/* filter - what a seccomp(2) filter that the program is about to install would make of the calls that we add to its threads.
 * Context: call. The filter is the program's, and read as the kernel would read it.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* SECCOMP_RET_... for this call; what kills, where the kernel would refuse the filter or a line of it. */
uint32_t filter_answer(const struct sock_fprog *filter, const struct seccomp_data *data);

/* The filter lies in memory that can be read. Where not, the kernel will not have it either, and says so. */
bool filter_can_be_read(const struct sock_fprog *filter);

/* All of them would be let through: with arguments of 0, which is what filters look at that are about us at all. */
bool filter_allows_us(const struct sock_fprog *filter);
