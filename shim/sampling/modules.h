#pragma once
/* modules - which module lies where in this process, readable from the handler without any lock.
 * Context: setup for changes (at start and in the hooks of dlopen and dlclose), signal for lookups.
 * A map (module_map.h) is immutable and published by one pointer; an old one is freed once no handler can be reading it.
 *
 * Overlap: any calls with each other; each begin is ended by the same thread.
 */
#include <link.h>
#include <stdbool.h>
#include <stdint.h>

/* Takes a new map by the real dl_iterate_phdr and enters new modules into the segment's table. Where another thread is at
 * that, it does it once more, and this returns at once: no lock of ours is waited for. */
void modules_refresh(void);

/* The first time. has_just_begun: nothing was opened yet by the program itself. */
void modules_start(bool has_just_begun);

/* The same, if a handler met code of a module that is not in the map and the last such look is a second ago: the loader
 * opens libraries by itself (name services, character sets) where no hook sees it. One load when there is no need. */
void modules_refresh_if_stale(uint64_t now_ns);

/* The same, if there was no memory for a map: for our thread, since who computes may call no hook for long. While there is a map
 * it takes no lock, and so not the loader's, which the program may hold for as long as a constructor runs. */
void modules_refresh_if_missing(uint64_t now_ns);

/* Around the real dlclose and the refresh after it: while a module may vanish, handlers keep to the leaf. Begin waits for
 * walks in progress on other threads; they take microseconds, so what it waits for is a thread that lost its core. */
void modules_unload_begin(void);
void modules_unload_end(void);

/* Instead of the end: something was unloaded. Handlers keep to the leaf until the new map is there. */
void modules_unloaded(void);

/* Around the real dlopen and the refresh after it. Where something was unmapped before, the new module may come to lie, and
 * its constructors run before the map shows it; handlers then keep to the leaf. Where nothing was, this does nothing. */
void modules_open_begin(void);
void modules_open_end(void);
void modules_opened(void); /* instead of the end: something was opened */

/* The thread has left calls between their begin and end for good: by a jump, an exception, or its own end. */
void modules_abandon(void);

/* Around fork in the parent: no map is being drawn meanwhile, since the loader holds a lock then that a child would inherit
 * locked. Begin waits 1 s at most: the thread that forks may hold that lock itself, so that nobody else draws. */
void modules_fork_begin(void);
void modules_fork_end(void);

/* In the child of fork: handlers of the parent's other threads are gone in mid-walk. Returns how many they were. */
uint32_t modules_forked(void);

/* In the handler, before any call below: pins the map. False: a module may vanish just now, so no memory of any module
 * may be read (a walk does). sig_modules_leave follows in both cases. */
bool sig_modules_enter(void);
void sig_modules_leave(bool has_entered);

/* Frame key of pc (segment.h); is_return: pc is a return address, so its call instruction is meant. While a module may be
 * vanishing, another may already lie where the map shows the one: then only what never goes is known. */
uint64_t sig_modules_frame(uintptr_t pc, bool is_return);

/* pc lies in libprofshim.so itself. Never where profshim is part of the program, as in unit tests. */
bool sig_modules_is_own(uintptr_t pc);

/* pc lies in the C library, the loader or the vDSO: what an interposed call does on behalf of its caller. */
bool sig_modules_is_system(uintptr_t pc);

/* Some module has these bytes mapped readable. */
bool sig_modules_is_readable(uintptr_t address, size_t bytes);

/* Changes whenever an address in code may have come to mean another module's code than before. */
uint32_t sig_modules_epoch(void);

/* What dl_iterate_phdr must answer inside the handler: the map, without the loader's lock. Modules whose table of frames
 * is missing or not of the common kind are shown without one. */
int sig_modules_iterate(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data);
