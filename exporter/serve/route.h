#pragma once
/* route - decides what a request gets, before anything is read or rendered. Pure: request and rules in, decision out.
 * Context: the exporter's threads.
 */
#include "../view.h"

enum { ROUTE_PARAMS_MAX = 16 };

struct request_param {
	const char *name, *value;
};

/* As a client sent it, every text ended by a NUL; headers that are absent are NULL. */
struct request {
	const char *method, *path;
	const char *accept, *accept_encoding, *authorization, *host;
	struct request_param params[ROUTE_PARAMS_MAX];
	uint32_t param_count;
	bool is_malformed; /* more parameters than we take, or a NUL within one */
};

struct route_rules {
	const char *token;      /* asked of every request; NULL = none is */
	bool checks_host;       /* served on a loopback address: browsers must not be led there under another name */
	const struct seg_config *config;
};

struct route {
	unsigned status;         /* 200: render view with params, or, if that is NULL, send text; else send text */
	const struct view *view;
	struct view_params params; /* borrows from the request */
	bool is_ready_check;     /* /-/ready: 503 if the session cannot be read */
	const char *allow;       /* value of the Allow header, NULL = none */
	bool asks_token;         /* send WWW-Authenticate */
	char text[VIEW_PROBLEM_BYTES + 1]; /* a line with its end */
};

void route_request(struct route *ret_route, const struct route_rules *rules, const struct request *request);
