/* Entries are looked for from a place on that moves with each claim, so that claims of one process or of several seldom
 * meet. An entry whose owner is gone without a word is freed by who looks after the dead (setup/process.c).
 */
#include "listing.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { PROBES = 64 };

static uint64_t owner_word(void)
{
	const struct seg_process *process = thread_process;

	if (!process)
		return seg_connection_owner((uint32_t)syscall(SYS_getpid), 0);
	return seg_connection_owner(atomic_load_explicit(&process->owner, memory_order_relaxed),
				    (uint32_t)(process - seg.processes));
}

static void begin_entry(struct seg_connection *entry, enum seg_connection_kind kind, int fd, uint64_t now_ns)
{
	atomic_store_explicit(&entry->begin_mono_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->requests, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->received_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->sent_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->endpoint, SEG_ENDPOINT_BACKGROUND, memory_order_relaxed);
	atomic_store_explicit(&entry->in_flight, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->tid, self.tid, memory_order_relaxed);
	atomic_store_explicit(&entry->fd, fd, memory_order_relaxed);
	atomic_store_explicit(&entry->protocol, SEG_PROTOCOL_UNKNOWN, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, (uint8_t)kind, memory_order_relaxed);
	atomic_store_explicit(&entry->scheme, SEG_SCHEME_PLAIN, memory_order_relaxed);
	atomic_store_explicit(&entry->is_stream, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->opened_mono_ns, now_ns, memory_order_release);
}

/* False: it is another's. */
static bool take_entry(struct seg_connection *entry, uint64_t owner)
{
	uint64_t nobody = 0;

	return atomic_compare_exchange_strong_explicit(&entry->owner, &nobody, owner, memory_order_acquire, memory_order_relaxed);
}

struct seg_connection *listing_claim(enum seg_connection_kind kind, int fd, uint64_t now_ns)
{
	static _Atomic uint32_t next;
	const struct seg_slots *slots = &seg.slots[SEG_TABLE_CONNECTIONS];
	uint32_t begin = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
	uint64_t owner = owner_word();

	for (uint32_t i = 0; i < PROBES; i++) {
		uint32_t index = (begin + i) % slots->count;
		struct seg_connection *entry = &seg.connections[index];
		if (!take_entry(entry, owner))
			continue;
		begin_entry(entry, kind, fd, now_ns);
		seg_table_mark(slots, index);
		return entry;
	}
	return NULL;
}

struct seg_connection *listing_claim_again(struct seg_connection *before, enum seg_connection_kind kind, int fd, uint64_t now_ns)
{
	if (!before || !take_entry(before, owner_word()))
		return listing_claim(kind, fd, now_ns);
	begin_entry(before, kind, fd, now_ns);
	return before;
}

void listing_release(struct seg_connection *entry)
{
	/* Freed with the place that the process had, by an exec that failed: it may be anybody's now. */
	if (!entry || atomic_load_explicit(&entry->owner, memory_order_relaxed) != owner_word())
		return;
	/* Or who claims it next would seem to wait for what we waited for. */
	atomic_store_explicit(&entry->begin_mono_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->opened_mono_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->owner, 0, memory_order_release);
}
