#include "../../../shim/requests/route.h"
#include "../../../shim/segment/layout.h"
#include "check_main.h"
#include "guarded.h"

#include <stdio.h>

static const char *route_in(const char *target, size_t n, size_t room)
{
	static char route[512];
	struct route_path path = route_path_of(guarded(target, n), n, false);

	if (!path.text)
		return "(none)";
	memset(route, 'Z', sizeof(route));
	n = route_write(route, room, path);
	ck_assert_uint_le(n, room);
	ck_assert_int_eq(route[room], 'Z');
	route[n] = '\0';
	return route;
}

static const char *route_of(const char *target)
{
	return route_in(target, strlen(target), SEG_ENDPOINT_BYTES);
}

static const char *const inferred[][2] = {
	{ "/", "/" },
	{ "/index.html", "/index.html" },
	{ "/users/42", "/users/{id}" },
	{ "/users/42/", "/users/{id}/" },
	{ "/users/-7/posts/1,2,3", "/users/{id}/posts/{id}" },
	{ "/users/42?name=x#y", "/users/{id}" },
	{ "/a#b?c", "/a" },
	{ "/?q=1", "/" },
	{ "//a///b//", "/a/b/" },
	{ "/o/123e4567-e89b-12d3-a456-426614174000", "/o/{uuid}" },
	{ "/o/123e4567-e89b-12d3-a456-42661417400g", "/o/{token}" },
	{ "/c/5f4a6d4e", "/c/{hash}" },
	{ "/c/07c5e92aa0e54077f832609deadbeef012345678", "/c/{hash}" },
	{ "/c/deadbeef", "/c/deadbeef" },
	{ "/c/5f4a6d4", "/c/5f4a6d4" },
	{ "/log/2024-01-31", "/log/{date}" },
	{ "/log/2024-01-31T10:00:00Z", "/log/{date}" },
	{ "/log/2024-13-31", "/log/2024-13-31" },
	{ "/u/jane.doe@example.org", "/u/{email}" },
	{ "/u/jane%40example.org", "/u/{email}" },
	{ "/u/@jane", "/u/@jane" },
	{ "/h/192.168.1.10", "/h/{ip}" },
	{ "/h/2001:db8::1", "/h/{ip}" },
	{ "/api/2.0/users", "/api/2.0/users" },
	{ "/price/1234.50", "/price/{id}" },
	{ "/t/dGhpcyBpcyBhIHRva2Vu1x", "/t/{token}" },
	{ "/t/01arz3ndektsv4rrffq69g5fav", "/t/{token}" },
	{ "/t/V1StGXR8_Z5jdHi6B-myT", "/t/{token}" },
	{ "/t/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "/t/{token}.{token}.{token}" },
	{ "/t/x7Kp2mQ9", "/t/{token}" },
	{ "/t/oauth2v1", "/t/oauth2v1" },
	{ "/browse/PROJ-123", "/browse/{id}" },
	{ "/browse/proj-123", "/browse/proj-123" },
	{ "/rest/api/3/issue/7", "/rest/api/3/issue/{id}" },
	{ "/orders/42:cancel", "/orders/{id}:cancel" },
	{ "/blobs/sha256:07c5e92aa0e54077f832609deadbeef012345678", "/blobs/sha256:{hash}" },
	{ "/Users(42)/Posts", "/Users({id})/Posts" },
	{ "/Users('ALFKI')", "/Users('{name}')" },
	{ "/compare/5f4a6d4e...07c5e92a", "/compare/{hash}...{hash}" },
	{ "/{id}/{name}/{x}/{}", "/{id}/{name}/{x}/{}" },
	{ "/blog/top-10-programming-languages", "/blog/top-10-programming-languages" },
	{ "/oauth2-authorization-server", "/oauth2-authorization-server" },
	{ "/getUserAccountInformation", "/getUserAccountInformation" },
	{ "/img/12345.jpg", "/img/{id}.jpg" },
	{ "/img/5f4a6d4e07.min.js", "/img/{hash}.min.js" },
	{ "/js/main.5f4a6d4e.js", "/js/main.{hash}.js" },
	{ "/js/jquery-3.6.0.min.js", "/js/jquery-3.6.0.min.js" },
	{ "/hello.world", "/hello.world" },
	{ "/.well-known/acme-challenge/x", "/.well-known/acme-challenge/x" },
	{ "/a;jsessionid=ABC/b;v=1", "/a/b" },
	{ "/search/caf%C3%A9", "/search/caf%C3%A9" },
	{ "/search/caf\xc3\xa9", "/search/caf\xc3\xa9" },
	{ "/search/caf\xe9", "/search/{bytes}" },
	{ "/a\tb/c", "/{bytes}/c" },
	{ "/a/\xc0\xaf/\xed\xa0\x80/\xf4\x90\x80\x80/\xc2\x85", "/a/{bytes}/{bytes}/{bytes}/{bytes}" },
	{ "/../../etc/passwd", "/_/_/etc/passwd" },
	{ "/a/%2e%2E/b", "/a/_/b" },
	{ "/a/..%2f..%2fetc/b", "/a/_/b" },
	{ "/a/./b", "/a/_/b" },
	{ "/a/...", "/a/..." },
	{ "/a..b/c", "/a..b/c" },
	{ "/1/2/3/4/5/6/7/8/9/10", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}" },
	{ "/1/2/3/4/5/6/7/8/9/10/11", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*" },
	{ "/a/b/c/d/e/f/g/h/i/j/", "/a/b/c/d/e/f/g/h/i/j/" },
	{ "http://example.org/users/1?x", "/users/{id}" },
	{ "https://example.org:8443", "/" },
	{ "http://example.org?q=/secret", "/" },
	{ "*", "*" },
	{ "users/1", "(none)" },
	{ "example.org:443", "(none)" },
	{ "://x/y", "(none)" },
	{ "?x", "(none)" },
	{ "", "(none)" },
};

START_TEST(what_varies_by_its_form_becomes_a_variable)
{
	ck_assert_str_eq(route_of(inferred[_i][0]), inferred[_i][1]);
}
END_TEST

START_TEST(the_authority_of_connect_is_no_label)
{
	struct route_path path = route_path_of("example.org:443", 15, true);
	char route[64];

	ck_assert_uint_eq(route_write(route, sizeof(route), path), strlen(ROUTE_AUTHORITY));
	ck_assert_mem_eq(route, ROUTE_AUTHORITY, strlen(ROUTE_AUTHORITY));
}
END_TEST

START_TEST(a_route_longer_than_the_room_ends_in_a_star_and_whole_segments)
{
	char target[600] = "/first";
	char expected[600] = "/first";

	memset(target + 6, 'x', 400);
	target[6] = '/';
	ck_assert_str_eq(route_of(target), strcat(expected, "/*"));
	ck_assert_str_eq(route_in("/abc/def/ghi", 12, 10), "/abc/def/*");
	ck_assert_str_eq(route_in("/abc/def/ghi", 12, 9), "/abc/*");
	ck_assert_str_eq(route_in("/abc/def/ghi", 12, 14), "/abc/def/ghi");
	ck_assert_str_eq(route_in("/abc/def/ghi", 12, 13), "/abc/def/*");
}
END_TEST

START_TEST(any_bytes_make_a_printable_route)
{
	uint32_t random = 1;
	char target[64] = "/";

	for (int i = 0; i < 20000; i++) {
		for (size_t k = 1; k < sizeof(target); k++) {
			random = random * 1664525 + 1013904223;
			target[k] = (char)(random >> 24);
		}
		const char *route = route_in(target, sizeof(target), SEG_ENDPOINT_BYTES);
		for (const char *c = route; *c; c++)
			ck_assert((unsigned char)*c >= 0x20 && *c != 0x7f);
	}
}
END_TEST

START_TEST(templates_come_first_in_their_order)
{
	ck_assert_ptr_null(route_templates_set("/users/me, /users/{name},/static/*,/v/{a}/x/{b},/exact/,"));
	ck_assert_str_eq(route_of("/users/me"), "/users/me");
	ck_assert_str_eq(route_of("/users/jane?x"), "/users/{name}");
	ck_assert_str_eq(route_of("/users/42"), "/users/{name}");
	ck_assert_str_eq(route_of("/users/42/"), "/users/{id}/");
	ck_assert_str_eq(route_of("/users/"), "/users/");
	ck_assert_str_eq(route_of("/users/jane/posts"), "/users/jane/posts");
	ck_assert_str_eq(route_of("/static/"), "/static/*");
	ck_assert_str_eq(route_of("/static/a/b/12"), "/static/*");
	ck_assert_str_eq(route_of("/static"), "/static");
	ck_assert_str_eq(route_of("/staticx/1"), "/staticx/{id}");
	ck_assert_str_eq(route_of("/v/1/x/2"), "/v/{a}/x/{b}");
	ck_assert_str_eq(route_of("/v/1/y/2"), "/v/{id}/y/{id}");
	ck_assert_str_eq(route_of("/exact/"), "/exact/");
	ck_assert_str_eq(route_of("http://h/users/x"), "/users/{name}");
	ck_assert_ptr_null(route_templates_set(NULL));
	ck_assert_str_eq(route_of("/users/jane"), "/users/jane");
}
END_TEST

START_TEST(a_wrong_template_is_told_in_words_and_sets_none)
{
	static const char *const wrong[] = { "users", "/a/{id", "/a/x{id}", "/a/{}", "/a/*/b", "/a*", "/a b", "/a?b", "/ok,nope", "/a\x01", "/{a}{b}" };
	char text[ROUTE_TEMPLATES_BYTES + 1];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(route_templates_set(wrong[i]) != NULL, "%s", wrong[i]);
	ck_assert_str_eq(route_of("/ok/1"), "/ok/{id}");
	memset(text, ',', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	ck_assert_ptr_nonnull(route_templates_set(text));
	size_t n = 0;
	for (int i = 0; i < ROUTE_TEMPLATES_MAX + 1; i++)
		n += (size_t)sprintf(text + n, "/%d,", i);
	ck_assert_ptr_nonnull(route_templates_set(text));
	*strrchr(text, '/') = '\0';
	ck_assert_ptr_null(route_templates_set(text));
	ck_assert_str_eq(route_of("/255"), "/255");
	ck_assert_str_eq(route_of("/256"), "/{id}");
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, what_varies_by_its_form_becomes_a_variable, 0, sizeof(inferred) / sizeof(inferred[0]));
	tcase_add_test(tcase, the_authority_of_connect_is_no_label);
	tcase_add_test(tcase, a_route_longer_than_the_room_ends_in_a_star_and_whole_segments);
	tcase_add_test(tcase, any_bytes_make_a_printable_route);
	tcase_add_test(tcase, templates_come_first_in_their_order);
	tcase_add_test(tcase, a_wrong_template_is_told_in_words_and_sets_none);
}

int main(void)
{
	return check_main("route", add_tests);
}
