#include "room.h"

#include "../../../shim/requests/endpoint.h"
#include "../../../shim/requests/heads.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <unistd.h>

uint64_t room_now_ns = 1000000000;

static const uint64_t bounds_ns[] = { 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000 };

void room_open(uint32_t max_routes)
{
	size_t bytes = seg_bytes_for(32u << 20);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct segment *head = base;

	/* Under CK_FORK=no the room of the test before is still there. */
	for (int fd = 0; seg.head && fd < 128; fd++)
		conn_closing(fd, room_now_ns);
	thread_detach();
	ck_assert_ptr_ne(base, MAP_FAILED);
	seg_format(base, bytes, 4);
	head->config.max_routes = max_routes;
	head->config.slow_ns = 1000000000;
	head->config.bound_count = sizeof(bounds_ns) / sizeof(bounds_ns[0]);
	memcpy(head->config.bounds_ns, bounds_ns, sizeof(bounds_ns));
	seg_publish(head);
	ck_assert_int_eq(seg_view_init(&seg, base, bytes), SEG_OK);
	thread_process = &seg.processes[0];
	thread_process->owner = (uint64_t)getpid();
	thread_attach();
	ck_assert(conn_init());
	endpoint_init();
	heads_init(); /* what they remember are endpoints of the segment before */
}

void room_next_process(void)
{
	thread_process++;
	thread_process->since_boot_ns = room_now_ns += 1000;
	thread_process->owner = (uint64_t)getpid();
}

static struct iovec iov_of(const char *bytes, size_t n)
{
	return (struct iovec){ (void *)(uintptr_t)bytes, n };
}

void room_receive_n(int fd, const char *bytes, size_t n)
{
	struct iovec iov = iov_of(bytes, n);

	conn_receiving(fd);
	conn_received(fd, &iov, 1, n, room_now_ns += 1000);
}

void room_receive(int fd, const char *text)
{
	room_receive_n(fd, text, strlen(text));
}

void room_send_n(int fd, const char *bytes, size_t n)
{
	struct iovec iov = iov_of(bytes, n);

	conn_sending(fd);
	conn_sent(fd, &iov, 1, n, room_now_ns += 1000);
}

void room_send(int fd, const char *text)
{
	room_send_n(fd, text, strlen(text));
}

void room_accept(int fd)
{
	conn_accepted(fd, room_now_ns += 1000);
}

void room_connect(int fd, uint8_t server)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(80),
		.sin_addr.s_addr = htonl(0xc0000200u | server), /* RFC 5737 */
	};

	conn_connecting(fd, (const struct sockaddr *)&address, sizeof(address), room_now_ns += 1000);
}

void room_close(int fd)
{
	conn_closing(fd, room_now_ns += 1000);
}

void room_answer(int fd, size_t n)
{
	char text[4096];
	int head = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);

	memset(text + head, 'x', n);
	room_send_n(fd, text, (size_t)head + n);
}

static bool series_is(uint64_t key, enum seg_protocol protocol, const char *name, uint32_t status, uint32_t error)
{
	const struct seg_endpoint *endpoint = &seg.endpoints[seg_series_endpoint(key)];

	if (!key || endpoint->protocol != protocol || (name && strcmp(endpoint->name, name) != 0))
		return false;
	return (status == ROOM_ANY || seg_series_status(key) == status) && (error == ROOM_ANY || seg_series_error(key) == error);
}

static bool series_is_named(uint64_t key, const char *name)
{
	for (int protocol = 0; protocol < SEG_PROTOCOL_COUNT; protocol++)
		if (series_is(key, (enum seg_protocol)protocol, name, ROOM_ANY, ROOM_ANY))
			return true;
	return false;
}

static uint64_t histogram_count(uint32_t series)
{
	uint64_t count = 0;

	for (uint32_t shard = 0; shard < seg.head->shard_count; shard++)
		for (uint32_t bucket = 0; bucket <= SEG_BOUNDS_MAX; bucket++)
			count += seg.histograms[shard * seg.slots[SEG_TABLE_SERIES].count + series].buckets[bucket];
	return count;
}

uint64_t room_requests(enum seg_protocol protocol, const char *name, uint32_t status, uint32_t error)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_SERIES].count; i++)
		if (series_is(seg.series[i].key, protocol, name, status, error))
			count += histogram_count(i);
	return count;
}

static bool is_asked_of(uint64_t key, uint8_t server)
{
	uint32_t peer = seg_series_peer(key);
	char address[SEG_PEER_BYTES];

	if (peer == SEG_PEER_NONE || peer == SEG_PEER_OTHER)
		return peer == SEG_PEER_OTHER && !server;
	snprintf(address, sizeof(address), "192.0.2.%u", server);
	ck_assert_uint_eq(seg.peers[peer - 1].ready, 1);
	ck_assert_uint_eq(seg.peers[peer - 1].port, 80);
	return strcmp(seg.peers[peer - 1].address, address) == 0;
}

uint64_t room_asked(enum seg_protocol protocol, const char *name, uint32_t status, uint32_t error, uint8_t server)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_SERIES].count; i++)
		if (series_is(seg.series[i].key, protocol, name, status, error) && is_asked_of(seg.series[i].key, server))
			count += histogram_count(i);
	return count;
}

