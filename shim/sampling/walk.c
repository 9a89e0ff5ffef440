/* A walk by rules, the one that every sample takes. For each frame: the rule for its place in the code, out of what the thread
 * remembers or else out of its module's table; the CFA by that rule; the return address right below the CFA.
 *
 * Two things make it cheap. Rules are remembered by address. And the frames of the thread's last walk are kept: as soon as
 * a new frame is one of them (same place, same stack pointer, same registers), each frame from there on is found again by the
 * rule that is noted in it, or by no more than a look at the words that were read; then nothing of them need be written,
 * shown or looked up in the tree anew. Where one comes out otherwise, the walk goes on from there.
 *
 * A caller's frame lies above its callee's, so each step must raise the stack pointer; with the bounds of the stack that ends
 * any loop. Only a signal frame leads elsewhere, and the depth bounds that.
 *
 * Where a module's table is not made yet, or says nothing of an address, the frame pointer is followed if it points into the
 * stack: code without any is then left out, or ends the walk.
 */
#include "modules.h"
#include "unwind.h"

#include "../base/thread.h"
#include "../segment/unwind.h"
#include "module_map.h"
#include "stacks.h"

#include <string.h>

#define ADDRESS_MIN 4096         /* the first page is never mapped */
#define FRAME_BYTES_MAX 0x800000 /* 8 MiB: a larger step by frame pointers is no frame */

/* push rbp; mov rbp, rsp: the caller's rbp below the return address, and nothing known of rbx. */
#define POINTERS_RULE (SEG_UNWIND_BP | 2u << 4 | (uint32_t)SEG_UNWIND_LOST << 10 | 2u << 16)

enum unwind_end {
	GOES_ON,
	END_ROOT,        /* the outermost frame was reached */
	END_POINTERS,    /* no rule is known, and there is no frame pointer that could be followed */
	END_UNSUPPORTED, /* a rule that needs what is not known here */
	END_REFUSED,     /* a rule led out of the stack */
	END_STRANGE,     /* the stack may go on, but where it ends is not known */
	END_DEEP,
	END_COUNT
};

struct walker {
	struct sig_frame at; /* the frame that the walk has come to */
	struct unwind_bounds bounds;
	struct unwind_state *state;
	const ucontext_t *context;
	const greg_t *registers; /* all of them, where `at` was interrupted; NULL = it called */
	const struct module_map *map;
	uint32_t fresh; /* frames laid down, at the end of state->frames */
	uint32_t older; /* of the last walk's frames, those that may still be met */
};

/* --- rules --- */

static uint32_t flags_of(const struct module_map *map, uintptr_t address, const struct map_object *object)
{
	bool is_own = address >= map->own_low && address < map->own_high;

	return (is_own ? SIG_FRAME_OWN : 0) | (object && object->is_system ? SIG_FRAME_SYSTEM : 0);
}

/* The rule in the module's table. False: there is none yet.
 * A return address that is the beginning of a function, with nothing that could have called right before it, was laid there
 * by hand: a coroutine begins in it (glibc's makecontext), and nothing that lies above on the stack is its caller. */
static bool look_up(uint32_t module, uint64_t address, bool is_return, uint32_t *ret_rule)
{
	struct seg_unwind_view table;

	*ret_rule = SEG_UNWIND_NONE;
	if (module == SEG_MODULE_NONE || module >= seg.slots[SEG_TABLE_UNWIND].count)
		return true;
	struct seg_unwind *entry = &seg.unwind[module];
	if (atomic_load_explicit(&entry->state, memory_order_acquire) == SEG_UNWIND_WANTED) {
		if (!atomic_load_explicit(&entry->is_met, memory_order_relaxed))
			atomic_store_explicit(&entry->is_met, 1, memory_order_relaxed);
		return false;
	}
	if (!seg_unwind_open(&seg, module, &table))
		return true;
	*ret_rule = seg_unwind_find(&table, address);
	if (*ret_rule == SEG_UNWIND_NONE && is_return && seg_unwind_find(&table, address + 1) != SEG_UNWIND_NONE)
		*ret_rule = SEG_UNWIND_END;
	return true;
}

