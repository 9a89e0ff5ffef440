#include "../../../exporter/model.h"
#include "../../../exporter/snapshot.h"
#include "../../../exporter/view.h"
#include "../../golden/made_session.h"
#include "../run.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct made_session made;

static void setup(void)
{
	made_init(&made);
}

static void teardown(void)
{
	made_deinit(&made);
}

/* An assertion of check.h costs a message to the parent process: too much for each of a million. */
static void promise(bool is_kept)
{
	if (!is_kept)
		ck_abort_msg("something that must hold does not");
}

static struct snapshot *take(void)
{
	struct snapshot *snapshot = snapshot_take(&made.seg);

	ck_assert_ptr_nonnull(snapshot);
	return snapshot;
}

static uint32_t insert(enum seg_table table, uint64_t key)
{
	uint32_t index = seg_table_insert(&made.seg.slots[table], key, NULL);

	promise(index != SEG_NOT_FOUND);
	return index;
}

/* A frame of a module that exists. */
static uint32_t frame(uint64_t offset)
{
	return insert(SEG_TABLE_FRAMES, seg_frame_key(SEG_MODULE_FIRST, offset)) + 1;
}

static uint32_t node(uint32_t parent, uint32_t of_frame)
{
	return insert(SEG_TABLE_NODES, seg_node_key(parent, of_frame)) + 1;
}

static void cell(uint32_t of_node, uint32_t endpoint, uint64_t samples)
{
	made.seg.cells[insert(SEG_TABLE_CELLS, seg_cell_key(of_node, endpoint, SEG_KIND_CPU))].samples = samples;
}

/* What snapshot.h promises of any snapshot. */
static void check_promises(const struct snapshot *snapshot)
{
	for (uint32_t id = 1; id <= snapshot->node_count; id++) {
		const struct snapshot_node *at = &snapshot->nodes[id - 1];
		promise(at->parent < id);
		promise(at->frame < snapshot->frame_count);
		promise(at->depth == (at->parent ? snapshot->nodes[at->parent - 1].depth + 1 : 1));
		promise(at->depth <= SNAPSHOT_DEPTH_MAX);
		/* Preorder: the parent is the node before, or one above it. */
		uint32_t before = id - 1;
		while (before && before != at->parent)
			before = snapshot->nodes[before - 1].parent;
		promise(before == at->parent);
	}
	for (uint32_t i = 0; i < snapshot->frame_count; i++) {
		const struct snapshot_frame *at = &snapshot->frames[i];
		promise(at->module < snapshot->module_count);
		promise(at->module != SEG_MODULE_NONE);
		promise(at->module != SEG_MODULE_CALL || at->offset < SEG_CALL_COUNT);
		promise(at->module != SEG_MODULE_PSEUDO || (at->offset >= SEG_PSEUDO_UNKNOWN && at->offset <= SEG_PSEUDO_LOST));
		promise(at->module < SEG_MODULE_FIRST || snapshot->modules[at->module].is_used);
	}
	for (uint32_t i = 0; i < snapshot->cell_count; i++) {
		promise(snapshot->cells[i].node >= 1 && snapshot->cells[i].node <= snapshot->node_count);
		promise(snapshot->cells[i].endpoint < snapshot->endpoint_count);
		promise(snapshot->endpoints[snapshot->cells[i].endpoint].is_used);
		promise(i == 0 || snapshot->cells[i].slot > snapshot->cells[i - 1].slot);
	}
	for (uint32_t i = 0; i < snapshot->series_count; i++) {
		promise(snapshot->endpoints[snapshot->series[i].endpoint].is_used);
		promise(snapshot->series[i].error < SEG_ERROR_COUNT);
		promise(snapshot->series[i].scheme <= SEG_SCHEME_TLS);
		promise(snapshot->series[i].status <= SEG_STATUS_MAX);
		promise(snapshot->series[i].peer <= SEG_PEER_OTHER);
		uint32_t peer = snapshot->series[i].peer;
		promise(peer == SEG_PEER_NONE || peer == SEG_PEER_OTHER || snapshot->peers[peer - 1].is_used);
	}
	for (uint32_t i = 0; i < snapshot->slow_count; i++) {
		const struct snapshot_slow *slow = &snapshot->slow[i];
		promise(snapshot->endpoints[slow->endpoint].is_used);
		promise(slow->status <= SEG_STATUS_MAX && slow->error < SEG_ERROR_COUNT && slow->scheme <= SEG_SCHEME_TLS);
		promise(slow->stack_count <= SEG_SLOW_STACKS && slow->pid >= 0 && slow->tid >= 0);
		promise(memchr(slow->request_id, 0, sizeof(slow->request_id)) != NULL);
		promise(i == 0 || slow->duration_ns <= snapshot->slow[i - 1].duration_ns);
		for (uint32_t j = 0; j < slow->stack_count; j++) {
			promise(slow->stacks[j].node <= snapshot->node_count);
			promise(j == 0 || slow->stacks[j].weight_ns <= slow->stacks[j - 1].weight_ns);
		}
	}
	for (uint32_t i = 0; i < snapshot->connection_count; i++) {
		const struct snapshot_connection *connection = &snapshot->connections[i];
		promise(snapshot->endpoints[connection->endpoint].is_used);
		promise(connection->kind <= SEG_CONNECTION_STREAM && connection->protocol < SEG_PROTOCOL_COUNT);
		promise(connection->scheme <= SEG_SCHEME_TLS && connection->pid > 0 && connection->tid >= 0);
	}
	for (uint32_t i = 0; i < snapshot->endpoint_count; i++) {
		promise(snapshot->endpoints[i].final < snapshot->endpoint_count);
		promise(!snapshot->endpoints[i].is_used || snapshot_endpoint(snapshot, i)->is_used);
		promise(snapshot->endpoints[i].protocol < SEG_PROTOCOL_COUNT);
		promise(snapshot->endpoints[i].method < SEG_METHOD_COUNT);
	}
	promise(snapshot->config.bound_count <= SEG_BOUNDS_MAX);
	promise(snapshot->config.sort <= SEG_SORT_NAME);
}

