/* An IP address is taken from connect and not asked of the socket when it is needed: that has forgotten it once the
 * server reset the connection. A unix socket remembers as long as it lives.
 */
#include "peer.h"

#include "../base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

struct name {
	char text[SEG_PEER_BYTES];
	uint16_t port;
};

static void keep_inet(struct peer_address *kept, const struct sockaddr_in *address)
{
	struct in_addr ip = address->sin_addr;

	if (ip.s_addr == htonl(INADDR_ANY))
		ip.s_addr = htonl(INADDR_LOOPBACK);
	kept->ip[10] = kept->ip[11] = 0xff; /* RFC 4291 clause 2.5.5.2 */
	memcpy(&kept->ip[12], &ip, sizeof(ip));
	kept->port = ntohs(address->sin_port);
	kept->is_ip = true;
}

static void keep_inet6(struct peer_address *kept, const struct sockaddr_in6 *address)
{
	const struct in6_addr *ip = &address->sin6_addr;

	if (IN6_IS_ADDR_UNSPECIFIED(ip))
		ip = &in6addr_loopback;
	memcpy(kept->ip, ip, sizeof(kept->ip));
	kept->port = ntohs(address->sin6_port);
	kept->is_ip = true;
}

struct peer_address peer_address(const struct sockaddr *address, socklen_t bytes)
{
	struct peer_address kept = { 0 };

	if (address->sa_family == AF_INET && bytes >= sizeof(struct sockaddr_in))
		keep_inet(&kept, (const struct sockaddr_in *)(const void *)address);
	else if (address->sa_family == AF_INET6 && bytes >= offsetof(struct sockaddr_in6, sin6_scope_id))
		keep_inet6(&kept, (const struct sockaddr_in6 *)(const void *)address);
	return kept;
}

/* An IPv4 address in IPv6's clothes is the same peer. */
static void name_ip(struct name *name, const struct peer_address *address)
{
	struct in6_addr ip;

	memcpy(&ip, address->ip, sizeof(ip));
	if (IN6_IS_ADDR_V4MAPPED(&ip))
		inet_ntop(AF_INET, &ip.s6_addr[12], name->text, sizeof(name->text));
	else
		inet_ntop(AF_INET6, &ip, name->text, sizeof(name->text));
	name->port = address->port;
}

static bool name_unix(struct name *name, int fd)
{
	struct sockaddr_un address = { 0 };
	socklen_t bytes = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &bytes) < 0 || address.sun_family != AF_UNIX)
		return false;
	size_t n = bytes > offsetof(struct sockaddr_un, sun_path) ? bytes - offsetof(struct sockaddr_un, sun_path) : 0;
	if (n >= sizeof(name->text))
		n = sizeof(name->text) - 1;
	memcpy(name->text, address.sun_path, n);
	if (n && !name->text[0]) /* abstract, unix(7) */
		name->text[0] = '@';
	return true;
}

/* Whoever meets an entry that is not ready writes the same again. */
static void write_entry(struct seg_peer *peer, const struct name *name)
{
	if (atomic_load_explicit(&peer->ready, memory_order_acquire))
		return;
	peer->port = name->port;
	memcpy(peer->address, name->text, sizeof(peer->address));
	atomic_store_explicit(&peer->ready, 1, memory_order_release);
}

static bool name_of(struct name *name, const struct peer_address *address, int fd)
{
	int saved_errno = errno;
	bool is_known = true;

	if (address->is_ip)
		name_ip(name, address);
	else
		is_known = name_unix(name, fd);
	errno = saved_errno;
	return is_known;
}

uint32_t peer_of(const struct peer_address *address, int fd)
{
	struct name name = { 0 };

	if (name_of(&name, address, fd)) {
		uint64_t key = seg_key_of_bytes((const char *)&name, sizeof(name), 0);
		uint32_t index = seg_table_append(&seg.slots[SEG_TABLE_PEERS], 0, key, NULL);
		if (index != SEG_NOT_FOUND) {
			write_entry(&seg.peers[index], &name);
			return index + 1;
		}
	}
	return SEG_PEER_OTHER;
}
