/* Setup for walks: where the stacks end, the states, and libunwind with its imports replaced.
 *
 * libunwind is opened, not linked: as a dependency of a preloaded library it would take over the C++ exceptions of the
 * program's plugins.
 */
#include "unwind.h"

#include "../base/real.h"
#include "../base/thread.h"
#include "../base/log.h"
#include "../base/own_memory.h"
#include "modules.h"
#include "stand_ins.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LIBRARY "libunwind.so.8"
#define PAGE_BYTES 4096
#define STACK_GAP_BYTES (128UL << 20) /* kept free below the main stack by the kernel: mmap_base in arch/x86/mm/mmap.c */
#define STACK_BYTES_USUAL (8UL << 20)

/* --- stacks --- */

/* The file name of the program lies above everything else on the main thread's stack. */
static void find_main_stack(void)
{
	struct rlimit limit;
	uintptr_t top = (uintptr_t)getauxval(AT_EXECFN);
	uintptr_t bytes = STACK_GAP_BYTES;

	if (!top)
		return;
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < bytes)
		bytes = limit.rlim_cur;
	unwinder.main_tid = (uint32_t)getpid();
	unwinder.main_stack_high = (top + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
	unwinder.main_stack_low = unwinder.main_stack_high - bytes;
}

static void find_thread_stack_size(void)
{
	pthread_attr_t attributes;
	size_t bytes = 0;

	unwinder.thread_stack_bytes = STACK_BYTES_USUAL;
	if (pthread_getattr_default_np(&attributes))
		return;
	if (pthread_attr_getstacksize(&attributes, &bytes) == 0 && bytes)
		unwinder.thread_stack_bytes = bytes;
	pthread_attr_destroy(&attributes);
}

static bool make_states(void)
{
	uint32_t count = seg.slots[SEG_TABLE_THREADS].count; /* more threads than that have no slot of their own */
	size_t bytes = count * (sizeof(struct unwind_state) + sizeof(*unwinder.owners));
	void *memory = own_memory_map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	if (memory == MAP_FAILED)
		return false;
	unwinder.states = memory;
	unwinder.owners = (_Atomic uint32_t *)(unwinder.states + count);
	unwinder.state_count = count;
	return true;
}

/* --- imports --- */

/* What of a loaded library is looked at. glibc has turned the offsets in its dynamic section into addresses. */
struct library {
	uintptr_t bias;
	const ElfW(Phdr) *headers;
	size_t header_count;
	const ElfW(Sym) *symbols;
	const char *names;
	const ElfW(Rela) *relocations[2]; /* data, calls */
	size_t relocation_count[2];
};

static int find_headers(struct dl_phdr_info *info, size_t size, void *data)
{
	struct library *library = data;

	(void)size;
	if (info->dlpi_addr != library->bias)
		return 0;
	library->headers = info->dlpi_phdr;
	library->header_count = info->dlpi_phnum;
	return 1;
}

static int library_init(struct library *library, void *handle)
{
	struct link_map *map;

	if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0)
		return -EINVAL;
	*library = (struct library){ .bias = map->l_addr };
	for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
		uintptr_t value = entry->d_un.d_val;
		switch (entry->d_tag) {
		case DT_SYMTAB: library->symbols = (const ElfW(Sym) *)value; break;
		case DT_STRTAB: library->names = (const char *)value; break;
		case DT_RELA: library->relocations[0] = (const ElfW(Rela) *)value; break;
		case DT_RELASZ: library->relocation_count[0] = value / sizeof(ElfW(Rela)); break;
		case DT_JMPREL: library->relocations[1] = (const ElfW(Rela) *)value; break;
		case DT_PLTRELSZ: library->relocation_count[1] = value / sizeof(ElfW(Rela)); break;
		default: break;
		}
	}
	real.dl_iterate_phdr(find_headers, library);
	return library->symbols && library->names && library->headers ? 0 : -EINVAL;
}

