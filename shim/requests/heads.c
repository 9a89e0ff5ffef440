/* A head is looked for in one place, which some of its first bytes and the size of its piece tell: of two that differ in
 * neither the later one is kept. What varies from message to message, such as a path or a length, mostly shows in these.
 */
#include "heads.h"

#include "../base/thread.h"

#include <sys/mman.h>

enum {
	HEAD_BYTES_MIN = 16, /* so that the key can be read */
	HEADS = 4,           /* of each side, for each thread: 4 KiB */
};

/* Which side wrote it, and whether ids were looked for: what else the result depends on. */
enum head_kind { HEAD_NONE, HEAD_REQUEST, HEAD_REQUEST_WITH_IDS, HEAD_RESPONSE };

_Static_assert(sizeof(struct head) == HEAD_ENTRY_BYTES, "as many as fit a page");

static struct head (*heads)[2][HEADS]; /* by thread slot, requests and responses; NULL = none */

void heads_init(void)
{
	size_t bytes = seg.slots[SEG_TABLE_THREADS].count * sizeof(*heads);
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	heads = memory == MAP_FAILED ? NULL : memory;
}

static enum head_kind kind_of(const struct http1 *http)
{
	if (http->is_response)
		return HEAD_RESPONSE;
	return http->trace ? HEAD_REQUEST_WITH_IDS : HEAD_REQUEST;
}

/* NULL: the thread keeps none. n >= HEAD_BYTES_MIN. */
static struct head *place_of(const char *bytes, size_t n, enum head_kind kind)
{
	uint64_t word;

	if (!heads || !self.is_exclusive)
		return NULL;
	memcpy(&word, bytes + HEAD_BYTES_MIN - sizeof(word), sizeof(word));
	uint64_t mixed = (word + n * 4 + kind) * 0x9e3779b97f4a7c15ULL; /* 2^64 by the golden ratio: Fibonacci hashing */
	/* An answer is never in the way of what it answers. */
	return &heads[self.slot - seg.threads][kind == HEAD_RESPONSE][mixed >> 62];
}
_Static_assert(HEADS == 1 << 2, "the place is the two highest bits");

struct head *heads_find(const struct http1 *http, const char *bytes, size_t n)
{
	enum head_kind kind = kind_of(http);
	struct head *head = n < HEAD_BYTES_MIN ? NULL : place_of(bytes, n, kind);

	if (!head || head->kind != kind || head->bytes > n || memcmp(head->text, bytes, head->bytes) != 0)
		return NULL;
	return head;
}

static bool is_plain(const struct http1 *http)
{
	if (!http->is_response)
		return http->state == HTTP1_STATE_DONE;
	return http->status >= 200 && !http->is_event_stream &&
	       (http->state == HTTP1_STATE_DONE || http->state == HTTP1_STATE_COUNTED);
}

void heads_remember(const struct http1 *http, const char *head, size_t head_bytes, size_t piece_bytes, const char *target)
{
	enum head_kind kind = kind_of(http);
	size_t before = target ? (size_t)(target - head) : 0;

	if (head_bytes < HEAD_BYTES_MIN || head_bytes > HEAD_TEXT_BYTES || before > UINT8_MAX)
		return;
	struct head *place = place_of(head, piece_bytes, kind);
	if (!place)
		return;
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
}
