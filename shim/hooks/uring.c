/* liburing enters the kernel by instructions of its own, and much of what it offers are inline functions; these are the
 * ones that make a ring or hand it work. Those that it calls itself count once. Rings that are made without any of them
 * are found by what they map (setup/rings.h).
 */
#include "uring.h"

#include "foreign.h"
#include "hook.h"

#include <errno.h>
#include <signal.h>

struct io_uring;
struct io_uring_params;
struct io_uring_cqe;
struct __kernel_timespec;
struct io_uring_reg_wait;

HOOK int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
HOOK int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params);
HOOK int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *params, void *memory,
				 size_t bytes);
HOOK int io_uring_setup(unsigned entries, struct io_uring_params *params);
HOOK int io_uring_enter(unsigned fd, unsigned submits, unsigned completes, unsigned flags, sigset_t *mask);
HOOK int io_uring_enter2(unsigned fd, unsigned submits, unsigned completes, unsigned flags, sigset_t *mask, size_t mask_bytes);
HOOK int io_uring_submit(struct io_uring *ring);
HOOK int io_uring_submit_and_wait(struct io_uring *ring, unsigned waits);
HOOK int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_event, unsigned waits,
					  struct __kernel_timespec *timeout, sigset_t *mask);
HOOK int io_uring_submit_and_get_events(struct io_uring *ring);
HOOK int io_uring_submit_and_wait_reg(struct io_uring *ring, struct io_uring_cqe **ret_event, unsigned waits, int index);
HOOK int io_uring_submit_and_wait_min_timeout(struct io_uring *ring, struct io_uring_cqe **ret_event, unsigned waits,
					      struct __kernel_timespec *timeout, unsigned min_us, sigset_t *mask);

#define TRUE_FUNCTION(library, name) ((__typeof__(&name))foreign_function(library, FOREIGN_##name))
#define CALLER __builtin_return_address(0)
#define FIND() foreign_find(FOREIGN_LIBURING, NULL, CALLER)

static bool is_seen(const struct foreign_library *library, const void *caller)
{
	return library && !foreign_is_inside(library, caller) && hook_may_see();
}

void uring_making(void)
{
	if (thread_process)
		atomic_fetch_add_explicit(&thread_process->rings_counted, 1, memory_order_relaxed);
}

void uring_made(bool is_made)
{
	if (is_made)
		thread_count(SEG_COUNTER_BLIND_IO_URING);
	else if (thread_process)
		atomic_fetch_sub_explicit(&thread_process->rings_counted, 1, memory_order_relaxed);
}

static void note_submission(const struct foreign_library *library, const void *caller)
{
	if (is_seen(library, caller))
		thread_count(SEG_COUNTER_BLIND_IO_URING);
}

/* True: to be ended by end_making. */
static bool begin_making(const struct foreign_library *library, const void *caller)
{
	if (!is_seen(library, caller))
		return false;
	uring_making();
	return true;
}

static int end_making(bool is_begun, int result)
{
	if (is_begun)
		uring_made(result >= 0);
	return result;
}

HOOK int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_queue_init) function = TRUE_FUNCTION(library, io_uring_queue_init);

	if (!function)
		return -ENOSYS;
	bool is_begun = begin_making(library, CALLER);
	return end_making(is_begun, function(entries, ring, flags));
}

HOOK int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_queue_init_params) function = TRUE_FUNCTION(library, io_uring_queue_init_params);

	if (!function)
		return -ENOSYS;
	bool is_begun = begin_making(library, CALLER);
	return end_making(is_begun, function(entries, ring, params));
}

HOOK int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *params, void *memory,
				 size_t bytes)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_queue_init_mem) function = TRUE_FUNCTION(library, io_uring_queue_init_mem);

	if (!function)
		return -ENOSYS;
	bool is_begun = begin_making(library, CALLER);
	return end_making(is_begun, function(entries, ring, params, memory, bytes));
}

HOOK int io_uring_setup(unsigned entries, struct io_uring_params *params)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_setup) function = TRUE_FUNCTION(library, io_uring_setup);

	if (!function)
		return -ENOSYS;
	bool is_begun = begin_making(library, CALLER);
	return end_making(is_begun, function(entries, params));
}

HOOK int io_uring_enter(unsigned fd, unsigned submits, unsigned completes, unsigned flags, sigset_t *mask)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_enter) function = TRUE_FUNCTION(library, io_uring_enter);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(fd, submits, completes, flags, mask);
}

HOOK int io_uring_enter2(unsigned fd, unsigned submits, unsigned completes, unsigned flags, sigset_t *mask, size_t mask_bytes)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_enter2) function = TRUE_FUNCTION(library, io_uring_enter2);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(fd, submits, completes, flags, mask, mask_bytes);
}

HOOK int io_uring_submit(struct io_uring *ring)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_submit) function = TRUE_FUNCTION(library, io_uring_submit);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(ring);
}

HOOK int io_uring_submit_and_wait(struct io_uring *ring, unsigned waits)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_submit_and_wait) function = TRUE_FUNCTION(library, io_uring_submit_and_wait);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(ring, waits);
}

HOOK int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_event, unsigned waits,
					  struct __kernel_timespec *timeout, sigset_t *mask)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_submit_and_wait_timeout) function = TRUE_FUNCTION(library, io_uring_submit_and_wait_timeout);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(ring, ret_event, waits, timeout, mask);
}

HOOK int io_uring_submit_and_get_events(struct io_uring *ring)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_submit_and_get_events) function = TRUE_FUNCTION(library, io_uring_submit_and_get_events);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(ring);
}

HOOK int io_uring_submit_and_wait_reg(struct io_uring *ring, struct io_uring_cqe **ret_event, unsigned waits, int index)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_submit_and_wait_reg) function = TRUE_FUNCTION(library, io_uring_submit_and_wait_reg);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(ring, ret_event, waits, index);
}

HOOK int io_uring_submit_and_wait_min_timeout(struct io_uring *ring, struct io_uring_cqe **ret_event, unsigned waits,
					      struct __kernel_timespec *timeout, unsigned min_us, sigset_t *mask)
{
	const struct foreign_library *library = FIND();
	__typeof__(&io_uring_submit_and_wait_min_timeout) function = TRUE_FUNCTION(library, io_uring_submit_and_wait_min_timeout);

	if (!function)
		return -ENOSYS;
	note_submission(library, CALLER);
	return function(ring, ret_event, waits, timeout, min_us, mask);
}
