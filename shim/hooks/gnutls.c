/* gnutls - the calls of libgnutls (3.x) which handshake or pass plain bytes.
 *
 * Between gnutls_record_cork and gnutls_record_uncork what is sent stays in the library. It is told at once, so that its
 * order is kept, but for its last byte, which is told when the library let go of all of it: a response ends then.
 */
#include "tls.h"

#include <errno.h>

enum {
	CORKED_MAX = 256,      /* sessions that are corked at the same time; of more, all is told at once */
	UNIMPLEMENTED = -1250, /* GNUTLS_E_UNIMPLEMENTED_FEATURE */
};

struct gnutls_session_int;
struct gnutls_packet;
struct gnutls_range;
typedef struct gnutls_session_int *session_ref;
typedef struct gnutls_packet *packet_ref;

struct datum { /* gnutls_datum_t */
	unsigned char *data;
	unsigned size;
};

HOOK int gnutls_handshake(session_ref session);
HOOK ssize_t gnutls_record_recv(session_ref session, void *buffer, size_t bytes);
HOOK ssize_t gnutls_record_recv_seq(session_ref session, void *buffer, size_t bytes, unsigned char *ret_sequence);
HOOK ssize_t gnutls_record_recv_packet(session_ref session, packet_ref *ret_packet);
HOOK ssize_t gnutls_record_recv_early_data(session_ref session, void *buffer, size_t bytes);
HOOK ssize_t gnutls_record_send(session_ref session, const void *buffer, size_t bytes);
HOOK ssize_t gnutls_record_send2(session_ref session, const void *buffer, size_t bytes, size_t padding, unsigned flags);
HOOK ssize_t gnutls_record_send_range(session_ref session, const void *buffer, size_t bytes,
				      const struct gnutls_range *range);
HOOK ssize_t gnutls_record_send_file(session_ref session, int file, off_t *offset, size_t bytes);
HOOK ssize_t gnutls_record_send_early_data(session_ref session, const void *buffer, size_t bytes);
HOOK void gnutls_record_cork(session_ref session);
HOOK int gnutls_record_uncork(session_ref session, unsigned flags);
HOOK int gnutls_bye(session_ref session, int how);
HOOK void gnutls_deinit(session_ref session);

#define TRUE_FUNCTION(library, name) ((__typeof__(&name))foreign_function(library, FOREIGN_##name))
#define CALLER __builtin_return_address(0)
#define FIND(session) foreign_find(FOREIGN_GNUTLS, session, CALLER)

/* what a session tells */

/* What it holds as its transport may be a descriptor or anything else that its functions understand: it is learned from
 * what these do. */
static void descriptors_of(const struct foreign_library *library, void *session, int *ret_read, int *ret_write)
{
	(void)library;
	(void)session;
	*ret_read = *ret_write = -1;
}

static bool is_not(const struct foreign_library *library, void *session)
{
	(void)library;
	(void)session;
	return false;
}

static bool client_random(const struct foreign_library *library, void *session, unsigned char *ret_random)
{
	void (*function)(session_ref, struct datum *, struct datum *);
	struct datum client = { 0 }, server = { 0 };

	*(void **)&function = foreign_function(library, FOREIGN_gnutls_session_get_random);
	if (!function)
		return false;
	function(session, &client, &server);
	if (!client.data || client.size != TLS_RANDOM_BYTES)
		return false;
	for (int i = 0; i < TLS_RANDOM_BYTES; i++)
		ret_random[i] = client.data[i];
	return true;
}

static const struct tls_source gnutls = {
	.descriptors = descriptors_of,
	.is_before = is_not,
	.is_peer_done = is_not, /* gnutls_record_recv says it by 0 */
	.client_random = client_random,
};

static bool begin(struct tls_call *call, enum seg_call number, const struct foreign_library *library, session_ref session,
		  enum tls_direction direction, const void *caller)
{
	/* gnutls_record_send calls gnutls_record_send2. */
	if (foreign_is_inside(library, caller))
		return false;
	return tls_begin(call, number, &gnutls, library, session, direction);
}

/* sessions that are corked */

struct corked {
	_Atomic(session_ref) session; /* NULL = free */
	/* W, R: who sends on the session, of whom there is one at a time. */
	unsigned char held;
	bool has_held;
};

static struct corked corked[CORKED_MAX];
static _Atomic uint32_t corked_count;

static struct corked *find_corked(session_ref session)
{
	if (!session || !atomic_load_explicit(&corked_count, memory_order_relaxed))
		return NULL;
	for (int i = 0; i < CORKED_MAX; i++)
		if (atomic_load_explicit(&corked[i].session, memory_order_acquire) == session)
			return &corked[i];
	return NULL;
}

