/* The table keeps pstats' layout to the column (Lib/pstats.py: print_title, print_line), since people and scripts read it
 * by habit: ncalls in 9 columns, four times in 8 with 3 decimals, then the name. It ends with an empty line; whatever
 * profshim adds (legend, endpoints, what was not seen) stands behind that line, where no reader of the table looks.
 */
#include "view_parts.h"

#include <string.h>

enum { WIDTH_NCALLS = 9, WIDTH_TIME = 8 };

static const char *const order_names[] = {
	[SEG_SORT_TOTTIME] = "internal time",
	[SEG_SORT_CUMTIME] = "cumulative time",
	[SEG_SORT_NCALLS] = "call count",
	[SEG_SORT_NAME] = "function name",
};

static void add_count(struct strbuf *out, uint64_t n, const char *noun, const char *ending)
{
	strbuf_add_number(out, n);
	strbuf_printf(out, " %s%s", noun, n == 1 ? "" : ending);
}

static void add_processes(const struct snapshot *snapshot, struct strbuf *out)
{
	bool is_any_running = false;

	for (uint32_t i = 0; i < snapshot->process_count; i++)
		is_any_running |= snapshot->processes[i].is_running;
	if (!snapshot->process_count) {
		strbuf_add(out, " (ended)");
		return;
	}
	strbuf_add(out, " (");
	add_count(out, snapshot->process_count, "process", "es");
	strbuf_add(out, ", ");
	add_count(out, snapshot->thread_count, "thread", "s");
	strbuf_add(out, is_any_running ? ")" : ", not running)");
}

static void add_title(const struct model *model, struct strbuf *out)
{
	const struct snapshot *snapshot = model->snapshot;

	strbuf_add(out, "profshim " PROFSHIM_VERSION ": ");
	strbuf_add_clean(out, snapshot->program);
	add_processes(snapshot, out);
	strbuf_add(out, ", ");
	strbuf_add_rounded(out, snapshot->duration_ns, 9, 1);
	strbuf_add(out, " s, ");
	add_count(out, model->samples, "sample", "s");
	strbuf_printf(out, " at %u Hz, %llu dropped\n", (unsigned)snapshot->config.hz,
	              (unsigned long long)model->dropped);
}

/* CPU time and requests: of all, or of the endpoint asked for. */
static void add_totals(const struct model *model, const char *name, struct strbuf *out)
{
	uint64_t cpu_ns = name ? 0 : model->cpu_ns, requests = name ? 0 : model->requests;

	for (uint32_t i = 0; name && i < model->endpoint_count; i++) {
		if (strcmp(model->endpoints[i].name, name))
			continue;
		cpu_ns += model->endpoints[i].cpu_ns;
		requests += model->endpoints[i].requests;
	}
	if (name) {
		strbuf_add_clean(out, name);
		strbuf_add(out, ": ");
	}
	strbuf_add_rounded(out, cpu_ns, 9, 2);
	strbuf_add(out, " seconds of CPU in ");
	add_count(out, requests, "request", "s");
	strbuf_add_char(out, '\n');
}

/* What may make the numbers too small, in one line; the end of the report tells more of it. */
static void add_unseen_head(const struct model *model, struct strbuf *out)
{
	struct strbuf line = STRBUF_EMPTY;

	view_unseen(model->snapshot, &line);
	if (line.length)
		strbuf_printf(out, "%s\n", line.text);
	strbuf_discard(&line, out);
	strbuf_add_char(out, '\n');
}

static void add_file(const struct model_row *row, struct strbuf *out)
{
	strbuf_add_clean(out, model_base_name(row->file));
	strbuf_printf(out, ":%u(", row->line);
}

/* file:line(function), module(function), module+0xoffset, {call}, [pseudo], or a module. */
static void add_name(const struct model_row *row, enum model_by by, struct strbuf *out)
{
	bool is_real = row->module >= SEG_MODULE_FIRST && by != MODEL_BY_MODULE;
	bool has_line = is_real && row->file && row->line;

	if (has_line) {
		add_file(row, out);
	} else if (is_real && row->function) {
		strbuf_add_clean(out, row->module_name);
		strbuf_add_char(out, '(');
	}
	view_row_name(row, by, out);
	if (has_line || (is_real && row->function))
		strbuf_add_char(out, ')');
}