static void find_rule(struct walker *walker, uint64_t address, struct unwind_known *known)
{
	const struct map_range *range = walker->map ? sig_map_find(walker->map, address) : NULL;
	const struct map_object *object = range ? &walker->map->objects[range->object] : NULL;
	uint32_t rule = SEG_UNWIND_NONE;
	/* Code that no module has may be a module's that the map does not show yet. */
	bool is_final = object && (!unwinder.has_tables || look_up(object->module, address - object->info.dlpi_addr, walker->at.tag & SIG_TAG_RETURN, &rule));
	uint32_t flags = object ? flags_of(walker->map, address, object) : 0;

	if (rule == SEG_UNWIND_NONE) {
		flags |= SIG_FRAME_POINTERS;
		rule = atomic_load_explicit(&unwinder.has_pointers, memory_order_relaxed) ? POINTERS_RULE : SEG_UNWIND_NONE;
	}
	*known = (struct unwind_known){ is_final ? address : 0, rule, flags };
}

static uint32_t place_of(uint64_t address)
{
	return (uint32_t)(address ^ address >> 8 ^ address >> 17) % UNWIND_RULES;
}

/* Gives the frame at hand its rule. */
static inline void take_rule(struct walker *walker)
{
	uint64_t address = (walker->at.tag & ~SIG_TAG_RETURN) - (walker->at.tag >> 63);
	struct unwind_known *known = &walker->state->known[place_of(address)];

	if (known->address != address || !address)
		find_rule(walker, address, known);
	walker->at.rule = known->rule;
	walker->at.flags = (uint16_t)((walker->at.flags & (SIG_FRAME_NO_BP | SIG_FRAME_NO_BX)) | known->flags);
}

/* --- steps --- */

static inline bool load(const struct walker *walker, uint64_t address, uint64_t *ret_word)
{
	if (address < walker->bounds.low || address > walker->bounds.high - sizeof(*ret_word))
		return false;
	memcpy(ret_word, (const void *)address, sizeof(*ret_word));
	return true;
}

/* The outermost frame is marked by a frame pointer of zero (x86-64 psABI, 3.4.1). A function that was interrupted may have
 * any other use for the register. */
static bool is_marked_as_root(const struct sig_frame *frame)
{
	return !frame->bp && !(frame->flags & SIG_FRAME_NO_BP) && frame->tag & SIG_TAG_RETURN;
}

/* Why a load was refused: nothing may be wrong but that we do not know how far the stack goes. */
static enum unwind_end refused(const struct walker *walker)
{
	if (walker->at.flags & SIG_FRAME_POINTERS)
		return is_marked_as_root(&walker->at) ? END_ROOT : END_POINTERS;
	if (walker->bounds.is_known)
		return END_REFUSED;
	sig_stacks_want(walker->at.sp);
	return END_STRANGE;
}

/* DWARF's numbers of registers (x86-64 psABI, 3.6.2) as indexes of gregset_t. */
static const uint8_t greg_of[16] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
				     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static enum unwind_end find_cfa(const struct walker *walker, uint64_t *ret_cfa)
{
	const struct sig_frame *at = &walker->at;
	uint32_t rule = at->rule;

	switch (seg_unwind_kind_of(rule)) {
	case SEG_UNWIND_SP: *ret_cfa = at->sp + (uint64_t)seg_unwind_offset(rule); return GOES_ON;
	case SEG_UNWIND_BP:
		*ret_cfa = at->bp + (uint64_t)seg_unwind_offset(rule);
		return at->flags & SIG_FRAME_NO_BP ? END_UNSUPPORTED : GOES_ON;
	case SEG_UNWIND_BX:
		*ret_cfa = at->bx + (uint64_t)seg_unwind_offset(rule);
		return at->flags & SIG_FRAME_NO_BX ? END_UNSUPPORTED : GOES_ON;
	case SEG_UNWIND_PLT: *ret_cfa = at->sp + 8 + 8 * ((at->tag & 15) >= seg_unwind_plt_limit(rule)); return GOES_ON;
	case SEG_UNWIND_DEREF_SP:
		if (!load(walker, at->sp + (uint64_t)seg_unwind_deref_offset(rule), ret_cfa))
			return refused(walker);
		*ret_cfa += (uint64_t)seg_unwind_deref_added(rule);
		return GOES_ON;
	case SEG_UNWIND_DEREF_BP:
	case SEG_UNWIND_DEREF_BP_CFA:
		if (at->flags & SIG_FRAME_NO_BP)
			return END_UNSUPPORTED;
		if (!load(walker, at->bp + (uint64_t)seg_unwind_deref_offset(rule), ret_cfa))
			return refused(walker);
		*ret_cfa += (uint64_t)seg_unwind_deref_added(rule);
		return GOES_ON;
	case SEG_UNWIND_REGISTER:
		if (!walker->registers)
			return END_UNSUPPORTED;
		*ret_cfa = (uint64_t)walker->registers[greg_of[seg_unwind_register(rule)]] + (uint64_t)seg_unwind_register_offset(rule);
		return GOES_ON;
	case SEG_UNWIND_SP_BYTES: *ret_cfa = at->sp + seg_unwind_byte_offset(rule); return GOES_ON;
	case SEG_UNWIND_SP_FAR ... SEG_UNWIND_SP_FAR_LAST: *ret_cfa = at->sp + seg_unwind_far_offset(rule); return GOES_ON;
	case SEG_UNWIND_END: return END_ROOT;
	case SEG_UNWIND_NONE: return END_POINTERS;
	default: return END_UNSUPPORTED;
	}
}

