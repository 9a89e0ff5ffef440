/* What profshim knows of itself. The token is not among the configuration, only whether there is one. */
#include "view_parts.h"

#include <string.h>

static const char *const table_names[SEG_TABLE_COUNT] = {
	[SEG_TABLE_THREADS] = "threads", [SEG_TABLE_PROCESSES] = "processes", [SEG_TABLE_FRAMES] = "frames",
	[SEG_TABLE_NODES] = "nodes", [SEG_TABLE_CELLS] = "cells", [SEG_TABLE_MODULES] = "modules",
	[SEG_TABLE_ENDPOINTS] = "endpoints", [SEG_TABLE_SERIES] = "series", [SEG_TABLE_PEERS] = "peers",
	[SEG_TABLE_UNWIND_ARENA] = "unwind_pieces", [SEG_TABLE_WORDS] = "words", [SEG_TABLE_SLOW] = "slow_requests", [SEG_TABLE_CONNECTIONS] = "connections"
};
static const char *const level_names[] = {
	[SEG_LOG_ERROR] = "error", [SEG_LOG_WARN] = "warn", [SEG_LOG_INFO] = "info", [SEG_LOG_DEBUG] = "debug"
};

static void write_processes(const struct snapshot *snapshot, struct json_writer *json)
{
	json_write_begin_array(json, "processes");
	for (uint32_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];
		json_write_begin_object(json, NULL);
		json_write_number(json, "pid", (uint64_t)process->pid);
		json_write_number(json, "threads", (uint64_t)process->threads);
		json_write_bool(json, "is_running", process->is_running);
		json_write_end(json);
	}
	json_write_end(json);
}

static void write_overhead(const struct snapshot *snapshot, struct json_writer *json)
{
	json_write_begin_object(json, "overhead_seconds");
	for (int i = 0; i < SEG_PHASE_COUNT; i++)
		json_write_seconds(json, seg_phase_names[i], snapshot->overhead_ns[i]);
	json_write_end(json);
}

/* Every thread has a timer on its CPU clock; where the rate is above the kernel's tick, and the budget has room for what the
 * perf clock's expiries cost here, those that seldom wait have that besides. */
static void write_sampling(const struct snapshot *snapshot, struct json_writer *json)
{
	json_write_begin_object(json, "sampling");
	json_write_number(json, "hz_asked", snapshot->config.hz);
	json_write_number(json, "hz", snapshot->hz_now);
	json_write_text(json, "clock", !snapshot->hz_now ? "none" : snapshot->perf_threads ? "timer and perf" : "timer");
	json_write_number(json, "perf_threads_begun", snapshot->perf_threads);
	json_write_text(json, "perf_refused", snapshot->perf_error ? strerror(snapshot->perf_error) : NULL);
	json_write_seconds(json, "perf_expiry_seconds", snapshot->perf_tick_ns);
	json_write_number(json, "threads_without_timer", snapshot->counters[SEG_COUNTER_TIMER_FAILED]);
	json_write_seconds(json, "budget_ratio", (uint64_t)snapshot->config.budget_ppm * 1000);
	json_write_end(json);
}

/* Histograms and sizes are indexed by series and endpoint, so their use says nothing new. */
static void write_memory(const struct snapshot *snapshot, struct json_writer *json)
{
	json_write_begin_object(json, "memory");
	json_write_number(json, "segment_bytes", snapshot->segment_bytes);
	json_write_begin_object(json, "tables");
	for (int i = 0; i < SEG_TABLE_COUNT; i++) {
		if (!table_names[i])
			continue;
		json_write_begin_object(json, table_names[i]);
		json_write_number(json, "used", snapshot->tables[i].used);
		json_write_number(json, "capacity", snapshot->tables[i].count);
		json_write_end(json);
	}
	json_write_end(json);
	json_write_end(json);
}

