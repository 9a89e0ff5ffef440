/* Both sides are machines that eat byte by byte where a byte can mean something, and by count where it cannot; whatever
 * they must remember between pieces is a number or the few bytes of a name, so no piece of the input is ever kept.
 *
 * A reply may nest: elements_left counts the elements still to be read at all depths together, which is enough to know
 * where the reply ends. An attribute ('|') adds its own pairs and is no element itself.
 *
 * Nearly all commands and replies lie whole in the bytes given and are written as everybody writes them. These are taken
 * at once (whole_command, whole_reply), to the same end as by the machines, which take everything else.
 */
#include "resp.h"

#include <string.h>

static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c & ~0x20) : c;
}

enum { PLAIN_DIGITS_MAX = 8 }; /* of numbers below all limits but that of arguments */

/* The number that ends a line at *next, which is then behind it. -1: it is not whole or not plain: look closer. */
static inline int64_t take_plain_number(const char **next, const char *end)
{
	const char *at = *next;
	int64_t number = 0;

	while (at < end && *at >= '0' && *at <= '9' && at - *next < PLAIN_DIGITS_MAX)
		number = number * 10 + (*at++ - '0');
	if (at == *next || end - at < 2 || at[0] != '\r' || at[1] != '\n')
		return -1;
	*next = at + 2;
	return number;
}

/* The length of a string at *next, whose type was read, and which is whole with its line end; *next is then behind it.
 * -1: look closer. */
static inline int64_t take_plain_string(const char **next, const char *end)
{
	int64_t n = take_plain_number(next, end);

	if (n < 0 || end - *next < n + 2)
		return -1;
	*next += n + 2;
	return n;
}

/* The bytes of a string at bytes, from its type on, that is whole and plain and shorter than 100: nearly all. 0: it is none. */
static inline size_t short_string(const char *bytes, const char *end)
{
	enum { BYTES_MIN = 6 }; /* "$0", "" */
	size_t room = (size_t)(end - bytes), head = 4;

	if (room < BYTES_MIN)
		return 0;
	unsigned n = (unsigned char)bytes[1] - (unsigned)'0', digit = (unsigned char)bytes[2] - (unsigned)'0';
	if (n > 9)
		return 0;
	if (digit <= 9) {
		n = n * 10 + digit;
		head = 5;
	}
	if (bytes[head - 2] != '\r' || bytes[head - 1] != '\n' || room < head + n + 2)
		return 0;
	return head + n + 2;
}

/* commands */

enum command_state {
	COMMAND_START,
	COMMAND_COUNT,    /* *N */
	COMMAND_DOLLAR,   /* $ is due */
	COMMAND_LENGTH,   /* $N */
	COMMAND_WORD,     /* the bytes of an argument that is part of the name */
	COMMAND_SKIP,     /* the bytes of another, and any argument's line end */
	COMMAND_INLINE,   /* words of a line */
	COMMAND_BROKEN,
};

/* The word that was read is over: it is the name, or a container's whose subcommand comes next. */
static void end_word(struct resp_command *command, bool is_last)
{
	if (command->name_bytes > REDIS_NAME_BYTES)
		command->command = REDIS_COMMAND_OTHER;
	else
		command->command = redis_command_find(command->name);
	command->is_named = is_last || !(redis_command_traits(command->command) & REDIS_IS_CONTAINER);
	if (!command->is_named && command->name_bytes < REDIS_NAME_BYTES)
		command->name[command->name_bytes++] = ' ';
}

static void add_to_name(struct resp_command *command, char c)
{
	if (command->name_bytes < REDIS_NAME_BYTES)
		command->name[command->name_bytes++] = upper(c);
	else
		command->name_bytes = REDIS_NAME_BYTES + 1;
}

static void begin_command(struct resp_command *command)
{
	memset(command->name, 0, sizeof(command->name));
	command->name_bytes = 0;
	command->is_named = false;
	command->command = REDIS_COMMAND_OTHER;
	command->line_bytes = 0;
}

static void begin_number(struct resp_command *command, enum command_state state)
{
	command->state = (uint8_t)state;
	command->number = 0;
	command->digits = 0;
	command->is_negative = false;
}

/* A digit or sign of a number in a line. False: none of these. */
static bool eat_digit(uint64_t *number, uint8_t *digits, bool *is_negative, char c)
{
	if (c == '-' && !*digits && !*is_negative) {
		*is_negative = true;
		return true;
	}
	if (c < '0' || c > '9' || *digits >= 18)
		return false;
	*number = *number * 10 + (uint64_t)(c - '0');
	++*digits;
	return true;
}

