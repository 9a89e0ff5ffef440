/* socket - the calls that make connections and move bytes through them. */
#include "hook.h"

#include "../requests/connection.h"
#include "../setup/decoders.h"
#include "../setup/descriptors.h"
#include "../setup/inherited.h"
#include "../setup/server.h"
#include "again.h"
#include "mask.h"
#include "tls.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>

/* Flags whose bytes are not (or not only now) taken out of the stream. */
static bool flags_leave_stream(int flags)
{
	return flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB);
}

static void track_received_unseen(const struct hook *hook, int fd, size_t bytes)
{
	if (!tls_takes(fd, NULL, 0, bytes))
		conn_received_unseen(fd, bytes, hook->end_ns);
}

static void track_send_failure(const struct hook *hook, int fd)
{
	if (!tls_takes_failure(fd, hook->saved_errno, false))
		conn_send_failed(fd, hook->saved_errno, hook->end_ns);
}

/* A call on fd begins. Within a call of a TLS library that works on fd, whose work it is has been said. True: fd is a
 * connection on which calls never wait. */
static inline bool receiving(int fd)
{
	return conn_is_tracked(fd) && (tls_is_own(fd) ? conn_never_waits(fd) : conn_receiving(fd));
}

static inline bool sending(int fd)
{
	return conn_is_tracked(fd) && (tls_is_own(fd) ? conn_never_waits(fd) : conn_sending(fd));
}

/* hook_enter of the calls that receive, and that send. */
static inline __attribute__((always_inline)) bool enter_receive(struct hook *hook, enum seg_call call, int fd)
{
	if (!hook_begin(hook, call))
		return false;
	hook_time_transfer(hook, receiving(fd));
	return true;
}

static inline __attribute__((always_inline)) bool enter_send(struct hook *hook, enum seg_call call, int fd)
{
	if (!hook_begin(hook, call))
		return false;
	hook_time_transfer(hook, sending(fd));
	return true;
}

static void track_received_seldom(const struct hook *hook, int fd, ssize_t result, int flags)
{
	if (flags_leave_stream(flags))
		return;
	if (result <= 0 && tls_takes_failure(fd, result < 0 ? hook->saved_errno : 0, result == 0))
		return;
	if (result < 0)
		conn_receive_failed(fd, hook->saved_errno, hook->end_ns);
	else if (result == 0)
		conn_received(fd, NULL, 0, 0, hook->end_ns);
	else /* thrown away unseen, tcp(7) */
		track_received_unseen(hook, fd, (size_t)result);
}

static inline void track_received(const struct hook *hook, int fd, const struct iovec *iov, size_t iov_count, ssize_t result,
				  int flags)
{
	if (__builtin_expect(result <= 0 || flags_leave_stream(flags) || flags & MSG_TRUNC, 0))
		track_received_seldom(hook, fd, result, flags);
	else if (!tls_takes(fd, iov, iov_count, (size_t)result))
		conn_received(fd, iov, iov_count, (size_t)result, hook->end_ns);
}

static inline void track_sent(const struct hook *hook, int fd, const struct iovec *iov, size_t iov_count, ssize_t result, int flags)
{
	if (flags & MSG_OOB)
		return;
	if (result < 0)
		track_send_failure(hook, fd);
	else if (result > 0 && !tls_takes(fd, iov, iov_count, (size_t)result))
		conn_sent(fd, iov, iov_count, (size_t)result, hook->end_ns);
}

static void track_sent_unseen(const struct hook *hook, int fd, ssize_t result)
{
	if (result < 0)
		track_send_failure(hook, fd);
	else if (result > 0 && !tls_takes(fd, NULL, 0, (size_t)result))
		conn_sent_unseen(fd, (size_t)result, hook->end_ns);
}

/* After the transfer of one buffer: the same for every call that has a descriptor and a buffer. */
static inline __attribute__((always_inline)) void finish_receive(struct hook *hook, int fd, void *buffer, ssize_t result, int flags)
{
	hook_returned(hook);
	if (conn_is_tracked(fd)) {
		struct iovec iov = { buffer, result > 0 ? (size_t)result : 0 };
		track_received(hook, fd, &iov, 1, result, flags);
	}
	hook_leave(hook);
}

