/* count_allocations_tls - the part of count_allocations that speaks TLS: both sides in one thread, over sockets that never
 * wait. Neither side has a certificate: the ciphers that need none are TLS 1.2's.
 */
#include "burn.h"
#include "count_allocations.h"

#include <gnutls/gnutls.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 2, TURNS_MAX = 100000 };

static const char request[] = "GET /secret HTTP/1.1\r\nHost: a\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/* OpenSSL */

static SSL_CTX *openssl_context(void)
{
	static SSL_CTX *context;

	if (context)
		return context;
	context = SSL_CTX_new(TLS_method());
	check("SSL_CTX_new", context && SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION) == 1);
	check("ciphers", SSL_CTX_set_cipher_list(context, "aNULL:@SECLEVEL=0") == 1);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	return context;
}

static SSL *openssl_side(int fd)
{
	SSL *side = SSL_new(openssl_context());

	check("SSL_set_fd", side && SSL_set_fd(side, fd) == 1);
	return side;
}

/* To its last byte: what is on its way comes at once. */
static void openssl_pass(SSL *from, SSL *to, const char *bytes, int n)
{
	char buffer[256];
	int got = 0;

	check("SSL_write", SSL_write(from, bytes, n) == n);
	for (int turns = 0; got < n && turns < TURNS_MAX; turns++) {
		int read = SSL_read(to, buffer + got, 7);
		got += read > 0 ? read : 0;
	}
	check("SSL_read", got == n && !memcmp(buffer, bytes, (size_t)n));
}

void live_by_openssl(void)
{
	struct sockets sockets = sockets_connect();
	SSL *client = openssl_side(sockets.client), *server = openssl_side(sockets.server);
	bool is_client_done = false, is_server_done = false;

	for (int turns = 0; !(is_client_done && is_server_done) && turns < TURNS_MAX; turns++) {
		is_client_done = is_client_done || SSL_connect(client) == 1;
		is_server_done = is_server_done || SSL_accept(server) == 1;
	}
	check("handshake of OpenSSL", is_client_done && is_server_done);
	for (int i = 0; i < REQUESTS; i++) {
		openssl_pass(client, server, request, sizeof(request) - 1);
		burn(20000);
		openssl_pass(server, client, answer, sizeof(answer) - 1);
	}
	SSL_shutdown(client);
	SSL_shutdown(server);
	SSL_free(client);
	SSL_free(server);
	check("close", close(sockets.client) == 0 && close(sockets.server) == 0);
}

/* GnuTLS */

static gnutls_session_t gnutls_side(unsigned flags, void *credentials, int fd)
{
	gnutls_session_t side;

	check("gnutls_init", gnutls_init(&side, flags | GNUTLS_NONBLOCK) == 0);
	check("priority", gnutls_priority_set_direct(side, "NORMAL:-VERS-TLS1.3:-KX-ALL:+ANON-ECDH", NULL) == 0);
	check("credentials", gnutls_credentials_set(side, GNUTLS_CRD_ANON, credentials) == 0);
	gnutls_transport_set_int(side, fd);
	return side;
}

static void gnutls_pass(gnutls_session_t from, gnutls_session_t to, const char *bytes, size_t n)
{
	char buffer[256];
	size_t got = 0;

	check("gnutls_record_send", gnutls_record_send(from, bytes, n) == (ssize_t)n);
	for (int turns = 0; got < n && turns < TURNS_MAX; turns++) {
		ssize_t read = gnutls_record_recv(to, buffer + got, 7);
		got += read > 0 ? (size_t)read : 0;
	}
	check("gnutls_record_recv", got == n && !memcmp(buffer, bytes, n));
}

void live_by_gnutls(void)
{
	static gnutls_anon_server_credentials_t server_credentials;
	static gnutls_anon_client_credentials_t client_credentials;
	struct sockets sockets = sockets_connect();
	bool is_client_done = false, is_server_done = false;

	if (!server_credentials) {
		gnutls_anon_allocate_server_credentials(&server_credentials);
		gnutls_anon_allocate_client_credentials(&client_credentials);
	}
	gnutls_session_t client = gnutls_side(GNUTLS_CLIENT, client_credentials, sockets.client);
	gnutls_session_t server = gnutls_side(GNUTLS_SERVER, server_credentials, sockets.server);
	for (int turns = 0; !(is_client_done && is_server_done) && turns < TURNS_MAX; turns++) {
		is_client_done = is_client_done || gnutls_handshake(client) == 0;
		is_server_done = is_server_done || gnutls_handshake(server) == 0;
	}
	check("handshake of GnuTLS", is_client_done && is_server_done);
	for (int i = 0; i < REQUESTS; i++) {
		gnutls_pass(client, server, request, sizeof(request) - 1);
		burn(20000);
		gnutls_pass(server, client, answer, sizeof(answer) - 1);
	}
	gnutls_bye(client, GNUTLS_SHUT_WR);
	gnutls_deinit(client);
	gnutls_deinit(server);
	check("close", close(sockets.client) == 0 && close(sockets.server) == 0);
}
