/* What a look at the session takes it gives back, and all of that goes back to the kernel: malloc would keep it for the
 * program, lay the program's pieces among ours, and from the size of ours draw conclusions on what to keep of the program's
 * own (mallopt(3), M_MMAP_THRESHOLD).
 *
 * What is large is mapped. What is small is cut from slabs of two pages, each for pieces of one size, a power of two; a slab
 * that has no piece in use is unmapped, but for one that is kept for the next. So what lasts (answers of the symbolizer, what
 * views remember) holds few pages beside its own.
 *
 * Each piece has a mark before it, so that what the C library made itself (strdup) and gave us to free can be told from ours:
 * there malloc keeps sizes of its own, which are never as large as a mark.
 *
 * The slabs are everybody's who gets the lock. Who does not, because a fork copied it locked, has pieces of malloc's.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum {
	PAGE_BYTES = 4096,
	SLAB_BYTES = 2 * PAGE_BYTES,
	SMALLEST_SHIFT = 5,             /* 32 bytes, with the head */
	SIZES = 6,                      /* up to 1 KiB */
	SMALL_BYTES = 1 << (SMALLEST_SHIFT + SIZES - 1),
	SPINS = 100000,                 /* some 0.1 ms; a lock is held for microseconds, or for ever */
};
#define MALLOC_MARK 0xf1a6e051a11a6e05ULL
#define SMALL_MARK 0xf1a6e0c4a11a6e0cULL
#define LARGE_MARK 0xf1a6e0b166a6e00bULL

struct head {
	uint32_t bytes; /* that were asked for; of a large piece the pages that are mapped for it */
	uint32_t at;    /* of a small one: how far it is into its slab */
	uint64_t mark;
};
_Static_assert(sizeof(struct head) == 16, "pieces are aligned as malloc's are");

struct free_piece {
	struct free_piece *below;
};

/* At the beginning of its pages. */
struct slab {
	struct slab *next, **place;  /* among those of its size that have room; place NULL = it is full, and in no list */
	struct free_piece *free;     /* were in use before */
	uint32_t cut_bytes;          /* of its pages, from the beginning */
	uint32_t used;               /* pieces */
	uint32_t size;               /* 0 .. SIZES - 1 */
};

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
	struct slab *with_room[SIZES];
	struct slab *spare; /* without pieces, of no size yet; NULL = there is none */
} slabs;

static bool lock(void)
{
	for (int i = 0; i < SPINS; i++)
		if (!atomic_load_explicit(&slabs.is_locked, memory_order_relaxed) &&
		    !atomic_exchange_explicit(&slabs.is_locked, true, memory_order_acquire))
			return true;
	return false;
}

static void unlock(void)
{
	atomic_store_explicit(&slabs.is_locked, false, memory_order_release);
}

static struct head *head_of(void *piece)
{
	return (struct head *)piece - 1;
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

static uint32_t bytes_of(const struct slab *slab)
{
	return 1u << (slab->size + SMALLEST_SHIFT);
}

static void enlist(struct slab *slab)
{
	struct slab **place = &slabs.with_room[slab->size];

	slab->next = *place;
	slab->place = place;
	if (slab->next)
		slab->next->place = &slab->next;
	*place = slab;
}

static void delist(struct slab *slab)
{
	*slab->place = slab->next;
	if (slab->next)
		slab->next->place = slab->place;
	slab->place = NULL;
}

static bool has_room(const struct slab *slab)
{
	return slab->free || slab->cut_bytes + bytes_of(slab) <= SLAB_BYTES;
}

/* A slab for pieces of that size; NULL: no memory. */
static struct slab *slab_for(uint32_t size)
{
	struct slab *slab = slabs.with_room[size];