START_TEST(an_empty_session_has_only_its_own_three_endpoints)
{
	struct snapshot *snapshot = take();

	ck_assert_uint_eq(snapshot->tables[SEG_TABLE_ENDPOINTS].used, 3);
	ck_assert_str_eq(snapshot->endpoints[SEG_ENDPOINT_IDLE].name, "_idle");
	ck_assert_uint_eq(snapshot->node_count, 0);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(counters_of_all_slots_are_added_up)
{
	uint32_t last = made.seg.slots[SEG_TABLE_THREADS].count - 1;

	made.seg.threads[0].call_counts[SEG_CALL_RECV] = 1;
	made.seg.threads[last].call_counts[SEG_CALL_RECV] = 10;
	made.seg.threads[5].counters[SEG_COUNTER_SAMPLES] = 7;
	made.seg.threads[6].transmit_bytes[SEG_PROTOCOL_HTTP] = 100;
	struct snapshot *snapshot = take();
	ck_assert_uint_eq(snapshot->call_counts[SEG_CALL_RECV], 11);
	ck_assert_uint_eq(snapshot->counters[SEG_COUNTER_SAMPLES], 7);
	ck_assert_uint_eq(snapshot->transmit_bytes[SEG_PROTOCOL_HTTP], 100);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(gauges_are_summed_over_owned_slots_and_never_negative)
{
	made.seg.processes[0].owner = 4200001;
	made.seg.processes[1].owner = 4200002;
	made.seg.processes[0].open_connections[SEG_PROTOCOL_HTTP] = 5;
	made.seg.processes[1].open_connections[SEG_PROTOCOL_HTTP] = -2;
	made.seg.processes[2].open_connections[SEG_PROTOCOL_HTTP] = 100; /* nobody's */
	made.seg.processes[0].open_connections[SEG_PROTOCOL_REDIS] = -1;
	made.seg.processes[1].active_requests[SEG_METHOD_GET][SEG_SCHEME_TLS] = 4;
	made.seg.processes[0].open_streams[SEG_PROTOCOL_HTTP2] = 3;
	made.seg.processes[1].open_streams[SEG_PROTOCOL_HTTP2] = -1;
	made.seg.processes[1].open_streams[SEG_PROTOCOL_REDIS] = -1;
	struct snapshot *snapshot = take();
	ck_assert_uint_eq(snapshot->process_count, 2);
	ck_assert_uint_eq(snapshot->open_connections[SEG_PROTOCOL_HTTP], 3);
	ck_assert_uint_eq(snapshot->open_connections[SEG_PROTOCOL_REDIS], 0);
	ck_assert_uint_eq(snapshot->active_requests[SEG_METHOD_GET][SEG_SCHEME_TLS], 4);
	ck_assert_uint_eq(snapshot->open_streams[SEG_PROTOCOL_HTTP2], 2);
	ck_assert_uint_eq(snapshot->open_streams[SEG_PROTOCOL_REDIS], 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(threads_are_those_that_live_processes_have_attached)
{
	made.seg.processes[0].owner = 4200001;
	made.seg.processes[0].threads = 1;
	made.seg.processes[1].owner = 4200002;
	made.seg.processes[1].threads = 6;
	made.seg.processes[2].owner = 4200003;
	made.seg.processes[2].threads = -1; /* torn */
	for (uint64_t tid = 1; tid <= 3; tid++)
		made.seg.threads[tid].owner = 4200001ULL << 32 | tid; /* slots to count in: the serving thread has one, too */
	struct snapshot *snapshot = take();
	ck_assert_uint_eq(snapshot->thread_count, 1 + 6);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(shards_of_a_histogram_are_added_up)
{
	made_command(&made, "number bounds 100 200");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "requests e 200 - http 5 150"); /* three in one shard, two in the other */
	struct snapshot *snapshot = take();
	ck_assert_uint_eq(snapshot->series_count, 1);
	ck_assert_uint_eq(snapshot->series[0].count, 5);
	ck_assert_uint_eq(snapshot->series[0].buckets[1], 5);
	ck_assert_uint_eq(snapshot->series[0].sum_ns, 5 * 150000);
	ck_assert_uint_eq(snapshot->series[0].status, 200);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_baseline_beyond_what_the_shards_hold_is_damage_and_makes_no_giant_numbers)
{
	made_command(&made, "number bounds 100 200");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "requests e 200 - http 5 150");
	uint32_t shard = made.seg.shard_count, series = seg_table_find(&made.seg.slots[SEG_TABLE_SERIES], seg_series_key(3, 200, 0, 0));
	struct seg_histogram *baseline = &made.seg.histograms[shard * made.seg.slots[SEG_TABLE_SERIES].count + series];
	baseline->buckets[1] = 2;
	baseline->buckets[2] = 1;
	baseline->sum_ns = UINT64_MAX;
	struct snapshot *snapshot = take();
	ck_assert_uint_eq(snapshot->series[0].count, 5); /* nobody says that it is in use */
	snapshot_free(snapshot);
	made.seg.head->shards_used = UINT32_MAX;
	snapshot = take();
	ck_assert_uint_eq(snapshot->series[0].buckets[1], 3);
	ck_assert_uint_eq(snapshot->series[0].count, 3);
	ck_assert_uint_eq(snapshot->series[0].sum_ns, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(parents_may_stand_behind_their_children)
{
	/* Hashed places: of 200 chained nodes many parents lie behind. */
	made_command(&made, "module m /m");
	uint32_t parent = 0;
	for (uint64_t i = 1; i <= 200; i++)
		parent = node(parent, frame(i));
	cell(parent, SEG_ENDPOINT_IDLE, 1);
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->node_count, 200);
	ck_assert_uint_eq(snapshot->cells[0].node, 200);
	ck_assert_uint_eq(snapshot->nodes[199].depth, 200);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(what_stands_in_marked_parts_is_found)
{
	struct segment *head = made.seg.head;
	uint32_t last = made.seg.slots[SEG_TABLE_THREADS].count - 1, parent = 0;

	made_command(&made, "module m /m");
	memset(head->marks, 0, sizeof(head->marks));
	seg_table_mark(&made.seg.slots[SEG_TABLE_MODULES], SEG_MODULE_FIRST);
	seg_table_mark(&made.seg.slots[SEG_TABLE_THREADS], last);
	made.seg.threads[last].counters[SEG_COUNTER_SAMPLES] = 3;
	for (uint64_t i = 1; i <= 100; i++)
		parent = node(parent, frame(i));
	cell(parent, SEG_ENDPOINT_IDLE, 3);
	insert(SEG_TABLE_SERIES, seg_series_key(SEG_ENDPOINT_OTHER, 200, 0, 0));
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->counters[SEG_COUNTER_SAMPLES], 3);
	ck_assert_uint_eq(snapshot->node_count, 100);
	ck_assert_uint_eq(snapshot->tables[SEG_TABLE_FRAMES].used, 100);
	ck_assert_uint_eq(snapshot->cell_count, 1);
	ck_assert_uint_eq(snapshot->series_count, 1);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_ring_of_parents_is_cut)
{
	made_command(&made, "module m /m");
	uint32_t f = frame(1);
	made.seg.nodes[10].key = seg_node_key(13, f);
	made.seg.nodes[11].key = seg_node_key(11, f);
	made.seg.nodes[12].key = seg_node_key(12, f);
	made.seg.nodes[20].key = seg_node_key(21, f); /* its own parent */
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->node_count, 4);
	ck_assert_uint_eq(snapshot->damaged_entries, 2);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_chain_deeper_than_any_stack_is_cut)
{
	uint32_t count = SNAPSHOT_DEPTH_MAX * 3 + 1;

	made_command(&made, "module m /m");
	uint32_t f = frame(1);
	for (uint32_t i = 0; i < count; i++)
		made.seg.nodes[i].key = seg_node_key(i, f);
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->node_count, count);
	ck_assert_uint_eq(snapshot->damaged_entries, 3);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(indexes_out_of_range_are_left_out_and_counted)
{
	uint32_t nodes = made.seg.slots[SEG_TABLE_NODES].count, frames = made.seg.slots[SEG_TABLE_FRAMES].count;

	made_command(&made, "module m /m");
	uint32_t good = node(0, frame(1));
	node(0, frames + 1);                                                                        /* no such frame */
	node(nodes + 1, frame(1));                                                                  /* no such parent */
	node(0, insert(SEG_TABLE_FRAMES, seg_frame_key(0xffff, 1)) + 1);                            /* no such module */
	node(0, insert(SEG_TABLE_FRAMES, seg_frame_key(SEG_MODULE_CALL, SEG_CALL_COUNT)) + 1);      /* no such call */
	node(0, insert(SEG_TABLE_FRAMES, seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_LOST + 1)) + 1);
	cell(good, SEG_ENDPOINT_IDLE, 5);
	cell(nodes + 7, SEG_ENDPOINT_IDLE, 1);                              /* no such node */
	cell(good, made.seg.slots[SEG_TABLE_ENDPOINTS].count, 1);           /* no such endpoint */
	cell(good, 77, 1);                                                  /* an endpoint that nobody made */
	insert(SEG_TABLE_CELLS, (uint64_t)good << 32 | 200);                /* no such kind */
	insert(SEG_TABLE_SERIES, seg_series_key(9999, 200, 0, 0));          /* no such endpoint */
	insert(SEG_TABLE_SERIES, seg_series_key(0, 200, 250, 0));           /* no such error */
	insert(SEG_TABLE_SERIES, seg_series_key(0, 200, 0, 7));             /* no such scheme */
	insert(SEG_TABLE_SERIES, seg_series_key(0, SEG_STATUS_MAX + 1, 0, 0)); /* no such status */
	insert(SEG_TABLE_SERIES, seg_series_key_asked(seg_series_key(0, 200, 0, 0), SEG_PEER_OTHER + 1)); /* no such peer */
	insert(SEG_TABLE_SERIES, seg_series_key_asked(seg_series_key(0, 200, 0, 0), 5));                  /* a peer that nobody made */
	insert(SEG_TABLE_SERIES, seg_series_key_asked(seg_series_key(0, SEG_STATUS_MAX, 0, 0), SEG_PEER_OTHER));
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->node_count, 1);
	ck_assert_uint_eq(snapshot->cell_count, 1);
	ck_assert_uint_eq(snapshot->cells[0].samples, 5);
	ck_assert_uint_eq(snapshot->series_count, 1);
	ck_assert_uint_eq(snapshot->series[0].status, SEG_STATUS_MAX);
	ck_assert_uint_eq(snapshot->series[0].peer, SEG_PEER_OTHER);
	ck_assert_uint_eq(snapshot->damaged_entries, 5 + 4 + 4 + 2);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_child_of_a_damaged_node_becomes_a_root)
{
	made_command(&made, "module m /m");
	uint32_t broken = node(0, made.seg.slots[SEG_TABLE_FRAMES].count + 1);
	node(broken, frame(1));
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->node_count, 1);
	ck_assert_uint_eq(snapshot->nodes[0].parent, 0);
	ck_assert_uint_eq(snapshot->damaged_entries, 2);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(frames_of_an_unfinished_module_are_unknown)
{
	made_command(&made, "module m /m");
	made.seg.modules[SEG_MODULE_FIRST].ready = 0;
	node(0, frame(1));
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->frames[0].module, SEG_MODULE_PSEUDO);
	ck_assert_uint_eq(snapshot->frames[0].offset, SEG_PSEUDO_UNKNOWN);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(texts_without_an_end_get_one)
{
	struct segment *head = made.seg.head;

	made_command(&made, "module m /m");
	made_command(&made, "endpoint e http GET \"GET /\"");
	memset(head->program, 'p', sizeof(head->program));
	memset(head->session, 's', sizeof(head->session));
	memset(head->served_address, 'a', sizeof(head->served_address));
	memset(head->config.service, 'v', sizeof(head->config.service));
	memset(head->config.unwind, 'u', sizeof(head->config.unwind));
	memset(head->config.slow_log, 'l', sizeof(head->config.slow_log));
	made_command(&made, "peer 10.0.0.1 1");
	memset(made.seg.peers[0].address, 'a', SEG_PEER_BYTES);
	memset(made.seg.modules[SEG_MODULE_FIRST].path, 'm', SEG_MODULE_PATH_BYTES);
	memset(made.seg.endpoints[SEG_ENDPOINT_FIRST].name, 'e', SEG_ENDPOINT_BYTES);
	made.seg.modules[SEG_MODULE_FIRST].build_id_bytes = 4000000000u;
	struct snapshot *snapshot = take();
	ck_assert_uint_eq(strlen(snapshot->program), SEG_TEXT_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->session), SEG_TEXT_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->served_address), SEG_TEXT_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->config.service), SEG_TEXT_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->config.unwind), sizeof(head->config.unwind) - 1);
	ck_assert_uint_eq(strlen(snapshot->config.slow_log), SEG_TEXT_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->peers[0].address), SEG_PEER_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->modules[SEG_MODULE_FIRST].path), SEG_MODULE_PATH_BYTES - 1);
	ck_assert_uint_eq(strlen(snapshot->endpoints[SEG_ENDPOINT_FIRST].name), SEG_ENDPOINT_BYTES - 1);
	ck_assert_uint_eq(snapshot->modules[SEG_MODULE_FIRST].build_id_bytes, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(nonsense_in_the_configuration_is_put_in_range)
{
	struct seg_config *config = &made.seg.head->config;

	config->sort = 99;
	config->log_level = 99;
	config->bound_count = 4;
	config->bounds_ns[0] = 10;
	config->bounds_ns[1] = 20;
	config->bounds_ns[2] = 20;
	config->bounds_ns[3] = 40;
	insert(SEG_TABLE_SERIES, seg_series_key(0, 200, 0, 0));
	uint32_t series = seg_table_find(&made.seg.slots[SEG_TABLE_SERIES], seg_series_key(0, 200, 0, 0));
	for (int i = 0; i <= SEG_BOUNDS_MAX; i++)
		made.seg.histograms[series].buckets[i] = 1;
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->config.bound_count, 2);
	ck_assert_uint_eq(snapshot->series[0].buckets[0], 1);
	ck_assert_uint_eq(snapshot->series[0].buckets[2], SEG_BOUNDS_MAX + 1 - 2);
	ck_assert_uint_eq(snapshot->series[0].buckets[3], 0);
	ck_assert_uint_eq(snapshot->series[0].count, SEG_BOUNDS_MAX + 1);
	snapshot_free(snapshot);
}
END_TEST

