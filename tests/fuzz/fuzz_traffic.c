/* fuzz_traffic - whatever passes over a few connections, in whatever order: the gauges are zero once all are closed, and
 * nothing is listed any more.
 * Input: a list of steps: what and on which descriptor (1 byte), length (1 byte), that many bytes.
 */
#include "../../shim/base/work.h"
#include "../../shim/requests/connection.h"
#include "../../shim/requests/hpack.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DESCRIPTORS = 4 };

static void open_session(void)
{
	size_t bytes = seg_bytes_for(32u << 20);
	struct segment *head = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (head == MAP_FAILED)
		abort();
	seg_format(head, bytes, 1);
	head->config.max_routes = 50;
	head->config.bound_count = 1;
	head->config.bounds_ns[0] = 1000;
	seg_publish(head);
	if (seg_view_init(&seg, head, bytes) != SEG_OK || !conn_init())
		abort();
	thread_process = &seg.processes[0];
	thread_process->owner = 1;
	thread_attach();
	if (!hpack_open()) /* else there is no HTTP/2 to test */
		abort();
}

/* The program asks one of a few servers. */
static void connect_to(int fd, uint64_t now_ns)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(80),
		.sin_addr.s_addr = htonl(0xc0000201u + (uint32_t)fd), /* RFC 5737 */
	};

	conn_connecting(fd, (const struct sockaddr *)&address, sizeof(address), now_ns);
}

static void step(uint8_t what, int fd, const char *bytes, size_t n, uint64_t now_ns)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)bytes, n / 2 }, { (void *)(uintptr_t)(bytes + n / 2), n - n / 2 } };

	switch (what) {
	case 0: conn_accepted(fd, now_ns); break;
	case 1: conn_closing(fd, now_ns); break;
	case 2: conn_duplicated(fd, (int)n % DESCRIPTORS, now_ns); break;
	case 3: conn_shut_down(fd, SHUT_WR, now_ns); break;
	case 4: conn_sent_unseen(fd, n + 1, now_ns); break;
	case 5: conn_received_unseen(fd, n + 1, now_ns); break;
	case 6: case 7: case 8: case 9: case 10:
		conn_sending(fd);
		if (n)
			conn_sent(fd, iov, 2, n, now_ns);
		break;
	case 11: connect_to(fd, now_ns); break;
	default:
		conn_receiving(fd);
		conn_received(fd, iov, 2, n, now_ns);
	}
}

static void check_listing(void)
{
	const struct seg_slots *slots = &seg.slots[SEG_TABLE_CONNECTIONS];

	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count; i++)
		if (seg.connections[i].owner)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t now_ns;

	if (!now_ns)
		open_session();
	while (size >= 2) {
		size_t n = data[1] < size - 2 ? data[1] : size - 2;
		step(data[0] >> 4, data[0] % DESCRIPTORS, (const char *)data + 2, n, now_ns += 1000);
		data += 2 + n;
		size -= 2 + n;
	}
	for (int fd = 0; fd < DESCRIPTORS; fd++)
		conn_closing(fd, now_ns += 1000);
	for (int i = 0; i < SEG_PROTOCOL_COUNT; i++)
		if (thread_process->open_connections[i] || thread_process->open_streams[i])
			abort();
	for (int i = 0; i < SEG_METHOD_COUNT; i++)
		for (int scheme = SEG_SCHEME_PLAIN; scheme <= SEG_SCHEME_TLS; scheme++)
			if (seg_process_active(thread_process, (enum seg_method)i, (enum seg_scheme)scheme))
				abort();
	check_listing();
	return 0;
}
