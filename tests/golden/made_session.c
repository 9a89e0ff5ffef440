/* One command a line; words are separated by blanks, and "several words" are one. # begins a comment.
 *
 *   include FILE                                  relative to the file that says so
 *   view PATH?PARAMETERS, openmetrics             what is asked
 *   text program|session|listen|report|slow_log|token|service|unwind|address WORDS
 *   number hz|top|sort|seconds_ms|server|max_routes|slow_ns|bounds N
 *   process PID THREADS;  usage PID CPU_MS START_MS RESIDENT VIRTUAL OPEN MAX
 *   counter FAMILY VALUE|- N;  overhead PHASE NS;  call NAME COUNT NS
 *   accepted|receive|transmit|open|streams PROTOCOL N;  active METHOD http|https N
 *   module KEY PATH;  function KEY START END NAME|- FILE:LINE|-;  line KEY ADDRESS FILE:LINE
 *   endpoint KEY PROTOCOL METHOD NAME [overflow]  KEY _background, _idle and _OTHER are there already
 *   stack ENDPOINT SAMPLES MS ENTERED TIMES FRAME...   root first; ENTERED nodes from the leaf up get TIMES activations
 *   lost ENDPOINT SAMPLES MS                      CPU time without a stack
 *   alias ENDPOINT ENDPOINT;  pending ENDPOINT    the first turned out to be the second; it stands in for one not known yet
 *   requests ENDPOINT STATUS ERROR|- http|https N US
 *   peer ADDRESS PORT;  asked ENDPOINT STATUS ERROR|- http|https N US ADDRESS|_OTHER
 *   exemplar ENDPOINT STATUS ERROR|- http|https US UNIX_MS ID    as requests; ID: a digit that trace and span are full of
 *   first_byte ENDPOINT N US;  stream ENDPOINT opened|ended N S
 *   body ENDPOINT request|response N BYTES
 *   slow ENDPOINT STATUS ERROR|- http|https START_MS DURATION_MS FIRST_BYTE_MS REQUEST_BYTES RESPONSE_BYTES ID|- REQUEST_ID|-
 *   slow_stack SAMPLES MS [FRAME...]              of the last slow request; no frame: the stack was lost
 *   connection served|asked|stream PROTOCOL http|https PID FD OPENED_MS REQUESTS RECEIVED SENT
 *   waits ENDPOINT|- BEGIN_MS IN_FLIGHT [stream]  the last connection does; times since the session began
 * STATUS: a number as the segment has it, code:N of gRPC, or class:XX of SQLSTATE.
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
	made_init_within(made, SEGMENT_CEILING);
}

void made_init_within(struct made_session *made, size_t ceiling_bytes)
{
	static const char *const own[] = { "_background", "_idle", "_OTHER" };
	size_t bytes = seg_bytes_for(ceiling_bytes);

	*made = (struct made_session){ .base = calloc(1, bytes) };
	seg_format(made->base, bytes, 2);
	struct segment *head = made->base;
	head->created_mono_ns = 1000000000;
	head->created_real_ns = 1700000000000000000ULL;
	head->ended_mono_ns = head->created_mono_ns;
	head->config.is_enabled = 1;
	head->config.top = 20;
	head->config.hz = 99;
	head->hz_now = 99;
	head->config.budget_ppm = 10000;
	memset(head->marks, 0xff, sizeof(head->marks)); /* entries are written here without the tables' own functions */
	head->shards_used = 3;
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
		{ "slow_log", head->config.slow_log, sizeof(head->config.slow_log) },
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
		head->config.hz = head->hz_now = (uint32_t)n;
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

	if (kind == 's')
		made->seg.processes[0].open_streams[protocol] += (int64_t)number(command, 2);
	else if (kind == 'o')
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

static void set_alias(struct made_session *made, const struct command *command)
{
	unsigned final = index_in(command, 2, (const char *const *)made->endpoint_keys, made->endpoint_count);

	made->seg.endpoints[endpoint_of(made, command)].alias = final + 1;
}

static void set_pending(struct made_session *made, const struct command *command)
{
	made->seg.endpoints[endpoint_of(made, command)].ready = 0;
}

static uint32_t status(const struct command *command, unsigned i)
{
	const char *text = word(command, i);

	if (!strncmp(text, "code:", 5))
		return (uint32_t)strtoul(text + 5, NULL, 10) + 1;
	if (!strncmp(text, "class:", 6))
		return seg_sqlstate_class(text[6], text[7]);
	return (uint32_t)number(command, i);
}