static inline __attribute__((always_inline)) void finish_send(struct hook *hook, int fd, const void *buffer, ssize_t result, int flags)
{
	hook_returned(hook);
	if (conn_is_tracked(fd)) {
		struct iovec iov = { (void *)(uintptr_t)buffer, result > 0 ? (size_t)result : 0 };
		track_sent(hook, fd, &iov, 1, result, flags);
	}
	hook_leave(hook);
}

/* The same for one that is spread over iov. */
static inline __attribute__((always_inline)) void finish_send_of(struct hook *hook, int fd, const struct iovec *iov, size_t iov_count,
						     ssize_t result, int flags)
{
	hook_returned(hook);
	if (conn_is_tracked(fd))
		track_sent(hook, fd, iov, iov_count, result, flags);
	hook_leave(hook);
}

/* --- making connections --- */

static void accepted(struct hook *hook, int fd, int flags)
{
	hook_returned(hook);
	if (fd >= 0) {
		tls_descriptor_ends(fd);
		conn_accepted(fd, hook->end_ns);
		conn_waits_set(fd, !(flags & SOCK_NONBLOCK));
	} else {
		conn_accept_failed();
	}
	hook_leave(hook);
}

/* Sockets that our own code makes go where they are in nobody's way. */
static int raise_own(int fd)
{
	return self.own_depth ? descriptors_raise(fd) : fd;
}

/* A dormant program that serves clients wakes up; one that is profiled stands by to serve reports. */
static void became_server(void)
{
	int saved_errno = errno;

	if (self.own_depth)
		return;
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_DORMANT)
		shim_activate();
	if (atomic_load_explicit(&shim_state, memory_order_relaxed) == SHIM_ACTIVE) {
		atomic_store_explicit(&seg.head->has_listened, 1, memory_order_relaxed);
		decoders_need();
		server_offer();
	}
	errno = saved_errno;
}

HOOK int accept(int listener, struct sockaddr *restrict address, socklen_t *restrict bytes)
{
	struct hook hook;

	became_server();
	if (!hook_enter(&hook, SEG_CALL_ACCEPT))
		return real.accept(listener, address, bytes);
	conn_accepting();
	int fd = AGAIN(&hook, listener, POLLIN, 0, real.accept(listener, address, bytes));
	accepted(&hook, fd, 0);
	return fd;
}

HOOK int accept4(int listener, struct sockaddr *restrict address, socklen_t *restrict bytes, int flags)
{
	struct hook hook;

	became_server();
	if (!hook_enter(&hook, SEG_CALL_ACCEPT4))
		return raise_own(real.accept4(listener, address, bytes, flags));
	conn_accepting();
	int fd = AGAIN(&hook, listener, POLLIN, 0, real.accept4(listener, address, bytes, flags));
	accepted(&hook, fd, flags);
	return fd;
}

HOOK int listen(int fd, int backlog)
{
	struct hook hook;

	became_server();
	if (!hook_enter(&hook, SEG_CALL_LISTEN))
		return real.listen(fd, backlog);
	int result = real.listen(fd, backlog);
	hook_done(&hook);
	return result;
}

/* A connection was made or will be without another call: connect(2) goes on in the background after EINTR, too. */
static bool is_connecting(int result, int error)
{
	return result == 0 || error == EINPROGRESS || error == EINTR;
}

static bool is_stream(int fd, const struct sockaddr *address, socklen_t bytes)
{
	socklen_t type_bytes = sizeof(int);
	int type = 0;

	if (bytes < sizeof(address->sa_family))
		return false;
	if (address->sa_family != AF_INET && address->sa_family != AF_INET6 && address->sa_family != AF_UNIX)
		return false;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 && type == SOCK_STREAM;
}

HOOK int connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_CONNECT))
		return real.connect(fd, address, bytes);
	decoders_need();
	int result = again_connect(&hook, fd, address, bytes);
	hook_returned(&hook);
	if (is_connecting(result, hook.saved_errno) && is_stream(fd, address, bytes)) {
		tls_descriptor_ends(fd);
		conn_connecting(fd, address, bytes, hook.end_ns);
	}
	hook_leave(&hook);
	return result;
}

