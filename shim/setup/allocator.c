/* jemalloc keeps what a thread frees for ten seconds, in whole pages, and some of it for the thread alone. Libraries that are
 * opened allocate for a moment what would then stay: over half a MiB. So our thread has an arena to itself, whose free pages
 * are not kept, and no cache (jemalloc(3)). What the program's threads use is left as it is.
 */
#include "allocator.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* 0, or an error number and nothing was changed. */
typedef int mallctl_function(const char *name, void *ret_old, size_t *ret_old_bytes, void *value, size_t value_bytes);

static mallctl_function *find(void)
{
	mallctl_function *function;

	*(void **)&function = dlsym(RTLD_DEFAULT, "mallctl");
	return function;
}

static void keep_no_pages(mallctl_function *mallctl, unsigned arena, const char *kind)
{
	ssize_t at_once = 0;
	char name[64];

	snprintf(name, sizeof(name), "arena.%u.%s_decay_ms", arena, kind);
	mallctl(name, NULL, NULL, &at_once, sizeof(at_once));
}

/* Of the process and its forks, made once: none is ever taken away. 0 = there is none, since that number is main's. */
static unsigned arena_for_us(mallctl_function *mallctl)
{
	static unsigned made;
	unsigned arena = 0;
	size_t bytes = sizeof(arena);

	if (made || mallctl("arenas.create", &arena, &bytes, NULL, 0) != 0)
		return made;
	keep_no_pages(mallctl, arena, "dirty");
	keep_no_pages(mallctl, arena, "muzzy");
	return made = arena;
}

void allocator_thread_begin(void)
{
	mallctl_function *mallctl = find();
	unsigned arena = mallctl ? arena_for_us(mallctl) : 0;
	bool has_cache = false;

	if (arena && mallctl("thread.arena", NULL, NULL, &arena, sizeof(arena)) == 0)
		mallctl("thread.tcache.enabled", NULL, NULL, &has_cache, sizeof(has_cache));
}
