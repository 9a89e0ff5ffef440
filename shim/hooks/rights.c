/* rights - the calls by which a program gives up rights, or enters namespaces. A second thread, ours, would make some of
 * them fail that succeed without it; then it steps aside (setup/aside.h). Not counted, and nothing of theirs is changed.
 *
 *   set*id    glibc makes every thread do the same, and aborts where they do not all succeed or all fail: ours fails where it
 *             has lost capabilities that the program kept (PR_SET_KEEPCAPS)
 *   capset    what the program gives up our thread would keep
 *   setns     into a mount namespace by whoever shares its root and directory with nobody, into a user or time namespace by a
 *             process of one thread (setns(2))
 *   unshare   of a user namespace, or of what threads share, by a process of one thread (unshare(2))
 */
#include "hook.h"

#include "../setup/aside.h"
#include "../setup/process.h"
#include "../setup/server.h"
#include "rights.h"

#include <grp.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum { PATIENCE_MS = 2000 }; /* longer than a report takes; the thread ends within a millisecond when it is idle */

/* The program's own call, in a process that has a thread of ours. Not in a child of vfork: the thread is its parent's. */
static bool may_concern(void)
{
	return !self.own_depth && !self.in_handler && server_thread_count() && process_is_self();
}

static bool step_aside(void)
{
	int saved_errno = errno;

	self.own_depth++;
	server_step_aside(PATIENCE_MS);
	self.own_depth--;
	errno = saved_errno;
	return true;
}

static void step_back(bool is_aside)
{
	int saved_errno = errno;

	if (!is_aside)
		return;
	self.own_depth++;
	server_step_back();
	self.own_depth--;
	errno = saved_errno;
}

/* Rights of two threads that differ would lead to an abort. */
static bool make_way_for_ids(void)
{
	int saved_errno = errno;
	bool is_needed = may_concern() && aside_is_needed();

	errno = saved_errno;
	return is_needed && step_aside();
}

#define CALL_ALONE(call)                                                                                               \
	__extension__({                                                                                                \
		bool is_aside_ = make_way_for_ids();                                                                   \
		int result_ = call;                                                                                    \
		step_back(is_aside_);                                                                                  \
		result_;                                                                                               \
	})

HOOK int setuid(uid_t id)
{
	real_need();
	return CALL_ALONE(real.setuid(id));
}

HOOK int setgid(gid_t id)
{
	real_need();
	return CALL_ALONE(real.setgid(id));
}

HOOK int seteuid(uid_t id)
{
	real_need();
	return CALL_ALONE(real.seteuid(id));
}

HOOK int setegid(gid_t id)
{
	real_need();
	return CALL_ALONE(real.setegid(id));
}

HOOK int setreuid(uid_t id, uid_t effective)
{
	real_need();
	return CALL_ALONE(real.setreuid(id, effective));
}

HOOK int setregid(gid_t id, gid_t effective)
{
	real_need();
	return CALL_ALONE(real.setregid(id, effective));
}

HOOK int setresuid(uid_t id, uid_t effective, uid_t saved)
{
	real_need();
	return CALL_ALONE(real.setresuid(id, effective, saved));
}

HOOK int setresgid(gid_t id, gid_t effective, gid_t saved)
{
	real_need();
	return CALL_ALONE(real.setresgid(id, effective, saved));
}

HOOK int setgroups(size_t count, const gid_t *groups)
{
	real_need();
	return CALL_ALONE(real.setgroups(count, groups));
}

HOOK int initgroups(const char *user, gid_t group)
{
	real_need();
	return CALL_ALONE(real.initgroups(user, group));
}

/* Of the calling thread alone, as prctl(2) and the rest of capabilities(7). A program of one thread has given them up as a
 * whole, and so our thread must not keep them. */
HOOK int capset(void *header, const void *data);

HOOK int capset(void *header, const void *data)
{
	real_need();
	int result = real.capset(header, data);
	int saved_errno = errno;
	bool is_aside = result == 0 && may_concern() && aside_has_more_rights() && step_aside();
	step_back(is_aside);
	errno = saved_errno;
	return result;
}

/* By syscall(): of the calling thread alone. */
void rights_raw_call(void)
{
	aside_rights_changed();
}

bool rights_make_room(void)
{
	return may_concern() && step_aside();
}

void rights_room_is_used(void)
{
	step_back(true);
}

static bool wants_one_thread(int flags)
{
	return flags & (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM);
}

HOOK int unshare(int flags)
{
	real_need();
	bool is_aside = wants_one_thread(flags) && may_concern() && step_aside();
	int result = real.unshare(flags);
	step_back(is_aside);
	return result;
}

/* Of which kind fd is; kind as the caller has it, 0 = he leaves it to the kernel. */
static bool enters_alone(int fd, int kind)
{
	int saved_errno = errno;
	int found = kind ? kind : ioctl(fd, NS_GET_NSTYPE);

	errno = saved_errno;
	return found < 0 || found & (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWTIME);
}

HOOK int setns(int fd, int kind)
{
	real_need();
	bool is_aside = may_concern() && enters_alone(fd, kind) && step_aside();
	int result = real.setns(fd, kind);
	step_back(is_aside);
	return result;
}
