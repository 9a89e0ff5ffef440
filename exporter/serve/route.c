/* A request is looked at in this order: may it come in (gate.h), is there anything at its path, may that be done by its
 * method, does it bring a body that is too large, does it come from a page of another site, are its parameters good.
 */
#include "route.h"

#include "gate.h"
#include "negotiate.h"

#include <stdio.h>
#include <string.h>

void route_refuse(struct route *route, enum seg_counter reason, unsigned status, const char *sentence)
{
	route->status = status;
	route->refused = reason;
	route->view = NULL;
	route->control = CONTROL_NONE;
	snprintf(route->text, sizeof(route->text), "%s\n", sentence);
}

static bool is_allowed_in(struct route *route, const struct route_rules *rules, const struct request *request)
{
	switch (gate_check(rules, request, route->control != CONTROL_NONE)) {
	case GATE_OPEN:
		return true;
	case GATE_HOST:
		route_refuse(route, SEG_COUNTER_HTTP_HOST, 421, "The Host header must be localhost or a numeric address.");
		break;
	case GATE_TOKEN:
		route_refuse(route, SEG_COUNTER_HTTP_TOKEN, 401, "The bearer token of PROFSHIM_TOKEN is asked for here.");
		break;
	case GATE_TOKEN_UNSET:
		route_refuse(route, SEG_COUNTER_HTTP_TOKEN, 401,
		             "This address can be reached from other machines, so a bearer token is asked for, and PROFSHIM_TOKEN is not set.");
		break;
	case GATE_CROSS_SITE:
		route_refuse(route, SEG_COUNTER_HTTP_CROSS_SITE, 403, "A page of another site may not change anything here.");
		break;
	}
	route->asks_token = route->status == 401;
	return false;
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

static void refuse_param(struct route *route, const char *name, const char *what)
{
	char shown[VIEW_SHOWN_BYTES], sentence[VIEW_PROBLEM_BYTES];

	view_shorten(shown, name);
	snprintf(sentence, sizeof(sentence), "Parameter %s%s", shown, what);
	route_refuse(route, SEG_COUNTER_HTTP_PARAMETER, 400, sentence);
}

/* False: refused. */
static bool are_params_sound(struct route *route, const struct request *request)
{
	if (request->is_malformed) {
		route_refuse(route, SEG_COUNTER_HTTP_PARAMETER, 400, "The query has too many parameters, or one with a NUL in it.");
		return false;
	}
	for (uint32_t i = 0; i < request->param_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(request->params[i].name, request->params[j].name)) {
				refuse_param(route, request->params[i].name, " is given twice.");
				return false;
			}
	return true;
}

static void take_view_params(struct route *route, const struct route_rules *rules, const struct request *request)
{
	char problem[VIEW_PROBLEM_BYTES];

	view_params_default(&route->params, rules->config);
	for (uint32_t i = 0; i < request->param_count; i++) {
		const struct request_param *param = &request->params[i];
		if (view_params_set(&route->params, param->name, param->value, problem)) {
			route_refuse(route, SEG_COUNTER_HTTP_PARAMETER, 400, problem);
			return;
		}
	}
	route->params.is_openmetrics = negotiate_openmetrics(request->accept);
}

static bool parse_hz(const char *value, uint32_t *ret_hz)
{
	size_t digits = strspn(value, "0123456789");
	uint32_t hz = 0;

	if (!digits || value[digits] || digits > 5)
		return false;
	for (const char *digit = value; *digit; digit++)
		hz = hz * 10 + (uint32_t)(*digit - '0');
	if (hz > CONTROL_HZ_MAX)
		return false;
	*ret_hz = hz;
	return true;
}

static void take_hz(struct route *route, const struct request *request)
{
	static const char accepted[] = " must be a number of samples per second, 0 (none) to 10000.";
	bool has_value = false;

	for (uint32_t i = 0; i < request->param_count; i++) {
		const struct request_param *param = &request->params[i];
		has_value |= !strcmp(param->name, "value");
		if (strcmp(param->name, "value")) {
			refuse_param(route, param->name, " is not known; known is value.");
			return;
		}
		if (!parse_hz(param->value, &route->hz)) {
			refuse_param(route, "value", accepted);
			return;
		}
	}
	if (!has_value)
		refuse_param(route, "value", " is missing: it is a number of samples per second, 0 (none) to 10000.");
}

static void take_params(struct route *route, const struct route_rules *rules, const struct request *request)
{
	if (!are_params_sound(route, request))
		return;
	if (route->view)
		take_view_params(route, rules, request);
	else if (route->control == CONTROL_HZ)
		take_hz(route, request);
	else if (request->param_count)
		refuse_param(route, request->params[0].name, ": this path takes no parameters.");
}

static bool is_method_fine(struct route *route, const char *method)
{
	if (route->control != CONTROL_NONE) {
		route->allow = "POST";
		if (!strcmp(method, "POST"))
			return true;
		route_refuse(route, SEG_COUNTER_HTTP_METHOD, 405, "This path changes something: POST.");
		return false;
	}
	route->allow = "GET, HEAD";
	if (!strcmp(method, "GET") || !strcmp(method, "HEAD"))
		return true;
	route_refuse(route, SEG_COUNTER_HTTP_METHOD, 405, "This path can only be read: GET or HEAD.");
	return false;
}

static void decide(struct route *route, const struct route_rules *rules, const struct request *request, bool is_healthy)
{
	if (!is_allowed_in(route, rules, request))
		return;
	if (request->host_count > 1 || (request->needs_host && !request->host_count))
		route_refuse(route, SEG_COUNTER_HTTP_MALFORMED, 400, "There must be one Host header.");
	else if (!route->view && !route->control && !is_healthy && !route->is_ready_check)
		route_refuse(route, SEG_COUNTER_HTTP_NOT_FOUND, 404, "There is nothing at this path; / lists what there is.");
	else if (request->has_large_body)
		route_refuse(route, SEG_COUNTER_HTTP_BODY, 413, "No path takes a body of this size.");
	else if (is_method_fine(route, request->method))
		take_params(route, rules, request);
}

void route_request(struct route *ret_route, const struct route_rules *rules, const struct request *request)
{
	const char *path = path_of(request->path);
	bool is_healthy = !strcmp(path, "/-/healthy"), is_ready = !strcmp(path, "/-/ready");

	*ret_route = (struct route){ .status = 200, .view = view_find(path), .control = control_find(path), .is_ready_check = is_ready };
	snprintf(ret_route->text, sizeof(ret_route->text), is_ready ? "ready\n" : "healthy\n");
	decide(ret_route, rules, request, is_healthy);
	if (ret_route->status != 405)
		ret_route->allow = NULL;
}
