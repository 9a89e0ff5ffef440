/* Each piece has its size and a mark before it, so that what the C library made itself (strdup) and gave us to free can be told
 * from ours: there malloc keeps sizes of its own, which are never as large as a mark. What is large begins behind a page of
 * its own, in which these stand, and goes back to the kernel when it is freed. What is small is cut from chunks, by powers of
 * two, and kept for the next of its size: among malloc's pieces it would lie on top of those that libdwarf frees by the
 * megabyte, which the C library then cannot give back.
 *
 * The chunks are everybody's who gets the lock. Who does not, because a fork copied it locked, has pieces of malloc's.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum {
	PAGE_BYTES = 4096,
	LARGE_BYTES = 32 * 1024,
	SMALLEST_SHIFT = 5, /* 32 bytes, with the head */
	SIZES = 11,         /* up to 32 KiB */
	CHUNK_BYTES = 256 * 1024,
	SPINS = 100000,     /* some 0.1 ms; a lock is held for nanoseconds, or for ever */
};
#define MALLOC_MARK 0xf1a6e051a11a6e05ULL
#define SMALL_MARK 0xf1a6e0c4a11a6e0cULL
#define LARGE_MARK 0xf1a6e0b166a6e00bULL

struct head {
	uint64_t bytes; /* of the piece; of a large one all that is mapped for it */
	uint64_t mark;
};
_Static_assert(sizeof(struct head) == 16, "pieces are aligned as malloc's are");

/* The linker gives malloc's own names to the latter and has the former called by everybody in this library (meson.build). */
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *piece, size_t n);
void __wrap_free(void *piece);
void *__real_malloc(size_t n);
void *__real_realloc(void *piece, size_t n);
void __real_free(void *piece);

/* All of it under the lock. */
static struct {
	_Atomic bool is_locked;
	char *next, *end; /* of the present chunk */
	struct free_piece {
		struct free_piece *below;
	} *free[SIZES];
} chunks;

static bool lock(void)
{
	for (int i = 0; i < SPINS; i++)
		if (!atomic_load_explicit(&chunks.is_locked, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&chunks.is_locked, true, memory_order_acquire))
			return true;
	return false;
}

static void unlock(void)
{
	atomic_store_explicit(&chunks.is_locked, false, memory_order_release);
}

static struct head *head_of(void *piece)
{
	return (struct head *)piece - 1;
}

static void *mark(void *place, size_t bytes, uint64_t mark)
{
	struct head *head = place;

	if (!head)
		return NULL;
	*head = (struct head){ bytes, mark };
	return head + 1;
}

static void *map(size_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return base == MAP_FAILED ? NULL : base;
}

/* --- small --- */

/* Of a piece of n bytes with its head. */
static uint32_t size_for(size_t n)
{
	size_t bytes = n + sizeof(struct head);

	return bytes <= 1u << SMALLEST_SHIFT ? 0 : 64 - (uint32_t)__builtin_clzll(bytes - 1) - SMALLEST_SHIFT;
}

/* What is left of a chunk that is too short for a piece is lost: an eighth at most. */
static void *cut(size_t bytes)
{
	if ((size_t)(chunks.end - chunks.next) < bytes) {
		char *chunk = map(CHUNK_BYTES);
		if (!chunk)
			return NULL;
		chunks.next = chunk;
		chunks.end = chunk + CHUNK_BYTES;
	}
	chunks.next += bytes;
	return chunks.next - bytes;
}

static void *small_alloc(size_t n)
{
	uint32_t size = size_for(n);
	void *place;

	if (!lock())
		return mark(__real_malloc(n + sizeof(struct head)), n, MALLOC_MARK);
	if (chunks.free[size]) {
		place = chunks.free[size];
		chunks.free[size] = chunks.free[size]->below;
	} else {
		place = cut((size_t)1 << (size + SMALLEST_SHIFT));
	}
	unlock();
	return mark(place, n, SMALL_MARK);
}

/* Without the lock it is lost. */
static void small_free(struct head *head)
{
	struct free_piece *freed = (struct free_piece *)head;
	uint32_t size = size_for(head->bytes);

	if (!lock())
		return;
	freed->below = chunks.free[size];
	chunks.free[size] = freed;
	unlock();
}

/* --- large --- */

/* What to map for a piece of n bytes; 0 = too much. */
static size_t bytes_to_map(size_t n)
{
	size_t bytes;

	if (__builtin_add_overflow(n, 2 * PAGE_BYTES - 1, &bytes))
		return 0;
	return bytes - bytes % PAGE_BYTES;
}

static void *large_alloc(size_t n)
{
	size_t bytes = bytes_to_map(n);
	char *base = bytes ? map(bytes) : NULL;

	return base ? mark(base + PAGE_BYTES - sizeof(struct head), bytes, LARGE_MARK) : NULL;
}

static void *large_realloc(void *piece, size_t n)
{
	size_t bytes = bytes_to_map(n), before = head_of(piece)->bytes;

	if (!bytes || bytes == before)
		return bytes ? piece : NULL;
	char *base = mremap((char *)piece - PAGE_BYTES, before, bytes, MREMAP_MAYMOVE);
	return base == MAP_FAILED ? NULL : mark(base + PAGE_BYTES - sizeof(struct head), bytes, LARGE_MARK);
}

/* --- what malloc's callers call --- */

void *__wrap_malloc(size_t n)
{
	return n <= LARGE_BYTES - sizeof(struct head) ? small_alloc(n) : large_alloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, n, &bytes))
		return NULL;
	void *piece = __wrap_malloc(bytes);
	return piece && head_of(piece)->mark != LARGE_MARK ? memset(piece, 0, bytes) : piece;
}

void __wrap_free(void *piece)
{
	if (!piece)
		return;
	struct head *head = head_of(piece);
	if (head->mark == LARGE_MARK)
		munmap((char *)piece - PAGE_BYTES, head->bytes);
	else if (head->mark == SMALL_MARK)
		small_free(head);
	else
		__real_free(head->mark == MALLOC_MARK ? (void *)head : piece);
}

void *__wrap_realloc(void *piece, size_t n)
{
	if (!piece)
		return __wrap_malloc(n);
	struct head *head = head_of(piece);
	if (head->mark == LARGE_MARK)
		return large_realloc(piece, n);
	if (head->mark != SMALL_MARK && head->mark != MALLOC_MARK)
		return __real_realloc(piece, n);
	if (head->mark == SMALL_MARK && n <= LARGE_BYTES - sizeof(*head) && size_for(n) == size_for(head->bytes)) {
		head->bytes = n;
		return piece;
	}
	void *other = __wrap_malloc(n);
	if (other) {
		memcpy(other, piece, n < head->bytes ? n : head->bytes);
		__wrap_free(piece);
	}
	return other;
}
