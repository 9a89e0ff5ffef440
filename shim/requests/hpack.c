/* The decoder is libnghttp2's own, so that tables, Huffman codes and evictions are exactly what servers make of them.
 * The library is opened, not linked: what is preloaded must need nothing but libc (ARCHITECTURE.md). Where the program has
 * the same library loaded already, as nginx's clients and curl do, this costs no memory but a few pages.
 *
 * Limits of libnghttp2: a name or a value is at most 64 KiB long.
 */
#include "hpack.h"

#include "../base/log.h"
#include "../base/thread.h"
#include "heap.h"

#include <dlfcn.h>
#include <nghttp2/nghttp2.h>
#include <stdatomic.h>

#define LIBRARY "libnghttp2.so.14"

/* The functions that are used: X(name, result, parameters), as nghttp2.h declares them. */
#define FUNCTIONS(X)                                                                                                   \
	X(nghttp2_hd_inflate_new2, int, (nghttp2_hd_inflater **, nghttp2_mem *))                                       \
	X(nghttp2_hd_inflate_del, void, (nghttp2_hd_inflater *))                                                       \
	X(nghttp2_hd_inflate_change_table_size, int, (nghttp2_hd_inflater *, size_t))                                  \
	X(nghttp2_hd_inflate_hd2, ssize_t, (nghttp2_hd_inflater *, nghttp2_nv *, int *, const uint8_t *, size_t, int)) \
	X(nghttp2_hd_inflate_end_headers, int, (nghttp2_hd_inflater *))

/* W: hpack_open, before is_open; R: any, once is_open is seen. */
static struct {
#define POINTER(name, result, parameters) result(*name) parameters;
	FUNCTIONS(POINTER)
	_Atomic bool is_open; /* release, acquire */
} library;

static _Atomic bool was_tried;

/* The table's limit is asked for before each block and seldom changes. */
struct hpack {
	nghttp2_hd_inflater *inflater;
	uint32_t table_bytes;
};

static void *mem_malloc(size_t n, void *unused)
{
	(void)unused;
	return heap_alloc(n);
}

static void mem_free(void *piece, void *unused)
{
	(void)unused;
	heap_free(piece);
}

static void *mem_calloc(size_t count, size_t n, void *unused)
{
	(void)unused;
	return heap_zalloc(count, n);
}

static void *mem_realloc(void *piece, size_t n, void *unused)
{
	(void)unused;
	return heap_realloc(piece, n);
}

/* The decoders keep a pointer to it, whatever the manual says. */
static nghttp2_mem memory = { .malloc = mem_malloc, .free = mem_free, .calloc = mem_calloc, .realloc = mem_realloc };

static void say_why_not(const char *what, const char *why)
{
	thread_count(SEG_COUNTER_FAULT_HTTP2);
	log_line(SEG_LOG_WARN, LIBRARY " %s, requests of HTTP/2 and gRPC are not counted: %s", what, why);
}

static bool find_functions(void *handle)
{
#define PLACE(name, result, parameters) { #name, (void **)&library.name },
	static const struct {
		const char *name;
		void **place;
	} functions[] = { FUNCTIONS(PLACE) };

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (!(*functions[i].place = dlsym(handle, functions[i].name))) {
			say_why_not("is of an unknown build", functions[i].name);
			return false;
		}
	return true;
}

bool hpack_open(void)
{
	if (atomic_exchange_explicit(&was_tried, true, memory_order_acq_rel))
		return hpack_is_open();
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		say_why_not("cannot be opened", dlerror());
		return false;
	}
	if (!find_functions(handle))
		return false;
	atomic_store_explicit(&library.is_open, true, memory_order_release);
	return true;
}

bool hpack_is_open(void)
{
	return atomic_load_explicit(&library.is_open, memory_order_acquire);
}

struct hpack *hpack_new(void)
{
	if (!hpack_is_open())
		return NULL;
	struct hpack *hpack = heap_alloc(sizeof(*hpack));
	if (!hpack)
		return NULL;
	hpack->table_bytes = NGHTTP2_DEFAULT_HEADER_TABLE_SIZE;
	if (library.nghttp2_hd_inflate_new2(&hpack->inflater, &memory) == 0)
		return hpack;
	heap_free(hpack);
	return NULL;
}

void hpack_free(struct hpack *hpack)
{
	if (!hpack)
		return;
	library.nghttp2_hd_inflate_del(hpack->inflater);
	heap_free(hpack);
}

bool hpack_allow_table(struct hpack *hpack, uint32_t bytes)
{
	if (bytes > HPACK_TABLE_BYTES_MAX)
		bytes = HPACK_TABLE_BYTES_MAX;
	if (bytes <= hpack->table_bytes)
		return true;
	hpack->table_bytes = bytes;
	return library.nghttp2_hd_inflate_change_table_size(hpack->inflater, bytes) == 0;
}

struct hpack_step hpack_read(struct hpack *hpack, const char *bytes, size_t n, bool is_last, struct hpack_field *ret_field)
{
	int flags = 0;
	nghttp2_nv field;

	ssize_t used = library.nghttp2_hd_inflate_hd2(hpack->inflater, &field, &flags, (const uint8_t *)bytes, n, is_last);
	if (used < 0)
		return (struct hpack_step){ used == NGHTTP2_ERR_NOMEM ? HPACK_NO_MEMORY : HPACK_BROKEN, 0 };
	if (flags & NGHTTP2_HD_INFLATE_EMIT) {
		*ret_field = (struct hpack_field){
			.name = (const char *)field.name,
			.name_bytes = field.namelen,
			.value = (const char *)field.value,
			.value_bytes = field.valuelen,
		};
		return (struct hpack_step){ HPACK_FIELD, (size_t)used };
	}
	if (!(flags & NGHTTP2_HD_INFLATE_FINAL))
		return (struct hpack_step){ HPACK_MORE, (size_t)used };
	library.nghttp2_hd_inflate_end_headers(hpack->inflater);
	return (struct hpack_step){ HPACK_END, (size_t)used };
}
