/* One command a line; words are separated by blanks, and "several words" are one. # begins a comment.
 *
 *   include FILE                                  relative to the file that says so
 *   view PATH?PARAMETERS, openmetrics             what is asked
 *   text program|session|listen|report|token|service|unwind|address WORDS
 *   number hz|top|sort|seconds_ms|server|max_routes|slow_ns|bounds N
 *   process PID THREADS;  usage PID CPU_MS START_MS RESIDENT VIRTUAL OPEN MAX
 *   counter FAMILY VALUE|- N;  overhead PHASE NS;  call NAME COUNT NS
 *   accepted|receive|transmit|open PROTOCOL N;  active METHOD http|https N
 *   module KEY PATH;  function KEY START END NAME|- FILE:LINE|-;  line KEY ADDRESS FILE:LINE
 *   endpoint KEY PROTOCOL METHOD NAME [overflow]  KEY _background, _idle and _OTHER are there already
 *   stack ENDPOINT SAMPLES MS ENTERED TIMES FRAME...   root first; ENTERED nodes from the leaf up get TIMES activations
 *   lost ENDPOINT SAMPLES MS                      CPU time without a stack
 *   requests ENDPOINT STATUS ERROR|- http|https N US
 *   body ENDPOINT request|response N BYTES
 * A frame is FUNCTION, FUNCTION+0xN, {call}, [unknown], [truncated], [lost], or KEY@0xADDRESS.
 */
#include "made_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 64, SEGMENT_CEILING = 32 << 20 };

struct command {
	char *text;
	char *words[WORDS_MAX];
	unsigned count;
	const char *where;
};

static void give_up(const struct command *command, const char *why)
{
	fprintf(stderr, "%s: %s: %s\n", command->where, why, command->count ? command->words[0] : "");
	exit(99);
}

static const char *word(const struct command *command, unsigned i)
{
	if (i >= command->count)
		give_up(command, "a word is missing");
	return command->words[i];
}

static uint64_t number(const struct command *command, unsigned i)
{
	char *end;
	uint64_t n = strtoull(word(command, i), &end, 0);

	if (*end || !*word(command, i))
		give_up(command, "not a number");
	return n;
}

static unsigned index_in(const struct command *command, unsigned i, const char *const *names, unsigned count)
{
	for (unsigned at = 0; at < count; at++)
		if (!strcmp(names[at], word(command, i)))
			return at;
	give_up(command, "no such name");
	return 0;
}

static void split(struct command *command, const char *line)
{
	char *next = command->text = strdup(line);

	while (*next) {
		next += strspn(next, " \t\n");
		if (!*next || *next == '#')
			return;
		if (command->count == WORDS_MAX)
			give_up(command, "too many words");
		bool is_quoted = *next == '"';
		command->words[command->count++] = next += is_quoted;
		next += strcspn(next, is_quoted ? "\"" : " \t\n");
		if (*next)
			*next++ = '\0';
	}
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void made_init(struct made_session *made)
{
	static const char *const own[] = { "_background", "_idle", "_OTHER" };
	size_t bytes = seg_bytes_for(SEGMENT_CEILING);

	*made = (struct made_session){ .base = calloc(1, bytes) };
	seg_format(made->base, bytes, 2);
	struct segment *head = made->base;
	head->created_mono_ns = 1000000000;
	head->created_real_ns = 1700000000000000000ULL;
	head->ended_mono_ns = head->created_mono_ns;
	head->config.is_enabled = 1;
	head->config.top = 20;
	head->config.hz = 99;
	memset(head->marks, 0xff, sizeof(head->marks)); /* entries are written here without the tables' own functions */
	seg_publish(head);
	if (seg_view_init(&made->seg, made->base, bytes) != SEG_OK)
		exit(99);
	made->module_count = SEG_MODULE_FIRST;
	for (int i = 0; i < SEG_ENDPOINT_FIRST; i++)
		made->endpoint_keys[made->endpoint_count++] = strdup(own[i]);
}

void made_deinit(struct made_session *made)
{
	for (int i = 0; i < MADE_MAX; i++) {
		free(made->functions[i].name);
		free(made->functions[i].file);
		free(made->lines[i].file);
		free(made->module_keys[i]);
		free(made->endpoint_keys[i]);
	}
	free(made->view);
	free(made->base);
}

static void set_text(struct made_session *made, const struct command *command)
{
	struct segment *head = made->seg.head;
	const struct {
		const char *name;
		char *text;
		size_t bytes;
	} texts[] = {
		{ "program", head->program, sizeof(head->program) },
		{ "session", head->session, sizeof(head->session) },
		{ "address", head->served_address, sizeof(head->served_address) },
		{ "listen", head->config.listen, sizeof(head->config.listen) },
		{ "report", head->config.report, sizeof(head->config.report) },
		{ "token", head->config.token, sizeof(head->config.token) },
		{ "service", head->config.service, sizeof(head->config.service) },
		{ "unwind", head->config.unwind, sizeof(head->config.unwind) },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(texts[i].name, word(command, 1)))
			continue;
		snprintf(texts[i].text, texts[i].bytes, "%s", word(command, 2));
		return;
	}
	give_up(command, "no such text");
}

