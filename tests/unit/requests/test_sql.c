#include "../../../shim/requests/sql.h"
#include "check_main.h"
#include "guarded.h"

#include <string.h>

static const char *verb_of_pieces(enum sql_dialect dialect, const char *text, size_t n, size_t first, size_t second)
{
	const size_t ends[] = { first, second, n };
	struct sql sql;
	size_t at = 0;

	sql_begin(&sql, dialect);
	for (int i = 0; i < 3; i++) {
		sql_read(&sql, guarded(text + at, ends[i] - at), ends[i] - at);
		at = ends[i];
	}
	sql_end(&sql);
	ck_assert(sql_is_found(&sql));
	return sql_verb_name(sql.verb);
}

static const struct {
	enum sql_dialect dialect;
	const char *text;
	const char *verb;
} statements[] = {
	{ SQL_POSTGRES, "SELECT 1", "SELECT" },
	{ SQL_POSTGRES, "select", "SELECT" },
	{ SQL_POSTGRES, " \t\r\n\f\vInSeRt\ninto t values (1)", "INSERT" },
	{ SQL_POSTGRES, "(((select 1) union (select 2)))", "SELECT" },
	{ SQL_POSTGRES, "( (\n/* x */ TABLE t))", "TABLE" },
	{ SQL_POSTGRES, "-- a remark\nUPDATE t SET a = 1", "UPDATE" },
	{ SQL_POSTGRES, "-- a remark\rDELETE FROM t", "DELETE" },
	{ SQL_POSTGRES, "--\n--\n;;VACUUM;", "VACUUM" },
	{ SQL_POSTGRES, "/* a /* nested /* twice */ */ * / comment ***/COPY t FROM STDIN", "COPY" },
	{ SQL_POSTGRES, "/**//***//*/*/**/*/*/MERGE INTO t", "MERGE" },
	{ SQL_POSTGRES, "/*! SELECT */ BEGIN", "BEGIN" },
	{ SQL_POSTGRES, "/*traceparent='00-x'*/ SELECT 1", "SELECT" },
	{ SQL_POSTGRES, "/* never closed SELECT", "_EMPTY" },
	{ SQL_POSTGRES, "", "_EMPTY" },
	{ SQL_POSTGRES, " ; -- nothing", "_EMPTY" },
	{ SQL_POSTGRES, "-", "_OTHER" },
	{ SQL_POSTGRES, "/", "_OTHER" },
	{ SQL_POSTGRES, "- SELECT", "_OTHER" },
	{ SQL_POSTGRES, "/SELECT", "_OTHER" },
	{ SQL_POSTGRES, "# SELECT", "_OTHER" },
	{ SQL_POSTGRES, "*/ SELECT", "_OTHER" },
	{ SQL_POSTGRES, "'secret'", "_OTHER" },
	{ SQL_POSTGRES, "SELECTED", "_OTHER" },
	{ SQL_POSTGRES, "select1", "_OTHER" },
	{ SQL_POSTGRES, "select_x", "_OTHER" },
	{ SQL_POSTGRES, "select\xc3\xa4", "_OTHER" },
	{ SQL_POSTGRES, "SELECT*FROM t", "SELECT" },
	{ SQL_POSTGRES, "values(1)", "VALUES" },
	{ SQL_POSTGRES, "with x as (select 1) select * from x", "WITH" },
	{ SQL_POSTGRES, "IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM" },
	{ SQL_POSTGRES, "create_replication_slot s", "CREATE_REPLICATION_SLOT" },
	{ SQL_POSTGRES, "create_replication_slots s", "_OTHER" },
	{ SQL_POSTGRES, "creates_replication_slots_and_more_than_a_word_can_be", "_OTHER" },
	{ SQL_POSTGRES, "_OTHER", "_OTHER" },
	{ SQL_POSTGRES, "_EMPTY", "_OTHER" },
	{ SQL_MYSQL, "# a remark\nSHOW TABLES", "SHOW" },
	{ SQL_MYSQL, "#\r\n-- x\r\nREPLACE INTO t", "REPLACE" },
	{ SQL_MYSQL, "/* /* no nesting */ CALL p()", "CALL" },
	{ SQL_MYSQL, "/*!40101 SET NAMES utf8 */", "SET" },
	{ SQL_MYSQL, "/*!50003SELECT*/ 1", "SELECT" },
	{ SQL_MYSQL, "/*! */ /*!*/XA START 'x'", "XA" },
	{ SQL_MYSQL, "/*M!100201 CREATE */ TABLE t", "CREATE" },
	{ SQL_MYSQL, "/*Mx*/ USE d", "USE" },
	{ SQL_MYSQL, "/*M*/ USE d", "USE" },
	{ SQL_MYSQL, "/*MM!*/ USE d", "USE" },
	{ SQL_MYSQL, "/*!40000 /* inner */ DROP TABLE t */", "DROP" },
	{ SQL_MYSQL, "/*+ hint */ SELECT 1", "SELECT" },
	{ SQL_MYSQL, "*/ USE d", "USE" },
	{ SQL_MYSQL, "*", "_OTHER" },
	{ SQL_MYSQL, "-- only this", "_EMPTY" },
	{ SQL_MYSQL, "{ call p() }", "_OTHER" },
};