static enum seg_error error_of(const struct command *command, unsigned i)
{
	if (!strcmp(word(command, i), "SQLSTATE"))
		return SEG_ERROR_SQLSTATE;
	return strcmp(word(command, i), "-") ? index_in(command, i, seg_error_names, SEG_ERROR_COUNT) : SEG_ERROR_NONE;
}

/* The series of ENDPOINT STATUS ERROR SCHEME, which stand first. */
static uint32_t series_of(const struct made_session *made, const struct command *command, uint32_t peer)
{
	uint64_t key = seg_series_key(endpoint_of(made, command), status(command, 2), error_of(command, 3), scheme(command, 4));

	return insert(made, command, SEG_TABLE_SERIES, seg_series_key_asked(key, peer));
}

static uint32_t bucket_of(const struct made_session *made, uint64_t ns)
{
	const struct seg_config *config = &made->seg.head->config;
	uint32_t bucket = 0;

	while (bucket < config->bound_count && ns > config->bounds_ns[bucket])
		bucket++;
	return bucket;
}

/* Half in each of two shards, the second of which begins at stride. */
static void histogram_add(const struct made_session *made, struct seg_histogram *first, uint32_t stride, uint64_t n, uint64_t ns)
{
	uint32_t bucket = bucket_of(made, ns);

	add(&first->buckets[bucket], n - n / 2);
	add(&first[stride].buckets[bucket], n / 2);
	add(&first[stride].sum_ns, n * ns);
}

static void series_add(const struct made_session *made, const struct command *command, uint32_t peer)
{
	histogram_add(made, &made->seg.histograms[series_of(made, command, peer)], made->seg.slots[SEG_TABLE_SERIES].count,
	              number(command, 5), number(command, 6) * 1000);
}

static void add_requests(struct made_session *made, const struct command *command)
{
	series_add(made, command, SEG_PEER_NONE);
}

static void add_peer(struct made_session *made, const struct command *command)
{
	uint32_t i = 0;

	while (i < SEG_PEERS_MAX && made->seg.peers[i].key)
		i++;
	if (i == SEG_PEERS_MAX)
		give_up(command, "too many peers");
	struct seg_peer *peer = &made->seg.peers[i];
	peer->key = i + 1;
	snprintf(peer->address, sizeof(peer->address), "%s", word(command, 1));
	peer->port = (uint16_t)number(command, 2);
	peer->ready = 1;
}

static void add_asked(struct made_session *made, const struct command *command)
{
	for (uint32_t i = 0; i < SEG_PEERS_MAX; i++)
		if (made->seg.peers[i].key && !strcmp(made->seg.peers[i].address, word(command, 7))) {
			series_add(made, command, i + 1);
			return;
		}
	if (strcmp(word(command, 7), "_OTHER"))
		give_up(command, "no such peer");
	series_add(made, command, SEG_PEER_OTHER);
}

/* false: there is none. */
static bool ids(const struct command *command, unsigned i, uint8_t *trace_id, uint8_t *span_id)
{
	const char *text = word(command, i);

	if (!strcmp(text, "-"))
		return false;
	memset(trace_id, (int)strtoul(text, NULL, 16) * 0x11, SEG_TRACE_ID_BYTES);
	memset(span_id, (int)strtoul(text, NULL, 16) * 0x11, SEG_SPAN_ID_BYTES);
	return true;
}

static void add_exemplar(struct made_session *made, const struct command *command)
{
	struct seg_exemplar *exemplar = &made->seg.exemplars[series_of(made, command, SEG_PEER_NONE)];

	exemplar->duration_ns = number(command, 5) * 1000;
	exemplar->at_real_ns = number(command, 6) * 1000000;
	ids(command, 7, exemplar->trace_id, exemplar->span_id);
	exemplar->sequence += 2;
}

static void add_first_byte(struct made_session *made, const struct command *command)
{
	histogram_add(made, &made->seg.first_bytes[endpoint_of(made, command)], made->seg.slots[SEG_TABLE_ENDPOINTS].count,
	              number(command, 2), number(command, 3) * 1000);
}

static void add_streams(struct made_session *made, const struct command *command)
{
	struct seg_streams *streams = &made->seg.streams[endpoint_of(made, command)];
	uint64_t n = number(command, 3), ns = number(command, 4) * 1000000000;
	int bucket = 0;

	if (!strcmp(word(command, 2), "opened")) {
		add(&streams->opened, n);
		return;
	}
	while (bucket < SEG_STREAM_BOUNDS && ns > seg_stream_bounds_ns[bucket])
		bucket++;
	add(&streams->buckets[bucket], n);
	add(&streams->sum_ns, n * ns);
}

