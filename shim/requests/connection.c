/* The table is one mapping of pointers, as long as descriptors may get, of which only the pages in use exist. An entry
 * says which connection a number names now; a connection counts its names and ends with the last: the one who takes
 * REFS_OPEN away from a nameless one ends it.
 *
 * The lock of a connection is one word: [missed:1][generation:31][holder:32], 0 = free. Who finds it held spins for a few
 * microseconds, unless the holder is itself (a signal handler that interrupted its own thread), then leaves a copy of what
 * it did (late.h), raises the missed bit and goes its way; the holder finds the bit when it lets go, and goes through what
 * was left, or ends the connection if the one who came too late dropped the last name. Only if there was no memory for the
 * copy the connection is given up. A lock of an older generation belongs to a thread that did not survive the fork.
 *
 * Connections are never unmapped. Who looked up a number, and was late, finds under the lock that the table has changed.
 */
#include "connection.h"

#include "../base/hot.h"
#include "../base/own_memory.h"
#include "endpoint.h"
#include "heads.h"
#include "listing.h"
#include "traffic.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define DESCRIPTORS_MAX (1u << 20)
#define SPINS_MAX 128u /* some 40 ns each: 5 us, several times what the lock is held for by most calls */
#define LOCK_MISSED (1ULL << 63)
#define REFS_OPEN (1u << 31) /* in refs, beside the number of names: accepted, and not yet ended by anybody */

HOT_DATA struct conn_table conn_table;
static _Atomic uint32_t numbers_end; /* no number from here on has ever named a connection; W, R: any thread, relaxed */

/* 256 Ki connections of 768 bytes: 192 MiB, a small part of what the kernel needs for as many sockets. */
static struct pool conns = POOL_OF(struct conn, 256 * 1024);

HOT_DATA static uint32_t generation;   /* how many forks this process is away from the first; W: conn_forked, alone */
HOT_DATA static _Atomic uint32_t forks; /* of this process; relaxed */

/* What the thread worked for when it last began to receive or accept. */
static __thread struct {
	struct work work;
	uint32_t is_answered;
} interrupted __attribute__((tls_model("initial-exec")));

bool conn_init(void)
{
	struct rlimit limit;
	uint32_t count = DESCRIPTORS_MAX;

	if (conn_table.count)
		return true;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < count)
		count = (uint32_t)limit.rlim_max;
	void *memory = own_memory_map(count * sizeof(*conn_table.conns), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (memory == MAP_FAILED)
		return false;
	endpoint_init();
	heads_init();
	conn_table.conns = memory;
	conn_table.count = count;
	return true;
}

