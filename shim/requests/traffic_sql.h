#pragma once
/* traffic_sql - what the traffic of the two databases has in common.
 * Context: call. Needs the connection's lock.
 */
#include "traffic.h"

extern const struct traffic_protocol traffic_postgres; /* its client begins with a zero byte */
extern const struct traffic_protocol traffic_mysql;    /* its server speaks first: mysql_greets */

/* True: of the requests received in this call the new one is to stand for all, the n-th with a chance of 1 in n. */
bool traffic_sql_draw(struct traffic_call *call);

/* A connection that agreed on TLS in its own words, and whose TLS library did not show us what it says, or not yet. */
struct traffic_sql_tls {
	bool is_begun;  /* records passed */
	bool has_asked; /* the client's second message, or a later one, passed */
};

/* True: what passes cannot be read. Once the library shows it, that is over. */
bool traffic_sql_is_closed(struct conn *conn, struct traffic_sql_tls *tls);

/* A call passed bytes of such a connection; n > 0. */
void traffic_sql_closed_asked(struct traffic_sql_tls *tls, const char *bytes);
void traffic_sql_closed_answered(struct conn *conn, const struct traffic_sql_tls *tls, const char *bytes);

/* It ends. */
void traffic_sql_closed_end(struct conn *conn, const struct traffic_sql_tls *tls);
