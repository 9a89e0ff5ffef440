/* fuzz_mysql - whatever bytes come, in whatever pieces, both sides of the protocol of MySQL and MariaDB stay within them,
 * come to an end, and say the same as for the bytes in one piece.
 * Input: side (1 byte), seed of the cuts (1 byte), capabilities that both agreed on (5 bytes, the highest first), how many
 * commands follow (modulo 8) and these: what is answered, one after the other, from the greeting on if there are none; bytes.
 */
#include "../../shim/requests/mysql.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	bool is_server;
	uint32_t seed;
	uint64_t capabilities;
	const uint8_t *commands;
	size_t commands_count;
	const char *bytes;
	size_t n;
};

struct sides {
	const struct input *input;
	struct mysql_client client;
	struct mysql_server server;
	size_t next_command;
};

static void on_client(struct said *said, struct mysql_client *client, enum mysql_event event)
{
	if (event > MYSQL_COMMAND)
		abort();
	if (event == MYSQL_HANDSHAKE)
		say(said, &client->capabilities, sizeof(client->capabilities));
	if (event != MYSQL_COMMAND)
		return;
	say(said, &client->command, 1);
	say(said, &client->statement, sizeof(client->statement));
	if (client->command == MYSQL_COM_QUERY || client->command == MYSQL_COM_STMT_PREPARE) {
		if (!sql_is_found(&client->sql) || client->sql.verb >= SQL_VERB_COUNT)
			abort();
		say(said, &client->sql.verb, 1);
	}
	if (client->sql.verb == SQL_LOAD)
		mysql_send_file(client);
}

static void on_server(struct said *said, struct mysql_server *server, enum mysql_event event)
{
	if (event > MYSQL_BROKEN && event < MYSQL_GREETING)
		abort();
	if (event == MYSQL_GREETING)
		say(said, &server->capabilities, sizeof(server->capabilities));
	if (event != MYSQL_ANSWER)
		return;
	if (!mysql_server_is_idle(server))
		abort();
	say(said, &server->is_error, 1);
	say(said, server->sqlstate, sizeof(server->sqlstate));
}

static struct mysql_step step(struct sides *sides, const char *bytes, size_t n)
{
	const struct input *input = sides->input;

	if (!input->is_server)
		return mysql_read_client(&sides->client, bytes, n);
	if (sides->next_command < input->commands_count && mysql_server_is_idle(&sides->server))
		mysql_expect(&sides->server, input->commands[sides->next_command++], 0);
	return mysql_read_server(&sides->server, bytes, n);
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	struct sides *sides = reader;
	uint64_t steps_left = 16 + n;
	struct mysql_step taken;

	do {
		taken = step(sides, bytes, n);
		if (taken.used_bytes > n || !steps_left--)
			abort();
		bytes += taken.used_bytes;
		n -= taken.used_bytes;
		if (taken.event == MYSQL_MORE)
			break;
		said->events++;
		say(said, &taken.event, sizeof(taken.event));
		if (sides->input->is_server)
			on_server(said, &sides->server, taken.event);
		else
			on_client(said, &sides->client, taken.event);
	} while (n);
	if (n)
		abort();
}

static void begin(struct sides *sides)
{
	const struct input *input = sides->input;

	sides->client.capabilities = input->capabilities;
	sides->server.capabilities = input->capabilities;
	mysql_agree(&sides->client, &sides->server);
	if (input->commands_count)
		mysql_expect(&sides->server, input->commands[sides->next_command++], 0);
	else
		sides->server.capabilities = 0; /* the greeting tells */
}

static struct said read_pieces(const struct input *input, uint32_t seed)
{
	struct sides sides = { .input = input };
	struct said said = { 0 };

	begin(&sides);
	feed_pieces(feed, &sides, input->bytes, input->n, seed, &said);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { FIXED_BYTES = 8 };
	struct input input = { 0 };

	if (size < FIXED_BYTES)
		return 0;
	input.is_server = data[0] & 1;
	input.seed = 1 + (uint32_t)data[1];
	for (int i = 2; i < 7; i++)
		input.capabilities = input.capabilities << 8 | data[i];
	input.commands = data + FIXED_BYTES;
	input.commands_count = data[7] % 8;
	if (size < FIXED_BYTES + input.commands_count)
		return 0;
	input.bytes = (const char *)data + FIXED_BYTES + input.commands_count;
	input.n = size - FIXED_BYTES - input.commands_count;
	need_same(read_pieces(&input, 0), read_pieces(&input, input.seed));
	mysql_greets(input.bytes, input.n);
	return 0;
}
