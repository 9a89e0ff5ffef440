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

/* The last samples of a thread with a slot of its own. A handler that interrupts this one loses one of the two. */
static void remember(uint64_t request, uint32_t node, uint64_t weight_ns)
{
	struct seg_thread *slot = self.slot;

	if (!request || !self.is_exclusive)
		return;
	uint32_t next = atomic_load_explicit(&slot->recent_next, memory_order_relaxed);
	struct seg_recent *last = &slot->recent[(next - 1) % SEG_RECENT];
	bool is_same = atomic_load_explicit(&last->request, memory_order_relaxed) == request &&
		       atomic_load_explicit(&last->node, memory_order_relaxed) == node;
	struct seg_recent *recent = is_same ? last : &slot->recent[next % SEG_RECENT];
	if (!is_same) {
		atomic_store_explicit(&recent->request, 0, memory_order_relaxed);
		atomic_store_explicit(&recent->samples, 0, memory_order_relaxed);
		atomic_store_explicit(&recent->weight_ns, 0, memory_order_relaxed);
		atomic_store_explicit(&recent->node, node, memory_order_relaxed);
		atomic_store_explicit(&slot->recent_next, next + 1, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&recent->samples, 1, memory_order_relaxed);
	add(&recent->weight_ns, weight_ns);
	atomic_store_explicit(&recent->request, request, memory_order_release);
}

static void credit(uint32_t node, uint32_t entered, uint64_t weight_ns, struct work work)
{
	add(&seg.endpoints[work.endpoint].cpu_samples, 1);
	add(&seg.endpoints[work.endpoint].cpu_ns, weight_ns);
	remember(work.request, node, weight_ns);
	if (!node)
		return;
	struct seg_cell *leaf = cell_of(node, work.endpoint);
	if (!leaf) {
		thread_count(SEG_COUNTER_DROP_CELLS_FULL);
		return;
	}
	add(&leaf->samples, 1);
	add(&leaf->weight_ns, weight_ns);
	for (; entered && node; entered--, node = node_parent(node)) {
		struct seg_cell *cell = cell_of(node, work.endpoint);
		if (cell)
			add(&cell->activations, 1);
	}
}

void work_set(struct work work)
{
	/* First the word, then the backlog: a handler that comes between credits directly and adds nothing to it. */
	self.work = work;
	atomic_signal_fence(memory_order_seq_cst);
	for (uint32_t i = 0; i < self.pending_count; i++)
		credit(self.pending[i].node, self.pending[i].entered, self.pending[i].weight_ns, work);
	self.pending_count = 0;
}

void work_credit(uint32_t node, uint32_t entered, uint64_t weight_ns)
{
	struct work work = self.work;

	if (work.endpoint != WORK_PENDING) {
		credit(node, entered, weight_ns, work);
		return;
	}
	if (self.pending_count < THREAD_PENDING_MAX)
		self.pending[self.pending_count++] = (struct thread_pending){ node, entered, weight_ns };
	else /* a loop this busy for nobody is its own */
		credit(node, entered, weight_ns, (struct work){ SEG_ENDPOINT_IDLE, 0 });
}