/* requests */

static const struct snapshot_series *series_at(const struct snapshot *snapshot, uint32_t status)
{
	for (uint32_t i = 0; i < snapshot->series_count; i++)
		if (snapshot->series[i].status == status)
			return &snapshot->series[i];
	ck_abort_msg("no series of status %u", status);
	return NULL;
}

START_TEST(an_exemplar_is_taken_if_it_is_whole)
{
	made_command(&made, "endpoint e http GET \"GET /\"");
	for (int status = 200; status < 205; status++) {
		char command[64];
		snprintf(command, sizeof(command), "exemplar e %d - http 5 7 a", status);
		made_command(&made, command);
	}
	struct seg_exemplar *exemplars[5];
	for (uint32_t i = 0; i < 5; i++) {
		uint64_t key = seg_series_key(SEG_ENDPOINT_FIRST, 200 + i, 0, 0);
		exemplars[i] = &made.seg.exemplars[seg_table_find(&made.seg.slots[SEG_TABLE_SERIES], key)];
	}
	exemplars[1]->sequence++;                                               /* its writer is at it, or was killed */
	exemplars[2]->sequence = 0;                                             /* none */
	memset(exemplars[3]->trace_id, 0, sizeof(exemplars[3]->trace_id)); /* no trace has this id */
	memset(exemplars[4]->span_id, 0, sizeof(exemplars[4]->span_id));
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert(series_at(snapshot, 200)->exemplar.is_used);
	ck_assert_uint_eq(series_at(snapshot, 200)->exemplar.duration_ns, 5000);
	ck_assert_uint_eq(series_at(snapshot, 200)->exemplar.at_real_ns, 7000000);
	ck_assert_uint_eq(series_at(snapshot, 200)->exemplar.trace_id[15], 0xaa);
	for (uint32_t status = 201; status < 205; status++)
		ck_assert(!series_at(snapshot, status)->exemplar.is_used);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(slow_requests_come_with_their_stacks_the_slowest_and_the_heaviest_first)
{
	made_command(&made, "module m /m");
	made_command(&made, "function m 0x10 0x20 f -");
	made_command(&made, "function m 0x20 0x30 g -");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "slow e 200 - http 1 50 1 2 3 a id");
	made_command(&made, "slow_stack 1 10 f");
	made_command(&made, "slow_stack 3 30 f g");
	made_command(&made, "slow_stack 2 20");
	made_command(&made, "slow e 500 - https 2 70 0 0 0 - -");
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->slow_count, 2);
	ck_assert_uint_eq(snapshot->slow[0].duration_ns, 70000000);
	const struct snapshot_slow *slow = &snapshot->slow[1];
	ck_assert_uint_eq(slow->stack_count, 3);
	ck_assert_uint_eq(slow->stacks[0].samples, 3);
	ck_assert_uint_eq(snapshot->nodes[slow->stacks[0].node - 1].depth, 2);
	ck_assert_uint_eq(slow->stacks[1].node, 0); /* lost */
	ck_assert_uint_eq(snapshot->nodes[slow->stacks[2].node - 1].depth, 1);
	ck_assert_uint_eq(slow->cpu_ns, 60000000);
	ck_assert_str_eq(slow->request_id, "id");
	ck_assert_uint_eq(snapshot->endpoints[SEG_ENDPOINT_FIRST].slow_requests, 2);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	snapshot_free(snapshot);
}
END_TEST

