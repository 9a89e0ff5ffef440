/* A library like libssl or libgnutls, by name: -DNUMBER tells two of them apart by what its functions give. */
#include <stddef.h>

static const int method = NUMBER;

/* As OpenSSL's objects: what they are made of is pointed to at their beginning. */
static struct session {
	size_t kind;
	const void *context;
	const int *method;
	size_t rest[5];
} session = { .method = &method };

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void *SSL_new(void);
EXPORTED int SSL_read(void *ssl, void *buffer, int bytes);
EXPORTED int gnutls_init(void **session, unsigned flags);
EXPORTED int gnutls_bye(void *session, int how);

void *SSL_new(void)
{
	return &session;
}

int SSL_read(void *ssl, void *buffer, int bytes)
{
	(void)ssl;
	(void)buffer;
	(void)bytes;
	return NUMBER;
}

int gnutls_init(void **made, unsigned flags)
{
	(void)flags;
	*made = NULL;
	return 0;
}

int gnutls_bye(void *made, int how)
{
	(void)made;
	(void)how;
	return NUMBER;
}
