#pragma once
/* allocator - the program's memory allocator, as far as our thread can ask it to keep little for us.
 * Context: setup.
 */

/* The calling thread, which is ours: what it frees from now on goes back to the kernel at once. Of allocators that can be asked
 * for that (jemalloc); with others nothing happens. Before the thread has opened any library. */
void allocator_thread_begin(void);
