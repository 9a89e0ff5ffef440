#pragma once
/* filter - what a seccomp(2) filter that the program is about to install would make of the calls that we add to its threads.
 * Context: call. The filter is the program's, and read as the kernel would read it.
 */
#include <linux/filter.h>
#include <stdbool.h>

/* All of them would be let through: with arguments of 0, which is what filters look at that are about us at all. */
bool filter_allows_us(const struct sock_fprog *filter);
