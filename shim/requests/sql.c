/* A machine that eats byte by byte up to the end of the first keyword. What may stand before that: white space, comments,
 * opening parentheses, and semicolons, since an empty statement is none.
 *
 * Comments (PostgreSQL manual 4.1.5; MySQL manual 11.7): from -- to the end of the line, in MySQL only if white space
 * follows, which makes no difference here, as no statement begins with a minus; in MySQL from # to the end of the line;
 * from slash and star to star and slash. MySQL executes what stands in such a comment that begins with ! (MariaDB's with
 * M!, too), if the number after it is not above the server's version; that number's limit is taken to be held, since
 * programs write these comments for servers that they know to be new enough.
 */
#include "sql.h"

#include <string.h>

#define SQL_NAME_PSEUDO(id, name) name,
#define SQL_NAME_VERB(keyword) #keyword,
static const char names[SQL_VERB_COUNT][SQL_WORD_BYTES] = {
	SQL_PSEUDO_VERBS(SQL_NAME_PSEUDO) SQL_VERBS(SQL_NAME_VERB)
};

enum { FIRST_KEYWORD = SQL_EMPTY + 1 };

enum sql_state {
	SQL_STATE_BEFORE,
	SQL_STATE_DASH,         /* after - */
	SQL_STATE_LINE,         /* within a comment that ends with the line */
	SQL_STATE_SLASH,        /* after / */
	SQL_STATE_OPENED,       /* after slash and star: what comes tells if MySQL executes it */
	SQL_STATE_OPENED_M,     /* after slash, star and M */
	SQL_STATE_VERSION,      /* the number after ! */
	SQL_STATE_STAR_BEFORE,  /* after a star outside of any comment: the end of one that is executed */
	SQL_STATE_COMMENT,
	SQL_STATE_COMMENT_STAR,
	SQL_STATE_COMMENT_SLASH,
	SQL_STATE_WORD,
	SQL_STATE_FOUND,
};

const char *sql_verb_name(uint32_t verb)
{
	return names[verb < SQL_VERB_COUNT ? verb : SQL_OTHER];
}

void sql_begin(struct sql *sql, enum sql_dialect dialect)
{
	sql->state = SQL_STATE_BEFORE;
	sql->dialect = (uint8_t)dialect;
	sql->verb = SQL_EMPTY;
	sql->word_bytes = 0;
	sql->depth = 0;
	memset(sql->word, 0, sizeof(sql->word));
}

bool sql_is_found(const struct sql *sql)
{
	return sql->state == SQL_STATE_FOUND;
}

/* The list is in ascending order of its bytes, and '_' comes after all capitals. */
static enum sql_verb find(const char word[SQL_WORD_BYTES])
{
	int low = FIRST_KEYWORD, high = SQL_VERB_COUNT - 1;

