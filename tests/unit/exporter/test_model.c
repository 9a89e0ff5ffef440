#include "../../../exporter/model.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct made_session made;

static void setup(void)
{
	made_init(&made);
}

static void teardown(void)
{
	made_deinit(&made);
}

static struct snapshot *snapshot;
static struct names names;

/* made must not change between this and model_close. */
static struct model *model_open(void)
{
	snapshot = snapshot_take(&made.seg);
	ck_assert_ptr_nonnull(snapshot);
	names = made_names(&made);
	struct model *model = model_build(snapshot, &names);
	ck_assert_ptr_nonnull(model);
	return model;
}

static void model_close(struct model *model)
{
	model_free(model);
	snapshot_free(snapshot);
}

static struct model_table tabulate(const struct model *model, enum model_by by, const char *endpoint)
{
	struct model_table table;

	ck_assert_int_eq(model_tabulate(model, by, endpoint, true, &table), 0);
	return table;
}

static const struct model_row *row(const struct model_table *table, const char *function)
{
	for (uint32_t i = 0; i < table->count; i++)
		if (table->rows[i].function && !strcmp(table->rows[i].function, function))
			return &table->rows[i];
	ck_abort_msg("no row %s", function);
	return NULL;
}

static void commands(const char *const *list)
{
	for (; *list; list++)
		made_command(&made, *list);
}

static const char *const functions[] = {
	"module m /lib/m.so", "module n /lib/n.so", "function m 0x100 0x200 f f.c:1", "function m 0x200 0x300 g g.c:2",
	"function n 0x100 0x200 h -", "endpoint a http GET \"GET /a\"", "endpoint b http GET \"GET /b\"", NULL
};

static void expect(const struct model_row *at, uint64_t tottime_ms, uint64_t cumtime_ms, uint64_t calls, uint64_t primitive)
{
	ck_assert_uint_eq(at->tottime_ns, tottime_ms * 1000000);
	ck_assert_uint_eq(at->cumtime_ns, cumtime_ms * 1000000);
	ck_assert_uint_eq(at->calls, calls);
	ck_assert_uint_eq(at->primitive_calls, primitive);
}

