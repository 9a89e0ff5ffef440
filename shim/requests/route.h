#pragma once
/* route - from the target of a request to the route it is counted under.
 * Context: call, but for route_templates_set: setup. Pure but for the templates and the trie.
 *
 * The templates of PROFSHIM_ROUTES come first. Otherwise each segment of the path is looked at: what varies from request
 * to request by its form becomes a variable ({id}, {uuid}, {hash}, {date}, {email}, {ip}, {token}); of words, what was
 * learned to vary ({name}, route_trie.h); the others stay.
 * A route is printable, valid UTF-8, and holds no query, fragment, host or path parameter.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUTE_SEGMENTS_MAX 10      /* segments kept; the rest is "*" */
#define ROUTE_TEMPLATES_MAX 256
#define ROUTE_TEMPLATES_BYTES 8192 /* of PROFSHIM_ROUTES */

#define ROUTE_AUTHORITY "{authority}" /* route of CONNECT host:port */

/* What of a target decides the route: without scheme, authority, query and fragment. */
struct route_path {
	const char *text; /* borrowed from the target; NULL = the target has none of the forms of RFC 9112 clause 3.2 */
	size_t n;
};
struct route_path route_path_of(const char *target, size_t n, bool is_connect);

/* Writes the route of path, room bytes at most, no final NUL; returns its bytes. room: 64 at least. */
size_t route_write(char *ret_route, size_t room, struct route_path path);

/* The same for a path that was answered: its words are learned first, which may change where others lead
 * (route_trie_changes). path may be a route. */
size_t route_learn(char *ret_route, size_t room, struct route_path path);

/* Takes the value of PROFSHIM_ROUTES: comma-separated templates, whose segments are words or variables such as {id} and
 * which may end with a star for any rest. NULL or "" = none. Returns NULL, or what is wrong in words; then there are none. */
const char *route_templates_set(const char *text);
