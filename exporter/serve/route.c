#include "route.h"

#include "negotiate.h"

#include <stdio.h>
#include <string.h>

static void refuse(struct route *route, unsigned status, const char *sentence)
{
	route->status = status;
	route->view = NULL;
	snprintf(route->text, sizeof(route->text), "%s\n", sentence);
}

static bool is_allowed_in(struct route *route, const struct route_rules *rules, const struct request *request)
{
	if (rules->token && !negotiate_token_matches(request->authorization, rules->token)) {
		refuse(route, 401, "This address asks for the bearer token of PROFSHIM_TOKEN.");
		route->asks_token = true;
		return false;
	}
	if (rules->checks_host && !negotiate_host_is_loopback(request->host)) {
		refuse(route, 403, "The Host header must name this machine's loopback: localhost, 127.0.0.1 or [::1].");
		return false;
	}
	return true;
}

/* The path of an absolute-form target (RFC 9112, 3.2.2), which proxies and some clients send. */
static const char *path_of(const char *target)
{
	const char *slash;

	if (strncmp(target, "http://", 7))
		return target;
	slash = strchr(target + 7, '/');
	return slash ? slash : "/";
}

static void take_params(struct route *route, const struct route_rules *rules, const struct request *request)
{
	char problem[VIEW_PROBLEM_BYTES];

	view_params_default(&route->params, rules->config);
	if (request->is_malformed) {
		refuse(route, 400, "The query has too many parameters, or one with a NUL in it.");
		return;
	}
	for (uint32_t i = 0; i < request->param_count; i++) {
		const struct request_param *param = &request->params[i];
		if (view_params_set(&route->params, param->name, param->value, problem)) {
			refuse(route, 400, problem);
			return;
		}
	}
	route->params.is_openmetrics = negotiate_openmetrics(request->accept);
}

/* The checks of health are no views, hence view_params_set does not know that they take nothing. */
static void refuse_params(struct route *route, const struct request *request)
{
	struct strbuf sentence = STRBUF_EMPTY;

	strbuf_add(&sentence, "Parameter ");
	strbuf_add_clean(&sentence, request->param_count ? request->params[0].name : "");
	strbuf_add(&sentence, ": this path takes no parameters.");
	refuse(route, 400, strbuf_text(&sentence));
	strbuf_free(&sentence);
}

void route_request(struct route *ret_route, const struct route_rules *rules, const struct request *request)
{
	const char *path = path_of(request->path);
	bool is_healthy = !strcmp(path, "/-/healthy"), is_ready = !strcmp(path, "/-/ready");
	bool is_reading = !strcmp(request->method, "GET") || !strcmp(request->method, "HEAD");

	*ret_route = (struct route){ .status = 200, .view = view_find(path), .is_ready_check = is_ready };
	if (!is_allowed_in(ret_route, rules, request))
		return;
	if (!ret_route->view && !is_healthy && !is_ready) {
		refuse(ret_route, 404, "There is nothing at this path; / lists what there is.");
		return;
	}
	if (!is_reading) {
		refuse(ret_route, 405, "This path can only be read: GET or HEAD.");
		ret_route->allow = "GET, HEAD";
		return;
	}
	if (ret_route->view)
		take_params(ret_route, rules, request);
	else if (request->param_count || request->is_malformed)
		refuse_params(ret_route, request);
	else
		snprintf(ret_route->text, sizeof(ret_route->text), is_ready ? "ready\n" : "healthy\n");
}
