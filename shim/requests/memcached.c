/* Lines are read byte by byte, word by word: of a word only its length, its first bytes and a hash are kept, which is all
 * that any decision needs. Keys of a multi-get are passed over by memchr. A line ends at LF; a CR before it is not its last
 * word's. Between lines there are only counted bytes.
 *
 * What an answer is can be told without the command: END closes what VALUE, STAT and the like began, any other line is an
 * answer of its own. Whose answer it is needs the command's quietness, since a quiet one may have none.
 */
#include "memcached.h"

#include <string.h>

enum state {
	STATE_START,
	STATE_LINE,
	STATE_KEYS,   /* the rest of a line whose words do not matter */
	STATE_DATA,   /* left_bytes of a data block with its line end */
	STATE_HEADER, /* binary */
	STATE_BODY,
	STATE_ENDED,  /* after quit: nothing is read any more */
	STATE_BROKEN,
};

#define MAGIC_REQUEST '\x80'
#define MAGIC_RESPONSE '\x81'

enum {
	KEY_BYTES = 250,       /* KEY_MAX_LENGTH */
	META_WORDS = 19,       /* MFLAG_MAX_OPT_LENGTH less the end that memcached counts as one */
	LINE_BYTES = 64 << 10, /* four times the size of memcached's read buffer */
	KEYS_LINE_BYTES = 64 << 20, /* multi-gets have no limit of their own */
};

enum shape { SHAPE_PLAIN, SHAPE_KEYS, SHAPE_STORE, SHAPE_META, SHAPE_META_STORE };

struct operation {
	char name[16]; /* padded with zero, so that two comparisons of words tell */
	uint8_t shape;
	uint8_t words_min; /* of a line that is a command at all */
	uint8_t words_max;
	bool may_be_noreply;
};

#define ANY 255
static const struct operation operations[MEMCACHED_OPERATION_COUNT] = {
	[MEMCACHED_OTHER] = { "_OTHER", SHAPE_PLAIN, 0, ANY, false },
	[MEMCACHED_GET] = { "get", SHAPE_KEYS, 2, ANY, false },
	[MEMCACHED_SET] = { "set", SHAPE_STORE, 5, 6, true },
	[MEMCACHED_MG] = { "mg", SHAPE_META, 2, META_WORDS, false },
	[MEMCACHED_MS] = { "ms", SHAPE_META_STORE, 3, META_WORDS, false },
	[MEMCACHED_GETS] = { "gets", SHAPE_KEYS, 2, ANY, false },
	[MEMCACHED_DELETE] = { "delete", SHAPE_PLAIN, 2, 4, true },
	[MEMCACHED_INCR] = { "incr", SHAPE_PLAIN, 3, 4, true },
	[MEMCACHED_ADD] = { "add", SHAPE_STORE, 5, 6, true },
	[MEMCACHED_CAS] = { "cas", SHAPE_STORE, 6, 7, true },
	[MEMCACHED_TOUCH] = { "touch", SHAPE_PLAIN, 3, 4, true },
	[MEMCACHED_GAT] = { "gat", SHAPE_KEYS, 3, ANY, false },
	[MEMCACHED_GATS] = { "gats", SHAPE_KEYS, 3, ANY, false },
	[MEMCACHED_REPLACE] = { "replace", SHAPE_STORE, 5, 6, true },
	[MEMCACHED_APPEND] = { "append", SHAPE_STORE, 5, 6, true },
	[MEMCACHED_PREPEND] = { "prepend", SHAPE_STORE, 5, 6, true },
	[MEMCACHED_DECR] = { "decr", SHAPE_PLAIN, 3, 4, true },
	[MEMCACHED_MD] = { "md", SHAPE_META, 2, META_WORDS, false },
	[MEMCACHED_MA] = { "ma", SHAPE_META, 2, META_WORDS, false },
	[MEMCACHED_MN] = { "mn", SHAPE_PLAIN, 1, ANY, false },
	[MEMCACHED_ME] = { "me", SHAPE_PLAIN, 2, ANY, false },
	[MEMCACHED_STATS] = { "stats", SHAPE_PLAIN, 1, ANY, false },
	[MEMCACHED_VERSION] = { "version", SHAPE_PLAIN, 1, ANY, false },
	[MEMCACHED_QUIT] = { "quit", SHAPE_PLAIN, 1, ANY, false },
	[MEMCACHED_FLUSH_ALL] = { "flush_all", SHAPE_PLAIN, 1, 3, true },
	[MEMCACHED_VERBOSITY] = { "verbosity", SHAPE_PLAIN, 2, 3, true },
	[MEMCACHED_WATCH] = { "watch", SHAPE_PLAIN, 1, ANY, true },
	[MEMCACHED_LRU] = { "lru", SHAPE_PLAIN, 2, ANY, true },
	[MEMCACHED_LRU_CRAWLER] = { "lru_crawler", SHAPE_PLAIN, 2, ANY, false },
	[MEMCACHED_SLABS] = { "slabs", SHAPE_PLAIN, 3, ANY, true },
	[MEMCACHED_CACHE_MEMLIMIT] = { "cache_memlimit", SHAPE_PLAIN, 2, 3, true },
	[MEMCACHED_EXTSTORE] = { "extstore", SHAPE_PLAIN, 2, ANY, true },
	[MEMCACHED_REFRESH_CERTS] = { "refresh_certs", SHAPE_PLAIN, 1, ANY, false },
	[MEMCACHED_SHUTDOWN] = { "shutdown", SHAPE_PLAIN, 1, ANY, false },
	[MEMCACHED_NOOP] = { "noop", SHAPE_PLAIN, 0, ANY, false },
	[MEMCACHED_SASL_LIST_MECHS] = { "sasl_list_mechs", SHAPE_PLAIN, 0, ANY, false },
	[MEMCACHED_SASL_AUTH] = { "sasl_auth", SHAPE_PLAIN, 0, ANY, false },
	[MEMCACHED_SASL_STEP] = { "sasl_step", SHAPE_PLAIN, 0, ANY, false },
};

