/* tls_server - an HTTP/1.1 server over OpenSSL that passes its bytes in a way of its choice.
 *
 *     tls_server MODE CERTIFICATE KEY      prints "port N", serves until SIGTERM, then prints "NAME COUNT" for each call of
 *                                          libssl that it made
 *
 *   simple       SSL_accept, SSL_read, SSL_write on a blocking socket
 *   ex           SSL_do_handshake; SSL_peek and SSL_peek_ex before each SSL_read_ex of 7 bytes; SSL_write_ex in pieces of 5
 *   nonblocking  one thread, poll, all calls again after WANT_READ and WANT_WRITE; no call for the handshake
 *   sendfile     answers by SSL_sendfile where the kernel has kTLS, by SSL_write where not; says which
 *   custom       a BIO that has no descriptor as far as OpenSSL knows, and moves bytes by recv and send
 *   memory       memory BIOs: recv and send are called by the program, and know nothing of sessions
 *   early        SSL_read_early_data before the handshake is over
 *   update       new keys after each answer, for both sides (KeyUpdate), or a renegotiation before TLS 1.3
 *   callback     a callback of the handshake serves a whole request, plain, on another connection
 *   jump         a callback of the handshake leaves it by longjmp; the next connection, which gets the same descriptor, is
 *                served in plain text, the one after it begins a handshake again
 *   threads      one thread reads, another one writes what the first asks for
 *   cleared      one SSL object for all connections, by SSL_clear
 *
 * Connections are served one after the other but for nonblocking, which serves all at once. A request is answered with
 * 200 and the text "ok\n", or with FILE_BYTES bytes if its path begins with /file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILE_BYTES = 50000, REQUEST_MAX = 8192, CONNECTIONS_MAX = 64 };

/* what is called, and how often */

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
	__atomic_fetch_add(&call->count, 1, __ATOMIC_RELAXED);
}

#define CALL(function, ...) (count_call(#function), function(__VA_ARGS__))

static void require(const char *what, bool is_well)
{
	if (is_well)
		return;
	fprintf(stderr, "tls_server: %s: %s\n", what, strerror(errno));
	ERR_print_errors_fp(stderr);
	exit(1);
}

/* a connection */

struct connection {
	int fd;
	SSL *ssl;
	BIO *in, *out;      /* memory BIOs */
	char request[REQUEST_MAX];
	size_t request_bytes;
	char *answer;       /* nonblocking: what is still to be written */
	size_t answer_bytes, answered_bytes;
};

static const char *mode;
static SSL_CTX *context;
static int file = -1;
static char file_text[FILE_BYTES];
static int plain_listener = -1;
static jmp_buf escape;
static bool has_sendfile, has_jumped;
static volatile sig_atomic_t is_over;

static bool is_mode(const char *name)
{
	return strcmp(mode, name) == 0;
}

/* a BIO without a descriptor */

static int custom_read(BIO *bio, char *buffer, int bytes)
{
	int fd = (int)(intptr_t)BIO_get_data(bio);
	ssize_t n = recv(fd, buffer, (size_t)bytes, 0);

	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	return (int)n;
}

static int custom_write(BIO *bio, const char *buffer, int bytes)
{
	int fd = (int)(intptr_t)BIO_get_data(bio);
	ssize_t n = send(fd, buffer, (size_t)bytes, MSG_NOSIGNAL);

	BIO_clear_retry_flags(bio);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	return (int)n;
}

static long custom_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO *custom_bio(int fd)
{
	static BIO_METHOD *method;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "custom");
		BIO_meth_set_read(method, custom_read);
		BIO_meth_set_write(method, custom_write);
		BIO_meth_set_ctrl(method, custom_ctrl);
	}
	BIO *bio = BIO_new(method);
	BIO_set_data(bio, (void *)(intptr_t)fd);
	BIO_set_init(bio, 1);
	return bio;
}

/* memory BIOs: what OpenSSL wrote goes out, what comes in goes to OpenSSL */

static void flush_out(struct connection *connection)
{
	char buffer[4096];
	int n;

	while (connection->out && (n = BIO_read(connection->out, buffer, sizeof(buffer))) > 0)
		require("send", send(connection->fd, buffer, (size_t)n, MSG_NOSIGNAL) == n);
}

