/* Both sides are machines over messages: a byte of type, four of length that count themselves, a body. Only the client's
 * first messages have no type. Bodies of no interest are passed over by their length; of the others what matters stands in
 * strings that end with a zero byte.
 *
 * Nearly all messages of nearly all sessions lie in one piece from end to end. Those of the kinds that come with each
 * transaction are read without the machines, by pass_asked and pass_answered, to the same end; where they stop, and be it at
 * once, the machine goes on.
 */
#include "postgres.h"

#include <string.h>

enum {
	HEADER_BYTES = 5,
	LENGTH_BYTES = 4,       /* counted by themselves */
	STARTUP_HEADER_BYTES = 8, /* length and code */
};

/* Codes in the place of the version. */
enum {
	CODE_CANCEL = 80877102,
	CODE_TLS = 80877103,
	CODE_GSS = 80877104,
};

static uint32_t big_endian_32(const char *bytes)
{
	const unsigned char *b = (const unsigned char *)bytes;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* the client */

enum client_state {
	CLIENT_STARTUP,      /* length and code are due */
	CLIENT_STARTUP_BODY,
	CLIENT_HEADER,
	CLIENT_BODY,
	CLIENT_OVER,         /* broken, encrypted or cancelled */
};

#define TLS_HANDSHAKE 0x16 /* first byte of a TLS record (RFC 8446 clause 5.1); as a length's first it were 350 MiB */

bool postgres_client_has_verb(const struct postgres_client *client)
{
	return client->state == CLIENT_BODY && client->type == 'Q' && sql_is_found(&client->sql);
}

static bool is_known_code(uint32_t code, uint32_t length)
{
	switch (code) {
	case CODE_TLS:
	case CODE_GSS:
		return length == STARTUP_HEADER_BYTES;
	case CODE_CANCEL:
		return length > STARTUP_HEADER_BYTES;
	}
	return code >> 16 == 3;
}

enum postgres_beginning postgres_begins(const char *bytes, size_t n)
{
	char head[STARTUP_HEADER_BYTES] = { 0 };

	memcpy(head, bytes, smaller(n, sizeof(head)));
	uint32_t length = big_endian_32(head);
	if (n >= 1 && head[0])
		return POSTGRES_NOT;
	if (n >= 2 && head[1])
		return POSTGRES_NOT;
	if (n >= LENGTH_BYTES && (length < STARTUP_HEADER_BYTES || length > POSTGRES_STARTUP_BYTES))
		return POSTGRES_NOT;
	if (n < STARTUP_HEADER_BYTES)
		return POSTGRES_PERHAPS;
	return is_known_code(big_endian_32(head + LENGTH_BYTES), length) ? POSTGRES_SURELY : POSTGRES_NOT;
}

/* Eats bytes of the code, the second half of a startup's header; the first, the length, is in left by then. */
static enum postgres_event end_startup_header(struct postgres_client *client, uint32_t length, uint32_t code)
{
	if (length < STARTUP_HEADER_BYTES || length > POSTGRES_STARTUP_BYTES || !is_known_code(code, length))
		return POSTGRES_BROKEN;
	client->left = length - STARTUP_HEADER_BYTES;
	client->state = CLIENT_STARTUP_BODY;
	client->type = code == CODE_CANCEL ? 'c' : code >> 16 == 3 ? 's' : 'n';
	return POSTGRES_MORE;
}

static enum postgres_event eat_startup_header(struct postgres_client *client, const char **next)
{
	uint8_t byte = (uint8_t)*(*next)++;

	if (!client->header_bytes) {
		client->name = 0;
		if (byte == TLS_HANDSHAKE)
			return POSTGRES_ENCRYPTED;
	}
	client->name = client->name << 8 | byte;
	if (++client->header_bytes < STARTUP_HEADER_BYTES)
		return POSTGRES_MORE;
	return end_startup_header(client, (uint32_t)(client->name >> 32), (uint32_t)client->name);
}

static enum postgres_event eat_startup_body(struct postgres_client *client, const char **next, const char *end)
{
	size_t taken = smaller((size_t)(end - *next), client->left);

	*next += taken;
	client->left -= (uint32_t)taken;
	if (client->left)
		return POSTGRES_MORE;
	client->header_bytes = 0;
	switch (client->type) {
	case 'c':
		client->state = CLIENT_OVER;
		return POSTGRES_CANCEL;
	case 'n':
		client->state = CLIENT_STARTUP;
		return POSTGRES_NEGOTIATES;
	default:
		client->state = CLIENT_HEADER;
		return POSTGRES_STARTUP;
	}
}

/* The longest message of this type that the server accepts; 0 = there is no such type. */
static uint32_t client_limit(uint8_t type)
{
	switch (type) {
	case 'Q': case 'P': case 'B': case 'F': case 'd': case 'p':
		return POSTGRES_LARGE_BYTES;
	case 'E': case 'D': case 'C': case 'H': case 'S': case 'X': case 'c': case 'f':
		return POSTGRES_SMALL_BYTES;
	}
	return 0;
}

/* What the end of such a message is. */
static const uint8_t client_events[256] = {
	['Q'] = POSTGRES_QUERY, ['P'] = POSTGRES_PARSE, ['B'] = POSTGRES_BIND, ['D'] = POSTGRES_DESCRIBE,
	['E'] = POSTGRES_EXECUTE, ['C'] = POSTGRES_CLOSE, ['S'] = POSTGRES_SYNC, ['F'] = POSTGRES_FUNCTION,
	['c'] = POSTGRES_COPY_END, ['f'] = POSTGRES_COPY_END, ['X'] = POSTGRES_TERMINATE,
};

/* Names of statements and portals begin differently, so that the two are never the same. FNV-1a, 64 bits. */
#define NAME_PRIME 0x100000001b3ULL
#define STATEMENT_BASIS 0xcbf29ce484222325ULL
#define PORTAL_BASIS 0x84222325cbf29ce4ULL

static void begin_name(struct postgres_client *client, bool is_portal)
{
	client->name = is_portal ? PORTAL_BASIS : STATEMENT_BASIS;
}

/* The low 40 bits are those that prepared.h keeps, so all bits go into them. */
static uint64_t end_name(uint64_t name)
{
	if (name == PORTAL_BASIS || name == STATEMENT_BASIS)
		return 0;
	name = (name ^ name >> 32) * 0x9e3779b97f4a7c15ULL;
	return name >> 24 | 1ULL << 63;
}

static void begin_body(struct postgres_client *client)
{
	client->state = CLIENT_BODY;
	client->field = 0;
	switch (client->type) {
	case 'Q':
		sql_begin(&client->sql, SQL_POSTGRES);
		break;
	case 'P':
		client->statement = 0;
		sql_begin(&client->sql, SQL_POSTGRES);
		begin_name(client, false);
		break;
	case 'B':
		client->statement = 0;
		client->portal = 0;
		begin_name(client, true);
		break;
	case 'E':
		client->portal = 0;
		begin_name(client, true);
		break;
	case 'C': case 'D':
		client->statement = 0;
		client->portal = 0;
		client->is_of_portal = false;
		break;
	}
}

static bool end_header(struct postgres_client *client)
{
	if (client->left < LENGTH_BYTES || client->left - LENGTH_BYTES > client_limit(client->type))
		return false;
	client->left -= LENGTH_BYTES;
	begin_body(client);
	return true;
}

/* False: this begins no message. */
static bool eat_header(struct postgres_client *client, const char **next, const char *end)
{
	if (!client->header_bytes) {
		client->type = (uint8_t)**next;
		client->left = 0;
		if (!client_limit(client->type))
			return false;
	}
	if (!client->header_bytes && end - *next >= HEADER_BYTES) {
		client->header_bytes = HEADER_BYTES;
		client->left = big_endian_32(*next + 1);
		*next += HEADER_BYTES;
		return end_header(client);
	}
	if (client->header_bytes)
		client->left = client->left << 8 | (uint8_t)**next;
	++*next;
	return ++client->header_bytes < HEADER_BYTES || end_header(client);
}

/* The bytes of a string as far as they are there. True: its end was among them. */
static bool eat_name(struct postgres_client *client, const char **next, const char *end)
{
	while (*next < end) {
		uint8_t c = (uint8_t)*(*next)++;
		if (!c)
			return true;
		client->name = (client->name ^ c) * NAME_PRIME;
	}
	return false;
}

/* Parse: the statement's name, its text, types of parameters. */
static void eat_parse(struct postgres_client *client, const char *next, const char *end)
{
	if (client->field == 0 && eat_name(client, &next, end)) {
		client->statement = end_name(client->name);
		client->field = 1;
	}
	if (client->field == 1)
		sql_read(&client->sql, next, (size_t)(end - next));
}

/* Bind: the portal's name, the statement's, parameters. */
static void eat_bind(struct postgres_client *client, const char *next, const char *end)
{
	if (client->field == 0 && eat_name(client, &next, end)) {
		client->portal = end_name(client->name);
		begin_name(client, false);
		client->field = 1;
	}
	if (client->field == 1 && eat_name(client, &next, end)) {
		client->statement = end_name(client->name);
		client->field = 2;
	}
}

/* Execute: the portal's name, the most rows it may give. */
static void eat_execute(struct postgres_client *client, const char *next, const char *end)
{
	if (client->field == 0 && eat_name(client, &next, end)) {
		client->portal = end_name(client->name);
		client->field = 1;
	}
}

/* Close, Describe: S or P, a name. */
static void eat_target(struct postgres_client *client, const char *next, const char *end)
{
	if (client->field == 0) {
		client->is_of_portal = *next++ == 'P';
		begin_name(client, client->is_of_portal);
		client->field = 1;
	}
	if (client->field == 1 && eat_name(client, &next, end)) {
		*(client->is_of_portal ? &client->portal : &client->statement) = end_name(client->name);
		client->field = 2;
	}
}

static void look_into_body(struct postgres_client *client, const char *next, const char *end)
{
	switch (client->type) {
	case 'Q':
		sql_read(&client->sql, next, (size_t)(end - next));
		break;
	case 'P':
		eat_parse(client, next, end);
		break;
	case 'B':
		eat_bind(client, next, end);
		break;
	case 'E':
		eat_execute(client, next, end);
		break;
	case 'C': case 'D':
		eat_target(client, next, end);
		break;
	}
}

static enum postgres_event end_message(struct postgres_client *client)
{
	client->header_bytes = 0;
	client->state = CLIENT_HEADER;
	if (client->type == 'Q' || client->type == 'P')
		sql_end(&client->sql);
	return client_events[client->type];
}

static enum postgres_event eat_body(struct postgres_client *client, const char **next, const char *end)
{
	size_t taken = smaller((size_t)(end - *next), client->left);

	if (taken)
		look_into_body(client, *next, *next + taken);
	*next += taken;
	client->left -= (uint32_t)taken;
	return client->left ? POSTGRES_MORE : end_message(client);
}

/* A message that lies between next and end as a whole. Its end; NULL: there is none, or not all of it, or one too long. */
static inline const char *end_of_whole(const char *next, const char *end, uint32_t body_bytes_max)
{
	if (end - next < HEADER_BYTES)
		return NULL;
	uint32_t length = big_endian_32(next + 1);
	if (length - LENGTH_BYTES > body_bytes_max || (size_t)(end - next - 1) < length)
		return NULL;
	return next + 1 + (size_t)length;
}

struct whole_name {
	uint64_t name;
	const char *next; /* what follows it; NULL: it has no end, and is nobody's */
};

static inline struct whole_name whole_name(uint64_t basis, const char *next, const char *end)
{
	for (uint64_t name = basis; next < end; next++) {
		if (!*next)
			return (struct whole_name){ end_name(name), next + 1 };
		name = (name ^ (uint8_t)*next) * NAME_PRIME;
	}
	return (struct whole_name){ 0, NULL };
}

static inline void whole_bind(struct postgres_client *client, const char *next, const char *end)
{
	struct whole_name portal = whole_name(PORTAL_BASIS, next, end);

	client->portal = portal.name;
	client->statement = portal.next ? whole_name(STATEMENT_BASIS, portal.next, end).name : 0;
}

static inline void whole_target(struct postgres_client *client, const char *next, const char *end)
{
	client->statement = 0;
	client->portal = 0;
	client->is_of_portal = next < end && *next == 'P';
	if (client->is_of_portal)
		client->portal = whole_name(PORTAL_BASIS, next + 1, end).name;
	else if (next < end)
		client->statement = whole_name(STATEMENT_BASIS, next + 1, end).name;
}

/* The message that begins at *next, of those that come with each transaction, if all of it is there. False: it is not, or
 * of another kind. */
static inline __attribute__((always_inline)) bool pass_asked(struct postgres_client *client, const char **next, const char *end)
{
	const char *body = *next + HEADER_BYTES, *body_end = end_of_whole(*next, end, POSTGRES_SMALL_BYTES);

	if (!body_end)
		return false;
	client->type = (uint8_t)**next;
	switch (client->type) {
	case 'B':
		whole_bind(client, body, body_end);
		break;
	case 'E':
		client->portal = whole_name(PORTAL_BASIS, body, body_end).name;
		break;
	case 'C': case 'D':
		whole_target(client, body, body_end);
		break;
	case 'S': case 'd':
		break;
	default:
		return false;
	}
	*next = body_end;
	return true;
}

/* Goes on at next. Apart, so that who reads whole messages only does not save the registers that this needs. */
static __attribute__((noinline)) struct postgres_step go_on_client(struct postgres_client *client, const char *bytes,
								    const char *next, const char *end)
{
	enum postgres_event event = POSTGRES_MORE;

	while (next < end && event == POSTGRES_MORE) {
		switch (client->state) {
		case CLIENT_STARTUP:
			event = eat_startup_header(client, &next);
			if (client->state == CLIENT_STARTUP_BODY && !client->left)
				event = eat_startup_body(client, &next, end);
			break;
		case CLIENT_STARTUP_BODY:
			event = eat_startup_body(client, &next, end);
			break;
		case CLIENT_HEADER:
			if (!client->header_bytes && pass_asked(client, &next, end))
				event = client_events[client->type];
			else if (!eat_header(client, &next, end))
				event = POSTGRES_BROKEN;
			else if (client->state == CLIENT_BODY && !client->left)
				event = end_message(client);
			break;
		case CLIENT_BODY:
			event = eat_body(client, &next, end);
			break;
		default:
			return (struct postgres_step){ POSTGRES_MORE, (size_t)(end - bytes) };
		}
	}
	if (event == POSTGRES_BROKEN || event == POSTGRES_ENCRYPTED) {
		client->state = CLIENT_OVER;
		client->header_bytes = 0;
	}
	return (struct postgres_step){ event, (size_t)(next - bytes) };
}

struct postgres_step postgres_read_client(struct postgres_client *client, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;

	if (client->state == CLIENT_HEADER && !client->header_bytes && pass_asked(client, &next, end)) {
		enum postgres_event event = client_events[client->type];
		if (event != POSTGRES_MORE || next == end)
			return (struct postgres_step){ event, (size_t)(next - bytes) };
	}
	return go_on_client(client, bytes, next, end);
}

/* the server */

enum server_state {
	SERVER_HEADER,
	SERVER_BODY,        /* passed over */
	SERVER_FIELD,       /* ErrorResponse: the type of a field */
	SERVER_FIELD_TEXT,
	SERVER_SEVERITY,    /* the text of the field V, which is in no language (S is in the server's) */
	SERVER_SQLSTATE,    /* the text of the field C */
	SERVER_BROKEN,
};

void postgres_expect_negotiation(struct postgres_server *server)
{
	if (server->negotiations_due < UINT8_MAX)
		server->negotiations_due++;
}

/* What the end of such a message is, and 1; 0: there is no such type. */
enum { KNOWN = 1 };
static const uint8_t server_events[256] = {
	['C'] = KNOWN + POSTGRES_COMPLETE, ['I'] = KNOWN + POSTGRES_COMPLETE, ['s'] = KNOWN + POSTGRES_COMPLETE,
	['Z'] = KNOWN + POSTGRES_READY, ['E'] = KNOWN + POSTGRES_ERROR, ['G'] = KNOWN + POSTGRES_COPY_IN,
	['W'] = KNOWN + POSTGRES_COPY_BOTH,
	['R'] = KNOWN, ['S'] = KNOWN, ['K'] = KNOWN, ['v'] = KNOWN, ['T'] = KNOWN, ['D'] = KNOWN, ['N'] = KNOWN,
	['A'] = KNOWN, ['1'] = KNOWN, ['2'] = KNOWN, ['3'] = KNOWN, ['t'] = KNOWN, ['n'] = KNOWN, ['H'] = KNOWN,
	['d'] = KNOWN, ['c'] = KNOWN, ['V'] = KNOWN,
};

static enum postgres_event end_server_message(struct postgres_server *server)
{
	server->header_bytes = 0;
	server->state = SERVER_HEADER;
	return server_events[server->type] - KNOWN;
}

/* The one byte in answer to a negotiation. An error in its place is a message. */
static enum postgres_event eat_negotiation(struct postgres_server *server, char answer)
{
	server->negotiations_due--;
	switch (answer) {
	case 'S':
		return POSTGRES_TURNS_TLS;
	case 'G':
		return POSTGRES_TURNS_GSS;
	case 'N':
		return POSTGRES_STAYS_PLAIN;
	case 'E':
		server->type = 'E';
		server->left = 0;
		server->header_bytes = 1;
		return POSTGRES_MORE;
	}
	return POSTGRES_BROKEN;
}

static bool end_server_header(struct postgres_server *server)
{
	if (server->left < LENGTH_BYTES || server->left - LENGTH_BYTES > POSTGRES_LARGE_BYTES)
		return false;
	server->left -= LENGTH_BYTES;
	server->state = SERVER_BODY;
	if (server->type == 'E') {
		server->state = SERVER_FIELD;
		server->code_bytes = 0;
		server->is_fatal = false;
		memset(server->sqlstate, 0, sizeof(server->sqlstate));
	}
	return true;
}

/* False: this begins no message. */
static bool eat_server_header(struct postgres_server *server, const char **next, const char *end)
{
	if (!server->header_bytes) {
		server->type = (uint8_t)**next;
		server->left = 0;
		if (!server_events[server->type])
			return false;
	}
	if (!server->header_bytes && end - *next >= HEADER_BYTES) {
		server->header_bytes = HEADER_BYTES;
		server->left = big_endian_32(*next + 1);
		*next += HEADER_BYTES;
		return end_server_header(server);
	}
	if (server->header_bytes)
		server->left = server->left << 8 | (uint8_t)**next;
	++*next;
	return ++server->header_bytes < HEADER_BYTES || end_server_header(server);
}

static enum server_state state_of_field(char type)
{
	switch (type) {
	case '\0': /* the end; what might follow means nothing */
		return SERVER_BODY;
	case 'V':
		return SERVER_SEVERITY;
	case 'C':
		return SERVER_SQLSTATE;
	}
	return SERVER_FIELD_TEXT;
}

/* ErrorResponse: fields of a type and a string, up to one of type zero. */
static void eat_error(struct postgres_server *server, const char *next, const char *end)
{
	for (; next < end && server->state != SERVER_BODY; next++) {
		if (server->state == SERVER_FIELD) {
			server->state = (uint8_t)state_of_field(*next);
		} else if (!*next) {
			server->state = SERVER_FIELD;
		} else if (server->state == SERVER_SEVERITY) {
			server->is_fatal = *next == 'F' || *next == 'P'; /* FATAL, PANIC; else ERROR */
			server->state = SERVER_FIELD_TEXT;
		} else if (server->state == SERVER_SQLSTATE && server->code_bytes < sizeof(server->sqlstate)) {
			server->sqlstate[server->code_bytes++] = *next;
		}
	}
}

static enum postgres_event eat_server_body(struct postgres_server *server, const char **next, const char *end)
{
	size_t taken = smaller((size_t)(end - *next), server->left);

	if (server->state != SERVER_BODY)
		eat_error(server, *next, *next + taken);
	*next += taken;
	server->left -= (uint32_t)taken;
	return server->left ? POSTGRES_MORE : end_server_message(server);
}

/* Messages that lie here as a whole, up to one that means something; but for errors, whose bodies matter. */
static inline __attribute__((always_inline)) enum postgres_event pass_answered(const char **next, const char *end)
{
	enum postgres_event event = POSTGRES_MORE;
	const char *body_end;

	while (event == POSTGRES_MORE && (body_end = end_of_whole(*next, end, POSTGRES_LARGE_BYTES))) {
		uint8_t known = server_events[(uint8_t)**next];
		if (!known || known == KNOWN + POSTGRES_ERROR)
			break;
		event = known - KNOWN;
		*next = body_end;
	}
	return event;
}

static enum postgres_event step_server(struct postgres_server *server, const char **next, const char *end)
{
	if (server->state != SERVER_HEADER)
		return eat_server_body(server, next, end);
	if (!server->header_bytes) {
		if (server->negotiations_due)
			return eat_negotiation(server, *(*next)++);
		enum postgres_event event = pass_answered(next, end);
		if (event != POSTGRES_MORE || *next == end)
			return event;
	}
	if (!eat_server_header(server, next, end))
		return POSTGRES_BROKEN;
	return server->state != SERVER_HEADER && !server->left ? end_server_message(server) : POSTGRES_MORE;
}

static __attribute__((noinline)) struct postgres_step go_on_server(struct postgres_server *server, const char *bytes,
								    const char *next, const char *end)
{
	enum postgres_event event = POSTGRES_MORE;

	if (server->state == SERVER_BROKEN)
		return (struct postgres_step){ POSTGRES_MORE, (size_t)(end - bytes) };
	while (next < end && event == POSTGRES_MORE)
		event = step_server(server, &next, end);
	if (event == POSTGRES_BROKEN)
		server->state = SERVER_BROKEN;
	return (struct postgres_step){ event, (size_t)(next - bytes) };
}

struct postgres_step postgres_read_server(struct postgres_server *server, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;

	if (server->state == SERVER_HEADER && !server->header_bytes && !server->negotiations_due) {
		enum postgres_event event = pass_answered(&next, end);
		if (event != POSTGRES_MORE || next == end)
			return (struct postgres_step){ event, (size_t)(next - bytes) };
	}
	return go_on_server(server, bytes, next, end);
}
