#pragma once
/* room - how much memory may be taken before something is killed for want of it.
 * Context: the exporter's threads. Reads a few small files of /proc and /sys.
 */
#include <stdint.h>

/* What the machine has left, or the tightest of the control groups that the process is in, whichever is less. What cannot be
 * read limits nothing: UINT64_MAX = nothing is known. */
uint64_t room_bytes(void);
