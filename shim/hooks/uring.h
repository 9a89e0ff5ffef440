#pragma once
/* uring - rings of io_uring, through which requests pass unseen: made, and handed work, by liburing or syscall().
 * Context: call.
 */

/* A ring is about to be made: counted, and noted as such before it can be found (setup/rings.h). */
void uring_making(void);

/* It was not made after all. The attempt stays counted. */
void uring_not_made(void);