HOOK int socket(int domain, int type, int protocol)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SOCKET))
		return raise_own(real.socket(domain, type, protocol));
	int fd = real.socket(domain, type, protocol);
	hook_returned(&hook);
	/* The number of a connection that was closed where we could not see it (fclose, close_range). */
	if (fd >= 0 && conn_is_tracked(fd)) {
		tls_descriptor_ends(fd);
		conn_closing(fd, hook.end_ns);
	}
	hook_leave(&hook);
	return fd;
}

/* Not counted: libmicrohttpd's goes where our sockets go. */
HOOK int epoll_create1(int flags)
{
	real_need();
	return raise_own(real.epoll_create1(flags));
}

HOOK int shutdown(int fd, int how)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SHUTDOWN))
		return real.shutdown(fd, how);
	int result = real.shutdown(fd, how);
	hook_returned(&hook);
	if (result == 0 && conn_is_tracked(fd))
		conn_shut_down(fd, how, hook.end_ns);
	hook_leave(&hook);
	return result;
}

/* --- receiving --- */

/* How threads wake each other by a descriptor: with eight bytes through an eventfd(2), or one through a pipe. Of other
 * threads than those that answer what others read nobody needs to know where they rest. */
static inline bool is_rest(int fd, size_t bytes)
{
	return self.foreign && bytes <= sizeof(uint64_t) && !conn_is_tracked(fd);
}

static inline void read_signals(void *buffer, ssize_t result)
{
	if (__builtin_expect(atomic_load_explicit(&mask_is_read, memory_order_relaxed), 0) && result > 0)
		mask_translate_read(buffer, (size_t)result);
}

static APART ssize_t tracked_read(int fd, void *buffer, size_t bytes)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_READ, fd))
		return real.read(fd, buffer, bytes);
	bool is_resting = is_rest(fd, bytes);
	if (is_resting)
		work_wait(WORK_PLACE_WORD | (uint32_t)fd, hook.start_ns);
	ssize_t result = AGAIN(&hook, fd, POLLIN, 0, real.read(fd, buffer, bytes));
	read_signals(buffer, result);
	if (is_resting && result > 0)
		work_woken();
	finish_receive(&hook, fd, buffer, result, 0);
	return result;
}

HOOK ssize_t read(int fd, void *buffer, size_t bytes)
{
	return shim_is_out() ? real.read(fd, buffer, bytes) : tracked_read(fd, buffer, bytes);
}

static APART ssize_t tracked_recv(int fd, void *buffer, size_t bytes, int flags)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_RECV, fd))
		return real.recv(fd, buffer, bytes, flags);
	ssize_t result = AGAIN(&hook, fd, POLLIN, flags, real.recv(fd, buffer, bytes, flags));
	if (again_may_have_rest(result) && flags & MSG_WAITALL)
		result = again_receive_rest(&hook, fd, buffer, bytes, flags, result);
	finish_receive(&hook, fd, buffer, result, flags);
	return result;
}

HOOK ssize_t recv(int fd, void *buffer, size_t bytes, int flags)
{
	return shim_is_out() ? real.recv(fd, buffer, bytes, flags) : tracked_recv(fd, buffer, bytes, flags);
}

static APART ssize_t tracked_recvfrom(int fd, void *restrict buffer, size_t bytes, int flags,
				      struct sockaddr *restrict address, socklen_t *restrict address_bytes)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_RECVFROM, fd))
		return real.recvfrom(fd, buffer, bytes, flags, address, address_bytes);
	ssize_t result = AGAIN(&hook, fd, POLLIN, flags, real.recvfrom(fd, buffer, bytes, flags, address, address_bytes));
	finish_receive(&hook, fd, buffer, result, flags);
	return result;
}

HOOK ssize_t recvfrom(int fd, void *restrict buffer, size_t bytes, int flags, struct sockaddr *restrict address,
		      socklen_t *restrict address_bytes)
{
	return shim_is_out() ? real.recvfrom(fd, buffer, bytes, flags, address, address_bytes) :
			       tracked_recvfrom(fd, buffer, bytes, flags, address, address_bytes);
}

/* What fortified programs call (-D_FORTIFY_SOURCE): the size of the buffer is checked by the real ones. */
HOOK ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes);
HOOK ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes, int flags);
HOOK ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t bytes, size_t buffer_bytes, int flags,
			    struct sockaddr *restrict address, socklen_t *restrict address_bytes);