/* The entry of the i-th slow request of endpoint e. */
static struct seg_slow *slow_entry(uint32_t i)
{
	uint32_t per_endpoint = made.seg.slots[SEG_TABLE_SLOW].count / made.seg.slots[SEG_TABLE_ENDPOINTS].count;

	return &made.seg.slow[SEG_ENDPOINT_FIRST * per_endpoint + i];
}

START_TEST(slow_requests_that_make_no_sense_are_left_out)
{
	made_command(&made, "endpoint e http GET \"GET /\"");
	for (int i = 0; i < 10; i++)
		made_command(&made, "slow e 200 - http 1 50 1 2 3 - -");
	slow_entry(0)->sequence = 3; /* is being written */
	slow_entry(1)->endpoint = made.seg.slots[SEG_TABLE_ENDPOINTS].count;
	slow_entry(2)->endpoint = SEG_ENDPOINT_FIRST + 1; /* stands at another's place */
	slow_entry(3)->status = SEG_STATUS_MAX + 1;
	slow_entry(4)->error = SEG_ERROR_COUNT;
	slow_entry(5)->scheme = 2;
	slow_entry(6)->stack_count = SEG_SLOW_STACKS + 1;
	slow_entry(7)->pid = UINT32_MAX;
	slow_entry(8)->stack_count = 2;
	slow_entry(8)->stacks[0].node = made.seg.slots[SEG_TABLE_NODES].count + 1;
	slow_entry(8)->stacks[1].node = 77; /* nobody's */
	memset(slow_entry(9)->request_id, 'i', SEG_REQUEST_ID_BYTES);
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->slow_count, 2);
	ck_assert_uint_eq(snapshot->slow[0].stack_count, 2);
	ck_assert_uint_eq(snapshot->slow[0].stacks[0].node, 0);
	ck_assert_uint_eq(snapshot->slow[0].stacks[1].node, 0);
	ck_assert_uint_eq(strlen(snapshot->slow[1].request_id), SEG_REQUEST_ID_BYTES - 1);
	ck_assert_uint_eq(snapshot->damaged_entries, 7 + 2);
	ck_assert_uint_eq(snapshot->tables[SEG_TABLE_SLOW].used, 10);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_snapshot_of_slow_requests_has_what_they_need_and_nothing_else)
{
	made_command(&made, "module m /m");
	made_command(&made, "function m 0x10 0x20 f -");
	made_command(&made, "function m 0x20 0x30 g -");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "stack e 5 50 1 1 g f");
	made_command(&made, "slow e 200 - http 1 50 1 2 3 - -");
	made_command(&made, "slow_stack 3 30 f g");
	made_command(&made, "slow_stack 1 10 f");
	struct seg_slow entries[3] = { *slow_entry(0), *slow_entry(0), *slow_entry(0) };
	entries[1].endpoint = 99;                 /* nobody's */
	made.seg.nodes[500].key = seg_node_key(501, 1); /* its own parent */
	entries[2].stacks[0].node = 501;
	struct snapshot *snapshot = snapshot_take_slow(&made.seg, entries, 3);
	ck_assert_ptr_nonnull(snapshot);
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->slow_count, 2);
	ck_assert_uint_eq(snapshot->node_count, (2 + 1) + (2 + 1) + (0 + 1));
	ck_assert_uint_eq(snapshot->cell_count, 0);
	ck_assert_uint_eq(snapshot->series_count, 0);
	ck_assert_uint_eq(snapshot->slow[0].stacks[0].node, 2);
	ck_assert_uint_eq(snapshot->slow[1].stacks[0].node, 0);
	ck_assert_uint_eq(snapshot->damaged_entries, 2);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(connections_are_those_of_processes_that_have_a_place)
{
	uint32_t processes = made.seg.slots[SEG_TABLE_PROCESSES].count;

	made_command(&made, "process 4200001 1");
	made_command(&made, "process 4200002 1");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "connection served http https 4200002 7 5 10 20 30");
	made_command(&made, "waits e 9 2");
	for (int i = 0; i < 9; i++)
		made_command(&made, "connection served http http 4200001 8 0 0 0 0");
	made.seg.connections[1].owner = 0;
	made.seg.connections[2].owner = 4200009ULL << 32;                /* no such process */
	made.seg.connections[3].owner = 4200001ULL << 32 | 1;            /* the place is another's */
	made.seg.connections[4].owner = 4200001ULL << 32 | processes;    /* no such place */
	made.seg.connections[5].kind = SEG_CONNECTION_STREAM + 1;
	made.seg.connections[6].protocol = SEG_PROTOCOL_COUNT;
	made.seg.connections[7].scheme = 2;
	made.seg.connections[8].begin_mono_ns = 1;
	made.seg.connections[8].endpoint = made.seg.slots[SEG_TABLE_ENDPOINTS].count;
	made.seg.connections[9].begin_mono_ns = 1;
	made.seg.connections[9].endpoint = UINT32_MAX; /* its head is not there yet: no damage */
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->connection_count, 2);
	const struct snapshot_connection *first = &snapshot->connections[1]; /* in order of their processes */
	ck_assert_int_eq(first->pid, 4200002);
	ck_assert_int_eq(first->fd, 7);
	ck_assert_uint_eq(first->scheme, SEG_SCHEME_TLS);
	ck_assert_uint_eq(first->opened_mono_ns, snapshot->created_mono_ns + 5000000);
	ck_assert_uint_eq(first->begin_mono_ns, snapshot->created_mono_ns + 9000000);
	ck_assert_uint_eq(first->endpoint, SEG_ENDPOINT_FIRST);
	ck_assert_uint_eq(first->in_flight, 2);
	ck_assert_uint_eq(first->requests, 10);
	ck_assert_uint_eq(first->received_bytes, 20);
	ck_assert_uint_eq(first->sent_bytes, 30);
	ck_assert(!snapshot->connections[0].has_endpoint);
	ck_assert_uint_eq(snapshot->damaged_entries, 4);
	made.seg.processes[1].owner = 0; /* killed, and buried */
	struct snapshot *later = take();
	ck_assert_uint_eq(later->connection_count, 1);
	snapshot_free(later);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(streams_are_of_the_connection_that_they_run_on)
{
	made_command(&made, "process 4200001 1");
	made_command(&made, "connection stream http2 http 4200001 7 0 0 0 0");
	made_command(&made, "connection asked http2 http 4200001 7 0 0 0 0");
	made_command(&made, "connection stream http2 http 4200001 8 0 0 0 0");
	made_command(&made, "connection served http2 http 4200001 8 0 0 0 0");
	made_command(&made, "connection served http2 http 4200001 9 0 0 0 0");
	made_command(&made, "connection stream http2 http 4200001 10 0 0 0 0"); /* its connection found no place */
	struct snapshot *snapshot = take();
	const struct {
		int fd;
		enum seg_connection_kind kind;
		bool is_asked, has_streams;
	} wanted[] = {
		{ 7, SEG_CONNECTION_ASKED, true, true },    { 7, SEG_CONNECTION_STREAM, true, false },
		{ 8, SEG_CONNECTION_SERVED, false, true },  { 8, SEG_CONNECTION_STREAM, false, false },
		{ 9, SEG_CONNECTION_SERVED, false, false }, { 10, SEG_CONNECTION_STREAM, false, false },
	};
	ck_assert_uint_eq(snapshot->connection_count, 6);
	for (uint32_t i = 0; i < 6; i++) {
		ck_assert_int_eq(snapshot->connections[i].fd, wanted[i].fd);
		ck_assert_int_eq(snapshot->connections[i].kind, wanted[i].kind);
		ck_assert_int_eq(snapshot->connections[i].is_asked, wanted[i].is_asked);
		ck_assert_int_eq(snapshot->connections[i].has_streams, wanted[i].has_streams);
	}
	snapshot_free(snapshot);
}
END_TEST

