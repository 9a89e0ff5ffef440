/* bench_requests - nanoseconds that following the traffic costs, without the calls themselves and without the clock.
 * Prints one "name value unit" a line: the fastest of several rounds. Not part of the test suites.
 */
#include "../../shim/base/clock.h"
#include "../../shim/base/work.h"
#include "../../shim/requests/connection.h"
#include "../../shim/requests/hpack.h"
#include "../../shim/requests/http1.h"
#include "../../shim/requests/http2.h"
#include "../../shim/requests/resp.h"
#include "../../shim/requests/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS = 15, FD = 7 };

/* As wrk asks and as nginx answers with "return 200". */
static const char http_request[] = "GET /users/12345?page=2 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
static const char http_browser[] =
	"GET /users/12345?page=2 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 "
	"Firefox/115.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
	"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";
static const char http_response[] =
	"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 01 Jan 2023 00:00:00 GMT\r\nContent-Type: text/plain\r\n"
	"Content-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n";
static const char redis_get[] = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n";
static const char redis_value[] = "$3\r\nxxx\r\n";
static const char redis_set[] = "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nxxx\r\n";
static const char redis_ok[] = "+OK\r\n";

static void open_session(void)
{
	static const uint64_t bounds_ns[] = { 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000 };
	size_t bytes = seg_bytes_for(32u << 20);
	struct segment *head = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (head == MAP_FAILED)
		abort();
	seg_format(head, bytes, 1);
	head->config.max_routes = 256;
	head->config.slow_ns = 1000000000;
	head->config.bound_count = sizeof(bounds_ns) / sizeof(bounds_ns[0]);
	memcpy(head->config.bounds_ns, bounds_ns, sizeof(bounds_ns));
	seg_publish(head);
	if (seg_view_init(&seg, head, bytes) != SEG_OK || !conn_init() || !hpack_open())
		abort();
	thread_process = &seg.processes[0];
	thread_attach();
	clock_init();
}

static void pass(const char *in, size_t in_bytes, const char *out, size_t out_bytes, int rounds)
{
	struct iovec received = { (void *)(uintptr_t)in, in_bytes }, sent = { (void *)(uintptr_t)out, out_bytes };

	for (int i = 0; i < rounds; i++) {
		conn_receiving(FD);
		conn_received(FD, &received, 1, in_bytes, 1000);
		conn_sending(FD);
		conn_sent(FD, &sent, 1, out_bytes, 61000);
	}
}

static size_t repeat(char *out, const char *text, int times)
{
	size_t n = strlen(text);

	for (int i = 0; i < times; i++)
		memcpy(out + (size_t)i * n, text, n);
	return n * (size_t)times;
}

/* The fastest round is the one that others on the machine disturbed least. */
static void print_fastest(const char *name, const double *values)
{
	double fastest = values[0];

	for (int i = 1; i < ROUNDS; i++)
		fastest = values[i] < fastest ? values[i] : fastest;
	printf("%s %.1f ns\n", name, fastest);
}

/* ns per item of a traffic that carries items in each direction. */
static void bench_traffic(const char *name, const char *in, const char *out, int items)
{
	static char received[64 * 1024], sent[64 * 1024];
	size_t in_bytes = repeat(received, in, items), out_bytes = repeat(sent, out, items);
	int rounds = 200000 / items;
	double values[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		conn_accepted(FD, 1);
		pass(received, in_bytes, sent, out_bytes, 100);
		uint64_t begin = clock_now_ns();
		pass(received, in_bytes, sent, out_bytes, rounds);
		values[i] = (double)(clock_now_ns() - begin) / rounds / items;
		conn_closing(FD, 2);
	}
	print_fastest(name, values);
}

static void bench_untracked(void)
{
	struct iovec iov = { (void *)(uintptr_t)redis_ok, sizeof(redis_ok) - 1 };
	double values[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = clock_now_ns();
		for (int k = 0; k < 1000000; k++) {
			conn_receiving(3);
			conn_received(3, &iov, 1, 5, 1);
		}
		values[i] = (double)(clock_now_ns() - begin) / 1000000;
	}
	print_fastest("untracked_call", values);
}