static void write_config(const struct seg_config *config, struct json_writer *json)
{
	json_write_begin_object(json, "configuration");
	json_write_text(json, "listen", config->listen);
	json_write_number(json, "hz", config->hz);
	json_write_bool(json, "is_enabled", config->is_enabled);
	json_write_text(json, "report", config->report);
	json_write_bool(json, "report_at_exit", config->report_at_exit);
	json_write_number(json, "top", config->top);
	json_write_text(json, "sort", view_sort_names[config->sort]);
	json_write_number(json, "max_routes", config->max_routes);
	json_write_begin_array(json, "buckets_seconds");
	for (uint32_t i = 0; i < config->bound_count; i++)
		json_write_seconds(json, NULL, config->bounds_ns[i]);
	json_write_end(json);
	json_write_seconds(json, "slow_seconds", config->slow_ns);
	json_write_text(json, "slow_log", *config->slow_log ? config->slow_log : NULL);
	json_write_text(json, "unwind", config->unwind);
	json_write_text(json, "log", level_names[config->log_level]);
	json_write_text(json, "service_name", config->service);
	json_write_bool(json, "has_token", *config->token);
	json_write_end(json);
}

/* Of its code, below which a module is taken to be compiled without unwind information: what there is is the C runtime's.
 * Debian's have 85 to 98 %. */
#define UNWIND_COVERED_PCT 50

/* How the stacks that go through a module are walked. */
static void write_unwind(const struct snapshot_module *module, const struct seg_config *config, struct json_writer *json)
{
	static const char *const states[] = {
		[SEG_UNWIND_WANTED] = "frame pointers until its table is made",
		[SEG_UNWIND_READY] = "table",
		[SEG_UNWIND_NO_CFI] = "frame pointers, as it has no unwind information",
		[SEG_UNWIND_FAILED] = "frame pointers, as its file cannot be read, is damaged, or is another one by now",
		[SEG_UNWIND_FULL] = "frame pointers, as there is no room for its table",
	};
	bool has_tables = strcmp(config->unwind, "fp") != 0 && strcmp(config->unwind, "libunwind") != 0;

	if (!has_tables)
		return;
	json_write_begin_object(json, "unwind");
	bool is_covered = module->unwind_state != SEG_UNWIND_READY || module->unwind_covered_pct >= UNWIND_COVERED_PCT;
	json_write_text(json, "by", is_covered ? states[module->unwind_state] : "frame pointers, as it has unwind information for little of its code");
	if (module->unwind_state == SEG_UNWIND_READY) {
		json_write_number(json, "rows", module->unwind_rows);
		json_write_number(json, "rows_unsupported", module->unwind_unsupported);
		json_write_number(json, "code_covered_percent", module->unwind_covered_pct);
		json_write_seconds(json, "ready_after_seconds", module->unwind_ready_ns);
	}
	json_write_end(json);
}

/* Path of each module, what is known of its names, and how its code is left. */
static void write_modules(const struct model *model, struct json_writer *json)
{
	json_write_begin_array(json, "modules");
	for (uint32_t i = SEG_MODULE_FIRST; i < model->snapshot->module_count; i++) {
		const struct snapshot_module *module = &model->snapshot->modules[i];
		if (!module->is_used)
			continue;
		json_write_begin_object(json, NULL);
		json_write_text(json, "path", module->path);
		json_write_text(json, "names",
		                model->names->note ? model->names->note(model->names->context, module) : NULL);
		write_unwind(module, &model->snapshot->config, json);
		json_write_end(json);
	}
	json_write_end(json);
}

void view_self_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	const struct snapshot *snapshot = model->snapshot;
	struct json_writer json = { 0 };

	(void)params;
	json_write_begin_object(&json, NULL);
	json_write_text(&json, "version", PROFSHIM_VERSION);
	json_write_text(&json, "program", snapshot->program);
	json_write_text(&json, "session", snapshot->session);
	json_write_seconds(&json, "duration_seconds", snapshot->duration_ns);
	json_write_seconds(&json, "created_unix_seconds", snapshot->created_real_ns);
	json_write_text(&json, "address", snapshot->served_address);
	json_write_number(&json, "server_pid", (uint64_t)(snapshot->server_pid > 0 ? snapshot->server_pid : 0));
	write_processes(snapshot, &json);
	json_write_number(&json, "threads", snapshot->thread_count);
	json_write_number(&json, "samples_taken", model->samples);
	write_sampling(snapshot, &json);
	write_overhead(snapshot, &json);
	json_write_begin_object(&json, "counters");
	view_counters_json(snapshot, &json);
	json_write_end(&json);
	json_write_number(&json, "damaged_entries", snapshot->damaged_entries);
	write_memory(snapshot, &json);
	write_config(&snapshot->config, &json);
	write_modules(model, &json);
	json_write_end(&json);
	json_write_finish(&json, out);
}
