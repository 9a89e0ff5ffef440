#pragma once
/* postgres - the frontend/backend protocol of PostgreSQL, version 3 (manual, chapter "Frontend/Backend Protocol"), as bytes
 * in, events out: what the client asks on one side, what the server answers on the other.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given, and of these bytes
 * nothing but a keyword being read and hashes of names.
 * Bytes may come in pieces of any size; the events are the same.
 */
#include "sql.h"

enum postgres_event {
	POSTGRES_MORE,   /* all bytes are used; messages without an event may have passed */
	POSTGRES_BROKEN, /* not this protocol; comes once, and whatever follows is used without an event */

	/* Of the client; each when the last byte of its message was read. */
	POSTGRES_ENCRYPTED,  /* a TLS record where a message was due: comes once, like POSTGRES_BROKEN */
	POSTGRES_NEGOTIATES, /* SSLRequest or GSSENCRequest: see postgres_expect_negotiation */
	POSTGRES_STARTUP,    /* the session begins */
	POSTGRES_CANCEL,     /* no answer, and nothing follows */
	POSTGRES_QUERY,      /* sql.verb */
	POSTGRES_PARSE,      /* statement, sql.verb */
	POSTGRES_BIND,       /* portal, statement */
	POSTGRES_DESCRIBE,   /* portal if is_of_portal, else statement */
	POSTGRES_EXECUTE,    /* portal */
	POSTGRES_CLOSE,      /* the same */
	POSTGRES_SYNC,
	POSTGRES_FUNCTION,   /* FunctionCall */
	POSTGRES_COPY_END,   /* CopyDone or CopyFail */
	POSTGRES_TERMINATE,  /* no answer */

	/* Of the server. */
	POSTGRES_TURNS_TLS,  /* what follows is TLS */
	POSTGRES_TURNS_GSS,  /* what follows is encrypted by GSSAPI */
	POSTGRES_STAYS_PLAIN,
	POSTGRES_READY,      /* ReadyForQuery */
	POSTGRES_COMPLETE,   /* CommandComplete, EmptyQueryResponse or PortalSuspended */
	POSTGRES_COPY_IN,
	POSTGRES_COPY_BOTH,
	POSTGRES_ERROR,      /* sqlstate, is_fatal */
};

struct postgres_step {
	enum postgres_event event;
	size_t used_bytes; /* of those given */
};

/* The limits of the server: MAX_STARTUP_PACKET_LENGTH, PQ_SMALL_MESSAGE_LIMIT and PQ_LARGE_MESSAGE_LIMIT. */
#define POSTGRES_STARTUP_BYTES 10000u
#define POSTGRES_SMALL_BYTES 10000u
#define POSTGRES_LARGE_BYTES 0x3fffffffu

/* All zero: ready for the first byte of a connection. */
struct postgres_client {
	uint8_t state;
	uint8_t type;         /* of the message being read */
	uint8_t field;        /* of its body: which one is being read */
	uint8_t header_bytes; /* read of a header */
	bool is_of_portal;
	uint32_t left;        /* length or code being read; then bytes left of the message */
	uint64_t name;        /* being read */
	uint64_t statement;   /* a hash of the name, never the same as a portal's; 0 = the unnamed one */
	uint64_t portal;
	struct sql sql;
};

/* Goes on to the next event. Call until POSTGRES_MORE. */
struct postgres_step postgres_read_client(struct postgres_client *client, const char *bytes, size_t n);

/* Bytes of a message were read, but not all. */
static inline bool postgres_client_is_within(const struct postgres_client *client)
{
	return client->header_bytes != 0;
}

/* The message being read is a Query whose verb is known. */
bool postgres_client_has_verb(const struct postgres_client *client);

/* All zero: ready for the first byte of a connection. */
struct postgres_server {
	uint8_t state;
	uint8_t type;
	uint8_t header_bytes;
	uint8_t negotiations_due;
	uint8_t code_bytes; /* read of a SQLSTATE */
	bool is_fatal;      /* the session ends with this error */
	uint32_t left;
	char sqlstate[2];   /* its class; zero bytes: the error had none */
};

struct postgres_step postgres_read_server(struct postgres_server *server, const char *bytes, size_t n);

/* The client asked by POSTGRES_NEGOTIATES: one byte that is no message answers it. */
void postgres_expect_negotiation(struct postgres_server *server);

/* What the first bytes of a client (any number) may be. */
enum postgres_beginning { POSTGRES_NOT, POSTGRES_PERHAPS, POSTGRES_SURELY };
enum postgres_beginning postgres_begins(const char *bytes, size_t n);
