/* loader - libraries that come and go while handlers walk stacks through them.
 *
 * dlopen has a hidden argument: its return address tells the loader whose RUNPATH to search and what $ORIGIN means.
 * Called from here that would be ours. So where it matters (a caller with a RUNPATH or RPATH, and a name that is searched
 * for or expanded) the hook must vanish from the stack: it jumps into the real dlopen, which then returns straight to the
 * program, and the new modules are looked at when the program next waits. Everywhere else it calls and looks at once.
 * The decision has to be made before any frame of ours is set up, hence the entry in assembly.
 */
#include "loader.h"

#include "foreign.h"
#include "hook.h"

#include "../sampling/modules.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

enum { SETTLE_NS = 1000000000 }; /* how long after a jump a module may still appear */

typedef void *dlopen_function(const char *, int);

static _Atomic uint64_t jumped_ns; /* when the last jump was, 0 = all is looked at */

static bool has_search_path(const struct link_map *map)
{
	for (const ElfW(Dyn) *entry = map->l_ld; entry && entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_RUNPATH || entry->d_tag == DT_RPATH)
			return true;
	return false;
}

static bool caller_matters(const char *file, const void *caller)
{
	struct link_map *map = NULL;
	Dl_info info;

	if (!file || (strchr(file, '/') && !strchr(file, '$')))
		return false;
	return !dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || has_search_path(map);
}

static void *open_and_look(const char *file, int flags)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_DLOPEN))
		return real.dlopen(file, flags);
	modules_open_begin();
	void *library = real.dlopen(file, flags);
	hook_returned(&hook);
	if (library && !(flags & RTLD_NOLOAD)) {
		modules_refresh();
		foreign_forget();
	}
	modules_open_end();
	hook_leave(&hook);
	return library;
}

/* Where the entry is to jump. */
__attribute__((used, visibility("hidden"))) dlopen_function *loader_choose(const char *file, int flags, const void *caller);

dlopen_function *loader_choose(const char *file, int flags, const void *caller)
{
	struct hook hook;

	(void)flags;
	if (!real.dlopen)
		real_resolve();
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE || self.own_depth)
		return real.dlopen;
	if (!caller_matters(file, caller))
		return open_and_look;
	if (hook_enter(&hook, SEG_CALL_DLOPEN))
		hook_done(&hook);
	atomic_store_explicit(&jumped_ns, clock_now_ns(), memory_order_relaxed);
	return real.dlopen;
}

void loader_settle(void)
{
	uint64_t since_ns = atomic_load_explicit(&jumped_ns, memory_order_relaxed);

	if (!since_ns || atomic_load_explicit(&shim_state, memory_order_relaxed) != SHIM_ACTIVE)
		return;
	self.own_depth++;
	modules_refresh();
	foreign_forget();
	self.own_depth--;
	if (clock_now_ns() - since_ns > SETTLE_NS)
		atomic_compare_exchange_strong_explicit(&jumped_ns, &since_ns, 0, memory_order_relaxed, memory_order_relaxed);
}

#if defined(__x86_64__)
__asm__(".text\n"
	".globl dlopen\n"
	".type dlopen, @function\n"
	"dlopen:\n"
	"	.cfi_startproc\n"
	"	mov (%rsp), %rdx\n"
	"	push %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	push %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	sub $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call loader_choose\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size dlopen, . - dlopen\n");
#else
#error "the entry of dlopen is written for x86-64"
#endif

HOOK int dlclose(void *library)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_DLCLOSE))
		return real.dlclose(library);
	modules_unload_begin();
	int result = real.dlclose(library);
	hook_returned(&hook);
	modules_refresh();
	foreign_forget();
	modules_unload_end();
	hook_leave(&hook);
	return result;
}

HOOK int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
	struct hook hook;

	/* The unwinder asks in the handler, where the loader's lock must not be taken. */
	if (self.in_handler)
		return sig_modules_iterate(callback, data);
	if (!hook_enter(&hook, SEG_CALL_DL_ITERATE_PHDR))
		return real.dl_iterate_phdr(callback, data);
	int result = real.dl_iterate_phdr(callback, data);
	hook_done(&hook);
	return result;
}
