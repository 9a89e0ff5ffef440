/* A library that is linked with one of the two of tls_library.c. */
#define EXPORTED __attribute__((visibility("default")))

int gnutls_bye(void *session, int how);
EXPORTED int user_calls(void);

int user_calls(void)
{
	return gnutls_bye(0, 0) + 1;
}
