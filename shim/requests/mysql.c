/* Both sides are machines over packets: three bytes of length, one of sequence number, a payload; a payload of 16 MiB less
 * one byte goes on in the next packet. A command begins with sequence number 0; other packets of a client belong to an
 * exchange that the server began (authentication, a file).
 *
 * The server's side keeps the first bytes of a packet, which hold all that matters of it, and looks at them when the packet
 * is over. Rows, of which there are many, are passed over in a loop of their own. Sequence numbers are held against what is
 * due: a client would refuse an answer out of order, so one that we see out of order was misunderstood by us.
 */
#include "mysql.h"

#include <string.h>

#define HEADER_BYTES 4u
#define PACKET_BYTES_MAX 0xffffffu /* this long: goes on in the next one */
#define EOF_BYTES 9u               /* shorter than this, a packet beginning with EOF is one, and no row */

enum {
	FIRST_OK = 0x00,
	FIRST_FILE = 0xfb,
	FIRST_EOF = 0xfe,
	FIRST_ERROR = 0xff,
};

enum {
	STATUS_MORE_RESULTS = 0x0008,
	STATUS_CURSOR = 0x0040,
};

#define CAPABLE_MYSQL (1ULL << 0) /* unset by MariaDB, which then has 32 capabilities more */
#define CAPABLE_COMPRESS (1ULL << 5)
#define CAPABLE_PROTOCOL_41 (1ULL << 9)
#define CAPABLE_TLS (1ULL << 11)
#define CAPABLE_DEPRECATE_EOF (1ULL << 24)
#define CAPABLE_OPTIONAL_METADATA (1ULL << 25)
#define CAPABLE_ZSTD (1ULL << 26)
#define CAPABLE_QUERY_ATTRIBUTES (1ULL << 27)
#define CAPABLE_PROGRESS (1ULL << 32)       /* MariaDB's from here */
#define CAPABLE_CACHE_METADATA (1ULL << 36)

#define ERROR_PROGRESS 0xffffu /* MariaDB: no error but how far a statement is */

struct command {
	const char *name;
	enum mysql_answer answer;
};

#define COMMAND_ENTRY(number, name, answer) [number] = { #name, MYSQL_##answer },
static const struct command commands[256] = { MYSQL_COMMANDS(COMMAND_ENTRY) };

const char *mysql_command_name(uint8_t command)
{
	return commands[command].name ? commands[command].name : "_OTHER";
}