START_TEST(an_endpoint_is_what_it_turned_out_to_be)
{
	uint32_t count = made.seg.slots[SEG_TABLE_ENDPOINTS].count;

	for (const char *key = "abcdefgh"; *key; key++) {
		char command[] = "endpoint ? http GET name";
		*strchr(command, '?') = *key;
		made_command(&made, command);
	}
	uint32_t a = SEG_ENDPOINT_FIRST;
	made_command(&made, "alias b a");
	made_command(&made, "alias c b");
	made.seg.endpoints[a + 3].alias = count + 1; /* no such endpoint */
	made.seg.endpoints[a + 4].alias = a + 4 + 1; /* itself */
	made_command(&made, "alias f g");
	made_command(&made, "alias g f");            /* a ring */
	made.seg.endpoints[a + 7].alias = 100;       /* an endpoint that nobody made */
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(snapshot->endpoints[a + i].final, a);
	for (uint32_t i = 3; i < 8; i++) {
		ck_assert_uint_eq(snapshot->endpoints[a + i].final, a + i);
		ck_assert(snapshot->endpoints[a + i].is_overflow);
	}
	ck_assert_uint_eq(snapshot->damaged_entries, 5);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(what_stands_in_for_an_endpoint_is_no_damage)
{
	made_command(&made, "module m /m");
	made_command(&made, "function m 1 9 f -");
	made_command(&made, "endpoint e http POST text-of-one-before");
	made_command(&made, "stack e 3 30 1 2 f");
	made_command(&made, "pending e");
	struct snapshot *snapshot = take();
	check_promises(snapshot);
	ck_assert_uint_eq(snapshot->damaged_entries, 0);
	ck_assert_uint_eq(snapshot->cell_count, 1);
	const struct snapshot_endpoint *endpoint = &snapshot->endpoints[SEG_ENDPOINT_FIRST];
	ck_assert(endpoint->is_used && endpoint->is_pending && endpoint->is_overflow);
	ck_assert_str_eq(endpoint->name, "");
	ck_assert_uint_eq(endpoint->method, SEG_METHOD_POST);
	ck_assert_uint_eq(endpoint->cpu_ns, 30000000);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(first_bytes_and_streams_are_counted_by_endpoint)
{
	made_command(&made, "number bounds 100 200");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "first_byte e 5 150");
	made_command(&made, "stream e opened 4 0");
	made_command(&made, "stream e ended 3 61");
	struct snapshot *snapshot = take();
	const struct snapshot_endpoint *endpoint = &snapshot->endpoints[SEG_ENDPOINT_FIRST];
	ck_assert_uint_eq(endpoint->first_byte_buckets[1], 5);
	ck_assert_uint_eq(endpoint->first_byte_sum_ns, 5 * 150000);
	ck_assert_uint_eq(endpoint->streams_opened, 4);
	ck_assert_uint_eq(endpoint->stream_buckets[3], 3);
	ck_assert_uint_eq(endpoint->stream_sum_ns, 183000000000);
	snapshot_free(snapshot);
}
END_TEST

static uint64_t random_state = 42;

static uint64_t any(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

/* Keys that are nearly right reach further than noise does. */
static void scribble(void)
{
	uint32_t nodes = made.seg.slots[SEG_TABLE_NODES].count, frames = made.seg.slots[SEG_TABLE_FRAMES].count;

	for (uint32_t i = 0; i < 300; i++)
		made.seg.frames[any() % 400].key = seg_frame_key((uint32_t)(any() % 6), any() % 70);
	for (uint32_t i = 0; i < 3000; i++)
		made.seg.nodes[any() % 2000].key = seg_node_key((uint32_t)(any() % (i % 7 ? 2000 : nodes + 2)),
		                                                (uint32_t)(any() % (i % 5 ? 400 : frames + 2)));
	for (uint32_t i = 0; i < 3000; i++) {
		struct seg_cell *at = &made.seg.cells[any() % 4000];
		at->key = seg_cell_key((uint32_t)(any() % 2200), (uint32_t)(any() % 9), SEG_KIND_CPU) + (any() % 50 == 0);
		at->samples = any() % 3;
		at->weight_ns = any() % 7 ? any() % 100000000 : any();
		at->activations = any() % 3 ? 0 : any();
	}
	for (uint32_t i = 0; i < 100; i++) {
		uint64_t key = seg_series_key((uint32_t)(any() % 9), (uint32_t)(any() % 700), (uint32_t)(any() % 40),
		                              (uint32_t)(any() % 3));
		made.seg.series[any() % made.seg.slots[SEG_TABLE_SERIES].count].key = any() % 2 ? any() : key;
	}
	for (uint32_t i = 0; i < 300; i++) {
		struct seg_slow *slow = &made.seg.slow[any() % made.seg.slots[SEG_TABLE_SLOW].count];
		unsigned char *bytes = (unsigned char *)slow;
		for (size_t j = 0; j < sizeof(*slow); j++)
			bytes[j] = (unsigned char)(any() % 3 ? 0 : any() % 20);
		slow->sequence = any() % 4 * 2;
		slow->endpoint = (uint32_t)(slow - made.seg.slow) / SEG_SLOW_PER_ENDPOINT;
		slow->stack_count = (uint8_t)(any() % (SEG_SLOW_STACKS + 2));
		slow->pid &= 0xffffff;
		slow->tid &= 0xffffff;
		slow->status &= 0x3ff;
		slow->scheme &= 1;
	}
	made.seg.processes[0].owner = 4200001;
	for (uint32_t i = 0; i < 100; i++) {
		struct seg_connection *connection = &made.seg.connections[any() % 200];
		unsigned char *bytes = (unsigned char *)connection;
		for (size_t j = 0; j < sizeof(*connection); j++)
			bytes[j] = (unsigned char)(any() % 3 ? any() % 4 : any());
		connection->owner = 4200001ULL << 32;
		connection->endpoint = (uint32_t)(any() % 600);
	}
	unsigned char *peers = (unsigned char *)made.seg.peers;
	for (size_t i = 0; i < SEG_PEERS_MAX * sizeof(struct seg_peer); i++)
		peers[i] = (unsigned char)any();
	for (uint32_t i = 0; i < made.seg.slots[SEG_TABLE_EXEMPLARS].count; i++) {
		unsigned char *bytes = (unsigned char *)&made.seg.exemplars[i];
		for (size_t j = 0; j < sizeof(made.seg.exemplars[i]); j++)
			bytes[j] = (unsigned char)any();
	}
	unsigned char *endpoints = (unsigned char *)&made.seg.endpoints[SEG_ENDPOINT_FIRST];
	for (size_t i = 0; i < 4 * sizeof(struct seg_endpoint); i++)
		endpoints[i] = (unsigned char)(any() % 5 ? any() % 3 : any());
	unsigned char *modules = (unsigned char *)&made.seg.modules[SEG_MODULE_FIRST];
	for (size_t i = 0; i < 3 * sizeof(struct seg_module); i++)
		modules[i] = (unsigned char)(any() % 5 ? 1 : any());
}

START_TEST(whatever_the_tables_hold_every_view_can_be_made)
{
	struct names names = made_names(&made);

	for (int round = 0; round < 10; round++) {
		scribble();
		struct snapshot *earlier = take();
		scribble();
		struct snapshot *snapshot = take();
		check_promises(snapshot);
		if (round % 2)
			snapshot_subtract(snapshot, earlier);
		struct model *model = model_build(snapshot, &names);
		struct view_params params;
		view_params_default(&params, &snapshot->config);
		for (const struct view *view = views; view->path; view++)
			for (params.by = MODEL_BY_FUNCTION; params.by <= MODEL_BY_MODULE; params.by++) {
				struct strbuf out = STRBUF_EMPTY;
				params.is_json = round % 3 == 0;
				params.is_openmetrics = round % 2;
				view->render(model, &params, &out);
				ck_assert_int_eq(out.error, 0);
				strbuf_free(&out);
			}
		model_free(model);
		snapshot_free(snapshot);
		snapshot_free(earlier);
	}
}
END_TEST

static _Atomic int writer_should_stop;

static void *write_stacks(void *unused)
{
	uint32_t nodes = made.seg.slots[SEG_TABLE_NODES].count;

	(void)unused;
	for (uint32_t made_nodes = 0; made_nodes < nodes / 2 && !writer_should_stop;) {
		uint32_t parent = 0;
		for (int depth = 0; depth < 30; depth++, made_nodes++)
			parent = node(parent, frame(any() % 500 + 1));
		cell(parent, SEG_ENDPOINT_IDLE, 1);
	}
	return NULL;
}

START_TEST(a_snapshot_taken_while_stacks_come_is_whole)
{
	pthread_t writer;
	uint32_t before = 0;

	made_command(&made, "module m /m");
	ck_assert_int_eq(pthread_create(&writer, NULL, write_stacks, NULL), 0);
	for (int i = 0; i < 20; i++) {
		struct snapshot *snapshot = take();
		check_promises(snapshot);
		ck_assert_uint_eq(snapshot->damaged_entries, 0);
		ck_assert_uint_ge(snapshot->cell_count, before);
		before = snapshot->cell_count;
		for (uint32_t j = 0; j < snapshot->cell_count; j++)
			promise(snapshot->nodes[snapshot->cells[j].node - 1].depth == 30);
		snapshot_free(snapshot);
	}
	writer_should_stop = 1;
	pthread_join(writer, NULL);
}
END_TEST

START_TEST(a_difference_holds_what_came_between)
{
	made_command(&made, "number bounds 100 200");
	made_command(&made, "module m /m");
	made_command(&made, "endpoint e http GET \"GET /\"");
	made_command(&made, "function m 1 9 f -");
	made_command(&made, "function m 10 19 g -");
	made_command(&made, "stack e 3 30 1 2 f");
	made_command(&made, "requests e 200 - http 5 150");
	made_command(&made, "body e request 2 10");
	made_command(&made, "call recv 5 50");
	made_command(&made, "open http 7");
	made_command(&made, "process 4200001 1");
	made_command(&made, "first_byte e 2 150");
	made_command(&made, "stream e opened 2 0");
	made_command(&made, "stream e ended 1 5");
	made_command(&made, "slow e 200 - http 1 50 1 2 3 - -");
	made_command(&made, "slow e 200 - http 1 50 1 2 3 - -");
	made_command(&made, "slow e 200 - http 1 60 1 2 3 - -");
	made_command(&made, "number seconds_ms 1000");
	struct snapshot *earlier = take();
	made_command(&made, "stack e 1 10 1 1 f");
	made_command(&made, "stack e 4 40 1 4 f g");
	made_command(&made, "requests e 200 - http 2 250");
	made_command(&made, "requests e 404 - http 1 50");
	made_command(&made, "body e request 1 10");
	made_command(&made, "call recv 6 60");
	made_command(&made, "first_byte e 3 250");
	made_command(&made, "stream e opened 1 0");
	made_command(&made, "stream e ended 2 5");
	made_command(&made, "slow e 200 - http 1 55 1 2 3 - -");
	slow_entry(1)->sequence += 2; /* another request, though as slow as the one that gave way */
	made_command(&made, "number seconds_ms 3500");
	struct snapshot *later = take();
	snapshot_subtract(later, earlier);

	ck_assert_uint_eq(later->duration_ns, 2500000000);
	ck_assert(later->is_difference);
	ck_assert_uint_eq(later->call_counts[SEG_CALL_RECV], 6);
	ck_assert_uint_eq(later->call_ns[SEG_CALL_RECV], 60);
	ck_assert_uint_eq(later->open_connections[SEG_PROTOCOL_HTTP], 7);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].cpu_samples, 5);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].request_sum_bytes, 10);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].first_byte_buckets[1], 0);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].first_byte_buckets[2], 3);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].first_byte_sum_ns, 750000);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].streams_opened, 1);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].stream_buckets[1], 2);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].stream_sum_ns, 10000000000);
	ck_assert_uint_eq(later->endpoints[SEG_ENDPOINT_FIRST].slow_requests, 1);
	ck_assert_uint_eq(later->slow_count, 2);
	ck_assert_uint_eq(later->slow[0].duration_ns, 55000000);
	ck_assert_uint_eq(later->slow[1].duration_ns, 50000000);
	uint64_t samples = 0, activations = 0, requests = 0, sum_ns = 0;
	for (uint32_t i = 0; i < later->cell_count; i++) {
		samples += later->cells[i].samples;
		activations += later->cells[i].activations;
	}
	for (uint32_t i = 0; i < later->series_count; i++) {
		requests += later->series[i].count;
		sum_ns += later->series[i].sum_ns;
	}
	ck_assert_uint_eq(samples, 5);
	ck_assert_uint_eq(activations, 5);
	ck_assert_uint_eq(requests, 3);
	ck_assert_uint_eq(sum_ns, 2 * 250000 + 50000);
	snapshot_free(earlier);
	snapshot_free(later);
}
END_TEST

