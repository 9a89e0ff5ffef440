/* openssl - the calls of libssl (1.0.2 to 3.x, and of libraries that offer the same) that handshake or pass plain bytes.
 * Bytes that pass through BIO_f_ssl (BIO_read on a session) go by these and stay unseen: libssl calls itself directly.
 * Nothing here touches the queue of errors.
 */
#include "tls.h"

#include <errno.h>

enum { RECEIVED_SHUTDOWN = 2 }; /* SSL_RECEIVED_SHUTDOWN, SSL_get_shutdown(3) */

/* A function of the library under the type of the hook that it stands behind. */
#define TRUE_FUNCTION(library, name) ((__typeof__(&name))foreign_function(library, FOREIGN_##name))

struct ssl_st;
typedef struct ssl_st SSL;

HOOK int SSL_do_handshake(SSL *ssl);
HOOK int SSL_accept(SSL *ssl);
HOOK int SSL_connect(SSL *ssl);
HOOK int SSL_read(SSL *ssl, void *buffer, int bytes);
HOOK int SSL_read_ex(SSL *ssl, void *buffer, size_t bytes, size_t *ret_bytes);
HOOK int SSL_peek(SSL *ssl, void *buffer, int bytes);
HOOK int SSL_peek_ex(SSL *ssl, void *buffer, size_t bytes, size_t *ret_bytes);
HOOK int SSL_write(SSL *ssl, const void *buffer, int bytes);
HOOK int SSL_write_ex(SSL *ssl, const void *buffer, size_t bytes, size_t *ret_bytes);
HOOK ssize_t SSL_sendfile(SSL *ssl, int file, off_t offset, size_t bytes, int flags);
HOOK int SSL_read_early_data(SSL *ssl, void *buffer, size_t bytes, size_t *ret_bytes);
HOOK int SSL_write_early_data(SSL *ssl, const void *buffer, size_t bytes, size_t *ret_bytes);
HOOK int SSL_shutdown(SSL *ssl);
HOOK void SSL_free(SSL *ssl);

/* what a session tells */

typedef int ask_function(const SSL *ssl);

static int ask(const struct foreign_library *library, int name, const void *ssl, int otherwise)
{
	ask_function *function = (ask_function *)foreign_function(library, name);

	return function && ssl ? function(ssl) : otherwise;
}

static void descriptors_of(const struct foreign_library *library, void *ssl, int *ret_read, int *ret_write)
{
	*ret_read = ask(library, FOREIGN_SSL_get_rfd, ssl, -1);
	*ret_write = ask(library, FOREIGN_SSL_get_wfd, ssl, -1);
}

static bool is_before(const struct foreign_library *library, void *ssl)
{
	return ask(library, FOREIGN_SSL_in_before, ssl, 0);
}

static bool is_peer_done(const struct foreign_library *library, void *ssl)
{
	return ask(library, FOREIGN_SSL_get_shutdown, ssl, 0) & RECEIVED_SHUTDOWN;
}

static bool client_random(const struct foreign_library *library, void *ssl, unsigned char *ret_random)
{
	size_t (*function)(const SSL *, unsigned char *, size_t);

	*(void **)&function = foreign_function(library, FOREIGN_SSL_get_client_random);
	return function && ssl && function(ssl, ret_random, TLS_RANDOM_BYTES) == TLS_RANDOM_BYTES;
}

static const struct tls_source openssl = {
	.descriptors = descriptors_of,
	.is_before = is_before,
	.is_peer_done = is_peer_done,
	.client_random = client_random,
};

static bool begin(struct tls_call *call, enum seg_call number, const struct foreign_library *library, SSL *ssl,
		  enum tls_direction direction, const void *caller)
{
	if (foreign_is_inside(library, caller))
		return false;
	return tls_begin(call, number, &openssl, library, ssl, direction);
}

/* As a call of a function that the library lacks; what is not there cannot tell why by its own means. */
static int missing(int result)
{
	errno = ENOSYS;
	return result;
}

/* Around a call: CALLER is where the hook returns to. */
#define CALLER __builtin_return_address(0)
#define FIND(ssl) foreign_find(FOREIGN_OPENSSL, ssl, CALLER)

/* handshakes */

static int finish_handshake(struct tls_call *call, int result)
{
	tls_returned(call, result == 1);
	tls_nothing(call);
	hook_leave(&call->hook);
	return result;
}

HOOK int SSL_do_handshake(SSL *ssl)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_do_handshake) function = TRUE_FUNCTION(library, SSL_do_handshake);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_DO_HANDSHAKE, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl);
	return finish_handshake(&call, function(ssl));
}

HOOK int SSL_accept(SSL *ssl)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_accept) function = TRUE_FUNCTION(library, SSL_accept);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_ACCEPT, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl);
	return finish_handshake(&call, function(ssl));
}

HOOK int SSL_connect(SSL *ssl)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_connect) function = TRUE_FUNCTION(library, SSL_connect);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_CONNECT, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl);
	return finish_handshake(&call, function(ssl));
}

/* receiving */

static void finish_receive(struct tls_call *call, const void *buffer, size_t bytes)
{
	tls_returned(call, bytes > 0);
	tls_received(call, buffer, bytes);
	hook_leave(&call->hook);
}

static void finish_peek(struct tls_call *call, bool has_bytes)
{
	tls_returned(call, has_bytes);
	tls_nothing(call);
	hook_leave(&call->hook);
}

HOOK int SSL_read(SSL *ssl, void *buffer, int bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_read) function = TRUE_FUNCTION(library, SSL_read);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_READ, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl, buffer, bytes);
	int result = function(ssl, buffer, bytes);
	finish_receive(&call, buffer, result > 0 ? (size_t)result : 0);
	return result;
}

