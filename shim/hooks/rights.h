#pragma once
/* rights - calls that change rights or namespaces, by other ways than their names, and those that our thread takes the
 * room of.
 * Context: call.
 */
#include <stdbool.h>

/* syscall() is about to change ids or groups of the calling thread. */
void rights_raw_call(void);

/* A process or thread could not be made (EAGAIN): RLIMIT_NPROC and the cgroup's limit count our thread, too. True: it has
 * stepped aside, the call is worth another try, and rights_room_is_used follows. errno is kept by both. */
bool rights_make_room(void);
void rights_room_is_used(void);
