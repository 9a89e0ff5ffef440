/* fuzz_route - requests for whatever targets: routes stay as few as may be, printable, and the same when made again of
 * their own text.
 * Input: targets, each after a byte that tells the method, and whether it is found.
 */
#include "../../shim/requests/endpoint.h"
#include "../../shim/requests/route.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_ROUTES = 40, TARGETS_MAX = 300 /* so that no table is full */ };

static struct segment *head;
static size_t segment_bytes;

static void open_session(void)
{
	if (!head) {
		segment_bytes = seg_bytes_for(8u << 20);
		head = mmap(NULL, segment_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (head == MAP_FAILED)
			abort();
	}
	madvise(head, segment_bytes, MADV_DONTNEED); /* zero again */
	seg_format(head, segment_bytes, 1);
	head->config.max_routes = MAX_ROUTES;
	head->config.bound_count = 1;
	head->config.bounds_ns[0] = 1000;
	seg_publish(head);
	if (seg_view_init(&seg, head, segment_bytes) != SEG_OK)
		abort();
	thread_attach();
	endpoint_init();
}

static void check_route(const struct seg_endpoint *entry)
{
	const char *path = strchr(entry->name, ' ') + 1;
	char again[SEG_ENDPOINT_BYTES];
	size_t n = strlen(path);

	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			abort();
	if (strcmp(path, ROUTE_AUTHORITY) == 0)
		return;
	size_t bytes = route_write(again, sizeof(again) - 1 - (size_t)(path - entry->name), (struct route_path){ path, n });
	if (bytes != n || memcmp(again, path, n) != 0)
		abort();
}

static void check_routes(void)
{
	uint32_t count = 0;

	for (uint32_t i = SEG_ENDPOINT_FIRST; seg.endpoints[i].key; i++) {
		if (seg.endpoints[i].alias || seg.endpoints[i].is_overflow)
			continue;
		check_route(&seg.endpoints[i]);
		count++;
	}
	if (count > MAX_ROUTES || count != head->routes_count)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	open_session();
	for (int i = 0; i < TARGETS_MAX && size; i++) {
		uint8_t how = *data++;
		const uint8_t *end = memchr(data, '\n', --size);
		size_t n = end ? (size_t)(end - data) : size;
		uint32_t candidate;
		endpoint_of_http((enum seg_method)(how / 2 % SEG_METHOD_COUNT), (const char *)data, (uint32_t)n, &candidate);
		if (candidate)
			endpoint_settle(candidate, how % 2);
		data += end ? n + 1 : n;
		size -= end ? n + 1 : n;
	}
	check_routes();
	thread_detach();
	return 0;
}