static const ElfW(Phdr) *find_header(const struct library *library, ElfW(Word) type)
{
	for (size_t i = 0; i < library->header_count; i++)
		if (library->headers[i].p_type == type)
			return &library->headers[i];
	return NULL;
}

static bool is_read_only(const struct library *library, uintptr_t address)
{
	const ElfW(Phdr) *relro = find_header(library, PT_GNU_RELRO);
	uintptr_t low = relro ? library->bias + relro->p_vaddr : 0;

	return relro && address >= low && address < low + relro->p_memsz;
}

static int point_at(const struct library *library, void **place, void *function)
{
	void *page = (void *)((uintptr_t)place & ~(uintptr_t)(PAGE_BYTES - 1));

	if (mprotect(page, PAGE_BYTES, PROT_READ | PROT_WRITE) != 0)
		return -errno;
	*place = function;
	if (is_read_only(library, (uintptr_t)place) && mprotect(page, PAGE_BYTES, PROT_READ) != 0)
		return -errno;
	return 0;
}

/* How many places refer to the import, or -errno. */
static int replace_import(const struct library *library, const struct stand_in *stand_in)
{
	int count = 0;

	for (int kind = 0; kind < 2; kind++)
		for (size_t i = 0; i < library->relocation_count[kind]; i++) {
			const ElfW(Rela) *relocation = &library->relocations[kind][i];
			unsigned type = ELF64_R_TYPE(relocation->r_info);
			const ElfW(Sym) *symbol = &library->symbols[ELF64_R_SYM(relocation->r_info)];
			if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT)
				continue;
			if (strcmp(library->names + symbol->st_name, stand_in->name) != 0)
				continue;
			int error = point_at(library, (void **)(library->bias + relocation->r_offset), stand_in->function);
			if (error)
				return error;
			count++;
		}
	return count;
}

int stand_ins_install(void *handle)
{
	struct library library;
	int error = library_init(&library, handle);

	if (error)
		return error;
	const ElfW(Phdr) *tls = find_header(&library, PT_TLS);
	if (tls && tls->p_memsz > UNWIND_TLS_BYTES)
		return -ENOSPC;
	if (tls) {
		unwinder.tls_image = (const void *)(library.bias + tls->p_vaddr);
		unwinder.tls_image_bytes = tls->p_filesz;
	}
	/* All that is needed is looked up before anything is changed. */
	for (size_t i = 0; i < sig_stand_in_count; i++)
		if (!(*sig_stand_ins[i].original = dlsym(RTLD_DEFAULT, sig_stand_ins[i].name)))
			return -ENOENT;
	for (size_t i = 0; i < sig_stand_in_count; i++) {
		int count = replace_import(&library, &sig_stand_ins[i]);
		if (count < 0 || (count == 0 && sig_stand_ins[i].is_needed))
			return count < 0 ? count : -ENOENT;
	}
	return 0;
}

/* --- libunwind --- */

/* One walk with all signals blocked, for what the library does only once: its locks, pools and tables. */
static bool warm_up(int (*backtrace)(void **, int))
{
	sigset_t all, old;
	struct unwind_state *state = sig_unwind_begin();
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (!state)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	bool has_entered = sig_modules_enter();
	int found = has_entered ? sig_unwind_library(backtrace, state, here, here) : 0;
	sig_modules_leave(has_entered);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	sig_unwind_end(state);
	return found > 0;
}

static void say_why_not(const char *what, const char *why)
{
	thread_count(SEG_COUNTER_FAULT_UNWIND);
	log_line(SEG_LOG_WARN, LIBRARY " %s, stacks are followed by frame pointers and may be incomplete: %s", what, why);
}