static void set_number(struct made_session *made, const struct command *command)
{
	struct segment *head = made->seg.head;
	const char *name = word(command, 1);
	uint64_t n = number(command, 2);

	if (!strcmp(name, "hz")) {
		head->config.hz = (uint32_t)n;
	} else if (!strcmp(name, "top")) {
		head->config.top = (uint32_t)n;
	} else if (!strcmp(name, "sort")) {
		head->config.sort = (uint32_t)n;
	} else if (!strcmp(name, "seconds_ms")) {
		head->ended_mono_ns = head->created_mono_ns + n * 1000000;
	} else if (!strcmp(name, "server")) {
		head->server_pid = (uint32_t)n;
	} else if (!strcmp(name, "max_routes")) {
		head->config.max_routes = (uint32_t)n;
	} else if (!strcmp(name, "slow_ns")) {
		head->config.slow_ns = n;
	} else if (!strcmp(name, "bounds")) { /* in microseconds, as many as there are */
		for (unsigned i = 2; i < command->count; i++)
			head->config.bounds_ns[head->config.bound_count++] = number(command, i) * 1000;
	} else {
		give_up(command, "no such number");
	}
}

static void add_process(struct made_session *made, const struct command *command)
{
	uint32_t i = 0;

	while (made->seg.processes[i].owner)
		i++;
	made->seg.processes[i].owner = number(command, 1);
	made->seg.processes[i].threads = (int32_t)number(command, 2);
}

static void add_usage(struct made_session *made, const struct command *command)
{
	made->usages[made->usage_count++] = (struct made_usage){
		.pid = (int)number(command, 1),
		.usage = { .has_stat = true, .has_open_fds = true, .has_max_fds = true, .cpu_ns = number(command, 2) * 1000000,
		           .start_real_ns = number(command, 3) * 1000000, .resident_bytes = number(command, 4),
		           .virtual_bytes = number(command, 5), .open_fds = number(command, 6), .max_fds = number(command, 7) },
	};
}

static void add_counter(struct made_session *made, const struct command *command)
{
	const char *value = strcmp(word(command, 2), "-") ? word(command, 2) : "";

	for (int i = 0; i < SEG_COUNTER_COUNT; i++)
		if (!strcmp(seg_counter_infos[i].family, word(command, 1)) && !strcmp(seg_counter_infos[i].value, value)) {
			add(&made->seg.threads[i % 3].counters[i], number(command, 3)); /* any slot counts */
			return;
		}
	give_up(command, "no such counter");
}

static void add_call(struct made_session *made, const struct command *command)
{
	unsigned call = index_in(command, 1, seg_call_names, SEG_CALL_COUNT);

	add(&made->seg.threads[1].call_counts[call], number(command, 2));
	add(&made->seg.threads[2].call_ns[call], number(command, 3));
}

