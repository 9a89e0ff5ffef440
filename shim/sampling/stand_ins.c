/* libunwind 1.6.2 was not made for signal handlers. Read at its tag v1.6.2, unw_backtrace does this:
 *
 * - src/x86_64/Gtrace.c looks each address up in a cache of the thread. Where it is found, a step is three loads: no
 *   lock, no system call. Those loads are not checked: wrong unwind information can send them anywhere.
 * - The cache (262144 bytes of mmap, four times as much when half full) hangs on thread-local data that the loader
 *   allocates with malloc at first use, and is never emptied, even when a library goes and another comes to its place.
 * - An address that is not found takes one full step (src/dwarf/Gparser.c): a lock over all threads, sigprocmask around
 *   it, dl_iterate_phdr with the loader's lock, a mutex of a memory pool. Every load of that step, and every later one of
 *   the same walk, is checked first (src/x86_64/Ginit.c): mincore, then a byte written into a pipe of its own, which is
 *   opened at the first use. A program that closes all descriptors and opens its own makes libunwind read from, write to
 *   and close those.
 * - A frame that the cache cannot describe (an expression, as for PLT entries) ends it: the whole stack is walked again,
 *   step by step, with all of the above.
 * - A module without a table of frames makes it open and map the module's file.
 *
 * - Unwind information of a kind that it does not know makes it abort.
 *
 * So its imports are replaced, in its own linkage table, by the functions below. While a walk of ours is on (unwind_walk)
 * they answer from what we know: memory is readable if it is in use on the thread's stack or belongs to a module, else
 * the kernel is asked without any descriptor; modules come from the map; thread-local data and cache are those of our
 * state. A mutex that is not to be had within LOCK_ATTEMPTS makes the walk be given up, so no handler ever waits for
 * another thread; so does abort. At all other times they pass on to the true functions, and a program that uses the same
 * library sees no change.
 *
 * What remains, on a walk that meets a new address: mutexes, but never a wait for one; and mmap, once for a thread slot
 * and then when its cache grows.
 */
#include "stand_ins.h"

#include "modules.h"
#include "unwind.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define LOCK_ATTEMPTS 1000     /* some 20 us: several times what a thread needs that has not lost its core */
#define CACHE_BYTES_MIN 262144 /* 1 << 14 entries of 16 bytes (src/x86_64/Gtrace.c); nothing else asks for so much */

/* The true functions. W: stand_ins_install, before any use. */
static int (*true_mincore)(void *, size_t, unsigned char *);
static int (*true_msync)(void *, size_t, int);
static ssize_t (*true_read)(int, void *, size_t);
static long (*true_syscall)(long, ...);
static int (*true_pipe2)(int *, int);
static int (*true_close)(int);
static int (*true_open)(const char *, int, ...);
static int (*true_sigprocmask)(int, const sigset_t *, sigset_t *);
static int (*true_dl_iterate_phdr)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
static void *(*true_mmap)(void *, size_t, int, int, int, off_t);
static int (*true_munmap)(void *, size_t);
static int (*true_pthread_mutex_lock)(pthread_mutex_t *);
static int (*true_pthread_mutex_unlock)(pthread_mutex_t *);
static void (*true_abort)(void);
static int (*true_pthread_setspecific)(pthread_key_t, const void *);
static void *(*true_tls_get_addr)(void *);

static bool is_ours(void)
{
	return unwind_walk.state != NULL;
}

static bool is_own_stack(uintptr_t address, size_t bytes)
{
	uintptr_t low = (uintptr_t)unwind_walk.state->stack & ~(uintptr_t)(PAGE_BYTES - 1);

	return address >= low && address + bytes <= low + UNWIND_STACK_BYTES + PAGE_BYTES;
}

static bool is_known_stack(uintptr_t address, size_t bytes)
{
	uintptr_t low = unwind_walk.stack_low & ~(uintptr_t)(PAGE_BYTES - 1);
	uintptr_t high = (unwind_walk.stack_high + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);

	if (unwind_walk.stack_low >= unwind_walk.stack_high)
		return false;
	return address >= low && address < high && bytes <= high - address;
}

/* The kernel copies a signal mask in before it looks at what shall be done with it, and there is nothing that -1 stands
 * for: EINVAL if address is readable, EFAULT if not. Needs no descriptor, and no sandbox forbids it. */
static bool kernel_can_read(uintptr_t address)
{
	enum { KERNEL_MASK_BYTES = 8 };

	return syscall(SYS_rt_sigprocmask, -1, address, NULL, KERNEL_MASK_BYTES) != 0 && errno == EINVAL;
}

static int check_readable(uintptr_t address, size_t bytes)
{
	if (is_known_stack(address, bytes) || is_own_stack(address, bytes) || sig_modules_is_readable(address, bytes))
		return 0;
	for (size_t offset = 0; offset < bytes; offset += PAGE_BYTES)
		if (!kernel_can_read(address + offset)) {
			errno = ENOMEM;
			return -1;
		}
	return 0;
}

static int stand_in_mincore(void *address, size_t bytes, unsigned char *ret_present)
{
	return is_ours() ? check_readable((uintptr_t)address, bytes) : true_mincore(address, bytes, ret_present);
}

static int stand_in_msync(void *address, size_t bytes, int flags)
{
	return is_ours() ? check_readable((uintptr_t)address, bytes) : true_msync(address, bytes, flags);
}