static void open_library(void)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		say_why_not("cannot be opened", dlerror());
		return;
	}
	modules_refresh(); /* it must be found in the map when it walks over itself */
	int (*backtrace)(void **, int) = (int (*)(void **, int))dlsym(handle, "unw_backtrace");
	void **space = dlsym(handle, "_ULx86_64_local_addr_space");
	unwinder.flush = (void (*)(void *, uintptr_t, uintptr_t))dlsym(handle, "_Ux86_64_flush_cache");
	int error = backtrace && space && unwinder.flush ? stand_ins_install(handle) : -ENOENT;
	if (error) {
		say_why_not("is of an unknown build", strerror(-error));
		return;
	}
	unwinder.space = *space;
	atomic_store_explicit(&unwinder.flushed_epoch, sig_modules_epoch(), memory_order_relaxed);
	if (!warm_up(backtrace)) {
		say_why_not("does not work", "it finds nothing on its own stack");
		return;
	}
	atomic_store_explicit(&unwinder.backtrace, backtrace, memory_order_release);
}

bool unwind_init(const char *name)
{
	find_main_stack();
	find_thread_stack_size();
	if (!make_states())
		return false;
	unwinder.has_tables = strcmp(name, "fp") != 0;
	atomic_store_explicit(&unwinder.has_pointers, strcmp(name, "tables") != 0, memory_order_relaxed);
	if (strcmp(name, "libunwind") == 0)
		open_library();
	return true;
}

void unwind_tell(void)
{
	static const struct {
		enum unwind_way way;
		const char *text;
	} lines[] = {
		{ UNWIND_BY_POINTERS, "stacks are not followed by frame pointers any more: they led to memory that cannot be read" },
		{ UNWIND_BY_RULES, "samples show no callers any more: walks over stacks met memory that cannot be read" },
		{ UNWIND_BY_LIBRARY, LIBRARY " is not used any more, stacks are followed by rules: it met memory that cannot be read" },
	};
	uint32_t untold = atomic_load_explicit(&unwinder.untold, memory_order_relaxed);

	if (!untold)
		return;
	untold = atomic_exchange_explicit(&unwinder.untold, 0, memory_order_relaxed);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (untold & lines[i].way)
			log_line(SEG_LOG_WARN, "process %d: %s", (int)getpid(), lines[i].text);
}

void unwind_thread_stop(void)
{
	struct unwind_state *own = unwind_walk.own;

	unwind_walk.own = NULL;
	if (own)
		atomic_store_explicit(&unwinder.owners[own - unwinder.states], 0, memory_order_release);
}

void unwind_reclaim(void)
{
	pid_t pid = getpid();

	for (uint32_t i = 1; i < unwinder.state_count; i++) {
		uint32_t tid = atomic_load_explicit(&unwinder.owners[i], memory_order_relaxed);
		if (tid && syscall(SYS_tgkill, pid, tid, 0) != 0 && errno == ESRCH)
			atomic_store_explicit(&unwinder.owners[i], 0, memory_order_release);
	}
}

void unwind_forked(bool is_torn)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	/* Whichever thread forked is the child's main thread, but its stack is what it was. */
	unwinder.main_tid = here >= unwinder.main_stack_low && here < unwinder.main_stack_high ? (uint32_t)getpid() : 0;
	for (uint32_t i = 0; i < unwinder.state_count; i++) {
		struct unwind_state *state = &unwinder.states[i];
		bool is_own = state == unwind_walk.own;
		/* Those that were never in use stay pages that were never touched; a child has no thread that could come between. */
		uint32_t owner = atomic_load_explicit(&unwinder.owners[i], memory_order_relaxed);
		if (owner || is_own)
			atomic_store_explicit(&unwinder.owners[i], is_own ? self.tid : 0, memory_order_relaxed);
		if ((owner || i == 0) && !is_own && atomic_load_explicit(&state->is_busy, memory_order_relaxed))
			memset(state, 0, sizeof(*state));
	}
	if (is_torn && atomic_exchange_explicit(&unwinder.backtrace, NULL, memory_order_release))
		log_line(SEG_LOG_INFO, "forked in the middle of a stack walk, this process follows frame pointers");
}
