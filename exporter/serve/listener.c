#include "listener.h"

#include "host.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_LISTEN "127.0.0.1:9464"

ino_t socket_inode(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

/* What config.listen says; where that is no address (the shim cannot know, it resolves nothing), the default. */
static struct address configured_address(const struct exporter_host *host)
{
	char text[SEG_TEXT_BYTES];
	struct address address;

	snprintf(text, sizeof(text), "%.*s", SEG_TEXT_BYTES - 1, host->seg.head->config.listen);
	if (!address_parse(&address, text))
		return address;
	host_say(host, SEG_LOG_WARN,
	         "PROFSHIM_LISTEN=%s is not understood, the default is used; accepted: HOST:PORT with a numeric HOST or "
	         "localhost, unix:/path or off", text);
	host_count(host, SEG_COUNTER_CONFIG_ERRORS, 1);
	address_parse(&address, DEFAULT_LISTEN);
	return address;
}

static void say_where(const struct exporter_host *host, const struct address *configured,
                      const struct address_choice *choice)
{
	char first[SEG_TEXT_BYTES], text[SEG_TEXT_BYTES];

	address_text(configured, first);
	address_text(&choice->address, text);
	if (choice->fd < 0 && choice->taken)
		host_say(host, SEG_LOG_WARN, "%s is taken, and none up to %s could be had: %s; reports by signal still work", first,
		         text, strerrordesc_np(-choice->fd));
	else if (choice->fd < 0)
		host_say(host, SEG_LOG_WARN, "cannot serve at %s: %s; reports by signal still work", text, strerrordesc_np(-choice->fd));
	else if (choice->taken)
		host_say(host, SEG_LOG_WARN, "%s is taken, serving at %s", first, text);
	else
		host_say(host, SEG_LOG_INFO, "serving at %s", text);
	if (choice->fd >= 0 && !choice->address.is_private && !host->seg.head->config.token[0])
		host_say(host, SEG_LOG_WARN, "other machines reach %s, so every request is refused there until PROFSHIM_TOKEN is set", text);
}

/* Keeps what was chosen, and writes down for the session where that is. */
static void take(struct listener *ret_listener, const struct exporter_host *host, const struct address_choice *choice)
{
	struct segment *head = host->seg.head;

	*ret_listener = (struct listener){ .fd = choice->fd, .inode = socket_inode(choice->fd), .address = choice->address };
	host->descriptor_opened(choice->fd);
	address_text(&choice->address, head->served_address);
	atomic_store_explicit(&head->served_port, address_port(&choice->address), memory_order_relaxed);
}

bool listener_open(struct listener *ret_listener, const struct exporter_host *host)
{
	struct address configured = configured_address(host);
	uint32_t former_port = atomic_load_explicit(&host->seg.head->served_port, memory_order_relaxed);

	ret_listener->fd = -1;
	if (configured.kind == ADDRESS_OFF)
		return false;
	bool has_former = former_port != 0 || host->seg.head->served_address[0] != '\0';
	struct address_choice choice = address_choose(&configured, has_former, (uint16_t)former_port);
	if (choice.fd >= 0)
		take(ret_listener, host, &choice);
	say_where(host, &configured, &choice);
	return choice.fd >= 0;
}

bool listener_is_ours(const struct listener *listener)
{
	return listener->fd >= 0 && socket_inode(listener->fd) == listener->inode;
}

void listener_close(struct listener *listener, const struct exporter_host *host)
{
	int fd = listener->fd;
	bool is_ours = listener_is_ours(listener);

	if (fd < 0)
		return;
	listener->fd = -1;
	host->descriptor_closed(fd); /* before it is closed: afterwards the number could already be the program's */
	if (!is_ours)
		return;
	address_release(&listener->address);
	close(fd);
}