const char *memcached_operation_name(enum memcached_operation operation)
{
#define OPERATION_NAME(id, name) name,
	static const char *const names[] = { MEMCACHED_OPERATIONS(OPERATION_NAME) };

	return names[operation < MEMCACHED_OPERATION_COUNT ? operation : MEMCACHED_OTHER];
}

/* protocol_binary.h; what is not set is _OTHER, and not quiet. */
struct opcode {
	uint8_t operation;
	bool is_quiet;
};

static const struct opcode opcodes[] = {
	[0x00] = { MEMCACHED_GET, false },        [0x01] = { MEMCACHED_SET, false },
	[0x02] = { MEMCACHED_ADD, false },        [0x03] = { MEMCACHED_REPLACE, false },
	[0x04] = { MEMCACHED_DELETE, false },     [0x05] = { MEMCACHED_INCR, false },
	[0x06] = { MEMCACHED_DECR, false },       [0x07] = { MEMCACHED_QUIT, false },
	[0x08] = { MEMCACHED_FLUSH_ALL, false },  [0x09] = { MEMCACHED_GET, true },
	[0x0a] = { MEMCACHED_NOOP, false },       [0x0b] = { MEMCACHED_VERSION, false },
	[0x0c] = { MEMCACHED_GET, false },        [0x0d] = { MEMCACHED_GET, true },
	[0x0e] = { MEMCACHED_APPEND, false },     [0x0f] = { MEMCACHED_PREPEND, false },
	[0x10] = { MEMCACHED_STATS, false },      [0x11] = { MEMCACHED_SET, true },
	[0x12] = { MEMCACHED_ADD, true },         [0x13] = { MEMCACHED_REPLACE, true },
	[0x14] = { MEMCACHED_DELETE, true },      [0x15] = { MEMCACHED_INCR, true },
	[0x16] = { MEMCACHED_DECR, true },        [0x17] = { MEMCACHED_QUIT, true },
	[0x18] = { MEMCACHED_FLUSH_ALL, true },   [0x19] = { MEMCACHED_APPEND, true },
	[0x1a] = { MEMCACHED_PREPEND, true },     [0x1b] = { MEMCACHED_VERBOSITY, false },
	[0x1c] = { MEMCACHED_TOUCH, false },      [0x1d] = { MEMCACHED_GAT, false },
	[0x1e] = { MEMCACHED_GAT, true },         [0x20] = { MEMCACHED_SASL_LIST_MECHS, false },
	[0x21] = { MEMCACHED_SASL_AUTH, false },  [0x22] = { MEMCACHED_SASL_STEP, false },
	[0x23] = { MEMCACHED_GAT, false },        [0x24] = { MEMCACHED_GAT, true },
};

static struct opcode opcode_of(char byte)
{
	uint8_t number = (uint8_t)byte;

	return number < sizeof(opcodes) / sizeof(opcodes[0]) ? opcodes[number] : (struct opcode){ MEMCACHED_OTHER, false };
}

/* lines */

#define FNV_BASIS 2166136261u
#define FNV_PRIME 16777619u

static void begin_word(struct memcached_line *line)
{
	line->word_bytes = 0;
	line->hash = FNV_BASIS;
	line->hash_before = FNV_BASIS;
}

static void begin_line(struct memcached_line *line)
{
	line->words = 0;
	line->line_bytes = 0;
	begin_word(line);
}

/* The first not_hashed bytes of a word are left out of its hash: they are the letter of a flag. */
static void add_to_word(struct memcached_line *line, char c, uint32_t not_hashed)
{
	if (line->word_bytes < MEMCACHED_WORD_BYTES)
		line->kept[line->word_bytes] = c;
	line->last = c;
	line->hash_before = line->hash;
	if (line->word_bytes++ >= not_hashed)
		line->hash = (line->hash ^ (unsigned char)c) * FNV_PRIME;
}