static APART ssize_t tracked_read_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_READ_CHK, fd))
		return real.__read_chk(fd, buffer, bytes, buffer_bytes);
	ssize_t result = AGAIN(&hook, fd, POLLIN, 0, real.__read_chk(fd, buffer, bytes, buffer_bytes));
	read_signals(buffer, result);
	finish_receive(&hook, fd, buffer, result, 0);
	return result;
}

HOOK ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes)
{
	return shim_is_out() ? real.__read_chk(fd, buffer, bytes, buffer_bytes) :
			       tracked_read_chk(fd, buffer, bytes, buffer_bytes);
}

static APART ssize_t tracked_recv_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes, int flags)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_RECV_CHK, fd))
		return real.__recv_chk(fd, buffer, bytes, buffer_bytes, flags);
	ssize_t result = AGAIN(&hook, fd, POLLIN, flags, real.__recv_chk(fd, buffer, bytes, buffer_bytes, flags));
	if (again_may_have_rest(result) && flags & MSG_WAITALL)
		result = again_receive_rest(&hook, fd, buffer, bytes, flags, result);
	finish_receive(&hook, fd, buffer, result, flags);
	return result;
}

HOOK ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t buffer_bytes, int flags)
{
	return shim_is_out() ? real.__recv_chk(fd, buffer, bytes, buffer_bytes, flags) :
			       tracked_recv_chk(fd, buffer, bytes, buffer_bytes, flags);
}

static APART ssize_t tracked_recvfrom_chk(int fd, void *restrict buffer, size_t bytes, size_t buffer_bytes,
					  int flags, struct sockaddr *restrict address,
					  socklen_t *restrict address_bytes)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_RECVFROM_CHK, fd))
		return real.__recvfrom_chk(fd, buffer, bytes, buffer_bytes, flags, address, address_bytes);
	ssize_t result = AGAIN(&hook, fd, POLLIN, flags, real.__recvfrom_chk(fd, buffer, bytes, buffer_bytes, flags, address, address_bytes));
	finish_receive(&hook, fd, buffer, result, flags);
	return result;
}

HOOK ssize_t __recvfrom_chk(int fd, void *restrict buffer, size_t bytes, size_t buffer_bytes, int flags,
			    struct sockaddr *restrict address, socklen_t *restrict address_bytes)
{
	return shim_is_out() ? real.__recvfrom_chk(fd, buffer, bytes, buffer_bytes, flags, address, address_bytes) :
			       tracked_recvfrom_chk(fd, buffer, bytes, buffer_bytes, flags, address, address_bytes);
}

static APART ssize_t tracked_readv(int fd, const struct iovec *iov, int iov_count)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_READV, fd))
		return real.readv(fd, iov, iov_count);
	ssize_t result = AGAIN(&hook, fd, POLLIN, 0, real.readv(fd, iov, iov_count));
	hook_returned(&hook);
	if (conn_is_tracked(fd))
		track_received(&hook, fd, iov, (size_t)iov_count, result, 0);
	hook_leave(&hook);
	return result;
}

HOOK ssize_t readv(int fd, const struct iovec *iov, int iov_count)
{
	return shim_is_out() ? real.readv(fd, iov, iov_count) : tracked_readv(fd, iov, iov_count);
}

/* Descriptors travel beside a message: SCM_RIGHTS, unix(7). */
static void each_passed(const struct hook *hook, const struct msghdr *message, void (*passed)(const struct hook *, int))
{
	struct msghdr *written = (struct msghdr *)(uintptr_t)message; /* CMSG_NXTHDR takes no const */

	if (message->msg_controllen < sizeof(struct cmsghdr))
		return;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(written, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0))
			continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
			passed(hook, fd);
		}
	}
}

static void take_passed(const struct hook *hook, int fd)
{
	tls_descriptor_ends(fd);
	if (inherited_is_connection(fd))
		conn_accepted(fd, hook->end_ns);
	else if (conn_is_tracked(fd)) /* a number whose close we did not see */
		conn_closing(fd, hook->end_ns);
}

static void give_passed(const struct hook *hook, int fd)
{
	if (conn_is_tracked(fd))
		conn_passed(fd, hook->end_ns);
}