enum mysql_answer mysql_command_answer(uint8_t command)
{
	return commands[command].answer;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* the client */

enum client_state {
	CLIENT_HANDSHAKE,
	CLIENT_COMMANDS,
	CLIENT_FILE,
	CLIENT_OVER, /* broken or encrypted */
};

/* The handshake's fields (page_protocol_connection_phase_packets_protocol_handshake_response). */
enum {
	HANDSHAKE_EXTENDED_OFFSET = 28, /* MariaDB: the end of what MySQL fills with zeros */
	HANDSHAKE_FIXED_BYTES = 32,     /* a packet of so many asks for TLS */
};

#define TLS_HANDSHAKE 0x16 /* first byte of a TLS record (RFC 8446 clause 5.1), followed by 3 and 1 to 4 */

bool mysql_client_is_within(const struct mysql_client *client)
{
	return client->header_bytes || client->continues;
}

static bool has_sql(const struct mysql_client *client)
{
	return client->command == MYSQL_COM_QUERY || client->command == MYSQL_COM_STMT_PREPARE;
}

bool mysql_client_has_verb(const struct mysql_client *client)
{
	return mysql_client_is_within(client) && client->state == CLIENT_COMMANDS && client->offset && has_sql(client) &&
	       sql_is_found(&client->sql);
}

void mysql_send_file(struct mysql_client *client)
{
	if (client->state == CLIENT_COMMANDS)
		client->state = CLIENT_FILE;
}

/* query attributes: what stands between COM_QUERY and the statement if both sides are capable of it */

enum attribute_state {
	ATTRIBUTES_COUNT,
	ATTRIBUTES_SETS,
	ATTRIBUTES_NULLS,
	ATTRIBUTES_BOUND,
	ATTRIBUTE_TYPE,
	ATTRIBUTE_FLAG,
	ATTRIBUTE_NAME_LENGTH,
	ATTRIBUTE_NAME,
	ATTRIBUTE_VALUE_LENGTH,
	ATTRIBUTE_VALUE,
	ATTRIBUTES_END,
};

#define KIND_HAS_LENGTH 0xffu

/* Bytes of a value of this type (page_protocol_binary_resultset, "Binary Protocol Value"); those of varying length and
 * dates and times have their length before them. */
static uint8_t kind_of_type(uint8_t type)
{
	switch (type) {
	case 1: /* TINY */
		return 1;
	case 2: case 13: /* SHORT, YEAR */
		return 2;
	case 3: case 4: case 9: /* LONG, FLOAT, INT24 */
		return 4;
	case 5: case 8: /* DOUBLE, LONGLONG */
		return 8;
	case 6: /* NULL */
		return 0;
	}
	return KIND_HAS_LENGTH;
}

/* Bytes that follow the first one of a length-encoded integer; -1 = it begins none. */
static int bytes_after(uint8_t first)
{
	switch (first) {
	case 0xfb: case 0xff:
		return -1;
	case 0xfc:
		return 2;
	case 0xfd:
		return 3;
	case 0xfe:
		return 8;
	}
	return 0;
}

/* A byte of a length-encoded integer. True: it was the last, and number is known. */
static bool eat_number(struct mysql_client *client, uint8_t byte, bool *ret_broken)
{
	if (client->attributes.number_left) {
		client->attributes.number |= (uint64_t)byte << (8 * client->attributes.number_at++);
		return !--client->attributes.number_left;
	}
	int after = bytes_after(byte);
	*ret_broken = after < 0;
	client->attributes.number = after ? 0 : byte;
	client->attributes.number_left = after > 0 ? (uint8_t)after : 0;
	client->attributes.number_at = 0;
	return !after;
}

static void begin_attribute(struct mysql_client *client)
{
	client->attributes.state = client->attributes.at < client->attributes.count ? ATTRIBUTE_TYPE : ATTRIBUTES_END;
}

/* The next value that is there, or the end. */
static void begin_value(struct mysql_client *client)
{
	while (client->attributes.at < client->attributes.count) {
		uint8_t at = client->attributes.at++;
		uint8_t kind = client->attributes.nulls >> at & 1 ? 0 : client->attributes.kinds[at];
		if (!kind)
			continue;
		client->attributes.number = kind;
		client->attributes.state = kind == KIND_HAS_LENGTH ? ATTRIBUTE_VALUE_LENGTH : ATTRIBUTE_VALUE;
		return;
	}
	client->attributes.state = ATTRIBUTES_END;
}

static void end_attribute_type(struct mysql_client *client)
{
	client->attributes.at++;
	begin_attribute(client);
	if (client->attributes.state != ATTRIBUTES_END)
		return;
	client->attributes.at = 0;
	begin_value(client);
}

/* False: these are no attributes, or too many. */
static bool end_attribute_number(struct mysql_client *client)
{
	uint64_t number = client->attributes.number;

	switch (client->attributes.state) {
	case ATTRIBUTES_COUNT:
		if (number > MYSQL_ATTRIBUTES)
			return false;
		client->attributes.count = (uint8_t)number;
		client->attributes.state = ATTRIBUTES_SETS;
		break;
	case ATTRIBUTES_SETS:
		client->attributes.state = client->attributes.count ? ATTRIBUTES_NULLS : ATTRIBUTES_END;
		client->attributes.at = 0;
		break;
	case ATTRIBUTE_NAME_LENGTH:
		client->attributes.state = ATTRIBUTE_NAME;
		if (!number)
			end_attribute_type(client);
		break;
	default: /* ATTRIBUTE_VALUE_LENGTH */
		client->attributes.state = ATTRIBUTE_VALUE;
		if (!number)
			begin_value(client);
	}
	return true;
}

/* False: these are no attributes. */
static bool eat_attribute_byte(struct mysql_client *client, uint8_t byte)
{
	bool is_broken = false;

	switch (client->attributes.state) {
	case ATTRIBUTES_NULLS:
		client->attributes.nulls |= (uint64_t)byte << (8 * client->attributes.at++);
		if (client->attributes.at * 8 >= client->attributes.count)
			client->attributes.state = ATTRIBUTES_BOUND;
		return true;
	case ATTRIBUTES_BOUND:
		client->attributes.at = 0;
		begin_attribute(client);
		return byte == 1;
	case ATTRIBUTE_TYPE:
		client->attributes.kinds[client->attributes.at] = kind_of_type(byte);
		client->attributes.state = ATTRIBUTE_FLAG;
		return true;
	case ATTRIBUTE_FLAG:
		client->attributes.state = ATTRIBUTE_NAME_LENGTH;
		return true;
	default: /* a number */
		return eat_number(client, byte, &is_broken) ? end_attribute_number(client) : !is_broken;
	}
}

/* Moves next to the statement, if that is there. */
static void eat_attributes(struct mysql_client *client, const char **next, const char *end)
{
	while (*next < end && client->attributes.state != ATTRIBUTES_END) {
		if (client->attributes.state == ATTRIBUTE_NAME || client->attributes.state == ATTRIBUTE_VALUE) {
			size_t taken = (size_t)(end - *next);
			if (taken > client->attributes.number)
				taken = (size_t)client->attributes.number;
			*next += taken;
			client->attributes.number -= taken;
			if (client->attributes.number)
				return;
			if (client->attributes.state == ATTRIBUTE_NAME)
				end_attribute_type(client);
			else
				begin_value(client);
		} else if (!eat_attribute_byte(client, (uint8_t)*(*next)++)) {
			client->attributes.state = ATTRIBUTES_END;
			sql_refuse(&client->sql);
		}
	}
}

/* commands */

static void begin_command(struct mysql_client *client, uint8_t command)
{
	client->command = command;
	client->statement = 0;
	if (!has_sql(client))
		return;
	sql_begin(&client->sql, SQL_MYSQL);
	memset(&client->attributes, 0, sizeof(client->attributes));
	if (command != MYSQL_COM_QUERY || !(client->agreed & CAPABLE_QUERY_ATTRIBUTES))
		client->attributes.state = ATTRIBUTES_END;
}

static bool has_statement(uint8_t command)
{
	switch (command) {
	case MYSQL_COM_STMT_EXECUTE: case MYSQL_COM_STMT_SEND_LONG_DATA: case MYSQL_COM_STMT_CLOSE: case MYSQL_COM_STMT_RESET:
	case MYSQL_COM_STMT_FETCH: case MYSQL_COM_STMT_BULK_EXECUTE:
		return true;
	}
	return false;
}

#define STATEMENT_END 5u /* its number stands behind the command's byte */

/* Bytes of a command, the first one at client->offset. */
static void look_into_command(struct mysql_client *client, const char *next, const char *end)
{
	if (!client->offset) {
		begin_command(client, (uint8_t)*next++);
		client->offset = 1;
	}
	if (has_sql(client)) {
		eat_attributes(client, &next, end);
		sql_read(&client->sql, next, (size_t)(end - next));
		return;
	}
	if (!has_statement(client->command))
		return;
	for (; next < end && client->offset < STATEMENT_END; next++, client->offset++)
		client->statement |= (uint32_t)(uint8_t)*next << (8 * (client->offset - 1));
}

/* Bytes of the first packet: capabilities, and what follows their fixed neighbours. */
static void look_into_handshake(struct mysql_client *client, const char *next, const char *end)
{
	for (; next < end && client->offset < HANDSHAKE_FIXED_BYTES; next++, client->offset++) {
		uint64_t byte = (uint8_t)*next;
		if (client->offset < 4)
			client->capabilities |= byte << (8 * client->offset);
		else if (client->offset >= HANDSHAKE_EXTENDED_OFFSET)
			client->capabilities |= byte << (8 * (client->offset - HANDSHAKE_EXTENDED_OFFSET) + 32);
	}
}

static enum mysql_event end_handshake(struct mysql_client *client)
{
	if (client->offset < HANDSHAKE_FIXED_BYTES || !(client->capabilities & CAPABLE_PROTOCOL_41))
		return MYSQL_BROKEN;
	if (client->capabilities & CAPABLE_TLS && client->length == HANDSHAKE_FIXED_BYTES && !client->is_tls) {
		client->is_tls = true;
		return MYSQL_ASKS_TLS;
	}
	if (client->capabilities & CAPABLE_MYSQL)
		client->capabilities = (uint32_t)client->capabilities;
	client->state = CLIENT_COMMANDS;
	return MYSQL_HANDSHAKE;
}

/* A packet is over, and no other goes on with it. */
static enum mysql_event end_packet(struct mysql_client *client)
{
	switch (client->state) {
	case CLIENT_HANDSHAKE:
		return end_handshake(client);
	case CLIENT_COMMANDS:
		if (!client->offset && client->sequence) /* answers the server */
			return MYSQL_MORE;
		if (!client->offset) /* servers take an empty packet for this one */
			begin_command(client, MYSQL_COM_SLEEP);
		client->last_sequence = client->sequence;
		if (has_sql(client))
			sql_end(&client->sql);
		return MYSQL_COMMAND;
	}
	return MYSQL_MORE;
}

static bool is_tls_record(const struct mysql_client *client)
{
	uint32_t minor = client->left >> 16;

	return (client->left & 0xffff) == (TLS_HANDSHAKE | 3 << 8) && minor >= 1 && minor <= 4;
}

/* The header was read. */
static enum mysql_event begin_packet(struct mysql_client *client)
{
	bool is_new = !client->continues;

