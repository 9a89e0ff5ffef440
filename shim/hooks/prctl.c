/* prctl - filters of system calls that the program installs (seccomp(2)). One that does not let a call of our hooks through makes
 * us silent in this process for good; not counted. Other uses pass through.
 */
#include "prctl.h"

#include "../setup/filter.h"
#include "../setup/process.h"
#include "hook.h"

#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

static void look_at_filter(const struct sock_fprog *filter, bool is_for_all)
{
	int saved_errno = errno;

	if (filter && !filter_can_be_read(filter)) {
		errno = saved_errno;
		return;
	}
	if (filter && process_is_self()) /* else it is that of a child of vfork */
		filter_note(filter);
	if (!filter || !filter_allows_us(filter))
		shim_goes_silent(is_for_all);
	else if (is_for_all && !filter_permits(FILTER_SERVING))
		shim_stops_serving();
	errno = saved_errno;
}

void prctl_seccomp(unsigned long operation, unsigned long flags, const void *filter)
{
	if (operation == SECCOMP_SET_MODE_STRICT)
		look_at_filter(NULL, false);
	else if (operation == SECCOMP_SET_MODE_FILTER && filter) /* NULL only asks whether there is such a call */
		look_at_filter(filter, flags & SECCOMP_FILTER_FLAG_TSYNC);
}

void prctl_begins(int option, unsigned long mode, const void *filter)
{
	if (option == PR_SET_SECCOMP)
		prctl_seccomp(mode == SECCOMP_MODE_STRICT ? SECCOMP_SET_MODE_STRICT : SECCOMP_SET_MODE_FILTER, 0, filter);
}

HOOK int prctl(int option, ...)
{
	unsigned long arguments[4];
	va_list list;

	va_start(list, option);
	for (int i = 0; i < 4; i++)
		arguments[i] = va_arg(list, unsigned long);
	va_end(list);
	real_need();
	if (!self.own_depth && !self.in_handler)
		prctl_begins(option, arguments[0], (const void *)arguments[1]);
	return real.prctl(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}