/* False: the peer is gone. */
static bool fill_in(struct connection *connection)
{
	char buffer[4096];
	ssize_t n = recv(connection->fd, buffer, sizeof(buffer), 0);

	if (n <= 0)
		return false;
	require("BIO_write", BIO_write(connection->in, buffer, (int)n) == n);
	return true;
}

/* The call did not succeed. True: it is to be made again. */
static bool is_to_be_repeated(struct connection *connection, int result)
{
	int error = SSL_get_error(connection->ssl, result);

	flush_out(connection);
	if (is_mode("memory") && error == SSL_ERROR_WANT_READ)
		return fill_in(connection);
	ERR_clear_error();
	return false;
}

/* bytes */

static int read_some(struct connection *connection, char *buffer, size_t bytes)
{
	size_t n = 0;
	char seen[3];
	int result;

	if (!is_mode("ex")) {
		while ((result = CALL(SSL_read, connection->ssl, buffer, (int)bytes)) <= 0)
			if (!is_to_be_repeated(connection, result))
				return 0;
		return result;
	}
	if (CALL(SSL_peek, connection->ssl, seen, sizeof(seen)) <= 0 || !CALL(SSL_peek_ex, connection->ssl, seen, sizeof(seen), &n))
		return 0;
	return CALL(SSL_read_ex, connection->ssl, buffer, bytes < 7 ? bytes : 7, &n) ? (int)n : 0;
}

static bool write_all(struct connection *connection, const char *bytes, size_t n)
{
	while (n) {
		size_t written = 0;
		if (is_mode("ex")) {
			if (!CALL(SSL_write_ex, connection->ssl, bytes, n < 5 ? n : 5, &written))
				return false;
		} else {
			int result = CALL(SSL_write, connection->ssl, bytes, (int)n);
			if (result <= 0)
				return false;
			written = (size_t)result;
		}
		flush_out(connection);
		bytes += written;
		n -= written;
	}
	return true;
}

static bool write_file(struct connection *connection)
{
	if (!has_sendfile)
		return write_all(connection, file_text, sizeof(file_text));
	for (off_t at = 0; at < FILE_BYTES;) {
		ossl_ssize_t n = CALL(SSL_sendfile, connection->ssl, file, at, (size_t)(FILE_BYTES - at), 0);
		if (n <= 0)
			return false;
		at += n;
	}
	return true;
}

/* HTTP */

static const char ok_answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static const char file_answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n";

/* Length of the first whole request, 0 = there is none yet. None has a body. */
static size_t request_length(const char *bytes, size_t n)
{
	const char *end = memmem(bytes, n, "\r\n\r\n", 4);

	return end ? (size_t)(end - bytes) + 4 : 0;
}

static bool is_file_request(const char *request)
{
	return strncmp(request, "GET /file", 9) == 0;
}

static void *write_ok(void *connection)
{
	return write_all(connection, ok_answer, sizeof(ok_answer) - 1) ? connection : NULL;
}

static bool answer(struct connection *connection, const char *request)
{
	pthread_t thread;
	void *result;

	if (is_file_request(request))
		return write_all(connection, file_answer, sizeof(file_answer) - 1) && write_file(connection);
	if (!is_mode("threads"))
		return write_ok(connection);
	require("pthread_create", pthread_create(&thread, NULL, write_ok, connection) == 0);
	pthread_join(thread, &result);
	return result;
}

static void take_new_keys(struct connection *connection)
{
	if (SSL_version(connection->ssl) >= TLS1_3_VERSION)
		SSL_key_update(connection->ssl, SSL_KEY_UPDATE_REQUESTED);
	else
		SSL_renegotiate(connection->ssl);
	CALL(SSL_do_handshake, connection->ssl);
}

static void drop_request(struct connection *connection, size_t n)
{
	connection->request_bytes -= n;
	memmove(connection->request, connection->request + n, connection->request_bytes);
}

/* Answers requests until the client ends. */
static void serve_requests(struct connection *connection)
{
	for (;;) {
		size_t length = request_length(connection->request, connection->request_bytes);
		if (length) {
			if (!answer(connection, connection->request))
				return;
			drop_request(connection, length);
			if (is_mode("update"))
				take_new_keys(connection);
			continue;
		}
		int n = read_some(connection, connection->request + connection->request_bytes,
		                  sizeof(connection->request) - connection->request_bytes);
		if (n <= 0)
			return;
		connection->request_bytes += (size_t)n;
	}
}

