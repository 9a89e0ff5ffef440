#pragma once
/* real - the true libc functions behind those that profshim interposes, under the same names.
 * Context: signal once resolved; real_resolve: setup, or the first hook called before our constructor.
 * A function that this libc lacks is NULL: epoll_pwait2 before glibc 2.35, close_range and closefrom before 2.34; their hooks
 * answer ENOSYS.
 */
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>

struct dl_phdr_info;

/* X(result, name, parameters) */
#define REAL_FUNCTIONS(X)                                                                                              \
	X(int, accept, (int, struct sockaddr *, socklen_t *))                                                          \
	X(int, accept4, (int, struct sockaddr *, socklen_t *, int))                                                    \
	X(int, connect, (int, const struct sockaddr *, socklen_t))                                                     \
	X(int, listen, (int, int))                                                                                     \
	X(int, socket, (int, int, int))                                                                                \
	X(ssize_t, read, (int, void *, size_t))                                                                        \
	X(ssize_t, readv, (int, const struct iovec *, int))                                                            \
	X(ssize_t, recv, (int, void *, size_t, int))                                                                   \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))                               \
	X(ssize_t, recvmsg, (int, struct msghdr *, int))                                                               \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *))                                    \
	X(ssize_t, __read_chk, (int, void *, size_t, size_t))                                                          \
	X(ssize_t, __recv_chk, (int, void *, size_t, size_t, int))                                                     \
	X(ssize_t, __recvfrom_chk, (int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *))                 \
	X(ssize_t, write, (int, const void *, size_t))                                                                 \
	X(ssize_t, writev, (int, const struct iovec *, int))                                                           \
	X(ssize_t, send, (int, const void *, size_t, int))                                                             \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t))                       \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int))                                                         \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned, int))                                                       \
	X(ssize_t, sendfile, (int, int, off_t *, size_t))                                                              \
	X(ssize_t, sendfile64, (int, int, off64_t *, size_t))                                                          \
	X(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned))                                         \
	X(int, close, (int))                                                                                           \
	X(int, close_range, (unsigned, unsigned, int))                                                                 \
	X(void, closefrom, (int))                                                                                      \
	X(int, fclose, (FILE *))                                                                                       \
	X(FILE *, fdopen, (int, const char *))                                                                         \
	X(ssize_t, vmsplice, (int, const struct iovec *, size_t, unsigned))                                            \
	X(long, syscall, (long, ...))                                                                                  \
	X(int, shutdown, (int, int))                                                                                   \
	X(int, dup, (int))                                                                                             \
	X(int, dup2, (int, int))                                                                                       \
	X(int, dup3, (int, int, int))                                                                                  \
	X(int, fcntl, (int, int, ...))                                                                                 \
	X(int, fcntl64, (int, int, ...))                                                                               \
	X(int, epoll_create1, (int))                                                                                   \
	X(int, epoll_wait, (int, struct epoll_event *, int, int))                                                      \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))                                   \
	X(int, epoll_pwait2, (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))              \
	X(int, poll, (struct pollfd *, nfds_t, int))                                                                   \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))                            \
	X(int, __poll_chk, (struct pollfd *, nfds_t, int, size_t))                                                     \
	X(int, __ppoll_chk, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t))              \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                                          \
	X(int, pselect, (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))                \
	X(int, pthread_create, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))                       \
	X(int, thrd_create, (thrd_t *, thrd_start_t, void *))                                                          \
	X(int, pthread_cond_wait, (pthread_cond_t *, pthread_mutex_t *))                                               \
	X(int, pthread_cond_timedwait, (pthread_cond_t *, pthread_mutex_t *, const struct timespec *))                 \
	X(int, pthread_cond_clockwait, (pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *))      \
	X(int, sem_wait, (sem_t *))                                                                                    \
	X(int, sem_timedwait, (sem_t *, const struct timespec *))                                                      \
	X(int, sem_clockwait, (sem_t *, clockid_t, const struct timespec *))                                           \
	X(int, sigaction, (int, const struct sigaction *, struct sigaction *))                                         \
	X(sighandler_t, __sysv_signal, (int, sighandler_t))                                                            \
	X(sighandler_t, sigset, (int, sighandler_t))                                                                   \
	X(int, sigignore, (int))                                                                                       \
	X(int, siginterrupt, (int, int))                                                                               \
	X(sighandler_t, signal, (int, sighandler_t))                                                                   \
	X(int, sigprocmask, (int, const sigset_t *, sigset_t *))                                                       \
	X(int, pthread_sigmask, (int, const sigset_t *, sigset_t *))                                                   \
	X(int, sigpending, (sigset_t *))                                                                               \
	X(int, sigwait, (const sigset_t *, int *))                                                                     \
	X(int, sigwaitinfo, (const sigset_t *, siginfo_t *))                                                           \
	X(int, sigtimedwait, (const sigset_t *, siginfo_t *, const struct timespec *))                                 \
	X(int, sigsuspend, (const sigset_t *))                                                                         \
	X(int, signalfd, (int, const sigset_t *, int))                                                                 \
	X(int, pthread_attr_setsigmask_np, (pthread_attr_t *, const sigset_t *))                                       \
	X(int, pthread_attr_getsigmask_np, (const pthread_attr_t *, sigset_t *))                                       \
	X(int, posix_spawn, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,      \
			     char *const[], char *const[]))                                                            \
	X(int, posix_spawnp, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,     \
			      char *const[], char *const[]))                                                           \
	X(int, nanosleep, (const struct timespec *, struct timespec *))                                                \
	X(int, clock_nanosleep, (clockid_t, int, const struct timespec *, struct timespec *))                          \
	X(int, thrd_sleep, (const struct timespec *, struct timespec *))                                               \
	X(int, semop, (int, struct sembuf *, size_t))                                                                  \
	X(int, semtimedop, (int, struct sembuf *, size_t, const struct timespec *))                                    \
	X(pid_t, fork, (void))                                                                                         \
	X(void *, dlopen, (const char *, int))                                                                         \
	X(void *, dlmopen, (long /* Lmid_t */, const char *, int))                                                     \
	X(int, dlclose, (void *))                                                                                      \
	X(int, dl_iterate_phdr, (int (*)(struct dl_phdr_info *, size_t, void *), void *))                              \
	X(int, execve, (const char *, char *const[], char *const[]))                                                   \
	X(int, execvpe, (const char *, char *const[], char *const[]))                                                  \
	X(int, execveat, (int, const char *, char *const[], char *const[], int))                                       \
	X(int, fexecve, (int, char *const[], char *const[]))                                                           \
	X(void, _exit, (int))                                                                                          \
	X(int, setuid, (uid_t))                                                                                        \
	X(int, setgid, (gid_t))                                                                                        \
	X(int, seteuid, (uid_t))                                                                                       \
	X(int, setegid, (gid_t))                                                                                       \
	X(int, setreuid, (uid_t, uid_t))                                                                               \
	X(int, setregid, (gid_t, gid_t))                                                                               \
	X(int, setresuid, (uid_t, uid_t, uid_t))                                                                       \
	X(int, setresgid, (gid_t, gid_t, gid_t))                                                                       \
	X(int, setgroups, (size_t, const gid_t *))                                                                     \
	X(int, initgroups, (const char *, gid_t))                                                                      \
	X(int, mlockall, (int))                                                                                        \
	X(int, munlockall, (void))                                                                                     \
	X(int, timer_create, (clockid_t, struct sigevent *, timer_t *))                                                \
	X(int, sigqueue, (pid_t, int, union sigval))                                                                   \
	X(int, pthread_sigqueue, (pthread_t, int, union sigval))                                                       \
	X(int, capset, (void *, const void *))                                                                         \
	X(int, clone, (int (*)(void *), void *, int, void *, ...))                                                     \
	X(int, unshare, (int))                                                                                         \
	X(int, setns, (int, int))                                                                                      \
	X(int, prctl, (int, ...))                                                                                      \
	X(int, system, (const char *))                                                                                 \
	X(FILE *, popen, (const char *, const char *))                                                                 \
	X(int, daemon, (int, int))

