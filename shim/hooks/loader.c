/* loader - libraries that come and go while handlers walk stacks through them.
 *
 * dlopen and dlmopen have a hidden argument: their return address tells the loader whose RUNPATH to search and what $ORIGIN
 * means.
 * Called from here that would be ours. So where it matters (a caller with a RUNPATH or RPATH, and a name that is searched
 * for or expanded) the hook must vanish from the stack: it jumps into the real function, which then returns straight to the
 * program, and the new modules are looked at when the program next waits. Everywhere else it calls and looks at once.
 * The decision has to be made before any frame of ours is set up, hence the entries in assembly.
 *
 * Constructors and destructors may leave by a jump, by an exception, or end the thread: then what the hook began is ended
 * by the next hook of the thread that finds its frame gone (hook.h), or by the thread's end.
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
typedef void *dlmopen_function(Lmid_t, const char *, int);

static _Atomic uint64_t jumped_ns; /* when the last jump was, 0 = all is looked at */

/* Of the outermost call of the loader that is on in this thread; 0 = none. */
static __thread uintptr_t outermost __attribute__((tls_model("initial-exec")));

void loader_forget(uintptr_t here)
{
	if (!outermost || !hook_is_gone(outermost, here))
		return;
	outermost = 0;
	modules_abandon();
}

static void loader_entered(const struct hook *hook)
{
	loader_forget((uintptr_t)hook);
	if (!outermost)
		outermost = (uintptr_t)hook;
}

static void loader_left(const struct hook *hook)
{
	if (outermost == (uintptr_t)hook)
		outermost = 0;
}

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

static void finish_open(struct hook *hook, const void *library, int flags)
{
	hook_returned(hook);
	if (library && !(flags & RTLD_NOLOAD)) {
		modules_opened();
		foreign_forget();
	} else {
		modules_open_end();
	}
	hook_leave(hook);
}

static void *open_and_look(const char *file, int flags)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_DLOPEN))
		return real.dlopen(file, flags);
	loader_entered(&hook);
	modules_open_begin();
	void *library = real.dlopen(file, flags);
	finish_open(&hook, library, flags);
	loader_left(&hook);
	return library;
}

static void *open_elsewhere_and_look(Lmid_t namespace, const char *file, int flags)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_DLMOPEN))
		return real.dlmopen(namespace, file, flags);
	loader_entered(&hook);
	modules_open_begin();
	void *library = real.dlmopen(namespace, file, flags);
	finish_open(&hook, library, flags);
	loader_left(&hook);
	return library;
}

static bool is_to_be_seen(void)
{
	real_need();
	return atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE && !self.own_depth;
}

static void jump(enum seg_call call)
{
	struct hook hook;

	if (hook_enter(&hook, call))
		hook_done(&hook);
	atomic_store_explicit(&jumped_ns, clock_now_ns(), memory_order_relaxed);
}

/* Where the entries are to jump. */
#define CHOICE __attribute__((used, visibility("hidden")))
CHOICE dlopen_function *loader_choose(const char *file, const void *caller);
CHOICE dlmopen_function *loader_choose_elsewhere(const char *file, const void *caller);

dlopen_function *loader_choose(const char *file, const void *caller)
{
	if (!is_to_be_seen())
		return real.dlopen;
	if (!caller_matters(file, caller))
		return open_and_look;
	jump(SEG_CALL_DLOPEN);
	return real.dlopen;
}

dlmopen_function *loader_choose_elsewhere(const char *file, const void *caller)
{
	if (!is_to_be_seen())
		return real.dlmopen;
	if (!caller_matters(file, caller))
		return open_elsewhere_and_look;
	jump(SEG_CALL_DLMOPEN);
	return real.dlmopen;
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
/* file: the register of the argument that names the library. */
#define ENTRY(name, file, choose)                                                                                      \
	".globl " name "\n"                                                                                            \
	".type " name ", @function\n"                                                                                  \
	name ":\n"                                                                                                     \
	"	.cfi_startproc\n"                                                                                       \
	"	push %rdi\n"                                                                                            \
	"	.cfi_adjust_cfa_offset 8\n"                                                                             \
	"	push %rsi\n"                                                                                            \
	"	.cfi_adjust_cfa_offset 8\n"                                                                             \
	"	push %rdx\n"                                                                                            \
	"	.cfi_adjust_cfa_offset 8\n"                                                                             \
	"	mov " file ", %rdi\n"                                                                                   \
	"	mov 24(%rsp), %rsi\n"                                                                                   \
	"	call " choose "\n"                                                                                      \
	"	pop %rdx\n"                                                                                             \
	"	.cfi_adjust_cfa_offset -8\n"                                                                            \
	"	pop %rsi\n"                                                                                             \
	"	.cfi_adjust_cfa_offset -8\n"                                                                            \
	"	pop %rdi\n"                                                                                             \
	"	.cfi_adjust_cfa_offset -8\n"                                                                            \
	"	jmp *%rax\n"                                                                                            \
	"	.cfi_endproc\n"                                                                                         \
	".size " name ", . - " name "\n"
__asm__(".text\n" ENTRY("dlopen", "%rdi", "loader_choose") ENTRY("dlmopen", "%rsi", "loader_choose_elsewhere"));
#else
#error "the entries of dlopen and dlmopen are written for x86-64"
#endif

HOOK int dlclose(void *library)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_DLCLOSE))
		return real.dlclose(library);
	loader_entered(&hook);
	modules_unload_begin();
	int result = real.dlclose(library);
	hook_returned(&hook);
	if (result == 0) {
		modules_unloaded();
		foreign_forget();
	} else {
		modules_unload_end();
	}
	hook_leave(&hook);
	loader_left(&hook);
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
