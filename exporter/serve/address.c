/* A port is taken when bind or listen says EADDRINUSE: with SO_REUSEADDR two sockets may both bind before one listens.
 * SO_REUSEADDR itself lets the next server of a session take the port while connections of the last one still linger.
 *
 * The mode of a Unix socket's file comes from the mode of the socket's own inode (net/unix/af_unix.c, unix_bind), so
 * fchmod before bind gives 0600 without umask, which belongs to the whole program and must not change under its feet.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 64 }; /* connections that wait for us; more than a dashboard and its neighbours ever open at once */

static bool parse_port(const char *text, uint16_t *ret_port)
{
	uint32_t port = 0;
	size_t digits = strspn(text, "0123456789");

	if (!digits || digits > 5 || text[digits])
		return false;
	for (const char *digit = text; *digit; digit++)
		port = port * 10 + (uint32_t)(*digit - '0');
	if (port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static int parse_unix(struct address *ret_address, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret_address->storage;

	if (path[0] != '/' || strlen(path) >= sizeof(un->sun_path))
		return -EINVAL;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	ret_address->kind = ADDRESS_UNIX;
	ret_address->is_private = true;
	ret_address->bytes = sizeof(*un);
	return 0;
}

static int parse_ipv6(struct address *ret_address, const char *host, uint16_t port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret_address->storage;

	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
		return -EINVAL;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	ret_address->is_private = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	ret_address->bytes = sizeof(*in6);
	return 0;
}

static int parse_ipv4(struct address *ret_address, const char *host, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret_address->storage;

	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &in->sin_addr) != 1)
		return -EINVAL;
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	ret_address->is_private = ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	ret_address->bytes = sizeof(*in);
	return 0;
}

static int parse_inet(struct address *ret_address, const char *text)
{
	char host[64];
	uint16_t port;
	const char *colon = strrchr(text, ':');

	if (!colon || !parse_port(colon + 1, &port))
		return -EINVAL;
	bool is_bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
	const char *begin = is_bracketed ? text + 1 : text;
	size_t length = (size_t)(colon - begin) - is_bracketed;

	if (length >= sizeof(host))
		return -EINVAL;
	memcpy(host, begin, length);
	host[length] = '\0';
	ret_address->kind = ADDRESS_INET;
	return is_bracketed ? parse_ipv6(ret_address, host, port) : parse_ipv4(ret_address, host, port);
}

int address_parse(struct address *ret_address, const char *text)
{
	struct address address = { .kind = ADDRESS_OFF };
	int result = 0;

	if (!strncmp(text, "unix:", 5))
		result = parse_unix(&address, text + 5);
	else if (strcmp(text, "off"))
		result = parse_inet(&address, text);
	if (!result)
		*ret_address = address;
	return result;
}

static uint16_t *port_place(struct address *address)
{
	if (address->storage.ss_family == AF_INET6)
		return &((struct sockaddr_in6 *)&address->storage)->sin6_port;
	return &((struct sockaddr_in *)&address->storage)->sin_port;
}

uint16_t address_port(const struct address *address)
{
	struct address copy = *address;

	return address->kind == ADDRESS_INET ? ntohs(*port_place(&copy)) : 0;
}

void address_text(const struct address *address, char text[static SEG_TEXT_BYTES])
{
	char host[INET6_ADDRSTRLEN] = "";

	if (address->kind == ADDRESS_OFF) {
		snprintf(text, SEG_TEXT_BYTES, "off");
	} else if (address->kind == ADDRESS_UNIX) {
		snprintf(text, SEG_TEXT_BYTES, "unix:%s", ((const struct sockaddr_un *)&address->storage)->sun_path);
	} else if (address->storage.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&address->storage)->sin6_addr, host, sizeof(host));
		snprintf(text, SEG_TEXT_BYTES, "[%s]:%u", host, address_port(address));
	} else {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)&address->storage)->sin_addr, host, sizeof(host));
		snprintf(text, SEG_TEXT_BYTES, "%s:%u", host, address_port(address));
	}
}

static int new_socket(const struct address *address)
{
	int yes = 1;
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (address->kind == ADDRESS_INET)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)); /* failing, we only wait longer for a port */
	else if (fchmod(fd, 0600) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

/* True: path is a socket of this user's at which nobody listens any more, and is removed now. */
static bool remove_stale(const struct address *address)
{
	const char *path = ((const struct sockaddr_un *)&address->storage)->sun_path;
	struct stat status;

	if (lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode) || status.st_uid != geteuid())
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	bool is_stale = connect(fd, (const struct sockaddr *)&address->storage, address->bytes) < 0 && errno == ECONNREFUSED;
	close(fd);
	return is_stale && unlink(path) == 0;
}

/* Binds and listens; 0 or -errno. */
static int take(int fd, const struct address *address)
{
	if (bind(fd, (const struct sockaddr *)&address->storage, address->bytes) < 0)
		return -errno;
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

int address_listen(struct address *address)
{
	int fd = new_socket(address);

	if (fd < 0)
		return fd;
	int result = take(fd, address);
	if (result == -EADDRINUSE && address->kind == ADDRESS_UNIX && remove_stale(address))
		result = take(fd, address);
	socklen_t bytes = sizeof(address->storage);
	if (!result && address->kind == ADDRESS_INET && getsockname(fd, (struct sockaddr *)&address->storage, &bytes) < 0)
		result = -errno;
	if (result) {
		close(fd);
		return result;
	}
	return fd;
}

/* Where a former server of the session was. It is dead, or we would not be here, but the kernel closes the sockets of a
 * killed process a little after it lets others know of its death. */
static int listen_as_former(struct address *address)
{
	const struct timespec pause = { .tv_nsec = FORMER_PAUSE_MS * 1000000L };
	int fd = address_listen(address);

	for (int waited_ms = 0; fd == -EADDRINUSE && waited_ms < FORMER_PATIENCE_MS; waited_ms += FORMER_PAUSE_MS) {
		nanosleep(&pause, NULL);
		fd = address_listen(address);
	}
	return fd;
}

struct address_choice address_choose(const struct address *configured, bool has_former, uint16_t former_port)
{
	struct address_choice choice = { .address = *configured };
	uint16_t port = address_port(configured);

	if (has_former) {
		if (configured->kind == ADDRESS_INET && former_port)
			*port_place(&choice.address) = htons(former_port);
		choice.fd = listen_as_former(&choice.address);
		if (choice.fd >= 0)
			return choice;
		choice.address = *configured;
	}
	choice.fd = address_listen(&choice.address);
	if (choice.fd != -EADDRINUSE || !port)
		return choice;
	choice.taken = port;
	for (uint32_t next = 1; choice.fd == -EADDRINUSE && next < ADDRESS_PORT_TRIES && port + next <= UINT16_MAX; next++) {
		*port_place(&choice.address) = htons((uint16_t)(port + next));
		choice.fd = address_listen(&choice.address);
	}
	return choice;
}

void address_release(const struct address *address)
{
	if (address->kind == ADDRESS_UNIX)
		unlink(((const struct sockaddr_un *)&address->storage)->sun_path);
}