	if (slab)
		return slab;
	slab = slabs.spare ? slabs.spare : map(SLAB_BYTES);
	slabs.spare = NULL;
	if (!slab)
		return NULL;
	/* The smallest pieces would leave less than the slab's own head otherwise. */
	*slab = (struct slab){ .size = size, .cut_bytes = (sizeof(*slab) + (1u << SMALLEST_SHIFT) - 1) & ~((1u << SMALLEST_SHIFT) - 1) };
	enlist(slab);
	return slab;
}

static void *take(struct slab *slab)
{
	char *place = (char *)slab->free;

	if (place) {
		slab->free = slab->free->below;
	} else {
		place = (char *)slab + slab->cut_bytes;
		slab->cut_bytes += bytes_of(slab);
	}
	slab->used++;
	if (!has_room(slab))
		delist(slab);
	return place;
}

static void give_back(struct slab *slab, void *place)
{
	struct free_piece *freed = place;

	freed->below = slab->free;
	slab->free = freed;
	if (!slab->place)
		enlist(slab);
	if (--slab->used)
		return;
	delist(slab);
	if (slabs.spare)
		munmap(slab, SLAB_BYTES);
	else
		slabs.spare = slab;
}

static void *small_alloc(size_t n)
{
	struct head *head;

	if (!lock()) {
		head = __real_malloc(n + sizeof(*head));
		if (head)
			*head = (struct head){ .bytes = (uint32_t)n, .mark = MALLOC_MARK };
		return head ? head + 1 : NULL;
	}
	struct slab *slab = slab_for(size_for(n));
	head = slab ? take(slab) : NULL;
	if (head)
		*head = (struct head){ (uint32_t)n, (uint32_t)((char *)head - (char *)slab), SMALL_MARK };
	unlock();
	return head ? head + 1 : NULL;
}

/* Without the lock it is lost. */
static void small_free(struct head *head)
{
	if (!lock())
		return;
	give_back((struct slab *)(void *)((char *)head - head->at), head);
	unlock();
}

/* --- large --- */

/* What to map for a piece of n bytes; 0 = too much. */
static size_t bytes_to_map(size_t n)
{
	size_t bytes;

	if (__builtin_add_overflow(n, sizeof(struct head) + PAGE_BYTES - 1, &bytes) || bytes / PAGE_BYTES > UINT32_MAX)
		return 0;
	return bytes - bytes % PAGE_BYTES;
}

static size_t mapped_bytes(void *piece)
{
	return (size_t)head_of(piece)->bytes * PAGE_BYTES;
}

static void *mark_large(char *base, size_t bytes)
{
	struct head *head = (struct head *)(void *)base;

	*head = (struct head){ .bytes = (uint32_t)(bytes / PAGE_BYTES), .mark = LARGE_MARK };
	return head + 1;
}

static void *large_alloc(size_t n)
{
	size_t bytes = bytes_to_map(n);
	char *base = bytes ? map(bytes) : NULL;

	return base ? mark_large(base, bytes) : NULL;
}

static void *large_realloc(void *piece, size_t n)
{
	size_t bytes = bytes_to_map(n), before = mapped_bytes(piece);

	if (!bytes || bytes == before)
		return bytes ? piece : NULL;
	char *base = mremap(head_of(piece), before, bytes, MREMAP_MAYMOVE);
	return base == MAP_FAILED ? NULL : mark_large(base, bytes);
}

/* --- what malloc's callers call --- */

void *__wrap_malloc(size_t n)
{
	return n <= SMALL_BYTES - sizeof(struct head) ? small_alloc(n) : large_alloc(n);
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
		munmap(head, mapped_bytes(piece));
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
	if (head->mark == SMALL_MARK && n <= SMALL_BYTES - sizeof(*head) && size_for(n) == size_for(head->bytes)) {
		head->bytes = (uint32_t)n;
		return piece;
	}
	void *other = __wrap_malloc(n);
	if (other) {
		memcpy(other, piece, n < head->bytes ? n : head->bytes);
		__wrap_free(piece);
	}
	return other;
}
