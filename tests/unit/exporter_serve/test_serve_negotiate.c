/* What request headers ask for and prove: lists with weights, bearer tokens. */
#include "../../../exporter/serve/negotiate.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>

struct text_case {
	const char *text;
	bool is_wanted;
};

static const struct text_case encodings[] = {
	{ NULL, false },
	{ "", false },
	{ "gzip", true },
	{ "GZIP", true },
	{ "deflate, gzip;q=1.0, *;q=0.5", true },
	{ "x-gzip", true },
	{ "*", true },
	{ "gzip;q=0", false },
	{ "gzip; q=0.000", false },
	{ "gzip;q=0.001", true },
	{ "*;q=0", false },
	{ "*, gzip;q=0", false },
	{ "gzip;q=0, *", false },
	{ "identity", false },
	{ "gzipper", false },
	{ "gzip;q=broken", false },
	{ "gzip;q=1.5", false },
	{ "gzip;q=2", false },
	{ "gzip;q=0.1234", false },
	{ " ,, ,gzip", true },
	{ "br;q=1, gzip ; q=0.5", true },
};

START_TEST(gzip_is_used_exactly_where_the_client_accepts_it)
{
	ck_assert_msg(negotiate_gzip(encodings[_i].text) == encodings[_i].is_wanted, "%s", encodings[_i].text);
}
END_TEST

static const struct text_case accepts[] = {
	{ NULL, false },
	{ "*/*", false },
	{ "text/plain", false },
	{ "application/openmetrics-text", true },
	{ "application/openmetrics-text; version=1.0.0; charset=utf-8", true },
	{ "application/openmetrics-text; version=\"1.0.0\"", true },
	{ "application/openmetrics-text; version=9.0.0", false },
	{ "application/openmetrics-text;q=0", false },
	/* Prometheus 2.x and 3.x as they send it. */
	{ "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
	  "text/plain;version=0.0.4;q=0.3,*/*;q=0.2", true },
	{ "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4,*/*;q=0.1", true },
	{ "application/openmetrics-text;q=0.3, text/plain;q=0.7", false },
	{ "text/plain, application/openmetrics-text", false },
	{ "application/openmetrics-text, */*", true },
	{ "application/openmetrics-text;q=0.5, */*;q=0.8", false },
	{ "application/openmetrics-text;note=\"a,b;q=0\", text/plain;q=0.5", true },
	{ "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", false },
};

START_TEST(openmetrics_is_used_exactly_where_the_client_prefers_it)
{
	ck_assert_msg(negotiate_openmetrics(accepts[_i].text) == accepts[_i].is_wanted, "%s", accepts[_i].text);
}
END_TEST

static const struct text_case tokens[] = {
	{ NULL, false },
	{ "", false },
	{ "Bearer", false },
	{ "Bearer ", false },
	{ "Bearer secret", true },
	{ "bearer   secret", true },
	{ "Bearer secre", false },
	{ "Bearer secrets", false },
	{ "Bearer Secret", false },
	{ "Bearer secret ", false },
	{ "Basic secret", false },
	{ "secret", false },
};

START_TEST(only_the_very_token_passes)
{
	ck_assert_msg(negotiate_token_matches(tokens[_i].text, "secret") == tokens[_i].is_wanted, "%s", tokens[_i].text);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("negotiate");
	TCase *tcase = tcase_create("negotiate");
	SRunner *runner = srunner_create(suite);

	tcase_add_loop_test(tcase, gzip_is_used_exactly_where_the_client_accepts_it, 0, COUNT(encodings));
	tcase_add_loop_test(tcase, openmetrics_is_used_exactly_where_the_client_prefers_it, 0, COUNT(accepts));
	tcase_add_loop_test(tcase, only_the_very_token_passes, 0, COUNT(tokens));
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
