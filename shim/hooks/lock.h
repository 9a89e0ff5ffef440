#pragma once
/* lock - mlockall by its number.
 * Context: call.
 */

/* syscall(SYS_mlockall, flags). */
int lock_all(int flags);
