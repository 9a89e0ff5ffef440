/* Who is let in, and what a request gets: decisions, without a socket. */
#include "../../../exporter/serve/gate.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct text_case {
	const char *text;
	bool is_wanted;
};

static const struct text_case hosts[] = {
	{ NULL, true },
	{ "localhost", true },
	{ "LocalHost:9464", true },
	{ "127.0.0.1", true },
	{ "127.0.0.1:9464", true },
	{ "127.1.2.3:80", true },
	{ "10.0.0.1", true },
	{ "10.0.0.1:", true },
	{ "[::1]", true },
	{ "[::1]:9464", true },
	{ "[2001:db8::2]:9464", true },
	{ "", false },
	{ "example.com", false },
	{ "localhost.example.com", false },
	{ "127.0.0.1.example.com:9464", false },
	{ "127.0.0.1:80:80", false },
	{ "127.0.0.1:80.example.com", false },
	{ "127.1", false },
	{ "0x7f000001", false },
	{ "[::1", false },
	{ "[::1]x", false },
	{ "[127.0.0.1]", false },
	{ "::1", false },
	{ "[]", false },
	{ "[", false },
	{ ":9464", false },
	{ " localhost", false },
	{ "localhost@example.com", false },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
};

START_TEST(only_numbers_and_localhost_pass_as_host)
{
	ck_assert_msg(gate_host_is_safe(hosts[_i].text) == hosts[_i].is_wanted, "%s", hosts[_i].text);
}
END_TEST

static const struct {
	const char *value, *host;
	bool is_wanted;
} origins[] = {
	{ "http://localhost:9464", "localhost:9464", true },
	{ "https://localhost:9464", "localhost:9464", true },
	{ "http://LOCALHOST:9464/page?x=1", "localhost:9464", true },
	{ "http://localhost", "localhost", true },
	{ "http://[::1]:9464", "[::1]:9464", true },
	{ "http://localhost:94640", "localhost:9464", false },
	{ "http://localhost:8080", "localhost:9464", false },
	{ "http://localhost:9464.example.com", "localhost:9464", false },
	{ "http://localhost:9464@example.com", "localhost:9464", false },
	{ "http://example.com/localhost:9464", "localhost:9464", false },
	{ "http://example.com/?://localhost:9464", "localhost:9464", false },
	{ "ftp://localhost:9464", "localhost:9464", false },
	{ "null", "localhost:9464", false },
	{ "", "localhost:9464", false },
	{ "http://", "", false },
	{ "http://localhost", NULL, false },
};

START_TEST(only_the_very_host_is_the_same_origin)
{
	ck_assert_msg(gate_is_same_origin(origins[_i].value, origins[_i].host) == origins[_i].is_wanted, "%s", origins[_i].value);
}
END_TEST

/* decisions */

static struct seg_config config;
static const struct route_rules on_loopback = { .is_private = true, .checks_host = true, .config = &config };
static const struct route_rules on_loopback_with_token = { .token = "secret", .is_private = true, .checks_host = true, .config = &config };
static const struct route_rules open_to_others = { .config = &config };
static const struct route_rules open_with_token = { .token = "secret", .config = &config };
static const struct route_rules on_unix_socket = { .is_private = true, .config = &config };

static struct route route;

static unsigned status_of(const struct route_rules *rules, struct request request)
{
	if (!request.method)
		request.method = "GET";
	if (!request.path)
		request.path = "/report";
	route_request(&route, rules, &request);
	/* Whatever is refused says why, in one line, and is counted. */
	if (route.status != 200) {
		ck_assert_ptr_null(route.view);
		ck_assert_int_eq(route.control, CONTROL_NONE);
		ck_assert_ptr_eq(strchr(route.text, '\n'), route.text + strlen(route.text) - 1);
		ck_assert_int_ge(route.refused, SEG_COUNTER_HTTP_HOST);
		ck_assert_int_le(route.refused, SEG_COUNTER_HTTP_BUSY);
	}
	return route.status;
}

#define STATUS(rules, ...) status_of(&(rules), (struct request){ __VA_ARGS__ })
#define ASSERT_STATUS(status, rules, ...) ck_assert_uint_eq(STATUS(rules, __VA_ARGS__), (status))
#define RESET .method = "POST", .path = "/control/reset"