	if (client->state == CLIENT_HANDSHAKE && client->is_tls && is_tls_record(client))
		return MYSQL_ENCRYPTED;
	if (is_new) {
		client->offset = 0;
		client->length = client->left;
		if (client->state == CLIENT_HANDSHAKE)
			client->capabilities = 0;
	}
	client->continues = client->left == PACKET_BYTES_MAX;
	if (client->left)
		return MYSQL_MORE;
	client->header_bytes = 0;
	if (client->state != CLIENT_FILE)
		return end_packet(client);
	if (is_new) /* the file's end */
		client->state = CLIENT_COMMANDS;
	return MYSQL_MORE;
}

static enum mysql_event eat_header(struct mysql_client *client, const char **next)
{
	uint8_t byte = (uint8_t)*(*next)++;

	if (!client->header_bytes)
		client->left = 0;
	if (client->header_bytes < 3)
		client->left |= (uint32_t)byte << (8 * client->header_bytes);
	else
		client->sequence = byte;
	return ++client->header_bytes < HEADER_BYTES ? MYSQL_MORE : begin_packet(client);
}

static enum mysql_event eat_payload(struct mysql_client *client, const char **next, const char *end)
{
	size_t taken = smaller((size_t)(end - *next), client->left);

	if (client->state == CLIENT_HANDSHAKE)
		look_into_handshake(client, *next, *next + taken);
	else if (client->state == CLIENT_COMMANDS && (client->offset || !client->sequence))
		look_into_command(client, *next, *next + taken);
	*next += taken;
	client->left -= (uint32_t)taken;
	if (client->left)
		return MYSQL_MORE;
	client->header_bytes = 0;
	return client->continues ? MYSQL_MORE : end_packet(client);
}

struct mysql_step mysql_read_client(struct mysql_client *client, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;
	enum mysql_event event = MYSQL_MORE;

	if (client->state == CLIENT_OVER)
		return (struct mysql_step){ MYSQL_MORE, n };
	while (next < end && event == MYSQL_MORE)
		event = client->header_bytes < HEADER_BYTES ? eat_header(client, &next) : eat_payload(client, &next, end);
	if (event == MYSQL_BROKEN || event == MYSQL_ENCRYPTED) {
		client->state = CLIENT_OVER;
		client->header_bytes = 0;
		client->continues = false;
	}
	return (struct mysql_step){ event, (size_t)(next - bytes) };
}

/* the server */

enum server_state {
	SERVER_HEADER,
	SERVER_PAYLOAD,
	SERVER_BROKEN,
};

enum server_phase {
	PHASE_GREETING,
	PHASE_SESSION_BEGINS, /* authentication, before the first command */
	PHASE_IDLE,
	PHASE_FIRST,          /* packet of an answer, or of one result of several */
	PHASE_DEFINITIONS,    /* of a result's columns */
	PHASE_DEFINITIONS_END,
	PHASE_ROWS,
	PHASE_LAST_PACKETS,   /* so many, whatever they are */
};

/* The greeting: a version, the string that follows it, then fields at offsets from its end
 * (page_protocol_connection_phase_packets_protocol_handshake_v10). */
enum {
	GREETING_VERSION = 10,
	GREETING_LOW_OFFSET = 13,
	GREETING_HIGH_OFFSET = 18,
	GREETING_EXTENDED_OFFSET = 27, /* MariaDB: the end of what MySQL fills with zeros */
	GREETING_BYTES_MIN = 32,
	GREETING_BYTES_MAX = 1024,
};

bool mysql_server_is_idle(const struct mysql_server *server)
{
	return server->phase == PHASE_IDLE && server->state == SERVER_HEADER && !server->header_bytes && !server->continues;
}

void mysql_expect(struct mysql_server *server, uint8_t command, uint8_t last_sequence)
{
	server->command = command;
	server->answer = (uint8_t)mysql_command_answer(command);
	server->phase = server->answer == MYSQL_ROWS ? PHASE_ROWS : PHASE_FIRST;
	server->sequence_due = (uint8_t)(last_sequence + 1);
	server->any_sequence = false;
}

void mysql_agree(struct mysql_client *client, struct mysql_server *server)
{
	client->agreed = client->capabilities & server->capabilities;
	server->agreed = client->agreed;
}

bool mysql_is_compressed(const struct mysql_server *server)
{
	return server->agreed & (CAPABLE_COMPRESS | CAPABLE_ZSTD);
}

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

enum mysql_beginning mysql_greets(const char *bytes, size_t n)
{
	unsigned char head[6] = { 0 };