void conn_forking(void)
{
	atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

void conn_forked(void)
{
	generation = (generation + 1) & 0x7fffffff;
}

static inline struct conn *conn_at(int fd)
{
	if (__builtin_expect((uint32_t)fd >= conn_table.count, 0))
		return NULL;
	return atomic_load_explicit(&conn_table.conns[fd], memory_order_acquire);
}

int conn_numbers_end(void)
{
	return (int)atomic_load_explicit(&numbers_end, memory_order_relaxed);
}

void conn_waits_set(int fd, bool waits)
{
	struct conn *conn = conn_at(fd);

	if (conn)
		atomic_store_explicit(&conn->never_waits, !waits, memory_order_relaxed);
}

bool conn_never_waits(int fd)
{
	struct conn *conn = conn_at(fd);

	return conn && atomic_load_explicit(&conn->never_waits, memory_order_relaxed);
}

static struct traffic_call call_at(uint64_t now_ns)
{
	return (struct traffic_call){ .now_ns = now_ns, .work = WORK_NONE };
}

/* the lock */

/* Ours while this thread holds a lock; the address of its own data tells threads apart. */
static inline uint64_t lock_word(void)
{
	return (uint64_t)generation << 32 | (uint32_t)((uintptr_t)&self >> 4) | 1;
}

static bool is_torn(uint64_t word)
{
	return (word & ~LOCK_MISSED) >> 32 != generation;
}

static void spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

static bool lock_change(struct conn *conn, uint64_t *expected, uint64_t word)
{
	return atomic_compare_exchange_strong_explicit(&conn->lock, expected, word, memory_order_acq_rel,
						       memory_order_acquire);
}

enum lock_result { LOCK_TAKEN, LOCK_TORN /* taken from a thread that is no more */, LOCK_BUSY };

/* Spins for a moment, unless the holder is this thread. */
static __attribute__((cold)) enum lock_result lock_slowly(struct conn *conn, uint64_t seen)
{
	for (uint32_t spins = 0;; spins++) {
		if (!seen && lock_change(conn, &seen, lock_word()))
			return LOCK_TAKEN;
		if (seen && is_torn(seen) && lock_change(conn, &seen, lock_word()))
			return LOCK_TORN;
		if (spins >= SPINS_MAX || (uint32_t)seen == (uint32_t)lock_word())
			return LOCK_BUSY;
		spin_pause();
		seen = atomic_load_explicit(&conn->lock, memory_order_relaxed);
	}
}

static inline enum lock_result lock_try_as(struct conn *conn, uint64_t mine)
{
	uint64_t nobody = 0;

	if (__builtin_expect(lock_change(conn, &nobody, mine), 1))
		return LOCK_TAKEN;
	return lock_slowly(conn, nobody);
}

static enum lock_result lock_try(struct conn *conn)
{
	return lock_try_as(conn, lock_word());
}

/* Without waiting: takes the lock, or tells its holder that there is something to make up for. The change of the word,
 * even if it changes nothing, comes before the holder's own: so it finds what was done before. */
static enum lock_result lock_or_tell(struct conn *conn)
{
	uint64_t seen = atomic_load_explicit(&conn->lock, memory_order_relaxed);

	for (;;) {
		if (!seen && lock_change(conn, &seen, lock_word()))
			return LOCK_TAKEN;
		if (seen && is_torn(seen) && lock_change(conn, &seen, lock_word()))
			return LOCK_TORN;
		if (seen && !is_torn(seen) && lock_change(conn, &seen, seen | LOCK_MISSED))
			return LOCK_BUSY;
	}
}

/* life */

static __attribute__((cold)) void adopt(struct conn *conn)
{
	conn->generation = generation;
	traffic_adopt(conn);
}

/* The last name is gone, and nobody else was faster to see it: ending it is the caller's. */
static inline bool is_left_to_end(struct conn *conn)
{
	uint32_t nameless = REFS_OPEN;

	if (atomic_load_explicit(&conn->refs, memory_order_acquire) != REFS_OPEN)
		return false;
	return atomic_compare_exchange_strong_explicit(&conn->refs, &nameless, 0, memory_order_acq_rel,
						       memory_order_relaxed);
}

/* Under the lock, which is gone afterwards like the connection. */
static void conn_end(struct conn *conn, uint64_t now_ns)
{
	struct traffic_call call = call_at(now_ns);
	bool is_handed_over = conn->forks_at_use != atomic_load_explicit(&forks, memory_order_relaxed);

	/* A child that closes what it inherited and never used has not counted it. */
	if (conn->generation == generation)
		traffic_end(conn, is_handed_over, &call);
	else
		traffic_forget(conn);
	atomic_store_explicit(&conn->lock, 0, memory_order_release);
	pool_give(&conns, conn);
}

static void tell_late(struct conn *conn);

static bool has_late(struct conn *conn)
{
	return atomic_load_explicit(&conn->late, memory_order_relaxed) != NULL;
}

/* Somebody came while the lock was held. */
static void make_up_for_missed(struct conn *conn)
{
	bool is_open = atomic_load_explicit(&conn->refs, memory_order_acquire) > REFS_OPEN;

	if (atomic_exchange_explicit(&conn->is_missed, false, memory_order_acq_rel) && is_open)
		traffic_give_up(conn, SEG_COUNTER_LOST_CONN_BUSY);
	tell_late(conn);
}

/* Somebody came while the lock was held, or the connection is to end: the rest of letting go of it. */
static __attribute__((cold, noinline)) void release_slowly(struct conn *conn, uint64_t mine, uint64_t now_ns)
{
	for (;;) {
		if (has_late(conn))
			tell_late(conn);
		if (is_left_to_end(conn)) {
			conn_end(conn, now_ns);
			return;
		}
		uint64_t expected = mine;
		if (lock_change(conn, &expected, 0))
			return;
		atomic_fetch_and_explicit(&conn->lock, ~LOCK_MISSED, memory_order_acq_rel);
		make_up_for_missed(conn);
	}
}

/* mine: the lock's word. */
static inline void release_as(struct conn *conn, uint64_t mine, uint64_t now_ns)
{
	uint64_t expected = mine;
	bool is_usual = !has_late(conn) && atomic_load_explicit(&conn->refs, memory_order_acquire) != REFS_OPEN;

	if (__builtin_expect(!is_usual || !lock_change(conn, &expected, 0), 0))
		release_slowly(conn, mine, now_ns);
}

static void conn_release(struct conn *conn, uint64_t now_ns)
{
	release_as(conn, lock_word(), now_ns);
}

/* Its lock was taken, and it is the connection that was meant. */
static inline void use(struct conn *conn, enum lock_result result)
{
	if (__builtin_expect(conn->generation != generation, 0))
		adopt(conn);
	if (__builtin_expect(result == LOCK_TORN, 0))
		traffic_give_up(conn, SEG_COUNTER_LOST_CONN_BUSY);
	conn->forks_at_use = atomic_load_explicit(&forks, memory_order_relaxed);
}

/* The lock is another's: that one will go through event (NULL: nothing that can be left), or give the connection up. */
static __attribute__((cold, noinline)) void leave(struct conn *conn, int fd, const struct conn_event *event, uint64_t now_ns)
{
	uint32_t opens = atomic_load_explicit(&conn->opens, memory_order_acquire);

	if (conn_at(fd) != conn)
		return;
	if (!event || !late_leave(&conn->late, event, opens))
		atomic_store_explicit(&conn->is_missed, true, memory_order_release);
	enum lock_result result = lock_or_tell(conn);
	if (result == LOCK_BUSY)
		return;
	if (conn_at(fd) == conn) {
		use(conn, result);
		make_up_for_missed(conn);
	}
	conn_release(conn, now_ns);
}

/* conn, which fd named a moment ago, locked by the word mine; NULL: it names another by now, or *ret_is_busy. */
static inline struct conn *conn_take(struct conn *conn, int fd, uint64_t now_ns, uint64_t mine, bool *ret_is_busy)
{
	enum lock_result result = lock_try_as(conn, mine);

	*ret_is_busy = result == LOCK_BUSY;
	if (__builtin_expect(result == LOCK_BUSY, 0))
		return NULL;
	if (__builtin_expect(conn_at(fd) != conn, 0)) {
		release_as(conn, mine, now_ns);
		return NULL;
	}
	use(conn, result);
	return conn;
}

/* One name less. */
static void conn_drop(struct conn *conn, uint64_t now_ns)
{
	if (atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != (REFS_OPEN | 1))
		return;
	if (lock_try(conn) != LOCK_BUSY || lock_or_tell(conn) != LOCK_BUSY) /* else the holder finds that it is the last */
		conn_release(conn, now_ns);
}

void conn_closing(int fd, uint64_t now_ns)
{
	if (!conn_at(fd))
		return;
	struct conn *conn = atomic_exchange_explicit(&conn_table.conns[fd], NULL, memory_order_acq_rel);
	if (conn)
		conn_drop(conn, now_ns);
}

/* fd names conn now; what it named before has one name less. */
static void conn_install(int fd, struct conn *conn, uint64_t now_ns)
{
	uint32_t end = atomic_load_explicit(&numbers_end, memory_order_relaxed);

	while (end <= (uint32_t)fd && !atomic_compare_exchange_weak_explicit(&numbers_end, &end, (uint32_t)fd + 1,
									      memory_order_relaxed, memory_order_relaxed))
		;
	struct conn *before = atomic_exchange_explicit(&conn_table.conns[fd], conn, memory_order_acq_rel);

	if (before)
		conn_drop(before, now_ns);
}

static void conn_open(struct conn *conn, int fd, const struct peer_address *server, uint64_t now_ns)
{
	/* What was left for the connection that this memory was before is nobody's. */
	atomic_fetch_add_explicit(&conn->opens, 1, memory_order_acq_rel);
	tell_late(conn);
	atomic_store_explicit(&conn->is_missed, false, memory_order_relaxed);
	atomic_store_explicit(&conn->never_waits, false, memory_order_relaxed);
	conn->generation = generation;
	conn->forks_at_use = atomic_load_explicit(&forks, memory_order_relaxed);
	traffic_begin(conn, fd, server, now_ns);
	/* Last: who still holds the lock of the connection that this object was before finds it whole. */
	atomic_store_explicit(&conn->refs, REFS_OPEN | 1, memory_order_release);
}

/* server: whom the program asks, NULL: it is asked. */
static void conn_new(int fd, const struct peer_address *server, uint64_t now_ns)
{
	if ((uint32_t)fd >= conn_table.count) {
		thread_count(SEG_COUNTER_LOST_FD_RANGE);
		return;
	}
	conn_closing(fd, now_ns); /* a close that we did not see */
	struct conn *conn = pool_take(&conns);
	if (!conn) {
		thread_count(SEG_COUNTER_LOST_POOL_FULL);
		return;
	}
	conn_open(conn, fd, server, now_ns);
	conn_install(fd, conn, now_ns);
}

/* What an heir worked for it does not come back to: it has begun something of its own. */
static inline void remember_work(void)
{
	interrupted.work = self.heir ? (struct work){ SEG_ENDPOINT_BACKGROUND, 0 } : self.work;
	interrupted.is_answered = self.is_answered;
}

static void return_to_work(void)
{
	if (interrupted.work.endpoint == WORK_PENDING)
		self.work = interrupted.work;
	else
		work_set(interrupted.work);
	self.is_answered = interrupted.is_answered;
}

void conn_accepting(void)
{
	if (!conn_table.count)
		return;
	remember_work();
	/* It accepted before, and nothing came of it on this thread. */
	if (self.pending_count)
		work_abandon();
	work_set_pending();
}

void conn_accept_failed(void)
{
	if (conn_table.count)
		return_to_work();
}

void conn_accepted(int fd, uint64_t now_ns)
{
	if (!conn_table.count)
		return;
	work_set_pending();
	conn_new(fd, NULL, now_ns);
}

void conn_connecting(int fd, const struct sockaddr *address, socklen_t bytes, uint64_t now_ns)
{
	struct peer_address server = peer_address(address, bytes);

	if (conn_table.count)
		conn_new(fd, &server, now_ns);
}

void conn_tls_opened(int fd, uint64_t now_ns)
{
	struct conn *conn = conn_at(fd);
	bool is_busy;

	if (!conn || conn->is_tls)
		return;
	if (conn_take(conn, fd, now_ns, lock_word(), &is_busy)) {
		traffic_tls_opened(conn);
		conn_release(conn, now_ns);
	} else if (is_busy) {
		leave(conn, fd, NULL, now_ns);
	}
}

/* False: it has ended meanwhile. */
static bool conn_name_again(struct conn *conn)
{
	uint32_t refs = atomic_load_explicit(&conn->refs, memory_order_relaxed);

	while (refs > REFS_OPEN)
		if (atomic_compare_exchange_weak_explicit(&conn->refs, &refs, refs + 1, memory_order_acq_rel,
							  memory_order_relaxed))
			return true;
	return false;
}

void conn_duplicated(int from, int to, uint64_t now_ns)
{
	struct conn *conn = conn_at(from);

	if (conn_at(to) == conn) /* the same connection, or none */
		return;
	if ((uint32_t)to >= conn_table.count) {
		thread_count(SEG_COUNTER_LOST_FD_RANGE);
		return;
	}
	if (!conn || !conn_name_again(conn)) {
		conn_closing(to, now_ns);
		return;
	}
	atomic_store_explicit(&conn->fd, to, memory_order_relaxed);
	conn_install(to, conn, now_ns);
}

void conn_rejoined(void)
{
	for (uint32_t fd = 0; fd < atomic_load_explicit(&numbers_end, memory_order_relaxed); fd++) {
		struct conn *conn = conn_at((int)fd);
		/* Each once, by its newest number. One that another thread holds just now is in no gauge from here on. */
		if (!conn || atomic_load_explicit(&conn->fd, memory_order_relaxed) != (int)fd || lock_try(conn) == LOCK_BUSY)
			continue;
		if (conn_at((int)fd) == conn && conn->generation == generation)
			traffic_adopt(conn);
		conn_release(conn, 0);
	}
}

void conn_process_ends(uint64_t now_ns)
{
	for (uint32_t fd = 0; fd < atomic_load_explicit(&numbers_end, memory_order_relaxed); fd++)
		conn_closing((int)fd, now_ns);
}

/* bytes */

static inline void each_piece(struct conn *conn, const struct iovec *iov, size_t iov_count, size_t bytes, bool is_asked,
			      struct traffic_call *call)
{
	for (const struct iovec *end = iov + iov_count; bytes && iov < end; iov++) {
		size_t n = iov->iov_len < bytes ? iov->iov_len : bytes;
		bytes -= n;
		if (!n)
			continue;
		if (is_asked)
			traffic_asked(conn, iov->iov_base, n, call);
		else
			traffic_answered(conn, iov->iov_base, n, call);
	}
}

static inline void count_received(struct conn *conn, size_t bytes)
{
	if (conn->listing)
		listing_add(&conn->listing->received_bytes, bytes);
	if (__builtin_expect(!conn->is_settled, 0))
		conn->received_bytes += bytes;
	else if (__builtin_expect(!conn->is_client, 1))
		observe_received(conn->protocol, bytes);
}

static inline void count_sent(struct conn *conn, size_t bytes)
{
	if (conn->listing)
		listing_add(&conn->listing->sent_bytes, bytes);
	if (__builtin_expect(!conn->is_settled, 0))
		conn->sent_bytes += bytes;
	else if (__builtin_expect(!conn->is_client, 1))
		observe_sent(conn->protocol, bytes);
}

/* Inline, so that the two ways in which bytes pass every day are compiled each for itself. */
static inline __attribute__((always_inline)) void happen(struct conn *conn, struct conn_event event, struct traffic_call *call)
{
	bool is_asked = (event.kind == CONN_RECEIVED || event.kind == CONN_RECEIVED_UNSEEN) != conn->is_client;

	switch (event.kind) {
	case CONN_RECEIVED:
		count_received(conn, event.bytes);
		each_piece(conn, event.iov, event.iov_count, event.bytes, is_asked, call);
		break;
	case CONN_SENT:
		count_sent(conn, event.bytes);
		each_piece(conn, event.iov, event.iov_count, event.bytes, is_asked, call);
		break;
	case CONN_RECEIVED_UNSEEN:
	case CONN_SENT_UNSEEN:
		if (event.kind == CONN_RECEIVED_UNSEEN)
			count_received(conn, event.bytes);
		else
			count_sent(conn, event.bytes);
		if (is_asked)
			traffic_asked_unseen(conn, event.bytes, call);
		else
			traffic_answered_unseen(conn, event.bytes, call);
		break;
	case CONN_RECEIVED_END:
		/* The other side, as the server, has answered all that it will. */
		conn->is_received_at_end = true;
		if (conn->is_client)
			traffic_answered_all(conn, call);
		break;
	case CONN_SHUT_DOWN:
		if (!conn->is_client)
			traffic_answered_all(conn, call);
		break;
	case CONN_FAILED:
		conn->failure = event.error;
		break;
	case CONN_PASSED:
		conn->forks_at_use--; /* as if this process had forked since */
		break;
	}
}

static inline bool is_receipt(enum conn_event_kind kind)
{
	return kind == CONN_RECEIVED || kind == CONN_RECEIVED_UNSEEN;
}

static inline void note_reader(struct conn *conn, enum conn_event_kind kind, uint32_t tid)
{
	if (is_receipt(kind))
		conn->reader = tid;
}

static void go_through(struct conn *conn, const struct late *late)
{
	struct traffic_call call = call_at(late->event.now_ns);
	struct work own = self.work;

	/* What the program asks is asked for the work of the thread that asked. */
	if (conn->is_client)
		self.work = late->work;
	note_reader(conn, late->event.kind, late->tid);
	happen(conn, late->event, &call);
	traffic_call_end(conn, &call);
	self.work = own;
}

static void tell_late(struct conn *conn)
{
	struct late *late = late_take(&conn->late), *next;

	for (; late; late = next) {
		next = late->next;
		if (late->opens == atomic_load_explicit(&conn->opens, memory_order_relaxed))
			go_through(conn, late);
		late_free(late);
	}
}

/* Of a thread that does not know what it works for: this answer tells it, unless it passes on those of others. */
static void take_up_answered(const struct traffic_call *call)
{
	if (call->answered_count == 1)
		work_set(call->answered);
	else if (work_is_job())
		work_abandon();
}

/* It answered in this call. What was received before it may be what it does next. */
static void move_on(const struct conn *conn, const struct traffic_call *call)
{
	if (call->work.endpoint != WORK_PENDING)
		work_set(call->work);
	else if (self.work.endpoint == WORK_PENDING)
		take_up_answered(call);
	work_answered(call->answered, conn->reader == self.tid, call->now_ns);
	if (call->is_next_unknown)
		work_set_unknown(WORK_JOB);
}

/* A request was received, or more of one. A thread that answers what others read may leave it to them. */
static inline __attribute__((always_inline)) void begin_work(const struct traffic_call *call)
{
	if (self.work.endpoint == WORK_PENDING && (self.heir || (self.foreign && work_is_job())))
		work_abandon();
	if (self.foreign || call->is_next_unknown)
		work_set_unknown(WORK_JOB);
	else
		work_set(call->work);
}

/* What the thread works for after a call. */
static inline void know_work(const struct conn *conn, enum conn_event_kind kind, const struct traffic_call *call)
{
	bool is_news = call->work.endpoint != WORK_PENDING;

	if (call->answered_count)
		move_on(conn, call);
	else if (is_receipt(kind) && !conn->is_client && (is_news || call->is_next_unknown))
		begin_work(call);
	else if (is_news)
		work_set(call->work);
}

/* What the program did with fd, for the connection; and what the thread works for now. Passed on by value as far as it is
 * inline, so that nothing of event needs to be in memory but for who cannot have the lock. */
static inline __attribute__((always_inline)) void tell(int fd, struct conn_event event)
{
	struct conn *conn = conn_at(fd);
	uint64_t mine = lock_word();
	bool is_busy;

	if (__builtin_expect(!conn, 0))
		return;
	if (__builtin_expect(!conn_take(conn, fd, event.now_ns, mine, &is_busy), 0)) {
		struct conn_event left = event;
		if (is_busy)
			leave(conn, fd, &left, event.now_ns);
		return;
	}
	struct traffic_call call = call_at(event.now_ns);
	note_reader(conn, event.kind, self.tid);
	happen(conn, event, &call);
	traffic_call_end(conn, &call);
	know_work(conn, event.kind, &call);
	release_as(conn, mine, event.now_ns);
}

static void tell_seldom(int fd, struct conn_event event)
{
	tell(fd, event);
}

/* Work that may be weak: then what the thread does for a request stays so, known or not. */
static void take_up(struct work work)
{
	bool is_weak = work.endpoint & TRAFFIC_WORK_WEAK;

	if (work.endpoint == WORK_PENDING)
		return;
	work.endpoint &= ~TRAFFIC_WORK_WEAK;
	if (self.work.endpoint == work.endpoint && self.work.request == work.request)
		return;
	if (!is_weak || !(work_is_request(self.work) || work_is_job()))
		work_set(work);
}

/* Of a request that is half received, or was asked of others. What a thread did for one that it has not answered is not
 * for this one. */
static void begin_known_work(struct work work)
{
	if (self.foreign && work_is_job())
		work_abandon();
	take_up(work);
}

bool conn_receiving(int fd)
{
	struct conn *conn = conn_at(fd);

	if (__builtin_expect(!conn, 0))
		return false;
	struct work work = traffic_work_receiving(conn);
	remember_work();
	if (work.endpoint != WORK_PENDING)
		begin_known_work(work);
	else if (!conn->is_client && !work_is_job())
		work_set_pending();
	return atomic_load_explicit(&conn->never_waits, memory_order_relaxed);
}

/* Nothing came. What the program asked others is for the same request as before, whether it has come or not. */
static void restore_work(struct conn *conn)
{
	bool is_within_request = work_is_request(traffic_work_receiving(conn));

	if (!is_within_request && !conn->is_client)
		return_to_work();
}

static void receive_end(int fd, uint64_t now_ns)
{
	struct conn *conn = conn_at(fd);

	if (!conn)
		return;
	restore_work(conn);
	tell_seldom(fd, (struct conn_event){ .kind = CONN_RECEIVED_END, .now_ns = now_ns });
}

void conn_received(int fd, const struct iovec *iov, size_t iov_count, size_t bytes, uint64_t now_ns)
{
	if (__builtin_expect(!bytes, 0)) {
		receive_end(fd, now_ns);
		return;
	}
	tell(fd, (struct conn_event){
		.kind = CONN_RECEIVED,
		.iov = iov,
		.iov_count = iov_count,
		.bytes = bytes,
		.now_ns = now_ns,
	});
}

void conn_received_unseen(int fd, size_t bytes, uint64_t now_ns)
{
	tell_seldom(fd, (struct conn_event){ .kind = CONN_RECEIVED_UNSEEN, .bytes = bytes, .now_ns = now_ns });
}

/* The failures that a caller meets every day and tries again after. */
static bool is_passing(int error)
{
	return error == EAGAIN || error == EINTR || error == ENOBUFS || error == ENOMEM;
}

/* One that tells why what is unanswered will stay so, and that this process follows the connection. */
static void note_failure(int fd, int error, uint64_t now_ns)
{
	if (!is_passing(error))
		tell_seldom(fd, (struct conn_event){ .kind = CONN_FAILED, .error = error, .now_ns = now_ns });
}

void conn_receive_failed(int fd, int error, uint64_t now_ns)
{
	struct conn *conn = conn_at(fd);

	if (!conn)
		return;
	restore_work(conn);
	note_failure(fd, error, now_ns);
}

bool conn_sending(int fd)
{
	struct conn *conn = conn_at(fd);

	if (__builtin_expect(!conn, 0))
		return false;
	take_up(traffic_work_sending(conn));
	return atomic_load_explicit(&conn->never_waits, memory_order_relaxed);
}

void conn_sent(int fd, const struct iovec *iov, size_t iov_count, size_t bytes, uint64_t now_ns)
{
	tell(fd, (struct conn_event){
		.kind = CONN_SENT,
		.iov = iov,
		.iov_count = iov_count,
		.bytes = bytes,
		.now_ns = now_ns,
	});
}

void conn_sent_unseen(int fd, size_t bytes, uint64_t now_ns)
{
	tell_seldom(fd, (struct conn_event){ .kind = CONN_SENT_UNSEEN, .bytes = bytes, .now_ns = now_ns });
}

void conn_send_failed(int fd, int error, uint64_t now_ns)
{
	note_failure(fd, error, now_ns);
}

void conn_passed(int fd, uint64_t now_ns)
{
	tell_seldom(fd, (struct conn_event){ .kind = CONN_PASSED, .now_ns = now_ns });
}

void conn_shut_down(int fd, int how, uint64_t now_ns)
{
	if (how != SHUT_RD)
		tell_seldom(fd, (struct conn_event){ .kind = CONN_SHUT_DOWN, .now_ns = now_ns });
}