START_TEST(a_statement_has_the_same_verb_split_anywhere)
{
	const char *text = statements[_i].text;
	size_t n = strlen(text);

	for (size_t first = 0; first <= n; first++)
		for (size_t second = first; second <= n; second++)
			ck_assert_str_eq(verb_of_pieces(statements[_i].dialect, text, n, first, second), statements[_i].verb);
}
END_TEST

START_TEST(a_zero_byte_ends_a_statement_of_postgresql_only)
{
	ck_assert_str_eq(verb_of_pieces(SQL_POSTGRES, "\0SELECT", 7, 7, 7), "_EMPTY");
	ck_assert_str_eq(verb_of_pieces(SQL_POSTGRES, "SEL\0ECT", 7, 7, 7), "_OTHER");
	ck_assert_str_eq(verb_of_pieces(SQL_POSTGRES, "SELECT\0x", 8, 8, 8), "SELECT");
	ck_assert_str_eq(verb_of_pieces(SQL_MYSQL, "/*\0*/SELECT", 11, 11, 11), "SELECT");
	ck_assert_str_eq(verb_of_pieces(SQL_MYSQL, "\0SELECT", 7, 7, 7), "_OTHER");
}
END_TEST

START_TEST(comments_nest_deeper_than_any_stack)
{
	static char text[100000];
	size_t n = 0;

	for (int i = 0; i < 20000; i++, n += 2)
		memcpy(text + n, "/*", 2);
	for (int i = 0; i < 20000; i++, n += 2)
		memcpy(text + n, "*/", 2);
	memcpy(text + n, "FETCH", 5);
	ck_assert_str_eq(verb_of_pieces(SQL_POSTGRES, text, n + 5, 7, 50000), "FETCH");
}
END_TEST

START_TEST(every_verb_is_found_by_its_own_name_and_the_list_is_in_order)
{
	const char *before = "";

	for (uint32_t verb = SQL_EMPTY + 1; verb < SQL_VERB_COUNT; verb++) {
		const char *name = sql_verb_name(verb);
		ck_assert_int_lt(strcmp(before, name), 0);
		ck_assert_str_eq(verb_of_pieces(SQL_MYSQL, name, strlen(name), 0, 0), name);
		before = name;
	}
	ck_assert_str_eq(sql_verb_name(SQL_VERB_COUNT), "_OTHER");
	ck_assert_str_eq(sql_verb_name(UINT32_MAX), "_OTHER");
}
END_TEST

START_TEST(nothing_of_a_statement_is_kept_but_its_verb)
{
	struct sql sql;

	sql_begin(&sql, SQL_POSTGRES);
	sql_read(&sql, "canary", 6);
	ck_assert(!sql_is_found(&sql));
	sql_read(&sql, " SELECT", 7);
	ck_assert(sql_is_found(&sql));
	ck_assert_uint_eq(sql.verb, SQL_OTHER);
	for (size_t i = 0; i < sizeof(sql.word); i++)
		ck_assert_int_eq(sql.word[i], 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_statement_has_the_same_verb_split_anywhere, 0, sizeof(statements) / sizeof(statements[0]));
	tcase_add_test(tcase, a_zero_byte_ends_a_statement_of_postgresql_only);
	tcase_add_test(tcase, comments_nest_deeper_than_any_stack);
	tcase_add_test(tcase, every_verb_is_found_by_its_own_name_and_the_list_is_in_order);
	tcase_add_test(tcase, nothing_of_a_statement_is_kept_but_its_verb);
}

int main(void)
{
	return check_main("sql", add_tests);
}
