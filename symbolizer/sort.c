/* Merging from runs of one item upwards, to and fro between the items and a piece of memory of the same size, mapped if it is
 * not small. Without memory for that, by insertion, in place and slow.
 */
#include "sort.h"

#include "step.h"

#include <string.h>
#include <sys/mman.h>

enum { SMALL_BYTES = 1024 };

struct sorting {
	size_t item_bytes;
	int (*compare)(const void *, const void *, void *);
	void *context;
};

/* Of two runs that lie one behind the other, into to. */
static void merge(const struct sorting *sorting, const char *left, size_t left_count, size_t right_count, char *to)
{
	size_t n = sorting->item_bytes;
	const char *right = left + left_count * n, *left_end = right, *right_end = right + right_count * n;

	while (left < left_end && right < right_end) {
		const char **from = sorting->compare(left, right, sorting->context) <= 0 ? &left : &right;
		memcpy(to, *from, n);
		*from += n;
		to += n;
		step_taken(1);
	}
	memcpy(to, left, (size_t)(left_end - left));
	memcpy(to + (left_end - left), right, (size_t)(right_end - right));
}

static size_t at_most(size_t n, size_t most)
{
	return n < most ? n : most;
}

static void merge_all(const struct sorting *sorting, char *items, size_t count, char *other)
{
	size_t n = sorting->item_bytes;
	char *from = items, *to = other;

	for (size_t run = 1; run < count; run *= 2) {
		for (size_t at = 0; at < count; at += 2 * run) {
			size_t left = at_most(run, count - at), right = at_most(run, count - at - left);
			merge(sorting, from + at * n, left, right, to + at * n);
		}
		char *sorted = to;
		to = from;
		from = sorted;
	}
	if (from != items)
		memcpy(items, from, count * n);
}

static void swap(char *a, char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		char kept = *a;
		*a = *b;
		*b = kept;
	}
}

static void insert_all(const struct sorting *sorting, char *items, size_t count)
{
	size_t n = sorting->item_bytes;

	for (size_t i = 1; i < count; i++)
		for (char *at = items + i * n; at > items && sorting->compare(at - n, at, sorting->context) > 0; at -= n) {
			swap(at - n, at, n);
			step_taken(1);
		}
}

void sort_items_with(void *items, size_t count, size_t item_bytes, int (*compare)(const void *, const void *, void *), void *context)
{
	const struct sorting sorting = { item_bytes, compare, context };
	size_t bytes = count * item_bytes; /* the items are in memory, so it is not too much */
	_Alignas(max_align_t) char small[SMALL_BYTES];

	if (bytes <= sizeof(small)) {
		merge_all(&sorting, items, count, small);
		return;
	}
	char *other = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (other == MAP_FAILED) {
		insert_all(&sorting, items, count);
		return;
	}
	merge_all(&sorting, items, count, other);
	munmap(other, bytes);
}

struct plain {
	int (*compare)(const void *, const void *);
};

static int compare_plain(const void *a, const void *b, void *plain)
{
	return ((const struct plain *)plain)->compare(a, b);
}

void sort_items(void *items, size_t count, size_t item_bytes, int (*compare)(const void *, const void *))
{
	struct plain plain = { compare };

	sort_items_with(items, count, item_bytes, compare_plain, &plain);
}