	memcpy(head, bytes, smaller(n, sizeof(head)));
	uint32_t length = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16;
	if (n >= 3 && (length < 4 || length > GREETING_BYTES_MAX))
		return MYSQL_NOT;
	if (n >= 4 && head[3])
		return MYSQL_NOT;
	/* A server that refuses says an error instead, all of which are above 1000. */
	bool is_greeting = head[4] == GREETING_VERSION && length >= GREETING_BYTES_MIN;
	if (n >= 5 && head[4] != FIRST_ERROR && !is_greeting)
		return MYSQL_NOT;
	if (n < sizeof(head))
		return MYSQL_PERHAPS;
	if (is_greeting)
		return is_printable((char)head[5]) ? MYSQL_SURELY : MYSQL_NOT;
	if (n < sizeof(head) + 1)
		return MYSQL_PERHAPS;
	return bytes[6] >= 3 && bytes[6] <= 0x20 ? MYSQL_SURELY : MYSQL_NOT;
}

/* what the kept bytes of a packet say */

static uint8_t head_byte(const struct mysql_server *server, uint32_t offset)
{
	return offset < server->head_bytes ? (uint8_t)server->head[offset] : 0;
}

static uint32_t head_number(const struct mysql_server *server, uint32_t offset, uint32_t bytes)
{
	uint32_t number = 0;

	for (uint32_t i = 0; i < bytes; i++)
		number |= (uint32_t)head_byte(server, offset + i) << (8 * i);
	return number;
}

/* Bytes of the length-encoded integer at offset. */
static uint32_t number_bytes(const struct mysql_server *server, uint32_t offset)
{
	int after = bytes_after(head_byte(server, offset));

	return after < 0 ? 1 : 1 + (uint32_t)after;
}

/* Status of an OK packet: it follows two length-encoded integers. */
static uint32_t status_of_ok(const struct mysql_server *server)
{
	uint32_t offset = 1 + number_bytes(server, 1);

	offset += number_bytes(server, offset);
	return head_number(server, offset, 2);
}

/* Status of the packet behind rows. */
static uint32_t status_of_end(const struct mysql_server *server)
{
	return server->agreed & CAPABLE_DEPRECATE_EOF ? status_of_ok(server) : head_number(server, 3, 2);
}

static bool is_end_of_rows(const struct mysql_server *server)
{
	uint32_t limit = server->agreed & CAPABLE_DEPRECATE_EOF ? PACKET_BYTES_MAX : EOF_BYTES;

	return head_byte(server, 0) == FIRST_EOF && server->length < limit;
}

static bool is_progress(const struct mysql_server *server)
{
	return server->agreed & CAPABLE_PROGRESS && head_number(server, 1, 2) == ERROR_PROGRESS;
}

/* The answer is over. */
static enum mysql_event end_answer(struct mysql_server *server, bool is_error)
{
	server->phase = PHASE_IDLE;
	server->is_error = is_error;
	memset(server->sqlstate, 0, sizeof(server->sqlstate));
	if (is_error && head_byte(server, 3) == '#')
		memcpy(server->sqlstate, server->head + 4, sizeof(server->sqlstate));
	return MYSQL_ANSWER;
}

/* A result is over. */
static enum mysql_event end_result(struct mysql_server *server, uint32_t status)
{
	if (server->answer != MYSQL_RESULTS || !(status & STATUS_MORE_RESULTS))
		return end_answer(server, false);
	server->phase = PHASE_FIRST;
	return MYSQL_MORE;
}

static void begin_rows(struct mysql_server *server)
{
	server->phase = server->agreed & CAPABLE_DEPRECATE_EOF ? PHASE_ROWS : PHASE_DEFINITIONS_END;
}

/* A number of columns, of which definitions follow if the byte behind it does not deny that. */
static enum mysql_event begin_result(struct mysql_server *server)
{
	uint32_t bytes = number_bytes(server, 0);
	uint32_t columns = bytes == 1 ? head_byte(server, 0) : head_number(server, 1, bytes - 1);