START_TEST(of_two_sessions_nothing_is_subtracted)
{
	made_command(&made, "call recv 5 50");
	struct snapshot *earlier = take(), *later = take();
	earlier->created_mono_ns++;
	snapshot_subtract(later, earlier);
	ck_assert_uint_eq(later->call_counts[SEG_CALL_RECV], 5);
	snapshot_free(earlier);
	snapshot_free(later);
}
END_TEST

START_TEST(an_ended_session_lasted_until_it_ended)
{
	made_command(&made, "number seconds_ms 61300");
	struct snapshot *snapshot = snapshot_take_file(&made.seg, 1800000000000000000ULL);
	ck_assert_uint_eq(snapshot->duration_ns, 61300000000);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_killed_session_lasted_until_its_file_changed_last)
{
	made.seg.head->ended_mono_ns = 0;
	made_command(&made, "process 4200001 1");
	struct snapshot *snapshot = snapshot_take_file(&made.seg, made.seg.head->created_real_ns + 7000000000);
	ck_assert_uint_eq(snapshot->duration_ns, 7000000000);
	ck_assert_uint_eq(snapshot->process_count, 1);
	ck_assert(!snapshot->processes[0].is_running);
	snapshot_free(snapshot);
	snapshot = snapshot_take_file(&made.seg, made.seg.head->created_real_ns - 5);
	ck_assert_uint_eq(snapshot->duration_ns, 0);
	snapshot_free(snapshot);
}
END_TEST

