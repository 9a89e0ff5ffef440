#pragma once
/* negotiate - what a client's request headers ask for and prove. Pure functions of header texts.
 * Context: the exporter's threads. Every text may be NULL (header absent) or any bytes a client sends.
 */
#include <stdbool.h>

/* Accept-Encoding allows gzip (RFC 9110, 12.5.3); absent: no. */
bool negotiate_gzip(const char *accept_encoding);

/* Accept prefers OpenMetrics 1.0 to the plain Prometheus text (RFC 9110, 12.5.1); absent: no. Only a client that names
 * application/openmetrics-text gets it, wildcards mean the plain text. */
bool negotiate_openmetrics(const char *accept);

/* Authorization is "Bearer TOKEN" with this token; takes as long for a wrong one as for the right one. */
bool negotiate_token_matches(const char *authorization, const char *token);