	if (server->agreed & (CAPABLE_OPTIONAL_METADATA | CAPABLE_CACHE_METADATA) && !head_byte(server, bytes))
		columns = 0;
	server->packets_left = columns;
	server->phase = PHASE_DEFINITIONS;
	if (!columns)
		begin_rows(server);
	return MYSQL_MORE;
}

static enum mysql_event first_of_results(struct mysql_server *server)
{
	switch (head_byte(server, 0)) {
	case FIRST_OK:
		return end_result(server, status_of_ok(server));
	case FIRST_FILE:
		server->any_sequence = true;
		return MYSQL_WANTS_FILE;
	case FIRST_EOF:
		return end_result(server, status_of_end(server));
	}
	return begin_result(server);
}

/* COM_STMT_PREPARE: its number, and how many definitions of parameters and of columns follow, each kind with an EOF unless
 * that is deprecated. */
static enum mysql_event first_of_definitions(struct mysql_server *server)
{
	uint32_t columns = head_number(server, 5, 2), parameters = head_number(server, 7, 2);
	uint32_t ends = server->agreed & CAPABLE_DEPRECATE_EOF ? 0 : (columns > 0) + (uint32_t)(parameters > 0);

	server->statement = head_number(server, 1, 4);
	server->packets_left = columns + parameters + ends;
	if (server->agreed & CAPABLE_OPTIONAL_METADATA && server->length > 12 && !head_byte(server, 12))
		server->packets_left = 0;
	if (!server->packets_left)
		return end_answer(server, false);
	server->phase = PHASE_LAST_PACKETS;
	return MYSQL_MORE;
}

static enum mysql_event first_of_answer(struct mysql_server *server)
{
	if (head_byte(server, 0) == FIRST_ERROR)
		return is_progress(server) ? MYSQL_MORE : end_answer(server, true);
	switch (server->answer) {
	case MYSQL_RESULTS:
		return first_of_results(server);
	case MYSQL_DEFINITIONS:
		return first_of_definitions(server);
	case MYSQL_AUTHENTICATION:
		server->any_sequence = true;
		return head_byte(server, 0) == FIRST_OK ? end_answer(server, false) : MYSQL_MORE;
	case MYSQL_STREAM:
		if (is_end_of_rows(server))
			return end_answer(server, false);
		server->phase = PHASE_IDLE;
		return MYSQL_STREAMS;
	}
	return end_answer(server, false);
}

static enum mysql_event end_of_session_begin(struct mysql_server *server)
{
	server->any_sequence = true;
	if (head_byte(server, 0) == FIRST_ERROR)
		return end_answer(server, true);
	if (head_byte(server, 0) != FIRST_OK)
		return MYSQL_MORE;
	server->phase = PHASE_IDLE;
	return MYSQL_READY;
}

static enum mysql_event end_greeting(struct mysql_server *server)
{
	server->any_sequence = true;
	if (head_byte(server, 0) == FIRST_ERROR)
		return end_answer(server, true);
	if (head_byte(server, 0) != GREETING_VERSION || server->offset < GREETING_HIGH_OFFSET)
		return MYSQL_BROKEN;
	if (server->capabilities & CAPABLE_MYSQL)
		server->capabilities = (uint32_t)server->capabilities;
	server->phase = PHASE_SESSION_BEGINS;
	return MYSQL_GREETING;
}

/* A packet is over, and no other goes on with it. */
static enum mysql_event end_server_packet(struct mysql_server *server)
{
	switch (server->phase) {
	case PHASE_GREETING:
		return end_greeting(server);
	case PHASE_SESSION_BEGINS:
		return end_of_session_begin(server);
	case PHASE_FIRST:
		return first_of_answer(server);
	case PHASE_DEFINITIONS:
		if (head_byte(server, 0) == FIRST_ERROR)
			return end_answer(server, true);
		if (!--server->packets_left)
			begin_rows(server);
		return MYSQL_MORE;
	case PHASE_DEFINITIONS_END:
		if (head_byte(server, 0) == FIRST_ERROR)
			return end_answer(server, true);
		if (status_of_end(server) & STATUS_CURSOR) /* its rows are to be fetched */
			return end_result(server, status_of_end(server));
		server->phase = PHASE_ROWS;
		return MYSQL_MORE;
	case PHASE_ROWS:
		if (head_byte(server, 0) == FIRST_ERROR)
			return is_progress(server) ? MYSQL_MORE : end_answer(server, true);
		return is_end_of_rows(server) ? end_result(server, status_of_end(server)) : MYSQL_MORE;
	case PHASE_LAST_PACKETS:
		return --server->packets_left ? MYSQL_MORE : end_answer(server, false);
	}
	return MYSQL_MORE; /* it answers nothing */
}

/* Capabilities stand at offsets behind a string. */
static void look_into_greeting(struct mysql_server *server, const char *next, const char *end)
{
	for (; next < end; next++) {
		uint64_t byte = (uint8_t)*next;
		uint32_t at = server->offset - 1; /* 0: the first byte behind the string */
		if (!server->offset) {
			/* The version before the string is no zero byte. */
			server->offset = !byte;
			continue;
		}
		if (at >= GREETING_LOW_OFFSET && at < GREETING_LOW_OFFSET + 2u)
			server->capabilities |= byte << (8 * (at - GREETING_LOW_OFFSET));
		else if (at >= GREETING_HIGH_OFFSET && at < GREETING_HIGH_OFFSET + 2u)
			server->capabilities |= byte << (8 * (at - GREETING_HIGH_OFFSET) + 16);
		else if (at >= GREETING_EXTENDED_OFFSET && at < GREETING_EXTENDED_OFFSET + 4u)
			server->capabilities |= byte << (8 * (at - GREETING_EXTENDED_OFFSET) + 32);
		if (server->offset < GREETING_BYTES_MAX)
			server->offset++;
	}
}

/* The header was read. */
static enum mysql_event begin_server_packet(struct mysql_server *server)
{
	bool is_new = !server->continues;

