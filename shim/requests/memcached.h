#pragma once
/* memcached - both sides of memcached's protocols: text, meta commands among it, and binary. Bytes in, events out.
 * Context: call. Pure: knows no connection and no clock, keeps no pointer into the bytes it was given.
 * Bytes may come in pieces of any size; the events are the same.
 *
 * Which protocol a side speaks is told by its first byte (0x80 and 0x81: binary) and stays so. Lines are taken as
 * memcached 1.6 takes them: one that it refuses for its number of words, its key's length or its numbers has no data.
 * Sources: doc/protocol.txt, doc/protocol-binary.txt (draft-stone-memcache-binary-01) and protocol_binary.h of memcached.
 */
#include "../segment/counters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The closed list of names that may become a label: X(ID, "as the text protocol writes it"). Binary commands take the
 * name of the text command that does the same; from NOOP on there is none in text. */
#define MEMCACHED_OPERATIONS(X)                                                                                        \
	X(OTHER, "_OTHER")                                                                                             \
	X(GET, "get")                                                                                                  \
	X(SET, "set")                                                                                                  \
	X(MG, "mg")                                                                                                    \
	X(MS, "ms")                                                                                                    \
	X(GETS, "gets")                                                                                                \
	X(DELETE, "delete")                                                                                            \
	X(INCR, "incr")                                                                                                \
	X(ADD, "add")                                                                                                  \
	X(CAS, "cas")                                                                                                  \
	X(TOUCH, "touch")                                                                                              \
	X(GAT, "gat")                                                                                                  \
	X(GATS, "gats")                                                                                                \
	X(REPLACE, "replace")                                                                                          \
	X(APPEND, "append")                                                                                            \
	X(PREPEND, "prepend")                                                                                          \
	X(DECR, "decr")                                                                                                \
	X(MD, "md")                                                                                                    \
	X(MA, "ma")                                                                                                    \
	X(MN, "mn")                                                                                                    \
	X(ME, "me")                                                                                                    \
	X(STATS, "stats")                                                                                              \
	X(VERSION, "version")                                                                                          \
	X(QUIT, "quit")                                                                                                \
	X(FLUSH_ALL, "flush_all")                                                                                      \
	X(VERBOSITY, "verbosity")                                                                                      \
	X(WATCH, "watch")                                                                                              \
	X(LRU, "lru")                                                                                                  \
	X(LRU_CRAWLER, "lru_crawler")                                                                                  \
	X(SLABS, "slabs")                                                                                              \
	X(CACHE_MEMLIMIT, "cache_memlimit")                                                                            \
	X(EXTSTORE, "extstore")                                                                                        \
	X(REFRESH_CERTS, "refresh_certs")                                                                              \
	X(SHUTDOWN, "shutdown")                                                                                        \
	X(NOOP, "noop")                                                                                                \
	X(SASL_LIST_MECHS, "sasl_list_mechs")                                                                          \
	X(SASL_AUTH, "sasl_auth")                                                                                      \
	X(SASL_STEP, "sasl_step")

#define MEMCACHED_ENUM_OPERATION(id, name) MEMCACHED_##id,
enum memcached_operation { MEMCACHED_OPERATIONS(MEMCACHED_ENUM_OPERATION) MEMCACHED_OPERATION_COUNT };

const char *memcached_operation_name(enum memcached_operation operation);

enum memcached_event {
	MEMCACHED_MORE,   /* all bytes are used, the item goes on or the next one has not begun */
	MEMCACHED_ITEM,   /* a command or an answer is over */
	MEMCACHED_BROKEN, /* not memcached's; comes once, and whatever follows is used without an event */
};

struct memcached_step {
	enum memcached_event event;
	size_t used_bytes; /* of those given */
};

/* What must be known of a command to tell its answer from others'. */
struct memcached_asked {
	uint32_t tag;      /* binary: opaque; meta: hash of the O flag's token, else of the key if k asks for it; 0 = none */
	uint8_t operation; /* enum memcached_operation */
	bool is_binary;
	bool is_quiet;     /* the answer is left out where the outcome is the usual one */
};

enum { MEMCACHED_WORD_BYTES = 24, MEMCACHED_HEADER_BYTES = 24 };