/* Calls that complete no request: pieces of a body that is being received, then of a response. */
static void bench_pieces(void)
{
	static const char head[] = "POST /body HTTP/1.1\r\nContent-Length: 100000000000\r\n\r\n";
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n";
	static char piece[1024];
	struct iovec begin = { (void *)(uintptr_t)head, sizeof(head) - 1 }, end = { (void *)(uintptr_t)answer, sizeof(answer) - 1 };
	struct iovec iov = { piece, sizeof(piece) };
	double received[ROUNDS], sent[ROUNDS];

	conn_accepted(FD, 1);
	conn_received(FD, &begin, 1, begin.iov_len, 1000);
	conn_sent(FD, &end, 1, end.iov_len, 1000);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began_ns = clock_now_ns();
		for (int k = 0; k < 1000000; k++) {
			conn_receiving(FD);
			conn_received(FD, &iov, 1, sizeof(piece), 1000);
		}
		uint64_t half_ns = clock_now_ns();
		for (int k = 0; k < 1000000; k++) {
			conn_sending(FD);
			conn_sent(FD, &iov, 1, sizeof(piece), 1000);
		}
		received[i] = (double)(half_ns - began_ns) / 1000000;
		sent[i] = (double)(clock_now_ns() - half_ns) / 1000000;
	}
	conn_closing(FD, 2);
	print_fastest("receive_of_a_piece", received);
	print_fastest("send_of_a_piece", sent);
}

/* gRPC, as h2load asks a unary call and as grpc++ answers it, several on one connection at a time: the heads of all, the bodies
 * of all, and then each answer by a call of its own, in four pieces. */

enum { CALLS = 8, PIECES = 4, CALL_BYTES = 64 };

/* A text with frames of which at most two begin at these places, all of the same stream. */
static size_t put_frames(char *at, const char *text, size_t n, size_t first, size_t second, uint32_t stream)
{
	memcpy(at, text, n);
	for (size_t i = 0; i < 4; i++)
		at[first + 5 + i] = at[second + 5 + i] = (char)(stream >> 8 * (3 - i));
	return n;
}

static void ask_calls(uint32_t stream)
{
	static const char head[] = "\0\0\x17\1\4\0\0\0\0\4\x8a\x61\x25\x42\x57\xdd\x39\xeb\x63\x11\x53\x86\xc1\x83\xc0\xbf\xbe\x0f\x0d\2\x31\x30";
	static const char body[] = "\0\0\x0a\0\1\0\0\0\0\0\0\0\0\5hello";
	char bytes[2 * CALLS * CALL_BYTES];
	struct iovec iov = { bytes, 0 };

	for (uint32_t i = 0; i < CALLS; i++)
		iov.iov_len += put_frames(bytes + iov.iov_len, head, sizeof(head) - 1, 0, 0, stream + 2 * i);
	for (uint32_t i = 0; i < CALLS; i++)
		iov.iov_len += put_frames(bytes + iov.iov_len, body, sizeof(body) - 1, 0, 0, stream + 2 * i);
	conn_receiving(FD);
	conn_received(FD, &iov, 1, iov.iov_len, 1000);
}

static void answer_call(uint32_t stream)
{
	static const char head[] = "\0\0\3\1\4\0\0\0\0\x88\xc0\xbf\0\0\x0a\0\0\0\0\0\0\0\0";
	static const char trailers[] = "\0\0\1\1\5\0\0\0\0\xbe";
	char begin[sizeof(head)], end[sizeof(trailers)], rest[] = "\0\0\5", text[] = "hello";
	struct iovec pieces[PIECES] = { { begin, put_frames(begin, head, sizeof(head) - 1, 0, 12, stream) }, { rest, 3 }, { text, 5 },
					{ end, put_frames(end, trailers, sizeof(trailers) - 1, 0, 0, stream) } };

	conn_sending(FD);
	conn_sent(FD, pieces, PIECES, pieces[0].iov_len + 8 + pieces[3].iov_len, 61000);
}

