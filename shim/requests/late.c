/* A stack that is pushed by compare-and-swap and taken whole, so that no order of pushing and taking can confuse it. The
 * calls of one thread stand in it in their order, and so do those of threads that know of each other.
 */
#include "late.h"

#include "heap.h"

#include <string.h>

static void push(_Atomic(struct late *) *list, struct late *late)
{
	late->next = atomic_load_explicit(list, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(list, &late->next, late, memory_order_acq_rel, memory_order_relaxed))
		;
}

static bool leave_piece(_Atomic(struct late *) *list, const struct conn_event *event, uint32_t opens, const char *bytes,
			size_t n)
{
	struct late *late = heap_alloc(sizeof(*late) + n);

	if (!late)
		return false;
	late->event = *event;
	late->work = self.work;
	late->tid = self.tid;
	late->opens = opens;
	late->event.iov = &late->own;
	late->event.iov_count = n ? 1 : 0;
	late->own = (struct iovec){ late->bytes, n };
	if (n) {
		late->event.bytes = n;
		memcpy(late->bytes, bytes, n);
	}
	push(list, late);
	return true;
}

bool late_leave(_Atomic(struct late *) *list, const struct conn_event *event, uint32_t opens)
{
	size_t piece_max = HEAP_BYTES_MAX - sizeof(struct late), left = event->bytes;

	if (!event->iov_count)
		return leave_piece(list, event, opens, NULL, 0);
	for (size_t i = 0; i < event->iov_count && left; i++) {
		const char *bytes = event->iov[i].iov_base;
		size_t n = event->iov[i].iov_len < left ? event->iov[i].iov_len : left;
		left -= n;
		for (size_t piece; n; bytes += piece, n -= piece) {
			piece = n < piece_max ? n : piece_max;
			if (!leave_piece(list, event, opens, bytes, piece))
				return false;
		}
	}
	return true;
}

struct late *late_take(_Atomic(struct late *) *list)
{
	struct late *newest = atomic_exchange_explicit(list, NULL, memory_order_acq_rel), *oldest = NULL;

	while (newest) {
		struct late *late = newest;
		newest = late->next;
		late->next = oldest;
		oldest = late;
	}
	return oldest;
}

void late_free(struct late *late)
{
	heap_free(late);
}