/* A command of no arguments is no command: Redis does not answer it. */
static bool end_count(struct resp_command *command)
{
	if (!command->digits || command->number > RESP_ARGUMENTS)
		return false;
	command->arguments_left = command->is_negative ? 0 : (uint32_t)command->number;
	command->state = command->arguments_left ? COMMAND_DOLLAR : COMMAND_START;
	return true;
}

static bool end_length(struct resp_command *command)
{
	if (!command->digits || command->is_negative || command->number > RESP_BULK_BYTES)
		return false;
	command->arguments_left--;
	command->state = command->is_named ? COMMAND_SKIP : COMMAND_WORD;
	command->number += 2; /* its line end */
	return true;
}

/* Eats a number up to its line's end. False: it is none. */
static bool eat_number(struct resp_command *command, const char **next, const char *end)
{
	while (*next < end) {
		char c = *(*next)++;
		if (c == '\n')
			return command->state == COMMAND_COUNT ? end_count(command) : end_length(command);
		if (c != '\r' && !eat_digit(&command->number, &command->digits, &command->is_negative, c))
			return false;
	}
	return true;
}

/* A container's name was read, and nothing of its subcommand yet. */
static bool awaits_subcommand(const struct resp_command *command)
{
	uint32_t n = command->name_bytes;

	return n && n <= REDIS_NAME_BYTES && command->name[n - 1] == ' ';
}

static void eat_word(struct resp_command *command, const char **next, const char *end)
{
	while (*next < end && command->number > 2) {
		add_to_name(command, *(*next)++);
		command->number--;
	}
	if (command->number > 2)
		return;
	end_word(command, !command->arguments_left);
	command->state = COMMAND_SKIP;
}

/* True: the command is over. */
static bool eat_argument(struct resp_command *command, const char **next, const char *end)
{
	uint64_t room = (uint64_t)(end - *next);
	uint64_t taken = room < command->number ? room : command->number;

	*next += taken;
	command->number -= taken;
	if (command->number)
		return false;
	command->state = command->arguments_left ? COMMAND_DOLLAR : COMMAND_START;
	return !command->arguments_left;
}

/* A word of an inline command ends at white space; further words than the name's are skipped. */
static void eat_inline_char(struct resp_command *command, char c)
{
	if (command->is_named)
		return;
	if (c != ' ' && c != '\t')
		add_to_name(command, c);
	else if (command->name_bytes && !awaits_subcommand(command))
		end_word(command, false);
}

/* True: the line is over, and it was no empty one. */
static bool end_inline(struct resp_command *command)
{
	command->state = COMMAND_START;
	if (!command->name_bytes)
		return false;
	if (!command->is_named) {
		if (awaits_subcommand(command))
			command->name[--command->name_bytes] = '\0';
		end_word(command, true);
	}
	return true;
}

static enum resp_event eat_inline(struct resp_command *command, const char **next, const char *end)
{
	while (*next < end) {
		char c = *(*next)++;
		if (c == '\n')
			return end_inline(command) ? RESP_ITEM : RESP_MORE;
		if (++command->line_bytes > RESP_INLINE_BYTES)
			return RESP_BROKEN;
		if (c != '\r')
			eat_inline_char(command, c);
	}
	return RESP_MORE;
}

/* So many arguments, whole and plain, are taken. False: they are not so. */
static inline bool take_arguments(const char **next, const char *end, int64_t count)
{
	for (; count > 0; count--) {
		if (*next == end || **next != '$')
			return false;
		size_t n = short_string(*next, end);
		*next += n ? n : 1;
		if (!n && take_plain_string(next, end) < 0)
			return false;
	}
	return true;
}

/* What it begins with is kept, if it is plain: its count, and its name to the line end. */
static void keep_head(struct resp_command *command, const char *bytes, size_t n, int64_t arguments)
{
	command->head_bytes = n <= RESP_HEAD_BYTES ? (uint8_t)n : 0;
	if (!command->head_bytes)
		return;
	memcpy(command->head, bytes, n);
	command->head_arguments = (uint32_t)arguments;
	command->head_command = command->command;
}

