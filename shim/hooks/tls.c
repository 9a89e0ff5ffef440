/* A descriptor's word: [hello:16][is_open:1][session:47]. hello: of the ClientHello that passed, 0 = none did. session:
 * address, 0 = none. is_open: the plain bytes of the connection are told by the hooks of its TLS library.
 */
#include "tls.h"

#include "../base/hot.h"
#include "../base/own_memory.h"
#include "../requests/connection.h"
#include "descriptor_map.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define SESSION_MASK ((1ULL << 47) - 1)
#define IS_OPEN (1ULL << 47)
#define HELLO_SHIFT 48
#define GREETING_RANDOM 11 /* 5 of the record's header, 4 of the handshake's, 2 of the version: RFC 8446 clause 4.1.2 */

enum {
	GREETING_BYTES = GREETING_RANDOM + TLS_RANDOM_BYTES,
	RECORD_BYTES = 3, /* of which a record is told: type and version */
	RECORD_TYPE_FIRST = 20, /* change_cipher_spec, alert, handshake, application_data; heartbeat: RFC 6520 */
	RECORD_TYPE_LAST = 24,
	HANDSHAKE = 22,
	CLIENT_HELLO = 1,
};

__thread struct tls_thread tls_thread __attribute__((tls_model("initial-exec"))) = { .fd = -1 };
HOT_DATA _Atomic bool tls_is_used;

static struct descriptor_map sessions;
static struct descriptor_map greetings;

/* W: the first who needs it, release; R: all, acquire. count is the same for all. */
static _Atomic(_Atomic uint64_t *) words;
static uint32_t word_count;

/* words */

static uint32_t count_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < DESCRIPTOR_MAP_FD_MAX)
		return (uint32_t)limit.rlim_max;
	return DESCRIPTOR_MAP_FD_MAX;
}

/* 8 MiB of addresses at most, of which only the pages in use exist. */
static _Atomic uint64_t *make_words(void)
{
	uint32_t count = count_descriptors();
	_Atomic uint64_t *nothing = NULL, *made;

	made = own_memory_map(count * sizeof(*made), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (made == MAP_FAILED)
		return NULL;
	word_count = count;
	if (!atomic_compare_exchange_strong_explicit(&words, &nothing, made, memory_order_acq_rel, memory_order_acquire)) {
		own_memory_unmap(made, count * sizeof(*made));
		return nothing;
	}
	atomic_store_explicit(&tls_is_used, true, memory_order_relaxed); /* by a greeting, without a TLS library */
	return made;
}

/* NULL: there is none (yet). */
static inline _Atomic uint64_t *word_at(int fd)
{
	_Atomic uint64_t *all = atomic_load_explicit(&words, memory_order_acquire);

	return all && (uint32_t)fd < word_count ? &all[fd] : NULL;
}

static inline _Atomic uint64_t *word_made(int fd)
{
	if (!atomic_load_explicit(&words, memory_order_acquire) && !make_words())
		return NULL;
	return word_at(fd);
}

static inline uint64_t word_of(int fd)
{
	_Atomic uint64_t *word = word_at(fd);

	return word ? atomic_load_explicit(word, memory_order_relaxed) : 0;
}

static void change_word(int fd, uint64_t removed, uint64_t added)
{
	_Atomic uint64_t *word = word_made(fd);
	uint64_t before = word ? atomic_load_explicit(word, memory_order_relaxed) : 0;

	while (word && !atomic_compare_exchange_weak_explicit(word, &before, (before & ~removed) | added, memory_order_relaxed,
							      memory_order_relaxed))
		;
}

void tls_descriptor_ends_slowly(int fd)
{
	_Atomic uint64_t *word = word_at(fd);

	if (word && atomic_load_explicit(word, memory_order_relaxed))
		atomic_store_explicit(word, 0, memory_order_relaxed);
}

void tls_descriptor_copied_slowly(int from, int to)
{
	uint64_t copied = word_of(from);

	tls_descriptor_ends_slowly(to);
	if (copied)
		change_word(to, ~0ULL, copied);
}

/* sessions */

static void learn(uint64_t session, int fd)
{
	if (!session || (uint32_t)fd > DESCRIPTOR_MAP_FD_MAX)
		return;
	change_word(fd, SESSION_MASK, session);
	descriptor_map_set(&sessions, descriptor_map_key_of_pointer((const void *)session), fd);
}

static bool is_session_of(uint64_t session, int fd)
{
	return session && (word_of(fd) & SESSION_MASK) == session;
}

void tls_session_ends(const void *session)
{
	uint64_t key = descriptor_map_key_of_pointer(session);

	if (!key)
		return;
	descriptor_map_remove(&sessions, key);
	/* A callback may have left its last call by longjmp. */
	if (tls_thread.session == (uintptr_t)session)
		tls_thread = (struct tls_thread){ .fd = -1 };
}

/* greetings of clients */

static uint64_t hash_of_random(const unsigned char *random)
{
	uint64_t parts[TLS_RANDOM_BYTES / sizeof(uint64_t)], hash = 0;

	memcpy(parts, random, sizeof(parts));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		hash = (hash ^ parts[i]) * 0xff51afd7ed558ccdULL; /* odd: loses nothing */
		hash ^= hash >> 32;
	}
	return hash;
}

