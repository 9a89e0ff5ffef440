/* A walk by rules, the one that every sample takes. For each frame: the rule for its place in the code, out of what the thread
 * remembers or else out of its module's table; the CFA by that rule; the return address right below the CFA.
 *
 * Two things make it cheap. Rules are remembered by address. And the frames of the thread's last walk are kept: as soon as
 * a new frame is one of them (same place, same stack pointer, and the same of the other registers that matter from there
 * on), each frame from there on is found again by the rule that is noted in it, or by no more than a look at the words that
 * were read; then nothing of them need be written, shown or looked up in the tree anew. Where one comes out otherwise, the
 * walk is made step by step up to there, and goes on.
 *
 * Which words: the return address of each frame; and where a caller's register was saved, that, if the register is what some
 * frame nearer to the root is found by. In code without frame pointers hardly any is: then rbp is a register like others, and
 * frames above it may have changed theirs without a change in who called whom.
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

/* Beside a rule's SIG_FRAME_*, for which there is no room in a frame: see is_easy. */
enum { KNOWN_EASY = 256 };

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
	struct unwind_bounds bounds;
	struct unwind_state *state;
	const ucontext_t *context;
	const greg_t *registers; /* all of them, where the frame at hand was interrupted; NULL = it called */
	const struct module_map *map;
	uint32_t fresh; /* frames laid down, at the end of state->frames; the one at hand lies before them */
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

/* The rule tells a frame's CFA from registers alone, and what it saves is told from that: if the registers are those of the
 * last walk, so is the CFA, and what remains to be seen is whether the stack holds what it did. */
static bool is_plain(uint32_t rule)
{
	const uint32_t kinds = 1u << SEG_UNWIND_SP | 1u << SEG_UNWIND_BP | 1u << SEG_UNWIND_BX | 1u << SEG_UNWIND_SP_BYTES;

	return kinds >> seg_unwind_kind_of(rule) & 1 && seg_unwind_bp(rule) != SEG_UNWIND_AT_BP && seg_unwind_bx(rule) != SEG_UNWIND_AT_BP;
}

/* What step_easily takes. */
static bool is_easy(uint32_t rule)
{
	return seg_unwind_kind_of(rule) == SEG_UNWIND_SP && seg_unwind_bp(rule) <= SEG_UNWIND_SLOT_MAX &&
	       seg_unwind_bx(rule) <= SEG_UNWIND_SLOT_MAX;
}

static void find_rule(const struct walker *walker, uint64_t tag, struct unwind_known *known)
{
	bool is_return = tag & SIG_TAG_RETURN;
	uint64_t address = (tag & ~SIG_TAG_RETURN) - is_return;
	const struct map_range *range = walker->map ? sig_map_find(walker->map, address) : NULL;
	const struct map_object *object = range ? &walker->map->objects[range->object] : NULL;
	uint32_t rule = SEG_UNWIND_NONE;
	/* Code that no module has may be a module's that the map does not show yet. */
	bool is_final = object && (!unwinder.has_tables || look_up(object->module, address - object->info.dlpi_addr, is_return, &rule));
	uint32_t flags = object ? flags_of(walker->map, address, object) : 0;

	if (rule == SEG_UNWIND_NONE) {
		flags |= SIG_FRAME_POINTERS;
		rule = atomic_load_explicit(&unwinder.has_pointers, memory_order_relaxed) ? POINTERS_RULE : SEG_UNWIND_NONE;
	}
	flags |= (is_plain(rule) ? SIG_FRAME_PLAIN : 0) | (is_easy(rule) && !(flags & SIG_FRAME_POINTERS) ? KNOWN_EASY : 0);
	*known = (struct unwind_known){ is_final ? tag : 0, rule, flags };
}

/* The highest bits of a product depend on all of its factor (Knuth, volume 3, 6.4). */
static inline uint32_t place_of(uint64_t tag)
{
	return (uint32_t)(tag * 0x9e3779b97f4a7c15 >> (64 - UNWIND_PLACES_BITS)) * UNWIND_RULES_WAYS;
}

