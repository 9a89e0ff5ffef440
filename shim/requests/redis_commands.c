/* Names in the table have spaces between container and subcommand, as labels show them; INFO commandstats writes "config|get"
 * for "CONFIG GET".
 */
#include "redis_commands.h"

#include "redis_hash.h"

#include "redis_table.inc"

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

uint32_t redis_command_find(const char name[REDIS_NAME_BYTES])
{
	for (uint32_t place = redis_hash(name);; place = redis_place_after(place)) {
		uint32_t command = place_of_hash[place];
		if (!command || memcmp(commands[command].name, name, REDIS_NAME_BYTES) == 0)
			return command;
	}
}

const char *redis_command_name(uint32_t command)
{
	return commands[command < COMMAND_COUNT ? command : REDIS_COMMAND_OTHER].name;
}

uint32_t redis_command_traits(uint32_t command)
{
	return command < COMMAND_COUNT ? commands[command].traits : 0;
}
