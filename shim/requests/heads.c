/* A thread keeps the two heads of each side that it met last: who asks in turn for more of them than that has them read. */
#include "heads.h"

#include "../base/hot.h"
#include "../base/own_memory.h"
#include "../base/thread.h"

#include <sys/mman.h>

enum {
	HEAD_BYTES_MIN = 16, /* less is read as fast */
	HEADS = 2, /* of each side, for each thread: 2 KiB */
};

/* Which side wrote it, and whether ids were looked for: what else the result depends on. */
enum head_kind { HEAD_NONE, HEAD_REQUEST, HEAD_REQUEST_WITH_IDS, HEAD_RESPONSE };

_Static_assert(sizeof(struct head) == HEAD_ENTRY_BYTES, "as many as fit a page");

HOT_DATA static struct head (*heads)[2][HEADS]; /* by thread slot, requests and responses; NULL = none */

void heads_init(void)
{
	size_t bytes = seg.slots[SEG_TABLE_THREADS].count * sizeof(*heads);
	void *memory = own_memory_map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	heads = memory == MAP_FAILED ? NULL : memory;
}

static enum head_kind kind_of(const struct http1 *http)
{
	if (http->is_response)
		return HEAD_RESPONSE;
	return http->trace ? HEAD_REQUEST_WITH_IDS : HEAD_REQUEST;
}

/* The heads of one side; NULL: the thread keeps none. */
static struct head *side_of(enum head_kind kind)
{
	if (!heads || !self.is_exclusive)
		return NULL;
	return heads[self.slot - seg.threads][kind == HEAD_RESPONSE];
}

static bool begins(const struct head *head, const char *bytes, size_t n, enum head_kind kind)
{
	return head->kind == kind && head->bytes <= n && memcmp(head->text, bytes, head->bytes) == 0;
}

struct head *heads_find(const struct http1 *http, const char *bytes, size_t n)
{
	enum head_kind kind = kind_of(http);
	struct head *side = side_of(kind);

	if (!side)
		return NULL;
	if (begins(&side[side->latest], bytes, n, kind))
		return &side[side->latest];
	uint8_t other = side->latest ^ 1;
	if (!begins(&side[other], bytes, n, kind))
		return NULL;
	side->latest = other;
	return &side[other];
}
_Static_assert(HEADS == 2, "the latest, and the other");

static bool is_plain(const struct http1 *http)
{
	if (!http->is_response)
		return http->state == HTTP1_STATE_DONE;
	return http->status >= 200 && !http->is_event_stream &&
	       (http->state == HTTP1_STATE_DONE || http->state == HTTP1_STATE_COUNTED);
}

void heads_remember(const struct http1 *http, const char *head, size_t head_bytes, const char *target)
{
	enum head_kind kind = kind_of(http);
	size_t before = target ? (size_t)(target - head) : 0;

	if (head_bytes < HEAD_BYTES_MIN || head_bytes > HEAD_TEXT_BYTES || before > UINT8_MAX)
		return;
	struct head *side = side_of(kind);
	if (!side)
		return;
	struct head *place = &side[side->latest ^ 1];
	place->kind = HEAD_NONE;
	atomic_signal_fence(memory_order_seq_cst);
	place->bytes = (uint16_t)head_bytes;
	place->target = (uint8_t)before;
	place->target_bytes = http->target_bytes;
	place->endpoint = 0;
	place->is_plain = is_plain(http);
	place->method = http->method;
	place->is_faulty = http->is_faulty;
	place->body_bytes = http->state == HTTP1_STATE_COUNTED ? http->left_bytes : 0;
	memcpy(place->state, http, sizeof(place->state));
	memcpy(place->text, head, head_bytes);
	atomic_signal_fence(memory_order_seq_cst);
	place->kind = (uint8_t)kind;
	side->latest ^= 1;
}