	while (low <= high) {
		int middle = (low + high) / 2;
		int order = memcmp(word, names[middle], SQL_WORD_BYTES);
		if (!order)
			return (enum sql_verb)middle;
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return SQL_OTHER;
}

static void found(struct sql *sql, enum sql_verb verb)
{
	sql->verb = (uint8_t)verb;
	sql->state = SQL_STATE_FOUND;
	memset(sql->word, 0, sizeof(sql->word));
}

static void end_word(struct sql *sql)
{
	found(sql, sql->word_bytes <= SQL_WORD_BYTES ? find(sql->word) : SQL_OTHER);
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Of a word that began with a letter: also what makes it an identifier, so that "select1" is no SELECT. */
static bool is_in_word(char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '$' || (c & 0x80);
}

static void add_to_word(struct sql *sql, char c)
{
	if (sql->word_bytes < SQL_WORD_BYTES)
		sql->word[sql->word_bytes++] = c >= 'a' && c <= 'z' ? (char)(c & ~0x20) : c;
	else
		sql->word_bytes = SQL_WORD_BYTES + 1;
}

static void eat_before(struct sql *sql, char c)
{
	if (is_space(c) || c == '(' || c == ';')
		return;
	if (is_letter(c)) {
		add_to_word(sql, c);
		sql->state = SQL_STATE_WORD;
	} else if (c == '-') {
		sql->state = SQL_STATE_DASH;
	} else if (c == '/') {
		sql->state = SQL_STATE_SLASH;
	} else if (c == '#' && sql->dialect == SQL_MYSQL) {
		sql->state = SQL_STATE_LINE;
	} else if (c == '*' && sql->dialect == SQL_MYSQL) {
		sql->state = SQL_STATE_STAR_BEFORE;
	} else {
		found(sql, SQL_OTHER);
	}
}

/* The second byte of what may be a comment, or end one. */
static void eat_second(struct sql *sql, char c, char due, enum sql_state next)
{
	if (c == due)
		sql->state = (uint8_t)next;
	else
		found(sql, SQL_OTHER);
}

static void eat_comment(struct sql *sql, char c)
{
	if (sql->state == SQL_STATE_COMMENT_STAR && c == '/') {
		sql->depth--;
		sql->state = sql->depth ? SQL_STATE_COMMENT : SQL_STATE_BEFORE;
	} else if (sql->state == SQL_STATE_COMMENT_SLASH && c == '*' && sql->depth < UINT32_MAX) {
		sql->depth++;
		sql->state = SQL_STATE_COMMENT;
	} else if (c == '*') {
		sql->state = SQL_STATE_COMMENT_STAR;
	} else if (c == '/' && sql->dialect == SQL_POSTGRES) {
		sql->state = SQL_STATE_COMMENT_SLASH;
	} else {
		sql->state = SQL_STATE_COMMENT;
	}
}

/* The first bytes of a comment. */
static void eat_opened(struct sql *sql, char c)
{
	bool may_execute = sql->dialect == SQL_MYSQL;

	if (may_execute && c == '!') {
		sql->state = SQL_STATE_VERSION;
	} else if (may_execute && c == 'M' && sql->state == SQL_STATE_OPENED) {
		sql->state = SQL_STATE_OPENED_M;
	} else {
		sql->depth = 1;
		eat_comment(sql, c);
	}
}

static void eat(struct sql *sql, char c)
{
	switch (sql->state) {
	case SQL_STATE_BEFORE:
		eat_before(sql, c);
		break;
	case SQL_STATE_DASH:
		eat_second(sql, c, '-', SQL_STATE_LINE);
		break;
	case SQL_STATE_LINE:
		if (c == '\n' || (c == '\r' && sql->dialect == SQL_POSTGRES))
			sql->state = SQL_STATE_BEFORE;
		break;
	case SQL_STATE_SLASH:
		eat_second(sql, c, '*', SQL_STATE_OPENED);
		break;
	case SQL_STATE_OPENED:
	case SQL_STATE_OPENED_M:
		eat_opened(sql, c);
		break;
	case SQL_STATE_VERSION:
		if (c < '0' || c > '9') {
			sql->state = SQL_STATE_BEFORE;
			eat_before(sql, c);
		}
		break;
	case SQL_STATE_STAR_BEFORE:
		eat_second(sql, c, '/', SQL_STATE_BEFORE);
		break;
	case SQL_STATE_COMMENT:
	case SQL_STATE_COMMENT_STAR:
	case SQL_STATE_COMMENT_SLASH:
		eat_comment(sql, c);
		break;
	case SQL_STATE_WORD:
		if (is_in_word(c))
			add_to_word(sql, c);
		else
			end_word(sql);
		break;
	}
}

void sql_read(struct sql *sql, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n && sql->state != SQL_STATE_FOUND; i++) {
		if (!bytes[i] && sql->dialect == SQL_POSTGRES)
			sql_end(sql);
		else
			eat(sql, bytes[i]);
	}
}

void sql_refuse(struct sql *sql)
{
	found(sql, SQL_OTHER);
}

void sql_end(struct sql *sql)
{
	switch (sql->state) {
	case SQL_STATE_FOUND:
		break;
	case SQL_STATE_WORD:
		end_word(sql);
		break;
	case SQL_STATE_DASH:
	case SQL_STATE_SLASH:
	case SQL_STATE_STAR_BEFORE:
		found(sql, SQL_OTHER);
		break;
	default:
		found(sql, SQL_EMPTY);
	}
}
