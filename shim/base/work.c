/* What is kept back lies in memory of its own, a place for each slot of the segment, so that threads with small stacks have
 * room for it: thread-local memory is part of their stack. Equal samples share an entry. When all entries are in use a
 * new sample is merged with one of them, which keeps the stack of the one or the other, by lot in proportion to their
 * time: no time is lost, and in the mean each stack has its own.
 */
#include "work.h"

#include "hot.h"

enum {
	HEIRS_MAX = 64, /* threads at once that work for what they inherited; more of them work for nobody */
	HEIR_BY_FORK = HEIRS_MAX + 1, /* in thread.heir: without an entry, since it is another process that ends the request */
	FOREIGN_ANSWERS = 16, /* of its own to what it read itself, after which a thread is taken to do that always */
	JUST_NS = 100000, /* 100 us: more than an answer and a wait are apart with nothing between them, less than what matters */
};

#define HEIR_IS_OVER UINT64_MAX

/* W: work_init. NULL: none. */
static struct thread_pending (*backlogs)[THREAD_PENDING_MAX];

/* The request whose work a thread inherited, 0 = free, HEIR_IS_OVER once it is answered. W: who makes the thread, from 0;
 * who ends the request, to HEIR_IS_OVER; the thread, to 0. Relaxed: nothing else hangs on it. */
static _Atomic uint64_t heirs[HEIRS_MAX];
HOT_DATA _Atomic uint32_t work_heir_count;

static const struct work nobodys = { SEG_ENDPOINT_BACKGROUND, 0 };

size_t work_bytes(void)
{
	return seg.slots[SEG_TABLE_THREADS].count * sizeof(*backlogs);
}

void work_init(void *memory)
{
	backlogs = memory;
}

void work_thread_begin(uint32_t slot)
{
	bool has_own = slot && backlogs;

	self.pending_count = 0;
	self.pending_ns = 0;
	self.foreign = 0;
	self.answered_ns = 0;
	self.place = 0;
	self.pending = has_own ? backlogs[slot] : self.few;
	self.pending_max = has_own ? THREAD_PENDING_MAX : THREAD_PENDING_FEW;
	if (!self.heir)
		self.work = nobodys;
}