START_TEST(the_token_is_asked_for_where_others_come_in)
{
	ASSERT_STATUS(401, open_with_token);
	ck_assert(route.asks_token);
	ck_assert_int_eq(route.refused, SEG_COUNTER_HTTP_TOKEN);
	ASSERT_STATUS(401, open_with_token, .authorization = "Bearer wrong");
	ASSERT_STATUS(401, open_with_token, .path = "/-/healthy");
	ASSERT_STATUS(401, open_with_token, .path = "/nothing");
	ASSERT_STATUS(200, open_with_token, .authorization = "Bearer secret");
	ASSERT_STATUS(200, open_with_token, .authorization = "Bearer secret", .host = "example.com:9464");
	ASSERT_STATUS(200, open_with_token, .authorization = "Bearer secret", RESET);
}
END_TEST

START_TEST(without_a_token_to_ask_for_others_get_nothing)
{
	ASSERT_STATUS(401, open_to_others);
	ASSERT_STATUS(401, open_to_others, .authorization = "Bearer ");
	ASSERT_STATUS(401, open_to_others, .authorization = "Bearer", RESET);
	ck_assert_ptr_nonnull(strstr(route.text, "PROFSHIM_TOKEN is not set"));
}
END_TEST

START_TEST(on_loopback_the_token_is_asked_for_to_change_something)
{
	ASSERT_STATUS(200, on_loopback_with_token);
	ASSERT_STATUS(401, on_loopback_with_token, RESET);
	ASSERT_STATUS(200, on_loopback_with_token, .authorization = "Bearer secret", RESET);
	ASSERT_STATUS(200, on_loopback, RESET);
	ASSERT_STATUS(200, on_unix_socket, RESET);
}
END_TEST

START_TEST(another_host_is_refused_on_loopback)
{
	ASSERT_STATUS(421, on_loopback, .host = "evil.example:9464");
	ck_assert_int_eq(route.refused, SEG_COUNTER_HTTP_HOST);
	ASSERT_STATUS(421, on_loopback, .host = "evil.example", .path = "/nothing");
	ASSERT_STATUS(421, on_loopback, .host = "evil.example", RESET);
	ASSERT_STATUS(200, on_loopback, .host = "localhost:9464");
	ASSERT_STATUS(200, on_unix_socket, .host = "anything");
}
END_TEST

START_TEST(there_must_be_one_host)
{
	ASSERT_STATUS(400, on_loopback, .host = "localhost", .host_count = 2);
	ck_assert_int_eq(route.refused, SEG_COUNTER_HTTP_MALFORMED);
	ASSERT_STATUS(400, on_loopback, .needs_host = true);
	ASSERT_STATUS(200, on_loopback, .needs_host = true, .host = "localhost", .host_count = 1);
	ASSERT_STATUS(200, on_loopback); /* of HTTP/1.0 */
}
END_TEST

#define CHANGE .method = "POST", .path = "/control/disable", .host = "localhost:9464"

START_TEST(a_page_of_another_site_changes_nothing)
{
	ASSERT_STATUS(200, on_loopback, CHANGE);
	ASSERT_STATUS(200, on_loopback, CHANGE, .origin = "http://localhost:9464");
	ASSERT_STATUS(200, on_loopback, CHANGE, .fetch_site = "same-origin");
	ASSERT_STATUS(200, on_loopback, CHANGE, .fetch_site = "none");
	ASSERT_STATUS(200, on_loopback, CHANGE, .referer = "http://localhost:9464/");
	ASSERT_STATUS(403, on_loopback, CHANGE, .origin = "http://evil.example");
	ck_assert_int_eq(route.refused, SEG_COUNTER_HTTP_CROSS_SITE);
	ASSERT_STATUS(403, on_loopback, CHANGE, .origin = "null");
	ASSERT_STATUS(403, on_loopback, CHANGE, .origin = "http://localhost:8080");
	ASSERT_STATUS(403, on_loopback, CHANGE, .origin = "http://evil.example", .fetch_site = "same-origin");
	ASSERT_STATUS(403, on_loopback, CHANGE, .fetch_site = "cross-site");
	ASSERT_STATUS(403, on_loopback, CHANGE, .fetch_site = "same-site");
	ASSERT_STATUS(403, on_loopback, CHANGE, .referer = "http://evil.example/localhost:9464");
	ASSERT_STATUS(403, on_loopback_with_token, CHANGE, .origin = "http://evil.example", .authorization = "Bearer secret");
}
END_TEST

START_TEST(a_page_of_another_site_may_link_to_what_is_only_read)
{
	ASSERT_STATUS(200, on_loopback, .host = "localhost:9464", .fetch_site = "cross-site", .referer = "http://grafana.example/");
}
END_TEST