	if (server->phase != PHASE_IDLE && !server->any_sequence && server->sequence != server->sequence_due)
		return MYSQL_BROKEN;
	server->any_sequence = false;
	server->sequence_due = (uint8_t)(server->sequence + 1);
	if (is_new) {
		server->length = server->left;
		server->head_bytes = 0;
	}
	server->continues = server->left == PACKET_BYTES_MAX;
	server->state = SERVER_PAYLOAD;
	return MYSQL_MORE;
}

static enum mysql_event eat_server_header(struct mysql_server *server, const char **next)
{
	uint8_t byte = (uint8_t)*(*next)++;

	if (!server->header_bytes)
		server->left = 0;
	if (server->header_bytes < 3)
		server->left |= (uint32_t)byte << (8 * server->header_bytes);
	else
		server->sequence = byte;
	return ++server->header_bytes < HEADER_BYTES ? MYSQL_MORE : begin_server_packet(server);
}

static void keep_head(struct mysql_server *server, const char *bytes, size_t n)
{
	size_t kept = smaller(n, MYSQL_HEAD_BYTES - server->head_bytes);

	memcpy(server->head + server->head_bytes, bytes, kept);
	server->head_bytes = (uint8_t)(server->head_bytes + kept);
}

static enum mysql_event eat_server_payload(struct mysql_server *server, const char **next, const char *end)
{
	size_t taken = smaller((size_t)(end - *next), server->left);

