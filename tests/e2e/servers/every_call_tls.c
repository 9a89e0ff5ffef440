/* every_call_tls - the TLS libraries' part of every_call: two sessions of one thread talk to one another through memory, so
 * that no other call is made for it. Calls may fail where the libraries have a reason (no early data, no kTLS): they count.
 */
#undef _FILE_OFFSET_BITS

#include "every_call.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

#define COUNTED(function, ...) (count_call(#function), function(__VA_ARGS__))

/* OpenSSL. No certificates: ciphers that need none are gone from TLS 1.3. */

struct openssl_pair {
	SSL *server, *client;
};

static SSL *make_ssl(SSL_CTX *context, BIO *transport)
{
	SSL *ssl = SSL_new(context);

	require("SSL_new", ssl);
	SSL_set_bio(ssl, transport, transport);
	return ssl;
}

static struct openssl_pair make_openssl_pair(SSL_CTX *context)
{
	BIO *server, *client;

	require("BIO_new_bio_pair", BIO_new_bio_pair(&server, 0, &client, 0) == 1);
	struct openssl_pair pair = { make_ssl(context, server), make_ssl(context, client) };
	SSL_set_accept_state(pair.server);
	SSL_set_connect_state(pair.client);
	return pair;
}

static void free_openssl_pair(struct openssl_pair *pair)
{
	COUNTED(SSL_shutdown, pair->client);
	COUNTED(SSL_shutdown, pair->server);
	COUNTED(SSL_free, pair->client);
	COUNTED(SSL_free, pair->server);
}

static void pass_by_openssl(struct openssl_pair *pair)
{
	char buffer[16];
	size_t n;

	require("SSL_write", COUNTED(SSL_write, pair->client, "ab", 2) == 2);
	require("SSL_write_ex", COUNTED(SSL_write_ex, pair->client, "cd", 2, &n) == 1);
	require("SSL_peek", COUNTED(SSL_peek, pair->server, buffer, 1) == 1 && buffer[0] == 'a');
	require("SSL_peek_ex", COUNTED(SSL_peek_ex, pair->server, buffer, 1, &n) == 1 && buffer[0] == 'a');
	require("SSL_read", COUNTED(SSL_read, pair->server, buffer, 2) == 2 && buffer[1] == 'b');
	require("SSL_read_ex", COUNTED(SSL_read_ex, pair->server, buffer, 2, &n) == 1 && buffer[1] == 'd');
	require("SSL_sendfile", COUNTED(SSL_sendfile, pair->client, 0, 0, 1, 0) < 0); /* a pipe of BIOs has no kTLS */
}

void call_openssl_family(void)
{
	static SSL_CTX *context;
	char buffer[16];
	size_t n;

	if (!context) {
		/* Its configuration file would be closed by fclose. */
		require("OPENSSL_init_ssl", OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1);
		context = SSL_CTX_new(TLS_method());
		require("context", context && SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION) == 1);
		require("ciphers", SSL_CTX_set_cipher_list(context, "aNULL:@SECLEVEL=0") == 1);
	}
	struct openssl_pair pair = make_openssl_pair(context);
	bool is_done = false;
	for (int i = 0; i < 10 && !is_done; i++) {
		is_done = COUNTED(SSL_connect, pair.client) == 1;
		is_done = COUNTED(SSL_accept, pair.server) == 1 && is_done;
		is_done = COUNTED(SSL_do_handshake, pair.client) == 1 && is_done;
	}
	require("handshake", is_done);
	pass_by_openssl(&pair);
	free_openssl_pair(&pair);
	pair = make_openssl_pair(context);
	COUNTED(SSL_write_early_data, pair.client, "ab", 2, &n);
	COUNTED(SSL_read_early_data, pair.server, buffer, sizeof(buffer), &n);
	free_openssl_pair(&pair);
}

/* GnuTLS. Each side's bytes wait for the other in a queue. */

struct queue {
	char bytes[65536];
	size_t count;
};

struct side {
	gnutls_session_t session;
	struct queue *from, *to;
};

static ssize_t push(gnutls_transport_ptr_t side, const void *bytes, size_t n)
{
	struct queue *to = ((struct side *)side)->to;

	require("room", to->count + n <= sizeof(to->bytes));
	memcpy(to->bytes + to->count, bytes, n);
	to->count += n;
	return (ssize_t)n;
}

