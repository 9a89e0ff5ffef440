#include "work.h"

static struct seg_cell *cell_of(uint32_t node, uint32_t endpoint)
{
	uint64_t key = seg_cell_key(node, endpoint, SEG_KIND_CPU);
	uint32_t index = seg_table_insert(&seg.slots[SEG_TABLE_CELLS], key, NULL);

	return index == SEG_NOT_FOUND ? NULL : &seg.cells[index];
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint32_t node_parent(uint32_t node)
{
	return seg_node_parent(atomic_load_explicit(&seg.nodes[node - 1].key, memory_order_relaxed));
}

static void credit(uint32_t node, uint32_t entered, uint64_t weight_ns, uint32_t endpoint)
{
	add(&seg.endpoints[endpoint].cpu_samples, 1);
	add(&seg.endpoints[endpoint].cpu_ns, weight_ns);
	if (!node)
		return;
	struct seg_cell *leaf = cell_of(node, endpoint);
	if (!leaf) {
		thread_count(SEG_COUNTER_DROP_CELLS_FULL);
		return;
	}
	add(&leaf->samples, 1);
	add(&leaf->weight_ns, weight_ns);
	for (; entered && node; entered--, node = node_parent(node)) {
		struct seg_cell *cell = cell_of(node, endpoint);
		if (cell)
			add(&cell->activations, 1);
	}
}

void work_set(uint32_t endpoint)
{
	/* First the word, then the backlog: a handler that comes between credits directly and adds nothing to it. */
	self.endpoint = endpoint;
	atomic_signal_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < self.pending_count; i++)
		credit(self.pending[i].node, self.pending[i].entered, self.pending[i].weight_ns, endpoint);
	self.pending_count = 0;
}

void work_credit(uint32_t node, uint32_t entered, uint64_t weight_ns)
{
	if (self.endpoint != WORK_PENDING) {
		credit(node, entered, weight_ns, self.endpoint);
		return;
	}
	if (self.pending_count < THREAD_PENDING_MAX)
		self.pending[self.pending_count++] = (struct thread_pending){ node, entered, weight_ns };
	else
		credit(node, entered, weight_ns, SEG_ENDPOINT_IDLE); /* a loop this busy for nobody is its own */
}
