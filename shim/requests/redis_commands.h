#pragma once
/* redis_commands - the closed list of Redis commands that may become a label.
 * Context: call. Pure.
 */
#include <stdbool.h>
#include <stdint.h>

#define REDIS_NAME_BYTES 32 /* four words; the longest name, "CLUSTER COUNT-FAILURE-REPORTS", takes 29 */
#define REDIS_COMMANDS_MAX 512

enum { REDIS_COMMAND_OTHER = 0 }; /* none of the list; its name is "_OTHER" */

enum redis_trait {
	REDIS_IS_CONTAINER = 1,  /* its next word belongs to its name */
	REDIS_OPENS_STREAM = 2,  /* after its answer: no more requests (MONITOR, SYNC) */
	REDIS_SUBSCRIBES = 4,    /* answered for each channel, by an array or a push whose first string is its name in small */
	REDIS_GOES_ON = 8,       /* one of those that a subscriber of RESP2 may send besides */
	REDIS_REPLIES_ON = 16,   /* CLIENT REPLY ON: it and what follows is answered */
	REDIS_REPLIES_OFF = 32,  /* CLIENT REPLY OFF: neither is */
	REDIS_REPLIES_SKIP = 64, /* CLIENT REPLY SKIP: it and the next one are not */
};

/* Number of the command called name: upper case, one space before a subcommand, padded with zero. */
uint32_t redis_command_find(const char name[REDIS_NAME_BYTES]);

/* Its name, with a final NUL, and its enum redis_trait bits. */
const char *redis_command_name(uint32_t command);
uint32_t redis_command_traits(uint32_t command);
