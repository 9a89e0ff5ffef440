/* Fuzzes the HTTP server of a session from its socket on, libmicrohttpd included: whatever comes is answered as HTTP or hung up
 * on, and afterwards every descriptor and place is free again.
 * Built by clang with -fsanitize=fuzzer. The input: a byte that says after how many of the others there is a pause, and whether
 * the client stays to the end; then what it sends.
 */
#include "../../exporter/serve/http.h"
#include "../golden/made_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { TURNS_MAX = 64, ANSWER_BYTES = 1 << 16 };

static struct made_session made;
static struct exporter_host host;
static struct reading reading;
static struct http *http;
static struct sockaddr_un place = { .sun_family = AF_UNIX };
static char folder[] = "/tmp/profshim-fuzz-XXXXXX";
static int open_count;

static void need(bool is_so)
{
	if (!is_so)
		abort();
}

/* What it tells of what the program did to its descriptors is told of panics of libmicrohttpd's. */
static void look_at_line(enum seg_log_level level, const char *line)
{
	(void)level;
	need(!strchr(line, '\n') && !strstr(line, "the program"));
}

static void descriptor_opened(int fd)
{
	need(fd >= 0);
	open_count++;
}

static void descriptor_closed(int fd)
{
	need(fd >= 0 && open_count > 0);
	open_count--;
}

static void clean_up(void)
{
	http_free(http);
	rmdir(folder);
}

static void begin(void)
{
	made_init_within(&made, 9 << 20);
	made_read(&made, MADE_SESSION);
	need(mkdtemp(folder) != NULL);
	snprintf(place.sun_path, sizeof(place.sun_path), "%s/socket", folder);
	snprintf(made.seg.head->config.listen, sizeof(made.seg.head->config.listen), "unix:%s", place.sun_path);
	host = (struct exporter_host){ .seg = made.seg, .log = look_at_line, .descriptor_opened = descriptor_opened,
	                               .descriptor_closed = descriptor_closed };
	need(reading_init(&reading, &made.seg) == 0 && http_new(&http, &host, &reading) == 0 && http);
	atexit(clean_up);
}

/* What the loop of serve.c does. */
static void turn(void)
{
	struct pollfd fds[HTTP_POLL_FDS];
	int timeout_ms;
	unsigned count = http_poll(http, fds, 0, &timeout_ms);

	poll(fds, count, 0);
	http_turn(http);
}

struct answer {
	char bytes[ANSWER_BYTES];
	size_t n;
	bool is_over;
};

static void hear(int client, struct answer *answer)
{
	char rest[ANSWER_BYTES];

	for (;;) {
		bool is_full = answer->n == sizeof(answer->bytes);
		ssize_t more = recv(client, is_full ? rest : answer->bytes + answer->n, is_full ? sizeof(rest) : sizeof(answer->bytes) - answer->n,
				    MSG_DONTWAIT);
		if (more <= 0) {
			answer->is_over |= more == 0;
			return;
		}
		answer->n += is_full ? 0 : (size_t)more;
	}
}

static void say(int client, const uint8_t *bytes, size_t n, struct answer *answer)
{
	while (n && !answer->is_over) {
		ssize_t sent = send(client, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		turn();
		hear(client, answer);
		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
		} else if (sent < 0 && errno != EAGAIN) {
			return;
		}
	}
}

static void check_status(const struct answer *answer, const char *digits)
{
	static const char beginning[] = "HTTP/1.";

	need(answer->n > 12 && !memcmp(answer->bytes, beginning, strlen(beginning)) && strchr(digits, answer->bytes[9]));
}

/* Sends it, stays for the answer if it is to, and leaves; nothing of that is left. */
static void visit(const uint8_t *bytes, size_t n, size_t first, bool is_patient, struct answer *answer)
{
	int at_rest = open_count, client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(client >= 0 && connect(client, (struct sockaddr *)&place, sizeof(place)) == 0);
	answer->n = 0;
	answer->is_over = false;
	say(client, bytes, first, answer);
	say(client, bytes + first, n - first, answer);
	if (is_patient)
		shutdown(client, SHUT_WR);
	for (int i = 0; is_patient && i < TURNS_MAX && !answer->is_over; i++) {
		turn();
		hear(client, answer);
	}
	close(client);
	for (int i = 0; i < TURNS_MAX && open_count > at_rest; i++)
		turn();
	need(open_count == at_rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char healthy[] = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static struct answer answer;

	if (!n)
		return 0;
	if (!http)
		begin();
	uint8_t kind = *bytes++;
	n--;
	visit(bytes, n, (kind & 0x7f) < n ? kind & 0x7f : n, kind & 0x80, &answer);
	if (answer.n)
		check_status(&answer, "12345");
	visit((const uint8_t *)healthy, strlen(healthy), strlen(healthy), true, &answer);
	check_status(&answer, "2");
	return 0;
}