static void add_ncalls(const struct model_row *row, struct strbuf *out)
{
	struct strbuf text = STRBUF_EMPTY;

	strbuf_add_number(&text, row->calls);
	if (row->primitive_calls != row->calls)
		strbuf_printf(&text, "/%llu", (unsigned long long)row->primitive_calls);
	if (!row->is_exact)
		strbuf_add_char(&text, '+');
	if (text.length < WIDTH_NCALLS)
		strbuf_add_spaces(out, WIDTH_NCALLS - text.length);
	strbuf_add(out, strbuf_text(&text));
	strbuf_discard(&text, out);
}

/* A time and the time of each call; the latter stays blank where none was seen. */
static void add_times(struct strbuf *out, uint64_t ns, uint64_t calls)
{
	strbuf_add_char(out, ' ');
	strbuf_add_column(out, ns, 9, 3, WIDTH_TIME);
	strbuf_add_char(out, ' ');
	if (calls)
		strbuf_add_column(out, ns / calls, 9, 3, WIDTH_TIME);
	else
		strbuf_add_spaces(out, WIDTH_TIME);
}

static void add_row(const struct model_row *row, enum model_by by, struct strbuf *out)
{
	add_ncalls(row, out);
	add_times(out, row->tottime_ns, row->calls);
	add_times(out, row->cumtime_ns, row->primitive_calls);
	strbuf_add_char(out, ' ');
	add_name(row, by, out);
	strbuf_add_char(out, '\n');
}

static uint32_t shown_of(uint32_t count, uint32_t top)
{
	return top && top < count ? top : count;
}

static void add_legend(const struct model_table *table, uint32_t shown, struct strbuf *out)
{
	bool has_observed = false, has_recursion = false;

	for (uint32_t i = 0; i < shown; i++) {
		has_observed |= !table->rows[i].is_exact;
		has_recursion |= table->rows[i].calls != table->rows[i].primitive_calls;
	}
	if (has_observed)
		strbuf_add(out, "   n+   ncalls is at least n: the activations that the samples saw; "
		                "without + every call was counted\n");
	if (has_recursion)
		strbuf_add(out, "   n/m  of n activations, m were not recursive; recursion counts once in cumtime\n");
	if (has_observed || has_recursion)
		strbuf_add_char(out, '\n');
}

static void add_table(const struct model *model, const struct view_params *params, const struct model_table *table,
                      struct strbuf *out)
{
	uint32_t shown = shown_of(table->count, params->top);

	if (!table->count) {
		strbuf_add(out, model->snapshot->config.hz ? "   No samples and no calls were seen.\n\n"
		                                           : "   No calls were seen, and sampling is off (0 Hz).\n\n");
		return;
	}
	strbuf_printf(out, "   Ordered by: %s\n", order_names[params->sort]);
	if (shown < table->count)
		strbuf_printf(out, "   List reduced from %u to %u due to restriction <%u>\n", table->count, shown,
		              params->top);
	strbuf_printf(out, "\n   ncalls  tottime  percall  cumtime  percall %s\n",
	              params->by == MODEL_BY_MODULE ? "module" : "filename:lineno(function)");
	for (uint32_t i = 0; i < shown; i++)
		add_row(&table->rows[i], params->by, out);
	strbuf_add_char(out, '\n');
	add_legend(table, shown, out);
}

/* A latency in milliseconds, in 10 columns: "<=0.050" in the first bucket, ">10000.000" above the last bound. */
static void add_quantile(const struct model *model, const struct model_endpoint *endpoint, unsigned per_mille,
                         struct strbuf *out)
{
	const struct seg_config *config = &model->snapshot->config;
	struct model_quantile quantile = model_quantile(&endpoint->latency, config, per_mille);
	struct strbuf text = STRBUF_EMPTY;

	strbuf_add(&text, quantile.is_above ? ">" : quantile.is_first ? "<=" : "");
	strbuf_add_rounded(&text, quantile.is_first ? config->bounds_ns[0] : quantile.ns, 6, 3);
	if (text.length < 10)
		strbuf_add_spaces(out, 10 - text.length);
	strbuf_add(out, strbuf_text(&text));
	strbuf_discard(&text, out);
}

static void add_endpoint(const struct model *model, const struct model_endpoint *endpoint, struct strbuf *out)
{
	/* In tenths of a percent. Of microseconds, since nanoseconds would overflow after 200 days of CPU. */
	uint64_t all_us = model->cpu_ns / 1000, share = all_us ? (endpoint->cpu_ns + all_us / 2) / all_us : 0;

	if (endpoint->requests) {
		strbuf_add_column(out, endpoint->requests, 0, 0, 11);
		strbuf_add_column(out, endpoint->errors, 0, 0, 9);
	} else {
		strbuf_add(out, "          -        -");
	}
	strbuf_add_column(out, endpoint->cpu_ns, 9, 3, 10);
	strbuf_add_column(out, share, 1, 1, 7);
	strbuf_add_char(out, '%');
	if (endpoint->latency.count) {
		strbuf_add_column(out, endpoint->latency.sum_ns / endpoint->latency.count, 6, 3, 10);
		add_quantile(model, endpoint, 500, out);
		add_quantile(model, endpoint, 990, out);
	} else {
		strbuf_add(out, "         -         -         -");
	}
	strbuf_add(out, "  ");
	strbuf_add_clean(out, endpoint->name);
	if (!strcmp(endpoint->name, "_OTHER") && *endpoint->protocol)
		strbuf_printf(out, " (%s)", endpoint->protocol);
	strbuf_add_char(out, '\n');
}