/* Of the two that may lie in a place the first one is the newer. */
static __attribute__((noinline)) struct unwind_known *learn(const struct walker *walker, uint64_t tag, struct unwind_known *place)
{
	if (place[1].tag == tag && tag)
		return &place[1];
	place[1] = place[0];
	find_rule(walker, tag, place);
	return place;
}

/* Gives the frame at hand its rule; what is known of that. */
static inline uint32_t take_rule(const struct walker *walker, struct sig_frame *at)
{
	struct unwind_known *place = &walker->state->known[place_of(at->tag)];
	const struct unwind_known *known = place->tag == at->tag && at->tag ? place : learn(walker, at->tag, place);

	at->rule = known->rule;
	at->flags = (uint8_t)((at->flags & (SIG_FRAME_NO_BP | SIG_FRAME_NO_BX)) | known->flags);
	return known->flags;
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
static enum unwind_end refused(const struct walker *walker, const struct sig_frame *at)
{
	if (at->flags & SIG_FRAME_POINTERS)
		return is_marked_as_root(at) ? END_ROOT : END_POINTERS;
	if (walker->bounds.is_known)
		return END_REFUSED;
	sig_stacks_want(at->sp);
	return END_STRANGE;
}

/* DWARF's numbers of registers (x86-64 psABI, 3.6.2) as indexes of gregset_t. */
static const uint8_t greg_of[16] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
				     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static enum unwind_end find_unusual_cfa(const struct walker *walker, const struct sig_frame *at, uint64_t *ret_cfa)
{
	uint32_t rule = at->rule;

	switch (seg_unwind_kind_of(rule)) {
	case SEG_UNWIND_BP:
		*ret_cfa = at->bp + (uint64_t)seg_unwind_offset(rule);
		return at->flags & SIG_FRAME_NO_BP ? END_UNSUPPORTED : GOES_ON;
	case SEG_UNWIND_BX:
		*ret_cfa = at->bx + (uint64_t)seg_unwind_offset(rule);
		return at->flags & SIG_FRAME_NO_BX ? END_UNSUPPORTED : GOES_ON;
	case SEG_UNWIND_PLT: *ret_cfa = at->sp + 8 + 8 * ((at->tag & 15) >= seg_unwind_plt_limit(rule)); return GOES_ON;
	case SEG_UNWIND_DEREF_SP:
		if (!load(walker, at->sp + (uint64_t)seg_unwind_deref_offset(rule), ret_cfa))
			return refused(walker, at);
		*ret_cfa += (uint64_t)seg_unwind_deref_added(rule);
		return GOES_ON;
	case SEG_UNWIND_DEREF_BP:
	case SEG_UNWIND_DEREF_BP_CFA:
		if (at->flags & SIG_FRAME_NO_BP)
			return END_UNSUPPORTED;
		if (!load(walker, at->bp + (uint64_t)seg_unwind_deref_offset(rule), ret_cfa))
			return refused(walker, at);
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

static inline enum unwind_end find_cfa(const struct walker *walker, const struct sig_frame *at, uint64_t *ret_cfa)
{
	if (__builtin_expect(seg_unwind_kind_of(at->rule) != SEG_UNWIND_SP, 0))
		return find_unusual_cfa(walker, at, ret_cfa);
	*ret_cfa = at->sp + (uint64_t)seg_unwind_offset(at->rule);
	return GOES_ON;
}

/* The caller's value of a register that was saved: in a slot below base, or where rbp points. */
static inline bool take_saved(const struct walker *walker, uint64_t bp, uint32_t slot, uint64_t base, uint64_t *value, uint8_t *flags,
			      uint8_t lost)
{
	if (slot == SEG_UNWIND_KEPT)
		return true;
	if (slot == SEG_UNWIND_LOST) {
		*flags |= lost;
		return true;
	}
	*flags &= (uint8_t)~lost;
	return load(walker, slot == SEG_UNWIND_AT_BP ? bp : base - 8 * (uint64_t)slot, value);
}

/* A frame pointer may be anything at all: what it leads to must look like a frame. */
static bool can_be_frame(const struct sig_frame *at, uint64_t cfa, uint64_t return_address)
{
	return cfa - at->sp <= FRAME_BYTES_MAX && return_address >= ADDRESS_MIN;
}

static struct sig_frame frame_of(const greg_t *gregs)
{
	return (struct sig_frame){ .tag = (uint64_t)gregs[REG_RIP] & ~SIG_TAG_RETURN,
				   .sp = (uint64_t)gregs[REG_RSP],
				   .bp = (uint64_t)gregs[REG_RBP],
				   .bx = (uint64_t)gregs[REG_RBX] };
}

/* What the signal interrupted: the registers are in the ucontext at sp. It may be on another stack. */
static enum unwind_end step_over_signal(struct walker *walker, const struct sig_frame *at, struct sig_frame *ret_caller)
{
	uint64_t registers = at->sp + offsetof(ucontext_t, uc_mcontext.gregs), word;

	if (!load(walker, at->sp, &word) || !load(walker, registers + sizeof(gregset_t) - sizeof(word), &word))
		return refused(walker, at);
	const ucontext_t *inner = (const ucontext_t *)at->sp;
	*ret_caller = frame_of(inner->uc_mcontext.gregs);
	walker->registers = inner->uc_mcontext.gregs;
	if (ret_caller->sp < walker->bounds.low || ret_caller->sp >= walker->bounds.high) {
		walker->bounds = sig_unwind_bounds(ret_caller->sp, walker->context);
		if (!walker->bounds.is_known)
			walker->bounds = sig_unwind_bounds(ret_caller->sp, inner);
	}
	return GOES_ON;
}

/* From a frame, whose rule is known, to its caller's. */
static enum unwind_end step(struct walker *walker, const struct sig_frame *at, struct sig_frame *ret_caller)
{
	uint32_t rule = at->rule;
	uint64_t cfa = 0, return_address = 0, bp = at->bp, bx = at->bx;
	uint8_t flags = at->flags & (SIG_FRAME_NO_BP | SIG_FRAME_NO_BX);

	if (seg_unwind_kind_of(rule) == SEG_UNWIND_SIGNAL)
		return step_over_signal(walker, at, ret_caller);
	enum unwind_end end = find_cfa(walker, at, &cfa);
	if (end != GOES_ON)
		return end;
	if (cfa <= at->sp || cfa % 8 || !load(walker, cfa - 8, &return_address))
		return refused(walker, at);
	uint64_t base = seg_unwind_kind_of(rule) == SEG_UNWIND_DEREF_BP ? at->bp : cfa;
	if (!take_saved(walker, at->bp, seg_unwind_bp(rule), base, &bp, &flags, SIG_FRAME_NO_BP) ||
	    !take_saved(walker, at->bp, seg_unwind_bx(rule), base, &bx, &flags, SIG_FRAME_NO_BX))
		return refused(walker, at);
	if (at->flags & SIG_FRAME_POINTERS && !can_be_frame(at, cfa, return_address))
		return END_POINTERS;
	if (!return_address)
		return END_ROOT;
	*ret_caller = (struct sig_frame){ .tag = return_address | SIG_TAG_RETURN, .sp = cfa, .bp = bp, .bx = bx, .flags = flags };
	walker->registers = NULL;
	return GOES_ON;
}

/* A caller's register, saved or not. False: where it was saved is not to be read. */
static inline bool take_easily(const struct unwind_bounds *bounds, uint64_t cfa, uint32_t slot, uint64_t *value, uint8_t *flags, uint8_t unknown)
{
	if (slot == SEG_UNWIND_KEPT)
		return true;
	if (cfa - 8 * (uint64_t)slot < bounds->low)
		return false;
	memcpy(value, (const void *)(cfa - 8 * (uint64_t)slot), sizeof(*value));
	*flags &= (uint8_t)~unknown;
	return true;
}

/* The same of nearly all frames, those of code without frame pointers, whose rule is KNOWN_EASY. False: nothing has changed
 * that matters, and step shall say what there is. */
static inline bool step_easily(const struct unwind_bounds *bounds, const struct sig_frame *at, struct sig_frame *ret_caller)
{
	uint64_t cfa = at->sp + (uint64_t)seg_unwind_offset(at->rule), return_address, bp = at->bp, bx = at->bx;
	uint8_t flags = at->flags & (SIG_FRAME_NO_BP | SIG_FRAME_NO_BX);

	if (cfa <= at->sp || cfa % 8 || cfa - 8 < bounds->low || cfa > bounds->high)
		return false;
	memcpy(&return_address, (const void *)(cfa - 8), sizeof(return_address));
	if (!take_easily(bounds, cfa, seg_unwind_bp(at->rule), &bp, &flags, SIG_FRAME_NO_BP) ||
	    !take_easily(bounds, cfa, seg_unwind_bx(at->rule), &bx, &flags, SIG_FRAME_NO_BX) || !return_address)
		return false;
	ret_caller->tag = return_address | SIG_TAG_RETURN;
	ret_caller->sp = cfa;
	ret_caller->bp = bp;
	ret_caller->bx = bx;
	ret_caller->flags = flags;
	return true;
}

/* Before what may fault. */
static inline void note_step(struct walker *walker, uint32_t flags)
{
	atomic_store_explicit(&walker->state->is_by_pointers, flags & SIG_FRAME_POINTERS, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* --- the last walk --- */

/* A register that is needed in frame `met`, of the last walk, is the same in the frame at hand, or as unknown. */
static inline bool is_same_register(const struct sig_frame *met, uint8_t needs, uint64_t value_met, const struct sig_frame *at,
				    uint64_t value, uint8_t unknown)
{
	return !(met->flags & needs) || (value_met == value && !((met->flags ^ at->flags) & unknown));
}

/* What led from met to the root leads there from the frame at hand. */
static inline bool is_same(const struct sig_frame *met, const struct sig_frame *at)
{
	return met->tag == at->tag && met->sp == at->sp &&
	       is_same_register(met, SIG_FRAME_NEEDS_BP, met->bp, at, at->bp, SIG_FRAME_NO_BP) &&
	       is_same_register(met, SIG_FRAME_NEEDS_BX, met->bx, at, at->bx, SIG_FRAME_NO_BX);
}

/* The frame at hand is one of the last walk's; it is then the last one of walker->older. */
static inline bool is_met_again(struct walker *walker, const struct sig_frame *at)
{
	const struct sig_frame *frames = walker->state->frames;
	const struct sig_frame *met = frames + walker->older;
	const uint64_t sp = at->sp;

	while (met != frames && met[-1].sp < sp)
		met--;
	walker->older = (uint32_t)(met - frames);
	return met != frames && is_same(met - 1, at);
}

static inline bool holds(uint64_t address, uint64_t word)
{
	uint64_t found;

	memcpy(&found, (const void *)address, sizeof(found));
	return found == word;
}

static inline bool is_slot(uint32_t saved)
{
	return saved - 1 < SEG_UNWIND_SLOT_MAX;
}

/* A register is needed where the CFA is told from it, and where it is the caller's, too, who needs it. */
static inline uint8_t need(uint32_t rule, enum seg_unwind_kind kind, uint32_t saved, const struct sig_frame *caller, uint8_t needs)
{
	return seg_unwind_kind_of(rule) == (uint32_t)kind || (saved == SEG_UNWIND_KEPT && caller->flags & needs) ? needs : 0;
}

/* Of a frame whose caller lies before it: which of its registers matter, and whether no word does but the return address. */
static inline void note_needs(struct sig_frame *frame)
{
	const uint8_t both = SIG_FRAME_NEEDS_BP | SIG_FRAME_NEEDS_BX;
	const struct sig_frame *caller = frame - 1;
	uint32_t rule = frame->rule;

	frame->run = 0;
	if (!(frame->flags & SIG_FRAME_PLAIN)) {
		frame->flags |= both;
		return;
	}
	frame->flags &= (uint8_t)~both;
	if (seg_unwind_kind_of(rule) == SEG_UNWIND_SP && !(caller->flags & both)) { /* most are: what follows comes to the same */
		frame->run = caller->run < UINT8_MAX ? caller->run + 1 : UINT8_MAX;
		return;
	}
	frame->flags |= need(rule, SEG_UNWIND_BP, seg_unwind_bp(rule), caller, SIG_FRAME_NEEDS_BP) |
			need(rule, SEG_UNWIND_BX, seg_unwind_bx(rule), caller, SIG_FRAME_NEEDS_BX);
	if ((caller->flags & SIG_FRAME_NEEDS_BP && is_slot(seg_unwind_bp(rule))) ||
	    (caller->flags & SIG_FRAME_NEEDS_BX && is_slot(seg_unwind_bx(rule))))
		return;
	frame->run = caller->run < UINT8_MAX ? caller->run + 1 : UINT8_MAX;
}

/* The outermost one: no matter how the walk ended there. */
static void note_needs_of_root(struct sig_frame *frame)
{
	frame->run = 0;
	if (seg_unwind_kind_of(frame->rule) != SEG_UNWIND_END)
		frame->flags |= SIG_FRAME_NEEDS_BP | SIG_FRAME_NEEDS_BX;
}

enum caller { CALLER_IS_SAME, CALLER_IS_OTHER, CALLER_IS_TO_SEE };

/* By a look at the words from which it was told; TO_SEE: the frame is not plain, or does not lie where it may be read. */
static enum caller look_at_caller(const struct unwind_bounds *bounds, const struct sig_frame *frame)
{
	const struct sig_frame *caller = frame - 1;
	uint64_t cfa = caller->sp;
	uint32_t rule = frame->rule, bp = seg_unwind_bp(rule), bx = seg_unwind_bx(rule);

	if (!(frame->flags & SIG_FRAME_PLAIN) || cfa - 8 * (SEG_UNWIND_SLOT_MAX + 1) < bounds->low || cfa > bounds->high)
		return CALLER_IS_TO_SEE;
	bool is_same = holds(cfa - 8, caller->tag & ~SIG_TAG_RETURN) &&
		       (!(caller->flags & SIG_FRAME_NEEDS_BP) || !is_slot(bp) || holds(cfa - 8 * (uint64_t)bp, caller->bp)) &&
		       (!(caller->flags & SIG_FRAME_NEEDS_BX) || !is_slot(bx) || holds(cfa - 8 * (uint64_t)bx, caller->bx));
	return is_same ? CALLER_IS_SAME : CALLER_IS_OTHER;
}

enum { BLOCK_FRAMES = 8 };

/* Between what a caller's return address was and what is in its place now. */
static inline uint64_t difference_of(const struct sig_frame *caller)
{
	uint64_t found;

	memcpy(&found, (const void *)(caller->sp - 8), sizeof(found));
	return found ^ caller->tag ^ SIG_TAG_RETURN;
}

/* The return addresses of so many frames, the callers up to caller, are where they were. */
static inline bool holds_block(const struct sig_frame *caller, uint32_t count)
{
	uint64_t difference = 0;

	if (count < BLOCK_FRAMES) {
		for (uint32_t i = 0; i < count; i++)
			difference |= difference_of(caller - i);
		return !difference;
	}
#pragma GCC unroll 8
	for (uint32_t i = 0; i < BLOCK_FRAMES; i++)
		difference |= difference_of(caller - i);
	return !difference;
}

/* Of a run that begins with the frame before `left`: how many frames are left when those are passed over whose callers are as
 * they were. By blocks, so that there is one question for each; each frame of a run lies above the one before it. */
static inline uint32_t pass_run(const struct unwind_bounds *bounds, const struct sig_frame *frames, uint32_t left)
{
	uint32_t run = frames[left - 1].run, count;
	const struct sig_frame *caller = &frames[left - 1] - 1;

	if (!run || caller->sp - 8 < bounds->low || caller[1 - (int32_t)run].sp > bounds->high)
		return left;
	for (; run; run -= count, left -= count, caller -= count) {
		count = run < BLOCK_FRAMES ? run : BLOCK_FRAMES;
		if (!holds_block(caller, count))
			break;
	}
	return left;
}

/* The same of any frame, by taking the step; at the root: the walk ends as it did. */
static bool steps_as_before(struct walker *walker, uint32_t index)
{
	const struct sig_frame *frame = &walker->state->frames[index];
	struct sig_frame caller;
	enum unwind_end end = step(walker, frame, &caller);

	if (index == 0)
		return end == (enum unwind_end)walker->state->end;
	return end == GOES_ON && is_same(frame - 1, &caller);
}

/* How many frames are left, of those of walker->older, when all are passed over that are found again. */
static uint32_t pass(struct walker *walker)
{
	const struct sig_frame *frames = walker->state->frames;
	uint32_t left = walker->older;

	do {
		const uint32_t begin = left;
		enum caller caller = CALLER_IS_SAME;
		left = pass_run(&walker->bounds, frames, left);
		while (left > 1 && (caller = look_at_caller(&walker->bounds, &frames[left - 1])) == CALLER_IS_SAME)
			left--;
		if (left > 1 && caller == CALLER_IS_OTHER)
			break;
		if (left < begin)
			walker->registers = NULL;
	} while (steps_as_before(walker, left - 1) && --left);
	return left;
}

/* The frame at hand was met again. True: from there on everything is as it was. Else no frame of the last walk is met again
 * before the first one that is not. */
static __attribute__((noinline)) bool is_all_the_same(struct walker *walker)
{
	struct unwind_bounds bounds = walker->bounds;
	const greg_t *registers = walker->registers;

	note_step(walker, 0);
	uint32_t left = pass(walker);
	if (!left)
		return true;
	walker->bounds = bounds;
	walker->registers = registers;
	walker->older = left - 1;
	return false;
}

/* --- the walk --- */

static struct sig_frame *begin(struct walker *walker, const ucontext_t *context, struct unwind_state *state)
{
	struct sig_frame *leaf = state->frames + UNWIND_FRAMES - 1;

	*leaf = frame_of(context->uc_mcontext.gregs);
	walker->context = context;
	walker->state = state;
	walker->registers = context->uc_mcontext.gregs;
	walker->map = atomic_load_explicit(&module_gate.current, memory_order_acquire);
	walker->bounds = sig_unwind_bounds(leaf->sp, context);
	walker->fresh = 0;
	walker->older = state->frame_count;
	return leaf;
}

/* Lays frames down from the one in place on, until the root, or until those of the last walk go on unchanged. */
static enum unwind_end climb(struct walker *walker, struct sig_frame *place, bool *ret_is_met)
{
	enum unwind_end end;

	*ret_is_met = false;
	for (;; place--) {
		if (is_met_again(walker, place) && is_all_the_same(walker)) {
			*ret_is_met = true;
			return (enum unwind_end)walker->state->end;
		}
		uint32_t known = take_rule(walker, place);
		if (walker->fresh >= SIG_FRAMES_MAX)
			return END_DEEP;
		walker->fresh++;
		note_step(walker, known);
		if (known & KNOWN_EASY && step_easily(&walker->bounds, place, place - 1)) {
			walker->registers = NULL;
			continue;
		}
		end = step(walker, place, place - 1);
		if (end != GOES_ON)
			return end;
	}
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
	for (uint32_t i = 0; i < fresh; i++) {
		struct sig_frame *frame = frames + kept - excess + i;
		*frame = frames[UNWIND_FRAMES - fresh + i];
		if (frame == frames)
			note_needs_of_root(frame);
		else
			note_needs(frame);
	}
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
	struct sig_frame *leaf = begin(&walker, context, state);
	enum unwind_end end = climb(&walker, leaf, &is_met);
	struct sig_walk walk = keep(state, is_met ? walker.older : 0, walker.fresh);
	walk.is_cut |= end == END_DEEP;
	state->frame_count = walk.is_cut ? 0 : walk.depth;
	state->end = end;
	walk.is_by_pointers = walk.frames[walk.depth - 1].flags & SIG_FRAME_POINTERS;
	count_end(walk.is_cut ? END_DEEP : end);
	return walk;
}
