#include "view.h"

#include "view_parts.h"

#include <stdio.h>
#include <string.h>

enum {
	TOP_MAX = 1000000,
	SECONDS_MAX = 3600, /* an hour: longer than any client waits */
	SHOWN_MAX = VIEW_SHOWN_BYTES - 4,
};

const char *const view_sort_names[] = {
	[SEG_SORT_TOTTIME] = "tottime",
	[SEG_SORT_CUMTIME] = "cumtime",
	[SEG_SORT_NCALLS] = "ncalls",
	[SEG_SORT_NAME] = "name",
};
const char *const view_by_names[] = {
	[MODEL_BY_FUNCTION] = "function",
	[MODEL_BY_LINE] = "line",
	[MODEL_BY_MODULE] = "module",
};

void view_params_default(struct view_params *ret_params, const struct seg_config *config)
{
	*ret_params = (struct view_params){
		.top = config->top,
		.sort = config->sort <= SEG_SORT_NAME ? (enum seg_sort)config->sort : SEG_SORT_TOTTIME,
	};
}

void view_shorten(char ret_text[static VIEW_SHOWN_BYTES], const char *value)
{
	struct strbuf clean = STRBUF_EMPTY;

	strbuf_add_clean(&clean, value);
	size_t n = clean.length;
	if (n > SHOWN_MAX)
		for (n = SHOWN_MAX; n && ((unsigned char)clean.text[n] & 0xc0) == 0x80; n--)
			; /* not within a character */
	memcpy(ret_text, strbuf_text(&clean), n);
	strcpy(ret_text + n, n < clean.length ? "..." : "");
	strbuf_free(&clean);
}

static const char *refuse(char problem[static VIEW_PROBLEM_BYTES], const char *name, const char *value,
                          const char *accepted)
{
	char shown[VIEW_SHOWN_BYTES];

	view_shorten(shown, value);
	snprintf(problem, VIEW_PROBLEM_BYTES, "Parameter %s: \"%s\" is not accepted; give %s.", name, shown, accepted);
	return problem;
}

static bool number_read(uint32_t *ret_number, const char *value, uint32_t max)
{
	uint64_t n = 0;

	if (!*value)
		return false;
	for (; *value; value++) {
		if (*value < '0' || *value > '9')
			return false;
		n = n * 10 + (uint64_t)(*value - '0');
		if (n > max)
			return false;
	}
	*ret_number = (uint32_t)n;
	return true;
}

static bool word_read(unsigned *ret_index, const char *value, const char *const *words, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!strcmp(value, words[i])) {
			*ret_index = i;
			return true;
		}
	return false;
}

const char *view_params_set(struct view_params *params, const char *name, const char *value,
                            char problem[static VIEW_PROBLEM_BYTES])
{
	static const char *const formats[] = { "text", "json" };
	char shown[VIEW_SHOWN_BYTES];
	unsigned index;

	if (!strcmp(name, "top")) {
		if (!number_read(&params->top, value, TOP_MAX))
			return refuse(problem, name, value, "a number of rows, 0 (all) to 1000000");
	} else if (!strcmp(name, "seconds")) {
		if (!number_read(&params->seconds, value, SECONDS_MAX))
			return refuse(problem, name, value, "a number of seconds to wait, 0 (do not wait) to 3600");
	} else if (!strcmp(name, "sort")) {
		if (!word_read(&index, value, view_sort_names, VIEW_SORTS))
			return refuse(problem, name, value, "tottime, cumtime, ncalls or name");
		params->sort = index;
	} else if (!strcmp(name, "by")) {
		if (!word_read(&index, value, view_by_names, VIEW_BYS))
			return refuse(problem, name, value, "function, line or module");
		params->by = index;
	} else if (!strcmp(name, "format")) {
		if (!word_read(&index, value, formats, 2))
			return refuse(problem, name, value, "text or json");
		params->is_json = index == 1;
	} else if (!strcmp(name, "endpoint")) {
		if (!*value)
			return refuse(problem, name, value,
			              "an endpoint as the report names it, such as GET /users/{id}");
		params->endpoint = value;
	} else {
		view_shorten(shown, name);
		snprintf(problem, VIEW_PROBLEM_BYTES,
		         "Parameter %s is not known; known are top, sort, by, endpoint, seconds and format.", shown);
		return problem;
	}
	return NULL;
}

const char *view_params_check(const struct view_params *params, const struct model *model,
                              char problem[static VIEW_PROBLEM_BYTES])
{
	char shown[VIEW_SHOWN_BYTES];

	if (!params->endpoint || model_has_endpoint(model, params->endpoint))
		return NULL;
	view_shorten(shown, params->endpoint);
	snprintf(problem, VIEW_PROBLEM_BYTES,
	         "Parameter endpoint: this session knows no endpoint \"%s\"; give one of those that the report lists.",
	         shown);
	return problem;
}

static const char *type_html(const struct view_params *params)
{
	(void)params;
	return "text/html; charset=utf-8";
}

static const char *type_text(const struct view_params *params)
{
	(void)params;
	return "text/plain; charset=utf-8";
}

static const char *type_json(const struct view_params *params)
{
	(void)params;
	return "application/json";
}

static const char *type_report(const struct view_params *params)
{
	return params->is_json ? type_json(params) : type_text(params);
}

static const char *type_metrics(const struct view_params *params)
{
	return params->is_openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
	                              : "text/plain; version=0.0.4; charset=utf-8";
}

const struct view views[] = {
	{ "/", "this list", type_html, view_index_render },
	{ "/metrics", "Prometheus text, or OpenMetrics by the Accept header", type_metrics, view_metrics_render },
	{ "/report", "the profile as a table: top, sort, endpoint, by=function|line|module, seconds, format=text|json",
	  type_report, view_report_render },
	{ "/folded", "stacks as collapsed text for flame graphs: endpoint, seconds", type_text, view_folded_render },
	{ "/requests/slow", "the slowest requests of each endpoint, with their stacks: endpoint, seconds, JSON", type_json,
	  view_slow_render },
	{ "/requests/active", "what waits for an answer now: endpoint, JSON", type_json, view_active_render },
	{ "/endpoints", "requests, latency and CPU of each endpoint, JSON", type_json, view_endpoints_render },
	{ "/connections", "what is open now, JSON", type_json, view_connections_render },
	{ "/self", "profshim's own cost, drops, memory, processes and configuration, JSON", type_json, view_self_render },
	{ 0 },
};

const struct view *view_find(const char *path)
{
	for (const struct view *view = views; view->path; view++)
		if (!strcmp(view->path, path))
			return view;
	return NULL;
}