START_TEST(what_changes_something_is_posted_and_what_does_not_is_not)
{
	static const char *const controls[] = { "/control/enable", "/control/disable", "/control/reset", "/control/hz" };

	for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
		ASSERT_STATUS(405, on_loopback, .path = controls[i]);
		ck_assert_str_eq(route.allow, "POST");
		ASSERT_STATUS(405, on_loopback, .method = "HEAD", .path = controls[i]);
		ASSERT_STATUS(405, on_loopback, .method = "post", .path = controls[i]);
		ASSERT_STATUS(405, on_loopback, .method = "OPTIONS", .path = controls[i]);
	}
	ASSERT_STATUS(405, on_loopback, .method = "POST");
	ck_assert_str_eq(route.allow, "GET, HEAD");
	ASSERT_STATUS(404, on_loopback, .method = "POST", .path = "/control/");
	ASSERT_STATUS(404, on_loopback, .method = "POST", .path = "/control/hz/");
	ASSERT_STATUS(404, on_loopback, .method = "POST", .path = "/Control/reset");
}
END_TEST

START_TEST(a_large_body_is_refused)
{
	ASSERT_STATUS(413, on_loopback, RESET, .has_large_body = true);
	ASSERT_STATUS(413, on_loopback, .has_large_body = true);
	ASSERT_STATUS(421, on_loopback, .host = "evil.example", .has_large_body = true);
	ASSERT_STATUS(404, on_loopback, .path = "/nothing", .has_large_body = true);
}
END_TEST

#define HZ .method = "POST", .path = "/control/hz"
#define PARAM(name, value) .params = { { name, value } }, .param_count = 1

START_TEST(the_rate_is_a_number_from_0_to_10000)
{
	static const char *const good[] = { "0", "1", "99", "10000", "00099" };
	static const char *const bad[] = { "", "10001", "-1", "+1", "1e3", "99.5", " 99", "99 ", "0x10", "99999999999999999999", "000000099" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ASSERT_STATUS(200, on_loopback, HZ, PARAM("value", good[i]));
		ck_assert_uint_eq(route.hz, strtoul(good[i], NULL, 10));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ASSERT_STATUS(400, on_loopback, HZ, PARAM("value", bad[i]));
		ck_assert_ptr_nonnull(strstr(route.text, "value"));
	}
	ASSERT_STATUS(400, on_loopback, HZ);
	ck_assert_str_eq(route.text, "Parameter value is missing: it is a number of samples per second, 0 (none) to 10000.\n");
	ASSERT_STATUS(400, on_loopback, HZ, PARAM("hz", "99"));
	ck_assert_str_eq(route.text, "Parameter hz is not known; known is value.\n");
}
END_TEST

START_TEST(a_parameter_that_is_refused_is_named)
{
	static char longer[5000];

	ASSERT_STATUS(400, on_loopback, RESET, PARAM("value", "1"));
	ck_assert_str_eq(route.text, "Parameter value: this path takes no parameters.\n");
	ASSERT_STATUS(400, on_loopback, .params = { { "top", "1" }, { "sort", "name" }, { "top", "2" } }, .param_count = 3);
	ck_assert_str_eq(route.text, "Parameter top is given twice.\n");
	memset(longer, 'x', sizeof(longer) - 1);
	ASSERT_STATUS(400, on_loopback, RESET, PARAM(longer, "1"));
	ck_assert_uint_lt(strlen(route.text), 128);
	ASSERT_STATUS(400, on_loopback, .path = "/-/ready", PARAM("\x1b[31m\n", "1"));
	ck_assert_ptr_null(strchr(route.text, '\x1b'));
	ASSERT_STATUS(400, on_loopback, .is_malformed = true);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("route");
	TCase *tcase = tcase_create("route");
	SRunner *runner = srunner_create(suite);

	tcase_add_loop_test(tcase, only_numbers_and_localhost_pass_as_host, 0, COUNT(hosts));
	tcase_add_loop_test(tcase, only_the_very_host_is_the_same_origin, 0, COUNT(origins));
	tcase_add_test(tcase, the_token_is_asked_for_where_others_come_in);
	tcase_add_test(tcase, without_a_token_to_ask_for_others_get_nothing);
	tcase_add_test(tcase, on_loopback_the_token_is_asked_for_to_change_something);
	tcase_add_test(tcase, another_host_is_refused_on_loopback);
	tcase_add_test(tcase, there_must_be_one_host);
	tcase_add_test(tcase, a_page_of_another_site_changes_nothing);
	tcase_add_test(tcase, a_page_of_another_site_may_link_to_what_is_only_read);
	tcase_add_test(tcase, what_changes_something_is_posted_and_what_does_not_is_not);
	tcase_add_test(tcase, a_large_body_is_refused);
	tcase_add_test(tcase, the_rate_is_a_number_from_0_to_10000);
	tcase_add_test(tcase, a_parameter_that_is_refused_is_named);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
