/* lock - programs that lock all of their memory. Ours stays as it is (base/own_memory.h), so the program's is locked range by
 * range, as proc(5) tells them. Not counted.
 *
 * The kernel asks whether all that is mapped would be within RLIMIT_MEMLOCK, whatever then becomes of single ranges
 * (mm/mlock.c): so do we, without what is ours. Where the answer is no, or the ranges are not known, the call is made as it is.
 */
#include "lock.h"

#include "../base/own_memory.h"
#include "../base/permitted.h"
#include "hook.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

struct total {
	uint64_t bytes;
	unsigned flags; /* of mlock2(2) */
	bool is_refused;
};

typedef void each_range(struct total *total, uintptr_t begin, uintptr_t end);

static void add_range(struct total *total, uintptr_t begin, uintptr_t end)
{
	total->bytes += end - begin;
}

/* What cannot be made resident (ENOMEM, EAGAIN) is passed over by mlockall, too, and so is what is gone meanwhile. */
static void lock_range(struct total *total, uintptr_t begin, uintptr_t end)
{
	if (syscall(SYS_mlock2, begin, end - begin, total->flags) != 0 && errno != ENOMEM && errno != EAGAIN)
		total->is_refused = true;
}

static void each_of_programs(struct total *total, uintptr_t begin, uintptr_t end, each_range *each)
{
	while (begin < end) {
		struct own_range own = own_memory_in(begin, end);
		if (own.begin > begin)
			each(total, begin, own.begin);
		begin = own.end;
	}
}

/* "begin-end rights ...\n", read as it comes. */
struct line {
	uintptr_t addresses[2];
	int count; /* of those that are complete */
};

static void take_character(struct line *line, char c, struct total *total, each_range *each)
{
	if (c == '\n') {
		*line = (struct line){ 0 };
	} else if (line->count == 2) {
		return;
	} else if (c == '-' || c == ' ') {
		/* Above the program's half lies what the kernel shows it, vsyscall. */
		if (++line->count == 2 && line->addresses[1] <= INTPTR_MAX)
			each_of_programs(total, line->addresses[0], line->addresses[1], each);
	} else {
		line->addresses[line->count] = line->addresses[line->count] << 4 | (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
}

/* False: they cannot be read. */
static bool each_mapping(struct total *total, each_range *each)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct line line = { 0 };
	char buffer[1024];
	ssize_t bytes;

	if (fd < 0)
		return false;
	while ((bytes = real.read(fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t i = 0; i < bytes; i++)
			take_character(&line, buffer[i], total, each);
	real.close(fd);
	return bytes == 0;
}

static bool may_lock_anything(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	return permitted(SYS_capget) && syscall(SYS_capget, &header, data) == 0 && data[0].effective >> CAP_IPC_LOCK & 1;
}

static bool may_lock(uint64_t bytes)
{
	struct rlimit limit;

	return (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && bytes <= limit.rlim_cur) || may_lock_anything();
}

/* False: the kernel has to be asked for all. */
static bool lock_what_is_there(int flags)
{
	struct total total = { .flags = flags & MCL_ONFAULT ? MLOCK_ONFAULT : 0 };

	return permitted(SYS_mlock2) && each_mapping(&total, add_range) && may_lock(total.bytes) && each_mapping(&total, lock_range) &&
	       !total.is_refused;
}

/* To give up MCL_FUTURE takes the call as it is. */
static bool is_for_ranges(int flags)
{
	const int known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;

	return flags & MCL_CURRENT && !(flags & ~known) && (flags & MCL_FUTURE || !own_memory_is_future_locked());
}

static void unlock_own(void)
{
	for (uintptr_t at = 0; at < INTPTR_MAX;) {
		struct own_range own = own_memory_in(at, INTPTR_MAX);
		if (own.begin < own.end)
			own_memory_unlock(own.begin, own.end);
		at = own.end;
	}
}

static int lock(int flags)
{
	if (!is_for_ranges(flags) || !lock_what_is_there(flags)) {
		int result = real.mlockall(flags);
		if (result == 0)
			unlock_own();
		return result;
	}
	return flags & MCL_FUTURE ? real.mlockall(flags & ~MCL_CURRENT) : 0;
}

int lock_all(int flags)
{
	int saved_errno = errno;
	int result;

	real_need();
	if (self.own_depth || self.in_handler)
		return real.mlockall(flags);
	self.own_depth++;
	result = lock(flags);
	self.own_depth--;
	if (result != 0)
		return result;
	own_memory_lock_future(flags & MCL_FUTURE);
	errno = saved_errno;
	return 0;
}

int lock_nothing(void)
{
	real_need();
	int result = real.munlockall();
	if (result == 0 && !self.own_depth && !self.in_handler)
		own_memory_lock_future(false);
	return result;
}

HOOK int mlockall(int flags)
{
	return lock_all(flags);
}

HOOK int munlockall(void)
{
	return lock_nothing();
}
