#pragma once
/* lock - mlockall and munlockall by their numbers.
 * Context: call.
 */

/* syscall(SYS_mlockall, flags). */
int lock_all(int flags);
/* syscall(SYS_munlockall). */
int lock_nothing(void);