static void call_grpc(uint32_t *stream, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++, *stream += 2 * CALLS) {
		ask_calls(*stream);
		for (uint32_t k = 0; k < CALLS; k++)
			answer_call(*stream + 2 * k);
	}
}

static void bench_grpc(void)
{
	static const char greeting[] = HTTP2_PREFACE "\0\0\0\4\0\0\0\0\0"
		"\0\0\x49\1\4\0\0\0\1\4\x8a\x61\x25\x42\x57\xdd\x39\xeb\x63\x11\x53\x86\x41\x8b\x08\x9d\x5c\x0b\x81\x70\xdc\x65\xc6\xdc"
		"\x67\x83\x7a\x8f\x9c\x54\x1c\x72\x29\x54\xd3\xa5\x35\x89\x80\xae\xd8\x97\x07\x5f\x8b\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65"
		"\x64\x40\x02\x74\x65\x86\x4d\x83\x35\x05\xb1\x1f\x0f\x0d\x02\x31\x30";
	static const char first_answer[] = "\0\0\0\4\0\0\0\0\0"
		"\0\0\x27\1\4\0\0\0\1\x88\x40\x0c" "content-type\x10" "application/grpc\x40\2te\2no"
		"\0\0\x0f\1\5\0\0\0\1\x40\x0bgrpc-status\0010";
	double values[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t stream = 3;
		conn_accepted(FD, 1);
		pass(greeting, sizeof(greeting) - 1, first_answer, sizeof(first_answer) - 1, 1);
		call_grpc(&stream, 100);
		uint64_t begin = clock_now_ns();
		call_grpc(&stream, 200000 / CALLS);
		values[i] = (double)(clock_now_ns() - begin) / 200000;
		conn_closing(FD, 2);
	}
	print_fastest("grpc_call", values);
}

static void bench_connection(void)
{
	double values[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = clock_now_ns();
		for (int k = 0; k < 100000; k++) {
			conn_accepted(FD, 1);
			pass(http_request, sizeof(http_request) - 1, http_response, sizeof(http_response) - 1, 1);
			conn_closing(FD, 2);
		}
		values[i] = (double)(clock_now_ns() - begin) / 100000;
	}
	print_fastest("http_request_with_its_connection", values);
}

static void bench_route(const char *name, const char *target)
{
	double values[ROUNDS];
	char route[SEG_ENDPOINT_BYTES];
	size_t n = strlen(target), sum = 0;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = clock_now_ns();
		for (int k = 0; k < 100000; k++)
			sum += route_write(route, sizeof(route), route_path_of(target, n, false));
		values[i] = (double)(clock_now_ns() - begin) / 100000;
	}
	if (!sum)
		abort();
	print_fastest(name, values);
}

/* Every request another path of the same route, so that no path is remembered. */
static void bench_new_paths(void)
{
	static char text[200000][64];
	double values[ROUNDS];

	for (int i = 0; i < 200000; i++)
		snprintf(text[i], sizeof(text[i]), "GET /users/%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", 100000 + i);
	conn_accepted(FD, 1);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = clock_now_ns();
		for (int k = 0; k < 200000; k++)
			pass(text[k], strlen(text[k]), http_response, sizeof(http_response) - 1, 1);
		values[i] = (double)(clock_now_ns() - begin) / 200000;
	}
	conn_closing(FD, 2);
	print_fastest("http_new_path", values);
}

int main(void)
{
	open_session();
	bench_untracked();
	bench_pieces();
	bench_traffic("http_request", http_request, http_response, 1);
	bench_traffic("http_request_of_a_browser", http_browser, http_response, 1);
	bench_traffic("http_pipelined_16", http_request, http_response, 16);
	bench_grpc();
	bench_connection();
	bench_new_paths();
	bench_route("route_inferred", "/api/v1/users/12345/posts/2024-01-31/comments");
	bench_traffic("redis_get", redis_get, redis_value, 1);
	bench_traffic("redis_get_pipelined_16", redis_get, redis_value, 16);
	bench_traffic("redis_set_pipelined_16", redis_set, redis_ok, 16);
	bench_traffic("redis_get_pipelined_64", redis_get, redis_value, 64);
	return 0;
}
