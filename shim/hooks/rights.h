#pragma once
/* rights - calls that change rights or namespaces, by other ways than their names.
 * Context: call.
 */

/* syscall() is about to change ids or groups of the calling thread. */
void rights_raw_call(void);