static ssize_t pull(gnutls_transport_ptr_t pulling, void *bytes, size_t n)
{
	struct side *side = pulling;

	if (!side->from->count) {
		gnutls_transport_set_errno(side->session, EAGAIN);
		return -1;
	}
	n = n < side->from->count ? n : side->from->count;
	memcpy(bytes, side->from->bytes, n);
	side->from->count -= n;
	memmove(side->from->bytes, side->from->bytes + n, side->from->count);
	return (ssize_t)n;
}

static void make_side(struct side *side, unsigned flags, int kind, void *credentials, struct queue *from, struct queue *to)
{
	*side = (struct side){ .from = from, .to = to };
	require("gnutls_init", gnutls_init(&side->session, flags | GNUTLS_NONBLOCK) == 0);
	require("priority", gnutls_priority_set_direct(side->session, "NORMAL:-VERS-TLS1.3:-KX-ALL:+ANON-ECDH", NULL) == 0);
	require("credentials", gnutls_credentials_set(side->session, (gnutls_credentials_type_t)kind, credentials) == 0);
	gnutls_transport_set_ptr(side->session, side);
	gnutls_transport_set_push_function(side->session, push);
	gnutls_transport_set_pull_function(side->session, pull);
}

static void pass_by_gnutls(gnutls_session_t server, gnutls_session_t client)
{
	unsigned char sequence[8];
	gnutls_packet_t packet;
	char buffer[64];
	gnutls_range_st range = { 2, 2 };
	off_t offset = 0;

	require("gnutls_record_send", COUNTED(gnutls_record_send, client, "ab", 2) == 2);
	require("gnutls_record_recv", COUNTED(gnutls_record_recv, server, buffer, sizeof(buffer)) == 2);
	require("gnutls_record_send2", COUNTED(gnutls_record_send2, client, "cd", 2, 0, 0) == 2);
	require("gnutls_record_recv_seq", COUNTED(gnutls_record_recv_seq, server, buffer, sizeof(buffer), sequence) == 2);
	COUNTED(gnutls_record_cork, client);
	require("while corked", COUNTED(gnutls_record_send, client, "ef", 2) == 2);
	require("gnutls_record_uncork", COUNTED(gnutls_record_uncork, client, 0) == 2);
	require("gnutls_record_recv_packet", COUNTED(gnutls_record_recv_packet, server, &packet) == 2);
	gnutls_packet_deinit(packet);
	COUNTED(gnutls_record_send_range, client, "gh", 2, &range);
	COUNTED(gnutls_record_send_file, client, -1, &offset, 1);
	COUNTED(gnutls_record_send_early_data, client, "ij", 2);
	COUNTED(gnutls_record_recv_early_data, server, buffer, sizeof(buffer));
}

void call_gnutls_family(void)
{
	static gnutls_anon_server_credentials_t server_credentials;
	static gnutls_anon_client_credentials_t client_credentials;
	static struct queue to_server, to_client;
	static struct side server, client;
	bool is_done = false;

	if (!server_credentials) {
		gnutls_anon_allocate_server_credentials(&server_credentials);
		gnutls_anon_allocate_client_credentials(&client_credentials);
	}
	to_server.count = to_client.count = 0;
	make_side(&server, GNUTLS_SERVER, GNUTLS_CRD_ANON, server_credentials, &to_server, &to_client);
	make_side(&client, GNUTLS_CLIENT, GNUTLS_CRD_ANON, client_credentials, &to_client, &to_server);
	bool is_client_done = false, is_server_done = false;
	for (int i = 0; i < 20 && !is_done; i++) {
		if (!is_client_done)
			is_client_done = COUNTED(gnutls_handshake, client.session) == 0;
		if (!is_server_done)
			is_server_done = COUNTED(gnutls_handshake, server.session) == 0;
		is_done = is_client_done && is_server_done;
	}
	require("handshake of GnuTLS", is_done);
	pass_by_gnutls(server.session, client.session);
	COUNTED(gnutls_bye, client.session, GNUTLS_SHUT_WR);
	COUNTED(gnutls_deinit, client.session);
	COUNTED(gnutls_deinit, server.session);
}
