/* gnutls_server - an HTTP/1.1 server over GnuTLS that passes its bytes in a way of its choice.
 *
 *     gnutls_server MODE CERTIFICATE KEY      prints "port N", serves until SIGTERM, then prints "NAME COUNT" for each call
 *                                             of libgnutls that it made
 *
 *   simple   gnutls_record_recv, gnutls_record_send
 *   cork     an answer goes out by gnutls_record_uncork, in pieces that were sent before
 *   packet   gnutls_record_recv_packet; the file by gnutls_record_send_file
 *   custom   transport functions of its own, which recv and send
 *   memory   transport functions that only fill and empty buffers; recv and send are called outside of the library
 *
 * Connections are served one after the other. A request is answered with 200 and the text "ok\n", or with FILE_BYTES bytes
 * if its path begins with /file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILE_BYTES = 50000, REQUEST_MAX = 8192, QUEUE_MAX = 1 << 17 };

static struct call {
	const char *name;
	unsigned count;
} calls[32];

static void count_call(const char *name)
{
	struct call *call = calls;

	while (call->name && strcmp(call->name, name) != 0)
		call++;
	call->name = name;
	call->count++;
}

#define CALL(function, ...) (count_call(#function), function(__VA_ARGS__))

static void require(const char *what, bool is_well)
{
	if (is_well)
		return;
	fprintf(stderr, "gnutls_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

struct connection {
	int fd;
	gnutls_session_t session;
	char request[REQUEST_MAX];
	size_t request_bytes;
	char in[QUEUE_MAX], out[QUEUE_MAX]; /* memory */
	size_t in_bytes, out_bytes;
};

static const char *mode;
static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priorities;
static char file_text[FILE_BYTES];
static int file = -1;
static volatile sig_atomic_t is_over;

static bool is_mode(const char *name)
{
	return strcmp(mode, name) == 0;
}

/* transports */

static ssize_t custom_pull(gnutls_transport_ptr_t connection, void *bytes, size_t n)
{
	return recv(((struct connection *)connection)->fd, bytes, n, 0);
}

static ssize_t custom_push(gnutls_transport_ptr_t connection, const void *bytes, size_t n)
{
	return send(((struct connection *)connection)->fd, bytes, n, MSG_NOSIGNAL);
}

static ssize_t memory_pull(gnutls_transport_ptr_t pulling, void *bytes, size_t n)
{
	struct connection *connection = pulling;

	if (!connection->in_bytes) {
		gnutls_transport_set_errno(connection->session, EAGAIN);
		return -1;
	}
	n = n < connection->in_bytes ? n : connection->in_bytes;
	memcpy(bytes, connection->in, n);
	connection->in_bytes -= n;
	memmove(connection->in, connection->in + n, connection->in_bytes);
	return (ssize_t)n;
}

static ssize_t memory_push(gnutls_transport_ptr_t pushing, const void *bytes, size_t n)
{
	struct connection *connection = pushing;

	require("room to send", connection->out_bytes + n <= sizeof(connection->out));
	memcpy(connection->out + connection->out_bytes, bytes, n);
	connection->out_bytes += n;
	return (ssize_t)n;
}