/* The pipe: always empty, always takes a byte, never opened or closed. */
static ssize_t stand_in_read(int fd, void *buffer, size_t bytes)
{
	if (!is_ours())
		return true_read(fd, buffer, bytes);
	errno = EAGAIN;
	return -1;
}

static long stand_in_syscall(long number, ...)
{
	va_list list;
	long arguments[6];

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (is_ours() && number == SYS_write)
		return arguments[2];
	return true_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

static int stand_in_pipe2(int *ret_fds, int flags)
{
	return is_ours() ? 0 : true_pipe2(ret_fds, flags);
}

static int stand_in_close(int fd)
{
	return is_ours() ? 0 : true_close(fd);
}

static int stand_in_open(const char *path, int flags, ...)
{
	va_list list;

	if (is_ours()) {
		errno = ENOENT;
		return -1;
	}
	va_start(list, flags);
	unsigned mode = va_arg(list, unsigned);
	va_end(list);
	return true_open(path, flags, mode);
}

/* All that can be blocked is blocked: by the handler's mask, and by unwind_init for its first walk. */
static int stand_in_sigprocmask(int how, const sigset_t *mask, sigset_t *ret_old)
{
	if (!is_ours())
		return true_sigprocmask(how, mask, ret_old);
	if (ret_old)
		memset(ret_old, 0, sizeof(*ret_old));
	return 0;
}

static int stand_in_dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
	return is_ours() ? sig_modules_iterate(callback, data) : true_dl_iterate_phdr(callback, data);
}

/* By the kernel itself: mmap may be interposed by an allocator that takes locks. */
static void *stand_in_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (!is_ours())
		return true_mmap(address, bytes, protection, flags, fd, offset);
	void *memory = (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
	if (memory != MAP_FAILED && fd == -1 && bytes >= CACHE_BYTES_MIN) {
		unwind_walk.state->cache = memory;
		unwind_walk.state->cache_bytes = bytes;
	}
	return memory;
}

static int stand_in_munmap(void *address, size_t bytes)
{
	return is_ours() ? (int)syscall(SYS_munmap, address, bytes) : true_munmap(address, bytes);
}

/* Our cache stays with its state when the thread ends, so nothing must be told of it. */
static int stand_in_pthread_setspecific(pthread_key_t key, const void *value)
{
	return is_ours() ? 0 : true_pthread_setspecific(key, value);
}

void sig_unwind_let_go(void)
{
	while (unwind_walk.held_count)
		pthread_mutex_unlock(unwind_walk.held[--unwind_walk.held_count]);
}

__attribute__((noreturn)) static void give_up(void)
{
	sig_unwind_let_go();
	sig_escape(unwind_walk.escape);
}

static int stand_in_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	if (!is_ours())
		return true_pthread_mutex_lock(mutex);
	for (int i = 0; pthread_mutex_trylock(mutex) != 0; i++) {
		if (i == LOCK_ATTEMPTS)
			give_up();
		__builtin_ia32_pause();
	}
	if (unwind_walk.held_count == UNWIND_HELD_MAX) {
		pthread_mutex_unlock(mutex);
		give_up();
	}
	unwind_walk.held[unwind_walk.held_count++] = mutex;
	return 0;
}

/* Those taken last are given back first, as always in this library. */
static int stand_in_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (!is_ours())
		return true_pthread_mutex_unlock(mutex);
	if (unwind_walk.held_count && unwind_walk.held[unwind_walk.held_count - 1] == mutex)
		unwind_walk.held_count--;
	return pthread_mutex_unlock(mutex);
}

static void stand_in_abort(void)
{
	if (is_ours())
		give_up();
	true_abort();
}

/* x86-64 psABI, "thread-local storage": the general dynamic model passes the module and the offset in its block. */
struct tls_index {
	unsigned long module;
	unsigned long offset;
};

static void *stand_in_tls_get_addr(struct tls_index *index)
{
	struct unwind_state *state = unwind_walk.state;

	if (!state)
		return true_tls_get_addr(index);
	if (!state->has_tls) {
		memcpy(state->tls, unwinder.tls_image, unwinder.tls_image_bytes);
		state->has_tls = 1;
	}
	return state->tls + index->offset;
}

#define STAND_IN(name, is_needed) { #name, (void *)stand_in_##name, (void **)&true_##name, is_needed }
const struct stand_in sig_stand_ins[] = {
	STAND_IN(mincore, false),
	STAND_IN(msync, false),
	STAND_IN(read, false),
	STAND_IN(syscall, false),
	STAND_IN(pipe2, false),
	STAND_IN(close, false),
	STAND_IN(open, false),
	STAND_IN(sigprocmask, false),
	STAND_IN(dl_iterate_phdr, true),
	STAND_IN(mmap, true),
	STAND_IN(munmap, true),
	STAND_IN(pthread_mutex_lock, true),
	STAND_IN(pthread_mutex_unlock, true),
	STAND_IN(pthread_setspecific, true),
	STAND_IN(abort, false),
	{ "__tls_get_addr", (void *)stand_in_tls_get_addr, (void **)&true_tls_get_addr, true },
};
const size_t sig_stand_in_count = sizeof(sig_stand_ins) / sizeof(sig_stand_ins[0]);