/* Words of the line being read, and a binary header; between the two sides there is no difference. */
struct memcached_line {
	uint32_t words;        /* over so far */
	uint32_t line_bytes;
	uint32_t word_bytes;   /* of the word being read; more than kept if it is long */
	uint32_t hash;         /* of the word being read (FNV-1a), */
	uint32_t hash_before;  /* and without its last byte, which may prove to be the CR of the line's end */
	uint32_t header_bytes;
	char last;             /* byte of the word */
	char kept[MEMCACHED_WORD_BYTES]; /* of the word, or of the binary header */
};

/* All zero: ready for the first byte. */
struct memcached_command {
	uint8_t state;
	bool is_named;            /* asked.operation is known, though the item may go on */
	bool has_no_answer;       /* none will come: noreply, quit */
	bool opens_stream;        /* if its answer is no error: watch */
	bool is_refused;          /* its numbers or its key's length are wrong */
	bool asks_for_key;        /* flag k */
	bool is_text;             /* of all commands */
	uint32_t key_hash;
	uint64_t left_bytes;      /* of the data block with its line end, or of a binary body */
	struct memcached_asked asked; /* at MEMCACHED_ITEM; operation once is_named */
	struct memcached_line line;
};

/* Goes on to the end of the next command. Call until MEMCACHED_MORE. */
struct memcached_step memcached_read_command(struct memcached_command *command, const char *bytes, size_t n);

static inline bool memcached_command_is_within(const struct memcached_command *command)
{
	return command->state != 0;
}

enum memcached_answer {
	MEMCACHED_ANSWER_UNKNOWN, /* a line that fits the form but is none of the list; settles nothing */
	MEMCACHED_ANSWER_PLAIN,   /* binary, without an error */
	MEMCACHED_ANSWER_ERROR,   /* CLIENT_ERROR, SERVER_ERROR; binary: any */
	MEMCACHED_ANSWER_NO_COMMAND, /* ERROR */
	MEMCACHED_ANSWER_END,     /* after VALUE, STAT and the like, or alone */
	MEMCACHED_ANSWER_STORED,  /* NOT_STORED and EXISTS, too */
	MEMCACHED_ANSWER_NOT_FOUND,
	MEMCACHED_ANSWER_DELETED,
	MEMCACHED_ANSWER_TOUCHED,
	MEMCACHED_ANSWER_NUMBER,
	MEMCACHED_ANSWER_OK,      /* RESET, too */
	MEMCACHED_ANSWER_VERSION,
	MEMCACHED_ANSWER_ME,
	MEMCACHED_ANSWER_MN,
	MEMCACHED_ANSWER_HD,      /* from here on with tags */
	MEMCACHED_ANSWER_VA,
	MEMCACHED_ANSWER_EN,
	MEMCACHED_ANSWER_NF,
	MEMCACHED_ANSWER_NS,
	MEMCACHED_ANSWER_EX,
};

/* All zero: ready for the first byte. */
struct memcached_reply {
	uint8_t state;
	uint8_t answer;      /* at MEMCACHED_ITEM: enum memcached_answer */
	uint8_t error;       /* at MEMCACHED_ITEM: enum seg_error; a miss is none */
	uint8_t operation;   /* binary: that of the command, enum memcached_operation, */
	bool is_quiet;       /* and whether it is a quiet one */
	uint8_t line_kind;   /* of the line being read */
	bool is_binary;
	bool is_text;        /* of all answers */
	bool goes_on;        /* lines or packets of the same answer follow */
	bool has_opaque_tag; /* the tag is that of an O flag */
	bool is_malformed;   /* a length is none */
	uint32_t tag;        /* at MEMCACHED_ITEM: as in memcached_asked */
	uint64_t left_bytes; /* of a data block with its line end, or of a binary body */
	struct memcached_line line;
};

/* Goes on to the end of the next answer, which may be of many lines or packets. Call until MEMCACHED_MORE. */
struct memcached_step memcached_read_reply(struct memcached_reply *reply, const char *bytes, size_t n);

static inline bool memcached_reply_is_within(const struct memcached_reply *reply)
{
	return reply->state != 0;
}

/* n bytes of an answer passed that cannot be shown. False: they are not the inside of a data block. */
bool memcached_skip_reply(struct memcached_reply *reply, size_t n);

/* The answer may be the command's: by its tag, and by what such a command can say. */
bool memcached_may_answer(const struct memcached_reply *reply, const struct memcached_asked *asked);

/* A client's first bytes: a whole first line without its end, or at least MEMCACHED_HEADER_BYTES. True: they may be a
 * command of memcached, and the server's answer will tell: "get k", "quit" and few more are Redis' inline commands, too. */
bool memcached_may_begin(const char *bytes, size_t n);
