#pragma once
/* exporter_library - libprofshim-exporter.so, wherever this process may still find it.
 * Context: setup.
 *
 * A worker that gave up its rights, or went into a chroot, may have to serve when its master is dead, and then cannot read
 * the file any more. So the file is mapped at start, which costs no descriptor and reads no page, and a process that
 * cannot open it by its path opens a copy in memory.
 */

/* Finds the file beside libprofshim.so and maps it; forks inherit that. Silent: what is wrong is told when it matters. */
void exporter_library_prepare(void);

/* The library's handle, opened at the first call; NULL: it cannot be had, one line was logged at the first call. */
void *exporter_library_open(void);