START_TEST(tottime_is_the_leafs_and_cumtime_everybodys_on_the_stack)
{
	commands(functions);
	made_command(&made, "stack a 1 10 3 1 f g h");
	made_command(&made, "stack a 2 20 1 2 f g");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	ck_assert_uint_eq(table.count, 3);
	expect(row(&table, "f"), 0, 30, 1, 1);
	expect(row(&table, "g"), 20, 30, 3, 3);
	expect(row(&table, "h"), 10, 10, 1, 1);
	ck_assert_uint_eq(row(&table, "g")->samples, 2);
	ck_assert_str_eq(row(&table, "h")->module_name, "n.so");
	ck_assert_ptr_null(row(&table, "h")->file);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(recursion_counts_once_in_cumtime_and_only_the_outermost_is_primitive)
{
	commands(functions);
	made_command(&made, "stack a 1 1 3 1 f g f");       /* indirect */
	made_command(&made, "stack a 1 2 1 5 f g f f");     /* direct as well */
	made_command(&made, "stack a 1 4 1 7 f g f f g");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	expect(row(&table, "f"), 3, 7, 1 + 1 + 5, 1);
	expect(row(&table, "g"), 4, 7, 1 + 7, 1);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(a_function_at_two_places_of_the_tree_is_one)
{
	commands(functions);
	made_command(&made, "stack a 1 1 2 1 f g");
	made_command(&made, "stack a 1 2 2 1 h g");
	made_command(&made, "stack a 1 4 2 1 h+0x10 g+0x20"); /* other return addresses */
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	ck_assert_uint_eq(table.count, 3);
	expect(row(&table, "g"), 7, 7, 3, 3);
	expect(row(&table, "h"), 0, 6, 2, 2);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(an_endpoint_sees_only_its_own_cells)
{
	commands(functions);
	made_command(&made, "stack a 1 1 2 1 f g");
	made_command(&made, "stack b 1 2 1 1 f g");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, "GET /b");
	expect(row(&table, "g"), 2, 2, 1, 1);
	expect(row(&table, "f"), 0, 2, 1, 1); /* entered for /a, but active */
	model_table_free(&table);
	table = tabulate(model, MODEL_BY_FUNCTION, "GET /nowhere");
	ck_assert_uint_eq(table.count, 0);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(interposed_calls_have_their_exact_count_unless_one_endpoint_is_asked_for)
{
	commands(functions);
	made_command(&made, "stack a 1 1 2 1 f {recv}");
	made_command(&made, "call recv 1000 5");
	made_command(&made, "call write 7 5");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	expect(row(&table, "{recv}"), 1, 1, 1000, 1000);
	ck_assert(row(&table, "{recv}")->is_exact);
	expect(row(&table, "{write}"), 0, 0, 7, 7); /* though no sample fell into it */
	ck_assert(!row(&table, "f")->is_exact);
	model_table_free(&table);
	table = tabulate(model, MODEL_BY_FUNCTION, "GET /a");
	expect(row(&table, "{recv}"), 1, 1, 1, 1);
	ck_assert(!row(&table, "{recv}")->is_exact);
	ck_assert_uint_eq(table.count, 2);
	model_table_free(&table);
	table = tabulate(model, MODEL_BY_MODULE, NULL);
	expect(row(&table, "{calls}"), 1, 1, 1007, 1007);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(lines_split_a_function_and_modules_join_them)
{
	commands(functions);
	made_command(&made, "line m 0x110 f.c:11");
	made_command(&made, "line m 0x114 f.c:11");
	made_command(&made, "line m 0x120 f.c:12");
	made_command(&made, "stack a 1 1 1 1 f+0x10");
	made_command(&made, "stack a 1 2 1 1 f+0x14");
	made_command(&made, "stack a 1 4 1 1 f+0x20");
	made_command(&made, "stack a 1 8 2 1 f+0x20 g");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_LINE, NULL);
	model_table_sort(&table, SEG_SORT_CUMTIME);
	ck_assert_uint_eq(table.count, 3);
	ck_assert_uint_eq(table.rows[0].line, 12);
	expect(&table.rows[0], 4, 12, 2, 2);
	ck_assert_str_eq(table.rows[1].function, "g");
	ck_assert_uint_eq(table.rows[2].line, 11);
	expect(&table.rows[2], 3, 3, 2, 2);
	model_table_free(&table);
	table = tabulate(model, MODEL_BY_MODULE, NULL);
	ck_assert_uint_eq(table.count, 1);
	ck_assert_str_eq(table.rows[0].module_name, "m.so");
	expect(&table.rows[0], 15, 15, 5, 4);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(addresses_without_a_name_are_functions_of_their_own)
{
	commands(functions);
	made_command(&made, "stack a 1 1 1 1 m@0x1000");
	made_command(&made, "stack a 1 1 1 1 m@0x1004");
	made_command(&made, "stack a 1 1 1 1 n@0x1000");
	made_command(&made, "stack a 1 1 1 1 [unknown]");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	ck_assert_uint_eq(table.count, 4);
	ck_assert_uint_eq(row(&table, "[unknown]")->samples, 1);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(time_without_a_stack_is_lost_only_where_drops_were_counted)
{
	commands(functions);
	made_command(&made, "stack a 1 1 1 1 f");
	made_command(&made, "lost a 2 20");
	made_command(&made, "lost b 1 10");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	ck_assert_uint_eq(table.count, 1);
	model_table_free(&table);
	model_close(model);
	made_command(&made, "counter profshim_samples_dropped_total cells_full 3");
	model = model_open();
	table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	ck_assert_uint_eq(row(&table, "[lost]")->samples, 3);
	ck_assert_uint_eq(row(&table, "[lost]")->tottime_ns, 30000000);
	model_table_free(&table);
	table = tabulate(model, MODEL_BY_FUNCTION, "GET /b");
	ck_assert_uint_eq(row(&table, "[lost]")->tottime_ns, 10000000);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(endpoints_of_one_name_and_protocol_are_one)
{
	made_command(&made, "number bounds 100");
	made_command(&made, "endpoint get http GET _OTHER overflow");
	made_command(&made, "endpoint post http POST _OTHER overflow");
	made_command(&made, "endpoint set redis _OTHER SET");
	made_command(&made, "endpoint more redis _OTHER _OTHER overflow");
	made_command(&made, "lost get 1 10");
	made_command(&made, "lost post 2 20");
	made_command(&made, "requests get 200 - http 3 50");
	made_command(&made, "requests post 500 - http 4 50");
	made_command(&made, "requests set 0 OOM http 5 50");
	made_command(&made, "requests more 0 - http 1 50");
	struct model *model = model_open();
	const struct model_endpoint *first = &model->endpoints[0];
	ck_assert_uint_eq(model->endpoint_count, 3 + 3);
	ck_assert_str_eq(first->name, "_OTHER");
	ck_assert_str_eq(first->protocol, "http");
	ck_assert_str_eq(first->method, "_OTHER");
	ck_assert_str_eq(first->route, "_OTHER");
	ck_assert_uint_eq(first->cpu_ns, 30000000);
	ck_assert_uint_eq(first->requests, 7);
	ck_assert_uint_eq(first->errors, 4);
	ck_assert_uint_eq(first->latency.count, 7);
	ck_assert_uint_eq(model->requests, 13);
	ck_assert(model_has_endpoint(model, "redis SET"));
	ck_assert(!model_has_endpoint(model, "SET"));
	uint32_t matching = 0;
	for (uint32_t id = 0; id < snapshot->endpoint_count; id++)
		matching += model_endpoint_matches(model, id, "_OTHER");
	ck_assert_uint_eq(matching, 4); /* with that of no protocol */
	model_close(model);
}
END_TEST

static const struct model_endpoint *endpoint(const struct model *model, const char *name)
{
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		if (!strcmp(model->endpoints[i].name, name))
			return &model->endpoints[i];
	ck_abort_msg("no endpoint %s", name);
	return NULL;
}

START_TEST(an_http_endpoint_is_a_method_and_a_route)
{
	commands(functions);
	made_command(&made, "lost a 1 1");
	struct model *model = model_open();
	ck_assert_str_eq(endpoint(model, "GET /a")->method, "GET");
	ck_assert_str_eq(endpoint(model, "GET /a")->route, "/a");
	ck_assert_str_eq(endpoint(model, "GET /a")->protocol, "http");
	model_close(model);
}
END_TEST

START_TEST(other_endpoints_have_their_protocol_before_their_name)
{
	static const char *const wanted[] = { "redis GET", "memcached get", "postgres SELECT", "mysql SELECT", "grpc a.B/C" };

	made_command(&made, "endpoint r redis _OTHER GET");
	made_command(&made, "endpoint m memcached _OTHER get");
	made_command(&made, "endpoint p postgres _OTHER SELECT");
	made_command(&made, "endpoint q mysql _OTHER SELECT");
	made_command(&made, "endpoint g grpc _OTHER a.B/C");
	for (const char *key = "rmpqg"; *key; key++) {
		char command[] = "requests ? 0 - http 1 1";
		*strchr(command, '?') = *key;
		made_command(&made, command);
	}
	struct model *model = model_open();
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		ck_assert_str_eq(endpoint(model, wanted[i])->method, "");
		ck_assert_uint_eq(endpoint(model, wanted[i])->requests, 1);
		ck_assert_int_eq(strncmp(wanted[i], endpoint(model, wanted[i])->protocol, strlen(endpoint(model, wanted[i])->protocol)), 0);
	}
	model_close(model);
}
END_TEST

START_TEST(what_the_program_only_asks_for_is_no_endpoint_of_its_own)
{
	made_command(&made, "peer 10.0.0.1 80");
	made_command(&made, "process 4200001 1");
	made_command(&made, "endpoint asked redis _OTHER GET");
	made_command(&made, "endpoint both redis _OTHER SET");
	made_command(&made, "endpoint worked http GET \"GET /cpu\"");
	made_command(&made, "endpoint open http GET \"GET /open\"");
	made_command(&made, "endpoint stream http GET \"GET /ws\"");
	made_command(&made, "endpoint calling http GET \"GET /calling\"");
	made_command(&made, "endpoint idle http GET \"GET /never\"");
	made_command(&made, "asked asked 0 - http 9 50 10.0.0.1");
	made_command(&made, "asked both 0 - http 9 50 10.0.0.1");
	made_command(&made, "requests both 0 OOM http 2 50");
	made_command(&made, "lost worked 1 10");
	made_command(&made, "stream stream opened 1 0");
	made_command(&made, "connection served http http 4200001 5 0 0 0 0");
	made_command(&made, "waits open 1 1");
	made_command(&made, "connection asked http http 4200001 6 0 0 0 0");
	made_command(&made, "waits calling 1 1");
	made_command(&made, "connection asked http2 http 4200001 7 0 0 0 0");
	made_command(&made, "connection stream http2 http 4200001 7 0 0 0 0");
	made_command(&made, "waits calling 1 1");
	struct model *model = model_open();
	ck_assert_uint_eq(endpoint(model, "redis SET")->requests, 2);
	ck_assert_uint_eq(endpoint(model, "redis SET")->errors, 2);
	ck_assert_uint_eq(endpoint(model, "redis SET")->latency.count, 2);
	ck_assert(model_has_endpoint(model, "GET /cpu"));
	ck_assert(model_has_endpoint(model, "GET /open"));
	ck_assert(model_has_endpoint(model, "GET /ws"));
	ck_assert(!model_has_endpoint(model, "redis GET"));
	ck_assert(!model_has_endpoint(model, "GET /calling"));
	ck_assert(!model_has_endpoint(model, "GET /never"));
	ck_assert_uint_eq(model->requests, 2);
	model_close(model);
}
END_TEST

static const char *const standing_in[] = {
	"module m /lib/m.so", "function m 0x100 0x200 f f.c:1", "number bounds 100", "endpoint a http GET \"GET /a\"",
	"endpoint other http GET _OTHER overflow", "endpoint hop http GET x", "endpoint s http GET x", "stack a 1 10 1 1 f",
	"stack s 2 20 1 2 f", "requests a 200 - http 3 50", "requests s 200 - http 4 50", "first_byte a 3 10", "first_byte s 4 10",
	"stream a opened 1 0", "stream s opened 2 0", "body s request 4 100", "slow s 200 - http 1 5 1 0 0 - -", NULL
};

START_TEST(an_entry_that_turned_out_to_be_another_is_counted_there)
{
	commands(standing_in);
	made_command(&made, "alias s hop");
	made_command(&made, "alias hop a");
	struct model *model = model_open();
	const struct model_endpoint *a = endpoint(model, "GET /a");
	ck_assert_uint_eq(model->endpoint_count, 3 + 1);
	ck_assert_uint_eq(a->cpu_ns, 30000000);
	ck_assert_uint_eq(a->cpu_samples, 3);
	ck_assert_uint_eq(a->requests, 7);
	ck_assert_uint_eq(a->first_byte.count, 7);
	ck_assert_uint_eq(a->streams.opened, 3);
	ck_assert_uint_eq(a->request_bytes, 400);
	ck_assert_uint_eq(a->slow_requests, 1);
	ck_assert_uint_eq(a->pending_cpu_ns, 0);
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, "GET /a");
	expect(row(&table, "f"), 30, 30, 3, 3);
	model_table_free(&table);
	model_close(model);
}
END_TEST

START_TEST(an_entry_that_is_not_known_yet_is_overflow_until_then)
{
	commands(standing_in);
	made_command(&made, "pending s");
	struct model *model = model_open();
	const struct model_endpoint *other = endpoint(model, "_OTHER");
	ck_assert_uint_eq(endpoint(model, "GET /a")->cpu_ns, 10000000);
	ck_assert_uint_eq(other->cpu_ns, 20000000);
	ck_assert_uint_eq(other->pending_cpu_ns, 20000000);
	ck_assert_str_eq(other->protocol, "http");
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	model_close(model);
}
END_TEST

static void expect_error(const struct snapshot_series *series, enum model_family family, const char *wanted)
{
	char text[MODEL_STATUS_BYTES];
	bool is_asked = series->peer != SEG_PEER_NONE;

	ck_assert_str_eq(model_error_type(family, series->status, series->error, is_asked, text), wanted);
}

START_TEST(an_error_type_is_the_status_where_that_is_an_error_or_the_errors_own)
{
	uint32_t unique = seg_sqlstate_class('2', '3'), warning = seg_sqlstate_class('0', '1');
	const struct {
		enum model_family family;
		struct snapshot_series series;
		const char *error;
	} cases[] = {
		{ MODEL_FAMILY_HTTP, { .status = 200 }, "" },
		{ MODEL_FAMILY_HTTP, { .status = 404 }, "" },
		{ MODEL_FAMILY_HTTP, { .status = 404, .peer = 1 }, "404" },
		{ MODEL_FAMILY_HTTP, { .status = 399, .peer = 1 }, "" },
		{ MODEL_FAMILY_HTTP, { .status = 503 }, "503" },
		{ MODEL_FAMILY_HTTP, { .status = 200, .error = SEG_ERROR_RESET }, "reset" },
		{ MODEL_FAMILY_HTTP, { .status = 500, .error = SEG_ERROR_RESET }, "reset" },
		{ MODEL_FAMILY_RPC, { .status = 0 }, "" },
		{ MODEL_FAMILY_RPC, { .status = 0, .error = SEG_ERROR_TIMEOUT }, "timeout" },
		{ MODEL_FAMILY_RPC, { .status = 1 }, "" },
		{ MODEL_FAMILY_RPC, { .status = 1 + 5 }, "NOT_FOUND" },
		{ MODEL_FAMILY_RPC, { .status = 1 + 16 }, "UNAUTHENTICATED" },
		{ MODEL_FAMILY_RPC, { .status = 1 + 17 }, "17" },
		{ MODEL_FAMILY_DB, { .status = 0, .error = SEG_ERROR_REDIS_OOM }, "OOM" },
		{ MODEL_FAMILY_DB, { .status = unique, .error = SEG_ERROR_SQLSTATE }, "23" },
		{ MODEL_FAMILY_DB, { .status = SEG_STATUS_MAX, .error = SEG_ERROR_SQLSTATE }, "ZZ" },
		{ MODEL_FAMILY_DB, { .status = 0, .error = SEG_ERROR_SQLSTATE }, "_OTHER" },
		{ MODEL_FAMILY_DB, { .status = warning }, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_error(&cases[i].series, cases[i].family, cases[i].error);
}
END_TEST

START_TEST(a_status_is_written_as_its_protocol_does)
{
	char text[MODEL_STATUS_BYTES];

	ck_assert_str_eq(model_status(MODEL_FAMILY_HTTP, 0, text), "");
	ck_assert_str_eq(model_status(MODEL_FAMILY_HTTP, 207, text), "207");
	ck_assert_str_eq(model_status(MODEL_FAMILY_RPC, 1, text), "OK");
	ck_assert_str_eq(model_status(MODEL_FAMILY_RPC, 1 + 4, text), "DEADLINE_EXCEEDED");
	ck_assert_str_eq(model_status(MODEL_FAMILY_RPC, 1 + 99, text), "99");
	ck_assert_str_eq(model_status(MODEL_FAMILY_DB, seg_sqlstate_class('4', '2'), text), "42");
}
END_TEST

START_TEST(quantiles_are_those_of_histogram_quantile)
{
	struct seg_config config = { .bound_count = 3, .bounds_ns = { 100, 200, 400 } };
	struct model_histogram histogram = { .buckets = { 10, 0, 10, 0 }, .count = 20 };
	struct model_quantile quantile = model_quantile(&histogram, &config, 250);

	ck_assert_uint_eq(quantile.ns, 50); /* rank 5 of 10 in 0..100 */
	ck_assert(quantile.is_first && !quantile.is_above);
	quantile = model_quantile(&histogram, &config, 750);
	ck_assert_uint_eq(quantile.ns, 300); /* rank 15: half of 200..400 */
	ck_assert(!quantile.is_first && !quantile.is_above);
	ck_assert_uint_eq(model_quantile(&histogram, &config, 500).ns, 100);
	ck_assert_uint_eq(model_quantile(&histogram, &config, 1000).ns, 400);
	histogram = (struct model_histogram){ .buckets = { 1, 0, 0, 99 }, .count = 100 };
	quantile = model_quantile(&histogram, &config, 990);
	ck_assert_uint_eq(quantile.ns, 400);
	ck_assert(quantile.is_above);
	histogram = (struct model_histogram){ 0 };
	ck_assert_uint_eq(model_quantile(&histogram, &config, 500).ns, 0);
	config.bound_count = 0;
	histogram = (struct model_histogram){ .buckets = { 5 }, .count = 5 };
	ck_assert(model_quantile(&histogram, &config, 500).is_above);
}
END_TEST

static void sorted_functions(struct model_table *table, enum seg_sort sort, const char *wanted)
{
	char got[64] = "";

	model_table_sort(table, sort);
	for (uint32_t i = 0; i < table->count; i++)
		strcat(got, table->rows[i].function);
	ck_assert_str_eq(got, wanted);
}

START_TEST(tables_are_sorted_by_what_is_asked_and_then_by_name)
{
	commands(functions);
	made_command(&made, "stack a 1 1 2 1 f h");
	made_command(&made, "stack a 1 5 1 9 f g");
	made_command(&made, "stack b 1 5 1 2 h");
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	sorted_functions(&table, SEG_SORT_TOTTIME, "hgf");
	sorted_functions(&table, SEG_SORT_CUMTIME, "hfg"); /* h: 6, f: 6 with less tottime, g: 5 */
	sorted_functions(&table, SEG_SORT_NCALLS, "ghf");
	sorted_functions(&table, SEG_SORT_NAME, "fgh");
	model_table_free(&table);
	model_close(model);
}
END_TEST

static uint32_t insert(enum seg_table table, uint64_t key)
{
	uint32_t index = seg_table_insert(&made.seg.slots[table], key, NULL);

	if (index == SEG_NOT_FOUND)
		ck_abort_msg("a table is full");
	return index;
}

/* Tables as full as hashing lets them be, to be built in one go: of the time it takes nothing is said here, but a quadratic step
 * would run into the test's time limit. */
START_TEST(a_full_tree_is_tabulated_in_linear_time)
{
	uint32_t frames = made.seg.slots[SEG_TABLE_FRAMES].count / 2, nodes = made.seg.slots[SEG_TABLE_NODES].count / 2;
	uint32_t *ids = calloc(nodes, sizeof(*ids));
	uint64_t weight_ns = 0;

	made_command(&made, "module m /m");
	for (uint32_t i = 0; i < nodes; i++) {
		uint32_t frame = insert(SEG_TABLE_FRAMES, seg_frame_key(SEG_MODULE_FIRST, i % frames + 1));
		uint32_t parent = i < 100 ? 0 : ids[i - 100 + i % 50]; /* depth grows with i / 50, beyond what is kept */
		if (i % 25000 < 100)
			parent = 0;
		ids[i] = insert(SEG_TABLE_NODES, seg_node_key(parent, frame + 1)) + 1;
		uint32_t cell = insert(SEG_TABLE_CELLS, seg_cell_key(ids[i], i % 2, SEG_KIND_CPU));
		made.seg.cells[cell].weight_ns += i;
		made.seg.cells[cell].samples = 1;
		weight_ns += i;
	}
	free(ids);
	struct model *model = model_open();
	struct model_table table = tabulate(model, MODEL_BY_FUNCTION, NULL);
	uint64_t tottime_ns = 0;
	for (uint32_t i = 0; i < table.count; i++)
		tottime_ns += table.rows[i].tottime_ns;
	ck_assert_uint_eq(tottime_ns, weight_ns);
	model_table_free(&table);
	model_close(model);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("model");
	TCase *tests = tcase_create("model");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, tottime_is_the_leafs_and_cumtime_everybodys_on_the_stack);
	tcase_add_test(tests, recursion_counts_once_in_cumtime_and_only_the_outermost_is_primitive);
	tcase_add_test(tests, a_function_at_two_places_of_the_tree_is_one);
	tcase_add_test(tests, an_endpoint_sees_only_its_own_cells);
	tcase_add_test(tests, interposed_calls_have_their_exact_count_unless_one_endpoint_is_asked_for);
	tcase_add_test(tests, lines_split_a_function_and_modules_join_them);
	tcase_add_test(tests, addresses_without_a_name_are_functions_of_their_own);
	tcase_add_test(tests, time_without_a_stack_is_lost_only_where_drops_were_counted);
	tcase_add_test(tests, endpoints_of_one_name_and_protocol_are_one);
	tcase_add_test(tests, an_http_endpoint_is_a_method_and_a_route);
	tcase_add_test(tests, other_endpoints_have_their_protocol_before_their_name);
	tcase_add_test(tests, what_the_program_only_asks_for_is_no_endpoint_of_its_own);
	tcase_add_test(tests, an_entry_that_turned_out_to_be_another_is_counted_there);
	tcase_add_test(tests, an_entry_that_is_not_known_yet_is_overflow_until_then);
	tcase_add_test(tests, an_error_type_is_the_status_where_that_is_an_error_or_the_errors_own);
	tcase_add_test(tests, a_status_is_written_as_its_protocol_does);
	tcase_add_test(tests, quantiles_are_those_of_histogram_quantile);
	tcase_add_test(tests, tables_are_sorted_by_what_is_asked_and_then_by_name);
	tcase_add_test(tests, a_full_tree_is_tabulated_in_linear_time);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