static bool endpoint_is_shown(const struct model_endpoint *endpoint, const struct view_params *params)
{
	return view_endpoint_did_something(endpoint) && (!params->endpoint || !strcmp(params->endpoint, endpoint->name));
}

static void add_endpoints(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	uint32_t count = 0, shown = 0;

	for (uint32_t i = 0; i < model->endpoint_count; i++)
		count += endpoint_is_shown(&model->endpoints[i], params);
	if (!count)
		return;
	strbuf_add(out, "   Endpoints by CPU time");
	if (shown_of(count, params->top) < count)
		strbuf_printf(out, ", %u of %u", shown_of(count, params->top), count);
	strbuf_add(out, "\n\n   requests   errors     cpu s   share   mean ms    p50 ms    p99 ms  endpoint\n");
	for (uint32_t i = 0; i < model->endpoint_count && shown < shown_of(count, params->top); i++) {
		if (!endpoint_is_shown(&model->endpoints[i], params))
			continue;
		add_endpoint(model, &model->endpoints[i], out);
		shown++;
	}
	strbuf_add_char(out, '\n');
}

/* What a count of a family means, for people. */
static const struct {
	enum seg_counter first;
	const char *meaning;
} unseen[] = {
	{ SEG_COUNTER_DROP_NO_SLOT, "samples lost their stack" },
	{ SEG_COUNTER_TRUNCATED, "samples had a stack too deep to keep whole: its outer end is [truncated]" },
	{ SEG_COUNTER_WALK_POINTERS, "stacks are known to some depth only, since a walk ended before the outermost frame" },
	{ SEG_COUNTER_TIMER_FAILED, "threads are not sampled, since no timer could be made for them" },
	{ SEG_COUNTER_UNCLASSIFIED_CONNECTIONS, "connections spoke no known protocol" },
	{ SEG_COUNTER_LOST_POOL_FULL, "requests or connections could not be followed" },
	{ SEG_COUNTER_OVERFLOW_ENDPOINTS, "observations went to an overflow entry" },
	{ SEG_COUNTER_BLIND_IO_URING, "calls or connections may have passed requests by unseen" },
	{ SEG_COUNTER_SLOW_UNLOGGED, "slow requests are not in the log of them" },
	{ SEG_COUNTER_CONFIG_ERRORS, "configuration values were refused, and defaults used" },
	{ SEG_COUNTER_LOG_LOST, "log lines had nowhere to go" },
};

static void add_unseen_line(const struct snapshot *snapshot, enum seg_counter first, const char *meaning,
                            struct strbuf *out)
{
	const char *family = seg_counter_infos[first].family, *separator = ": ";
	uint64_t total = 0;

	for (int i = first; i < SEG_COUNTER_COUNT && !strcmp(seg_counter_infos[i].family, family); i++)
		total += snapshot->counters[i];
	if (!total)
		return;
	strbuf_add_column(out, total, 0, 0, 11);
	strbuf_printf(out, "  %s", meaning);
	for (int i = first; i < SEG_COUNTER_COUNT && !strcmp(seg_counter_infos[i].family, family); i++) {
		if (!snapshot->counters[i] || !*seg_counter_infos[i].key)
			continue;
		strbuf_printf(out, "%s%s %llu", separator, seg_counter_infos[i].value,
		              (unsigned long long)snapshot->counters[i]);
		separator = ", ";
	}
	strbuf_add_char(out, '\n');
}

static void add_unseen(const struct snapshot *snapshot, struct strbuf *out)
{
	struct strbuf lines = STRBUF_EMPTY;

	for (size_t i = 0; i < sizeof(unseen) / sizeof(unseen[0]); i++)
		add_unseen_line(snapshot, unseen[i].first, unseen[i].meaning, &lines);
	if (snapshot->damaged_entries) {
		strbuf_add_column(&lines, snapshot->damaged_entries, 0, 0, 11);
		strbuf_add(&lines, "  entries of the session's file made no sense and were left out\n");
	}
	if (lines.length)
		strbuf_printf(out, "   Not seen, or not in full\n\n%s\n", strbuf_text(&lines));
	strbuf_discard(&lines, out);
}