/* The line is over: a CR before its LF is not the word's, unless it is all that there is. */
static void drop_line_end(struct memcached_line *line)
{
	if (!line->word_bytes || line->last != '\r' || (line->word_bytes == 1 && !line->words))
		return;
	line->word_bytes--;
	line->hash = line->hash_before;
}

static bool word_is(const struct memcached_line *line, const char *word)
{
	size_t n = strlen(word);

	return line->word_bytes == n && memcmp(line->kept, word, n) == 0;
}

/* As strtol reads it: perhaps a sign, then digits. */
static bool read_number(const struct memcached_line *line, bool *is_negative, uint64_t *ret_number)
{
	uint32_t i = 0;
	uint64_t number = 0;

	if (line->word_bytes >= MEMCACHED_WORD_BYTES || !line->word_bytes)
		return false;
	*is_negative = line->kept[0] == '-';
	if (line->kept[0] == '-' || line->kept[0] == '+')
		i++;
	if (i == line->word_bytes || line->word_bytes - i > 20)
		return false;
	for (; i < line->word_bytes; i++) {
		if (line->kept[i] < '0' || line->kept[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(line->kept[i] - '0');
	}
	*ret_number = number; /* of 20 digits the least bits, where nobody cares for more than that it is a number */
	return true;
}

/* A data block's length and its line end: at most INT_MAX. */
static bool read_length(const struct memcached_line *line, uint64_t *ret_bytes)
{
	bool is_negative;
	uint64_t number;

	if (!read_number(line, &is_negative, &number) || is_negative || line->word_bytes > 19 || number > INT32_MAX - 2)
		return false;
	*ret_bytes = number + 2;
	return true;
}

static uint32_t tag_of(uint32_t hash)
{
	return hash ? hash : 1;
}

static uint32_t number_32(const char *bytes)
{
	const unsigned char *b = (const unsigned char *)bytes;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint32_t number_16(const char *bytes)
{
	const unsigned char *b = (const unsigned char *)bytes;

	return (uint32_t)b[0] << 8 | b[1];
}

/* True: the header is whole. */
static bool eat_header(struct memcached_line *line, const char **next, const char *end)
{
	size_t room = (size_t)(end - *next), missing = MEMCACHED_HEADER_BYTES - line->header_bytes;
	size_t taken = room < missing ? room : missing;

	memcpy(line->kept + line->header_bytes, *next, taken);
	line->header_bytes += (uint32_t)taken;
	*next += taken;
	return line->header_bytes == MEMCACHED_HEADER_BYTES;
}

/* True: the bytes that were left have passed. */
static bool eat_bytes(uint64_t *left_bytes, const char **next, const char *end)
{
	uint64_t room = (uint64_t)(end - *next);
	uint64_t taken = room < *left_bytes ? room : *left_bytes;

	*next += taken;
	*left_bytes -= taken;
	return !*left_bytes;
}

/* commands */

static uint8_t operation_of(const char *word, uint32_t n)
{
	char name[16] = { 0 };

	if (n >= sizeof(name))
		return MEMCACHED_OTHER;
	memcpy(name, word, n);
	for (int operation = MEMCACHED_OTHER + 1; operation < MEMCACHED_NOOP; operation++)
		if (memcmp(operations[operation].name, name, sizeof(name)) == 0)
			return (uint8_t)operation;
	return MEMCACHED_OTHER;
}

static void begin_command(struct memcached_command *command)
{
	command->is_named = false;
	command->has_no_answer = false;
	command->opens_stream = false;
	command->is_refused = false;
	command->asks_for_key = false;
	command->key_hash = 0;
	command->left_bytes = 0;
	command->asked = (struct memcached_asked){ 0 };
	begin_line(&command->line);
	command->line.header_bytes = 0;
}

/* <name> <key> <flags> <exptime> <bytes> ... */
static void end_store_word(struct memcached_command *command, uint32_t index)
{
	const struct memcached_line *line = &command->line;
	bool is_negative;
	uint64_t number;

	if (index == 1)
		command->is_refused |= line->word_bytes > KEY_BYTES;
	else if (index == 2 || index == 3)
		command->is_refused |= !read_number(line, &is_negative, &number) || (index == 2 && is_negative);
	else if (index == 4)
		command->is_refused |= !read_length(line, &command->left_bytes);
	else if (index == 5 && command->asked.operation == MEMCACHED_CAS)
		command->is_refused |= !read_number(line, &is_negative, &number);
}

/* <name> <key> [<bytes>] <flag>* */
static void end_meta_word(struct memcached_command *command, uint32_t index, bool has_data)
{
	const struct memcached_line *line = &command->line;

	if (index == 1) {
		command->is_refused |= line->word_bytes > KEY_BYTES;
		command->key_hash = line->hash;
	} else if (index == 2 && has_data) {
		command->is_refused |= !read_length(line, &command->left_bytes);
	} else if (line->kept[0] == 'q') {
		command->asked.is_quiet = true;
	} else if (line->kept[0] == 'k') {
		command->asks_for_key = true;
	} else if (line->kept[0] == 'O') {
		command->asked.tag = tag_of(line->hash);
	}
}

static void end_command_word(struct memcached_command *command)
{
	struct memcached_line *line = &command->line;
	uint32_t index = line->words++;

	if (!index) {
		command->asked.operation = operation_of(line->kept, line->word_bytes);
		command->is_named = true;
	} else {
		uint8_t shape = operations[command->asked.operation].shape;
		if (shape == SHAPE_STORE)
			end_store_word(command, index);
		else if (shape == SHAPE_META || shape == SHAPE_META_STORE)
			end_meta_word(command, index, shape == SHAPE_META_STORE);
	}
}

/* The last word of the line is still in it. */
static enum memcached_event end_command_line(struct memcached_command *command)
{
	struct memcached_line *line = &command->line;
	bool is_noreply = word_is(line, "noreply");

	if (line->word_bytes)
		end_command_word(command);
	const struct operation *operation = &operations[command->asked.operation];
	bool is_counted = line->words >= operation->words_min && line->words <= operation->words_max;
	command->state = STATE_START;
	command->is_named = true;
	/* "delete noreply" is about a key of that name. */
	bool is_key = command->asked.operation == MEMCACHED_DELETE && line->words == 2;
	command->has_no_answer = is_counted && operation->may_be_noreply && is_noreply && !is_key;
	command->opens_stream = command->asked.operation == MEMCACHED_WATCH;
	if (command->asks_for_key && !command->asked.tag)
		command->asked.tag = tag_of(command->key_hash);
	if (command->asked.operation == MEMCACHED_QUIT) {
		command->has_no_answer = true;
		command->state = STATE_ENDED;
	} else if (is_counted && !command->is_refused && command->left_bytes) {
		command->state = STATE_DATA;
		return MEMCACHED_MORE;
	}
	return MEMCACHED_ITEM;
}

/* What is no word of the name any more is passed over where it does not matter. */
static void end_word_of_command(struct memcached_command *command)
{
	if (!command->line.word_bytes)
		return;
	end_command_word(command);
	begin_word(&command->line);
	if (operations[command->asked.operation].shape == SHAPE_KEYS)
		command->state = STATE_KEYS;
}

static enum memcached_event eat_command_line(struct memcached_command *command, const char **next, const char *end)
{
	struct memcached_line *line = &command->line;

	while (*next < end && command->state == STATE_LINE) {
		char c = *(*next)++;
		if (++line->line_bytes > LINE_BYTES)
			return MEMCACHED_BROKEN;
		if (c == '\n') {
			drop_line_end(line);
			return end_command_line(command);
		}
		if (c == ' ')
			end_word_of_command(command);
		else
			add_to_word(line, c, line->words != 1);
	}
	return MEMCACHED_MORE;
}

static enum memcached_event eat_keys(struct memcached_command *command, const char **next, const char *end)
{
	const char *line_end = memchr(*next, '\n', (size_t)(end - *next));
	size_t taken = (size_t)((line_end ? line_end + 1 : end) - *next);

	if (taken > KEYS_LINE_BYTES - command->line.line_bytes)
		return MEMCACHED_BROKEN;
	command->line.line_bytes += (uint32_t)taken;
	*next += taken;
	if (!line_end)
		return MEMCACHED_MORE;
	command->state = STATE_START;
	return MEMCACHED_ITEM;
}

/* Magic, opcode, key length (2), extras length, data type, reserved (2), body length (4), opaque (4), CAS (8). */
static enum memcached_event end_command_header(struct memcached_command *command)
{
	const char *header = command->line.kept;
	struct opcode opcode = opcode_of(header[1]);

	command->asked = (struct memcached_asked){
		.operation = opcode.operation,
		.is_quiet = opcode.is_quiet,
		.is_binary = true,
		.tag = number_32(header + 12),
	};
	command->is_named = true;
	command->left_bytes = number_32(header + 8);
	command->state = command->left_bytes ? STATE_BODY : STATE_START;
	if (command->asked.operation == MEMCACHED_QUIT) {
		command->has_no_answer = command->asked.is_quiet;
		command->state = STATE_ENDED;
		return MEMCACHED_ITEM;
	}
	return command->left_bytes ? MEMCACHED_MORE : MEMCACHED_ITEM;
}

static enum memcached_event begin_command_item(struct memcached_command *command, char first)
{
	bool was_binary = command->asked.is_binary;

	begin_command(command);
	command->is_text |= !was_binary && first != MAGIC_REQUEST;
	if (!command->is_text && first != MAGIC_REQUEST)
		return MEMCACHED_BROKEN;
	command->state = command->is_text ? STATE_LINE : STATE_HEADER;
	return MEMCACHED_MORE;
}

struct memcached_step memcached_read_command(struct memcached_command *command, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;
	enum memcached_event event = MEMCACHED_MORE;

	while (next < end && event == MEMCACHED_MORE) {
		switch (command->state) {
		case STATE_START:
			event = begin_command_item(command, *next);
			break;
		case STATE_LINE:
			event = eat_command_line(command, &next, end);
			break;
		case STATE_KEYS:
			event = eat_keys(command, &next, end);
			break;
		case STATE_HEADER:
			if (eat_header(&command->line, &next, end))
				event = end_command_header(command);
			break;
		case STATE_DATA:
		case STATE_BODY:
			if (eat_bytes(&command->left_bytes, &next, end)) {
				command->state = STATE_START;
				event = MEMCACHED_ITEM;
			}
			break;
		default:
			return (struct memcached_step){ MEMCACHED_MORE, n };
		}
	}
	if (event == MEMCACHED_BROKEN) {
		command->state = STATE_BROKEN;
		command->is_named = false;
	}
	return (struct memcached_step){ event, (size_t)(next - bytes) };
}

/* replies */

enum line_kind {
	LINE_ANSWER,  /* an answer of one line, or the last line of one of many */
	LINE_VALUE,   /* VALUE <key> <flags> <bytes> [<cas>], data, and more lines */
	LINE_VA,      /* VA <bytes> <flag>*, data */
	LINE_GOES_ON, /* STAT and the like: more lines */
	LINE_NUMBER,  /* the answer of incr; with a second number a line of "stats sizes" of old: LINE_GOES_ON */
};

struct answer_word {
	const char *word;
	uint8_t line_kind;
	uint8_t answer;
	uint8_t error;
};

static const struct answer_word answer_words[] = {
	{ "END", LINE_ANSWER, MEMCACHED_ANSWER_END, SEG_ERROR_NONE },
	{ "VALUE", LINE_VALUE, MEMCACHED_ANSWER_END, SEG_ERROR_NONE },
	{ "STORED", LINE_ANSWER, MEMCACHED_ANSWER_STORED, SEG_ERROR_NONE },
	{ "HD", LINE_ANSWER, MEMCACHED_ANSWER_HD, SEG_ERROR_NONE },
	{ "VA", LINE_VA, MEMCACHED_ANSWER_VA, SEG_ERROR_NONE },
	{ "EN", LINE_ANSWER, MEMCACHED_ANSWER_EN, SEG_ERROR_NONE },
	{ "NF", LINE_ANSWER, MEMCACHED_ANSWER_NF, SEG_ERROR_NONE },
	{ "NS", LINE_ANSWER, MEMCACHED_ANSWER_NS, SEG_ERROR_NONE },
	{ "EX", LINE_ANSWER, MEMCACHED_ANSWER_EX, SEG_ERROR_NONE },
	{ "MN", LINE_ANSWER, MEMCACHED_ANSWER_MN, SEG_ERROR_NONE },
	{ "ME", LINE_ANSWER, MEMCACHED_ANSWER_ME, SEG_ERROR_NONE },
	{ "OK", LINE_ANSWER, MEMCACHED_ANSWER_OK, SEG_ERROR_NONE },
	{ "DELETED", LINE_ANSWER, MEMCACHED_ANSWER_DELETED, SEG_ERROR_NONE },
	{ "TOUCHED", LINE_ANSWER, MEMCACHED_ANSWER_TOUCHED, SEG_ERROR_NONE },
	{ "NOT_FOUND", LINE_ANSWER, MEMCACHED_ANSWER_NOT_FOUND, SEG_ERROR_NONE },
	{ "NOT_STORED", LINE_ANSWER, MEMCACHED_ANSWER_STORED, SEG_ERROR_NONE },
	{ "EXISTS", LINE_ANSWER, MEMCACHED_ANSWER_STORED, SEG_ERROR_NONE },
	{ "STAT", LINE_GOES_ON, MEMCACHED_ANSWER_END, SEG_ERROR_NONE },
	{ "ITEM", LINE_GOES_ON, MEMCACHED_ANSWER_END, SEG_ERROR_NONE },
	{ "PREFIX", LINE_GOES_ON, MEMCACHED_ANSWER_END, SEG_ERROR_NONE },
	{ "mg", LINE_GOES_ON, MEMCACHED_ANSWER_END, SEG_ERROR_NONE }, /* lru_crawler mgdump, which EN ends */
	{ "VERSION", LINE_ANSWER, MEMCACHED_ANSWER_VERSION, SEG_ERROR_NONE },
	{ "RESET", LINE_ANSWER, MEMCACHED_ANSWER_OK, SEG_ERROR_NONE },
	{ "ERROR", LINE_ANSWER, MEMCACHED_ANSWER_NO_COMMAND, SEG_ERROR_MEMCACHED_ERROR },
	{ "ERROR:", LINE_ANSWER, MEMCACHED_ANSWER_NO_COMMAND, SEG_ERROR_MEMCACHED_ERROR },
	{ "CLIENT_ERROR", LINE_ANSWER, MEMCACHED_ANSWER_ERROR, SEG_ERROR_MEMCACHED_CLIENT_ERROR },
	{ "SERVER_ERROR", LINE_ANSWER, MEMCACHED_ANSWER_ERROR, SEG_ERROR_MEMCACHED_SERVER_ERROR },
};

static const struct answer_word *find_answer_word(const struct memcached_line *line)
{
	for (size_t i = 0; i < sizeof(answer_words) / sizeof(answer_words[0]); i++)
		if (word_is(line, answer_words[i].word))
			return &answer_words[i];
	return NULL;
}

/* Such as BUSY, BADCLASS, WATCHER_TOO_MANY. */
static bool is_capital_word(const struct memcached_line *line)
{
	if (!line->word_bytes || line->word_bytes > MEMCACHED_WORD_BYTES)
		return false;
	for (uint32_t i = 0; i < line->word_bytes; i++)
		if ((line->kept[i] < 'A' || line->kept[i] > 'Z') && line->kept[i] != '_')
			return false;
	return true;
}

/* The first word tells what the line is. False: it is no line of memcached. */
static bool read_answer_word(struct memcached_reply *reply)
{
	const struct memcached_line *line = &reply->line;
	const struct answer_word *word = find_answer_word(line);
	bool is_negative;
	uint64_t number;

	reply->error = SEG_ERROR_NONE;
	if (word) {
		reply->line_kind = word->line_kind;
		reply->answer = word->answer;
		reply->error = word->error;
		return true;
	}
	if (line->word_bytes > 4 && memcmp(line->kept, "key=", 4) == 0) { /* lru_crawler metadump */
		reply->line_kind = LINE_GOES_ON;
		reply->answer = MEMCACHED_ANSWER_END;
		return true;
	}
	if (line->word_bytes && line->kept[0] >= '0' && line->kept[0] <= '9' && read_number(line, &is_negative, &number)) {
		reply->line_kind = LINE_NUMBER;
		reply->answer = MEMCACHED_ANSWER_NUMBER;
		return true;
	}
	reply->line_kind = LINE_ANSWER;
	reply->answer = MEMCACHED_ANSWER_UNKNOWN;
	return is_capital_word(line);
}

/* <bytes> of VALUE and VA; flags of the meta commands' answers. False: it is no line of memcached. */
static bool read_later_word(struct memcached_reply *reply, uint32_t index)
{
	const struct memcached_line *line = &reply->line;
	bool is_negative;
	uint64_t number;

	if ((reply->line_kind == LINE_VALUE && index == 3) || (reply->line_kind == LINE_VA && index == 1))
		return read_length(line, &reply->left_bytes);
	if (reply->line_kind == LINE_NUMBER) {
		reply->line_kind = LINE_GOES_ON;
		return index == 1 && read_number(line, &is_negative, &number);
	}
	if (reply->answer >= MEMCACHED_ANSWER_HD && line->kept[0] == 'O') {
		reply->tag = tag_of(line->hash);
		reply->has_opaque_tag = true;
	} else if (reply->answer >= MEMCACHED_ANSWER_HD && line->kept[0] == 'k' && !reply->has_opaque_tag) {
		reply->tag = tag_of(line->hash);
	}
	return true;
}

static bool end_reply_word(struct memcached_reply *reply)
{
	uint32_t index = reply->line.words++;
	bool is_good = index ? read_later_word(reply, index) : read_answer_word(reply);

	begin_word(&reply->line);
	return is_good;
}

static enum memcached_event end_reply_line(struct memcached_reply *reply)
{
	bool has_data = reply->line_kind == LINE_VALUE || reply->line_kind == LINE_VA;

	reply->goes_on = reply->line_kind == LINE_VALUE || reply->line_kind == LINE_GOES_ON;
	if (has_data && !reply->left_bytes)
		return MEMCACHED_BROKEN; /* its length is missing */
	reply->state = has_data ? STATE_DATA : reply->goes_on ? STATE_LINE : STATE_START;
	begin_line(&reply->line);
	return has_data || reply->goes_on ? MEMCACHED_MORE : MEMCACHED_ITEM;
}

/* Lines without a limit are none of memcached's, whose longest are of a key and a few numbers. */
static enum memcached_event eat_reply_line(struct memcached_reply *reply, const char **next, const char *end)
{
	struct memcached_line *line = &reply->line;

	while (*next < end) {
		char c = *(*next)++;
		if (++line->line_bytes > LINE_BYTES)
			return MEMCACHED_BROKEN;
		if (c == '\n')
			drop_line_end(line);
		if (c != '\n' && c != ' ') {
			add_to_word(line, c, 1);
			continue;
		}
		if (line->word_bytes && !end_reply_word(reply))
			return MEMCACHED_BROKEN;
		if (c == '\n')
			return line->words ? end_reply_line(reply) : MEMCACHED_BROKEN;
	}
	return MEMCACHED_MORE;
}

/* A miss and a store whose condition did not hold are none, as in text. */
static uint8_t error_of_status(uint32_t status)
{
	switch (status) {
	case 0x00: /* no error */
	case 0x01: /* key not found */
	case 0x02: /* key exists */
	case 0x05: /* item not stored */
	case 0x21: /* authentication continues */
		return SEG_ERROR_NONE;
	case 0x03:
		return SEG_ERROR_MEMCACHED_TOO_LARGE;
	case 0x04:
		return SEG_ERROR_MEMCACHED_INVALID_ARGUMENTS;
	case 0x06:
		return SEG_ERROR_MEMCACHED_NON_NUMERIC;
	case 0x20:
		return SEG_ERROR_MEMCACHED_AUTH_ERROR;
	case 0x81:
		return SEG_ERROR_MEMCACHED_UNKNOWN_COMMAND;
	case 0x82:
		return SEG_ERROR_MEMCACHED_OUT_OF_MEMORY;
	}
	return SEG_ERROR_OTHER;
}

/* As a command's header, with the status in the place of the reserved bytes. A stat is answered by a packet for each
 * statistic and an empty one. */
static enum memcached_event end_reply_header(struct memcached_reply *reply)
{
	const char *header = reply->line.kept;
	uint32_t status = number_16(header + 6);
	struct opcode opcode = opcode_of(header[1]);

	reply->operation = opcode.operation;
	reply->is_quiet = opcode.is_quiet;
	reply->tag = number_32(header + 12);
	reply->error = error_of_status(status);
	reply->answer = reply->error == SEG_ERROR_NONE ? MEMCACHED_ANSWER_PLAIN : MEMCACHED_ANSWER_ERROR;
	reply->left_bytes = number_32(header + 8);
	reply->goes_on = reply->operation == MEMCACHED_STATS && status == 0 && reply->left_bytes;
	reply->line.header_bytes = 0;
	reply->state = reply->left_bytes ? STATE_BODY : STATE_START;
	return reply->left_bytes ? MEMCACHED_MORE : MEMCACHED_ITEM;
}

/* What follows the data: more of the answer, or nothing. */
static enum memcached_event end_reply_data(struct memcached_reply *reply)
{
	if (!reply->goes_on) {
		reply->state = STATE_START;
		return MEMCACHED_ITEM;
	}
	reply->state = reply->is_binary ? STATE_HEADER : STATE_LINE;
	return MEMCACHED_MORE;
}

static enum memcached_event begin_reply(struct memcached_reply *reply, char first)
{
	reply->is_text |= !reply->is_binary && first != MAGIC_RESPONSE;
	if (!reply->is_text && first != MAGIC_RESPONSE)
		return MEMCACHED_BROKEN;
	reply->is_binary = !reply->is_text;
	reply->state = reply->is_text ? STATE_LINE : STATE_HEADER;
	reply->goes_on = false;
	reply->has_opaque_tag = false;
	reply->tag = 0;
	reply->left_bytes = 0;
	reply->line.header_bytes = 0;
	begin_line(&reply->line);
	return MEMCACHED_MORE;
}

struct memcached_step memcached_read_reply(struct memcached_reply *reply, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;
	enum memcached_event event = MEMCACHED_MORE;

	while (next < end && event == MEMCACHED_MORE) {
		switch (reply->state) {
		case STATE_START:
			event = begin_reply(reply, *next);
			break;
		case STATE_LINE:
			event = eat_reply_line(reply, &next, end);
			break;
		case STATE_HEADER:
			/* Of every packet of a stat. */
			if (!reply->line.header_bytes && *next != MAGIC_RESPONSE)
				event = MEMCACHED_BROKEN;
			else if (eat_header(&reply->line, &next, end))
				event = end_reply_header(reply);
			break;
		case STATE_DATA:
		case STATE_BODY:
			if (eat_bytes(&reply->left_bytes, &next, end))
				event = end_reply_data(reply);
			break;
		default:
			return (struct memcached_step){ MEMCACHED_MORE, n };
		}
	}
	if (event == MEMCACHED_BROKEN)
		reply->state = STATE_BROKEN;
	return (struct memcached_step){ event, (size_t)(next - bytes) };
}

bool memcached_skip_reply(struct memcached_reply *reply, size_t n)
{
	/* The end always goes through a call that shows it: a data block's line end, or the next packet. */
	if ((reply->state != STATE_DATA && reply->state != STATE_BODY) || n >= reply->left_bytes)
		return false;
	reply->left_bytes -= n;
	return true;
}

/* whose is whose */

#define SAYS(answer) (1u << MEMCACHED_ANSWER_##answer)
#define SAYS_ERRORS (SAYS(ERROR) | SAYS(NO_COMMAND) | SAYS(UNKNOWN))
#define SAYS_STORED (SAYS(STORED) | SAYS(NOT_FOUND) | SAYS_ERRORS)
#define SAYS_OK (SAYS(OK) | SAYS_ERRORS)

/* What a text command can say (doc/protocol.txt), a bit each; 0 = anything. */
static const uint32_t says[MEMCACHED_OPERATION_COUNT] = {
	[MEMCACHED_GET] = SAYS(END) | SAYS_ERRORS,
	[MEMCACHED_GETS] = SAYS(END) | SAYS_ERRORS,
	[MEMCACHED_GAT] = SAYS(END) | SAYS_ERRORS,
	[MEMCACHED_GATS] = SAYS(END) | SAYS_ERRORS,
	[MEMCACHED_SET] = SAYS_STORED,
	[MEMCACHED_ADD] = SAYS_STORED,
	[MEMCACHED_REPLACE] = SAYS_STORED,
	[MEMCACHED_APPEND] = SAYS_STORED,
	[MEMCACHED_PREPEND] = SAYS_STORED,
	[MEMCACHED_CAS] = SAYS_STORED,
	[MEMCACHED_DELETE] = SAYS(DELETED) | SAYS(NOT_FOUND) | SAYS_ERRORS,
	[MEMCACHED_INCR] = SAYS(NUMBER) | SAYS(NOT_FOUND) | SAYS_ERRORS,
	[MEMCACHED_DECR] = SAYS(NUMBER) | SAYS(NOT_FOUND) | SAYS_ERRORS,
	[MEMCACHED_TOUCH] = SAYS(TOUCHED) | SAYS(NOT_FOUND) | SAYS_ERRORS,
	[MEMCACHED_MG] = SAYS(HD) | SAYS(VA) | SAYS(EN) | SAYS_ERRORS,
	[MEMCACHED_MS] = SAYS(HD) | SAYS(NS) | SAYS(EX) | SAYS(NF) | SAYS_ERRORS,
	[MEMCACHED_MD] = SAYS(HD) | SAYS(NF) | SAYS(EX) | SAYS_ERRORS,
	[MEMCACHED_MA] = SAYS(HD) | SAYS(VA) | SAYS(NF) | SAYS(NS) | SAYS(EX) | SAYS_ERRORS,
	[MEMCACHED_MN] = SAYS(MN),
	[MEMCACHED_ME] = SAYS(ME) | SAYS(EN) | SAYS_ERRORS,
	[MEMCACHED_STATS] = SAYS(END) | SAYS_OK,
	[MEMCACHED_VERSION] = SAYS(VERSION) | SAYS_ERRORS,
	[MEMCACHED_FLUSH_ALL] = SAYS_OK,
	[MEMCACHED_VERBOSITY] = SAYS_OK,
	[MEMCACHED_WATCH] = SAYS_OK,
	[MEMCACHED_LRU] = SAYS_OK,
	[MEMCACHED_LRU_CRAWLER] = SAYS(END) | SAYS(EN) | SAYS_OK,
	[MEMCACHED_SLABS] = SAYS_OK,
	[MEMCACHED_CACHE_MEMLIMIT] = SAYS_OK,
	[MEMCACHED_EXTSTORE] = SAYS_OK,
	[MEMCACHED_REFRESH_CERTS] = SAYS_OK,
	[MEMCACHED_SHUTDOWN] = SAYS_OK,
};

/* What it leaves out when it is quiet: flag q. A line that is no command has no flags. */
static uint32_t kept_quiet(uint8_t operation)
{
	switch (operation) {
	case MEMCACHED_MG:
		return SAYS(EN) | SAYS(NO_COMMAND) | SAYS(UNKNOWN);
	case MEMCACHED_MA:
		return SAYS(HD) | SAYS(VA) | SAYS(NO_COMMAND) | SAYS(UNKNOWN);
	default:
		return SAYS(HD) | SAYS(NO_COMMAND) | SAYS(UNKNOWN);
	}
}

static bool may_say(const struct memcached_asked *asked, uint8_t answer)
{
	uint32_t bits = says[asked->operation];

	if (asked->is_quiet)
		bits &= ~kept_quiet(asked->operation);
	return !bits || bits >> answer & 1;
}

bool memcached_may_answer(const struct memcached_reply *reply, const struct memcached_asked *asked)
{
	if (asked->is_binary)
		return reply->is_quiet == asked->is_quiet && reply->operation == asked->operation && reply->tag == asked->tag;
	/* Of the others none carries the command's tag. */
	if (reply->answer >= MEMCACHED_ANSWER_HD && reply->tag != asked->tag)
		return false;
	return may_say(asked, reply->answer);
}

bool memcached_may_begin(const char *bytes, size_t n)
{
	struct memcached_command command = { 0 };

	if (n && bytes[0] == MAGIC_REQUEST)
		return n >= MEMCACHED_HEADER_BYTES && (uint8_t)bytes[1] < 0x40 && !bytes[5] &&
		       number_16(bytes + 2) + (uint8_t)bytes[4] <= number_32(bytes + 8);
	struct memcached_step step = memcached_read_command(&command, bytes, n);
	if (step.event == MEMCACHED_MORE)
		step = memcached_read_command(&command, "\n", 1);
	const struct operation *operation = &operations[command.asked.operation];
	if (command.asked.operation == MEMCACHED_OTHER || command.is_refused || step.event == MEMCACHED_BROKEN)
		return false;
	/* Words that are keys are not counted. */
	return command.line.words >= operation->words_min || (operation->shape == SHAPE_KEYS && n > strlen(operation->name) + 1);
}