/* One plain connection, served to its end. */
static void serve_plain(int fd)
{
	char request[REQUEST_MAX];
	size_t bytes = 0;

	for (ssize_t n; (n = recv(fd, request + bytes, sizeof(request) - bytes, 0)) > 0;) {
		bytes += (size_t)n;
		for (size_t length; (length = request_length(request, bytes)); bytes -= length) {
			require("send", send(fd, ok_answer, sizeof(ok_answer) - 1, MSG_NOSIGNAL) > 0);
			memmove(request, request + length, bytes - length);
		}
	}
	close(fd);
}

static int on_hello(SSL *ssl, int *ret_alert, void *argument)
{
	(void)ssl;
	(void)ret_alert;
	(void)argument;
	if (is_mode("callback"))
		serve_plain(accept(plain_listener, NULL, NULL)); /* while the handshake waits */
	if (is_mode("jump"))
		longjmp(escape, 1);
	return SSL_CLIENT_HELLO_SUCCESS;
}

static bool shake_hands(struct connection *connection)
{
	char early[REQUEST_MAX];
	size_t n = 0;
	int result;

	if (is_mode("early")) {
		while ((result = CALL(SSL_read_early_data, connection->ssl, early, sizeof(early), &n)) == SSL_READ_EARLY_DATA_SUCCESS) {
			memcpy(connection->request + connection->request_bytes, early, n);
			connection->request_bytes += n;
		}
		if (result == SSL_READ_EARLY_DATA_ERROR)
			return false;
	}
	if (is_mode("ex")) {
		SSL_set_accept_state(connection->ssl);
		return CALL(SSL_do_handshake, connection->ssl) == 1;
	}
	while ((result = CALL(SSL_accept, connection->ssl)) != 1)
		if (!is_to_be_repeated(connection, result))
			return false;
	flush_out(connection);
	return true;
}

static void set_transport(struct connection *connection)
{
	if (is_mode("memory")) {
		connection->in = BIO_new(BIO_s_mem());
		connection->out = BIO_new(BIO_s_mem());
		SSL_set_bio(connection->ssl, connection->in, connection->out);
	} else if (is_mode("custom")) {
		BIO *bio = custom_bio(connection->fd);
		SSL_set_bio(connection->ssl, bio, bio);
	} else {
		SSL_set_fd(connection->ssl, connection->fd);
	}
}

static SSL *the_session;

static void serve_connection(int fd)
{
	static struct connection connection;

	if (has_jumped) {
		has_jumped = false;
		serve_plain(fd);
		return;
	}
	connection = (struct connection){ .fd = fd };
	if (is_mode("cleared") && the_session) {
		connection.ssl = the_session;
		require("SSL_clear", SSL_clear(connection.ssl) == 1);
	} else {
		connection.ssl = the_session = SSL_new(context);
	}
	set_transport(&connection);
	if (setjmp(escape)) {
		has_jumped = true;
	} else if (shake_hands(&connection)) {
		has_sendfile = is_mode("sendfile") && BIO_get_ktls_send(SSL_get_wbio(connection.ssl));
		serve_requests(&connection);
		CALL(SSL_shutdown, connection.ssl);
		flush_out(&connection);
	}
	ERR_clear_error();
	if (!is_mode("cleared"))
		CALL(SSL_free, connection.ssl);
	close(fd);
}

/* all connections at once */

static struct connection *all[CONNECTIONS_MAX];

static void begin_nonblocking(int fd)
{
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		if (all[i])
			continue;
		all[i] = calloc(1, sizeof(*all[i]));
		all[i]->fd = fd;
		all[i]->ssl = SSL_new(context);
		SSL_set_fd(all[i]->ssl, fd);
		SSL_set_accept_state(all[i]->ssl);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		return;
	}
	close(fd);
}

static void end_nonblocking(int i)
{
	CALL(SSL_free, all[i]->ssl);
	close(all[i]->fd);
	free(all[i]->answer);
	free(all[i]);
	all[i] = NULL;
}

