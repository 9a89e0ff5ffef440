/* TLS that is not opened is told as in traffic.c: by a server that has something to say after its client's second message.
 * Here records are only looked at where a call begins, as nearly all do: it is the kind of blindness that is counted, once,
 * and a connection that says anything at all gets there.
 */
#include "traffic_sql.h"

enum { TLS_HANDSHAKE = 22, TLS_APPLICATION_DATA = 23 }; /* RFC 8446 clause 5.1 */

/* Which one it is does not matter, only that it does not follow the traffic. */
bool traffic_sql_draw(struct traffic_call *call)
{
	uint64_t number = (call->now_ns + ++call->commands) * 0x9e3779b97f4a7c15ULL;

	return (number >> 32) * call->commands >> 32 == 0;
}

bool traffic_sql_is_closed(struct conn *conn, struct traffic_sql_tls *tls)
{
	if (tls->is_begun && conn->is_tls)
		*tls = (struct traffic_sql_tls){ 0 };
	return tls->is_begun;
}

void traffic_sql_closed_asked(struct traffic_sql_tls *tls, const char *bytes)
{
	tls->has_asked |= *bytes != TLS_HANDSHAKE;
}

static void is_blind(struct conn *conn)
{
	thread_count(SEG_COUNTER_BLIND_TLS);
	traffic_settle(conn, SEG_PROTOCOL_TLS);
}

void traffic_sql_closed_answered(struct conn *conn, const struct traffic_sql_tls *tls, const char *bytes)
{
	if (!conn->is_settled && tls->has_asked && *bytes == TLS_APPLICATION_DATA)
		is_blind(conn);
}

void traffic_sql_closed_end(struct conn *conn, const struct traffic_sql_tls *tls)
{
	if (!conn->is_settled && tls->has_asked)
		is_blind(conn);
	traffic_settle(conn, SEG_PROTOCOL_TLS);
}