static struct seg_cell *cell_of(uint32_t node, uint32_t endpoint)
{
	uint64_t key = seg_cell_key(node, endpoint, SEG_KIND_CPU);
	uint32_t index = seg_table_meet(&seg.slots[SEG_TABLE_CELLS], key);

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
static void remember(uint64_t request, const struct thread_pending *seen)
{
	struct seg_thread *slot = self.slot;

	if (!request || !self.is_exclusive)
		return;
	uint32_t next = atomic_load_explicit(&slot->recent_next, memory_order_relaxed);
	struct seg_recent *last = &slot->recent[(next - 1) % SEG_RECENT];
	bool is_same = atomic_load_explicit(&last->request, memory_order_relaxed) == request &&
		       atomic_load_explicit(&last->node, memory_order_relaxed) == seen->node;
	struct seg_recent *recent = is_same ? last : &slot->recent[next % SEG_RECENT];
	if (!is_same) {
		atomic_store_explicit(&recent->request, 0, memory_order_relaxed);
		atomic_store_explicit(&recent->samples, 0, memory_order_relaxed);
		atomic_store_explicit(&recent->weight_ns, 0, memory_order_relaxed);
		atomic_store_explicit(&recent->node, seen->node, memory_order_relaxed);
		atomic_store_explicit(&slot->recent_next, next + 1, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&recent->samples, seen->samples, memory_order_relaxed);
	add(&recent->weight_ns, seen->weight_ns);
	atomic_store_explicit(&recent->request, request, memory_order_release);
}

static void credit(const struct thread_pending *seen, struct work work)
{
	uint32_t node = seen->node;

	add(&seg.endpoints[work.endpoint].cpu_samples, seen->samples);
	add(&seg.endpoints[work.endpoint].cpu_ns, seen->weight_ns);
	remember(work.request, seen);
	if (!node)
		return;
	struct seg_cell *leaf = cell_of(node, work.endpoint);
	if (!leaf) {
		thread_count(SEG_COUNTER_DROP_CELLS_FULL);
		return;
	}
	add(&leaf->samples, seen->samples);
	add(&leaf->weight_ns, seen->weight_ns);
	for (uint32_t entered = seen->entered; entered && node; entered--, node = node_parent(node)) {
		struct seg_cell *cell = cell_of(node, work.endpoint);
		if (cell)
			add(&cell->activations, seen->samples);
	}
}

/* The newest first, each taken before it is credited: a handler of the program that interrupts this and changes the work,
 * too, finds what is left. */
static void credit_pending(struct work work)
{
	while (self.pending_count) {
		struct thread_pending seen = self.pending[--self.pending_count];
		credit(&seen, work);
	}
	self.pending_ns = 0;
}

void work_settle(struct work work)
{
	if (self.heir)
		work_release_heir();
	credit_pending(work);
}

/* Whose it is what came to nothing: a worker's, a loop's. */
static struct work nobody(void)
{
	return work_is_job() ? nobodys : (struct work){ SEG_ENDPOINT_IDLE, 0 };
}

void work_abandon(void)
{
	struct work unknown = self.work;

	work_set(nobody());
	self.work = unknown;
}

/* A worker that goes to wait as soon as it has answered goes to where it waits for what comes next. Its first wait then
 * tells; where something has come already it is a short one, and the next wait is in the middle of that. */
static bool has_just_answered(uint64_t now_ns)
{
	return !self.has_waited && now_ns - self.answered_ns < JUST_NS;
}

/* It does something that it has not finished yet, and waits where a thread does not wait for something new. */
static bool is_in_the_middle(uint64_t place, uint64_t now_ns)
{
	bool is_new = !self.place || self.place == WORK_PLACE_NEW;

	if (self.is_answered || place == self.place || place == WORK_PLACE_MANY || self.heir == HEIR_BY_FORK)
		return false;
	if (!work_is_job())
		return !is_new || !(place & WORK_PLACE_EPOLL);
	/* Workers have no loop within their work; but several of them may wait in turn for events and for each other. */
	if (place & WORK_PLACE_EPOLL || has_just_answered(now_ns))
		return false;
	return self.place != WORK_PLACE_NEW || place & WORK_PLACE_FEW;
}

void work_pause(uint64_t place, uint64_t now_ns)
{
	bool is_going_on = is_in_the_middle(place, now_ns);

	self.has_waited = 1;
	if (is_going_on)
		return;
	self.place = place;
	if (self.heir == HEIR_BY_FORK) {
		work_set(nobodys);
		return;
	}
	if (self.work.endpoint == WORK_PENDING)
		work_set(nobody());
	work_set((struct work){ SEG_ENDPOINT_IDLE, 0 });
}

void work_answered(struct work answered, bool is_read_here, uint64_t now_ns)
{
	bool is_next = work_is_request(self.work) && self.work.request != answered.request;

	self.answered_ns = now_ns;
	self.has_waited = 0;
	if (!is_read_here)
		self.foreign = FOREIGN_ANSWERS;
	else if (self.foreign)
		self.foreign--;
	if (self.foreign)
		work_set_unknown(WORK_JOB);
	else if (!is_next)
		self.is_answered = 1;
}

/* --- what is inherited --- */

static void free_heir(uint32_t heir)
{
	atomic_store_explicit(&heirs[heir - 1], 0, memory_order_relaxed);
	atomic_fetch_sub_explicit(&work_heir_count, 1, memory_order_relaxed);
}

void work_release_heir(void)
{
	/* By one instruction: a handler that comes between two would give it back, too. */
	uint32_t heir = __atomic_exchange_n(&self.heir, 0, __ATOMIC_RELAXED);

	if (heir && heir != HEIR_BY_FORK)
		free_heir(heir);
}

uint32_t work_bequeath(void)
{
	if (!work_is_request(self.work) || !self.work.request || self.is_answered)
		return 0;
	atomic_fetch_add_explicit(&work_heir_count, 1, memory_order_relaxed);
	for (uint32_t i = 0; i < HEIRS_MAX; i++) {
		uint64_t nobody = 0;
		if (atomic_compare_exchange_strong_explicit(&heirs[i], &nobody, self.work.request, memory_order_relaxed,
							    memory_order_relaxed))
			return i + 1;
	}
	atomic_fetch_sub_explicit(&work_heir_count, 1, memory_order_relaxed);
	return 0;
}

void work_disinherit(uint32_t heir)
{
	if (heir)
		free_heir(heir);
}

void work_inherit(uint32_t heir, struct work work)
{
	if (!heir && work.endpoint == SEG_ENDPOINT_BACKGROUND)
		return;
	self.heir = heir;
	self.inherited = work;
	self.place = WORK_PLACE_NEW;
	self.is_answered = 0;
	atomic_signal_fence(memory_order_seq_cst);
	self.work = WORK_JOB;
}

void work_end_inheritances(uint64_t request)
{
	for (uint32_t i = 0; i < HEIRS_MAX; i++) {
		uint64_t expected = request;
		/* A look costs a tenth of an exchange that fails, and who was made for this request was made before its end. */
		if (atomic_load_explicit(&heirs[i], memory_order_relaxed) != request)
			continue;
		atomic_compare_exchange_strong_explicit(&heirs[i], &expected, HEIR_IS_OVER, memory_order_relaxed,
							memory_order_relaxed);
	}
}

void work_forked(void)
{
	for (uint32_t i = 0; i < HEIRS_MAX; i++)
		atomic_store_explicit(&heirs[i], 0, memory_order_relaxed);
	atomic_store_explicit(&work_heir_count, 0, memory_order_relaxed);
	self.heir = work_is_request(self.work) && !self.is_answered ? HEIR_BY_FORK : 0;
	self.pending_count = 0;
}

static bool is_request_over(uint32_t heir)
{
	return atomic_load_explicit(&heirs[heir - 1], memory_order_relaxed) == HEIR_IS_OVER;
}

void work_thread_end(void)
{
	uint32_t heir = self.heir;

	if (heir && heir != HEIR_BY_FORK && !is_request_over(heir))
		work_set(self.inherited);
	work_set(nobodys);
}

/* --- what is kept back --- */

static uint32_t next_random(void)
{
	/* Marsaglia's xorshift32, whose state is never 0. */
	uint32_t x = self.random ? self.random : self.tid | 1;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	self.random = x;
	return x;
}

static void merge(struct thread_pending *kept, const struct thread_pending *seen)
{
	uint64_t total_ns = kept->weight_ns + seen->weight_ns;

	if (total_ns && next_random() % total_ns < seen->weight_ns)
		kept->node = seen->node;
	kept->entered = 0; /* whose activations these were is not known any more; fewer are counted, as is promised */
	kept->samples += seen->samples;
	kept->weight_ns = total_ns;
}

static void keep_back(const struct thread_pending *seen)
{
	uint32_t count = self.pending_count;

	self.pending_ns += seen->weight_ns;
	for (uint32_t i = count; i-- > 0;) {
		struct thread_pending *kept = &self.pending[i];
		if (kept->node == seen->node && kept->entered == seen->entered) {
			kept->samples += seen->samples;
			kept->weight_ns += seen->weight_ns;
			return;
		}
	}
	if (count < self.pending_max) {
		self.pending[count] = *seen;
		self.pending_count = count + 1;
	} else {
		merge(&self.pending[next_random() % count], seen);
	}
}

static uint64_t pending_ns_max(void)
{
	bool is_heir = self.heir && self.heir != HEIR_BY_FORK && !is_request_over(self.heir);

	return is_heir || self.answered_ns ? WORK_PENDING_NS_MAX : WORK_PENDING_NS_NEW;
}

void work_credit(uint32_t node, uint32_t entered, uint64_t weight_ns)
{
	struct thread_pending seen = { .node = node, .entered = entered, .samples = 1, .weight_ns = weight_ns };

	if (self.work.endpoint != WORK_PENDING)
		credit(&seen, self.work);
	else
		keep_back(&seen);
	if (self.pending_ns > pending_ns_max())
		work_abandon();
}
