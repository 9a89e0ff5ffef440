#include "handler.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "../base/work.h"
#include "disposition.h"
#include "modules.h"
#include "pulse.h"
#include "restart.h"
#include "tree.h"
#include "unwind.h"

#include <errno.h>

/* 250 us: no walk takes longer, so what does has lost its core meanwhile. The clock is not the thread's own, which would
 * cost a system call. */
#define SAMPLE_NS_MAX 250000
/* The first samples of a thread are timed, since they meet everything for the first time, and then one of so many; it stands
 * for the others. To read the clock twice would be a fifth of what a sample takes. */
enum { TIMED_FIRST = 4, TIMED_EVERY = 8 };

struct handler handler;

static __thread struct {
	uint32_t samples;
	uint32_t ns; /* of the one that was timed last */
} timed __attribute__((tls_model("initial-exec")));

/* What a sample comes to. */
struct finding {
	uint32_t node;
	uint32_t entered;
};

/* The stack is lost for a reason that was counted; its leaf, or the call it is in, is still known. */
static struct finding lost(const ucontext_t *context, enum seg_counter reason)
{
	uint64_t leaf = self.call ? self.call : (uint64_t)context->uc_mcontext.gregs[REG_RIP];

	thread_count(reason);
	return (struct finding){ .node = sig_tree_lost(leaf) };
}

/* Whose path a stack is compared with and kept in. Not one that was found while modules change: what its addresses mean is
 * not sure then. */
static struct sig_path *path_of(struct unwind_state *state, bool has_entered)
{
	bool has_path = has_entered && self.is_exclusive && state == unwind_walk.own;

	if (!has_path)
		state->tagged = 0;
	return has_path ? &state->path : NULL;
}

static struct finding find_stack(const ucontext_t *context, struct unwind_state *state, bool has_entered)
{
	struct sig_path *path = path_of(state, has_entered);
	struct sig_walk walk = sig_unwind(context, state);
	struct finding finding = { 0 };

	if (!walk.depth)
		return lost(context, SEG_COUNTER_DROP_UNWIND);
	uint64_t *tags = sig_unwind_tags(state, walk.depth);
	struct sig_shown shown = sig_stack_shown(&walk, self.call, &state->tagged, tags);
	if (!shown.kept && !shown.count)
		return lost(context, SEG_COUNTER_DROP_UNWIND);
	bool is_truncated = !shown.kept && tags[0] == SIG_TAG_TRUNCATED;
	if (is_truncated)
		thread_count(SEG_COUNTER_TRUNCATED);
	uint32_t epoch = sig_modules_epoch();
	finding.node = sig_tree_enter(path, shown.kept, tags, shown.count, state->path_epoch != epoch, &finding.entered);
	if (!path)
		state->tagged = 0;
	else if (!is_truncated) /* else the path stays that of before, and as stale */
		state->path_epoch = epoch;
	return finding;
}

static struct finding find_with_state(const ucontext_t *context, bool has_entered)
{
	struct unwind_state *state = sig_unwind_begin();

	if (!state)
		return lost(context, SEG_COUNTER_DROP_NO_SLOT);
	struct finding finding = find_stack(context, state, has_entered);
	sig_unwind_end(state);
	return finding;
}

static struct finding find_node(const ucontext_t *context)
{
	bool has_entered = sig_modules_enter();
	struct finding finding;

	if (self.in_handler > 1 || unwind_walk.state)
		finding = lost(context, SEG_COUNTER_DROP_NESTED);
	else if (!has_entered && sig_unwind_reads_modules())
		finding = lost(context, SEG_COUNTER_DROP_LOADER);
	else
		finding = find_with_state(context, has_entered);
	sig_modules_leave(has_entered);
	return finding;
}

/* A thread may be met here first, one that was there before us or that no hook saw begin; but not while our own code is about
 * to attach it. */
static void meet(const siginfo_t *info)
{
	uint32_t tid = self.own_depth ? 0 : sig_pulse_stranger(info);

	if (tid)
		thread_attach_as(tid, thread_pid);
}

static bool may_sample(const siginfo_t *info)
{
	struct segment *head = seg.head;

	if (!head || atomic_load_explicit(&handler.is_paused, memory_order_relaxed) ||
	    !atomic_load_explicit(&head->config.is_enabled, memory_order_relaxed))
		return false;
	if (!self.slot)
		meet(info);
	return self.slot != NULL;
}

static void credit_sample(const siginfo_t *info, const ucontext_t *context)
{
	uint64_t weight_ns = sig_pulse_weigh(info, context);

	if (weight_ns) {
		self.in_handler++;
		thread_count(SEG_COUNTER_SAMPLES);
		struct finding finding = find_node(context);
		work_credit(finding.node, finding.entered, weight_ns);
		self.in_handler--;
	}
}

static void take_sample(const siginfo_t *info, const ucontext_t *context)
{
	if (!may_sample(info))
		return;
	bool is_timed = timed.samples < TIMED_FIRST || timed.samples % TIMED_EVERY == 0;
	uint64_t begin_ns = is_timed ? clock_now_ns() : 0;

	timed.samples++;
	credit_sample(info, context);
	if (is_timed) {
		uint64_t taken_ns = clock_now_ns() - begin_ns;
		timed.ns = taken_ns < SAMPLE_NS_MAX ? (uint32_t)taken_ns : SAMPLE_NS_MAX;
	}
	thread_add(&self.slot->overhead_ns[SEG_PHASE_SAMPLING], PULSE_SIGNAL_NS + timed.ns);
}

void sig_on_prof(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	(void)number;
	if (sig_pulse_is_ours(info)) {
		take_sample(info, context);
		sig_restart(context);
	} else if (!sig_disposition_do(info, context)) {
		sig_restart(context);
	}
	errno = saved_errno;
}