/* Takes a command of one plain word and its arguments, whole and plain; its state is not touched. 0: it is none. */
static size_t whole_command(struct resp_command *command, const char *bytes, const char *end)
{
	const char *next = bytes + 1;
	int64_t count = *bytes == '*' ? take_plain_number(&next, end) : -1;

	if (count < 1 || count > (int64_t)RESP_ARGUMENTS || next == end || *next++ != '$')
		return 0;
	int64_t name_bytes = take_plain_string(&next, end);
	if (name_bytes < 1 || name_bytes > REDIS_NAME_BYTES)
		return 0;
	begin_command(command);
	for (const char *c = next - 2 - name_bytes; c < next - 2; c++)
		command->name[command->name_bytes++] = upper(*c);
	end_word(command, count == 1);
	if (!command->is_named)
		return 0;
	keep_head(command, bytes, (size_t)(next - bytes), count - 1);
	return take_arguments(&next, end, count - 1) ? (size_t)(next - bytes) : 0;
}

enum { HEAD_BYTES_MIN = 11 }; /* *1 $1 X, each with a line end */

static inline uint64_t word_at(const char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

/* n is HEAD_BYTES_MIN or more: the last words compared may overlap. */
static inline bool is_same(const char *a, const char *b, size_t n)
{
	uint64_t difference = (word_at(a) ^ word_at(b)) | (word_at(a + n - 8) ^ word_at(b + n - 8));

	for (size_t i = 8; i + 8 < n; i += 8)
		difference |= word_at(a + i) ^ word_at(b + i);
	return !difference;
}

/* How many whole and plain commands that begin as the last one come next, max at most; *next is then behind them. */
static uint32_t count_alike(const struct resp_command *command, const char **next, const char *end, uint32_t max)
{
	size_t n = command->head_bytes;
	uint32_t count = 0, arguments = command->head_arguments;
	const char *at = *next;

	if (!n)
		return 0;
	for (; count < max && (size_t)(end - at) >= n && is_same(at, command->head, n); count++) {
		at += n;
		if (!take_arguments(&at, end, arguments))
			break;
		*next = at;
	}
	return count;
}

/* Takes commands that are whole and plain, alike, max at most, where one is to begin. 0: what comes is none. */
static uint32_t whole_commands(struct resp_command *command, const char **next, const char *end, uint32_t max)
{
	uint32_t count = count_alike(command, next, end, max);

	if (count) {
		command->command = command->head_command;
		command->is_named = true;
		return count;
	}
	size_t whole = *next == end ? 0 : whole_command(command, *next, end);
	if (!whole)
		return 0;
	*next += whole;
	return 1 + count_alike(command, next, end, max - 1);
}

/* By the machine, from whatever state. */
static struct resp_step read_command(struct resp_command *command, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;
	enum resp_event event = RESP_MORE;

	while (next < end && event == RESP_MORE) {
		switch (command->state) {
		case COMMAND_START:
			begin_command(command);
			if (*next == '*') {
				begin_number(command, COMMAND_COUNT);
				next++;
			} else {
				command->state = COMMAND_INLINE;
			}
			break;
		case COMMAND_COUNT:
		case COMMAND_LENGTH:
			if (!eat_number(command, &next, end))
				event = RESP_BROKEN;
			break;
		case COMMAND_DOLLAR:
			if (*next++ == '$')
				begin_number(command, COMMAND_LENGTH);
			else
				event = RESP_BROKEN;
			break;
		case COMMAND_WORD:
			eat_word(command, &next, end);
			break;
		case COMMAND_SKIP:
			if (eat_argument(command, &next, end))
				event = RESP_ITEM;
			break;
		case COMMAND_INLINE:
			event = eat_inline(command, &next, end);
			break;
		default:
			return (struct resp_step){ RESP_MORE, n };
		}
	}
	if (event == RESP_BROKEN) {
		command->state = COMMAND_BROKEN;
		command->is_named = false;
	}
	return (struct resp_step){ event, (size_t)(next - bytes) };
}

static struct resp_run read_commands(struct resp_command *command, const char *bytes, size_t n, uint32_t max)
{
	const char *next = bytes;
	uint32_t count = command->state == COMMAND_START ? whole_commands(command, &next, bytes + n, max) : 0;

	if (count)
		return (struct resp_run){ RESP_ITEM, count, (size_t)(next - bytes) };
	struct resp_step step = read_command(command, bytes, n);
	return (struct resp_run){ step.event, 1, step.used_bytes };
}

struct resp_run resp_read_commands(struct resp_command *command, const char *bytes, size_t n)
{
	return read_commands(command, bytes, n, UINT32_MAX);
}

struct resp_step resp_read_command(struct resp_command *command, const char *bytes, size_t n)
{
	struct resp_run run = read_commands(command, bytes, n, 1);

	return (struct resp_step){ run.event, run.used_bytes };
}

/* replies */

enum reply_state {
	REPLY_START,
	REPLY_TYPE,   /* an element's first byte is due */
	REPLY_LINE,   /* skipped to its end */
	REPLY_WORD,   /* a line whose first word is kept */
	REPLY_NUMBER, /* a length or a count */
	REPLY_STRING, /* bytes by count */
	REPLY_STRING_WORD, /* the same, first word kept */
	REPLY_BROKEN,
};

/* More elements than any reply has memory for: the bytes are no RESP. */
#define REPLY_ELEMENTS_MAX (1ULL << 40)

static bool end_element(struct resp_reply *reply)
{
	reply->elements_left--;
	reply->state = reply->elements_left ? REPLY_TYPE : REPLY_START;
	return !reply->elements_left;
}

/* False: no type of RESP. */
static bool begin_element(struct resp_reply *reply, char type)
{
	/* While an attribute is read, the element it belongs to is still to come, so more than one is left. */
	bool is_top = !reply->top && reply->elements_left == 1;

	if (is_top && type != '|')
		reply->top = type;
	if (reply->begun < 2)
		reply->begun++;
	else
		reply->begun = 3;
	reply->type = type;
	reply->number = 0;
	reply->digits = 0;
	reply->is_negative = false;
	switch (type) {
	case '-':
		reply->state = is_top ? REPLY_WORD : REPLY_LINE;
		return true;
	case '+': case ':': case '_': case '#': case ',': case '(':
		reply->state = REPLY_LINE;
		return true;
	case '$': case '=': case '!': case '*': case '~': case '%': case '>': case '|':
		reply->state = REPLY_NUMBER;
		return true;
	}
	return false;
}

static bool type_is_string(char type)
{
	return type == '$' || type == '=' || type == '!';
}

/* A string whose first word is kept: an error of RESP3, or the first element of an array or a push. */
static bool keeps_word(const struct resp_reply *reply)
{
	return reply->top == '!' || (reply->begun == 2 && (reply->top == '*' || reply->top == '>'));
}

/* The count of an aggregate, or a string's length, is known. RESP_ITEM: nothing follows it and the reply is over. */
static enum resp_event end_number(struct resp_reply *reply)
{
	uint64_t number = reply->is_negative ? 0 : reply->number;
	bool is_map = reply->type == '%' || reply->type == '|';

	if (!reply->digits)
		return RESP_BROKEN;
	if (type_is_string(reply->type) && !reply->is_negative) {
		reply->number = number + 2; /* its line end */
		reply->state = keeps_word(reply) ? REPLY_STRING_WORD : REPLY_STRING;
		return RESP_MORE;
	}
	if (type_is_string(reply->type)) /* null */
		return end_element(reply) ? RESP_ITEM : RESP_MORE;
	if (number > REPLY_ELEMENTS_MAX || reply->elements_left > REPLY_ELEMENTS_MAX)
		return RESP_BROKEN;
	reply->elements_left += is_map ? number * 2 : number;
	if (reply->type == '|') {
		reply->state = REPLY_TYPE;
		return RESP_MORE;
	}
	return end_element(reply) ? RESP_ITEM : RESP_MORE;
}

static enum resp_event eat_reply_number(struct resp_reply *reply, const char **next, const char *end)
{
	while (*next < end) {
		char c = *(*next)++;
		if (c == '\n')
			return end_number(reply);
		if (c != '\r' && !eat_digit(&reply->number, &reply->digits, &reply->is_negative, c))
			return RESP_BROKEN;
	}
	return RESP_MORE;
}

static enum resp_event eat_line(struct resp_reply *reply, const char **next, const char *end)
{
	/* Most lines are +OK and :1, where a loop is faster than a call. */
	for (int i = 0; i < 8 && *next < end; i++)
		if (*(*next)++ == '\n')
			return end_element(reply) ? RESP_ITEM : RESP_MORE;
	const char *line_end = memchr(*next, '\n', (size_t)(end - *next));
	*next = line_end ? line_end + 1 : end;
	return line_end && end_element(reply) ? RESP_ITEM : RESP_MORE;
}

/* True: the first word may go on. */
static bool keep_word_char(struct resp_reply *reply, char c)
{
	if (c == ' ' || c == '\r' || c == '\n' || reply->word_bytes == RESP_WORD_BYTES)
		return false;
	reply->word[reply->word_bytes++] = c;
	return true;
}

static void eat_word_line(struct resp_reply *reply, const char **next, const char *end)
{
	while (*next < end) {
		if (!keep_word_char(reply, **next)) {
			reply->state = REPLY_LINE;
			return;
		}
		++*next;
	}
}

static enum resp_event eat_string(struct resp_reply *reply, const char **next, const char *end)
{
	uint64_t room = (uint64_t)(end - *next);
	uint64_t taken = room < reply->number ? room : reply->number;

	if (reply->state == REPLY_STRING_WORD)
		for (uint64_t i = 0; i < taken && reply->state == REPLY_STRING_WORD; i++)
			if (!keep_word_char(reply, (*next)[i]))
				reply->state = REPLY_STRING;
	*next += taken;
	reply->number -= taken;
	return !reply->number && end_element(reply) ? RESP_ITEM : RESP_MORE;
}

enum { PLAIN_LINE_BYTES = 24 }; /* +OK, +QUEUED, any integer */

/* The bytes of a plain string, a short line or an integer, which begins here. 0: it is none of these. */
static inline size_t whole_reply(const char *bytes, const char *end)
{
	const char *next = bytes + 1, *line_end;
	size_t n;

	switch (*bytes) {
	case '$':
		n = short_string(bytes, end);
		if (n)
			return n;
		if (take_plain_string(&next, end) < 0)
			return 0;
		break;
	case '+':
	case ':':
		line_end = end - next > PLAIN_LINE_BYTES ? next + PLAIN_LINE_BYTES : end;
		while (next < line_end && *next != '\n')
			next++;
		if (next++ == line_end)
			return 0;
		break;
	default:
		return 0;
	}
	return (size_t)(next - bytes);
}

static struct resp_step read_reply(struct resp_reply *reply, const char *bytes, size_t n)
{
	const char *next = bytes, *end = bytes + n;
	enum resp_event event = RESP_MORE;

	while (next < end && event == RESP_MORE) {
		switch (reply->state) {
		case REPLY_START:
			/* What a master sends while a replica waits for its dump, so that it waits on. */
			if (*next == '\n') {
				next++;
				break;
			}
			reply->top = '\0';
			reply->word_bytes = 0;
			reply->begun = 0;
			reply->elements_left = 1;
			reply->state = REPLY_TYPE;
			break;
		case REPLY_TYPE:
			if (!begin_element(reply, *next++))
				event = RESP_BROKEN;
			break;
		case REPLY_LINE:
			event = eat_line(reply, &next, end);
			break;
		case REPLY_WORD:
			eat_word_line(reply, &next, end);
			break;
		case REPLY_NUMBER:
			event = eat_reply_number(reply, &next, end);
			break;
		case REPLY_STRING:
		case REPLY_STRING_WORD:
			event = eat_string(reply, &next, end);
			break;
		default:
			return (struct resp_step){ RESP_MORE, n };
		}
	}
	if (event == RESP_BROKEN)
		reply->state = REPLY_BROKEN;
	return (struct resp_step){ event, (size_t)(next - bytes) };
}

struct resp_run resp_read_replies(struct resp_reply *reply, const char *bytes, size_t n, uint32_t max)
{
	const char *next = bytes, *end = bytes + n;
	uint32_t count = 0;

	while (reply->state == REPLY_START && count < max && next < end) {
		size_t whole = whole_reply(next, end);
		if (!whole)
			break;
		reply->top = *next;
		next += whole;
		count++;
	}
	if (count) {
		reply->word_bytes = 0;
		return (struct resp_run){ RESP_ITEM, count, (size_t)(next - bytes) };
	}
	struct resp_step step = read_reply(reply, bytes, n);
	return (struct resp_run){ step.event, 1, step.used_bytes };
}

struct resp_step resp_read_reply(struct resp_reply *reply, const char *bytes, size_t n)
{
	struct resp_run run = resp_read_replies(reply, bytes, n, 1);

	return (struct resp_step){ run.event, run.used_bytes };
}

bool resp_skip_reply(struct resp_reply *reply, size_t n)
{
	/* The line end always goes through a call that shows it, or through the end of this string. */
	if (reply->state != REPLY_STRING || n >= reply->number)
		return false;
	reply->number -= n;
	return true;
}
