#pragma once
/* resp - the protocol of Redis, RESP2 and RESP3, as bytes in, events out: commands on one side, replies on the other.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given.
 * Bytes may come in pieces of any size; the events are the same.
 */
#include "redis_commands.h"

#include <stddef.h>

enum resp_event {
	RESP_MORE,   /* all bytes are used, the item goes on or the next one has not begun */
	RESP_ITEM,   /* a command or a reply is over */
	RESP_BROKEN, /* no RESP; comes once, and whatever follows is used without an event */
};

struct resp_step {
	enum resp_event event;
	size_t used_bytes; /* of those given */
};

/* The limits of Redis: proto-max-bulk-len at its default, arguments of a command, an inline command. */
#define RESP_BULK_BYTES (512u * 1024 * 1024)
#define RESP_ARGUMENTS (1024u * 1024)
#define RESP_INLINE_BYTES (64u * 1024)

/* The same for a run: RESP_ITEM stands for count (1 or more) of them, alike. */
struct resp_run {
	enum resp_event event;
	uint32_t count;
	size_t used_bytes;
};

#define RESP_HEAD_BYTES 32 /* a name of up to 20 bytes: nearly all */

/* All zero: ready for the first byte. */
struct resp_command {
	uint8_t state;
	bool is_negative;        /* the number being read */
	bool is_named;           /* command is final, though the item may go on */
	uint8_t digits;          /* of the number being read */
	uint32_t name_bytes;     /* longer than a name can be: it is none of the list */
	uint32_t arguments_left; /* those whose length was not read yet */
	uint32_t line_bytes;     /* of an inline command */
	uint64_t number;         /* being read; then bytes left of an argument with its line end */
	uint32_t command;        /* at RESP_ITEM, or once is_named */
	char name[REDIS_NAME_BYTES];
	/* What the last plain command began with, up to its name's line end: what begins the same is the same command. */
	char head[RESP_HEAD_BYTES];
	uint8_t head_bytes;      /* 0 = none */
	uint32_t head_arguments; /* beside the name */
	uint32_t head_command;
};

/* Goes on to the end of the next command. Call until RESP_MORE. */
struct resp_step resp_read_command(struct resp_command *command, const char *bytes, size_t n);

/* The same, and on to the end of the last of those behind it that have the same name, written alike, and as many
 * arguments. */
struct resp_run resp_read_commands(struct resp_command *command, const char *bytes, size_t n);

static inline bool resp_command_is_within(const struct resp_command *command)
{
	return command->state != 0;
}

#define RESP_WORD_BYTES 16 /* longer than any word that is looked for */

/* All zero: ready for the first byte. */
struct resp_reply {
	uint8_t state;
	bool is_negative;
	uint8_t digits;
	char type;           /* of the element being read */
	char top;            /* at RESP_ITEM: type of the reply; '>' = pushed, answers no command */
	uint8_t word_bytes;  /* at RESP_ITEM: of word */
	uint8_t begun;       /* elements begun, up to 3: the reply itself, its first one, others */
	uint64_t number;     /* being read; then bytes left of a string with its line end */
	uint64_t elements_left;
	char word[RESP_WORD_BYTES]; /* of an error its first word, such as WRONGTYPE; of an array or a push the first word of
	                             * its first element if that is a string, such as message */
};

/* Goes on to the end of the next reply. Call until RESP_MORE. */
struct resp_step resp_read_reply(struct resp_reply *reply, const char *bytes, size_t n);

/* The same, and on to the end of the last of those behind it that are plain like it, max (1 or more) in all. Plain is a
 * reply without an error that is a string or a number, and not pushed. */
struct resp_run resp_read_replies(struct resp_reply *reply, const char *bytes, size_t n, uint32_t max);

static inline bool resp_reply_is_within(const struct resp_reply *reply)
{
	return reply->state != 0;
}

/* n bytes of a reply passed that cannot be shown. False: they are not the inside of a string. */
bool resp_skip_reply(struct resp_reply *reply, size_t n);
