#pragma once
/* rings - finds rings of io_uring that the session's processes made by system calls of their own, and counts each as one
 * blind call.
 * Context: setup; by the serving thread.
 *
 * Whoever uses a ring has its submission entries mapped, at an offset that nothing else is mapped at
 * (IORING_OFF_SQES, io_uring_setup(2)); a process that has more of those than were ever counted made some unseen. So what
 * is counted is a lower bound: rings of which nothing is left when we look are not found, nor those in memory that the
 * program gave (IORING_SETUP_NO_MMAP), nor as many as were counted and are gone. A process whose /proc we may not read is
 * not looked at.
 */

/* Looks, unless it last did so recently: it takes at most a hundredth of the time. */
void rings_look(void);
