/* Latencies are null where nothing was requested; a quantile above the last bound is given as that bound, and
 * latency_max_bucket_seconds is null then.
 */
#include "view_parts.h"

#include <string.h>

void view_endpoints_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	struct json_writer json = { 0 };

	json_write_begin_array(&json, NULL);
	for (uint32_t i = 0; i < model->endpoint_count; i++) {
		const struct model_endpoint *endpoint = &model->endpoints[i];
		if (!view_endpoint_did_something(endpoint))
			continue;
		if (!params->endpoint || !strcmp(params->endpoint, endpoint->name))
			view_endpoint_json(model, endpoint, &json);
	}
	json_write_end(&json);
	json_write_finish(&json, out);
}
