#include "thread.h"

#include "work.h"

#include <sys/syscall.h>
#include <unistd.h>

__thread struct thread self __attribute__((tls_model("initial-exec"))) = { .timer = -1 };
struct seg_view seg;
struct seg_process *thread_process;
uint32_t thread_owner_tag;

/* Low slots first: what was touched once is used again before a page more is. */
static uint32_t claim_slot(uint64_t owner)
{
	uint32_t count = seg.slots[SEG_TABLE_THREADS].count;

	for (uint32_t index = 1; index < count; index++) {
		uint64_t nobody = 0;
		seg_table_mark(&seg.slots[SEG_TABLE_THREADS], index);
		if (atomic_load_explicit(&seg.threads[index].owner, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong_explicit(&seg.threads[index].owner, &nobody, owner, memory_order_acquire, memory_order_relaxed))
			return index;
	}
	return 0;
}

void thread_attach(void)
{
	if (!seg.head)
		return;
	uint32_t tid = (uint32_t)syscall(SYS_gettid);
	uint32_t pid = (uint32_t)syscall(SYS_getpid);
	uint32_t index = claim_slot((uint64_t)(thread_owner_tag | pid) << 32 | tid);
	struct seg_thread *slot = &seg.threads[index];

	self.tid = tid;
	self.shard = (index ? index : tid) % seg.head->shard_count;
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
	atomic_signal_fence(memory_order_release);
	self.is_exclusive = 0;
	self.tid = 0;
	self.timer = -1;
	self.in_handler = 0;
	work_forked();
}