static uint64_t hello_of_hash(uint64_t hash)
{
	return hash >> HELLO_SHIFT | 1;
}

static size_t gather(unsigned char *ret_bytes, size_t max, const struct iovec *iov, size_t iov_count, size_t bytes)
{
	size_t gathered = 0;

	for (size_t i = 0; i < iov_count && bytes && gathered < max; i++) {
		size_t n = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;
		bytes -= n;
		if (n > max - gathered)
			n = max - gathered;
		memcpy(ret_bytes + gathered, iov[i].iov_base, n);
		gathered += n;
	}
	return gathered;
}

/* Of a known type, and of major version 3. */
static bool is_record(const unsigned char *bytes, size_t n)
{
	return n >= RECORD_BYTES && bytes[0] >= RECORD_TYPE_FIRST && bytes[0] <= RECORD_TYPE_LAST && bytes[1] == 3 && bytes[2] <= 4;
}

static void note_greeting(int fd, const unsigned char *bytes, size_t n)
{
	if (n < GREETING_BYTES || !is_record(bytes, n) || bytes[0] != HANDSHAKE || bytes[5] != CLIENT_HELLO ||
	    (uint32_t)fd > DESCRIPTOR_MAP_FD_MAX)
		return;
	uint64_t hash = hash_of_random(bytes + GREETING_RANDOM), key = descriptor_map_key_of_hash(hash);
	int other = descriptor_map_find(&greetings, key);

	/* The same greeting on two connections that are open: whose session it is cannot be told. */
	bool is_ambiguous = other >= 0 && other != fd && word_of(other) >> HELLO_SHIFT == hello_of_hash(hash);
	change_word(fd, ~0ULL << HELLO_SHIFT, hello_of_hash(hash) << HELLO_SHIFT);
	descriptor_map_set(&greetings, key, is_ambiguous ? DESCRIPTOR_MAP_CLOSED : fd);
}

static int fd_by_greeting(const struct tls_call *call)
{
	unsigned char random[TLS_RANDOM_BYTES];

	if (!call->source->client_random(call->library, call->object, random))
		return -1;
	uint64_t hash = hash_of_random(random);
	int fd = descriptor_map_find(&greetings, descriptor_map_key_of_hash(hash));
	bool is_open_still = fd >= 0 && fd <= DESCRIPTOR_MAP_FD_MAX && word_of(fd) >> HELLO_SHIFT == hello_of_hash(hash);
	return is_open_still ? fd : -1;
}

/* socket calls within */

bool tls_is_own_slowly(int fd)
{
	return is_session_of(tls_thread.session, fd);
}

bool tls_takes_failure_slowly(int fd, int error, bool is_at_end)
{
	if (!tls_is_own_slowly(fd))
		return false;
	tls_thread.error = error;
	tls_thread.is_at_end = is_at_end;
	return true;
}

/* A session without a descriptor, a descriptor without a session, and a record: they belong together. */
static bool is_own_record(int fd, const unsigned char *bytes, size_t n)
{
	bool is_own = tls_is_own_slowly(fd);

	if (!tls_thread.session || tls_thread.fd >= 0)
		return is_own;
	if (!is_own && (word_of(fd) & SESSION_MASK || !is_record(bytes, n)))
		return false;
	tls_thread.fd = fd;
	learn(tls_thread.session, fd);
	return true;
}

static bool may_begin_record(const struct iovec *iov, size_t iov_count)
{
	unsigned char first = iov && iov_count && iov->iov_len ? *(const unsigned char *)iov->iov_base : 0;

	return first >= RECORD_TYPE_FIRST && first <= RECORD_TYPE_LAST;
}

bool tls_takes_slowly(int fd, const struct iovec *iov, size_t iov_count, size_t bytes)
{
	unsigned char first[GREETING_BYTES];
	uint64_t word = word_of(fd);

	if (!tls_thread.depth && word & IS_OPEN)
		return true;
	if (!tls_thread.depth && !may_begin_record(iov, iov_count))
		return false;
	size_t n = gather(first, sizeof(first), iov, iov ? iov_count : 0, bytes);
	if (tls_thread.depth && is_own_record(fd, first, n))
		return true;
	if (word & IS_OPEN)
		return true;
	/* Of a handshake whose call was left for another stack meanwhile. */
	if (word & SESSION_MASK && is_record(first, n))
		return true;
	note_greeting(fd, first, n);
	return false;
}

/* calls of TLS libraries */

