#pragma once
/* route - decides what a request gets, before anything is read, rendered or changed. Pure: request and rules in, decision out.
 * Context: the exporter's threads.
 */
#include "../view.h"
#include "control.h"

enum { ROUTE_PARAMS_MAX = 16 };

struct request_param {
	const char *name, *value;
};

/* As a client sent it, every text ended by a NUL; headers that are absent are NULL. */
struct request {
	const char *method, *path;
	const char *accept, *accept_encoding, *authorization, *host;
	const char *origin, *referer, *fetch_site;
	struct request_param params[ROUTE_PARAMS_MAX];
	uint32_t param_count;
	bool has_large_body;  /* or one that does not say how large it is */
	bool needs_host;      /* HTTP/1.1 does, exactly one (RFC 9112, 3.2); of two, servers differ in which they believe */
	uint32_t host_count;
	bool is_malformed;    /* more parameters than we take, or a NUL within one */
};

struct route_rules {
	const char *token;      /* PROFSHIM_TOKEN; NULL = unset */
	bool is_private;        /* nobody from outside of this machine comes in */
	bool checks_host;       /* see gate.h */
	const struct seg_config *config;
};

struct route {
	unsigned status;         /* 200: view, control or text; else text */
	const struct view *view; /* render it with params */
	struct view_params params; /* borrows from the request */
	enum control control;    /* do it */
	uint32_t hz;             /* of CONTROL_HZ */
	bool is_ready_check;     /* /-/ready: 503 if the session cannot be read */
	const char *allow;       /* value of the Allow header, NULL = none */
	bool asks_token;         /* send WWW-Authenticate */
	enum seg_counter refused; /* counts it, where status is not 200 */
	char text[VIEW_PROBLEM_BYTES + 1]; /* a line with its end */
};

void route_request(struct route *ret_route, const struct route_rules *rules, const struct request *request);

/* Turns the decision into a refusal. */
void route_refuse(struct route *route, enum seg_counter reason, unsigned status, const char *sentence);