static APART ssize_t tracked_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct hook hook;

	if (!enter_receive(&hook, SEG_CALL_RECVMSG, fd))
		return real.recvmsg(fd, message, flags);
	ssize_t result = AGAIN(&hook, fd, POLLIN, flags, real.recvmsg(fd, message, flags));
	hook_returned(&hook);
	if (conn_is_tracked(fd))
		track_received(&hook, fd, result > 0 ? message->msg_iov : NULL, result > 0 ? message->msg_iovlen : 0, result, flags);
	if (result >= 0)
		each_passed(&hook, message, take_passed);
	hook_leave(&hook);
	return result;
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return shim_is_out() ? real.recvmsg(fd, message, flags) : tracked_recvmsg(fd, message, flags);
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_RECVMMSG))
		return real.recvmmsg(fd, messages, count, flags, timeout);
	receiving(fd);
	int result = AGAIN(&hook, fd, POLLIN, flags, real.recvmmsg(fd, messages, count, flags, timeout));
	hook_returned(&hook);
	if (conn_is_tracked(fd)) {
		if (result < 0)
			track_received(&hook, fd, NULL, 0, result, flags);
		for (int i = 0; i < result; i++)
			track_received(&hook, fd, messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen, messages[i].msg_len,
				       flags);
	}
	for (int i = 0; i < result; i++)
		each_passed(&hook, &messages[i].msg_hdr, take_passed);
	hook_leave(&hook);
	return result;
}

/* --- sending --- */

static APART ssize_t tracked_write(int fd, const void *buffer, size_t bytes)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_WRITE, fd))
		return real.write(fd, buffer, bytes);
	ssize_t result = AGAIN(&hook, fd, POLLOUT, 0, real.write(fd, buffer, bytes));
	if (again_may_have_rest(result))
		result = again_send_rest(&hook, fd, buffer, bytes, 0, result, again_write);
	finish_send(&hook, fd, buffer, result, 0);
	return result;
}

HOOK ssize_t write(int fd, const void *buffer, size_t bytes)
{
	return shim_is_out() ? real.write(fd, buffer, bytes) : tracked_write(fd, buffer, bytes);
}

static APART ssize_t tracked_send(int fd, const void *buffer, size_t bytes, int flags)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_SEND, fd))
		return real.send(fd, buffer, bytes, flags);
	ssize_t result = AGAIN(&hook, fd, POLLOUT, flags, real.send(fd, buffer, bytes, flags));
	if (again_may_have_rest(result))
		result = again_send_rest(&hook, fd, buffer, bytes, flags, result, real.send);
	finish_send(&hook, fd, buffer, result, flags);
	return result;
}

HOOK ssize_t send(int fd, const void *buffer, size_t bytes, int flags)
{
	return shim_is_out() ? real.send(fd, buffer, bytes, flags) : tracked_send(fd, buffer, bytes, flags);
}

static APART ssize_t tracked_sendto(int fd, const void *buffer, size_t bytes, int flags,
				    const struct sockaddr *address, socklen_t address_bytes)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_SENDTO, fd))
		return real.sendto(fd, buffer, bytes, flags, address, address_bytes);
	ssize_t result = AGAIN(&hook, fd, POLLOUT, flags, real.sendto(fd, buffer, bytes, flags, address, address_bytes));
	if (again_may_have_rest(result))
		result = again_send_rest(&hook, fd, buffer, bytes, flags, result, real.send);
	finish_send(&hook, fd, buffer, result, flags);
	return result;
}

HOOK ssize_t sendto(int fd, const void *buffer, size_t bytes, int flags, const struct sockaddr *address,
		    socklen_t address_bytes)
{
	return shim_is_out() ? real.sendto(fd, buffer, bytes, flags, address, address_bytes) :
			       tracked_sendto(fd, buffer, bytes, flags, address, address_bytes);
}

static APART ssize_t tracked_writev(int fd, const struct iovec *iov, int iov_count)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_WRITEV, fd))
		return real.writev(fd, iov, iov_count);
	ssize_t result = AGAIN(&hook, fd, POLLOUT, 0, real.writev(fd, iov, iov_count));
	if (again_may_have_rest(result))
		result = again_send_rest_of(&hook, fd, iov, (size_t)iov_count, 0, result, again_write);
	finish_send_of(&hook, fd, iov, (size_t)iov_count, result, 0);
	return result;
}

