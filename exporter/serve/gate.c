#include "gate.h"

#include "negotiate.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* The name in "name:port", or the address in "[address]:port". False: it is neither. */
static bool take_name(char ret_name[static INET6_ADDRSTRLEN], const char *host, bool *ret_is_bracketed)
{
	*ret_is_bracketed = host[0] == '[';
	const char *begin = host + *ret_is_bracketed;
	size_t length = strcspn(begin, *ret_is_bracketed ? "]" : ":");
	const char *port = begin + length + *ret_is_bracketed;

	if (length >= INET6_ADDRSTRLEN || (*ret_is_bracketed && begin[length] != ']'))
		return false;
	memcpy(ret_name, begin, length);
	ret_name[length] = '\0';
	return !*port || (*port == ':' && !port[1 + strspn(port + 1, "0123456789")]);
}

bool gate_host_is_safe(const char *host)
{
	char name[INET6_ADDRSTRLEN];
	bool is_bracketed;
	struct in6_addr address;

	if (!host)
		return true;
	if (!take_name(name, host, &is_bracketed))
		return false;
	return is_bracketed ? inet_pton(AF_INET6, name, &address) == 1
	                    : !strcasecmp(name, "localhost") || inet_pton(AF_INET, name, &address) == 1;
}

bool gate_is_same_origin(const char *value, const char *host)
{
	size_t length = host ? strlen(host) : 0;
	const char *authority = strstr(value, "://");

	if (!length || !authority || (strncasecmp(value, "http://", 7) && strncasecmp(value, "https://", 8)))
		return false;
	authority += 3;
	return !strncasecmp(authority, host, length) && (!authority[length] || authority[length] == '/');
}

static bool is_from_other_site(const struct request *request)
{
	const char *site = request->fetch_site;

	if (site && strcmp(site, "same-origin") && strcmp(site, "none"))
		return true;
	if (request->origin)
		return !gate_is_same_origin(request->origin, request->host);
	return !site && request->referer && !gate_is_same_origin(request->referer, request->host);
}

enum gate gate_check(const struct route_rules *rules, const struct request *request, bool is_change)
{
	if (rules->checks_host && !gate_host_is_safe(request->host))
		return GATE_HOST;
	if (!rules->token && !rules->is_private)
		return GATE_TOKEN_UNSET;
	if (rules->token && (is_change || !rules->is_private) && !negotiate_token_matches(request->authorization, rules->token))
		return GATE_TOKEN;
	return is_change && is_from_other_site(request) ? GATE_CROSS_SITE : GATE_OPEN;
}
