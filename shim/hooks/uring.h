#pragma once
/* uring - rings of io_uring, through which requests pass unseen: made, and handed work, by liburing or syscall().
 * Context: call.
 */
#include <stdbool.h>

/* Around the making of a ring. It is noted before it can be found by what it maps (setup/rings.h), and counted if it was
 * made. */
void uring_making(void);
void uring_made(bool is_made);