static void flush_out(struct connection *connection)
{
	for (size_t at = 0; at < connection->out_bytes;) {
		ssize_t n = send(connection->fd, connection->out + at, connection->out_bytes - at, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	connection->out_bytes = 0;
}

static bool fill_in(struct connection *connection)
{
	ssize_t n = recv(connection->fd, connection->in + connection->in_bytes, sizeof(connection->in) - connection->in_bytes, 0);

	if (n > 0)
		connection->in_bytes += (size_t)n;
	return n > 0;
}

static void set_transport(struct connection *connection)
{
	if (!is_mode("custom") && !is_mode("memory")) {
		gnutls_transport_set_int(connection->session, connection->fd);
		return;
	}
	gnutls_transport_set_ptr(connection->session, connection);
	gnutls_transport_set_pull_function(connection->session, is_mode("memory") ? memory_pull : custom_pull);
	gnutls_transport_set_push_function(connection->session, is_mode("memory") ? memory_push : custom_push);
}

/* True: the call is to be made again. */
static bool is_to_be_repeated(struct connection *connection, ssize_t result)
{
	flush_out(connection);
	if (result == GNUTLS_E_AGAIN && is_mode("memory"))
		return fill_in(connection);
	return result < 0 && !gnutls_error_is_fatal((int)result) && !is_mode("memory");
}

/* bytes */

static ssize_t read_packet(struct connection *connection, char *buffer, size_t bytes)
{
	gnutls_packet_t packet;
	gnutls_datum_t datum;
	ssize_t n = CALL(gnutls_record_recv_packet, connection->session, &packet);

	if (n <= 0)
		return n;
	gnutls_packet_get(packet, &datum, NULL);
	require("room for a packet", datum.size <= bytes && (ssize_t)datum.size == n);
	memcpy(buffer, datum.data, datum.size);
	gnutls_packet_deinit(packet);
	return n;
}

static ssize_t read_some(struct connection *connection, char *buffer, size_t bytes)
{
	ssize_t n;

	do
		n = is_mode("packet") ? read_packet(connection, buffer, bytes) :
		                        CALL(gnutls_record_recv, connection->session, buffer, bytes);
	while (n < 0 && is_to_be_repeated(connection, n));
	return n;
}

static bool write_all(struct connection *connection, const char *bytes, size_t left)
{
	while (left) {
		ssize_t n = CALL(gnutls_record_send, connection->session, bytes, left);
		if (n <= 0)
			return false;
		bytes += n;
		left -= (size_t)n;
		if (!is_mode("cork"))
			flush_out(connection);
	}
	return true;
}

static bool write_file(struct connection *connection)
{
	size_t left = FILE_BYTES;

	if (!is_mode("packet"))
		return write_all(connection, file_text, sizeof(file_text));
	/* Where the file is, since GnuTLS 3.7.9 takes an offset as one from there. */
	lseek(file, 0, SEEK_SET);
	while (left) {
		ssize_t n = CALL(gnutls_record_send_file, connection->session, file, NULL, left);
		if (n <= 0)
			return false;
		left -= (size_t)n;
	}
	return true;
}

static const char ok_answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static const char file_answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n";

static bool answer(struct connection *connection)
{
	bool is_well;

	if (is_mode("cork"))
		CALL(gnutls_record_cork, connection->session);
	if (strncmp(connection->request, "GET /file", 9) == 0)
		is_well = write_all(connection, file_answer, sizeof(file_answer) - 1) && write_file(connection);
	else
		is_well = write_all(connection, ok_answer, 1) && write_all(connection, ok_answer + 1, sizeof(ok_answer) - 2);
	if (is_mode("cork"))
		is_well = CALL(gnutls_record_uncork, connection->session, GNUTLS_RECORD_WAIT) > 0 && is_well;
	return is_well;
}

static void serve_requests(struct connection *connection)
{
	for (;;) {
		const char *end = memmem(connection->request, connection->request_bytes, "\r\n\r\n", 4);
		if (end) {
			size_t length = (size_t)(end - connection->request) + 4;
			if (!answer(connection))
				return;
			connection->request_bytes -= length;
			memmove(connection->request, connection->request + length, connection->request_bytes);
			continue;
		}
		ssize_t n = read_some(connection, connection->request + connection->request_bytes,
		                      sizeof(connection->request) - connection->request_bytes);
		if (n <= 0)
			return;
		connection->request_bytes += (size_t)n;
	}
}

static void serve_connection(int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int result;

	connection->fd = fd;
	require("gnutls_init", gnutls_init(&connection->session, GNUTLS_SERVER | (is_mode("memory") ? GNUTLS_NONBLOCK : 0)) == 0);
	gnutls_priority_set(connection->session, priorities);
	gnutls_credentials_set(connection->session, GNUTLS_CRD_CERTIFICATE, credentials);
	set_transport(connection);
	do
		result = CALL(gnutls_handshake, connection->session);
	while (result < 0 && is_to_be_repeated(connection, result));
	flush_out(connection);
	if (result == 0)
		serve_requests(connection);
	CALL(gnutls_bye, connection->session, GNUTLS_SHUT_WR);
	flush_out(connection);
	CALL(gnutls_deinit, connection->session);
	close(fd);
	free(connection);
}

static void on_term(int number)
{
	(void)number;
	is_over = true;
}

static void make_file(void)
{
	char path[] = "/tmp/gnutls_server-XXXXXX";

	memset(file_text, 'x', sizeof(file_text));
	file = mkstemp(path);
	require("mkstemp", file >= 0 && write(file, file_text, sizeof(file_text)) == FILE_BYTES);
	unlink(path);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sigaction end = { .sa_handler = on_term };
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require("three arguments", argc == 4);
	mode = argv[1];
	sigaction(SIGTERM, &end, NULL);
	signal(SIGPIPE, SIG_IGN);
	make_file();
	gnutls_certificate_allocate_credentials(&credentials);
	require("certificate", gnutls_certificate_set_x509_key_file(credentials, argv[2], argv[3], GNUTLS_X509_FMT_PEM) == 0);
	require("priorities", gnutls_priority_init(&priorities, "NORMAL", NULL) == 0);
	require("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	require("listen", listen(listener, 64) == 0);
	getsockname(listener, (struct sockaddr *)&address, &bytes);
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	while (!is_over) {
		int fd = accept(listener, NULL, NULL);
		if (fd >= 0)
			serve_connection(fd);
	}
	for (struct call *call = calls; call->name; call++)
		printf("%s %u\n", call->name, call->count);
	return 0;
}