	if (server->phase == PHASE_GREETING)
		look_into_greeting(server, *next, *next + taken);
	keep_head(server, *next, taken);
	*next += taken;
	server->left -= (uint32_t)taken;
	if (server->left)
		return MYSQL_MORE;
	server->state = SERVER_HEADER;
	server->header_bytes = 0;
	return server->continues ? MYSQL_MORE : end_server_packet(server);
}

/* Passes over rows that are there from end to end. Where it stops, the machine goes on. */
static const char *pass_rows(struct mysql_server *server, const char *next, const char *end)
{
	if (server->phase != PHASE_ROWS || server->continues || server->any_sequence)
		return next;
	while ((size_t)(end - next) > HEADER_BYTES) {
		const unsigned char *head = (const unsigned char *)next;
		uint32_t length = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16;
		if (length == PACKET_BYTES_MAX || !length || (size_t)(end - next) - HEADER_BYTES < length)
			break;
		if (head[3] != server->sequence_due || head[4] >= FIRST_EOF)
			break;
		server->sequence_due++;
		next += HEADER_BYTES + length;
	}
	return next;
}

static enum mysql_event step_server(struct mysql_server *server, const char **next, const char *end)
{
	if (server->state == SERVER_HEADER && !server->header_bytes)
		*next = pass_rows(server, *next, end);
	if (server->state == SERVER_HEADER) {
		if (*next == end)
			return MYSQL_MORE;
		enum mysql_event event = eat_server_header(server, next);
		if (event != MYSQL_MORE || server->state == SERVER_HEADER || server->left)
			return event;
	}
	return eat_server_payload(server, next, end);
}

struct mysql_step mysql_read_server(struct mysql_server *server, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;
	enum mysql_event event = MYSQL_MORE;

	if (server->state == SERVER_BROKEN)
		return (struct mysql_step){ MYSQL_MORE, n };
	while (next < end && event == MYSQL_MORE)
		event = step_server(server, &next, end);
	if (event == MYSQL_BROKEN)
		server->state = SERVER_BROKEN;
	return (struct mysql_step){ event, (size_t)(next - bytes) };
}