struct room_streams room_streams(enum seg_protocol protocol, const char *name)
{
	uint32_t endpoint = room_endpoint(protocol, name);
	struct room_streams streams = { 0 };

	if (endpoint == SEG_NOT_FOUND)
		return streams;
	streams.opened = seg.streams[endpoint].opened;
	streams.sum_ns = seg.streams[endpoint].sum_ns;
	for (int bucket = 0; bucket <= SEG_STREAM_BOUNDS; bucket++)
		streams.ended += seg.streams[endpoint].buckets[bucket];
	return streams;
}

uint64_t room_sum_ns(const char *name)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_SERIES].count; i++)
		for (uint32_t shard = 0; shard < seg.head->shard_count; shard++)
			if (series_is_named(seg.series[i].key, name))
				sum += seg.histograms[shard * seg.slots[SEG_TABLE_SERIES].count + i].sum_ns;
	return sum;
}

uint32_t room_endpoint(enum seg_protocol protocol, const char *name)
{
	for (uint32_t i = SEG_ENDPOINT_FIRST; i < seg.slots[SEG_TABLE_ENDPOINTS].count && seg.endpoints[i].ready; i++)
		if (seg.endpoints[i].protocol == protocol && strcmp(seg.endpoints[i].name, name) == 0)
			return i;
	return SEG_NOT_FOUND;
}

const char *room_endpoint_name(uint32_t endpoint)
{
	if (endpoint == WORK_PENDING)
		return "_pending";
	if (endpoint == SEG_ENDPOINT_BACKGROUND)
		return "_background";
	if (endpoint == SEG_ENDPOINT_IDLE)
		return "_idle";
	return seg.endpoints[endpoint].name;
}

struct room_bodies room_bodies(const char *name)
{
	struct room_bodies bodies = { 0 };
	uint32_t endpoint = room_endpoint(SEG_PROTOCOL_HTTP, name);

	for (uint32_t shard = 0; endpoint != SEG_NOT_FOUND && shard < seg.head->shard_count; shard++) {
		const struct seg_sizes *sizes = &seg.sizes[shard * seg.slots[SEG_TABLE_ENDPOINTS].count + endpoint];
		for (int bucket = 0; bucket <= SEG_SIZE_BOUNDS; bucket++) {
			bodies.requests += sizes->request_buckets[bucket];
			bodies.responses += sizes->response_buckets[bucket];
		}
		bodies.request_bytes += sizes->request_sum_bytes;
		bodies.response_bytes += sizes->response_sum_bytes;
	}
	return bodies;
}

static uint64_t sum_over_threads(size_t offset)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_THREADS].count; i++)
		sum += *(_Atomic uint64_t *)((char *)&seg.threads[i] + offset);
	return sum;
}

uint64_t room_counter(enum seg_counter counter)
{
	return sum_over_threads(offsetof(struct seg_thread, counters) + counter * sizeof(uint64_t));
}

uint64_t room_accepted(enum seg_protocol protocol)
{
	return sum_over_threads(offsetof(struct seg_thread, accepted) + protocol * sizeof(uint64_t));
}

uint64_t room_received_bytes(enum seg_protocol protocol)
{
	return sum_over_threads(offsetof(struct seg_thread, receive_bytes) + protocol * sizeof(uint64_t));
}

uint64_t room_sent_bytes(enum seg_protocol protocol)
{
	return sum_over_threads(offsetof(struct seg_thread, transmit_bytes) + protocol * sizeof(uint64_t));
}

int64_t room_open_connections(enum seg_protocol protocol)
{
	return thread_process->open_connections[protocol];
}

int64_t room_active(enum seg_method method)
{
	return seg_process_active(thread_process, method, SEG_SCHEME_PLAIN);
}

int64_t room_open_streams(enum seg_protocol protocol)
{
	return thread_process->open_streams[protocol];
}

static bool is_any_listed(void)
{
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CONNECTIONS].count; i++)
		if (seg.connections[i].owner)
			return true;
	return false;
}

bool room_is_balanced(void)
{
	if (is_any_listed())
		return false;
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_PROCESSES].count; i++) {
		for (int protocol = 0; protocol < SEG_PROTOCOL_COUNT; protocol++)
			if (seg.processes[i].open_connections[protocol] || seg.processes[i].open_streams[protocol])
				return false;
		for (int method = 0; method < SEG_METHOD_COUNT; method++)
			if (seg_process_active(&seg.processes[i], method, SEG_SCHEME_PLAIN) || seg_process_active(&seg.processes[i], method, SEG_SCHEME_TLS))
				return false;
	}
	return true;
}

void room_know(const char *endpoint)
{
	enum { FD = 90 };
	struct work work = self.work;
	char text[256];

	snprintf(text, sizeof(text), "%s HTTP/1.1\r\n\r\n", endpoint);
	room_accept(FD);
	room_receive(FD, text);
	room_answer(FD, 0);
	room_close(FD);
	work_set(work);
}
