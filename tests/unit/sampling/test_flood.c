/* A million different stacks on a segment that has room for a small part of them. */
#include "../../../shim/base/work.h"
#include "../../../shim/sampling/module_map.h"
#include "../../../shim/sampling/tree.h"
#include "fixture.h"

#include <string.h>

enum { STACKS = 1000000, DEPTH = 20, WEIGHT_NS = 1000 };

/* One module from 0 to 1 MiB: an address is its own offset. */
static struct map_object object = { .low = 0, .high = 1 << 20, .module = SEG_MODULE_FIRST };
static struct map_range range = { 0, 1 << 20, 0 };
static struct module_map map = { .objects = &object, .ranges = &range, .object_count = 1, .range_count = 1 };
static struct sig_path path;

static void open_session(void)
{
	fixture_open(100, "fp");
	atomic_store(&module_gate.current, &map);
	sig_tree_init();
}

/* The bits of number are the way, two addresses to choose from at each step. */
static void take_sample(uint32_t number)
{
	uint64_t tags[DEPTH];
	uint32_t entered;

	for (uint32_t i = 0; i < DEPTH; i++)
		tags[i] = 0x1000 + i * 0x100 + (number >> i & 1) * 0x10;
	thread_count(SEG_COUNTER_SAMPLES);
	uint32_t node = sig_tree_enter(&path, 0, tags, DEPTH, false, &entered);
	work_credit(node, entered, WEIGHT_NS);
}

static uint64_t cell_samples(void)
{
	const struct seg_slots *cells = &seg.slots[SEG_TABLE_CELLS];
	uint64_t sum = 0;

	for (uint32_t i = 0; (i = seg_table_next(cells, i)) < cells->count; i++)
		sum += atomic_load(&seg.cells[i].samples);
	return sum;
}

START_TEST(every_stack_of_a_million_is_in_the_tree_or_counted_as_refused)
{
	for (uint32_t number = 0; number < STACKS; number++)
		take_sample(number);
	work_settle((struct work){ SEG_ENDPOINT_BACKGROUND, 0 });
	uint64_t refused = fixture_counter(SEG_COUNTER_DROP_NODES_FULL) + fixture_counter(SEG_COUNTER_DROP_FRAMES_FULL);

	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), STACKS);
	ck_assert_uint_eq(fixture_cpu_ns(), (uint64_t)STACKS * WEIGHT_NS);
	ck_assert_uint_gt(refused, STACKS / 2);
	ck_assert_uint_lt(refused, STACKS);
	/* What the tree refused is credited to the node [lost]; what even the cells refused is counted besides. */
	ck_assert_uint_eq(cell_samples() + fixture_counter(SEG_COUNTER_DROP_CELLS_FULL), STACKS);
	ck_assert_uint_eq(fixture_node_samples(sig_tree_lost(0)), refused);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("flood") };

	tcase_add_checked_fixture(cases[0], open_session, NULL);
	tcase_set_timeout(cases[0], 120);
	tcase_add_test(cases[0], every_stack_of_a_million_is_in_the_tree_or_counted_as_refused);
	return fixture_run(cases, 1, "flood");
}
