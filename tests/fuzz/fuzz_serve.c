/* Fuzzes what a client's bytes go through: the head of a request, who is let in, what is asked for, and the answer. A head is
 * found as well byte by byte. Everything that is refused has one sentence, and nothing is changed but by a POST that is
 * allowed in.
 * Input: the first byte the rules; then what a client sends.
 */
#include "../../exporter/serve/address.h"
#include "../../exporter/serve/control.h"
#include "../../exporter/serve/gate.h"
#include "../../exporter/serve/message.h"
#include "../../exporter/serve/negotiate.h"
#include "../../exporter/serve/route.h"
#include "../golden/made_session.h"

#include <stdlib.h>
#include <string.h>

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

/* All that was taken out of the head lies within it, and ends there. */
static void check_text(const char *head, size_t bytes, const char *text)
{
	need(!text || (text >= head && text < head + bytes && memchr(text, '\0', (size_t)(head + bytes - text))));
}

static void check_message(const char *head, size_t bytes, const struct message *message)
{
	const struct request *request = &message->request;

	need(request->method && *request->method && request->path && request->param_count <= ROUTE_PARAMS_MAX);
	check_text(head, bytes, request->method);
	check_text(head, bytes, request->path);
	check_text(head, bytes, request->accept);
	check_text(head, bytes, request->accept_encoding);
	check_text(head, bytes, request->authorization);
	check_text(head, bytes, request->host);
	check_text(head, bytes, request->origin);
	check_text(head, bytes, request->referer);
	check_text(head, bytes, request->fetch_site);
	need(!request->host == !request->host_count);
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

static size_t head_bytes_by_bytes(const char *text, size_t n)
{
	size_t head_bytes = 0;

	for (size_t seen = 0; seen < n && !head_bytes; seen++)
		head_bytes = message_head_bytes(text, seen + 1, seen);
	return head_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char *const tokens[] = { NULL, "secret" };
	struct message message;
	struct address address;
	char listen[SEG_TEXT_BYTES];

	if (!model)
		make();
	if (!n)
		return 0;
	uint8_t kind = bytes[0];
	struct route_rules rules = { .token = tokens[kind & 1], .is_private = kind & 2, .checks_host = kind & 4, .config = &made.seg.head->config };
	size_t head_bytes = message_head_bytes((const char *)bytes + 1, n - 1, 0);
	need(head_bytes_by_bytes((const char *)bytes + 1, n - 1) == head_bytes);
	if (!head_bytes)
		return 0;
	char *head = malloc(head_bytes); /* as much and no more, for the sanitizer to see what lies beyond */
	memcpy(head, bytes + 1, head_bytes);
	if (message_parse(&message, head, head_bytes) == MESSAGE_WHOLE) {
		check_message(head, head_bytes, &message);
		message.request.has_large_body = message.is_coded || message.body_bytes;
		answer(&rules, &message.request);
		if (message.request.host && !address_parse(&address, message.request.host))
			address_text(&address, listen);
	}
	free(head);
	return 0;
}