HOOK int SSL_read_ex(SSL *ssl, void *buffer, size_t bytes, size_t *ret_bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_read_ex) function = TRUE_FUNCTION(library, SSL_read_ex);
	struct tls_call call;

	if (!function)
		return missing(0);
	if (!begin(&call, SEG_CALL_SSL_READ_EX, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl, buffer, bytes, ret_bytes);
	int result = function(ssl, buffer, bytes, ret_bytes);
	finish_receive(&call, buffer, result == 1 ? *ret_bytes : 0);
	return result;
}

HOOK int SSL_peek(SSL *ssl, void *buffer, int bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_peek) function = TRUE_FUNCTION(library, SSL_peek);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_PEEK, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl, buffer, bytes);
	int result = function(ssl, buffer, bytes);
	finish_peek(&call, result > 0);
	return result;
}

HOOK int SSL_peek_ex(SSL *ssl, void *buffer, size_t bytes, size_t *ret_bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_peek_ex) function = TRUE_FUNCTION(library, SSL_peek_ex);
	struct tls_call call;

	if (!function)
		return missing(0);
	if (!begin(&call, SEG_CALL_SSL_PEEK_EX, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl, buffer, bytes, ret_bytes);
	int result = function(ssl, buffer, bytes, ret_bytes);
	finish_peek(&call, result == 1);
	return result;
}

/* 0 = failed, 1 = bytes came, 2 = there are no more before the handshake's end: SSL_read_early_data(3). */
HOOK int SSL_read_early_data(SSL *ssl, void *buffer, size_t bytes, size_t *ret_bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_read_early_data) function = TRUE_FUNCTION(library, SSL_read_early_data);
	struct tls_call call;

	if (!function)
		return missing(0);
	if (!begin(&call, SEG_CALL_SSL_READ_EARLY_DATA, library, ssl, TLS_RECEIVES, CALLER))
		return function(ssl, buffer, bytes, ret_bytes);
	int result = function(ssl, buffer, bytes, ret_bytes);
	if (result == 1)
		finish_receive(&call, buffer, *ret_bytes);
	else
		finish_peek(&call, false);
	return result;
}

/* sending */

static void finish_send(struct tls_call *call, const void *buffer, size_t bytes)
{
	tls_returned(call, bytes > 0);
	tls_sent(call, buffer, bytes);
	hook_leave(&call->hook);
}

HOOK int SSL_write(SSL *ssl, const void *buffer, int bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_write) function = TRUE_FUNCTION(library, SSL_write);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_WRITE, library, ssl, TLS_SENDS, CALLER))
		return function(ssl, buffer, bytes);
	int result = function(ssl, buffer, bytes);
	finish_send(&call, buffer, result > 0 ? (size_t)result : 0);
	return result;
}

HOOK int SSL_write_ex(SSL *ssl, const void *buffer, size_t bytes, size_t *ret_bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_write_ex) function = TRUE_FUNCTION(library, SSL_write_ex);
	struct tls_call call;

	if (!function)
		return missing(0);
	if (!begin(&call, SEG_CALL_SSL_WRITE_EX, library, ssl, TLS_SENDS, CALLER))
		return function(ssl, buffer, bytes, ret_bytes);
	int result = function(ssl, buffer, bytes, ret_bytes);
	finish_send(&call, buffer, result == 1 ? *ret_bytes : 0);
	return result;
}

HOOK int SSL_write_early_data(SSL *ssl, const void *buffer, size_t bytes, size_t *ret_bytes)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_write_early_data) function = TRUE_FUNCTION(library, SSL_write_early_data);
	struct tls_call call;

	if (!function)
		return missing(0);
	if (!begin(&call, SEG_CALL_SSL_WRITE_EARLY_DATA, library, ssl, TLS_SENDS, CALLER))
		return function(ssl, buffer, bytes, ret_bytes);
	int result = function(ssl, buffer, bytes, ret_bytes);
	finish_send(&call, buffer, result == 1 ? *ret_bytes : 0);
	return result;
}

HOOK ssize_t SSL_sendfile(SSL *ssl, int file, off_t offset, size_t bytes, int flags)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_sendfile) function = TRUE_FUNCTION(library, SSL_sendfile);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_SENDFILE, library, ssl, TLS_SENDS, CALLER))
		return function(ssl, file, offset, bytes, flags);
	ssize_t result = function(ssl, file, offset, bytes, flags);
	tls_returned(&call, result > 0);
	tls_sent_unseen(&call, result > 0 ? (size_t)result : 0);
	hook_leave(&call.hook);
	return result;
}

/* the end */

HOOK int SSL_shutdown(SSL *ssl)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_shutdown) function = TRUE_FUNCTION(library, SSL_shutdown);
	struct tls_call call;

	if (!function)
		return missing(-1);
	if (!begin(&call, SEG_CALL_SSL_SHUTDOWN, library, ssl, TLS_SENDS, CALLER))
		return function(ssl);
	int result = function(ssl);
	tls_returned(&call, false);
	if (result >= 0)
		tls_shut_down(&call);
	hook_leave(&call.hook);
	return result;
}

HOOK void SSL_free(SSL *ssl)
{
	const struct foreign_library *library = FIND(ssl);
	__typeof__(&SSL_free) function = TRUE_FUNCTION(library, SSL_free);
	struct hook hook;

	if (!function)
		return;
	if (foreign_is_inside(library, CALLER) || !hook_enter(&hook, SEG_CALL_SSL_FREE)) {
		function(ssl);
		return;
	}
	/* Before: afterwards the address may be another thread's new session. */
	tls_session_ends(ssl);
	function(ssl);
	hook_done(&hook);
}
