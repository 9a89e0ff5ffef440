#pragma once
/* sql - the verb of an SQL statement: its first keyword, if that is in a closed list.
 * Context: call. Pure: keeps of the statement nothing but the keyword while it is being read.
 * Bytes may come in pieces of any size; the verb is the same.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQL_WORD_BYTES 24 /* three words of the machine; the longest keyword, CREATE_REPLICATION_SLOT, takes 23 */

/* What is no statement but takes part in the list, so that one number tells what a request asks for: X(ID, "name").
 * _OTHER: a keyword that is not in the list. _EMPTY: no keyword at all, only white space and comments. */
#define SQL_PSEUDO_VERBS(X)                                                                                            \
	X(OTHER, "_OTHER")                                                                                             \
	X(EMPTY, "_EMPTY")

/* The first keywords of all statements of PostgreSQL (manual, part VI, and the replication commands of its protocol
 * chapter), MySQL and MariaDB (their manuals' lists of SQL statements), in ascending order: X(KEYWORD). */
#define SQL_VERBS(X)                                                                                                   \
	X(ABORT) X(ALTER) X(ALTER_REPLICATION_SLOT) X(ANALYSE) X(ANALYZE) X(BACKUP) X(BASE_BACKUP) X(BEGIN) X(BINLOG)   \
	X(CACHE) X(CALL) X(CASE) X(CHANGE) X(CHECK) X(CHECKPOINT) X(CHECKSUM) X(CLONE) X(CLOSE) X(CLUSTER) X(COMMENT)   \
	X(COMMIT) X(COPY) X(CREATE) X(CREATE_REPLICATION_SLOT) X(DEALLOCATE) X(DECLARE) X(DELETE) X(DESC) X(DESCRIBE)   \
	X(DISCARD) X(DO) X(DROP) X(DROP_REPLICATION_SLOT) X(END) X(EXECUTE) X(EXPLAIN) X(FETCH) X(FLUSH) X(FOR) X(GET)  \
	X(GRANT) X(HANDLER) X(HELP) X(IDENTIFY_SYSTEM) X(IF) X(IMPORT) X(INSERT) X(INSTALL) X(KILL) X(LISTEN) X(LOAD)   \
	X(LOCK) X(LOOP) X(MERGE) X(MOVE) X(NOTIFY) X(OPTIMIZE) X(PREPARE) X(PURGE) X(READ_REPLICATION_SLOT)     \
	X(REASSIGN) X(REFRESH) X(REINDEX) X(RELEASE) X(RENAME) X(REPACK) X(REPAIR) X(REPEAT) X(REPLACE) X(RESET)        \
	X(RESIGNAL) X(RESTART) X(REVOKE) X(ROLLBACK) X(SAVEPOINT) X(SECURITY) X(SELECT) X(SET) X(SHOW)        \
	X(SHUTDOWN) X(SIGNAL) X(START) X(START_REPLICATION) X(STOP) X(TABLE) X(TIMELINE_HISTORY) X(TRUNCATE)            \
	X(UNINSTALL) X(UNLISTEN) X(UNLOCK) X(UPDATE) X(UPLOAD_MANIFEST) X(USE) X(VACUUM) X(VALUES) X(WAIT) X(WHILE) X(WITH) X(XA)

#define SQL_ENUM_PSEUDO(id, name) SQL_##id,
#define SQL_ENUM_VERB(keyword) SQL_##keyword,
enum sql_verb { SQL_PSEUDO_VERBS(SQL_ENUM_PSEUDO) SQL_VERBS(SQL_ENUM_VERB) SQL_VERB_COUNT };

/* Its name in labels; of a number that is no verb: _OTHER's. */
const char *sql_verb_name(uint32_t verb);

enum sql_dialect {
	SQL_POSTGRES, /* comments nest; a zero byte ends the statement */
	SQL_MYSQL,    /* '#' begins a comment, and what stands between a comment's beginning with ! and its end is executed */
};

/* Looks for the verb of one statement. */
struct sql {
	uint8_t state;
	uint8_t dialect;
	uint8_t verb;       /* enum sql_verb; final once sql_is_found */
	uint8_t word_bytes; /* more than SQL_WORD_BYTES: too long for a keyword */
	uint32_t depth;     /* of nested comments */
	char word[SQL_WORD_BYTES];
};

void sql_begin(struct sql *sql, enum sql_dialect dialect);

/* The next bytes of the statement; whatever follows its first keyword is of no interest and need not be given. */
void sql_read(struct sql *sql, const char *bytes, size_t n);

/* The statement is over: verb is final. */
void sql_end(struct sql *sql);

/* It cannot be looked for: verb is SQL_OTHER. */
void sql_refuse(struct sql *sql);

bool sql_is_found(const struct sql *sql);