static void add_by_protocol(struct made_session *made, const struct command *command)
{
	unsigned protocol = index_in(command, 1, seg_protocol_names, SEG_PROTOCOL_COUNT);
	struct seg_thread *thread = &made->seg.threads[1];
	char kind = command->words[0][0];

	if (kind == 'o')
		made->seg.processes[0].open_connections[protocol] += (int64_t)number(command, 2);
	else if (kind == 'a')
		add(&thread->accepted[protocol], number(command, 2));
	else
		add(kind == 'r' ? &thread->receive_bytes[protocol] : &thread->transmit_bytes[protocol], number(command, 2));
}

static enum seg_scheme scheme(const struct command *command, unsigned i)
{
	static const char *const schemes[] = { "http", "https" };

	return index_in(command, i, schemes, 2);
}

static void add_active(struct made_session *made, const struct command *command)
{
	unsigned method = index_in(command, 1, seg_method_names, SEG_METHOD_COUNT);

	made->seg.processes[0].active_requests[method][scheme(command, 2)] += (int64_t)number(command, 3);
}

static void add_module(struct made_session *made, const struct command *command)
{
	struct seg_module *module = &made->seg.modules[made->module_count];

	made->module_keys[made->module_count++] = strdup(word(command, 1));
	snprintf(module->path, sizeof(module->path), "%s", word(command, 2));
	module->key = made->module_count;
	module->ready = 1;
}

static uint32_t module_of(const struct made_session *made, const struct command *command, const char *key, size_t n)
{
	for (uint32_t i = SEG_MODULE_FIRST; i < made->module_count; i++)
		if (strlen(made->module_keys[i]) == n && !strncmp(made->module_keys[i], key, n))
			return i;
	give_up(command, "no such module");
	return 0;
}

/* FILE:LINE; hands over FILE, NULL for "-". */
static char *place(const struct command *command, unsigned i, uint32_t *ret_line)
{
	char *file = strdup(word(command, i)), *colon = strrchr(file, ':');

	*ret_line = 0;
	if (!strcmp(file, "-")) {
		free(file);
		return NULL;
	}
	if (!colon)
		give_up(command, "no line");
	*colon = '\0';
	*ret_line = (uint32_t)strtoul(colon + 1, NULL, 10);
	return file;
}

static void add_function(struct made_session *made, const struct command *command)
{
	struct made_function *function = &made->functions[made->function_count++];

	function->module = module_of(made, command, word(command, 1), strlen(word(command, 1)));
	function->start = number(command, 2);
	function->end = number(command, 3);
	function->name = strcmp(word(command, 4), "-") ? strdup(word(command, 4)) : NULL;
	function->file = place(command, 5, &function->line);
}

static void add_line(struct made_session *made, const struct command *command)
{
	struct made_line *line = &made->lines[made->line_count++];

	line->module = module_of(made, command, word(command, 1), strlen(word(command, 1)));
	line->address = number(command, 2);
	line->file = place(command, 3, &line->line);
}

static void add_endpoint(struct made_session *made, const struct command *command)
{
	struct seg_endpoint *endpoint = &made->seg.endpoints[made->endpoint_count];

	made->endpoint_keys[made->endpoint_count++] = strdup(word(command, 1));
	endpoint->protocol = (uint8_t)index_in(command, 2, seg_protocol_names, SEG_PROTOCOL_COUNT);
	endpoint->method = (uint8_t)index_in(command, 3, seg_method_names, SEG_METHOD_COUNT);
	snprintf(endpoint->name, sizeof(endpoint->name), "%s", word(command, 4));
	endpoint->is_overflow = command->count > 5;
	endpoint->key = made->endpoint_count;
	endpoint->ready = 1;
}

static uint32_t endpoint_of(const struct made_session *made, const struct command *command)
{
	return index_in(command, 1, (const char *const *)made->endpoint_keys, made->endpoint_count);
}

static uint64_t function_frame(const struct made_session *made, const struct command *command, const char *text)
{
	const char *plus = strstr(text, "+0x");
	size_t n = plus ? (size_t)(plus - text) : strlen(text);

	for (unsigned i = 0; i < made->function_count; i++) {
		const struct made_function *function = &made->functions[i];
		if (function->name && strlen(function->name) == n && !strncmp(function->name, text, n))
			return seg_frame_key(function->module, function->start + (plus ? strtoull(plus + 1, NULL, 0) : 0));
	}
	give_up(command, "no such function");
	return 0;
}