/* The caller's value of a register that was saved: in a slot below base, or where rbp points. */
static inline bool take_saved(const struct walker *walker, uint32_t slot, uint64_t base, uint64_t *value, uint16_t *flags, uint16_t lost)
{
	if (slot == SEG_UNWIND_KEPT)
		return true;
	if (slot == SEG_UNWIND_LOST) {
		*flags |= lost;
		return true;
	}
	*flags &= (uint16_t)~lost;
	return load(walker, slot == SEG_UNWIND_AT_BP ? walker->at.bp : base - 8 * (uint64_t)slot, value);
}

/* A frame pointer may be anything at all: what it leads to must look like a frame. */
static bool can_be_frame(const struct walker *walker, uint64_t cfa, uint64_t return_address)
{
	return cfa - walker->at.sp <= FRAME_BYTES_MAX && return_address >= ADDRESS_MIN;
}

/* What the signal interrupted: the registers are in the ucontext at sp. It may be on another stack. */
static enum unwind_end step_over_signal(struct walker *walker)
{
	uint64_t registers = walker->at.sp + offsetof(ucontext_t, uc_mcontext.gregs), word;

	if (!load(walker, walker->at.sp, &word) || !load(walker, registers + sizeof(gregset_t) - sizeof(word), &word))
		return refused(walker);
	const ucontext_t *inner = (const ucontext_t *)walker->at.sp;
	const greg_t *gregs = inner->uc_mcontext.gregs;
	walker->at = (struct sig_frame){ .tag = (uint64_t)gregs[REG_RIP] & ~SIG_TAG_RETURN,
					 .sp = (uint64_t)gregs[REG_RSP],
					 .bp = (uint64_t)gregs[REG_RBP],
					 .bx = (uint64_t)gregs[REG_RBX] };
	walker->registers = gregs;
	if (walker->at.sp < walker->bounds.low || walker->at.sp >= walker->bounds.high) {
		walker->bounds = sig_unwind_bounds(walker->at.sp, walker->context);
		if (!walker->bounds.is_known)
			walker->bounds = sig_unwind_bounds(walker->at.sp, inner);
	}
	return GOES_ON;
}

/* From the frame at hand, whose rule is known, to its caller's. */
static inline enum unwind_end step(struct walker *walker)
{
	uint32_t rule = walker->at.rule;
	uint64_t cfa = 0, return_address = 0;

	if (seg_unwind_kind_of(rule) == SEG_UNWIND_SIGNAL)
		return step_over_signal(walker);
	enum unwind_end end = find_cfa(walker, &cfa);
	if (end != GOES_ON)
		return end;
	if (cfa <= walker->at.sp || cfa % 8 || !load(walker, cfa - 8, &return_address))
		return refused(walker);
	struct sig_frame caller = { .sp = cfa, .bp = walker->at.bp, .bx = walker->at.bx };
	uint16_t flags = walker->at.flags & (SIG_FRAME_NO_BP | SIG_FRAME_NO_BX);
	uint64_t base = seg_unwind_kind_of(rule) == SEG_UNWIND_DEREF_BP ? walker->at.bp : cfa;
	if (!take_saved(walker, seg_unwind_bp(rule), base, &caller.bp, &flags, SIG_FRAME_NO_BP) ||
	    !take_saved(walker, seg_unwind_bx(rule), base, &caller.bx, &flags, SIG_FRAME_NO_BX))
		return refused(walker);
	if (walker->at.flags & SIG_FRAME_POINTERS && !can_be_frame(walker, cfa, return_address))
		return END_POINTERS;
	if (!return_address)
		return END_ROOT;
	caller.tag = return_address | SIG_TAG_RETURN;
	caller.flags = flags;
	walker->at = caller;
	walker->registers = NULL;
	return GOES_ON;
}

