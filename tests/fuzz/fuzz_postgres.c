/* fuzz_postgres - whatever bytes come, in whatever pieces, both sides of PostgreSQL's protocol stay within them, come to an
 * end, and say the same as for the bytes in one piece.
 * Input: side (bit 0) and whether a negotiation is due (bit 1; 1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/postgres.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct parser {
	bool is_server;
	union {
		struct postgres_client client;
		struct postgres_server server;
	};
};

static void say_client(struct said *said, const struct postgres_client *client, enum postgres_event event)
{
	if (event > POSTGRES_TERMINATE)
		abort();
	if (event == POSTGRES_QUERY || event == POSTGRES_PARSE) {
		if (!sql_is_found(&client->sql) || client->sql.verb >= SQL_VERB_COUNT)
			abort();
		say(said, &client->sql.verb, 1);
	}
	if (event == POSTGRES_PARSE || event == POSTGRES_BIND)
		say(said, &client->statement, sizeof(client->statement));
	if (event == POSTGRES_BIND || event == POSTGRES_EXECUTE)
		say(said, &client->portal, sizeof(client->portal));
	if (event == POSTGRES_CLOSE || event == POSTGRES_DESCRIBE)
		say(said, client->is_of_portal ? &client->portal : &client->statement, sizeof(client->portal));
}

static void say_event(struct said *said, const struct parser *parser, enum postgres_event event)
{
	if (event == POSTGRES_MORE)
		return;
	said->events++;
	say(said, &event, sizeof(event));
	if (!parser->is_server)
		say_client(said, &parser->client, event);
	else if (event > POSTGRES_BROKEN && event < POSTGRES_TURNS_TLS)
		abort();
	else if (event == POSTGRES_ERROR)
		say(said, parser->server.sqlstate, sizeof(parser->server.sqlstate));
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	struct parser *parser = reader;
	uint64_t steps_left = 16 + n;
	struct postgres_step step;

	do {
		step = parser->is_server ? postgres_read_server(&parser->server, bytes, n) : postgres_read_client(&parser->client, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_event(said, parser, step.event);
	} while (step.event != POSTGRES_MORE);
	if (n)
		abort();
}

static struct said read_pieces(uint8_t how, const char *bytes, size_t n, uint32_t seed)
{
	struct parser parser = { .is_server = how & 1 };
	struct said said = { 0 };

	if (parser.is_server)
		parser.server = (struct postgres_server){ 0 };
	if (parser.is_server && how & 2)
		postgres_expect_negotiation(&parser.server);
	feed_pieces(feed, &parser, bytes, n, seed, &said);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	const char *bytes = (const char *)data + 2;
	need_same(read_pieces(data[0], bytes, size - 2, 0),
		  read_pieces(data[0], bytes, size - 2, 1 + (uint32_t)data[1]));
	postgres_begins(bytes, size - 2);
	return 0;
}
