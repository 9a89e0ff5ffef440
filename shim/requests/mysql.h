#pragma once
/* mysql - the client/server protocol of MySQL and MariaDB (MySQL's source documentation, page_protocol; MariaDB's manual,
 * "Client/Server Protocol"), as bytes in, events out: what the client asks on one side, what the server answers on the
 * other.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given, and of these bytes
 * nothing but a keyword being read and numbers.
 * Bytes may come in pieces of any size; the events are the same.
 *
 * What an answer is made of depends on what was asked and on what both sides said they can do: mysql_expect and mysql_agree
 * tell it to the server's side.
 */
#include "sql.h"

enum mysql_event {
	MYSQL_MORE,   /* all bytes are used; packets without an event may have passed */
	MYSQL_BROKEN, /* not this protocol, or not understood; comes once, and whatever follows is used without an event */

	/* Of the client; each when the last byte of its packet was read. */
	MYSQL_ENCRYPTED, /* a TLS record where the handshake was due: comes once, like MYSQL_BROKEN */
	MYSQL_ASKS_TLS,  /* what follows is TLS */
	MYSQL_HANDSHAKE, /* capabilities: mysql_agree is due */
	MYSQL_COMMAND,   /* command; sql.verb or statement, where it has one; last_sequence */

	/* Of the server. */
	MYSQL_GREETING,
	MYSQL_READY,      /* the session begins */
	MYSQL_WANTS_FILE, /* mysql_send_file is due */
	MYSQL_STREAMS,    /* the answer has begun, and lasts for as long as both like: what follows has no event */
	MYSQL_ANSWER,     /* the answer to what was expected (or to nothing) is over: is_error, sqlstate, statement */
};

struct mysql_step {
	enum mysql_event event;
	size_t used_bytes; /* of those given */
};

/* What an answer looks like. */
enum mysql_answer {
	MYSQL_ONE_PACKET,
	MYSQL_NO_ANSWER,
	MYSQL_RESULTS,      /* OK, an error, or rows; and more of these */
	MYSQL_ROWS,         /* rows, or column definitions, up to EOF */
	MYSQL_DEFINITIONS,  /* of a prepared statement: a number, and as many definitions as it says */
	MYSQL_AUTHENTICATION,
	MYSQL_STREAM,       /* a stream of packets, or another protocol */
};

/* X(number, NAME, answer); any other number is _OTHER and answered by one packet, an error. */
#define MYSQL_COMMANDS(X)                                                                                              \
	X(0x00, SLEEP, ONE_PACKET)                                                                                     \
	X(0x01, QUIT, NO_ANSWER)                                                                                       \
	X(0x02, INIT_DB, ONE_PACKET)                                                                                   \
	X(0x03, QUERY, RESULTS)                                                                                        \
	X(0x04, FIELD_LIST, ROWS)                                                                                      \
	X(0x05, CREATE_DB, ONE_PACKET)                                                                                 \
	X(0x06, DROP_DB, ONE_PACKET)                                                                                   \
	X(0x07, REFRESH, ONE_PACKET)                                                                                   \
	X(0x08, SHUTDOWN, ONE_PACKET)                                                                                  \
	X(0x09, STATISTICS, ONE_PACKET)                                                                                \
	X(0x0a, PROCESS_INFO, RESULTS)                                                                                 \
	X(0x0b, CONNECT, ONE_PACKET)                                                                                   \
	X(0x0c, PROCESS_KILL, ONE_PACKET)                                                                              \
	X(0x0d, DEBUG, ONE_PACKET)                                                                                     \
	X(0x0e, PING, ONE_PACKET)                                                                                      \
	X(0x0f, TIME, ONE_PACKET)                                                                                      \
	X(0x10, DELAYED_INSERT, ONE_PACKET)                                                                            \
	X(0x11, CHANGE_USER, AUTHENTICATION)                                                                           \
	X(0x12, BINLOG_DUMP, STREAM)                                                                                   \
	X(0x13, TABLE_DUMP, STREAM)                                                                                    \
	X(0x14, CONNECT_OUT, ONE_PACKET)                                                                               \
	X(0x15, REGISTER_SLAVE, ONE_PACKET)                                                                            \
	X(0x16, STMT_PREPARE, DEFINITIONS)                                                                             \
	X(0x17, STMT_EXECUTE, RESULTS)                                                                                 \
	X(0x18, STMT_SEND_LONG_DATA, NO_ANSWER)                                                                        \
	X(0x19, STMT_CLOSE, NO_ANSWER)                                                                                 \
	X(0x1a, STMT_RESET, ONE_PACKET)                                                                                \
	X(0x1b, SET_OPTION, ONE_PACKET)                                                                                \
	X(0x1c, STMT_FETCH, ROWS)                                                                                      \
	X(0x1d, DAEMON, ONE_PACKET)                                                                                    \
	X(0x1e, BINLOG_DUMP_GTID, STREAM)                                                                              \
	X(0x1f, RESET_CONNECTION, ONE_PACKET)                                                                          \
	X(0x20, CLONE, STREAM)                                                                                         \
	X(0x21, SUBSCRIBE_GROUP_REPLICATION_STREAM, STREAM)                                                            \
	X(0xfa, STMT_BULK_EXECUTE, RESULTS)                                                                            \
	X(0xfe, MULTI, RESULTS)