HOOK ssize_t writev(int fd, const struct iovec *iov, int iov_count)
{
	return shim_is_out() ? real.writev(fd, iov, iov_count) : tracked_writev(fd, iov, iov_count);
}

static APART ssize_t tracked_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_SENDMSG, fd))
		return real.sendmsg(fd, message, flags);
	ssize_t result = AGAIN(&hook, fd, POLLOUT, flags, real.sendmsg(fd, message, flags));
	if (again_may_have_rest(result))
		result = again_send_rest_of(&hook, fd, message->msg_iov, message->msg_iovlen, flags, result, real.send);
	hook_returned(&hook);
	if (conn_is_tracked(fd))
		track_sent(&hook, fd, result > 0 ? message->msg_iov : NULL, result > 0 ? message->msg_iovlen : 0, result, flags);
	if (result >= 0)
		each_passed(&hook, message, give_passed);
	hook_leave(&hook);
	return result;
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return shim_is_out() ? real.sendmsg(fd, message, flags) : tracked_sendmsg(fd, message, flags);
}

HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SENDMMSG))
		return real.sendmmsg(fd, messages, count, flags);
	sending(fd);
	int result = AGAIN(&hook, fd, POLLOUT, flags, real.sendmmsg(fd, messages, count, flags));
	hook_returned(&hook);
	if (conn_is_tracked(fd)) {
		if (result < 0)
			track_send_failure(&hook, fd);
		for (int i = 0; i < result; i++)
			track_sent(&hook, fd, messages[i].msg_hdr.msg_iov, messages[i].msg_hdr.msg_iovlen, messages[i].msg_len, flags);
	}
	hook_leave(&hook);
	return result;
}

static APART ssize_t tracked_sendfile(int to, int from, off_t *offset, size_t bytes)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_SENDFILE, to))
		return real.sendfile(to, from, offset, bytes);
	ssize_t result = AGAIN(&hook, to, POLLOUT, 0, real.sendfile(to, from, offset, bytes));
	uint32_t handlers_run = again_handlers_run();
	while (again_may_have_rest(result) && (size_t)result < bytes && again_goes_on(to, 0, handlers_run)) {
		ssize_t more = AGAIN(&hook, to, POLLOUT, 0, real.sendfile(to, from, offset, bytes - (size_t)result));
		if (more <= 0)
			break;
		result += more;
	}
	hook_returned(&hook);
	if (conn_is_tracked(to))
		track_sent_unseen(&hook, to, result);
	hook_leave(&hook);
	return result;
}

HOOK ssize_t sendfile(int to, int from, off_t *offset, size_t bytes)
{
	return shim_is_out() ? real.sendfile(to, from, offset, bytes) : tracked_sendfile(to, from, offset, bytes);
}

HOOK ssize_t sendfile64(int to, int from, off64_t *offset, size_t bytes)
{
	struct hook hook;

	if (!enter_send(&hook, SEG_CALL_SENDFILE64, to))
		return real.sendfile64(to, from, offset, bytes);
	ssize_t result = AGAIN(&hook, to, POLLOUT, 0, real.sendfile64(to, from, offset, bytes));
	uint32_t handlers_run = again_handlers_run();
	while (again_may_have_rest(result) && (size_t)result < bytes && again_goes_on(to, 0, handlers_run)) {
		ssize_t more = AGAIN(&hook, to, POLLOUT, 0, real.sendfile64(to, from, offset, bytes - (size_t)result));
		if (more <= 0)
			break;
		result += more;
	}
	hook_returned(&hook);
	if (conn_is_tracked(to))
		track_sent_unseen(&hook, to, result);
	hook_leave(&hook);
	return result;
}

HOOK ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes, unsigned flags)
{
	struct hook hook;

	if (!hook_enter(&hook, SEG_CALL_SPLICE))
		return real.splice(from, from_offset, to, to_offset, bytes, flags);
	ssize_t result = real.splice(from, from_offset, to, to_offset, bytes, flags);
	hook_returned(&hook);
	if (result > 0 && conn_is_tracked(from))
		track_received_unseen(&hook, from, (size_t)result);
	if (conn_is_tracked(to))
		track_sent_unseen(&hook, to, result);
	hook_leave(&hook);
	return result;
}