static uint64_t frame_of(const struct made_session *made, const struct command *command, const char *text)
{
	static const char *const pseudo[] = { "", "[unknown]", "[truncated]", "[lost]" };
	const char *at = strstr(text, "@0x");

	for (uint64_t i = SEG_PSEUDO_UNKNOWN; i <= SEG_PSEUDO_LOST; i++)
		if (!strcmp(text, pseudo[i]))
			return seg_frame_key(SEG_MODULE_PSEUDO, i);
	for (uint64_t i = 0; i < SEG_CALL_COUNT; i++) {
		size_t n = strlen(seg_call_names[i]);
		if (*text == '{' && !strncmp(text + 1, seg_call_names[i], n) && !strcmp(text + 1 + n, "}"))
			return seg_frame_key(SEG_MODULE_CALL, i);
	}
	if (at)
		return seg_frame_key(module_of(made, command, text, (size_t)(at - text)), strtoull(at + 1, NULL, 0));
	return function_frame(made, command, text);
}

static uint32_t insert(const struct made_session *made, const struct command *command, enum seg_table table, uint64_t key)
{
	uint32_t index = seg_table_insert(&made->seg.slots[table], key, NULL);

	if (index == SEG_NOT_FOUND)
		give_up(command, "a table is full");
	return index;
}

static struct seg_cell *cell_of(const struct made_session *made, const struct command *command, uint32_t node)
{
	uint64_t key = seg_cell_key(node, endpoint_of(made, command), SEG_KIND_CPU);

	return &made->seg.cells[insert(made, command, SEG_TABLE_CELLS, key)];
}

static void add_cpu(struct made_session *made, const struct command *command)
{
	struct seg_endpoint *endpoint = &made->seg.endpoints[endpoint_of(made, command)];

	add(&endpoint->cpu_samples, number(command, 2));
	add(&endpoint->cpu_ns, number(command, 3) * 1000000);
}

static void add_stack(struct made_session *made, const struct command *command)
{
	uint32_t path[WORDS_MAX], depth = 0, parent = 0;

	for (unsigned i = 6; i < command->count; i++) {
		uint32_t frame = insert(made, command, SEG_TABLE_FRAMES, frame_of(made, command, word(command, i))) + 1;
		path[depth++] = parent = insert(made, command, SEG_TABLE_NODES, seg_node_key(parent, frame)) + 1;
	}
	struct seg_cell *leaf = cell_of(made, command, parent);
	add(&leaf->samples, number(command, 2));
	add(&leaf->weight_ns, number(command, 3) * 1000000);
	for (uint64_t entered = number(command, 4); entered && depth; entered--)
		add(&cell_of(made, command, path[--depth])->activations, number(command, 5));
	add_cpu(made, command);
}

static void add_requests(struct made_session *made, const struct command *command)
{
	struct segment *head = made->seg.head;
	uint32_t error = SEG_ERROR_NONE;
	if (strcmp(word(command, 3), "-"))
		error = index_in(command, 3, seg_error_names, SEG_ERROR_COUNT);
	uint64_t key = seg_series_key(endpoint_of(made, command), (uint32_t)number(command, 2), error, scheme(command, 4));
	uint32_t series = insert(made, command, SEG_TABLE_SERIES, key), bucket = 0;
	uint64_t n = number(command, 5), ns = number(command, 6) * 1000;

	while (bucket < head->config.bound_count && ns > head->config.bounds_ns[bucket])
		bucket++;
	/* Half in each of two shards. */
	struct seg_histogram *second = &made->seg.histograms[made->seg.slots[SEG_TABLE_SERIES].count + series];
	add(&made->seg.histograms[series].buckets[bucket], n - n / 2);
	add(&second->buckets[bucket], n / 2);
	add(&second->sum_ns, n * ns);
}

static void add_body(struct made_session *made, const struct command *command)
{
	struct seg_sizes *sizes = &made->seg.sizes[endpoint_of(made, command)];
	uint64_t n = number(command, 3), bytes = number(command, 4);
	bool is_request = !strcmp(word(command, 2), "request");
	int bucket = 0;

	while (bucket < SEG_SIZE_BOUNDS && bytes > seg_size_bounds[bucket])
		bucket++;
	add(is_request ? &sizes->request_buckets[bucket] : &sizes->response_buckets[bucket], n);
	add(is_request ? &sizes->request_sum_bytes : &sizes->response_sum_bytes, n * bytes);
}