/* X(name): those that glibc for x86-64 keeps in the form of its beginnings besides (GLIBC_2.2.5), whose objects are not those of
 * today's: condition variables, timers. Where there is none it is today's. */
#define REAL_OLDER_FUNCTIONS(X)                                                                                        \
	X(posix_spawn)                                                                                                 \
	X(posix_spawnp)                                                                                                \
	X(pthread_cond_wait)                                                                                           \
	X(pthread_cond_timedwait)                                                                                      \
	X(timer_create)

#define REAL_POINTER(result, name, parameters) result(*name) parameters;
#define REAL_OLDER_POINTER(name) __typeof__(name) *name;
struct real {
	REAL_FUNCTIONS(REAL_POINTER)
	struct {
		REAL_OLDER_FUNCTIONS(REAL_OLDER_POINTER)
	} older;
};
extern struct real real __attribute__((visibility("hidden")));

/* Overlap: any number of threads; all find the same. Called again by what it calls itself, it does nothing. */
void real_resolve(void);

/* Whether all have been looked up, so that NULL means that there is none. Another thread may be about it: W: real_resolve,
 * release. */
extern _Atomic bool real_is_known __attribute__((visibility("hidden")));

static inline bool real_is_resolved(void)
{
	return atomic_load_explicit(&real_is_known, memory_order_acquire);
}

/* Before a call through real that may come before our constructor. */
static inline void real_need(void)
{
	if (!real_is_resolved())
		real_resolve();
}
