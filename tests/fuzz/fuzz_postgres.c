/* fuzz_postgres - whatever bytes come, in whatever pieces, both sides of PostgreSQL's protocol stay within them, come to an
 * end, and say the same as for the bytes in one piece.
 * Input: side (bit 0) and whether a negotiation is due (bit 1; 1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/postgres.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct said {
	uint64_t hash;
	uint64_t events;
};

static void say(struct said *said, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		said->hash = (said->hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ULL;
}

union side {
	struct postgres_client client;
	struct postgres_server server;
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

static void say_event(struct said *said, bool is_server, const union side *side, enum postgres_event event)
{
	if (event == POSTGRES_MORE)
		return;
	said->events++;
	say(said, &event, sizeof(event));
	if (!is_server)
		say_client(said, &side->client, event);
	else if (event > POSTGRES_BROKEN && event < POSTGRES_TURNS_TLS)
		abort();
	else if (event == POSTGRES_ERROR)
		say(said, side->server.sqlstate, sizeof(side->server.sqlstate));
}

static void feed(bool is_server, union side *side, const char *bytes, size_t n, struct said *said)
{
	uint64_t steps_left = 16 + n;
	struct postgres_step step;

	do {
		step = is_server ? postgres_read_server(&side->server, bytes, n) : postgres_read_client(&side->client, bytes, n);
		if (step.used_bytes > n || !steps_left--)
			abort();
		bytes += step.used_bytes;
		n -= step.used_bytes;
		say_event(said, is_server, side, step.event);
	} while (step.event != POSTGRES_MORE);
	if (n)
		abort();
}

static struct said read_pieces(uint8_t how, const char *bytes, size_t n, uint32_t seed)
{
	bool is_server = how & 1;
	union side side = { .client = { 0 } };
	struct said said = { 0 };

	if (is_server)
		side.server = (struct postgres_server){ 0 };
	if (is_server && how & 2)
		postgres_expect_negotiation(&side.server);
	while (n) {
		size_t piece = n;
		if (seed) {
			seed = seed * 1664525 + 1013904223;
			piece = 1 + (seed >> 24) % 16;
			piece = piece < n ? piece : n;
		}
		/* A piece of its own, so that a sanitizer sees what reads beyond it. */
		char *copy = malloc(piece);
		if (!copy)
			abort();
		for (size_t i = 0; i < piece; i++)
			copy[i] = bytes[i];
		feed(is_server, &side, copy, piece, &said);
		free(copy);
		bytes += piece;
		n -= piece;
	}
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	const char *bytes = (const char *)data + 2;
	struct said whole = read_pieces(data[0], bytes, size - 2, 0);
	struct said pieces = read_pieces(data[0], bytes, size - 2, 1 + (uint32_t)data[1]);
	if (whole.hash != pieces.hash || whole.events != pieces.events)
		abort();
	postgres_begins(bytes, size - 2);
	return 0;
}