static void add_overhead(struct made_session *made, const struct command *command)
{
	add(&made->seg.threads[0].overhead_ns[index_in(command, 1, seg_phase_names, SEG_PHASE_COUNT)], number(command, 2));
}

static void ask_view(struct made_session *made, const struct command *command)
{
	free(made->view);
	made->view = strdup(word(command, 1));
}

static void ask_openmetrics(struct made_session *made, const struct command *command)
{
	(void)command;
	made->is_openmetrics = true;
}

static void include(struct made_session *made, const struct command *command)
{
	char path[4096];
	const char *slash = strrchr(command->where, '/');

	snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - command->where) + 1 : 0, command->where, word(command, 1));
	made_read(made, path);
}

static const struct {
	const char *name;
	void (*run)(struct made_session *made, const struct command *command);
} commands[] = {
	{ "include", include }, { "view", ask_view }, { "openmetrics", ask_openmetrics }, { "text", set_text },
	{ "number", set_number }, { "process", add_process }, { "usage", add_usage }, { "counter", add_counter },
	{ "overhead", add_overhead }, { "call", add_call }, { "accepted", add_by_protocol }, { "receive", add_by_protocol },
	{ "transmit", add_by_protocol }, { "open", add_by_protocol }, { "active", add_active }, { "module", add_module },
	{ "function", add_function }, { "line", add_line }, { "endpoint", add_endpoint }, { "stack", add_stack },
	{ "lost", add_cpu }, { "requests", add_requests }, { "body", add_body },
};

static void run(struct made_session *made, const char *line, const char *where)
{
	struct command command = { .where = where };

	split(&command, line);
	for (size_t i = 0; command.count && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, command.words[0]))
			continue;
		commands[i].run(made, &command);
		free(command.text);
		return;
	}
	if (command.count)
		give_up(&command, "no such command");
	free(command.text);
}

void made_command(struct made_session *made, const char *command)
{
	run(made, command, "test");
}

void made_read(struct made_session *made, const char *path)
{
	char line[4096];
	FILE *file = fopen(path, "r");

	if (!file) {
		perror(path);
		exit(99);
	}
	while (fgets(line, sizeof(line), file))
		run(made, line, path);
	fclose(file);
}

static void resolve(void *context, const struct snapshot_module *module, uint64_t offset, struct symbol *ret_symbol)
{
	const struct made_session *made = context;

	*ret_symbol = (struct symbol){ .function_start = offset };
	for (unsigned i = 0; i < made->function_count; i++) {
		const struct made_function *function = &made->functions[i];
		if (offset < function->start || offset >= function->end)
			continue;
		if (strcmp(made->seg.modules[function->module].path, module->path))
			continue;
		*ret_symbol = (struct symbol){ .function = function->name, .file = function->file, .line = function->line,
			                       .function_file = function->file, .function_line = function->line,
			                       .function_start = function->start };
	}
	for (unsigned i = 0; i < made->line_count; i++) {
		if (strcmp(made->seg.modules[made->lines[i].module].path, module->path) || made->lines[i].address != offset)
			continue;
		ret_symbol->file = made->lines[i].file;
		ret_symbol->line = made->lines[i].line;
	}
}

static const char *note(void *context, const struct snapshot_module *module)
{
	(void)context;
	(void)module;
	return "names as the test declares them";
}

struct names made_names(struct made_session *made)
{
	return (struct names){ .resolve = resolve, .note = note, .context = made };
}

void made_complete(const struct made_session *made, struct snapshot *snapshot)
{
	for (uint32_t i = 0; i < snapshot->process_count; i++) {
		struct snapshot_process *process = &snapshot->processes[i];
		process->is_running = true;
		process->usage = (struct snapshot_usage){ 0 };
		for (unsigned j = 0; j < made->usage_count; j++)
			if (made->usages[j].pid == process->pid)
				process->usage = made->usages[j].usage;
	}
}