static int find_descriptor(const struct tls_call *call, uint64_t session)
{
	int fd = descriptor_map_find(&sessions, call->key);
	bool is_before = call->source->is_before(call->library, call->object);

	if (is_before && fd != DESCRIPTOR_MAP_NONE) {
		descriptor_map_remove(&sessions, call->key);
		fd = DESCRIPTOR_MAP_NONE;
	}
	if (fd >= 0 && fd <= DESCRIPTOR_MAP_FD_MAX && is_session_of(session, fd))
		return fd;
	int written = -1;
	fd = -1;
	call->source->descriptors(call->library, call->object, &fd, &written);
	if (written >= 0 && written != fd)
		learn(session, written);
	if (fd >= 0)
		learn(session, fd);
	return fd;
}

bool tls_begin(struct tls_call *call, enum seg_call number, const struct tls_source *source,
	       const struct foreign_library *library, void *session, enum tls_direction direction)
{
	if (!hook_enter(&call->hook, number))
		return false;
	if (!atomic_load_explicit(&tls_is_used, memory_order_relaxed))
		atomic_store_explicit(&tls_is_used, true, memory_order_relaxed);
	call->source = source;
	call->library = library;
	call->object = session;
	call->key = descriptor_map_key_of_pointer(session);
	call->direction = direction;
	call->outer = tls_thread;
	uint64_t address = call->key ? (uintptr_t)session : 0;
	int fd = address ? find_descriptor(call, address) : -1;
	call->fd = fd;
	tls_thread = (struct tls_thread){ .depth = call->outer.depth + 1, .fd = fd, .session = address };
	if (fd >= 0 && direction == TLS_SENDS)
		conn_sending(fd);
	else if (fd >= 0)
		conn_receiving(fd);
	return true;
}

/* The program passes records by itself. Asked once a session. */
static int find_by_greeting(const struct tls_call *call)
{
	int fd = descriptor_map_find(&sessions, call->key);

	if (fd == DESCRIPTOR_MAP_CLOSED)
		return -1;
	if (fd >= 0 && is_session_of((uintptr_t)call->object, fd))
		return fd; /* learned in a call within this one */
	fd = fd_by_greeting(call);
	if (fd >= 0)
		learn((uintptr_t)call->object, fd);
	else
		descriptor_map_set(&sessions, call->key, DESCRIPTOR_MAP_CLOSED);
	return fd;
}

void tls_returned(struct tls_call *call, bool is_open)
{
	struct tls_thread within = tls_thread;
	/* Else the program left this call for another stack, and what is noted is another call's. */
	bool is_own = call->key && within.session == (uintptr_t)call->object;

	hook_returned(&call->hook);
	tls_thread = call->outer;
	call->error = is_own ? within.error : 0;
	call->is_at_end = is_own && within.is_at_end;
	call->fd = is_own ? within.fd : call->fd;
	if (call->fd < 0 && is_open && call->key)
		call->fd = find_by_greeting(call);
	/* Meanwhile another thread may have closed it, and the number be another connection's. */
	if (call->fd < 0 || !conn_is_tracked(call->fd) || !is_session_of((uintptr_t)call->object, call->fd)) {
		call->fd = -1;
		return;
	}
	if (!is_open || word_of(call->fd) & IS_OPEN)
		return;
	change_word(call->fd, 0, IS_OPEN);
	conn_tls_opened(call->fd, call->hook.end_ns);
}

/* Why nothing passed. WANT_READ of a session whose records the program passes is like EAGAIN. */
static int error_of(const struct tls_call *call)
{
	return call->error ? call->error : EAGAIN;
}

void tls_received(const struct tls_call *call, const void *buffer, size_t bytes)
{
	struct iovec iov = { (void *)(uintptr_t)buffer, bytes };

	if (call->fd < 0)
		return;
	bool is_at_end = !bytes && (call->is_at_end || call->source->is_peer_done(call->library, call->object));
	if (bytes || is_at_end)
		conn_received(call->fd, &iov, 1, bytes, call->hook.end_ns);
	else
		conn_receive_failed(call->fd, error_of(call), call->hook.end_ns);
}

void tls_sent(const struct tls_call *call, const void *buffer, size_t bytes)
{
	struct iovec iov = { (void *)(uintptr_t)buffer, bytes };

	if (call->fd < 0)
		return;
	if (bytes)
		conn_sent(call->fd, &iov, 1, bytes, call->hook.end_ns);
	else
		conn_send_failed(call->fd, error_of(call), call->hook.end_ns);
}

void tls_sent_unseen(const struct tls_call *call, size_t bytes)
{
	if (call->fd < 0)
		return;
	if (bytes)
		conn_sent_unseen(call->fd, bytes, call->hook.end_ns);
	else
		conn_send_failed(call->fd, error_of(call), call->hook.end_ns);
}

void tls_shut_down(const struct tls_call *call)
{
	if (call->fd >= 0)
		conn_shut_down(call->fd, SHUT_WR, call->hook.end_ns);
}

void tls_nothing(const struct tls_call *call)
{
	if (call->fd >= 0 && call->direction != TLS_SENDS)
		conn_receive_failed(call->fd, error_of(call), call->hook.end_ns);
}