/* Before what may fault. */
static inline void note_step(struct walker *walker, uint32_t flags)
{
	atomic_store_explicit(&walker->state->is_by_pointers, flags & SIG_FRAME_POINTERS, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* --- the last walk --- */

static inline bool is_same(const struct sig_frame *a, const struct sig_frame *b)
{
	const uint16_t values = SIG_FRAME_NO_BP | SIG_FRAME_NO_BX;

	return a->tag == b->tag && a->sp == b->sp && a->bp == b->bp && a->bx == b->bx && (a->flags & values) == (b->flags & values);
}

/* The frame at hand is one of the last walk's; it is then the last one of walker->older. */
static inline bool is_met_again(struct walker *walker)
{
	const struct sig_frame *frames = walker->state->frames;

	while (walker->older && frames[walker->older - 1].sp < walker->at.sp)
		walker->older--;
	return walker->older && is_same(&frames[walker->older - 1], &walker->at);
}

static inline void lay_down(struct walker *walker, const struct sig_frame *frame)
{
	walker->state->frames[2 * SIG_FRAMES_MAX - ++walker->fresh] = *frame;
}

static inline bool holds(uint64_t address, uint64_t word)
{
	uint64_t found;

	memcpy(&found, (const void *)address, sizeof(found));
	return found == word;
}

/* A register of the caller that was saved below its frame still is. */
static inline bool holds_saved(uint32_t slot, uint64_t cfa, uint64_t value)
{
	return slot - 1 >= SEG_UNWIND_SLOT_MAX || holds(cfa - 8 * (uint64_t)slot, value);
}

/* The frame's rule tells its CFA from registers alone, and what it saves is told from that: since the registers are those of
 * the last walk, so is the CFA, and what remains to be seen is whether the stack holds what it did. */
static inline bool is_plain(uint32_t rule)
{
	const uint32_t kinds = 1u << SEG_UNWIND_SP | 1u << SEG_UNWIND_BP | 1u << SEG_UNWIND_BX | 1u << SEG_UNWIND_SP_BYTES;

	return kinds >> seg_unwind_kind_of(rule) & 1 && seg_unwind_bp(rule) != SEG_UNWIND_AT_BP && seg_unwind_bx(rule) != SEG_UNWIND_AT_BP;
}

/* The frame is plain, lies where it may be read, and its caller is as it was. */
static inline bool has_same_caller(const struct unwind_bounds *bounds, const struct sig_frame *frame)
{
	const struct sig_frame *caller = frame - 1;
	uint64_t cfa = caller->sp;
	uint32_t rule = frame->rule;

	return is_plain(rule) && cfa - 8 * (SEG_UNWIND_SLOT_MAX + 1) >= bounds->low && cfa <= bounds->high &&
	       holds(cfa - 8, caller->tag & ~SIG_TAG_RETURN) && holds_saved(seg_unwind_bp(rule), cfa, caller->bp) &&
	       holds_saved(seg_unwind_bx(rule), cfa, caller->bx);
}

/* The same of any frame, by taking the step; at the root: the walk ends as it did. */
static bool steps_as_before(struct walker *walker, uint32_t index)
{
	const struct sig_frame *frame = &walker->state->frames[index];

	walker->at = *frame;
	enum unwind_end end = step(walker);
	if (index == 0)
		return end == (enum unwind_end)walker->state->end;
	return end == GOES_ON && is_same(&walker->at, frame - 1);
}

/* The frame at hand was met again. True: from there on everything is as it was. Else the frame at hand is the last one that
 * was, and those that led to it are laid down. */
static bool is_all_the_same(struct walker *walker)
{
	const struct sig_frame *frames = walker->state->frames;
	uint32_t left = walker->older;

	note_step(walker, 0);
	while (left) {
		const uint32_t begin = left;
		while (left > 1 && has_same_caller(&walker->bounds, &frames[left - 1]))
			left--;
		if (left < begin)
			walker->registers = NULL;
		struct unwind_bounds bounds = walker->bounds;
		const greg_t *registers = walker->registers;
		if (steps_as_before(walker, left - 1)) {
			left--;
			continue;
		}
		walker->bounds = bounds;
		walker->registers = registers;
		for (; walker->older > left; walker->older--)
			lay_down(walker, &frames[walker->older - 1]);
		walker->at = frames[left - 1];
		walker->older = left - 1;
		return false;
	}
	return true;
}

/* --- the walk --- */

static void begin(struct walker *walker, const ucontext_t *context, struct unwind_state *state)
{
	const greg_t *gregs = context->uc_mcontext.gregs;

	walker->context = context;
	walker->state = state;
	walker->registers = gregs;
	walker->map = atomic_load_explicit(&module_gate.current, memory_order_acquire);
	walker->at = (struct sig_frame){ .tag = (uint64_t)gregs[REG_RIP] & ~SIG_TAG_RETURN,
					 .sp = (uint64_t)gregs[REG_RSP],
					 .bp = (uint64_t)gregs[REG_RBP],
					 .bx = (uint64_t)gregs[REG_RBX] };
	walker->bounds = sig_unwind_bounds(walker->at.sp, context);
	walker->fresh = 0;
	walker->older = state->frame_count;
}

/* Lays frames down until the root, or until those of the last walk go on unchanged. */
static enum unwind_end climb(struct walker *walker, bool *ret_is_met)
{
	enum unwind_end end = GOES_ON;

	*ret_is_met = false;
	while (end == GOES_ON) {
		if (is_met_again(walker)) {
			*ret_is_met = is_all_the_same(walker);
			if (*ret_is_met)
				return (enum unwind_end)walker->state->end;
		} else {
			take_rule(walker);
		}
		if (walker->fresh >= SIG_FRAMES_MAX)
			return END_DEEP;
		lay_down(walker, &walker->at);
		note_step(walker, walker->at.flags);
		end = step(walker);
	}
	return end;
}

/* What is known holds as long as no module came to another's place and no table was made. */
static void forget_if_stale(struct unwind_state *state, const struct module_map *map)
{
	uint64_t epoch = (uint64_t)(map ? map->epoch : 0) << 32 |
			 atomic_load_explicit(&seg.head->unwind_generation, memory_order_acquire);

	/* Pointers are given up for good: no map comes to so high a number. */
	epoch ^= (uint64_t)!atomic_load_explicit(&unwinder.has_pointers, memory_order_relaxed) << 63;

	if (state->rules_epoch == epoch)
		return;
	memset(state->known, 0, sizeof(state->known));
	state->frame_count = 0;
	state->rules_epoch = epoch;
}

static void count_end(enum unwind_end end)
{
	static const uint8_t counters[END_COUNT] = {
		[END_ROOT] = SEG_COUNTER_WALK_ROOT,        [END_POINTERS] = SEG_COUNTER_WALK_POINTERS,
		[END_REFUSED] = SEG_COUNTER_WALK_REFUSED,  [END_UNSUPPORTED] = SEG_COUNTER_WALK_UNSUPPORTED,
		[END_STRANGE] = SEG_COUNTER_WALK_STRANGE,  [END_DEEP] = SEG_COUNTER_WALK_DEEP,
	};

	thread_count((enum seg_counter)counters[end]);
}

/* Puts the fresh frames behind those that are kept; of too many the ones at the root go. */
static struct sig_walk keep(struct unwind_state *state, uint32_t kept, uint32_t fresh)
{
	struct sig_frame *frames = state->frames;
	uint32_t excess = kept + fresh > SIG_FRAMES_MAX ? kept + fresh - SIG_FRAMES_MAX : 0;

	if (excess)
		memmove(frames, frames + excess, (kept - excess) * sizeof(*frames));
	memmove(frames + kept - excess, frames + 2 * SIG_FRAMES_MAX - fresh, fresh * sizeof(*frames));
	return (struct sig_walk){ .frames = frames,
				  .depth = kept + fresh - excess,
				  .kept = excess ? 0 : kept,
				  .is_cut = excess > 0 };
}

struct sig_walk sig_walk(const ucontext_t *context, struct unwind_state *state)
{
	struct walker walker;
	bool is_met;

	if (state == unwinder.states)
		state->frame_count = 0; /* nobody's own */
	forget_if_stale(state, atomic_load_explicit(&module_gate.current, memory_order_acquire));
	begin(&walker, context, state);
	enum unwind_end end = climb(&walker, &is_met);
	struct sig_walk walk = keep(state, is_met ? walker.older : 0, walker.fresh);
	walk.is_cut |= end == END_DEEP;
	state->frame_count = walk.is_cut ? 0 : walk.depth;
	state->end = end;
	walk.is_by_pointers = walk.frames[walk.depth - 1].flags & SIG_FRAME_POINTERS;
	count_end(walk.is_cut ? END_DEEP : end);
	return walk;
}
