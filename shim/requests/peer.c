#include "peer.h"

#include "../base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
	char text[SEG_PEER_BYTES];
	uint16_t port;
};

static void write_unix(struct address *address, const struct sockaddr_un *name, socklen_t bytes)
{
	size_t n = bytes > offsetof(struct sockaddr_un, sun_path) ? bytes - offsetof(struct sockaddr_un, sun_path) : 0;

	if (n >= sizeof(address->text))
		n = sizeof(address->text) - 1;
	memcpy(address->text, name->sun_path, n);
	if (n && !address->text[0]) /* abstract, unix(7) */
		address->text[0] = '@';
}

/* An IPv4 address in IPv6's clothes is the same peer. */
static void write_inet6(struct address *address, const struct sockaddr_in6 *name)
{
	const struct in6_addr *ip = &name->sin6_addr;

	if (IN6_IS_ADDR_V4MAPPED(ip))
		inet_ntop(AF_INET, &ip->s6_addr[12], address->text, sizeof(address->text));
	else
		inet_ntop(AF_INET6, ip, address->text, sizeof(address->text));
	address->port = ntohs(name->sin6_port);
}

static bool address_of(struct address *address, int fd)
{
	struct sockaddr_storage name = { 0 };
	socklen_t bytes = sizeof(name);

	if (getpeername(fd, (struct sockaddr *)&name, &bytes) < 0)
		return false;
	switch (name.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &((struct sockaddr_in *)&name)->sin_addr, address->text, sizeof(address->text));
		address->port = ntohs(((struct sockaddr_in *)&name)->sin_port);
		return true;
	case AF_INET6:
		write_inet6(address, (struct sockaddr_in6 *)&name);
		return true;
	case AF_UNIX:
		write_unix(address, (struct sockaddr_un *)&name, bytes);
		return true;
	}
	return false;
}

/* Whoever meets an entry that is not ready writes the same again. */
static void write_entry(struct seg_peer *peer, const struct address *address)
{
	if (atomic_load_explicit(&peer->ready, memory_order_acquire))
		return;
	peer->port = address->port;
	memcpy(peer->address, address->text, sizeof(peer->address));
	atomic_store_explicit(&peer->ready, 1, memory_order_release);
}

uint32_t peer_of(int fd)
{
	struct address address = { 0 };
	int saved_errno = errno;
	bool is_known = address_of(&address, fd);

	errno = saved_errno;
	if (is_known) {
		uint64_t key = seg_key_of_bytes((const char *)&address, sizeof(address), 0);
		uint32_t index = seg_table_append(&seg.slots[SEG_TABLE_PEERS], 0, key, NULL);
		if (index != SEG_NOT_FOUND) {
			write_entry(&seg.peers[index], &address);
			return index + 1;
		}
	}
	thread_count(SEG_COUNTER_OVERFLOW_PEERS);
	return SEG_PEER_OTHER;
}