static void note_corked(session_ref session)
{
	if (!session || find_corked(session))
		return;
	for (int i = 0; i < CORKED_MAX; i++) {
		session_ref nobody = NULL;
		if (!atomic_compare_exchange_strong_explicit(&corked[i].session, &nobody, session, memory_order_acquire,
							     memory_order_relaxed))
			continue;
		corked[i].has_held = false;
		atomic_fetch_add_explicit(&corked_count, 1, memory_order_relaxed);
		return;
	}
}

static void forget_corked(session_ref session)
{
	struct corked *entry = find_corked(session);

	if (!entry)
		return;
	atomic_store_explicit(&entry->session, NULL, memory_order_release);
	atomic_fetch_sub_explicit(&corked_count, 1, memory_order_relaxed);
}

static void tell_held(const struct tls_call *call, struct corked *entry)
{
	unsigned char held = entry->held;

	if (entry->has_held)
		tls_sent(call, &held, 1);
	entry->has_held = false;
}

static void tell_sent(const struct tls_call *call, const void *buffer, size_t bytes)
{
	struct corked *entry = bytes ? find_corked(call->object) : NULL;

	if (!entry) {
		tls_sent(call, buffer, bytes);
		return;
	}
	tell_held(call, entry);
	if (bytes > 1)
		tls_sent(call, buffer, bytes - 1);
	entry->held = ((const unsigned char *)buffer)[bytes - 1];
	entry->has_held = true;
}

/* handshake */

HOOK int gnutls_handshake(session_ref session)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_handshake) function = TRUE_FUNCTION(library, gnutls_handshake);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_HANDSHAKE, library, session, TLS_RECEIVES, CALLER))
		return function(session);
	int result = function(session);
	tls_returned(&call, result == 0);
	tls_nothing(&call);
	hook_leave(&call.hook);
	return result;
}

/* receiving */

static ssize_t finish_receive(struct tls_call *call, const void *buffer, ssize_t result)
{
	tls_returned(call, result > 0);
	call->is_at_end |= result == 0;
	tls_received(call, buffer, result > 0 ? (size_t)result : 0);
	hook_leave(&call->hook);
	return result;
}

HOOK ssize_t gnutls_record_recv(session_ref session, void *buffer, size_t bytes)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_recv) function = TRUE_FUNCTION(library, gnutls_record_recv);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_RECV, library, session, TLS_RECEIVES, CALLER))
		return function(session, buffer, bytes);
	return finish_receive(&call, buffer, function(session, buffer, bytes));
}

HOOK ssize_t gnutls_record_recv_seq(session_ref session, void *buffer, size_t bytes, unsigned char *ret_sequence)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_recv_seq) function = TRUE_FUNCTION(library, gnutls_record_recv_seq);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_RECV_SEQ, library, session, TLS_RECEIVES, CALLER))
		return function(session, buffer, bytes, ret_sequence);
	return finish_receive(&call, buffer, function(session, buffer, bytes, ret_sequence));
}

static const void *bytes_of(const struct foreign_library *library, packet_ref packet)
{
	void (*function)(packet_ref, struct datum *, unsigned char *);
	struct datum datum = { 0 };

	*(void **)&function = foreign_function(library, FOREIGN_gnutls_packet_get);
	if (function)
		function(packet, &datum, NULL);
	return datum.data;
}

HOOK ssize_t gnutls_record_recv_packet(session_ref session, packet_ref *ret_packet)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_recv_packet) function = TRUE_FUNCTION(library, gnutls_record_recv_packet);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_RECV_PACKET, library, session, TLS_RECEIVES, CALLER))
		return function(session, ret_packet);
	ssize_t result = function(session, ret_packet);
	return finish_receive(&call, result > 0 ? bytes_of(library, *ret_packet) : NULL, result);
}

/* Out of memory: what the handshake left there. */
HOOK ssize_t gnutls_record_recv_early_data(session_ref session, void *buffer, size_t bytes)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_recv_early_data) function = TRUE_FUNCTION(library, gnutls_record_recv_early_data);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_RECV_EARLY_DATA, library, session, TLS_RECEIVES, CALLER))
		return function(session, buffer, bytes);
	return finish_receive(&call, buffer, function(session, buffer, bytes));
}

/* sending */

static ssize_t finish_send(struct tls_call *call, const void *buffer, ssize_t result)
{
	tls_returned(call, result > 0);
	tell_sent(call, buffer, result > 0 ? (size_t)result : 0);
	hook_leave(&call->hook);
	return result;
}