#define MYSQL_ENUM_COMMAND(number, name, answer) MYSQL_COM_##name = number,
enum mysql_command { MYSQL_COMMANDS(MYSQL_ENUM_COMMAND) };

/* Without COM_, as it is shown in labels. */
const char *mysql_command_name(uint8_t command);
enum mysql_answer mysql_command_answer(uint8_t command);

/* Statement of COM_STMT_EXECUTE and its like: the one that was prepared last, whatever its number (MariaDB). */
#define MYSQL_LAST_STATEMENT UINT32_MAX

#define MYSQL_ATTRIBUTES 32 /* of a query, beyond which its verb is not looked for; as many as the client program sends */

/* All zero: ready for the first byte of a connection. */
struct mysql_client {
	uint8_t state;
	uint8_t header_bytes;  /* read of a packet's header */
	uint8_t sequence;      /* of the packet being read */
	uint8_t last_sequence; /* of the last packet of the command */
	uint8_t command;
	bool continues;        /* the packet goes on with the one before */
	bool is_tls;
	uint32_t left;         /* length being read; then bytes left of the packet */
	uint32_t length;       /* of the packet */
	uint32_t offset;       /* in the payload, up to what is looked at */
	uint32_t statement;
	uint64_t capabilities; /* MariaDB's in the upper half */
	uint64_t agreed;
	struct sql sql;
	struct {
		uint8_t state;
		uint8_t count;
		uint8_t at;
		uint8_t number_left; /* bytes left of the number being read */
		uint8_t number_at;
		uint64_t number;
		uint64_t nulls;
		uint8_t kinds[MYSQL_ATTRIBUTES]; /* bytes of the value; or that its length precedes it */
	} attributes;
};

/* Goes on to the next event. Call until MYSQL_MORE. */
struct mysql_step mysql_read_client(struct mysql_client *client, const char *bytes, size_t n);

/* Bytes of a command were read, but not all. */
bool mysql_client_is_within(const struct mysql_client *client);

/* The command being read has a verb, and it is known. */
bool mysql_client_has_verb(const struct mysql_client *client);

/* After MYSQL_WANTS_FILE: packets are a file's, up to an empty one. */
void mysql_send_file(struct mysql_client *client);

#define MYSQL_HEAD_BYTES 24

/* All zero: ready for the first byte of a connection. */
struct mysql_server {
	uint8_t state;
	uint8_t phase;
	uint8_t header_bytes;
	uint8_t sequence;      /* of the packet being read */
	uint8_t sequence_due;  /* of the next one */
	bool any_sequence;     /* the client sent packets meanwhile: none is due */
	bool continues;
	uint8_t command;       /* that is answered */
	uint8_t answer;        /* enum mysql_answer */
	uint8_t head_bytes;
	bool is_error;         /* at MYSQL_ANSWER */
	char sqlstate[2];      /* its class; zero bytes: the error had none */
	uint32_t left;
	uint32_t length;       /* of the packet */
	uint32_t offset;       /* in the greeting behind the version */
	uint32_t packets_left; /* definitions */
	uint32_t statement;    /* at MYSQL_ANSWER to COM_STMT_PREPARE */
	uint64_t capabilities;
	uint64_t agreed;
	char head[MYSQL_HEAD_BYTES]; /* the first bytes of the packet: numbers only, of rows but one byte */
};

struct mysql_step mysql_read_server(struct mysql_server *server, const char *bytes, size_t n);

/* The server is not amid an answer: what it says next answers something new. */
bool mysql_server_is_idle(const struct mysql_server *server);

/* What comes next answers command, whose last packet had this sequence number. Only while idle; without it, packets
 * answer nothing and have no event. */
void mysql_expect(struct mysql_server *server, uint8_t command, uint8_t last_sequence);

/* Both sides said what they can do. */
void mysql_agree(struct mysql_client *client, struct mysql_server *server);

/* The agreement is to compress: after MYSQL_READY nothing can be read. */
bool mysql_is_compressed(const struct mysql_server *server);

/* What the first bytes of a server (any number), that speaks first, may be. */
enum mysql_beginning { MYSQL_NOT, MYSQL_PERHAPS, MYSQL_SURELY };
enum mysql_beginning mysql_greets(const char *bytes, size_t n);