static bool is_waiting(const struct connection *connection, int result)
{
	int error = SSL_get_error(connection->ssl, result);

	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static void prepare_answer(struct connection *connection)
{
	bool is_file = is_file_request(connection->request);
	size_t head = is_file ? sizeof(file_answer) - 1 : sizeof(ok_answer) - 1;

	connection->answer_bytes = head + (is_file ? FILE_BYTES : 0);
	connection->answered_bytes = 0;
	connection->answer = malloc(connection->answer_bytes);
	memcpy(connection->answer, is_file ? file_answer : ok_answer, head);
	if (is_file)
		memcpy(connection->answer + head, file_text, FILE_BYTES);
	drop_request(connection, request_length(connection->request, connection->request_bytes));
}

/* False: it is over. */
static bool go_on(struct connection *connection)
{
	for (;;) {
		if (connection->answer) {
			int n = CALL(SSL_write, connection->ssl, connection->answer + connection->answered_bytes,
			             (int)(connection->answer_bytes - connection->answered_bytes));
			if (n <= 0)
				return is_waiting(connection, n);
			connection->answered_bytes += (size_t)n;
			if (connection->answered_bytes < connection->answer_bytes)
				continue;
			free(connection->answer);
			connection->answer = NULL;
		} else if (request_length(connection->request, connection->request_bytes)) {
			prepare_answer(connection);
		} else {
			int n = CALL(SSL_read, connection->ssl, connection->request + connection->request_bytes,
			             (int)(sizeof(connection->request) - connection->request_bytes));
			if (n <= 0)
				return is_waiting(connection, n);
			connection->request_bytes += (size_t)n;
		}
	}
}

static void serve_all(int listener)
{
	struct pollfd fds[CONNECTIONS_MAX + 1];

	while (!is_over) {
		nfds_t count = 1;
		fds[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
		for (int i = 0; i < CONNECTIONS_MAX; i++)
			if (all[i])
				fds[count++] = (struct pollfd){ .fd = all[i]->fd, .events = (short)(POLLIN | (all[i]->answer ? POLLOUT : 0)) };
		if (poll(fds, count, -1) < 0)
			continue;
		if (fds[0].revents)
			begin_nonblocking(accept(listener, NULL, NULL));
		for (int i = 0; i < CONNECTIONS_MAX; i++)
			if (all[i] && !go_on(all[i]))
				end_nonblocking(i);
	}
}

/* the program */

static void on_term(int number)
{
	(void)number;
	is_over = true;
}

static int listen_at_any_port(const char *name)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	require("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	require("listen", listen(listener, 64) == 0);
	getsockname(listener, (struct sockaddr *)&address, &bytes);
	printf("%s %d\n", name, ntohs(address.sin_port));
	return listener;
}

static void make_context(const char *certificate, const char *key)
{
	context = SSL_CTX_new(TLS_server_method());
	require("certificate", SSL_CTX_use_certificate_file(context, certificate, SSL_FILETYPE_PEM) == 1);
	require("key", SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1);
	SSL_CTX_set_client_hello_cb(context, on_hello, NULL);
	SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	if (is_mode("sendfile"))
		SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
	if (is_mode("early"))
		SSL_CTX_set_max_early_data(context, REQUEST_MAX);
}

static void make_file(void)
{
	char path[] = "/tmp/tls_server-XXXXXX";

	memset(file_text, 'x', sizeof(file_text));
	file = mkstemp(path);
	require("mkstemp", file >= 0 && write(file, file_text, sizeof(file_text)) == FILE_BYTES);
	unlink(path);
}

int main(int argc, char **argv)
{
	struct sigaction end = { .sa_handler = on_term };

	require("three arguments", argc == 4);
	mode = argv[1];
	sigaction(SIGTERM, &end, NULL);
	signal(SIGPIPE, SIG_IGN);
	make_context(argv[2], argv[3]);
	make_file();
	int listener = listen_at_any_port("port");
	if (is_mode("callback"))
		plain_listener = listen_at_any_port("plain");
	fflush(stdout);
	if (is_mode("nonblocking"))
		serve_all(listener);
	while (!is_over) {
		int fd = accept(listener, NULL, NULL);
		if (fd >= 0)
			serve_connection(fd);
	}
	if (is_mode("sendfile"))
		printf("kTLS %s\n", has_sendfile ? "yes" : "no");
	for (struct call *call = calls; call->name; call++)
		printf("%s %u\n", call->name, call->count);
	return 0;
}