HOOK ssize_t gnutls_record_send(session_ref session, const void *buffer, size_t bytes)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_send) function = TRUE_FUNCTION(library, gnutls_record_send);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_SEND, library, session, TLS_SENDS, CALLER))
		return function(session, buffer, bytes);
	return finish_send(&call, buffer, function(session, buffer, bytes));
}

HOOK ssize_t gnutls_record_send2(session_ref session, const void *buffer, size_t bytes, size_t padding, unsigned flags)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_send2) function = TRUE_FUNCTION(library, gnutls_record_send2);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_SEND2, library, session, TLS_SENDS, CALLER))
		return function(session, buffer, bytes, padding, flags);
	return finish_send(&call, buffer, function(session, buffer, bytes, padding, flags));
}

HOOK ssize_t gnutls_record_send_range(session_ref session, const void *buffer, size_t bytes,
				      const struct gnutls_range *range)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_send_range) function = TRUE_FUNCTION(library, gnutls_record_send_range);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_SEND_RANGE, library, session, TLS_SENDS, CALLER))
		return function(session, buffer, bytes, range);
	return finish_send(&call, buffer, function(session, buffer, bytes, range));
}

HOOK ssize_t gnutls_record_send_early_data(session_ref session, const void *buffer, size_t bytes)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_send_early_data) function = TRUE_FUNCTION(library, gnutls_record_send_early_data);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_SEND_EARLY_DATA, library, session, TLS_SENDS, CALLER))
		return function(session, buffer, bytes);
	return finish_send(&call, buffer, function(session, buffer, bytes));
}

HOOK ssize_t gnutls_record_send_file(session_ref session, int file, off_t *offset, size_t bytes)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_send_file) function = TRUE_FUNCTION(library, gnutls_record_send_file);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_SEND_FILE, library, session, TLS_SENDS, CALLER))
		return function(session, file, offset, bytes);
	ssize_t result = function(session, file, offset, bytes);
	tls_returned(&call, result > 0);
	tls_sent_unseen(&call, result > 0 ? (size_t)result : 0);
	hook_leave(&call.hook);
	return result;
}

HOOK void gnutls_record_cork(session_ref session)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_cork) function = TRUE_FUNCTION(library, gnutls_record_cork);
	struct hook hook;

	if (!function)
		return;
	if (foreign_is_inside(library, CALLER) || !hook_enter(&hook, SEG_CALL_GNUTLS_RECORD_CORK)) {
		function(session);
		return;
	}
	function(session);
	hook_returned(&hook);
	note_corked(session);
	hook_leave(&hook);
}

static bool is_all_out(const struct foreign_library *library, session_ref session)
{
	size_t (*function)(session_ref);

	*(void **)&function = foreign_function(library, FOREIGN_gnutls_record_check_corked);
	return !function || function(session) == 0;
}

HOOK int gnutls_record_uncork(session_ref session, unsigned flags)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_record_uncork) function = TRUE_FUNCTION(library, gnutls_record_uncork);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_RECORD_UNCORK, library, session, TLS_SENDS, CALLER))
		return function(session, flags);
	int result = function(session, flags);
	tls_returned(&call, result > 0);
	struct corked *entry = find_corked(session);
	if (entry && result >= 0 && is_all_out(library, session)) {
		tell_held(&call, entry);
		forget_corked(session);
	} else if (result < 0) {
		tls_sent(&call, NULL, 0);
	}
	hook_leave(&call.hook);
	return result;
}

/* the end */

HOOK int gnutls_bye(session_ref session, int how)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_bye) function = TRUE_FUNCTION(library, gnutls_bye);
	struct tls_call call;

	if (!function)
		return UNIMPLEMENTED;
	if (!begin(&call, SEG_CALL_GNUTLS_BYE, library, session, TLS_SENDS, CALLER))
		return function(session, how);
	int result = function(session, how);
	tls_returned(&call, false);
	if (result == 0)
		tls_shut_down(&call);
	hook_leave(&call.hook);
	return result;
}

HOOK void gnutls_deinit(session_ref session)
{
	const struct foreign_library *library = FIND(session);
	__typeof__(&gnutls_deinit) function = TRUE_FUNCTION(library, gnutls_deinit);
	struct hook hook;

	if (!function)
		return;
	if (foreign_is_inside(library, CALLER) || !hook_enter(&hook, SEG_CALL_GNUTLS_DEINIT)) {
		function(session);
		return;
	}
	/* Before: afterwards the address may be another thread's new session. */
	tls_session_ends(session);
	forget_corked(session);
	function(session);
	hook_done(&hook);
}
