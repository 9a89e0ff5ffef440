/* Fuzzes what stands behind libmicrohttpd's callback: who is let in, what is asked for, and the answer. Everything that is
 * refused has one sentence, and nothing is changed but by a POST that is allowed in.
 * Input: the first byte the rules; a line "METHOD PATH?QUERY", then lines "name: value".
 */
#include "../../exporter/serve/address.h"
#include "../../exporter/serve/control.h"
#include "../../exporter/serve/gate.h"
#include "../../exporter/serve/negotiate.h"
#include "../../exporter/serve/route.h"
#include "../golden/made_session.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct made_session made;
static struct snapshot *snapshot;
static struct model *model;
static struct names names;

static void need(bool is_so)
{
	if (!is_so)
		abort();
}

static void make(void)
{
	made_init_within(&made, 9 << 20);
	made_read(&made, MADE_SESSION);
	names = made_names(&made);
	snapshot = snapshot_take(&made.seg);
	model = model_build(snapshot, &names);
	need(model != NULL);
}

/* As libmicrohttpd does it. */
static void decode(char *text)
{
	char *to = text;

	for (; *text; text++) {
		char hex[3] = { text[0] == '%' ? text[1] : '\0', text[0] == '%' && text[1] ? text[2] : '\0' };
		char *end;
		long code = strtol(hex, &end, 16);
		if (text[0] == '%' && end == hex + 2) {
			*to++ = (char)code;
			text += 2;
		} else {
			*to++ = *text == '+' ? ' ' : *text;
		}
	}
	*to = '\0';
}

static void take_query(struct request *request, char *query)
{
	char *place = NULL;

	for (char *pair = strtok_r(query, "&", &place); pair; pair = strtok_r(NULL, "&", &place)) {
		char *value = strchr(pair, '=');
		if (value)
			*value++ = '\0';
		decode(pair);
		if (value)
			decode(value);
		if (request->param_count == ROUTE_PARAMS_MAX) {
			request->is_malformed = true;
			return;
		}
		request->params[request->param_count++] = (struct request_param){ pair, value ? value : "" };
	}
}

static void take_header(struct request *request, char *line)
{
	const struct { const char *name; const char **place; } headers[] = {
		{ "accept", &request->accept }, { "accept-encoding", &request->accept_encoding },
		{ "authorization", &request->authorization }, { "host", &request->host }, { "origin", &request->origin },
		{ "referer", &request->referer }, { "sec-fetch-site", &request->fetch_site },
	};
	char *value = strstr(line, ": ");

	if (!value)
		return;
	*value = '\0';
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		if (!strcasecmp(line, headers[i].name))
			*headers[i].place = value + 2;
	request->host_count += !strcasecmp(line, "host");
}

static void check_change(const struct route_rules *rules, const struct request *request, const struct route *route)
{
	char text[CONTROL_TEXT_BYTES];

	need(!strcmp(request->method, "POST") && route->hz <= CONTROL_HZ_MAX);
	need(!rules->token || negotiate_token_matches(request->authorization, rules->token));
	need(rules->token || rules->is_private);
	need(!request->origin || gate_is_same_origin(request->origin, request->host));
	if (route->control != CONTROL_RESET) /* which would leave nothing to be rendered */
		control_do(route->control, route->hz, &made.seg, text);
}

static void answer(const struct route_rules *rules, const struct request *request)
{
	struct strbuf text = STRBUF_EMPTY;
	char problem[VIEW_PROBLEM_BYTES];
	struct route route;

	route_request(&route, rules, request);
	need(strchr(route.text, '\n') == route.text + strlen(route.text) - 1);
	need(route.status == 200 || (!route.view && !route.control && route.status >= 400 && route.status < 600));
	need(route.status != 200 || rules->token || rules->is_private);
	if (route.control)
		check_change(rules, request, &route);
	else if (route.view && !view_params_check(&route.params, model, problem))
		route.view->render(model, &route.params, &text);
	negotiate_gzip(request->accept_encoding);
	strbuf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char *const tokens[] = { NULL, "secret" };
	struct request request = { .method = "GET", .path = "/" };
	char *text = malloc(n + 1), *place = NULL, listen[SEG_TEXT_BYTES];
	struct address address;

	if (!model)
		make();
	uint8_t kind = n ? bytes[0] : 0;
	struct route_rules rules = { .token = tokens[kind & 1], .is_private = kind & 2, .checks_host = kind & 4, .config = &made.seg.head->config };
	memcpy(text, n ? bytes + 1 : bytes, n ? n - 1 : 0);
	text[n ? n - 1 : 0] = '\0';
	request.has_large_body = kind & 8;
	request.needs_host = kind & 16;
	char *line = strtok_r(text, "\n", &place), *path = line ? strchr(line, ' ') : NULL;
	if (path) {
		*path++ = '\0';
		char *query = strchr(path, '?');
		if (query) {
			*query++ = '\0';
			take_query(&request, query);
		}
		decode(path);
		request.method = line;
		request.path = path;
	}
	while ((line = strtok_r(NULL, "\n", &place)))
		take_header(&request, line);
	answer(&rules, &request);
	if (request.host && !address_parse(&address, request.host))
		address_text(&address, listen);
	free(text);
	return 0;
}
