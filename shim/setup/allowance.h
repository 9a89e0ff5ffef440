#pragma once
/* allowance - whether the limits that the program was given leave room for us beside it.
 * Context: setup. Two reads at most, and none where nothing is limited.
 *
 * Under a limit of memory what we take the program lacks, and it is its own allocation that fails. So where we would take
 * more than a third of what is left to it we take nothing.
 */
#include <stdbool.h>

/* NULL, or the name of the limit that leaves too little (getrlimit(2)) and, in MiB, how much that is. */
const char *allowance_in_the_way(unsigned long *ret_left_mib);