static void render_text(const struct model *model, const struct view_params *params, const struct model_table *table,
                        struct strbuf *out)
{
	add_title(model, out);
	add_totals(model, params->endpoint, out);
	add_unseen_head(model, out);
	add_table(model, params, table, out);
	add_endpoints(model, params, out);
	add_unseen(model->snapshot, out);
}

static void percall_json(struct json_writer *json, const char *key, uint64_t ns, uint64_t calls)
{
	if (calls)
		json_write_seconds(json, key, ns / calls);
	else
		json_write_null(json, key);
}

static void row_json(const struct model_row *row, enum model_by by, struct json_writer *json)
{
	struct strbuf name = STRBUF_EMPTY;

	view_row_name(row, by, &name);
	json_write_begin_object(json, NULL);
	if (by != MODEL_BY_MODULE) {
		json_write_text(json, "function", strbuf_text(&name));
		json_write_text(json, "module", row->module_name);
		json_write_text(json, "file", row->file);
		json_write_number(json, "line", row->line);
	} else {
		json_write_text(json, "module", strbuf_text(&name));
	}
	json_write_number(json, "ncalls", row->calls);
	json_write_number(json, "ncalls_primitive", row->primitive_calls);
	json_write_bool(json, "ncalls_is_exact", row->is_exact);
	json_write_number(json, "samples", row->samples);
	json_write_seconds(json, "tottime_seconds", row->tottime_ns);
	percall_json(json, "tottime_percall_seconds", row->tottime_ns, row->calls);
	json_write_seconds(json, "cumtime_seconds", row->cumtime_ns);
	percall_json(json, "cumtime_percall_seconds", row->cumtime_ns, row->primitive_calls);
	json_write_end(json);
	json->has_failed |= name.error != 0;
	strbuf_free(&name);
}

static void title_json(const struct model *model, const struct view_params *params, struct json_writer *json)
{
	const struct snapshot *snapshot = model->snapshot;

	json_write_text(json, "version", PROFSHIM_VERSION);
	json_write_text(json, "program", snapshot->program);
	json_write_text(json, "session", snapshot->session);
	json_write_number(json, "processes", snapshot->process_count);
	json_write_number(json, "threads", snapshot->thread_count);
	json_write_seconds(json, "duration_seconds", snapshot->duration_ns);
	json_write_number(json, "hz", snapshot->config.hz);
	json_write_number(json, "samples", model->samples);
	json_write_number(json, "samples_dropped", model->dropped);
	json_write_seconds(json, "cpu_seconds", model->cpu_ns);
	json_write_number(json, "requests", model->requests);
	json_write_text(json, "endpoint", params->endpoint);
	json_write_text(json, "by", view_by_names[params->by]);
	json_write_text(json, "sort", view_sort_names[params->sort]);
}

static void render_json(const struct model *model, const struct view_params *params, const struct model_table *table,
                        struct strbuf *out)
{
	struct json_writer json = { 0 };

	json_write_begin_object(&json, NULL);
	title_json(model, params, &json);
	json_write_number(&json, "rows_total", table->count);
	json_write_begin_array(&json, "rows");
	for (uint32_t i = 0; i < shown_of(table->count, params->top); i++)
		row_json(&table->rows[i], params->by, &json);
	json_write_end(&json);
	json_write_begin_array(&json, "endpoints");
	for (uint32_t i = 0; i < model->endpoint_count; i++)
		if (endpoint_is_shown(&model->endpoints[i], params))
			view_endpoint_json(model, &model->endpoints[i], &json);
	json_write_end(&json);
	json_write_begin_object(&json, "counters");
	view_counters_json(model->snapshot, &json);
	json_write_end(&json);
	json_write_number(&json, "damaged_entries", model->snapshot->damaged_entries);
	json_write_end(&json);
	json_write_finish(&json, out);
}

void view_report_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	char problem[VIEW_PROBLEM_BYTES];
	struct model_table table;

	if (view_params_check(params, model, problem)) {
		strbuf_printf(out, "%s\n", problem);
		return;
	}
	int error = model_tabulate(model, params->by, params->endpoint, true, &table);
	if (error) {
		strbuf_fail(out, error);
		return;
	}
	model_table_sort(&table, params->sort);
	if (params->is_json)
		render_json(model, params, &table, out);
	else
		render_text(model, params, &table, out);
	model_table_free(&table);
}
