#pragma once
/* tls - what the hooks of TLS libraries and those of sockets have to tell each other: the plain bytes of a connection are
 * told once, by the former, and the encrypted ones under them not at all.
 * Context: call. No allocation but one mapping at the first use, no lock.
 * Owns which session (SSL *, gnutls_session_t) belongs to which descriptor.
 *
 * A session's descriptor is learned
 *   - from OpenSSL itself, where the session has a BIO with a descriptor (SSL_get_rfd), custom ones of that kind included;
 *   - from the socket call that is made inside of a call of the library and passes TLS records (custom transports);
 *   - from the client's greeting where the program passes records by itself (memory BIOs): the 32 random bytes of the
 *     ClientHello (RFC 8446 clause 4.1.2) were seen on a socket, and the session knows them, too.
 * A session for which none of these holds stays closed to us.
 *
 * Descriptors and addresses of sessions are used again: a session's descriptor is believed only while the descriptor's
 * word (tls.c) names the session, and close, accept and their like clear that word.
 *
 * Calls of a library run the program's code (callbacks), which may move bytes of other connections, leave by longjmp or
 * switch to another stack. So a socket call within is taken for the library's own only if its descriptor is the
 * session's or, where that is not known, if its bytes are TLS records.
 */
#include "foreign.h"
#include "hook.h"

#include <sys/uio.h>

/* The call of a TLS library that is in progress on this thread. */
struct tls_thread {
	uint32_t depth;     /* 0 = none */
	int32_t fd;         /* of its session, -1 = not known (yet) */
	uint64_t session;   /* the address; 0 = one that cannot be followed */
	int32_t error;      /* errno of the last socket call within, if that failed; 0 = none did */
	bool is_at_end;     /* a socket call within found the end of the stream */
};
extern __thread struct tls_thread tls_thread __attribute__((tls_model("initial-exec"), visibility("hidden")));

extern _Atomic bool tls_is_used __attribute__((visibility("hidden"))); /* a session or a greeting was seen */

/* --- for the hooks of sockets --- */

bool tls_is_own_slowly(int fd);
bool tls_takes_slowly(int fd, const struct iovec *iov, size_t iov_count, size_t bytes);
bool tls_takes_failure_slowly(int fd, int error, bool is_at_end);
void tls_descriptor_ends_slowly(int fd);
void tls_descriptor_copied_slowly(int from, int to);

/* fd is what the TLS call in progress reads or writes: its hook says whose work that is. */
static inline bool tls_is_own(int fd)
{
	return __builtin_expect(tls_thread.depth != 0, 0) && tls_is_own_slowly(fd);
}

/* The first byte of a record of a handshake; that of the connection's first record, unless plain text came before. */
static inline bool tls_begins_handshake(const struct iovec *iov, size_t iov_count)
{
	return iov_count && iov->iov_len && *(const unsigned char *)iov->iov_base == 0x16;
}

/* bytes (> 0) passed fd, a tracked connection. True: they are encrypted, and not to be told. iov NULL: unseen. */
static inline bool tls_takes(int fd, const struct iovec *iov, size_t iov_count, size_t bytes)
{
	if (__builtin_expect(atomic_load_explicit(&tls_is_used, memory_order_relaxed) ||
			     (iov && tls_begins_handshake(iov, iov_count)), 0))
		return tls_takes_slowly(fd, iov, iov_count, bytes);
	return false;
}

/* A call on fd failed with error, or found the end. True: it is the TLS call's, whose hook tells it. */
static inline bool tls_takes_failure(int fd, int error, bool is_at_end)
{
	return __builtin_expect(tls_thread.depth != 0, 0) && tls_takes_failure_slowly(fd, error, is_at_end);
}

/* fd is no longer what it was. */
static inline void tls_descriptor_ends(int fd)
{
	if (__builtin_expect(atomic_load_explicit(&tls_is_used, memory_order_relaxed), 0))
		tls_descriptor_ends_slowly(fd);
}

static inline void tls_descriptor_copied(int from, int to)
{
	if (__builtin_expect(atomic_load_explicit(&tls_is_used, memory_order_relaxed), 0))
		tls_descriptor_copied_slowly(from, to);
}

/* --- for the hooks of TLS libraries --- */

enum tls_direction { TLS_RECEIVES, TLS_SENDS };

enum { TLS_RANDOM_BYTES = 32 }; /* of a ClientHello */

/* What a library knows of a session. */
struct tls_source {
	/* What it reads, and what it writes if that is another; -1 = not known. */
	void (*descriptors)(const struct foreign_library *library, void *session, int *ret_read, int *ret_write);
	bool (*is_before)(const struct foreign_library *library, void *session);    /* no handshake was begun */
	bool (*is_peer_done)(const struct foreign_library *library, void *session); /* the peer said that it sends no more */
	/* TLS_RANDOM_BYTES of the client's; false: not known. */
	bool (*client_random)(const struct foreign_library *library, void *session, unsigned char *ret_random);
};

struct tls_call {
	struct hook hook;
	struct tls_thread outer; /* the call that this one is made in */
	const struct tls_source *source;
	const struct foreign_library *library;
	void *object;            /* the session */
	uint64_t key;            /* of the session, 0 = it cannot be followed */
	enum tls_direction direction;
	/* After tls_returned: */
	int fd;                  /* a tracked connection, or -1 */
	int error;               /* as in struct tls_thread */
	bool is_at_end;
};

/* Before the real call. False: it is not ours to see. */
bool tls_begin(struct tls_call *call, enum seg_call number, const struct tls_source *source,
	       const struct foreign_library *library, void *session, enum tls_direction direction);

/* After it: takes time and errno (hook_returned) and finds the descriptor. is_open: plain bytes passed or may pass. */
void tls_returned(struct tls_call *call, bool is_open);

/* Then, before hook_leave, what passed; 0 bytes: nothing did, because of a failure or of the end. */
void tls_received(const struct tls_call *call, const void *buffer, size_t bytes);
void tls_sent(const struct tls_call *call, const void *buffer, size_t bytes);
void tls_sent_unseen(const struct tls_call *call, size_t bytes); /* of a file */

/* Of the call's kind, nothing: a handshake, a look ahead. */
void tls_nothing(const struct tls_call *call);

/* The library said to the peer that no more will be sent. */
void tls_shut_down(const struct tls_call *call);

/* The session is about to be freed; its address may soon be another's. */
void tls_session_ends(const void *session);
