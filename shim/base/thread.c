#include "thread.h"

#include "hot.h"
#include "work.h"

#include <sys/syscall.h>
#include <unistd.h>

__thread struct thread self __attribute__((tls_model("initial-exec"))) = { .timer = -1 };
HOT_DATA struct seg_view seg;
HOT_DATA struct seg_process *thread_process;
uint32_t thread_owner_tag, thread_pid;

/* Whose active_owned of thread_process is: a tid, 0 = nobody's. A thread that ends unseen keeps it: the others use the
 * locked one. W: whoever finds it free, its owner, and the child of fork. */
static _Atomic uint32_t gauges_owner;

/* Low slots first: what was touched once is used again before a page more is. */
static uint32_t claim_slot(uint64_t owner)
{
	uint32_t count = seg.slots[SEG_TABLE_THREADS].count;

	for (uint32_t index = 1; index < count; index++) {
		uint64_t nobody = 0;
		if (atomic_load_explicit(&seg.threads[index].owner, memory_order_relaxed))
			continue;
		seg_table_mark(&seg.slots[SEG_TABLE_THREADS], index);
		if (atomic_compare_exchange_strong_explicit(&seg.threads[index].owner, &nobody, owner, memory_order_acquire, memory_order_relaxed))
			return index;
	}
	return 0;
}

static bool claim_free(_Atomic uint64_t *owner, uint64_t mine)
{
	uint64_t nobody = 0;

	return !atomic_load_explicit(owner, memory_order_relaxed) &&
	       atomic_compare_exchange_strong_explicit(owner, &nobody, mine, memory_order_acquire, memory_order_relaxed);
}

/* The first free shard to own; shard_count = all are others', or the thread has no slot of its own, whose owner's word would
 * tell when it dies. Acquired from whoever gave it back, so that adds go on from the last ones of the owner before. */
static uint32_t claim_shard(void)
{
	uint32_t index = seg.shards_shared, count = seg.shard_count;

	if (!self.slot || !self.is_exclusive)
		return count;
	uint64_t mine = atomic_load_explicit(&self.slot->owner, memory_order_relaxed);
	while (index < count && !claim_free(&seg.head->shard_owners[index], mine))
		index++;
	return index;
}

static void give_back_shard(uint32_t shard)
{
	if (shard & THREAD_OWNS_SHARD)
		atomic_store_explicit(&seg.head->shard_owners[thread_shard_index(shard)], 0, memory_order_release);
}

static void claim_gauges(void)
{
	uint32_t nobody = 0;

	if (self.tid && !self.owns_gauges &&
	    atomic_compare_exchange_strong_explicit(&gauges_owner, &nobody, self.tid, memory_order_acquire, memory_order_relaxed))
		self.owns_gauges = 1;
}

void thread_take_shard(void)
{
	uint32_t before = self.shard, index = claim_shard();
	bool is_own = index < seg.shard_count;

	claim_gauges();
	if (!is_own)
		index = self.tid % seg.shards_shared;
	if (!seg_shard_is_used(&seg, index))
		atomic_fetch_or_explicit(&seg.head->shards_used, 1u << index, memory_order_release);
	uint32_t shard = index | (is_own ? THREAD_OWNS_SHARD : 0);
	/* A handler of the program's may have been faster. */
	if (!__atomic_compare_exchange_n(&self.shard, &before, shard, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		give_back_shard(shard);
}

/* What it owns besides the slot. */
static void give_back(void)
{
	uint32_t shard = self.shard, owns_gauges = self.owns_gauges;

	self.shard = 0;
	self.shard_turns = 0;
	self.owns_gauges = 0;
	atomic_signal_fence(memory_order_release);
	give_back_shard(shard);
	if (owns_gauges)
		atomic_store_explicit(&gauges_owner, 0, memory_order_release);
}

void thread_attach(void)
{
	thread_attach_as((uint32_t)syscall(SYS_gettid), (uint32_t)syscall(SYS_getpid));
}

void thread_attach_as(uint32_t tid, uint32_t pid)
{
	if (!seg.head)
		return;
	uint32_t index = claim_slot((uint64_t)(thread_owner_tag | pid) << 32 | tid);
	struct seg_thread *slot = &seg.threads[index];

	self.tid = tid;
	self.is_exclusive = index != 0;
	work_thread_begin(index);
	/* Last: a handler that interrupts sees either nothing or everything. */
	atomic_signal_fence(memory_order_release);
	self.slot = slot;
	if (!index)
		seg_table_mark(&seg.slots[SEG_TABLE_THREADS], 0);
	if (!index)
		thread_count(SEG_COUNTER_OVERFLOW_THREADS);
	struct seg_process *process = thread_process;
	if (process)
		atomic_fetch_add_explicit(&process->threads, 1, memory_order_relaxed);
}

void thread_detach(void)
{
	struct seg_thread *slot = self.slot;

	if (!slot)
		return;
	work_thread_end();
	if (self.own_depth <= 1)
		give_back();
	self.slot = NULL;
	atomic_signal_fence(memory_order_release);
	if (self.is_exclusive)
		atomic_store_explicit(&slot->owner, 0, memory_order_release);
	self.is_exclusive = 0;
	self.tid = 0;
	struct seg_process *process = thread_process;
	if (process)
		atomic_fetch_sub_explicit(&process->threads, 1, memory_order_relaxed);
}

void thread_forget(void)
{
	self.slot = NULL;
	self.shard = 0;
	self.shard_turns = 0;
	self.owns_gauges = 0;
	atomic_store_explicit(&gauges_owner, 0, memory_order_relaxed); /* this thread is the process's only one */
	atomic_signal_fence(memory_order_release);
	self.is_exclusive = 0;
	self.tid = 0;
	self.timer = -1;
	self.in_handler = 0;
	work_forked();
}
