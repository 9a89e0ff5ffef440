#pragma once
/* foreign - the true functions of libraries that profshim interposes and is not linked with: libssl, libgnutls, liburing.
 * Context: call. Allocates nothing; the loader's list is read by dl_iterate_phdr when a call comes from a place that was
 * not seen before, and not otherwise.
 *
 * RTLD_NEXT would not do: a library that was opened by dlopen(RTLD_LOCAL), such as Python's _ssl brings along, is not in
 * that scope, and a process may hold two libssl. So every loaded module that defines the functions is known, with the
 * addresses of them all, and a call goes to the module that
 *   - is the only one; else
 *   - made the object that is worked on: OpenSSL's objects begin with pointers to tables in their library; else
 *   - is needed by the caller's module (DT_NEEDED).
 * A module between profshim and the first whole library that defines some of the functions interposes them like we do: it
 * comes first, as the loader would have it.
 * A place in the code calls one library for all its life, so the answer is remembered by return address.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names: X(name). The first is what a whole library must define. */
#define FOREIGN_OPENSSL_NAMES(X)                                                                                       \
	X(SSL_new)                                                                                                     \
	X(SSL_do_handshake)                                                                                            \
	X(SSL_accept)                                                                                                  \
	X(SSL_connect)                                                                                                 \
	X(SSL_read)                                                                                                    \
	X(SSL_read_ex)                                                                                                 \
	X(SSL_peek)                                                                                                    \
	X(SSL_peek_ex)                                                                                                 \
	X(SSL_write)                                                                                                   \
	X(SSL_write_ex)                                                                                                \
	X(SSL_sendfile)                                                                                                \
	X(SSL_read_early_data)                                                                                         \
	X(SSL_write_early_data)                                                                                        \
	X(SSL_shutdown)                                                                                                \
	X(SSL_free)                                                                                                    \
	X(SSL_get_rfd)                                                                                                 \
	X(SSL_get_wfd)                                                                                                 \
	X(SSL_get_shutdown)                                                                                            \
	X(SSL_in_before)                                                                                               \
	X(SSL_get_client_random)

#define FOREIGN_GNUTLS_NAMES(X)                                                                                        \
	X(gnutls_init)                                                                                                 \
	X(gnutls_handshake)                                                                                            \
	X(gnutls_record_recv)                                                                                          \
	X(gnutls_record_recv_seq)                                                                                      \
	X(gnutls_record_recv_packet)                                                                                   \
	X(gnutls_record_recv_early_data)                                                                               \
	X(gnutls_record_send)                                                                                          \
	X(gnutls_record_send2)                                                                                         \
	X(gnutls_record_send_range)                                                                                    \
	X(gnutls_record_send_file)                                                                                     \
	X(gnutls_record_send_early_data)                                                                               \
	X(gnutls_record_cork)                                                                                          \
	X(gnutls_record_uncork)                                                                                        \
	X(gnutls_bye)                                                                                                  \
	X(gnutls_deinit)                                                                                               \
	X(gnutls_packet_get)                                                                                           \
	X(gnutls_record_check_corked)                                                                                  \
	X(gnutls_session_get_random)

#define FOREIGN_LIBURING_NAMES(X)                                                                                      \
	X(io_uring_queue_exit)                                                                                         \
	X(io_uring_queue_init)                                                                                         \
	X(io_uring_queue_init_params)                                                                                  \
	X(io_uring_queue_init_mem)                                                                                     \
	X(io_uring_setup)                                                                                              \
	X(io_uring_enter)                                                                                              \
	X(io_uring_enter2)                                                                                             \
	X(io_uring_submit)                                                                                             \
	X(io_uring_submit_and_wait)                                                                                    \
	X(io_uring_submit_and_wait_timeout)                                                                            \
	X(io_uring_submit_and_get_events)                                                                              \
	X(io_uring_submit_and_wait_reg)                                                                                \
	X(io_uring_submit_and_wait_min_timeout)

#define FOREIGN_ENUM(name) FOREIGN_##name,
enum foreign_openssl { FOREIGN_OPENSSL_NAMES(FOREIGN_ENUM) FOREIGN_OPENSSL_COUNT };
enum foreign_gnutls { FOREIGN_GNUTLS_NAMES(FOREIGN_ENUM) FOREIGN_GNUTLS_COUNT };
enum foreign_liburing { FOREIGN_LIBURING_NAMES(FOREIGN_ENUM) FOREIGN_LIBURING_COUNT };

enum { FOREIGN_FUNCTIONS_MAX = 24 };
_Static_assert((int)FOREIGN_OPENSSL_COUNT <= (int)FOREIGN_FUNCTIONS_MAX && (int)FOREIGN_GNUTLS_COUNT <= (int)FOREIGN_FUNCTIONS_MAX &&
	       (int)FOREIGN_LIBURING_COUNT <= (int)FOREIGN_FUNCTIONS_MAX, "every name has a place");

enum foreign_kind { FOREIGN_OPENSSL, FOREIGN_GNUTLS, FOREIGN_LIBURING, FOREIGN_KIND_COUNT };

/* A loaded library. W: who looks, one at a time, release by low; R: any thread. */
struct foreign_library {
	_Atomic uintptr_t low, high;                        /* the addresses that it lies in; low 0 = unused */
	_Atomic(void *) functions[FOREIGN_FUNCTIONS_MAX];   /* NULL = it lacks that one */
};

/* The library that a call from caller (a return address) on object (may be NULL) is for. NULL: none is loaded. */
const struct foreign_library *foreign_find(enum foreign_kind kind, const void *object, const void *caller);

/* Libraries came or went: what was remembered by return address may be of another's code by now. */
void foreign_forget(void);

/* Where libprofshim.so begins and ends in memory: the linker's. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* The address lies in the library. */
static inline bool foreign_has(const struct foreign_library *library, const void *address)
{
	return (uintptr_t)address >= atomic_load_explicit(&library->low, memory_order_relaxed) &&
	       (uintptr_t)address < atomic_load_explicit(&library->high, memory_order_relaxed);
}

/* The library calls its own exported function: from its code, or by a jump from a function that we called. */
static inline bool foreign_is_inside(const struct foreign_library *library, const void *caller)
{
	return foreign_has(library, caller) || ((const char *)caller >= __ehdr_start && (const char *)caller < _end);
}

/* Its function of that place in the list of names; NULL = it has none. */
static inline void *foreign_function(const struct foreign_library *library, int name)
{
	return library ? atomic_load_explicit(&library->functions[name], memory_order_relaxed) : NULL;
}