START_TEST(a_running_session_lasts_until_now)
{
	struct timespec now;

	made.seg.processes[0].owner = (uint64_t)getpid();
	clock_gettime(CLOCK_MONOTONIC, &now);
	made.seg.head->created_mono_ns = (uint64_t)(now.tv_sec - 5) * 1000000000;
	made.seg.head->ended_mono_ns = made.seg.head->created_mono_ns + 1; /* one said good-bye, another joined */
	struct snapshot *snapshot = snapshot_take_file(&made.seg, made.seg.head->created_real_ns + 1);
	ck_assert_uint_ge(snapshot->duration_ns, 5000000000);
	ck_assert_uint_lt(snapshot->duration_ns, 3600000000000);
	ck_assert(snapshot->processes[0].is_running);
	ck_assert(snapshot->processes[0].usage.has_stat);
	snapshot_free(snapshot);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("snapshot");
	TCase *tests = tcase_create("snapshot");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, an_empty_session_has_only_its_own_three_endpoints);
	tcase_add_test(tests, counters_of_all_slots_are_added_up);
	tcase_add_test(tests, gauges_are_summed_over_owned_slots_and_never_negative);
	tcase_add_test(tests, threads_are_those_that_live_processes_have_attached);
	tcase_add_test(tests, shards_of_a_histogram_are_added_up);
	tcase_add_test(tests, a_baseline_beyond_what_the_shards_hold_is_damage_and_makes_no_giant_numbers);
	tcase_add_test(tests, parents_may_stand_behind_their_children);
	tcase_add_test(tests, what_stands_in_marked_parts_is_found);
	tcase_add_test(tests, a_ring_of_parents_is_cut);
	tcase_add_test(tests, a_chain_deeper_than_any_stack_is_cut);
	tcase_add_test(tests, indexes_out_of_range_are_left_out_and_counted);
	tcase_add_test(tests, a_child_of_a_damaged_node_becomes_a_root);
	tcase_add_test(tests, frames_of_an_unfinished_module_are_unknown);
	tcase_add_test(tests, texts_without_an_end_get_one);
	tcase_add_test(tests, nonsense_in_the_configuration_is_put_in_range);
	tcase_add_test(tests, an_exemplar_is_taken_if_it_is_whole);
	tcase_add_test(tests, slow_requests_come_with_their_stacks_the_slowest_and_the_heaviest_first);
	tcase_add_test(tests, slow_requests_that_make_no_sense_are_left_out);
	tcase_add_test(tests, a_snapshot_of_slow_requests_has_what_they_need_and_nothing_else);
	tcase_add_test(tests, connections_are_those_of_processes_that_have_a_place);
	tcase_add_test(tests, streams_are_of_the_connection_that_they_run_on);
	tcase_add_test(tests, an_endpoint_is_what_it_turned_out_to_be);
	tcase_add_test(tests, what_stands_in_for_an_endpoint_is_no_damage);
	tcase_add_test(tests, first_bytes_and_streams_are_counted_by_endpoint);
	tcase_add_test(tests, whatever_the_tables_hold_every_view_can_be_made);
	tcase_add_test(tests, a_snapshot_taken_while_stacks_come_is_whole);
	tcase_add_test(tests, a_difference_holds_what_came_between);
	tcase_add_test(tests, of_two_sessions_nothing_is_subtracted);
	tcase_add_test(tests, an_ended_session_lasted_until_it_ended);
	tcase_add_test(tests, a_killed_session_lasted_until_its_file_changed_last);
	tcase_add_test(tests, a_running_session_lasts_until_now);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed != 0;
}