static void add_slow(struct made_session *made, const struct command *command)
{
	uint32_t endpoint = endpoint_of(made, command);
	uint32_t per_endpoint = made->seg.slots[SEG_TABLE_SLOW].count / made->seg.slots[SEG_TABLE_ENDPOINTS].count, i = 0;

	while (i < per_endpoint && made->seg.slow[endpoint * per_endpoint + i].sequence)
		i++;
	if (i == per_endpoint)
		give_up(command, "too many slow requests");
	struct seg_slow *slow = made->slow = &made->seg.slow[endpoint * per_endpoint + i];
	slow->sequence = 2;
	slow->endpoint = endpoint;
	slow->status = (uint16_t)status(command, 2);
	slow->error = (uint8_t)error_of(command, 3);
	slow->scheme = (uint8_t)scheme(command, 4);
	slow->begin_real_ns = number(command, 5) * 1000000;
	slow->duration_ns = number(command, 6) * 1000000;
	slow->first_byte_ns = number(command, 7) * 1000000;
	slow->request_bytes = number(command, 8);
	slow->response_bytes = number(command, 9);
	slow->has_trace = ids(command, 10, slow->trace_id, slow->span_id);
	if (strcmp(word(command, 11), "-"))
		snprintf(slow->request_id, sizeof(slow->request_id), "%s", word(command, 11));
	slow->pid = 4200001;
	slow->tid = 4200001 + i;
	add(&made->seg.endpoints[endpoint].slow_requests, 1);
}

static void add_slow_stack(struct made_session *made, const struct command *command)
{
	struct seg_slow *slow = made->slow;
	uint32_t node = 0;

	if (!slow || slow->stack_count == SEG_SLOW_STACKS)
		give_up(command, "no slow request for it");
	for (unsigned i = 3; i < command->count; i++) {
		uint32_t frame = insert(made, command, SEG_TABLE_FRAMES, frame_of(made, command, word(command, i))) + 1;
		node = insert(made, command, SEG_TABLE_NODES, seg_node_key(node, frame)) + 1;
	}
	slow->stacks[slow->stack_count++] = (struct seg_slow_stack){ node, (uint32_t)number(command, 1), number(command, 2) * 1000000 };
	slow->samples += (uint32_t)number(command, 1);
	slow->cpu_ns += number(command, 2) * 1000000;
}

static void add_connection(struct made_session *made, const struct command *command)
{
	static const char *const kinds[] = { "served", "asked", "stream" };
	struct seg_connection *connection = made->connection = &made->seg.connections[made->connection_count++];
	uint32_t process = 0;

	while (process < made->seg.slots[SEG_TABLE_PROCESSES].count && made->seg.processes[process].owner != number(command, 4))
		process++;
	connection->owner = number(command, 4) << 32 | process;
	connection->kind = (uint8_t)index_in(command, 1, kinds, 3);
	connection->protocol = (uint8_t)index_in(command, 2, seg_protocol_names, SEG_PROTOCOL_COUNT);
	connection->scheme = (uint8_t)scheme(command, 3);
	connection->tid = (uint32_t)number(command, 4);
	connection->fd = (int32_t)number(command, 5);
	connection->opened_mono_ns = made->seg.head->created_mono_ns + number(command, 6) * 1000000;
	connection->requests = number(command, 7);
	connection->received_bytes = number(command, 8);
	connection->sent_bytes = number(command, 9);
}

static void set_waits(struct made_session *made, const struct command *command)
{
	struct seg_connection *connection = made->connection;

	if (!connection)
		give_up(command, "no connection");
	connection->endpoint = strcmp(word(command, 1), "-") ? endpoint_of(made, command) : UINT32_MAX;
	connection->begin_mono_ns = made->seg.head->created_mono_ns + number(command, 2) * 1000000;
	connection->in_flight = (uint32_t)number(command, 3);
	connection->is_stream = command->count > 4;
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
	{ "lost", add_cpu }, { "requests", add_requests }, { "body", add_body }, { "streams", add_by_protocol },
	{ "alias", set_alias }, { "pending", set_pending }, { "peer", add_peer }, { "asked", add_asked },
	{ "exemplar", add_exemplar }, { "first_byte", add_first_byte }, { "stream", add_streams }, { "slow", add_slow },
	{ "slow_stack", add_slow_stack }, { "connection", add_connection }, { "waits", set_waits },
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
